//! Learning: networks, imitation policies, trainer, checkpoints, evaluation and its statistics.
//!
//! The way through: [`train`] takes batches from any [`embody_core::BatchSource`] and leaves a folder
//! in LeRobot's checkpoint layout; [`load_policy`] makes an [`embody_core::Policy`] of it;
//! [`evaluate`] runs that in any [`embody_core::VecEnv`] over a list of seeds, [`open_loop`] on
//! recorded frames. Tensors (burn's) stay in here. On the CPU every result is the same to the bit
//! whatever the number of threads, and a run resumed equals a run not interrupted.

mod act;
mod error;
mod nn;
mod ops;
mod optim;
mod processor;

pub use act::{ActConfig, ActionRepresentation, StemLayer};
pub use processor::resize_area;
