//! What a check found, in a form for people and for programs.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Training will work, but probably not as meant.
    Warning,
    /// The dataset contradicts itself or data is lost.
    Error,
}

/// One thing that is wrong, or worth knowing, with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Stable name in kebab-case, such as `non-finite-value`.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// File relative to the dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Episode index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<usize>,
    /// Frame inside the episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<usize>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    pub(crate) fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message: message.into(),
            file: None,
            episode: None,
            frame: None,
            hint: None,
        }
    }

    pub(crate) fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub(crate) fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    pub(crate) fn note(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    #[must_use]
    pub(crate) fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    #[must_use]
    pub(crate) fn episode(mut self, episode: usize) -> Self {
        self.episode = Some(episode);
        self
    }

    #[must_use]
    pub(crate) fn frame(mut self, frame: usize) -> Self {
        self.frame = Some(frame);
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        if let Some(file) = &self.file {
            write!(f, " ({file}")?;
            if let Some(episode) = self.episode {
                write!(f, ", episode {episode}")?;
            }
            if let Some(frame) = self.frame {
                write!(f, ", frame {frame}")?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}
