//! Import: recordings from outside, in the native layout.
//!
//! [`import`] finds out what lies at a path and hands it to the room of that format. Formats that
//! hold encoded video have their packets copied; the others go through the recorder that a robot
//! uses. Nothing stands at the target before everything is in it, and lineage names the source by
//! its content.

mod arrays;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod hdf5;
mod lerobot;
mod log;
mod rlds;
mod zarr;

use std::path::{Path, PathBuf};

use embody_core::{ContentHash, Result, Task};
use serde::Serialize;

use crate::dataset::detect_format;
use crate::error::DataError;
use crate::finding::Finding;
use crate::video::VideoSettings;

pub(crate) use lerobot::{Changes, Labels, copy_all, copy_changed, rename_tasks, v3_info};
pub(crate) use log::{MAPPING_FILE, begin_mcap, tick};
pub use log::{StreamReport, UseReport, resample};

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Only these episodes, in this order; all where `None`.
    pub episodes: Option<Vec<usize>>,
    /// Frames per second of formats that do not say (RLDS, ALOHA, Zarr); goes before what they say.
    pub fps: Option<f64>,
    /// Instruction of episodes that carry none.
    pub task: Option<String>,
    /// What was recorded, such as `widowx`.
    pub robot_type: Option<String>,
    /// Columns and the features that they become: nothing for an empty name, the instruction for
    /// `task`; columns of one name are joined in this order.
    pub rename: Vec<(String, String)>,
    /// How video is encoded, where pictures are not in a video already.
    pub video: VideoSettings,
    /// Encoding threads; 0 is one per core.
    pub threads: usize,
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
    Rlds,
    Hdf5,
    Zarr,
    Log,
}

/// Finds out what lies at `source`, by names and first bytes.
fn detect(source: &Path) -> Result<SourceKind> {
    if !source.exists() {
        return Err(DataError::Missing { path: source.to_owned() }.into());
    }
    if source.join("meta/info.json").is_file() {
        detect_format(source)?;
        return Ok(SourceKind::LeRobot);
    }
    if !crate::log::logs_at(source)?.is_empty() {
        return Ok(SourceKind::Log);
    }
    type Is = fn(&Path) -> bool;
    let kinds: [(SourceKind, Is); 3] = [
        (SourceKind::Zarr, zarr::is_zarr),
        (SourceKind::Hdf5, hdf5::is_hdf5),
        (SourceKind::Rlds, rlds::is_rlds),
    ];
    let found = kinds.into_iter().find(|(_, is)| is(source));
    found.map(|(kind, _)| kind).ok_or_else(|| {
        let why = match source.is_dir() {
            true => "the folder has no meta/info.json, features.json, zarr.json, .zgroup, *.hdf5 or message logs",
            false => "the file does not begin as any format that is read",
        };
        DataError::UnknownFormat { path: source.to_owned(), why: why.to_owned() }.into()
    })
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
    let recording = match detect(source)? {
        SourceKind::LeRobot => return lerobot::import(source, target, options, task),
        SourceKind::Log => return log::import(source, target, &options, task),
        SourceKind::Rlds => rlds::open(source)?,
        SourceKind::Hdf5 => hdf5::open(source)?,
        SourceKind::Zarr => zarr::open(source)?,
    };
    arrays::record(source, target, recording, options, task)
}
