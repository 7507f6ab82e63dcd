//! A run from its first step to the policy's folder: the loop that all algorithms share.
//!
//! ```text
//! OUT/metrics.jsonl          step, episodes, episode_return, losses, …: reproducible
//! OUT/timing.jsonl           step, steps_per_s, elapsed_s: not reproducible, by nature
//! OUT/tensorboard/           the same numbers as TensorBoard's event files
//! OUT/checkpoints/000200000/ agent.json, agent.safetensors, memory.bin, environments.bin
//! OUT/best/                  the best policy so far
//! OUT/policy/                the best policy by evaluation (the last one without), once done
//! OUT/last/                  the last policy, once done
//! OUT/training.json          settings, hash, summary, once done
//! ```

use std::fs;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use embody_core::{
    AtomicDir, ContentHash, IoContext, Result, Task, Team, VecEnv, derive_seed, hash_bytes,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::agent::{Agent, AgentState, SavedScalars, Scalars};
use super::config::{AlgorithmConfig, RlConfig};
use super::envs::{Envs, SavedEnvs};
use super::policy::ActorModel;
use super::ppo::Ppo;
use super::sac::Sac;
use super::td3::Td3;
use crate::checkpoint::{self, Stored};
use crate::error::{Error, check};
use crate::evaluate::{EvalOptions, EvalResult, evaluate};
use crate::events::Events;
use crate::train::{Lines, METRICS_FILE, POLICY_DIR};

const TIMING_FILE: &str = "timing.jsonl";
const LAST_DIR: &str = "last";
const BEST_DIR: &str = "best";
const DONE_FILE: &str = "training.json";
const CHECKPOINTS: &str = "checkpoints";
const AGENT_JSON: &str = "agent.json";
const AGENT_TENSORS: &str = "agent.safetensors";
const ENVIRONMENTS: &str = "environments.bin";
const MEMORY: &str = "memory.bin";
/// Changes whenever what a run computes changes.
const VERSION: u32 = 1;

/// What a finished run left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RlOutcome {
    /// The policy's folder.
    pub policy_dir: PathBuf,
    /// `metrics.jsonl`.
    pub metrics: PathBuf,
    /// Environment steps taken.
    pub steps: u64,
    /// Episodes finished.
    pub episodes: u64,
    /// Mean return of the last hundred episodes of training, noise included.
    pub training_return: Option<f64>,
    /// Evaluation of the last policy.
    pub evaluation: Option<Evaluation>,
    /// Evaluation of the best policy, which is the one that is kept: by successes, then by return.
    pub best: Option<Evaluation>,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Step that the run continued from.
    pub resumed_from: Option<u64>,
    /// Seconds, over all parts of the run.
    pub elapsed_s: f64,
    /// Environment steps per second, learning and evaluation included.
    pub steps_per_s: f64,
}

/// A policy judged without noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Environment step at which it was judged.
    pub step: u64,
    /// Mean return.
    pub mean_return: f64,
    /// Standard deviation of the returns.
    pub deviation: f64,
    /// Mean length of an episode in steps.
    pub mean_steps: f64,
    /// Share of episodes that achieved the task, where it defines success.
    pub success_rate: Option<f64>,
    /// Episodes.
    pub episodes: usize,
}

impl Evaluation {
    pub(crate) fn of(result: &EvalResult, step: u64) -> Self {
        let n = result.episodes.len().max(1) as f64;
        let mean = result.mean_reward;
        let squares: f64 = result.episodes.iter().map(|e| (e.total_reward - mean).powi(2)).sum();
        Self {
            step,
            mean_return: mean,
            deviation: (squares / n).sqrt(),
            mean_steps: result.mean_steps,
            success_rate: result.success_defined.then_some(result.success_rate),
            episodes: result.episodes.len(),
        }
    }
}

/// What a finished run was and gave; no path and no time, for those differ from run to run.
#[derive(Serialize, Deserialize)]
struct DoneFile {
    config_hash: ContentHash,
    algorithm: AlgorithmConfig,
    config: RlConfig,
    steps: u64,
    episodes: u64,
    training_return: Option<f64>,
    evaluation: Option<Evaluation>,
    best: Option<Evaluation>,
    parameters: usize,
}

impl DoneFile {
    fn outcome(self, out: &Path, resumed_from: Option<u64>, elapsed_s: f64) -> RlOutcome {
        RlOutcome {
            policy_dir: out.join(POLICY_DIR),
            metrics: out.join(METRICS_FILE),
            steps: self.steps,
            episodes: self.episodes,
            training_return: self.training_return,
            evaluation: self.evaluation,
            best: self.best,
            parameters: self.parameters,
            resumed_from,
            elapsed_s,
            steps_per_s: if elapsed_s > 0.0 { self.steps as f64 / elapsed_s } else { 0.0 },
        }
    }
}

