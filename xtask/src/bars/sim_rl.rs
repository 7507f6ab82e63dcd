//! Bars of simulation and reinforcement learning, beside their peers in the same run.

use std::process::Command;

use serde_json::Value;

use super::data::{embody, last_json, number, tests};
use super::{Bench, Group, training};
use crate::setup::Wanted;
use crate::sh::{self, Fail, Result};
use crate::{demo, peers};

pub const GROUPS: &[Group] = &[
    Group { name: "stepping", measure: stepping },
    Group { name: "stepper", measure: stepper },
    Group { name: "semantics", measure: semantics },
    Group { name: "experts", measure: experts },
    Group { name: "cameras", measure: cameras },
    Group { name: "learning", measure: learning },
    Group { name: "ppo-scores", measure: training::ppo },
    Group { name: "sac-scores", measure: training::sac },
    Group { name: "walking", measure: training::walking },
];

/// Tasks, and the least multiples of envpool and of AsyncVectorEnv.
const TASKS: [(&str, f64, f64); 3] =
    [("Humanoid-v5", 1.15, 3.0), ("Ant-v5", 1.15, 3.0), ("HalfCheetah-v5", 1.15, 10.0)];
const MEAN: f64 = 1.3;
/// Least multiple of MuJoCo's own batch stepper.
const STEPPER: f64 = 0.95;

/// Names in `embody bench rl` of ours and the peer's, the least ratio, what it is, and the peer.
const LEARNING: [(&str, &str, f64, &str, &str); 4] = [
    (
        "ppo",
        "ppo-torch",
        8.0,
        "PPO's steps learning included, HalfCheetah-v5, CleanRL's settings",
        "ppo_continuous_action's algorithm and settings, PyTorch on 2 threads",
    ),
    ("sac", "sac-sb3", 2.0, "SAC's updates beside Stable-Baselines3's", SAC),
    ("sac", "sac-sbx", 1.0, "SAC's updates beside SBX's", SAC),
    ("sac", "sac-ceiling", 0.6, "SAC's updates beside its matrix products alone", SAC),
];
const SAC: &str = "batch 256, networks 256 × 2, 2 threads";

/// What is compared with a package, by which test, what that imports, and what is asked for.
const MANIPULATION: [(&str, &str, &[&str], &str); 2] = [
    (
        "PushT",
        "pusht_agrees_with_the_package",
        &["gym_pusht", "pymunk"],
        "12,040 steps: places and rewards within 1e-9, ends equal",
    ),
    (
        "ALOHA transfer-cube and insertion",
        "aloha_agrees_with_the_package",
        &["gym_aloha", "dm_control"],
        "3 × 400 steps of each: positions, velocities, rewards to the bit",
    ),
];

/// Episodes out of a hundred in which a scripted expert has to succeed.
const EXPERTS: u64 = 95;
/// Sides of square pictures, and the least multiples of MuJoCo's renderer on the processor.
const PICTURES: [(u64, f64); 2] = [(96, 4.0), (224, 3.0)];

/// An example of the simulation crate, built for release, and the JSON it ends with.
fn example(bench: &Bench<'_>, name: &str, words: &[&str], env: &[(&str, &str)]) -> Result<Value> {
    crate::setup::run(bench.workspace, Wanted { robots: true, ..Wanted::default() })?;
    let mut cargo = bench.workspace.cargo();
    cargo.args(["run", "--release", "--quiet", "--locked", "--package", "embody_sim"]);
    cargo.args(words).args(["--example", name]).envs(env.iter().copied());
    last_json(&sh::capture(&mut cargo)?, &format!("the example {name}"))
}

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
    let rows = example(bench, "batch", &[], &[])?;
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
    let python = peers::manipulation()?;
    let python = python.to_str().ok_or_else(|| Fail::new("the Python's path is not UTF-8"))?;
    for (name, test, packages, required) in MANIPULATION {
        // Without the packages the test would say that it is skipped, and pass.
        let ask = "import sys, importlib.metadata as m\n\
                   for p in sys.argv[1:]: __import__(p); print(p, m.version(p), end=' ')";
        let peer = sh::capture(Command::new(python).args(["-c", ask]).args(packages))?;
        let seen = tests(bench, &format!("test({test})"), &[("EMBODY_SIM_PYTHON", python)])?;
        bench.row(name, seen.0, required, seen.1).peer = Some(peer.trim().to_owned());
    }
    let seen = tests(bench, "package(embody_sim) & test(determinism::)", &[])?;
    bench.row("threads 1, 2, 4", seen.0, "identical trajectories", seen.1);
    Ok(())
}

