//! Runs a recipe on this machine: steps in order of their inputs, each at most once.
//!
//! A step's key is the hash of its kind, its resolved parameters, its seed, the output hashes of the
//! steps it takes its input from, and the content of files outside the run. Its output is built in
//! `.NAME-KEY.partial` and renamed to `NAME-KEY` when whole; a folder of that name is the cache, and
//! a killed run continues from the partial folder where the step's kind can. Nothing in here reads
//! a clock except to say how long a step took, and such numbers stay out of every hash.

mod run;
mod step;
#[cfg(test)]
mod tests;

pub use run::{CacheState, PlannedStep, RunOptions, RunResult, plan, read_record, run};
pub use step::{StepContext, StepInput, StepKind, StepOutput, StepRecord};
