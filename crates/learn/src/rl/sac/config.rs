//! Settings of SAC, and the presets: those of CleanRL and Stable-Baselines3, and two for learning in
//! few steps or in many environments.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::rl::config::{above_zero, at_least_one, share};
use crate::rl::gaussian::Spread;
use crate::rl::kernels::Nonlinearity;

/// How the log-deviation is kept in its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StdRange {
    /// By tanh, over the whole range (CleanRL).
    Tanh,
    /// Cut off (SB3).
    Clamp,
}

/// When the temperature follows the entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemperatureUpdate {
    /// After every update of the actor, by actions drawn anew from it; the loss is of the temperature
    /// itself (CleanRL).
    AfterActor,
    /// Before the critics, with every update; the loss is of its logarithm (SB3).
    BeforeCritics,
    /// Never: it stays where it begins.
    Never,
}

/// Settings of SAC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SacConfig {
    /// Transitions remembered.
    pub buffer_size: usize,
    /// Environment steps of uniformly random actions before learning begins.
    pub learning_starts: u64,
    /// Transitions of an update.
    pub batch_size: usize,
    /// Updates of the critics per step of all environments.
    pub updates_per_step: usize,
    /// Discount per step.
    pub gamma: f64,
    /// How far the targets follow at each update.
    pub tau: f64,
    /// Learning rate of the actor.
    pub actor_lr: f64,
    /// Learning rate of the critics.
    pub critic_lr: f64,
    /// Learning rate of the temperature.
    pub temperature_lr: f64,
    /// Weight of the critics' squared error.
    pub critic_coef: f64,
    /// Updates of the critics between those of the actor.
    pub policy_delay: usize,
    /// Updates of the actor each time.
    pub policy_updates: usize,
    /// Number of critics.
    pub critics: usize,
    /// Of how many of them, drawn anew each update, the smallest counts as target.
    pub critics_in_target: usize,
    /// Whether the actor climbs the critics' mean rather than the smallest of them.
    pub actor_climbs_mean: bool,
    /// Whether the target includes the entropy of the next action.
    pub entropy_in_target: bool,
    /// Widths of the actor's hidden layers.
    pub actor_hidden: Vec<usize>,
    /// Widths of the critics'.
    pub critic_hidden: Vec<usize>,
    /// Nonlinearity of all.
    pub activation: Nonlinearity,
    /// Layer normalisation in the critics.
    pub critic_layer_norm: bool,
    /// Layer normalisation in the actor.
    pub actor_layer_norm: bool,
    /// Smallest logarithm of an action's deviation.
    pub log_std_min: f64,
    /// Largest.
    pub log_std_max: f64,
    /// How it is kept in between.
    pub std_range: StdRange,
    /// When the temperature is learned.
    pub temperature: TemperatureUpdate,
    /// Where the temperature begins.
    pub initial_temperature: f64,
    /// The entropy aimed at is minus this for each dimension of the action.
    pub target_entropy: f64,
    /// Whether critics and entropy see actions in the task's units, rather than from -1 to 1.
    pub actions_in_units: bool,
    /// Whether observations are normalised by their running moments.
    pub normalize_observations: bool,
}

impl Default for SacConfig {
    fn default() -> Self {
        Self::cleanrl()
    }
}

impl SacConfig {
    /// CleanRL's `sac_continuous_action`.
    pub fn cleanrl() -> Self {
        Self {
            buffer_size: 1_000_000,
            learning_starts: 5_000,
            batch_size: 256,
            updates_per_step: 1,
            gamma: 0.99,
            tau: 0.005,
            actor_lr: 3e-4,
            critic_lr: 1e-3,
            temperature_lr: 1e-3,
            critic_coef: 1.0,
            policy_delay: 2,
            policy_updates: 2,
            critics: 2,
            critics_in_target: 2,
            actor_climbs_mean: false,
            entropy_in_target: true,
            actor_hidden: vec![256, 256],
            critic_hidden: vec![256, 256],
            activation: Nonlinearity::Relu,
            critic_layer_norm: false,
            actor_layer_norm: false,
            log_std_min: -5.0,
            log_std_max: 2.0,
            std_range: StdRange::Tanh,
            temperature: TemperatureUpdate::AfterActor,
            initial_temperature: 1.0,
            target_entropy: 1.0,
            actions_in_units: true,
            normalize_observations: false,
        }
    }

    /// Stable-Baselines3's `SAC("MlpPolicy")`.
    pub fn sb3() -> Self {
        Self {
            learning_starts: 100,
            critic_lr: 3e-4,
            temperature_lr: 3e-4,
            critic_coef: 0.5,
            policy_delay: 1,
            policy_updates: 1,
            log_std_min: -20.0,
            std_range: StdRange::Clamp,
            temperature: TemperatureUpdate::BeforeCritics,
            actions_in_units: false,
            ..Self::cleanrl()
        }
    }

    /// Twenty updates a step with layer normalisation, for learning in few steps.
    pub fn high_utd() -> Self {
        Self {
            learning_starts: 1_000,
            updates_per_step: 20,
            critic_lr: 3e-4,
            temperature_lr: 3e-4,
            policy_delay: 20,
            policy_updates: 1,
            critic_layer_norm: true,
            initial_temperature: 0.1,
            target_entropy: 0.5,
            actions_in_units: false,
            ..Self::cleanrl()
        }
    }

    /// Many environments, large batches, few updates a step.
    pub fn fast() -> Self {
        Self {
            buffer_size: 500_000,
            learning_starts: 10_000,
            batch_size: 2_048,
            updates_per_step: 2,
            gamma: 0.97,
            tau: 0.05,
            critic_lr: 3e-4,
            temperature_lr: 3e-4,
            policy_delay: 2,
            policy_updates: 1,
            actor_climbs_mean: true,
            critic_layer_norm: true,
            actor_layer_norm: true,
            activation: Nonlinearity::Silu,
            initial_temperature: 0.001,
            target_entropy: 0.0,
            actions_in_units: false,
            normalize_observations: true,
            ..Self::cleanrl()
        }
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread {
            min: self.log_std_min as f32,
            max: self.log_std_max as f32,
            smooth: self.std_range == StdRange::Tanh,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let hidden = self.actor_hidden.iter().chain(&self.critic_hidden);
        at_least_one(&[
            ("buffer_size", self.buffer_size),
            ("batch_size", self.batch_size),
            ("updates_per_step", self.updates_per_step),
            ("policy_delay", self.policy_delay),
            ("policy_updates", self.policy_updates),
            ("critics", self.critics),
            ("actor_hidden", hidden.copied().min().unwrap_or(1)),
        ])?;
        let most = u32::MAX as usize;
        check("buffer_size", self.buffer_size, self.buffer_size < most, "it must be below 2^32")?;
        let fits = (1..=self.critics).contains(&self.critics_in_target);
        check("critics_in_target", self.critics_in_target, fits, "from 1 to `critics`")?;
        above_zero(&[
            ("actor_lr", self.actor_lr),
            ("critic_lr", self.critic_lr),
            ("temperature_lr", self.temperature_lr),
            ("critic_coef", self.critic_coef),
            ("initial_temperature", self.initial_temperature),
        ])?;
        share(&[("gamma", self.gamma), ("tau", self.tau)])?;
        let (min, max) = (self.log_std_min, self.log_std_max);
        let fits = min < max && min >= -30.0 && max <= 10.0;
        check("log_std_min", min, fits, "below log_std_max, both within -30 and 10")
    }
}
