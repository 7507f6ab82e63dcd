//! `so101-pick-lift`: an SO-101 arm picks up a cube from a table and lifts it.
//!
//! A 28 mm cube of 22 g lies at a random place of a 12 × 14 cm field before the arm, turned by up to
//! 30° against the direction of the arm's base (a cube looks the same every 90°, so a wider range
//! would give the same picture two right answers).
//!
//! Success: the cube's centre is at least 6.4 cm above the table (5 cm above where it lay) for ten
//! control steps (0.5 s) in a row: longer than a cube thrown that high stays there.

use std::path::Path;
use std::sync::Arc;

use embody_core::ContentHash;
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::so101::{
    self, Added, BETWEEN_JAWS, CONTROL_HZ, PAN_AXIS_X_M, SUBSTEPS, Table, distance,
    to_joint_positions, to_units,
};
use super::{
    Camera, Manipulation, Memory, Moment, ObservationTerm, Subtask, Surfaces, Task,
    TaskDescription, Term,
};
use crate::SimError;
use crate::mj::Data;
use crate::raster::Look;

const SCENE: Added = Added {
    task: "so101-pick-lift",
    what: "a cube",
    materials: r#"    <material name="cube" rgba="0.80 0.16 0.13 1" specular="0.2" shininess="0.3"/>
"#,
    bodies: r#"    <body name="cube" pos="0.22 0 0.014">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="0.014 0.014 0.014" mass="0.022" material="cube"
        condim="4" friction="0.8 0.005 0.0001" solref="0.01 1"/>
    </body>
"#,
};

/// Half the cube's edge, metres.
pub(crate) const CUBE_HALF_M: f64 = 0.014;
/// Field of the cube's centre, metres in the arm's frame (x ahead, y to its left).
const FIELD_X_M: [f64; 2] = [0.17, 0.29];
const FIELD_Y_M: [f64; 2] = [-0.07, 0.07];
/// Turn of the cube against the direction towards the arm's pan axis, radians.
const TURN_RAD: f64 = std::f64::consts::PI / 6.0;
/// Nearer than this to the cube's centre, the hand's path belongs to the cube, metres.
const NEAR_M: f64 = 0.06;
const LIFT_M: f64 = 0.05;
const HOLD_STEPS: u32 = 10;

pub(super) fn describe() -> TaskDescription {
    let term = |name, meaning: &'static str| Term::new(name, meaning);
    TaskDescription {
        id: SCENE.task,
        version: 1,
        summary: "An SO-101 arm picks up a 28 mm cube from a table and lifts it.",
        instruction: "Pick up the cube and lift it.",
        robot_type: "so101",
        control_hz: CONTROL_HZ,
        substeps: SUBSTEPS,
        max_episode_steps: 160,
        action: so101::action(),
        observations: vec![
            so101::state(),
            term(
                "observation.environment_state",
                "f32 [4], privileged: cube centre x, y, z in metres in the arm's frame, and its \
                 turn about the vertical in radians, -π/4..π/4",
            ),
        ],
        cameras: so101::cameras(),
        rewards: vec![
            term("reach", "0.2 · (1 - tanh(10 d)), d the distance in metres from jaws to cube"),
            term("lift", "0.3 · height of the cube over 5 cm, at most 0.3"),
            term("goal", "0.5 while the cube is high enough"),
        ],
        randomization: vec![
            term("cube position", "x 0.17..0.29 m, y -0.07..0.07 m, uniform"),
            term("cube turn", "±30° against the direction of the arm's pan axis, uniform"),
            term("joint start", "home pose ±2° each, uniform"),
            term("cube colour", "red, hue and brightness vary by about 10 %"),
            term("table colour", "brightness ±8 %"),
            term("light", "key light ±12 %, headlight ±10 %, direction tilted by up to 0.15"),
        ],
        success: Some(
            "the cube's centre is at least 6.4 cm above the table (5 cm above its start) for \
                  10 control steps (0.5 s) in a row",
        ),
        termination: "on success; truncated after 160 steps (8 s)",
    }
}

/// The loaded task: the model and where in it things are.
struct PickLift {
    table: Table,
    cube_qpos: usize,
    cube_body: usize,
    cube_geom: usize,
    /// Bodies of the two jaws.
    jaws: [usize; 2],
}

pub(super) fn load(asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
    let table = Table::load(&SCENE, asset_dir)?;
    let body = |name| table.id(MjtObjBase::mjOBJ_BODY, name);
    Ok(Arc::new(PickLift {
        jaws: [body("gripper")?, body("moving_jaw_so101_v1")?],
        cube_qpos: table.qpos_address("cube")?,
        cube_body: body("cube")?,
        cube_geom: table.id(MjtObjBase::mjOBJ_GEOM, "cube")?,
        table,
    }))
}

impl Task for PickLift {
    fn model(&self) -> &Arc<MjModel> {
        &self.table.model
    }

