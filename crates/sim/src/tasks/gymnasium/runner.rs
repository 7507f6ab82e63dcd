//! Robots that are paid for the way they make: HalfCheetah, Hopper, Walker2d, Swimmer, Ant.
//!
//! One task, a robot being configuration over it. Reward: forward speed, less the cost of torques
//! and of contact forces, plus a bonus while the robot is healthy; unhealthy, the episode ends.

use std::path::Path;
use std::sync::Arc;

use embody_core::ContentHash;
use mujoco_rs::prelude::MjModel;
use rand_chacha::ChaCha8Rng;

use super::{
    Scene, actions, coordinates, hold, hold_and_feel, load, normal, numpy, observation, of_bodies,
    track, uniform_around,
};
use crate::SimError;
use crate::mj::Data;
use crate::tasks::{
    Camera, Definition, Memory, Moment, ObservationTerm, Observe, Task, TaskDescription, Term,
};

/// A robot.
pub(super) struct Runner {
    id: &'static str,
    summary: &'static str,
    robot: &'static str,
    file: &'static str,
    joints: &'static [&'static str],
    /// Physics steps per control step, and seconds of one.
    substeps: usize,
    timestep: f64,
    /// How many positions are left out of the observation: where the robot is.
    unseen: usize,
    /// Bound of observed velocities.
    velocity_bound: f64,
    /// Cost of torques: weight of the sum of squares of the action.
    control: f64,
    health: Option<Health>,
    contact: Option<Contact>,
    /// Whether speed is the first body's, else that of the first coordinate.
    speed_of_body: bool,
    noise: f64,
    /// Whether initial velocities are normal, else uniform.
    normal_velocities: bool,
}

/// When a robot is healthy.
struct Health {
    /// Range of the coordinate of height, and whether its bounds belong to it.
    height: [f64; 2],
    at: usize,
    closed: bool,
    /// Range of the torso's angle.
    angle: Option<[f64; 2]>,
    /// Bound of all other coordinates and velocities.
    state: Option<f64>,
    /// Whether the bonus is paid at the step that ends the episode as well (version 4).
    to_the_end: bool,
}

/// Forces on bodies in the observation, clamped to ±1, and their cost.
struct Contact {
    weight: f64,
}

const BOUND: f64 = f64::INFINITY;
const LEGS: [&str; 6] = [
    "thigh_joint",
    "leg_joint",
    "foot_joint",
    "thigh_left_joint",
    "leg_left_joint",
    "foot_left_joint",
];

const CHEETAH: Runner = Runner {
    id: "HalfCheetah-v5",
    summary: "A planar cheetah of seven links runs.",
    robot: "half_cheetah",
    file: "half_cheetah.xml",
    joints: &["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"],
    substeps: 5,
    timestep: 0.01,
    unseen: 1,
    velocity_bound: BOUND,
    control: 0.1,
    health: None,
    contact: None,
    speed_of_body: false,
    noise: 0.1,
    normal_velocities: true,
};
const HOPPER: Runner = Runner {
    id: "Hopper-v5",
    summary: "A planar leg hops.",
    robot: "hopper",
    file: "hopper.xml",
    joints: &["thigh_joint", "leg_joint", "foot_joint"],
    substeps: 4,
    timestep: 0.002,
    velocity_bound: 10.0,
    control: 0.001,
    health: Some(Health {
        height: [0.7, BOUND],
        at: 1,
        closed: false,
        angle: Some([-0.2, 0.2]),
        state: Some(100.0),
        to_the_end: false,
    }),
    noise: 0.005,
    normal_velocities: false,
    ..CHEETAH
};
const WALKER: Runner = Runner {
    id: "Walker2d-v5",
    summary: "A planar pair of legs walks.",
    robot: "walker2d",
    file: "walker2d_v5.xml",
    joints: &LEGS,
    health: Some(Health {
        height: [0.8, 2.0],
        at: 1,
        closed: false,
        angle: Some([-1.0, 1.0]),
        state: None,
        to_the_end: false,
    }),
    ..HOPPER
};
const SWIMMER: Runner = Runner {
    id: "Swimmer-v5",
    summary: "A chain of three links swims in a viscous plane.",
    robot: "swimmer",
    file: "swimmer.xml",
    joints: &["motor1_rot", "motor2_rot"],
    substeps: 4,
    unseen: 2,
    control: 1e-4,
    normal_velocities: false,
    ..CHEETAH
};
const ANT: Runner = Runner {
    id: "Ant-v5",
    summary: "A four-legged robot walks.",
    robot: "ant",
    file: "ant.xml",
    joints: &["hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3"],
    unseen: 2,
    control: 0.5,
    health: Some(Health {
        height: [0.2, 1.0],
        at: 2,
        closed: true,
        angle: None,
        state: None,
        to_the_end: false,
    }),
    contact: Some(Contact { weight: 5e-4 }),
    speed_of_body: true,
    ..CHEETAH
};

