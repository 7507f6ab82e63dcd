//! `kind = "vary"`: new demonstrations from simulated ones, by other looks and other places of the
//! object. Every episode is marked synthetic, with its source and what was done to it.

use std::path::{Path, PathBuf};

use embody_core::{DType, DataView, Error, Result, Task, VecEnv, derive_seed};
use embody_data::{Dataset, Origin, VideoSettings};
use embody_learn::{EpisodeRollout, Z95, wilson};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use embody_sim::{
    AppearanceRange, Demonstration, EnvOptions, Placement, SimEnv, SourceChoice, VariationOptions,
    VariationReport,
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::process::{DATASET, dataset_dir};
use super::rollouts::{self, ACTION, Keeper};
use super::{output, resolved};

/// Cameras' features begin so.
const IMAGES: &str = "observation.images.";

/// Makes synthetic demonstrations.
pub struct Vary {
    /// Folder with robot models.
    pub assets: PathBuf,
}

/// How demonstrations are varied; the flags of `embody data vary` are the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Episodes wanted for each source episode
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[serde(default = "five")]
    pub per_episode: usize,
    /// How far cameras stand off their places: 0 not at all, 1 for training data, 3 the most
    #[arg(long, value_name = "STRENGTH", default_value_t = 1.0)]
    #[serde(default = "one")]
    pub cameras: f64,
    /// How much light differs: strength, direction, colour
    #[arg(long, value_name = "STRENGTH", default_value_t = 1.0)]
    #[serde(default = "one")]
    pub lights: f64,
    /// How much colours and textures of objects, table and floor differ
    #[arg(long, value_name = "STRENGTH", default_value_t = 1.0)]
    #[serde(default = "one")]
    pub textures: f64,
    /// Most things that lie about without touching anything
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(default)]
    pub distractors: usize,
    /// Place the object anew and carry the demonstration over (else: the same motion, seen otherwise)
    #[arg(long)]
    #[serde(default)]
    pub placement: bool,
    /// Carry over each episode itself, not the one whose object lay nearest
    #[arg(long, requires = "placement")]
    #[serde(default)]
    pub same_source: bool,
    /// Standard deviation of noise on the arm's actions, in their unit
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0, requires = "placement")]
    #[serde(default)]
    pub action_noise: f64,
    /// Trials for one episode before it is given up
    #[arg(long, value_name = "N", default_value_t = 10, requires = "placement")]
    #[serde(default = "ten")]
    pub trials: usize,
    /// Also keep trials that failed, marked as failures
    #[arg(long)]
    #[serde(default)]
    pub keep_failures: bool,
    /// Only episodes of this split of the source
    #[arg(long, value_name = "SPLIT")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// Parameters as a recipe has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StepParams {
    dataset: String,
    #[serde(flatten)]
    how: Params,
}

fn five() -> usize {
    5
}

fn ten() -> usize {
    10
}

fn one() -> f64 {
    1.0
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The task.
    pub task: String,
    /// Episodes written, failures among them where they are kept.
    pub episodes: usize,
    /// Frames written.
    pub frames: usize,
    /// Share of trials that achieved the task.
    pub success_rate: f64,
    /// Wilson's 95 % interval of it.
    pub interval: (f64, f64),
    /// Sources, trials, and why trials failed.
    pub report: VariationReport,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let r = &self.report;
        let short = match r.wanted - r.made.min(r.wanted) {
            0 => String::new(),
            n => format!("; {n} of {} wanted were given up", r.wanted),
        };
        format!(
            "{} episodes, {} frames from {} demonstrations; {} of {} trials succeeded, 95 % interval \
             {:.1}-{:.1} %{short}",
            self.episodes,
            self.frames,
            r.sources,
            r.made,
            r.trials,
            self.interval.0 * 100.0,
            self.interval.1 * 100.0
        )
    }

    /// Sources left out and reasons for failures, a line each.
    pub fn details(&self) -> Vec<String> {
        let unused = self.report.unused.iter();
        let unused = unused.map(|(episode, why)| format!("left out episode {episode}: {why}"));
        let failures = self.report.failures.iter();
        unused.chain(failures.map(|(why, n)| format!("{n} trials failed: {why}"))).collect()
    }
}

impl StepKind for Vary {
    fn name(&self) -> &'static str {
        "vary"
    }

    fn about(&self) -> &'static str {
        "make synthetic demonstrations from simulated ones: dataset, per_episode, cameras, lights, \
         textures, distractors, placement, same_source, action_noise, trials, keep_failures, split"
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
        let target = ctx.dir.join(DATASET);
        let seed = derive_seed(ctx.seed, "vary", 0);
        let outcome =
            run(&self.assets, &source, &target, &params.how, seed, ctx.threads, ctx.task)?;
        output(&outcome, &json!({}))
    }
}

