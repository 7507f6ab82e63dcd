//! Humanoid, which walks, and HumanoidStandup, which gets up from the ground: one robot, two rewards.

use std::path::Path;
use std::sync::Arc;

use embody_core::ContentHash;
use mujoco_rs::prelude::MjModel;
use rand_chacha::ChaCha8Rng;

use super::{
    Scene, actions, coordinates, hold_and_feel, load, numpy, observation, of_bodies, track,
    uniform_around,
};
use crate::SimError;
use crate::mj::Data;
use crate::tasks::{
    Camera, Definition, Memory, Moment, ObservationTerm, Observe, Task, TaskDescription, Term,
};

/// What the humanoid is paid for.
pub(super) struct Humanoid {
    id: &'static str,
    summary: &'static str,
    instruction: &'static str,
    file: &'static str,
    goal: Goal,
}

#[derive(Clone, Copy, PartialEq)]
enum Goal {
    Walk,
    StandUp,
}

pub(super) static ALL: [Humanoid; 2] = [
    Humanoid {
        id: "Humanoid-v5",
        summary: "A humanoid walks.",
        instruction: "Walk forward.",
        file: "humanoid.xml",
        goal: Goal::Walk,
    },
    Humanoid {
        id: "HumanoidStandup-v5",
        summary: "A humanoid that lies on its back stands up.",
        instruction: "Stand up.",
        file: "humanoidstandup.xml",
        goal: Goal::StandUp,
    },
];

const JOINTS: [&str; 17] = [
    "abdomen_y",
    "abdomen_z",
    "abdomen_x",
    "right_hip_x",
    "right_hip_z",
    "right_hip_y",
    "right_knee",
    "left_hip_x",
    "left_hip_z",
    "left_hip_y",
    "left_knee",
    "right_shoulder1",
    "right_shoulder2",
    "right_elbow",
    "left_shoulder1",
    "left_shoulder2",
    "left_elbow",
];
/// The range of height in which the walking humanoid is healthy, metres, without its bounds.
const HEALTHY_M: [f64; 2] = [1.0, 2.0];
const FORWARD: f64 = 1.25;
const SURVIVE: f64 = 5.0;
const CONTROL: f64 = 0.1;
const CONTACT: f64 = 5e-7;
const MOST_CONTACT: f64 = 10.0;
const NOISE: f64 = 0.01;
/// Torques on the free joint are not observed.
const FREE: usize = 6;

impl Definition for Humanoid {
    fn describe(&self) -> TaskDescription {
        let control = Term::new("control", format!("-{CONTROL} · sum of squared controls"));
        let contact = Term::new(
            "contact",
            format!("-{CONTACT} · sum of squared forces on bodies, at most {MOST_CONTACT}"),
        );
        let (rewards, termination) = match self.goal {
            Goal::Walk => (
                vec![
                    Term::new(
                        "forward",
                        format!("{FORWARD} · speed of the centre of mass along x, m/s"),
                    ),
                    Term::new("survive", format!("{SURVIVE} while healthy")),
                    control,
                    contact,
                ],
                "when the torso's height leaves 1..2 m; truncated after 1,000 steps",
            ),
            Goal::StandUp => (
                vec![
                    Term::new("height", "torso's height over the physics step, m/s"),
                    control,
                    contact,
                    Term::new("constant", "1"),
                ],
                "never; truncated after 1,000 steps",
            ),
        };
        TaskDescription {
            id: self.id,
            version: 1,
            summary: self.summary,
            instruction: self.instruction,
            robot_type: "humanoid",
            control_hz: 1.0 / (5.0 * 0.003),
            substeps: 5,
            max_episode_steps: 1000,
            action: actions(&JOINTS, 0.4),
            observations: vec![Term::new(
                "observation.state",
                "f64 [348]: positions from the 3rd on, velocities, inertia and velocity of each body \
                 about the centre of mass, actuator forces, forces on bodies",
            )],
            cameras: track(),
            rewards,
            randomization: vec![
                Term::new("positions", format!("uniform, ±{NOISE}")),
                Term::new("velocities", format!("uniform, ±{NOISE}")),
            ],
            success: None,
            termination,
        }
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let scene = load(self.id, asset_dir, self.file, None)?;
        let timestep = scene.model.opt().timestep;
        let mass = scene.model.body_mass().iter().sum();
        Ok(Arc::new(Loaded { goal: self.goal, dt: timestep * 5.0, timestep, mass, scene }))
    }
}

struct Loaded {
    goal: Goal,
    scene: Scene,
    /// Seconds of a control step and of a physics step.
    dt: f64,
    timestep: f64,
    mass: f64,
}

impl Loaded {
    /// Place of the centre of mass along x.
    fn centre(&self, data: &Data) -> f64 {
        let bodies = self.scene.model.body_mass().iter().zip(data.xipos());
        bodies.map(|(mass, at)| mass * at[0]).sum::<f64>() / self.mass
    }
}

fn is_healthy(data: &Data) -> bool {
    HEALTHY_M[0] < data.qpos()[2] && data.qpos()[2] < HEALTHY_M[1]
}

impl Task for Loaded {
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
        let model = &*self.scene.model;
        let mut names = coordinates(model, false).split_off(2);
        let velocities = coordinates(model, true);
        let torques = velocities[FREE..].iter().map(|n| n.replacen("qvel", "qfrc_actuator", 1));
        let torques: Vec<String> = torques.collect();
        names.extend(velocities);
        names.extend(of_bodies(model, "cinert", 10));
        names.extend(of_bodies(model, "cvel", 6));
        names.extend(torques);
        names.extend(of_bodies(model, "cfrc_ext", 6));
        let observe = |now: &Moment<'_>, out: &mut [f64]| {
            let data = now.data;
            let parts: [&[f64]; 6] = [
                &data.qpos()[2..],
                data.qvel(),
                data.cinert()[1..].as_flattened(),
                data.cvel()[1..].as_flattened(),
                &data.qfrc_actuator()[FREE..],
                data.cfrc_ext()[1..].as_flattened(),
            ];
            let mut at = 0;
            for part in parts {
                out[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        };
        vec![ObservationTerm {
            key: "observation.state",
            spec: observation(&names),
            privileged: false,
            observe: Observe::F64(Box::new(observe)),
        }]
    }

    fn remembered(&self) -> usize {
        1
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        uniform_around(data.qpos_mut(), self.scene.qpos.iter().copied(), NOISE, rng);
        uniform_around(data.qvel_mut(), std::iter::repeat(0.0), NOISE, rng);
    }

    fn begun(&self, data: &mut Data, memory: &mut Memory) {
        memory.values[0] = self.centre(data);
    }

    fn end_of_step(&self, data: &mut Data, memory: &mut Memory) {
        memory.values[0] = self.centre(data);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        hold_and_feel(data, &memory.action, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let data = now.data;
        let control = -CONTROL * numpy::sum_of_squares(data.ctrl().iter().copied());
        let forces = data.cfrc_ext().as_flattened().iter().copied();
        let contact = -(CONTACT * numpy::sum_of_squares(forces)).min(MOST_CONTACT);
        let terms = match self.goal {
            Goal::Walk => {
                let speed = (self.centre(data) - now.memory.values[0]) / self.dt;
                [FORWARD * speed, if is_healthy(data) { SURVIVE } else { 0.0 }, control, contact]
            }
            Goal::StandUp => [data.qpos()[2] / self.timestep, control, contact, 1.0],
        };
        out.copy_from_slice(&terms);
    }

    fn failed(&self, now: &Moment<'_>) -> bool {
        self.goal == Goal::Walk && !is_healthy(now.data)
    }
}
