//! Progress of long work, as events: libraries emit them, only the binary draws them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// One thing that happened in long work.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgressEvent<'a> {
    /// Work `task` begins; `total` counts `unit`s where known.
    Begin {
        /// Name of the work, unique among what runs at a time.
        task: &'a str,
        /// How many units there are.
        total: Option<u64>,
        /// What is counted, in the plural: `episodes`, `steps`.
        unit: &'a str,
    },
    /// `done` units of `task` are behind us; `note` is a short live text such as `loss 0.031`.
    Advance {
        /// Name of the work.
        task: &'a str,
        /// Units done in all.
        done: u64,
        /// Live text.
        note: &'a str,
    },
    /// Something a person should know that is not an error.
    Note {
        /// The sentence.
        text: &'a str,
    },
    /// `task` is over.
    End {
        /// Name of the work.
        task: &'a str,
    },
}

/// Where events go.
pub trait Progress: Send + Sync {
    /// Takes one event; must return quickly.
    fn emit(&self, event: ProgressEvent<'_>);
}

/// Ignores every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn emit(&self, _event: ProgressEvent<'_>) {}
}

/// Set by Ctrl-C; long work asks it between units and stops in a consistent state.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `Err(Error::cancelled())` once asked to stop.
    ///
    /// # Errors
    /// Only that one.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// What long work is given: where to report, when to stop.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// Where events go.
    pub progress: &'a dyn Progress,
    /// When to stop.
    pub cancel: &'a CancelToken,
}

impl Task<'_> {
    /// Emits [`ProgressEvent::Begin`].
    pub fn begin(&self, task: &str, total: Option<u64>, unit: &str) {
        self.progress.emit(ProgressEvent::Begin { task, total, unit });
    }

    /// Emits [`ProgressEvent::Advance`] and checks for cancellation.
    ///
    /// # Errors
    /// [`Error::cancelled`] once asked to stop.
    pub fn advance(&self, task: &str, done: u64, note: &str) -> Result<()> {
        self.progress.emit(ProgressEvent::Advance { task, done, note });
        self.cancel.check()
    }

    /// Emits [`ProgressEvent::Note`].
    pub fn note(&self, text: &str) {
        self.progress.emit(ProgressEvent::Note { text });
    }

    /// Emits [`ProgressEvent::End`].
    pub fn end(&self, task: &str) {
        self.progress.emit(ProgressEvent::End { task });
    }
}
