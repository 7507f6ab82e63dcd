//! Bars that take a training: scores of PPO and SAC, and a quadruped that walks.
//!
//! Minutes to hours each. Runs lie in `runs/bars` of the tree and are continued where they were
//! broken off; a finished one is read again, unless the recipe or what it depends on changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Bench;
use super::data::number;
use crate::demo;
use crate::sh::{self, Context, Fail, Result};

/// Mean and deviation of the training return that CleanRL publishes (docs/benchmark, v4 tasks).
const PPO: [(&str, f64, f64); 4] = [
    ("half-cheetah", 1443.0, 46.0),
    ("hopper", 2383.0, 272.0),
    ("walker2d", 2288.0, 572.0),
    ("ant", 1824.0, 906.0),
];
const PPO_SEEDS: [u64; 3] = [1, 2, 3];
const SAC: [(&str, f64, f64); 3] =
    [("half-cheetah", 9635.0, 1424.0), ("hopper", 2310.0, 343.0), ("walker2d", 3591.0, 911.0)];
const PUBLISHED: &str = "CleanRL's published benchmark";
/// Commands out of a hundred that the quadruped has to follow, and how long it may learn.
const WALKING: (u64, Duration) = (95, Duration::from_hours(2));

/// Runs a recipe of ours to its end; what it wrote down, and the folder.
pub fn recipe(bench: &Bench<'_>, name: &str, seed: Option<u64>) -> Result<(Value, PathBuf)> {
    let root = &bench.workspace.root;
    let folder = match seed {
        Some(seed) => format!("{name}-{seed}"),
        None => name.to_owned(),
    };
    let out = root.join("runs/bars").join(folder);
    let mut command = Command::new(bench.workspace.binary());
    command.current_dir(root).args(["--threads", "2", "run"]);
    command.arg(format!("recipes/{name}.toml")).arg("--out").arg(&out).arg("--no-open");
    if let Some(seed) = seed {
        command.args(["--set", &format!("seed={seed}")]);
    }
    sh::run(&mut command)?;
    let path = out.join("result.json");
    let text = fs::read_to_string(&path).during("read", &path)?;
    Ok((serde_json::from_str(&text).during("read", &path)?, out))
}

fn step<'a>(result: &'a Value, name: &str) -> &'a Value {
    &result["steps"][name]["result"]
}

/// Mean of the last hundred episodes of training, each task over three seeds.
pub fn ppo(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let mut runs = Vec::new();
    for seed in PPO_SEEDS {
        runs.push(recipe(bench, "ppo-scores", Some(seed))?.0);
    }
    for (task, mean, deviation) in PPO {
        let returns = runs.iter().map(|run| number(step(run, task), "training_return"));
        let returns = returns.collect::<Result<Vec<f64>>>()?;
        let ours = returns.iter().sum::<f64>() / returns.len() as f64;
        let seeds: Vec<String> = returns.iter().map(|r| format!("{r:.0}")).collect();
        let measured = format!("{ours:.0} (seeds 1, 2, 3: {})", seeds.join(", "));
        let required = format!("{mean:.0} ± {:.0}", 2.0 * deviation);
        let holds = (ours - mean).abs() <= 2.0 * deviation;
        let name = format!("PPO on {task}, 1 M steps, mean of three seeds");
        bench.row(name, measured, required, holds).peer = Some(PUBLISHED.into());
    }
    Ok(())
}

/// The same of SAC, one seed.
pub fn sac(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let run = recipe(bench, "sac-scores", Some(1))?.0;
    for (task, mean, deviation) in SAC {
        let ours = number(step(&run, task), "training_return")?;
        let least = mean - deviation;
        let (measured, required) = (format!("{ours:.0}"), format!("≥ {least:.0}"));
        let row = bench.row(format!("SAC on {task}, 1 M steps"), measured, required, ours >= least);
        row.peer = Some(PUBLISHED.into());
    }
    Ok(())
}

/// What the training took in all its runs, also where this one only read its result.
fn learning_time(out: &Path) -> Result<Duration> {
    let steps = out.join("steps");
    let entries = fs::read_dir(&steps).during("read folder", &steps)?;
    let mut names = entries.filter_map(|e| Some(e.ok()?.path().join("timing.jsonl")));
    let path = names.find(|path| path.is_file());
    let path = path.ok_or_else(|| Fail::new(format!("{}: no timing.jsonl", steps.display())))?;
    let text = fs::read_to_string(&path).during("read", &path)?;
    let (mut seconds, mut before) = (0.0, 0.0);
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).during("read", &path)?;
        let (step, rate) = (number(&entry, "step")?, number(&entry, "steps_per_s")?);
        seconds += (step - before) / rate;
        before = step;
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A quadruped follows velocity commands on flat ground after at most two hours.
pub fn walking(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let began = Instant::now();
    let (run, out) = recipe(bench, "go1-walk", None)?;
    let evaluation = &step(&run, "evaluate")["evaluation"];
    let count = |key: &str| {
        let value = evaluation[key].as_u64();
        value.ok_or_else(|| Fail::new(format!("{}: no {key}", out.display())))
    };
    let (successes, trials) = (count("successes")?, count("trials")?);
    let learned = learning_time(&out)?;
    let measured = format!(
        "{successes} of {trials} commands, after {} of learning ({} just now)",
        sh::seconds(learned),
        sh::seconds(began.elapsed())
    );
    let (least, limit) = WALKING;
    let required = format!("≥ {least} of 100 within 0.2 m/s over 20 s, after at most 2 h");
    let holds = trials == 100 && successes >= least && learned <= limit;
    bench.row("Go1, flat ground, held-out velocity commands", measured, required, holds);
    Ok(())
}
