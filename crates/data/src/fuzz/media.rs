//! Video files, AV1 streams, still and raw pictures.

use std::path::Path;

use super::{piece, put};
use crate::log::{Channel, Encoding};
use crate::message::{Camera, CdrWriter, Decoder};
use crate::mp4::read_track;
use crate::picture as stills;
use crate::video::{StreamDecoder, VideoFile, decode_frames, obu_types, with_sequence_header};

/// Frames decoded of one video: enough to leave the first key frame behind.
const FRAMES: usize = 4;

/// A video file: its index, and the first frames where it is AV1.
pub(super) fn mp4(bytes: &[u8], scratch: &Path) {
    let Ok(track) = read_track(bytes) else { return };
    let _ = (track.config.codec(), track.config.without_bit_rate());
    for sample in 0..track.samples.len().min(64) {
        let _ = track.data(bytes, sample);
    }
    let path = put(&scratch.join("input.mp4"), bytes);
    let Ok(file) = VideoFile::open(&path) else { return };
    for seconds in [0.0, 0.1, 1e9, -1.0, 1e300, -1e300, f64::NAN] {
        let _ = file.frame_at(seconds, 1e-4);
        let _ = file.span(seconds, seconds + 1.0, 30.0);
    }
    let indices: Vec<usize> = (0..file.len().min(FRAMES)).collect();
    let _ = decode_frames(&file, &indices, &|i| (0, i), &mut |_, _| Ok(()));
}

/// AV1 packets, each behind its length.
pub(super) fn av1(bytes: &[u8], _: &Path) {
    let Ok(mut decoder) = StreamDecoder::new() else { return };
    let mut rest = bytes;
    let mut before: &[u8] = &[];
    while let Some((packet, after)) = piece(rest) {
        rest = after;
        let _ = obu_types(packet);
        let whole = with_sequence_header(packet, before);
        before = packet;
        let _ = decoder.packet(whole, true);
    }
}

/// A still picture, by both ways that lead to one.
pub(super) fn picture(bytes: &[u8], _: &Path) {
    if let Ok((height, width)) = stills::size_of(bytes) {
        let _ = stills::decode(bytes, height, width);
    }
    see("sensor_msgs/msg/CompressedImage", &header().text("jpeg").bytes(bytes).finish());
}

/// Sizes and encoding of a raw picture, then its bytes.
pub(super) fn raw_picture(bytes: &[u8], _: &Path) {
    const ENCODINGS: [&str; 8] =
        ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC1", "8UC3", "yuv422"];
    let Some((head, data)) = bytes.split_first_chunk::<13>() else { return };
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let encoding = ENCODINGS[usize::from(head[12]) % ENCODINGS.len()];
    let message = header().long(long(0)).long(long(4)).text(encoding);
    see("sensor_msgs/msg/Image", &message.byte(0).long(long(8)).bytes(data).finish());
}

/// `std_msgs/Header` without content.
fn header() -> CdrWriter {
    CdrWriter::new().time(0).text("")
}

fn see(type_name: &str, message: &[u8]) {
    let channel = Channel {
        topic: String::new(),
        type_name: type_name.to_owned(),
        encoding: Encoding::Cdr,
        definition: None,
        metadata: Default::default(),
    };
    let decoder = Decoder::new(&channel).expect("a common type");
    let mut camera = Camera::new(type_name, &decoder).expect("a type of pictures");
    let _ = camera.picture(message, true);
}
