//! A leader arm: a person moves it, the machine follows.
//!
//! Its motors are off, and its joints are read in the same units as the follower's, so that what
//! differs between both arms is in their calibrations.

use std::time::{Duration, Instant};

use embody_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::ServoArm;
use crate::robot::{Reading, Robot as _, Teleoperator};

/// When a person who moves a leader takes the machine over from a policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engage {
    /// How far a joint must have moved, in its unit.
    pub threshold: f32,
    /// How long after the last such move the person still holds it, milliseconds.
    pub release_ms: u64,
}

/// A leader arm that is open.
pub struct Leader {
    arm: ServoArm,
    reading: Reading,
    engage: Option<Engage>,
    /// Where it was when it last moved, and when that was.
    moved: (Vec<f32>, Option<Instant>),
}

impl Leader {
    /// Makes a leader of an arm whose torque is off. Without `engage` the person always holds the
    /// machine; with it only while the leader is being moved.
    pub fn new(arm: ServoArm, engage: Option<Engage>) -> Self {
        let reading = Reading::new(arm.spec().joints.len());
        Self { arm, reading, engage, moved: (Vec::new(), None) }
    }

    fn is_held(&mut self) -> bool {
        let Some(Engage { threshold, release_ms }) = self.engage else { return true };
        let (at, when) = &mut self.moved;
        if at.is_empty() {
            at.extend_from_slice(&self.reading.positions);
        }
        let now = self.reading.stamp.received;
        let mut pairs = at.iter().zip(&self.reading.positions);
        if pairs.any(|(then, now)| (now - then).abs() > threshold) {
            at.copy_from_slice(&self.reading.positions);
            *when = Some(now);
        }
        let release = Duration::from_millis(release_ms);
        when.is_some_and(|when| now.saturating_duration_since(when) < release)
    }
}

impl Teleoperator for Leader {
    fn goals(&mut self, _: &Reading, goals: &mut [f32]) -> Result<bool> {
        self.arm.read(&mut self.reading).map_err(|e| e.context("leader arm"))?;
        let positions = &self.reading.positions;
        if goals.len() != positions.len() {
            let (leads, follows) = (positions.len(), goals.len());
            let text = format!("a leader of {leads} joints on a machine of {follows}");
            return Err(Error::new(text).with_hint("choose the leader that belongs to the robot"));
        }
        goals.copy_from_slice(positions);
        Ok(self.is_held())
    }
}
