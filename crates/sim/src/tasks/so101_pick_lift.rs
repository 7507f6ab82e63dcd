//! `so101-pick-lift`: an SO-101 arm picks up a cube from a table and lifts it.
//!
//! A 28 mm cube of 22 g lies at a random place of a 12 × 14 cm field before the arm, turned by up to
//! 30° against the direction of the arm's base (a cube looks the same every 90°, so a wider range
//! would give the same picture two right answers). The action is the six joints' set-points at 20 Hz;
//! within a control step the servo's set-point moves linearly from the last one to the new one, as
//! a servo with a speed profile does, so that an action is reached when the next one is due. Physics
//! runs at 200 Hz with elliptic friction cones and torsional friction at the jaws.
//!
//! Success: the cube's centre is at least 6.4 cm above the table (5 cm above where it lay) for ten
//! control steps (0.5 s) in a row: longer than a cube thrown that high stays there.

use std::path::Path;
use std::sync::Arc;

use embody_core::{ContentHash, DType, FeatureSpec, hash_bytes, hash_tree};
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::so101::{JOINTS, to_joint_positions, to_units};
use super::{
    Camera, Definition, Dimension, Manipulation, Memory, Moment, ObservationTerm, Observe, Subtask,
    Surfaces, Task, TaskDescription, Term,
};
use crate::ik::Chain;
use crate::mj::{self, Data};
use crate::raster::Look;
use crate::{SimError, mj::load as load_model};

const ID: &str = "so101-pick-lift";
const SCENE: &str = include_str!("so101_pick_lift.xml");

/// Half the cube's edge, metres.
pub(crate) const CUBE_HALF_M: f64 = 0.014;
/// Where the arm starts, in units; each joint but the gripper varies by ±[`HOME_SPREAD`].
pub(crate) const HOME_UNITS: [f32; 6] = [0.0, -62.0, 52.0, 78.0, 90.0, 8.0];
const HOME_SPREAD: f32 = 2.0;
/// Field of the cube's centre, metres in the arm's frame (x ahead, y to its left).
const FIELD_X_M: [f64; 2] = [0.17, 0.29];
const FIELD_Y_M: [f64; 2] = [-0.07, 0.07];
/// Turn of the cube against the direction towards the arm's pan axis, radians.
const TURN_RAD: f64 = std::f64::consts::PI / 6.0;
/// The pan axis, metres ahead of the arm's frame.
const PAN_AXIS_X_M: f64 = 0.0388;
/// Share of the servo's torque that the gripper may use, as LeRobot configures it.
const GRIPPER_TORQUE: f64 = 0.5;
/// Point between the open jaws, in the gripper's frame, metres: the middle of the gap.
const BETWEEN_JAWS: [f64; 3] = [0.021, 0.0, -0.094];
/// Nearer than this to the cube's centre, the hand's path belongs to the cube, metres.
const NEAR_M: f64 = 0.06;
const LIFT_M: f64 = 0.05;
const HOLD_STEPS: u32 = 10;

/// The task.
pub(super) struct PickLift;

impl Definition for PickLift {
    fn describe(&self) -> TaskDescription {
        describe()
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        load(asset_dir)
    }
}

