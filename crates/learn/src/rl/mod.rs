//! Reinforcement learning on vector observations: PPO, SAC and TD3, each readable in one file.
//!
//! [`train_rl`] runs an algorithm in any [`embody_core::VecEnv`] and leaves a policy's folder.
//! Networks here are small, so no framework stands in between: flat vectors, matrix products, vector
//! code ([`mlp`], [`kernels`]), and a team of threads that is called for tens of microseconds
//! ([`team`]). The number of threads changes no bit; a run resumed equals a run not interrupted.

mod agent;
mod bench;
mod config;
mod critics;
mod envs;
mod gaussian;
mod hilserl;
mod kernels;
mod mlp;
mod normalize;
mod optimizer;
mod policy;
mod ppo;
mod replay;
mod run;
mod sac;
mod td3;

pub use bench::{sac_flop_per_update, sac_updates_per_second, sgemm_flop_per_second};
pub use config::{AlgorithmConfig, RlConfig, RlPreset, rl_preset, rl_presets};
pub use hilserl::{
    ActorOutcome, ActorPace, Beside, CriticLoss, DetectorConfig, DetectorReport, EpisodeDone,
    ExperienceSpec, HilSerlBench, HilSerlConfig, HilSerlOutcome, HilSerlRun, ImageEncoder,
    Intervener, LabelledMoment, LearnerIntake, LearnerSide, Memory, Pace, Pooling, RemoteActor,
    ResNetEncoder, ResidualConfig, ResidualEnv, SteeredConfig, SteeredEnv, SuccessDetector,
    TemperatureForm, hilserl_updates_per_second, run_actor, train_hilserl,
};
pub(crate) use hilserl::{HIL_SERL, HilSerlPolicy};
pub use kernels::Nonlinearity;
pub use normalize::Normalization;
pub(crate) use policy::{ActorModel, MLP_GAUSSIAN};
pub use ppo::{AdvantageNorm, LrSchedule, PpoConfig, Truncation};
pub use run::{Evaluation, RlOutcome, read_rl_metrics, train_rl};
pub use sac::{SacConfig, StdRange, TemperatureUpdate};
pub use td3::Td3Config;

#[cfg(test)]
mod tests;
