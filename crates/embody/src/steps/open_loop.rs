//! `kind = "open-loop"`: predicted against recorded actions on held-out episodes.

use std::path::{Path, PathBuf};

use embody_core::Result;
use embody_data::{FrameSource, HELD_OUT, SourceOptions};
use embody_learn::{
    Backend, Latency, OpenLoopOptions, OpenLoopResult, open_loop, open_loop_windows,
};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::process::dataset_dir;
use super::{eval, output, policy, resolved};

/// Compares predictions with a recording.
pub struct OpenLoop {
    /// Where networks are computed.
    pub backend: Backend,
}

/// Inferences timed.
const LATENCY_ITERATIONS: usize = 200;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    dataset: String,
    policy: String,
    /// The horizon reported in detail, seconds.
    #[serde(default = "default_horizon")]
    horizon_s: f64,
    /// Most frames looked at, evenly spaced.
    #[serde(default = "default_frames")]
    max_frames: usize,
    /// Episodes whose trajectories are plotted.
    #[serde(default = "default_plots")]
    plot_episodes: usize,
    /// What to do, for a policy that follows instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
}

fn default_horizon() -> f64 {
    0.5
}

fn default_frames() -> usize {
    600
}

fn default_plots() -> usize {
    2
}

/// The numbers at the horizon, errors normalised by each joint's deviation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct At {
    /// Seconds ahead.
    pub horizon_s: f64,
    /// Mean error of the policy.
    pub error: f64,
    /// Mean error of holding the last action.
    pub hold_last_error: f64,
    /// Policy's over baseline's.
    pub ratio: f64,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// At the horizon.
    pub at: At,
    /// By step, by joint, and trajectories.
    pub open_loop: OpenLoopResult,
}

/// What differs from run to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Batch-1 inference.
    pub latency: Option<Latency>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        format!(
            "error {:.3} against {:.3} for holding the last action, {} s ahead, on {} frames of {} \
             held-out episodes",
            self.at.error,
            self.at.hold_last_error,
            self.at.horizon_s,
            self.open_loop.frames,
            self.open_loop.episodes
        )
    }
}

impl StepKind for OpenLoop {
    fn name(&self) -> &'static str {
        "open-loop"
    }

    fn about(&self) -> &'static str {
        "compare predicted with recorded actions on held-out episodes: dataset, policy, horizon_s, \
         max_frames, plot_episodes, instruction"
    }

    fn version(&self) -> u32 {
        1
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        let mut params = params(step)?;
        params.policy = policy::recorded(&params.policy);
        resolved(&params)
    }

    fn external_inputs(&self, step: &Step) -> Result<Vec<PathBuf>> {
        let params = params(step)?;
        Ok(policy::folder(&params.policy).map(Path::to_owned).into_iter().collect())
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params = params(ctx.step)?;
        let told = params.instruction.as_deref();
        let dataset = dataset_dir(ctx.input("dataset", &params.dataset)?);
        let model = policy::dir(ctx, "policy", &params.policy)?;
        let mut judged = policy::load(&model, Some(1), told, ctx.threads, self.backend)?;
        let options = SourceOptions {
            split: Some(HELD_OUT.to_owned()),
            image_size: policy::camera_size(judged.as_ref()).map(|[h, w]| (h, w)),
            windows: open_loop_windows(&model)?,
            threads: ctx.threads,
            ..Default::default()
        };
        let source = FrameSource::open(&dataset, &options, ctx.task)?;
        let options = OpenLoopOptions {
            horizon_secs: params.horizon_s,
            max_frames: params.max_frames,
            plot_episodes: params.plot_episodes,
            seed: ctx.seed,
            threads: ctx.threads,
            backend: self.backend,
            instruction: params.instruction.clone(),
        };
        let result = open_loop(&model, &source, &options, ctx.task)?;
        let latency = eval::latency_on(judged.as_mut(), &source, LATENCY_ITERATIONS)?;
        let at = At {
            horizon_s: params.horizon_s,
            error: result.policy.mean,
            hold_last_error: result.hold_last.mean,
            ratio: result.policy.mean / result.hold_last.mean,
        };
        output(&Outcome { at, open_loop: result }, &Measured { latency: Some(latency) })
    }
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    if !(params.horizon_s > 0.0 && params.horizon_s <= 60.0) {
        return Err(step.bad_value("horizon_s", "must be above 0 and at most 60 seconds"));
    }
    if params.max_frames == 0 {
        return Err(step.bad_value("max_frames", "must be at least 1"));
    }
    policy::check(step, "policy", &params.policy)?;
    Ok(params)
}
