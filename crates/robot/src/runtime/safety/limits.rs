//! The limits of a machine, per joint and for the whole, with units and defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::space::Workspace;
use crate::robot::{JointUnit, RobotSpec};
use crate::runtime::error::RuntimeError;

/// Limits of one joint, in its unit (degrees, radians, or parts of its range in hundredths).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointLimits {
    /// Lowest goal.
    pub low: f32,
    /// Highest goal.
    pub high: f32,
    /// Greatest speed of the goal, units per second.
    pub speed: f32,
    /// Greatest growth of that speed, units per second squared; also how it shrinks before an end
    /// of the range. A goal that asks to stop is obeyed at once.
    pub acceleration: f32,
    /// Farthest that a goal may lie from the present position, units.
    pub step: f32,
    /// Load beyond which a goal goes no farther against it, as a part of the motor's greatest
    /// torque, 0 to 1; 1 switches it off.
    pub load: f32,
}

impl JointLimits {
    /// Cautious limits for a joint between `low` and `high` in `unit`.
    pub fn cautious(unit: JointUnit, low: f32, high: f32) -> Self {
        let (speed, acceleration, step) = match unit {
            JointUnit::Degrees => (180.0, 1500.0, 20.0),
            JointUnit::Radians => (180.0_f32.to_radians(), 1500.0_f32.to_radians(), 0.35),
            // A range of 200 hundredths is some 270° on an SO-101; a gripper's 100 are some 100°.
            JointUnit::Symmetric100 => (130.0, 1100.0, 15.0),
            JointUnit::Percent => (200.0, 2000.0, 30.0),
        };
        Self { low, high, speed, acceleration, step, load: 0.9 }
    }
}

/// All limits of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// By joint, in the machine's order.
    pub joints: Vec<JointLimits>,
    /// How much of each motor's greatest torque may be used, 0 to 1.
    #[serde(default = "one")]
    pub torque: f32,
    /// Where the tool may be; anywhere where `None`.
    #[serde(default)]
    pub workspace: Option<Workspace>,
    /// Smallest distance between parts that must not touch, metres.
    #[serde(default = "centimetre")]
    pub clearance: f32,
    /// When motion ends by itself.
    #[serde(default)]
    pub watchdog: Watchdog,
}

fn one() -> f32 {
    1.0
}

fn centimetre() -> f32 {
    0.01
}

/// What happens without fresh goals, and how motors are let go; durations in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watchdog {
    /// Without a fresh goal for so long, the machine holds where it is.
    pub stale_secs: f64,
    /// Holding for so long, it lets go.
    pub hold_secs: f64,
    /// Letting go: torque shrinks to nothing in this time, then the motors are switched off.
    pub ramp_secs: f64,
    /// The same for an emergency stop, which does not hold before.
    pub emergency_ramp_secs: f64,
    /// Reads or commands in a row that may fail before the machine is let go.
    pub bus_failures: u32,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self {
            stale_secs: 0.25,
            hold_secs: 10.0,
            ramp_secs: 2.0,
            emergency_ramp_secs: 0.3,
            bus_failures: 5,
        }
    }
}

impl Limits {
    /// The machine's own ranges, with cautious speeds.
    pub fn for_robot(spec: &RobotSpec) -> Self {
        let joints = spec.joints.iter().map(|j| JointLimits::cautious(j.unit, j.low, j.high));
        Self {
            joints: joints.collect(),
            torque: 1.0,
            workspace: None,
            clearance: centimetre(),
            watchdog: Watchdog::default(),
        }
    }

    /// Refuses limits that make no sense or do not fit `spec`.
    pub(super) fn check(&self, spec: &RobotSpec) -> Result<(), RuntimeError> {
        let refuse = |key: &str, value: String, rule: &str| {
            Err(RuntimeError::Limits { key: key.to_owned(), value, rule: rule.to_owned() })
        };
        if self.joints.len() != spec.joints.len() {
            let rule = format!("{} has {} joints", spec.robot_type, spec.joints.len());
            return refuse("joints", self.joints.len().to_string(), &rule);
        }
        for (limits, joint) in self.joints.iter().zip(&spec.joints) {
            let JointLimits { low, high, speed, acceleration, step, load } = *limits;
            let name = |key: &str| format!("{}.{key}", joint.name);
            if !(low.is_finite() && high.is_finite() && low <= high) {
                return refuse(&name("low"), format!("{low} to {high}"), "low is at most high");
            }
            if low < joint.low || high > joint.high {
                let rule = format!("the mechanism goes from {} to {}", joint.low, joint.high);
                return refuse(&name("low"), format!("{low} to {high}"), &rule);
            }
            for (key, value) in [("speed", speed), ("acceleration", acceleration), ("step", step)] {
                if !(value.is_finite() && value > 0.0) {
                    return refuse(&name(key), value.to_string(), "a number above 0");
                }
            }
            if !(0.0..=1.0).contains(&load) {
                return refuse(&name("load"), load.to_string(), "a part between 0 and 1");
            }
        }
        if !(self.torque > 0.0 && self.torque <= 1.0) {
            return refuse("torque", self.torque.to_string(), "a part above 0, at most 1");
        }
        if !self.clearance.is_finite() {
            return refuse("clearance", self.clearance.to_string(), "a number of metres");
        }
        let Watchdog { stale_secs, hold_secs, ramp_secs, emergency_ramp_secs, .. } = self.watchdog;
        for (key, value) in [
            ("stale_secs", stale_secs),
            ("hold_secs", hold_secs),
            ("ramp_secs", ramp_secs),
            ("emergency_ramp_secs", emergency_ramp_secs),
        ] {
            if !(0.0..=3600.0).contains(&value) {
                return refuse(key, value.to_string(), "seconds from 0 to 3600");
            }
        }
        self.workspace.iter().try_for_each(Workspace::check)
    }
}

/// Seconds that were checked to be in range.
pub(super) fn secs(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}
