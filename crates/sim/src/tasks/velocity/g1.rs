//! Unitree G1, 33 kg, with the 21 joints of its legs, waist and arms that the 23-joint version of the
//! robot has but for the wrists; what that version lacks is welded.
//!
//! The policy sets legs, waist and the shoulders' swing; the other arm joints hold the default pose.
//! Armatures and torques are those of mjlab's motor data. Gains are stiffer: with mjlab's 28.5 Nm/rad
//! at each ankle, weight (33 kg · 9.81 m/s² · 0.64 m = 209 Nm/rad) topples the robot within a second;
//! with 200 it stands by itself, which spares a learner on a few cores the first millions of steps.

use super::command::Commands;
use super::randomize::{Draw, Noise, Parameter, Pushes};
use super::rewards::{self, Reward};
use super::robot::{Foot, Gait, Joint, Motor, Robot, Sole};

const HIP_14: Motor =
    Motor { gain: 200.0, damping: 5.0, armature: 0.010178, torque: 88.0, action_rad: 0.25 };
const HIP_22: Motor =
    Motor { gain: 200.0, damping: 5.0, armature: 0.025102, torque: 139.0, action_rad: 0.15 };
const KNEE: Motor =
    Motor { gain: 200.0, damping: 5.0, armature: 0.025102, torque: 139.0, action_rad: 0.3 };
/// Two motors at a linkage.
const ANKLE: Motor =
    Motor { gain: 200.0, damping: 5.0, armature: 0.007219, torque: 50.0, action_rad: 0.2 };
const WAIST: Motor =
    Motor { gain: 300.0, damping: 5.0, armature: 0.010178, torque: 88.0, action_rad: 0.1 };
const ARM: Motor =
    Motor { gain: 60.0, damping: 2.0, armature: 0.00361, torque: 25.0, action_rad: 0.2 };

const fn acted(name: &'static str, motor: &'static Motor, home: f64, stiffness: f64) -> Joint {
    Joint { name, motor, home, acted: true, stiffness }
}

const fn held(name: &'static str, home: f64) -> Joint {
    Joint { name, motor: &ARM, home, acted: false, stiffness: 0.0 }
}

const fn foot(name: &'static str, body: &'static str, offset: f64) -> Foot {
    let at = [
        [-0.05, 0.025, -0.025],
        [-0.05, -0.025, -0.025],
        [0.12, 0.03, -0.025],
        [0.12, -0.03, -0.025],
    ];
    Foot { name, body, sole: Sole::Corners { radius: 0.01, at }, offset }
}

pub(super) const G1: Robot = Robot {
    name: "g1",
    title: "Unitree G1",
    base: "pelvis",
    height_m: 0.757,
    joints: &[
        acted("left_hip_pitch_joint", &HIP_14, -0.312, 0.1),
        acted("left_hip_roll_joint", &HIP_22, 0.0, 1.0),
        acted("left_hip_yaw_joint", &HIP_14, 0.0, 1.0),
        acted("left_knee_joint", &KNEE, 0.669, 0.05),
        acted("left_ankle_pitch_joint", &ANKLE, -0.363, 0.1),
        acted("left_ankle_roll_joint", &ANKLE, 0.0, 0.5),
        acted("right_hip_pitch_joint", &HIP_14, -0.312, 0.1),
        acted("right_hip_roll_joint", &HIP_22, 0.0, 1.0),
        acted("right_hip_yaw_joint", &HIP_14, 0.0, 1.0),
        acted("right_knee_joint", &KNEE, 0.669, 0.05),
        acted("right_ankle_pitch_joint", &ANKLE, -0.363, 0.1),
        acted("right_ankle_roll_joint", &ANKLE, 0.0, 0.5),
        acted("waist_yaw_joint", &WAIST, 0.0, 1.0),
        acted("left_shoulder_pitch_joint", &ARM, 0.2, 0.3),
        held("left_shoulder_roll_joint", 0.2),
        held("left_shoulder_yaw_joint", 0.0),
        held("left_elbow_joint", 0.6),
        acted("right_shoulder_pitch_joint", &ARM, 0.2, 0.3),
        held("right_shoulder_roll_joint", -0.2),
        held("right_shoulder_yaw_joint", 0.0),
        held("right_elbow_joint", 0.6),
    ],
    welded: &[
        "waist_roll_joint",
        "waist_pitch_joint",
        "left_wrist_roll_joint",
        "left_wrist_pitch_joint",
        "left_wrist_yaw_joint",
        "right_wrist_roll_joint",
        "right_wrist_pitch_joint",
        "right_wrist_yaw_joint",
    ],
    feet: &[foot("left", "left_ankle_roll_link", 0.0), foot("right", "right_ankle_roll_link", 0.5)],
    touching: &["pelvis_collision", "torso_collision", "head_collision"],
    fallen_below_m: 0.45,
    gait: Gait { period_s: 0.72, stance: 0.58, swing_height_m: 0.08 },
    commands: Commands {
        ahead: [-0.5, 1.0],
        aside: [-0.3, 0.3],
        turn: [-0.7, 0.7],
        standing: 0.1,
        hold_s: [4.0, 10.0],
    },
    rewards: &[
        Reward { weight: 2.0, term: &rewards::TRACK_VELOCITY },
        Reward { weight: 1.0, term: &rewards::TRACK_TURN },
        Reward { weight: 1.0, term: &rewards::GAIT },
        Reward { weight: -30.0, term: &rewards::SWING_HEIGHT },
        Reward { weight: -0.5, term: &rewards::VERTICAL_VELOCITY },
        Reward { weight: -0.1, term: &rewards::TUMBLING },
        Reward { weight: -4.0, term: &rewards::TILT },
        Reward { weight: -0.5, term: &rewards::POSE },
        Reward { weight: -0.2, term: &rewards::STAND_STILL },
        Reward { weight: -2e-5, term: &rewards::TORQUE },
        Reward { weight: -0.01, term: &rewards::ACTION_RATE },
        Reward { weight: -0.1, term: &rewards::SLIP },
        Reward { weight: -1.0, term: &rewards::JOINT_LIMITS },
        Reward { weight: -50.0, term: &rewards::FALL },
    ],
    randomization: &[
        Draw { what: Parameter::Friction, low: 0.4, high: 1.2 },
        Draw { what: Parameter::BaseMass, low: -1.0, high: 3.0 },
        Draw { what: Parameter::BaseComX, low: -0.03, high: 0.03 },
        Draw { what: Parameter::BaseComY, low: -0.03, high: 0.03 },
        Draw { what: Parameter::BaseComZ, low: -0.03, high: 0.03 },
        Draw { what: Parameter::Strength, low: 0.9, high: 1.1 },
        Draw { what: Parameter::JointDamping, low: 0.0, high: 0.5 },
        Draw { what: Parameter::Armature, low: 0.9, high: 1.2 },
        Draw { what: Parameter::Latency, low: 0.0, high: 2.0 },
    ],
    pushes: Pushes { every_s: [5.0, 10.0], velocity: 0.3, turn: 0.3 },
    noise: Noise {
        base_velocity: 0.1,
        gyro: 0.2,
        gravity: 0.05,
        joint_pos: 0.01,
        joint_vel: 1.5,
        joint_bias: 0.015,
        height_scan: 0.02,
    },
    terrain_scale: 0.8,
    camera: "tracking",
};
