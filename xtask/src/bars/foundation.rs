//! Bars of the foundation: the whole loop on simulated and on real data, and how it fails.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::run::{self, Run};
use super::{Bench, Group, bad_input, kill};
use crate::demo;
use crate::sh::{self, Context, Fail, Result};

pub const GROUPS: &[Group] = &[
    Group { name: "demo", measure: demo_run },
    Group { name: "real", measure: real_run },
    Group { name: "kill", measure: kill::measure },
    Group { name: "help", measure: help },
    Group { name: "bad-input", measure: bad_input::measure },
];

const DEMO_LIMIT_SECS: f64 = 720.0;
const SUCCESS_LOW: f64 = 0.60;

/// Where the real recording lies, beside the workspace.
pub fn recording(bench: &Bench<'_>) -> Result<PathBuf> {
    let path = bench.workspace.root.join("../shared/data/unitree-g1-bottle");
    path.canonicalize().during("find the real recording", &path)
}

fn demo_run(bench: &mut Bench<'_>) -> Result<()> {
    let out = bench.folder("demo")?;
    let run = if bench.quick {
        demo::build(bench.workspace)?;
        run::finish(run::embody(bench.workspace, &["demo"], &out), &out)?
    } else {
        fresh_clone(bench, &out)?
    };
    let secs = run.took.as_secs_f64();
    let holds = secs <= DEMO_LIMIT_SECS;
    bench.row("demo after the build", sh::seconds(run.took), "≤ 12 min", holds);

    let low = run.number(run::POLICY, run::INTERVAL_LOW)?;
    let high = run.number(run::POLICY, run::INTERVAL_HIGH)?;
    let successes = run.number(run::POLICY, run::SUCCESSES)?;
    let trials = run.number(run::POLICY, run::TRIALS)?;
    let measured = format!("{successes} of {trials}, 95 % interval {low:.3} to {high:.3}");
    let required = "lower end ≥ 0.60 on 100 unseen seeds";
    bench.row("demo policy", measured, required, low >= SUCCESS_LOW && trials >= 100.0);

    let above = run.number(run::BASELINE, run::INTERVAL_HIGH)?;
    let measured = format!("upper end {above:.3}, the policy's lower end {low:.3}");
    let row = bench.row("replayed mean trajectory", measured, "below the policy", above < low);
    row.peer = Some("baseline of the same run".into());
    latency(bench, "demo", run::POLICY, &run)
}

/// Clones, then runs the README's first command with an empty cache and a clean environment.
fn fresh_clone(bench: &mut Bench<'_>, out: &std::path::Path) -> Result<Run> {
    let clone = bench.scratch.join("clone");
    sh::run(Command::new("git").args(["clone", "--quiet"]).arg(&bench.workspace.root).arg(&clone))?;
    let mut xtask = Command::new("cargo");
    xtask.args(["xtask", "demo", "--out"]).arg(out).arg("--no-open").current_dir(&clone);
    // Cargo told us about the outer workspace; a new user's shell would not.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let keep = ["CARGO_HOME", "CARGO_HTTP_CAINFO", "CARGO_NET_OFFLINE"].contains(&&*name);
        let ours = ["CARGO", "RUST", "MUJOCO", "EMBODY"].iter().any(|p| name.starts_with(p));
        if ours && !keep && !name.starts_with("RUSTUP") {
            xtask.env_remove(&key);
        }
    }
    let cache = bench.folder("cache")?;
    let start = Instant::now();
    sh::run(xtask.env("EMBODY_CACHE", cache).stdout(std::io::stderr()))?;
    let total = start.elapsed();
    let mut run = Run::read(out, total)?;
    // The command's own statement includes set-up; the run's is what counts against the limit.
    let secs =
        run.result["seconds"].as_f64().ok_or_else(|| Fail::new("result.json has no seconds"))?;
    run.took = std::time::Duration::from_secs_f64(secs);
    let page = run.report()?.len();
    let measured = format!(
        "works: {} in all, of which {} in the demo's steps; report of {} kB",
        sh::seconds(total),
        sh::seconds(run.took),
        page / 1000
    );
    bench.row("fresh clone → report, `cargo xtask demo`", measured, "works in one go", page > 0);
    Ok(run)
}

fn real_run(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let data = recording(bench)?;
    let out = bench.folder("real")?;
    let set = format!("data.path={}", data.display());
    let args = ["run", "recipes/real.toml", "--set", &set];
    let run = run::finish(run::embody(bench.workspace, &args, &out), &out)?;
    bench.row("real G1 recording", sh::seconds(run.took), "pipeline completes", true);
    let error = run.number(run::OPEN_LOOP, run::OPEN_LOOP_ERROR)?;
    let hold = run.number(run::OPEN_LOOP, run::HOLD_LAST_ERROR)?;
    let horizon = run.number(run::OPEN_LOOP, run::HORIZON_SECS)?;
    let ratio = error / hold;
    let measured = format!("{error:.4} at {horizon:.2} s, {ratio:.2} of hold-last's {hold:.4}");
    // Half a second need not be a whole number of frames.
    let holds = error < hold && (horizon - 0.5).abs() < 0.05;
    let row = bench.row("held-out error at 0.5 s", measured, "below hold-last", holds);
    row.peer = Some("hold the last action, same frames".into());
    let plots = run.report()?.matches("<svg").count();
    bench.row("plots in the real run's report", plots.to_string(), "≥ 1", plots > 0);
    latency(bench, "real recording", run::OPEN_LOOP, &run)
}

fn latency(bench: &mut Bench<'_>, of: &str, step: &str, run: &Run) -> Result<()> {
    let p50 = run.number(step, run::LATENCY_P50)?;
    let p99 = run.number(step, run::LATENCY_P99)?;
    let page = run.report()?;
    let shown = page.contains("p50") && page.contains("p99");
    let measured = format!("p50 {p50:.2} ms, p99 {p99:.2} ms");
    bench.row(format!("batch-1 inference, {of}"), measured, "p50 and p99 in the report", shown);
    Ok(())
}

/// Runs the snapshot tests of help and errors; a filter that matches nothing is a failure.
fn help(bench: &mut Bench<'_>) -> Result<()> {
    let mut cargo = bench.workspace.cargo();
    cargo.args(["nextest", "run", "--locked", "--package", "embody", "--no-tests", "fail"]);
    cargo.args(["-E", "test(help) + test(docs) + test(recipes)", "--color", "never"]);
    let output = sh::output(cargo.args(crate::setup::feature_args(bench.workspace)))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = text.lines().rfind(|line| line.contains("tests run:")).unwrap_or("no test ran");
    let required = "every help and every documented error snapshot-tested";
    bench.row("help and errors", summary.trim(), required, output.status.success());
    Ok(())
}
