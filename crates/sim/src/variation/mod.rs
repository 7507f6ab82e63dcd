//! New demonstrations from recorded ones: other looks, other places of the object.
//!
//! **Appearance:** the recorded actions run again from the recorded start under another appearance;
//! the motion is the same to the bit, which is checked. **Placement** (MimicGen, Mandlekar et al.
//! 2023, arXiv 2310.17596): an episode begins as the task's own randomisation draws it, a recorded
//! demonstration is carried over to it part by part ([`carry`]), and what comes of it is kept only if
//! the task says that it succeeded. Every trial has a seed of its own, so threads and batch change
//! nothing; results come in the order of their numbers.

mod carry;

use std::collections::BTreeMap;

use embody_core::{
    Array, ArrayData, ContentHash, DataView, Error, Result, SimulationRecord, Task,
    VariationRecord, VecEnv, derive_seed,
};
use indexmap::IndexMap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::mj::Data;
use crate::replay::{Demonstration, Replayed, run_again};
use crate::tasks::{Manipulation, Surfaces};
use crate::{AppearanceRange, EnvOptions, EpisodeStart, SimEnv, SimError};
use carry::{Carrier, Source};

/// Control steps for which the last action is held when a carried demonstration is over.
const HOLD_STEPS: usize = 20;
/// Sources among which nearest-object selection draws, as MimicGen's default.
const NEAREST: usize = 3;
/// The hand may miss its path by this much before a trial is not even begun, metres.
const REACH_M: f64 = 0.015;

/// What to make.
#[derive(Debug, Clone, PartialEq)]
pub struct VariationOptions {
    /// Episodes wanted for each source episode.
    pub per_episode: usize,
    /// How looks are varied.
    pub appearance: AppearanceRange,
    /// Whether and how the object is placed anew.
    pub placement: Option<Placement>,
    /// Root of all seeds.
    pub seed: u64,
    /// Also keeps trials that failed.
    pub keep_failures: bool,
    /// Version of the source dataset, for lineage.
    pub source: ContentHash,
}

/// How demonstrations are carried over to other places of the object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Which demonstration is carried over.
    pub choice: SourceChoice,
    /// Standard deviation of Gaussian noise on the arm's actions, in their unit.
    pub action_noise: f64,
    /// Trials for one episode before it is given up.
    pub trials: usize,
}

/// Which demonstration is carried over to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceChoice {
    /// One of the three whose object lay nearest.
    #[default]
    Nearest,
    /// The episode for which the new one is made.
    Same,
}

