//! An arm of servos on one bus, as the control loop drives it.
//!
//! A turn of the loop costs one sync read and one sync write; positions, speeds and loads come in
//! the same answer. Opening it checks motors and calibration and writes the set-up; its torque
//! stays off until it is switched on, and then it holds where it is.

use std::time::Instant;

use embody_core::{Error, Result};

use super::ArmPlan;
use crate::bus::{Bus, BusErrors, Group, Protocol, Register, dxl, dynamixel, feetech, scs, sts};
use crate::calibration::{Calibration, Motor, Scale};
use crate::error::RobotError;
use crate::robot::{Reading, Robot, RobotSpec, Stamp};

/// Where a family of servos keeps what an arm needs.
struct Family {
    /// The run of registers that a turn reads.
    first: &'static Register,
    last: &'static Register,
    position: &'static Register,
    velocity: &'static Register,
    load: &'static Register,
    goal: &'static Register,
    torque: &'static Register,
    /// What part of its torque a motor may use, and what it may at most.
    limit: Option<(&'static Register, &'static Register)>,
    lock: Option<&'static Register>,
}

const STS: Family = Family {
    first: &sts::PRESENT_POSITION,
    last: &sts::PRESENT_LOAD,
    position: &sts::PRESENT_POSITION,
    velocity: &sts::PRESENT_VELOCITY,
    load: &sts::PRESENT_LOAD,
    goal: &sts::GOAL_POSITION,
    torque: &sts::TORQUE_ENABLE,
    limit: Some((&sts::TORQUE_LIMIT, &sts::MAX_TORQUE_LIMIT)),
    lock: Some(&sts::LOCK),
};

const SCS: Family = Family {
    first: &scs::PRESENT_POSITION,
    last: &scs::PRESENT_LOAD,
    position: &scs::PRESENT_POSITION,
    velocity: &scs::PRESENT_VELOCITY,
    load: &scs::PRESENT_LOAD,
    goal: &scs::GOAL_POSITION,
    torque: &scs::TORQUE_ENABLE,
    limit: None,
    lock: Some(&scs::LOCK),
};

/// With Dynamixel servos the bound on their PWM is what bounds torque in position control.
const X: Family = Family {
    first: &dxl::PRESENT_CURRENT,
    last: &dxl::PRESENT_POSITION,
    position: &dxl::PRESENT_POSITION,
    velocity: &dxl::PRESENT_VELOCITY,
    load: &dxl::PRESENT_CURRENT,
    goal: &dxl::GOAL_POSITION,
    torque: &dxl::TORQUE_ENABLE,
    limit: Some((&dxl::GOAL_PWM, &dxl::PWM_LIMIT)),
    lock: None,
};

/// An arm that is open. Dropping it leaves its torque as it is: whoever drives it ramps it down.
pub struct ServoArm {
    spec: RobotSpec,
    bus: Bus,
    motors: Vec<Motor>,
    scales: Vec<Scale>,
    family: &'static Family,
    reading: Group,
    goals: Group,
    /// Torque limits to write, and as read back, with the most that each motor may use.
    limits: Option<(Group, Group, Vec<i32>)>,
    /// What one step of the load register is of the greatest torque.
    load_units: Vec<f32>,
}

impl ServoArm {
    /// Opens the arm: every motor must be there and be the expected model, and hold the file's
    /// calibration; without a file, what the servos hold is taken. Their torque is off then.
    ///
    /// # Errors
    /// When any of that is not so, or a motor does not answer.
    pub fn open(plan: &ArmPlan) -> Result<Self> {
        let mut bus = plan.open_bus()?;
        plan.check_motors(&mut bus)?;
        let calibration = match &plan.calibration {
            Some(path) => {
                let calibration = Calibration::load(path)?;
                calibration
                    .check_servos(&mut bus, &plan.motors)
                    .map_err(|e| Error::from(e).context(format!("{}", path.display())))?;
                calibration
            }
            None => Calibration::of_servos(&mut bus, &plan.motors)?,
        };
        Ok(Self::on(bus, plan, &calibration)?)
    }

    fn on(mut bus: Bus, plan: &ArmPlan, calibration: &Calibration) -> Result<Self, RobotError> {
        let family = match plan.protocol {
            Protocol::Sts => &STS,
            Protocol::Scs => &SCS,
            Protocol::Dynamixel => &X,
        };
        let motors = plan.motors.clone();
        let scales: Vec<_> = motors
            .iter()
            .map(|m| Scale::new(m, calibration.of(m)?))
            .collect::<Result<_, RobotError>>()?;
        let joints = scales.iter().zip(&motors).map(|(s, m)| s.joint(&m.name)).collect();
        plan.set_up(&mut bus)?;
        let ids: Vec<_> = motors.iter().map(|m| m.id).collect();
        let group = |first, last| Group::sync(plan.protocol, &ids, first, last);
        let limits = match family.limit {
            None => None,
            Some((limit, most)) => {
                let mut greatest = group(most, most)?;
                bus.sync_read(&mut greatest)?;
                let greatest = (0..motors.len()).map(|i| greatest.get(i, most)).collect();
                Some((group(limit, limit)?, group(limit, limit)?, greatest))
            }
        };
        let load_units = motors.iter().map(|m| load_unit(&mut bus, m)).collect::<Result<_, _>>()?;
        let mut arm = Self {
            spec: RobotSpec { robot_type: plan.robot_type.clone(), joints },
            reading: group(family.first, family.last)?,
            goals: group(family.goal, family.goal)?,
            limits,
            load_units,
            bus,
            motors,
            scales,
            family,
        };
        if arm.limits.is_some() {
            // A run before may have ended with the torque ramped down.
            arm.set_limits(1.0)?;
        }
        Ok(arm)
    }

