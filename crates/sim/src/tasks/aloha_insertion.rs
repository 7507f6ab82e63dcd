//! `aloha-insertion`: the left arm takes a socket, the right one a peg, and they put the peg in.
//!
//! The task `gym_aloha/AlohaInsertion-v0`; see `aloha` for what both tasks share. Peg and socket fall
//! 3 cm onto random places of fields of 10 × 20 cm, one before each arm. A pin sits in the middle of
//! the socket, 2 cm from its mouth.
//!
//! Success: the peg touches the pin.

use std::path::Path;
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::aloha::{self, Variant};
use super::{Task, TaskDescription, Term};
use crate::SimError;

static VARIANT: Variant = Variant {
    id: "aloha-insertion",
    file: "bimanual_viperx_insertion.xml",
    summary: "Two ALOHA arms pick up a peg and a socket and insert the one into the other.",
    instruction: "Insert the peg into the socket.",
    poses: &[
        "peg.x",
        "peg.y",
        "peg.z",
        "peg.qw",
        "peg.qx",
        "peg.qy",
        "peg.qz",
        "socket.x",
        "socket.y",
        "socket.z",
        "socket.qw",
        "socket.qx",
        "socket.qy",
        "socket.qz",
    ],
    poses_meaning: "f32 [14], privileged: for peg and socket, position of the centre in metres and \
                    unit quaternion (w, x, y, z)",
    stages: "1 when both grippers touch their part, 2 when they have lifted both, 3 when peg and \
             socket touch off the table, 4 when the peg touches the pin in the socket",
    positions: Term::fixed(
        "positions",
        "peg x 0.1..0.2 m, socket x -0.2..-0.1 m, both y 0.4..0.6 m, uniform; z 0.05 m",
    ),
    success: "the peg touches the pin inside of the socket",
    geoms: &[
        "red_peg",
        "pin",
        "table",
        "vx300s_left/10_left_gripper_finger",
        "vx300s_right/10_right_gripper_finger",
        "socket-1",
        "socket-2",
        "socket-3",
        "socket-4",
    ],
    objects: &["red_peg", "socket-1", "socket-2", "socket-3", "socket-4", "pin"],
    place,
    stage,
};

pub(super) fn describe() -> TaskDescription {
    aloha::describe(&VARIANT)
}

pub(super) fn load(asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    aloha::load(&VARIANT, asset_dir)
}

fn place(rng: &mut ChaCha8Rng, poses: &mut [f64]) {
    for (pose, (low, high)) in poses.chunks_exact_mut(7).zip([(0.1, 0.2), (-0.2, -0.1)]) {
        let (x, y) = (rng.random_range(low..high), rng.random_range(0.4..0.6));
        pose.copy_from_slice(&[x, y, 0.05, 1.0, 0.0, 0.0, 0.0]);
    }
}

fn stage(touch: &dyn Fn(usize, usize) -> bool) -> u8 {
    let [peg, pin, table, left, right] = [0, 1, 2, 3, 4];
    let socket = |other| (5..9).any(|part| touch(part, other));
    let lifted = !touch(peg, table) && !socket(table);
    let held = touch(peg, right) && socket(left);
    if touch(peg, pin) {
        4
    } else if lifted && socket(peg) {
        3
    } else if lifted && held {
        2
    } else {
        u8::from(held)
    }
}
