//! `pusht`: a round agent pushes a T-shaped block onto a goal, in the plane.
//!
//! The task of diffusion policy (Chi et al. 2023, arXiv 2303.04137) as the `gym-pusht` package has it:
//! a square of 512 pixels with walls, a kinematic agent of radius 15 that a PD law drives to the
//! action, a block without friction that stops when it is not pushed. Physics is [`crate::planar`], at
//! 100 Hz; MuJoCo only places bodies to be drawn. Lengths are pixels, x to the right and y down; a
//! test holds positions and rewards against the package.
//!
//! In `qpos` the block's place is its centre of gravity. As in the package, an episode begins with one
//! step of physics, which parts what overlaps.
//!
//! Success: the block covers more than 95 % of the goal.

use std::path::Path;
use std::sync::Arc;

use embody_core::{ContentHash, DType, FeatureSpec, hash_bytes};
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{
    Camera, Dimension, Memory, Moment, ObservationTerm, Observe, Surfaces, Task, TaskDescription,
    Term,
};
use crate::SimError;
use crate::mj::{self, Data};
use crate::planar::{Body, Shape, Space, Vect, vect};

const ID: &str = "pusht";
const SCENE: &str = include_str!("pusht.xml");

/// Physics step, seconds, and what is left of the block's velocity after each.
const STEP_S: f64 = 0.01;
const DAMPING: f64 = 0.0;
/// Physics steps in a control step, and control steps in an episode.
const SUBSTEPS: usize = 10;
const MAX_STEPS: usize = 300;
/// Gains of the law that drives the agent.
const STIFFNESS: f64 = 100.0;
const DRAG: f64 = 20.0;
const AGENT_RADIUS: f64 = 15.0;
const WALL_RADIUS: f64 = 2.0;
/// The block: bar and stem in its frame, as corners, and its centre of gravity.
const BAR: [Vect; 4] = [vect(-60.0, 0.0), vect(60.0, 0.0), vect(60.0, 30.0), vect(-60.0, 30.0)];
const STEM: [Vect; 4] =
    [vect(-15.0, 30.0), vect(15.0, 30.0), vect(15.0, 120.0), vect(-15.0, 120.0)];
const GRAVITY_CENTRE: Vect = vect(0.0, 45.0);
const MASS: f64 = 1.0;
/// Twice the bar's moment about the frame's origin: the package counts the stem as another bar.
const INERTIA: f64 = 3000.0;
/// Pose of the goal: position of the frame and angle.
const GOAL: ([f64; 2], f64) = ([256.0, 256.0], std::f64::consts::FRAC_PI_4);
const AREA: f64 = 120.0 * 30.0 + 30.0 * 90.0;
/// Share of the goal that counts as all of it.
const COVERED: f64 = 0.95;
/// Targets beyond this are clamped to it.
const FARTHEST: f64 = 1e4;
/// Bodies of the space.
const AGENT: usize = 1;
const BLOCK: usize = 2;

pub(super) fn describe() -> TaskDescription {
    let axis = |name| Dimension { name, unit: "pixel", low: 0.0, high: 512.0 };
    TaskDescription {
        id: ID,
        version: 1,
        summary: "A round agent pushes a T-shaped block onto a goal, seen from above.",
        instruction: "Push the T-shaped block onto the T-shaped target.",
        robot_type: "pusht",
        control_hz: 10.0,
        substeps: SUBSTEPS,
        max_episode_steps: MAX_STEPS,
        action: vec![axis("motor_0"), axis("motor_1")],
        observations: vec![
            Term::new("observation.state", "f32 [2]: the agent's x and y"),
            Term::new(
                "observation.environment_state",
                "f32 [16], privileged: x and y of the block's eight corners, bar before stem",
            ),
            Term::new(
                "observation.full_state",
                "f64 [5], privileged: the agent's x and y, the block's x, y and angle, 0..2π",
            ),
        ],
        cameras: vec![Term::new("top", "u8 [H, W, 3]: the square from above; 96×96 in datasets")],
        rewards: vec![Term::new("coverage", "covered share of the goal over 0.95, at most 1")],
        randomization: vec![
            Term::new("agent position", "x and y 50..449, whole pixels, uniform"),
            Term::new("block position", "x and y 100..399, whole pixels, uniform"),
            Term::new("block angle", "-π..π, uniform, about its centre of gravity"),
        ],
        success: Some("the block covers more than 95 % of the goal"),
        termination: "on success; truncated after 300 steps (30 s)",
    }
}

struct PushT {
    model: Arc<MjModel>,
    hash: ContentHash,
    camera: usize,
    surfaces: Surfaces,
}

pub(super) fn load(_: &Path) -> Result<Arc<dyn Task>, SimError> {
    let model = Arc::new(mj::compile(ID, SCENE, Path::new("pusht.xml"))?);
    let geom = |name| mj::id(ID, &model, MjtObjBase::mjOBJ_GEOM, name);
    Ok(Arc::new(PushT {
        hash: hash_bytes(SCENE.as_bytes()),
        camera: mj::id(ID, &model, MjtObjBase::mjOBJ_CAMERA, "top")?,
        surfaces: Surfaces {
            objects: vec![geom("bar")?, geom("stem")?],
            background: vec![geom("ground")?],
            ..Surfaces::default()
        },
        model,
    }))
}

