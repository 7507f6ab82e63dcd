//! What a person sees on stderr while work goes on, and how errors look. The only room that draws.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use embody_core::{Error, NoProgress, Progress, ProgressEvent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Bars on a terminal, a line now and then in a log, nothing with `--quiet`.
pub fn progress(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(NoProgress)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bars::default())
    } else {
        Box::new(Lines::default())
    }
}

/// Prints an error: message, causes, hint.
#[allow(clippy::print_stderr, reason = "the one place where errors are printed")]
pub fn print_error(error: &Error) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (red, cyan, reset) =
        if color { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    eprintln!("{red}error:{reset} {}", error.message());
    for cause in error.causes() {
        eprintln!("  cause: {cause}");
    }
    if let Some(hint) = error.hint() {
        eprintln!("  {cyan}hint:{reset} {hint}");
    }
}

/// Prints a line for people on stderr.
#[allow(clippy::print_stderr, reason = "lines for people go through here")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints data on stdout. A closed pipe (`embody … | head`) is no error.
pub fn print_data(text: &str) {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{text}").ok();
}

/// The unit of progress that is shown as a size.
const BYTES: &str = "bytes";

/// A size for people, such as `1.50 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// Opens a file or an address in a browser, where this session has a display.
pub fn open_in_browser(page: &OsStr) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let has_display = cfg!(target_os = "macos")
        || std::env::var_os("DISPLAY").is_some()
        || std::env::var_os("WAYLAND_DISPLAY").is_some();
    if !has_display {
        return;
    }
    let quiet = std::process::Stdio::null;
    let started = std::process::Command::new(opener)
        .arg(page)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn();
    if started.is_err() {
        say("(no browser found; open it by hand)");
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    open: Mutex<HashMap<String, ProgressBar>>,
}

impl Progress for Bars {
    fn emit(&self, event: ProgressEvent<'_>) {
        let Ok(mut open) = self.open.lock() else { return };
        match event {
            ProgressEvent::Begin { task, total, unit } => {
                let bar = match total {
                    Some(total) => ProgressBar::new(total),
                    None => ProgressBar::new_spinner(),
                };
                let template = match total {
                    Some(_) if unit == BYTES => {
                        "{prefix:>22} {bar:28.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {elapsed}<{eta}  {wide_msg}"
                    }
                    Some(_) => {
                        "{prefix:>22} {bar:28.cyan/dim} {pos}/{len} {unit}  {elapsed}<{eta}  {wide_msg}"
                    }
                    None => "{prefix:>22} {spinner} {pos} {unit}  {elapsed}  {wide_msg}",
                };
                // The template is a constant; were it wrong, the default style would do.
                let template = template.replace("{unit}", unit);
                let style = ProgressStyle::with_template(&template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("━╸─");
                let bar = self.all.add(bar.with_style(style).with_prefix(task.to_owned()));
                bar.enable_steady_tick(Duration::from_millis(200));
                open.insert(task.to_owned(), bar);
            }
            ProgressEvent::Advance { task, done, note } => {
                if let Some(bar) = open.get(task) {
                    bar.set_position(done);
                    if !note.is_empty() {
                        bar.set_message(note.to_owned());
                    }
                }
            }
            ProgressEvent::Note { text } => {
                // Fails only when stderr is gone.
                self.all.println(text).ok();
            }
            ProgressEvent::End { task } => {
                if let Some(bar) = open.remove(task) {
                    bar.finish();
                }
            }
        }
    }
}

const LINE_EVERY: Duration = Duration::from_secs(10);

struct OpenLine {
    total: Option<u64>,
    unit: String,
    done: u64,
    note: String,
    started: Instant,
    printed: Instant,
}

#[derive(Default)]
struct Lines {
    open: Mutex<HashMap<String, OpenLine>>,
}

impl OpenLine {
    fn text(&self, task: &str) -> String {
        let text = |n: u64| if self.unit == BYTES { bytes(n) } else { n.to_string() };
        let unit = if self.unit == BYTES { "" } else { &self.unit };
        let count = match self.total {
            Some(total) => format!("{}/{}", text(self.done), text(total)),
            None => text(self.done),
        };
        let seconds = self.started.elapsed().as_secs();
        let note = if self.note.is_empty() { String::new() } else { format!("  {}", self.note) };
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        format!("{task}: {count}{unit} in {seconds} s{note}")
    }
}

impl Progress for Lines {
    fn emit(&self, event: ProgressEvent<'_>) {
        let Ok(mut open) = self.open.lock() else { return };
        match event {
            ProgressEvent::Begin { task, total, unit } => {
                let now = Instant::now();
                let unit = unit.to_owned();
                let line = OpenLine {
                    total,
                    unit,
                    done: 0,
                    note: String::new(),
                    started: now,
                    printed: now,
                };
                open.insert(task.to_owned(), line);
            }
            ProgressEvent::Advance { task, done, note } => {
                if let Some(line) = open.get_mut(task) {
                    line.done = done;
                    if !note.is_empty() {
                        note.clone_into(&mut line.note);
                    }
                    if line.printed.elapsed() >= LINE_EVERY {
                        line.printed = Instant::now();
                        say(&line.text(task));
                    }
                }
            }
            ProgressEvent::Note { text } => say(text),
            ProgressEvent::End { task } => {
                if let Some(line) = open.remove(task) {
                    say(&line.text(task));
                }
            }
        }
    }
}
