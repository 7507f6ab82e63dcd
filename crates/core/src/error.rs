//! The one error that crosses crate boundaries: a message, its causes, and what to do next.
//!
//! Inside a crate errors are a `thiserror` enum that implements [`Hint`]; `?` turns it into
//! [`Error`] at the boundary. Messages are lowercase and name the value and the place (file,
//! episode, frame); the hint says how to mend it. Only the binary prints.

use std::fmt;
use std::path::Path;

/// `Result` with the boundary error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that can tell what to do next.
pub trait Hint: std::error::Error + Send + Sync + 'static {
    /// How to mend it, as an imperative sentence without a final stop; `None` where nothing helps.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error with its causes flattened into text, and a hint.
pub struct Error {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    cancelled: bool,
}

impl Error {
    /// An error from a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None, cancelled: false }
    }

    /// The error that long work returns when it was asked to stop.
    pub fn cancelled() -> Self {
        Self { cancelled: true, ..Self::new("stopped on request") }
    }

    /// Whether this says that work was asked to stop, rather than that it failed.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts `message` in front; the old message becomes the first cause.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let old = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, old);
        self
    }

    /// The foremost message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What lay beneath, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl<E: Hint> From<E> for Error {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { message: error.to_string(), causes, hint: error.hint(), cancelled: false }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Says which file an I/O error is about: `fs::read(p).at("read", p)?`.
pub trait IoContext<T> {
    /// Names the action and the path.
    ///
    /// # Errors
    /// The I/O error, with place and hint.
    fn at(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|e| {
            let hint = match e.kind() {
                std::io::ErrorKind::NotFound => Some("check the path"),
                std::io::ErrorKind::PermissionDenied => Some("check the permissions"),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Some("free some space on that disk, then run the same command again")
                }
                _ => None,
            };
            let mut error = Error::new(format!("could not {action} {}", path.display()));
            error.causes.push(e.to_string());
            error.hint = hint.map(str::to_owned);
            error
        })
    }
}
