//! Datasets of embodied AI: the LeRobot v3 layout, video, validation, curation, lineage.

mod error;
mod mp4;
mod video;

pub use error::DataError;
pub use video::{VideoSettings, encode_mp4};
