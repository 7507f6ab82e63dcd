//! What an arm is made of and how its motors are set up, whatever its settings were called.
//!
//! Set-up writes only what a servo does not hold already: EEPROM wears out with every write.

use std::path::PathBuf;

use super::{Engage, MotorConfig, ServoArmConfig, SoArm};
use crate::bus::{Bus, BusConfig, Model, Protocol, Register};
use crate::calibration::Motor;
use crate::error::RobotError;
use crate::robot::JointUnit;

/// Names of the SO arms' joints, by id from 1 on.
const SO_JOINTS: [&str; 6] =
    ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"];

/// An arm on one bus.
#[derive(Debug, Clone)]
pub struct ArmPlan {
    /// Its name in datasets.
    pub robot_type: String,
    /// Its port.
    pub port: PathBuf,
    /// What its servos speak.
    pub protocol: Protocol,
    /// How its bus is run.
    pub bus: BusConfig,
    /// Its motors, in the order of its joints.
    pub motors: Vec<Motor>,
    /// Its calibration file.
    pub calibration: Option<PathBuf>,
    /// Joints that turn without end.
    pub endless: Vec<String>,
    /// When it takes over, as a leader.
    pub engage: Option<Engage>,
    /// What is set in each motor.
    settings: Vec<Vec<Setting>>,
}

/// A register to set when an arm is opened.
#[derive(Debug, Clone, Copy)]
struct Setting {
    register: &'static Register,
    value: i32,
    /// Which of its bits are meant.
    mask: i32,
}

impl ArmPlan {
    /// The follower of an SO arm.
    ///
    /// # Errors
    /// None: its settings always make sense.
    pub fn so_follower(robot_type: &str, arm: &SoArm) -> Result<Self, RobotError> {
        let [p, i, d] = arm.gains;
        let mut plan = Self::so(robot_type, arm)?;
        for (motor, settings) in plan.motors.iter().zip(&mut plan.settings) {
            let mut set = |name, value| setting(motor, name, value).map(|s| settings.push(s));
            set("P_Coefficient", i32::from(p))?;
            set("I_Coefficient", i32::from(i))?;
            set("D_Coefficient", i32::from(d))?;
            if motor.name == "gripper" {
                // Half of torque and current, a quarter when it is blocked: it would burn.
                set("Max_Torque_Limit", 500)?;
                set("Protection_Current", 250)?;
                set("Overload_Torque", 25)?;
            }
        }
        Ok(plan)
    }

    /// The leader of an SO arm.
    ///
    /// # Errors
    /// As [`ArmPlan::so_follower`].
    pub fn so_leader(robot_type: &str, arm: &SoArm) -> Result<Self, RobotError> {
        Self::so(robot_type, arm)
    }

    fn so(robot_type: &str, arm: &SoArm) -> Result<Self, RobotError> {
        let model = Model::named("sts3215")?;
        let body = if arm.use_degrees { JointUnit::Degrees } else { JointUnit::Symmetric100 };
        let mut motors = Vec::new();
        let mut settings = Vec::new();
        for (name, id) in SO_JOINTS.iter().zip(1..) {
            let unit = if *name == "gripper" { JointUnit::Percent } else { body };
            let motor = Motor { name: (*name).to_owned(), id, model, unit };
            settings.push(vec![
                setting(&motor, "Return_Delay_Time", 0)?,
                setting(&motor, "Maximum_Acceleration", 254)?,
                setting(&motor, "Acceleration", 254)?,
                setting(&motor, "Operating_Mode", 0)?,
                // Positions within one turn, never negative.
                Setting { mask: 0x10, ..setting(&motor, "Phase", 0)? },
            ]);
            motors.push(motor);
        }
        Ok(Self {
            robot_type: robot_type.to_owned(),
            port: arm.port.clone(),
            protocol: Protocol::Sts,
            bus: arm.bus,
            motors,
            calibration: arm.calibration.clone(),
            endless: vec!["wrist_roll".to_owned()],
            engage: arm.engage,
            settings,
        })
    }

