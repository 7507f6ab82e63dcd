//! Recording: the one way by which simulators and robots write episodes.

use serde::{Deserialize, Serialize};

use crate::{ArrayView, Result};

/// What is known of an episode when it ends.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpisodeOutcome {
    /// Whether the task was achieved; `None` where nobody judged.
    pub success: Option<bool>,
    /// The seed it was started from, for simulated episodes.
    pub seed: Option<u64>,
    /// Sum of rewards, where there are any.
    pub total_reward: Option<f64>,
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