/// All robots; version 4 pays the bonus to the end, has no contact forces, and another foot friction.
pub(super) static ALL: [Runner; 9] = [
    CHEETAH,
    HOPPER,
    WALKER,
    SWIMMER,
    ANT,
    Runner { id: "HalfCheetah-v4", ..CHEETAH },
    Runner {
        id: "Hopper-v4",
        health: Some(Health {
            height: [0.7, BOUND],
            at: 1,
            closed: false,
            angle: Some([-0.2, 0.2]),
            state: Some(100.0),
            to_the_end: true,
        }),
        ..HOPPER
    },
    Runner {
        id: "Walker2d-v4",
        file: "walker2d.xml",
        health: Some(Health {
            height: [0.8, 2.0],
            at: 1,
            closed: false,
            angle: Some([-1.0, 1.0]),
            state: None,
            to_the_end: true,
        }),
        ..WALKER
    },
    Runner {
        id: "Ant-v4",
        health: Some(Health {
            height: [0.2, 1.0],
            at: 2,
            closed: true,
            angle: None,
            state: None,
            to_the_end: true,
        }),
        contact: None,
        ..ANT
    },
];

impl Health {
    fn holds(&self, data: &Data) -> bool {
        let (qpos, qvel) = (data.qpos(), data.qvel());
        let [low, high] = self.height;
        let height = qpos[self.at];
        let within = if self.closed {
            (low..=high).contains(&height) && qpos.iter().chain(qvel).all(|x| x.is_finite())
        } else {
            low < height && height < high
        };
        within
            && self.angle.is_none_or(|[low, high]| low < qpos[2] && qpos[2] < high)
            && self
                .state
                .is_none_or(|bound| qpos[2..].iter().chain(qvel).all(|x| -bound < *x && *x < bound))
    }
}

impl Definition for Runner {
    fn describe(&self) -> TaskDescription {
        let mut rewards = vec![Term::new("forward", "speed along x, m/s")];
        let mut termination = "never; truncated after 1,000 steps";
        if let Some(health) = &self.health {
            let [low, high] = health.height;
            rewards.push(Term::new(
                "survive",
                format!(
                    "1 while healthy: height in {low}..{high} m, angle in {:?} rad",
                    health.angle
                ),
            ));
            termination = "when no longer healthy; truncated after 1,000 steps";
        }
        rewards.push(Term::new("control", format!("-{} · sum of squared action", self.control)));
        let mut seen = format!(
            "f64: positions from the {}th on, velocities clamped to ±{}",
            self.unseen + 1,
            self.velocity_bound
        );
        if let Some(contact) = &self.contact {
            let text =
                format!("-{} · sum of squared forces on bodies, clamped to ±1", contact.weight);
            rewards.push(Term::new("contact", text));
            seen += ", forces on bodies clamped to ±1";
        }
        let velocities = if self.normal_velocities { "normal, sd" } else { "uniform, ±" };
        TaskDescription {
            id: self.id,
            version: 1,
            summary: self.summary,
            instruction: "Run forward.",
            robot_type: self.robot,
            control_hz: 1.0 / (self.timestep * self.substeps as f64),
            substeps: self.substeps,
            max_episode_steps: 1000,
            action: actions(self.joints, 1.0),
            observations: vec![Term::new("observation.state", seen)],
            cameras: track(),
            rewards,
            randomization: vec![
                Term::new("positions", format!("uniform, ±{}", self.noise)),
                Term::new("velocities", format!("{velocities} {}", self.noise)),
            ],
            success: None,
            termination,
        }
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let scene = load(self.id, asset_dir, self.file, None)?;
        let dt = scene.model.opt().timestep * self.substeps as f64;
        Ok(Arc::new(Running { robot: self, scene, dt }))
    }
}

