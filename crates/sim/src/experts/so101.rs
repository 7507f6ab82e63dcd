//! The SO-101 arm as its experts move it.

use std::sync::Arc;

use embody_core::Result;

use crate::SimError;
use crate::ik::{Chain, Target, solve};
use crate::mj::Data;
use crate::tasks::{Loaded, so101_arm, to_joint_positions, to_units};
use crate::tasks::{SO101_CONTROL_HZ as CONTROL_HZ, SO101_HOME};

/// The arm with a model of its own.
pub(super) struct Arm {
    kinematics: Data,
    pub chain: Chain,
}

impl Arm {
    /// The arm of a task's scene.
    pub fn new(task: &str, loaded: &Loaded) -> Result<Self> {
        let model = loaded.task.model();
        let kinematics = Data::try_new(Arc::clone(model))
            .map_err(|source| SimError::AllocateEnv { env: 0, source })?;
        Ok(Self { kinematics, chain: so101_arm(task, model)? })
    }

    /// Places the joints as `state` says, in units.
    pub fn place(&mut self, state: &[f32]) {
        let mut radians = [0.0; 6];
        to_joint_positions(state, &mut radians);
        for (address, angle) in self.chain.joints.iter().zip(radians) {
            self.kinematics.qpos_mut()[*address] = angle;
        }
    }

    /// Joint values in units that bring the chain's point to `place` at `height`, with the jaws
    /// closing across what is turned by `turn`, starting from the last solution. The fingers lean
    /// outward by `lean` from straight down.
    pub fn reach(&mut self, place: [f64; 2], height: f64, turn: f64, lean: f64) -> [f32; 5] {
        self.reach_from_side(place, height, turn, lean, false)
    }

    /// Brings the jaws to `place`, closing across `turn` whichever way round the wrist turns less, and
    /// says which: what [`Self::reach_from_side`] is to be told from there on.
    ///
    /// The wrist's roll begins where it has to end: from a right angle away inverse kinematics may
    /// take the wrong way, into a limit.
    pub fn choose_side(&mut self, state: &[f32], place: [f64; 2], height: f64, turn: f64) -> bool {
        let out = outward(place);
        // From across the arm to where the jaws close.
        let away = (turn - out[1].atan2(out[0])).sin().asin().to_degrees() as f32;
        let mut best = (f64::NEG_INFINITY, f32::INFINITY, false, SO101_HOME[4]);
        for other in [false, true] {
            for roll in [1.0f32, -1.0].map(|sign| SO101_HOME[4] + sign * away) {
                let roll = if other { roll - 180.0 } else { roll };
                if roll.abs() > 150.0 {
                    continue;
                }
                let square = self.square(state, roll, place, height, turn, other);
                let travel = (roll - state[4]).abs();
                if square > best.0 + 0.02 || (square > best.0 - 0.02 && travel < best.1) {
                    best = (square, travel, other, roll);
                }
            }
        }
        self.square(state, best.3, place, height, turn, best.2);
        best.2
    }

    /// Solves from `state` with another roll of the wrist; how square the jaws are then, 1 at best.
    fn square(
        &mut self,
        state: &[f32],
        roll: f32,
        place: [f64; 2],
        height: f64,
        turn: f64,
        other: bool,
    ) -> f64 {
        let mut from: [f32; 6] = std::array::from_fn(|i| state[i]);
        from[4] = roll;
        self.place(&from);
        self.reach_from_side(place, height, turn, 0.0, other);
        self.kinematics.kinematics();
        let mat = self.kinematics.xmat()[self.chain.body];
        let axis = self.chain.closing;
        let world = |r: usize| (0..3).map(|c| mat[3 * r + c] * axis[c]).sum::<f64>();
        (world(1) * turn.cos() - world(0) * turn.sin()).abs()
    }

    /// As [`Self::reach`], the jaws turned the other way round where `other` says so.
    pub fn reach_from_side(
        &mut self,
        place: [f64; 2],
        height: f64,
        turn: f64,
        lean: f64,
        other: bool,
    ) -> [f32; 5] {
        let out = outward(place);
        let (sin, cos) = lean.sin_cos();
        // The jaws close across the arm: along the cube's y axis, turned the nearest way round.
        let closing = [-turn.sin(), turn.cos(), 0.0];
        let across = [-out[1], out[0]];
        let sign = if closing[0] * across[0] + closing[1] * across[1] < 0.0 { -1.0 } else { 1.0 };
        let sign = sign * f64::from(SO101_HOME[4].signum()) * if other { -1.0 } else { 1.0 };
        self.solve(&Target {
            position: [place[0], place[1], height],
            forward: [sin * out[0], sin * out[1], -cos],
            closing: closing.map(|c| c * sign),
        })
    }

    /// Joint values in units that meet `target` as well as can be.
    pub fn solve(&mut self, target: &Target) -> [f32; 5] {
        let model = self.kinematics.model_clone();
        solve(&model, &mut self.kinematics, &self.chain, target);
        let angles: Vec<f64> =
            self.chain.joints.iter().map(|a| self.kinematics.qpos()[*a]).collect();
        let mut units = [0.0; 5];
        to_units(&angles, &mut units);
        units
    }
}

/// Direction from the arm's axis to `place`.
pub(super) fn outward(place: [f64; 2]) -> [f64; 2] {
    let length = place[0].hypot(place[1]);
    [place[0] / length, place[1] / length]
}

/// Arm and gripper, as an action.
pub(super) fn action(arm: [f32; 5], gripper: f32) -> [f32; 6] {
    std::array::from_fn(|i| if i < 5 { arm[i] } else { gripper })
}

/// Control steps of a part of the motion, at `pace` times its usual duration.
pub(super) fn steps(seconds: f64, pace: f64) -> usize {
    (seconds * CONTROL_HZ * pace).round().max(2.0) as usize
}
