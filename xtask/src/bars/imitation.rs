//! Bars of imitation: against LeRobot, in agreement and in speed, and what policies achieve.

use std::process::Command;
use std::time::Duration;

use super::data::{last_json, number, tests};
use super::run::{self, Run};
use super::{Bench, Group, foundation, training};
use crate::sh::{self, Fail, Result};
use crate::{demo, peers};

pub const GROUPS: &[Group] = &[
    Group { name: "agreement", measure: agreement },
    Group { name: "speed", measure: speed },
    Group { name: "libtorch", measure: libtorch },
    Group { name: "transfer-cube", measure: transfer_cube },
    Group { name: "pick-lift", measure: pick_lift },
    Group { name: "real", measure: real },
];

/// Names in `embody bench imitation`, and the most multiples of PyTorch's time.
const SPEED: [(&str, f64); 3] = [("act-step", 1.3), ("diffusion-step", 1.3), ("act-latency", 1.0)];
/// The same on PyTorch's own library.
const SPEED_LIBTORCH: [(&str, f64); 3] =
    [("act-step", 1.0), ("diffusion-step", 1.0), ("act-latency", 1.0)];
/// Lower end of the success interval that one of three policies has to reach, on how many episodes,
/// and how long each may learn.
const TRANSFER: (f64, f64, Duration) = (0.80, 200.0, Duration::from_mins(150));
const PICK_LIFT: f64 = 0.90;
/// Share of the error of holding the last action that a policy may have on the real recording.
const REAL: f64 = 0.70;

/// Weights, inputs and noise of LeRobot's policies through ours, and the way back; graphs in
/// onnxruntime.
fn agreement(bench: &mut Bench<'_>) -> Result<()> {
    let policies = peers::lerobot_policies()?;
    let (vlas, graphs) = (peers::lerobot_vlas()?, peers::onnx()?);
    let lerobot = (policies, "EMBODY_LEROBOT_PYTHON", &["lerobot", "torch"][..]);
    let vlas = (vlas, "EMBODY_VLA_PYTHON", &["lerobot", "transformers", "torch"][..]);
    let graphs = (graphs, "EMBODY_ONNX_PYTHON", &["onnxruntime"][..]);
    let whole = "loss, every gradient, 100 actions, and back: ≤ 1e-4 of the largest entry, f32";
    let forward = "tokens, chunks, loss, every gradient: ≤ 1e-4 of the largest entry, f32";
    for (name, filter, peer, required) in [
        ("ACT", "imitation::tests::act", &lerobot, whole),
        ("Diffusion Policy", "/imitation::tests::d(dpm|dim|iffusion)/", &lerobot, whole),
        ("VQ-BeT", "/imitation::tests::.*vqbet/", &lerobot, whole),
        ("SmolVLA and π0", "imitation::vla::tests", &vlas, forward),
        ("ACT as ONNX", "exporting", &graphs, "actions: ≤ 1e-4 of the largest"),
    ] {
        let (python, variable, packages) = peer;
        let python = python.to_str().ok_or_else(|| Fail::new("the Python's path is not UTF-8"))?;
        let versions = packages.iter().map(|p| format!("print('{p}', m.version('{p}'))"));
        let ask: Vec<String> =
            ["import importlib.metadata as m".to_owned()].into_iter().chain(versions).collect();
        let versions = sh::capture(Command::new(python).args(["-c", &ask.join("\n")]))?;
        let filter = format!("package(embody_learn) & test({filter})");
        let (measured, holds) = tests(bench, &filter, &[(*variable, python)])?;
        let row = bench.row(name, measured, required, holds);
        row.peer = Some(versions.trim().replace('\n', ", "));
    }
    Ok(())
}

/// Training steps and inference beside LeRobot's policies in PyTorch.
fn speed(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    beside_pytorch(bench, "cpu", &SPEED)
}

/// The same on PyTorch's own library.
fn libtorch(bench: &mut Bench<'_>) -> Result<()> {
    demo::build_with(bench.workspace, &[demo::Backend::Libtorch])?;
    beside_pytorch(bench, "libtorch-cpu", &SPEED_LIBTORCH)
}

