//! Actor and learner in one process, in lockstep: a step of the environments, then the rounds that it
//! deserves. Nothing depends on a clock, so a run is the same on every machine and any number of
//! threads, and one that was stopped and resumed equals one that was not.
//!
//! ```text
//! OUT/metrics.jsonl          per `log_every` steps: episodes, returns, interventions, losses
//! OUT/episodes.jsonl         per episode: return, steps, success, interventions
//! OUT/timing.jsonl           steps and updates per second: not reproducible, by nature
//! OUT/tensorboard/           the same numbers as TensorBoard's event files
//! OUT/experience/            online and demonstration buffers
//! OUT/checkpoints/000001000/ learner.json, learner.safetensors, environments.bin, intervener.bin
//! OUT/best/, OUT/policy/, OUT/last/   the best policy so far; once done, the best and the last one
//! OUT/training.json          settings, hash, summary, once done
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use embody_core::{
    AtomicDir, ContentHash, Intake, IoContext, Moment, Result, StepTaken, Task, Team, VecEnv,
    derive_seed, hash_bytes,
};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::actor::Scaling;
use super::body::{Body, EpisodeDone, Intervener, SavedBody};
use super::config::HilSerlConfig;
use super::encoder::ImageEncoder;
use super::gripper::GripperWatch;
use super::learner::{Learner, Sizes};
use super::memory::Memory;
use super::observe::Eyes;
use super::pace::Pace;
use super::policy::HilSerlPolicy;
use super::reward::SuccessDetector;
use crate::checkpoint::{self, Stored};
use crate::error::{Error, check};
use crate::evaluate::{EvalOptions, evaluate};
use crate::events::Events;
use crate::noise::{normals, stream};
use crate::rl::agent::{AgentState, SavedScalars, Scalars};
use crate::rl::config::at_least_one;
use crate::rl::run::Evaluation;
use crate::train::{Lines, METRICS_FILE, POLICY_DIR};

const EPISODES_FILE: &str = "episodes.jsonl";
const TIMING_FILE: &str = "timing.jsonl";
const LAST_DIR: &str = "last";
const BEST_DIR: &str = "best";
const DONE_FILE: &str = "training.json";
const CHECKPOINTS: &str = "checkpoints";
const EXPERIENCE: &str = "experience";
const LEARNER_JSON: &str = "learner.json";
const LEARNER_TENSORS: &str = "learner.safetensors";
const ENVIRONMENTS: &str = "environments.bin";
const INTERVENER: &str = "intervener.bin";
/// Changes whenever what a run computes changes.
const VERSION: u32 = 1;

/// How to run. Everything but `threads` is part of what makes a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HilSerlRun {
    /// Environment steps in all, over all environments.
    pub steps: u64,
    /// Vectors to learn from; empty for every one but `observation.environment_state`.
    pub inputs: Vec<String>,
    /// Cameras to learn from.
    pub cameras: Vec<String>,
    /// Environment steps between lines of the metrics.
    pub log_every: u64,
    /// Environment steps between checkpoints.
    pub checkpoint_every: u64,
    /// Environment steps between evaluations of the policy without noise; 0 for one at the end only.
    pub eval_every: u64,
    /// Episodes of an evaluation, on seeds that training does not use; 0 for no evaluation.
    pub eval_episodes: usize,
    /// Root of every random stream.
    pub seed: u64,
    /// Threads; 0 for one per core. Never changes a result.
    pub threads: usize,
}

impl Default for HilSerlRun {
    fn default() -> Self {
        Self {
            steps: 20_000,
            inputs: Vec::new(),
            cameras: Vec::new(),
            log_every: 500,
            checkpoint_every: 2_000,
            eval_every: 2_000,
            eval_episodes: 10,
            seed: 0,
            threads: 0,
        }
    }
}

impl HilSerlRun {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        at_least_one(&[
            ("steps", self.steps),
            ("log_every", self.log_every),
            ("checkpoint_every", self.checkpoint_every),
        ])
    }
}

