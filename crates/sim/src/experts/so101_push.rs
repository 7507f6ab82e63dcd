//! The expert of `so101-push`: down behind the puck, then straight towards the goal.
//!
//! The jaws stand apart by less than the puck is wide, square to the way: two points of contact, so
//! that the puck can't slip off to a side.

use embody_core::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::so101::{Arm, action, steps};
use super::{Planner, curve, through};
use crate::ExpertOptions;
use crate::tasks::Loaded;

/// Opening of the jaws, which leaves 30 mm between them, and the middle of that gap in the gripper's
/// frame, metres.
const OPEN: f32 = 20.0;
const BETWEEN: [f64; 3] = [0.008, 0.0, -0.098];
/// Distance of the jaws' middle behind the puck's centre, metres: when touching, and before.
const BEHIND_M: f64 = 0.027;
const CLEAR_M: f64 = 0.05;
/// Heights of the fingertips' middle, metres: above the puck, and when pushing.
const ABOVE_M: f64 = 0.075;
const LOW_M: f64 = 0.013;
/// Durations in seconds.
const APPROACH_S: f64 = 1.4;
const DESCEND_S: f64 = 0.7;
const SETTLE_S: f64 = 0.1;
/// Speed along the way, metres per second.
const SPEED: f64 = 0.06;
/// Points of the straight way.
const POINTS: usize = 6;
const LEAN_RAD: f64 = 0.3;

struct Push {
    arm: Arm,
    options: ExpertOptions,
}

pub(super) fn make(loaded: &Loaded, options: &ExpertOptions) -> Result<Box<dyn Planner>> {
    let mut arm = Arm::new("so101-push", loaded)?;
    arm.chain.point = BETWEEN;
    Ok(Box::new(Push { arm, options: options.clone() }))
}

impl Planner for Push {
    /// `seen` is the puck's x, y and the goal's x, y in metres.
    fn plan(&mut self, state: &[f32], seen: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
        let ExpertOptions { variation, belief_error_m, .. } = self.options;
        let mut vary = |range: f64| variation * rng.random_range(-range..=range);
        let pace = 1.0 + vary(0.1);
        let above_m = ABOVE_M + vary(0.008);
        let clear_m = CLEAR_M + vary(0.004);
        let puck = [f64::from(seen[0]) + belief_error_m[0], f64::from(seen[1]) + belief_error_m[1]];
        let goal = [f64::from(seen[2]), f64::from(seen[3])];
        let way = [goal[0] - puck[0], goal[1] - puck[1]];
        let length = way[0].hypot(way[1]).max(1e-6);
        let way = way.map(|x| x / length);
        let behind = |place: [f64; 2], by: f64| [place[0] - by * way[0], place[1] - by * way[1]];

        let first = behind(puck, clear_m);
        let closing = self.arm.choose_closing(state, first, LOW_M, [-way[1], way[0]]);
        let mut to = |place: [f64; 2], height: f64, lean: f64| {
            action(self.arm.reach_closing(place, height, closing, lean), OPEN)
        };
        let above = to(first, above_m, LEAN_RAD);
        let down = to(first, LOW_M, 0.0);
        let from = clear_m;
        let far = length - BEHIND_M;
        let points: Vec<[f32; 6]> = (1..=POINTS)
            .map(|i| {
                let share = i as f64 / POINTS as f64;
                to(behind(puck, from - share * (from + far)), LOW_M, 0.0)
            })
            .collect();

        let start: [f32; 6] = std::array::from_fn(|i| state[i]);
        let mut plan = Vec::new();
        let (n1, n2) = (steps(APPROACH_S, pace), steps(DESCEND_S, pace));
        let speed = through(start, above, down, n1, n2);
        curve(&mut plan, start, above, [0.0; 6], speed, n1);
        curve(&mut plan, above, down, speed, [0.0; 6], n2);
        curve(&mut plan, down, down, [0.0; 6], [0.0; 6], steps(SETTLE_S, pace));
        let n = steps((from + far) / SPEED / POINTS as f64, pace);
        let (mut last, mut speed) = (down, [0.0; 6]);
        for (i, at) in points.iter().enumerate() {
            let next = points.get(i + 1);
            let leaving = next.map_or([0.0; 6], |next| through(last, *at, *next, n, n));
            curve(&mut plan, last, *at, speed, leaving, n);
            (last, speed) = (*at, leaving);
        }
        plan
    }
}
