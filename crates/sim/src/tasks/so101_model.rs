//! The SO-101's shape for whoever moves a real or emulated one: where the tool is, how near parts are to
//! each other and to the table, and which joints bring the tool somewhere.
//!
//! The model is the tasks' own, on its table; nothing moves in it. Joints are in the units of the tasks'
//! actions (degrees, the gripper in percent).

use std::path::Path;
use std::sync::Arc;

use embody_core::Result;
use mujoco_rs::prelude::MjModel;

use super::so101::{Added, HOME_UNITS, Table, to_joint_positions, to_units};
use crate::SimError;
use crate::ik::{Target, solve};
use crate::mj::Data;

/// Farther apart than this counts as this far, metres.
const FAR_M: f64 = 0.05;
/// Parts of the arm that are nearer to each other than this at rest are not looked at, metres.
const NEAR_M: f64 = 0.01;

/// An SO-101 at its table, as geometry.
pub struct ArmModel {
    table: Table,
    data: Data,
    /// Geoms that must not touch, two by two.
    apart: Vec<[usize; 2]>,
}

impl ArmModel {
    /// The arm of the model in `asset_dir`.
    ///
    /// # Errors
    /// When the model is absent or MuJoCo refuses it.
    pub fn so101(asset_dir: &Path) -> Result<Self> {
        let nothing = Added { task: "so101", what: "nothing", materials: "", bodies: "" };
        let table = Table::load(&nothing, asset_dir)?;
        let data = Data::try_new(Arc::clone(&table.model))
            .map_err(|source| SimError::AllocateEnv { env: 0, source })?;
        let apart = apart(&table.model);
        let mut arm = Self { table, data, apart };
        arm.allow_close();
        Ok(arm)
    }

    /// Takes out pairs of the arm's own that are close where it rests: their shapes are simplified, and
    /// say nothing there.
    fn allow_close(&mut self) {
        for rest in [HOME_UNITS, [0.0, 0.0, 0.0, 0.0, 0.0, HOME_UNITS[5]]] {
            self.place(&rest);
            let (data, model) = (&mut self.data, &self.table.model);
            let world = |geom: usize| model.geom_bodyid()[geom] == 0;
            self.apart.retain(|[a, b]| {
                world(*a) || world(*b) || data.geom_distance(*a, *b, FAR_M, None) > NEAR_M
            });
        }
    }

    /// Where the tool is with its joints at `units` (`[6]`): the point that tasks speak of, metres in the
    /// arm's frame, and the gripper's rotation as a unit quaternion `[x, y, z, w]`.
    pub fn tool(&mut self, units: &[f32]) -> ([f64; 3], [f64; 4]) {
        self.place(units);
        let [w, x, y, z] = self.data.xquat()[self.table.arm.body];
        (self.data.site_xpos()[self.table.jaws_site], [x, y, z, w])
    }

    /// Distance in metres between the nearest two parts that must not touch, table included, at most
    /// 0.05; negative where they are inside each other. Parts next to each other in the chain may touch.
    pub fn clearance(&mut self, units: &[f32]) -> f64 {
        self.place(units);
        let mut least = FAR_M;
        for [a, b] in &self.apart {
            least = least.min(self.data.geom_distance(*a, *b, least.max(0.0) + 1e-6, None));
        }
        least
    }

    /// Joints that bring the point between the jaws to `position` (metres), the fingers pointing along
    /// `forward` and the jaws closing along `closing` (unit vectors) as well as five joints can, from
    /// `units`; and how many metres are left. The gripper stays as it is.
    pub fn reach(
        &mut self,
        units: &[f32],
        position: [f64; 3],
        forward: [f64; 3],
        closing: [f64; 3],
    ) -> ([f32; 6], f64) {
        self.place(units);
        let target = Target { position, forward, closing };
        let left = solve(&self.table.model, &mut self.data, &self.table.arm, &target);
        let radians = self.table.joints.map(|address| self.data.qpos()[address]);
        let mut reached = [0.0; 6];
        to_units(&radians, &mut reached);
        reached[5] = units[5];
        (reached, left)
    }

    /// Where the point between the jaws is, metres, and where the fingers point and the jaws close.
    pub fn grip(&mut self, units: &[f32]) -> ([f64; 3], [f64; 3], [f64; 3]) {
        self.place(units);
        let arm = &self.table.arm;
        let (mat, origin) = (self.data.xmat()[arm.body], self.data.xpos()[arm.body]);
        let turned = |v: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|r| (0..3).map(|c| mat[3 * r + c] * v[c]).sum())
        };
        let offset = turned(arm.point);
        let point = std::array::from_fn(|i| origin[i] + offset[i]);
        (point, turned(arm.forward), turned(arm.closing))
    }

    fn place(&mut self, units: &[f32]) {
        let mut radians = [0.0; 6];
        to_joint_positions(units, &mut radians);
        for (address, radian) in self.table.joints.iter().zip(radians) {
            self.data.qpos_mut()[*address] = radian;
        }
        self.data.kinematics();
        self.data.com_pos();
    }
}

/// Pairs of geoms that collide in the model and whose bodies are neither the same nor next to each
/// other; the arm's foot stands on the table.
fn apart(model: &MjModel) -> Vec<[usize; 2]> {
    let solid = |g: &usize| model.geom_contype()[*g] != 0;
    let body = |g: usize| model.geom_bodyid()[g] as usize;
    let parent = |b: usize| model.body_parentid()[b] as usize;
    let solids: Vec<usize> = (0..model.ngeom() as usize).filter(solid).collect();
    let mut pairs = Vec::new();
    for (i, &a) in solids.iter().enumerate() {
        for &b in &solids[i + 1..] {
            let (x, y) = (body(a), body(b));
            if x != y && parent(x) != y && parent(y) != x {
                pairs.push([a, b]);
            }
        }
    }
    pairs
}
