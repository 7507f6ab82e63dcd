//! The survey: every measure of every episode of a dataset.
//!
//! Three passes: ranges of the dimensions over the dataset, measures per episode (in parallel, one
//! episode's table and two pictures per thread in memory), then what needs all episodes (length and
//! sharpness against the others, near-duplicates, drift, quality). What stays per episode is a few
//! kilobytes. Results come in episode order and do not depend on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use embody_core::{Array, ArrayData, Result, Task, VariationRecord};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measure::{drift, gripper, idle, lag, motion, picture, repeat, similar};
use super::quality::{Quality, quality};
use super::segment::{Segment, contact, feels_contact, segments};
use super::series::{Extent, Series, median, robust};
use crate::dataset::{Dataset, EpisodeTable};
use crate::format::RESERVED;
use crate::video::can_decode;

/// Change per step from which motion must show in a picture, fraction of the range.
const VISIBLE: f64 = 0.01;
/// Shortest span of idle steps that is named, seconds.
const IDLE_SPAN_SECS: f64 = 0.5;

/// How closely to look at video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Look {
    /// Not at all.
    None,
    /// At the files' indexes: does every row have a frame?
    Index,
    /// At sampled pictures, decoded.
    #[default]
    Pictures,
}

/// What to measure, and by which features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SurveyOptions {
    /// How closely to look at video.
    pub video: Look,
    /// Pairs of neighbouring frames that are decoded per camera and episode.
    pub places: usize,
    /// A step is idle when no action dimension changes by more than this fraction of its range.
    pub idle_threshold: f64,
    /// Feature that commands the robot; measures that need it are left out where it is missing.
    pub action_key: String,
    /// Feature that observes the robot.
    pub state_key: String,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self {
            video: Look::Pictures,
            places: 8,
            idle_threshold: 1e-3,
            action_key: "action".to_owned(),
            state_key: "observation.state".to_owned(),
        }
    }
}

/// A value that is not finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NonFinite {
    /// Feature.
    pub feature: String,
    /// Name of the dimension.
    pub dimension: String,
    /// Frame.
    pub frame: usize,
}

/// A jump in the motion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// Frame after the jump.
    pub frame: usize,
    /// Name of the dimension that jumps most.
    pub dimension: String,
    /// Robust z-score: how many times the usual.
    pub z: f64,
}

/// By how much observations trail actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LagMeasures {
    /// Seconds; negative where observations lead.
    pub seconds: f64,
    /// Correlation of velocities at that lag, 0.5-1.
    pub confidence: f64,
    /// Joints it rests on.
    pub joints: usize,
}

/// What the grippers did; the largest over their dimensions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GripperMeasures {
    /// Changes between open and closed.
    pub moves: usize,
    /// Changes within 0.3 s of the one before.
    pub chatter: usize,
    /// Share of the dataset's range that was used, 0-1.
    pub travel: f64,
}

/// What one camera showed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CameraMeasures {
    /// Median variance of the Laplacian, levels².
    pub sharpness: f64,
    /// Sharpness over the camera's median over the dataset.
    pub relative_sharpness: Option<f64>,
    /// Mean level, 0-255.
    pub brightness: f64,
    /// Share of pictures with a mean level below 25.
    pub dark: f64,
    /// Share of pictures with a mean level above 230.
    pub bright: f64,
    /// Mean share of pixels at the ends of the scale.
    pub clipped: f64,
    /// Share of key frames that repeat the picture before while the robot moves.
    pub repeated: f64,
    /// Every picture is black.
    pub black: bool,
    /// The picture never changes although the robot moves.
    pub frozen: bool,
    /// Why its frames can't be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// The episode most like another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestMeasures {
    /// Its index.
    pub episode: usize,
    /// Root mean square distance of trajectories, fraction of the range.
    pub distance: f64,
    /// Mean number of differing bits of the 64-bit picture hashes.
    pub bits: Option<f64>,
    /// Whether the two are near-duplicates.
    pub same: bool,
}