fn beside_pytorch(bench: &mut Bench<'_>, backend: &str, bars: &[(&str, f64)]) -> Result<()> {
    let python = peers::lerobot_policies()?;
    let python = python.to_str().ok_or_else(|| Fail::new("the Python's path is not UTF-8"))?;
    let mut command = Command::new(bench.workspace.binary());
    command.args(["--json", "--threads", "2", "--backend", backend]);
    command.args(["bench", "imitation", "--peers"]);
    let said = sh::capture(command.env("EMBODY_BENCH_PYTHON", python))?;
    let rows = last_json(&said, "embody bench imitation")?;
    for (name, most) in bars {
        let mut all = rows.as_array().into_iter().flatten();
        let row = all.find(|row| row["name"] == *name);
        let row = row.ok_or_else(|| Fail::new(format!("no row for {name}")))?;
        let (ours, theirs) = (number(row, "embody_ms")?, number(row, "torch_ms")?);
        let (what, ratio) = (row["what"].as_str().unwrap_or(name).to_owned(), ours / theirs);
        let measured = format!("{ratio:.2} × ({ours:.0} against {theirs:.0} ms)");
        let what = format!("{what} ({backend})");
        let row = bench.row(what, measured, format!("≤ {most} ×"), ratio <= *most);
        row.peer = Some("LeRobot 0.6.1, PyTorch eager, as many threads".into());
    }
    Ok(())
}

/// Three kinds of policies on the same demonstrations and seeds.
fn transfer_cube(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let (result, out) = training::recipe(bench, "aloha", None)?;
    let run = Run { dir: out, took: Duration::ZERO, result };
    let (least, episodes, limit) = TRANSFER;
    let mut best = 0.0f64;
    let mut all = Vec::new();
    for policy in ["act", "flow", "diffusion"] {
        let step = format!("eval-{policy}");
        let low = run.number(&step, run::INTERVAL_LOW)?;
        let high = run.number(&step, run::INTERVAL_HIGH)?;
        let (successes, trials) =
            (run.number(&step, run::SUCCESSES)?, run.number(&step, run::TRIALS)?);
        let learned = Duration::from_secs_f64(run.number(policy, "/measured/training_s")?);
        let measured = format!(
            "{successes} of {trials}, 95 % interval {low:.3} to {high:.3}, after {}",
            sh::seconds(learned)
        );
        let holds = trials >= episodes && learned <= limit;
        let required = format!("{episodes} episodes, at most {} of learning", sh::seconds(limit));
        bench.row(format!("transfer-cube, {policy}"), measured.clone(), required, holds);
        if holds {
            best = best.max(low);
        }
        all.push(policy);
    }
    let required = format!("≥ {least:.2}");
    let name = format!("lower end of the best of {}", all.join(", "));
    bench.row(name, format!("{best:.3}"), required, best >= least);
    Ok(())
}

/// The foundation's arm, given time.
fn pick_lift(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let (result, out) = training::recipe(bench, "pick-lift", None)?;
    let run = Run { dir: out, took: Duration::ZERO, result };
    let low = run.number(run::POLICY, run::INTERVAL_LOW)?;
    let (successes, trials) =
        (run.number(run::POLICY, run::SUCCESSES)?, run.number(run::POLICY, run::TRIALS)?);
    let measured = format!("{successes} of {trials}, lower end {low:.3}");
    let holds = low >= PICK_LIFT;
    bench.row("SO-101 pick-and-lift", measured, format!("lower end ≥ {PICK_LIFT:.2}"), holds);
    Ok(())
}

/// A real humanoid's recording, from its video.
fn real(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let data = foundation::recording(bench)?;
    let out = bench.folder("real")?;
    let set = format!("data.path={}", data.display());
    let arguments = ["run", "recipes/real.toml", "--set", &set];
    let run = run::finish(run::embody(bench.workspace, &arguments, &out), &out)?;
    let error = run.number(run::OPEN_LOOP, run::OPEN_LOOP_ERROR)?;
    let hold = run.number(run::OPEN_LOOP, run::HOLD_LAST_ERROR)?;
    let horizon = run.number(run::OPEN_LOOP, run::HORIZON_SECS)?;
    let share = error / hold;
    let measured = format!("{share:.2} × ({error:.3} against {hold:.3}, {horizon} s ahead)");
    let holds = share <= REAL && (horizon - 0.5).abs() < 0.01;
    let name = "held-out action error on a humanoid's recording";
    let row = bench.row(name, measured, format!("≤ {REAL:.2} × holding the last action"), holds);
    row.peer = Some("the last action goes on".into());
    Ok(())
}