fn describe() -> TaskDescription {
    let term = |name, meaning: &'static str| Term::new(name, meaning);
    TaskDescription {
        id: ID,
        version: 1,
        summary: "An SO-101 arm picks up a 28 mm cube from a table and lifts it.",
        instruction: "Pick up the cube and lift it.",
        robot_type: "so101",
        control_hz: 20.0,
        substeps: 10,
        max_episode_steps: 160,
        action: JOINTS
            .iter()
            .map(|(_, name, unit, low, high)| Dimension { name, unit, low: *low, high: *high })
            .collect(),
        observations: vec![
            term("observation.state", "f32 [6]: joint positions, in the action's units"),
            term(
                "observation.environment_state",
                "f32 [4], privileged: cube centre x, y, z in metres in the arm's frame, and its \
                 turn about the vertical in radians, -π/4..π/4",
            ),
        ],
        cameras: vec![
            term(
                "front",
                "u8 [H, W, 3]: from before the table, looking back and down at the field",
            ),
            term("wrist", "u8 [H, W, 3]: on the gripper, looking at its jaws"),
            term("overview", "for people: the whole scene from the side"),
        ],
        rewards: vec![
            term("reach", "0.2 · (1 - tanh(10 d)), d the distance in metres from jaws to cube"),
            term("lift", "0.3 · height of the cube over 5 cm, at most 0.3"),
            term("goal", "0.5 while the cube is high enough"),
        ],
        randomization: vec![
            term("cube position", "x 0.17..0.29 m, y -0.07..0.07 m, uniform"),
            term("cube turn", "±30° against the direction of the arm's pan axis, uniform"),
            term("joint start", "home pose ±2° each, uniform"),
            term("cube colour", "red, hue and brightness vary by about 10 %"),
            term("table colour", "brightness ±8 %"),
            term("light", "key light ±12 %, headlight ±10 %, direction tilted by up to 0.15"),
        ],
        success: "the cube's centre is at least 6.4 cm above the table (5 cm above its start) for \
                  10 control steps (0.5 s) in a row",
        termination: "on success; truncated after 160 steps (8 s)",
    }
}

/// The loaded task: the model and where in it things are.
struct Loaded {
    model: Arc<MjModel>,
    cameras: Vec<Camera>,
    /// Addresses of the six joints in `qpos`, in order.
    joints: [usize; 6],
    cube_qpos: usize,
    cube_body: usize,
    cube_geom: usize,
    table_geom: usize,
    jaws_site: usize,
    model_hash: ContentHash,
    surfaces: Surfaces,
    arm: Chain,
    /// Bodies of the two jaws.
    jaws: [usize; 2],
}

fn load(asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    let robot = asset_dir.join("so101");
    let mut model = load_model(ID, SCENE, &robot.join("so101.xml"), &robot.join("assets"))?;
    let gripper = mj::id(ID, &model, MjtObjBase::mjOBJ_ACTUATOR, "gripper")?;
    for limit in &mut model.actuator_forcerange_mut()[gripper] {
        *limit *= GRIPPER_TORQUE;
    }
    let model = Arc::new(model);
    let id = |kind, name| mj::id(ID, &model, kind, name);
    let mut joints = [0; 6];
    for (slot, (name, ..)) in joints.iter_mut().zip(JOINTS) {
        *slot = model.jnt_qposadr()[id(MjtObjBase::mjOBJ_JOINT, name)?] as usize;
    }
    let camera = |name, mjcf, policy| -> Result<Camera, SimError> {
        Ok(Camera { name, id: id(MjtObjBase::mjOBJ_CAMERA, mjcf)?, policy })
    };
    let geom = |name| id(MjtObjBase::mjOBJ_GEOM, name);
    let surfaces = Surfaces {
        objects: vec![geom("cube")?],
        tables: vec![geom("table")?, geom("table_slab")?],
        background: vec![geom("floor")?],
        clear: vec![
            [[0.08, 0.36], [-0.3, -0.16]],
            [[0.08, 0.36], [0.16, 0.3]],
            [[0.37, 0.46], [-0.25, 0.25]],
        ],
    };
    let body = |name| id(MjtObjBase::mjOBJ_BODY, name);
    let model_hash = {
        let files = hash_tree(&robot, &|_| false)
            .map_err(|e| SimError::ReadModel { path: robot.clone(), why: e.to_string() })?;
        hash_bytes(format!("{SCENE}{files}").as_bytes())
    };
    Ok(Arc::new(Loaded {
        surfaces,
        arm: arm(&model)?,
        jaws: [body("gripper")?, body("moving_jaw_so101_v1")?],
        model_hash,
        cameras: vec![
            camera("front", "front", true)?,
            camera("wrist", "wrist_cam", true)?,
            camera("overview", "overview", false)?,
        ],
        joints,
        cube_qpos: model.jnt_qposadr()[id(MjtObjBase::mjOBJ_JOINT, "cube")?] as usize,
        cube_body: id(MjtObjBase::mjOBJ_BODY, "cube")?,
        cube_geom: id(MjtObjBase::mjOBJ_GEOM, "cube")?,
        table_geom: id(MjtObjBase::mjOBJ_GEOM, "table")?,
        jaws_site: id(MjtObjBase::mjOBJ_SITE, "gripperframe")?,
        model,
    }))
}

