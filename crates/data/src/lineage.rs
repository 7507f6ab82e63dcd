//! Lineage: which version this is, what it was made from, and how.
//!
//! A version's name is the BLAKE3 hash of all its files but `meta/embody.json`, where this record
//! stands. A dataset that came from a store, or was put there, says so in the same record; that part
//! belongs to the copy on this disk, not to the dataset, and stays out of what is put on a store.

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
    /// Where this copy was taken from or put last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreCopy>,
}

/// The place of a dataset on a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCopy {
    /// Address without a version, such as `hf://datasets/lab/set`.
    pub url: String,
    /// The Hub's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Commit or version there.
    pub version: String,
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
        store: None,
    };
    write_atomic(&root.join(LINEAGE_FILE), &text(&lineage)?)?;
    Ok(lineage)
}

/// Records where the dataset at `root` stands on a store. One without a record gets one: its
/// operation is `pull`, and its parent is not known.
///
/// # Errors
/// When the record can't be read or written.
pub fn record_store(root: &Path, copy: StoreCopy) -> Result<Lineage> {
    let mut record = match lineage(root)? {
        Some(record) => record,
        None => Lineage {
            version: version_of(root)?,
            parent: None,
            merged: Vec::new(),
            operation: "pull".to_owned(),
            parameters: serde_json::to_value(&copy)
                .map_err(|e| embody_core::Error::new(format!("could not write lineage: {e}")))?,
            embody_version: env!("CARGO_PKG_VERSION").to_owned(),
            store: None,
        },
    };
    record.store = Some(copy);
    write_atomic(&root.join(LINEAGE_FILE), &text(&record)?)?;
    Ok(record)
}

/// The record's file as it is put on stores: relative path and content, without [`Lineage::store`].
/// `None` where there is no record.
///
/// # Errors
/// When the record can't be read.
pub fn portable_lineage(root: &Path) -> Result<Option<(&'static str, Vec<u8>)>> {
    let Some(mut record) = lineage(root)? else { return Ok(None) };
    record.store = None;
    Ok(Some((LINEAGE_FILE, text(&record)?)))
}

fn text(lineage: &Lineage) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(lineage)
        .map_err(|e| embody_core::Error::new(format!("could not write lineage: {e}")))
}
