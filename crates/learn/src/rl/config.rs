//! Settings of a run, and the named presets.

use serde::{Deserialize, Serialize};

use super::ppo::PpoConfig;
use crate::act::check;
use crate::error::Error;

/// The algorithm and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "algorithm", rename_all = "kebab-case")]
pub enum AlgorithmConfig {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
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
        let at_least_one = [
            ("steps", self.steps),
            ("num_envs", self.num_envs as u64),
            ("log_every", self.log_every),
            ("checkpoint_every", self.checkpoint_every),
        ];
        for (key, value) in at_least_one {
            check(key, value, value > 0, "it must be at least 1")?;
        }
        Ok(())
    }
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
    let ppo = |name, about, num_envs, cfg| RlPreset {
        name,
        about,
        run: RlConfig { num_envs, ..RlConfig::default() },
        algorithm: AlgorithmConfig::Ppo(cfg),
    };
    vec![
        ppo("ppo-cleanrl", "CleanRL's ppo_continuous_action", 1, PpoConfig::cleanrl()),
        ppo("ppo-sb3", "Stable-Baselines3's PPO", 1, PpoConfig::sb3()),
        ppo("ppo-rsl-rl", "rsl_rl's PPO for legged robots", 256, PpoConfig::rsl_rl()),
    ]
}

/// The preset of that name.
pub fn rl_preset(name: &str) -> Option<RlPreset> {
    rl_presets().into_iter().find(|p| p.name == name)
}
