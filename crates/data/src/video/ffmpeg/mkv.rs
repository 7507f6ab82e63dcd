//! Matroska (RFC 9559) as far as a pipe needs it: one video track out to ffmpeg, one back from it.
//!
//! Each packet travels in a cluster of its own whose time is the packet's number, so no number can
//! overflow a block's 16 bits.

use std::io::{self, Read};

use super::codec::Codec;
use crate::video::yuv::Colour;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK: u32 = 0xae;
const VIDEO: u32 = 0xe0;
const COLOUR: u32 = 0x55b0;
const CLUSTER: u32 = 0x1f43_b675;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
const CODEC_PRIVATE: u32 = 0x63a2;
/// Largest element that is read from the pipe: beyond any frame, bounded all the same.
const LARGEST: u64 = 1 << 30;

/// What comes before the packets.
pub(super) fn head(codec: Codec, configuration: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, EBML, |b| {
        uint(b, 0x4286, 1);
        uint(b, 0x42f7, 1);
        uint(b, 0x42f2, 4);
        uint(b, 0x42f3, 8);
        element(b, 0x4282, |b| b.extend(b"matroska"));
        uint(b, 0x4287, 4);
        uint(b, 0x4285, 2);
    });
    // Of unknown size: it ends with the pipe.
    out.extend(SEGMENT.to_be_bytes());
    out.extend([0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    element(&mut out, INFO, |b| {
        uint(b, 0x2a_d7b1, 1_000_000);
        element(b, 0x4d80, |b| b.extend(b"embody"));
        element(b, 0x5741, |b| b.extend(b"embody"));
    });
    element(&mut out, TRACKS, |b| {
        element(b, TRACK, |b| {
            uint(b, 0xd7, 1);
            uint(b, 0x73c5, 1);
            uint(b, 0x83, 1);
            uint(b, 0x9c, 0);
            element(b, 0x86, |b| b.extend(codec.matroska_id().as_bytes()));
            if !configuration.is_empty() {
                element(b, CODEC_PRIVATE, |b| b.extend(configuration));
            }
            element(b, VIDEO, |b| {
                uint(b, 0xb0, width as u64);
                uint(b, 0xba, height as u64);
            });
        });
    });
    out
}

/// A packet in a cluster of its own; `number` comes back with its frame.
pub(super) fn packet(number: u64, key: bool, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 40);
    element(&mut out, CLUSTER, |b| {
        uint(b, 0xe7, number);
        element(b, SIMPLE_BLOCK, |b| {
            b.extend([0x81, 0, 0, if key { 0x80 } else { 0 }]);
            b.extend(data);
        });
    });
    out
}

fn element(out: &mut Vec<u8>, id: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let bytes = id.to_be_bytes();
    out.extend(&bytes[(id.leading_zeros() / 8) as usize..]);
    let at = out.len();
    out.extend([0; 8]);
    body(out);
    let size = (out.len() - at - 8) as u64 | 1 << 56;
    out[at..at + 8].copy_from_slice(&size.to_be_bytes());
}

fn uint(out: &mut Vec<u8>, id: u32, value: u64) {
    element(out, id, |b| b.extend(value.to_be_bytes()));
}

/// What a stream says of its only track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Track {
    pub configuration: Vec<u8>,
    pub colour: Colour,
}

/// Reads a stream; `take` gets the track, and each packet with whether it is a key frame. It ends
/// where `take` gives `false`.
pub(super) fn read(
    mut input: impl Read,
    mut take: impl FnMut(&Track, Option<(Vec<u8>, bool)>) -> bool,
) -> io::Result<()> {
    let mut track = Track::default();
    while let Some((id, size)) = head_of(&mut input)? {
        match id {
            SEGMENT | CLUSTER | TRACKS | TRACK | VIDEO | COLOUR | BLOCK_GROUP => continue,
            _ => {}
        }
        let size = size.filter(|&s| s <= LARGEST).ok_or_else(|| bad("an element of any size"))?;
        let mut body = Vec::new();
        input.by_ref().take(size).read_to_end(&mut body)?;
        if body.len() as u64 != size {
            return Err(bad("an element is cut off"));
        }
        let number = || body.iter().take(8).fold(0u64, |sum, &b| sum << 8 | u64::from(b));
        match id {
            CODEC_PRIVATE => track.configuration = body,
            0x55b1 => track.colour.matrix = number() as u8,
            0x55b9 => track.colour.full_range = number() == 2,
            // The time of a cluster: the first one ends the description.
            0xe7 if !take(&track, None) => return Ok(()),
            SIMPLE_BLOCK | BLOCK => {
                // Track number (one byte), time (two), flags.
                let flags = body.get(3).copied().ok_or_else(|| bad("an empty block"))?;
                if !take(&track, Some((body.split_off(4), flags & 0x80 != 0))) {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Identifier and size of the next element; no size where it is unknown, `None` at the end.
fn head_of(input: &mut impl Read) -> io::Result<Option<(u32, Option<u64>)>> {
    let mut byte = [0];
    if input.read(&mut byte)? == 0 {
        return Ok(None);
    }
    let more = byte[0].leading_zeros() as usize;
    if more > 3 {
        return Err(bad("not an element"));
    }
    let mut id = u32::from(byte[0]);
    for _ in 0..more {
        input.read_exact(&mut byte)?;
        id = id << 8 | u32::from(byte[0]);
    }
    input.read_exact(&mut byte)?;
    let more = byte[0].leading_zeros();
    if more > 7 {
        return Err(bad("not a size"));
    }
    let mut size = u64::from(byte[0]) & ((1 << (7 - more)) - 1);
    for _ in 0..more {
        input.read_exact(&mut byte)?;
        size = size << 8 | u64::from(byte[0]);
    }
    let unknown = size == (1 << (7 * (more + 1))) - 1;
    Ok(Some((id, (!unknown).then_some(size))))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("Matroska from ffmpeg: {why}"))
}
