//! Batches of environments: N episodes stepped side by side.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{ArrayView, Error, FeatureSpec, Features, Result, SimulationRecord};

/// What an environment is, as a policy and an evaluation need to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvSpec {
    /// Name and version, such as `so101-pick-lift`.
    pub id: String,
    /// Changes whenever behaviour changes; part of evaluation results.
    pub version: u32,
    /// The instruction in words, recorded as the dataset's task.
    pub task: String,
    /// Robot type as datasets name it, such as `so101`.
    pub robot_type: String,
    /// Control steps per second of simulated time.
    pub control_hz: f64,
    /// Steps after which an episode is truncated.
    pub max_episode_steps: usize,
    /// Whether an episode can succeed; where not, it is judged by its return.
    pub success_defined: bool,
    /// Observation features by key; images are u8 `[height, width, 3]`.
    pub observations: Features,
    /// The action: f32 `[action_dim]`.
    pub action: FeatureSpec,
    /// Lower bound of each action dimension.
    pub action_low: Vec<f32>,
    /// Upper bound of each action dimension.
    pub action_high: Vec<f32>,
}

/// The observations of all environments of a batch: each array is `[num_envs, …]`.
#[derive(Debug, Clone, Default)]
pub struct Observations<'a> {
    /// Arrays by feature key.
    pub arrays: IndexMap<&'a str, ArrayView<'a>>,
}

/// What happens to an environment whose episode has ended (Gymnasium 1.x, `AutoresetMode`).
///
/// Episode `n` that begins by itself since a `reset` with seed `s` has the seed
/// `derive_seed(s, "autoreset", n)`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Autoreset {
    /// Nothing: it keeps its last observation, and its outcome, until `reset` gives it a seed.
    #[default]
    Disabled,
    /// Its next step ignores the action and begins an episode: the observation is the new one's
    /// first, the reward 0, and it has neither terminated nor been truncated.
    NextStep,
    /// The step that ends it also begins the next one: reward and end are the old episode's, the
    /// observation is the new one's first, and `final_observations` has the old one's last.
    SameStep,
}

/// N environments of one kind, stepped together into contiguous `[num_envs, …]` buffers.
///
/// Results are identical to the bit whatever the number of threads. What an environment does once
/// its episode has ended is [`VecEnv::autoreset`]'s to say.
pub trait VecEnv: Send {
    /// The environment's description.
    fn spec(&self) -> &EnvSpec;
    /// How many environments there are.
    fn num_envs(&self) -> usize;
    /// What happens to an environment whose episode has ended.
    fn autoreset(&self) -> Autoreset {
        Autoreset::Disabled
    }
    /// Starts a new episode in every environment whose entry is `Some(seed)`.
    ///
    /// # Errors
    /// When `seeds.len() != num_envs()`.
    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()>;
    /// Applies `actions` (`[num_envs, action_dim]`) for one control step to environments with
    /// `active[i]`, and leaves the others as they are.
    ///
    /// # Errors
    /// When a length is wrong or an action of an active environment is not finite.
    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()>;
    /// Current observations.
    fn observations(&self) -> Observations<'_>;
    /// The current observation of that key, `[num_envs, …]`.
    fn observation(&self, key: &str) -> Option<ArrayView<'_>> {
        self.observations().arrays.get(key).copied()
    }
    /// With [`Autoreset::SameStep`], the last observation of that key of the episodes that the last
    /// step ended, `[num_envs, …]`; rows of environments that went on hold nothing of use.
    fn final_observation(&self, _key: &str) -> Option<ArrayView<'_>> {
        None
    }
    /// Reward of the last step, `[num_envs]`.
    fn rewards(&self) -> &[f64];
    /// Whether the last step ended the episode by the task's rule, `[num_envs]`.
    fn terminated(&self) -> &[bool];
    /// Whether the last step ended the episode by time, `[num_envs]`.
    fn truncated(&self) -> &[bool];
    /// What the last step did in place of the given actions, `[num_envs, action_dim]`, where limits, a
    /// schedule or a person changed them; `None` where every action was taken as given.
    fn executed(&self) -> Option<&[f32]> {
        None
    }
    /// Whether the task has been achieved in this episode so far, `[num_envs]`.
    fn success(&self) -> &[bool];
    /// Episodes that ended because physics diverged, over the batch's life.
    fn diverged(&self) -> u64;
    /// How the current episode of environment `env` began and what it went through so far; `None`
    /// where it can't be run again, as on a robot.
    fn simulation(&self, _env: usize) -> Option<SimulationRecord> {
        None
    }
    /// Everything that decides what the batch does next, for [`VecEnv::restore`]; `None` where it
    /// can't be had, as on a robot.
    fn snapshot(&self) -> Option<Vec<u8>> {
        None
    }
    /// Puts a batch of the same environments back to where [`VecEnv::snapshot`] was taken: from here
    /// on both give the same bits, observations included.
    ///
    /// # Errors
    /// When the bytes are of another environment, number of environments or version, or damaged.
    fn restore(&mut self, _snapshot: &[u8]) -> Result<()> {
        let id = &self.spec().id;
        Err(Error::new(format!("environment `{id}` can't be put back to an earlier state"))
            .with_hint("start the run again from its beginning"))
    }
}
