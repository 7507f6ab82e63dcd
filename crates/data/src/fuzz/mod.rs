//! Doors by which fuzzing, and the replay of what it found, feed every parser of foreign bytes.
//!
//! A [`Target`] takes any bytes and must return: no panic, no memory that the bytes do not justify,
//! no hang. Parsers that read paths get a folder, best in memory. Only compiled for tests and with
//! the feature `fuzz`, which also leaves checksums unasked, since no mutation would pass them.
//! `cargo xtask fuzz` runs the targets; `tests.rs` replays seeds and mended findings.

mod arrays;
mod lerobot;
mod logs;
mod media;
mod seeds;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use embody_core::{CancelToken, NoProgress, Task};

pub use seeds::write_seeds;

/// A parser, or several that read the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Feeds it; the folder is its own, and what it leaves there may stay for the next call.
    pub run: fn(&[u8], &Path),
    /// Longest input worth trying, bytes.
    pub max_len: usize,
}

const fn target(name: &'static str, run: fn(&[u8], &Path), max_len: usize) -> Target {
    Target { name, run, max_len }
}

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    target("mcap", logs::log, 65_536),
    target("rosbag1", logs::log, 65_536),
    target("rosbag2", logs::log, 131_072),
    target("rosbag2_metadata", logs::rosbag2_metadata, 8_192),
    target("ulog", logs::log, 65_536),
    target("rrd", logs::log, 65_536),
    target("ros_message", logs::ros_message, 8_192),
    target("ulog_message", logs::ulog_message, 8_192),
    target("protobuf_message", logs::protobuf_message, 16_384),
    target("json_message", logs::json_message, 8_192),
    target("field_path", logs::field_path, 1_024),
    target("mapping", logs::mapping, 8_192),
    target("mp4", media::mp4, 16_384),
    target("av1", media::av1, 16_384),
    target("jpeg", media::picture, 16_384),
    target("png", media::picture, 16_384),
    target("jxl", media::picture, 16_384),
    target("raw_picture", media::raw_picture, 4_096),
    target("zarr_array", arrays::zarr_array, 16_384),
    target("zarr_zip", arrays::zarr_zip, 32_768),
    target("rlds_example", arrays::rlds_example, 16_384),
    target("rlds_features", arrays::rlds_features, 16_384),
    target("tfrecord", arrays::tfrecord, 16_384),
    target("hdf5", arrays::hdf5, 65_536),
    target("lerobot_meta", lerobot::meta, 32_768),
    target("lerobot_tables", lerobot::tables, 65_536),
    target("lerobot_v2", lerobot::v2, 65_536),
    target("repair", lerobot::repair_table, 65_536),
    target("journal", lerobot::journal, 32_768),
    target("annotations", lerobot::annotations, 8_192),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// A task that reports to nobody.
fn quietly<T>(f: impl FnOnce(Task<'_>) -> T) -> T {
    let cancel = CancelToken::default();
    f(Task { progress: &NoProgress, cancel: &cancel })
}

/// Writes a file of the harness itself; a disk that is full is no finding about a parser.
fn put(path: &Path, bytes: &[u8]) -> PathBuf {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("the scratch folder can be written");
    }
    fs::write(path, bytes).expect("the scratch folder can be written");
    path.to_owned()
}

/// Text up to the first zero byte, and what follows it.
fn text_and_rest(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    (text, bytes.get(end + 1..).unwrap_or(&[]))
}

/// A piece behind its length in two bytes, and what follows it.
fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    Some(rest.split_at(len))
}

/// A length in two bytes, then the piece; the other way round.
fn with_length(piece: &[u8]) -> Vec<u8> {
    let len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
    [&len.to_le_bytes()[..], &piece[..usize::from(len)]].concat()
}
