//! The expert of `so101-reach`: one smooth motion to the target, then hold.

use embody_core::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::so101::{Arm, action, outward, steps};
use super::{Planner, curve};
use crate::ExpertOptions;
use crate::ik::Target;
use crate::tasks::{Loaded, SO101_HOME};

const REACH_S: f64 = 1.6;
/// Fingers point outward and down, at this angle from straight down.
const LEAN_RAD: f64 = 0.9;

struct Reach {
    arm: Arm,
    options: ExpertOptions,
}

pub(super) fn make(loaded: &Loaded, options: &ExpertOptions) -> Result<Box<dyn Planner>> {
    let mut arm = Arm::new("so101-reach", loaded)?;
    arm.chain.point = crate::tasks::SO101_TOOL_POINT;
    Ok(Box::new(Reach { arm, options: options.clone() }))
}

impl Planner for Reach {
    /// `target` is x, y, z in metres.
    fn plan(&mut self, state: &[f32], target: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
        let ExpertOptions { variation, belief_error_m, .. } = self.options;
        let mut vary = |range: f64| variation * rng.random_range(-range..=range);
        let pace = 1.0 + vary(0.15);
        let lean = LEAN_RAD + vary(0.2);
        let place =
            [f64::from(target[0]) + belief_error_m[0], f64::from(target[1]) + belief_error_m[1]];
        let out = outward(place);
        let mut best = ([0.0; 5], f64::INFINITY);
        // Where the wrist can't lean so, another way.
        for lean in [lean, lean - 0.5, lean + 0.5] {
            let (sin, cos) = lean.sin_cos();
            self.arm.place(state);
            let found = self.arm.solve_within(&Target {
                position: [place[0], place[1], f64::from(target[2])],
                forward: [sin * out[0], sin * out[1], -cos],
                closing: [-out[1], out[0], 0.0].map(|c| c * f64::from(SO101_HOME[4].signum())),
            });
            if best.1 > 0.002 && found.1 < best.1 {
                best = found;
            }
        }
        let there = best.0;
        let start: [f32; 6] = std::array::from_fn(|i| state[i]);
        let mut plan = Vec::new();
        let there = action(there, state[5]);
        curve(&mut plan, start, there, [0.0; 6], [0.0; 6], steps(REACH_S, pace));
        plan
    }
}