fn params(step: &Step) -> Result<StepParams> {
    const KEYS: [&str; 12] = [
        "dataset",
        "per_episode",
        "cameras",
        "lights",
        "textures",
        "distractors",
        "placement",
        "same_source",
        "action_noise",
        "trials",
        "keep_failures",
        "split",
    ];
    step.check_keys(&KEYS)?;
    let params: StepParams = step.parse()?;
    params.how.check().map_err(|(key, why)| step.bad_value(key, why))?;
    Ok(params)
}

impl Params {
    /// The first key whose value is out of range, and what is right.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> std::result::Result<(), (&'static str, &'static str)> {
        let looks =
            [("cameras", self.cameras), ("lights", self.lights), ("textures", self.textures)];
        for (key, strength) in looks {
            if !(0.0..=3.0).contains(&strength) {
                return Err((key, "must be from 0 to 3"));
            }
        }
        if !(1..=10_000).contains(&self.per_episode) {
            return Err(("per_episode", "must be from 1 to 10000"));
        }
        if self.distractors > 20 {
            return Err(("distractors", "must be at most 20"));
        }
        if !(0.0..=90.0).contains(&self.action_noise) {
            return Err(("action_noise", "must be from 0 to 90"));
        }
        if !(1..=1000).contains(&self.trials) {
            return Err(("trials", "must be from 1 to 1000"));
        }
        if !self.placement && self.range().is_nothing() {
            return Err(("placement", "nothing is varied: neither looks nor placement"));
        }
        Ok(())
    }

    /// The same for the simulator.
    ///
    /// # Errors
    /// When the dataset's version can't be told.
    pub fn options(&self, seed: u64, dataset: &Dataset) -> Result<VariationOptions> {
        let choice = if self.same_source { SourceChoice::Same } else { SourceChoice::Nearest };
        let (action_noise, trials) = (self.action_noise, self.trials);
        Ok(VariationOptions {
            per_episode: self.per_episode,
            appearance: self.range(),
            placement: self.placement.then_some(Placement { choice, action_noise, trials }),
            seed,
            keep_failures: self.keep_failures,
            source: dataset.version()?,
        })
    }

    fn range(&self) -> AppearanceRange {
        AppearanceRange {
            cameras: self.cameras,
            lights: self.lights,
            textures: self.textures,
            distractors: self.distractors,
        }
    }
}

/// Writes the dataset `target` of episodes varied from those of `source`.
///
/// # Errors
/// When the source holds no simulated episodes that can be run again, none came of it, or files can't
/// be read or written; nothing is left behind then.
pub fn run(
    assets: &Path,
    source: &Path,
    target: &Path,
    how: &Params,
    seed: u64,
    threads: usize,
    task: Task<'_>,
) -> Result<Outcome> {
    let dataset = Dataset::open(source)?;
    let episodes: Vec<usize> = dataset.split(how.split.as_deref())?.collect();
    let demonstrations = demonstrations(&dataset, &episodes)?;
    let task_id = demonstrations[0].simulation.task.clone();
    let wanted = demonstrations.len() * how.per_episode;
    let mut env = env_like(assets, &dataset, &task_id, rollouts::slots(wanted), threads)?;
    let options = how.options(seed, &dataset)?;
    let mut parameters = resolved(how)?;
    parameters["seed"] = json!(seed);
    let origin = Origin { operation: "vary".to_owned(), source: options.source.clone() };
    let spec = env.spec().clone();
    let mut keeper = Keeper::create(
        target,
        &spec,
        parameters,
        (VideoSettings::default(), threads),
        Some(origin),
    )?;
    let (mut count, mut frames) = (0, 0);
    let mut keep = |episode: embody_sim::VariedEpisode| {
        count += 1;
        frames += episode.steps;
        keeper.take(EpisodeRollout {
            index: count - 1,
            seed: episode.seed.unwrap_or_default(),
            success: episode.success,
            steps: episode.steps,
            total_reward: episode.total_reward,
            observations: episode.observations,
            actions: episode.actions,
            simulation: Some(episode.simulation),
        })
    };
    let report = embody_sim::vary(&mut env, &demonstrations, &options, &mut keep, task)?;
    for (episode, why) in &report.unused {
        task.note(&format!("episode {episode} is left out: {why}"));
    }
    if count == 0 {
        let reasons: Vec<String> =
            report.failures.iter().map(|(why, n)| format!("{n} × {why}")).collect();
        return Err(Error::new(format!(
            "none of {} trials achieved the task: {}",
            report.trials,
            reasons.join(", ")
        ))
        .with_hint("allow more trials, less noise, or vary looks only"));
    }
    keeper.finish()?;
    Ok(Outcome {
        task: task_id,
        episodes: count,
        frames,
        success_rate: report.made as f64 / report.trials.max(1) as f64,
        interval: wilson(report.made as u64, report.trials as u64, Z95),
        report,
    })
}

