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
mod inspect;
mod lineage;
mod log;
mod mapping;
mod message;
mod mp4;
mod process;
mod recorder;
mod source;
mod stats;
mod validate;
mod video;
mod writer;

pub use dataset::{Dataset, Episode, EpisodeTable, RowSpan, VideoSpan, detect_format};
pub use error::DataError;
pub use export::{ExportReport, export_mcap};
pub use finding::{Finding, Severity};
pub use format::{FormatVersion, Info};
pub use import::{ImportOptions, ImportReport, StreamReport, UseReport, import, resample};
pub use inspect::{ChannelReport, Inspection, LogReport, inspect};
pub use lineage::{Lineage, lineage};
pub use log::{Channel, ClockDrift, Definition, Encoding, Log, LogFormat, Message, Timing};
pub use mapping::{Clock, Mapping, Method};
pub use message::{Decoder, Plan, Tree, Value};
pub use process::{
    DroppedEpisode, HELD_OUT, ProcessOptions, ProcessReport, TrimmedEpisode, process,
};
pub use recorder::{LeRobotRecorder, Origin, RecordReport, RecordSpec};
pub use source::{FrameSource, SourceEpisode, SourceOptions};
pub use validate::{Checked, DecodeCheck, ValidateOptions, ValidationReport, validate};
pub use video::{VideoSettings, encode_mp4};
