//! `kind = "eval"`: a policy in a simulated task, over seeds that every evaluation of the run shares.

use std::path::{Path, PathBuf};

use embody_core::{
    Batch, BatchSource, ContentHash, DataView, Observations, Policy, Result, VecEnv, derive_seed,
    hash_tree,
};
use embody_data::{Dataset, VideoSettings};
use embody_learn::{EvalResult, Latency, PolicyOptions};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use embody_sim::{EnvOptions, ExpertOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::process::{DATASET, dataset_dir};
use super::rollouts::{self, ACTION, Rollouts};
use super::{output, resolved};

/// Evaluates.
pub struct Eval {
    /// Folder with robot models.
    pub assets: PathBuf,
}

/// The policy that replays the mean action of the demonstrations, frame by frame.
const REPLAY_MEAN: &str = "replay-mean";
/// The task's scripted expert.
const EXPERT: &str = "expert";
/// Inferences timed.
const LATENCY_ITERATIONS: usize = 200;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    task: String,
    /// `@STEP` of a training, `replay-mean` (wants `dataset`), or `expert`.
    policy: String,
    #[serde(default)]
    dataset: Option<String>,
    #[serde(default = "default_episodes")]
    episodes: usize,
    /// Actions executed of each chunk; absent: as the policy was trained.
    #[serde(default)]
    n_action_steps: Option<usize>,
    /// Height and width of the cameras, pixels; absent: as the policy was trained.
    #[serde(default)]
    image_size: Option<[usize; 2]>,
}

fn default_episodes() -> usize {
    100
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The task.
    pub task: String,
    /// Version of its behaviour.
    pub env_version: u32,
    /// The policy as the recipe names it.
    pub policy: String,
    /// Hash of its files, for trained ones.
    pub policy_hash: Option<ContentHash>,
    /// Per seed, and in all.
    pub evaluation: EvalResult,
}

/// What differs from run to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Batch-1 inference, for trained policies.
    pub latency: Option<Latency>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        format!("{}: {}", self.policy, self.evaluation.verdict())
    }
}

impl StepKind for Eval {
    fn name(&self) -> &'static str {
        "eval"
    }

    fn about(&self) -> &'static str {
        "run a policy in a task over paired seeds: task, policy, dataset, episodes, n_action_steps, \
         image_size"
    }

    fn version(&self) -> u32 {
        3
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        resolved(&params(step)?)
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params = params(ctx.step)?;
        let slots = rollouts::slots(params.episodes);
        let mut policy_hash = None;
        let mut latency_of = None;
        let mut image_size = params.image_size;
        let mut policy = match params.policy.as_str() {
            EXPERT => {
                let options = ExpertOptions::new(&self.assets);
                embody_sim::expert(&params.task, slots, ctx.seed, options)?
            }
            REPLAY_MEAN => {
                let reference = params.dataset.as_deref().unwrap_or_default();
                let (episodes, dims) = actions_of(&dataset_dir(ctx.input("dataset", reference)?))?;
                embody_learn::replay_mean(&episodes, dims)?
            }
            reference => {
                let dir = ctx.input("policy", reference)?.dir.join(embody_learn::POLICY_DIR);
                policy_hash = Some(hash_tree(&dir, &|_| false)?);
                let policy = load(&dir, params.n_action_steps, ctx.threads)?;
                image_size = image_size.or_else(|| camera_size(policy.as_ref()));
                latency_of = Some(dir);
                policy
            }
        };
        let mut env = make_env(&self.assets, &params, slots, image_size, ctx.threads)?;
        let seeds = evaluation_seeds(ctx.recipe.seed, params.episodes);
        let evaluation = rollouts::run(
            Rollouts {
                env: env.as_mut(),
                policy: policy.as_mut(),
                seeds,
                record_to: &ctx.dir.join(DATASET),
                parameters: self.resolve(ctx.step)?,
                video: VideoSettings::default(),
                threads: ctx.threads,
            },
            ctx.task,
        )?;
        let latency = match latency_of {
            Some(dir) => {
                let mut env = make_env(&self.assets, &params, 1, image_size, ctx.threads)?;
                env.reset(&[Some(0)])?;
                let mut policy = load(&dir, Some(1), ctx.threads)?;
                let observations = env.observations();
                Some(embody_learn::latency(policy.as_mut(), &observations, LATENCY_ITERATIONS)?)
            }
            None => None,
        };
        let outcome = Outcome {
            task: params.task,
            env_version: env.spec().version,
            policy: params.policy,
            policy_hash,
            evaluation,
        };
        output(&outcome, &Measured { latency })
    }
}