/// Environments that show what the dataset holds, with its cameras and their size.
///
/// # Errors
/// When the dataset's features are not those of the task.
pub fn env_like(
    assets: &Path,
    dataset: &Dataset,
    task_id: &str,
    slots: usize,
    threads: usize,
) -> Result<SimEnv> {
    let features = &dataset.info().features;
    let cameras: Vec<(&str, &Vec<usize>)> = features
        .iter()
        .filter(|(_, f)| f.dtype.is_visual())
        .map(|(key, f)| (key.strip_prefix(IMAGES).unwrap_or(key), &f.shape))
        .collect();
    let size = cameras.first().and_then(|(_, shape)| Some((*shape.first()?, *shape.get(1)?)));
    if let Some((name, shape)) = cameras.iter().find(|(_, s)| **s != *cameras[0].1) {
        return Err(Error::new(format!(
            "{}: camera {name} is {shape:?}, others are {:?}: a task's cameras have one size",
            dataset.root().display(),
            cameras[0].1
        )));
    }
    let options = EnvOptions {
        num_envs: slots,
        threads,
        camera_size: size,
        cameras: Some(cameras.iter().map(|(name, _)| (*name).to_owned()).collect()),
        privileged: true,
        ..EnvOptions::new(assets)
    };
    let env = embody_sim::make_sim(task_id, options)?;
    let ours = rollouts::recorded_features(&env.spec().observations, &env.spec().action);
    for (key, feature) in &ours {
        if features.get(key).is_none_or(|f| f.shape != feature.shape) {
            return Err(Error::new(format!(
                "{}: feature `{key}` of task `{task_id}` is missing or of another shape",
                dataset.root().display()
            ))
            .with_hint("vary the dataset as it was recorded"));
        }
    }
    Ok(env)
}

/// Episodes as they were recorded in the simulator.
///
/// # Errors
/// When an episode is not a simulated one, several tasks are mixed, or the tables can't be read.
pub fn demonstrations(dataset: &Dataset, episodes: &[usize]) -> Result<Vec<Demonstration>> {
    let mut out: Vec<Demonstration> = Vec::with_capacity(episodes.len());
    for &number in episodes {
        let Some(episode) = dataset.episodes().get(number) else { continue };
        let place = || format!("{}: episode {number}", dataset.root().display());
        let simulation = episode.outcome.simulation.clone().ok_or_else(|| {
            Error::new(format!("{} does not say how its simulation began", place())).with_hint(
                "only simulated episodes can be run again; those recorded before version 0.1 of \
                 this program lack it: record them again",
            )
        })?;
        if let Some(first) = out.first().filter(|f| f.simulation.task != simulation.task) {
            return Err(Error::new(format!(
                "{} is of task `{}`, episode {} of `{}`",
                place(),
                simulation.task,
                first.episode,
                first.simulation.task
            ))
            .with_hint("take the tasks apart first: embody data split"));
        }
        let table = dataset.episode_table(number)?;
        let values = |key: &str| match table.get(key).map(|a| a.view().data) {
            Some(DataView::F32(values)) => Some(values.to_vec()),
            _ => None,
        };
        let actions = values(ACTION)
            .ok_or_else(|| Error::new(format!("{} has no `action` of float32", place())))?;
        let features = dataset.info().features.iter();
        let observations: IndexMap<String, Vec<f32>> = features
            .filter(|(key, f)| key.starts_with("observation.") && f.dtype == DType::Float32)
            .filter_map(|(key, _)| Some((key.clone(), values(key)?)))
            .collect();
        out.push(Demonstration {
            episode: number,
            actions,
            observations,
            success: episode.outcome.success,
            seed: episode.outcome.seed,
            simulation,
        });
    }
    if out.is_empty() {
        return Err(Error::new(format!("{} holds no episodes", dataset.root().display())));
    }
    Ok(out)
}
