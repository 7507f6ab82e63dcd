//! A frozen diffusion or flow policy steered by its noise (DSRL, Wagenmaker et al. 2025,
//! arXiv:2506.15799): environments whose action is the noise that the policy's next chunk comes out of.
//!
//! The learner is the same as ever. One of its steps is a whole chunk: rewards are summed over it, and
//! it ends with the episode. Nothing of the policy is changed, so what it does stays near to what it
//! was shown. The noise of all actions of a chunk is the same one vector.

use embody_core::{Autoreset, EnvSpec, Observations, Result, VecEnv};
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::policy::Steerable;

/// Settings of steering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteeredConfig {
    /// Largest noise in each dimension, in standard deviations of what the policy learned with.
    pub bound: f64,
}

impl Default for SteeredConfig {
    fn default() -> Self {
        Self { bound: 1.5 }
    }
}

/// Environments with a frozen policy inside that is steered by its noise.
pub struct SteeredEnv<'e> {
    inner: &'e mut dyn VecEnv,
    policy: Box<dyn Steerable>,
    bound: f32,
    spec: EnvSpec,
    chunk: usize,
    actions: Vec<f32>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
}

impl<'e> SteeredEnv<'e> {
    /// Puts `policy` into `inner`.
    ///
    /// # Errors
    /// When the bound is impossible, the two disagree on the action, or the environments reset
    /// themselves.
    pub fn new(
        inner: &'e mut dyn VecEnv,
        policy: Box<dyn Steerable>,
        cfg: &SteeredConfig,
    ) -> Result<Self> {
        check("bound", cfg.bound, cfg.bound > 0.0 && cfg.bound <= 10.0, "above 0, at most 10")?;
        let (num, n) = (inner.num_envs(), inner.spec().action_low.len());
        let (own, chunk) = (policy.spec().action_dim, policy.spec().n_action_steps);
        check(
            "action_dim",
            own,
            own == n,
            &format!("the environment's action has {n} dimensions"),
        )?;
        if inner.autoreset() != Autoreset::Disabled {
            return Err(Error::Invalid {
                what: format!("environment `{}` resets itself", inner.spec().id),
                hint: "make it without `autoreset`".into(),
            }
            .into());
        }
        let bound = cfg.bound as f32;
        let mut spec = inner.spec().clone();
        spec.id = format!("{}+steered", spec.id);
        spec.control_hz /= chunk as f64;
        spec.max_episode_steps = spec.max_episode_steps.div_ceil(chunk);
        (spec.action_low, spec.action_high) = (vec![-bound; n], vec![bound; n]);
        Ok(Self {
            inner,
            policy,
            bound,
            spec,
            chunk,
            actions: vec![0.0; num * n],
            rewards: vec![0.0; num],
            terminated: vec![false; num],
            truncated: vec![false; num],
        })
    }
}

impl VecEnv for SteeredEnv<'_> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.rewards.len()
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        self.inner.reset(seeds)?;
        for i in (0..seeds.len()).filter(|i| seeds[*i].is_some()) {
            self.policy.reset(i);
            (self.rewards[i], self.terminated[i], self.truncated[i]) = (0.0, false, false);
        }
        Ok(())
    }

    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()> {
        let (num, n) = (self.rewards.len(), self.spec.action_low.len());
        let lengths = (actions.len(), active.len()) == (num * n, num);
        check("actions", actions.len(), lengths, &format!("{num} environments of {n}"))?;
        let mut on = active.to_vec();
        for i in (0..num).filter(|i| active[*i]) {
            let given = actions[i * n..(i + 1) * n].iter();
            let noise: Vec<f32> = given.map(|a| a.clamp(-self.bound, self.bound)).collect();
            self.policy.steer(i, &noise);
            (self.rewards[i], self.terminated[i], self.truncated[i]) = (0.0, false, false);
        }
        for _ in 0..self.chunk {
            if !on.contains(&true) {
                break;
            }
            self.policy.act(&self.inner.observations(), &on, &mut self.actions)?;
            self.inner.step(&self.actions, &on)?;
            for i in (0..num).filter(|i| on[*i]) {
                self.rewards[i] += self.inner.rewards()[i];
                self.terminated[i] = self.inner.terminated()[i];
                self.truncated[i] = self.inner.truncated()[i];
            }
            let over = |i: usize| self.terminated[i] || self.truncated[i];
            on.iter_mut().enumerate().for_each(|(i, on)| *on &= !over(i));
        }
        Ok(())
    }

    fn observations(&self) -> Observations<'_> {
        self.inner.observations()
    }

    fn rewards(&self) -> &[f64] {
        &self.rewards
    }

    fn terminated(&self) -> &[bool] {
        &self.terminated
    }

    fn truncated(&self) -> &[bool] {
        &self.truncated
    }

    fn success(&self) -> &[bool] {
        self.inner.success()
    }

    fn diverged(&self) -> u64 {
        self.inner.diverged()
    }
}
