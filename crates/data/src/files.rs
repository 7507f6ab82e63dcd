//! Files of datasets on disk: taking one over without reading it.
//!
//! A hard link costs nothing and shares the bytes, which no program of ours ever changes in place;
//! where links can't be had (another disk, a file system without them) the file is copied.

use std::fs;
use std::path::Path;

use embody_core::{IoContext, Result};

/// Makes `to` the same file as `from`, or a copy of it.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).at("create folder", parent)?;
    }
    // A symbolic link (the Hugging Face cache has them) must not be linked itself.
    let real = fs::canonicalize(from).at("read", from)?;
    if fs::hard_link(&real, to).is_err() {
        fs::copy(&real, to).at("copy", from)?;
    }
    Ok(())
}

/// Paths of all files under `root`, relative with `/`, sorted.
pub(crate) fn list_files(root: &Path) -> Result<Vec<String>> {
    fn walk(root: &Path, folder: &Path, out: &mut Vec<String>) -> Result<()> {
        for entry in fs::read_dir(folder).at("read folder", folder)? {
            let path = entry.at("read folder", folder)?.path();
            if path.is_dir() {
                walk(root, &path, out)?;
            } else if let Ok(relative) = path.strip_prefix(root) {
                let parts: Vec<_> = relative.iter().map(|p| p.to_string_lossy()).collect();
                out.push(parts.join("/"));
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(root, root, &mut out)?;
    out.sort();
    Ok(out)
}
