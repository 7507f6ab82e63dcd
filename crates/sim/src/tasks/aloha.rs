//! ALOHA: two ViperX 300 arms facing each other over a table, as the `gym-aloha` package poses it
//! (Zhao et al. 2023, arXiv 2304.13705), and what its tasks share.
//!
//! Model, action, observation, initial states and rewards are that package's: from the same state the
//! same actions give the same positions and rewards, and a test holds both against it. The action is
//! the set-points of 14 joints at 50 Hz: six angles in radians and a gripper's opening (0 closed, 1
//! open) for each arm. Physics runs at 500 Hz. What is seen after a step is as of its end (`mj_step1`
//! closes the step), contacts included.

use std::path::Path;
use std::sync::Arc;

use embody_core::{ContentHash, hash_bytes, hash_tree};
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand_chacha::ChaCha8Rng;

use super::{
    Camera, Dimension, Memory, Moment, ObservationTerm, Surfaces, Task, TaskDescription, Term,
};
use crate::SimError;
use crate::ik::Chain;
use crate::mj::{self, Data, has_diverged};

/// Action dimensions as datasets name them, with the bounds of the model's set-points; the grippers
/// go from 0 to 1.
const DIMENSIONS: [(&str, &str, f64, f64); 14] = [
    ("left_waist", "radian", -3.14158, 3.14158),
    ("left_shoulder", "radian", -1.85005, 1.25664),
    ("left_elbow", "radian", -1.76278, 1.6057),
    ("left_forearm_roll", "radian", -3.14158, 3.14158),
    ("left_wrist_angle", "radian", -1.8675, 2.23402),
    ("left_wrist_rotate", "radian", -3.14158, 3.14158),
    ("left_gripper", "opening", 0.0, 1.0),
    ("right_waist", "radian", -3.14158, 3.14158),
    ("right_shoulder", "radian", -1.85005, 1.25664),
    ("right_elbow", "radian", -1.76278, 1.6057),
    ("right_forearm_roll", "radian", -3.14158, 3.14158),
    ("right_wrist_angle", "radian", -1.8675, 2.23402),
    ("right_wrist_rotate", "radian", -3.14158, 3.14158),
    ("right_gripper", "opening", 0.0, 1.0),
];

/// Joints of one arm in the model: six of the arm and its two fingers.
const PER_ARM: usize = 8;
/// All joints of the arms come first in `qpos` and `ctrl`.
pub(crate) const ARMS: usize = 2 * PER_ARM;
/// Where an arm starts; the same for both.
const START: [f64; PER_ARM] = [0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.02239, -0.02239];
/// A finger's position when the gripper is closed (0) and open (1), metres.
const CLOSED_M: f64 = 0.01844;
const OPEN_M: f64 = 0.058;
/// Between the finger pads, near their tips, in the gripper's frame, metres.
const BETWEEN_FINGERS: [f64; 3] = [0.14, 0.0, 0.0];

/// A task with these arms.
pub(super) struct Variant {
    pub id: &'static str,
    /// The package's scene.
    pub file: &'static str,
    pub summary: &'static str,
    pub instruction: &'static str,
    /// Names of the dimensions of `observation.environment_state`: poses of the free objects.
    pub poses: &'static [&'static str],
    pub poses_meaning: &'static str,
    pub stages: &'static str,
    pub positions: Term,
    pub success: &'static str,
    /// Geoms that [`Self::stage`] asks about, and those of them that are the objects'.
    pub geoms: &'static [&'static str],
    pub objects: &'static [&'static str],
    /// Poses of the free objects at the beginning, as in `qpos`.
    pub place: fn(&mut ChaCha8Rng, &mut [f64]),
    /// How far along the task is, 0 to 4, by which of [`Self::geoms`] touch.
    pub stage: fn(&dyn Fn(usize, usize) -> bool) -> u8,
}

/// What the task is, in words.
pub(super) fn describe(variant: &Variant) -> TaskDescription {
    let people = |name, meaning: &'static str| Term::new(name, meaning);
    TaskDescription {
        id: variant.id,
        version: 1,
        summary: variant.summary,
        instruction: variant.instruction,
        robot_type: "aloha",
        control_hz: 50.0,
        substeps: 10,
        max_episode_steps: 400,
        action: DIMENSIONS
            .map(|(name, unit, low, high)| Dimension { name, unit, low, high })
            .into(),
        observations: vec![
            Term::new("observation.state", "f32 [14]: joint positions, in the action's units"),
            Term::new("observation.environment_state", variant.poses_meaning),
        ],
        cameras: vec![
            Term::new(
                "top",
                "u8 [H, W, 3]: from above the table; 480×640 in the published datasets",
            ),
            people("angle", "from before the table, above the reader's side"),
            people("front_close", "from before the table, near, towards the left gripper"),
            people("left_pillar", "from the front left"),
            people("right_pillar", "from the front right"),
            people("left_wrist", "on the left gripper"),
            people("right_wrist", "on the right gripper"),
        ],
        rewards: vec![Term::new("stage", variant.stages)],
        randomization: vec![variant.positions.clone()],
        success: Some(variant.success),
        termination: "on success; truncated after 400 steps (8 s) as in ACT and LeRobot (gym-aloha's \
                      registration says 300)",
    }
}

