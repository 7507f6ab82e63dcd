//! Video: AV1 in process. Frames in as RGB, packets out; packets in, exact frames out.
//!
//! Invariants: a frame is addressed by its index in presentation order, times are integer ticks;
//! decoding starts at the sync frame before the first one asked for and never decodes a frame twice
//! in one request; the number of threads changes no byte.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod yuv;

pub(crate) use decode::{VideoFile, decode_frames};
pub use encode::{VideoSettings, encode_mp4};
pub(crate) use encode::{EncodedVideo, Segment, SegmentEncoder, TICKS_PER_FRAME};
pub(crate) use yuv::I420;
