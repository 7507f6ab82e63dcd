//! Planning and running.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use embody_core::{
    AtomicDir, ContentHash, Error, IoContext, Result, Task, derive_seed, hash_bytes, hash_file,
    hash_tree, write_atomic,
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::step::{StepContext, StepInput, StepKind, StepRecord};
use crate::error::PlatformError;
use crate::{Recipe, Step};

const RECORD_FILE: &str = "step.json";
const SPENT_FILE: &str = ".seconds";

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Folder of this run: `steps/`, `result.json`, and what the report step puts there.
    pub out: PathBuf,
    /// Threads for every step.
    pub threads: usize,
    /// Forget earlier outputs of these steps (all of them when it contains `*`).
    pub fresh: Vec<String>,
    /// Version and revision of the program, for the records.
    pub code: String,
}

/// What a run gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunResult {
    /// The recipe's name.
    pub recipe: String,
    /// Root seed.
    pub seed: u64,
    /// Threads used.
    pub threads: usize,
    /// Program version and revision.
    pub code: String,
    /// Hash over the outputs of all steps: equal for equal runs.
    pub output: ContentHash,
    /// Seconds spent in steps, including earlier runs whose output was taken from the cache.
    pub seconds: f64,
    /// The steps' records, by name, in the order they ran.
    pub steps: IndexMap<String, StepRecord>,
    /// The steps' folders, relative to the run's folder.
    pub folders: IndexMap<String, String>,
}

/// Whether a step has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheState {
    /// Its output is there.
    Cached,
    /// It has to run.
    Run,
    /// It was interrupted and continues.
    Resume,
    /// Depends on the output of a step that has to run first.
    Unknown,
}

/// One line of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedStep {
    /// Name in the recipe.
    pub name: String,
    /// Kind of step.
    pub kind: String,
    /// Whether it has to run.
    pub state: CacheState,
    /// Resolved parameters.
    pub params: Value,
}

/// Checks the whole recipe (kinds, parameters, outside files) and says what a run would do.
///
/// # Errors
/// The first thing that is wrong, with file and line.
pub fn plan(
    recipe: &Recipe,
    kinds: &[&dyn StepKind],
    options: &RunOptions,
) -> Result<Vec<PlannedStep>> {
    let checked = check(recipe, kinds)?;
    let mut outputs = IndexMap::new();
    let mut planned = Vec::new();
    for Checked { step, kind, params, .. } in &checked {
        let known = step.inputs().iter().all(|i| outputs.contains_key(i));
        let mut state = CacheState::Unknown;
        if known {
            let (key, _) = key_of(recipe, step, *kind, params, &outputs)?;
            let folder = folder_of(&options.out, step, &key);
            state = if let Some(record) = cached(&folder, options, step)? {
                outputs.insert(step.name.clone(), record.output);
                CacheState::Cached
            } else if kind.resumable() && partial_of(&folder).exists() {
                CacheState::Resume
            } else {
                CacheState::Run
            };
        }
        let (name, kind) = (step.name.clone(), step.kind.clone());
        planned.push(PlannedStep { name, kind, state, params: params.clone() });
    }
    Ok(planned)
}

/// Runs what has to run and writes `result.json`.
///
/// # Errors
/// What the first failing step says. Outputs of the steps before it stay, so that the same command
/// continues there.
pub fn run(
    recipe: &Recipe,
    kinds: &[&dyn StepKind],
    options: &RunOptions,
    task: Task<'_>,
) -> Result<RunResult> {
    let checked = check(recipe, kinds)?;
    fs::create_dir_all(options.out.join("steps")).at("create folder", &options.out)?;
    let lock_path = options.out.join(".lock");
    let lock = fs::File::create(&lock_path).at("create", &lock_path)?;
    if lock.try_lock().is_err() {
        Err(PlatformError::Locked { dir: options.out.clone() })?;
    }
    let mut done: IndexMap<String, StepInput> = IndexMap::new();
    for (number, one) in checked.iter().enumerate() {
        task.cancel.check()?;
        let place = format!("step {} of {}: {}", number + 1, checked.len(), one.step.name);
        let outputs = done.iter().map(|(n, i)| (n.clone(), i.record.output.clone())).collect();
        let (key, external) = key_of(recipe, one.step, one.kind, &one.params, &outputs)?;
        let folder = folder_of(&options.out, one.step, &key);
        let record = match cached(&folder, options, one.step)? {
            Some(record) => {
                task.note(&format!("{place}, unchanged, taken from the cache"));
                record
            }
            None => {
                task.note(&place);
                run_step(recipe, one, &key, external, &folder, &done, options, task)?
            }
        };
        done.insert(one.step.name.clone(), StepInput { dir: folder, record });
    }
    let relative = |dir: &Path| match dir.strip_prefix(&options.out) {
        Ok(path) => path.display().to_string(),
        Err(_) => dir.display().to_string(),
    };
    let all: Vec<&str> = done.values().map(|i| i.record.output.as_str()).collect();
    let result = RunResult {
        recipe: recipe.name.clone(),
        seed: recipe.seed,
        threads: options.threads,
        code: options.code.clone(),
        output: hash_bytes(all.join("\n").as_bytes()),
        seconds: done.values().map(|i| i.record.seconds).sum(),
        folders: done.iter().map(|(n, i)| (n.clone(), relative(&i.dir))).collect(),
        steps: done.into_iter().map(|(name, input)| (name, input.record)).collect(),
    };
    write_json(&options.out.join("result.json"), &result)?;
    Ok(result)
}

