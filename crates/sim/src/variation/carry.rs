//! Carrying a demonstration over to another place of its object (MimicGen, Mandlekar et al. 2023).
//!
//! The demonstration's set-points give the hand's path by forward kinematics. Parts that belong to the
//! object move rigidly with it: pose' = T_new · T_old⁻¹ · pose; inverse kinematics turn them into
//! set-points again. Free parts keep their shape and are bent, in joint space, to begin and end where
//! their neighbours say, so that the motion never stops between parts. The gripper does what it did.
//! An object that looks the same after a part turn is turned the way that moves the arm least.

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use embody_core::Result;

use crate::ik::{Target, solve};
use crate::mj::Data;
use crate::replay::Demonstration;
use crate::tasks::{Loaded, Manipulation};
use crate::{EpisodeStart, SimError};

/// Metres that a radian of turn counts when objects' poses are compared.
const METRES_PER_RAD: f64 = 0.05;

type Mat3 = [f64; 9];

/// Where an object is, world frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pose {
    pub position: [f64; 3],
    pub rotation: Mat3,
}

/// A demonstration that can be carried over.
pub(super) struct Source {
    pub demonstration: Demonstration,
    pub start: EpisodeStart,
    /// One past the last frame of each part.
    pub ends: Vec<usize>,
    pub object: Pose,
}

/// A demonstration carried over.
pub(super) struct Carried {
    /// `[frames, action_dim]`.
    pub actions: Vec<f32>,
    /// By how much the hand misses its path at worst, metres.
    pub miss_m: f64,
    /// How far the object was moved and turned.
    pub moved_m: f64,
    pub turned_rad: f64,
}

/// Carries demonstrations over.
pub(super) struct Carrier {
    manipulation: Option<Manipulation>,
    /// For forward and for inverse kinematics.
    forward: Data,
    inverse: Data,
}

impl Pose {
    /// How far apart two poses are, metres; turns count with [`METRES_PER_RAD`], as far as the
    /// object shows them.
    pub(super) fn distance(&self, other: &Self, symmetry: u32) -> f64 {
        let apart: f64 =
            self.position.iter().zip(other.position).map(|(a, b)| (a - b).powi(2)).sum();
        let step = TAU / f64::from(symmetry.max(1));
        let turn = self.heading() - other.heading();
        let turn = turn - step * (turn / step).round();
        apart.sqrt() + METRES_PER_RAD * turn.abs()
    }

    /// Turn about the vertical, radians.
    fn heading(&self) -> f64 {
        self.rotation[3].atan2(self.rotation[0])
    }
}

impl Carrier {
    pub(super) fn new(loaded: &Loaded) -> Result<Self> {
        let data = || {
            Data::try_new(Arc::clone(loaded.task.model()))
                .map_err(|source| SimError::AllocateEnv { env: 0, source })
        };
        let (forward, inverse) = (data()?, data()?);
        Ok(Self { manipulation: loaded.task.manipulation(), forward, inverse })
    }

    /// Where the object is at the beginning of an episode.
    pub(super) fn object_pose(&mut self, start: &EpisodeStart) -> Pose {
        let body = self.manipulation.as_ref().map_or(0, |m| m.object);
        self.forward.qpos_mut().copy_from_slice(&start.qpos);
        self.forward.kinematics();
        Pose { position: self.forward.xpos()[body], rotation: self.forward.xmat()[body] }
    }

    /// `source` as it would be done from `start`.
    pub(super) fn carry(&mut self, source: &Source, start: &EpisodeStart) -> Carried {
        let object = self.object_pose(start);
        let Some(manipulation) = self.manipulation.take() else {
            let actions = source.demonstration.actions.clone();
            return Carried { actions, miss_m: 0.0, moved_m: 0.0, turned_rad: 0.0 };
        };
        let carried = self.carry_parts(&manipulation, source, start, &object);
        self.manipulation = Some(manipulation);
        carried
    }

