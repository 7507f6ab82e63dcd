//! One episode of a damaged dataset: which of its rows and pictures belong together and are whole.

use std::ops::Range;
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use embody_core::{ArrayData, DType, FeatureStats, Result, StatsMap};
use indexmap::IndexMap;

use super::Log;
use super::source::Source;
use crate::finding::Finding;
use crate::format::{RESERVED, array_of};
use crate::process::non_finite;
use crate::stats::{PictureStats, array_stats, sampled_frames};
use crate::video::{VideoFile, can_decode, decode_frames};
use crate::writer::{DatasetWriter, Footage, NewEpisode};

/// What is kept of an episode.
pub(super) struct Salvage {
    /// Its place in the source's list.
    pub number: usize,
    file: PathBuf,
    /// Rows of the table in order of frames.
    rows: Vec<u32>,
    /// Frames of the episode, as its videos count them.
    frames: Range<usize>,
    cameras: Vec<Camera>,
    /// Whether its timestamps are those of the table.
    own_times: bool,
    tasks: Vec<String>,
    frame_tasks: Vec<usize>,
}

/// Its frames in a video file.
struct Camera {
    key: String,
    video: VideoFile,
    /// In order of presentation.
    shown: Range<usize>,
    /// In order of decoding.
    samples: Range<usize>,
}

impl Salvage {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// What can be kept of episode `number`; `None` where its data are lost, which is logged.
    pub fn of(source: &Source, number: usize, log: &mut Log) -> Result<Option<Self>> {
        let episode = source.dataset.episode(number)?;
        let file = source.dataset.relative(&episode.rows.file);
        let at = |f: Finding| f.file(file.clone()).episode(number);
        let Some(table) = source.tables.get(&episode.rows.file) else {
            let code = if episode.rows.file.is_file() { "rows-unreadable" } else { "data-missing" };
            log.lost(at(Finding::error(code, "the episode has no table: left out")));
            return Ok(None);
        };
        let told = table.rows.as_ref().map(|rows| match rows.len() {
            // A file of its own: whatever the column calls the episode, it is this one.
            1 if source.dataset.format() != crate::FormatVersion::V30 => {
                rows.values().next().cloned().unwrap_or_default()
            }
            _ => rows.get(&(episode.index as i64)).cloned().unwrap_or_default(),
        });
        let listed = || {
            let end = episode.rows.rows.end.min(table.file.rows());
            (episode.rows.rows.start.min(end)..end).enumerate()
        };
        let known = told.is_some();
        let mut rows =
            told.unwrap_or_else(|| listed().map(|(i, r)| (i as i64, r as u32)).collect());
        if rows.is_empty() {
            log.lost(at(Finding::error(
                "row-count",
                "no whole row of the episode is left: left out",
            )));
            return Ok(None);
        }
        if known && rows.windows(2).any(|w| w[1].1 < w[0].1) {
            log.done(at(Finding::note("frame-index", "rows sorted by frame")));
        }
        let mut frames = run(source, number, &mut rows, log, &at);
        let mut cameras = Vec::new();
        for key in source.info.video_keys() {
            let footage = source.footage(number, key);
            let Some((video, start)) = footage.as_ref().ok() else {
                let why = footage.err().map_or_else(String::new, |e| e.to_string());
                let text = format!("{key}: {why}: left out");
                log.lost(at(Finding::error("video-missing", text)));
                return Ok(None);
            };
            cameras.push((key.to_owned(), video.clone(), *start));
        }
        if !align(&mut rows, &mut frames, &cameras, log, &at) {
            return Ok(None);
        }
        let mut kept = Self {
            number,
            file: episode.rows.file.clone(),
            rows: rows.iter().map(|r| r.1).collect(),
            frames: frames.clone(),
            cameras: Vec::new(),
            own_times: true,
            tasks: Vec::new(),
            frame_tasks: Vec::new(),
        };
        for (key, video, start) in cameras {
            let shown = start + frames.start..start + frames.end;
            let Some(samples) = closed(&video, &shown) else {
                let text =
                    format!("{key}: its packets can't be cut out without encoding: left out");
                log.lost(at(Finding::error("video-no-key-frame", text)));
                return Ok(None);
            };
            kept.cameras.push(Camera { key, video, shown, samples });
        }
        Ok(kept.check(source, log, &at).then_some(kept))
    }

