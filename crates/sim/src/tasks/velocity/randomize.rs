//! Domain randomisation as data: what is drawn at the beginning of each episode, what disturbs it,
//! how sensors err.
//!
//! Parameters of physics are drawn per environment and written into a model of its own. Inverse
//! weights, which only scale how soft contacts are, stay those of the nominal model.

use mujoco_rs::prelude::MjModel;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Velocity;
use crate::mj;

/// What can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    Friction,
    BaseMass,
    BaseComX,
    BaseComY,
    BaseComZ,
    Strength,
    JointDamping,
    Armature,
    Latency,
}

/// A parameter that is drawn uniformly once per episode.
#[derive(Debug)]
pub(super) struct Draw {
    pub what: Parameter,
    pub low: f64,
    pub high: f64,
}

impl Parameter {
    pub fn name(self) -> &'static str {
        match self {
            Self::Friction => "friction",
            Self::BaseMass => "base_mass",
            Self::BaseComX => "base_com.x",
            Self::BaseComY => "base_com.y",
            Self::BaseComZ => "base_com.z",
            Self::Strength => "motor_strength",
            Self::JointDamping => "joint_damping",
            Self::Armature => "armature",
            Self::Latency => "action_latency",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Friction => "sliding friction of the feet",
            Self::BaseMass => "kg added to the base",
            Self::BaseComX => "m, shift of the base's centre of mass, ahead",
            Self::BaseComY => "m, shift of the base's centre of mass, to the left",
            Self::BaseComZ => "m, shift of the base's centre of mass, up",
            Self::Strength => "factor on both gains of all motors",
            Self::JointDamping => "Nms/rad added to every joint",
            Self::Armature => "factor on the inertia of all rotors",
            Self::Latency => "physics steps until an action takes effect",
        }
    }

    /// Without randomisation.
    pub fn nominal(self) -> f64 {
        match self {
            Self::Friction => 0.8,
            Self::Strength | Self::Armature => 1.0,
            Self::BaseMass
            | Self::BaseComX
            | Self::BaseComY
            | Self::BaseComZ
            | Self::JointDamping
            | Self::Latency => 0.0,
        }
    }

    fn is_whole(self) -> bool {
        self == Self::Latency
    }
}

impl Draw {
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        if self.what.is_whole() {
            return rng.random_range(self.low as i64..=self.high as i64) as f64;
        }
        rng.random_range(self.low..=self.high)
    }

    pub fn text(&self) -> String {
        format!("{}..{}: {}", self.low, self.high, self.what.meaning())
    }
}

/// Writes the parameters of an episode into the model of its environment.
pub(super) fn apply(task: &Velocity, model: &mut MjModel, values: &[f64]) {
    let nominal = &*task.model;
    let value = |what: Parameter| {
        let drawn = task.robot.randomization.iter().position(|draw| draw.what == what);
        drawn.map_or(what.nominal(), |i| values[i])
    };
    for geom in &task.soles {
        model.geom_friction_mut()[*geom][0] = value(Parameter::Friction);
    }
    let base = task.base;
    model.body_mass_mut()[base] = nominal.body_mass()[base] + value(Parameter::BaseMass);
    let shift = [Parameter::BaseComX, Parameter::BaseComY, Parameter::BaseComZ];
    for (axis, what) in shift.into_iter().enumerate() {
        model.body_ipos_mut()[base][axis] = nominal.body_ipos()[base][axis] + value(what);
    }
    for joint in &task.joints {
        let (dof, strength) = (joint.dof, value(Parameter::Strength));
        model.dof_damping_mut()[dof] = nominal.dof_damping()[dof] + value(Parameter::JointDamping);
        model.dof_armature_mut()[dof] = nominal.dof_armature()[dof] * value(Parameter::Armature);
        let motor = joint.config.motor;
        mj::set_gains(model, joint.actuator, motor.gain * strength, motor.damping * strength);
    }
}

/// A push: the base's velocity changes at once.
#[derive(Debug)]
pub(super) struct Pushes {
    /// Between pushes, seconds.
    pub every_s: [f64; 2],
    /// In each horizontal direction of the world, at most, m/s.
    pub velocity: f64,
    /// About the vertical, at most, rad/s.
    pub turn: f64,
}

impl Pushes {
    pub fn text(&self) -> String {
        format!(
            "every {}..{} s, the base's velocity changes by up to {} m/s along x and y, and by up to \
             {} rad/s about the vertical",
            self.every_s[0], self.every_s[1], self.velocity, self.turn
        )
    }
}

/// Largest errors of what the policy observes, uniform and anew at each step, but for the bias, which
/// stays for an episode.
#[derive(Debug)]
pub(super) struct Noise {
    /// m/s.
    pub base_velocity: f64,
    /// rad/s.
    pub gyro: f64,
    /// Of the unit vector.
    pub gravity: f64,
    /// rad.
    pub joint_pos: f64,
    /// rad/s.
    pub joint_vel: f64,
    /// rad, of each joint's position: where its encoder believes zero to be.
    pub joint_bias: f64,
    /// m.
    pub height_scan: f64,
}

impl Noise {
    pub fn text(&self) -> String {
        format!(
            "uniform at each step: gyro ±{} rad/s, gravity ±{}, joint positions ±{} rad, joint \
             velocities ±{} rad/s, base velocity ±{} m/s, height scan ±{} m",
            self.gyro,
            self.gravity,
            self.joint_pos,
            self.joint_vel,
            self.base_velocity,
            self.height_scan
        )
    }
}