/// The seeds on which every policy of a run is evaluated; no demonstration has them.
pub fn evaluation_seeds(root: u64, episodes: usize) -> Vec<u64> {
    (0..episodes as u64).map(|i| derive_seed(root, "evaluation", i)).collect()
}

/// A trained policy.
///
/// # Errors
/// When the checkpoint can't be read.
pub fn load(dir: &Path, n_action_steps: Option<usize>, threads: usize) -> Result<Box<dyn Policy>> {
    embody_learn::load_policy(dir, PolicyOptions { threads, n_action_steps, ..Default::default() })
}

/// Height and width of the pictures that a policy was trained on.
pub fn camera_size(policy: &dyn Policy) -> Option<[usize; 2]> {
    let camera = policy.spec().inputs.values().find(|f| f.shape.len() == 3)?;
    Some([camera.shape[0], camera.shape[1]])
}

/// Time of a batch-1 inference on a recorded frame.
///
/// # Errors
/// When the frame can't be read or the policy fails on it.
pub fn latency_on(
    policy: &mut dyn Policy,
    source: &dyn BatchSource,
    iterations: usize,
) -> Result<Latency> {
    let mut batch = Batch::default();
    source.batch(&[0], &mut batch)?;
    let arrays = batch.arrays.iter().map(|(key, array)| (key.as_str(), array.view())).collect();
    embody_learn::latency(policy, &Observations { arrays }, iterations)
}

fn make_env(
    assets: &Path,
    params: &Params,
    slots: usize,
    image_size: Option<[usize; 2]>,
    threads: usize,
) -> Result<Box<dyn VecEnv>> {
    let default = EnvOptions::new(assets);
    // Who replays actions sees nothing: drawing for it would only cost time.
    let blind = params.policy == REPLAY_MEAN;
    let camera_size = image_size.map(|[h, w]| (h, w)).or(default.camera_size);
    let options = EnvOptions {
        num_envs: slots,
        threads,
        camera_size: camera_size.filter(|_| !blind),
        privileged: params.policy == EXPERT,
        ..default
    };
    embody_sim::make(&params.task, options)
}

/// The actions of a dataset's training episodes, row after row, and their dimensions.
fn actions_of(path: &Path) -> Result<(Vec<Vec<f32>>, usize)> {
    let dataset = Dataset::open(path)?;
    let dims = dataset.info().features.get(ACTION).map_or(0, embody_core::FeatureSpec::numel);
    let rows = |episode: usize| -> Result<Vec<f32>> {
        let table = dataset.episode_table(episode)?;
        let actions = table.get(ACTION).map(|array| array.view().data);
        match actions {
            Some(DataView::F32(actions)) => Ok(actions.to_vec()),
            _ => Err(embody_core::Error::new(format!(
                "{}: episode {episode}: there is no `action` of float32",
                path.display()
            ))),
        }
    };
    let episodes: Result<Vec<Vec<f32>>> = dataset.split(Some("train"))?.map(rows).collect();
    Ok((episodes?, dims))
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    rollouts::check(step, &params.task, params.episodes)?;
    if params.policy == REPLAY_MEAN && params.dataset.is_none() {
        return Err(step
            .bad_value("policy", "`replay-mean` has nothing to replay")
            .with_hint("add `dataset = \"@STEP\"`"));
    }
    if ![REPLAY_MEAN, EXPERT].contains(&params.policy.as_str()) && !params.policy.starts_with('@') {
        return Err(step
            .bad_value("policy", format!("`{}` is no policy", params.policy))
            .with_hint("name a training step as `@NAME`, or write `replay-mean` or `expert`"));
    }
    Ok(params)
}
