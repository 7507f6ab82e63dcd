//! The ACT family of policies: settings and network.

mod config;
mod model;

pub(crate) use config::check;
pub use config::{ActConfig, ActionRepresentation, StemLayer};
pub(crate) use model::{ActInputs, ActNet, ActShape, Dropout};