/// A new episode.
#[derive(Debug, Clone, PartialEq)]
pub struct VariedEpisode {
    /// Whether the task was achieved.
    pub success: bool,
    /// Control steps.
    pub steps: usize,
    /// Sum of rewards.
    pub total_reward: f64,
    /// Seed of its start.
    pub seed: Option<u64>,
    /// What was seen before each action, `[steps, …]`.
    pub observations: IndexMap<String, Array>,
    /// What was done, `[steps, action_dim]`.
    pub actions: Vec<f32>,
    /// How it began and what it was made from.
    pub simulation: SimulationRecord,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VariationReport {
    /// Source episodes used.
    pub sources: usize,
    /// Source episodes left out, with the reason.
    pub unused: Vec<(usize, String)>,
    /// Episodes wanted.
    pub wanted: usize,
    /// Episodes that achieved the task.
    pub made: usize,
    /// Trials made.
    pub trials: usize,
    /// Why trials failed, and how many for that reason.
    pub failures: BTreeMap<String, usize>,
}

/// A trial that is running.
struct Trial {
    job: usize,
    number: usize,
    seed: Option<u64>,
    /// Place among the usable sources.
    source: usize,
    actions: Vec<f32>,
    hold: usize,
    noise: Option<ChaCha8Rng>,
    expected: Option<ContentHash>,
    parameters: serde_json::Value,
    kept: IndexMap<String, Array>,
    done: Vec<f32>,
    reward: f64,
    frame: usize,
    /// Parts of the task that were completed.
    reached: usize,
}

/// What a job has given so far.
#[derive(Default)]
struct Job {
    episodes: Vec<VariedEpisode>,
    failed: usize,
}

/// Makes new episodes from `demonstrations` in `env`, whose observations they hold. `on_episode` gets
/// them in a fixed order.
///
/// # Errors
/// When no demonstration is of use, one that must be repeated exactly can't be, the task can't be
/// carried over, an option is out of range, or the work is cancelled.
pub fn vary(
    env: &mut SimEnv,
    demonstrations: &[Demonstration],
    options: &VariationOptions,
    on_episode: &mut dyn FnMut(VariedEpisode) -> Result<()>,
    task: Task<'_>,
) -> Result<VariationReport> {
    let (sources, mut report) = survey(env, demonstrations, options, task)?;
    let mut maker = Maker {
        surfaces: env.loaded().task.surfaces(),
        manipulation: env.loaded().task.manipulation(),
        carrier: Carrier::new(env.loaded())?,
        sources: &sources,
        options,
    };
    let (slots, dims) = (env.num_envs(), env.spec().action.numel());
    let mut running: Vec<Option<Trial>> = (0..slots).map(|_| None).collect();
    let mut jobs: BTreeMap<usize, Job> = BTreeMap::new();
    let (mut next, mut emitted) = (0, 0);
    let mut complete: BTreeMap<usize, Job> = BTreeMap::new();
    task.begin("vary", Some(report.wanted as u64), "episodes");
    // Trials that wait for a free environment: those that failed go first.
    let mut again: Vec<(usize, usize)> = Vec::new();
    while emitted < report.wanted {
        let mut starts: Vec<Option<EpisodeStart>> = vec![None; slots];
        for (slot, start) in running.iter_mut().zip(&mut starts).filter(|(s, _)| s.is_none()) {
            while slot.is_none() {
                let (job, number) = match again.pop() {
                    Some(again) => again,
                    None if next < report.wanted => {
                        jobs.insert(next, Job::default());
                        next += 1;
                        (next - 1, 0)
                    }
                    None => break,
                };
                report.trials += 1;
                match maker.trial(env, job, number)? {
                    Ok((trial, from)) => (*slot, *start) = (Some(trial), Some(from)),
                    Err(why) => {
                        maker.failed(why, (job, number), &mut report, &mut jobs, &mut again);
                    }
                }
            }
        }
        if starts.iter().any(Option::is_some) {
            env.begin(&starts)?;
        }
        let active: Vec<bool> = running.iter().map(Option::is_some).collect();
        let mut actions = vec![0.0; slots * dims];
        let seen = env.observations();
        for (i, slot) in running.iter_mut().enumerate() {
            let Some(trial) = slot else { continue };
            let action = trial.act(dims, options);
            actions[i * dims..(i + 1) * dims].copy_from_slice(&action);
            trial.done.extend(&action);
            seen.arrays.iter().for_each(|(key, view)| keep(&mut trial.kept, key, view, i));
        }
        drop(seen);
        env.step(&actions, &active)?;
        for (i, slot) in running.iter_mut().enumerate() {
            let Some(trial) = slot else { continue };
            trial.frame += 1;
            trial.reward += env.rewards()[i];
            maker.watch(trial, env.data(i));
            let planned = trial.actions.len() / dims + trial.hold;
            if !env.terminated()[i] && !env.truncated()[i] && trial.frame < planned {
                continue;
            }
            let Some(trial) = slot.take() else { continue };
            let (job, number) = (trial.job, trial.number);
            let (success, why) = (env.success()[i], maker.why(&trial, env.has_diverged(i)));
            let failed = jobs.get(&job).map_or(0, |j| j.failed);
            let episode = maker.episode(env, i, trial, success, failed)?;
            if success || options.keep_failures {
                jobs.entry(job).or_default().episodes.push(episode);
            }
            if success {
                report.made += 1;
                complete.extend(jobs.remove_entry(&job));
            } else {
                maker.failed(why, (job, number), &mut report, &mut jobs, &mut again);
            }
        }
        // Given up: no trial of theirs is left.
        let open = |job: &usize| {
            again.iter().any(|a| a.0 == *job) || running.iter().flatten().any(|t| t.job == *job)
        };
        let over: Vec<usize> = jobs.keys().filter(|j| !open(j)).copied().collect();
        for job in over {
            complete.extend(jobs.remove_entry(&job));
        }
        while let Some(job) = complete.remove(&emitted) {
            job.episodes.into_iter().try_for_each(&mut *on_episode)?;
            emitted += 1;
        }
        let note = format!("{} of {} trials succeeded", report.made, report.trials);
        task.advance("vary", emitted as u64, &note)?;
    }
    task.end("vary");
    Ok(report)
}

/// Runs the demonstrations again and says which could be varied, and how many episodes that would
/// make; makes none.
///
/// # Errors
/// As [`vary`].
pub fn plan(
    env: &mut SimEnv,
    demonstrations: &[Demonstration],
    options: &VariationOptions,
    task: Task<'_>,
) -> Result<VariationReport> {
    survey(env, demonstrations, options, task).map(|(_, report)| report)
}

/// Runs every demonstration again, and finds where its parts end.
fn survey(
    env: &SimEnv,
    demonstrations: &[Demonstration],
    options: &VariationOptions,
    task: Task<'_>,
) -> Result<(Vec<Source>, VariationReport)> {
    let manipulation = env.loaded().task.manipulation();
    if options.placement.is_some() && manipulation.is_none() {
        return Err(Error::new(format!(
            "demonstrations of task `{}` can't be carried over to other places",
            env.spec().id
        ))
        .with_hint("vary looks only: placement = false"));
    }
    let options_blind = EnvOptions { camera_size: None, ..env.options().clone() };
    let mut blind = env.alike(options_blind)?;
    let parts = manipulation.as_ref().map_or(&[][..], |m| &m.subtasks);
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); demonstrations.len()];
    let mut watch = |number: usize, i: usize, env: &SimEnv, frame: usize| {
        let ends = &mut ends[number];
        while parts.get(ends.len()).is_some_and(|part| (part.done)(env.data(i))) {
            ends.push(frame + 1);
        }
    };
    let replayed = run_again(&mut blind, demonstrations, &mut watch, task)?;
    let mut carrier = Carrier::new(env.loaded())?;
    let mut report = VariationReport::default();
    let mut sources = Vec::new();
    for ((demonstration, replayed), mut ends) in demonstrations.iter().zip(&replayed).zip(ends) {
        if let Some(why) = unusable(demonstration, replayed, options, ends.len() + 1, parts.len()) {
            report.unused.push((demonstration.episode, why));
            continue;
        }
        let frames = replayed.frames;
        ends.truncate(parts.len().saturating_sub(1));
        ends.push(frames);
        let start = demonstration.start(env)?;
        let object = carrier.object_pose(&start);
        sources.push(Source { demonstration: demonstration.clone(), start, ends, object });
    }
    if sources.is_empty() {
        let why = report.unused.first().map_or("there is none".to_owned(), |(episode, why)| {
            format!("episode {episode}: {why}")
        });
        return Err(Error::new(format!("no episode can be varied; {why}"))
            .with_hint("see what each gives when it is run again: embody sim replay DATASET"));
    }
    report.sources = sources.len();
    report.wanted = sources.len() * options.per_episode;
    Ok((sources, report))
}