    /// An arm of any servos.
    ///
    /// # Errors
    /// When a model, a register or a value is not known, an id or name comes twice, or models of
    /// another protocol are among them.
    pub fn servo_arm(arm: &ServoArmConfig) -> Result<Self, RobotError> {
        let wrong = |place: &str, why: String| RobotError::Config { place: place.into(), why };
        if arm.motors.is_empty() {
            return Err(wrong("motors", "there is none".into()));
        }
        let mut motors: Vec<Motor> = Vec::new();
        let mut settings = Vec::new();
        for MotorConfig { name, id, model, unit, registers, .. } in &arm.motors {
            let model = Model::named(model)?;
            if motors.iter().any(|m| m.id == *id || m.name == *name) {
                return Err(wrong(name, format!("its name, or its id {id}, comes twice")));
            }
            if model.protocol != arm.protocol || *id > 252 {
                let why = format!("{} with id {id} can't be on this bus", model.name);
                return Err(wrong(name, why));
            }
            let motor = Motor { name: name.clone(), id: *id, model, unit: *unit };
            let mut own = vec![setting(&motor, "Return_Delay_Time", 0)?];
            match arm.protocol {
                Protocol::Sts => own.push(setting(&motor, "Operating_Mode", 0)?),
                Protocol::Scs => {}
                Protocol::Dynamixel => own.push(setting(&motor, "Operating_Mode", 3)?),
            }
            for (register, value) in registers {
                own.push(setting(&motor, register, *value)?);
            }
            motors.push(motor);
            settings.push(own);
        }
        let endless = arm.motors.iter().filter(|m| m.is_endless).map(|m| m.name.clone());
        Ok(Self {
            robot_type: arm.robot_type.clone(),
            port: arm.port.clone(),
            protocol: arm.protocol,
            bus: arm.bus,
            motors,
            calibration: arm.calibration.clone(),
            endless: endless.collect(),
            engage: arm.engage,
            settings,
        })
    }

    /// Opens its bus, and asks nothing of it: for calibrating, or for changing ids.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn open_bus(&self) -> Result<Bus, RobotError> {
        Bus::open(&self.port, self.protocol, self.bus)
    }

    /// Whether every motor is there and is the expected model.
    ///
    /// # Errors
    /// When motors are missing, all of them at once; or when one is another model.
    pub fn check_motors(&self, bus: &mut Bus) -> Result<(), RobotError> {
        let mut silent = Vec::new();
        let mut tries = 0;
        for motor in &self.motors {
            match bus.ping(motor.id) {
                Ok(number) if number == motor.model.number => {}
                Ok(found) => {
                    return Err(RobotError::WrongModel {
                        port: self.port.clone(),
                        id: motor.id,
                        found,
                        expected: motor.model.number,
                        model: motor.model.name,
                    });
                }
                Err(RobotError::NoAnswer { tries: n, .. }) => {
                    silent.push(motor.id);
                    tries = n;
                }
                Err(e) => return Err(e),
            }
        }
        if silent.is_empty() {
            return Ok(());
        }
        let port = self.port.clone();
        Err(RobotError::NoAnswer { port, ids: silent, what: "a ping", tries })
    }

    /// Switches all torque off and writes the motors' settings.
    ///
    /// # Errors
    /// When a motor does not answer or keeps another value.
    pub fn set_up(&self, bus: &mut Bus) -> Result<(), RobotError> {
        for (motor, settings) in self.motors.iter().zip(&self.settings) {
            bus.open_settings(motor.id)?;
            for Setting { register, value, mask } in settings {
                let held = bus.read(motor.id, register)?;
                let wanted = (held & !mask) | (value & mask);
                if held != wanted {
                    bus.write_checked(motor.id, register, wanted)?;
                }
            }
            bus.close_settings(motor.id)?;
        }
        Ok(())
    }
}

fn setting(motor: &Motor, name: &str, value: i32) -> Result<Setting, RobotError> {
    let register = motor.model.register(name)?;
    register.encode(value)?;
    Ok(Setting { register, value, mask: -1 })
}
