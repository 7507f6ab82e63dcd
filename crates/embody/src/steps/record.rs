//! `kind = "record"`: demonstrations of a simulated task by its scripted expert.

use std::path::PathBuf;

use embody_core::{Error, Result, derive_seed};
use embody_data::VideoSettings;
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use embody_sim::{EnvOptions, ExpertOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::process::DATASET;
use super::rollouts::{self, Rollouts};
use super::{output, resolved};

/// Records demonstrations.
pub struct Record {
    /// Folder with robot models.
    pub assets: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    task: String,
    #[serde(default = "default_episodes")]
    episodes: usize,
    /// Height and width of the cameras, pixels.
    #[serde(default = "default_image_size")]
    image_size: [usize; 2],
    /// Scale of the expert's seeded variation in speed and approach.
    #[serde(default = "default_variation")]
    variation: f64,
    /// How video is encoded: codec, gop, quantiser, speed, crf, preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    video: Option<VideoSettings>,
}

fn default_episodes() -> usize {
    100
}

fn default_image_size() -> [usize; 2] {
    [96, 96]
}

fn default_variation() -> f64 {
    1.0
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The task.
    pub task: String,
    /// The instruction in words.
    pub instruction: String,
    /// What was recorded.
    pub robot_type: String,
    /// Episodes recorded.
    pub episodes: usize,
    /// How many of them achieved the task.
    pub successes: usize,
    /// Frames.
    pub frames: usize,
    /// Frames per second.
    pub fps: f64,
    /// Cameras, with height and width.
    pub cameras: Vec<(String, Vec<usize>)>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        format!(
            "{} demonstrations of {}, {} frames, {} achieved the task",
            self.episodes, self.task, self.frames, self.successes
        )
    }
}

impl StepKind for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn about(&self) -> &'static str {
        "record demonstrations by a task's scripted expert: task, episodes, image_size, variation, video"
    }

    fn version(&self) -> u32 {
        2
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        resolved(&params(step)?)
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params = params(ctx.step)?;
        let slots = rollouts::slots(params.episodes);
        let options = EnvOptions {
            num_envs: slots,
            threads: ctx.threads,
            camera_size: Some((params.image_size[0], params.image_size[1])),
            privileged: true,
            ..EnvOptions::new(&self.assets)
        };
        let mut env = embody_sim::make(&params.task, options)?;
        let expert_options =
            ExpertOptions { variation: params.variation, ..ExpertOptions::new(&self.assets) };
        let seed = derive_seed(ctx.seed, "expert", 0);
        let mut expert = embody_sim::expert(&params.task, slots, seed, expert_options)?;
        let seeds = (0..params.episodes as u64)
            .map(|i| derive_seed(ctx.seed, "demonstration", i))
            .collect();
        let spec = env.spec().clone();
        let done = rollouts::run(
            Rollouts {
                until: None,
                env: env.as_mut(),
                policy: expert.as_mut(),
                seeds,
                record_to: &ctx.dir.join(DATASET),
                parameters: self.resolve(ctx.step)?,
                video: params.video.unwrap_or_default(),
                threads: ctx.threads,
            },
            ctx.task,
        )?;
        let cameras = spec.observations.iter().filter(|(_, f)| f.dtype.is_visual());
        let outcome = Outcome {
            task: params.task,
            instruction: spec.task.clone(),
            robot_type: spec.robot_type.clone(),
            episodes: params.episodes,
            successes: done.successes as usize,
            frames: done.episodes.iter().map(|row| row.steps).sum(),
            fps: spec.control_hz,
            cameras: cameras.map(|(key, f)| (key.clone(), f.shape.clone())).collect(),
        };
        if outcome.successes == 0 {
            return Err(Error::new(format!(
                "none of {} demonstrations of {} achieved the task",
                outcome.episodes, outcome.task
            ))
            .with_hint("look at one: embody sim render TASK --out expert.mp4"));
        }
        output(&outcome, &json!({}))
    }
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    rollouts::check(step, &params.task, params.episodes)?;
    if params.image_size.iter().any(|side| !(16..=1024).contains(side) || side % 2 == 1) {
        return Err(step.bad_value("image_size", "both sides must be even, from 16 to 1024 pixels"));
    }
    if !(0.0..=3.0).contains(&params.variation) {
        return Err(step.bad_value("variation", "must be from 0 to 3"));
    }
    Ok(params)
}
