//! A policy that acts on a machine in real time: inference in a thread of its own, chunks of
//! actions executed by the loop's clock.
//!
//! The loop's side is [`Chunks`], a [`Source`]: it tells what it sees, takes chunks as they come,
//! and gives a goal each turn, between two actions linearly. The other side is [`Planner`]. Action
//! `i` of a chunk belongs to `i / fps` after the observation that it was predicted from, so what
//! passed during inference is skipped, and a chunk that ends before the next one comes is late: the
//! machine holds, and the turns are counted.

use std::time::Duration;

use embody_core::Result;
use serde::{Deserialize, Serialize};

use super::error::RuntimeError;
use super::exchange::{Reader, Writer, latest};
use super::source::{Given, Seen, Source, SourceKind};

mod planner;
#[cfg(test)]
mod tests;

pub use planner::{CameraInput, Planner};

/// How chunks become one stream of goals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Execution {
    /// A chunk after the other: the next is asked for when it can just come in time for the end of
    /// the part that is executed.
    Sequence {
        /// Actions executed of each chunk.
        steps: usize,
    },
    /// ACT's temporal ensembling (Zhao et al. 2023): predict all the time, give the mean of what
    /// all chunks say of the moment, chunk `r` (the oldest is 0) weighted by `exp(-coefficient ·
    /// r)`.
    Ensemble {
        /// The paper uses 0.01.
        coefficient: f64,
    },
    /// Real-time chunking (Black et al. 2025, arXiv 2506.07339): a new chunk is asked for after
    /// `horizon` actions; those that pass while it is computed stay as they were, the overlap
    /// behind them goes over from old to new by the paper's exponential weights, and the last
    /// `horizon` are new. The paper guides the denoising of the new chunk by these weights;
    /// policies here predict freely, and the weights mix the two predictions.
    RealTime {
        /// Actions executed between two inferences, at the least.
        horizon: usize,
    },
}

/// What the loop tells the planner.
pub(super) struct Request {
    /// Whether a chunk is wanted.
    wanted: bool,
    /// Counts beginnings: chunks asked for before one are of no use after it.
    round: u64,
    at: Duration,
    positions: Vec<f32>,
    /// What was commanded last; empty before the first.
    last: Vec<f32>,
    /// Chunks that came so far: nothing is predicted while one is on its way.
    taken: u64,
}

/// What the planner gives.
pub(super) struct Chunk {
    round: u64,
    /// Time of the observation, which is that of the first action.
    at: Duration,
    /// `[n, action_dim]`.
    actions: Vec<f32>,
}

/// Delays that are remembered to foretell the next one.
const DELAYS: usize = 8;

/// The loop's side: executes chunks.
pub struct Chunks {
    how: Execution,
    fps: f64,
    dim: usize,
    requests: Writer<Request>,
    chunks: Reader<Chunk>,
    round: u64,
    /// Chunks in use, oldest first; one but for the ensemble. Places are used again.
    plans: Vec<Plan>,
    used: usize,
    /// Recent times from observation to chunk, seconds.
    delays: [f64; DELAYS],
    taken: u64,
    inferences: u64,
    late: u64,
    mixed: Vec<f32>,
    last: Vec<f32>,
    commanded: bool,
}

/// A chunk in use.
#[derive(Debug)]
struct Plan {
    at: Duration,
    actions: Vec<f32>,
}

impl Plan {
    /// The place of a time among the actions: 0 is the first.
    fn place(&self, now: Duration, fps: f64) -> f64 {
        let secs = now.as_secs_f64() - self.at.as_secs_f64();
        // A rounded nanosecond is no action.
        (secs * fps * 1e6).round() / 1e6
    }

    fn len(&self, dim: usize) -> usize {
        self.actions.len() / dim
    }

    /// The action at `place`, between two of them linearly; `None` outside.
    fn action(&self, place: f64, dim: usize, index: usize) -> Option<f32> {
        let last = self.len(dim).checked_sub(1)?;
        if !(place >= 0.0 && place <= last as f64) {
            return None;
        }
        let before = place as usize;
        let a = self.actions[before * dim + index];
        let b = self.actions[(before + 1).min(last) * dim + index];
        Some(a + (b - a) * (place - before as f64) as f32)
    }
}

