//! kill -9 in every step of a recipe, at a random instant, then the same command again.
//!
//! One run folder lives through all the kills: for each step the command is started, its step is
//! awaited (its folder under construction appears), a random part of the step's known duration
//! passes, and the process is killed. Then the command runs to its end, and every step's output
//! must have the hash that it has in a run that nobody disturbed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Bench;
use super::run::{self, Draw, Run};
use crate::demo;
use crate::sh::{Context, Result};

/// The demo made small: every step takes seconds, and takes part.
const SMALL: &[&str] = &[
    "record.episodes=8",
    "process.held_out=0.25",
    "train.steps=60",
    "train.checkpoint_every=10",
    "eval.episodes=8",
    "baseline.episodes=8",
];
/// Files that have to be equal byte by byte, whatever the program's own hashes say.
const COMPARED: &[&str] = &["parquet", "mp4", "safetensors"];
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
    for (name, ..) in &a {
        let (left, right) = (one.folder(name), other.folder(name));
        let (files, theirs) = (compared(&left)?, compared(&right)?);
        let same = files == theirs
            && files.iter().all(|f| fs::read(left.join(f)).ok() == fs::read(right.join(f)).ok());
        if !same && !names.contains(name) {
            names.push(format!("{name} (files)"));
        }
    }
    Ok(names)
}

/// Files below `dir` that have to be equal, relative and sorted.
fn compared(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).during("read folder", &next)? {
            let path = entry.during("read folder", &next)?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| COMPARED.iter().any(|c| e == *c)) {
                found.push(path.strip_prefix(dir).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
