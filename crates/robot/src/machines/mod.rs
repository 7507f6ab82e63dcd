//! Machines as configuration: which motors hang on which port, and how they are set up.
//!
//! A few lines of TOML say what a machine is; [`RobotConfig::open`] gives a [`Robot`],
//! [`TeleoperatorConfig::open`] a [`Teleoperator`]. The SO-100 and SO-101, which differ in their
//! printed parts alone, are set up as LeRobot does, so that arms can change hands.

mod arm;
mod leader;
mod pair;
mod plan;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use embody_core::Result;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use arm::ServoArm;
pub use leader::{Engage, Leader};
pub use pair::{Pair, PairLeader};
pub use plan::ArmPlan;

use crate::bus::{BusConfig, Protocol};
use crate::error::RobotError;
use crate::robot::{JointUnit, Robot, Teleoperator};

/// An SO-100 or SO-101 arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoArm {
    /// Its port, such as `/dev/ttyACM0`.
    pub port: PathBuf,
    /// Its calibration file; without one, what the servos hold is taken.
    #[serde(default)]
    pub calibration: Option<PathBuf>,
    /// Whether joints are told in degrees, or from -100 to 100 as older datasets have them; the
    /// gripper is told from 0 to 100.
    #[serde(default = "yes")]
    pub use_degrees: bool,
    /// Gains of the motors' position control: proportional, integral, derivative.
    #[serde(default = "so_gains")]
    pub gains: [u8; 3],
    /// When a leader takes over; always, where nothing is said.
    #[serde(default)]
    pub engage: Option<Engage>,
    /// How the bus is run.
    #[serde(default)]
    pub bus: BusConfig,
}

fn yes() -> bool {
    true
}

fn so_gains() -> [u8; 3] {
    [16, 0, 32]
}

impl SoArm {
    /// An arm at `port`, everything else as usual.
    pub fn at(port: impl Into<PathBuf>) -> Self {
        Self {
            port: port.into(),
            calibration: None,
            use_degrees: true,
            gains: so_gains(),
            engage: None,
            bus: BusConfig::default(),
        }
    }
}

/// Two SO arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoPair {
    /// The left one.
    pub left: SoArm,
    /// The right one.
    pub right: SoArm,
}

/// One motor of an arm of any servos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotorConfig {
    /// Its joint's name.
    pub name: String,
    /// Its id.
    pub id: u8,
    /// Its model, such as `xl330-m288`.
    pub model: String,
    /// In what its joint's position is told.
    #[serde(default = "degrees")]
    pub unit: JointUnit,
    /// Whether it turns without end, so that calibrating gives it the whole turn.
    #[serde(default)]
    pub is_endless: bool,
    /// Registers to set when the arm is opened, such as `Position_P_Gain`.
    #[serde(default)]
    pub registers: IndexMap<String, i32>,
}

fn degrees() -> JointUnit {
    JointUnit::Degrees
}

/// An arm of any servos on one bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServoArmConfig {
    /// Its name in datasets.
    pub robot_type: String,
    /// Its port.
    pub port: PathBuf,
    /// What its servos speak.
    #[serde(default = "dynamixel")]
    pub protocol: Protocol,
    /// Its motors, in the order of its joints.
    pub motors: Vec<MotorConfig>,
    /// Its calibration file; without one, what the servos hold is taken.
    #[serde(default)]
    pub calibration: Option<PathBuf>,
    /// When a leader takes over; always, where nothing is said.
    #[serde(default)]
    pub engage: Option<Engage>,
    /// How the bus is run.
    #[serde(default)]
    pub bus: BusConfig,
}

fn dynamixel() -> Protocol {
    Protocol::Dynamixel
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RobotConfig {
    /// SO-100 follower.
    So100Follower(SoArm),
    /// SO-101 follower.
    So101Follower(SoArm),
    /// Two of them.
    BiSoFollower(SoPair),
    /// Any servos on one bus, Dynamixel where nothing else is said.
    ServoArm(ServoArmConfig),
}

impl RobotConfig {
    /// What it is made of, an arm per bus.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn arms(&self) -> Result<Vec<ArmPlan>, RobotError> {
        Ok(match self {
            Self::So100Follower(arm) => vec![ArmPlan::so_follower("so100_follower", arm)?],
            Self::So101Follower(arm) => vec![ArmPlan::so_follower("so101_follower", arm)?],
            Self::BiSoFollower(SoPair { left, right }) => vec![
                ArmPlan::so_follower("so_follower", left)?,
                ArmPlan::so_follower("so_follower", right)?,
            ],
            Self::ServoArm(arm) => vec![ArmPlan::servo_arm(arm)?],
        })
    }

    /// Opens it; its torque is off then.
    ///
    /// # Errors
    /// When a port, a motor or the calibration is not as it should be.
    pub fn open(&self) -> Result<Box<dyn Robot>> {
        let mut arms = Vec::new();
        for plan in self.arms()? {
            arms.push(ServoArm::open(&plan)?);
        }
        let mut arms = arms.into_iter();
        Ok(match (arms.next(), arms.next()) {
            (Some(left), Some(right)) => {
                Box::new(Pair::new("bi_so_follower", Box::new(left), Box::new(right)))
            }
            (arm, _) => Box::new(arm.expect("a machine has at least one arm")),
        })
    }
}

/// A device in a person's hands that is made of servos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TeleoperatorConfig {
    /// SO-100 leader.
    So100Leader(SoArm),
    /// SO-101 leader.
    So101Leader(SoArm),
    /// Two of them.
    BiSoLeader(SoPair),
    /// Any servos on one bus.
    ServoArm(ServoArmConfig),
}

impl TeleoperatorConfig {
    /// What it is made of, an arm per bus.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn arms(&self) -> Result<Vec<ArmPlan>, RobotError> {
        Ok(match self {
            Self::So100Leader(arm) => vec![ArmPlan::so_leader("so100_leader", arm)?],
            Self::So101Leader(arm) => vec![ArmPlan::so_leader("so101_leader", arm)?],
            Self::BiSoLeader(SoPair { left, right }) => vec![
                ArmPlan::so_leader("so_leader", left)?,
                ArmPlan::so_leader("so_leader", right)?,
            ],
            Self::ServoArm(arm) => vec![ArmPlan::servo_arm(arm)?],
        })
    }

    /// Opens it, limp.
    ///
    /// # Errors
    /// As [`RobotConfig::open`].
    pub fn open(&self) -> Result<Box<dyn Teleoperator>> {
        let mut leaders = Vec::new();
        for plan in self.arms()? {
            let arm = ServoArm::open(&plan)?;
            let joints = plan.motors.len();
            let leader: Box<dyn Teleoperator> = Box::new(Leader::new(arm, plan.engage));
            leaders.push((leader, joints));
        }
        let mut leaders = leaders.into_iter();
        Ok(match (leaders.next(), leaders.next()) {
            (Some((left, a)), Some((right, b))) => Box::new(PairLeader::new(left, right, (a, b))),
            (leader, _) => leader.expect("a device has at least one arm").0,
        })
    }
}
