//! From a motor's steps to its joint's unit and back, in LeRobot's arithmetic to the last bit.
//!
//! Reading clamps to the calibrated range except for angles; writing clamps except for angles, and
//! cuts off toward zero. The drive mode turns the scale around, with Feetech servos only and not
//! for angles; a Dynamixel turns around by itself. All in f64, as Python computes.

use crate::bus::Protocol;
use crate::error::RobotError;
use crate::robot::{Joint, JointUnit};

use super::{Motor, MotorCalibration};

/// How one motor's steps are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    unit: JointUnit,
    min: f64,
    max: f64,
    /// Steps of a turn less one, as LeRobot divides.
    turn: f64,
    is_reversed: bool,
}

impl Scale {
    /// The scale of a motor.
    ///
    /// # Errors
    /// When its range is empty.
    pub fn new(motor: &Motor, calibration: &MotorCalibration) -> Result<Self, RobotError> {
        if calibration.range_min >= calibration.range_max {
            return Err(RobotError::Calibration {
                motor: motor.name.clone(),
                why: format!(
                    "its range is empty: {} to {}",
                    calibration.range_min, calibration.range_max
                ),
            });
        }
        let is_feetech = motor.model.protocol != Protocol::Dynamixel;
        let is_angle = matches!(motor.unit, JointUnit::Degrees | JointUnit::Radians);
        Ok(Self {
            unit: motor.unit,
            min: f64::from(calibration.range_min),
            max: f64::from(calibration.range_max),
            turn: f64::from(motor.model.resolution) - 1.0,
            is_reversed: is_feetech && !is_angle && calibration.drive_mode != 0,
        })
    }

    /// Steps → the joint's unit.
    pub fn normalise(&self, steps: i32) -> f64 {
        let steps = f64::from(steps);
        let part = || (steps.clamp(self.min, self.max) - self.min) / (self.max - self.min);
        match self.unit {
            JointUnit::Symmetric100 => {
                let value = part() * 200.0 - 100.0;
                if self.is_reversed { -value } else { value }
            }
            JointUnit::Percent => {
                let value = part() * 100.0;
                if self.is_reversed { 100.0 - value } else { value }
            }
            JointUnit::Degrees => (steps - self.middle()) * 360.0 / self.turn,
            JointUnit::Radians => ((steps - self.middle()) * 360.0 / self.turn).to_radians(),
        }
    }

    /// The joint's unit → steps; `value` is a number.
    pub fn unnormalise(&self, value: f64) -> i32 {
        let range = self.max - self.min;
        let steps = match self.unit {
            JointUnit::Symmetric100 => {
                let value = if self.is_reversed { -value } else { value };
                (value.clamp(-100.0, 100.0) + 100.0) / 200.0 * range + self.min
            }
            JointUnit::Percent => {
                let value = if self.is_reversed { 100.0 - value } else { value };
                value.clamp(0.0, 100.0) / 100.0 * range + self.min
            }
            JointUnit::Degrees => value * self.turn / 360.0 + self.middle(),
            JointUnit::Radians => value.to_degrees() * self.turn / 360.0 + self.middle(),
        };
        steps.trunc() as i32
    }

    /// The joint's units in one step, negative where the scale is turned around.
    pub fn per_step(&self) -> f64 {
        let size = match self.unit {
            JointUnit::Symmetric100 => 200.0 / (self.max - self.min),
            JointUnit::Percent => 100.0 / (self.max - self.min),
            JointUnit::Degrees => 360.0 / self.turn,
            JointUnit::Radians => 360f64.to_radians() / self.turn,
        };
        if self.is_reversed { -size } else { size }
    }

    /// The joint that the motor moves, with what its calibrated range is in its unit.
    pub fn joint(&self, name: &str) -> Joint {
        let (low, high) = match self.unit {
            JointUnit::Symmetric100 => (-100.0, 100.0),
            JointUnit::Percent => (0.0, 100.0),
            JointUnit::Degrees | JointUnit::Radians => {
                let half = (self.max - self.min) / 2.0 * self.per_step();
                (-half, half)
            }
        };
        Joint { name: name.to_owned(), unit: self.unit, low: low as f32, high: high as f32 }
    }

    fn middle(&self) -> f64 {
        f64::midpoint(self.min, self.max)
    }
}
