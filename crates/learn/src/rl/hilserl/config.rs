//! Settings of human-in-the-loop learning, and the published ones as presets.
//!
//! Where a preset differs from its source, the guide says so; what the sources do wrong is not a
//! setting: an update's next observation is the episode's own, a time limit is no termination, and
//! the gripper's penalty counts in every update.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::rl::config::{above_zero, at_least_one, not_negative, share};
use crate::rl::gaussian::Spread;
use crate::rl::kernels::Nonlinearity;

/// How the temperature is kept above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemperatureForm {
    /// e^x (RLPD, LeRobot).
    Exp,
    /// ln(1 + e^x) (HIL-SERL).
    Softplus,
}

/// How the critics' errors are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CriticLoss {
    /// Mean over critics and batch (RLPD, HIL-SERL).
    Mean,
    /// Sum over critics of the mean over the batch (LeRobot).
    Sum,
}

/// How a feature map of the frozen encoder becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Learned weights over the places, several per channel (SERL's spatial learned embeddings).
    Embeddings,
    /// The mean place of each channel (spatial softmax); nothing is learned in it.
    KeyPoints,
}

/// Who waits where actor and learner run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorPace {
    /// The actor waits once more than `max_lag_steps` steps have not had their updates: the number of
    /// updates per step is kept exactly.
    Wait,
    /// The actor goes on: a robot moves at its own rate, and a learner that is too slow falls
    /// behind. It then does what it can, and the metrics say how many updates a step had.
    GoOn,
}

/// Settings of the learner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HilSerlConfig {
    /// Moments kept of the actors, a transition each but for the first of an episode; the oldest go
    /// first.
    pub online_capacity: u64,
    /// Moments kept of demonstrations and interventions; the oldest go first.
    pub demo_capacity: u64,
    /// Environment steps of uniformly random actions at the beginning.
    pub random_steps: u64,
    /// Online transitions before learning begins.
    pub learning_starts: u64,
    /// Transitions of an update.
    pub batch_size: usize,
    /// Which part of a batch comes from the demonstrations, where there are any.
    pub demo_share: f64,
    /// Updates of the critics in a round; the last of them also updates actor and temperature.
    pub critic_updates: usize,
    /// Rounds per environment step; updates per datum are this times `critic_updates`.
    pub rounds_per_step: f64,
    /// Who waits where actor and learner run side by side.
    pub actor_pace: ActorPace,
    /// Steps without their updates up to which an actor does not wait.
    pub max_lag_steps: u64,
    /// Discount per step.
    pub gamma: f64,
    /// How far the targets follow at each update of the critics.
    pub tau: f64,
    /// Learning rate of the actor.
    pub actor_lr: f64,
    /// Learning rate of the critics, and of what lies between them and the frozen encoder.
    pub critic_lr: f64,
    /// Learning rate of the temperature.
    pub temperature_lr: f64,
    /// Longest gradient, for the critics with all below them, and for the actor; 0 for any.
    pub max_grad_norm: f64,
    /// Number of critics.
    pub critics: usize,
    /// Of how many of them, drawn anew each update, the smallest counts as target.
    pub critics_in_target: usize,
    /// How the critics' errors are weighed.
    pub critic_loss: CriticLoss,
    /// Whether the actor climbs the critics' mean rather than the smallest of them.
    pub actor_climbs_mean: bool,
    /// Whether the target includes the entropy of the next action.
    pub entropy_in_target: bool,
    /// How the temperature is kept above 0.
    pub temperature_form: TemperatureForm,
    /// Where the temperature begins.
    pub initial_temperature: f64,
    /// The entropy aimed at is minus this for each dimension of the action, the gripper's included.
    pub target_entropy: f64,
    /// Widths of the actor's hidden layers.
    pub actor_hidden: Vec<usize>,
    /// Widths of the critics', and of the gripper's critic.
    pub critic_hidden: Vec<usize>,
    /// Nonlinearity between their layers.
    pub activation: Nonlinearity,
    /// Layer normalisation in the critics.
    pub critic_layer_norm: bool,
    /// Layer normalisation in the actor.
    pub actor_layer_norm: bool,
    /// Smallest deviation of an action, before squashing.
    pub std_min: f64,
    /// Largest.
    pub std_max: f64,
    /// How a camera's feature map becomes a vector.
    pub pooling: Pooling,
    /// Weights over the places of a map for each channel, with [`Pooling::Embeddings`].
    pub embeddings: usize,
    /// Width of a camera's vector.
    pub image_latent: usize,
    /// Width of the state's; 0 leaves the state as it is.
    pub state_latent: usize,
    /// Whether states are laid onto [-1, 1] by the range that the demonstrations have.
    pub scale_states: bool,
    /// Feature maps kept per picture: the picture itself, and the others shifted at random. An update
    /// draws one of them. 1 for no augmentation.
    pub variants: usize,
    /// Furthest shift, in pixels each way; the edge is repeated.
    pub shift: usize,
    /// Which dimension of the action is the gripper's, learned as a choice among close, stay and
    /// open (low, middle and high); `None` where it is as the others.
    pub gripper: Option<usize>,
    /// What a command that turns the gripper around costs; 0 or below.
    pub gripper_penalty: f64,
}

impl Default for HilSerlConfig {
    fn default() -> Self {
        Self::hil_serl()
    }
}