    /// What went wrong on its bus so far.
    pub fn bus_errors(&self) -> BusErrors {
        self.bus.errors()
    }

    /// Opens its port again after the cable was pulled. Where servos lost power too, the arm is to
    /// be opened anew instead, for its set-up is gone.
    ///
    /// # Errors
    /// When the port is still gone.
    pub fn reconnect(&mut self) -> Result<(), RobotError> {
        self.bus.reopen()
    }

    /// Writes `goals`, checked: all numbers, one per joint.
    fn send(&mut self, goals: &[f32]) -> Result<(), RobotError> {
        if goals.len() != self.motors.len() {
            return Err(RobotError::Config {
                place: "goals".into(),
                why: format!("{} for {} joints", goals.len(), self.motors.len()),
            });
        }
        for (i, (goal, scale)) in goals.iter().zip(&self.scales).enumerate() {
            if !goal.is_finite() {
                let joint = self.motors[i].name.clone();
                return Err(RobotError::Goal { joint, goal: *goal });
            }
            self.goals.set(i, self.family.goal, scale.unnormalise(f64::from(*goal)))?;
        }
        self.bus.sync_write(&self.goals)
    }

    /// Lets every motor's goal be where it is, so that it does not jump when it is switched on.
    fn hold(&mut self) -> Result<(), RobotError> {
        self.bus.sync_read(&mut self.reading)?;
        for i in 0..self.motors.len() {
            let position = self.reading.get(i, self.family.position);
            self.goals.set(i, self.family.goal, position)?;
        }
        self.bus.sync_write(&self.goals)
    }

    /// Writes a register of every motor; the first that fails is told after all were tried.
    fn write_all(&mut self, register: &Register, value: i32) -> Result<(), RobotError> {
        let mut result = Ok(());
        for motor in &self.motors {
            let written = self.bus.write(motor.id, register, value);
            result = result.and(written);
        }
        result
    }

    fn set_limits(&mut self, part: f32) -> Result<(), RobotError> {
        let part = f64::from(part.clamp(0.0, 1.0));
        let Some((write, read, greatest)) = &mut self.limits else {
            return Err(RobotError::Unsupported {
                model: self.motors[0].model.name,
                what: "torque limit that may be written often".into(),
            });
        };
        let (limit, _) = self.family.limit.expect("limits are read where there are registers");
        for (i, most) in greatest.iter().enumerate() {
            write.set(i, limit, (f64::from(*most) * part).round() as i32)?;
        }
        // Read back, which says more than an acknowledgement and asks all at once.
        self.bus.sync_write(write)?;
        self.bus.sync_read(read)?;
        for (i, motor) in self.motors.iter().enumerate() {
            let (written, found) = (write.get(i, limit), read.get(i, limit));
            if written != found {
                // The one frame was lost on the way to it.
                self.bus.write_checked(motor.id, limit, written)?;
            }
        }
        Ok(())
    }
}

impl Robot for ServoArm {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, into: &mut Reading) -> Result<()> {
        self.bus.sync_read(&mut self.reading)?;
        into.stamp = Stamp { received: Instant::now(), device: None };
        into.bus_errors = self.bus.errors().total();
        for (i, scale) in self.scales.iter().enumerate() {
            let get = |register| self.reading.get(i, register);
            let per_step = scale.per_step();
            let speed = f64::from(get(self.family.velocity)) * self.motors[i].model.velocity_unit;
            into.positions[i] = scale.normalise(get(self.family.position)) as f32;
            into.velocities[i] = (speed * per_step) as f32;
            let load = get(self.family.load) as f32 * self.load_units[i];
            into.loads[i] = load.clamp(-1.0, 1.0) * per_step.signum() as f32;
        }
        Ok(())
    }

    fn command(&mut self, goals: &[f32]) -> Result<()> {
        Ok(self.send(goals)?)
    }

    fn limit_torque(&mut self, part: f32) -> Result<()> {
        if part.is_nan() {
            return Err(Error::new("the torque limit is NaN"));
        }
        Ok(self.set_limits(part)?)
    }

    fn torque(&mut self, on: bool) -> Result<()> {
        if on {
            self.hold()?;
        }
        let switched = self.write_all(self.family.torque, i32::from(on));
        let locked = match self.family.lock {
            Some(lock) => self.write_all(lock, i32::from(on)),
            None => Ok(()),
        };
        Ok(switched.and(locked)?)
    }

    fn alarm(&mut self) -> Option<Error> {
        let i = (0..self.motors.len()).find(|i| self.reading.alarm(*i) != 0)?;
        let Motor { id, name, .. } = &self.motors[i];
        let bits = self.reading.alarm(i);
        let what = match self.bus.protocol() {
            Protocol::Sts | Protocol::Scs => feetech::alarm(bits),
            Protocol::Dynamixel => {
                let status = self.bus.read(*id, &dxl::HARDWARE_ERROR_STATUS);
                status.ok().and_then(|bits| dynamixel::alarm(bits as u8))
            }
        };
        let what = what.unwrap_or("a fault").to_owned();
        Some(RobotError::Alarm { id: *id, joint: name.clone(), what }.into())
    }
}

/// Part of the greatest torque in one step of a motor's load register.
fn load_unit(bus: &mut Bus, motor: &Motor) -> Result<f32, RobotError> {
    // These measure no current; in its place they tell their load.
    let tells_load = ["xl430-w250", "xc430-w150"].contains(&motor.model.name);
    if motor.model.protocol != Protocol::Dynamixel || tells_load {
        return Ok(1.0 / 1000.0);
    }
    let most = bus.read(motor.id, &dxl::CURRENT_LIMIT)?;
    Ok(1.0 / most.max(1) as f32)
}
