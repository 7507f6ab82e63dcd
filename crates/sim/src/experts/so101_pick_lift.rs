//! The expert of `so101-pick-lift`: above the cube, down over it, close, up.
//!
//! Plans a whole episode from its first observation: inverse kinematics at three waypoints, a smooth
//! joint-space curve through them, then plays it. Joint angles are a continuous function of where the
//! cube lies, the motion never pauses, and the jaws open far wider than the cube, so that a policy
//! that only sees pictures can imitate it and may be several millimetres off.

use std::sync::Arc;

use embody_core::{Observations, Policy, PolicySpec, Result, derive_seed};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rows;
use crate::ik::{Chain, Target, solve};
use crate::mj::Data;
use crate::tasks::{CUBE_HALF_M, HOME_UNITS, Loaded, so101_arm, to_joint_positions, to_units};
use crate::{ExpertOptions, SimError};

const TASK: &str = "so101-pick-lift";
const STATE: &str = "observation.state";
const ENVIRONMENT: &str = "observation.environment_state";
const OPEN: f32 = 46.0;
const CLOSED: f32 = HOME_UNITS[5];
/// Waypoint heights of the point between the jaws above the cube's centre, metres.
const ABOVE_M: f64 = 0.055;
const LIFTED_M: f64 = 0.095;
/// Durations in seconds: to above the cube, down, closing, up.
const APPROACH_S: f64 = 1.3;
const DESCEND_S: f64 = 0.7;
const CLOSE_S: f64 = 0.5;
const LIFT_S: f64 = 0.8;
const CONTROL_HZ: f64 = 20.0;
/// Fingers lean outward by this much when above and lifted: the wrist cannot bend enough to keep
/// them upright up there.
const LEAN_RAD: f64 = 0.5;

pub(super) struct Expert {
    spec: PolicySpec,
    seed: u64,
    variation: f64,
    belief_error_m: [f64; 2],
    kinematics: Data,
    chain: Chain,
    /// Planned actions of each environment's episode and how many are spent.
    plans: Vec<(Vec<[f32; 6]>, usize)>,
}

impl Expert {
    pub(super) fn new(
        loaded: Arc<Loaded>,
        num_envs: usize,
        seed: u64,
        options: &ExpertOptions,
    ) -> Result<Self> {
        let model = loaded.task.model();
        let chain = so101_arm(model)?;
        let kinematics = Data::try_new(Arc::clone(model))
            .map_err(|source| SimError::AllocateEnv { env: 0, source })?;
        let inputs = loaded
            .task
            .observations()
            .into_iter()
            .filter(|term| [STATE, ENVIRONMENT].contains(&term.key))
            .map(|term| (term.key.to_owned(), term.spec))
            .collect();
        Ok(Self {
            spec: PolicySpec {
                kind: "expert".to_owned(),
                inputs,
                action_dim: 6,
                chunk_size: 1,
                n_action_steps: 1,
            },
            seed,
            variation: options.variation,
            belief_error_m: options.belief_error_m,
            kinematics,
            chain,
            plans: vec![(Vec::new(), 0); num_envs],
        })
    }

