//! The MuJoCo tasks of Gymnasium (Towers et al. 2024, <https://gymnasium.farama.org>), version 5, and
//! version 4 of those whose scores are published.
//!
//! Models are Gymnasium's own files. From the same state the same actions give the same observations
//! to the bit, and rewards to the rounding of their last sum; a test holds both against the
//! `gymnasium` package. Two things follow from that: an action is held over all physics steps, and
//! poses, velocities and forces are as of the last physics step's beginning, as MuJoCo leaves them.
//! Initial states have Gymnasium's distributions, drawn from a generator of ours.

mod humanoid;
mod numpy;
mod pendulum;
mod reach;
mod runner;

use std::path::Path;
use std::sync::Arc;

use embody_core::{ContentHash, DType, FeatureSpec, hash_bytes};
use mujoco_rs::prelude::{MjModel, MjtJoint, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Camera, Definition, Dimension, Term};
use crate::SimError;
use crate::mj::{self, Data, has_diverged};

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static dyn Definition> {
    let of = |d: &'static dyn Definition| d;
    let runners = runner::ALL.iter().map(move |d| of(d));
    let humanoids = humanoid::ALL.iter().map(move |d| of(d));
    runners.chain(humanoids).chain(reach::ALL.iter().copied()).chain(pendulum::ALL.iter().copied())
}

/// A model and where it came from.
struct Scene {
    model: Arc<MjModel>,
    hash: ContentHash,
    camera: Camera,
    /// Positions that an episode begins around, `[nq]`.
    qpos: Vec<f64>,
}

/// Where a picture is taken from where Gymnasium's file has no camera: position and axes, as MJCF.
type Viewpoint = Option<&'static str>;

fn load(id: &str, asset_dir: &Path, file: &str, viewpoint: Viewpoint) -> Result<Scene, SimError> {
    let path = asset_dir.join("gymnasium").join(file);
    let text = std::fs::read_to_string(&path)
        .map_err(|_| SimError::MissingAssets { path: path.clone() })?;
    let hash = hash_bytes(text.as_bytes());
    let text = match viewpoint {
        Some(at) => {
            text.replacen("</worldbody>", &format!("<camera name=\"track\" {at}/></worldbody>"), 1)
        }
        None => text,
    };
    let model = mj::compile(id, &text, &path)?;
    let camera = Camera {
        name: "track",
        id: mj::id(id, &model, MjtObjBase::mjOBJ_CAMERA, "track")?,
        policy: false,
    };
    let qpos = model.qpos0().to_vec();
    Ok(Scene { model: Arc::new(model), hash, camera, qpos })
}

/// One control step: the action is held.
fn hold(data: &mut Data, action: &[f32], substeps: usize) {
    for (ctrl, action) in data.ctrl_mut().iter_mut().zip(action) {
        *ctrl = f64::from(*action);
    }
    for _ in 0..substeps {
        data.step();
        if has_diverged(data) {
            return;
        }
    }
}

/// The same, and the forces on bodies (`mj_rnePostConstraint`).
fn hold_and_feel(data: &mut Data, action: &[f32], substeps: usize) {
    hold(data, action, substeps);
    data.rne_post_constraint();
}

/// Sets `to` to `around` plus uniform noise of ±`scale`.
fn uniform_around(
    to: &mut [f64],
    around: impl Iterator<Item = f64>,
    scale: f64,
    rng: &mut ChaCha8Rng,
) {
    for (to, from) in to.iter_mut().zip(around) {
        *to = from + rng.random_range(-scale..=scale);
    }
}

/// A standard normal number (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// The one observation, in the order of Gymnasium's vector.
fn observation(names: &[String]) -> FeatureSpec {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    FeatureSpec::new(DType::Float64, &[names.len()], &names)
}

/// Names of positions and velocities: the joint's, with an axis where it has several.
fn coordinates(model: &MjModel, velocity: bool) -> Vec<String> {
    let prefix = if velocity { "qvel" } else { "qpos" };
    let mut names = Vec::new();
    for (joint, kind) in model.jnt_type().iter().enumerate() {
        let joint = model.id_to_name(MjtObjBase::mjOBJ_JOINT, joint).unwrap_or("joint");
        let axes: &[&str] = match (kind, velocity) {
            (MjtJoint::mjJNT_FREE, false) => &[".x", ".y", ".z", ".qw", ".qx", ".qy", ".qz"],
            (MjtJoint::mjJNT_FREE, true) => &[".vx", ".vy", ".vz", ".wx", ".wy", ".wz"],
            (MjtJoint::mjJNT_BALL, false) => &[".qw", ".qx", ".qy", ".qz"],
            (MjtJoint::mjJNT_BALL, true) => &[".wx", ".wy", ".wz"],
            _ => &[""],
        };
        names.extend(axes.iter().map(|axis| format!("{prefix}.{joint}{axis}")));
    }
    names
}

/// Names of what every body but the world has `width` of.
fn of_bodies(model: &MjModel, what: &str, width: usize) -> Vec<String> {
    let body =
        |b| model.id_to_name(MjtObjBase::mjOBJ_BODY, b).map_or(format!("body{b}"), str::to_owned);
    let bodies = 1..model.nbody() as usize;
    bodies.flat_map(|b| (0..width).map(move |i| format!("{what}.{}.{i}", body(b)))).collect()
}

fn actions(names: &[&'static str], limit: f64) -> Vec<Dimension> {
    let torque = |name: &&'static str| Dimension {
        name,
        unit: "of the motor's gear",
        low: -limit,
        high: limit,
    };
    names.iter().map(torque).collect()
}

fn track() -> Vec<Term> {
    vec![Term::new("track", "for people: from the side")]
}
