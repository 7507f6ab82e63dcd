//! `so101-push`: an SO-101 arm pushes a puck over a table onto a marked goal.
//!
//! A round puck of 50 mm and 40 g lies at a random place before the arm, the goal 6 to 8 cm away in
//! any direction that the arm can follow. The goal is a disc painted on the table: it collides with
//! nothing.
//!
//! Success: the puck's centre is within 2.5 cm of the goal's, and the puck at rest (slower than
//! 2 cm/s), for ten control steps (0.5 s) in a row.

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
    task: "so101-push",
    what: "a puck and a goal",
    materials: r#"    <material name="puck" rgba="0.13 0.33 0.72 1" specular="0.2" shininess="0.3"/>
    <material name="goal" rgba="0.35 0.68 0.36 1" specular="0"/>
"#,
    bodies: r#"    <body name="goal" pos="0 0 0.0006">
      <joint name="goal_x" type="slide" axis="1 0 0"/>
      <joint name="goal_y" type="slide" axis="0 1 0"/>
      <geom name="goal" type="cylinder" size="0.035 0.0005" mass="0.01" material="goal"
        contype="0" conaffinity="0"/>
    </body>
    <body name="puck" pos="0.22 0 0.015">
      <freejoint name="puck"/>
      <geom name="puck" type="cylinder" size="0.025 0.015" mass="0.04" material="puck"
        friction="0.5 0.005 0.0001" solref="0.01 1"/>
    </body>
"#,
};

const PUCK_HALF_HEIGHT_M: f64 = 0.015;
/// Field of the puck's centre, metres in the arm's frame (x ahead, y to its left).
const FIELD_X_M: [f64; 2] = [0.20, 0.25];
const FIELD_Y_M: [f64; 2] = [-0.06, 0.06];
/// From puck to goal.
const WAY_M: [f64; 2] = [0.06, 0.08];
/// Where goals may be.
const GOAL_X_M: [f64; 2] = [0.16, 0.30];
const GOAL_Y_M: [f64; 2] = [-0.12, 0.12];
/// How near counts, and how slow.
const NEAR_M: f64 = 0.025;
const REST_M_S: f64 = 0.02;
const HOLD_STEPS: u32 = 10;

pub(super) fn describe() -> TaskDescription {
    let term = |name, meaning: &'static str| Term::new(name, meaning);
    let [joints, table, light] = so101::randomization();
    TaskDescription {
        id: SCENE.task,
        version: 1,
        summary: "An SO-101 arm pushes a puck over a table onto a marked goal.",
        instruction: "Push the blue puck onto the green disc.",
        robot_type: "so101",
        control_hz: CONTROL_HZ,
        substeps: SUBSTEPS,
        max_episode_steps: 160,
        action: so101::action(),
        observations: vec![
            so101::state(),
            term(
                "observation.environment_state",
                "f32 [4], privileged: x, y of the puck's centre and of the goal's, in metres in the \
                 arm's frame",
            ),
        ],
        cameras: so101::cameras(),
        rewards: vec![
            term("reach", "0.2 · (1 - tanh(10 d)), d the distance in metres from jaws to puck"),
            term("push", "0.3 · (1 - tanh(10 d)), d the distance in metres from puck to goal"),
            term("goal", "0.5 while the puck is at rest on the goal"),
        ],
        randomization: vec![
            term("puck position", "x 0.20..0.25 m, y -0.06..0.06 m, uniform"),
            term(
                "goal position",
                "0.06..0.08 m from the puck, in any direction that keeps it in x 0.16..0.30 m, \
                 y -0.12..0.12 m",
            ),
            joints,
            term("puck colour", "blue, hue and brightness vary by about 10 %"),
            table,
            light,
        ],
        success: Some(
            "the puck's centre is within 2.5 cm of the goal's and slower than 2 cm/s for 10 \
                  control steps (0.5 s) in a row",
        ),
        termination: "on success; truncated after 160 steps (8 s)",
    }
}

struct Push {
    table: Table,
    puck_qpos: usize,
    puck_dof: usize,
    puck_body: usize,
    puck_geom: usize,
    goal_qpos: usize,
    goal_body: usize,
    goal_geom: usize,
}

