//! What can go wrong while learning, each with what to do next.

use std::path::PathBuf;

use embody_core::{FrameRef, Hint};
use thiserror::Error as ThisError;

/// Errors of this crate; they turn into [`embody_core::Error`] at its boundary.
#[derive(Debug, ThisError)]
pub(crate) enum Error {
    #[error("setting `{key}` is {value}, which is outside what is possible: {rule}")]
    Config { key: &'static str, value: String, rule: String },

    #[error("feature `{key}` is not in the data; it has {known}")]
    MissingFeature { key: String, known: String },

    #[error("feature `{key}` has {found}, expected {expected}")]
    FeatureShape { key: String, found: String, expected: String },

    #[error("statistics of `{key}` are absent or of the wrong length")]
    Stats { key: String },

    #[error("the training split has no frames")]
    NoFrames,

    #[error(
        "the loss became {loss} at step {step}; the batch holds {frames}; last good checkpoint: {checkpoint}"
    )]
    Diverged { loss: f64, step: usize, frames: String, checkpoint: String },

    #[error("{path}: tensor `{name}` is missing")]
    TensorMissing { path: PathBuf, name: String },

    #[error("{path}: tensor `{name}` is not part of this policy")]
    TensorUnexpected { path: PathBuf, name: String },

    #[error(
        "{path}: tensor `{name}` has shape {found:?} and type {dtype}, expected f32 or bf16 {expected:?}"
    )]
    TensorShape {
        path: PathBuf,
        name: String,
        found: Vec<usize>,
        dtype: String,
        expected: Vec<usize>,
    },

    #[error(
        "tensor `{name}` is {found} in the policy to start from, {expected} in one for this data"
    )]
    StartMisfit { name: String, found: String, expected: String },

    #[error("{path} is not a safetensors file")]
    Safetensors { path: PathBuf, source: safetensors::SafeTensorError },

    #[error("{path} is not what was expected")]
    Json { path: PathBuf, source: serde_json::Error },

    #[error("{path} describes a policy of type `{found}`")]
    PolicyType { path: PathBuf, found: String },

    #[error("the policy's output for environment {env} is not finite")]
    NotFinite { env: usize },

    #[error("environment {env} gave the reward {value}")]
    RewardNotFinite { env: usize, value: f64 },

    #[error("`{what}` became {value} at step {step}")]
    LearningDiverged { what: &'static str, value: f64, step: u64 },

    #[error("{what}")]
    Invalid { what: String, hint: String },

    #[error("could not start {threads} threads")]
    Threads { threads: usize, source: rayon::ThreadPoolBuildError },
}

/// Refuses `key = value` where its rule does not hold.
pub(crate) fn check(
    key: &'static str,
    value: impl ToString,
    holds: bool,
    rule: &str,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Config { key, value: value.to_string(), rule: rule.to_owned() })
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Config { key, .. } => format!("change `{key}` in the recipe or with --set"),
            Self::MissingFeature { .. } => {
                "name the policy's inputs with `inputs`, or record that feature".into()
            }
            Self::FeatureShape { .. } => {
                "use data recorded with the same robot and cameras as the policy".into()
            }
            Self::Stats { .. } => "recompute the dataset's statistics".into(),
            Self::NoFrames => "check the filters and the split: no episode is left".into(),
            Self::Diverged { .. } => {
                "lower `lr`, or look at those frames with `embody data show`".into()
            }
            Self::TensorMissing { .. }
            | Self::TensorUnexpected { .. }
            | Self::TensorShape { .. } => {
                "config.json and model.safetensors are not of the same policy; copy both again"
                    .into()
            }
            Self::StartMisfit { .. } => {
                "train on data with as many joints and the same cameras as the policy's".into()
            }
            Self::Safetensors { .. } | Self::Json { .. } => {
                "the file is damaged or of another program; copy it again".into()
            }
            Self::PolicyType { .. } => {
                "this version reads `act`, `act-small`, `diffusion`, `diffusion-small`, `flow`, \
                 `pi0`, `smolvla`, `vqbet`, `vqbet-small`, `mlp-gaussian` and `hil-serl`"
                    .into()
            }
            Self::NotFinite { .. } => {
                "the observation lies far outside the training data, or the weights are damaged"
                    .into()
            }
            Self::RewardNotFinite { .. } => {
                "look at the task's reward terms: one divides by zero or overflows".into()
            }
            Self::LearningDiverged { .. } => {
                "lower the learning rate; the last checkpoint is from before".into()
            }
            Self::Invalid { hint, .. } => hint.clone(),
            Self::Threads { .. } => "lower `threads`".into(),
        })
    }
}

/// Frames as a short text: `episode 3 frame 17, …`, with the dataset's number in a mixture.
pub(crate) fn name_frames(frames: &[FrameRef]) -> String {
    let several = frames.iter().any(|f| f.dataset > 0);
    let name = |f: &FrameRef| match several {
        true => format!("dataset {} episode {} frame {}", f.dataset, f.episode, f.frame),
        false => format!("episode {} frame {}", f.episode, f.frame),
    };
    let shown: Vec<_> = frames.iter().take(8).map(name).collect();
    let more = frames.len().saturating_sub(8);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
