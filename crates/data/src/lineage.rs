//! Lineage: which version this is, what it was made from, and how.
//!
//! A version's name is the BLAKE3 hash of all its files but `meta/embody.json`, where this record
//! stands.

use std::path::Path;

use embody_core::{ContentHash, Result, hash_tree, write_atomic};
use serde::{Deserialize, Serialize};

use crate::format::read_json;

/// Where the record stands.
pub(crate) const LINEAGE_FILE: &str = "meta/embody.json";

/// How a dataset version came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// Content hash of this version.
    pub version: ContentHash,
    /// Content hash of the version it was made from.
    #[serde(default)]
    pub parent: Option<ContentHash>,
    /// Versions that went in besides the parent: those of a merge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<ContentHash>,
    /// What was done: `record`, `import`, `process`, `delete`, `merge`, ….
    pub operation: String,
    /// With which parameters.
    #[serde(default)]
    pub parameters: serde_json::Value,
    /// Version of this program.
    pub embody_version: String,
}

/// The record of the dataset at `root`; `None` where it was not made by this program.
///
/// # Errors
/// When the record can't be read.
pub fn lineage(root: &Path) -> Result<Option<Lineage>> {
    let path = root.join(LINEAGE_FILE);
    if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
}

/// Content hash of the dataset at `root`.
pub(crate) fn version_of(root: &Path) -> Result<ContentHash> {
    hash_tree(root, &|file| file == LINEAGE_FILE)
}

/// Hashes the dataset under construction at `root` and writes its record.
pub(crate) fn seal(
    root: &Path,
    parent: Option<ContentHash>,
    merged: Vec<ContentHash>,
    operation: &str,
    parameters: serde_json::Value,
) -> Result<Lineage> {
    let lineage = Lineage {
        version: version_of(root)?,
        parent,
        merged,
        operation: operation.to_owned(),
        parameters,
        embody_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let text = serde_json::to_string_pretty(&lineage)
        .map_err(|e| embody_core::Error::new(format!("could not write lineage: {e}")))?;
    write_atomic(&root.join(LINEAGE_FILE), text.as_bytes())?;
    Ok(lineage)
}
