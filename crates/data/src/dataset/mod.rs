//! An open dataset: description, episodes, tables, frames.
//!
//! One structure for every version of the layout: [`Dataset::open`] takes v3.0 only and refuses what
//! contradicts itself; import and validation load v2.0 and v2.1 through the same structure and get
//! the contradictions as findings. Invariants: files are opened once and shared; nothing is written.

mod annotations;
mod depth;
mod leaves;
mod load;
mod pictures;
mod read;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use embody_core::{ContentHash, EpisodeOutcome, Result, StatsMap};
use indexmap::IndexMap;

use crate::error::DataError;
use crate::finding::{Finding, Severity};
use crate::format::{FormatVersion, Info, TableFile, read_json};
use crate::lineage::{Lineage, lineage, version_of};
use crate::video::VideoFile;

pub use annotations::{Annotations, SegmentLabel};
pub use depth::DepthScale;
pub(crate) use load::{elsewhere, load, read_episodes, read_task_list};

/// An open dataset.
pub struct Dataset {
    pub(crate) root: PathBuf,
    pub(crate) format: FormatVersion,
    pub(crate) info: Info,
    pub(crate) episodes: Vec<Episode>,
    pub(crate) tasks: Vec<String>,
    pub(crate) stats: StatsMap,
    pub(crate) tables: Mutex<HashMap<PathBuf, TableFile>>,
    pub(crate) videos: Mutex<HashMap<PathBuf, VideoFile>>,
    pub(crate) version: OnceLock<ContentHash>,
}

/// One episode: where its rows and frames are, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Index in the dataset.
    pub index: usize,
    /// Number of frames.
    pub length: usize,
    /// Instructions.
    pub tasks: Vec<String>,
    /// Its rows in the table.
    pub rows: RowSpan,
    /// Its frames by video key.
    pub videos: IndexMap<String, VideoSpan>,
    /// Success, seed and reward, where they were recorded by this program.
    pub outcome: EpisodeOutcome,
    /// What people or programs said of it afterwards.
    pub annotations: Annotations,
    /// Statistics of this episode alone.
    pub stats: StatsMap,
}

/// Rows of a table file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSpan {
    /// Absolute path of the Parquet file.
    pub file: PathBuf,
    /// Rows in that file.
    pub rows: Range<usize>,
    /// Rows counted over the whole dataset.
    pub global: Range<usize>,
}

/// Frames of a video file.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoSpan {
    /// Absolute path of the video file.
    pub file: PathBuf,
    /// Seconds at which the first frame is shown.
    pub from_timestamp: f64,
    /// Seconds at which the last frame ends.
    pub to_timestamp: f64,
}

/// The numeric columns of one episode.
pub type EpisodeTable = IndexMap<String, embody_core::Array>;

impl Dataset {
    /// Opens a LeRobotDataset v3.0 and checks that its description agrees with its files.
    ///
    /// # Errors
    /// When the path is missing, holds another version, a file is missing or damaged, or counts
    /// contradict each other; each names the file.
    pub fn open(root: &Path) -> Result<Self> {
        let dataset = Self::open_any(root)?;
        if dataset.format == FormatVersion::V30 {
            return Ok(dataset);
        }
        let version = dataset.format.as_str().to_owned();
        Err(DataError::OldVersion { path: root.to_owned(), version }.into())
    }

    /// Opens any version that this program knows, as strictly as [`Dataset::open`].
    ///
    /// # Errors
    /// As [`Dataset::open`], except for older versions.
    pub fn open_any(root: &Path) -> Result<Self> {
        let (dataset, findings) = load(root)?;
        if let Some(finding) = findings.into_iter().find(|f| f.severity == Severity::Error) {
            return Err(finding_error(root, finding));
        }
        Ok(dataset)
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Layout version on disk.
    pub fn format(&self) -> FormatVersion {
        self.format
    }

    /// `meta/info.json`.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Frames per second.
    pub fn fps(&self) -> f64 {
        self.info.fps
    }

    /// Episodes in order of their index.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// Statistics of the whole dataset; empty where it has none.
    pub fn stats(&self) -> &StatsMap {
        &self.stats
    }

    /// Statistics of a split, where [`crate::process()`] wrote them; else those of the whole dataset.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn split_stats(&self, split: &str) -> Result<StatsMap> {
        let path = self.root.join(format!("meta/stats_{split}.json"));
        if !split.contains('/') && path.exists() {
            return Ok(crate::format::parse_stats(&read_json(&path)?));
        }
        Ok(self.stats.clone())
    }

    /// Episode indices of a split; all where `split` is `None`.
    ///
    /// # Errors
    /// When the dataset does not declare it; names the ones that it does.
    pub fn split(&self, split: Option<&str>) -> Result<Range<usize>> {
        let Some(name) = split else { return Ok(0..self.episodes.len()) };
        match self.info.split(name) {
            Some(range) if range.end <= self.episodes.len() => Ok(range),
            _ => {
                let known: Vec<&str> = self.info.splits.keys().map(String::as_str).collect();
                Err(DataError::Request {
                    why: format!("{} has no split {name:?}", self.root.display()),
                    hint: format!("it has {}", known.join(", ")),
                }
                .into())
            }
        }
    }

    /// Instructions by task index.
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// Content hash of the dataset; the first call reads every file.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn version(&self) -> Result<ContentHash> {
        if let Some(version) = self.version.get() {
            return Ok(version.clone());
        }
        let version = version_of(&self.root)?;
        Ok(self.version.get_or_init(|| version).clone())
    }

    /// How it came to be; `None` where it was not made by this program.
    ///
    /// # Errors
    /// When the record can't be read.
    pub fn lineage(&self) -> Result<Option<Lineage>> {
        lineage(&self.root)
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("root", &self.root)
            .field("format", &self.format)
            .field("episodes", &self.episodes.len())
            .finish_non_exhaustive()
    }
}

/// A finding as the error that opening returns.
pub(crate) fn finding_error(root: &Path, finding: Finding) -> embody_core::Error {
    let path = finding.file.as_ref().map_or_else(|| root.to_owned(), |f| root.join(f));
    let place = match (finding.episode, finding.frame) {
        (Some(e), Some(f)) => format!("episode {e}, frame {f}: "),
        (Some(e), None) => format!("episode {e}: "),
        _ => String::new(),
    };
    let hint = finding.hint.unwrap_or_else(|| {
        format!("see everything that is wrong: embody data validate {}", root.display())
    });
    embody_core::Error::new(format!("{}: {place}{}", path.display(), finding.message))
        .with_hint(hint)
}

/// The layout version at `path`.
///
/// # Errors
/// When there is nothing, no dataset, or an unknown version.
pub fn detect_format(path: &Path) -> Result<FormatVersion> {
    if !path.exists() {
        return Err(DataError::Missing { path: path.to_owned() }.into());
    }
    let info = path.join("meta/info.json");
    if !info.is_file() {
        let why = if path.is_file() { "it is a file" } else { "it has no meta/info.json" };
        let why = why.to_owned();
        return Err(DataError::NotADataset { path: path.to_owned(), why }.into());
    }
    let value: serde_json::Value = read_json(&info)?;
    let version = value.get("codebase_version").and_then(|v| v.as_str()).unwrap_or("none");
    FormatVersion::parse(version)
        .ok_or_else(|| DataError::UnknownVersion { path: info, version: version.to_owned() }.into())
}
