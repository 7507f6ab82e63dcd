//! Policies: what turns observations into actions.

use serde::{Deserialize, Serialize};

use crate::{Features, Observations, Result};

/// What a policy expects and gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicySpec {
    /// Kind, such as `act-small`.
    pub kind: String,
    /// Observation features it reads; images u8 `[height, width, 3]` before any resizing.
    pub inputs: Features,
    /// Number of action dimensions.
    pub action_dim: usize,
    /// Actions predicted by one inference.
    pub chunk_size: usize,
    /// Actions executed of each chunk before the next inference.
    pub n_action_steps: usize,
}

/// A policy acting in a batch of environments. Keeps one action queue per environment.
///
/// What it does in one environment does not depend on which others stand in the batch.
pub trait Policy: Send {
    /// The policy's description.
    fn spec(&self) -> &PolicySpec;
    /// Forgets what belongs to environment `env`: a new episode starts there.
    fn reset(&mut self, env: usize);
    /// Writes the next action of every environment with `active[i]` into `actions`
    /// (`[num_envs, action_dim]`, in the environment's units).
    ///
    /// # Errors
    /// When an observation that it needs is absent or of another shape, or its output is not finite.
    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()>;
    /// Predicts for one environment (observations are of a batch of 1) the actions from the present
    /// one on, into `chunk`: `[n, action_dim]`, `n` from 1 to `chunk_size`. For machines that
    /// execute chunks by their own clock; keeps no queue. `last` is the action that was commanded
    /// last, empty before the first.
    ///
    /// What is given here predicts one action.
    ///
    /// # Errors
    /// As [`Policy::act`].
    fn predict(
        &mut self,
        observations: &Observations<'_>,
        last: &[f32],
        chunk: &mut Vec<f32>,
    ) -> Result<()> {
        let _ = last;
        chunk.clear();
        chunk.resize(self.spec().action_dim, 0.0);
        self.act(observations, &[true], chunk)
    }
}
