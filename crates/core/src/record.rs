//! Recording: the one way by which simulators and robots write episodes.

use serde::{Deserialize, Serialize};

use crate::{ArrayView, ContentHash, Result};

/// What is known of an episode when it ends.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpisodeOutcome {
    /// Whether the task was achieved; `None` where nobody judged.
    pub success: Option<bool>,
    /// The seed it was started from, for simulated episodes.
    pub seed: Option<u64>,
    /// Sum of rewards, where there are any.
    pub total_reward: Option<f64>,
    /// How a simulated episode began, so that it can be run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<SimulationRecord>,
}

/// How a simulated episode began and what its physics went through: with the recorded actions,
/// enough to run it again and to tell whether every bit is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimulationRecord {
    /// Task id, such as `so101-pick-lift`.
    pub task: String,
    /// Version of the task's behaviour.
    pub task_version: u32,
    /// Hash of the scene and the robot's model files.
    pub model: ContentHash,
    /// Physics engine and its version, such as `mujoco 3.17.0`.
    pub engine: String,
    /// Generalised positions at the first frame, `[nq]`, in the engine's order and units (m, rad,
    /// quaternions). Empty where the beginning was cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qpos: Vec<f64>,
    /// Generalised velocities at the first frame, `[nv]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qvel: Vec<f64>,
    /// Actuator set-points at the first frame, `[nu]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ctrl: Vec<f64>,
    /// Colours, light, textures and cameras, as the simulator writes them.
    pub appearance: serde_json::Value,
    /// Hash of positions and velocities after every control step.
    pub trajectory: ContentHash,
    /// What a synthetic episode was made from; `None` for one that was acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<VariationRecord>,
}

/// From which episode a synthetic one was made, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariationRecord {
    /// `appearance` (the same motion, seen differently) or `placement` (the motion carried over to
    /// another place of the object).
    pub kind: String,
    /// Content hash of the source dataset's version.
    pub source: ContentHash,
    /// Index of the episode in that version.
    pub source_episode: usize,
    /// Seed of the trial that gave it.
    pub seed: u64,
    /// Trials before this one that failed.
    pub failed_trials: usize,
    /// The transform: parameters and what came of them.
    pub parameters: serde_json::Value,
}

/// Writes episodes frame by frame. Nothing of an episode is visible in the dataset before
/// `save_episode` returns.
pub trait Recorder {
    /// Starts an episode with the instruction `task`.
    ///
    /// # Errors
    /// When one is open already.
    fn begin_episode(&mut self, task: &str) -> Result<()>;
    /// Adds one frame: a value for every declared feature, in any order. The timestamp is
    /// `frame_index / fps`.
    ///
    /// # Errors
    /// When a feature is missing, unknown, of the wrong shape or not finite; names the feature,
    /// episode and frame.
    fn add_frame(&mut self, values: &[(&str, ArrayView<'_>)]) -> Result<()>;
    /// Ends the episode and keeps it.
    ///
    /// # Errors
    /// When it is empty or can't be written.
    fn save_episode(&mut self, outcome: EpisodeOutcome) -> Result<()>;
    /// Ends the episode and forgets it.
    fn discard_episode(&mut self);
}