/// Why an episode is of no use as a source; `None` where it is.
fn unusable(
    demonstration: &Demonstration,
    replayed: &Replayed,
    options: &VariationOptions,
    parts: usize,
    all_parts: usize,
) -> Option<String> {
    if demonstration.success == Some(false) {
        return Some("it failed".to_owned());
    }
    if !replayed.success.1 {
        return Some("it does not succeed when it is run again".to_owned());
    }
    if options.placement.is_none() && !replayed.exact {
        let changed = match replayed.changed.is_empty() {
            true => String::new(),
            false => format!(" ({})", replayed.changed.join(", ")),
        };
        return Some(format!("run again, it is not the same to the bit{changed}"));
    }
    if options.placement.is_some() && parts < all_parts {
        return Some("the parts of the task can't be told apart in it".to_owned());
    }
    None
}

/// Makes trials.
struct Maker<'a> {
    surfaces: Surfaces,
    manipulation: Option<Manipulation>,
    carrier: Carrier,
    sources: &'a [Source],
    options: &'a VariationOptions,
}

impl Maker<'_> {
    /// Trial `number` of a job, or why it is hopeless.
    fn trial(
        &mut self,
        env: &SimEnv,
        job: usize,
        number: usize,
    ) -> Result<std::result::Result<(Trial, EpisodeStart), String>> {
        let seed = derive_seed(self.options.seed, "vary", job as u64);
        let seed = derive_seed(seed, "trial", number as u64);
        let mut own = job / self.options.per_episode;
        let mut parameters = json!({});
        let (mut start, actions, expected, noise);
        match self.options.placement {
            None => {
                let demonstration = &self.sources[own].demonstration;
                start = self.sources[own].start.clone();
                actions = demonstration.actions.clone();
                expected = Some(demonstration.simulation.trajectory.clone());
                noise = None;
            }
            Some(placement) => {
                start = env.drawn_start(seed)?;
                let object = self.carrier.object_pose(&start);
                if placement.choice == SourceChoice::Nearest {
                    own = self.nearest(&object, seed);
                }
                let source = &self.sources[own];
                let carried = self.carrier.carry(source, &start);
                if carried.miss_m > REACH_M {
                    return Ok(Err("the path is out of the arm's reach".to_owned()));
                }
                parameters["object_moved_m"] = json!(carried.moved_m);
                parameters["object_turned_rad"] = json!(carried.turned_rad);
                parameters["path_missed_m"] = json!(carried.miss_m);
                parameters["action_noise"] = json!(placement.action_noise);
                (actions, expected) = (carried.actions, None);
                let rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "noise", 0));
                noise = (placement.action_noise > 0.0).then_some(rng);
            }
        }
        if let Some(base) = start.appearance.take() {
            let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "appearance", 0));
            let (scene, loaded) = (env.loaded().scene(), env.loaded());
            let (range, model) = (&self.options.appearance, loaded.task.model());
            let new = match range.is_nothing() {
                true => base,
                false => base.varied(range, &self.surfaces, &scene, model, &mut rng),
            };
            start.appearance = Some(new);
        }
        parameters["appearance"] = json!(self.options.appearance);
        let placed = self.options.placement.is_some();
        let trial = Trial {
            job,
            number,
            seed: if placed { Some(seed) } else { self.sources[own].demonstration.seed },
            source: own,
            actions,
            hold: if placed { HOLD_STEPS } else { 0 },
            noise,
            expected,
            parameters,
            kept: IndexMap::new(),
            done: Vec::new(),
            reward: 0.0,
            frame: 0,
            reached: 0,
        };
        Ok(Ok((trial, start)))
    }

    /// One of the sources whose object lay nearest.
    fn nearest(&self, object: &carry::Pose, seed: u64) -> usize {
        let symmetry = self.manipulation.as_ref().map_or(1, |m| m.symmetry);
        let mut order: Vec<(f64, usize)> = self
            .sources
            .iter()
            .enumerate()
            .map(|(i, s)| (s.object.distance(object, symmetry), i))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "source", 0));
        order[rng.random_range(0..NEAREST.min(order.len()))].1
    }

    /// Counts the parts of the task that are completed.
    fn watch(&self, trial: &mut Trial, data: &Data) {
        let parts = self.manipulation.as_ref().map_or(&[][..], |m| &m.subtasks);
        while parts.get(trial.reached).is_some_and(|part| (part.done)(data)) {
            trial.reached += 1;
        }
    }

    /// Why a trial that ended without success failed.
    fn why(&self, trial: &Trial, diverged: bool) -> String {
        if diverged {
            return "physics diverged".to_owned();
        }
        let parts = self.manipulation.as_ref().map_or(&[][..], |m| &m.subtasks);
        match parts.get(trial.reached) {
            Some(part) => format!("`{}` was not completed", part.name),
            None => "the goal was not reached".to_owned(),
        }
    }

    /// Notes a failed trial, and asks for another while there may be one.
    fn failed(
        &self,
        why: String,
        (job, number): (usize, usize),
        report: &mut VariationReport,
        jobs: &mut BTreeMap<usize, Job>,
        again: &mut Vec<(usize, usize)>,
    ) {
        *report.failures.entry(why).or_default() += 1;
        jobs.entry(job).or_default().failed += 1;
        if number + 1 < self.options.placement.map_or(1, |p| p.trials) {
            again.push((job, number + 1));
        }
    }

    /// The episode that a trial gave.
    fn episode(
        &self,
        env: &SimEnv,
        slot: usize,
        trial: Trial,
        success: bool,
        failed_trials: usize,
    ) -> Result<VariedEpisode> {
        let demonstration = &self.sources[trial.source].demonstration;
        let mut simulation = env
            .simulation(slot)
            .ok_or_else(|| Error::new("a simulated episode has no record of its start"))?;
        if trial.expected.is_some_and(|hash| hash != simulation.trajectory) {
            return Err(SimError::Replay {
                episode: demonstration.episode,
                why: "its motion came out differently, although nothing but its looks was changed"
                    .to_owned(),
                hint: "see what differs: embody sim replay DATASET",
            }
            .into());
        }
        let kind = if self.options.placement.is_some() { "placement" } else { "appearance" };
        simulation.variation = Some(VariationRecord {
            kind: kind.to_owned(),
            source: self.options.source.clone(),
            source_episode: demonstration.episode,
            seed: trial.seed.unwrap_or_default(),
            failed_trials,
            parameters: trial.parameters,
        });
        Ok(VariedEpisode {
            success,
            steps: trial.frame,
            total_reward: trial.reward,
            seed: trial.seed,
            observations: trial.kept,
            actions: trial.done,
            simulation,
        })
    }
}

