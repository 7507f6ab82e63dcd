//! Diffusion Policy (Chi et al. 2023, arXiv:2303.04137) as LeRobot has it, and a small preset: the same
//! network with smaller numbers and a stem in place of ResNet.

mod config;
mod model;
mod schedule;
mod unet;

pub use config::DiffusionConfig;
pub(crate) use model::{DiffusionNet, Draws};
pub use schedule::{BetaSchedule, NoiseScheduler, PredictionType};
