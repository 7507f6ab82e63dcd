//! Tests of the real binary: help and errors as a person sees them, recipes run, killed, resumed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod assets;
mod bench;
mod data;
mod docs;
mod eval;
mod help;
mod mixtures;
mod recipes;
mod reinforcement;
mod robustness;
mod serve;
mod start;
mod stores;
mod vary;
mod view;