/// The square with agent and block where the package first puts them.
fn space() -> Space {
    let corner = |x, y| vect([5.0, 506.0][x], [5.0, 506.0][y]);
    let wall = |a, b| Shape::Segment { ends: [a, b], radius: WALL_RADIUS };
    let mut space = Space::new(&[
        wall(corner(0, 1), corner(0, 0)),
        wall(corner(0, 0), corner(1, 0)),
        wall(corner(1, 0), corner(1, 1)),
        wall(corner(0, 1), corner(1, 1)),
    ]);
    let agent = Body::kinematic(vect(256.0, 400.0));
    space.add(agent, &[Shape::Circle { radius: AGENT_RADIUS }]);
    let block = Body::dynamic(vect(256.0, 300.0), GRAVITY_CENTRE, MASS, INERTIA);
    space.add(block, &[Shape::Polygon { corners: BAR }, Shape::Polygon { corners: STEM }]);
    space
}

/// Takes over what the space came to, for drawing and for the record.
fn show(data: &mut Data, space: &Space) {
    let (agent, block) = (space.body(AGENT), space.body(BLOCK));
    data.qpos_mut().copy_from_slice(&[
        agent.position.x,
        agent.position.y,
        block.position.x,
        block.position.y,
        block.angle,
    ]);
    data.qvel_mut().copy_from_slice(&[
        agent.velocity.x,
        agent.velocity.y,
        block.velocity.x,
        block.velocity.y,
        block.spin,
    ]);
    data.kinematics();
    data.com_pos();
    data.camlight();
}

/// One control step: the agent is driven to `target`.
fn drive(space: &mut Space, target: [f64; 2], substeps: usize) {
    for _ in 0..substeps {
        let agent = space.body_mut(AGENT);
        let (at, v) = (agent.position, agent.velocity);
        let pull =
            |to: f64, at: f64, v: f64| v + (STIFFNESS * (to - at) + DRAG * (0.0 - v)) * STEP_S;
        agent.velocity = vect(pull(target[0], at.x, v.x), pull(target[1], at.y, v.y));
        space.step(STEP_S, DAMPING);
    }
}

fn in_space<'a>(now: &Moment<'a>) -> &'a Space {
    now.memory.space.as_deref().expect("an episode has begun before it is observed")
}

impl Task for PushT {
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
        vec![Camera { name: "top", id: self.camera, policy: true }]
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        let corners: Vec<String> =
            (0..8).flat_map(|i| ["x", "y"].map(|axis| format!("corner_{i}.{axis}"))).collect();
        let corners: Vec<&str> = corners.iter().map(String::as_str).collect();
        vec![
            ObservationTerm::state(&["motor_0", "motor_1"], |now, out| {
                let Vect { x, y } = in_space(now).body(AGENT).position;
                out.copy_from_slice(&[x as f32, y as f32]);
            }),
            ObservationTerm::environment_state(&corners, |now, out| {
                let block = in_space(now).body(BLOCK);
                for (out, corner) in out.chunks_exact_mut(2).zip(BAR.iter().chain(&STEM)) {
                    let Vect { x, y } = block.to_world(*corner);
                    out.copy_from_slice(&[x as f32, y as f32]);
                }
            }),
            ObservationTerm {
                key: "observation.full_state",
                spec: FeatureSpec::new(
                    DType::Float64,
                    &[5],
                    &["agent.x", "agent.y", "block.x", "block.y", "block.angle"],
                ),
                privileged: true,
                observe: Observe::F64(Box::new(|now, out| {
                    let space = in_space(now);
                    let (agent, block) = (space.body(AGENT).position, space.body(BLOCK));
                    let (origin, angle) = (block.origin(), block.angle);
                    let angle = angle.rem_euclid(std::f64::consts::TAU);
                    out.copy_from_slice(&[agent.x, agent.y, origin.x, origin.y, angle]);
                })),
            },
        ]
    }

    /// What of the goal is covered, and the actions of the episode, which its space is a function of.
    fn remembered(&self) -> usize {
        1 + 2 * MAX_STEPS
    }

    fn reset(&self, data: &mut Data, _: &mut Memory, rng: &mut ChaCha8Rng) {
        let mut whole = |from: i32, to: i32| f64::from(rng.random_range(from..to));
        let agent = [whole(50, 450), whole(50, 450)];
        let block = [whole(100, 400), whole(100, 400)];
        let pi = std::f64::consts::PI;
        let angle = rng.random_range(-pi..pi);
        // The package sets the position first, then turns about the centre of gravity.
        let centre = [block[0] + GRAVITY_CENTRE.x, block[1] + GRAVITY_CENTRE.y];
        data.qpos_mut().copy_from_slice(&[agent[0], agent[1], centre[0], centre[1], angle]);
    }

    fn begun(&self, data: &mut Data, memory: &mut Memory) {
        let mut space = space();
        let [ax, ay, bx, by, angle] = std::array::from_fn(|i| data.qpos()[i]);
        let velocity = vect(data.qvel()[0], data.qvel()[1]);
        space.body_mut(AGENT).place(vect(ax, ay), 0.0);
        space.body_mut(AGENT).velocity = velocity;
        space.body_mut(BLOCK).place(vect(bx, by), angle);
        space.step(STEP_S, DAMPING);
        show(data, &space);
        memory.values[0] = coverage(space.body(BLOCK));
        memory.space = Some(Box::new(space));
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        let Some(space) = memory.space.as_deref_mut() else { return };
        let target = [0, 1].map(|i| f64::from(memory.action[i]).clamp(-FARTHEST, FARTHEST));
        if let Some(kept) = memory.values[1..].chunks_exact_mut(2).nth(memory.steps) {
            kept.copy_from_slice(&target);
        }
        drive(space, target, substeps);
        memory.values[0] = coverage(space.body(BLOCK));
        show(data, space);
    }

    fn restored(&self, data: &mut Data, memory: &mut Memory) -> Result<(), SimError> {
        let Some(space) = memory.space.as_deref_mut() else { return Ok(()) };
        let actions = memory.values[1..].chunks_exact(2);
        if memory.steps > actions.len() {
            let why = format!("its episode has gone on after its {MAX_STEPS} steps");
            return Err(SimError::Snapshot { why });
        }
        for action in actions.take(memory.steps) {
            drive(space, [action[0], action[1]], SUBSTEPS);
        }
        show(data, space);
        Ok(())
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        out[0] = (now.memory.values[0] / COVERED).clamp(0.0, 1.0);
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        now.memory.values[0] > COVERED
    }
}