/// Where a run stands, beside the agent and its environments.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Progress {
    step: u64,
    episodes: u64,
    /// f64 by their bits: JSON could round them.
    best_bits: Option<u64>,
    best: Option<Evaluation>,
    evaluation: Option<Evaluation>,
    elapsed_s: f64,
    events_len: u64,
}

impl Progress {
    /// Whether no evaluation so far was better: by successes where the task defines them, then by
    /// return.
    fn is_best(&self, evaluation: &Evaluation) -> bool {
        let (Some(best), Some(bits)) = (self.best, self.best_bits) else { return true };
        let successes =
            |e: &Evaluation| (e.success_rate.unwrap_or(0.0) * e.episodes as f64).round() as u64;
        (successes(evaluation), evaluation.mean_return) > (successes(&best), f64::from_bits(bits))
    }
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    config_hash: ContentHash,
    progress: Progress,
    envs: SavedEnvs,
    scalars: SavedScalars,
    agent: Value,
}

/// Learns a policy for `env`'s task and leaves it in `out_dir/policy`.
///
/// `env` must have [`RlConfig::num_envs`] environments that reset themselves in the same step, or not
/// at all; `eval_env`, where the policy is judged without noise, must not reset itself.
/// Continues by itself from a checkpoint of the same settings in `out_dir`, exactly where the
/// environments can be restored ([`VecEnv::snapshot`]); returns at once where such a run is done.
///
/// # Errors
/// Settings out of range, observations that are no vectors, what the environments say, a loss that is
/// not finite, I/O; or cancellation, after writing a checkpoint.
pub fn train_rl(
    env: &mut dyn VecEnv,
    mut eval_env: Option<&mut dyn VecEnv>,
    algorithm: &AlgorithmConfig,
    cfg: &RlConfig,
    out_dir: &Path,
    task: Task<'_>,
) -> Result<RlOutcome> {
    cfg.validate()?;
    let rule = format!("the batch has {} environments", env.num_envs());
    check("num_envs", cfg.num_envs, cfg.num_envs == env.num_envs(), &rule)?;
    let hash = run_hash(env, algorithm, cfg);
    let done_path = out_dir.join(DONE_FILE);
    if let Some(outcome) = finished(out_dir, &done_path, &hash)? {
        return Ok(outcome);
    }
    let team = Team::new(cfg.threads);
    let mut envs = Envs::start(env, &cfg.inputs, cfg.seed)?;
    let mut agent: Box<dyn Agent> = match algorithm {
        AlgorithmConfig::Ppo(ppo) => Box::new(Ppo::new(ppo, &envs, cfg.seed, cfg.steps)?),
        AlgorithmConfig::Sac(sac) => Box::new(Sac::new(sac, &envs, cfg.seed)?),
        AlgorithmConfig::Td3(td3) => Box::new(Td3::new(td3, &envs, cfg.seed)?),
    };
    let restored = restore(out_dir, &hash, &mut envs, agent.as_mut(), task)?;
    let resumed_from = restored.as_ref().map(|(at, _)| at.step);
    let (mut at, mut scalars) = restored.unwrap_or_default();
    if resumed_from.is_none() {
        remove(&out_dir.join(BEST_DIR))?;
    }
    if let Some(step) = resumed_from {
        task.note(&format!("learning continues from step {step}"));
    }
    let mut metrics = Lines::open(out_dir.join(METRICS_FILE), at.step as usize)?;
    let mut timing = Lines::open(out_dir.join(TIMING_FILE), at.step as usize)?;
    let mut events = Events::open(out_dir, at.events_len)?;
    let (started, before, first) = (Instant::now(), at.elapsed_s, at.step);
    let mut tick = (Instant::now(), first);
    task.begin("train", Some(cfg.steps), "steps");
    while at.step < cfg.steps {
        let from = at.step;
        at.step += agent.advance(&mut envs, &team, &mut scalars)?;
        let at_end = at.step >= cfg.steps;
        let crosses = |every: u64| every > 0 && from / every != at.step / every;
        if crosses(cfg.log_every) || at_end {
            let (count, mean) = envs.take_finished();
            at.episodes += count as u64;
            let judged = match eval_env.as_deref_mut() {
                Some(env) if cfg.eval_episodes > 0 && (at_end || crosses(cfg.eval_every)) => {
                    Some(judge(env, &agent.actor(&envs), cfg, at.step, task)?)
                }
                _ => None,
            };
            if let Some(evaluation) = judged {
                at.evaluation = Some(evaluation);
                if at.is_best(&evaluation) {
                    at.best_bits = Some(evaluation.mean_return.to_bits());
                    at.best = Some(evaluation);
                    write_policy(&out_dir.join(BEST_DIR), &agent.actor(&envs))?;
                }
            }
            let mut row = vec![("episodes".to_owned(), at.episodes as f64)];
            let mut add = |name: &str, value| row.push((name.to_owned(), value));
            if let Some((reward, length)) = mean {
                add("episode_return", reward);
                add("episode_length", length);
            }
            if let Some(e) = judged {
                add("eval_return", e.mean_return);
                add("eval_length", e.mean_steps);
                if let Some(rate) = e.success_rate {
                    add("eval_success", rate);
                }
            }
            row.extend(scalars.take());
            let mut line = Map::new();
            line.insert("step".into(), json!(at.step));
            line.extend(row.iter().map(|(name, value)| (name.clone(), json!(value))));
            metrics.add(&line)?;
            at.elapsed_s = before + started.elapsed().as_secs_f64();
            let steps_per_s = (at.step - tick.1) as f64 / tick.0.elapsed().as_secs_f64().max(1e-9);
            tick = (Instant::now(), at.step);
            timing.add(&json!({
                "step": at.step, "steps_per_s": steps_per_s, "elapsed_s": at.elapsed_s,
            }))?;
            row.push(("steps_per_s".to_owned(), steps_per_s));
            events.add(at.step, row.iter().map(|(name, value)| (name.as_str(), *value)))?;
        }
        let note = match envs.recent() {
            Some((reward, length)) => format!("return {reward:.1}, {length:.0} steps an episode"),
            None => "first episodes".to_owned(),
        };
        let go_on = task.advance("train", at.step.min(cfg.steps), &note);
        if !at_end && (go_on.is_err() || crosses(cfg.checkpoint_every)) {
            metrics.sync()?;
            timing.sync()?;
            at.events_len = events.sync()?;
            at.elapsed_s = before + started.elapsed().as_secs_f64();
            save(out_dir, &hash, &at, &scalars, &envs, agent.as_ref())?;
        }
        go_on?;
    }
    metrics.sync()?;
    timing.sync()?;
    events.sync()?;
    let last = agent.actor(&envs);
    write_policy(&out_dir.join(LAST_DIR), &last)?;
    let best = match at.best {
        Some(_) => ActorModel::read(&out_dir.join(BEST_DIR))?,
        None => last,
    };
    write_policy(&out_dir.join(POLICY_DIR), &best)?;
    at.elapsed_s = before + started.elapsed().as_secs_f64();
    let done = DoneFile {
        config_hash: hash,
        algorithm: algorithm.clone(),
        config: cfg.of_the_result(),
        steps: at.step,
        episodes: at.episodes,
        training_return: envs.recent().map(|(reward, _)| reward),
        evaluation: at.evaluation,
        best: at.best,
        parameters: agent.parameters(),
    };
    let text = serde_json::to_vec_pretty(&done)
        .map_err(|source| Error::Json { path: done_path.clone(), source })?;
    embody_core::write_atomic(&done_path, &text)?;
    // What only a resumed run needs has served; the policies stay.
    for name in [CHECKPOINTS, BEST_DIR] {
        remove(&out_dir.join(name))?;
    }
    task.end("train");
    Ok(done.outcome(out_dir, resumed_from, at.elapsed_s))
}

