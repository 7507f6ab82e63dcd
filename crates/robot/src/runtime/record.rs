//! What leaves the loop to be kept: one record per turn.
//!
//! Who keeps it stands behind [`embody_core::StreamRecorder`] and is called from a thread that may
//! wait, never from the loop.

use std::time::Duration;

use embody_core::TurnRecord;

use super::safety::{Causes, Phase};
use super::source::SourceKind;

/// What happened in one turn of the loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its number.
    pub number: u64,
    /// When it began, by the loop's clock.
    pub began: Duration,
    /// How much later than it was due.
    pub late: Duration,
    /// When the machine was read.
    pub at: Duration,
    /// The machine's own clock, where it tells.
    pub device: Option<Duration>,
    /// Whether the reading is of this turn; it is an older one where the bus failed.
    pub fresh: bool,
    /// Positions in the joints' units.
    pub positions: Vec<f32>,
    /// Units per second; NaN where the machine does not tell.
    pub velocities: Vec<f32>,
    /// Parts of the greatest torque; NaN where the machine does not tell.
    pub loads: Vec<f32>,
    /// Goals before the safety layer; NaN where there were none.
    pub wanted: Vec<f32>,
    /// Goals that were sent; NaN where none were.
    pub given: Vec<f32>,
    /// Whether the source acted, as it does while an episode lasts.
    pub acting: bool,
    /// Where the goals came from.
    pub source: SourceKind,
    /// Limits that changed them.
    pub causes: Causes,
    /// What the safety layer did.
    pub phase: Phase,
    /// Answers that came damaged, late or not at all since the machine was opened.
    pub bus_errors: u64,
}

impl Turn {
    /// Room for a machine of so many joints.
    pub fn new(joints: usize) -> Self {
        let none = vec![f32::NAN; joints];
        Self {
            number: 0,
            began: Duration::ZERO,
            late: Duration::ZERO,
            at: Duration::ZERO,
            device: None,
            fresh: false,
            positions: none.clone(),
            velocities: none.clone(),
            loads: none.clone(),
            wanted: none.clone(),
            given: none,
            acting: false,
            source: SourceKind::Nobody,
            causes: Causes::default(),
            phase: Phase::Off,
            bus_errors: 0,
        }
    }

    /// The turn as recorders take it; `causes` is room for the names of its clips.
    pub fn record<'a>(&'a self, causes: &'a mut Vec<&'static str>) -> TurnRecord<'a> {
        causes.clear();
        causes.extend(self.causes.iter().map(super::safety::Cause::as_str));
        let there = |goals: &'a [f32]| goals.iter().all(|g| !g.is_nan()).then_some(goals);
        TurnRecord {
            number: self.number,
            late: self.late,
            at: self.at,
            device: self.device,
            fresh: self.fresh,
            positions: &self.positions,
            velocities: &self.velocities,
            loads: &self.loads,
            wanted: there(&self.wanted),
            given: there(&self.given),
            source: self.source.as_str(),
            intervention: self.source == SourceKind::Intervention,
            clips: causes,
            phase: self.phase.as_str(),
            bus_errors: self.bus_errors,
        }
    }
}
