//! Peers to measure beside: Python packages, in an environment of their own in embody's cache, made
//! on first use.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use embody_core::{Error, IoContext, Result};
use serde_json::Value;

use crate::App;
use crate::settings::pythons;

/// A Python that has `packages`; `EMBODY_BENCH_PYTHON` names one that is ready.
///
/// # Errors
/// When there is no Python of 3.10 at least, or pip can't install.
pub fn python(app: &App<'_>, packages: &[&str]) -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os("EMBODY_BENCH_PYTHON").filter(|v| !v.is_empty()) {
        return Ok(ready.into());
    }
    let name: String =
        packages.join("_").chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let home = app.config.cache.join("python").join(name);
    let python = home.join("bin/python");
    let complete = home.join(".complete");
    if complete.is_file() {
        return Ok(python);
    }
    let base = pythons().into_iter().find(|p| is_new_enough(p)).ok_or_else(|| {
        Error::new("no Python of at least 3.10 was found")
            .with_hint("install one, or name a Python with the peers in EMBODY_BENCH_PYTHON")
    })?;
    app.task.begin("peers", None, "packages");
    quietly(Command::new(base).args(["-m", "venv", "--clear"]).arg(&home))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    quietly(Command::new(&python).args(pip).args(packages))?;
    app.task.end("peers");
    std::fs::write(&complete, packages.join(" ")).at("write", &complete)?;
    Ok(python)
}

/// The script `code` over `packages`, where peers are `wanted`.
///
/// # Errors
/// When the packages can't be had or the script can't be started.
pub fn start(app: &App<'_>, wanted: bool, packages: &[&str], code: &str) -> Result<Option<Script>> {
    wanted.then(|| Script::start(app, &python(app, packages)?, code)).transpose()
}

fn is_new_enough(python: &Path) -> bool {
    let ask = "import sys; sys.exit(sys.version_info < (3, 10))";
    let quiet = Command::new(python).args(["-c", ask]).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|e| Error::new(format!("could not start {name}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no word").trim().to_owned();
    Err(Error::new(format!("{name} ended with {}: {last}", output.status))
        .with_hint("install the packages by hand and name that Python in EMBODY_BENCH_PYTHON"))
}

/// A script that answers every line on its stdin with a line of JSON.
pub struct Script {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Script {
    /// Starts `code`; what it says beside its answers goes to a file in the cache.
    ///
    /// # Errors
    /// When the Python can't be started.
    pub fn start(app: &App<'_>, python: &Path, code: &str) -> Result<Self> {
        let log = app.config.cache.join("python/peer.log");
        let folder = log.parent().unwrap_or(&log);
        std::fs::create_dir_all(folder).at("create folder", folder)?;
        let errors = std::fs::File::create(&log).at("create", &log)?;
        let mut child = Command::new(python)
            .args(["-W", "ignore", "-c", code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .at("start", python)?;
        let lost = || Error::new("the peer's script has no pipes");
        let to = child.stdin.take().ok_or_else(lost)?;
        let from = BufReader::new(child.stdout.take().ok_or_else(lost)?);
        Ok(Self { child, to, from, log })
    }

    /// Sends a line and waits for the answer.
    ///
    /// # Errors
    /// When the script ends or answers with anything but JSON.
    pub fn ask(&mut self, line: &str) -> Result<Value> {
        let gone = |e| Error::new(format!("the peer's script is gone: {e}"));
        writeln!(self.to, "{line}").and_then(|()| self.to.flush()).map_err(gone)?;
        loop {
            let mut answer = String::new();
            if self.from.read_line(&mut answer).map_err(gone)? == 0 {
                return Err(Error::new(format!("the peer's script ended at {line:?}"))
                    .with_hint(format!("its last words are in {}", self.log.display())));
            }
            // Packages print warnings where they like.
            if let Ok(value) = serde_json::from_str(&answer) {
                return Ok(value);
            }
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
