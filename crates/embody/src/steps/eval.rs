//! `kind = "eval"`: a policy in a simulated task, over seeds that every evaluation of the run shares.

use std::path::{Path, PathBuf};

use embody_core::{
    Batch, BatchSource, ContentHash, DataView, Observations, Policy, Result, VecEnv, derive_seed,
    hash_tree,
};
use embody_data::{Dataset, VideoSettings};
use embody_learn::{Answer, Backend, EvalResult, Latency, PairedComparison, Question, compare};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use embody_sim::{EnvOptions, ExpertOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::process::{DATASET, dataset_dir};
use super::rollouts::{self, ACTION, Rollouts};
use super::{output, policy, resolved};

/// Evaluates.
pub struct Eval {
    /// Folder with robot models.
    pub assets: PathBuf,
    /// Where networks are computed.
    pub backend: Backend,
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
    /// `@STEP` of a training, a checkpoint's folder, `replay-mean` (wants `dataset`), or `expert`.
    policy: String,
    #[serde(default)]
    dataset: Option<String>,
    #[serde(default = "default_episodes")]
    episodes: usize,
    /// Actions executed of each chunk; absent: as the policy was trained.
    #[serde(default)]
    n_action_steps: Option<usize>,
    /// What to do, for a policy that follows instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    /// Height and width of the cameras, pixels; absent: as the policy was trained.
    #[serde(default)]
    image_size: Option<[usize; 2]>,
    /// Whether the success rate reaches this is to be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// `@STEP` of another evaluation in the same task, than whose policy this one may be better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against: Option<String>,
    /// Ends as soon as that is found out.
    #[serde(default, skip_serializing_if = "is_false")]
    until_decided: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
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
    /// What was to be found out, and what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// The answer to the recipe's question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The success rate in question; absent where it is whether this policy is better than another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Episodes that there would have been.
    pub planned: usize,
    #[serde(flatten)]
    pub answer: Answer,
    /// Seed by seed against the other's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<PairedComparison>,
}

impl Decision {
    /// In a sentence.
    pub fn verdict(&self) -> String {
        let Answer { yes, episodes, interval: (low, high) } = self.answer;
        let what = match (self.at_least, yes) {
            (Some(rate), Some(true)) => format!("at least {:.0} % succeed", rate * 100.0),
            (Some(rate), Some(false)) => format!("fewer than {:.0} % succeed", rate * 100.0),
            (Some(rate), None) => format!("whether {:.0} % succeed stays open", rate * 100.0),
            (None, Some(true)) => "better than the other".to_owned(),
            (None, Some(false)) => "worse than the other".to_owned(),
            (None, None) => "which one is better stays open".to_owned(),
        };
        let of = if self.at_least.is_some() { "rate" } else { "share of the seeds that differ" };
        format!(
            "{what} after {episodes} of {} episodes ({of} {:.1}-{:.1} %, 95 %, at any time)",
            self.planned,
            low * 100.0,
            high * 100.0
        )
    }
}

/// What differs from run to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Batch-1 inference, for trained policies.
    pub latency: Option<Latency>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let decided = self.decision.map(|d| format!("; {}", d.verdict())).unwrap_or_default();
        format!("{}: {}{decided}", self.policy, self.evaluation.verdict())
    }
}

impl StepKind for Eval {
    fn name(&self) -> &'static str {
        "eval"
    }

    fn about(&self) -> &'static str {
        "run a policy in a task over paired seeds: task, policy, dataset, episodes, n_action_steps, \
         instruction, image_size, at_least, against, until_decided"
    }

    fn version(&self) -> u32 {
        5
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        let mut params = params(step)?;
        if is_trained(&params.policy) {
            params.policy = policy::recorded(&params.policy);
        }
        resolved(&params)
    }

    fn external_inputs(&self, step: &Step) -> Result<Vec<PathBuf>> {
        let place = params(step)?.policy;
        let folder = policy::folder(&place).filter(|_| is_trained(&place));
        Ok(folder.map(Path::to_owned).into_iter().collect())
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params = params(ctx.step)?;
        let told = params.instruction.as_deref();
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
                let dir = policy::dir(ctx, "policy", reference)?;
                policy_hash = Some(hash_tree(&dir, &|_| false)?);
                let policy =
                    policy::load(&dir, params.n_action_steps, told, ctx.threads, self.backend)?;
                image_size = image_size.or_else(|| policy::camera_size(policy.as_ref()));
                latency_of = Some(dir);
                policy
            }
        };
        let mut env = make_env(&self.assets, &params, slots, image_size, ctx.threads)?;
        let other = match &params.against {
            Some(reference) => {
                Some(super::outcome::<Outcome>(&ctx.input("against", reference)?.record)?)
            }
            None => None,
        };
        let question = match (&other, params.at_least) {
            (Some(other), _) => Some(Question::BetterThan(other.evaluation.episodes.clone())),
            (None, rate) => rate.map(Question::AtLeast),
        };
        let seeds = evaluation_seeds(ctx.recipe.seed, params.episodes);
        let evaluation = rollouts::run(
            Rollouts {
                env: env.as_mut(),
                policy: policy.as_mut(),
                seeds,
                until: question.clone().filter(|_| params.until_decided),
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
                let mut policy = policy::load(&dir, Some(1), told, ctx.threads, self.backend)?;
                let observations = env.observations();
                Some(embody_learn::latency(policy.as_mut(), &observations, LATENCY_ITERATIONS)?)
            }
            None => None,
        };
        let comparison = match &other {
            Some(other) => Some(compare(&evaluation, &other.evaluation)?),
            None => None,
        };
        let decision = question.map(|question| Decision {
            at_least: params.at_least.filter(|_| other.is_none()),
            planned: params.episodes,
            answer: question.answer(&evaluation.episodes),
            comparison,
        });
        let outcome = Outcome {
            task: params.task,
            env_version: env.spec().version,
            policy: match policy::folder(&params.policy).and_then(Path::file_name) {
                Some(name) => name.to_string_lossy().into_owned(),
                None => params.policy,
            },
            policy_hash,
            evaluation,
            decision,
        };
        output(&outcome, &Measured { latency })
    }
}

/// The seeds on which every policy of a run is evaluated; no demonstration has them.
pub fn evaluation_seeds(root: u64, episodes: usize) -> Vec<u64> {
    (0..episodes as u64).map(|i| derive_seed(root, "evaluation", i)).collect()
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

/// Whether it is a policy that was trained, and not one of ours that needs no training.
fn is_trained(policy: &str) -> bool {
    ![REPLAY_MEAN, EXPERT].contains(&policy)
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    rollouts::check(step, &params.task, params.episodes)?;
    if params.policy == REPLAY_MEAN && params.dataset.is_none() {
        return Err(step
            .bad_value("policy", "`replay-mean` has nothing to replay")
            .with_hint("add `dataset = \"@STEP\"`"));
    }
    if is_trained(&params.policy) {
        policy::check(step, "policy", &params.policy)?;
    }
    if params.at_least.is_some_and(|rate| !(rate > 0.0 && rate <= 1.0)) {
        return Err(step.bad_value("at_least", "it must be above 0, and 1 at most"));
    }
    if params.at_least.is_some() && params.against.is_some() {
        return Err(step
            .bad_value("against", "one evaluation answers one question")
            .with_hint("leave out `at_least` or `against`"));
    }
    if params.until_decided && params.at_least.is_none() && params.against.is_none() {
        return Err(step
            .bad_value("until_decided", "there is nothing to decide")
            .with_hint("say `at_least = 0.8`, or `against = \"@STEP\"`"));
    }
    Ok(params)
}