/// The arm without its gripper, for inverse kinematics.
pub(crate) fn arm(model: &MjModel) -> Result<Chain, SimError> {
    let mut joints = Vec::new();
    for (name, ..) in &JOINTS[..5] {
        joints.push(mj::id(ID, model, MjtObjBase::mjOBJ_JOINT, name)?);
    }
    Ok(Chain {
        limits: joints.iter().map(|j| model.jnt_range()[*j]).collect(),
        dofs: joints.iter().map(|j| model.jnt_dofadr()[*j] as usize).collect(),
        joints: joints.iter().map(|j| model.jnt_qposadr()[*j] as usize).collect(),
        body: mj::id(ID, model, MjtObjBase::mjOBJ_BODY, "gripper")?,
        point: BETWEEN_JAWS,
        forward: [0.0, 0.0, -1.0],
        closing: [1.0, 0.0, 0.0],
    })
}

impl Task for Loaded {
    fn model(&self) -> &Arc<MjModel> {
        &self.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.model_hash
    }

    fn surfaces(&self) -> Surfaces {
        self.surfaces.clone()
    }

    fn manipulation(&self) -> Option<Manipulation> {
        let (cube, hand, jaws) = (self.cube_body, self.jaws[0], self.jaws);
        let (cube_geom, model) = (self.cube_geom, Arc::clone(&self.model));
        let near = move |data: &Data| {
            let (mat, at) = (data.xmat()[hand], data.xpos()[hand]);
            let point =
                |r: usize| at[r] + (0..3).map(|c| mat[3 * r + c] * BETWEEN_JAWS[c]).sum::<f64>();
            let away: f64 = (0..3).map(|r| (point(r) - data.xpos()[cube][r]).powi(2)).sum();
            away.sqrt() < NEAR_M
        };
        let held = move |data: &Data| {
            let touched = |jaw: usize| {
                data.contact().iter().any(|contact| {
                    let [a, b] = contact.geom;
                    let other = if a == cube_geom as i32 {
                        b
                    } else if b == cube_geom as i32 {
                        a
                    } else {
                        return false;
                    };
                    usize::try_from(other).is_ok_and(|g| model.geom_bodyid()[g] as usize == jaw)
                })
            };
            jaws.into_iter().all(touched)
        };
        Some(Manipulation {
            arm: self.arm.clone(),
            object: cube,
            symmetry: 4,
            subtasks: vec![
                Subtask { name: "reach", about_object: false, done: Box::new(near) },
                Subtask { name: "grasp", about_object: true, done: Box::new(held) },
                Subtask { name: "lift", about_object: true, done: Box::new(|_| false) },
            ],
            to_radians: to_joint_positions,
            to_action: to_units,
        })
    }

