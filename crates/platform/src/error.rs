//! What can go wrong with a recipe or a run.

use embody_core::Hint;
use thiserror::Error;

/// Errors of this crate; `at` names the recipe file, with a line where one is known.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PlatformError {
    #[error("{at}: not a valid TOML file: {message}")]
    ParseRecipe { at: String, message: String },
    #[error("{at}: unknown key `{key}` in {place}")]
    UnknownKey {
        at: String,
        key: String,
        place: String,
        nearest: Option<String>,
        known: Vec<String>,
    },
    #[error("{at}: {place}: {message}")]
    BadValue { at: String, place: String, message: String },
    #[error("{at}: step `{step}` has no `kind`")]
    MissingKind { at: String, step: String, known: Vec<String> },
    #[error("{at}: step `{step}` is of unknown kind `{kind}`")]
    UnknownKind { at: String, step: String, kind: String, known: Vec<String> },
    #[error(
        "{at}: step `{step}` takes its input from `@{target}`, which is no step of this recipe"
    )]
    UnknownInput { at: String, step: String, target: String, known: Vec<String> },
    #[error("{at}: steps take their input from each other in a circle: {}", cycle.join(" -> "))]
    Cycle { at: String, cycle: Vec<String> },
    #[error("{at}: the recipe has no steps")]
    Empty { at: String },
    #[error("`--set {assignment}`: {message}")]
    BadSet { assignment: String, message: String, nearest: Option<String> },
    #[error("another run is at work in {}", dir.display())]
    Locked { dir: std::path::PathBuf },
    #[error("{}: not a step record: {message}", path.display())]
    BadRecord { path: std::path::PathBuf, message: String },
}

impl Hint for PlatformError {
    fn hint(&self) -> Option<String> {
        let one_of = |known: &[String]| format!("known are: {}", known.join(", "));
        Some(match self {
            Self::ParseRecipe { .. } => {
                "a recipe is a TOML file of `[steps.NAME]` tables; see recipes/demo.toml".into()
            }
            Self::UnknownKey { nearest: Some(key), .. } => format!("did you mean `{key}`?"),
            Self::UnknownKey { known, .. } => one_of(known),
            Self::BadSet { nearest: Some(key), .. } => format!("did you mean `{key}`?"),
            Self::BadSet { .. } => {
                "write --set STEP.KEY=VALUE, such as --set train.steps=2000".into()
            }
            Self::BadValue { .. } => return None,
            Self::MissingKind { known, .. } => format!("add `kind = \"…\"`; {}", one_of(known)),
            Self::UnknownKind { kind, known, .. } => {
                match embody_core::nearest_key(kind, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => one_of(known),
                }
            }
            Self::UnknownInput { target, known, .. } => {
                match embody_core::nearest_key(target, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `@{near}`?"),
                    None => one_of(known),
                }
            }
            Self::Cycle { .. } => "let one of them take its input from somewhere else".into(),
            Self::Empty { .. } => "add a `[steps.NAME]` table with a `kind`".into(),
            Self::Locked { .. } => "wait for it, or choose another folder with --out".into(),
            Self::BadRecord { .. } => "remove that step's folder; the step will run again".into(),
        })
    }
}