impl HilSerlConfig {
    /// RLPD on states (Ball et al. 2023, arXiv:2302.02948): ten critics, the smallest of two as
    /// target, twenty updates a step.
    pub fn rlpd() -> Self {
        Self {
            online_capacity: 1_000_000,
            demo_capacity: 1_000_000,
            random_steps: 5_000,
            learning_starts: 5_000,
            batch_size: 256,
            demo_share: 0.5,
            critic_updates: 20,
            rounds_per_step: 1.0,
            actor_pace: ActorPace::Wait,
            max_lag_steps: 0,
            gamma: 0.99,
            tau: 0.005,
            actor_lr: 3e-4,
            critic_lr: 3e-4,
            temperature_lr: 3e-4,
            max_grad_norm: 0.0,
            critics: 10,
            critics_in_target: 2,
            critic_loss: CriticLoss::Mean,
            actor_climbs_mean: true,
            entropy_in_target: true,
            temperature_form: TemperatureForm::Exp,
            initial_temperature: 1.0,
            target_entropy: 0.5,
            actor_hidden: vec![256, 256],
            critic_hidden: vec![256, 256],
            activation: Nonlinearity::Relu,
            critic_layer_norm: true,
            actor_layer_norm: false,
            std_min: (-20.0f64).exp(),
            std_max: 2.0f64.exp(),
            pooling: Pooling::Embeddings,
            embeddings: 8,
            image_latent: 256,
            state_latent: 0,
            scale_states: false,
            variants: 4,
            shift: 4,
            gripper: None,
            gripper_penalty: -0.02,
        }
    }

    /// HIL-SERL (Luo et al. 2024, arXiv:2410.21845).
    pub fn hil_serl() -> Self {
        Self {
            online_capacity: 200_000,
            demo_capacity: 200_000,
            random_steps: 0,
            learning_starts: 100,
            critic_updates: 2,
            rounds_per_step: 1.0,
            actor_pace: ActorPace::GoOn,
            max_lag_steps: 50,
            gamma: 0.97,
            critics: 2,
            critics_in_target: 2,
            entropy_in_target: false,
            temperature_form: TemperatureForm::Softplus,
            initial_temperature: 0.01,
            activation: Nonlinearity::Tanh,
            actor_layer_norm: true,
            std_min: 1e-5,
            std_max: 5.0,
            state_latent: 64,
            ..Self::rlpd()
        }
    }

    /// LeRobot's port of it.
    pub fn lerobot() -> Self {
        Self {
            online_capacity: 100_000,
            demo_capacity: 100_000,
            critic_updates: 1,
            gamma: 0.99,
            max_grad_norm: 40.0,
            critic_loss: CriticLoss::Sum,
            actor_climbs_mean: false,
            entropy_in_target: true,
            temperature_form: TemperatureForm::Exp,
            initial_temperature: 1.0,
            activation: Nonlinearity::Silu,
            std_max: 10.0,
            state_latent: 256,
            scale_states: true,
            ..Self::hil_serl()
        }
    }

    /// The settings of that name: `rlpd`, `hil-serl`, `hil-serl-lerobot`.
    pub fn preset(name: &str) -> Option<Self> {
        Self::presets().into_iter().find(|(known, ..)| *known == name).map(|(.., cfg)| cfg)
    }

    /// Every preset: name, what it is in a line, settings.
    pub fn presets() -> Vec<(&'static str, &'static str, Self)> {
        vec![
            ("rlpd", "RLPD on states, 20 updates a step", Self::rlpd()),
            ("hil-serl", "HIL-SERL as published", Self::hil_serl()),
            ("hil-serl-lerobot", "LeRobot's port of HIL-SERL", Self::lerobot()),
        ]
    }

    /// The deviation's range as the actor's network gives it.
    pub(crate) fn spread(&self) -> Spread {
        Spread { min: self.std_min.ln() as f32, max: self.std_max.ln() as f32, smooth: false }
    }

    /// Without what never changes a result in lockstep.
    pub(crate) fn of_the_result(&self) -> Self {
        Self { actor_pace: ActorPace::Wait, max_lag_steps: 0, ..self.clone() }
    }

    /// Refuses impossible values before anything runs.
    ///
    /// # Errors
    /// Names the key, its value and the rule.
    pub fn check(&self) -> embody_core::Result<()> {
        Ok(self.validate()?)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let hidden = self.actor_hidden.iter().chain(&self.critic_hidden);
        at_least_one(&[
            ("batch_size", self.batch_size),
            ("critic_updates", self.critic_updates),
            ("critics", self.critics),
            ("embeddings", self.embeddings),
            ("image_latent", self.image_latent),
            ("variants", self.variants),
            ("actor_hidden", hidden.copied().min().unwrap_or(1)),
        ])?;
        at_least_one(&[
            ("online_capacity", self.online_capacity),
            ("demo_capacity", self.demo_capacity),
            ("learning_starts", self.learning_starts),
        ])?;
        let fits = (1..=self.critics).contains(&self.critics_in_target);
        check("critics_in_target", self.critics_in_target, fits, "from 1 to `critics`")?;
        check("variants", self.variants, self.variants <= 64, "it can be 64 at most")?;
        let fits = self.demo_share < 1.0;
        check("demo_share", self.demo_share, fits, "some of a batch must be the actor's own")?;
        above_zero(&[
            ("rounds_per_step", self.rounds_per_step),
            ("actor_lr", self.actor_lr),
            ("critic_lr", self.critic_lr),
            ("temperature_lr", self.temperature_lr),
            ("initial_temperature", self.initial_temperature),
            ("std_min", self.std_min),
            ("std_max", self.std_max),
        ])?;
        not_negative(&[("max_grad_norm", self.max_grad_norm)])?;
        let fits = self.std_min < self.std_max;
        check("std_min", self.std_min, fits, "it must be below `std_max`")?;
        let fits = self.gripper_penalty <= 0.0 && self.gripper_penalty.is_finite();
        check("gripper_penalty", self.gripper_penalty, fits, "it must be 0 or below")?;
        share(&[("gamma", self.gamma), ("tau", self.tau), ("demo_share", self.demo_share)])
    }
}
