//! Runs a policy over a list of seeds and keeps the evidence.
//!
//! Seeds go to environments in order, the next seed to the lowest free one; since neither
//! environments nor policy look at their neighbours, a result depends on its seed alone.

use std::collections::HashMap;

use embody_core::{
    Array, ArrayData, ArrayView, DataView, EnvSpec, Policy, Result, SimulationRecord, Task, VecEnv,
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::statistics::{Z95, anytime_interval, bootstrap_ratio, mcnemar_exact, wilson};

/// What to evaluate on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvalOptions {
    /// One episode each.
    pub seeds: Vec<u64>,
    /// Of how many episodes, the first of the list, observations are kept.
    pub record_episodes: usize,
    /// Which observations are kept; empty for all.
    pub record_keys: Vec<String>,
    /// Ends the evaluation as soon as this is answered, between blocks of as many seeds as there are
    /// environments.
    pub until: Option<Question>,
}

/// What an evaluation is to find out.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Whether the success rate is at least this.
    AtLeast(f64),
    /// Whether the policy is better than one that gave these episodes: on seeds where exactly one of
    /// them succeeds, whether it is more often this one.
    BetterThan(Vec<EpisodeRow>),
}

/// What episodes say about a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// `None` while it is open.
    pub yes: Option<bool>,
    /// Episodes looked at.
    pub episodes: u64,
    /// 95 % interval, valid whenever one stops: of the success rate; or of the share of seeds on
    /// which this policy succeeds among those on which exactly one does.
    pub interval: (f64, f64),
}

impl Question {
    /// What `rows` say.
    pub fn answer(&self, rows: &[EpisodeRow]) -> Answer {
        let ((hits, trials), limit) = match self {
            Self::AtLeast(rate) => {
                let successes = rows.iter().filter(|row| row.success).count();
                ((successes, rows.len()), *rate)
            }
            Self::BetterThan(other) => {
                let other: HashMap<u64, bool> = other.iter().map(|r| (r.seed, r.success)).collect();
                let differs =
                    |row: &&EpisodeRow| other.get(&row.seed).is_some_and(|s| *s != row.success);
                let discordant: Vec<&EpisodeRow> = rows.iter().filter(differs).collect();
                let wins = discordant.iter().filter(|row| row.success).count();
                ((wins, discordant.len()), 0.5)
            }
        };
        let interval = anytime_interval(hits as u64, trials as u64);
        let yes = match interval {
            (low, _) if low >= limit => Some(true),
            (_, high) if high < limit => Some(false),
            _ => None,
        };
        Answer { yes, episodes: rows.len() as u64, interval }
    }
}

/// One finished episode.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeRollout {
    /// Place in the list of seeds.
    pub index: usize,
    /// Its seed.
    pub seed: u64,
    /// Whether the task was achieved.
    pub success: bool,
    /// Control steps taken.
    pub steps: usize,
    /// Sum of rewards.
    pub total_reward: f64,
    /// What was seen before each action, `[steps, …]`; empty unless recorded.
    pub observations: IndexMap<String, Array>,
    /// What was done, `[steps, action_dim]`.
    pub actions: Vec<f32>,
    /// How it began, where it can be run again; `None` unless recorded.
    pub simulation: Option<SimulationRecord>,
}

