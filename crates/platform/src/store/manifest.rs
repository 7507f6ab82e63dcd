//! How versions lie in an object store, so that a reader never sees half of one.
//!
//! ```text
//! PREFIX/objects/ab/cdef…     contents, named by their BLAKE3 hash; written once, never changed
//! PREFIX/versions/HASH.json   a version: path, hash and size of each of its files
//! PREFIX/latest.json          the name of the newest version; the one object that is written again
//! ```
//! The same layout as the versions that stand beside datasets on disk. A version's name is the hash of
//! its files' names and hashes, so a manifest proves itself; `latest.json` is written last.

use embody_core::{ContentHash, hash_listed};
use serde::{Deserialize, Serialize};

/// Version of the layout.
pub(super) const LAYOUT: u32 = 1;
/// The pointer to the newest version.
pub(super) const LATEST: &str = "latest.json";
/// Holds a dataset's lineage, which is no part of its content.
pub(super) const LINEAGE: &str = "meta/embody.json";
/// Largest lineage that is read.
pub(super) const MAX_LINEAGE: u64 = 16 << 20;
/// Largest manifest that is read: about a million files.
pub(super) const MAX_MANIFEST: u64 = 256 << 20;

/// A version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// [`LAYOUT`].
    pub embody_store: u32,
    /// Its name.
    pub version: ContentHash,
    /// The version before it here, where there was one.
    #[serde(default)]
    pub parent: Option<ContentHash>,
    /// The dataset's own version by its lineage, which files beside the dataset do not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Its files, sorted by path.
    pub files: Vec<Stored>,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Path in the dataset.
    pub path: String,
    /// BLAKE3 of its content.
    pub hash: ContentHash,
    /// Size.
    pub bytes: u64,
}

/// What [`LATEST`] holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Latest {
    /// [`LAYOUT`].
    pub embody_store: u32,
    /// The newest version.
    pub version: ContentHash,
}

impl Manifest {
    /// A version of these files.
    pub(super) fn of(
        mut files: Vec<Stored>,
        parent: Option<ContentHash>,
        dataset: Option<String>,
    ) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let version = name_of(&files);
        let parent = parent.filter(|p| *p != version);
        Self { embody_store: LAYOUT, version, parent, dataset, files }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Why it is none, or is damaged.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = parse(bytes)?;
        let bad = manifest.files.iter().find(|f| !is_hash(&f.hash));
        if let Some(file) = bad {
            return Err(format!("{:?} has no hash", file.path));
        }
        if name_of(&manifest.files) != manifest.version {
            return Err("its files do not hash to its name".to_owned());
        }
        Ok(manifest)
    }
}

impl Latest {
    /// Reads the pointer.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let latest: Self = parse(bytes)?;
        if is_hash(&latest.version) { Ok(latest) } else { Err("it names no version".to_owned()) }
    }
}

fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    match value.get("embody_store").and_then(serde_json::Value::as_u64) {
        Some(layout) if layout == u64::from(LAYOUT) => {
            serde_json::from_value(value).map_err(|e| e.to_string())
        }
        Some(newer) => Err(format!("layout {newer}, and this program knows {LAYOUT}")),
        None => Err("it is no manifest of embody".to_owned()),
    }
}

fn name_of(files: &[Stored]) -> ContentHash {
    let content = files.iter().filter(|f| f.path != LINEAGE);
    hash_listed(content.map(|f| (f.path.as_str(), &f.hash)))
}

fn is_hash(hash: &ContentHash) -> bool {
    let text = hash.as_str();
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Key of a content.
pub(super) fn object_key(hash: &ContentHash) -> String {
    let (first, rest) = hash.as_str().split_at(2);
    format!("objects/{first}/{rest}")
}

/// Key of a version.
pub(super) fn version_key(version: &ContentHash) -> String {
    format!("versions/{version}.json")
}

#[cfg(test)]
mod tests {
    use embody_core::hash_bytes;

    use super::*;

    fn manifest() -> Manifest {
        let stored = |path: &str| Stored {
            path: path.to_owned(),
            hash: hash_bytes(path.as_bytes()),
            bytes: path.len() as u64,
        };
        Manifest::of(vec![stored("b"), stored("a/c"), stored(LINEAGE)], None, None)
    }

    #[test]
    fn a_manifest_proves_itself() {
        let text = serde_json::to_string(&manifest()).expect("text");
        assert!(Manifest::read(text.as_bytes()).is_ok());
        let other = text.replace("\"a/c\"", "\"a/d\"");
        assert!(Manifest::read(other.as_bytes()).is_err());
        assert!(Manifest::read(b"{}").is_err());
        let newer = text.replace("\"embody_store\":1", "\"embody_store\":2");
        assert!(Manifest::read(newer.as_bytes()).expect_err("newer").contains("layout 2"));
        let unnamed = text.replace(hash_bytes(b"b").as_str(), "../../x");
        assert!(Manifest::read(unnamed.as_bytes()).is_err());
    }

    #[test]
    fn lineage_is_no_part_of_the_name() {
        let mut files = manifest().files;
        files.retain(|f| f.path != LINEAGE);
        assert_eq!(Manifest::of(files, None, None).version, manifest().version);
    }
}
