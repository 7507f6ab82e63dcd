//! `kind = "merge"` and `kind = "delete"`: datasets put together, episodes left out by hand.

use embody_core::{ContentHash, Result};
use embody_data::{Dataset, EditReport, parse_episodes};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::process::{DATASET, dataset_dir};
use super::{output, resolved};

/// Appends datasets of the same features to each other.
pub struct Merge;

/// Leaves out episodes that a person names.
pub struct Delete;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MergeParams {
    /// The steps that make them.
    datasets: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteParams {
    dataset: String,
    /// Such as `3,5-7,90-`.
    episodes: String,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Episodes.
    pub episodes: usize,
    /// Frames.
    pub frames: usize,
    /// Content hashes of the sources.
    pub parents: Vec<ContentHash>,
    /// Content hash of the result.
    pub version: ContentHash,
}

impl Outcome {
    pub fn summary(&self) -> String {
        format!("{} episodes, {} frames", self.episodes, self.frames)
    }
}

impl From<EditReport> for Outcome {
    fn from(report: EditReport) -> Self {
        let EditReport { episodes, frames, parents, version, .. } = report;
        Self { episodes, frames, parents, version }
    }
}

impl StepKind for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }

    fn about(&self) -> &'static str {
        "append datasets of the same features to each other: datasets"
    }

    fn version(&self) -> u32 {
        1
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        let params: MergeParams = step.parse()?;
        if params.datasets.len() < 2 {
            return Err(step.bad_value("datasets", "must name at least two steps"));
        }
        resolved(&params)
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params: MergeParams = ctx.step.parse()?;
        let mut sources = Vec::new();
        for name in &params.datasets {
            sources.push(dataset_dir(ctx.input("datasets", name)?));
        }
        let report = embody_data::merge(&sources, &ctx.dir.join(DATASET), ctx.task)?;
        output(&Outcome::from(report), &json!({}))
    }
}

impl StepKind for Delete {
    fn name(&self) -> &'static str {
        "delete"
    }

    fn about(&self) -> &'static str {
        "leave out episodes: dataset, episodes (such as \"3,5-7\")"
    }

    fn version(&self) -> u32 {
        1
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        resolved(&step.parse::<DeleteParams>()?)
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params: DeleteParams = ctx.step.parse()?;
        let source = dataset_dir(ctx.input("dataset", &params.dataset)?);
        let total = Dataset::open(&source)?.episodes().len();
        let episodes = parse_episodes(&params.episodes, total)?;
        let target = ctx.dir.join(DATASET);
        let report = embody_data::delete(&source, &target, &episodes, ctx.task)?;
        output(&Outcome::from(report), &json!({}))
    }
}