    fn model_hash(&self) -> &ContentHash {
        &self.table.model_hash
    }

    fn surfaces(&self) -> Surfaces {
        self.table.surfaces(vec![self.cube_geom])
    }

    fn manipulation(&self) -> Option<Manipulation> {
        let (cube, hand, jaws) = (self.cube_body, self.jaws[0], self.jaws);
        let (cube_geom, model) = (self.cube_geom, Arc::clone(&self.table.model));
        let near = move |data: &Data| {
            let (mat, at) = (data.xmat()[hand], data.xpos()[hand]);
            let point =
                |r: usize| at[r] + (0..3).map(|c| mat[3 * r + c] * BETWEEN_JAWS[c]).sum::<f64>();
            let away: f64 = (0..3).map(|r| (point(r) - data.xpos()[cube][r]).powi(2)).sum();
            away.sqrt() < NEAR_M
        };
        let held = move |data: &Data| {
            let touched = |jaw: usize| {
                data.contact().iter().any(|contact| {
                    let [a, b] = contact.geom;
                    let other = if a == cube_geom as i32 {
                        b
                    } else if b == cube_geom as i32 {
                        a
                    } else {
                        return false;
                    };
                    usize::try_from(other).is_ok_and(|g| model.geom_bodyid()[g] as usize == jaw)
                })
            };
            jaws.into_iter().all(touched)
        };
        Some(Manipulation {
            arm: self.table.arm.clone(),
            object: cube,
            symmetry: 4,
            subtasks: vec![
                Subtask { name: "reach", about_object: false, done: Box::new(near) },
                Subtask { name: "grasp", about_object: true, done: Box::new(held) },
                Subtask { name: "lift", about_object: true, done: Box::new(|_| false) },
            ],
            to_radians: to_joint_positions,
            to_action: to_units,
        })
    }

    fn cameras(&self) -> Vec<Camera> {
        self.table.cameras.clone()
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let cube = self.cube_body;
        vec![
            self.table.state(),
            ObservationTerm::environment_state(
                &["cube.x", "cube.y", "cube.z", "cube.turn"],
                move |now, out| {
                    out[..3].copy_from_slice(&now.data.xpos()[cube].map(|x| x as f32));
                    out[3] = turn(&now.data.xmat()[cube]) as f32;
                },
            ),
        ]
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        self.table.reset(data, rng);
        let x = rng.random_range(FIELD_X_M[0]..=FIELD_X_M[1]);
        let y = rng.random_range(FIELD_Y_M[0]..=FIELD_Y_M[1]);
        let yaw = y.atan2(x - PAN_AXIS_X_M) + rng.random_range(-TURN_RAD..=TURN_RAD);
        let (sin, cos) = (0.5 * yaw).sin_cos();
        let pose = [x, y, CUBE_HALF_M, cos, 0.0, 0.0, sin];
        data.qpos_mut()[self.cube_qpos..self.cube_qpos + 7].copy_from_slice(&pose);
    }

    fn randomize_look(&self, look: &mut Look, rng: &mut ChaCha8Rng) {
        self.table.randomize_look(self.cube_geom, look, rng);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        self.table.advance(data, memory, substeps);
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let data = now.data;
        out[0] = reach(&data.site_xpos()[self.table.jaws_site], &data.xpos()[self.cube_body]);
        out[1] = 0.3 * (lifted_m(data, self.cube_body) / LIFT_M).clamp(0.0, 1.0);
        out[2] = if self.achieved(now) { 0.5 } else { 0.0 };
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        lifted_m(now.data, self.cube_body) >= LIFT_M
    }

    fn hold_steps(&self) -> u32 {
        HOLD_STEPS
    }
}

fn reach(jaws: &[f64; 3], cube: &[f64; 3]) -> f64 {
    0.2 * (1.0 - (10.0 * distance(jaws, cube)).tanh())
}

/// How far the cube's centre is above where it lay, metres.
fn lifted_m(data: &Data, cube: usize) -> f64 {
    data.xpos()[cube][2] - CUBE_HALF_M
}

/// Turn of the cube about the vertical modulo a right angle, in -π/4..π/4, from the horizontal part
/// of its x axis (or of its y axis once the x axis stands upright).
fn turn(mat: &[f64; 9]) -> f64 {
    let (x, y) = if mat[6].abs() < 0.7 { (mat[0], mat[3]) } else { (mat[1], mat[4]) };
    let quarter = std::f64::consts::FRAC_PI_2;
    let angle = y.atan2(x);
    angle - quarter * (angle / quarter).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_is_that_of_a_square() {
        for degrees in [-44.0f64, -10.0, 0.0, 44.0, 60.0, 130.0] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let expected = degrees - 90.0 * (degrees / 90.0).round();
            let got = turn(&[cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0]).to_degrees();
            assert!((got - expected).abs() < 1e-9, "{degrees}: {got}");
        }
    }
}
