//! The kinds of steps: each wires library crates together and owns its parameters and its outcome.

pub mod actor;
pub mod edit;
pub mod eval;
pub mod import;
pub mod open_loop;
pub mod policy;
pub mod process;
pub mod record;
pub mod report;
pub mod rl;
pub mod rollouts;
pub mod train;
pub mod vary;

use embody_core::{Error, Result};
use embody_platform::{RunResult, Step, StepKind, StepOutput, StepRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::settings::Config;

/// Every kind of step.
pub fn kinds(config: &Config) -> Vec<Box<dyn StepKind>> {
    let assets = &config.assets;
    vec![
        Box::new(record::Record { assets: assets.clone() }),
        Box::new(vary::Vary { assets: assets.clone() }),
        Box::new(import::Import { config: config.clone() }),
        Box::new(process::Process),
        Box::new(edit::Merge),
        Box::new(edit::Delete),
        Box::new(train::Train { backend: config.backend }),
        Box::new(rl::Rl { assets: assets.clone() }),
        Box::new(eval::Eval { assets: assets.clone(), backend: config.backend }),
        Box::new(open_loop::OpenLoop { backend: config.backend }),
        Box::new(report::Report { assets: assets.clone() }),
    ]
}

/// The kind of `step`.
///
/// # Errors
/// When there is none of that name.
pub fn find<'a>(kinds: &'a [Box<dyn StepKind>], step: &Step) -> Result<&'a dyn StepKind> {
    kinds.iter().map(AsRef::as_ref).find(|k| k.name() == step.kind).ok_or_else(|| {
        let known: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
        step.bad_value("kind", format!("`{}` is no kind of step", step.kind))
            .with_hint(format!("known are: {}", known.join(", ")))
    })
}

/// A recipe as TOML, with `null`s (values that are absent) left out.
///
/// # Errors
/// When a value has no TOML form.
pub fn to_toml(value: &Value) -> Result<String> {
    fn strip(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.iter().filter(|(_, v)| !v.is_null());
                Value::Object(kept.map(|(k, v)| (k.clone(), strip(v))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(strip).collect()),
            other => other.clone(),
        }
    }
    toml::to_string(&strip(value)).map_err(|e| Error::new(format!("not expressible as TOML: {e}")))
}

/// What a run gave, in a few lines for people.
pub fn summary(result: &RunResult) -> Vec<String> {
    let line = |r: &StepRecord| format!("{:<10} {}  ({:.1} s)", r.name, summary_of(r), r.seconds);
    result.steps.values().map(line).collect()
}

/// What a step gave, in a sentence.
pub fn summary_of(record: &StepRecord) -> String {
    let text = match record.kind.as_str() {
        "record" => outcome::<record::Outcome>(record).map(|o| o.summary()),
        "vary" => outcome::<vary::Outcome>(record).map(|o| o.summary()),
        "import" => outcome::<import::Outcome>(record).map(|o| o.summary()),
        "process" => outcome::<process::Outcome>(record).map(|o| o.summary()),
        "merge" | "delete" => outcome::<edit::Outcome>(record).map(|o| o.summary()),
        "train" => outcome::<train::Outcome>(record).map(|o| o.summary()),
        "rl" => outcome::<rl::Outcome>(record).map(|o| o.summary()),
        "eval" => outcome::<eval::Outcome>(record).map(|o| o.summary()),
        "open-loop" => outcome::<open_loop::Outcome>(record).map(|o| o.summary()),
        "report" => Ok("one page".to_owned()),
        other => Ok(other.to_owned()),
    };
    text.unwrap_or_else(|e| e.to_string())
}

/// A step's outcome, typed.
///
/// # Errors
/// When the record is of another version of the program.
pub fn outcome<T: DeserializeOwned>(record: &StepRecord) -> Result<T> {
    parse(&record.result, record)
}

/// A step's measurements, typed.
///
/// # Errors
/// When the record is of another version of the program.
pub fn measured<T: DeserializeOwned>(record: &StepRecord) -> Result<T> {
    parse(&record.measured, record)
}

fn parse<T: DeserializeOwned>(value: &Value, record: &StepRecord) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|e| {
        Error::new(format!("the record of step `{}` can't be read: {e}", record.name))
            .with_hint(format!("run it again with `--fresh {}`", record.name))
    })
}

/// Parameters with every default filled in, as recorded.
fn resolved<P: Serialize>(params: &P) -> Result<Value> {
    serde_json::to_value(params).map_err(|e| Error::new(format!("parameters: {e}")))
}

/// A step's output from its outcome and its measurements.
fn output<R: Serialize, M: Serialize>(result: &R, measured: &M) -> Result<StepOutput> {
    Ok(StepOutput { result: resolved(result)?, measured: resolved(measured)? })
}