/// Every measure of an episode.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpisodeMeasures {
    /// Index in the dataset.
    pub episode: usize,
    /// Number of frames.
    pub frames: usize,
    /// Length, s.
    pub seconds: f64,
    /// Instructions.
    pub tasks: Vec<String>,
    /// Whether the task was achieved, where somebody judged.
    pub success: Option<bool>,
    /// A classifier's score of success, 0-1.
    pub score: Option<f64>,
    /// Sum of rewards.
    pub total_reward: Option<f64>,
    /// What a synthetic episode was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<VariationRecord>,
    /// The first value that is not finite.
    pub non_finite: Option<NonFinite>,
    /// Share of idle steps, 0-1.
    pub idle_fraction: f64,
    /// Spans of at least half a second without motion, frames.
    pub idle_spans: Vec<Range<usize>>,
    /// Frames from the first step that moves to the last; all where none does.
    pub active: Range<usize>,
    /// Share of rows outside idle spans that repeat the row before, 0-1.
    pub duplicate_fraction: f64,
    /// Jumps in position.
    pub velocity_spikes: Vec<Spike>,
    /// Jumps in acceleration.
    pub jerk_spikes: Vec<Spike>,
    /// Log dimensionless jerk of the motion; nearer to 0 is smoother.
    pub log_jerk: Option<f64>,
    /// Lag of observations behind actions.
    pub lag: Option<LagMeasures>,
    /// Grippers, where there are any.
    pub gripper: Option<GripperMeasures>,
    /// Cameras by key, where pictures were looked at.
    pub cameras: IndexMap<String, CameraMeasures>,
    /// Robust z of the logarithm of the length among all episodes; `None` below five episodes.
    pub length_z: Option<f64>,
    /// Nearest other episode, where one is near.
    pub nearest: Option<NearestMeasures>,
    /// Phases.
    pub segments: Vec<Segment>,
    /// Quality and its parts.
    pub quality: Quality,
}

/// What drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftOf {
    /// The pose in which episodes start.
    #[default]
    Start,
    /// What is measured minus what is commanded, the median over an episode: encoders, zeros or loads
    /// that change show here whatever the task.
    Offset,
}

/// A dimension that shifts over the episodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftMeasures {
    /// What of it.
    #[serde(default)]
    pub of: DriftOf,
    /// Feature.
    pub feature: String,
    /// Name of the dimension.
    pub dimension: String,
    /// Shift from the first episode to the last, fraction of the dimension's range.
    pub shift: f64,
    /// Mann-Kendall z.
    pub z: f64,
}

/// All measures of a dataset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Survey {
    /// By episode.
    pub episodes: Vec<EpisodeMeasures>,
    /// Dimensions that drift.
    pub drift: Vec<DriftMeasures>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

/// Measures every episode of `dataset`.
///
/// # Errors
/// When a table can't be read or contradicts the description; broken video is a measure, no error.
pub fn survey(dataset: &Dataset, options: &SurveyOptions, task: Task<'_>) -> Result<Survey> {
    let frame = Frame::new(dataset, options, task)?;
    let total = dataset.episodes().len();
    task.begin("survey", Some(total as u64), "episodes");
    let done = AtomicU64::new(0);
    let parts: Result<Vec<Part>> = (0..total)
        .into_par_iter()
        .map(|episode| {
            let part = frame.measure(episode)?;
            task.advance("survey", done.fetch_add(1, Ordering::Relaxed) + 1, "")?;
            Ok(part)
        })
        .collect();
    let parts = parts?;
    task.end("survey");
    Ok(frame.compare(parts))
}

/// What of an episode only its comparison with the others needs, beside its measures.
struct Part {
    measures: EpisodeMeasures,
    print: similar::Print,
    start: Vec<f64>,
    /// Median of state minus action per dimension; empty where they have not the same dimensions.
    offset: Vec<f64>,
}

/// What measuring an episode needs to know of the dataset.
struct Frame<'a> {
    dataset: &'a Dataset,
    options: &'a SurveyOptions,
    task: Task<'a>,
    /// Range of each dimension, by feature.
    extents: IndexMap<String, Extent>,
    cameras: Vec<String>,
    notes: Vec<String>,
}

impl<'a> Frame<'a> {
    fn new(dataset: &'a Dataset, options: &'a SurveyOptions, task: Task<'a>) -> Result<Self> {
        let info = dataset.info();
        let wanted =
            |key: &str| key == options.action_key || key == options.state_key || feels_contact(key);
        let keys: Vec<&str> = info
            .table_features()
            .filter(|(k, f)| f.dtype.is_numeric() && wanted(k))
            .map(|(k, _)| k)
            .collect();
        let mut notes = Vec::new();
        let cameras = cameras(dataset, options, &mut notes)?;
        for key in [&options.action_key, &options.state_key] {
            if !keys.contains(&key.as_str()) {
                notes.push(format!(
                    "there is no numeric feature {key:?}: measures of it are missing"
                ));
            }
        }
        let total = dataset.episodes().len();
        let each: Result<Vec<Vec<Extent>>> = (0..total)
            .into_par_iter()
            .map(|episode| {
                task.cancel.check()?;
                let columns = match keys.is_empty() {
                    true => Vec::new(),
                    false => dataset.columns(episode, &keys)?,
                };
                let extent = |array: &Array| {
                    let mut extent = Extent::default();
                    if let Some(series) = Series::of(array) {
                        extent.add(&series);
                    }
                    extent
                };
                Ok(columns.iter().map(|(_, array)| extent(array)).collect())
            })
            .collect();
        let mut extents: IndexMap<String, Extent> =
            keys.iter().map(|k| ((*k).to_owned(), Extent::default())).collect();
        for episode in each? {
            for ((_, sum), part) in extents.iter_mut().zip(&episode) {
                sum.merge(part);
            }
        }
        Ok(Self { dataset, options, task, extents, cameras, notes })
    }

