//! Runs recorded episodes again from their recorded beginning and says whether every bit is the same.
//!
//! Physics is deterministic: the same model, engine, start and actions give the same bits, on any
//! number of threads. What differs is therefore a changed model, engine or recording, and the report
//! names it.

use std::collections::BTreeMap;

use embody_core::{DataView, Error, Result, SimulationRecord, Task, VecEnv};
use indexmap::IndexMap;
use serde::Serialize;

use crate::batch::engine;
use crate::{Appearance, EpisodeStart, SimEnv, SimError};

/// A recorded episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Demonstration {
    /// Index in its dataset.
    pub episode: usize,
    /// Actions, `[frames, action_dim]`, in the task's units.
    pub actions: Vec<f32>,
    /// Vector observations before each action, `[frames, …]` by key; to compare with.
    pub observations: IndexMap<String, Vec<f32>>,
    /// Whether it was recorded as a success.
    pub success: Option<bool>,
    /// The seed that it was recorded from.
    pub seed: Option<u64>,
    /// How it began.
    pub simulation: SimulationRecord,
}

/// What came of running an episode again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// Index in its dataset.
    pub episode: usize,
    /// Control steps.
    pub frames: usize,
    /// Whether positions and velocities after every step have the recorded hash.
    pub exact: bool,
    /// First frame whose recorded observations differ, and which.
    pub first_difference: Option<(usize, String)>,
    /// Largest difference of an observation, in its own unit.
    pub largest_difference: f64,
    /// Success as recorded and as replayed.
    pub success: (Option<bool>, bool),
    /// What is not as it was when the episode was recorded.
    pub changed: Vec<String>,
}

impl Demonstration {
    /// Its beginning.
    ///
    /// # Errors
    /// When it was recorded in another task, or its beginning was cut off.
    pub fn start(&self, env: &SimEnv) -> Result<EpisodeStart> {
        let (record, episode) = (&self.simulation, self.episode);
        let refuse = |why: String, hint| Err(SimError::Replay { episode, why, hint }.into());
        if record.task != env.spec().id {
            return refuse(
                format!("it was recorded in task `{}`, not `{}`", record.task, env.spec().id),
                "name its own task",
            );
        }
        if record.qpos.is_empty() {
            return refuse(
                "frames were cut off its beginning".to_owned(),
                "go back to the version before the cut: embody data log",
            );
        }
        let dims = env.spec().action.numel();
        if self.actions.is_empty() || !self.actions.len().is_multiple_of(dims) {
            return refuse(
                format!("it has {} action values, {dims} each", self.actions.len()),
                "the table is damaged: embody data validate",
            );
        }
        let appearance: Appearance = serde_json::from_value(record.appearance.clone())
            .map_err(|e| Error::new(format!("episode {episode}: recorded appearance: {e}")))?;
        Ok(EpisodeStart {
            qpos: record.qpos.clone(),
            qvel: record.qvel.clone(),
            ctrl: record.ctrl.clone(),
            appearance: Some(appearance),
        })
    }

    /// What is not as it was when it was recorded.
    pub(crate) fn changed(&self, env: &SimEnv) -> Vec<String> {
        let record = &self.simulation;
        let now = env.loaded().task.model_hash();
        let mut out = Vec::new();
        if record.model != *now {
            out.push(format!("model {} is {} now", record.model.short(), now.short()));
        }
        if record.engine != engine() {
            out.push(format!("{} is {} now", record.engine, engine()));
        }
        if record.task_version != env.spec().version {
            let (then, now) = (record.task_version, env.spec().version);
            out.push(format!("version {then} of the task is {now} now"));
        }
        out
    }
}