    fn carry_parts(
        &mut self,
        manipulation: &Manipulation,
        source: &Source,
        start: &EpisodeStart,
        object: &Pose,
    ) -> Carried {
        let actions = &source.demonstration.actions;
        let frames = source.ends.last().copied().unwrap_or(0).max(1);
        let dims = actions.len() / frames;
        let arm = manipulation.arm.joints.len();
        let mut out = actions.clone();
        let mut miss_m = 0f64;
        let parts: Vec<(bool, Range<usize>)> = {
            let begins = std::iter::once(0).chain(source.ends.iter().copied());
            let ranges = begins.zip(source.ends.iter().copied()).map(|(a, b)| a..b);
            manipulation.subtasks.iter().map(|p| p.about_object).zip(ranges).collect()
        };
        let turn = self.least_turn(manipulation, source, object, &parts, dims);
        let mut first = true;
        for (_, range) in parts.iter().filter(|(about, _)| *about) {
            for frame in range.clone() {
                let row = &actions[frame * dims..(frame + 1) * dims];
                let target = self.moved_target(manipulation, row, source, object, turn);
                let (angles, miss) = self.reach(manipulation, &target, first.then_some(row));
                (first, miss_m) = (false, miss_m.max(miss));
                (manipulation.to_action)(&angles, &mut out[frame * dims..frame * dims + arm]);
            }
        }
        // Free parts are bent from how far off they begin to how far off they have to end.
        let at = |start: &EpisodeStart| -> Vec<f32> {
            let angles: Vec<f64> = manipulation.arm.joints.iter().map(|a| start.qpos[*a]).collect();
            let mut units = vec![0.0; arm];
            (manipulation.to_action)(&angles, &mut units);
            units
        };
        let mut off: Vec<f32> =
            at(start).iter().zip(at(&source.start)).map(|(new, old)| new - old).collect();
        for (about_object, range) in &parts {
            if range.is_empty() {
                continue;
            }
            let difference = |frame: usize, out: &[f32]| -> Vec<f32> {
                (0..arm).map(|d| out[frame * dims + d] - actions[frame * dims + d]).collect()
            };
            if !about_object {
                let end = match range.end < frames {
                    true => difference(range.end, &out),
                    false => off.clone(),
                };
                let steps = range.len() as f32 + 1.0;
                for (i, frame) in range.clone().enumerate() {
                    let t = (i as f32 + 1.0) / steps;
                    let share = t * t * (3.0 - 2.0 * t);
                    for d in 0..arm {
                        out[frame * dims + d] += off[d] + (end[d] - off[d]) * share;
                    }
                }
            }
            off = difference(range.end - 1, &out);
        }
        let moved: f64 =
            object.position.iter().zip(source.object.position).map(|(a, b)| (a - b).powi(2)).sum();
        let turned = object.heading() - source.object.heading() + turn;
        let turned_rad = turned - TAU * (turned / TAU).round();
        Carried { actions: out, miss_m, moved_m: moved.sqrt(), turned_rad }
    }

    /// Of the turns after which the object looks the same, the one that moves the arm least at the
    /// end of the first part about the object.
    fn least_turn(
        &mut self,
        manipulation: &Manipulation,
        source: &Source,
        object: &Pose,
        parts: &[(bool, Range<usize>)],
        dims: usize,
    ) -> f64 {
        let at = parts.iter().find(|(about, range)| *about && !range.is_empty());
        let Some((_, range)) = at else { return 0.0 };
        let frame = range.end - 1;
        let row = &source.demonstration.actions[frame * dims..(frame + 1) * dims];
        let mut old = vec![0.0; dims];
        (manipulation.to_radians)(row, &mut old);
        let mut best = (f64::INFINITY, 0.0);
        for k in 0..manipulation.symmetry.max(1) {
            let turn = TAU * f64::from(k) / f64::from(manipulation.symmetry.max(1));
            let target = self.moved_target(manipulation, row, source, object, turn);
            let (angles, miss) = self.reach(manipulation, &target, Some(row));
            let travel = angles.iter().zip(&old).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // A centimetre off is worse than a radian of travel.
            let aim = self.misaligned(manipulation, &target);
            let cost = travel + 2.0 * aim + 100.0 * miss;
            if cost < best.0 {
                best = (cost, turn);
            }
        }
        best.1
    }