    fn names(&self, key: &str) -> Vec<String> {
        self.dataset.info().features.get(key).map(|f| f.dim_names()).unwrap_or_default()
    }

    fn measure(&self, number: usize) -> Result<Part> {
        let episode = &self.dataset.episodes()[number];
        let fps = self.dataset.fps();
        let mut m = EpisodeMeasures {
            episode: number,
            frames: episode.length,
            seconds: episode.length as f64 / fps,
            tasks: episode.tasks.clone(),
            success: episode.outcome.success,
            score: episode.annotations.score,
            total_reward: episode.outcome.total_reward,
            variation: episode.outcome.simulation.as_ref().and_then(|s| s.variation.clone()),
            active: 0..episode.length,
            ..EpisodeMeasures::default()
        };
        let table = self.dataset.episode_table(number)?;
        m.non_finite = self.non_finite(&table);
        let print = similar::Print::default();
        let mut part = Part { measures: m, print, start: Vec::new(), offset: Vec::new() };
        let mut calm = Vec::new();
        if part.measures.non_finite.is_none() {
            calm = self.motion(&table, &mut part);
        }
        self.pictures(number, &calm, &mut part)?;
        Ok(part)
    }

    fn non_finite(&self, table: &EpisodeTable) -> Option<NonFinite> {
        table.iter().find_map(|(key, array)| {
            let (frame, dim) = non_finite(array)?;
            let name = self.names(key).get(dim).cloned().unwrap_or_else(|| dim.to_string());
            Some(NonFinite { feature: key.clone(), dimension: name, frame })
        })
    }

    /// Measures of the table; gives the steps in which nothing moves visibly.
    fn motion(&self, table: &EpisodeTable, part: &mut Part) -> Vec<bool> {
        let fps = self.dataset.fps();
        let series = |key: &String| {
            let extent = self.extents.get(key)?;
            Some((table.get(key).and_then(Series::of)?, extent, extent.ranges()))
        };
        let (action, state) = (series(&self.options.action_key), series(&self.options.state_key));
        let m = &mut part.measures;
        let recorded: Vec<Series> = table
            .iter()
            .filter(|(k, _)| !RESERVED.contains(&k.as_str()) && !k.starts_with("next."))
            .filter_map(|(_, array)| Series::of(array))
            .collect();
        let repeats = repeat::repeated_steps(&recorded.iter().collect::<Vec<_>>());
        let mut calm = Vec::new();
        if let Some((action, _, ranges)) = &action {
            calm = idle::idle_steps(action, ranges, VISIBLE);
            let still = idle::idle_steps(action, ranges, self.options.idle_threshold);
            m.idle_fraction = idle::idle_fraction(&still);
            m.idle_spans = idle::idle_spans(&still, (IDLE_SPAN_SECS * fps).ceil() as usize);
            let moves = |s: &bool| !s;
            if let (Some(a), Some(b)) =
                (still.iter().position(moves), still.iter().rposition(moves))
            {
                m.active = a..b + 2;
            }
        }
        // Who stands still repeats himself; only repetition in motion is a fault.
        let standing = |step: &usize| m.idle_spans.iter().any(|s| s.contains(step));
        let moving: Vec<bool> =
            (0..repeats.len()).filter(|s| !standing(s)).map(|s| repeats[s]).collect();
        m.duplicate_fraction = idle::idle_fraction(&moving);
        if let (Some((action, _, _)), Some((state, _, ranges))) = (&action, &state) {
            let joints = lag::joint_lags(action, state, ranges, fps);
            m.lag = lag::lag(&joints).map(|l| LagMeasures {
                seconds: l.seconds,
                confidence: l.confidence,
                joints: l.joints,
            });
            let names = |key: &String| self.names(key);
            if names(&self.options.action_key) == names(&self.options.state_key) {
                part.offset = drift::offsets(state, action);
            }
        }
        // The robot itself where it is observed, else what it is told.
        let key = if state.is_some() { &self.options.state_key } else { &self.options.action_key };
        let Some((moved, extent, ranges)) = state.or(action) else { return calm };
        let names = self.names(key);
        let grippers = gripper::gripper_dimensions(&names);
        m.gripper = gripper::gripper(&moved, extent, &grippers, fps).map(|g| GripperMeasures {
            moves: g.moves,
            chatter: g.chatter,
            travel: g.travel,
        });
        let named = |spikes: Vec<motion::Spike>| -> Vec<Spike> {
            let name = |d: usize| names.get(d).cloned().unwrap_or_else(|| d.to_string());
            spikes
                .into_iter()
                .map(|s| Spike { frame: s.frame, dimension: name(s.dimension), z: s.z })
                .collect()
        };
        m.velocity_spikes = named(motion::velocity_spikes(&moved, &ranges, &grippers));
        m.jerk_spikes = named(motion::jerk_spikes(&moved, &ranges, &grippers));
        let speeds = motion::speeds(&moved, &ranges, fps);
        m.log_jerk = motion::log_dimensionless_jerk(&speeds, fps);
        let grips: Vec<usize> =
            grippers.iter().flat_map(|&d| gripper::changes(&moved, extent, d)).collect();
        let touch = self.touch(table, m.frames);
        m.segments = segments(m.frames, &m.idle_spans, &grips, &touch, &speeds, fps);
        part.print.motion = similar::embedding(&moved, &extent.low, &ranges);
        part.start = drift::start_pose(&moved);
        calm
    }

