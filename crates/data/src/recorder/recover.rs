//! Recovery: the dataset out of the journal that a killed recording left.
//!
//! Saved episodes come out as the finished recording would have had them; the one being recorded is
//! kept up to its last whole frame. Pictures that were not encoded yet are encoded now.

use std::path::{Path, PathBuf};

use embody_core::{ArrayData, ContentHash, DType, DataView, Features, Result};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;

use super::journal::{Footage, Header, Leftover, LoggedEpisode, journal_folder};
use super::pool::{Job, Ticket};
use super::{
    Camera, FrameValue, LeRobotRecorder, OpenEpisode, RecordSpec, SavedEpisode, Values, empty,
};
use crate::lineage::lineage;
use crate::stats::PictureStats;
use crate::video::SegmentEncoder;

/// What was saved of a recording that did not end well.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecoverReport {
    /// Where it stands now.
    pub path: PathBuf,
    /// Episodes.
    pub episodes: usize,
    /// Frames.
    pub frames: usize,
    /// Index of the episode in which the recording ended, where it was in one.
    pub unfinished: Option<usize>,
    /// Frames whose pictures did not reach the disk (only a power cut does that).
    pub lost_frames: usize,
    /// Content hash.
    pub version: ContentHash,
}

impl LeRobotRecorder {
    /// Completes a recording of `target` that was killed, as a dataset at `to` (`target` itself where
    /// `None`). `None` where there is nothing to recover.
    ///
    /// # Errors
    /// When the journal can't be read, or a dataset stands at `to` already; the journal stays then.
    pub fn recover(
        target: &Path,
        to: Option<&Path>,
        threads: usize,
    ) -> Result<Option<RecoverReport>> {
        let Some(left) = Leftover::open(&journal_folder(target))? else { return Ok(None) };
        if let Some(sealed) = &left.sealed
            && lineage(&sealed.path).ok().flatten().is_some_and(|l| l.version == sealed.version)
        {
            // The dataset was put in place; only the clearing up is missing.
            left.remove()?;
            return Ok(None);
        }
        let to = to.unwrap_or(target);
        if to.exists() {
            return Err(embody_core::Error::new(format!(
                "{} exists already; the recording that was killed is not put in its place",
                to.display()
            ))
            .with_hint("give it another name: embody data recover PATH --out OTHER"));
        }
        let Header { fps, robot_type, features, video, parameters, .. } = left.header.clone();
        let spec = RecordSpec {
            fps,
            robot_type,
            features: features.clone(),
            video,
            threads,
            parameters,
            origin: None,
        };
        let mut recorder = Self::build(to, spec)?;
        let mut unfinished = None;
        let mut lost_frames = 0;
        for number in left.episodes()? {
            let Some(logged) = left.read(number)? else { continue };
            let (rows, ended) = (logged.rows.len(), logged.outcome.is_some());
            let kept = recorder.replay(&left, logged, &features)?;
            lost_frames += rows - kept;
            if kept > 0 && !ended {
                unfinished = Some(recorder.kept - 1);
            }
        }
        if recorder.kept == 0 {
            left.remove()?;
            return Ok(None);
        }
        recorder.spec.parameters = json!({
            "recorded": recorder.spec.parameters, "recovered": true,
            "unfinished_episode": unfinished, "lost_frames": lost_frames,
        });
        let report = recorder.close(Some(&left), IndexMap::new())?;
        left.remove()?;
        Ok(Some(RecoverReport {
            path: report.path,
            episodes: report.episodes,
            frames: report.frames,
            unfinished,
            lost_frames,
            version: report.version,
        }))
    }

    /// Completes what an earlier recording of `target` left, under a free name beside it.
    pub(super) fn rescue(target: &Path, threads: usize) -> Result<Option<RecoverReport>> {
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let free = (1..)
            .map(|i| match i {
                1 => target.with_file_name(format!("{name}-recovered")),
                i => target.with_file_name(format!("{name}-recovered-{i}")),
            })
            .find(|path| !path.exists());
        let report = Self::recover(target, free.as_deref(), threads)?;
        // Not even begun: nothing is in it.
        std::fs::remove_dir_all(journal_folder(target)).ok();
        Ok(report)
    }

