//! Reading rows and frames of an episode.

use std::ops::Range;
use std::path::Path;

use arrow_array::RecordBatch;
use embody_core::{Array, Result};

use super::{Dataset, Episode, EpisodeTable, VideoSpan};
use crate::error::DataError;
use crate::format::{TableFile, array_of, texts_of};
use crate::mp4::{Mp4Writer, Packet};
use crate::video::{VideoFile, decode_frames};

/// How far a frame's time may be off its row's, seconds: LeRobot's tolerance.
pub(crate) const TOLERANCE_SECS: f64 = 1e-4;

const SHORT: &str = "the video has fewer frames than the table has rows; record or copy it again, or \
                     leave the episode out (drop_broken_video of embody data process)";

impl Dataset {
    /// Episode number `episode`.
    pub(crate) fn episode(&self, episode: usize) -> Result<&Episode> {
        self.episodes.get(episode).ok_or_else(|| {
            DataError::Request {
                why: format!("{} has no episode {episode}", self.root.display()),
                hint: format!("it has episodes 0 to {}", self.episodes.len().saturating_sub(1)),
            }
            .into()
        })
    }

    fn span(&self, episode: usize, key: &str) -> Result<&VideoSpan> {
        self.episode(episode)?.videos.get(key).ok_or_else(|| {
            let known: Vec<&str> = self.info.video_keys().collect();
            DataError::Request {
                why: format!("{} has no video feature {key:?}", self.root.display()),
                hint: format!("it has {}", known.join(", ")),
            }
            .into()
        })
    }

    /// All rows of an episode as they are in the file.
    pub(crate) fn rows(&self, episode: usize, columns: Option<&[&str]>) -> Result<RecordBatch> {
        let rows = &self.episode(episode)?.rows;
        self.table(&rows.file)?.read(rows.rows.start, rows.rows.len(), columns)
    }

    pub(crate) fn table(&self, path: &Path) -> Result<TableFile> {
        if let Some(table) = lock(&self.tables).get(path) {
            return Ok(table.clone());
        }
        let table = TableFile::open(path)?;
        let mut tables = lock(&self.tables);
        if tables.len() >= 256 {
            tables.clear();
        }
        tables.insert(path.to_owned(), table.clone());
        Ok(table)
    }

    pub(crate) fn video(&self, path: &Path) -> Result<VideoFile> {
        if let Some(video) = lock(&self.videos).get(path) {
            return Ok(video.clone());
        }
        let video = VideoFile::open(path)?;
        let mut videos = lock(&self.videos);
        if videos.len() >= 256 {
            videos.clear();
        }
        videos.insert(path.to_owned(), video.clone());
        Ok(video)
    }

    /// The named columns of an episode as arrays `[length, …]`; a scalar feature is `[length]`.
    ///
    /// # Errors
    /// When a column is missing, not numeric, or of another shape than declared.
    pub(crate) fn columns(&self, episode: usize, keys: &[&str]) -> Result<Vec<(String, Array)>> {
        let batch = self.rows(episode, Some(keys))?;
        keys.iter()
            .map(|key| {
                let wrong = |why: String| DataError::Inconsistent {
                    path: self.episodes[episode].rows.file.clone(),
                    why: format!("episode {episode}: column {key:?} {why}"),
                    hint: "the table contradicts meta/info.json: run embody data validate",
                };
                let spec =
                    self.info.features.get(*key).ok_or_else(|| wrong("is not declared".into()))?;
                let column = batch.column_by_name(key).ok_or_else(|| wrong("is missing".into()))?;
                Ok(((*key).to_owned(), array_of(column, spec).map_err(wrong)?))
            })
            .collect()
    }

    /// The numeric and boolean columns of an episode, each `[length, …]` (`[length]` for scalars).
    ///
    /// # Errors
    /// When the table can't be read or contradicts the description; names file and column.
    pub fn episode_table(&self, episode: usize) -> Result<EpisodeTable> {
        let keys: Vec<&str> = self
            .info
            .table_features()
            .filter(|(_, f)| !f.dtype.is_visual() && f.dtype != embody_core::DType::String)
            .map(|(k, _)| k)
            .collect();
        Ok(self.columns(episode, &keys)?.into_iter().collect())
    }