/// Runs `demonstrations` again in `env`; `watch` is asked after every control step of each, with the
/// demonstration's place in the list, the environment and the step.
pub(crate) fn run_again(
    env: &mut SimEnv,
    demonstrations: &[Demonstration],
    watch: &mut dyn FnMut(usize, usize, &SimEnv, usize),
    task: Task<'_>,
) -> Result<Vec<Replayed>> {
    let (slots, dims) = (env.num_envs(), env.spec().action.numel());
    let mut out: BTreeMap<usize, Replayed> = BTreeMap::new();
    let mut playing: Vec<Option<(usize, usize)>> = vec![None; slots];
    let mut next = 0;
    let total = demonstrations.len();
    task.begin("replay", Some(total as u64), "episodes");
    let mut finished = 0;
    while finished < total {
        let mut starts = vec![None; slots];
        for (slot, start) in playing.iter_mut().zip(&mut starts).filter(|(s, _)| s.is_none()) {
            let Some(demonstration) = demonstrations.get(next) else { continue };
            *start = Some(demonstration.start(env)?);
            *slot = Some((next, 0));
            let replayed = Replayed {
                episode: demonstration.episode,
                frames: demonstration.actions.len() / dims,
                exact: false,
                first_difference: None,
                largest_difference: 0.0,
                success: (demonstration.success, false),
                changed: demonstration.changed(env),
            };
            out.insert(next, replayed);
            next += 1;
        }
        if starts.iter().any(Option::is_some) {
            env.begin(&starts)?;
        }
        let mut actions = vec![0.0; slots * dims];
        let active: Vec<bool> = playing.iter().map(Option::is_some).collect();
        for (i, slot) in playing.iter().enumerate() {
            let Some((number, frame)) = *slot else { continue };
            let demonstration = &demonstrations[number];
            let range = frame * dims..(frame + 1) * dims;
            actions[i * dims..(i + 1) * dims].copy_from_slice(&demonstration.actions[range]);
            if let Some(replayed) = out.get_mut(&number) {
                compare(env, i, demonstration, frame, replayed);
            }
        }
        env.step(&actions, &active)?;
        for (i, slot) in playing.iter_mut().enumerate() {
            let Some((number, frame)) = slot else { continue };
            watch(*number, i, env, *frame);
            *frame += 1;
            let demonstration = &demonstrations[*number];
            if *frame * dims < demonstration.actions.len() {
                continue;
            }
            if let (Some(replayed), Some(now)) = (out.get_mut(number), env.simulation(i)) {
                replayed.exact = now.trajectory == demonstration.simulation.trajectory;
                replayed.success.1 = env.success()[i];
            }
            *slot = None;
            finished += 1;
        }
        task.advance("replay", finished as u64, "")?;
    }
    task.end("replay");
    Ok(out.into_values().collect())
}

/// Compares what environment `i` shows with what was recorded at `frame`.
fn compare(env: &SimEnv, i: usize, recorded: &Demonstration, frame: usize, out: &mut Replayed) {
    for (key, view) in &env.observations().arrays {
        let (Some(then), DataView::F32(now)) = (recorded.observations.get(*key), view.data) else {
            continue;
        };
        let size: usize = view.shape[1..].iter().product();
        let now = &now[i * size..(i + 1) * size];
        let Some(then) = then.get(frame * size..(frame + 1) * size) else { continue };
        for (a, b) in now.iter().zip(then) {
            if a.to_bits() != b.to_bits() {
                out.first_difference.get_or_insert_with(|| (frame, (*key).to_owned()));
                out.largest_difference = out.largest_difference.max(f64::from((a - b).abs()));
            }
        }
    }
}

/// Runs recorded episodes again, as many at a time as `env` has environments, and compares.
///
/// # Errors
/// When an episode can't be run again (another task, its beginning cut off, a start that does not fit
/// the model), or the work is cancelled.
pub fn replay(
    env: &mut SimEnv,
    demonstrations: &[Demonstration],
    task: Task<'_>,
) -> Result<Vec<Replayed>> {
    run_again(env, demonstrations, &mut |_, _, _, _| {}, task)
}
