//! `so101-reach`: an SO-101 arm brings the point between its jaws to a target in the air.
//!
//! The target hangs at a random place of a box before the arm. It collides with nothing, and stays
//! where it is: gravity on it is compensated.
//!
//! Success: the tool point (MJCF site `gripperframe`) is within 2 cm of the target for ten control
//! steps (0.5 s) in a row.

use std::path::Path;
use std::sync::Arc;

use embody_core::ContentHash;
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::so101::{self, Added, CONTROL_HZ, SUBSTEPS, Table, distance};
use super::{Camera, Memory, Moment, ObservationTerm, Surfaces, Task, TaskDescription, Term};
use crate::SimError;
use crate::mj::Data;
use crate::raster::Look;

const SCENE: Added = Added {
    task: "so101-reach",
    what: "a target in the air",
    materials: r#"    <material name="target" rgba="0.80 0.12 0.16 1" specular="0.1" shininess="0.2"/>
"#,
    bodies: r#"    <body name="target" gravcomp="1">
      <joint name="target_x" type="slide" axis="1 0 0" damping="1"/>
      <joint name="target_y" type="slide" axis="0 1 0" damping="1"/>
      <joint name="target_z" type="slide" axis="0 0 1" damping="1"/>
      <geom name="target" type="sphere" size="0.012" mass="0.01" material="target"
        contype="0" conaffinity="0"/>
    </body>
"#,
};

/// Where targets hang, metres in the arm's frame (x ahead, y to its left): in sight of `front`.
const FIELD_M: [[f64; 2]; 3] = [[0.17, 0.28], [-0.09, 0.09], [0.04, 0.14]];
/// How near counts.
const NEAR_M: f64 = 0.02;
const HOLD_STEPS: u32 = 10;

pub(super) fn describe() -> TaskDescription {
    let term = |name, meaning: &'static str| Term::new(name, meaning);
    let [joints, table, light] = so101::randomization();
    TaskDescription {
        id: SCENE.task,
        version: 1,
        summary: "An SO-101 arm brings its gripper to a target in the air.",
        instruction: "Move the gripper to the red ball.",
        robot_type: "so101",
        control_hz: CONTROL_HZ,
        substeps: SUBSTEPS,
        max_episode_steps: 100,
        action: so101::action(),
        observations: vec![
            so101::state(),
            term(
                "observation.environment_state",
                "f32 [3], privileged: the target's x, y, z in metres in the arm's frame",
            ),
        ],
        cameras: so101::cameras(),
        rewards: vec![
            term("near", "0.5 · (1 - tanh(10 d)), d the distance in metres from tool to target"),
            term("goal", "0.5 while the tool is near enough"),
        ],
        randomization: vec![
            term("target position", "x 0.17..0.28 m, y -0.09..0.09 m, z 0.04..0.14 m, uniform"),
            joints,
            term("target colour", "red, hue and brightness vary by about 10 %"),
            table,
            light,
        ],
        success: Some(
            "the tool point is within 2 cm of the target for 10 control steps (0.5 s) in a row",
        ),
        termination: "on success; truncated after 100 steps (5 s)",
    }
}

struct Reach {
    table: Table,
    target_qpos: usize,
    target_body: usize,
    target_geom: usize,
}

pub(super) fn load(asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    let table = Table::load(&SCENE, asset_dir)?;
    Ok(Arc::new(Reach {
        target_qpos: table.qpos_address("target_x")?,
        target_body: table.id(MjtObjBase::mjOBJ_BODY, "target")?,
        target_geom: table.id(MjtObjBase::mjOBJ_GEOM, "target")?,
        table,
    }))
}

impl Reach {
    /// From tool to target, metres.
    fn away(&self, data: &Data) -> f64 {
        distance(&data.site_xpos()[self.table.jaws_site], &data.xpos()[self.target_body])
    }
}

impl Task for Reach {
    fn model(&self) -> &Arc<MjModel> {
        &self.table.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.table.model_hash
    }

    fn surfaces(&self) -> Surfaces {
        self.table.surfaces(vec![self.target_geom])
    }

    fn cameras(&self) -> Vec<Camera> {
        self.table.cameras.clone()
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let target = self.target_body;
        vec![
            self.table.state(),
            ObservationTerm::environment_state(
                &["target.x", "target.y", "target.z"],
                move |now, out| {
                    out.copy_from_slice(&now.data.xpos()[target].map(|x| x as f32));
                },
            ),
        ]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        self.table.reset(data, rng);
        let place = FIELD_M.map(|[low, high]| rng.random_range(low..=high));
        data.qpos_mut()[self.target_qpos..self.target_qpos + 3].copy_from_slice(&place);
    }

    fn randomize_look(&self, look: &mut Look, rng: &mut ChaCha8Rng) {
        self.table.randomize_look(self.target_geom, look, rng);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        self.table.advance(data, memory, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        out[0] = 0.5 * (1.0 - (10.0 * self.away(now.data)).tanh());
        out[1] = if self.achieved(now) { 0.5 } else { 0.0 };
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        self.away(now.data) <= NEAR_M
    }

    fn hold_steps(&self) -> u32 {
        HOLD_STEPS
    }
}