/// One row of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpisodeRow {
    /// The seed.
    pub seed: u64,
    /// Whether the task was achieved.
    pub success: bool,
    /// Control steps taken.
    pub steps: usize,
    /// Sum of rewards.
    pub total_reward: f64,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalResult {
    /// Environment.
    pub env: String,
    /// Its version.
    pub env_version: u32,
    /// Kind of the policy.
    pub policy: String,
    /// One row per seed, in the order of the list.
    pub episodes: Vec<EpisodeRow>,
    /// Whether the task says what success is; where not, the next four say nothing.
    pub success_defined: bool,
    /// Episodes that achieved the task.
    pub successes: u64,
    /// Episodes.
    pub trials: u64,
    /// successes / trials.
    pub success_rate: f64,
    /// 95 % interval of the success rate: Wilson's; or, of an evaluation that ended early, the one
    /// that holds whenever one stops.
    pub interval: (f64, f64),
    /// Whether it ended before its last seed, what it was to find out being answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended_early: bool,
    /// Mean steps of an episode.
    pub mean_steps: f64,
    /// Mean sum of rewards.
    pub mean_reward: f64,
    /// 95 % interval of that mean (bootstrap over episodes).
    pub return_interval: (f64, f64),
    /// Episodes in which physics diverged.
    pub diverged: u64,
}

/// Two evaluations on the seeds that both ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedComparison {
    /// Seeds that both ran; each evaluation may have more.
    pub pairs: u64,
    /// Seeds on which both succeed.
    pub both: u64,
    /// Only the first does.
    pub only_first: u64,
    /// Only the second does.
    pub only_second: u64,
    /// Neither does.
    pub neither: u64,
    /// Success rate of the first minus that of the second, on those seeds.
    pub difference: f64,
    /// Two-sided exact McNemar p-value.
    pub p_value: f64,
    /// Mean return of the first minus that of the second, on those seeds.
    pub return_difference: f64,
    /// 95 % interval of that mean (bootstrap over seeds).
    pub return_interval: (f64, f64),
}

/// Stream of the bootstraps here: they are part of results, which are the same every time.
const BOOTSTRAP_SEED: u64 = 0;

/// Mean, and its 95 % interval by bootstrap.
fn mean_of(values: &[f64]) -> (f64, (f64, f64)) {
    let groups: Vec<(f64, f64)> = values.iter().map(|v| (*v, 1.0)).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    (mean, bootstrap_ratio(&groups, BOOTSTRAP_SEED))
}

struct Slot {
    index: usize,
    steps: usize,
    reward: f64,
    actions: Vec<f32>,
    kept: IndexMap<String, Array>,
}