    fn touch(&self, table: &EpisodeTable, frames: usize) -> Vec<bool> {
        let mut out = Vec::new();
        for (key, extent) in self.extents.iter().filter(|(k, _)| feels_contact(k)) {
            let Some(series) = table.get(key).and_then(Series::of) else { continue };
            out.resize(frames, false);
            for (sum, up) in out.iter_mut().zip(contact(&series, extent)) {
                *sum |= up;
            }
        }
        out
    }

    fn pictures(&self, number: usize, calm: &[bool], part: &mut Part) -> Result<()> {
        let length = part.measures.frames;
        let moves = calm.iter().any(|s| !s);
        for key in &self.cameras {
            let (video, samples) = match self.dataset.episode_samples(number, key) {
                Ok(found) => found,
                Err(e) => {
                    let broken = Some(e.to_string());
                    let found = CameraMeasures { broken, ..CameraMeasures::default() };
                    part.measures.cameras.insert(key.clone(), found);
                    continue;
                }
            };
            if self.options.video == Look::Index {
                continue;
            }
            let shape = self.dataset.info().features.get(key).map(|f| f.shape.as_slice());
            let width = shape.and_then(|s| s.get(1)).copied().unwrap_or(1);
            let is_key = |f: usize| video.track().samples[samples.start + f].sync;
            let frames = picture::looked_at(length, self.options.places, &is_key);
            let mut camera = picture::Camera::default();
            let seen = self.dataset.visit_frames(number, key, &frames, &mut |position, rgb| {
                self.task.cancel.check()?;
                let frame = frames[position];
                let moving = frame > 0 && !calm.get(frame - 1).copied().unwrap_or(true);
                camera.add(frame, picture::Luma::of(rgb, width), moving && is_key(frame));
                Ok(())
            });
            let found = match seen {
                Err(e) if e.is_cancelled() => return Err(e),
                Err(e) => CameraMeasures { broken: Some(e.to_string()), ..Default::default() },
                Ok(()) => match camera.finish(moves) {
                    Some(seen) => {
                        part.print.pictures.extend(&seen.hashes);
                        camera_measures(&seen)
                    }
                    None => continue,
                },
            };
            part.measures.cameras.insert(key.clone(), found);
        }
        Ok(())
    }