    /// All actions of an episode that begins with joint positions `state` (units) and the cube at
    /// `cube` (x, y, z in metres, turn in radians).
    fn plan(&mut self, state: &[f32], cube: &[f32]) -> Vec<[f32; 6]> {
        // The episode itself seeds its variation, so that the batch's layout does not matter.
        let bits = cube.iter().fold(0, |h, v| derive_seed(h, "cube", u64::from(v.to_bits())));
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, "expert", bits));
        let mut vary = |range: f64| self.variation * rng.random_range(-range..=range);
        let pace = 1.0 + vary(0.06);
        let open = OPEN + vary(2.0) as f32;
        let above_m = ABOVE_M + vary(0.006);
        let lifted_m = LIFTED_M + vary(0.008);
        let aside = [vary(0.004), vary(0.004)];

        let place = [
            f64::from(cube[0]) + self.belief_error_m[0],
            f64::from(cube[1]) + self.belief_error_m[1],
        ];
        let turn = f64::from(cube[3]);
        let height = CUBE_HALF_M;
        let mut home = [0.0; 6];
        to_joint_positions(state, &mut home);
        for (address, angle) in self.chain.joints.iter().zip(home) {
            self.kinematics.qpos_mut()[*address] = angle;
        }
        let above = self.reach(
            [place[0] + aside[0], place[1] + aside[1]],
            height + above_m,
            turn,
            LEAN_RAD,
        );
        let grasp = self.reach(place, height, turn, 0.0);
        let lifted = self.reach(place, height + lifted_m, turn, LEAN_RAD);

        let steps = |seconds: f64| (seconds * CONTROL_HZ * pace).round().max(2.0) as usize;
        let start: [f32; 6] = std::array::from_fn(|i| state[i]);
        let waypoint = |arm: [f32; 5], gripper: f32| -> [f32; 6] {
            std::array::from_fn(|i| if i < 5 { arm[i] } else { gripper })
        };
        let (above, held) = (waypoint(above, open), waypoint(grasp, CLOSED));
        let (grasp, lifted) = (waypoint(grasp, open), waypoint(lifted, CLOSED));
        let mut plan = Vec::new();
        // Through the point above without stopping.
        let (n1, n2) = (steps(APPROACH_S), steps(DESCEND_S));
        let speed: [f32; 6] = std::array::from_fn(|i| {
            let (first, second) =
                ((above[i] - start[i]) / n1 as f32, (grasp[i] - above[i]) / n2 as f32);
            // Only as fast as the slower side allows, and not at all where the direction turns.
            if first * second > 0.0 { first.abs().min(second.abs()) * first.signum() } else { 0.0 }
        });
        curve(&mut plan, start, above, [0.0; 6], speed, n1);
        curve(&mut plan, above, grasp, speed, [0.0; 6], n2);
        curve(&mut plan, grasp, held, [0.0; 6], [0.0; 6], steps(CLOSE_S));
        curve(&mut plan, held, lifted, [0.0; 6], [0.0; 6], steps(LIFT_S));
        plan
    }

    /// Joint values in units that bring the point between the jaws to `place` at `height`, with the
    /// jaws square to a cube turned by `turn`, starting from the last solution.
    fn reach(&mut self, place: [f64; 2], height: f64, turn: f64, lean: f64) -> [f32; 5] {
        let out = {
            let length = place[0].hypot(place[1]);
            [place[0] / length, place[1] / length]
        };
        let (sin, cos) = lean.sin_cos();
        // The jaws close across the arm: along the cube's y axis, turned the nearest way round.
        let closing = [-turn.sin(), turn.cos(), 0.0];
        let across = [-out[1], out[0]];
        let sign = if closing[0] * across[0] + closing[1] * across[1] < 0.0 { -1.0 } else { 1.0 };
        let sign = sign * f64::from(HOME_UNITS[4].signum());
        let target = Target {
            position: [place[0], place[1], height],
            forward: [sin * out[0], sin * out[1], -cos],
            closing: closing.map(|c| c * sign),
        };
        let model = Arc::clone(&self.model());
        solve(&model, &mut self.kinematics, &self.chain, &target);
        let angles: Vec<f64> =
            self.chain.joints.iter().map(|a| self.kinematics.qpos()[*a]).collect();
        let mut units = [0.0; 5];
        to_units(&angles, &mut units);
        units
    }

    fn model(&self) -> Arc<mujoco_rs::prelude::MjModel> {
        self.kinematics.model_clone()
    }
}

/// Appends `n` points of a cubic from after `from` to `to`, with speeds per step at both ends.
fn curve(
    plan: &mut Vec<[f32; 6]>,
    from: [f32; 6],
    to: [f32; 6],
    speed_from: [f32; 6],
    speed_to: [f32; 6],
    n: usize,
) {
    let span = n as f32;
    for step in 1..=n {
        let t = step as f32 / span;
        let (t2, t3) = (t * t, t * t * t);
        plan.push(std::array::from_fn(|i| {
            (2.0 * t3 - 3.0 * t2 + 1.0) * from[i]
                + (t3 - 2.0 * t2 + t) * span * speed_from[i]
                + (3.0 * t2 - 2.0 * t3) * to[i]
                + (t3 - t2) * span * speed_to[i]
        }));
    }
}

impl Policy for Expert {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, env: usize) {
        self.plans[env] = (Vec::new(), 0);
    }

    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let num_envs = self.plans.len();
        for (what, got, expected) in
            [("active", active.len(), num_envs), ("actions", actions.len(), 6 * num_envs)]
        {
            if got != expected {
                return Err(SimError::WrongLength { what, got, expected }.into());
            }
        }
        let states = rows(observations, TASK, STATE, num_envs, 6)?;
        let cubes = rows(observations, TASK, ENVIRONMENT, num_envs, 4)?;
        for (env, action) in actions.chunks_exact_mut(6).enumerate().filter(|(e, _)| active[*e]) {
            if self.plans[env].0.is_empty() {
                let (state, cube) = (&states[6 * env..6 * env + 6], &cubes[4 * env..4 * env + 4]);
                self.plans[env] = (self.plan(state, cube), 0);
            }
            let (plan, spent) = &mut self.plans[env];
            action.copy_from_slice(&plan[(*spent).min(plan.len() - 1)]);
            *spent += 1;
        }
        Ok(())
    }
}