/// What stands beside the environments.
#[derive(Default)]
pub struct Beside<'a> {
    /// Who may take over.
    pub intervener: Option<&'a mut dyn Intervener>,
    /// Demonstrations: moments one after another, an episode beginning wherever one has no step;
    /// their numbers and penalties are put right here. Read anew on every start.
    pub demonstrations: Option<&'a mut dyn Iterator<Item = Result<Moment>>>,
    /// The frozen encoder, where cameras are learned from.
    pub encoder: Option<Arc<dyn ImageEncoder>>,
    /// What rewards in place of the task.
    pub detector: Option<&'a mut SuccessDetector>,
    /// Where the policy is judged without noise.
    pub judge: Option<&'a mut dyn VecEnv>,
}

/// What a finished run left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HilSerlOutcome {
    /// The policy's folder: the best by evaluation, the last one without.
    pub policy_dir: PathBuf,
    /// `metrics.jsonl`.
    pub metrics: PathBuf,
    /// Environment steps taken.
    pub steps: u64,
    /// Episodes finished.
    pub episodes: u64,
    /// Updates of the critics.
    pub updates: u64,
    /// Evaluation of the last policy.
    pub evaluation: Option<Evaluation>,
    /// Evaluation of the policy that is kept.
    pub best: Option<Evaluation>,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Step that the run continued from.
    pub resumed_from: Option<u64>,
    /// Seconds, over all parts of the run.
    pub elapsed_s: f64,
}

/// Where a run stands, beside learner, experience and environments.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Progress {
    step: u64,
    episodes: u64,
    best: Option<Evaluation>,
    evaluation: Option<Evaluation>,
    elapsed_s: f64,
    events_len: u64,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    config_hash: ContentHash,
    progress: Progress,
    body: SavedBody,
    scalars: SavedScalars,
    /// Records of either buffer.
    online: u64,
    demos: u64,
    learner: Value,
}

#[derive(Serialize, Deserialize)]
struct DoneFile {
    config_hash: ContentHash,
    settings: HilSerlConfig,
    run: HilSerlRun,
    outcome: HilSerlOutcome,
}

