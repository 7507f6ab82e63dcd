//! Tasks: what a batch of MuJoCo environments needs to become a problem for a policy.
//!
//! A task is one file: an MJCF scene and a [`Task`] whose named functions say how an episode begins,
//! what is seen, what counts, and when it is achieved. Everything else (stepping, threads, cameras,
//! time limits, divergence) is `batch`'s. Functions are pure in the environment's state, so that
//! results depend on seed and actions only.

mod aloha;
mod aloha_insertion;
mod aloha_transfer_cube;
mod gymnasium;
mod pusht;
mod so101;
mod so101_model;
mod so101_pick_lift;
mod so101_push;
mod so101_reach;
mod velocity;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use embody_core::{ContentHash, DType, FeatureSpec};
use mujoco_rs::prelude::MjModel;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::SimError;
use crate::ik::Chain;
use crate::mj::Data;
use crate::planar::Space;
use crate::raster::{Look, Scene};

pub(crate) use aloha::arms as aloha_arms;
pub(crate) use so101::{
    CONTROL_HZ as SO101_CONTROL_HZ, HOME_UNITS as SO101_HOME, TOOL_POINT as SO101_TOOL_POINT,
    arm as so101_arm, to_joint_positions, to_units,
};
pub use so101_model::ArmModel;
pub(crate) use so101_pick_lift::CUBE_HALF_M;

/// What a task is, in words and numbers; no simulation needed to read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskDescription {
    /// Id, such as `so101-pick-lift`.
    pub id: &'static str,
    /// Changes whenever behaviour changes.
    pub version: u32,
    /// What it is about, in a sentence.
    pub summary: &'static str,
    /// The instruction recorded with episodes.
    pub instruction: &'static str,
    /// Robot type as datasets name it.
    pub robot_type: &'static str,
    /// Control steps per second.
    pub control_hz: f64,
    /// Physics steps per control step.
    pub substeps: usize,
    /// Time limit in control steps.
    pub max_episode_steps: usize,
    /// Action dimensions in order.
    pub action: Vec<Dimension>,
    /// Observation terms.
    pub observations: Vec<Term>,
    /// Cameras that policies see; others exist for people.
    pub cameras: Vec<Term>,
    /// Terms of the reward, weights in the text.
    pub rewards: Vec<Term>,
    /// What varies between episodes, with ranges.
    pub randomization: Vec<Term>,
    /// When an episode counts as a success; `None` where it is judged by its return alone.
    pub success: Option<&'static str>,
    /// How an episode ends.
    pub termination: &'static str,
}

/// One dimension of an action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// Name, as datasets have it.
    pub name: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// Lower bound; smaller values are clamped to it.
    pub low: f64,
    /// Upper bound; larger values are clamped to it.
    pub high: f64,
}

/// A named part of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Term {
    /// Name.
    pub name: &'static str,
    /// What it is, with shape, units and range.
    pub meaning: Cow<'static, str>,
}

impl Term {
    pub(crate) fn new(name: &'static str, meaning: impl Into<Cow<'static, str>>) -> Self {
        Self { name, meaning: meaning.into() }
    }

    pub(crate) const fn fixed(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning: Cow::Borrowed(meaning) }
    }
}

/// What an environment remembers of its episode beside MuJoCo's state.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    /// Control steps since the episode began.
    pub steps: usize,
    /// Actuator set-points that the last step came to, `[nu]`.
    pub target: Vec<f64>,
    /// The last action and the one before, zeros at the beginning.
    pub action: Vec<f32>,
    pub previous: Vec<f32>,
    /// The task's own, [`Task::remembered`] of them; zeros at the beginning.
    pub values: Vec<f64>,
    /// Physics of tasks in the plane, which MuJoCo only draws.
    pub space: Option<Box<Space>>,
    /// For what happens within an episode: pushes, commands, noise.
    pub rng: ChaCha8Rng,
    /// How hard the next episode is to be where it begins by itself, in the task's own measure: the
    /// one thing that outlives an episode. A `reset` with a seed drops it.
    pub difficulty: Option<usize>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            steps: 0,
            target: Vec::new(),
            action: Vec::new(),
            previous: Vec::new(),
            values: Vec::new(),
            space: None,
            rng: ChaCha8Rng::from_seed([0; 32]),
            difficulty: None,
        }
    }
}