/// Reads a run's [`METRICS_FILE`]: an object of numbers per line, `step` among them.
///
/// # Errors
/// When it can't be read or a line is damaged.
pub fn read_rl_metrics(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = fs::read_to_string(path).at("read", path)?;
    let parse = |line: &str| {
        serde_json::from_str(line).map_err(|source| Error::Json { path: path.to_owned(), source })
    };
    Ok(text.lines().map(parse).collect::<Result<_, _>>()?)
}

fn judge(
    env: &mut dyn VecEnv,
    actor: &ActorModel,
    cfg: &RlConfig,
    step: u64,
    task: Task<'_>,
) -> Result<Evaluation> {
    let seed = |i: usize| derive_seed(cfg.seed, "rl/evaluation", i as u64);
    let seeds = (0..cfg.eval_episodes).map(seed).collect();
    let options = EvalOptions { seeds, ..EvalOptions::default() };
    let mut policy = actor.clone().into_policy();
    let result = evaluate(env, &mut policy, &options, &mut |_| Ok(()), task)?;
    Ok(Evaluation::of(&result, step))
}

fn write_policy(target: &Path, actor: &ActorModel) -> Result<()> {
    let dir = AtomicDir::begin(target, false)?;
    actor.write(dir.path())?;
    dir.commit()?;
    Ok(())
}

