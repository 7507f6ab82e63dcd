//! What can go wrong between actors and a learner.

use std::path::PathBuf;

use embody_core::Hint;
use thiserror::Error;

/// Errors of the link.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LinkError {
    #[error("could not listen on {address}: {message}")]
    Listen { address: String, message: String },
    #[error("`{address}` is no address of a learner: {message}")]
    Address { address: String, message: String },
    #[error("the learner at {address} refused this actor: {message}")]
    Refused { address: String, message: String },
    #[error("credentials in {}: {message}", path.display())]
    Credentials { path: PathBuf, message: String },
    #[error("weights of version {version}: {message}")]
    Weights { version: u64, message: String },
    #[error("outbox {}: {message}", path.display())]
    Outbox { path: PathBuf, message: String },
    #[error("moment {seq} after {last}: moments are numbered without gaps")]
    Gap { seq: u64, last: u64 },
    #[error("a thread of the link could not start: {message}")]
    Start { message: String },
}

impl Hint for LinkError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Listen { .. } => "choose another address, or stop what listens there",
                Self::Address { .. } => "write it as HOST:PORT",
                Self::Refused { .. } => {
                    "look at token or certificate, and at the settings of both sides"
                }
                Self::Credentials { .. } => "create them anew, and copy them to both machines",
                Self::Weights { .. } => "learner and actors must be of the same version",
                Self::Outbox { .. } => {
                    "look at that disk; remove the folder to give up what is in it"
                }
                Self::Gap { .. } => "push every moment, in order",
                Self::Start { .. } => "the machine has no threads or descriptors left",
            }
            .into(),
        )
    }
}
