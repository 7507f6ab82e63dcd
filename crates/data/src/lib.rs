//! Datasets of embodied AI: the LeRobot v3 layout, video, validation, curation, lineage.
//!
//! The native layout is LeRobotDataset v3.0, read strictly and written exactly; v2.0 and v2.1 are
//! imported. AV1 video is decoded and encoded in process, other codecs by ffmpeg; edits copy packets
//! and never encode again. Every version of a dataset is named by the hash of its content and knows its parent.

mod annotate;
mod curate;
mod dataset;
mod diff;
mod edit;
mod error;
mod export;
mod files;
mod finding;
mod format;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod import;
mod inspect;
mod lineage;
mod log;
mod mapping;
mod message;
mod mp4;
mod picture;
mod process;
mod recorder;
mod repair;
mod ring;
mod rrd;
mod session;
mod source;
mod stats;
mod validate;
mod versions;
mod video;
mod writer;

pub use annotate::{Annotation, annotate, read_annotations};
pub use curate::{
    CameraMeasures, CrossCheck, DriftMeasures, DriftOf, EpisodeMeasures, FACTS, Fact, FactName,
    GripperMeasures, JudgedEpisode, Judgement, LagMeasures, Look, NearestMeasures, NonFinite,
    Phase, Plan, PlannedEpisode, Quality, Remark, Segment, Spike, Survey, SurveyOptions, findings,
    judge, plan, remarks, survey,
};
pub use dataset::{
    Annotations, Dataset, DepthScale, Episode, EpisodeTable, RowSpan, SegmentLabel, VideoSpan,
    detect_format,
};
pub use diff::{ChangedEpisode, DatasetDiff, DiffSide, EpisodesDiff, MovedStatistic, diff};
pub use edit::{
    EditReport, Part, Relabel, Trim, delete, merge, parse_episodes, relabel, split, trim,
};
pub use error::DataError;
pub use export::{ExportFormat, ExportOptions, ExportReport, episode_rrd, export};
pub use finding::{Finding, Severity};
pub use format::{FormatVersion, Info};
pub use import::{ImportOptions, ImportReport, StreamReport, UseReport, import, resample};
pub use inspect::{ChannelReport, Inspection, LogReport, inspect};
pub use lineage::{Lineage, StoreCopy, lineage, portable_lineage, record_store};
pub use log::{
    Channel, ClockDrift, Definition, Encoding, Log, LogClock, LogFormat, Message, Timing,
};
pub use mapping::{Clock, Mapping, Method};
pub use message::{Decoder, Plan as FieldPlan, Tree, Value};
pub use process::{
    DroppedEpisode, HELD_OUT, ProcessOptions, ProcessReport, TrimmedEpisode, process,
};
pub use recorder::{FrameValue, LeRobotRecorder, Origin, RecordReport, RecordSpec, RecoverReport};
pub use repair::{RepairReport, repair};
pub use ring::{BatchRing, Layout, RING_PROTOCOL, SlotArray};
pub use session::{PictureCoding, SessionCamera, SessionRecorder, SessionSpec};
pub use source::{DecodeWhen, FrameSource, Pixels, SourceEpisode, SourceOptions};
pub use stats::compute_stats;
pub use validate::{Checked, DecodeCheck, ValidateOptions, ValidationReport, validate};
pub use versions::{Manifest, StoredFile, Versions};
pub use video::{
    Ffmpeg, H264Preset, VideoCodec, VideoSettings, encode_mp4, ffmpeg, find_ffmpeg_by, use_ffmpeg,
};
