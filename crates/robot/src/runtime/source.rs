//! Where goals come from: a person's device, a recorded episode, a policy.

use std::time::Duration;

use embody_core::Result;
use serde::Serialize;

use super::chunks::ChunkFigures;
use super::error::RuntimeError;
use crate::robot::{Reading, Teleoperator};

/// Kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// None: the machine stays where it is.
    Nobody,
    /// A person's device, as the source of the session.
    Teleoperation,
    /// A recorded episode.
    Replay,
    /// A policy.
    Policy,
    /// A person's device that took over from the source.
    Intervention,
}

impl SourceKind {
    /// As logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Teleoperation => "teleoperation",
            Self::Replay => "replay",
            Self::Policy => "policy",
            Self::Intervention => "intervention",
        }
    }
}

/// What a source is shown each turn.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Number of the turn.
    pub turn: u64,
    /// When it began, by the loop's clock.
    pub now: Duration,
    /// The machine's last reading.
    pub reading: &'a Reading,
}

/// What it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Goals for this turn.
    Goals,
    /// To stay where it is.
    Stay,
    /// None this time; the watchdog counts.
    Nothing,
    /// None any more: the episode is over.
    End,
}

/// Gives a goal per joint each turn; called in the control loop, so it must not allocate, lock or
/// wait for anything but its own bus.
pub trait Source: Send {
    /// What kind it is.
    fn kind(&self) -> SourceKind;
    /// Writes the goals of this turn, one per joint in its unit.
    ///
    /// # Errors
    /// When its device does not answer; the turn then counts as one without goals.
    fn next(&mut self, seen: &Seen<'_>, goals: &mut [f32]) -> Result<Given>;
    /// An episode begins, or a person gives the machine back: what was planned before is void.
    fn begin(&mut self);
    /// For policies: what chunked execution came to.
    fn chunk_figures(&self) -> Option<ChunkFigures> {
        None
    }
}

/// A person's device as the source.
pub struct Teleoperation(pub Box<dyn Teleoperator>);

impl Source for Teleoperation {
    fn kind(&self) -> SourceKind {
        SourceKind::Teleoperation
    }

    fn next(&mut self, seen: &Seen<'_>, goals: &mut [f32]) -> Result<Given> {
        // Whoever lets go of the device means the machine to stay.
        Ok(if self.0.goals(seen.reading, goals)? { Given::Goals } else { Given::Stay })
    }

    fn begin(&mut self) {}
}

/// A recorded episode, by its own clock.
#[derive(Debug)]
pub struct Replay {
    actions: Vec<f32>,
    dim: usize,
    fps: f64,
    began: Option<Duration>,
}

impl Replay {
    /// Replays `actions`, `[n, joints]` in the joints' units, `fps` of them a second.
    ///
    /// # Errors
    /// When they do not divide into actions of so many joints, or none are there.
    pub fn new(actions: Vec<f32>, joints: usize, fps: f64) -> Result<Self> {
        let refuse = |why: String| RuntimeError::Replay { why };
        if actions.is_empty() || joints == 0 || !actions.len().is_multiple_of(joints) {
            let numbers = actions.len();
            return Err(refuse(format!("{numbers} numbers are no actions of {joints}")).into());
        }
        if !(fps.is_finite() && fps > 0.0) {
            return Err(refuse(format!("it has {fps} frames per second")).into());
        }
        Ok(Self { actions, dim: joints, fps, began: None })
    }
}

impl Source for Replay {
    fn kind(&self) -> SourceKind {
        SourceKind::Replay
    }

    fn next(&mut self, seen: &Seen<'_>, goals: &mut [f32]) -> Result<Given> {
        let began = *self.began.get_or_insert(seen.now);
        let place = seen.now.saturating_sub(began).as_secs_f64() * self.fps;
        let last = self.actions.len() / self.dim - 1;
        if place > last as f64 + 1.0 {
            return Ok(Given::End);
        }
        let before = (place as usize).min(last);
        let part = (place - before as f64).min(1.0) as f32;
        let after = (before + 1).min(last);
        for (i, goal) in goals.iter_mut().enumerate() {
            let (a, b) = (self.actions[before * self.dim + i], self.actions[after * self.dim + i]);
            *goal = a + (b - a) * part;
        }
        Ok(Given::Goals)
    }

    fn begin(&mut self) {
        self.began = None;
    }
}

/// Stays where the machine is: for trials of the loop.
#[derive(Debug)]
pub struct Still;

impl Source for Still {
    fn kind(&self) -> SourceKind {
        SourceKind::Nobody
    }

    fn next(&mut self, _seen: &Seen<'_>, _goals: &mut [f32]) -> Result<Given> {
        Ok(Given::Stay)
    }

    fn begin(&mut self) {}
}