/// The record in a step's folder.
///
/// # Errors
/// When there is none or it can't be read.
pub fn read_record(folder: &Path) -> Result<StepRecord> {
    let path = folder.join(RECORD_FILE);
    let text = fs::read_to_string(&path).at("read", &path)?;
    let record = serde_json::from_str(&text)
        .map_err(|e| PlatformError::BadRecord { path, message: e.to_string() })?;
    Ok(record)
}

struct Checked<'a> {
    step: &'a Step,
    kind: &'a dyn StepKind,
    params: Value,
}

fn check<'a>(recipe: &'a Recipe, kinds: &[&'a dyn StepKind]) -> Result<Vec<Checked<'a>>> {
    let one = |step: &'a Step| {
        let kind = kinds.iter().find(|k| k.name() == step.kind).ok_or_else(|| {
            step.unknown_kind(kinds.iter().map(|k| k.name().to_owned()).collect())
        })?;
        let params = kind.resolve(step)?;
        for path in kind.external_inputs(step)? {
            fs::metadata(&path).at("read", &path).map_err(|e| {
                e.context(format!("step `{}` has no input", step.name))
                    .with_hint("check the path; relative paths start from the current folder")
            })?;
        }
        Ok(Checked { step, kind: *kind, params })
    };
    recipe.order().into_iter().map(one).collect()
}

type Hashes = IndexMap<String, ContentHash>;

/// The step's key, and the hashes of the files outside that went into it.
fn key_of(
    recipe: &Recipe,
    step: &Step,
    kind: &dyn StepKind,
    params: &Value,
    outputs: &Hashes,
) -> Result<(ContentHash, Hashes)> {
    let inputs: Hashes = step
        .inputs()
        .into_iter()
        .filter_map(|name| Some((name.clone(), outputs.get(&name)?.clone())))
        .collect();
    let mut external = Hashes::new();
    for path in kind.external_inputs(step)? {
        let hash = if path.is_dir() { hash_tree(&path, &|_| false)? } else { hash_file(&path)? };
        external.insert(path.display().to_string(), hash);
    }
    let all = json!({
        "kind": kind.name(),
        "version": kind.version(),
        "package": env!("CARGO_PKG_VERSION"),
        "params": params,
        "seed": derive_seed(recipe.seed, &step.name, 0),
        "inputs": inputs,
        // The content counts, not where it lies: a moved recording needs no new run.
        "external": external.values().collect::<Vec<_>>(),
    });
    Ok((hash_bytes(all.to_string().as_bytes()), external))
}

fn folder_of(out: &Path, step: &Step, key: &ContentHash) -> PathBuf {
    out.join("steps").join(format!("{}-{}", step.name, key.short()))
}

fn partial_of(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.partial"))
}

fn cached(folder: &Path, options: &RunOptions, step: &Step) -> Result<Option<StepRecord>> {
    let forget = options.fresh.iter().any(|f| f == "*" || *f == step.name);
    if forget || !folder.join(RECORD_FILE).exists() {
        return Ok(None);
    }
    read_record(folder).map(Some)
}

#[allow(clippy::too_many_arguments, reason = "called once; the parts of one step's run")]
fn run_step(
    recipe: &Recipe,
    one: &Checked<'_>,
    key: &ContentHash,
    external: Hashes,
    folder: &Path,
    done: &IndexMap<String, StepInput>,
    options: &RunOptions,
    task: Task<'_>,
) -> Result<StepRecord> {
    let Checked { step, kind, params } = one;
    let started = Instant::now();
    let forget = options.fresh.iter().any(|f| f == "*" || *f == step.name);
    let building = AtomicDir::begin(folder, kind.resumable() && !forget)?;
    let spent_path = building.path().join(SPENT_FILE);
    let spent_before: f64 =
        fs::read_to_string(&spent_path).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0.0);
    let wanted = step.inputs();
    let inputs: IndexMap<String, StepInput> =
        wanted.iter().filter_map(|n| Some((n.clone(), done.get(n)?.clone()))).collect();
    let seed = derive_seed(recipe.seed, &step.name, 0);
    let ctx = StepContext {
        step,
        dir: building.path(),
        seed,
        threads: options.threads,
        inputs: &inputs,
        recipe,
        task,
    };
    let output = match kind.run(&ctx) {
        Ok(output) => output,
        Err(error) => {
            if kind.resumable() {
                let spent = spent_before + started.elapsed().as_secs_f64();
                // Only a statistic; failing to note it must not hide the error.
                write_atomic(&spent_path, spent.to_string().as_bytes()).ok();
                building.keep();
            }
            return Err(in_step(error, step));
        }
    };
    if spent_path.exists() {
        fs::remove_file(&spent_path).at("remove", &spent_path)?;
    }
    let skip = |relative: &str| relative == RECORD_FILE || kind.is_volatile(relative);
    let files = hash_tree(building.path(), &skip)?;
    let record = StepRecord {
        name: step.name.clone(),
        kind: step.kind.clone(),
        kind_version: kind.version(),
        key: key.clone(),
        output: hash_bytes(format!("{files}\n{}", output.result).as_bytes()),
        seed,
        params: params.clone(),
        inputs: inputs.iter().map(|(n, i)| (n.clone(), i.record.output.clone())).collect(),
        external,
        code: options.code.clone(),
        threads: options.threads,
        seconds: spent_before + started.elapsed().as_secs_f64(),
        result: output.result,
        measured: output.measured,
    };
    write_json(&building.path().join(RECORD_FILE), &record)?;
    building.commit()?;
    Ok(record)
}

fn in_step(error: Error, step: &Step) -> Error {
    if error.is_cancelled() { error } else { error.context(format!("step `{}` failed", step.name)) }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(format!("could not write {}: {e}", path.display())))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}