/// Learns a policy for `env`'s task with demonstrations and interventions, and leaves it in
/// `out_dir/policy`. `env` must not reset itself.
///
/// Continues by itself from a checkpoint of the same settings in `out_dir`, exactly where the
/// environments can be restored; returns at once where such a run is done.
///
/// # Errors
/// Settings out of range, observations that do not fit, what environment, intervener or encoder say, a
/// loss that is not finite, I/O; or cancellation, after writing a checkpoint.
pub fn train_hilserl(
    env: &mut dyn VecEnv,
    mut beside: Beside<'_>,
    cfg: &HilSerlConfig,
    run: &HilSerlRun,
    out_dir: &Path,
    task: Task<'_>,
) -> Result<HilSerlOutcome> {
    cfg.validate()?;
    run.validate()?;
    let hash = run_hash(env, &beside, cfg, run);
    let done_path = out_dir.join(DONE_FILE);
    if done_path.exists() {
        let done: DoneFile = checkpoint::read_json(&done_path)?;
        if done.config_hash == hash && out_dir.join(POLICY_DIR).is_dir() {
            let resumed_from = Some(done.outcome.steps);
            return Ok(HilSerlOutcome { resumed_from, ..done.outcome.at(out_dir) });
        }
    }
    let side = beside.encoder.as_ref().map_or((0, 0), |e| e.input());
    let eyes = Eyes::new(env.spec(), &run.inputs, &run.cameras, side)?;
    let mut body = Body::new(env, eyes.clone(), cfg, run.seed)?;
    let saved = saved_state(out_dir, &hash)?;
    let experience = out_dir.join(EXPERIENCE);
    if saved.is_none() {
        for old in [&experience, &out_dir.join(BEST_DIR)] {
            remove(old)?;
        }
    }
    let spec = body.experience();
    let mut memory = Memory::open(&experience, &spec, beside.encoder.clone(), cfg, run.seed)?;
    demonstrate(&mut memory, beside.demonstrations.take(), cfg, body.bounds())?;
    let (low, high) = body.bounds();
    let (low, high) = (low.to_vec(), high.to_vec());
    let sizes = Sizes { state_dim: spec.state_dim, maps: memory.maps(), low, high };
    let scaling = Scaling::new(cfg, &sizes, memory.demo_range());
    let mut learner = Learner::new(cfg, &sizes, scaling, run.seed);
    let pace = Pace::new(cfg);
    let team = Team::new(run.threads);
    let mut at = Progress::default();
    let mut scalars = Scalars::default();
    let resumed_from = saved.as_ref().map(|(state, _)| state.progress.step);
    let mut whole = false;
    if let Some((state, dir)) = saved {
        let vectors = checkpoint::read_all_vectors(&dir.join(LEARNER_TENSORS))?;
        learner.restore(&AgentState { small: state.learner, vectors })?;
        (at, scalars) = (state.progress, Scalars::restore(state.scalars));
        let path = dir.join(ENVIRONMENTS);
        if path.exists() {
            body.restore(&fs::read(&path).at("read", &path)?, &state.body)?;
            memory.online.cut_to(state.online)?;
            memory.demos.cut_to(state.demos)?;
            whole = true;
        } else {
            body.go_on(&state.body);
            task.note(
                "these environments can't be put back to where they were: episodes begin anew, and \
                 the result will differ from that of a run without a break",
            );
        }
        if let Some(intervener) = beside.intervener.as_deref_mut() {
            let path = dir.join(INTERVENER);
            intervener.restore(&fs::read(&path).at("read", &path)?)?;
        }
        task.note(&format!("learning continues from step {}", at.step));
    }
    if !whole {
        let last: Vec<u64> = (0..body.num()).map(|i| memory.last(actor(i))).collect();
        body.begin(|i| last[i], &mut |i, m| memory.accept(actor(i), m).map(drop))?;
        if let Some(intervener) = beside.intervener.as_deref_mut() {
            (0..body.num()).for_each(|i| intervener.reset(i));
        }
    }
    let mut metrics = Lines::open(out_dir.join(METRICS_FILE), at.step as usize)?;
    let mut episodes = Lines::open(out_dir.join(EPISODES_FILE), at.step as usize)?;
    let mut timing = Lines::open(out_dir.join(TIMING_FILE), at.step as usize)?;
    let mut events = Events::open(out_dir, at.events_len)?;
    let (started, before) = (Instant::now(), at.elapsed_s);
    let mut tick = (Instant::now(), at.step, learner.updates);
    let mut actor_net = learner.acting();
    let continuous = actor_net.continuous();
    task.begin("train", Some(run.steps), "steps");
    while at.step < run.steps {
        let from = at.step;
        let version = learner.rounds;
        // The rows of one step draw from streams of their own: episodes of one environment do not
        // depend on the others.
        let mut maps = vec![Vec::new(); body.num()];
        for (i, maps) in maps.iter_mut().enumerate() {
            *maps = seen_maps(&memory, i)?;
        }
        let mut act = |i: usize, moment: &Moment, action: &mut [f32]| -> Result<u64> {
            let mut rng = stream(run.seed, "hilserl/actions", from + i as u64);
            if from < cfg.random_steps {
                for (j, a) in action.iter_mut().enumerate() {
                    *a = learner.scaling.to_units(j, rng.random_range(-1.0..=1.0));
                }
            } else {
                let mut noise = vec![0.0; continuous];
                normals(&mut rng, &mut noise);
                let maps: Vec<&[f32]> = maps[i].iter().map(Vec::as_slice).collect();
                actor_net.act(&moment.state, &maps, Some(&noise), action);
            }
            Ok(version)
        };
        let mut detector = beside.detector.as_deref_mut();
        let encoder = beside.encoder.as_deref();
        let mut judge = |moment: &Moment, step: &mut StepTaken| match detector.as_deref_mut() {
            Some(detector) => detector.judge(encoder, moment, step),
            None => Ok(()),
        };
        let intervener = beside.intervener.as_deref_mut();
        let mut push = |i: usize, m: &Moment| memory.accept(actor(i), m).map(drop);
        let done = body.step(&mut act, intervener, &mut judge, &mut push)?;
        at.step += body.num() as u64;
        for episode in &done {
            at.episodes += 1;
            write_episode(&mut episodes, at.step, at.episodes, episode)?;
            add_episode(&mut scalars, episode);
        }
        let due = pace.due(at.step, learner.rounds);
        // Online transitions may be fewer than steps after a break: nothing is drawn from nothing.
        if due > 0 && memory.online_transitions() > 0 {
            let scaling = learner.scaling.clone();
            for _ in 0..due {
                let rows = |update: u64| {
                    let mut rng = stream(run.seed, "hilserl/batch", update);
                    memory.rows(memory.draw(&mut rng, cfg.batch_size), &scaling)
                };
                learner.round(&team, rows, &mut scalars)?;
            }
            actor_net = learner.acting();
        }
        let at_end = at.step >= run.steps;
        let crosses = |every: u64| every > 0 && from / every != at.step / every;
        if crosses(run.log_every) || at_end || crosses(run.eval_every) {
            let wanted = run.eval_episodes > 0 && (at_end || crosses(run.eval_every));
            let judged = match beside.judge.as_deref_mut().filter(|_| wanted) {
                Some(env) => {
                    let encoder = beside.encoder.clone();
                    let mut policy =
                        HilSerlPolicy::new(cfg, &sizes, &eyes, learner.acting(), encoder);
                    let judged = evaluate_now(env, &mut policy, run, at.step, task)?;
                    at.evaluation = Some(judged);
                    if at.best.is_none_or(|best| better(&judged, &best)) {
                        at.best = Some(judged);
                        write_policy(&out_dir.join(BEST_DIR), &mut policy)?;
                    }
                    Some(judged)
                }
                None => None,
            };
            let mut row = vec![("episodes".to_owned(), at.episodes as f64)];
            let mut add = |name: &str, value: f64| row.push((name.to_owned(), value));
            add("updates", learner.updates as f64);
            if let Some(achieved) = pace.achieved(at.step, learner.rounds) {
                add("updates_per_step", achieved);
            }
            add("online_transitions", memory.online_transitions() as f64);
            add("demo_transitions", memory.demo_transitions() as f64);
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
            let seconds = tick.0.elapsed().as_secs_f64().max(1e-9);
            let steps_per_s = (at.step - tick.1) as f64 / seconds;
            let updates_per_s = (learner.updates - tick.2) as f64 / seconds;
            tick = (Instant::now(), at.step, learner.updates);
            timing.add(&json!({
                "step": at.step, "steps_per_s": steps_per_s, "updates_per_s": updates_per_s,
                "elapsed_s": at.elapsed_s,
            }))?;
            events.add(at.step, row.iter().map(|(name, value)| (name.as_str(), *value)))?;
        }
        let note = match at.evaluation.and_then(|e| e.success_rate) {
            Some(rate) => format!("{} episodes, success {:.0} %", at.episodes, 100.0 * rate),
            None => format!("{} episodes", at.episodes),
        };
        let go_on = task.advance("train", at.step.min(run.steps), &note);
        if !at_end && (go_on.is_err() || crosses(run.checkpoint_every)) {
            metrics.sync()?;
            episodes.sync()?;
            timing.sync()?;
            at.events_len = events.sync()?;
            at.elapsed_s = before + started.elapsed().as_secs_f64();
            memory.sync()?;
            let state = StateFile {
                config_hash: hash.clone(),
                progress: at.clone(),
                body: body.save().1,
                scalars: scalars.save(),
                online: memory.online.total(),
                demos: memory.demos.total(),
                learner: Value::Null,
            };
            save(out_dir, state, &body, &mut learner, beside.intervener.as_deref())?;
            memory.settle()?;
        }
        go_on?;
    }
    metrics.sync()?;
    episodes.sync()?;
    timing.sync()?;
    events.sync()?;
    memory.sync()?;
    let encoder = beside.encoder.clone();
    let mut last = HilSerlPolicy::new(cfg, &sizes, &eyes, learner.acting(), encoder.clone());
    write_policy(&out_dir.join(LAST_DIR), &mut last)?;
    let mut kept = match at.best {
        Some(_) => HilSerlPolicy::read(&out_dir.join(BEST_DIR), encoder)?,
        None => last,
    };
    write_policy(&out_dir.join(POLICY_DIR), &mut kept)?;
    // No path and no time in the file, for those differ from run to run.
    let outcome = HilSerlOutcome {
        policy_dir: PathBuf::new(),
        metrics: PathBuf::new(),
        steps: at.step,
        episodes: at.episodes,
        updates: learner.updates,
        evaluation: at.evaluation,
        best: at.best,
        parameters: learner.parameters(),
        resumed_from: None,
        elapsed_s: 0.0,
    };
    let done = DoneFile {
        config_hash: hash,
        settings: cfg.of_the_result(),
        run: HilSerlRun { threads: 0, ..run.clone() },
        outcome,
    };
    let text = serde_json::to_vec_pretty(&done)
        .map_err(|source| Error::Json { path: done_path.clone(), source })?;
    embody_core::write_atomic(&done_path, &text)?;
    for name in [CHECKPOINTS, BEST_DIR] {
        remove(&out_dir.join(name))?;
    }
    task.end("train");
    let elapsed_s = before + started.elapsed().as_secs_f64();
    Ok(HilSerlOutcome { resumed_from, elapsed_s, ..done.outcome.at(out_dir) })
}