    /// Reads every row once: whether all of it can be used.
    fn check(&mut self, source: &Source, log: &mut Log, at: &dyn Fn(Finding) -> Finding) -> bool {
        let batch = match self.batch(source) {
            Ok(batch) => batch,
            Err(e) => {
                log.lost(at(Finding::error("rows-unreadable", format!("{e}: left out"))));
                return false;
            }
        };
        for (key, spec) in source.info.table_features() {
            if RESERVED.contains(&key) {
                continue;
            }
            let Some(column) = batch.column_by_name(key) else {
                let text = format!("column {key:?} is missing: left out");
                log.lost(at(Finding::error("column-missing", text)));
                return false;
            };
            if !spec.dtype.is_numeric() && spec.dtype != DType::Bool {
                continue;
            }
            match array_of(column, spec) {
                Err(why) => {
                    let text = format!("column {key:?} {why}: left out");
                    log.lost(at(Finding::error("column-shape", text)));
                    return false;
                }
                Ok(array) => {
                    if let Some((frame, dim)) = non_finite(&array) {
                        let text = format!("{key}, dimension {dim}, is not finite: left out");
                        log.lost(at(Finding::error("non-finite-value", text)).frame(frame));
                        return false;
                    }
                }
            }
        }
        for key in ["index", "episode_index", "frame_index"] {
            if batch.column_by_name(key).is_none() {
                let text = format!("column {key:?} rebuilt");
                log.done(at(Finding::note("column-missing", text)));
            }
        }
        self.times(source, &batch, log, at);
        self.instructions(source, &batch, log, at);
        true
    }

    /// Timestamps stay where they are on the grid; elsewhere they are counted anew if the pictures
    /// are on it.
    fn times(
        &mut self,
        source: &Source,
        batch: &RecordBatch,
        log: &mut Log,
        at: &dyn Fn(Finding) -> Finding,
    ) {
        self.own_times = false;
        let fps = source.dataset.fps();
        let spec = &source.info.features["timestamp"];
        let array = batch.column_by_name("timestamp").and_then(|c| array_of(c, spec).ok());
        let times: Vec<f64> = match array.map(|a| a.data) {
            Some(ArrayData::F32(v)) => v.iter().map(|&t| f64::from(t)).collect(),
            Some(ArrayData::F64(v)) => v,
            _ => {
                log.done(at(Finding::note("column-missing", "column \"timestamp\" rebuilt")));
                return;
            }
        };
        let off = |shift: f64| {
            times.iter().enumerate().any(|(i, t)| {
                let slack = 1e-4 + f64::from(f32::EPSILON) * t.abs();
                (t - shift - i as f64 / fps).abs() > slack
            })
        };
        if !off(0.0) {
            self.own_times = true;
        } else if !off(times[0]) {
            let text = format!("timestamps begin at 0 instead of {:.5} s", times[0]);
            log.done(at(Finding::note("timestamp-off-by-one", text)));
        } else if !self.cameras.is_empty() && self.cameras.iter().all(|c| c.on_grid(fps)) {
            let text = "timestamps counted anew: the pictures come at fps";
            log.done(at(Finding::note("timestamp-off-grid", text)));
        } else {
            // Nothing says when these frames really were: for a person to decide.
            self.own_times = true;
        }
    }

