//! MP4 (ISO BMFF, ISO/IEC 14496-12) as far as one video track needs it: read the sample table of a
//! file in memory, write a new file from packets.
//!
//! Why our own: edits of a dataset are packet copies, so the codec's sample entry must survive byte
//! for byte whatever codec it is, and every read must be bounds-checked, since files are foreign.
//! Invariants: reading never panics and never allocates more than the file justifies; times are
//! integers in the track's timescale, never floats.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::read_track;
pub(crate) use write::{Mp4Writer, sample_entry};

/// The children of a visual sample entry follow 86 fixed bytes (ISO/IEC 14496-12 §12.1.3).
const CHILDREN: usize = 86;

/// Codec description and timing of a video track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackConfig {
    /// Ticks per second.
    pub timescale: u32,
    /// The whole sample entry box of `stsd`, as in the file.
    pub sample_entry: Vec<u8>,
    /// Pixels, from the sample entry.
    pub width: u16,
    /// Pixels, from the sample entry.
    pub height: u16,
    /// Composition time of the first presented frame (edit list), ticks.
    pub media_time: i64,
}

impl TrackConfig {
    /// Four characters of the sample entry, such as `av01`.
    pub fn four_cc(&self) -> [u8; 4] {
        let mut out = [0; 4];
        if let Some(bytes) = self.sample_entry.get(4..8) {
            out.copy_from_slice(bytes);
        }
        out
    }

    /// Content of the child box `kind` of the sample entry, such as `avcC`.
    pub fn child(&self, kind: &[u8; 4]) -> Option<&[u8]> {
        let mut rest = self.sample_entry.get(CHILDREN..)?;
        while let Some(head) = rest.get(..8) {
            let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let child = rest.get(..size).filter(|c| c.len() >= 8)?;
            if &head[4..8] == kind {
                return Some(&child[8..]);
            }
            rest = &rest[size..];
        }
        None
    }

    /// The same without the statement of bit rates (`btrt`), which is of one file and nothing that a
    /// decoder needs: episodes that differ in it alone can share a file.
    pub fn without_bit_rate(&self) -> Self {
        let entry = &self.sample_entry;
        let mut kept = entry.get(..CHILDREN).unwrap_or(entry).to_vec();
        let mut at = kept.len();
        while let Some(head) = entry.get(at..at + 8) {
            let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some(child) = entry.get(at..at.saturating_add(size)).filter(|c| c.len() >= 8)
            else {
                break;
            };
            if &head[4..8] != b"btrt" {
                kept.extend(child);
            }
            at += size;
        }
        kept.extend(&entry[at..]);
        let size = (kept.len() as u32).to_be_bytes();
        if let Some(head) = kept.get_mut(..4) {
            head.copy_from_slice(&size);
        }
        Self { sample_entry: kept, ..self.clone() }
    }

    /// Codec name as LeRobot (ffmpeg) spells it.
    pub fn codec(&self) -> String {
        match &self.four_cc() {
            b"av01" => "av1".to_owned(),
            b"avc1" | b"avc3" => "h264".to_owned(),
            b"hvc1" | b"hev1" => "hevc".to_owned(),
            b"mp4v" => "mpeg4".to_owned(),
            b"vp09" => "vp9".to_owned(),
            b"vp08" => "vp8".to_owned(),
            other => String::from_utf8_lossy(other).trim().to_owned(),
        }
    }
}

/// One coded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Where its bytes start in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Presentation time in ticks, edit list applied.
    pub pts: i64,
    /// Composition offset in ticks.
    pub cts: i32,
    /// Ticks until the next decoding time.
    pub duration: u32,
    /// Whether decoding can start here.
    pub sync: bool,
}

/// A video track: configuration and samples in decoding order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    /// Codec and timing.
    pub config: TrackConfig,
    /// Coded frames in decoding order.
    pub samples: Vec<Sample>,
}

impl Track {
    /// Bytes of sample `index` in the file's `bytes`; `None` where the file is too short.
    pub fn data<'a>(&self, bytes: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let sample = self.samples.get(index)?;
        let start = usize::try_from(sample.offset).ok()?;
        bytes.get(start..start.checked_add(sample.size as usize)?)
    }
}

/// A packet to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// Coded bytes.
    pub data: &'a [u8],
    /// Ticks until the next decoding time.
    pub duration: u32,
    /// Composition offset in ticks.
    pub cts: i32,
    /// Whether decoding can start here.
    pub sync: bool,
}
