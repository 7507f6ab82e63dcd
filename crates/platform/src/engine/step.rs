//! What a kind of step is to the engine, and what is kept of a step that ran.

use std::path::{Path, PathBuf};

use embody_core::{ContentHash, Result, Task};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Step;

/// A kind of step, such as `train`. Implementations hold no state of a run.
pub trait StepKind: Sync {
    /// The name recipes use.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn about(&self) -> &'static str;
    /// Counts up whenever the same inputs would give another output.
    fn version(&self) -> u32;
    /// Checks the parameters and fills in the defaults.
    ///
    /// # Errors
    /// An unknown key or a bad value, with file and line.
    fn resolve(&self, step: &Step) -> Result<Value>;
    /// Files and folders outside the run that the step reads; their content goes into its key.
    ///
    /// # Errors
    /// When one is not there: better before an hour of other steps than after.
    fn external_inputs(&self, step: &Step) -> Result<Vec<PathBuf>> {
        let _ = step;
        Ok(Vec::new())
    }
    /// Whether [`StepKind::run`] continues from what it finds in its folder.
    fn resumable(&self) -> bool {
        false
    }
    /// Whether a file of the output (relative path) differs between equal runs, such as timings.
    fn is_volatile(&self, relative: &str) -> bool {
        let _ = relative;
        false
    }
    /// Does the work, writing into `ctx.dir`.
    ///
    /// # Errors
    /// Whatever went wrong; the folder is then removed, unless the kind is resumable.
    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput>;
}

/// What a step is given.
pub struct StepContext<'a> {
    /// The step as the recipe has it.
    pub step: &'a Step,
    /// Where to write; on resuming, what the killed run left is there.
    pub dir: &'a Path,
    /// Seed of this step.
    pub seed: u64,
    /// Threads to use.
    pub threads: usize,
    /// Outputs of the steps it takes its input from, by step name.
    pub inputs: &'a IndexMap<String, StepInput>,
    /// The recipe's name, title, text and overrides, for the report.
    pub recipe: &'a crate::Recipe,
    /// Progress and cancellation.
    pub task: Task<'a>,
}

impl StepContext<'_> {
    /// The input that parameter `key` names by `reference` (`@NAME`; what follows a `/` is for the caller).
    ///
    /// # Errors
    /// When it is no `@NAME`.
    pub fn input(&self, key: &str, reference: &str) -> Result<&StepInput> {
        let step = crate::reference(reference).and_then(|(name, _)| self.inputs.get(name));
        step.ok_or_else(|| {
            self.step
                .bad_value(key, format!("`{reference}` is no step's output"))
                .with_hint("name a step of this recipe as `@NAME`")
        })
    }
}

/// An earlier step's output.
#[derive(Debug, Clone)]
pub struct StepInput {
    /// Folder with its files.
    pub dir: PathBuf,
    /// What was recorded of it.
    pub record: StepRecord,
}

/// What a step hands back beside its files.
#[derive(Debug, Clone, Default)]
pub struct StepOutput {
    /// Results that equal runs share; part of the output's hash.
    pub result: Value,
    /// Results that differ from run to run, such as latencies.
    pub measured: Value,
}

/// What is kept of a finished step, in `step.json` beside its output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Name in the recipe.
    pub name: String,
    /// Kind of step.
    pub kind: String,
    /// Version of the kind.
    pub kind_version: u32,
    /// Hash of everything that went in.
    pub key: ContentHash,
    /// Hash of what came out: files and `result`.
    pub output: ContentHash,
    /// Seed of this step.
    pub seed: u64,
    /// Resolved parameters.
    pub params: Value,
    /// Output hashes of the steps it took its input from.
    pub inputs: IndexMap<String, ContentHash>,
    /// Content hashes of what it read outside the run.
    pub external: IndexMap<String, ContentHash>,
    /// Version and revision of the program.
    pub code: String,
    /// Threads used.
    pub threads: usize,
    /// Wall-clock seconds, all attempts together.
    pub seconds: f64,
    /// Results that equal runs share.
    pub result: Value,
    /// Results that differ from run to run.
    pub measured: Value,
}