    /// Instruction of each frame: by the column, else the episode's only one.
    fn instructions(
        &mut self,
        source: &Source,
        batch: &RecordBatch,
        log: &mut Log,
        at: &dyn Fn(Finding) -> Finding,
    ) {
        let episode = &source.dataset.episodes()[self.number];
        let all = source.dataset.tasks();
        self.tasks = episode.tasks.clone();
        self.frame_tasks = Vec::new();
        let column = batch.column_by_name("task_index");
        let column = column.and_then(|c| c.as_primitive_opt::<Int64Type>());
        for &index in column.map_or(&[][..], |c| c.values()) {
            let Some(task) = usize::try_from(index).ok().and_then(|i| all.get(i)) else { break };
            let place = self.tasks.iter().position(|t| t == task).unwrap_or_else(|| {
                self.tasks.push(task.clone());
                self.tasks.len() - 1
            });
            self.frame_tasks.push(place);
        }
        if self.frame_tasks.len() == batch.num_rows() {
            return;
        }
        self.tasks = episode.tasks.clone();
        if self.tasks.is_empty() {
            self.tasks.extend(all.first().cloned());
        }
        self.frame_tasks = vec![0; batch.num_rows()];
        let task = self.tasks.first().map_or("", String::as_str);
        let code = if column.is_some() { "task-index" } else { "column-missing" };
        let text = format!("column \"task_index\" rebuilt from the episode's instruction {task:?}");
        if self.tasks.len() == 1 {
            log.done(at(Finding::note(code, text)));
        } else {
            let text =
                format!("which frame has which of {:?} is lost: all have the first", self.tasks);
            log.lost(at(Finding::error(code, text)));
        }
    }

    /// All columns of its rows.
    fn batch(&self, source: &Source) -> Result<RecordBatch> {
        let table = &source.tables[&self.file].file;
        let first = self.rows.iter().copied().min().unwrap_or(0);
        let last = self.rows.iter().copied().max().unwrap_or(0);
        let batch = table.read(first as usize, (last - first) as usize + 1, None)?;
        let rows = UInt32Array::from_iter_values(self.rows.iter().map(|r| r - first));
        arrow_select::take::take_record_batch(&batch, &rows)
            .map_err(|e| crate::error::read_table(&self.file, e).into())
    }

    /// Appends it to the result.
    pub fn write(&self, source: &Source, writer: &mut DatasetWriter) -> Result<()> {
        let batch = self.batch(source)?;
        let episode = source.dataset.episode(self.number)?;
        let mut columns: IndexMap<String, ArrayRef> = IndexMap::new();
        let mut stats = StatsMap::new();
        for (key, spec) in source.info.table_features() {
            let skip = RESERVED.contains(&key) && !(key == "timestamp" && self.own_times);
            if let Some(column) = batch.column_by_name(key).filter(|_| !skip) {
                columns.insert(key.to_owned(), ArrayRef::clone(column));
                if spec.dtype.is_numeric()
                    && let Ok(array) = array_of(column, spec)
                {
                    stats.extend(array_stats(&array).map(|s| (key.to_owned(), s)));
                }
            }
        }
        for camera in &self.cameras {
            let whole = self.frames == (0..episode.length);
            let known = episode.stats.get(&camera.key).filter(|s| whole && s.mean.len() == 3);
            let found = match known {
                Some(stats) => Some(stats.clone()),
                None => camera.stats(source, self.number)?,
            };
            stats.extend(found.map(|s| (camera.key.clone(), s)));
        }
        writer.append(NewEpisode {
            columns,
            length: self.rows.len(),
            frame_tasks: Some(self.frame_tasks.clone()),
            tasks: self.tasks.clone(),
            videos: self
                .cameras
                .iter()
                .map(|c| (c.key.clone(), Footage::Copied(&c.video, c.samples.clone())))
                .collect(),
            stats,
            outcome: episode.outcome.clone(),
        })
    }
}

impl Camera {
    /// Whether its frames are shown at multiples of 1/fps from the first on.
    fn on_grid(&self, fps: f64) -> bool {
        let scale = f64::from(self.video.track().config.timescale);
        let first = self.video.pts(self.shown.start).unwrap_or(0);
        self.shown.clone().enumerate().all(|(i, index)| {
            let pts = self.video.pts(index).unwrap_or(i64::MIN / 2);
            ((pts - first) as f64 / scale - i as f64 / fps).abs() <= 1e-4 + 0.5 / scale
        })
    }

