//! Runs of the release binary, and what they leave in `result.json`.
//!
//! The places of numbers in `result.json` are all named here: a step by its name in the recipe, a
//! number by its path below the step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sh::{self, Context, Fail, Result};
use crate::workspace::Workspace;

/// Steps of `recipes/demo.toml`.
pub const POLICY: &str = "eval";
pub const BASELINE: &str = "baseline";
/// The step of `recipes/real.toml` that compares predicted with recorded actions.
pub const OPEN_LOOP: &str = "eval";

/// Below an evaluation: 95 % interval of the success rate.
pub const INTERVAL_LOW: &str = "/result/evaluation/interval/0";
pub const INTERVAL_HIGH: &str = "/result/evaluation/interval/1";
pub const SUCCESSES: &str = "/result/evaluation/successes";
pub const TRIALS: &str = "/result/evaluation/trials";
/// Below the open-loop step: the horizon, and errors there.
pub const HORIZON_SECS: &str = "/result/at/horizon_s";
pub const OPEN_LOOP_ERROR: &str = "/result/at/error";
pub const HOLD_LAST_ERROR: &str = "/result/at/hold_last_error";
/// Below either: batch-1 inference, ms.
pub const LATENCY_P50: &str = "/measured/latency/p50_ms";
pub const LATENCY_P99: &str = "/measured/latency/p99_ms";

/// A finished run.
pub struct Run {
    pub dir: PathBuf,
    pub took: Duration,
    pub result: Value,
}

impl Run {
    /// Reads what a run left.
    pub fn read(dir: &Path, took: Duration) -> Result<Self> {
        let path = dir.join("result.json");
        let text = fs::read_to_string(&path).during("read", &path)?;
        let result = serde_json::from_str(&text).during("read", &path)?;
        Ok(Self { dir: dir.to_owned(), took, result })
    }

    /// A number of the named step.
    pub fn number(&self, step: &str, pointer: &str) -> Result<f64> {
        self.result["steps"][step]
            .pointer(pointer)
            .and_then(Value::as_f64)
            .ok_or_else(|| Fail::new(format!("result.json has no number {pointer} in step {step}")))
    }

    /// The named step's folder.
    pub fn folder(&self, step: &str) -> PathBuf {
        self.dir.join(self.result["folders"][step].as_str().unwrap_or(step))
    }

    /// The report's text.
    pub fn report(&self) -> Result<String> {
        let path = self.dir.join("report.html");
        fs::read_to_string(&path).during("read", &path)
    }

    /// (step, seconds, hash of its output), in the order they ran.
    pub fn steps(&self) -> Result<Vec<(String, f64, String)>> {
        let steps = self.result["steps"].as_object();
        let rows: Option<Vec<_>> = steps
            .into_iter()
            .flatten()
            .map(|(name, step)| {
                Some((name.clone(), step["seconds"].as_f64()?, step["output"].as_str()?.to_owned()))
            })
            .collect();
        rows.filter(|rows| !rows.is_empty())
            .ok_or_else(|| Fail::new("result.json lists no steps with seconds and output"))
    }
}

/// `embody ARGS --out DIR`, ready to start.
pub fn embody(workspace: &Workspace, args: &[&str], out: &Path) -> Command {
    let mut command = Command::new(workspace.binary());
    command.current_dir(&workspace.root).args(args).arg("--out").arg(out).arg("--no-open");
    command
}

/// Runs to the end and reads the result; the progress goes to this terminal.
pub fn finish(mut command: Command, out: &Path) -> Result<Run> {
    let start = Instant::now();
    command.stdout(std::io::stderr());
    sh::run(&mut command)?;
    Run::read(out, start.elapsed())
}

/// A run that is expected to fail.
pub struct Refusal {
    pub status: ExitStatus,
    pub text: String,
}

impl Refusal {
    /// Runs and takes what it says.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = sh::output(command.env("NO_COLOR", "1"))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Self { status: output.status, text })
    }

    /// Lines that state an error.
    pub fn errors(&self) -> Vec<&str> {
        self.text.lines().filter(|line| line.starts_with("error:")).collect()
    }

    /// The first error with its causes and hint, on one line.
    pub fn message(&self) -> String {
        let lines = self.text.lines().skip_while(|line| !line.starts_with("error:"));
        let message: Vec<_> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
        message.join(" ")
    }
}

/// What a clean failure must not leave: names of half-written files and folders under `dir`.
pub fn half_written(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.during("read folder", &next)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".tmp-") || name.ends_with(".partial") || name.ends_with(".old") {
                found.push(path.strip_prefix(dir).unwrap_or(&path).display().to_string());
            } else if path.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(found)
}

/// Draws numbers that depend on the seed alone (SplitMix64).
pub struct Draw(pub u64);

impl Draw {
    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