pub(super) fn load(asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    let table = Table::load(&SCENE, asset_dir)?;
    let puck = table.id(MjtObjBase::mjOBJ_JOINT, "puck")?;
    Ok(Arc::new(Push {
        puck_qpos: table.qpos_address("puck")?,
        puck_dof: table.model.jnt_dofadr()[puck] as usize,
        puck_body: table.id(MjtObjBase::mjOBJ_BODY, "puck")?,
        puck_geom: table.id(MjtObjBase::mjOBJ_GEOM, "puck")?,
        goal_qpos: table.qpos_address("goal_x")?,
        goal_body: table.id(MjtObjBase::mjOBJ_BODY, "goal")?,
        goal_geom: table.id(MjtObjBase::mjOBJ_GEOM, "goal")?,
        table,
    }))
}

impl Push {
    /// From puck to goal in the plane, metres.
    fn left(&self, data: &Data) -> f64 {
        let (puck, goal) = (&data.xpos()[self.puck_body], &data.xpos()[self.goal_body]);
        (puck[0] - goal[0]).hypot(puck[1] - goal[1])
    }
}

impl Task for Push {
    fn model(&self) -> &Arc<MjModel> {
        &self.table.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.table.model_hash
    }

    fn surfaces(&self) -> Surfaces {
        self.table.surfaces(vec![self.puck_geom, self.goal_geom])
    }

    fn cameras(&self) -> Vec<Camera> {
        self.table.cameras.clone()
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let (puck, goal) = (self.puck_body, self.goal_body);
        vec![
            self.table.state(),
            ObservationTerm::environment_state(
                &["puck.x", "puck.y", "goal.x", "goal.y"],
                move |now, out| {
                    for (out, body) in out.chunks_exact_mut(2).zip([puck, goal]) {
                        let [x, y, _] = now.data.xpos()[body];
                        out.copy_from_slice(&[x as f32, y as f32]);
                    }
                },
            ),
        ]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        self.table.reset(data, rng);
        let x = rng.random_range(FIELD_X_M[0]..=FIELD_X_M[1]);
        let y = rng.random_range(FIELD_Y_M[0]..=FIELD_Y_M[1]);
        let way = rng.random_range(WAY_M[0]..=WAY_M[1]);
        // From everywhere in the field, most directions lead to a place for goals.
        let goal = loop {
            let (sin, cos) = rng.random_range(0.0..std::f64::consts::TAU).sin_cos();
            let goal = [x + way * cos, y + way * sin];
            let inside = |v: f64, [low, high]: [f64; 2]| low <= v && v <= high;
            if inside(goal[0], GOAL_X_M) && inside(goal[1], GOAL_Y_M) {
                break goal;
            }
        };
        let qpos = data.qpos_mut();
        let pose = [x, y, PUCK_HALF_HEIGHT_M, 1.0, 0.0, 0.0, 0.0];
        qpos[self.puck_qpos..self.puck_qpos + 7].copy_from_slice(&pose);
        qpos[self.goal_qpos..self.goal_qpos + 2].copy_from_slice(&goal);
    }

    fn randomize_look(&self, look: &mut Look, rng: &mut ChaCha8Rng) {
        self.table.randomize_look(self.puck_geom, look, rng);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        self.table.advance(data, memory, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let data = now.data;
        let reach = distance(&data.site_xpos()[self.table.jaws_site], &data.xpos()[self.puck_body]);
        out[0] = 0.2 * (1.0 - (10.0 * reach).tanh());
        out[1] = 0.3 * (1.0 - (10.0 * self.left(data)).tanh());
        out[2] = if self.achieved(now) { 0.5 } else { 0.0 };
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        let velocity = &now.data.qvel()[self.puck_dof..self.puck_dof + 3];
        let speed = velocity.iter().map(|v| v * v).sum::<f64>().sqrt();
        self.left(now.data) <= NEAR_M && speed <= REST_M_S
    }

    fn hold_steps(&self) -> u32 {
        HOLD_STEPS
    }
}
