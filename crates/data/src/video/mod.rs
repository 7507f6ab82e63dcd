//! Video: AV1 in process. Frames in as RGB, packets out; packets in, exact frames out.
//!
//! Invariants: a frame is addressed by its index in presentation order, times are integer ticks;
//! decoding starts at the sync frame before the first one asked for and never decodes a frame twice
//! in one request; the number of threads changes no byte.

mod decode;
mod encode;
mod obu;
#[cfg(test)]
mod tests;
mod yuv;

pub(crate) use decode::{StreamDecoder, VideoFile, decode_frames, map_file};
pub(crate) use encode::{EncodedVideo, Segment, SegmentEncoder, TICKS_PER_FRAME};
pub use encode::{VideoSettings, encode_mp4};
pub(crate) use obu::{obu_types, with_sequence_header};
pub(crate) use yuv::I420;

/// Whether two codec names mean the same: LeRobot writes encoders' names as well as codecs'.
pub(crate) fn same_codec(a: &str, b: &str) -> bool {
    let canonical = |name: &str| match name {
        "libsvtav1" | "libaom-av1" | "av01" => "av1".to_owned(),
        "libx264" | "avc1" | "avc" => "h264".to_owned(),
        "libx265" | "h265" | "hvc1" | "hev1" => "hevc".to_owned(),
        other => other.to_owned(),
    };
    canonical(a) == canonical(b)
}