impl HilSerlOutcome {
    /// With the paths of a run in `out`.
    fn at(self, out: &Path) -> Self {
        Self { policy_dir: out.join(POLICY_DIR), metrics: out.join(METRICS_FILE), ..self }
    }
}

/// The name of environment `i` as an actor.
fn actor(i: usize) -> u64 {
    i as u64 + 1
}

/// The maps of environment `i`'s present pictures, as they are kept.
fn seen_maps(memory: &Memory, i: usize) -> Result<Vec<Vec<f32>>> {
    let Some(place) = memory.online.last_place(actor(i)) else { return Ok(Vec::new()) };
    let (mut bytes, mut maps) = (Vec::new(), Vec::new());
    for (camera, map) in memory.maps().iter().enumerate() {
        let mut out = vec![0.0; map.iter().product()];
        let read = memory.online.map(place, 0, camera, &mut bytes, &mut out);
        read.at("read", Path::new("feature maps"))?;
        maps.push(out);
    }
    Ok(maps)
}

/// Puts demonstrations into memory, numbered, with the gripper's penalties.
pub(crate) fn demonstrate(
    memory: &mut Memory,
    demonstrations: Option<&mut dyn Iterator<Item = Result<Moment>>>,
    cfg: &HilSerlConfig,
    (low, high): (&[f32], &[f32]),
) -> Result<()> {
    let mut watch = GripperWatch::default();
    for (i, moment) in demonstrations.into_iter().flatten().enumerate() {
        let mut moment = moment?;
        moment.seq = i as u64 + 1;
        match &mut moment.step {
            None => watch = GripperWatch::default(),
            Some(step) => {
                let fits = step.action.len() == low.len();
                let rule = format!("the task's has {} dimensions", low.len());
                check("demonstrated action", step.action.len(), fits, &rule)?;
                for (a, (low, high)) in step.action.iter_mut().zip(low.iter().zip(high)) {
                    *a = a.clamp(*low, *high);
                }
                let turned = cfg.gripper.is_some_and(|j| {
                    watch.turns((2.0 * step.action[j] - low[j] - high[j]) / (high[j] - low[j]))
                });
                step.penalty = if turned { cfg.gripper_penalty as f32 } else { 0.0 };
            }
        }
        memory.demonstrate(&moment)?;
    }
    Ok(())
}

