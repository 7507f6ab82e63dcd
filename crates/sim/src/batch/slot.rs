//! One environment of a batch: MuJoCo's state, what the task remembers, looks, and the hash of what
//! it went through.

use std::sync::Arc;

use embody_core::{HashStream, Result, derive_seed};
use mujoco_rs::error::MjDataError;
use mujoco_rs::prelude::MjModel;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::EpisodeStart;
use crate::mj::{Data, has_diverged};
use crate::raster::{Look, Scene, ShadowMap};
use crate::tasks::{Memory, Moment, Task, TaskDescription};

/// What the last control step came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outcome {
    pub reward: f64,
    pub terminated: bool,
    pub truncated: bool,
    pub success: bool,
}

impl Outcome {
    pub fn ended(self) -> bool {
        self.terminated || self.truncated
    }
}

/// One environment.
pub(super) struct Slot {
    pub data: Data,
    /// The same state in the model that is drawn, where that is another one.
    pub seen: Option<Data>,
    pub memory: Memory,
    pub look: Look,
    pub shadow: ShadowMap,
    /// Control steps in a row for which the goal condition held.
    pub held: u32,
    /// Whether physics went wrong in this episode, and in how many so far.
    pub diverged: bool,
    pub divergences: u64,
    /// Whether the observation is to be taken anew.
    pub changed: bool,
    pub outcome: Outcome,
    /// Contribution of each reward term to the last reward.
    pub rewards: Vec<f64>,
    pub start: EpisodeStart,
    /// The seed that the episode was drawn from, and the difficulty it was drawn with; `None` where
    /// it began in a given state.
    pub origin: Option<(u64, Option<usize>)>,
    /// Seed of the last `reset`, and how many episodes have begun by themselves since.
    pub seed: u64,
    pub automatic: u64,
    /// Of positions and velocities after every control step.
    pub trajectory: HashStream,
}

impl Slot {
    pub fn new(data: Data, scene: &Scene, task: &dyn Task, description: &TaskDescription) -> Self {
        let memory = Memory {
            target: vec![0.0; data.ctrl().len()],
            action: vec![0.0; description.action.len()],
            previous: vec![0.0; description.action.len()],
            values: vec![0.0; task.remembered()],
            ..Memory::default()
        };
        Self {
            data,
            seen: None,
            memory,
            look: scene.look.clone(),
            shadow: ShadowMap::default(),
            held: 0,
            diverged: false,
            divergences: 0,
            changed: false,
            outcome: Outcome::default(),
            rewards: vec![0.0; description.rewards.len()],
            start: EpisodeStart::default(),
            origin: None,
            seed: 0,
            automatic: 0,
            trajectory: HashStream::default(),
        }
    }

