//! What the control loop drives and reads: machines with joints, cameras, devices in a person's hand.
//!
//! All of it works on slices that the caller owns, so that nothing is allocated in a loop.

use std::time::{Duration, Instant};

use embody_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// In what a joint's position is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JointUnit {
    /// Degrees, 0 in the middle of the calibrated range.
    Degrees,
    /// -100 to 100 over the calibrated range.
    Symmetric100,
    /// 0 to 100 over the calibrated range: a gripper, 0 closed.
    Percent,
    /// Radians as the model has them.
    Radians,
}

impl JointUnit {
    /// Its sign.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Degrees => "°",
            Self::Symmetric100 | Self::Percent => "%",
            Self::Radians => "rad",
        }
    }
}

/// One joint.
#[derive(Debug, Clone, PartialEq)]
pub struct Joint {
    /// Name in calibration files and datasets, such as `shoulder_pan`.
    pub name: String,
    /// Unit of positions, goals and limits.
    pub unit: JointUnit,
    /// Lowest position that the mechanism allows.
    pub low: f32,
    /// Highest position.
    pub high: f32,
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq)]
pub struct RobotSpec {
    /// Robot type as datasets name it, such as `so101_follower`.
    pub robot_type: String,
    /// Its joints, in the order of every slice.
    pub joints: Vec<Joint>,
}

/// When something was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When the host had it, on the monotonic clock.
    pub received: Instant,
    /// The device's own clock, since its own beginning, where it tells.
    pub device: Option<Duration>,
}

/// What a read gives besides the positions; slices are as long as there are joints.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Positions, in the joints' units.
    pub positions: Vec<f32>,
    /// Velocities, units per second; NaN where the machine does not tell.
    pub velocities: Vec<f32>,
    /// Load as a part of the motor's greatest torque, -1 to 1; NaN where it does not tell.
    pub loads: Vec<f32>,
    /// When it was read.
    pub stamp: Stamp,
    /// Answers that came damaged, late or not at all since the machine was opened.
    pub bus_errors: u64,
}

impl Reading {
    /// Room for the readings of `joints` joints.
    pub fn new(joints: usize) -> Self {
        Self {
            positions: vec![f32::NAN; joints],
            velocities: vec![f32::NAN; joints],
            loads: vec![f32::NAN; joints],
            stamp: Stamp { received: Instant::now(), device: None },
            bus_errors: 0,
        }
    }
}

/// A machine with joints. Only the control loop's safety layer calls `command`.
pub trait Robot: Send {
    /// What it is.
    fn spec(&self) -> &RobotSpec;
    /// Reads every joint, without allocating.
    ///
    /// # Errors
    /// When the machine does not answer within its retries; `into` keeps what it held.
    fn read(&mut self, into: &mut Reading) -> Result<()>;
    /// Sends goal positions, one per joint in its unit, without allocating or waiting for an answer.
    ///
    /// # Errors
    /// When they can't be sent.
    fn command(&mut self, goals: &[f32]) -> Result<()>;
    /// Sets how much of each motor's greatest torque may be used, 0 to 1; for ramping down.
    ///
    /// # Errors
    /// When a motor does not acknowledge it.
    fn limit_torque(&mut self, part: f32) -> Result<()>;
    /// Switches all motors on or off.
    ///
    /// # Errors
    /// When a motor does not acknowledge it; every motor has been tried.
    fn torque(&mut self, on: bool) -> Result<()>;
    /// What a motor complained of in the last `read`, such as an overload for which it switched
    /// itself off. Not for every turn of a loop: it may ask the motor.
    fn alarm(&mut self) -> Option<Error> {
        None
    }
}

/// What a camera gives.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSpec {
    /// Name in datasets, such as `wrist`.
    pub name: String,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Frames per second.
    pub fps: f64,
}

/// A camera. It is read in a thread of its own.
pub trait Camera: Send {
    /// What it is.
    fn spec(&self) -> &CameraSpec;
    /// Waits for the next frame and writes it into `pixels`, RGB, `[height, width, 3]`.
    ///
    /// # Errors
    /// When no frame comes in three frame times, or it can't be decoded.
    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Stamp>;
}

/// A device by which a person moves a machine: a leader arm, a gamepad, the keyboard.
pub trait Teleoperator: Send {
    /// Writes the goals it asks for, one per joint of the machine in its unit, given where the
    /// machine is; returns whether the person holds it now.
    ///
    /// # Errors
    /// When the device does not answer.
    fn goals(&mut self, now: &Reading, goals: &mut [f32]) -> Result<bool>;
}
