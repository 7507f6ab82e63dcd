//! Reacher, whose finger goes to a target in the plane, and Pusher, which moves a cylinder to a goal.

use std::path::Path;
use std::sync::Arc;

use embody_core::ContentHash;
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Scene, actions, hold, load, numpy, observation, track, uniform_around};
use crate::SimError;
use crate::mj::{self, Data};
use crate::tasks::{
    Camera, Definition, Memory, Moment, ObservationTerm, Observe, Task, TaskDescription, Term,
};

pub(super) static ALL: [&dyn Definition; 2] = [&Reacher, &Pusher];

/// Uniform noise of initial velocities, rad/s or m/s.
const VELOCITY_NOISE: f64 = 0.005;

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn body(id: &str, scene: &Scene, name: &str) -> Result<usize, SimError> {
    mj::id(id, &scene.model, MjtObjBase::mjOBJ_BODY, name)
}

struct Reacher;

const REACHER: &str = "Reacher-v5";
/// Targets lie within this of the middle, metres.
const REACH_M: f64 = 0.2;

impl Definition for Reacher {
    fn describe(&self) -> TaskDescription {
        TaskDescription {
            id: REACHER,
            version: 1,
            summary: "An arm of two links brings its finger to a target in the plane.",
            instruction: "Reach the target.",
            robot_type: "reacher",
            control_hz: 50.0,
            substeps: 2,
            max_episode_steps: 50,
            action: actions(&["joint0", "joint1"], 1.0),
            observations: vec![Term::new(
                "observation.state",
                "f64 [10]: cosines and sines of the two angles, target's position, angular \
                 velocities, finger less target in the plane",
            )],
            cameras: track(),
            rewards: vec![
                Term::new("distance", "-1 · distance of finger and target, m"),
                Term::new("control", "-1 · sum of squared action"),
            ],
            randomization: vec![
                Term::new("angles", "uniform, ±0.1 rad"),
                Term::new("target", "uniform in the disc of 0.2 m"),
                Term::new("velocities", "uniform, ±0.005 rad/s; the target is at rest"),
            ],
            success: None,
            termination: "never; truncated after 50 steps",
        }
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let above = "pos=\"0 0 0.75\" xyaxes=\"1 0 0 0 1 0\"";
        let scene = load(REACHER, asset_dir, "reacher.xml", Some(above))?;
        let (finger, target) =
            (body(REACHER, &scene, "fingertip")?, body(REACHER, &scene, "target")?);
        Ok(Arc::new(LoadedReacher { scene, finger, target }))
    }
}

struct LoadedReacher {
    scene: Scene,
    finger: usize,
    target: usize,
}

impl Task for LoadedReacher {
    fn model(&self) -> &Arc<MjModel> {
        &self.scene.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.scene.hash
    }

    fn cameras(&self) -> Vec<Camera> {
        vec![self.scene.camera.clone()]
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let names = [
            "cos.joint0",
            "cos.joint1",
            "sin.joint0",
            "sin.joint1",
            "target.x",
            "target.y",
            "qvel.joint0",
            "qvel.joint1",
            "finger_less_target.x",
            "finger_less_target.y",
        ];
        let (finger, target) = (self.finger, self.target);
        let observe = move |now: &Moment<'_>, out: &mut [f64]| {
            let (qpos, qvel) = (now.data.qpos(), now.data.qvel());
            let at = |body: usize| now.data.xpos()[body];
            for joint in 0..2 {
                (out[joint], out[2 + joint]) = (qpos[joint].cos(), qpos[joint].sin());
                (out[4 + joint], out[6 + joint]) = (qpos[2 + joint], qvel[joint]);
                out[8 + joint] = at(finger)[joint] - at(target)[joint];
            }
        };
        vec![ObservationTerm {
            key: "observation.state",
            spec: observation(&names.map(str::to_owned)),
            privileged: false,
            observe: Observe::F64(Box::new(observe)),
        }]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        uniform_around(data.qpos_mut(), self.scene.qpos.iter().copied(), 0.1, rng);
        uniform_around(data.qvel_mut(), std::iter::repeat(0.0), VELOCITY_NOISE, rng);
        let target = loop {
            let at = [0, 1].map(|_| rng.random_range(-REACH_M..=REACH_M));
            if at[0].hypot(at[1]) < REACH_M {
                break at;
            }
        };
        data.qpos_mut()[2..].copy_from_slice(&target);
        data.qvel_mut()[2..].fill(0.0);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        hold(data, &memory.action, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let at = now.data.xpos();
        out[0] = -distance(&at[self.finger], &at[self.target]);
        out[1] = -numpy::action_cost(1.0, &now.memory.action);
    }
}