    fn cameras(&self) -> Vec<Camera> {
        self.cameras.clone()
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let (joints, cube) = (self.joints, self.cube_body);
        vec![
            ObservationTerm {
                key: "observation.state",
                spec: FeatureSpec::new(DType::Float32, &[6], &JOINTS.map(|j| j.1)),
                privileged: false,
                observe: Observe::F32(Box::new(move |now, out| {
                    to_units(&joints.map(|address| now.data.qpos()[address]), out);
                })),
            },
            ObservationTerm {
                key: "observation.environment_state",
                spec: FeatureSpec::new(
                    DType::Float32,
                    &[4],
                    &["cube.x", "cube.y", "cube.z", "cube.turn"],
                ),
                privileged: true,
                observe: Observe::F32(Box::new(move |now, out| {
                    out[..3].copy_from_slice(&now.data.xpos()[cube].map(|x| x as f32));
                    out[3] = turn(&now.data.xmat()[cube]) as f32;
                })),
            },
        ]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        let mut units = HOME_UNITS;
        for unit in &mut units[..5] {
            *unit += rng.random_range(-HOME_SPREAD..=HOME_SPREAD);
        }
        let mut home = [0.0; 6];
        to_joint_positions(&units, &mut home);
        for (address, radian) in self.joints.iter().zip(home) {
            data.qpos_mut()[*address] = radian;
        }
        data.ctrl_mut().copy_from_slice(&home);
        let x = rng.random_range(FIELD_X_M[0]..=FIELD_X_M[1]);
        let y = rng.random_range(FIELD_Y_M[0]..=FIELD_Y_M[1]);
        let yaw = y.atan2(x - PAN_AXIS_X_M) + rng.random_range(-TURN_RAD..=TURN_RAD);
        let (sin, cos) = (0.5 * yaw).sin_cos();
        let pose = [x, y, CUBE_HALF_M, cos, 0.0, 0.0, sin];
        data.qpos_mut()[self.cube_qpos..self.cube_qpos + 7].copy_from_slice(&pose);
    }

    fn randomize_look(&self, look: &mut Look, rng: &mut ChaCha8Rng) {
        let gain = rng.random_range(0.9..=1.1f32);
        let cube = &mut look.rgba[self.cube_geom];
        for channel in &mut cube[..3] {
            *channel = (*channel * gain + rng.random_range(-0.04..=0.04f32)).clamp(0.0, 1.0);
        }
        let gain = rng.random_range(0.92..=1.08f32);
        look.rgba[self.table_geom][..3].iter_mut().for_each(|c| *c = (*c * gain).min(1.0));
        look.light_gain = rng.random_range(0.88..=1.12);
        look.headlight_gain = rng.random_range(0.9..=1.1);
        look.light_tilt = [rng.random_range(-0.15..=0.15), rng.random_range(-0.15..=0.15), 0.0];
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        let mut target = [0.0; 6];
        to_joint_positions(&memory.action, &mut target);
        mj::glide(data, &mut memory.target, &target, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let data = now.data;
        out[0] = reach(&data.site_xpos()[self.jaws_site], &data.xpos()[self.cube_body]);
        out[1] = 0.3 * (lifted_m(data, self.cube_body) / LIFT_M).clamp(0.0, 1.0);
        out[2] = if self.achieved(now) { 0.5 } else { 0.0 };
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        lifted_m(now.data, self.cube_body) >= LIFT_M
    }

    fn hold_steps(&self) -> u32 {
        HOLD_STEPS
    }
}

fn reach(jaws: &[f64; 3], cube: &[f64; 3]) -> f64 {
    let distance = jaws.iter().zip(cube).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    0.2 * (1.0 - (10.0 * distance).tanh())
}

/// How far the cube's centre is above where it lay, metres.
fn lifted_m(data: &Data, cube: usize) -> f64 {
    data.xpos()[cube][2] - CUBE_HALF_M
}

/// Turn of the cube about the vertical modulo a right angle, in -π/4..π/4, from the horizontal part
/// of its x axis (or of its y axis once the x axis stands upright).
fn turn(mat: &[f64; 9]) -> f64 {
    let (x, y) = if mat[6].abs() < 0.7 { (mat[0], mat[3]) } else { (mat[1], mat[4]) };
    let quarter = std::f64::consts::FRAC_PI_2;
    let angle = y.atan2(x);
    angle - quarter * (angle / quarter).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_is_that_of_a_square() {
        for degrees in [-44.0f64, -10.0, 0.0, 44.0, 60.0, 130.0] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let expected = degrees - 90.0 * (degrees / 90.0).round();
            let got = turn(&[cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0]).to_degrees();
            assert!((got - expected).abs() < 1e-9, "{degrees}: {got}");
        }
    }
}
