//! The SO-101 arm at its table: what all tasks with it share.
//!
//! Joints have the names and units of LeRobot's `so101_follower`: five in degrees about the calibrated
//! middle, the gripper in percent of its opening (0 closed, 100 open), as LeRobot records with
//! `use_degrees=true`; MuJoCo uses radians. The action is the six joints' set-points at 20 Hz; within
//! a control step the servo's set-point moves linearly from the last one to the new one, as a servo
//! with a speed profile does, so that an action is reached when the next one is due. Physics runs at
//! 200 Hz with elliptic friction cones and torsional friction at the jaws.

use std::path::Path;
use std::sync::Arc;

use embody_core::{ContentHash, hash_bytes, hash_tree};
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Camera, Dimension, Memory, ObservationTerm, Surfaces, Term};
use crate::SimError;
use crate::ik::Chain;
use crate::mj::{self, Data};
use crate::raster::Look;

/// Joints in order: name in MJCF, dimension name in datasets, unit, lower and upper bound in units.
pub(crate) const JOINTS: [(&str, &str, &str, f64, f64); 6] = [
    ("shoulder_pan", "shoulder_pan.pos", "degree", -110.0, 110.0),
    ("shoulder_lift", "shoulder_lift.pos", "degree", -100.0, 100.0),
    ("elbow_flex", "elbow_flex.pos", "degree", -96.8, 96.8),
    ("wrist_flex", "wrist_flex.pos", "degree", -95.0, 95.0),
    ("wrist_roll", "wrist_roll.pos", "degree", -157.2, 157.2),
    ("gripper", "gripper.pos", "percent", 0.0, 100.0),
];

/// Control steps per second, and physics steps in each.
pub(crate) const CONTROL_HZ: f64 = 20.0;
pub(super) const SUBSTEPS: usize = 10;
/// Where the arm starts, in units; each joint but the gripper varies by ±[`HOME_SPREAD`].
pub(crate) const HOME_UNITS: [f32; 6] = [0.0, -62.0, 52.0, 78.0, 90.0, 8.0];
const HOME_SPREAD: f32 = 2.0;
/// The pan axis, metres ahead of the arm's frame.
pub(super) const PAN_AXIS_X_M: f64 = 0.0388;
/// Point between the open jaws, in the gripper's frame, metres: the middle of the gap.
pub(super) const BETWEEN_JAWS: [f64; 3] = [0.021, 0.0, -0.094];
/// The MJCF's site `gripperframe` in that frame, where tasks see the gripper.
pub(crate) const TOOL_POINT: [f64; 3] = [0.012, -0.000218, -0.098127];
/// Share of the servo's torque that the gripper may use, as LeRobot configures it.
const GRIPPER_TORQUE: f64 = 0.5;
/// Gripper joint at 0 and 100 percent, radians: the MJCF's joint range.
const GRIPPER_RAD: [f64; 2] = [-0.174533, 1.7453292];
const GRIPPER: usize = 5;

/// What a task adds to the table, as MJCF text.
pub(super) struct Added {
    pub task: &'static str,
    /// In a few words, for the scene's comment.
    pub what: &'static str,
    pub materials: &'static str,
    pub bodies: &'static str,
}

/// The loaded scene, and where in it the shared things are.
pub(super) struct Table {
    task: &'static str,
    pub model: Arc<MjModel>,
    pub model_hash: ContentHash,
    pub cameras: Vec<Camera>,
    /// Addresses of the six joints in `qpos`, in order.
    pub joints: [usize; 6],
    /// The point of the gripper that tasks speak of.
    pub jaws_site: usize,
    table_geom: usize,
    slab_geom: usize,
    floor_geom: usize,
    pub arm: Chain,
}

