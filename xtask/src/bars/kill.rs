//! kill -9 in every step of a recipe, at a random instant, then the same command again.
//!
//! One run folder lives through all the kills: for each step the command is started, its step is
//! awaited (its folder under construction appears), a random part of the step's known duration
//! passes, and the process is killed. Then the command runs to its end, and every step's output
//! must have the hash that it has in a run that nobody disturbed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Bench;
use super::run::{self, Draw, Run};
use crate::demo;
use crate::sh::{Context, Result};

/// The demo made small: every step takes seconds, and takes part.
const SMALL: &[&str] = &["record.episodes=8", "train.steps=60", "eval.episodes=8"];
/// A step that never begins means that the run ended otherwise.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(2);

pub fn measure(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let mut args = vec!["demo"];
    for set in SMALL {
        args.extend(["--set", set]);
    }
    let calm_dir = bench.folder("kill-calm")?;
    let calm = run::finish(run::embody(bench.workspace, &args, &calm_dir), &calm_dir)?;
    let dir = bench.folder("kill")?;
    let mut draw = Draw(bench.seed);
    let steps = calm.steps()?;
    let mut missed = Vec::new();
    for (step, seconds, _) in &steps {
        let wait = draw.unit() * seconds;
        let mut command = run::embody(bench.workspace, &args, &dir);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        if !kill_in(child.during("start", "embody")?, &dir, step, wait)? {
            missed.push(step.as_str());
        }
    }
    let after = run::finish(run::embody(bench.workspace, &args, &dir), &dir)?;
    let measured = format!("killed in {} of {} steps", steps.len() - missed.len(), steps.len());
    bench.row("kill -9 in every step", measured, "every step hit", missed.is_empty());
    let differing = differing(&calm, &after)?;
    let identical = differing.is_empty();
    let measured = if identical {
        format!("all {} outputs have equal hashes", steps.len())
    } else {
        format!("differing: {}", differing.join(", "))
    };
    let required = "final result identical to the uninterrupted run's";
    bench.row("the same command after the kills", measured, required, identical);
    let left = run::half_written(&dir)?;
    let measured = if left.is_empty() { "nothing".to_owned() } else { left.join(", ") };
    bench.row("half-written after that", measured, "nothing", left.is_empty());
    Ok(())
}

/// Kills the child `wait` seconds into the named step; whether it was still in that step.
fn kill_in(mut child: Child, dir: &Path, step: &str, wait: f64) -> Result<bool> {
    let start = Instant::now();
    while !in_step(dir, step) {
        if child.try_wait().during("watch", "embody")?.is_some() || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(POLL);
    }
    std::thread::sleep(Duration::from_secs_f64(wait));
    let hit = child.try_wait().during("watch", "embody")?.is_none() && in_step(dir, step);
    // On Unix this is SIGKILL.
    child.kill().during("kill", "embody")?;
    child.wait().during("wait for", "embody")?;
    Ok(hit)
}

/// Whether the step's output is under construction.
fn in_step(dir: &Path, step: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir.join("steps")) else { return false };
    let prefix = format!(".{step}-");
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with(&prefix) && name.ends_with(".partial")
    })
}

/// Steps whose outputs differ between two runs, or whose files do where hashes claim equality.
fn differing(one: &Run, other: &Run) -> Result<Vec<String>> {
    let (a, b) = (one.steps()?, other.steps()?);
    let mut names: Vec<String> = a
        .iter()
        .filter(|(name, _, hash)| b.iter().all(|(n, _, h)| n != name || h != hash))
        .map(|(name, ..)| name.clone())
        .collect();
    // The hashes are the program's own: compare what matters byte by byte as well.
    for (name, ..) in &a {
        let folder = |run: &Run| run.dir.join(run.result["folders"][name].as_str().unwrap_or(name));
        let (left, right) = (folder(one), folder(other));
        let same = Command::new("diff")
            .args(["--recursive", "--brief", "--exclude=*.json", "--exclude=*.html"])
            .args([&left, &right])
            .stdout(Stdio::null())
            .status()
            .during("start", "diff")?;
        if !same.success() && !names.contains(name) {
            names.push(format!("{name} (files)"));
        }
    }
    Ok(names)
}
