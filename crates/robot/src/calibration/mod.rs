//! What a motor's steps mean for its joint: LeRobot's calibration, in files and in the servos.
//!
//! A servo holds its calibration itself, offset and limits in EEPROM; the file is the copy that
//! tells whether this is the arm it was made for. Files are those of LeRobot, byte for byte, and so
//! is the arithmetic ([`Scale`]): policies and datasets made with either agree on every number.

mod procedure;
mod scale;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use embody_core::{IoContext as _, write_atomic};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use procedure::{Calibrator, Seen};
pub use scale::Scale;

use crate::bus::{Bus, Model, Protocol};
use crate::error::RobotError;
use crate::robot::JointUnit;

/// A motor on a bus and the joint that it moves.
#[derive(Debug, Clone, PartialEq)]
pub struct Motor {
    /// Its joint's name.
    pub name: String,
    /// Its id on the bus.
    pub id: u8,
    /// Its model.
    pub model: &'static Model,
    /// In what the joint's position is told.
    pub unit: JointUnit,
}

/// The calibration of one motor, fields as in LeRobot's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotorCalibration {
    /// Its id.
    pub id: u8,
    /// 1 where the joint counts against the motor.
    pub drive_mode: u8,
    /// Steps between the encoder's zero and the position's: taken off by Feetech servos, added by
    /// Dynamixel.
    pub homing_offset: i32,
    /// Lowest position of the joint, steps.
    pub range_min: i32,
    /// Highest position, steps.
    pub range_max: i32,
}

/// The calibration of an arm: motor → its numbers, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Calibration {
    /// By motor.
    pub motors: IndexMap<String, MotorCalibration>,
}

impl Calibration {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there, is no calibration, or a motor's numbers make no sense.
    pub fn load(path: &Path) -> embody_core::Result<Self> {
        let text = fs::read(path).at("read calibration", path)?;
        let wrong = |why| RobotError::CalibrationFile { path: path.to_owned(), why };
        Ok(Self::parse(&text).map_err(wrong)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is no calibration, or a motor's numbers make no sense: in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let all: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        for (name, motor) in &all.motors {
            motor.check().map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(all)
    }

    /// Writes a file as LeRobot does.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, path: &Path) -> embody_core::Result<()> {
        write_atomic(path, self.to_json().as_bytes())
    }

    /// The text that LeRobot writes: four spaces, no newline at the end.
    pub fn to_json(&self) -> String {
        let mut text = Vec::new();
        let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, pretty);
        self.serialize(&mut writer).expect("numbers and names are always JSON");
        String::from_utf8(text).expect("JSON is UTF-8")
    }

    /// What the servos hold. The drive mode is asked of Dynamixel servos, and 0 of others.
    ///
    /// # Errors
    /// When a servo does not answer.
    pub fn of_servos(bus: &mut Bus, motors: &[Motor]) -> Result<Self, RobotError> {
        let mut all = Self::default();
        for motor in motors {
            let mut read = |name| -> Result<i32, RobotError> {
                match motor.model.register(name) {
                    Ok(register) => bus.read(motor.id, register),
                    // SCS servos have no offset, Feetech servos no drive mode.
                    Err(_) => Ok(0),
                }
            };
            let calibration = MotorCalibration {
                id: motor.id,
                drive_mode: u8::from(read("Drive_Mode")? & 1 == 1),
                homing_offset: read("Homing_Offset")?,
                range_min: read("Min_Position_Limit")?,
                range_max: read("Max_Position_Limit")?,
            };
            all.motors.insert(motor.name.clone(), calibration);
        }
        Ok(all)
    }

    /// Writes offsets and limits into the servos' EEPROM and reads them back; all torque is off
    /// afterwards. A Dynamixel's drive mode is set too.
    ///
    /// # Errors
    /// When a servo does not answer or keeps other numbers, or the calibration lacks a motor.
    pub fn write_to(&self, bus: &mut Bus, motors: &[Motor]) -> Result<(), RobotError> {
        for motor in motors {
            let calibration = self.of(motor)?;
            bus.open_settings(motor.id)?;
            let mut write = |name, value| match motor.model.register(name) {
                Ok(register) => bus.write_checked(motor.id, register, value),
                Err(_) if value == 0 => Ok(()),
                Err(e) => Err(e),
            };
            write("Homing_Offset", calibration.homing_offset)?;
            write("Min_Position_Limit", calibration.range_min)?;
            write("Max_Position_Limit", calibration.range_max)?;
            if motor.model.protocol == Protocol::Dynamixel {
                let register = motor.model.register("Drive_Mode")?;
                let mode = bus.read(motor.id, register)?;
                let wanted = (mode & !1) | i32::from(calibration.drive_mode);
                bus.write_checked(motor.id, register, wanted)?;
            }
            bus.close_settings(motor.id)?;
        }
        Ok(())
    }

    /// Whether the servos hold what this says; drive modes of Feetech servos lie in the file alone.
    ///
    /// # Errors
    /// When they do not: every difference; or when a servo does not answer.
    pub fn check_servos(&self, bus: &mut Bus, motors: &[Motor]) -> Result<(), RobotError> {
        let held = Self::of_servos(bus, motors)?;
        let mut differences = Vec::new();
        for motor in motors {
            let (file, servo) = (self.of(motor)?, held.of(motor)?);
            let has_mode = motor.model.protocol == Protocol::Dynamixel;
            let mode = |m: &MotorCalibration| if has_mode { i32::from(m.drive_mode) } else { 0 };
            for (what, a, b) in [
                ("homing offset", file.homing_offset, servo.homing_offset),
                ("lowest position", file.range_min, servo.range_min),
                ("highest position", file.range_max, servo.range_max),
                ("drive mode", mode(file), mode(servo)),
            ] {
                if a != b {
                    differences.push(format!("{what} of {} is {a}, not {b}", motor.name));
                }
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(RobotError::Uncalibrated { differences: differences.join("; ") })
    }

    /// The calibration of a motor.
    ///
    /// # Errors
    /// When there is none of that name, or it is for another id.
    pub fn of(&self, motor: &Motor) -> Result<&MotorCalibration, RobotError> {
        let wrong = |why| RobotError::Calibration { motor: motor.name.clone(), why };
        let found = self.motors.get(&motor.name);
        let found = found.ok_or_else(|| wrong("there is none".into()))?;
        if found.id != motor.id {
            return Err(wrong(format!("it is for id {}, not {}", found.id, motor.id)));
        }
        Ok(found)
    }
}

impl MotorCalibration {
    fn check(&self) -> Result<(), String> {
        if self.drive_mode > 1 {
            return Err(format!("drive_mode is {}, not 0 or 1", self.drive_mode));
        }
        if self.range_min >= self.range_max {
            return Err(format!(
                "range_min {} is not below range_max {}",
                self.range_min, self.range_max
            ));
        }
        // Far beyond 256 turns, the most that any servo counts.
        let limit = 1 << 21;
        for value in [self.homing_offset, self.range_min, self.range_max] {
            if !(-limit..=limit).contains(&value) {
                return Err(format!("{value} is no number of steps"));
            }
        }
        Ok(())
    }
}
