//! Settings of PPO, and the presets: those of CleanRL, Stable-Baselines3 and rsl_rl.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::rl::config::{above_zero, at_least_one, not_negative, share};
use crate::rl::kernels::Nonlinearity;
use crate::rl::normalize::Normalization;

/// How the learning rate goes over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// As set.
    Constant,
    /// Down to 0 in a straight line, update by update.
    Linear,
    /// Divided by 1.5 where a minibatch's policy is farther than twice `target_kl` from the one that
    /// acted, multiplied where it is nearer than half of it; within 1e-5 and 1e-2.
    AdaptiveKl,
}

/// What a time limit means for the return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// The same as termination: nothing comes after (CleanRL).
    Done,
    /// The last observation's value comes after (SB3).
    BootstrapFinal,
    /// The value of the observation before the last step stands for it (rsl_rl).
    BootstrapCurrent,
}

/// Over what advantages are brought to mean 0 and deviation 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdvantageNorm {
    /// Left as they are.
    Off,
    /// Each minibatch by itself.
    Minibatch,
    /// The whole rollout.
    Rollout,
}

/// Settings of PPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Steps of every environment between updates.
    pub rollout_steps: usize,
    /// Passes over a rollout.
    pub epochs: usize,
    /// Parts that a rollout is cut into for a pass.
    pub minibatches: usize,
    /// Whether every pass has an order of its own, rather than the update's first.
    pub reshuffle: bool,
    /// Learning rate, at the beginning.
    pub lr: f64,
    /// How it goes on.
    pub lr_schedule: LrSchedule,
    /// What [`LrSchedule::AdaptiveKl`] aims at.
    pub target_kl: f64,
    /// Adam's ε.
    pub adam_eps: f64,
    /// Discount per step.
    pub gamma: f64,
    /// λ of the generalised advantage.
    pub gae_lambda: f64,
    /// How far the probability ratio counts.
    pub clip: f64,
    /// Whether the value may move by no more than `clip` as well.
    pub clip_value: bool,
    /// Advantages' normalisation.
    pub advantage_norm: AdvantageNorm,
    /// Weight of the entropy.
    pub entropy_coef: f64,
    /// Weight of half the squared error of the value. (SB3 and rsl_rl leave out the half: their
    /// coefficient is half of this one.)
    pub value_coef: f64,
    /// Gradients longer than this are scaled down to it.
    pub max_grad_norm: f64,
    /// Whether actor and critic are clipped each by itself.
    pub clip_separately: bool,
    /// What a time limit means.
    pub truncation: Truncation,
    /// Observations' normalisation.
    pub normalize_observations: Normalization,
    /// Bound of normalised observations, either way.
    pub clip_observations: f64,
    /// Rewards' normalisation.
    pub normalize_rewards: Normalization,
    /// Bound of normalised rewards, either way.
    pub clip_rewards: f64,
    /// Widths of the actor's hidden layers.
    pub actor_hidden: Vec<usize>,
    /// Widths of the critic's.
    pub critic_hidden: Vec<usize>,
    /// Nonlinearity of both.
    pub activation: Nonlinearity,
    /// Whether weights begin orthogonal (gains √2, 0.01 for actions, 1 for the value), rather than
    /// as PyTorch's default.
    pub orthogonal: bool,
    /// Where the logarithm of the actions' deviation begins; it depends on no observation.
    pub log_std: f64,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self::cleanrl()
    }
}

impl PpoConfig {
    /// CleanRL's `ppo_continuous_action`.
    pub fn cleanrl() -> Self {
        Self {
            rollout_steps: 2048,
            epochs: 10,
            minibatches: 32,
            reshuffle: true,
            lr: 3e-4,
            lr_schedule: LrSchedule::Linear,
            target_kl: 0.01,
            adam_eps: 1e-5,
            gamma: 0.99,
            gae_lambda: 0.95,
            clip: 0.2,
            clip_value: true,
            advantage_norm: AdvantageNorm::Minibatch,
            entropy_coef: 0.0,
            value_coef: 0.5,
            max_grad_norm: 0.5,
            clip_separately: false,
            truncation: Truncation::Done,
            normalize_observations: Normalization::Gymnasium,
            clip_observations: 10.0,
            normalize_rewards: Normalization::Gymnasium,
            clip_rewards: 10.0,
            actor_hidden: vec![64, 64],
            critic_hidden: vec![64, 64],
            activation: Nonlinearity::Tanh,
            orthogonal: true,
            log_std: 0.0,
        }
    }

    /// Stable-Baselines3's `PPO("MlpPolicy")`.
    pub fn sb3() -> Self {
        Self {
            lr_schedule: LrSchedule::Constant,
            clip_value: false,
            value_coef: 1.0,
            truncation: Truncation::BootstrapFinal,
            normalize_observations: Normalization::Off,
            normalize_rewards: Normalization::Off,
            ..Self::cleanrl()
        }
    }

    /// rsl_rl's PPO with the settings common for legged robots.
    pub fn rsl_rl() -> Self {
        Self {
            rollout_steps: 24,
            epochs: 5,
            minibatches: 4,
            reshuffle: false,
            lr: 1e-3,
            lr_schedule: LrSchedule::AdaptiveKl,
            adam_eps: 1e-8,
            advantage_norm: AdvantageNorm::Rollout,
            entropy_coef: 0.01,
            value_coef: 2.0,
            max_grad_norm: 1.0,
            clip_separately: true,
            truncation: Truncation::BootstrapCurrent,
            normalize_observations: Normalization::VecNormalize,
            clip_observations: 1e6,
            normalize_rewards: Normalization::Off,
            actor_hidden: vec![512, 256, 128],
            critic_hidden: vec![512, 256, 128],
            activation: Nonlinearity::Elu,
            orthogonal: false,
            ..Self::cleanrl()
        }
    }

    pub(crate) fn validate(&self, num_envs: usize) -> Result<(), Error> {
        at_least_one(&[
            ("rollout_steps", self.rollout_steps),
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("actor_hidden", self.actor_hidden.iter().copied().min().unwrap_or(1)),
            ("critic_hidden", self.critic_hidden.iter().copied().min().unwrap_or(1)),
        ])?;
        let rows = self.rollout_steps * num_envs;
        let rule = format!("a rollout has {rows} steps, each part needs two");
        check("minibatches", self.minibatches, self.minibatches * 2 <= rows, &rule)?;
        above_zero(&[
            ("lr", self.lr),
            ("target_kl", self.target_kl),
            ("adam_eps", self.adam_eps),
            ("clip", self.clip),
            ("max_grad_norm", self.max_grad_norm),
            ("clip_observations", self.clip_observations),
            ("clip_rewards", self.clip_rewards),
        ])?;
        share(&[("gamma", self.gamma), ("gae_lambda", self.gae_lambda)])?;
        not_negative(&[("entropy_coef", self.entropy_coef), ("value_coef", self.value_coef)])?;
        check("log_std", self.log_std, self.log_std.abs() <= 10.0, "it must lie within ±10")
    }
}
