//! Settings of a run, and the named presets.

use serde::{Deserialize, Serialize};

use super::ppo::PpoConfig;
use super::sac::SacConfig;
use super::td3::Td3Config;
use crate::error::{Error, check};

/// The algorithm and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "algorithm", rename_all = "kebab-case")]
pub enum AlgorithmConfig {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
    /// Soft actor-critic.
    Sac(SacConfig),
    /// Twin delayed deep deterministic policy gradient.
    Td3(Td3Config),
}

impl AlgorithmConfig {
    /// Refuses impossible values before anything runs.
    ///
    /// # Errors
    /// Names the key, its value and the rule.
    pub fn check(&self, run: &RlConfig) -> embody_core::Result<()> {
        run.validate()?;
        match self {
            Self::Ppo(ppo) => ppo.validate(run.num_envs)?,
            Self::Sac(sac) => sac.validate()?,
            Self::Td3(td3) => td3.validate()?,
        }
        Ok(())
    }
}

/// How to run, whatever the algorithm. Everything but `threads` is part of what makes a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RlConfig {
    /// Environment steps in all, over all environments.
    pub steps: u64,
    /// Environments side by side.
    pub num_envs: usize,
    /// Observations to learn from; empty for every vector but `observation.environment_state`.
    pub inputs: Vec<String>,
    /// Environment steps between lines of the metrics.
    pub log_every: u64,
    /// Environment steps between checkpoints.
    pub checkpoint_every: u64,
    /// Environment steps between evaluations of the policy without noise; 0 for one at the end only.
    pub eval_every: u64,
    /// Episodes of an evaluation, on seeds that training does not use; 0 for no evaluation.
    pub eval_episodes: usize,
    /// Root of every random stream.
    pub seed: u64,
    /// Threads; 0 for one per core. Never changes a result.
    pub threads: usize,
}

impl Default for RlConfig {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            num_envs: 1,
            inputs: Vec::new(),
            log_every: 10_000,
            checkpoint_every: 200_000,
            eval_every: 100_000,
            eval_episodes: 10,
            seed: 0,
            threads: 0,
        }
    }
}

impl RlConfig {
    /// Without what never changes a result.
    pub(crate) fn of_the_result(&self) -> Self {
        Self { threads: 0, ..self.clone() }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        at_least_one(&[
            ("steps", self.steps),
            ("num_envs", self.num_envs as u64),
            ("log_every", self.log_every),
            ("checkpoint_every", self.checkpoint_every),
        ])
    }
}

/// What several algorithms ask of their settings, each with its key.
pub(crate) fn at_least_one<N: Copy + Default + PartialOrd + ToString>(
    settings: &[(&'static str, N)],
) -> Result<(), Error> {
    let holds = |n: N| n > N::default();
    settings.iter().try_for_each(|(key, n)| check(key, *n, holds(*n), "it must be at least 1"))
}

pub(crate) fn above_zero(settings: &[(&'static str, f64)]) -> Result<(), Error> {
    let holds = |x: f64| x > 0.0 && x.is_finite();
    settings.iter().try_for_each(|(key, x)| check(key, x, holds(*x), "it must be above 0"))
}

pub(crate) fn not_negative(settings: &[(&'static str, f64)]) -> Result<(), Error> {
    let holds = |x: f64| x >= 0.0 && x.is_finite();
    settings.iter().try_for_each(|(key, x)| check(key, x, holds(*x), "it must not be negative"))
}

/// From 0 to 1, as discounts and averaging rates are.
pub(crate) fn share(settings: &[(&'static str, f64)]) -> Result<(), Error> {
    let holds = |x: f64| (0.0..=1.0).contains(&x);
    settings.iter().try_for_each(|(key, x)| check(key, x, holds(*x), "it must be between 0 and 1"))
}

/// A named set of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct RlPreset {
    /// Name, such as `ppo-cleanrl`.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// How to run.
    pub run: RlConfig,
    /// The algorithm.
    pub algorithm: AlgorithmConfig,
}

/// Every preset.
pub fn rl_presets() -> Vec<RlPreset> {
    use AlgorithmConfig::{Ppo, Sac, Td3};
    let preset = |name, about, num_envs, algorithm| RlPreset {
        name,
        about,
        run: RlConfig { num_envs, ..RlConfig::default() },
        algorithm,
    };
    vec![
        preset("ppo-cleanrl", "CleanRL's ppo_continuous_action", 1, Ppo(PpoConfig::cleanrl())),
        preset("ppo-sb3", "Stable-Baselines3's PPO", 1, Ppo(PpoConfig::sb3())),
        preset("ppo-rsl-rl", "rsl_rl's PPO for legged robots", 256, Ppo(PpoConfig::rsl_rl())),
        preset("sac-cleanrl", "CleanRL's sac_continuous_action", 1, Sac(SacConfig::cleanrl())),
        preset("sac-sb3", "Stable-Baselines3's SAC", 1, Sac(SacConfig::sb3())),
        preset("sac-high-utd", "20 updates a step, few steps", 1, Sac(SacConfig::high_utd())),
        preset("sac-fast", "many environments, large batches", 64, Sac(SacConfig::fast())),
        preset("td3-cleanrl", "CleanRL's td3_continuous_action", 1, Td3(Td3Config::cleanrl())),
        preset("td3-sb3", "Stable-Baselines3's TD3", 1, Td3(Td3Config::sb3())),
    ]
}

/// The preset of that name.
pub fn rl_preset(name: &str) -> Option<RlPreset> {
    rl_presets().into_iter().find(|p| p.name == name)
}
