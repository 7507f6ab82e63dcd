//! Processing: carry out a plan of [`crate::curate`], split by episode, compute statistics. Kept video
//! is copied packet by packet.

use std::path::{Path, PathBuf};

use embody_core::{AtomicDir, ContentHash, Result, Task, derive_seed};
use indexmap::IndexMap;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

pub(crate) use crate::curate::non_finite;
use crate::curate::{Look, Plan, make_plan};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::import::{copy_all, v3_info};
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
    /// Leave out episodes for which this expression over measures and columns is false
    /// ([`crate::FACTS`] lists the names).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Expression that gives each kept episode's sampling weight, 0 or more; 0 leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
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
            keep: None,
            weight: None,
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
    let plan = make_plan(&dataset, options, Look::None, task)?;
    apply(&dataset, target, &plan, options, task)
}

/// Carries out a plan.
fn apply(
    dataset: &Dataset,
    target: &Path,
    plan: &Plan,
    options: &ProcessOptions,
    task: Task<'_>,
) -> Result<ProcessReport> {
    let kept: Vec<usize> = plan.kept().collect();
    let dropped: Vec<DroppedEpisode> = plan
        .episodes
        .iter()
        .enumerate()
        .filter(|(_, e)| !e.keep)
        .map(|(episode, e)| DroppedEpisode { episode, reasons: e.reasons.clone() })
        .collect();
    if kept.is_empty() {
        return Err(DataError::Request {
            why: format!(
                "all {} episodes of {} would be left out",
                dropped.len(),
                dataset.root().display()
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
    let frames = |&e: &usize| (e, Some(plan.episodes[e].frames.clone()));
    let episodes: Vec<_> = order.iter().map(frames).collect();
    copy_all(dataset, &episodes, &mut writer, ("process", task), &mut |position, writer| {
        if let Some(weight) = plan.episodes[order[position]].weight {
            writer.annotate_last(|a| a.weight = Some(weight));
        }
    })?;
    let parent = dataset.version()?;
    let parameters = serde_json::to_value(options).unwrap_or_default();
    let cut = |&episode: &usize| {
        let (length, keep) = (dataset.episodes()[episode].length, &plan.episodes[episode].frames);
        let (start, end) = (keep.start, length - keep.end);
        (start + end > 0).then_some(TrimmedEpisode { episode, start, end })
    };
    let trimmed = order.iter().filter_map(cut).collect();
    let (lineage, _) =
        writer.finish(splits.clone(), Some(parent.clone()), "process", parameters, task)?;
    let path = staging.commit()?;
    Ok(ProcessReport {
        path,
        kept: order,
        dropped,
        trimmed,
        idle_fraction: plan.episodes.iter().map(|e| e.measures.idle_fraction).collect(),
        splits,
        frames: plan.frames(),
        parent,
        version: lineage.version,
    })
}

impl ProcessOptions {
    /// Refuses options that make no sense for `dataset`.
    pub(crate) fn check(&self, dataset: &Dataset) -> Result<()> {
        let refuse = |why: String, hint: String| -> Result<()> {
            Err(DataError::Request { why, hint }.into())
        };
        for (name, value) in [
            ("max_idle_fraction", self.max_idle_fraction),
            ("idle_threshold", self.idle_threshold),
            ("held_out", self.held_out),
        ] {
            if !(0.0..=1.0).contains(&value) || (name == "held_out" && value >= 1.0) {
                let hint = "give a fraction from 0 to 1".to_owned();
                return refuse(format!("{name} is {value}"), hint);
            }
        }
        let key = &self.action_key;
        if self.max_idle_fraction < 1.0 && !dataset.info().features.contains_key(key) {
            let known: Vec<_> = dataset.info().features.keys().map(String::as_str).collect();
            let near = embody_core::nearest_key(key, known.iter().copied());
            return refuse(
                format!(
                    "{} has no feature {key:?} to tell idle frames by",
                    dataset.root().display()
                ),
                near.map_or_else(
                    || "set action_key, or max_idle_fraction to 1".to_owned(),
                    |n| format!("did you mean {n:?}?"),
                ),
            );
        }
        Ok(())
    }
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