/// Runs `policy` in `env` on every seed. `on_episode` gets each rollout as it ends.
///
/// # Errors
/// When policy and environment disagree on the action, either fails, or the work is cancelled.
pub fn evaluate(
    env: &mut dyn VecEnv,
    policy: &mut dyn Policy,
    options: &EvalOptions,
    on_episode: &mut dyn FnMut(EpisodeRollout) -> Result<()>,
    task: Task<'_>,
) -> Result<EvalResult> {
    let (count, dim) = (env.num_envs(), policy.spec().action_dim);
    if env.spec().action.numel() != dim {
        return Err(Error::FeatureShape {
            key: "action".into(),
            found: format!("{dim} dimensions in the policy"),
            expected: format!("{} of environment {}", env.spec().action.numel(), env.spec().id),
        }
        .into());
    }
    let total = options.seeds.len();
    task.begin("evaluate", Some(total as u64), "episodes");
    let diverged_before = env.diverged();
    let mut slots: Vec<Option<Slot>> = (0..count).map(|_| None).collect();
    let mut rows: Vec<Option<EpisodeRow>> = vec![None; total];
    let mut actions = vec![0.0; count * dim];
    let (mut next, mut done, mut successes) = (0, 0, 0u64);
    // Up to where seeds are given out: results must not depend on who is fastest.
    let mut end = if options.until.is_some() { count.min(total) } else { total };
    while done < total {
        if done == end {
            let rows: Vec<EpisodeRow> = rows[..end].iter().flatten().copied().collect();
            if options.until.as_ref().is_some_and(|q| q.answer(&rows).yes.is_some()) {
                break;
            }
            end = (end + count).min(total);
        }
        let mut seeds = vec![None; count];
        for (i, slot) in slots.iter_mut().enumerate().filter(|(_, s)| s.is_none()) {
            if next < end {
                seeds[i] = Some(options.seeds[next]);
                policy.reset(i);
                let (actions, kept) = (Vec::new(), IndexMap::new());
                *slot = Some(Slot { index: next, steps: 0, reward: 0.0, actions, kept });
                next += 1;
            }
        }
        if seeds.iter().any(Option::is_some) {
            env.reset(&seeds)?;
        }
        let active: Vec<bool> = slots.iter().map(Option::is_some).collect();
        let observations = env.observations();
        policy.act(&observations, &active, &mut actions)?;
        for (i, slot) in slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            slot.actions.extend_from_slice(&actions[i * dim..(i + 1) * dim]);
            if slot.index < options.record_episodes {
                for (key, view) in &observations.arrays {
                    let wanted = options.record_keys.is_empty()
                        || options.record_keys.iter().any(|k| k == key);
                    if wanted {
                        keep(&mut slot.kept, key, view, i);
                    }
                }
            }
        }
        drop(observations);
        env.step(&actions, &active)?;
        for (i, place) in slots.iter_mut().enumerate() {
            let Some(slot) = place else { continue };
            slot.steps += 1;
            slot.reward += env.rewards()[i];
            if !env.terminated()[i] && !env.truncated()[i] {
                continue;
            }
            let (index, success) = (slot.index, env.success()[i]);
            let seed = options.seeds[index];
            let (steps, total_reward) = (slot.steps, slot.reward);
            rows[index] = Some(EpisodeRow { seed, success, steps, total_reward });
            done += 1;
            successes += u64::from(success);
            let (observations, actions) =
                (std::mem::take(&mut slot.kept), std::mem::take(&mut slot.actions));
            *place = None;
            let simulation = (index < options.record_episodes).then(|| env.simulation(i)).flatten();
            on_episode(EpisodeRollout {
                index,
                seed,
                success,
                steps,
                total_reward,
                observations,
                actions,
                simulation,
            })?;
        }
        let so_far = if env.spec().success_defined {
            format!("{successes} of {done} achieved")
        } else {
            let sum: f64 = rows.iter().flatten().map(|row| row.total_reward).sum();
            format!("mean return {:.1}", sum / done.max(1) as f64)
        };
        task.advance("evaluate", done as u64, &so_far)?;
    }
    task.end("evaluate");
    let rows: Vec<EpisodeRow> = rows.into_iter().flatten().collect();
    let diverged = env.diverged() - diverged_before;
    let mut result = EvalResult::new(env.spec(), policy.spec().kind.clone(), rows, diverged);
    if done < total {
        result.ended_early = true;
        result.interval = anytime_interval(result.successes, result.trials);
    }
    Ok(result)
}

impl EvalResult {
    /// Sums up rows.
    pub fn new(env: &EnvSpec, policy: String, episodes: Vec<EpisodeRow>, diverged: u64) -> Self {
        let trials = episodes.len() as u64;
        let successes = episodes.iter().filter(|e| e.success).count() as u64;
        let n = episodes.len().max(1) as f64;
        let returns: Vec<f64> = episodes.iter().map(|e| e.total_reward).collect();
        let (mean_reward, return_interval) = mean_of(&returns);
        Self {
            env: env.id.clone(),
            env_version: env.version,
            policy,
            success_defined: env.success_defined,
            successes,
            trials,
            success_rate: successes as f64 / n,
            interval: wilson(successes, trials, Z95),
            ended_early: false,
            mean_steps: episodes.iter().map(|e| e.steps as f64).sum::<f64>() / n,
            mean_reward,
            return_interval,
            episodes,
            diverged,
        }
    }

    /// In a sentence: successes where the task defines them, else the return.
    pub fn verdict(&self) -> String {
        let Self { successes, trials, interval, return_interval: (low, high), .. } = self;
        if self.success_defined {
            let (low, high) = (interval.0 * 100.0, interval.1 * 100.0);
            format!("{successes} of {trials} episodes succeed, 95 % interval {low:.1}-{high:.1} %")
        } else {
            let mean = self.mean_reward;
            format!(
                "mean return {mean:.1} of {trials} episodes, 95 % interval {low:.1} to {high:.1}"
            )
        }
    }
}

