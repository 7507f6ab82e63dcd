//! Bars of simulation and reinforcement learning, beside their peers in the same run.

use std::process::Command;

use serde_json::Value;

use super::data::{embody, last_json, number, tests};
use super::{Bench, Group, peers};
use crate::demo;
use crate::sh::{self, Fail, Result};

pub const GROUPS: &[Group] = &[
    Group { name: "stepping", measure: stepping },
    Group { name: "stepper", measure: stepper },
    Group { name: "semantics", measure: semantics },
];

/// Tasks, and the least multiples of envpool and of AsyncVectorEnv.
const TASKS: [(&str, f64, f64); 3] =
    [("Humanoid-v5", 1.15, 3.0), ("Ant-v5", 1.15, 3.0), ("HalfCheetah-v5", 1.15, 10.0)];
const MEAN: f64 = 1.3;
/// Least multiple of MuJoCo's own batch stepper.
const STEPPER: f64 = 0.95;

fn row_of<'a>(rows: &'a Value, task: &str) -> Result<&'a Value> {
    let mut rows = rows.as_array().into_iter().flatten();
    rows.find(|row| row["task"] == task).ok_or_else(|| Fail::new(format!("no row for {task}")))
}

/// Environment steps per second with random actions, 64 environments, 2 threads.
fn stepping(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let tasks = TASKS.map(|(task, ..)| task);
    let words = ["--json", "--threads", "2", "bench", "sim", "--peers", "--seconds", "3"];
    let words: Vec<&str> = words.into_iter().chain(tasks).collect();
    let rows = last_json(&embody(bench, &words, &[])?, "embody bench sim")?;
    let mut product = 1.0;
    for (task, pool, processes) in TASKS {
        let row = row_of(&rows, task)?;
        let (ours, envpool) = (number(row, "embody")?, number(row, "envpool")?);
        let gymnasium = number(row, "gymnasium_async")?;
        let version = row["peers"].as_str().unwrap_or("?").to_owned();
        product *= ours / envpool;
        for (peer, theirs, least) in
            [("envpool", envpool, pool), ("AsyncVectorEnv of 8", gymnasium, processes)]
        {
            let ratio = ours / theirs;
            let measured = format!("{ratio:.2} × ({ours:.0} against {theirs:.0} steps/s)");
            let name = format!("{task}, 64 environments, against {peer}");
            let row = bench.row(name, measured, format!("≥ {least} ×"), ratio >= least);
            row.peer = Some(version.clone());
        }
    }
    let mean = product.powf(1.0 / TASKS.len() as f64);
    let required = format!("≥ {MEAN} × envpool");
    bench.row("geometric mean of the three", format!("{mean:.2} ×"), required, mean >= MEAN);
    Ok(())
}

/// Against MuJoCo's own batch stepper in C, which does nothing but step.
fn stepper(bench: &mut Bench<'_>) -> Result<()> {
    crate::setup::run(bench.workspace, crate::setup::Wanted::default())?;
    let mut cargo = bench.workspace.cargo();
    cargo.args(["run", "--release", "--quiet", "--locked", "--package", "embody_sim"]);
    let rows = last_json(&sh::capture(cargo.args(["--example", "batch"]))?, "the batch example")?;
    for (task, ..) in TASKS {
        let row = row_of(&rows, task)?;
        let (ours, theirs) = (number(row, "embody")?, number(row, "mjbatch")?);
        let ratio = number(row, "ratio")?;
        let measured = format!("{ratio:.2} × ({ours:.0} against {theirs:.0} steps/s)");
        let name = format!("{task} from the same states, never reset");
        let row = bench.row(name, measured, format!("≥ {STEPPER} ×"), ratio >= STEPPER);
        row.peer = Some("MuJoCo 3.17.0 mjb_step, 2 threads".into());
    }
    Ok(())
}

/// Gymnasium's tasks to the bit, and the same bits on any number of threads.
fn semantics(bench: &mut Bench<'_>) -> Result<()> {
    let python = peers::gymnasium()?;
    let python = python.to_str().ok_or_else(|| Fail::new("the Python's path is not UTF-8"))?;
    let seen = tests(
        bench,
        "test(tasks_of_gymnasium_equal_the_package_to_the_bit)",
        &[("EMBODY_SIM_PYTHON", python)],
    )?;
    let required =
        "2,000 steps of each task: observations to the bit, rewards to 1e-12, ends equal";
    bench.row("tasks of Gymnasium", seen.0, required, seen.1).peer = Some(version(python)?);
    let seen = tests(bench, "package(embody_sim) & test(determinism::)", &[])?;
    bench.row("threads 1, 2, 4", seen.0, "identical trajectories", seen.1);
    Ok(())
}

fn version(python: &str) -> Result<String> {
    let ask = "import gymnasium, mujoco; print(gymnasium.__version__, mujoco.__version__)";
    let said = sh::capture(Command::new(python).args(["-c", ask]))?;
    let mut words = said.split_whitespace();
    let mut next = || words.next().unwrap_or("?").to_owned();
    Ok(format!("gymnasium {}, mujoco {}", next(), next()))
}
