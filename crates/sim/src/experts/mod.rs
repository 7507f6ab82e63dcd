//! Scripted policies that solve tasks from privileged observations, for demonstrations.
//!
//! An expert plans a whole episode from its first observation: inverse kinematics at waypoints, a
//! smooth joint-space curve through them. [`Planned`] plays the plan, environment by environment.

mod aloha;
mod so101;
mod so101_pick_lift;
mod so101_push;
mod so101_reach;

use std::sync::Arc;

use embody_core::{ArrayView, Observations, Policy, PolicySpec, Result, derive_seed};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::tasks::{Loaded, TaskDescription};
use crate::{ExpertOptions, SimError};

const STATE: &str = "observation.state";
const ENVIRONMENT: &str = "observation.environment_state";

/// The expert of a task.
pub(crate) fn make(
    description: &TaskDescription,
    loaded: Arc<Loaded>,
    num_envs: usize,
    seed: u64,
    options: &ExpertOptions,
) -> Result<Box<dyn Policy>> {
    let make: fn(&Loaded, &ExpertOptions) -> Result<Box<dyn Planner>> = match description.id {
        "so101-pick-lift" => so101_pick_lift::make,
        "so101-reach" => so101_reach::make,
        "so101-push" => so101_push::make,
        "aloha-transfer-cube" => aloha::transfer_cube,
        "aloha-insertion" => aloha::insertion,
        id => return Err(SimError::NoExpert { task: id.to_owned() }.into()),
    };
    let planner = make(&loaded, options)?;
    let inputs: embody_core::Features = loaded
        .task
        .observations()
        .into_iter()
        .filter(|term| [STATE, ENVIRONMENT].contains(&term.key))
        .map(|term| (term.key.to_owned(), term.spec))
        .collect();
    let numel = |key: &str| inputs.get(key).map_or(0, |feature| feature.numel());
    Ok(Box::new(Planned {
        task: description.id,
        state_dims: numel(STATE),
        environment_dims: numel(ENVIRONMENT),
        spec: PolicySpec {
            kind: "expert".to_owned(),
            inputs,
            action_dim: description.action.len(),
            chunk_size: 1,
            n_action_steps: 1,
        },
        seed,
        planner,
        plans: vec![(Vec::new(), 0); num_envs],
    }))
}

/// Plans episodes of one task.
trait Planner: Send {
    /// All actions of an episode that begins with these observations, one after the other; the last
    /// one is held once they are spent. `rng` is for variation.
    fn plan(&mut self, state: &[f32], environment: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32>;
}

/// Plays plans.
struct Planned {
    task: &'static str,
    state_dims: usize,
    environment_dims: usize,
    spec: PolicySpec,
    seed: u64,
    planner: Box<dyn Planner>,
    /// Planned actions of each environment's episode and how many are spent.
    plans: Vec<(Vec<f32>, usize)>,
}

impl Policy for Planned {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, env: usize) {
        self.plans[env] = (Vec::new(), 0);
    }

    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let (num_envs, dims) = (self.plans.len(), self.spec.action_dim);
        for (what, got, expected) in
            [("active", active.len(), num_envs), ("actions", actions.len(), dims * num_envs)]
        {
            if got != expected {
                return Err(SimError::WrongLength { what, got, expected }.into());
            }
        }
        let (n, m) = (self.state_dims, self.environment_dims);
        let states = rows(observations, self.task, STATE, num_envs, n)?;
        let environments = rows(observations, self.task, ENVIRONMENT, num_envs, m)?;
        for (env, action) in actions.chunks_exact_mut(dims).enumerate().filter(|(e, _)| active[*e])
        {
            if self.plans[env].0.is_empty() {
                let state = &states[n * env..n * (env + 1)];
                let seen = &environments[m * env..m * (env + 1)];
                // The episode itself seeds its variation, so that the batch's layout does not matter.
                let bits =
                    seen.iter().fold(0, |h, v| derive_seed(h, "cube", u64::from(v.to_bits())));
                let seed = derive_seed(self.seed, "expert", bits);
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                self.plans[env] = (self.planner.plan(state, seen, &mut rng), 0);
            }
            let (plan, spent) = &mut self.plans[env];
            let at = (*spent).min(plan.len() / dims - 1) * dims;
            action.copy_from_slice(&plan[at..at + dims]);
            *spent += 1;
        }
        Ok(())
    }
}

/// Appends `n` points of a cubic from after `from` to `to`, with speeds per step at both ends.
fn curve<const D: usize>(
    plan: &mut Vec<f32>,
    from: [f32; D],
    to: [f32; D],
    speed_from: [f32; D],
    speed_to: [f32; D],
    n: usize,
) {
    let span = n as f32;
    for step in 1..=n {
        let t = step as f32 / span;
        let (t2, t3) = (t * t, t * t * t);
        plan.extend((0..D).map(|i| {
            (2.0 * t3 - 3.0 * t2 + 1.0) * from[i]
                + (t3 - 2.0 * t2 + t) * span * speed_from[i]
                + (3.0 * t2 - 2.0 * t3) * to[i]
                + (t3 - t2) * span * speed_to[i]
        }));
    }
}

/// Speed per step with which to pass `at` between `from` (`n1` steps before) and `to` (`n2` steps
/// after): only as fast as the slower side allows, and not at all where the direction turns.
fn through<const D: usize>(
    from: [f32; D],
    at: [f32; D],
    to: [f32; D],
    n1: usize,
    n2: usize,
) -> [f32; D] {
    std::array::from_fn(|i| {
        let (first, second) = ((at[i] - from[i]) / n1 as f32, (to[i] - at[i]) / n2 as f32);
        if first * second > 0.0 { first.abs().min(second.abs()) * first.signum() } else { 0.0 }
    })
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
