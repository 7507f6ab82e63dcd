//! Scripted policies that solve tasks from privileged observations, for demonstrations.

mod so101_pick_lift;

use std::sync::Arc;

use embody_core::{ArrayView, Observations, Policy, Result};

use crate::tasks::{Loaded, TaskDescription};
use crate::{ExpertOptions, SimError};

/// The expert of a task.
pub(crate) fn make(
    description: &TaskDescription,
    loaded: Arc<Loaded>,
    num_envs: usize,
    seed: u64,
    options: &ExpertOptions,
) -> Result<Box<dyn Policy>> {
    match description.id {
        "so101-pick-lift" => {
            Ok(Box::new(so101_pick_lift::Expert::new(loaded, num_envs, seed, options)?))
        }
        other => Err(SimError::NoExpert { task: other.to_owned() }.into()),
    }
}

/// The f32 rows of an observation, `[num_envs, numel]`.
fn rows<'a>(
    observations: &Observations<'a>,
    task: &str,
    key: &'static str,
    num_envs: usize,
    numel: usize,
) -> Result<&'a [f32]> {
    observations
        .arrays
        .get(key)
        .and_then(ArrayView::as_f32)
        .filter(|values| values.len() == num_envs * numel)
        .ok_or_else(|| SimError::MissingObservation { task: task.to_owned(), key, numel }.into())
}