    /// A text column of an episode: one string per frame.
    ///
    /// # Errors
    /// When the table can't be read, or the column is missing, not text or has gaps; names file and
    /// column.
    pub fn episode_text(&self, episode: usize, key: &str) -> Result<Vec<String>> {
        let batch = self.rows(episode, Some(&[key]))?;
        let wrong = |why: String| DataError::Inconsistent {
            path: self.episodes[episode].rows.file.clone(),
            why: format!("episode {episode}: column {key:?} {why}"),
            hint: "the table contradicts meta/info.json: run embody data validate",
        };
        let column = batch.column_by_name(key).ok_or_else(|| wrong("is missing".to_owned()))?;
        Ok(texts_of(column).map_err(wrong)?)
    }

    /// Presentation indices, in its video file, of the given frames of an episode.
    pub(crate) fn locate(
        &self,
        episode: usize,
        key: &str,
        frames: &[usize],
    ) -> Result<(VideoFile, Vec<usize>)> {
        let span = self.span(episode, key)?;
        let length = self.episodes[episode].length;
        let video = self.video(&span.file)?;
        // Half a tick: times in the file are rounded to its timescale.
        let tolerance = TOLERANCE_SECS + 0.5 / f64::from(video.track().config.timescale);
        let indices = frames
            .iter()
            .map(|&frame| {
                if frame >= length {
                    let why = format!("the episode has only {length} frames");
                    return Err(video.frame_error((episode, frame), why, "check the frame number"));
                }
                let at = frame as f64 / self.info.fps;
                let found = video.frame_at(span.from_timestamp + at, tolerance);
                // Beyond its own span lies the next episode.
                found
                    .filter(|_| at < span.to_timestamp - span.from_timestamp + 0.5 / self.info.fps)
                    .ok_or_else(|| {
                        let why = format!("no video frame at {at:.4} s of the episode");
                        video.frame_error((episode, frame), why, SHORT)
                    })
            })
            .collect::<std::result::Result<Vec<_>, _>>()?;
        Ok((video, indices))
    }

    /// Decodes frames of a video feature: RGB `[height, width, 3]` each, in the order asked.
    ///
    /// # Errors
    /// When a frame is missing, the stream is damaged, or the codec is not AV1; each names the file,
    /// episode and frame.
    pub fn decode_frames(
        &self,
        episode: usize,
        key: &str,
        frames: &[usize],
    ) -> Result<Vec<Vec<u8>>> {
        let mut out = vec![Vec::new(); frames.len()];
        self.visit_frames(episode, key, frames, &mut |position, rgb| {
            out[position] = rgb.to_vec();
            Ok(())
        })?;
        Ok(out)
    }

    /// Decodes frames and hands each to `take` with its position in `frames`, in decoding order, as
    /// RGB `[height, width, 3]`; nothing is allocated for them.
    ///
    /// # Errors
    /// As [`Dataset::decode_frames`], and what `take` returns.
    pub fn visit_frames(
        &self,
        episode: usize,
        key: &str,
        frames: &[usize],
        take: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (video, indices) = self.locate(episode, key, frames)?;
        let shape = self.info.features.get(key).map(|f| f.shape.clone()).unwrap_or_default();
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_by_key(|&i| indices[i]);
        let sorted: Vec<usize> = order.iter().map(|&i| indices[i]).collect();
        let name = |position: usize| (episode, frames[order[position]]);
        decode_frames(&video, &sorted, &name, &mut |position, rgb| {
            if rgb.len() != shape.iter().product::<usize>() {
                let why =
                    format!("the picture has {} pixels, info.json says {shape:?}", rgb.len() / 3);
                let hint = "the video's size contradicts meta/info.json: run embody data validate";
                return Err(video.frame_error(name(position), why, hint).into());
            }
            take(order[position], rgb)
        })
    }

    /// One episode of a camera as a standalone MP4: packets are copied, not encoded again.
    ///
    /// # Errors
    /// When frames are missing, or the episode does not start on a key frame.
    pub fn episode_video_mp4(&self, episode: usize, key: &str) -> Result<Vec<u8>> {
        let (video, samples) = self.episode_samples(episode, key)?;
        let write = || -> std::io::Result<Vec<u8>> {
            let config = video.track().config.clone();
            let mut writer = Mp4Writer::new(std::io::Cursor::new(Vec::new()), config)?;
            for i in samples {
                let sample = video.track().samples[i];
                let data = video.sample(i).unwrap_or(&[]);
                let (duration, cts, sync) = (sample.duration, sample.cts, sample.sync);
                writer.write(Packet { data, duration, cts, sync })?;
            }
            Ok(writer.finish()?.into_inner())
        };
        write().map_err(|e| {
            DataError::ReadVideo { path: video.path().to_owned(), why: e.to_string() }.into()
        })
    }