    pub fn moment(&self) -> Moment<'_> {
        Moment { data: &self.data, memory: &self.memory }
    }

    /// Makes room for drawing, where the model that is drawn is another one.
    pub fn prepare_drawing(&mut self, task: &dyn Task) -> std::result::Result<(), MjDataError> {
        if self.seen.is_none() && !Arc::ptr_eq(task.model(), task.drawn()) {
            self.seen = Some(Data::try_new(Arc::clone(task.drawn()))?);
        }
        Ok(())
    }

    /// Brings what is drawn up to date.
    pub fn pose_seen(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.qpos_mut().copy_from_slice(self.data.qpos());
            seen.kinematics();
            seen.com_pos();
            seen.camlight();
        }
    }

    /// The state to draw, as of the last [`Slot::pose_seen`].
    pub fn seen(&self) -> &Data {
        self.seen.as_ref().unwrap_or(&self.data)
    }

    /// Begins an episode in a given state; `model` is the one that is drawn.
    pub fn begin(
        &mut self,
        task: &dyn Task,
        start: &EpisodeStart,
        scene: &Scene,
        model: &MjModel,
    ) -> Result<()> {
        self.look = match &start.appearance {
            Some(appearance) => appearance.look(scene, model)?,
            None => scene.look.clone(),
        };
        self.forget();
        self.memory.rng = ChaCha8Rng::seed_from_u64(derive_seed(0, "events", 0));
        self.data.qpos_mut().copy_from_slice(&start.qpos);
        self.data.qvel_mut().copy_from_slice(&start.qvel);
        self.data.ctrl_mut().copy_from_slice(&start.ctrl);
        self.start.clone_from(start);
        self.origin = None;
        self.begun(task);
        Ok(())
    }

    /// Begins the episode of a seed.
    pub fn reset(&mut self, task: &dyn Task, scene: &Scene, randomize_look: bool, seed: u64) {
        let difficulty = self.memory.difficulty;
        self.forget();
        self.memory.rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "events", 0));
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "reset", 0));
        task.reset(&mut self.data, &mut self.memory, &mut rng);
        self.start.qpos.clear();
        self.start.qpos.extend_from_slice(self.data.qpos());
        self.start.qvel.clear();
        self.start.qvel.extend_from_slice(self.data.qvel());
        self.start.ctrl.clear();
        self.start.ctrl.extend_from_slice(self.data.ctrl());
        self.start.appearance = None;
        self.origin = Some((seed, difficulty));
        self.begun(task);
        self.look.clone_from(&scene.look);
        if randomize_look {
            let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "look", 0));
            task.randomize_look(&mut self.look, &mut rng);
        }
    }

    /// Begins the next episode by itself (see [`embody_core::Autoreset`]).
    pub fn reset_automatically(&mut self, task: &dyn Task, scene: &Scene, randomize_look: bool) {
        self.automatic += 1;
        let seed = derive_seed(self.seed, "autoreset", self.automatic);
        self.reset(task, scene, randomize_look, seed);
    }

    /// Drops what belongs to the last episode.
    fn forget(&mut self) {
        self.data.reset();
        self.memory.forget();
        self.outcome = Outcome::default();
        self.rewards.fill(0.0);
    }

    /// What holds at the beginning of every episode, once state and looks stand.
    fn begun(&mut self, task: &dyn Task) {
        self.data.forward();
        self.memory.target.copy_from_slice(self.data.ctrl());
        task.begun(&mut self.data, &mut self.memory);
        (self.held, self.diverged, self.changed) = (0, false, true);
        self.trajectory = HashStream::default();
    }

    /// One control step, and what it came to.
    pub fn step(&mut self, task: &dyn Task, description: &TaskDescription, action: &[f32]) {
        if self.diverged {
            return;
        }
        std::mem::swap(&mut self.memory.previous, &mut self.memory.action);
        self.memory.action.copy_from_slice(action);
        task.advance(&mut self.data, &mut self.memory, description.substeps);
        self.judge(task, description);
    }

    /// What a control step came to, once physics has run.
    pub fn judge(&mut self, task: &dyn Task, description: &TaskDescription) {
        // MuJoCo counts what it had to mend; where a state stopped being finite, it has reset it.
        if has_diverged(&self.data) {
            self.diverged = true;
            self.divergences += 1;
            self.outcome = Outcome { terminated: true, success: false, ..Outcome::default() };
            self.rewards.fill(0.0);
            return;
        }
        self.memory.steps += 1;
        self.changed = true;
        let now = Moment { data: &self.data, memory: &self.memory };
        task.rewards(&now, &mut self.rewards);
        self.held = if task.achieved(&now) { self.held + 1 } else { 0 };
        let success = self.outcome.success || self.held >= task.hold_steps();
        let terminated = (success && task.ends_on_success()) || task.failed(&now);
        // Both at once, where the last step allowed is the one that ends it: as in Gymnasium.
        let late = self.memory.steps >= description.max_episode_steps;
        self.outcome =
            Outcome { reward: self.rewards.iter().sum(), terminated, truncated: late, success };
        task.end_of_step(&mut self.data, &mut self.memory);
    }

    /// Takes the state into the trajectory's hash.
    pub fn note(&mut self) {
        let mut bytes = [0; 512];
        for values in [self.data.qpos(), self.data.qvel()] {
            for some in values.chunks(bytes.len() / 8) {
                for (x, to) in some.iter().zip(bytes.chunks_exact_mut(8)) {
                    to.copy_from_slice(&x.to_le_bytes());
                }
                self.trajectory.update(&bytes[..8 * some.len()]);
            }
        }
    }
}
