//! Terms of the reward: each a function of the step that has just been taken.
//!
//! A robot's table weights them; weights are per second, so a term's contribution to a step is
//! `weight · term · 0.02`. After legged_gym (Rudin et al. 2022), MuJoCo Playground (Zakka et al.
//! 2025) and mjlab; the gait terms after Siekmann et al. 2021, *Sim-to-real learning of all common
//! bipedal gaits via periodic reward composition*.

use mujoco_rs::prelude::MjtObjBase;

use super::command::moves;
use super::state::Base;
use super::{Velocity, robot};
use crate::tasks::Moment;

/// A weighted term.
#[derive(Debug)]
pub(super) struct Reward {
    /// Per second.
    pub weight: f64,
    pub term: &'static RewardTerm,
}

/// A term that robots share.
#[derive(Debug)]
pub(super) struct RewardTerm {
    pub name: &'static str,
    /// In words, with units.
    pub meaning: &'static str,
    pub value: fn(&Step<'_>) -> f64,
}

/// What the terms look at.
pub(super) struct Step<'a> {
    pub task: &'a Velocity,
    pub now: &'a Moment<'a>,
    pub base: Base,
}

impl<'a> Step<'a> {
    pub fn new(task: &'a Velocity, now: &'a Moment<'a>) -> Self {
        Self { task, now, base: Base::of(now.data) }
    }

    fn values(&self, range: &std::ops::Range<usize>) -> &'a [f64] {
        &self.now.memory.values[range.clone()]
    }

    pub fn command(&self) -> &'a [f64] {
        self.values(&self.task.layout.command)
    }

    /// By how much the base's planar velocity misses the command, squared, (m/s)².
    pub fn velocity_error(&self) -> f64 {
        let (v, c) = (self.base.velocity, self.command());
        (v[0] - c[0]).powi(2) + (v[1] - c[1]).powi(2)
    }

    /// By how much its turning misses the command, rad/s.
    pub fn turn_error(&self) -> f64 {
        (self.base.turn[2] - self.command()[2]).abs()
    }

    /// Distance of each acted joint from its default position, rad, with the joint.
    fn off_home(&self) -> impl Iterator<Item = (f64, &'static robot::Joint)> {
        let qpos = self.now.data.qpos();
        let acted = self.task.joints.iter().filter(|j| j.config.acted);
        acted.map(move |joint| (qpos[joint.qpos] - joint.config.home, joint.config))
    }
}

/// Width of the kernels that reward tracking: (0.5 m/s)² and (0.5 rad/s)².
const TRACKING: f64 = 0.25;

pub(super) const TRACK_VELOCITY: RewardTerm = RewardTerm {
    name: "track_velocity",
    meaning: "exp(-e²/0.25), e the error of the base's planar velocity in m/s",
    value: |step| (-step.velocity_error() / TRACKING).exp(),
};

pub(super) const TRACK_TURN: RewardTerm = RewardTerm {
    name: "track_turn",
    meaning: "exp(-e²/0.25), e the error of the base's turning rate in rad/s",
    value: |step| (-step.turn_error().powi(2) / TRACKING).exp(),
};

pub(super) const GAIT: RewardTerm = RewardTerm {
    name: "gait",
    meaning: "share of feet that stand or swing as the gait's clock wants; all are to stand under \
              the command to stand still",
    value: |step| {
        let contacts = step.values(&step.task.layout.contact);
        let right = contacts.iter().enumerate().filter(|(foot, contact)| {
            (**contact > 0.0) == step.task.swing(step.now.memory, *foot).is_none()
        });
        right.count() as f64 / contacts.len() as f64
    },
};

pub(super) const SWING_HEIGHT: RewardTerm = RewardTerm {
    name: "swing_height",
    meaning: "m², over feet that are to swing: squared distance from the height that the clock wants",
    value: |step| {
        let heights = step.values(&step.task.layout.height).iter().enumerate();
        heights
            .filter_map(|(foot, height)| {
                let wanted = step.task.swing(step.now.memory, foot)?;
                Some((height - wanted).powi(2))
            })
            .sum()
    },
};

pub(super) const VERTICAL_VELOCITY: RewardTerm = RewardTerm {
    name: "vertical_velocity",
    meaning: "(m/s)², of the base",
    value: |step| step.base.velocity[2].powi(2),
};

pub(super) const TUMBLING: RewardTerm = RewardTerm {
    name: "tumbling",
    meaning: "(rad/s)², of the base about its horizontal axes",
    value: |step| step.base.turn[0].powi(2) + step.base.turn[1].powi(2),
};

pub(super) const TILT: RewardTerm = RewardTerm {
    name: "tilt",
    meaning: "squared sine of the angle between the base's axis and the vertical",
    value: |step| step.base.gravity[0].powi(2) + step.base.gravity[1].powi(2),
};

pub(super) const POSE: RewardTerm = RewardTerm {
    name: "pose",
    meaning: "rad², weighted by joint: squared distance from the default pose",
    value: |step| step.off_home().map(|(off, joint)| joint.stiffness * off * off).sum(),
};

pub(super) const STAND_STILL: RewardTerm = RewardTerm {
    name: "stand_still",
    meaning: "rad, under the command to stand still: distance of the joints from the default pose",
    value: |step| {
        if moves(step.command()) {
            return 0.0;
        }
        step.off_home().map(|(off, _)| off.abs()).sum()
    },
};

pub(super) const TORQUE: RewardTerm = RewardTerm {
    name: "torque",
    meaning: "(Nm)², of all motors",
    value: |step| step.now.data.actuator_force().iter().map(|f| f * f).sum(),
};

pub(super) const ACTION_RATE: RewardTerm = RewardTerm {
    name: "action_rate",
    meaning: "squared change of the action since the last step",
    value: |step| {
        let memory = step.now.memory;
        let change = memory.action.iter().zip(&memory.previous);
        change.map(|(a, b)| f64::from(a - b).powi(2)).sum()
    },
};

pub(super) const SLIP: RewardTerm = RewardTerm {
    name: "slip",
    meaning: "(m/s)², horizontal speed of feet on the ground",
    value: |step| {
        let contacts = step.values(&step.task.layout.contact).iter().enumerate();
        contacts
            .filter(|(_, contact)| **contact > 0.0)
            .map(|(foot, _)| {
                let geom = step.task.feet[foot].soles[0];
                let v = step.now.data.object_velocity(MjtObjBase::mjOBJ_GEOM, geom, false);
                // Rotation comes first.
                v[3].powi(2) + v[4].powi(2)
            })
            .sum()
    },
};

pub(super) const JOINT_LIMITS: RewardTerm = RewardTerm {
    name: "joint_limits",
    meaning: "rad, by which joints are beyond the middle 90 % of their range",
    value: |step| {
        let qpos = step.now.data.qpos();
        let beyond = step.task.joints.iter().map(|joint| {
            let [low, high] = joint.soft_limits;
            (low - qpos[joint.qpos]).max(qpos[joint.qpos] - high).max(0.0)
        });
        beyond.sum()
    },
};

pub(super) const FALL: RewardTerm = RewardTerm {
    name: "fall",
    meaning: "1 at the step that ends the episode by a fall",
    value: |step| f64::from(u8::from(step.task.is_fallen(&step.base))),
};