/// The loaded task.
struct Running {
    robot: &'static Runner,
    scene: Scene,
    /// Seconds of a control step.
    dt: f64,
}

impl Running {
    fn place(&self, data: &Data) -> f64 {
        if self.robot.speed_of_body { data.xpos()[1][0] } else { data.qpos()[0] }
    }
}

impl Task for Running {
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
        let (model, robot) = (&*self.scene.model, self.robot);
        let mut names = coordinates(model, false).split_off(robot.unseen);
        names.extend(coordinates(model, true));
        if robot.contact.is_some() {
            names.extend(of_bodies(model, "cfrc_ext", 6));
        }
        let observe = |now: &Moment<'_>, out: &mut [f64]| {
            let positions = &now.data.qpos()[robot.unseen..];
            let (head, rest) = out.split_at_mut(positions.len());
            head.copy_from_slice(positions);
            let velocities = now.data.qvel();
            let (middle, forces) = rest.split_at_mut(velocities.len());
            let bound = robot.velocity_bound;
            middle.iter_mut().zip(velocities).for_each(|(o, v)| *o = v.clamp(-bound, bound));
            if robot.contact.is_some() {
                let of_bodies = now.data.cfrc_ext()[1..].as_flattened();
                forces.iter_mut().zip(of_bodies).for_each(|(o, f)| *o = f.clamp(-1.0, 1.0));
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
        let noise = self.robot.noise;
        uniform_around(data.qpos_mut(), self.scene.qpos.iter().copied(), noise, rng);
        if self.robot.normal_velocities {
            data.qvel_mut().iter_mut().for_each(|v| *v = noise * normal(rng));
        } else {
            uniform_around(data.qvel_mut(), std::iter::repeat(0.0), noise, rng);
        }
    }

    fn begun(&self, data: &mut Data, memory: &mut Memory) {
        memory.values[0] = self.place(data);
    }

    fn end_of_step(&self, data: &mut Data, memory: &mut Memory) {
        memory.values[0] = self.place(data);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        let hold = if self.robot.contact.is_some() { hold_and_feel } else { hold };
        hold(data, &memory.action, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let (data, robot) = (now.data, self.robot);
        let forward = (self.place(data) - now.memory.values[0]) / self.dt;
        let survive = robot
            .health
            .as_ref()
            .map(|health| if health.to_the_end || health.holds(data) { 1.0 } else { 0.0 });
        let control = -numpy::action_cost(robot.control, &now.memory.action);
        let contact = robot.contact.as_ref().map(|contact| {
            let forces = data.cfrc_ext().as_flattened().iter().map(|f| f.clamp(-1.0, 1.0));
            -contact.weight * numpy::sum_of_squares(forces)
        });
        let terms = [Some(forward), survive, Some(control), contact];
        out.iter_mut().zip(terms.into_iter().flatten()).for_each(|(o, term)| *o = term);
    }

    fn failed(&self, now: &Moment<'_>) -> bool {
        self.robot.health.as_ref().is_some_and(|health| !health.holds(now.data))
    }
}
