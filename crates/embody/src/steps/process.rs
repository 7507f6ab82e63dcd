//! `kind = "process"`: check a dataset, drop what is no use, split it by episode.

use std::path::PathBuf;

use embody_core::{ContentHash, Error, Result};
use embody_data::{
    Dataset, DecodeCheck, DroppedEpisode, Finding, HELD_OUT, ProcessOptions, Severity,
    ValidateOptions, VideoSettings,
};
use embody_platform::{Step, StepContext, StepInput, StepKind, StepOutput};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{output, resolved};

/// Folder of the dataset in the output of every step that makes one.
pub const DATASET: &str = "dataset";

/// Name of the split that policies learn from.
pub const TRAIN: &str = "train";

/// The dataset in a step's output.
pub fn dataset_dir(input: &StepInput) -> PathBuf {
    input.dir.join(DATASET)
}

/// Checks and processes.
pub struct Process;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    dataset: String,
    /// How much video the check decodes: none, sampled, all.
    #[serde(default)]
    decode: DecodeCheck,
    /// Drop episodes that are known to have failed.
    #[serde(default = "yes")]
    drop_failed: bool,
    /// Drop episodes in which the robot stands still for more than this fraction of the time.
    #[serde(default = "default_idle")]
    max_idle_fraction: f64,
    /// Drop shorter episodes.
    #[serde(default = "default_min_frames")]
    min_frames: usize,
    /// Fraction of the episodes to hold out of training.
    #[serde(default = "default_held_out")]
    held_out: f64,
    /// Keep only episodes for which this expression over measures holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<String>,
    /// Expression that gives each episode's sampling weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<String>,
    /// Encode video anew: codec, gop, quantiser, speed, crf, preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    video: Option<VideoSettings>,
    /// Cut idle frames off both ends of episodes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    trim_idle: bool,
}

fn yes() -> bool {
    true
}

fn default_idle() -> f64 {
    0.5
}

fn default_min_frames() -> usize {
    10
}

fn default_held_out() -> f64 {
    0.1
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// What the check found, worst first.
    pub findings: Vec<Finding>,
    /// Source indices of the episodes kept, in their new order: train first, then held out.
    pub kept: Vec<usize>,
    /// Episodes left out, each with its reasons.
    pub dropped: Vec<DroppedEpisode>,
    /// Episodes and frames to learn from.
    pub train: SplitCount,
    /// Episodes and frames held out.
    pub held_out: SplitCount,
    /// Content hash of the source.
    pub parent: ContentHash,
    /// Content hash of the result.
    pub version: ContentHash,
}

/// Size of a split.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct SplitCount {
    /// Episodes.
    pub episodes: usize,
    /// Frames.
    pub frames: usize,
}

impl Outcome {
    pub fn summary(&self) -> String {
        format!(
            "{} episodes kept, {} dropped, {} findings; {} to learn from, {} held out",
            self.kept.len(),
            self.dropped.len(),
            self.findings.len(),
            self.train.episodes,
            self.held_out.episodes
        )
    }
}

impl StepKind for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn about(&self) -> &'static str {
        "check a dataset, drop failed and idle episodes, split by episode: dataset, decode, \
         drop_failed, max_idle_fraction, min_frames, held_out, keep, weight, trim_idle, video"
    }

    fn version(&self) -> u32 {
        1
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        resolved(&params(step)?)
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params = params(ctx.step)?;
        let source = dataset_dir(ctx.input("dataset", &params.dataset)?);
        let options = ValidateOptions { decode: params.decode, ..Default::default() };
        let mut findings = embody_data::validate(&source, &options, ctx.task)?.findings;
        findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        if let Some(worst) = findings.first().filter(|_| errors > 0) {
            let others = if errors > 1 {
                format!(" (and {} more errors)", errors - 1)
            } else {
                String::new()
            };
            let error = Error::new(format!("the dataset is not valid: {worst}{others}"));
            return Err(match &worst.hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            });
        }
        let options = ProcessOptions {
            drop_failed: params.drop_failed,
            max_idle_fraction: params.max_idle_fraction,
            min_frames: params.min_frames,
            held_out: params.held_out,
            keep: params.keep,
            weight: params.weight,
            video: params.video,
            trim_idle: params.trim_idle,
            seed: ctx.seed,
            ..Default::default()
        };
        let target = ctx.dir.join(DATASET);
        let report = embody_data::process(&source, &target, &options, ctx.task)?;
        let dataset = Dataset::open(&target)?;
        let outcome = Outcome {
            findings,
            kept: report.kept,
            dropped: report.dropped,
            train: count(&dataset, TRAIN)?,
            held_out: count(&dataset, HELD_OUT)?,
            parent: report.parent,
            version: report.version,
        };
        output(&outcome, &json!({}))
    }
}

fn count(dataset: &Dataset, split: &str) -> Result<SplitCount> {
    if !dataset.info().splits.contains_key(split) {
        return Ok(SplitCount::default());
    }
    let range = dataset.split(Some(split))?;
    let frames = dataset.episodes()[range.clone()].iter().map(|e| e.length).sum();
    Ok(SplitCount { episodes: range.len(), frames })
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    if !(0.0..1.0).contains(&params.held_out) {
        return Err(step.bad_value("held_out", "must be at least 0 and less than 1"));
    }
    if !(0.0..=1.0).contains(&params.max_idle_fraction) {
        return Err(step.bad_value("max_idle_fraction", "must be from 0 to 1"));
    }
    Ok(params)
}
