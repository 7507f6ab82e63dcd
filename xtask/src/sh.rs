//! Child processes, and the one error of this tool: what failed and what to do next.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Output, Stdio};

pub type Result<T, E = Fail> = std::result::Result<T, E>;

/// What failed, with a hint on how to mend it.
#[derive(Debug)]
pub struct Fail {
    pub what: String,
    pub hint: Option<String>,
}

impl Fail {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Names the action and the path of an I/O error.
pub trait Context<T> {
    fn during(self, action: &str, subject: impl AsRef<OsStr>) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn during(self, action: &str, subject: impl AsRef<OsStr>) -> Result<T> {
        self.map_err(|e| Fail::new(format!("{action} {}: {e}", subject.as_ref().display())))
    }
}

/// Runs a command with this terminal's output and no input; an error when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.stdin(Stdio::null()).status().during("start", &shown)?;
    if status.success() { Ok(()) } else { Err(Fail::new(format!("`{shown}` ended with {status}"))) }
}

/// Runs a command and takes its output, whatever its exit status.
pub fn output(command: &mut Command) -> Result<Output> {
    let shown = show(command);
    command.stdin(Stdio::null()).output().during("start", &shown)
}

/// Runs a command and returns its standard output; an error carries the last line it complained with.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    attempt(&format!("`{shown}`"), command)
}

/// Like [`capture`], with words for the error in place of the command.
pub fn attempt(what: &str, command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    // pip's last line blames the package even where there was no connection.
    let broken = complaint.lines().any(|line| line.contains("connection broken"));
    let last = complaint.lines().rfind(|line| !line.trim().is_empty());
    let why = match last {
        _ if broken => "no connection to the package index".to_owned(),
        Some(line) => line.trim().to_owned(),
        None => output.status.to_string(),
    };
    Err(Fail::new(format!("{what} failed: {why}")))
}

/// The command as a person would type it.
pub fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Seconds as a person reads them.
pub fn seconds(duration: std::time::Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 60.0 {
        format!("{secs:.1} s")
    } else {
        format!("{} min {:02} s", secs as u64 / 60, secs as u64 % 60)
    }
}