fn run_hash(env: &dyn VecEnv, algorithm: &AlgorithmConfig, cfg: &RlConfig) -> ContentHash {
    let spec = env.spec();
    let what = json!({
        "version": VERSION,
        "environment": spec.id,
        "environment_version": spec.version,
        "observations": spec.observations,
        "action": [spec.action_low, spec.action_high],
        "algorithm": algorithm,
        "run": cfg.of_the_result(),
    });
    hash_bytes(what.to_string().as_bytes())
}

/// The outcome of an earlier, complete run with the same hash.
fn finished(out: &Path, done_path: &Path, hash: &ContentHash) -> Result<Option<RlOutcome>> {
    if !done_path.exists() {
        return Ok(None);
    }
    let done: DoneFile = checkpoint::read_json(done_path)?;
    if done.config_hash != *hash || !out.join(POLICY_DIR).is_dir() {
        return Ok(None);
    }
    let resumed_from = Some(done.steps);
    Ok(Some(done.outcome(out, resumed_from, 0.0)))
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).at("remove", dir)?;
    }
    Ok(())
}

fn checkpoint_dirs(out: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let dir = out.join(CHECKPOINTS);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).at("read folder", &dir)? {
        let entry = entry.at("read folder", &dir)?;
        let step = entry.file_name().to_str().and_then(|n| n.parse().ok());
        found.extend(step.map(|step| (step, entry.path())));
    }
    found.sort();
    Ok(found)
}

fn save(
    out: &Path,
    hash: &ContentHash,
    at: &Progress,
    scalars: &Scalars,
    envs: &Envs<'_>,
    agent: &dyn Agent,
) -> Result<()> {
    let target = out.join(CHECKPOINTS).join(format!("{:09}", at.step));
    let dir = AtomicDir::begin(&target, false)?;
    let state = agent.save();
    let (snapshot, saved_envs) = envs.save();
    let stored =
        |(name, values): (String, Vec<f32>)| Stored::floats(name, vec![values.len()], values);
    let tensors: Vec<_> = state.vectors.into_iter().map(stored).collect();
    checkpoint::write_tensors(&dir.path().join(AGENT_TENSORS), &tensors)?;
    let path = dir.path().join(MEMORY);
    let mut memory = BufWriter::new(fs::File::create(&path).at("create", &path)?);
    agent.write_memory(&mut memory).and_then(|()| memory.flush()).at("write", &path)?;
    if let Some(snapshot) = snapshot {
        let path = dir.path().join(ENVIRONMENTS);
        fs::write(&path, snapshot).at("write", &path)?;
    }
    let file = StateFile {
        config_hash: hash.clone(),
        progress: at.clone(),
        envs: saved_envs,
        scalars: scalars.save(),
        agent: state.small,
    };
    checkpoint::write_json(&dir.path().join(AGENT_JSON), &file)?;
    dir.commit()?;
    for (_, old) in checkpoint_dirs(out)?.into_iter().filter(|(step, _)| *step != at.step) {
        fs::remove_dir_all(&old).at("remove old checkpoint", &old)?;
    }
    Ok(())
}

/// Goes on from the newest checkpoint of the run with this hash; of another run, all are removed.
fn restore(
    out: &Path,
    hash: &ContentHash,
    envs: &mut Envs<'_>,
    agent: &mut dyn Agent,
    task: Task<'_>,
) -> Result<Option<(Progress, Scalars)>> {
    let Some((_, dir)) = checkpoint_dirs(out)?.pop() else { return Ok(None) };
    let file: StateFile = checkpoint::read_json(&dir.join(AGENT_JSON))?;
    if file.config_hash != *hash {
        remove(&out.join(CHECKPOINTS))?;
        return Ok(None);
    }
    let vectors = checkpoint::read_all_vectors(&dir.join(AGENT_TENSORS))?;
    agent.restore(AgentState { small: file.agent, vectors })?;
    let path = dir.join(MEMORY);
    let mut memory = BufReader::new(fs::File::open(&path).at("open", &path)?);
    agent.read_memory(&mut memory).at("read", &path)?;
    let path = dir.join(ENVIRONMENTS);
    if path.exists() {
        let snapshot = fs::read(&path).at("read", &path)?;
        envs.restore(&snapshot, &file.envs)?;
    } else {
        task.note(
            "these environments can't be put back to where they were: episodes begin anew, and the \
             result will differ from that of a run without a break",
        );
    }
    Ok(Some((file.progress, Scalars::restore(file.scalars))))
}
