//! Decoding: a memory-mapped file, its sample table, and a decoder per thread.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embody_core::{IoContext, Result};
use memmap2::Mmap;

use super::yuv::to_rgb;
use crate::error::DataError;
use crate::mp4::{Track, read_track};

/// A video file: mapped bytes and sample table. Cheap to clone, shared between threads.
#[derive(Debug, Clone)]
pub(crate) struct VideoFile {
    path: Arc<PathBuf>,
    map: Arc<Mmap>,
    track: Arc<Track>,
    /// Samples by presentation time: `(pts, sample)`.
    shown: Arc<Vec<(i64, u32)>>,
}

impl VideoFile {
    /// Maps `path` and reads its index.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).at("open video", path)?;
        let map = map_file(&file).at("map video", path)?;
        let track =
            read_track(&map).map_err(|why| DataError::ReadVideo { path: path.to_owned(), why })?;
        let mut shown: Vec<(i64, u32)> =
            track.samples.iter().enumerate().map(|(i, s)| (s.pts, i as u32)).collect();
        shown.sort_unstable();
        Ok(Self {
            path: Arc::new(path.to_owned()),
            map: Arc::new(map),
            track: Arc::new(track),
            shown: Arc::new(shown),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Configuration and samples.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Presentation time of frame `index` in ticks.
    pub fn pts(&self, index: usize) -> Option<i64> {
        self.shown.get(index).map(|s| s.0)
    }

    /// Bytes of sample `index` (decoding order); `None` where the file is cut off before its end.
    pub fn sample(&self, index: usize) -> Option<&[u8]> {
        self.track.data(&self.map, index)
    }

    /// Seconds as ticks, rounded.
    pub fn ticks(&self, seconds: f64) -> i64 {
        (seconds * f64::from(self.track.config.timescale)).round() as i64
    }

    /// Presentation index of the frame nearest to `seconds`, if within `tolerance` seconds.
    pub fn frame_at(&self, seconds: f64, tolerance: f64) -> Option<usize> {
        let ticks = self.ticks(seconds);
        let after = self.shown.partition_point(|s| s.0 < ticks);
        let near = [after.checked_sub(1), Some(after)]
            .into_iter()
            .flatten()
            .filter(|&i| i < self.shown.len())
            .min_by_key(|&i| self.shown[i].0.abs_diff(ticks))?;
        let slack = (tolerance * f64::from(self.track.config.timescale)).ceil() as u64;
        (self.shown[near].0.abs_diff(ticks) <= slack).then_some(near)
    }

    /// Presentation indices of the frames in `[from, to)` seconds, half a frame of slack each way.
    pub fn span(&self, from: f64, to: f64, fps: f64) -> Range<usize> {
        let (from, to) = (self.ticks(from - 0.5 / fps), self.ticks(to - 0.5 / fps));
        let start = self.shown.partition_point(|s| s.0 < from);
        start..self.shown.partition_point(|s| s.0 < to).max(start)
    }

    /// Sample number (decoding order) of presentation index `index`.
    pub fn sample_of(&self, index: usize) -> Option<usize> {
        self.shown.get(index).map(|s| s.1 as usize)
    }

    /// An error about a frame of this file.
    pub fn frame_error(
        &self,
        (episode, frame): (usize, usize),
        why: impl Into<String>,
        hint: &'static str,
    ) -> DataError {
        DataError::Frame { path: self.path().to_owned(), episode, frame, why: why.into(), hint }
    }
}

/// Maps a whole file.
#[allow(unsafe_code)]
pub(crate) fn map_file(file: &std::fs::File) -> std::io::Result<Mmap> {
    // SAFETY: dataset files are never written in place (writers build aside and rename), so the
    // mapping's bytes do not change; a file truncated by others while mapped would raise SIGBUS,
    // the accepted risk of every memory-mapped reader.
    unsafe { Mmap::map(file) }
}

/// A sample inside the mapping, as the decoder wants it: owned.
struct Slice {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

const DAMAGED: &str = "the video is damaged or cut off; copy, download or record it again";

thread_local! {
    static DECODER: RefCell<Option<re_rav1d::Decoder>> = const { RefCell::new(None) };
}

/// Decodes frames of `file` and hands each to `take` as `(position in indices, RGB)`.
///
/// `indices` are presentation indices in ascending order; `name` says which (episode, frame) a
/// position is, for errors. Runs on the calling thread.
pub(crate) fn decode_frames(
    file: &VideoFile,
    indices: &[usize],
    name: &dyn Fn(usize) -> (usize, usize),
    take: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    if indices.is_empty() {
        return Ok(());
    }
    let codec = file.track.config.codec();
    if codec != "av1" {
        return Err(file
            .frame_error(
                name(0),
                format!("codec {codec} can't be decoded here"),
                "this version decodes AV1 only; transcode the videos to AV1 with ffmpeg",
            )
            .into());
    }
    let decoder = match DECODER.with_borrow_mut(Option::take) {
        Some(decoder) => decoder,
        None => new_decoder().map_err(|why| file.frame_error(name(0), why, DAMAGED))?,
    };
    let mut run = Run { file, decoder, next_sample: None, rgb: Vec::new() };
    for (position, &index) in indices.iter().enumerate() {
        let place = name(position);
        run.frame(index).map_err(|why| file.frame_error(place, why, DAMAGED))?;
        take(position, &run.rgb)?;
    }
    let Run { mut decoder, .. } = run;
    decoder.flush();
    DECODER.with_borrow_mut(|slot| *slot = Some(decoder));
    Ok(())
}

fn new_decoder() -> std::result::Result<re_rav1d::Decoder, String> {
    let mut settings = re_rav1d::Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    // 2^27 pixels: beyond any camera, far below what exhausts memory.
    settings.set_frame_size_limit(1 << 27);
    re_rav1d::Decoder::with_settings(&settings).map_err(|e| format!("decoder: {e}"))
}

/// A run of decoding through one file.
struct Run<'a> {
    file: &'a VideoFile,
    decoder: re_rav1d::Decoder,
    /// The sample that the decoder expects next; `None` before the first.
    next_sample: Option<usize>,
    rgb: Vec<u8>,
}

impl Run<'_> {
    /// Decodes presentation index `index` into `self.rgb`.
    fn frame(&mut self, index: usize) -> std::result::Result<(), String> {
        let file = self.file;
        let target = file
            .sample_of(index)
            .ok_or_else(|| format!("the file has only {} frames", file.len()))?;
        let samples = &file.track.samples;
        let sync = (0..=target)
            .rev()
            .find(|&i| samples[i].sync)
            .ok_or("no key frame before this frame")?;
        let start = match self.next_sample {
            Some(next) if next == target + 1 => return Ok(()),
            Some(next) if next <= target && next >= sync => next,
            _ => {
                self.decoder.flush();
                sync
            }
        };
        for sample in start..=target {
            let picture = self.decode(sample)?;
            self.next_sample = Some(sample + 1);
            if sample == target {
                let pixels = picture.width() as usize * picture.height() as usize;
                self.rgb.resize(pixels * 3, 0);
                to_rgb(&picture, &mut self.rgb)?;
            }
        }
        Ok(())
    }

    /// One temporal unit in, one shown picture out.
    fn decode(&mut self, sample: usize) -> std::result::Result<re_rav1d::Picture, String> {
        let file = self.file;
        let cut = || format!("the file ends before this frame ({} bytes)", file.map.len());
        let bytes = file.sample(sample).ok_or_else(cut)?;
        if bytes.is_empty() {
            return Err("empty packet".to_owned());
        }
        let from = file.track.samples[sample].offset as usize;
        let slice = Slice { map: Arc::clone(&file.map), range: from..from + bytes.len() };
        let shown = temporal_unit(&mut self.decoder, slice)?;
        shown.ok_or_else(|| "the packet shows no picture".to_owned())
    }
}

/// Gives the decoder one temporal unit; the picture that it shows, if any.
fn temporal_unit(
    decoder: &mut re_rav1d::Decoder,
    data: impl AsRef<[u8]> + Send + Sync + 'static,
) -> std::result::Result<Option<re_rav1d::Picture>, String> {
    let mut again = match decoder.send_data(data, None, None, None) {
        Ok(()) => false,
        Err(re_rav1d::Error::Again) => true,
        Err(e) => return Err(format!("damaged packet ({e})")),
    };
    // A unit with several layers would give several pictures; the last is the one shown.
    let mut shown = None;
    loop {
        match decoder.get_picture() {
            Ok(picture) => shown = Some(picture),
            Err(re_rav1d::Error::Again) => {
                if !again {
                    break;
                }
            }
            Err(e) => return Err(format!("damaged packet ({e})")),
        }
        if again {
            again = match decoder.send_pending_data() {
                Ok(()) => false,
                Err(re_rav1d::Error::Again) => true,
                Err(e) => return Err(format!("damaged packet ({e})")),
            };
        }
    }
    Ok(shown)
}

/// Decodes packets that come one by one, outside any file.
pub(crate) struct StreamDecoder {
    decoder: re_rav1d::Decoder,
    started: bool,
}

impl StreamDecoder {
    /// A decoder that waits for a key frame.
    pub fn new() -> std::result::Result<Self, String> {
        Ok(Self { decoder: new_decoder()?, started: false })
    }

    /// Decodes a packet; width, height and RGB of what it shows, if that is `wanted`. `None` also
    /// before the first key frame.
    pub fn packet(
        &mut self,
        data: Vec<u8>,
        wanted: bool,
    ) -> std::result::Result<Option<(usize, usize, Vec<u8>)>, String> {
        if data.is_empty() {
            return Err("empty packet".to_owned());
        }
        let shown = match temporal_unit(&mut self.decoder, data) {
            Ok(shown) => shown,
            // Nothing can be decoded before a sequence header has come.
            Err(_) if !self.started => return Ok(None),
            Err(why) => return Err(why),
        };
        self.started |= shown.is_some();
        let Some(picture) = shown else { return Ok(None) };
        if !wanted {
            return Ok(None);
        }
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut rgb = vec![0; width * height * 3];
        to_rgb(&picture, &mut rgb)?;
        Ok(Some((width, height, rgb)))
    }
}