impl Table {
    /// The scene with what a task adds to it.
    pub fn load(added: &Added, asset_dir: &Path) -> Result<Self, SimError> {
        let task = added.task;
        let scene = include_str!("so101_table.xml")
            .replace("{task}", task)
            .replace("{what}", added.what)
            .replace("{materials}", added.materials)
            .replace("{objects}", added.bodies);
        let robot = asset_dir.join("so101");
        let mut model = mj::load(task, &scene, &robot.join("so101.xml"), &robot.join("assets"))?;
        let gripper = mj::id(task, &model, MjtObjBase::mjOBJ_ACTUATOR, "gripper")?;
        for limit in &mut model.actuator_forcerange_mut()[gripper] {
            *limit *= GRIPPER_TORQUE;
        }
        let model = Arc::new(model);
        let id = |kind, name| mj::id(task, &model, kind, name);
        let mut joints = [0; 6];
        for (slot, (name, ..)) in joints.iter_mut().zip(JOINTS) {
            *slot = model.jnt_qposadr()[id(MjtObjBase::mjOBJ_JOINT, name)?] as usize;
        }
        let camera = |name, mjcf, policy| -> Result<Camera, SimError> {
            Ok(Camera { name, id: id(MjtObjBase::mjOBJ_CAMERA, mjcf)?, policy })
        };
        let files = hash_tree(&robot, &|_| false)
            .map_err(|e| SimError::ReadModel { path: robot.clone(), why: e.to_string() })?;
        Ok(Self {
            task,
            model_hash: hash_bytes(format!("{scene}{files}").as_bytes()),
            cameras: vec![
                camera("front", "front", true)?,
                camera("wrist", "wrist_cam", true)?,
                camera("overview", "overview", false)?,
            ],
            joints,
            jaws_site: id(MjtObjBase::mjOBJ_SITE, "gripperframe")?,
            table_geom: id(MjtObjBase::mjOBJ_GEOM, "table")?,
            slab_geom: id(MjtObjBase::mjOBJ_GEOM, "table_slab")?,
            floor_geom: id(MjtObjBase::mjOBJ_GEOM, "floor")?,
            arm: arm(task, &model)?,
            model,
        })
    }

    /// The id of something that the task added.
    pub fn id(&self, kind: MjtObjBase, name: &str) -> Result<usize, SimError> {
        mj::id(self.task, &self.model, kind, name)
    }

    /// The address in `qpos` of a joint that the task added.
    pub fn qpos_address(&self, joint: &str) -> Result<usize, SimError> {
        Ok(self.model.jnt_qposadr()[self.id(MjtObjBase::mjOBJ_JOINT, joint)?] as usize)
    }

    /// What can be given another look, `objects` being the task's.
    pub fn surfaces(&self, objects: Vec<usize>) -> Surfaces {
        Surfaces {
            objects,
            tables: vec![self.table_geom, self.slab_geom],
            background: vec![self.floor_geom],
            clear: vec![
                [[0.08, 0.36], [-0.3, -0.16]],
                [[0.08, 0.36], [0.16, 0.3]],
                [[0.37, 0.46], [-0.25, 0.25]],
            ],
        }
    }

    /// `observation.state`.
    pub fn state(&self) -> ObservationTerm {
        let joints = self.joints;
        ObservationTerm::state(&JOINTS.map(|j| j.1), move |now, out| {
            to_units(&joints.map(|address| now.data.qpos()[address]), out);
        })
    }

    /// Puts the arm near its home pose.
    pub fn reset(&self, data: &mut Data, rng: &mut ChaCha8Rng) {
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
    }

    /// Varies the colour of an object and of the table, and the light.
    pub fn randomize_look(&self, object: usize, look: &mut Look, rng: &mut ChaCha8Rng) {
        let gain = rng.random_range(0.9..=1.1f32);
        for channel in &mut look.rgba[object][..3] {
            *channel = (*channel * gain + rng.random_range(-0.04..=0.04f32)).clamp(0.0, 1.0);
        }
        let gain = rng.random_range(0.92..=1.08f32);
        look.rgba[self.table_geom][..3].iter_mut().for_each(|c| *c = (*c * gain).min(1.0));
        look.light_gain = rng.random_range(0.88..=1.12);
        look.headlight_gain = rng.random_range(0.9..=1.1);
        look.light_tilt = [rng.random_range(-0.15..=0.15), rng.random_range(-0.15..=0.15), 0.0];
    }