impl Trial {
    /// The action of this frame; the last one is held.
    fn act(&mut self, dims: usize, options: &VariationOptions) -> Vec<f32> {
        let frame = self.frame.min(self.actions.len() / dims - 1);
        let mut action = self.actions[frame * dims..(frame + 1) * dims].to_vec();
        let sigma = options.placement.map_or(0.0, |p| p.action_noise);
        if let Some(rng) = &mut self.noise {
            // All but the gripper, the last dimension.
            for value in &mut action[..dims - 1] {
                *value += (sigma * gaussian(rng)) as f32;
            }
        }
        action
    }
}

/// A standard normal number (Box and Muller 1958).
fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Appends environment `env`'s row of `view` to the array under `key`.
fn keep(
    kept: &mut IndexMap<String, Array>,
    key: &str,
    view: &embody_core::ArrayView<'_>,
    env: usize,
) {
    let size: usize = view.shape[1..].iter().product();
    let range = env * size..(env + 1) * size;
    let array = kept.entry(key.to_owned()).or_insert_with(|| Array {
        shape: [&[0], &view.shape[1..]].concat(),
        data: match view.data {
            DataView::U8(_) => ArrayData::U8(Vec::new()),
            _ => ArrayData::F32(Vec::new()),
        },
    });
    array.shape[0] += 1;
    match (&mut array.data, view.data) {
        (ArrayData::U8(to), DataView::U8(from)) => to.extend_from_slice(&from[range]),
        (ArrayData::F32(to), DataView::F32(from)) => to.extend_from_slice(&from[range]),
        _ => unreachable!("observations are f32 or u8"),
    }
}
