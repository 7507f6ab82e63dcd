//! `embody bench imitation`: a training step of ACT and of Diffusion Policy at LeRobot's sizes, and ACT's
//! batch-1 latency, beside LeRobot's in PyTorch where asked for.

use embody_core::{Error, Result};
use embody_learn::{Bench, BenchShape, DiffusionConfig, PolicyConfig, TrainConfig, preset};
use serde::Serialize;

use super::peers;
use crate::App;

const PEERS: [&str; 2] = ["lerobot==0.6.1", "diffusers<0.40"];
const SCRIPT: &str = include_str!("imitation_peers.py");

/// A measured time: the median of some.
#[derive(Debug, Serialize)]
pub struct Row {
    /// `act-step`, `diffusion-step` or `act-latency`.
    name: &'static str,
    what: &'static str,
    threads: usize,
    /// Milliseconds.
    embody_ms: f64,
    /// Of PyTorch, eager.
    #[serde(skip_serializing_if = "Option::is_none")]
    torch_ms: Option<f64>,
    /// Ours over theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, threads, embody_ms, .. } = self;
        write!(f, "{what:<66} {threads} threads {embody_ms:9.1} ms")?;
        match (self.torch_ms, self.ratio) {
            (Some(torch), Some(ratio)) => write!(f, ", PyTorch {torch:9.1} ms: {ratio:.2} ×"),
            _ => Ok(()),
        }
    }
}

/// One of the things measured: how long it takes us once, and its name to the peer.
struct Case<'a> {
    name: &'static str,
    what: &'static str,
    threads: usize,
    once: Box<dyn FnMut() -> Result<f64> + 'a>,
}

/// Measures each `samples` times and takes medians.
///
/// # Errors
/// When a peer fails.
pub fn run(app: &App<'_>, peers: bool, samples: usize) -> Result<Vec<Row>> {
    if samples == 0 {
        return Err(Error::new("0 samples measure nothing").with_hint("give at least one"));
    }
    let mut script = peers::start(app, peers, &PEERS, SCRIPT)?;
    let threads = app.config.threads;
    let act = sized(app, "act", 8)?;
    let shape = BenchShape { cameras: vec![[224, 224]], state: 14, env: 0, action: 14 };
    let mut step_of_act = Bench::new(&act, &shape)?;
    let inference_of_act = Bench::new(&act, &shape)?;
    let mut diffusion = sized(app, "diffusion", 64)?;
    // The first generation's horizon, over states.
    let sizes = DiffusionConfig { horizon: 16, n_action_steps: 8, ..DiffusionConfig::lerobot() };
    diffusion.policy = PolicyConfig::Diffusion(sizes);
    let state_and_env = ["observation.state", "observation.environment_state"];
    diffusion.inputs = state_and_env.map(str::to_owned).to_vec();
    let shape = BenchShape { cameras: vec![], state: 14, env: 7, action: 14 };
    let mut step_of_diffusion = Bench::new(&diffusion, &shape)?;
    // The second in a row: the first finds threads and caches cold.
    let warm = |times: Vec<f64>| times.last().copied().unwrap_or(f64::NAN);
    let cases = [
        Case {
            name: "act-step",
            what: "training step of ACT, batch 8, one camera 224 × 224, chunk 100",
            threads,
            once: Box::new(move || Ok(warm(step_of_act.steps(2)?))),
        },
        Case {
            name: "diffusion-step",
            what: "training step of Diffusion Policy, batch 64, horizon 16, states",
            threads,
            once: Box::new(move || Ok(warm(step_of_diffusion.steps(2)?))),
        },
        Case {
            name: "act-latency",
            what: "ACT's prediction for one observation",
            threads: 1,
            once: Box::new(move || Ok(warm(inference_of_act.predictions(2)?))),
        },
    ];
    app.task.begin("bench", Some((cases.len() * samples) as u64), "rounds");
    let mut rows = Vec::new();
    for (number, mut case) in cases.into_iter().enumerate() {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // In turns, so that whatever else the machine does falls on both.
        for round in 0..samples {
            ours.push((case.once)()? * 1e3);
            if let Some(script) = &mut script {
                rest();
                let answer = script.ask(&format!("{} {}", case.name, case.threads))?;
                let missing = || Error::new(format!("the peer gave no time: {answer}"));
                theirs.push(answer["ms"].as_f64().ok_or_else(missing)?);
                rest();
            }
            app.task.advance("bench", (number * samples + round) as u64 + 1, case.name)?;
        }
        let Case { name, what, threads, .. } = case;
        let embody_ms = median(ours).unwrap_or(f64::NAN);
        let torch_ms = median(theirs);
        let ratio = torch_ms.map(|theirs| embody_ms / theirs);
        rows.push(Row { name, what, threads, embody_ms, torch_ms, ratio });
        if let Some(script) = &mut script {
            script.ask("forget")?;
        }
    }
    app.task.end("bench");
    Ok(rows)
}

/// Waits until the threads that just worked no longer look for more: OpenMP's spin for 200 ms.
fn rest() {
    std::thread::sleep(std::time::Duration::from_millis(300));
}

/// A preset's settings with another batch.
fn sized(app: &App<'_>, name: &str, batch_size: usize) -> Result<TrainConfig> {
    let preset = preset(name).ok_or_else(|| Error::new(format!("there is no preset `{name}`")))?;
    let (threads, backend) = (app.config.threads, app.config.backend);
    // A part of the batch for each thread.
    let shards = threads.min(batch_size);
    Ok(TrainConfig { batch_size, shards, threads, backend, ..preset.config })
}

fn median(mut times: Vec<f64>) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}
