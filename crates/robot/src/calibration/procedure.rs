//! Calibrating an arm by hand: hold it in the middle, then move every joint to both its ends.
//!
//! [`Calibrator::home`] makes where the arm is the middle of every encoder, so that no range runs
//! over the encoder's end; [`Calibrator::observe`], called again and again, widens the ranges;
//! [`Calibrator::finish`] writes them into the servos. The arm is limp all the while.

use super::{Calibration, Motor, MotorCalibration};
use crate::bus::{Bus, Group, Protocol, Register};
use crate::error::RobotError;

/// What was seen of a motor so far, steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Lowest position.
    pub low: i32,
    /// Where it is.
    pub now: i32,
    /// Highest position.
    pub high: i32,
}

/// A calibration that goes on.
#[derive(Debug)]
pub struct Calibrator<'a> {
    bus: &'a mut Bus,
    motors: &'a [Motor],
    offsets: Vec<i32>,
    seen: Vec<Seen>,
    positions: Group,
    position: &'static Register,
}

impl<'a> Calibrator<'a> {
    /// Makes where the arm is now the middle of every motor's turn; its torque is off from here on.
    ///
    /// # Errors
    /// When a servo does not answer, or a joint stands where its offset can't be told: one step
    /// from the middle of the turn that the encoder has at its back.
    pub fn home(bus: &'a mut Bus, motors: &'a [Motor]) -> Result<Self, RobotError> {
        for motor in motors {
            bus.open_settings(motor.id)?;
            let position_mode = i32::from(motor.model.protocol == Protocol::Dynamixel) * 3;
            if let Ok(mode) = motor.model.register("Operating_Mode") {
                bus.write(motor.id, mode, position_mode)?;
            }
            set(bus, motor, "Homing_Offset", 0)?;
            set(bus, motor, "Min_Position_Limit", 0)?;
            set(bus, motor, "Max_Position_Limit", i32::from(motor.model.resolution) - 1)?;
        }
        let first = motors.first().ok_or_else(|| RobotError::Config {
            place: "motors".into(),
            why: "there is none".into(),
        })?;
        let position = first.model.register("Present_Position")?;
        let ids: Vec<_> = motors.iter().map(|m| m.id).collect();
        let mut positions = Group::sync(bus.protocol(), &ids, position, position)?;
        bus.sync_read(&mut positions)?;
        let mut offsets = Vec::with_capacity(motors.len());
        for (i, motor) in motors.iter().enumerate() {
            let offset = half_turn_offset(motor, positions.get(i, position));
            offsets.push(match motor.model.register("Homing_Offset") {
                Ok(register) => {
                    bus.write_checked(motor.id, register, offset).map_err(|e| match e {
                        RobotError::Range { .. } => RobotError::Calibration {
                            motor: motor.name.clone(),
                            why: "it stands where its encoder begins anew; turn it a little".into(),
                        },
                        other => other,
                    })?;
                    offset
                }
                // SCS servos have none: their horn is to be mounted so that the range fits.
                Err(_) => 0,
            });
        }
        bus.sync_read(&mut positions)?;
        let now = |i| positions.get(i, position);
        let seen = (0..motors.len()).map(|i| Seen { low: now(i), now: now(i), high: now(i) });
        let seen = seen.collect();
        Ok(Self { bus, motors, offsets, seen, positions, position })
    }

    /// Reads where the arm is and widens the ranges; one entry per motor.
    ///
    /// # Errors
    /// When servos do not answer.
    pub fn observe(&mut self) -> Result<&[Seen], RobotError> {
        self.bus.sync_read(&mut self.positions)?;
        for (i, seen) in self.seen.iter_mut().enumerate() {
            let now = self.positions.get(i, self.position);
            *seen = Seen { low: seen.low.min(now), now, high: seen.high.max(now) };
        }
        Ok(&self.seen)
    }

    /// Writes offsets and ranges into the servos. Motors in `full_turn` turn without end, and get
    /// the whole turn as range; the wrist's roll of the SO-101 is one.
    ///
    /// # Errors
    /// When a joint was not moved, or a servo does not keep its numbers.
    pub fn finish(self, full_turn: &[&str]) -> Result<Calibration, RobotError> {
        let mut all = Calibration::default();
        for ((motor, seen), offset) in self.motors.iter().zip(&self.seen).zip(&self.offsets) {
            let is_full = full_turn.contains(&motor.name.as_str());
            let whole = (0, i32::from(motor.model.resolution) - 1);
            let (range_min, range_max) = if is_full { whole } else { (seen.low, seen.high) };
            if range_min >= range_max {
                return Err(RobotError::Calibration {
                    motor: motor.name.clone(),
                    why: format!("it was not moved from {range_min}"),
                });
            }
            let (id, homing_offset) = (motor.id, *offset);
            let calibration =
                MotorCalibration { id, drive_mode: 0, homing_offset, range_min, range_max };
            all.motors.insert(motor.name.clone(), calibration);
        }
        all.write_to(self.bus, self.motors)?;
        Ok(all)
    }
}

/// The offset by which a motor at `position`, without offset, stands at half a turn.
pub(super) fn half_turn_offset(motor: &Motor, position: i32) -> i32 {
    let half = (i32::from(motor.model.resolution) - 1) / 2;
    match motor.model.protocol {
        Protocol::Sts | Protocol::Scs => position - half,
        Protocol::Dynamixel => half - position,
    }
}

fn set(bus: &mut Bus, motor: &Motor, name: &str, value: i32) -> Result<(), RobotError> {
    match motor.model.register(name) {
        Ok(register) => bus.write_checked(motor.id, register, value),
        Err(_) => Ok(()),
    }
}