/// One line of [`EPISODES_FILE`].
pub(crate) fn write_episode(
    lines: &mut Lines,
    step: u64,
    number: u64,
    e: &EpisodeDone,
) -> Result<()> {
    lines.add(&json!({
        "step": step, "episode": number, "env": e.env, "return": e.total_reward, "steps": e.steps,
        "success": e.success, "interventions": e.interventions, "intervened_steps": e.intervened,
        "intervention_rate": e.intervention_rate(),
    }))
}

/// An episode's part of the metrics.
pub(crate) fn add_episode(scalars: &mut Scalars, e: &EpisodeDone) {
    scalars.add("episode_return", e.total_reward);
    scalars.add("episode_length", e.steps as f64);
    scalars.add("intervention_rate", e.intervention_rate());
    scalars.add("interventions", e.interventions as f64);
    if let Some(success) = e.success {
        scalars.add("episode_success", f64::from(success));
    }
}

fn evaluate_now(
    env: &mut dyn VecEnv,
    policy: &mut HilSerlPolicy,
    run: &HilSerlRun,
    step: u64,
    task: Task<'_>,
) -> Result<Evaluation> {
    let seed = |i: usize| derive_seed(run.seed, "rl/evaluation", i as u64);
    let seeds = (0..run.eval_episodes).map(seed).collect();
    let options = EvalOptions { seeds, ..EvalOptions::default() };
    let result = evaluate(env, policy, &options, &mut |_| Ok(()), task)?;
    Ok(Evaluation::of(&result, step))
}

