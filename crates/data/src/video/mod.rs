//! Video: AV1 in process, other codecs by ffmpeg. Frames in as RGB, packets out; packets in, exact
//! frames out.
//!
//! Invariants: a frame is addressed by its index in presentation order, times are integer ticks;
//! decoding starts at the sync frame before the first one asked for and never decodes a frame twice
//! in one request; the number of threads changes no byte.

mod decode;
mod encode;
mod ffmpeg;
mod obu;
#[cfg(test)]
mod tests;
mod yuv;

pub(crate) use decode::{StreamDecoder, VideoFile, decode_frames, decode_luma, map_file};
pub(crate) use encode::{EncodedVideo, Segment, SegmentEncoder, TICKS_PER_FRAME};
pub use encode::{H264Preset, VideoCodec, VideoSettings, encode_mp4};
pub use ffmpeg::{Ffmpeg, ffmpeg, find_ffmpeg_by, use_ffmpeg};
pub(crate) use ffmpeg::{NO_FFMPEG_HINT, can_decode};
pub(crate) use obu::with_sequence_header;
pub(crate) use yuv::I420;

/// Whether decoding a stream of packets of `format` can begin with `packet`: AV1 with a sequence header
/// (section 5.3.2, OBU type 1), H.264 and HEVC with their parameter sets.
pub(crate) fn begins_stream(format: &str, packet: &[u8]) -> bool {
    match format.to_ascii_lowercase().as_str() {
        "av1" => obu::obu_types(packet).is_none_or(|types| types.contains(&1)),
        "h264" => ffmpeg::starts_annex_b(ffmpeg::Codec::H264, packet),
        "h265" | "hevc" => ffmpeg::starts_annex_b(ffmpeg::Codec::Hevc, packet),
        _ => true,
    }
}

/// Whether two codec names mean the same: LeRobot writes encoders' names as well as codecs'.
pub(crate) fn same_codec(a: &str, b: &str) -> bool {
    const NAMES: &[(&str, &[&str])] = &[
        ("av1", &["libsvtav1", "libaom-av1", "librav1e", "av1_nvenc", "av01"]),
        ("h264", &["libx264", "avc1", "avc", "h264_nvenc", "h264_vaapi", "h264_videotoolbox"]),
        ("hevc", &["libx265", "h265", "hvc1", "hev1", "hevc_nvenc", "hevc_videotoolbox"]),
        ("vp9", &["libvpx-vp9", "vp09"]),
    ];
    let canonical = |name: &str| -> String {
        let known = NAMES.iter().find(|(_, also)| also.contains(&name));
        known.map_or(name, |k| k.0).to_owned()
    };
    canonical(a) == canonical(b)
}
