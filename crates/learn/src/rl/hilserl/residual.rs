//! A bounded residual on a frozen policy (Policy Decorator, arXiv:2412.13630; ResFiT,
//! arXiv:2509.19301): environments whose action is what is added to the frozen policy's.
//!
//! The learner is the same as ever: it sees the frozen policy's next action beside the observations
//! and chooses in [-1, 1] how far to go from it, a set part of the action's range at most. At first
//! the residual is used in few steps, drawn at random, in more and more of them until
//! `warmup_steps`: experience near the frozen policy comes first. What was executed is recorded.

use embody_core::{
    ArrayView, Autoreset, DType, DataView, EnvSpec, FeatureSpec, Observations, Policy, Result,
    VecEnv,
};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::noise::stream;

/// Key of the frozen policy's next action among the observations.
pub const BASE_ACTION: &str = "observation.base_action";

/// Settings of a residual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResidualConfig {
    /// Furthest from the frozen policy's action, as a part of half the action's range.
    pub bound: f64,
    /// Steps until every step uses the residual; 0 for from the beginning on, as for evaluation.
    pub warmup_steps: u64,
    /// Root of the draws.
    pub seed: u64,
}

impl Default for ResidualConfig {
    fn default() -> Self {
        Self { bound: 0.1, warmup_steps: 10_000, seed: 0 }
    }
}

/// Environments with a frozen policy inside.
pub struct ResidualEnv<'e> {
    inner: &'e mut dyn VecEnv,
    base: Box<dyn Policy>,
    cfg: ResidualConfig,
    spec: EnvSpec,
    low: Vec<f32>,
    high: Vec<f32>,
    /// The frozen policy's next actions, `[num_envs, action_dim]`.
    next: Vec<f32>,
    executed: Vec<f32>,
    given: Vec<f32>,
    steps: u64,
    shape: [usize; 2],
}

impl<'e> ResidualEnv<'e> {
    /// Puts `base` into `inner`.
    ///
    /// # Errors
    /// When the bound is impossible, the two disagree on the action, or the environments reset
    /// themselves.
    pub fn new(
        inner: &'e mut dyn VecEnv,
        base: Box<dyn Policy>,
        cfg: &ResidualConfig,
    ) -> Result<Self> {
        check("bound", cfg.bound, cfg.bound > 0.0 && cfg.bound <= 2.0, "above 0, at most 2")?;
        let (num, n) = (inner.num_envs(), inner.spec().action_low.len());
        let rule = format!("the environment's action has {n} dimensions");
        check("action_dim", base.spec().action_dim, base.spec().action_dim == n, &rule)?;
        if inner.autoreset() != Autoreset::Disabled {
            return Err(Error::Invalid {
                what: format!("environment `{}` resets itself", inner.spec().id),
                hint: "make it without `autoreset`".into(),
            }
            .into());
        }
        let mut spec = inner.spec().clone();
        let (low, high) = (spec.action_low.clone(), spec.action_high.clone());
        spec.id = format!("{}+residual", spec.id);
        spec.observations
            .insert(BASE_ACTION.to_owned(), FeatureSpec::new(DType::Float32, &[n], &[]));
        (spec.action_low, spec.action_high) = (vec![-1.0; n], vec![1.0; n]);
        let room = vec![0.0; num * n];
        Ok(Self {
            inner,
            base,
            cfg: cfg.clone(),
            spec,
            low,
            high,
            next: room.clone(),
            executed: room.clone(),
            given: room,
            steps: 0,
            shape: [num, n],
        })
    }

    /// How far a residual of 1 goes in dimension `j`, in the task's units.
    fn reach(&self, j: usize) -> f32 {
        self.cfg.bound as f32 * 0.5 * (self.high[j] - self.low[j])
    }

    fn look(&mut self, which: &[bool]) -> Result<()> {
        self.base.act(&self.inner.observations(), which, &mut self.next)
    }
}

impl VecEnv for ResidualEnv<'_> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.shape[0]
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        self.inner.reset(seeds)?;
        let which: Vec<bool> = seeds.iter().map(Option::is_some).collect();
        (0..which.len()).filter(|i| which[*i]).for_each(|i| self.base.reset(i));
        self.look(&which)
    }

    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()> {
        let [num, n] = self.shape;
        let lengths = (actions.len(), active.len()) == (num * n, num);
        check("actions", actions.len(), lengths, &format!("{num} environments of {n}"))?;
        for i in (0..num).filter(|i| active[*i]) {
            let share = match self.cfg.warmup_steps {
                0 => 1.0,
                all => self.steps as f64 / all as f64,
            };
            let number = self.steps * num as u64 + i as u64;
            let used = stream(self.cfg.seed, "residual/used", number).random_bool(share.min(1.0));
            for j in 0..n {
                let at = i * n + j;
                let wanted = if used { actions[at].clamp(-1.0, 1.0) } else { 0.0 };
                let reach = self.reach(j);
                let base = self.next[at];
                self.given[at] = (base + reach * wanted).clamp(self.low[j], self.high[j]);
                // At a bound less was done than was asked for.
                self.executed[at] = ((self.given[at] - base) / reach).clamp(-1.0, 1.0);
            }
        }
        self.inner.step(&self.given, active)?;
        self.steps += 1;
        let on = |i: usize| active[i] && !self.inner.terminated()[i] && !self.inner.truncated()[i];
        let which: Vec<bool> = (0..num).map(on).collect();
        self.look(&which)
    }

    fn observations(&self) -> Observations<'_> {
        let mut observations = self.inner.observations();
        let view = ArrayView { shape: &self.shape, data: DataView::F32(&self.next) };
        observations.arrays.insert(BASE_ACTION, view);
        observations
    }

    fn rewards(&self) -> &[f64] {
        self.inner.rewards()
    }

    fn terminated(&self) -> &[bool] {
        self.inner.terminated()
    }

    fn truncated(&self) -> &[bool] {
        self.inner.truncated()
    }

    fn executed(&self) -> Option<&[f32]> {
        Some(&self.executed)
    }

    fn success(&self) -> &[bool] {
        self.inner.success()
    }

    fn diverged(&self) -> u64 {
        self.inner.diverged()
    }
}