    /// The sample of the key frame from which a frame of a camera is decoded.
    pub(crate) fn key_sample(&self, episode: usize, key: &str, frame: usize) -> Result<usize> {
        let (video, indices) = self.locate(episode, key, &[frame])?;
        let sample = indices.first().and_then(|&i| video.sample_of(i)).unwrap_or(0);
        let samples = &video.track().samples;
        Ok((0..=sample).rev().find(|&i| samples[i].sync).unwrap_or(0))
    }

    /// The last frame at or before `frame` where every camera of an episode has a key frame.
    pub(crate) fn key_frame_before(&self, episode: usize, frame: usize) -> Result<usize> {
        let sync = self.key_frames(episode)?;
        Ok((0..=frame).rev().find(|&f| sync.get(f) == Some(&true)).unwrap_or(0))
    }

    /// Of each frame of an episode: whether it is a key frame of every camera.
    pub(crate) fn key_frames(&self, episode: usize) -> Result<Vec<bool>> {
        let mut sync = vec![true; self.episode(episode)?.length];
        for key in self.info.video_keys() {
            let of_camera = self.camera_key_frames(episode, key)?;
            sync.iter_mut().zip(of_camera).for_each(|(sync, own)| *sync &= own);
        }
        Ok(sync)
    }

    /// Of each frame of an episode: whether it is a key frame of a camera.
    pub(crate) fn camera_key_frames(&self, episode: usize, key: &str) -> Result<Vec<bool>> {
        let frames: Vec<usize> = (0..self.episode(episode)?.length).collect();
        let (video, indices) = self.locate(episode, key, &frames)?;
        let sample = |&i: &usize| video.sample_of(i).and_then(|i| video.track().samples.get(i));
        Ok(indices.iter().map(|i| sample(i).is_some_and(|s| s.sync)).collect())
    }

    /// The samples (decoding order) that make up an episode of a camera, checked: as many as rows,
    /// consecutive, the first one a key frame, all inside the file.
    pub(crate) fn episode_samples(
        &self,
        episode: usize,
        key: &str,
    ) -> Result<(VideoFile, Range<usize>)> {
        let length = self.episode(episode)?.length;
        self.frame_samples(episode, key, 0..length)
    }

    /// The samples that make up frames `frames` of an episode of a camera, checked likewise. Where a
    /// codec reorders frames, a range that can't be cut out is refused: its packets have gaps.
    pub(crate) fn frame_samples(
        &self,
        episode: usize,
        key: &str,
        frames: Range<usize>,
    ) -> Result<(VideoFile, Range<usize>)> {
        let wanted: Vec<usize> = frames.clone().collect();
        let (video, indices) = self.locate(episode, key, &wanted)?;
        let samples: Vec<usize> = indices.iter().filter_map(|&i| video.sample_of(i)).collect();
        let (Some(&first), Some(&last)) = (samples.iter().min(), samples.iter().max()) else {
            let why = "the episode is empty";
            return Err(video.frame_error((episode, 0), why, "leave it out").into());
        };
        let refuse = |frame: usize, why: String, hint: &'static str| {
            embody_core::Error::from(video.frame_error((episode, frame), why, hint))
        };
        if last - first + 1 != frames.len() {
            let why = format!("{} rows lie over {} packets", frames.len(), last - first + 1);
            let hint = "episodes must not share packets or have gaps in time";
            return Err(refuse(frames.start, why, hint));
        }
        if !video.track().samples[first].sync {
            let hint = "only frames from a key frame on can be copied without loss";
            let why = match frames.start {
                0 => "the episode does not start on a key frame".to_owned(),
                _ => "this is no key frame".to_owned(),
            };
            return Err(refuse(frames.start, why, hint));
        }
        if let Some(cut) = (first..=last).find(|&i| video.sample(i).is_none()) {
            let frame = samples.iter().position(|&s| s == cut).unwrap_or(0) + frames.start;
            return Err(refuse(frame, "the file ends before this frame".to_owned(), SHORT));
        }
        Ok((video, first..last + 1))
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while holding it leaves only a cache behind, which is whole at every step.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