/// A loaded task.
struct Aloha {
    variant: &'static Variant,
    model: Arc<MjModel>,
    hash: ContentHash,
    cameras: Vec<Camera>,
    /// Ids of [`Variant::geoms`].
    geoms: Vec<usize>,
    surfaces: Surfaces,
}

pub(super) fn load(variant: &'static Variant, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    let folder = asset_dir.join("aloha");
    let model = mj::load_file(variant.id, &folder.join(variant.file))?;
    let files = hash_tree(&folder, &|_| false)
        .map_err(|e| SimError::ReadModel { path: folder.clone(), why: e.to_string() })?;
    let id = |kind, name: &str| mj::id(variant.id, &model, kind, name);
    let mut cameras = Vec::new();
    for Term { name, .. } in describe(variant).cameras {
        let id = id(MjtObjBase::mjOBJ_CAMERA, name)?;
        cameras.push(Camera { name, id, policy: name == "top" });
    }
    let ids = |names: &[&str]| {
        names.iter().map(|n| id(MjtObjBase::mjOBJ_GEOM, n)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Arc::new(Aloha {
        variant,
        cameras,
        geoms: ids(variant.geoms)?,
        surfaces: Surfaces {
            objects: ids(variant.objects)?,
            tables: ids(&["table"])?,
            ..Surfaces::default()
        },
        hash: hash_bytes(format!("{}{files}", variant.file).as_bytes()),
        model: Arc::new(model),
    }))
}

impl Aloha {
    /// How far along the task is.
    fn stage(&self, data: &Data) -> u8 {
        let contacts = data.contact();
        (self.variant.stage)(&|a, b| {
            let pair = [self.geoms[a] as i32, self.geoms[b] as i32];
            contacts.iter().any(|c| c.geom == pair || c.geom == [pair[1], pair[0]])
        })
    }
}

impl Task for Aloha {
    fn model(&self) -> &Arc<MjModel> {
        &self.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.hash
    }

    fn surfaces(&self) -> Surfaces {
        self.surfaces.clone()
    }

    fn cameras(&self) -> Vec<Camera> {
        self.cameras.clone()
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        vec![
            ObservationTerm::state(&DIMENSIONS.map(|d| d.0), |now, out| {
                let arms = now.data.qpos()[..ARMS].chunks_exact(PER_ARM);
                for (joints, out) in arms.zip(out.chunks_exact_mut(7)) {
                    for (out, joint) in out.iter_mut().zip(&joints[..6]) {
                        *out = *joint as f32;
                    }
                    out[6] = ((joints[6] - CLOSED_M) / (OPEN_M - CLOSED_M)) as f32;
                }
            }),
            ObservationTerm::environment_state(self.variant.poses, |now, out| {
                for (out, value) in out.iter_mut().zip(&now.data.qpos()[ARMS..]) {
                    *out = *value as f32;
                }
            }),
        ]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        for arm in 0..2 {
            let joints = arm * PER_ARM..(arm + 1) * PER_ARM;
            data.qpos_mut()[joints.clone()].copy_from_slice(&START);
            data.ctrl_mut()[joints].copy_from_slice(&START);
        }
        (self.variant.place)(rng, &mut data.qpos_mut()[ARMS..]);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        to_set_points(&memory.action, data.ctrl_mut());
        memory.target.copy_from_slice(data.ctrl());
        for _ in 0..substeps {
            data.step();
            if has_diverged(data) {
                return;
            }
        }
        data.step1();
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        out[0] = f64::from(self.stage(now.data));
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        self.stage(now.data) == 4
    }
}

/// Set-points of the model's 16 actuators for an action.
fn to_set_points(action: &[f32], ctrl: &mut [f64]) {
    for (action, ctrl) in action.chunks_exact(7).zip(ctrl.chunks_exact_mut(PER_ARM)) {
        for (ctrl, action) in ctrl.iter_mut().zip(&action[..6]) {
            *ctrl = f64::from(*action);
        }
        // In single precision, as NumPy does it with actions of that type.
        let finger = f64::from(action[6] * (OPEN_M - CLOSED_M) as f32 + CLOSED_M as f32);
        (ctrl[6], ctrl[7]) = (finger, -finger);
    }
}

/// The left and the right arm without their fingers, for inverse kinematics.
pub(crate) fn arms(task: &str, model: &MjModel) -> Result<[Chain; 2], SimError> {
    let arm = |side: &str| -> Result<Chain, SimError> {
        let mut joints = Vec::new();
        for name in ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"] {
            joints.push(mj::id(
                task,
                model,
                MjtObjBase::mjOBJ_JOINT,
                &format!("vx300s_{side}/{name}"),
            )?);
        }
        Ok(Chain {
            limits: joints.iter().map(|j| model.jnt_range()[*j]).collect(),
            dofs: joints.iter().map(|j| model.jnt_dofadr()[*j] as usize).collect(),
            joints: joints.iter().map(|j| model.jnt_qposadr()[*j] as usize).collect(),
            body: mj::id(
                task,
                model,
                MjtObjBase::mjOBJ_BODY,
                &format!("vx300s_{side}/gripper_link"),
            )?,
            point: BETWEEN_FINGERS,
            forward: [1.0, 0.0, 0.0],
            closing: [0.0, 1.0, 0.0],
        })
    };
    Ok([arm("left")?, arm("right")?])
}
