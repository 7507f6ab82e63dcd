//! `go1-velocity-flat`, `go1-velocity-rough`, `g1-velocity-flat`, `g1-velocity-rough`: walk as told.
//!
//! One task, two robots, two grounds. Every few seconds the robot is told a velocity of its base
//! (ahead, aside, turn) and is to keep it for episodes of 20 s, through pushes, on feet of unknown
//! friction, with a load, motors and sensors that are a little off. Actions are offsets of joint
//! set-points from the default pose at 50 Hz, held by position actuators (PD) in MuJoCo at 200 Hz.
//! A robot is a table (`go1.rs`, `g1.rs`); terms of the reward are functions (`rewards.rs`).
//!
//! **Success**: the robot has not fallen for 20 s and the mean over the episode of the distance
//! between told and actual planar velocity of the base was at most 0.2 m/s, changes of command and
//! pushes included.
//!
//! **What makes learning fast on a CPU.** (1) Cheap steps: MuJoCo's cost is contacts, so only feet and
//! trunk touch the ground and nothing touches the robot itself; see the table in
//! `docs/decisions/011-velocity-tasks.md`. (2) A default pose that stands by itself under zero action,
//! and actions of ±2 that reach ±0.6 rad about it: a policy that knows nothing keeps the robot up for
//! seconds instead of falling at once. (3) A clock: which foot is to swing is observed and rewarded,
//! so that walking need not be found by chance; tracking alone first finds ways of sliding. (4) The
//! base's velocity is observed, as a state estimator would give it; leave `observation.base_velocity`
//! out to learn without. (5) Tracking is rewarded through exp(-e²/0.25): felt from 1 m/s away, and
//! still 15 % apart between an error of 0.2 m/s and none. (6) Episodes end by a fall, so no samples
//! are spent on lying about. (7) Rewards are scaled by the step of 0.02 s: returns of a few units at a
//! discount of 0.99, which value functions learn without normalisation.

mod command;
mod g1;
mod go1;
mod observe;
mod randomize;
mod rewards;
mod robot;
mod state;
mod terrain;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use embody_core::{ContentHash, hash_bytes, hash_tree};
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{
    Camera, Definition, Dimension, Memory, Moment, ObservationTerm, Task, TaskDescription, Term,
};
use crate::SimError;
use crate::mj::{self, Data};
use rewards::Step;
use robot::{GROUND, Joint, Robot};
use state::{Base, Layout};
use terrain::{KINDS, LEVELS, TILE_M, Terrain};

const CONTROL_HZ: f64 = 50.0;
const SUBSTEPS: usize = 4;
const STEP_S: f64 = 1.0 / CONTROL_HZ;
const EPISODE_STEPS: usize = 1000;
/// Largest mean error of the planar velocity in a success, m/s.
const SUCCESS_ERROR: f64 = 0.2;
/// Bounds of an action; what 1 means stands in the robot's table.
const ACTION_BOUND: f64 = 2.0;
/// Tilt at which a robot has fallen, cosine: 60°.
const FALLEN_COS: f64 = 0.5;
/// Spread of the joints at the start, rad, and of the base's velocity, m/s.
const START_JOINTS: f64 = 0.05;
const START_VELOCITY: f64 = 0.2;
/// How far from the middle of its tile a robot starts, m.
const START_PLACE: f64 = 0.5;

/// A robot on a ground.
struct Variant {
    id: &'static str,
    robot: &'static Robot,
    rough: bool,
    description: OnceLock<TaskDescription>,
}

const fn variant(id: &'static str, robot: &'static Robot, rough: bool) -> Variant {
    Variant { id, robot, rough, description: OnceLock::new() }
}

