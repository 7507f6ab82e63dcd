//! Processing: leave out failed and broken episodes with the reason for each, split by episode,
//! compute statistics. Kept video is copied packet by packet.

use std::ops::Range;
use std::path::{Path, PathBuf};

use embody_core::{Array, ArrayData, AtomicDir, ContentHash, Result, Task, derive_seed};
use indexmap::IndexMap;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::import::{copy_episode, v3_info};
use crate::writer::DatasetWriter;

/// Name of the split that is not trained on.
pub const HELD_OUT: &str = "held_out";

/// How to process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessOptions {
    /// Leave out episodes recorded as failures.
    pub drop_failed: bool,
    /// Leave out episodes with a value that is not finite; else such an episode is an error.
    pub drop_non_finite: bool,
    /// Leave out episodes whose video is missing frames or can't be copied; else such an episode is
    /// an error.
    pub drop_broken_video: bool,
    /// Leave out episodes of which more than this fraction of frames is idle; 1 keeps all.
    pub max_idle_fraction: f64,
    /// A frame is idle when no action dimension changes by more than this fraction of the
    /// dimension's range over the dataset.
    pub idle_threshold: f64,
    /// Cut idle frames off both ends of an episode, but for `idle_margin` of them. The cut at the
    /// start lies on a key frame, so that no picture is encoded again.
    pub trim_idle: bool,
    /// Idle frames that stay at each end.
    pub idle_margin: usize,
    /// Leave out episodes with fewer frames (after trimming).
    pub min_frames: usize,
    /// Feature that says whether the robot moves.
    pub action_key: String,
    /// Fraction of the kept episodes that is held out, 0 to below 1.
    pub held_out: f64,
    /// Seed of the choice of held-out episodes.
    pub seed: u64,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            drop_failed: true,
            drop_non_finite: true,
            drop_broken_video: false,
            max_idle_fraction: 0.9,
            idle_threshold: 1e-3,
            trim_idle: false,
            idle_margin: 5,
            min_frames: 2,
            action_key: "action".to_owned(),
            held_out: 0.1,
            seed: 0,
        }
    }
}

/// An episode that was left out, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DroppedEpisode {
    /// Its index in the source.
    pub episode: usize,
    /// Every reason, such as `the task was not achieved`.
    pub reasons: Vec<String>,
}

/// An episode of which idle ends were cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrimmedEpisode {
    /// Its index in the source.
    pub episode: usize,
    /// Frames cut off the start.
    pub start: usize,
    /// Frames cut off the end.
    pub end: usize,
}

/// What processing did.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessReport {
    /// Where the result stands.
    pub path: PathBuf,
    /// Source indices of the episodes kept, in their new order: train first, then held out.
    pub kept: Vec<usize>,
    /// Episodes left out.
    pub dropped: Vec<DroppedEpisode>,
    /// Episodes kept without their idle ends.
    pub trimmed: Vec<TrimmedEpisode>,
    /// Fraction of idle frames of each source episode.
    pub idle_fraction: Vec<f64>,
    /// Episode ranges by split.
    pub splits: IndexMap<String, String>,
    /// Frames kept.
    pub frames: usize,
    /// Content hash of the source.
    pub parent: ContentHash,
    /// Content hash of the result.
    pub version: ContentHash,
}

