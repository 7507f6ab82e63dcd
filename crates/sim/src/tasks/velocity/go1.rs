//! Unitree Go1, 12.7 kg, twelve motors.
//!
//! Gains: 35 Nm/rad and 1 Nms/rad, as MuJoCo Playground has them (there 0.5 of the damping is the
//! joint's). The 15.9 and 35.8 Nm/rad of mjlab's natural-frequency rule let the robot slide into a
//! split and fall within four seconds of standing still.

use super::command::Commands;
use super::randomize::{Draw, Noise, Parameter, Pushes};
use super::rewards::{self, Reward};
use super::robot::{Foot, Gait, Joint, Motor, Robot, Sole};

/// Rotor 1.118e-4 kg·m², geared 6 to 1; the knee 9 to 1.
const HIP: Motor =
    Motor { gain: 35.0, damping: 1.0, armature: 0.004026, torque: 23.7, action_rad: 0.15 };
const THIGH: Motor =
    Motor { gain: 35.0, damping: 1.0, armature: 0.004026, torque: 23.7, action_rad: 0.3 };
const CALF: Motor =
    Motor { gain: 35.0, damping: 1.0, armature: 0.009059, torque: 35.55, action_rad: 0.3 };

const fn joint(name: &'static str, motor: &'static Motor, home: f64, stiffness: f64) -> Joint {
    Joint { name, motor, home, acted: true, stiffness }
}

const fn foot(name: &'static str, body: &'static str, sole: &'static str, offset: f64) -> Foot {
    Foot { name, body, sole: Sole::Named(sole), offset }
}

pub(super) const GO1: Robot = Robot {
    name: "go1",
    title: "Unitree Go1",
    base: "trunk",
    height_m: 0.278,
    joints: &[
        joint("FR_hip_joint", &HIP, 0.1, 1.0),
        joint("FR_thigh_joint", &THIGH, 0.9, 0.2),
        joint("FR_calf_joint", &CALF, -1.8, 0.1),
        joint("FL_hip_joint", &HIP, -0.1, 1.0),
        joint("FL_thigh_joint", &THIGH, 0.9, 0.2),
        joint("FL_calf_joint", &CALF, -1.8, 0.1),
        joint("RR_hip_joint", &HIP, 0.1, 1.0),
        joint("RR_thigh_joint", &THIGH, 0.9, 0.2),
        joint("RR_calf_joint", &CALF, -1.8, 0.1),
        joint("RL_hip_joint", &HIP, -0.1, 1.0),
        joint("RL_thigh_joint", &THIGH, 0.9, 0.2),
        joint("RL_calf_joint", &CALF, -1.8, 0.1),
    ],
    welded: &[],
    // A trot: diagonal feet together.
    feet: &[
        foot("FR", "FR_calf", "FR_foot_collision", 0.0),
        foot("FL", "FL_calf", "FL_foot_collision", 0.5),
        foot("RR", "RR_calf", "RR_foot_collision", 0.5),
        foot("RL", "RL_calf", "RL_foot_collision", 0.0),
    ],
    touching: &["trunk_collision", "head_collision"],
    fallen_below_m: 0.14,
    gait: Gait { period_s: 0.44, stance: 0.55, swing_height_m: 0.07 },
    commands: Commands {
        ahead: [-1.0, 1.0],
        aside: [-0.5, 0.5],
        turn: [-1.0, 1.0],
        standing: 0.1,
        hold_s: [4.0, 10.0],
    },
    rewards: &[
        Reward { weight: 2.0, term: &rewards::TRACK_VELOCITY },
        Reward { weight: 1.0, term: &rewards::TRACK_TURN },
        Reward { weight: 0.5, term: &rewards::GAIT },
        Reward { weight: -20.0, term: &rewards::SWING_HEIGHT },
        Reward { weight: -1.0, term: &rewards::VERTICAL_VELOCITY },
        Reward { weight: -0.05, term: &rewards::TUMBLING },
        Reward { weight: -2.0, term: &rewards::TILT },
        Reward { weight: -0.5, term: &rewards::POSE },
        Reward { weight: -0.2, term: &rewards::STAND_STILL },
        Reward { weight: -2e-4, term: &rewards::TORQUE },
        Reward { weight: -0.01, term: &rewards::ACTION_RATE },
        Reward { weight: -0.1, term: &rewards::SLIP },
        Reward { weight: -1.0, term: &rewards::JOINT_LIMITS },
        Reward { weight: -50.0, term: &rewards::FALL },
    ],
    randomization: &[
        Draw { what: Parameter::Friction, low: 0.4, high: 1.2 },
        Draw { what: Parameter::BaseMass, low: -0.8, high: 1.5 },
        Draw { what: Parameter::BaseComX, low: -0.03, high: 0.03 },
        Draw { what: Parameter::BaseComY, low: -0.02, high: 0.02 },
        Draw { what: Parameter::BaseComZ, low: -0.02, high: 0.02 },
        Draw { what: Parameter::Strength, low: 0.9, high: 1.1 },
        Draw { what: Parameter::JointDamping, low: 0.0, high: 0.2 },
        Draw { what: Parameter::Armature, low: 0.9, high: 1.2 },
        Draw { what: Parameter::Latency, low: 0.0, high: 2.0 },
    ],
    pushes: Pushes { every_s: [5.0, 10.0], velocity: 0.4, turn: 0.4 },
    noise: Noise {
        base_velocity: 0.1,
        gyro: 0.2,
        gravity: 0.05,
        joint_pos: 0.01,
        joint_vel: 1.5,
        joint_bias: 0.015,
        height_scan: 0.02,
    },
    terrain_scale: 1.0,
    camera: "tracking",
};