/// What chunked execution came to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ChunkFigures {
    /// Chunks that came.
    pub inferences: u64,
    /// Turns without an action because the next chunk was not there yet.
    pub late_turns: u64,
    /// Longest of the recent times from observation to chunk, seconds.
    pub delay_secs: f64,
}

/// Both sides for a policy whose actions have `dim` numbers, at most `chunk` at a time, `fps` of
/// them a second, on a machine of as many joints.
///
/// # Errors
/// When a number makes no sense.
pub(super) fn sides(
    how: Execution,
    (dim, chunk): (usize, usize),
    fps: f64,
) -> Result<(Chunks, Reader<Request>, Writer<Chunk>)> {
    let refuse = |key, value: String, rule| RuntimeError::Setting { key, value, rule };
    if !(fps > 0.0 && fps <= 1000.0) {
        return Err(refuse("fps", fps.to_string(), "actions per second, above 0").into());
    }
    let part = "a number of actions from 1 to the chunk's length";
    match how {
        Execution::Sequence { steps } if !(1..=chunk).contains(&steps) => {
            return Err(refuse("steps", steps.to_string(), part).into());
        }
        Execution::RealTime { horizon } if !(1..=chunk).contains(&horizon) => {
            return Err(refuse("horizon", horizon.to_string(), part).into());
        }
        Execution::Ensemble { coefficient } if !coefficient.is_finite() => {
            return Err(refuse("coefficient", coefficient.to_string(), "a finite number").into());
        }
        _ => {}
    }
    let (requests, planner_requests) = latest(|| Request {
        wanted: false,
        round: 0,
        at: Duration::ZERO,
        positions: Vec::with_capacity(dim),
        last: Vec::with_capacity(dim),
        taken: 0,
    });
    let room = || Vec::with_capacity(chunk * dim);
    let (planner_chunks, chunks) =
        latest(|| Chunk { round: 0, at: Duration::ZERO, actions: room() });
    let count = if matches!(how, Execution::Ensemble { .. }) { chunk.max(1) } else { 1 };
    let chunks = Chunks {
        how,
        fps,
        dim,
        requests,
        chunks,
        round: 0,
        plans: (0..count).map(|_| Plan { at: Duration::ZERO, actions: room() }).collect(),
        used: 0,
        delays: [0.0; DELAYS],
        taken: 0,
        inferences: 0,
        late: 0,
        mixed: vec![0.0; chunk * dim],
        last: vec![0.0; dim],
        commanded: false,
    };
    Ok((chunks, planner_requests, planner_chunks))
}

impl Chunks {
    /// What it came to so far.
    pub fn figures(&self) -> ChunkFigures {
        ChunkFigures {
            inferences: self.inferences,
            late_turns: self.late,
            delay_secs: self.delay(),
        }
    }

    /// The longest of the recent delays, seconds: what the next one is taken to be.
    fn delay(&self) -> f64 {
        self.delays.iter().copied().fold(0.0, f64::max)
    }

    /// Takes a chunk that has come.
    fn receive(&mut self, now: Duration) {
        let Some(chunk) = self.chunks.take() else { return };
        self.taken += 1;
        if chunk.round != self.round || chunk.actions.len() < self.dim {
            return;
        }
        let delay = now.saturating_sub(chunk.at).as_secs_f64();
        self.delays[self.inferences as usize % DELAYS] = delay;
        self.inferences += 1;
        let at = chunk.at;
        let len = chunk.actions.len().min(self.mixed.len());
        self.mixed[..len].copy_from_slice(&chunk.actions[..len]);
        if let (Execution::RealTime { horizon }, true) = (self.how, self.used > 0) {
            let passed = (delay * self.fps).ceil() as usize;
            blend(
                &self.plans[0],
                at,
                (self.fps, self.dim),
                passed,
                horizon,
                &mut self.mixed[..len],
            );
        }
        if self.used == self.plans.len() {
            // The oldest gives its place; by now it has nothing to say, but where there is just
            // one.
            self.plans.rotate_left(1);
        } else {
            self.used += 1;
        }
        let plan = &mut self.plans[self.used - 1];
        plan.at = at;
        plan.actions.clear();
        plan.actions.extend_from_slice(&self.mixed[..len]);
    }