/// Scripted experts of the manipulation tasks on a hundred seeds each.
fn experts(bench: &mut Bench<'_>) -> Result<()> {
    let rows = example(bench, "expert_rate", &[], &[])?;
    for row in rows.as_array().into_iter().flatten() {
        let (task, seeds) = (row["task"].as_str().unwrap_or("?"), row["seeds"].as_u64());
        let successes = row["successes"].as_u64().unwrap_or(0);
        let holds = seeds == Some(100) && successes >= EXPERTS;
        let required = format!("≥ {EXPERTS} of 100");
        bench.row(format!("expert of {task}"), format!("{successes} of 100"), required, holds);
    }
    Ok(())
}

/// Pictures of the ALOHA scene per second and thread, beside MuJoCo's own renderer on llvmpipe.
fn cameras(bench: &mut Bench<'_>) -> Result<()> {
    let rows = example(bench, "cameras", &["--features", "egl"], &[("LP_NUM_THREADS", "0")])?;
    for (side, least) in PICTURES {
        let mut all = rows.as_array().into_iter().flatten();
        let row = all
            .find(|row| row["size"] == serde_json::json!([side, side]))
            .ok_or_else(|| Fail::new(format!("no row for {side}²")))?;
        let (ours, theirs) = (number(row, "embody")?, number(row, "mujoco_egl")?);
        let ratio = ours / theirs;
        let measured = format!("{ratio:.2} × ({ours:.0} against {theirs:.0} frames/s)");
        let name = format!("ALOHA scene at {side}², 1 thread, no shadows, 1 sample");
        let row = bench.row(name, measured, format!("≥ {least} ×"), ratio >= least);
        row.peer = Some("MuJoCo 3.17.0, EGL, llvmpipe, 1 thread".into());
    }
    Ok(())
}

/// How fast PPO and SAC learn, beside the same algorithms in Python and SAC's matrix products alone.
fn learning(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let words = ["--json", "--threads", "2", "bench", "rl", "--peers"];
    let rows = last_json(&embody(bench, &words, &[])?, "embody bench rl")?;
    let rate = |name: &str| {
        let mut all = rows.as_array().into_iter().flatten();
        let row = all.find(|row| row["name"] == name);
        number(row.ok_or_else(|| Fail::new(format!("no row for {name}")))?, "per_second")
    };
    for (ours, theirs, least, what, peer) in LEARNING {
        let (ours, theirs) = (rate(ours)?, rate(theirs)?);
        let ratio = ours / theirs;
        let measured = format!("{ratio:.2} × ({ours:.0} against {theirs:.0} a second)");
        bench.row(what, measured, format!("≥ {least} ×"), ratio >= least).peer = Some(peer.into());
    }
    Ok(())
}

fn version(python: &str) -> Result<String> {
    let ask = "import gymnasium, mujoco; print(gymnasium.__version__, mujoco.__version__)";
    let said = sh::capture(Command::new(python).args(["-c", ask]))?;
    let mut words = said.split_whitespace();
    let mut next = || words.next().unwrap_or("?").to_owned();
    Ok(format!("gymnasium {}, mujoco {}", next(), next()))
}