    /// Angle between the jaws' closing direction and the target's, radians, as inverse kinematics
    /// left it.
    fn misaligned(&self, manipulation: &Manipulation, target: &Target) -> f64 {
        let arm = &manipulation.arm;
        let closing = times(&self.inverse.xmat()[arm.body], arm.closing);
        let along: f64 = closing.iter().zip(target.closing).map(|(a, b)| a * b).sum();
        along.clamp(-1.0, 1.0).acos()
    }

    /// The hand's pose at a set-point of the demonstration, moved with the object.
    fn moved_target(
        &mut self,
        manipulation: &Manipulation,
        row: &[f32],
        source: &Source,
        object: &Pose,
        turn: f64,
    ) -> Target {
        let arm = &manipulation.arm;
        let mut angles = vec![0.0; row.len()];
        (manipulation.to_radians)(row, &mut angles);
        for (address, angle) in arm.joints.iter().zip(&angles) {
            self.forward.qpos_mut()[*address] = *angle;
        }
        self.forward.kinematics();
        let mat = self.forward.xmat()[arm.body];
        let offset = times(&mat, arm.point);
        let origin = self.forward.xpos()[arm.body];
        let (sin, cos) = turn.sin_cos();
        let about = [cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0];
        // From the old object's frame to the new one's.
        let moved = |v: [f64; 3]| {
            times(&object.rotation, times(&about, times_transposed(&source.object.rotation, v)))
        };
        let from_object =
            std::array::from_fn(|i| origin[i] + offset[i] - source.object.position[i]);
        let position = moved(from_object);
        Target {
            position: std::array::from_fn(|i| object.position[i] + position[i]),
            forward: moved(times(&mat, arm.forward)),
            closing: moved(times(&mat, arm.closing)),
        }
    }

    /// The arm's angles that bring the hand to `target`, from a guess (an action) or from where it
    /// was left; and by how much they miss, metres.
    fn reach(
        &mut self,
        manipulation: &Manipulation,
        target: &Target,
        guess: Option<&[f32]>,
    ) -> (Vec<f64>, f64) {
        let arm = &manipulation.arm;
        if let Some(row) = guess {
            let mut angles = vec![0.0; row.len()];
            (manipulation.to_radians)(row, &mut angles);
            for (address, angle) in arm.joints.iter().zip(&angles) {
                self.inverse.qpos_mut()[*address] = *angle;
            }
        }
        let model = self.inverse.model_clone();
        let miss = solve(&model, &mut self.inverse, arm, target);
        (arm.joints.iter().map(|a| self.inverse.qpos()[*a]).collect(), miss)
    }
}

fn times(m: &Mat3, v: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|r| (0..3).map(|c| m[3 * r + c] * v[c]).sum())
}

fn times_transposed(m: &Mat3, v: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|r| (0..3).map(|c| m[3 * c + r] * v[c]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(heading: f64) -> Pose {
        let (sin, cos) = heading.sin_cos();
        Pose { position: [0.0; 3], rotation: [cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0] }
    }

    #[test]
    fn a_square_turned_by_a_right_angle_is_where_it_was() {
        let quarter = TAU / 4.0;
        assert!(turned(0.3).distance(&turned(0.3 + quarter), 4) < 1e-12);
        let apart = turned(0.0).distance(&turned(quarter), 1);
        assert!((apart - METRES_PER_RAD * quarter).abs() < 1e-12, "{apart}");
    }
}
