//! VQ-BeT (Lee et al. 2024, arXiv:2403.03181) as LeRobot has it, and a small preset: chunks of actions
//! become codes, a transformer chooses codes and corrects what they stand for.
//!
//! Training has two phases. First an autoencoder learns to put chunks of demonstrated actions into a
//! few codes (`vq`); then, with it fixed, the transformer (`gpt`) learns which codes follow from what is
//! seen (`model`).

mod config;
mod gpt;
mod model;
mod vq;

pub use config::VqBetConfig;
pub(crate) use model::VqBetNet;
