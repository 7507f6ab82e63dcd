//! Recipes, the engine that runs them, and the report that shows what came out.
//!
//! A [`Recipe`] is a TOML file that names steps and their inputs. [`run`] executes it as a DAG: each
//! step's output lies in a folder named by the hash of everything that went into it, appears there
//! only when complete, and is taken from there the next time. What the steps do is the caller's
//! business ([`StepKind`]); this crate knows neither simulators nor networks. [`store`] moves folders
//! of files to and from the Hugging Face Hub and object stores; [`link`] moves experience and weights
//! between actors and a learner.

mod engine;
mod error;
pub mod link;
mod recipe;
pub mod report;
pub mod store;

pub use engine::{
    CacheState, PlannedStep, RunOptions, RunResult, StepContext, StepInput, StepKind, StepOutput,
    StepRecord, plan, read_record, run,
};
pub use recipe::{Recipe, Step, reference};
