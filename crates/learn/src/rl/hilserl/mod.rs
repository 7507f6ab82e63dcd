//! Reinforcement learning with demonstrations and a person at hand: RLPD and HIL-SERL.
//!
//! [`train_hilserl`] runs actor and learner in lockstep; [`run_actor`] and [`LearnerSide`] are the same
//! two as processes of their own. What is learned and how stands in `learner`, what is kept in
//! `buffer` and `memory`. The frozen encoder's feature maps are computed once per picture, so no
//! update runs it; small networks above them are our own, as SAC's.

mod actor;
mod batch;
mod bench;
mod body;
mod buffer;
mod config;
mod drive;
mod dsrl;
mod encoder;
mod gripper;
mod learner;
mod memory;
mod observe;
mod pace;
mod policy;
mod record;
mod remote;
mod residual;
mod reward;
mod trunk;

pub use bench::{HilSerlBench, hilserl_updates_per_second};
pub use body::{EpisodeDone, Intervener};
pub use buffer::ExperienceSpec;
pub use config::{ActorPace, CriticLoss, HilSerlConfig, Pooling, TemperatureForm};
pub use drive::{Beside, HilSerlOutcome, HilSerlRun, train_hilserl};
pub use dsrl::{SteeredConfig, SteeredEnv};
pub use encoder::{ImageEncoder, ResNetEncoder};
pub use memory::Memory;
pub use pace::Pace;
pub(crate) use policy::{HIL_SERL, HilSerlPolicy};
pub use remote::{ActorOutcome, LearnerIntake, LearnerSide, RemoteActor, run_actor};
pub use residual::{ResidualConfig, ResidualEnv};
pub use reward::{DetectorConfig, DetectorReport, LabelledMoment, SuccessDetector};

#[cfg(test)]
mod tests;
