//! SmolVLA (Shukor et al. 2025, arXiv:2506.01844) as LeRobot has it: the first layers of SmolVLM2, and
//! an expert that joins in every second layer and crosses in the others.

mod config;
mod model;

pub(crate) use config::SmolVlmSizes;
pub use config::{AttentionMode, SmolVlaConfig};
pub(crate) use model::SmolVlaNet;