/// By successes where the task defines them, then by return.
fn better(new: &Evaluation, old: &Evaluation) -> bool {
    let successes = |e: &Evaluation| e.success_rate.unwrap_or(0.0);
    (successes(new), new.mean_return) > (successes(old), old.mean_return)
}

fn write_policy(target: &Path, policy: &mut HilSerlPolicy) -> Result<()> {
    let dir = AtomicDir::begin(target, false)?;
    policy.write(dir.path())?;
    dir.commit()?;
    Ok(())
}

fn run_hash(
    env: &dyn VecEnv,
    beside: &Beside<'_>,
    cfg: &HilSerlConfig,
    run: &HilSerlRun,
) -> ContentHash {
    let spec = env.spec();
    let what = json!({
        "version": VERSION,
        "environment": spec.id,
        "environment_version": spec.version,
        "environments": env.num_envs(),
        "observations": spec.observations,
        "action": [spec.action_low, spec.action_high],
        "encoder": beside.encoder.as_ref().map(|e| e.id()),
        "settings": cfg.of_the_result(),
        "run": HilSerlRun { threads: 0, ..run.clone() },
    });
    hash_bytes(what.to_string().as_bytes())
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).at("remove", path)?;
    }
    Ok(())
}

pub(crate) fn checkpoint_dirs(out: &Path) -> Result<Vec<(u64, PathBuf)>> {
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
    mut state: StateFile,
    body: &Body<'_>,
    learner: &mut Learner,
    intervener: Option<&dyn Intervener>,
) -> Result<()> {
    let step = state.progress.step;
    let target = out.join(CHECKPOINTS).join(format!("{step:09}"));
    let dir = AtomicDir::begin(&target, false)?;
    let saved = learner.save();
    state.learner = saved.small;
    write_vectors(&dir.path().join(LEARNER_TENSORS), saved.vectors)?;
    let mut parts = vec![(ENVIRONMENTS, body.save().0)];
    parts.push((INTERVENER, intervener.map(|i| i.snapshot())));
    for (name, bytes) in parts {
        if let Some(bytes) = bytes {
            let path = dir.path().join(name);
            fs::write(&path, bytes).at("write", &path)?;
        }
    }
    checkpoint::write_json(&dir.path().join(LEARNER_JSON), &state)?;
    dir.commit()?;
    for (_, old) in checkpoint_dirs(out)?.into_iter().filter(|(at, _)| *at != step) {
        fs::remove_dir_all(&old).at("remove old checkpoint", &old)?;
    }
    Ok(())
}

pub(crate) fn write_vectors(path: &Path, vectors: Vec<(String, Vec<f32>)>) -> Result<()> {
    let stored =
        |(name, values): (String, Vec<f32>)| Stored::floats(name, vec![values.len()], values);
    checkpoint::write_tensors(path, &vectors.into_iter().map(stored).collect::<Vec<_>>())
}

/// The newest checkpoint of the run with this hash; of another run, all are removed.
fn saved_state(out: &Path, hash: &ContentHash) -> Result<Option<(StateFile, PathBuf)>> {
    let Some((_, dir)) = checkpoint_dirs(out)?.pop() else { return Ok(None) };
    let file: StateFile = checkpoint::read_json(&dir.join(LEARNER_JSON))?;
    if file.config_hash != *hash {
        remove(&out.join(CHECKPOINTS))?;
        return Ok(None);
    }
    Ok(Some((file, dir)))
}