/// Filters, splits and describes the dataset at `source` as a new one at `target`.
///
/// # Errors
/// When options make no sense, nothing would be kept, or files can't be read or written; nothing is
/// left behind.
pub fn process(
    source: &Path,
    target: &Path,
    options: &ProcessOptions,
    task: Task<'_>,
) -> Result<ProcessReport> {
    let dataset = Dataset::open(source)?;
    check(options, &dataset)?;
    let verdicts = judge(&dataset, options, task)?;
    let idle_fraction = verdicts.iter().map(|v| v.idle).collect();
    let ranges: Vec<Range<usize>> = verdicts.iter().map(|v| v.keep.clone()).collect();
    let mut kept = Vec::new();
    let mut dropped = Vec::new();
    for (episode, verdict) in verdicts.into_iter().enumerate() {
        if verdict.reasons.is_empty() {
            kept.push(episode);
        } else {
            dropped.push(DroppedEpisode { episode, reasons: verdict.reasons });
        }
    }
    if kept.is_empty() {
        return Err(DataError::Request {
            why: format!(
                "all {} episodes of {} would be left out",
                dropped.len(),
                source.display()
            ),
            hint: format!(
                "the first because {}; relax the filters",
                dropped.first().map_or_else(String::new, |d| d.reasons.join(" and "))
            ),
        }
        .into());
    }
    let (order, splits) = split(&kept, options);
    let staging = AtomicDir::begin(target, false)?;
    let mut writer = DatasetWriter::new(staging.path(), v3_info(dataset.info()));
    writer.declare_tasks(dataset.tasks());
    task.begin("process", Some(order.len() as u64), "episodes");
    for (done, &episode) in order.iter().enumerate() {
        copy_episode(&dataset, episode, Some(ranges[episode].clone()), &mut writer)?;
        task.advance("process", done as u64 + 1, "")?;
    }
    task.end("process");
    let parent = dataset.version()?;
    let parameters = serde_json::to_value(options).unwrap_or_default();
    let frames = order.iter().map(|&e| ranges[e].len()).sum();
    let cut = |&episode: &usize| {
        let (length, keep) = (dataset.episodes()[episode].length, &ranges[episode]);
        let (start, end) = (keep.start, length - keep.end);
        (start + end > 0).then_some(TrimmedEpisode { episode, start, end })
    };
    let trimmed = order.iter().filter_map(cut).collect();
    let (lineage, _) =
        writer.finish(splits.clone(), Some(parent.clone()), "process", parameters, task)?;
    let path = staging.commit()?;
    let version = lineage.version;
    Ok(ProcessReport {
        path,
        kept: order,
        dropped,
        trimmed,
        idle_fraction,
        splits,
        frames,
        parent,
        version,
    })
}

fn check(options: &ProcessOptions, dataset: &Dataset) -> Result<()> {
    let refuse =
        |why: String, hint: String| -> Result<()> { Err(DataError::Request { why, hint }.into()) };
    for (name, value) in [
        ("max_idle_fraction", options.max_idle_fraction),
        ("idle_threshold", options.idle_threshold),
        ("held_out", options.held_out),
    ] {
        if !(0.0..=1.0).contains(&value) || (name == "held_out" && value >= 1.0) {
            return refuse(format!("{name} is {value}"), "give a fraction from 0 to 1".to_owned());
        }
    }
    let key = &options.action_key;
    if options.max_idle_fraction < 1.0 && !dataset.info().features.contains_key(key) {
        let known: Vec<_> = dataset.info().features.keys().map(String::as_str).collect();
        let near = embody_core::nearest_key(key, known.iter().copied());
        return refuse(
            format!("{} has no feature {key:?} to tell idle frames by", dataset.root().display()),
            near.map_or_else(
                || "set action_key, or max_idle_fraction to 1".to_owned(),
                |n| format!("did you mean {n:?}?"),
            ),
        );
    }
    Ok(())
}

#[derive(Default)]
struct Verdict {
    reasons: Vec<String>,
    idle: f64,
    keep: Range<usize>,
}

/// Reads every table once and says of each episode why it is left out.
fn judge(dataset: &Dataset, options: &ProcessOptions, task: Task<'_>) -> Result<Vec<Verdict>> {
    let total = dataset.episodes().len();
    let ranges = action_ranges(dataset, options)?;
    task.begin("filter", Some(total as u64), "episodes");
    let mut out = Vec::with_capacity(total);
    for (number, episode) in dataset.episodes().iter().enumerate() {
        let mut verdict = Verdict { keep: 0..episode.length, ..Verdict::default() };
        if options.drop_failed && episode.outcome.success == Some(false) {
            verdict.reasons.push("the task was not achieved".to_owned());
        }
        if options.drop_broken_video {
            let keys = dataset.info().video_keys();
            let broken = keys.filter_map(|key| dataset.episode_samples(number, key).err());
            verdict.reasons.extend(broken.map(|e| e.to_string()));
        }
        let table = dataset.episode_table(number)?;
        if let Some((key, frame, name)) = table.iter().find_map(|(key, array)| {
            let (frame, dim) = non_finite(array)?;
            let names = dataset.info().features.get(key).map(|f| f.dim_names());
            let name = names.and_then(|n| n.get(dim).cloned()).unwrap_or_else(|| dim.to_string());
            Some((key, frame, name))
        }) {
            let text = format!("{key}, dimension {name}, is not finite at frame {frame}");
            if !options.drop_non_finite {
                return Err(DataError::Inconsistent {
                    path: episode.rows.file.clone(),
                    why: format!("episode {number}: {text}"),
                    hint: "leave such episodes out with drop_non_finite",
                }
                .into());
            }
            verdict.reasons.push(text);
        } else if let Some(actions) = table.get(&options.action_key) {
            let still = still_steps(actions, &ranges, options.idle_threshold);
            let steps = still.len().max(1) as f64;
            verdict.idle = still.iter().filter(|s| **s).count() as f64 / steps;
            if verdict.idle > options.max_idle_fraction {
                verdict.reasons.push(format!(
                    "{:.0} % of frames are idle, more than {:.0} %",
                    verdict.idle * 100.0,
                    options.max_idle_fraction * 100.0
                ));
            } else if options.trim_idle && verdict.reasons.is_empty() {
                verdict.keep = moving(dataset, number, &still, options.idle_margin)?;
            }
        }
        if verdict.keep.len() < options.min_frames {
            let text = format!("{} frames, fewer than {}", verdict.keep.len(), options.min_frames);
            verdict.reasons.push(text);
        }
        out.push(verdict);
        task.advance("filter", number as u64 + 1, "")?;
    }
    task.end("filter");
    Ok(out)
}

