//! What joints do together: the tool's box in the world, and parts that must not touch.
//!
//! The machine's shape comes from a [`BodyModel`], which the program that owns a physics engine
//! gives. A goal that would leave the box or come too near is not refused but approached as far as
//! is allowed, along the straight way from the goal before; from a place that is outside already,
//! only ways that lead no farther out are open.

use serde::{Deserialize, Serialize};

use super::clip::{Cause, Causes};
use crate::runtime::error::RuntimeError;

/// Where the tool is, in the machine's base frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Metres.
    pub position: [f64; 3],
    /// Unit quaternion `[x, y, z, w]`.
    pub rotation: [f64; 4],
}

/// The machine's shape. Called in the control loop: it must not allocate, lock or wait.
pub trait BodyModel: Send {
    /// Where the tool is at these joint positions (in the joints' units).
    fn tool(&mut self, positions: &[f32]) -> Pose;
    /// Distance between the nearest two parts that must not touch, floor and table included,
    /// metres; negative where they are inside each other.
    fn clearance(&mut self, positions: &[f32]) -> f64;
}

/// A box for the tool, orientation included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// Lowest x, y, z in the base frame, metres.
    pub low: [f64; 3],
    /// Highest.
    pub high: [f64; 3],
    /// The orientation from which turning is counted, unit quaternion `[x, y, z, w]`.
    #[serde(default = "upright")]
    pub rotation: [f64; 4],
    /// Farthest turn from it about the base frame's x, y, z (rotation vector), radians, 0 to π.
    #[serde(default = "any_turn")]
    pub turn: [f64; 3],
}

fn upright() -> [f64; 4] {
    [0.0, 0.0, 0.0, 1.0]
}

fn any_turn() -> [f64; 3] {
    [std::f64::consts::PI; 3]
}

/// Metres beyond the box that count as much as a radian beyond the allowed turn.
const METRES_PER_RADIAN: f64 = 0.1;

impl Workspace {
    pub(super) fn check(&self) -> Result<(), RuntimeError> {
        let refuse = |key: &str, value: String, rule: &str| {
            let (key, rule) = (format!("workspace.{key}"), rule.to_owned());
            Err(RuntimeError::Limits { key, value, rule })
        };
        let ordered = self.low.iter().zip(&self.high).all(|(l, h)| l < h && (h - l).is_finite());
        if !ordered {
            let value = format!("{:?} to {:?}", self.low, self.high);
            return refuse("low", value, "low is below high on each axis");
        }
        let norm = self.rotation.iter().map(|v| v * v).sum::<f64>();
        if (norm - 1.0).abs() > 1e-3 || !norm.is_finite() {
            return refuse("rotation", format!("{:?}", self.rotation), "a unit quaternion");
        }
        if !self.turn.iter().all(|t| (0.0..=std::f64::consts::PI).contains(t)) {
            return refuse("turn", format!("{:?}", self.turn), "radians from 0 to 3.1416");
        }
        Ok(())
    }

    /// How far a pose lies outside, metres (turns counted in); 0 inside.
    pub fn outside(&self, pose: &Pose) -> f64 {
        let mut most = 0.0f64;
        for axis in 0..3 {
            let at = pose.position[axis];
            most = most.max(self.low[axis] - at).max(at - self.high[axis]);
        }
        let turned = rotation_vector(self.rotation, pose.rotation);
        for (turned, allowed) in turned.iter().zip(&self.turn) {
            most = most.max((turned.abs() - allowed) * METRES_PER_RADIAN);
        }
        // A model that gives no number is outside of everything.
        if pose.position.iter().chain(&turned).all(|v| v.is_finite()) { most } else { f64::MAX }
    }
}

/// The turn that leads from `a` to `b`, as axis times angle (0 to π) in the base frame.
fn rotation_vector(a: [f64; 4], b: [f64; 4]) -> [f64; 3] {
    let [ax, ay, az, aw] = a;
    let [bx, by, bz, bw] = b;
    // b · a⁻¹
    let x = -bw * ax + bx * aw - by * az + bz * ay;
    let y = -bw * ay + bx * az + by * aw - bz * ax;
    let z = -bw * az - bx * ay + by * ax + bz * aw;
    let w = bw * aw + bx * ax + by * ay + bz * az;
    let sign = if w < 0.0 { -1.0 } else { 1.0 };
    let sine = (x * x + y * y + z * z).sqrt();
    let angle = 2.0 * sine.atan2(w * sign);
    let scale = if sine > 1e-12 { sign * angle / sine } else { 2.0 };
    [x * scale, y * scale, z * scale]
}

/// Times that a step is halved to find how far it may go: to 3 % of it.
const HALVINGS: usize = 5;

/// Holds `goals` so near to `before` that box and clearance are kept; says what stood in the way.
/// `tried` is room for as many numbers.
pub(super) fn keep_in(
    model: &mut dyn BodyModel,
    (workspace, clearance): (Option<&Workspace>, f64),
    before: &[f32],
    goals: &mut [f32],
    tried: &mut [f32],
) -> Causes {
    let mut causes = Causes::default();
    if before == goals {
        return causes;
    }
    let mut measure = |positions: &[f32]| {
        let outside = workspace.map_or(0.0, |w| w.outside(&model.tool(positions)));
        let near = clearance - model.clearance(positions);
        (outside, if near.is_nan() { f64::MAX } else { near.max(0.0) })
    };
    let allowed = measure(before);
    let found = measure(goals);
    if found.0 > allowed.0 {
        causes.add(Cause::Workspace);
    }
    if found.1 > allowed.1 {
        causes.add(Cause::Collision);
    }
    if causes.is_empty() {
        return causes;
    }
    let (mut good, mut part) = (0.0f32, 0.5f32);
    let at = |part: f32, tried: &mut [f32], goals: &[f32]| {
        for ((to, from), goal) in tried.iter_mut().zip(before).zip(goals) {
            *to = from + (goal - from) * part;
        }
    };
    let mut size = 0.5f32;
    for _ in 0..HALVINGS {
        at(part, tried, goals);
        let found = measure(tried);
        let fits = found.0 <= allowed.0 && found.1 <= allowed.1;
        if fits {
            good = part;
        }
        size /= 2.0;
        part += if fits { size } else { -size };
    }
    if good == 0.0 {
        goals.copy_from_slice(before);
    } else {
        at(good, tried, goals);
        goals.copy_from_slice(tried);
    }
    causes
}

#[cfg(test)]
mod tests;
