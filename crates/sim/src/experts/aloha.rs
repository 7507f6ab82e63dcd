//! The experts of the ALOHA tasks: waypoints of both hands, met by inverse kinematics.
//!
//! What ACT's scripted policies do with hands dragged by mocap bodies (Zhao et al. 2023) is done here
//! in joint space. The servos creep towards their set-points, held back by friction and pulled by
//! gravity: set-points are offset by what gravity takes, and the motion rests where it has to be
//! exact.

use std::sync::Arc;

use embody_core::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Planner, curve};
use crate::ik::{Chain, Target, solve};
use crate::mj::Data;
use crate::tasks::{Loaded, aloha_arms};
use crate::{ExpertOptions, SimError};

const LEFT: usize = 0;
const RIGHT: usize = 1;
const OPEN: f32 = 1.0;
const CLOSED: f32 = 0.0;
/// Fingers point this far below the horizontal when they take something from the table.
const DIP_RAD: f64 = std::f64::consts::FRAC_PI_3;

/// Both arms with a model of their own.
struct Arms {
    kinematics: Data,
    chains: [Chain; 2],
    options: ExpertOptions,
}

/// A hand's waypoint: when it is reached, joints, opening.
type Waypoint = (usize, [f32; 7]);

impl Arms {
    fn new(task: &str, loaded: &Loaded, options: &ExpertOptions) -> Result<Self> {
        let model = loaded.task.model();
        let kinematics = Data::try_new(Arc::clone(model))
            .map_err(|source| SimError::AllocateEnv { env: 0, source })?;
        Ok(Self { kinematics, chains: aloha_arms(task, model)?, options: options.clone() })
    }

    /// Places both arms as `state` says.
    fn place(&mut self, state: &[f32]) {
        for (chain, state) in self.chains.iter().zip(state.chunks_exact(7)) {
            for (address, angle) in chain.joints.iter().zip(state) {
                self.kinematics.qpos_mut()[*address] = f64::from(*angle);
            }
        }
    }

    /// Set-points that bring an arm's fingers to `position`, from where the arm is in the plan. The
    /// fingers point inwards, `dip` below the horizontal; they close along y, or along z where
    /// `upright` says so.
    fn reach(&mut self, arm: usize, position: [f64; 3], dip: f64, upright: bool) -> [f32; 6] {
        let inward = if arm == LEFT { 1.0 } else { -1.0 };
        let target = Target {
            position,
            forward: [inward * dip.cos(), 0.0, -dip.sin()],
            closing: if upright { [0.0, 0.0, 1.0] } else { [0.0, inward, 0.0] },
        };
        let model = self.kinematics.model_clone();
        let chain = &self.chains[arm];
        solve(&model, &mut self.kinematics, chain, &target);
        self.kinematics.forward();
        std::array::from_fn(|i| {
            // Joints, degrees of freedom and actuators have the same order here.
            let dof = chain.dofs[i];
            let sag = self.kinematics.qfrc_bias()[dof] / model.actuator_gainprm()[dof][0];
            (self.kinematics.qpos()[chain.joints[i]] + sag) as f32
        })
    }
}

fn at(step: usize, arm: [f32; 6], gripper: f32) -> Waypoint {
    (step, std::array::from_fn(|i| if i < 6 { arm[i] } else { gripper }))
}

/// Actions of both hands, from `state` through their waypoints.
fn play(state: &[f32], hands: [&[Waypoint]; 2], pace: f64) -> Vec<f32> {
    let tracks = [0, 1].map(|hand| {
        let mut track = Vec::new();
        let mut from: [f32; 7] = std::array::from_fn(|i| state[7 * hand + i]);
        let mut now = 0;
        for (step, to) in hands[hand] {
            let step = (*step as f64 * pace).round() as usize;
            curve(&mut track, from, *to, [0.0; 7], [0.0; 7], step - now);
            (from, now) = (*to, step);
        }
        track
    });
    let steps = tracks.iter().map(|track| track.len() / 7).max().unwrap_or(0);
    let mut plan = Vec::with_capacity(14 * steps);
    for step in 0..steps {
        for track in &tracks {
            let row = step.min(track.len() / 7 - 1) * 7;
            plan.extend_from_slice(&track[row..row + 7]);
        }
    }
    plan
}

struct TransferCube(Arms);

