//! Import: recordings from outside, in the native layout.
//!
//! [`import`] finds out what lies at a path and hands it to the room of that format. Formats that
//! hold encoded video have their packets copied; the others go through the recorder that a robot
//! uses. Nothing stands at the target before everything is in it, and lineage names the source by
//! its content.

mod lerobot;
mod log;

use std::path::{Path, PathBuf};

use embody_core::{ContentHash, Result, Task};
use serde::Serialize;

use crate::dataset::detect_format;
use crate::error::DataError;
use crate::finding::Finding;

pub(crate) use lerobot::{copy_episode, v3_info};
pub use log::{StreamReport, UseReport, resample};
pub(crate) use log::{begin_mcap, tick};

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Only these episodes, in this order; all where `None`.
    pub episodes: Option<Vec<usize>>,
    /// Goes into the lineage record.
    pub parameters: serde_json::Value,
    /// For message logs: the file that maps topics to features.
    pub map: Option<PathBuf>,
    /// For message logs: do not keep the original messages in the dataset.
    pub drop_streams: bool,
}

/// What was imported.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// Where it stands.
    pub path: PathBuf,
    /// Format of the source, such as `LeRobotDataset v2.1`.
    pub source_format: String,
    /// Episodes.
    pub episodes: usize,
    /// Frames.
    pub frames: usize,
    /// Content hash of the source.
    pub source_version: ContentHash,
    /// Content hash of the result.
    pub version: ContentHash,
    /// What was mended or is worth knowing.
    pub notes: Vec<Finding>,
    /// What became of each topic of a message log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamReport>,
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceKind {
    LeRobot,
    Log,
}

/// Finds out what lies at `source`, by names and first bytes.
fn detect(source: &Path) -> Result<SourceKind> {
    if !source.exists() {
        return Err(DataError::Missing { path: source.to_owned() }.into());
    }
    if !crate::log::logs_at(source)?.is_empty() {
        return Ok(SourceKind::Log);
    }
    detect_format(source)?;
    Ok(SourceKind::LeRobot)
}

/// Imports the recording at `source` into a new v3.0 dataset at `target`.
///
/// # Errors
/// When the source is missing, damaged or contradicts itself, or the target can't be written; names
/// the file and leaves nothing behind.
pub fn import(
    source: &Path,
    target: &Path,
    options: ImportOptions,
    task: Task<'_>,
) -> Result<ImportReport> {
    match detect(source)? {
        SourceKind::LeRobot => lerobot::import(source, target, options, task),
        SourceKind::Log => log::import(source, target, &options, task),
    }
}
