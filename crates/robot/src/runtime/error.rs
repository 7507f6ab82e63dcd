//! What can go wrong before and while a machine is driven, each with what to do next.

use embody_core::Hint;

/// Errors of the runtime; they become [`embody_core::Error`] at the crate's boundary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A limit that makes no sense.
    #[error("limit `{key}` is {value}: {rule}")]
    Limits {
        /// Which.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        rule: String,
    },
    /// A setting of the loop or of a session that makes no sense.
    #[error("setting `{key}` is {value}: {rule}")]
    Setting {
        /// Which.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        rule: &'static str,
    },
    /// The machine can't be switched on.
    #[error("the machine is not switched on: {why}")]
    Arm {
        /// The reason.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A policy that does not fit the machine.
    #[error("the policy does not fit the machine: {why}")]
    Policy {
        /// What does not.
        why: String,
    },
    /// A recorded episode that does not fit the machine.
    #[error("the episode can't be replayed: {why}")]
    Replay {
        /// What does not fit.
        why: String,
    },
    /// A thread could not be started, or ended by a panic.
    #[error("the thread {name:?} {what}")]
    Thread {
        /// Its name.
        name: String,
        /// What became of it.
        what: &'static str,
    },
}

impl Hint for RuntimeError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Limits { .. } => "docs/guides/robot-runtime.md lists every limit with its unit",
            Self::Setting { .. } => return None,
            Self::Arm { hint, .. } => hint,
            Self::Policy { .. } => {
                "give the cameras the names that the policy was trained with; `embody policy info` \
                 lists them"
            }
            Self::Replay { .. } => "replay an episode that this kind of machine recorded",
            Self::Thread { .. } => "free some memory or threads, then run the same command again",
        };
        Some(hint.to_owned())
    }
}