pub(super) fn transfer_cube(loaded: &Loaded, options: &ExpertOptions) -> Result<Box<dyn Planner>> {
    Ok(Box::new(TransferCube(Arms::new("aloha-transfer-cube", loaded, options)?)))
}

impl Planner for TransferCube {
    /// `cube` is its pose while it is still in the air.
    fn plan(&mut self, state: &[f32], cube: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
        let Self(arms) = self;
        let ExpertOptions { variation, belief_error_m, .. } = arms.options;
        let mut vary = |range: f64| variation * rng.random_range(-range..=range);
        let pace = 1.0 + vary(0.05);
        let above = 0.09 + vary(0.01);
        let [x, y] = [0, 1].map(|i| f64::from(cube[i]) + belief_error_m[i]);
        // Where the cube changes hands.
        let [mx, my, mz] = [0.03 + vary(0.01), 0.5 + vary(0.01), 0.27 + vary(0.01)];

        arms.place(state);
        let over = arms.reach(RIGHT, [x, y, 0.02 + above], DIP_RAD, false);
        let down = arms.reach(RIGHT, [x, y, 0.022], DIP_RAD, false);
        let up = arms.reach(RIGHT, [x, y, 0.12], DIP_RAD, false);
        let give = arms.reach(RIGHT, [mx, my, mz], DIP_RAD, false);
        let right = [
            at(75, over, OPEN),
            at(120, down, OPEN),
            at(135, down, OPEN),
            at(165, down, CLOSED),
            at(195, up, CLOSED),
            at(250, give, CLOSED),
        ];
        let wait = arms.reach(LEFT, [mx - 0.14, my, mz], 0.0, true);
        let near = arms.reach(LEFT, [mx - 0.07, my, mz], 0.0, true);
        let take = arms.reach(LEFT, [mx - 0.01, my, mz], 0.0, true);
        let left = [
            at(150, wait, OPEN),
            at(255, wait, OPEN),
            at(280, near, OPEN),
            at(310, take, OPEN),
            at(320, take, OPEN),
            at(345, take, CLOSED),
        ];
        play(state, [&left, &right], pace)
    }
}

struct Insertion(Arms);

pub(super) fn insertion(loaded: &Loaded, options: &ExpertOptions) -> Result<Box<dyn Planner>> {
    Ok(Box::new(Insertion(Arms::new("aloha-insertion", loaded, options)?)))
}

impl Planner for Insertion {
    /// `parts` are the poses of peg and socket while they are still in the air.
    fn plan(&mut self, state: &[f32], parts: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
        let Self(arms) = self;
        let ExpertOptions { variation, belief_error_m, .. } = arms.options;
        let mut vary = |range: f64| variation * rng.random_range(-range..=range);
        let pace = 1.0 + vary(0.04);
        let above = 0.09 + vary(0.01);
        let [my, mz] = [0.5 + vary(0.01), 0.2 + vary(0.01)];
        let mut hand = |arm: usize, part: &[f32], height: f64| {
            let [x, y] = [0, 1].map(|i| f64::from(part[i]) + belief_error_m[i]);
            // Outwards of the middle, where the arms meet.
            let out = if arm == LEFT { -1.0 } else { 1.0 };
            let over = arms.reach(arm, [x, y, height + above], DIP_RAD, false);
            let down = arms.reach(arm, [x, y, height], DIP_RAD, false);
            let up = arms.reach(arm, [x, y, 0.12], DIP_RAD, false);
            let mut way = vec![
                at(75, over, OPEN),
                at(120, down, OPEN),
                at(135, down, OPEN),
                at(165, down, CLOSED),
                at(195, up, CLOSED),
            ];
            // The parts' centres are 12 cm apart when their ends meet, 10 when peg and pin do.
            for (step, away) in
                [(250, 0.085), (265, 0.085), (285, 0.068), (305, 0.058), (325, 0.048), (345, 0.04)]
            {
                let there = arms.reach(arm, [out * away, my, mz], DIP_RAD, false);
                way.push(at(step, there, CLOSED));
            }
            way
        };
        // The fingers take both parts at their middle, where they lie on the table.
        let right = hand(RIGHT, &parts[..7], 0.014);
        let left = hand(LEFT, &parts[7..], 0.026);
        play(state, [&left, &right], pace)
    }
}
