//! π0 (Black et al. 2024, arXiv:2410.24164) as LeRobot has it: PaliGemma and a smaller Gemma as expert,
//! which joins in every layer.

mod config;
mod model;

#[cfg(test)]
pub(crate) use config::Pi0Sizes;
pub(crate) use config::parameter;
pub use config::{GemmaVariant, Pi0Config};
pub(crate) use model::Pi0Net;
