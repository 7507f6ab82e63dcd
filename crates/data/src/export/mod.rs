//! Export: a dataset in the formats of others, one room each.
//!
//! What a format has no place for is an error until it is left out on purpose
//! ([`ExportOptions::without`]); what follows from the rest (indices, times on the frame rate's grid)
//! is not written and not missed. Nothing stands at the target before it is complete.

mod hdf5;
mod mcap;
mod parquet;
mod rows;
mod rrd;
mod zarr;

use std::path::{Path, PathBuf};

use embody_core::{DType, Result, Task};
use serde::Serialize;

use crate::dataset::Dataset;

use rows::Rows;

/// Formats that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// One HDF5 file in robomimic's layout.
    Hdf5,
    /// A folder with an MCAP file of ROS 2 messages per episode, and the mapping that imports them.
    Mcap,
    /// One flat Parquet file with a row per frame, pictures as PNG.
    Parquet,
    /// Recordings for Rerun, one per episode: in one file where the target's name ends in `.rrd`, else
    /// in a folder beside the mapping that imports them.
    Rrd,
    /// A Zarr v2 folder in diffusion_policy's layout.
    Zarr,
}

/// What to export.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Only these episodes, in this order; all where `None`.
    pub episodes: Option<Vec<usize>>,
    /// Features to leave out.
    pub without: Vec<String>,
    /// Leave out all pictures.
    pub no_pictures: bool,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportReport {
    /// Where it stands.
    pub path: PathBuf,
    /// Its format.
    pub format: ExportFormat,
    /// Episodes.
    pub episodes: usize,
    /// Frames.
    pub frames: usize,
    /// Features left out, as asked.
    pub left_out: Vec<String>,
}

/// One episode as a recording for Rerun: the bytes of a `.rrd` file. Language columns have no form
/// there and are left out.
///
/// # Errors
/// As [`export`].
pub fn episode_rrd(dataset: &Dataset, episode: usize) -> Result<Vec<u8>> {
    dataset.episode(episode)?;
    rrd::bytes(dataset, episode)
}

/// Writes the dataset at `source` to `target` in another format.
///
/// # Errors
/// When the source can't be read, a feature has no place in the format, or the target can't be
/// written; nothing is left behind.
pub fn export(
    source: &Path,
    target: &Path,
    format: ExportFormat,
    options: &ExportOptions,
    task: Task<'_>,
) -> Result<ExportReport> {
    let dataset = Dataset::open(source)?;
    let rows = Rows::of(&dataset, options)?;
    let mut features = rows.features.iter();
    if let Some((key, _)) = features.find(|(_, f)| f.dtype == DType::Language)
        && format != ExportFormat::Parquet
    {
        return Err(rows::refuse(key, "language columns have a place in Parquet only"));
    }
    task.begin("export", Some(rows.episodes.len() as u64), "episodes");
    match format {
        ExportFormat::Hdf5 => hdf5::write(&rows, target, task)?,
        ExportFormat::Mcap => mcap::write(&rows, target, task)?,
        ExportFormat::Parquet => parquet::write(&rows, target, task)?,
        ExportFormat::Rrd => rrd::write(&rows, target, task)?,
        ExportFormat::Zarr => zarr::write(&rows, target, task)?,
    }
    task.end("export");
    Ok(ExportReport {
        path: target.to_owned(),
        format,
        episodes: rows.episodes.len(),
        frames: rows.frames(),
        left_out: rows.left_out.clone(),
    })
}
