//! What can go wrong with a dataset, each with the file and the place in it.

use std::path::{Path, PathBuf};

use embody_core::Hint;

/// Errors of this crate; they become [`embody_core::Error`] at its boundary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing is there.
    #[error("no such dataset: {}", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// A folder that holds no dataset.
    #[error("{} is not a dataset: {why}", path.display())]
    NotADataset {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// A path that holds nothing which is read.
    #[error("{} is no recording that is known: {why}", path.display())]
    UnknownFormat {
        /// The file or folder.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// A LeRobot version that has to be imported first.
    #[error("{} is a LeRobot {version} dataset, not v3.0", path.display())]
    OldVersion {
        /// The folder.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// A LeRobot version of which nothing is known.
    #[error("{} has unknown dataset version {version:?}", path.display())]
    UnknownVersion {
        /// The info.json.
        path: PathBuf,
        /// What it says.
        version: String,
    },
    /// A JSON file that can't be understood.
    #[error("could not read {}: {why}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        why: String,
    },
    /// A Parquet file that can't be read.
    #[error("could not read {}: {why}", path.display())]
    ReadTable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A Parquet file that can't be written.
    #[error("could not write {}: {why}", path.display())]
    WriteTable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
        /// Whether the disk is full.
        full: bool,
    },
    /// A table that contradicts the description of the dataset.
    #[error("{}: {why}", path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// What contradicts what.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A video file that can't be understood.
    #[error("could not read video {}: {why}", path.display())]
    ReadVideo {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A video whose codec needs ffmpeg, where there is none.
    #[error("{}: its codec is {codec}, which ffmpeg decodes, and {why}", path.display())]
    NoFfmpeg {
        /// The video file.
        path: PathBuf,
        /// Its codec.
        codec: String,
        /// Why there is none.
        why: String,
    },
    /// A frame that can't be had.
    #[error("{}: episode {episode}, frame {frame}: {why}", path.display())]
    Frame {
        /// The video file.
        path: PathBuf,
        /// Episode index.
        episode: usize,
        /// Frame inside the episode.
        frame: usize,
        /// The reason.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A recording of another format that can't be understood.
    #[error("{}: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Episode and column in it, and what is wrong.
        why: String,
    },
    /// A message log that can't be read at all.
    #[error("could not read {}: {why}", path.display())]
    ReadLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
        /// What to do.
        hint: String,
    },
    /// A message that can't be decoded.
    #[error("{}: topic {topic}, message {message}: {why}", path.display())]
    Message {
        /// The log.
        path: PathBuf,
        /// Topic.
        topic: String,
        /// Number of the message on that topic, from 0.
        message: usize,
        /// The reason.
        why: String,
    },
    /// A mapping from topics to features that can't be used.
    #[error("{at}: {why}")]
    Mapping {
        /// File and line.
        at: String,
        /// The reason.
        why: String,
        /// What to do.
        hint: String,
    },
    /// Encoding failed.
    #[error("could not encode video: {why}")]
    Encode {
        /// The reason.
        why: String,
    },
    /// Encoding needs ffmpeg, and there is none.
    #[error("could not encode video: H.264 is encoded by ffmpeg, and {why}")]
    EncodeTool {
        /// Why there is none.
        why: String,
    },
    /// A recorder was given something that it can't take.
    #[error("recording episode {episode}, frame {frame}: {why}")]
    Record {
        /// Episode index.
        episode: usize,
        /// Frame inside the episode.
        frame: usize,
        /// The reason.
        why: String,
    },
    /// A request that makes no sense for this dataset.
    #[error("{why}")]
    Request {
        /// What was asked.
        why: String,
        /// What to do.
        hint: String,
    },
}

impl Hint for DataError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } => "check the path",
            Self::NotADataset { .. } => {
                "point at the folder that holds `meta/info.json` (LeRobot v2.0, v2.1 or v3.0)"
            }
            Self::UnknownFormat { .. } => {
                "docs/guides/formats.md lists what is read: a LeRobot or RLDS folder, HDF5, Zarr"
            }
            Self::OldVersion { path, .. } => {
                return Some(format!(
                    "convert it first: embody data import {} TARGET",
                    path.display()
                ));
            }
            Self::UnknownVersion { .. } => {
                "this program reads v2.0, v2.1 and v3.0; ask for a newer one"
            }
            Self::Json { .. } | Self::ReadTable { .. } | Self::ReadVideo { .. } => {
                "the file is damaged or incomplete; copy or download it again"
            }
            Self::WriteTable { full: true, .. } => {
                "free some space on that disk, then run the same command again"
            }
            Self::WriteTable { .. } => "check permissions and the disk",
            Self::Inconsistent { hint, .. } | Self::Frame { hint, .. } => hint,
            Self::Foreign { .. } => {
                "the file is damaged, incomplete or of a kind that is not read (docs/guides/formats.md \
                 lists what is); copy or download it again, or leave the column out: --rename COLUMN="
            }
            Self::Encode { .. } => return None,
            Self::NoFfmpeg { .. } | Self::EncodeTool { .. } => crate::video::NO_FFMPEG_HINT,
            Self::Record { .. } => "give every declared feature, in its shape, with finite values",
            Self::Message { .. } => {
                "the message is damaged or of another type; see embody data inspect"
            }
            Self::ReadLog { hint, .. }
            | Self::Mapping { hint, .. }
            | Self::Request { hint, .. } => return Some(hint.clone()),
        };
        Some(hint.to_owned())
    }
}

/// Says that reading `path` as Parquet or Arrow failed.
pub(crate) fn read_table(path: &Path, error: impl std::fmt::Display) -> DataError {
    let text = error.to_string();
    let why = if text.contains("footer") || text.contains("magic") || text.contains("EOF") {
        format!("truncated or not Parquet ({text})")
    } else {
        text
    };
    DataError::ReadTable { path: path.to_owned(), why }
}

/// Says that writing `path` as Parquet failed, and whether the disk is full.
pub(crate) fn write_table(path: &Path, error: &(dyn std::error::Error + 'static)) -> DataError {
    let mut source = Some(error);
    let mut full = false;
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            full |= matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            );
        }
        source = cause.source();
    }
    let why = error.to_string();
    full |= why.contains("No space left");
    DataError::WriteTable { path: path.to_owned(), why, full }
}
