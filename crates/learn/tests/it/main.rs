//! The whole way on small synthetic data: train, stop, continue, load, act, evaluate, compare.
#![allow(clippy::unwrap_used, missing_docs)]

mod acting;
mod env;
mod exporting;
mod frozen;
mod pendulum;
mod rl;
mod serving;
mod source;
mod training;