/// Compares two evaluations seed by seed, on the seeds that both ran.
///
/// # Errors
/// When they are not of the same environment and version, share no seed, or one ran a seed twice.
pub fn compare(first: &EvalResult, second: &EvalResult) -> Result<PairedComparison> {
    let by_seed: HashMap<u64, &EpisodeRow> = second.episodes.iter().map(|e| (e.seed, e)).collect();
    let pairs = first.episodes.iter().filter(|e| by_seed.contains_key(&e.seed)).count();
    let of_first: std::collections::HashSet<u64> = first.episodes.iter().map(|e| e.seed).collect();
    let same = first.env == second.env
        && first.env_version == second.env_version
        && by_seed.len() == second.episodes.len()
        && of_first.len() == first.episodes.len()
        && pairs > 0;
    if !same {
        return Err(Error::Invalid {
            what: format!(
                "the evaluations are not paired: {} v{} with {} seeds against {} v{} with {}",
                first.env,
                first.env_version,
                first.episodes.len(),
                second.env,
                second.env_version,
                second.episodes.len()
            ),
            hint: "evaluate both policies on the same seeds of the same environment".into(),
        }
        .into());
    }
    let count = |a: bool, b: bool| {
        let hit = |e: &&EpisodeRow| {
            e.success == a && by_seed.get(&e.seed).is_some_and(|other| other.success == b)
        };
        first.episodes.iter().filter(hit).count() as u64
    };
    let (only_first, only_second) = (count(true, false), count(false, true));
    let difference = |e: &EpisodeRow| Some(e.total_reward - by_seed.get(&e.seed)?.total_reward);
    let differences: Vec<f64> = first.episodes.iter().filter_map(difference).collect();
    let (return_difference, return_interval) = mean_of(&differences);
    Ok(PairedComparison {
        pairs: pairs as u64,
        both: count(true, true),
        only_first,
        only_second,
        neither: count(false, false),
        difference: (only_first as f64 - only_second as f64) / pairs as f64,
        p_value: mcnemar_exact(only_first, only_second),
        return_difference,
        return_interval,
    })
}

/// Appends environment `env`'s row of `view` to the array under `key`.
fn keep(kept: &mut IndexMap<String, Array>, key: &str, view: &ArrayView<'_>, env: usize) {
    let size: usize = view.shape[1..].iter().product();
    let range = env * size..(env + 1) * size;
    if !kept.contains_key(key) {
        let data = match view.data {
            DataView::U8(_) => ArrayData::U8(Vec::new()),
            DataView::F32(_) => ArrayData::F32(Vec::new()),
            DataView::F64(_) => ArrayData::F64(Vec::new()),
            DataView::I64(_) => ArrayData::I64(Vec::new()),
            DataView::Bool(_) => ArrayData::Bool(Vec::new()),
        };
        let shape = [&[0], &view.shape[1..]].concat();
        kept.insert(key.to_owned(), Array { shape, data });
    }
    let Some(array) = kept.get_mut(key) else { return };
    array.shape[0] += 1;
    match (&mut array.data, view.data) {
        (ArrayData::U8(to), DataView::U8(from)) => to.extend_from_slice(&from[range]),
        (ArrayData::F32(to), DataView::F32(from)) => to.extend_from_slice(&from[range]),
        (ArrayData::F64(to), DataView::F64(from)) => to.extend_from_slice(&from[range]),
        (ArrayData::I64(to), DataView::I64(from)) => to.extend_from_slice(&from[range]),
        (ArrayData::Bool(to), DataView::Bool(from)) => to.extend_from_slice(&from[range]),
        _ => unreachable!("an environment's observations keep their types"),
    }
}