struct Pusher;

const PUSHER: &str = "Pusher-v5";
const PUSHER_JOINTS: [&str; 7] = [
    "r_shoulder_pan_joint",
    "r_shoulder_lift_joint",
    "r_upper_arm_roll_joint",
    "r_elbow_flex_joint",
    "r_forearm_roll_joint",
    "r_wrist_flex_joint",
    "r_wrist_roll_joint",
];
/// The cylinder begins at least this far from its goal, metres.
const APART_M: f64 = 0.17;

impl Definition for Pusher {
    fn describe(&self) -> TaskDescription {
        TaskDescription {
            id: PUSHER,
            version: 1,
            summary: "An arm of seven joints pushes a cylinder to a goal on a table.",
            instruction: "Push the cylinder to the goal.",
            robot_type: "pusher",
            control_hz: 20.0,
            substeps: 5,
            max_episode_steps: 100,
            action: actions(&PUSHER_JOINTS, 2.0),
            observations: vec![Term::new(
                "observation.state",
                "f64 [23]: angles and angular velocities of the arm, places of fingertips, cylinder \
                 and goal",
            )],
            cameras: track(),
            rewards: vec![
                Term::new("distance", "-1 · distance of cylinder and goal, m"),
                Term::new("control", "-0.1 · sum of squared action"),
                Term::new("near", "-0.5 · distance of fingertips and cylinder, m"),
            ],
            randomization: vec![
                Term::new("cylinder", "x -0.3..0, y -0.2..0.2 m, at least 0.17 m from the goal"),
                Term::new("velocities", "uniform, ±0.005; the cylinder is at rest"),
            ],
            success: None,
            termination: "never; truncated after 100 steps",
        }
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let before = "pos=\"1.9 -1.9 1.2\" xyaxes=\"0.7071 0.7071 0 -0.36 0.36 0.86\"";
        let scene = load(PUSHER, asset_dir, "pusher_v5.xml", Some(before))?;
        let (tips, object, goal) = (
            body(PUSHER, &scene, "tips_arm")?,
            body(PUSHER, &scene, "object")?,
            body(PUSHER, &scene, "goal")?,
        );
        Ok(Arc::new(LoadedPusher { scene, tips, object, goal }))
    }
}

struct LoadedPusher {
    scene: Scene,
    tips: usize,
    object: usize,
    goal: usize,
}

impl Task for LoadedPusher {
    fn model(&self) -> &Arc<MjModel> {
        &self.scene.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.scene.hash
    }

    fn cameras(&self) -> Vec<Camera> {
        vec![self.scene.camera.clone()]
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let joints = |what: &'static str| PUSHER_JOINTS.iter().map(move |j| format!("{what}.{j}"));
        let places = ["tips_arm", "object", "goal"];
        let places = places.iter().flat_map(|b| ["x", "y", "z"].map(|axis| format!("{b}.{axis}")));
        let names: Vec<String> = joints("qpos").chain(joints("qvel")).chain(places).collect();
        let bodies = [self.tips, self.object, self.goal];
        let observe = move |now: &Moment<'_>, out: &mut [f64]| {
            out[..7].copy_from_slice(&now.data.qpos()[..7]);
            out[7..14].copy_from_slice(&now.data.qvel()[..7]);
            for (body, out) in bodies.iter().zip(out[14..].chunks_exact_mut(3)) {
                out.copy_from_slice(&now.data.xpos()[*body]);
            }
        };
        vec![ObservationTerm {
            key: "observation.state",
            spec: observation(&names),
            privileged: false,
            observe: Observe::F64(Box::new(observe)),
        }]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        let cylinder = loop {
            let at = [rng.random_range(-0.3..=0.0), rng.random_range(-0.2..=0.2f64)];
            if f64::hypot(at[0], at[1]) > APART_M {
                break at;
            }
        };
        let first = data.qpos().len() - 4;
        data.qpos_mut().copy_from_slice(&self.scene.qpos);
        data.qpos_mut()[first..first + 2].copy_from_slice(&cylinder);
        data.qpos_mut()[first + 2..].fill(0.0);
        uniform_around(data.qvel_mut(), std::iter::repeat(0.0), VELOCITY_NOISE, rng);
        let first = data.qvel().len() - 4;
        data.qvel_mut()[first..].fill(0.0);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        hold(data, &memory.action, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let at = now.data.xpos();
        out[0] = -distance(&at[self.object], &at[self.goal]);
        out[1] = -numpy::action_cost(0.1, &now.memory.action);
        out[2] = -0.5 * distance(&at[self.object], &at[self.tips]);
    }
}
