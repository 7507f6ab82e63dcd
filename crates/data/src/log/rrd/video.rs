//! A video file inside a recording, shown frame by frame (`AssetVideo`, `VideoFrameReference`):
//! its packets as messages of a video stream, without decoding.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::Buffer;

use super::super::merge::Place;
use crate::message::CdrWriter;
use crate::mp4::{Track, read_track};
use crate::video::with_sequence_header;

/// Frames of one part, which is in memory at a time.
const PART: usize = 64;

/// A video file and what of it is shown when.
#[derive(Debug)]
pub(super) struct Footage {
    file: Buffer,
    track: Track,
    av1c: Vec<u8>,
    /// Time and packet, by rising time.
    shown: Vec<(i64, usize)>,
    /// Why it can't be handed out as packets.
    pub trouble: Option<String>,
}

/// Nanoseconds inside the video that each row refers to.
pub(super) fn references(fields: &[(&str, &ArrayRef)]) -> Vec<Option<i64>> {
    let column = fields.iter().find(|f| f.0 == "timestamp").and_then(|f| f.1.as_list_opt::<i32>());
    let Some(column) = column else { return Vec::new() };
    let first = |row| {
        let values = (!column.is_null(row)).then(|| column.value(row))?;
        values.as_primitive_opt::<Int64Type>().filter(|v| !v.is_empty()).map(|v| v.value(0))
    };
    (0..column.len()).map(first).collect()
}

impl Footage {
    /// Of the bytes of an MP4 file.
    pub fn of(file: Buffer) -> Result<Self, String> {
        let track = read_track(&file)?;
        let codec = track.config.codec();
        if codec != "av1" {
            return Err(format!("video files of codec {codec}"));
        }
        let entry = &track.config.sample_entry;
        let at = entry.windows(4).position(|w| w == b"av1C").unwrap_or(entry.len());
        let size = entry.get(at.wrapping_sub(4)..at);
        let size = size.map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
        let av1c = entry.get(at + 4..(at + size).saturating_sub(4)).unwrap_or(&[]).to_vec();
        Ok(Self { file, track, av1c, shown: Vec::new(), trouble: None })
    }

    /// Takes which nanosecond of the video is shown at which time, by rising time; gives the time
    /// spans of its parts. A frame that is shown on is one message.
    pub fn show(&mut self, references: &[(i64, i64)]) -> Vec<Place> {
        let scale = i128::from(self.track.config.timescale.max(1));
        let nanos = |ticks: i64| (i128::from(ticks) * 1_000_000_000 / scale) as i64;
        let half = nanos(1).max(1) / 2 + 1;
        let starts: Vec<i64> = self.track.samples.iter().map(|s| nanos(s.pts)).collect();
        if !starts.is_sorted() {
            self.trouble = Some("video files with frames out of order".to_owned());
            return Vec::new();
        }
        let mut last = None;
        for &(time, at) in references {
            let sample = starts.partition_point(|s| *s <= at.saturating_add(half));
            let Some(sample) = sample.checked_sub(1) else { continue };
            if last == Some(sample) {
                continue;
            }
            let follows = last.map_or(self.track.samples[sample].sync, |last| sample == last + 1);
            if !follows && !self.track.samples[sample].sync {
                self.trouble = Some("video files whose frames are shown with gaps".to_owned());
                self.shown.clear();
                return Vec::new();
            }
            last = Some(sample);
            self.shown.push((time, sample));
        }
        let span = |part: &[(i64, usize)]| Place { start: part[0].0, end: part[part.len() - 1].0 };
        self.shown.chunks(PART).map(span).collect()
    }

    /// Hands out the frames of a part as `foxglove_msgs/msg/CompressedVideo`.
    pub fn load(&self, part: usize, mut put: impl FnMut(i64, Vec<u8>)) {
        for &(time, sample) in self.shown.chunks(PART).nth(part).unwrap_or(&[]) {
            let Some(packet) = self.track.data(&self.file, sample) else { continue };
            let sync = self.track.samples[sample].sync;
            let packet =
                if sync { with_sequence_header(packet, &self.av1c) } else { packet.to_vec() };
            put(time, CdrWriter::new().time(time).text("").bytes(&packet).text("av1").finish());
        }
    }
}
