//! Policies that look at nothing, to be better than.

use embody_core::{Features, Observations, Policy, PolicySpec, Result};

use crate::error::Error;
use crate::policy::check_lengths;

/// Replays the mean of recorded `episodes` (each `[steps, action_dim]`, flat): at step `t` the mean of
/// all episodes' actions at `t`, an episode that has ended holding its last action; after the
/// longest, the last mean.
///
/// # Errors
/// When there is no episode, or one is empty or no multiple of `action_dim`.
pub fn replay_mean(episodes: &[Vec<f32>], action_dim: usize) -> Result<Box<dyn Policy>> {
    let bad = episodes
        .iter()
        .position(|e| action_dim == 0 || e.is_empty() || !e.len().is_multiple_of(action_dim));
    if episodes.is_empty() || bad.is_some() {
        let what = match bad {
            Some(i) => format!(
                "episode {i} holds {} numbers, which is no whole number of {action_dim}-dimensional actions",
                episodes[i].len()
            ),
            None => "there is no episode to replay".to_owned(),
        };
        return Err(Error::Invalid { what, hint: "record episodes first".into() }.into());
    }
    let longest = episodes.iter().map(|e| e.len() / action_dim).max().unwrap_or(0);
    let mut trajectory = Vec::with_capacity(longest * action_dim);
    for t in 0..longest {
        for d in 0..action_dim {
            let at = |e: &Vec<f32>| f64::from(e[t.min(e.len() / action_dim - 1) * action_dim + d]);
            let sum: f64 = episodes.iter().map(at).sum();
            trajectory.push((sum / episodes.len() as f64) as f32);
        }
    }
    let spec = PolicySpec {
        kind: "replay-mean".to_owned(),
        inputs: Features::new(),
        action_dim,
        chunk_size: longest,
        n_action_steps: longest,
    };
    Ok(Box::new(Replay { trajectory, steps: Vec::new(), spec }))
}

/// Always gives `action`.
pub fn hold(action: &[f32]) -> Box<dyn Policy> {
    let spec = PolicySpec {
        kind: "hold".to_owned(),
        inputs: Features::new(),
        action_dim: action.len(),
        chunk_size: 1,
        n_action_steps: 1,
    };
    Box::new(Replay { trajectory: action.to_vec(), steps: Vec::new(), spec })
}

struct Replay {
    trajectory: Vec<f32>,
    steps: Vec<usize>,
    spec: PolicySpec,
}

impl Policy for Replay {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, env: usize) {
        if let Some(step) = self.steps.get_mut(env) {
            *step = 0;
        }
    }

    fn act(
        &mut self,
        _observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let dim = self.spec.action_dim;
        check_lengths(active, actions, dim)?;
        self.steps.resize(self.steps.len().max(active.len()), 0);
        let last = self.trajectory.len() / dim - 1;
        for (env, action) in actions.chunks_exact_mut(dim).enumerate().filter(|(i, _)| active[*i]) {
            let at = self.steps[env].min(last) * dim;
            action.copy_from_slice(&self.trajectory[at..at + dim]);
            self.steps[env] += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_holds_what_has_ended_and_environments_run_apart() {
        let mut policy = replay_mean(&[vec![1.0, 3.0], vec![3.0]], 1).expect("two episodes");
        let none = Observations::default();
        let mut out = [0.0, 0.0];
        let mut seen = Vec::new();
        for active in [[true, false], [true, true], [true, true]] {
            policy.act(&none, &active, &mut out).expect("acts");
            seen.push(out);
        }
        assert_eq!(seen, [[2.0, 0.0], [3.0, 2.0], [3.0, 3.0]]);
        policy.reset(0);
        policy.act(&none, &[true, false], &mut out).expect("acts");
        assert_eq!(out, [2.0, 3.0]);
        assert!(replay_mean(&[], 1).is_err());
        assert!(replay_mean(&[vec![1.0, 2.0, 3.0]], 2).is_err());
    }
}