fn values(array: &Array) -> Vec<f64> {
    match &array.data {
        ArrayData::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F64(v) => v.clone(),
        ArrayData::I64(v) => v.iter().map(|&x| x as f64).collect(),
        ArrayData::Bool(_) => Vec::new(),
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

/// Range of each action dimension over the finite values of the dataset.
fn action_ranges(dataset: &Dataset, options: &ProcessOptions) -> Result<Vec<f64>> {
    let key = options.action_key.as_str();
    if !dataset.info().features.contains_key(key) {
        return Ok(Vec::new());
    }
    let mut low: Vec<f64> = Vec::new();
    let mut high: Vec<f64> = Vec::new();
    for episode in 0..dataset.episodes().len() {
        for (_, array) in dataset.columns(episode, &[key])? {
            let width = array.shape.iter().skip(1).product::<usize>().max(1);
            low.resize(width, f64::INFINITY);
            high.resize(width, f64::NEG_INFINITY);
            for (i, v) in values(&array).into_iter().enumerate().filter(|(_, v)| v.is_finite()) {
                low[i % width] = low[i % width].min(v);
                high[i % width] = high[i % width].max(v);
            }
        }
    }
    Ok(low.iter().zip(&high).map(|(l, h)| (h - l).max(0.0)).collect())
}

/// Of each step from a frame to the next: whether no dimension moves by more than `threshold` of its
/// range.
fn still_steps(actions: &Array, ranges: &[f64], threshold: f64) -> Vec<bool> {
    let width = ranges.len().max(1);
    let values = values(actions);
    let rows: Vec<&[f64]> = values.chunks_exact(width).collect();
    rows.windows(2)
        .map(|pair| {
            let moves = pair[0].iter().zip(pair[1]).zip(ranges);
            moves.into_iter().all(|((a, b), range)| (a - b).abs() <= threshold * range)
        })
        .collect()
}

/// The frames from the first step that moves to the last, and `margin` more at each end.
fn moving(
    dataset: &Dataset,
    episode: usize,
    still: &[bool],
    margin: usize,
) -> Result<Range<usize>> {
    let length = dataset.episode(episode)?.length;
    let first = still.iter().position(|s| !s);
    let last = still.iter().rposition(|s| !s);
    let (Some(first), Some(last)) = (first, last) else { return Ok(0..length) };
    let end = (last + 2 + margin).min(length);
    let start = first.saturating_sub(margin);
    let start = if start == 0 { 0 } else { dataset.key_frame_before(episode, start)? };
    Ok(start..end)
}

/// Chooses the held-out episodes and orders train first; inside a split the order stays.
fn split(kept: &[usize], options: &ProcessOptions) -> (Vec<usize>, IndexMap<String, String>) {
    let total = kept.len();
    let mut count = (total as f64 * options.held_out).round() as usize;
    if options.held_out > 0.0 && total >= 2 {
        count = count.clamp(1, total - 1);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(options.seed, "held-out", 0));
    let mut shuffled: Vec<usize> = (0..total).collect();
    for i in (1..total).rev() {
        // 64 random bits modulo a small number: the bias is below 2^-40.
        let j = (rng.next_u64() % (i as u64 + 1)) as usize;
        shuffled.swap(i, j);
    }
    let mut held: Vec<usize> = shuffled.into_iter().take(count).collect();
    held.sort_unstable();
    let train = (0..total).filter(|i| held.binary_search(i).is_err());
    let order: Vec<usize> = train.chain(held.iter().copied()).map(|i| kept[i]).collect();
    let mut splits = IndexMap::new();
    splits.insert("train".to_owned(), format!("0:{}", total - count));
    if count > 0 {
        splits.insert(HELD_OUT.to_owned(), format!("{}:{total}", total - count));
    }
    (order, splits)
}