impl Memory {
    /// As at the beginning of an episode; `difficulty` stays.
    pub fn forget(&mut self) {
        self.steps = 0;
        self.target.fill(0.0);
        self.action.fill(0.0);
        self.previous.fill(0.0);
        self.values.fill(0.0);
        self.space = None;
    }
}

/// An environment as the terms of a task see it.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub data: &'a Data,
    pub memory: &'a Memory,
}

type Observer<T> = Box<dyn Fn(&Moment<'_>, &mut [T]) + Send + Sync>;

/// Computes one environment's value of an observation.
pub(crate) enum Observe {
    F32(Observer<f32>),
    /// Tasks that are to agree with another simulator's to the bit.
    F64(Observer<f64>),
}

/// A vector observation.
pub(crate) struct ObservationTerm {
    pub key: &'static str,
    pub spec: FeatureSpec,
    /// Only given on request.
    pub privileged: bool,
    pub observe: Observe,
}

impl ObservationTerm {
    /// `observation.state`: what the robot knows of itself, float32, a value per name.
    pub fn state(
        names: &[&str],
        observe: impl Fn(&Moment<'_>, &mut [f32]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            key: "observation.state",
            spec: FeatureSpec::new(DType::Float32, &[names.len()], names),
            privileged: false,
            observe: Observe::F32(Box::new(observe)),
        }
    }

    /// `observation.environment_state`: where things truly are, privileged.
    pub fn environment_state(
        names: &[&str],
        observe: impl Fn(&Moment<'_>, &mut [f32]) + Send + Sync + 'static,
    ) -> Self {
        let key = "observation.environment_state";
        Self { key, privileged: true, ..Self::state(names, observe) }
    }
}

/// A camera of the scene.
#[derive(Debug, Clone)]
pub(crate) struct Camera {
    pub name: &'static str,
    pub id: usize,
    /// Whether policies see it; the others exist for people.
    pub policy: bool,
}

/// What can be given another look, by geom id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surfaces {
    pub objects: Vec<usize>,
    pub tables: Vec<usize>,
    pub background: Vec<usize>,
    /// Rectangles `[x range, y range]` of the table, metres, that robot and objects keep away from.
    pub clear: Vec<[[f64; 2]; 2]>,
}

/// A part of a demonstration that can be carried over to another place of its object (MimicGen,
/// Mandlekar et al. 2023).
pub(crate) struct Subtask {
    pub name: &'static str,
    /// Whether the hand's path belongs to the object; else it is free, and bent to begin and end
    /// where its neighbours say.
    pub about_object: bool,
    /// Whether the part is over; asked after every control step. The last part ends with the episode.
    pub done: Box<dyn Fn(&Data) -> bool + Send + Sync>,
}

/// What a task says of how it is done, for carrying demonstrations over.
pub(crate) struct Manipulation {
    /// The arm; its first joints are the first dimensions of the action.
    pub arm: Chain,
    /// Body of the object.
    pub object: usize,
    /// Turns about the object's vertical after which it looks the same: 1, or 4 for a square one.
    pub symmetry: u32,
    /// In order.
    pub subtasks: Vec<Subtask>,
    /// Joint positions, radians, of an action's arm dimensions, and back.
    pub to_radians: fn(&[f32], &mut [f64]),
    pub to_action: fn(&[f64], &mut [f32]),
}

/// A problem posed in a MuJoCo scene.
pub(crate) trait Task: Send + Sync {
    /// The compiled scene.
    fn model(&self) -> &Arc<MjModel>;
    /// The scene as it is drawn: the same joints and bodies in the same order, with what physics has
    /// no use for.
    fn drawn(&self) -> &Arc<MjModel> {
        self.model()
    }
    /// Body around which shadows are drawn, where it leaves the scene's middle.
    fn follows(&self) -> Option<usize> {
        None
    }
    /// Hash of the files that the scene was compiled from.
    fn model_hash(&self) -> &ContentHash;
    /// What can be given another look.
    fn surfaces(&self) -> Surfaces {
        Surfaces::default()
    }
    /// How it is done; `None` where demonstrations can't be carried over.
    fn manipulation(&self) -> Option<Manipulation> {
        None
    }
    /// Cameras, in order.
    fn cameras(&self) -> Vec<Camera>;
    /// Vector observations, in order.
    fn observations(&self) -> Vec<ObservationTerm>;
    /// How many values of its own an environment remembers in [`Memory::values`].
    fn remembered(&self) -> usize {
        0
    }
    /// Puts a fresh (`mj_resetData`) environment into a random initial state, `ctrl` included.
    fn reset(&self, data: &mut Data, memory: &mut Memory, rng: &mut ChaCha8Rng);
    /// What is to be remembered once the initial state stands (`mj_forward` has run).
    fn begun(&self, _data: &mut Data, _memory: &mut Memory) {}
    /// Varies colours and light for an episode; `look` holds the model's own.
    fn randomize_look(&self, _look: &mut Look, _rng: &mut ChaCha8Rng) {}
    /// One control step of physics under `memory.action`, of `substeps` physics steps; returns early
    /// where [`mj::has_diverged`](crate::mj::has_diverged). Goes by MuJoCo's integration state and
    /// the memory alone, not by what the last step left computed: a saved state has nothing else.
    fn advance(&self, data: &mut Data, memory: &mut Memory, substeps: usize);
    /// Computes what a saved state does not hold, once MuJoCo's state and the memory are back.
    ///
    /// # Errors
    /// When there is no going on from it.
    fn restored(&self, data: &mut Data, _memory: &mut Memory) -> Result<(), SimError> {
        // Poses for drawing; dynamics are computed by the next step.
        data.kinematics();
        data.com_pos();
        data.camlight();
        Ok(())
    }
    /// Contribution of each reward term, weight included, in the description's order.
    fn rewards(&self, now: &Moment<'_>, out: &mut [f64]);
    /// Whether the goal condition holds right now.
    fn achieved(&self, _now: &Moment<'_>) -> bool {
        false
    }
    /// Control steps in a row for which the condition must hold.
    fn hold_steps(&self) -> u32 {
        1
    }
    /// Whether success ends the episode.
    fn ends_on_success(&self) -> bool {
        true
    }
    /// Whether the episode ends here without success, such as by a fall.
    fn failed(&self, _now: &Moment<'_>) -> bool {
        false
    }
    /// What is measured of the episode so far, by name, for evaluation.
    fn metrics(&self, _now: &Moment<'_>) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    /// Events once a step has been judged, before it is observed: pushes, new commands.
    fn end_of_step(&self, _data: &mut Data, _memory: &mut Memory) {}
}

/// A loaded task and, once something is drawn, its scene.
pub(crate) struct Loaded {
    pub task: Arc<dyn Task>,
    scene: OnceLock<Arc<Scene>>,
}

impl Loaded {
    pub(crate) fn new(task: Arc<dyn Task>) -> Self {
        Self { task, scene: OnceLock::new() }
    }

    /// What is drawn of the task; built at the first call.
    pub(crate) fn scene(&self) -> Arc<Scene> {
        let build = || {
            let scene = Scene::new(self.task.drawn());
            Arc::new(Scene { follows: self.task.follows(), ..scene })
        };
        Arc::clone(self.scene.get_or_init(build))
    }
}

/// Everything about a task that can be said or made by id.
pub(crate) trait Definition: Sync {
    /// What it is, without loading anything.
    fn describe(&self) -> TaskDescription;
    /// Loads its model out of the folder of robot models.
    ///
    /// # Errors
    /// When the model is absent, or MuJoCo refuses it.
    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError>;
}

/// A task of this folder, by its file's two functions.
struct Own {
    describe: fn() -> TaskDescription,
    load: fn(&Path) -> Result<Arc<dyn Task>, SimError>,
}

impl Definition for Own {
    fn describe(&self) -> TaskDescription {
        (self.describe)()
    }

    fn load(&'static self, asset_dir: &Path) -> Result<Arc<dyn Task>, SimError> {
        (self.load)(asset_dir)
    }
}

static OWN: [Own; 6] = [
    Own { describe: so101_reach::describe, load: so101_reach::load },
    Own { describe: so101_push::describe, load: so101_push::load },
    Own { describe: so101_pick_lift::describe, load: so101_pick_lift::load },
    Own { describe: aloha_transfer_cube::describe, load: aloha_transfer_cube::load },
    Own { describe: aloha_insertion::describe, load: aloha_insertion::load },
    Own { describe: pusht::describe, load: pusht::load },
];

/// All tasks.
pub(crate) fn definitions() -> impl Iterator<Item = &'static dyn Definition> {
    OWN.iter().map(|own| own as &dyn Definition).chain(gymnasium::all()).chain(velocity::all())
}