    /// Adds what only all episodes together can tell.
    fn compare(self, parts: Vec<Part>) -> Survey {
        let prints: Vec<similar::Print> = parts.iter().map(|p| p.print.clone()).collect();
        let starts: Vec<Vec<f64>> = parts.iter().map(|p| p.start.clone()).collect();
        let offsets: Vec<Vec<f64>> = parts.iter().map(|p| p.offset.clone()).collect();
        let mut episodes: Vec<EpisodeMeasures> = parts.into_iter().map(|p| p.measures).collect();
        length_z(&mut episodes);
        for (m, near) in episodes.iter_mut().zip(similar::nearest(&prints)) {
            m.nearest = near.map(|n| NearestMeasures {
                episode: n.episode,
                distance: n.distance,
                bits: n.bits,
                same: n.same,
            });
        }
        for key in &self.cameras {
            let cameras = episodes.iter().filter_map(|m| m.cameras.get(key));
            let good = cameras.filter(|c| c.broken.is_none() && !c.black).map(|c| c.sharpness);
            let usual = median(&good.collect::<Vec<_>>()).filter(|u| *u > 0.0);
            for camera in episodes.iter_mut().filter_map(|m| m.cameras.get_mut(key)) {
                camera.relative_sharpness = usual.map(|u| camera.sharpness / u);
            }
        }
        episodes.iter_mut().for_each(|m| m.quality = quality(m));
        let key = [&self.options.state_key, &self.options.action_key]
            .into_iter()
            .find(|k| self.extents.contains_key(*k));
        let drift = key.map(|key| {
            let names = self.names(key);
            let hands = gripper::gripper_dimensions(&names);
            let ranges = self.extents[key].ranges();
            let found = |of: DriftOf, values: &[Vec<f64>]| -> Vec<DriftMeasures> {
                let found = drift::drift(values, &ranges, &hands);
                let measures = |d: drift::Drift| DriftMeasures {
                    of,
                    feature: key.clone(),
                    dimension: names.get(d.dimension).cloned().unwrap_or_default(),
                    shift: d.shift,
                    z: d.z,
                };
                found.into_iter().map(measures).collect()
            };
            [found(DriftOf::Start, &starts), found(DriftOf::Offset, &offsets)].concat()
        });
        Survey { episodes, drift: drift.unwrap_or_default(), notes: self.notes }
    }
}

/// Video features that can be looked at.
fn cameras(
    dataset: &Dataset,
    options: &SurveyOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    if options.video == Look::None {
        return Ok(out);
    }
    for key in dataset.info().video_keys() {
        let span = dataset.episodes().first().and_then(|e| e.videos.get(key));
        let codec = match span {
            Some(span) => dataset.video(&span.file)?.track().config.codec(),
            None => continue,
        };
        if options.video == Look::Pictures && !can_decode(&codec) {
            notes.push(format!(
                "{key} was not looked at: codec {codec} can't be decoded without ffmpeg"
            ));
        } else {
            out.push(key.to_owned());
        }
    }
    Ok(out)
}

fn camera_measures(seen: &picture::Seen) -> CameraMeasures {
    CameraMeasures {
        sharpness: seen.sharpness,
        relative_sharpness: None,
        brightness: seen.brightness,
        dark: seen.dark,
        bright: seen.bright,
        clipped: seen.clipped,
        repeated: seen.repeated,
        black: seen.black,
        frozen: seen.frozen,
        broken: None,
    }
}

/// How far each length lies from the others: lengths are compared as ratios, and a scale below 5 %
/// means nothing.
fn length_z(episodes: &mut [EpisodeMeasures]) {
    if episodes.len() < 5 {
        return;
    }
    let logs: Vec<f64> = episodes.iter().map(|m| (m.frames.max(1) as f64).ln()).collect();
    let Some((middle, scale)) = robust(&logs) else { return };
    for (m, log) in episodes.iter_mut().zip(logs) {
        m.length_z = Some((log - middle) / scale.max(0.05));
    }
}

/// Row and dimension of the first value that is not finite.
pub(crate) fn non_finite(array: &Array) -> Option<(usize, usize)> {
    let at = match &array.data {
        ArrayData::F32(v) => v.iter().position(|x| !x.is_finite())?,
        ArrayData::F64(v) => v.iter().position(|x| !x.is_finite())?,
        _ => return None,
    };
    let width = array.shape.iter().skip(1).product::<usize>().max(1);
    Some((at / width, at % width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_far_from_the_others_stands_out() {
        let lengths = [300, 310, 295, 305, 40, 302, 298, 900];
        let mut episodes: Vec<EpisodeMeasures> = lengths
            .iter()
            .map(|&frames| EpisodeMeasures { frames, ..Default::default() })
            .collect();
        length_z(&mut episodes);
        let z: Vec<f64> = episodes.iter().filter_map(|m| m.length_z).collect();
        assert!(z[4] < -10.0 && z[7] > 10.0 && z[..4].iter().all(|z| z.abs() < 1.0), "{z:?}");
        length_z(&mut episodes[..4]);
    }
}