static VARIANTS: [Variant; 4] = [
    variant("go1-velocity-flat", &go1::GO1, false),
    variant("go1-velocity-rough", &go1::GO1, true),
    variant("g1-velocity-flat", &g1::G1, false),
    variant("g1-velocity-rough", &g1::G1, true),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static dyn Definition> {
    VARIANTS.iter().map(|variant| variant as &'static dyn Definition)
}

/// A driven joint and where in the model it is.
struct Driven {
    config: &'static Joint,
    qpos: usize,
    dof: usize,
    actuator: usize,
    /// The middle 90 % of its range, rad.
    soft_limits: [f64; 2],
}

/// What of a foot touches the ground, by geom id, with its radius, m.
struct FootGeoms {
    soles: Vec<usize>,
    radius: f64,
}

/// The loaded task.
struct Velocity {
    robot: &'static Robot,
    terrain: Option<Terrain>,
    model: Arc<MjModel>,
    drawn: Arc<MjModel>,
    model_hash: ContentHash,
    base: usize,
    joints: Vec<Driven>,
    /// Indices into `joints` of those that the policy sets.
    acted: Vec<usize>,
    feet: Vec<FootGeoms>,
    /// All geoms of all feet.
    soles: Vec<usize>,
    layout: Layout,
    camera: usize,
    /// Of the robot, N.
    weight: f64,
    terms: Vec<Term>,
}

type SharedVelocity = Arc<Velocity>;

impl Variant {
    /// The description; its texts are made once per process, from the tables that the task runs by.
    fn words(&self) -> TaskDescription {
        let robot = self.robot;
        let term = Term::new;
        let action = robot.acted().map(|joint| Dimension {
            name: joint.name,
            unit: fixed(format!("· {} rad from the default pose", joint.motor.action_rad)),
            low: -ACTION_BOUND,
            high: ACTION_BOUND,
        });
        let rewards = robot.rewards.iter();
        let mut randomization: Vec<Term> =
            robot.randomization.iter().map(|d| term(d.what.name(), d.text())).collect();
        let bias = robot.noise.joint_bias;
        randomization.extend([
            term("encoder_bias", format!("±{bias} rad: offset of each joint's measured position")),
            term("sensor_noise", robot.noise.text()),
            term("push", robot.pushes.text()),
            term("command", robot.commands.text()),
            term(
                "start",
                format!(
                    "joints ±{START_JOINTS} rad about the default pose, base ±{START_VELOCITY} m/s \
                     ahead and aside, any heading"
                ),
            ),
        ]);
        if self.rough {
            randomization.push(term(
                "terrain",
                format!(
                    "curriculum: tile of {TILE_M} m of one of {} kinds (rough, slope, stairs down, \
                     stairs up, blocks) and {LEVELS} levels; a seed draws both; an episode that \
                     begins by itself is a level harder than one that went {} m far, a level easier \
                     than one that went less than half as far as told",
                    KINDS.len(),
                    0.5 * TILE_M
                ),
            ));
        }
        TaskDescription {
            id: self.id,
            version: 1,
            summary: fixed(format!(
                "A {} walks at the velocity it is told, on {} ground.",
                robot.title,
                if self.rough { "rough" } else { "flat" }
            )),
            instruction: "Walk at the commanded velocity.",
            robot_type: robot.name,
            control_hz: CONTROL_HZ,
            substeps: SUBSTEPS,
            max_episode_steps: EPISODE_STEPS,
            action: action.collect(),
            observations: observe::describe(robot, self.rough)
                .into_iter()
                .map(|(name, meaning)| term(name, meaning))
                .collect(),
            cameras: vec![term(robot.camera, "for people: moves along with the robot".to_owned())],
            rewards: rewards
                .map(|r| term(r.term.name, format!("{} /s · {}", r.weight, r.term.meaning)))
                .collect(),
            randomization,
            success: Some(
                "not fallen for 20 s, with a mean distance between told and actual planar \
                      velocity of the base of at most 0.2 m/s",
            ),
            termination: fixed(format!(
                "on a fall: the base tilts by more than 60° or comes within {} m of the ground; \
                 truncated after {EPISODE_STEPS} steps (20 s)",
                robot.fallen_below_m
            )),
        }
    }
}

impl Definition for Variant {
    fn describe(&self) -> TaskDescription {
        self.description.get_or_init(|| self.words()).clone()
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        let (task, robot) = (self.id, self.robot);
        let folder = asset_dir.join(robot.name);
        let terrain = self.rough.then(|| Terrain::new(robot.terrain_scale));
        let (asset, ground) = match &terrain {
            Some(terrain) => (terrain.asset(), rough_ground()),
            None => (String::new(), plane(0.0)),
        };
        let scene = robot.scene(&asset, &ground);
        let built = robot.build(task, &scene, &folder)?;
        let (model, drawn) = match &terrain {
            Some(terrain) => (with(terrain, built.physics), with(terrain, built.drawn)),
            None => (built.physics, built.drawn),
        };
        let files = hash_tree(&folder, &|_| false)
            .map_err(|e| SimError::ReadModel { path: folder.clone(), why: e.to_string() })?;
        let model_hash = hash_bytes(format!("{task}{scene}{robot:?}{files}").as_bytes());
        let id = |kind, name: &str| mj::id(task, &model, kind, name);
        let mut joints = Vec::new();
        for config in robot.joints {
            let joint = id(MjtObjBase::mjOBJ_JOINT, config.name)?;
            let [low, high] = model.jnt_range()[joint];
            let (middle, half) = (0.5 * (low + high), 0.45 * (high - low));
            joints.push(Driven {
                config,
                qpos: model.jnt_qposadr()[joint] as usize,
                dof: model.jnt_dofadr()[joint] as usize,
                actuator: id(MjtObjBase::mjOBJ_ACTUATOR, config.name)?,
                soft_limits: [middle - half, middle + half],
            });
        }
        let mut feet = Vec::new();
        for foot in robot.feet {
            let soles: Vec<usize> = robot::sole_names(foot)
                .iter()
                .map(|name| id(MjtObjBase::mjOBJ_GEOM, name))
                .collect::<Result<_, _>>()?;
            let radius = model.geom_size()[soles[0]][0];
            feet.push(FootGeoms { soles, radius });
        }
        let base = id(MjtObjBase::mjOBJ_BODY, robot.base)?;
        let camera = mj::id(task, &drawn, MjtObjBase::mjOBJ_CAMERA, robot.camera)?;
        let acted: Vec<usize> = (0..joints.len()).filter(|j| joints[*j].config.acted).collect();
        let noise = observe::noise_len(robot, self.rough);
        let layout = Layout::new(feet.len(), acted.len(), robot.randomization.len(), noise);
        Ok(Arc::new(Shared(Arc::new(Velocity {
            robot,
            weight: 9.81 * model.body_mass().iter().sum::<f64>(),
            soles: feet.iter().flat_map(|foot| foot.soles.iter().copied()).collect(),
            terrain,
            model_hash,
            base,
            joints,
            acted,
            feet,
            layout,
            camera,
            terms: self.describe().observations,
            model,
            drawn,
        }))))
    }
}

/// Text that lives as long as the process; made once per task.
fn fixed(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn plane(z: f64) -> String {
    format!(
        r#"<geom name="floor" type="plane" pos="0 0 {z}" size="0 0 0.1" material="floor" {GROUND}/>"#
    )
}

fn rough_ground() -> String {
    let field = format!(
        r#"<geom name="terrain" type="hfield" hfield="terrain" material="floor" {GROUND}/>"#
    );
    plane(terrain::PLANE_M) + &field
}

/// The model with the terrain's samples in it.
fn with(terrain: &Terrain, mut model: Arc<MjModel>) -> Arc<MjModel> {
    let model_mut = Arc::make_mut(&mut model);
    for (to, sample) in model_mut.hfield_data_mut().iter_mut().zip(terrain.samples()) {
        *to = sample;
    }
    model
}

impl Velocity {
    /// Height of the ground, m.
    fn ground(&self, x: f64, y: f64) -> f64 {
        self.terrain.as_ref().map_or(0.0, |terrain| terrain.height(x, y))
    }

    /// Of the base over the ground, m.
    fn height(&self, base: &Base) -> f64 {
        let [x, y, z] = base.position;
        z - self.ground(x, y)
    }

    fn is_fallen(&self, base: &Base) -> bool {
        -base.gravity[2] < FALLEN_COS || self.height(base) < self.robot.fallen_below_m
    }

    /// The height over the ground that a foot is to swing at, m; `None` while it is to stand.
    fn swing(&self, memory: &Memory, foot: usize) -> Option<f64> {
        let (values, gait) = (&memory.values, &self.robot.gait);
        if !command::moves(&values[self.layout.command.clone()]) {
            return None;
        }
        let at = (values[self.layout.phase] + self.robot.feet[foot].offset).fract();
        let swung = (at - gait.stance) / (1.0 - gait.stance);
        (swung >= 0.0).then(|| gait.swing_height_m * (std::f64::consts::PI * swung).sin())
    }

    /// Acted joints' distances from the default pose, rad.
    fn off_home<'a>(&'a self, now: &Moment<'a>) -> impl Iterator<Item = f64> + use<'a> {
        let qpos = now.data.qpos();
        self.acted.iter().map(move |j| qpos[self.joints[*j].qpos] - self.joints[*j].config.home)
    }

    /// Acted joints' velocities, rad/s.
    fn rates<'a>(&'a self, now: &Moment<'a>) -> impl Iterator<Item = f64> + use<'a> {
        let qvel = now.data.qvel();
        self.acted.iter().map(move |j| qvel[self.joints[*j].dof])
    }

    /// Index among the robot's parameters, where it is drawn.
    fn parameter(&self, values: &[f64], what: randomize::Parameter) -> f64 {
        let drawn = self.robot.randomization.iter().position(|draw| draw.what == what);
        drawn.map_or(what.nominal(), |i| values[self.layout.parameters.start + i])
    }

    /// Takes a new command.
    fn command(&self, values: &mut [f64], rng: &mut ChaCha8Rng) {
        let (command, hold_s) = self.robot.commands.draw(rng);
        values[self.layout.command.clone()].copy_from_slice(&command);
        values[self.layout.command_left] = (hold_s * CONTROL_HZ).round();
    }

    fn schedule_push(&self, values: &mut [f64], rng: &mut ChaCha8Rng) {
        let [low, high] = self.robot.pushes.every_s;
        values[self.layout.push_left] = (rng.random_range(low..=high) * CONTROL_HZ).round();
    }

    /// Set-points of the acted joints under an action.
    fn aim(&self, data: &mut Data, action: &[f32]) {
        for (joint, action) in self.acted.iter().zip(action) {
            let Driven { config, actuator, .. } = &self.joints[*joint];
            let action = f64::from(*action).clamp(-ACTION_BOUND, ACTION_BOUND);
            data.ctrl_mut()[*actuator] = config.home + config.motor.action_rad * action;
        }
    }

    /// What the feet feel, from the contacts of the last physics step.
    fn feel(&self, data: &Data, values: &mut [f64]) {
        let layout = &self.layout;
        values[layout.contact.clone()].fill(0.0);
        values[layout.force.clone()].fill(0.0);
        for (index, contact) in data.contact().iter().enumerate() {
            let touches = |foot: &FootGeoms| {
                foot.soles.iter().any(|sole| contact.geom.contains(&(*sole as i32)))
            };
            if let Some(foot) = self.feet.iter().position(touches) {
                values[layout.contact.start + foot] = 1.0;
                values[layout.force.start + foot] += data.contact_force(index)[0];
            }
        }
        for (foot, FootGeoms { soles, radius }) in self.feet.iter().enumerate() {
            let height = |sole: &usize| {
                let [x, y, z] = data.geom_xpos()[*sole];
                z - radius - self.ground(x, y)
            };
            values[layout.height.start + foot] =
                soles.iter().map(height).fold(f64::INFINITY, f64::min);
            let stands = values[layout.contact.start + foot] > 0.0;
            let air = &mut values[layout.air.start + foot];
            *air = if stands { 0.0 } else { *air + 1.0 };
        }
    }

    /// How hard the next episode is to be, by how this one goes so far.
    fn next_level(&self, data: &Data, values: &[f64]) -> usize {
        let level = values[self.layout.level] as usize;
        let [x, y] = [data.qpos()[0], data.qpos()[1]];
        let start = &values[self.layout.start.clone()];
        let gone = (x - start[0]).hypot(y - start[1]);
        if gone > 0.5 * TILE_M {
            level + 1
        } else if gone < 0.5 * values[self.layout.path] {
            level.saturating_sub(1)
        } else {
            level
        }
    }
}

/// The task as environments share it with its observations.
struct Shared(SharedVelocity);

impl Task for Shared {
    fn model(&self) -> &Arc<MjModel> {
        &self.0.model
    }

    fn drawn(&self) -> &Arc<MjModel> {
        &self.0.drawn
    }

    fn follows(&self) -> Option<usize> {
        Some(self.0.base)
    }

    fn model_hash(&self) -> &ContentHash {
        &self.0.model_hash
    }

    fn cameras(&self) -> Vec<Camera> {
        vec![Camera { name: self.0.robot.camera, id: self.0.camera, policy: false }]
    }

    fn observations(&self) -> Vec<ObservationTerm> {
        observe::terms(&self.0, &self.0.terms)
    }

    fn remembered(&self) -> usize {
        self.0.layout.len
    }

    fn reset(&self, data: &mut Data, memory: &mut Memory, rng: &mut ChaCha8Rng) {
        let task = &*self.0;
        let (layout, robot) = (&task.layout, task.robot);
        let values = &mut memory.values;
        values[layout.drawn] = 1.0;
        for (value, draw) in values[layout.parameters.clone()].iter_mut().zip(robot.randomization) {
            *value = draw.draw(rng);
        }
        for bias in &mut values[layout.bias.clone()] {
            *bias = robot.noise.joint_bias * rng.random_range(-1.0..=1.0);
        }
        let parameters = &values[layout.parameters.clone()];
        mj::edit_model(data, &task.model, |model| randomize::apply(task, model, parameters));
        task.command(values, rng);
        task.schedule_push(values, rng);
        values[layout.phase] = rng.random_range(0.0..1.0);
        let heading: f64 = rng.random_range(-std::f64::consts::PI..=std::f64::consts::PI);
        let mut place = [0.0; 2].map(|_: f64| rng.random_range(-START_PLACE..=START_PLACE));
        let (level, kind) = (rng.random_range(0..LEVELS), rng.random_range(0..KINDS.len()));
        if let Some(terrain) = &task.terrain {
            // Beyond the hardest, any level.
            let level = memory.difficulty.filter(|level| *level < LEVELS).unwrap_or(level);
            values[layout.level] = level as f64;
            let middle = terrain.middle(level, kind);
            place = [place[0] + middle[0], place[1] + middle[1]];
        }
        values[layout.start.clone()].copy_from_slice(&place);
        let ground = task.terrain.as_ref().map_or(0.0, |t| t.highest_near(place, 0.4));
        let (sin, cos) = (0.5 * heading).sin_cos();
        let [x, y] = place;
        let pose = [x, y, ground + robot.height_m, cos, 0.0, 0.0, sin];
        data.qpos_mut()[..7].copy_from_slice(&pose);
        for joint in &task.joints {
            let Driven { config, qpos, actuator, .. } = joint;
            let spread = if config.acted { START_JOINTS } else { 0.0 };
            data.qpos_mut()[*qpos] = config.home + spread * rng.random_range(-1.0..=1.0);
            data.ctrl_mut()[*actuator] = config.home;
        }
        for axis in 0..2 {
            data.qvel_mut()[axis] = START_VELOCITY * rng.random_range(-1.0..=1.0);
        }
    }

    fn begun(&self, data: &mut Data, memory: &mut Memory) {
        let (task, layout) = (&*self.0, &self.0.layout);
        let Memory { values, rng, .. } = memory;
        if values[layout.drawn] == 0.0 {
            // A given state: nominal physics, and a command all the same.
            let nominal = task.robot.randomization.iter().map(|draw| draw.what.nominal());
            for (value, nominal) in values[layout.parameters.clone()].iter_mut().zip(nominal) {
                *value = nominal;
            }
            let parameters = &values[layout.parameters.clone()];
            mj::edit_model(data, &task.model, |model| randomize::apply(task, model, parameters));
            data.forward();
            task.command(values, rng);
            task.schedule_push(values, rng);
            let start = [data.qpos()[0], data.qpos()[1]];
            values[layout.start.clone()].copy_from_slice(&start);
        }
        task.feel(data, values);
        observe::draw_noise(task, memory);
    }

    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize) {
        let (task, layout) = (&*self.0, &self.0.layout);
        let latency = task.parameter(&memory.values, randomize::Parameter::Latency) as usize;
        for substep in 0..substeps {
            if substep == latency {
                task.aim(data, &memory.action);
            }
            data.step();
            if mj::has_diverged(data) {
                return;
            }
        }
        memory.target.copy_from_slice(data.ctrl());
        let values = &mut memory.values;
        let command = &values[layout.command.clone()];
        let told = command[0].hypot(command[1]);
        if command::moves(command) {
            let phase = values[layout.phase] + STEP_S / task.robot.gait.period_s;
            values[layout.phase] = phase.fract();
        }
        values[layout.path] += STEP_S * told;
        task.feel(data, values);
        let now = Moment { data, memory };
        let step = Step::new(task, &now);
        let errors = [step.velocity_error().sqrt(), step.turn_error()];
        for (sum, error) in memory.values[layout.error.clone()].iter_mut().zip(errors) {
            *sum += error;
        }
    }

    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]) {
        let step = Step::new(&self.0, now);
        for (out, reward) in out.iter_mut().zip(self.0.robot.rewards) {
            *out = STEP_S * reward.weight * (reward.term.value)(&step);
        }
    }

    fn achieved(&self, now: &Moment<'_>) -> bool {
        let error = now.memory.values[self.0.layout.error.start] / now.memory.steps.max(1) as f64;
        now.memory.steps == EPISODE_STEPS && error <= SUCCESS_ERROR && !self.failed(now)
    }

    fn ends_on_success(&self) -> bool {
        false
    }

    fn failed(&self, now: &Moment<'_>) -> bool {
        self.0.is_fallen(&Base::of(now.data))
    }

    fn metrics(&self, now: &Moment<'_>) -> Vec<(&'static str, f64)> {
        let (layout, values) = (&self.0.layout, &now.memory.values);
        let mean = |sum: f64| sum / now.memory.steps.max(1) as f64;
        let mut all = vec![
            ("velocity_error_m_s", mean(values[layout.error.start])),
            ("turn_error_rad_s", mean(values[layout.error.start + 1])),
        ];
        if self.0.terrain.is_some() {
            all.push(("terrain_level", values[layout.level]));
        }
        all
    }

    fn end_of_step(&self, data: &mut Data, memory: &mut Memory) {
        let (task, layout) = (&*self.0, &self.0.layout);
        if task.terrain.is_some() {
            memory.difficulty = Some(task.next_level(data, &memory.values));
        }
        let Memory { values, rng, .. } = memory;
        values[layout.command_left] -= 1.0;
        if values[layout.command_left] <= 0.0 {
            task.command(values, rng);
        }
        values[layout.push_left] -= 1.0;
        if values[layout.push_left] <= 0.0 {
            task.schedule_push(values, rng);
            let randomize::Pushes { velocity, turn, .. } = task.robot.pushes;
            let push = [velocity, velocity, 0.0, 0.0, 0.0, turn];
            for (qvel, most) in data.qvel_mut().iter_mut().zip(push) {
                *qvel += most * rng.random_range(-1.0..=1.0);
            }
        }
        observe::draw_noise(task, memory);
    }
}
