//! The SO-101 arm as its experts move it.

use std::sync::Arc;

use embody_core::Result;

use crate::SimError;
use crate::ik::{Chain, Target, solve};
use crate::mj::Data;
use crate::tasks::{Loaded, so101_arm, to_joint_positions, to_units};
use crate::tasks::{SO101_CONTROL_HZ as CONTROL_HZ, SO101_HOME};

/// The wrist's roll stays this far from its end, degrees.
const ROLL_LIMIT: f32 = 150.0;

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
    /// closing across what is turned by `turn`, the nearest way round, starting from the last
    /// solution. The fingers lean outward by `lean` from straight down.
    pub fn reach(&mut self, place: [f64; 2], height: f64, turn: f64, lean: f64) -> [f32; 5] {
        let out = outward(place);
        // The jaws close across the arm: along the cube's y axis, turned the nearest way round.
        let closing = [-turn.sin(), turn.cos()];
        let across = [-out[1], out[0]];
        let sign = if closing[0] * across[0] + closing[1] * across[1] < 0.0 { -1.0 } else { 1.0 };
        let sign = sign * f64::from(SO101_HOME[4].signum());
        self.reach_closing(place, height, closing.map(|c| c * sign), lean)
    }

    /// As [`Self::reach`], the jaws closing along `closing`.
    pub fn reach_closing(
        &mut self,
        place: [f64; 2],
        height: f64,
        closing: [f64; 2],
        lean: f64,
    ) -> [f32; 5] {
        let (out, (sin, cos)) = (outward(place), lean.sin_cos());
        self.solve(&Target {
            position: [place[0], place[1], height],
            forward: [sin * out[0], sin * out[1], -cos],
            closing: [closing[0], closing[1], 0.0],
        })
    }

    /// Brings the jaws to `place`, closing along `closing` or against it, whichever way the wrist
    /// turns less for; which.
    ///
    /// The wrist's roll begins where it has to end: from a right angle away inverse kinematics may
    /// take the wrong way, into a limit.
    pub fn choose_closing(
        &mut self,
        state: &[f32],
        place: [f64; 2],
        height: f64,
        closing: [f64; 2],
    ) -> [f64; 2] {
        let out = outward(place);
        // At home the jaws close across the arm; from there to `closing`, in degrees.
        let across = [-out[1], out[0]].map(|c| c * f64::from(SO101_HOME[4].signum()));
        let (sin, cos) = (
            across[0] * closing[1] - across[1] * closing[0],
            across[0] * closing[0] + across[1] * closing[1],
        );
        let away = sin.atan2(cos).to_degrees() as f32;
        let mut best = (0.0, f32::INFINITY, closing, SO101_HOME[4]);
        for (closing, away) in [(closing, away), (closing.map(|c| -c), away + 180.0)] {
            for roll in [away, -away].map(|turn| wrapped(SO101_HOME[4] + turn)) {
                let (square, ends) = self.square(state, roll, place, height, closing);
                let travel = (ends - state[4]).abs();
                let better = square > best.0 + 0.02 || square > best.0 - 0.02 && travel < best.1;
                if better && ends.abs() < ROLL_LIMIT {
                    best = (square, travel, closing, roll);
                }
            }
        }
        self.square(state, best.3, place, height, best.2);
        best.2
    }

    /// Solves from `state` with another roll of the wrist; how well the jaws close along `closing`
    /// then, 1 at best, and the roll.
    fn square(
        &mut self,
        state: &[f32],
        roll: f32,
        place: [f64; 2],
        height: f64,
        closing: [f64; 2],
    ) -> (f64, f32) {
        let mut from: [f32; 6] = std::array::from_fn(|i| state[i]);
        from[4] = roll;
        self.place(&from);
        let units = self.reach_closing(place, height, closing, 0.0);
        self.kinematics.kinematics();
        let mat = self.kinematics.xmat()[self.chain.body];
        let axis = self.chain.closing;
        let world = |r: usize| (0..3).map(|c| mat[3 * r + c] * axis[c]).sum::<f64>();
        (world(0) * closing[0] + world(1) * closing[1], units[4])
    }

    /// Joint values in units that meet `target` as well as can be.
    pub fn solve(&mut self, target: &Target) -> [f32; 5] {
        self.solve_within(target).0
    }

    /// The same, and the distance left to `target`, metres.
    pub fn solve_within(&mut self, target: &Target) -> ([f32; 5], f64) {
        let model = self.kinematics.model_clone();
        let left = solve(&model, &mut self.kinematics, &self.chain, target);
        let angles: Vec<f64> =
            self.chain.joints.iter().map(|a| self.kinematics.qpos()[*a]).collect();
        let mut units = [0.0; 5];
        to_units(&angles, &mut units);
        (units, left)
    }
}

/// An angle in degrees, -180 to 180.
fn wrapped(degrees: f32) -> f32 {
    degrees - 360.0 * (degrees / 360.0).round()
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