    /// Statistics of sampled frames; `None` where the codec can't be decoded here.
    fn stats(&self, source: &Source, episode: usize) -> Result<Option<FeatureStats>> {
        if !can_decode(&self.video.track().config.codec()) {
            return Ok(None);
        }
        let width = usize::from(self.video.track().config.width);
        let sampled = sampled_frames(self.shown.len());
        let indices: Vec<usize> = sampled.iter().map(|f| self.shown.start + f).collect();
        let mut stats = PictureStats::default();
        let known = source.info.features.get(&self.key).is_some();
        decode_frames(&self.video, &indices, &|i| (episode, sampled[i]), &mut |_, rgb| {
            stats.add(rgb, width);
            Ok(())
        })?;
        Ok(known.then(|| stats.finish()))
    }
}

/// The frames that follow each other without a gap. Numbers that are wrong on rows that are all there
/// are only numbers; where rows are missing, the longest run is kept.
fn run(
    source: &Source,
    number: usize,
    rows: &mut Vec<(i64, u32)>,
    log: &mut Log,
    at: &dyn Fn(Finding) -> Finding,
) -> Range<usize> {
    let all = rows.len();
    if rows.iter().enumerate().all(|(i, r)| r.0 == i as i64) {
        return 0..all;
    }
    let episode = &source.dataset.episodes()[number];
    let begins = rows.first().map_or(0, |r| r.0);
    let steady = rows.windows(2).all(|w| w[1].0 == w[0].0.wrapping_add(1));
    if all == episode.length || (steady && begins < 0) {
        log.done(at(Finding::note("frame-index", "frames numbered anew")));
        return 0..all;
    }
    let mut best = 0..0;
    let mut start = 0;
    for i in 1..=all {
        if i == all || rows[i].0 != rows[i - 1].0.wrapping_add(1) {
            if i - start > best.len() && rows[start].0 >= 0 {
                best = start..i;
            }
            start = i;
        }
    }
    let first = rows.get(best.start).map_or(0, |r| r.0.max(0) as usize);
    let text = format!(
        "rows are missing between frames: of {all} rows frames {first} to {} are kept",
        first + best.len()
    );
    log.lost(at(Finding::error("index-not-continuous", text)).frame(first + best.len()));
    rows.truncate(best.end);
    rows.drain(..best.start);
    first..first + rows.len()
}

/// Cuts rows and frames to what every camera has whole; false where nothing is left.
fn align(
    rows: &mut Vec<(i64, u32)>,
    frames: &mut Range<usize>,
    cameras: &[(String, VideoFile, usize)],
    log: &mut Log,
    at: &dyn Fn(Finding) -> Finding,
) -> bool {
    let sync = |f: usize| {
        cameras.iter().all(|(_, video, start)| {
            let sample = video.sample_of(start + f).and_then(|i| video.track().samples.get(i));
            sample.is_some_and(|s| s.sync)
        })
    };
    if frames.start > 0 {
        let Some(start) = frames.clone().find(|&f| sync(f)) else {
            log.lost(at(Finding::error("video-no-key-frame", "no key frame is left: left out")));
            return false;
        };
        rows.drain(..start - frames.start);
        frames.start = start;
    }
    for (key, video, start) in cameras {
        let whole =
            |f: &usize| video.sample_of(start + f).is_some_and(|i| video.sample(i).is_some());
        let count = frames.clone().take_while(whole).count();
        if count == frames.len() {
            continue;
        }
        let (code, first) = ("video-truncated", frames.start + count);
        if count == 0 {
            let text = format!("{key}: no whole frame is left: left out");
            log.lost(at(Finding::error(code, text)));
            return false;
        }
        let text = format!("{key}: cut at the last whole frame: {count} of {}", frames.len());
        log.lost(at(Finding::error(code, text)).frame(first));
        frames.end = first;
        rows.truncate(count);
    }
    true
}

/// The packets of some frames, if they are consecutive and begin with a key frame.
fn closed(video: &VideoFile, shown: &Range<usize>) -> Option<Range<usize>> {
    let samples: Vec<usize> = shown.clone().map(|i| video.sample_of(i)).collect::<Option<_>>()?;
    let (first, last) = (*samples.iter().min()?, *samples.iter().max()?);
    let sync = video.track().samples.get(first)?.sync;
    (sync && last - first + 1 == shown.len()).then_some(first..last + 1)
}
