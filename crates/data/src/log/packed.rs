//! What rosbag2 compresses with zstd: files as a whole (`compression_mode: file`), or every message
//! by itself (`message`).
//!
//! SQLite and the reader of MCAP want to jump about, so a compressed file is unpacked beside, into a
//! folder of its own that goes with the log. Invariant: what is unpacked is bounded by what the
//! packed file can hold in earnest, so a few bytes never fill a disk.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};
use tempfile::TempDir;

use super::mcap::read_bounded;
use crate::error::DataError;

/// The one compression that rosbag2 brings along.
const SUFFIX: &str = ".zstd";
/// Unpacked files may have so many bytes whatever they come from …
const FREE: u64 = 64 << 20;
/// … and so many for each byte that they come from; messages of sensors stay far below.
const RATIO: u64 = 200;

/// The name without the suffix of the compression; `None` where it has none.
pub(super) fn inner_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)
}

/// Unpacks those of `files` that are compressed; gives where all lie now, and the folder that has to
/// stay for as long as they are read.
pub(super) fn unpack(files: Vec<PathBuf>) -> Result<(Vec<PathBuf>, Option<TempDir>)> {
    if !files.iter().any(|f| inner_name(f).is_some()) {
        return Ok((files, None));
    }
    let folder = tempfile::tempdir()
        .map_err(|e| embody_core::Error::new(format!("could not make a folder to work in: {e}")))?;
    let mut out = Vec::new();
    for path in files {
        out.push(match inner_name(&path) {
            Some(name) => {
                let to = folder.path().join(name);
                unpack_file(&path, &to)?;
                to
            }
            None => path,
        });
    }
    Ok((out, Some(folder)))
}

/// No message may unpack to more.
const MESSAGE_LIMIT: u64 = 1 << 28;

/// A message that was compressed by itself.
pub(super) fn unpack_message(data: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|e| e.to_string())?;
    read_bounded(decoder, data.len(), MESSAGE_LIMIT)
}

fn unpack_file(path: &Path, to: &Path) -> Result<()> {
    let wrong = |why: String| DataError::ReadLog {
        path: path.to_owned(),
        why,
        hint: "copy the file again, or unpack it by hand: zstd -d FILE".to_owned(),
    };
    let file = File::open(path).at("open", path)?;
    let limit = file.metadata().at("read", path)?.len().saturating_mul(RATIO).max(FREE);
    let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(file))
        .map_err(|e| wrong(e.to_string()))?;
    let mut decoder = decoder.take(limit + 1);
    let mut out = File::create(to).at("create", to)?;
    let mut block = vec![0; 1 << 18];
    let mut total = 0u64;
    loop {
        let n = decoder
            .read(&mut block)
            .map_err(|e| wrong(format!("damaged zstd after {total} unpacked bytes: {e}")))?;
        if n == 0 {
            return Ok(());
        }
        total += n as u64;
        if total > limit {
            return Err(wrong(format!("it unpacks to more than {limit} bytes")).into());
        }
        out.write_all(&block[..n]).at("write", to)?;
    }
}
