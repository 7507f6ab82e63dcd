//! Flow matching (Lipman et al. 2022, arXiv:2210.02747) with a transformer as the action expert, after
//! π0 (Black et al. 2024, arXiv:2410.24164) and SmolVLA (arXiv:2506.01844), without their language
//! models: observations become tokens, and a decoder moves a chunk of actions from noise to what a
//! demonstrator would do.

mod config;
mod model;
mod path;

pub use config::FlowConfig;
pub(crate) use model::FlowNet;
#[cfg(test)]
pub(crate) use path::FlowDraws;
pub(crate) use path::{ActionTokens, Chunk, FlowMatching};