    /// Whether to ask for a chunk now.
    fn wants(&self, now: Duration) -> bool {
        let Some(plan) = self.plans[..self.used].last() else { return true };
        let place = plan.place(now, self.fps);
        match self.how {
            // One inference per action, as ACT's, at the most.
            Execution::Ensemble { .. } => place >= 1.0,
            Execution::RealTime { horizon } => place >= horizon as f64,
            Execution::Sequence { steps } => place + self.delay() * self.fps >= steps as f64,
        }
    }
}

/// Mixes the new chunk with what is left of the old plan: `passed` actions stay old, the overlap
/// goes over by exponential weights, and the last `horizon` are new.
fn blend(
    old: &Plan,
    at: Duration,
    (fps, dim): (f64, usize),
    passed: usize,
    horizon: usize,
    new: &mut [f32],
) {
    let count = new.len() / dim;
    let shift = old.place(at, fps);
    let until = count.saturating_sub(horizon);
    for (i, action) in new.chunks_exact_mut(dim).enumerate() {
        let weight = weight(i, passed, until);
        if weight == 0.0 {
            break;
        }
        for (index, number) in action.iter_mut().enumerate() {
            let Some(before) = old.action(shift + i as f64, dim, index) else { return };
            *number = (weight * f64::from(before) + (1.0 - weight) * f64::from(*number)) as f32;
        }
    }
}

/// How much of action `i` stays old: all before `passed`, nothing from `until` on, between them
/// `c · (e^c − 1) / (e − 1)` with `c` falling linearly (equation 5 of the paper).
fn weight(i: usize, passed: usize, until: usize) -> f64 {
    if i < passed {
        return 1.0;
    }
    if i >= until {
        return 0.0;
    }
    let c = (until - i) as f64 / (until - passed + 1) as f64;
    c * (c.exp() - 1.0) / (std::f64::consts::E - 1.0)
}

impl Source for Chunks {
    fn kind(&self) -> SourceKind {
        SourceKind::Policy
    }

    fn next(&mut self, seen: &Seen<'_>, goals: &mut [f32]) -> Result<Given> {
        self.receive(seen.now);
        let (dim, fps, now) = (self.dim, self.fps, seen.now);
        let coefficient = match self.how {
            Execution::Ensemble { coefficient } => coefficient,
            _ => 0.0,
        };
        let mut given = true;
        for (index, goal) in goals.iter_mut().enumerate() {
            let (mut sum, mut total, mut rank) = (0.0, 0.0, 0);
            for plan in &self.plans[..self.used] {
                let Some(action) = plan.action(plan.place(now, fps), dim, index) else { continue };
                let weight = (-coefficient * f64::from(rank)).exp();
                sum += weight * f64::from(action);
                total += weight;
                rank += 1;
            }
            if rank > 0 {
                *goal = (sum / total) as f32;
            } else {
                given = false;
            }
        }
        let wanted = self.wants(now);
        let (round, taken) = (self.round, self.taken);
        let last = &self.last[..if self.commanded { dim } else { 0 }];
        self.requests.write(|request| {
            (request.wanted, request.round, request.at) = (wanted, round, now);
            request.taken = taken;
            request.positions.clear();
            request.positions.extend_from_slice(&seen.reading.positions);
            request.last.clear();
            request.last.extend_from_slice(last);
        });
        if !given {
            // Before the first chunk nothing is late, it is only not begun.
            self.late += u64::from(self.used > 0);
            return Ok(Given::Nothing);
        }
        self.last.copy_from_slice(goals);
        self.commanded = true;
        Ok(Given::Goals)
    }

    fn begin(&mut self) {
        self.round += 1;
        self.used = 0;
        self.commanded = false;
    }

    fn chunk_figures(&self) -> Option<ChunkFigures> {
        Some(self.figures())
    }
}
