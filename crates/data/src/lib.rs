//! Datasets of embodied AI: the LeRobot v3 layout, video, validation, curation, lineage.
//!
//! The native layout is LeRobotDataset v3.0, read strictly and written exactly; v2.0 and v2.1 are
//! imported. Video is AV1, decoded and encoded in process; edits copy packets and never encode
//! again. Every version of a dataset is named by the hash of its content and knows its parent.

mod dataset;
mod error;
mod export;
mod finding;
mod format;
mod import;
mod lineage;
mod mp4;
mod picture;
mod process;
mod recorder;
mod source;
mod stats;
mod validate;
mod video;
mod writer;

pub use dataset::{Dataset, Episode, EpisodeTable, RowSpan, VideoSpan, detect_format};
pub use error::DataError;
pub use export::{ExportFormat, ExportOptions, ExportReport, export};
pub use finding::{Finding, Severity};
pub use format::{FormatVersion, Info};
pub use import::{ImportOptions, ImportReport, import};
pub use lineage::{Lineage, lineage};
pub use process::{
    DroppedEpisode, HELD_OUT, ProcessOptions, ProcessReport, TrimmedEpisode, process,
};
pub use recorder::{FrameValue, LeRobotRecorder, Origin, RecordReport, RecordSpec};
pub use source::{FrameSource, SourceEpisode, SourceOptions};
pub use validate::{Checked, DecodeCheck, ValidateOptions, ValidationReport, validate};
pub use video::{VideoSettings, encode_mp4};
