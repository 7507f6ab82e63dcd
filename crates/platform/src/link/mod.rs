//! The way between actors and a learner: gRPC over TLS, moments up, weights down.
//!
//! ```proto
//! service Experience {                                   // package embody
//!   rpc Live(stream Up) returns (stream Down);           // an actor's life
//!   rpc Pull(Want) returns (stream Part);                // weights, in parts
//! }
//! ```
//! Messages are typed (`message`), weights a safetensors file; nothing that carries code. Either a
//! certificate of a common authority or a token is asked for, always over TLS. An actor writes each
//! moment to its outbox (`outbox`) before anything else and forgets it when the learner has it on
//! disk, so either side may be killed; numbers make a moment that is sent twice one. What moments
//! mean, and what learns from them, is not known here: [`embody_core::Intake`],
//! [`embody_core::TransitionSink`] and [`embody_core::WeightSource`] stand at the ends.

mod access;
mod client;
mod error;
mod message;
mod outbox;
mod server;

pub use access::{Credentials, LinkAccess, ServerAccess, create_credentials};
pub use client::{ActorLink, ActorSink, ActorWeights, LinkOptions, LinkStatus};
pub use error::LinkError;
pub use server::{LearnerServer, ServerOptions};

#[cfg(test)]
mod tests;