/// Share of the goal that the block covers. Bar and stem only touch, so that areas add up.
fn coverage(block: &Body) -> f64 {
    let ([x, y], angle) = GOAL;
    let (sin, cos) = (angle.sin(), angle.cos());
    let goal = [BAR, STEM]
        .map(|part| part.map(|p| vect(cos * p.x - sin * p.y + x, sin * p.x + cos * p.y + y)));
    let covered: f64 = [BAR, STEM]
        .map(|part| {
            let part = part.map(|p| block.to_world(p));
            goal.iter().map(|goal| common_area(goal, &part)).sum::<f64>()
        })
        .iter()
        .sum();
    covered / AREA
}

/// Area that two convex quadrilaterals with the same sense of rotation have in common, by clipping
/// the one at each edge of the other (Sutherland and Hodgman 1974).
fn common_area(clip: &[Vect; 4], subject: &[Vect; 4]) -> f64 {
    // Each of four edges adds at most one corner.
    let mut corners = [Vect::default(); 8];
    corners[..4].copy_from_slice(subject);
    let mut count = 4;
    for i in 0..4 {
        let (a, b) = (clip[i], clip[(i + 1) % 4]);
        let side = |p: Vect| (b - a).cross(p - a);
        let mut kept = [Vect::default(); 8];
        let mut n = 0;
        for j in 0..count {
            let (from, to) = (corners[(j + count - 1) % count], corners[j]);
            let (d0, d1) = (side(from), side(to));
            if (d0 < 0.0) != (d1 < 0.0) {
                kept[n] = from + (to - from) * (d0 / (d0 - d1));
                n += 1;
            }
            if d1 >= 0.0 {
                kept[n] = to;
                n += 1;
            }
        }
        (corners, count) = (kept, n);
        if count == 0 {
            return 0.0;
        }
    }
    let twice: f64 = (0..count).map(|j| corners[j].cross(corners[(j + 1) % count])).sum();
    0.5 * twice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_areas_of_squares() {
        let square = |x: f64, y: f64| {
            [vect(x, y), vect(x + 2.0, y), vect(x + 2.0, y + 2.0), vect(x, y + 2.0)]
        };
        for ((x, y), expected) in [
            ((0.0, 0.0), 4.0),
            ((1.0, 1.0), 1.0),
            ((-0.5, 1.5), 0.75),
            ((2.0, 0.0), 0.0),
            ((5.0, 5.0), 0.0),
        ] {
            let area = common_area(&square(0.0, 0.0), &square(x, y));
            assert!((area - expected).abs() < 1e-12, "{x} {y}: {area}");
        }
        let diamond = [vect(1.0, -1.0), vect(3.0, 1.0), vect(1.0, 3.0), vect(-1.0, 1.0)];
        assert!((common_area(&square(0.0, 0.0), &diamond) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn the_goal_is_covered_by_a_block_that_lies_on_it() {
        let mut space = space();
        let ([x, y], angle) = GOAL;
        let centre = vect(x, y) + GRAVITY_CENTRE.rotate(vect(angle.cos(), angle.sin()));
        space.body_mut(BLOCK).place(centre, angle);
        let all = coverage(space.body(BLOCK));
        assert!((all - 1.0).abs() < 1e-12, "{all}");
        space.body_mut(BLOCK).place(centre + vect(300.0, 0.0), angle);
        assert_eq!(coverage(space.body(BLOCK)), 0.0);
    }
}
