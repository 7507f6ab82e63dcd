//! Where the pieces of a Zarr store lie: a folder, or a zip file as UMI publishes it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};
use zip::ZipArchive;

use crate::import::arrays::wrong;

/// Largest description of an array.
const MAX_META: u64 = 1 << 20;

/// An open store.
pub(super) enum Store {
    Folder(PathBuf),
    Zip { path: PathBuf, archive: Box<ZipArchive<BufReader<File>>>, names: BTreeSet<String> },
}

impl Store {
    /// Opens the store at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = File::open(path).at("open", path)?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| wrong(path, "", e))?;
        let names: std::result::Result<BTreeSet<String>, _> =
            archive.file_names().map(|name| name.map(Cow::into_owned)).collect();
        let names = names.map_err(|e| wrong(path, "", e))?;
        Ok(Self::Zip { path: path.to_owned(), archive: Box::new(archive), names })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Zip { path, .. } => path,
        }
    }

    /// Whether it has a piece of that name.
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::Folder(root) => root.join(key).is_file(),
            Self::Zip { names, .. } => names.contains(key),
        }
    }

    /// A piece; `None` where it is not there. One of more than `limit` bytes is an error.
    pub fn read(&mut self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        match self {
            Self::Folder(root) => {
                let path = root.join(key);
                match File::open(&path) {
                    Ok(file) => {
                        file.take(limit + 1).read_to_end(&mut out).at("read", &path)?;
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(e).at("open", &path),
                }
            }
            Self::Zip { path, archive, names } => {
                if !names.contains(key) {
                    return Ok(None);
                }
                let entry = archive.by_name(key).map_err(|e| wrong(path, key, e))?;
                let read = entry.take(limit + 1).read_to_end(&mut out);
                read.map_err(|e| wrong(path, key, e))?;
            }
        }
        if out.len() as u64 > limit {
            let why = format!("it has more than {limit} bytes");
            return Err(wrong(self.path(), key, why).into());
        }
        Ok(Some(out))
    }

    /// A piece of JSON.
    pub fn json(&mut self, key: &str) -> Result<Option<serde_json::Value>> {
        let Some(bytes) = self.read(key, MAX_META)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        Ok(Some(parsed.map_err(|e| wrong(self.path(), key, e))?))
    }

    /// Names of what lies directly below `folder`, in order.
    pub fn children(&self, folder: &str) -> Result<Vec<String>> {
        let mut out = BTreeSet::new();
        match self {
            Self::Folder(root) => {
                let path = root.join(folder);
                for entry in std::fs::read_dir(&path).at("read folder", &path)? {
                    let entry = entry.at("read folder", &path)?;
                    if entry.path().is_dir() {
                        out.insert(entry.file_name().to_string_lossy().into_owned());
                    }
                }
            }
            Self::Zip { names, .. } => {
                let prefix = format!("{folder}/");
                let below = names.range(prefix.clone()..).take_while(|n| n.starts_with(&prefix));
                for name in below {
                    if let Some((child, _)) = name[prefix.len()..].split_once('/') {
                        out.insert(child.to_owned());
                    }
                }
            }
        }
        Ok(out.into_iter().collect())
    }
}
