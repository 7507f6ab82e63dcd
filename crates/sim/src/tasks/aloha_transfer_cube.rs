//! `aloha-transfer-cube`: the right arm takes a cube from the table and hands it to the left one.
//!
//! The task `gym_aloha/AlohaTransferCube-v0`; see `aloha` for what both tasks share. A 40 mm cube of
//! 50 g falls 3 cm onto a random place of a 20 × 20 cm field before the right arm.
//!
//! Success: the left gripper's finger touches the cube while the cube does not touch the table.

use std::path::Path;
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::aloha::{self, Variant};
use super::{Task, TaskDescription, Term};
use crate::SimError;

static VARIANT: Variant = Variant {
    id: "aloha-transfer-cube",
    file: "bimanual_viperx_transfer_cube.xml",
    summary: "Two ALOHA arms: the right one picks up a cube and hands it to the left one.",
    instruction: "Pick up the cube with the right arm and transfer it to the left arm.",
    poses: &["cube.x", "cube.y", "cube.z", "cube.qw", "cube.qx", "cube.qy", "cube.qz"],
    poses_meaning: "f32 [7], privileged: position of the cube's centre in metres and its unit \
                    quaternion (w, x, y, z)",
    stages: "1 when the right gripper touches the cube, 2 when it has lifted it, 3 when the left \
             gripper touches it, 4 when that holds off the table",
    positions: Term::fixed("cube position", "x 0..0.2 m, y 0.4..0.6 m, uniform; z 0.05 m"),
    success: "the left gripper touches the cube, and the cube does not touch the table",
    geoms: &[
        "red_box",
        "vx300s_left/10_left_gripper_finger",
        "vx300s_right/10_right_gripper_finger",
        "table",
    ],
    objects: &["red_box"],
    place,
    stage,
};

pub(super) fn describe() -> TaskDescription {
    aloha::describe(&VARIANT)
}

pub(super) fn load(asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    aloha::load(&VARIANT, asset_dir)
}

fn place(rng: &mut ChaCha8Rng, pose: &mut [f64]) {
    let (x, y) = (rng.random_range(0.0..0.2), rng.random_range(0.4..0.6));
    pose.copy_from_slice(&[x, y, 0.05, 1.0, 0.0, 0.0, 0.0]);
}

fn stage(touch: &dyn Fn(usize, usize) -> bool) -> u8 {
    let [cube, left, right, table] = [0, 1, 2, 3];
    let lifted = !touch(cube, table);
    match (touch(cube, left), touch(cube, right)) {
        (true, _) if lifted => 4,
        (true, _) => 3,
        (false, true) if lifted => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}
