//! ACT, action chunking with transformers (Zhao et al. 2023, arXiv:2304.13705), as LeRobot has it,
//! and the small presets: the same network with smaller numbers and a stem in place of ResNet.

mod config;
mod loss;
mod model;

pub use config::ActConfig;
pub(crate) use model::ActNet;
