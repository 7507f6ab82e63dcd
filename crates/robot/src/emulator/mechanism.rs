//! What turns under the emulated servos: a simple law of motion, or an arm of somebody else's.
//!
//! A servo's own electronics (profiles, limits, registers) are the emulator's; a mechanism gets set
//! points and how much torque may be used, and says where its joints went. Angles are radians of
//! the horn, 0 where the encoder is in the middle of its turn.

use std::time::Duration;

/// What a servo asks of its joint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drive {
    /// Whether its motor is on.
    pub is_on: bool,
    /// Where it is to be, radians.
    pub setpoint: f64,
    /// How much of its greatest torque it may use, 0 to 1.
    pub torque_limit: f64,
    /// Where a person's hand holds the joint, radians; a motor that is on is stronger.
    pub hand: Option<f64>,
}

/// Where a joint is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Motion {
    /// Radians.
    pub position: f64,
    /// Radians per second.
    pub velocity: f64,
    /// Part of the motor's greatest torque that is used, -1 to 1.
    pub load: f64,
}

/// The joints under a bus of servos. It is called from the emulator's thread, in fixed steps.
pub trait Mechanism: Send {
    /// How many joints it has, in the order of the servos.
    fn joints(&self) -> usize;
    /// Goes on by `dt`; slices have one entry per joint, `motions` holds what was before.
    fn step(&mut self, dt: Duration, drives: &[Drive], motions: &mut [Motion]);
}

/// Joints without weight that follow their set points with a lag and stop at their ends.
#[derive(Debug, Clone)]
pub struct FirstOrder {
    /// Where each joint's range ends, radians: lowest and highest.
    pub stops: Vec<(f64, f64)>,
    /// How fast a motor turns at its greatest torque, radians per second.
    pub speed: f64,
    /// How far behind its set point a joint is when its motor uses all of its torque, radians.
    pub slack: f64,
}

impl FirstOrder {
    /// Joints with these ends, and motors as those of the STS3215: a turn in 1.2 s.
    pub fn new(stops: Vec<(f64, f64)>) -> Self {
        Self { stops, speed: 5.2, slack: 0.15 }
    }
}

impl Mechanism for FirstOrder {
    fn joints(&self) -> usize {
        self.stops.len()
    }

    fn step(&mut self, dt: Duration, drives: &[Drive], motions: &mut [Motion]) {
        let dt = dt.as_secs_f64();
        for ((drive, motion), (low, high)) in drives.iter().zip(motions).zip(&self.stops) {
            let before = motion.position;
            if drive.is_on {
                let error = drive.setpoint - before;
                let limit = drive.torque_limit.clamp(0.0, 1.0);
                motion.load = (error / self.slack).clamp(-limit, limit);
                let way = motion.load * self.speed * dt;
                // It comes to rest at its set point instead of passing it.
                motion.position += if way.abs() > error.abs() { error } else { way };
            } else {
                motion.load = 0.0;
                motion.position = drive.hand.unwrap_or(before);
            }
            motion.position = motion.position.clamp(*low, *high);
            motion.velocity = (motion.position - before) / dt;
        }
    }
}