    /// The servos' way to the set-points of the action.
    pub fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        let mut target = [0.0; 6];
        to_joint_positions(&memory.action, &mut target);
        mj::glide(data, &mut memory.target, &target, substeps);
    }
}

/// The action's dimensions.
pub(super) fn action() -> Vec<Dimension> {
    let dimension =
        |(_, name, unit, low, high): (_, _, _, f64, f64)| Dimension { name, unit, low, high };
    JOINTS.map(dimension).into()
}

/// The description of the cameras.
pub(super) fn cameras() -> Vec<Term> {
    [
        ("front", "u8 [H, W, 3]: from before the table, looking back and down at the field"),
        ("wrist", "u8 [H, W, 3]: on the gripper, looking at its jaws"),
        ("overview", "for people: the whole scene from the side"),
    ]
    .map(|(name, meaning)| Term::new(name, meaning))
    .into()
}

/// The description of [`Table::state`].
pub(super) fn state() -> Term {
    Term::new("observation.state", "f32 [6]: joint positions, in the action's units")
}

/// The description of what [`Table`] varies.
pub(super) fn randomization() -> [Term; 3] {
    [
        ("joint start", "home pose ±2° each, uniform"),
        ("table colour", "brightness ±8 %"),
        ("light", "key light ±12 %, headlight ±10 %, direction tilted by up to 0.15"),
    ]
    .map(|(name, meaning)| Term::new(name, meaning))
}

/// The arm without its gripper, for inverse kinematics; its point is between the open jaws.
pub(crate) fn arm(task: &str, model: &MjModel) -> Result<Chain, SimError> {
    let mut joints = Vec::new();
    for (name, ..) in &JOINTS[..5] {
        joints.push(mj::id(task, model, MjtObjBase::mjOBJ_JOINT, name)?);
    }
    Ok(Chain {
        limits: joints.iter().map(|j| model.jnt_range()[*j]).collect(),
        dofs: joints.iter().map(|j| model.jnt_dofadr()[*j] as usize).collect(),
        joints: joints.iter().map(|j| model.jnt_qposadr()[*j] as usize).collect(),
        body: mj::id(task, model, MjtObjBase::mjOBJ_BODY, "gripper")?,
        point: BETWEEN_JAWS,
        forward: [0.0, 0.0, -1.0],
        closing: [1.0, 0.0, 0.0],
    })
}

/// Distance of two points, metres.
pub(super) fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Joint positions in radians for values in units, clamped to [`JOINTS`]' bounds.
pub(crate) fn to_joint_positions(units: &[f32], radians: &mut [f64]) {
    for (joint, (unit, radian)) in units.iter().zip(radians).enumerate() {
        let (.., low, high) = JOINTS[joint];
        let unit = f64::from(*unit).clamp(low, high);
        *radian = if joint == GRIPPER {
            GRIPPER_RAD[0] + unit / 100.0 * (GRIPPER_RAD[1] - GRIPPER_RAD[0])
        } else {
            unit.to_radians()
        };
    }
}

/// Values in units for joint positions in radians.
pub(crate) fn to_units(radians: &[f64], units: &mut [f32]) {
    for (joint, (radian, unit)) in radians.iter().zip(units).enumerate() {
        *unit = if joint == GRIPPER {
            (100.0 * (radian - GRIPPER_RAD[0]) / (GRIPPER_RAD[1] - GRIPPER_RAD[0])) as f32
        } else {
            radian.to_degrees() as f32
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_round_trip_and_clamp() {
        let units = [12.5, -80.0, 90.0, 3.0, -150.0, 37.0];
        let (mut radians, mut back) = ([0.0; 6], [0.0; 6]);
        to_joint_positions(&units, &mut radians);
        to_units(&radians, &mut back);
        for (a, b) in units.iter().zip(back) {
            assert!((a - b).abs() < 1e-4, "{a} became {b}");
        }
        to_joint_positions(&[500.0, 0.0, 0.0, 0.0, 0.0, -3.0], &mut radians);
        assert_eq!(radians[0], 110f64.to_radians());
        assert_eq!(radians[5], GRIPPER_RAD[0]);
    }
}