    /// Appends an episode of a journal; gives the frames kept.
    fn replay(
        &mut self,
        left: &Leftover,
        logged: LoggedEpisode,
        features: &Features,
    ) -> Result<usize> {
        let cameras: Vec<(String, SegmentEncoder)> =
            self.cameras.iter().map(|(k, e)| (k.clone(), *e)).collect();
        let mut length = logged.rows.len();
        let mut footage = Vec::new();
        for (number, (_, encoder)) in cameras.iter().enumerate() {
            let per_segment = encoder.segment_frames();
            let mut segments = Vec::new();
            let mut have = 0;
            while have < length {
                let size = (encoder.width, encoder.height);
                let part = left.segment(logged.number, number, segments.len(), size);
                have += part.len().min(per_segment);
                let whole = part.len() >= per_segment;
                segments.push(part);
                if !whole {
                    break;
                }
            }
            length = length.min(have);
            footage.push(segments);
        }
        if length == 0 {
            return Ok(0);
        }
        let mut open = OpenEpisode {
            task: logged.task,
            tasks: Vec::new(),
            frame_tasks: Vec::new(),
            length: 0,
            values: features
                .iter()
                .filter(|(_, f)| f.dtype != DType::Video)
                .map(|(k, f)| (k.clone(), empty(f.dtype, self.target.path())))
                .collect(),
            cameras: cameras
                .iter()
                .map(|(k, _)| (k.clone(), Camera::new(self.target.path())))
                .collect(),
        };
        for (frame, row) in logged.rows.iter().take(length).enumerate() {
            unpack(row, features, &mut open).ok_or_else(|| {
                embody_core::Error::new(format!(
                    "the journal's episode {}, frame {frame}: the row does not fit the features",
                    logged.number
                ))
                .with_hint("the journal was changed; restore it from a copy")
            })?;
        }
        for ((key, encoder), segments) in cameras.iter().zip(footage) {
            let mut left = length;
            for part in segments {
                let count = part.len().min(left).min(encoder.segment_frames());
                left -= count;
                if count == 0 {
                    break;
                }
                let ticket = match part {
                    Footage::Packets(mut segment) => {
                        segment.packets.truncate(count);
                        Ticket::done(segment)
                    }
                    Footage::Pictures(mut frames) => {
                        frames.truncate(count);
                        self.pool.submit(Job { encoder: *encoder, frames, keep: None })
                    }
                };
                open.cameras[key].tickets.push(ticket);
            }
        }
        let outcome = logged.outcome.unwrap_or_default();
        self.started += 1;
        self.kept += 1;
        self.waiting.push_back(SavedEpisode { open, outcome });
        self.drain()?;
        Ok(length)
    }
}

/// A frame's row for the journal: its instruction, values in the order of the features, then the
/// levels of each camera's picture.
pub(super) fn pack<'a>(
    features: &Features,
    task: &str,
    value: impl Fn(&str) -> Option<FrameValue<'a>>,
    pictures: &[PictureStats],
) -> Vec<u8> {
    let text = |text: &str, out: &mut Vec<u8>| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let mut out = Vec::new();
    text(task, &mut out);
    for (key, spec) in features {
        if spec.dtype == DType::Video {
            continue;
        }
        let array = match value(key) {
            Some(FrameValue::Array(array)) => Some(array.data),
            Some(FrameValue::Text(words)) => {
                text(words, &mut out);
                None
            }
            None => None,
        };
        match array {
            Some(DataView::U8(v)) => out.extend(v),
            Some(DataView::F32(v)) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Some(DataView::F64(v)) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Some(DataView::I64(v)) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Some(DataView::Bool(v)) => out.extend(v.iter().map(|&b| u8::from(b))),
            None => {}
        }
    }
    pictures.iter().for_each(|p| p.to_bytes(&mut out));
    out
}

/// Appends a row made by [`pack`] to an episode; `None` where it does not fit.
fn unpack(row: &[u8], features: &Features, open: &mut OpenEpisode) -> Option<()> {
    let mut rest = row;
    let mut take = |bytes: usize| {
        let (part, after) = rest.split_at_checked(bytes)?;
        rest = after;
        Some(part)
    };
    fn text<'a>(mut take: impl FnMut(usize) -> Option<&'a [u8]>) -> Option<&'a str> {
        let length = u64::from_le_bytes(take(8)?.try_into().ok()?);
        std::str::from_utf8(take(usize::try_from(length).ok()?)?).ok()
    }
    text(&mut take)?.clone_into(&mut open.task);
    for (key, spec) in features {
        let Some(values) = open.values.get_mut(key) else { continue };
        let count = spec.numel();
        let values = match values {
            Values::Array(values) => values,
            Values::Text(values) => {
                values.append_value(text(&mut take)?);
                continue;
            }
            Values::Pictures(files, levels) => {
                super::push_picture(files, levels, take(count)?, &spec.shape).ok()?;
                continue;
            }
        };
        match values {
            ArrayData::U8(v) => v.extend(take(count)?),
            ArrayData::Bool(v) => v.extend(take(count)?.iter().map(|&b| b != 0)),
            ArrayData::F32(v) => v.extend(
                take(count.checked_mul(4)?)?
                    .chunks_exact(4)
                    .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])),
            ),
            ArrayData::F64(v) => v.extend(
                take(count.checked_mul(8)?)?
                    .chunks_exact(8)
                    .map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])),
            ),
            ArrayData::I64(v) => v.extend(
                take(count.checked_mul(8)?)?
                    .chunks_exact(8)
                    .map(|c| i64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])),
            ),
        }
    }
    for camera in open.cameras.values_mut() {
        camera.levels.push(&PictureStats::from_bytes(take(PictureStats::BYTES)?)?).ok()?;
    }
    open.count_frame();
    rest.is_empty().then_some(())
}
