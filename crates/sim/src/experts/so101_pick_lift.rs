//! The expert of `so101-pick-lift`: above the cube, down over it, close, up.
//!
//! Joint angles are a continuous function of where the cube lies, the motion never pauses, and the
//! jaws open far wider than the cube, so that a policy that only sees pictures can imitate it and may
//! be several millimetres off.

use embody_core::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::so101::{Arm, action, steps};
use super::{Planner, curve, through};
use crate::ExpertOptions;
use crate::tasks::{CUBE_HALF_M, Loaded, SO101_HOME};

const OPEN: f32 = 46.0;
const CLOSED: f32 = SO101_HOME[5];
/// Waypoint heights of the point between the jaws above the cube's centre, metres.
const ABOVE_M: f64 = 0.055;
const LIFTED_M: f64 = 0.095;
/// Durations in seconds: to above the cube, down, closing, up.
const APPROACH_S: f64 = 1.3;
const DESCEND_S: f64 = 0.7;
const CLOSE_S: f64 = 0.5;
const LIFT_S: f64 = 0.8;
/// Fingers lean outward by this much when above and lifted: the wrist cannot bend enough to keep
/// them upright up there.
const LEAN_RAD: f64 = 0.5;

struct PickLift {
    arm: Arm,
    options: ExpertOptions,
}

pub(super) fn make(loaded: &Loaded, options: &ExpertOptions) -> Result<Box<dyn Planner>> {
    let arm = Arm::new("so101-pick-lift", loaded)?;
    Ok(Box::new(PickLift { arm, options: options.clone() }))
}

impl Planner for PickLift {
    /// `cube` is x, y, z in metres and its turn in radians.
    fn plan(&mut self, state: &[f32], cube: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
        let ExpertOptions { variation, belief_error_m, .. } = self.options;
        let mut vary = |range: f64| variation * rng.random_range(-range..=range);
        let pace = 1.0 + vary(0.06);
        let open = OPEN + vary(2.0) as f32;
        let above_m = ABOVE_M + vary(0.006);
        let lifted_m = LIFTED_M + vary(0.008);
        let aside = [vary(0.004), vary(0.004)];

        let place =
            [f64::from(cube[0]) + belief_error_m[0], f64::from(cube[1]) + belief_error_m[1]];
        let turn = f64::from(cube[3]);
        let height = CUBE_HALF_M;
        self.arm.place(state);
        let above = [place[0] + aside[0], place[1] + aside[1]];
        let above = self.arm.reach(above, height + above_m, turn, LEAN_RAD);
        let grasp = self.arm.reach(place, height, turn, 0.0);
        let lifted = self.arm.reach(place, height + lifted_m, turn, LEAN_RAD);

        let start: [f32; 6] = std::array::from_fn(|i| state[i]);
        let (above, held) = (action(above, open), action(grasp, CLOSED));
        let (grasp, lifted) = (action(grasp, open), action(lifted, CLOSED));
        let mut plan = Vec::new();
        // Through the point above without stopping.
        let (n1, n2) = (steps(APPROACH_S, pace), steps(DESCEND_S, pace));
        let speed = through(start, above, grasp, n1, n2);
        curve(&mut plan, start, above, [0.0; 6], speed, n1);
        curve(&mut plan, above, grasp, speed, [0.0; 6], n2);
        curve(&mut plan, grasp, held, [0.0; 6], [0.0; 6], steps(CLOSE_S, pace));
        curve(&mut plan, held, lifted, [0.0; 6], [0.0; 6], steps(LIFT_S, pace));
        plan
    }
}
