//! Content hashes (BLAKE3): the name of a dataset version, a step's inputs, a policy.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{IoContext, Result};

/// A BLAKE3 hash, 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(String);

impl ContentHash {
    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people and folder names.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(12)]
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}…", self.short())
    }
}

/// The hash of bytes that come piece by piece.
#[derive(Debug, Clone, Default)]
pub struct HashStream(blake3::Hasher);

impl HashStream {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Hash of all bytes so far; equals [`hash_bytes`] of them together.
    pub fn hash(&self) -> ContentHash {
        ContentHash(self.0.finalize().to_hex().to_string())
    }
}

/// Hash of bytes in memory.
pub fn hash_bytes(bytes: &[u8]) -> ContentHash {
    ContentHash(blake3::hash(bytes).to_hex().to_string())
}

/// Hash of a file's content.
///
/// # Errors
/// When the file can't be read.
pub fn hash_file(path: &Path) -> Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    fs::File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .at("read", path)?;
    Ok(ContentHash(hasher.finalize().to_hex().to_string()))
}

/// Hash of a folder: relative paths and contents of its files in sorted order. Files for which
/// `skip` is true (given the relative path with `/`) do not count.
///
/// # Errors
/// When a file can't be read.
pub fn hash_tree(root: &Path, skip: &dyn Fn(&str) -> bool) -> Result<ContentHash> {
    let mut files = Vec::new();
    list(root, root, &mut files)?;
    files.sort();
    let mut hashed = Vec::new();
    for relative in files.into_iter().filter(|f| !skip(f)) {
        let hash = hash_file(&root.join(&relative))?;
        hashed.push((relative, hash));
    }
    Ok(hash_listed(hashed.iter().map(|(path, hash)| (path.as_str(), hash))))
}

/// Hash of a folder whose files are known: relative paths in sorted order, each with the hash of its
/// content. Equals [`hash_tree`] of the same files.
pub fn hash_listed<'a>(files: impl Iterator<Item = (&'a str, &'a ContentHash)>) -> ContentHash {
    let mut hasher = blake3::Hasher::new();
    for (relative, hash) in files {
        hasher.update(relative.as_bytes());
        hasher.update(&[0]);
        hasher.update(hash.as_str().as_bytes());
    }
    ContentHash(hasher.finalize().to_hex().to_string())
}

fn list(root: &Path, dir: &Path, out: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir).at("read folder", dir)? {
        let path = entry.at("read folder", dir)?.path();
        if path.is_dir() {
            list(root, &path, out)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            let parts: Vec<_> = relative.iter().map(|p| p.to_string_lossy()).collect();
            out.push(parts.join("/"));
        }
    }
    Ok(())
}
