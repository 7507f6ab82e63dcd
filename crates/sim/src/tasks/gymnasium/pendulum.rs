//! InvertedPendulum and InvertedDoublePendulum: a cart keeps one or two poles upright.

use std::path::Path;
use std::sync::Arc;

use embody_core::ContentHash;
use mujoco_rs::prelude::MjModel;
use rand_chacha::ChaCha8Rng;

use super::{Scene, actions, hold, load, normal, observation, track, uniform_around};
use crate::SimError;
use crate::mj::Data;
use crate::tasks::{
    Camera, Definition, Memory, Moment, ObservationTerm, Observe, Task, TaskDescription, Term,
};

pub(super) static ALL: [&dyn Definition; 2] = [&Single, &Double];

const SIDE: &str = "pos=\"0 -3 0.6\" xyaxes=\"1 0 0 0 0.2 1\"";

struct Single;

/// The pole's angle at which it counts as fallen, radians.
const FALLEN_RAD: f64 = 0.2;
const SINGLE_NOISE: f64 = 0.01;

impl Definition for Single {
    fn describe(&self) -> TaskDescription {
        TaskDescription {
            id: "InvertedPendulum-v5",
            version: 1,
            summary: "A cart keeps a pole upright.",
            instruction: "Keep the pole upright.",
            robot_type: "inverted_pendulum",
            control_hz: 25.0,
            substeps: 2,
            max_episode_steps: 1000,
            action: actions(&["slider"], 3.0),
            observations: vec![Term::new(
                "observation.state",
                "f64 [4]: cart's place, pole's angle, and their velocities",
            )],
            cameras: track(),
            rewards: vec![Term::new("survive", "1 while the pole stands")],
            randomization: vec![Term::new("positions and velocities", "uniform, ±0.01")],
            success: None,
            termination: "when the pole leans by more than 0.2 rad; truncated after 1,000 steps",
        }
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let scene = load(self.describe().id, asset_dir, "inverted_pendulum.xml", Some(SIDE))?;
        Ok(Arc::new(LoadedSingle(scene)))
    }
}

struct LoadedSingle(Scene);

fn has_fallen(data: &Data) -> bool {
    let finite = data.qpos().iter().chain(data.qvel()).all(|x| x.is_finite());
    !finite || data.qpos()[1].abs() > FALLEN_RAD
}

impl Task for LoadedSingle {
    fn model(&self) -> &Arc<MjModel> {
        &self.0.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.0.hash
    }

    fn cameras(&self) -> Vec<Camera> {
        vec![self.0.camera.clone()]
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let names = ["qpos.slider", "qpos.hinge", "qvel.slider", "qvel.hinge"];
        let observe = |now: &Moment<'_>, out: &mut [f64]| {
            out[..2].copy_from_slice(now.data.qpos());
            out[2..].copy_from_slice(now.data.qvel());
        };
        vec![ObservationTerm {
            key: "observation.state",
            spec: observation(&names.map(str::to_owned)),
            privileged: false,
            observe: Observe::F64(Box::new(observe)),
        }]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        uniform_around(data.qpos_mut(), self.0.qpos.iter().copied(), SINGLE_NOISE, rng);
        uniform_around(data.qvel_mut(), std::iter::repeat(0.0), SINGLE_NOISE, rng);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        hold(data, &memory.action, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        out[0] = if has_fallen(now.data) { 0.0 } else { 1.0 };
    }

    fn failed(&self, now: &Moment<'_>) -> bool {
        has_fallen(now.data)
    }
}

struct Double;

const DOUBLE_NOISE: f64 = 0.1;
/// Bound of observed velocities and forces.
const SEEN: f64 = 10.0;

impl Definition for Double {
    fn describe(&self) -> TaskDescription {
        TaskDescription {
            id: "InvertedDoublePendulum-v5",
            version: 1,
            summary: "A cart keeps a pole on a pole upright.",
            instruction: "Keep the poles upright.",
            robot_type: "inverted_double_pendulum",
            control_hz: 20.0,
            substeps: 5,
            max_episode_steps: 1000,
            action: actions(&["slider"], 1.0),
            observations: vec![Term::new(
                "observation.state",
                "f64 [9]: cart's place, sines and cosines of the angles, velocities clamped to ±10, \
                 constraint force on the cart clamped to ±10",
            )],
            cameras: track(),
            rewards: vec![
                Term::new("survive", "10 while the tip is higher than 1 m"),
                Term::new("distance", "-0.01 x² - (y - 2)², of the tip"),
                Term::new("velocity", "-0.001 and -0.005 · squared angular velocities"),
            ],
            randomization: vec![
                Term::new("positions", "uniform, ±0.1"),
                Term::new("velocities", "normal, sd 0.1"),
            ],
            success: None,
            termination: "when the tip is at 1 m or lower; truncated after 1,000 steps",
        }
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let scene =
            load(self.describe().id, asset_dir, "inverted_double_pendulum.xml", Some(SIDE))?;
        Ok(Arc::new(LoadedDouble(scene)))
    }
}

struct LoadedDouble(Scene);

fn tip(data: &Data) -> (f64, f64) {
    let [x, _, y] = data.site_xpos()[0];
    (x, y)
}

impl Task for LoadedDouble {
    fn model(&self) -> &Arc<MjModel> {
        &self.0.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.0.hash
    }

    fn cameras(&self) -> Vec<Camera> {
        vec![self.0.camera.clone()]
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let names = [
            "qpos.slider",
            "sin.hinge",
            "sin.hinge2",
            "cos.hinge",
            "cos.hinge2",
            "qvel.slider",
            "qvel.hinge",
            "qvel.hinge2",
            "qfrc_constraint.slider",
        ];
        let observe = |now: &Moment<'_>, out: &mut [f64]| {
            let (qpos, qvel) = (now.data.qpos(), now.data.qvel());
            out[0] = qpos[0];
            for hinge in 1..3 {
                (out[hinge], out[2 + hinge]) = (qpos[hinge].sin(), qpos[hinge].cos());
            }
            out[5..8].iter_mut().zip(qvel).for_each(|(o, v)| *o = v.clamp(-SEEN, SEEN));
            out[8] = now.data.qfrc_constraint()[0].clamp(-SEEN, SEEN);
        };
        vec![ObservationTerm {
            key: "observation.state",
            spec: observation(&names.map(str::to_owned)),
            privileged: false,
            observe: Observe::F64(Box::new(observe)),
        }]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        uniform_around(data.qpos_mut(), self.0.qpos.iter().copied(), DOUBLE_NOISE, rng);
        data.qvel_mut().iter_mut().for_each(|v| *v = DOUBLE_NOISE * normal(rng));
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        hold(data, &memory.action, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let (x, y) = tip(now.data);
        let velocities = now.data.qvel();
        out[0] = if y <= 1.0 { 0.0 } else { 10.0 };
        out[1] = -(0.01 * x.powi(2) + (y - 2.0).powi(2));
        out[2] = -(0.001 * velocities[1].powi(2) + 0.005 * velocities[2].powi(2));
    }

    fn failed(&self, now: &Moment<'_>) -> bool {
        tip(now.data).1 <= 1.0
    }
}
