//! `embody bench sim`: environment steps per second, beside the peers' where asked for.

use std::time::{Duration, Instant};

use embody_core::{Autoreset, Error, Result, VecEnv};
use embody_sim::{EnvOptions, SimEnv};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::peers::{self, Script};
use crate::App;

const PEERS: [&str; 3] = ["envpool==1.2.5", "gymnasium[mujoco]==1.4.*", "mujoco==3.17.*"];
const SCRIPT: &str = include_str!("sim_peers.py");
/// Measurements of each, in turns; the median counts.
const ROUNDS: usize = 5;
/// Batches of random actions, drawn beforehand.
const DRAWN: usize = 64;
/// Environments of AsyncVectorEnv, a process each: more are slower on few cores.
const PROCESSES: usize = 8;

/// A task, and what was measured with it: environment steps per second.
#[derive(Debug, Serialize)]
pub struct Row {
    task: String,
    envs: usize,
    threads: usize,
    embody: f64,
    /// Where asked for, and where the peer has the task.
    envpool: Option<f64>,
    gymnasium_async: Option<f64>,
    /// Versions of the peers.
    peers: String,
}

/// What to measure.
pub struct Wanted<'a> {
    pub tasks: &'a [String],
    pub envs: usize,
    pub seconds: f64,
    pub peers: bool,
}

/// Measures every task.
///
/// # Errors
/// When a task is unknown, its robot absent, or a peer can't be installed.
pub fn run(app: &App<'_>, wanted: &Wanted<'_>) -> Result<Vec<Row>> {
    let mut script = peers::start(app, wanted.peers, &PEERS, SCRIPT)?;
    let threads = app.config.threads;
    wanted.tasks.iter().map(|task| measure(app, task, wanted, threads, script.as_mut())).collect()
}

fn measure(
    app: &App<'_>,
    task: &str,
    wanted: &Wanted<'_>,
    threads: usize,
    mut script: Option<&mut Script>,
) -> Result<Row> {
    let options = EnvOptions {
        num_envs: wanted.envs,
        threads,
        camera_size: None,
        autoreset: Autoreset::SameStep,
        trace: false,
        ..EnvOptions::new(&app.config.assets)
    };
    let mut env = embody_sim::make_sim(task, options)?;
    let actions = actions(&env);
    let (mut ours, mut pool, mut processes) = (Vec::new(), Vec::new(), Vec::new());
    let mut versions = String::new();
    let seconds = wanted.seconds;
    for _ in 0..ROUNDS {
        app.task.cancel.check()?;
        ours.push(rate(&mut env, &actions, Duration::from_secs_f64(seconds))?);
        let Some(script) = script.as_deref_mut() else { continue };
        let mut ask = |peer: &str, envs: usize| -> Result<(f64, String)> {
            let answer = script.ask(&format!("{peer} {task} {envs} {seconds}"))?;
            let bad = || Error::new(format!("{peer} answered {answer}"));
            let rate = answer["rate"].as_f64().ok_or_else(bad)?;
            Ok((rate, answer["version"].as_str().unwrap_or("?").to_owned()))
        };
        let (envpool, its) = ask("envpool", wanted.envs)?;
        let (gymnasium, theirs) = ask("async", PROCESSES)?;
        pool.push(envpool);
        processes.push(gymnasium);
        versions = format!("envpool {its}, gymnasium {theirs}");
    }
    let some = |values: Vec<f64>| (!values.is_empty()).then(|| median(values));
    Ok(Row {
        task: task.to_owned(),
        envs: wanted.envs,
        threads,
        embody: median(ours),
        envpool: some(pool),
        gymnasium_async: some(processes),
        peers: versions,
    })
}

/// Batches of actions, uniform within the bounds.
fn actions(env: &SimEnv) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let spec = env.spec();
    let mut batch = || {
        let bounds = spec.action_low.iter().zip(&spec.action_high);
        let all = std::iter::repeat_n(bounds, env.num_envs()).flatten();
        all.map(|(low, high)| rng.random_range(*low..=*high)).collect()
    };
    (0..DRAWN).map(|_| batch()).collect()
}

fn rate(env: &mut SimEnv, actions: &[Vec<f32>], time: Duration) -> Result<f64> {
    let active = vec![true; env.num_envs()];
    for actions in &actions[..8] {
        env.step(actions, &active)?;
    }
    let start = Instant::now();
    let mut steps = 0;
    while start.elapsed() < time {
        env.step(&actions[steps % actions.len()], &active)?;
        steps += 1;
    }
    Ok((steps * env.num_envs()) as f64 / start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { task, envs, threads, embody, .. } = self;
        write!(f, "{task:<26} {envs} envs, {threads} threads  {embody:>9.0} steps/s")?;
        for (peer, rate) in [("envpool", self.envpool), ("AsyncVectorEnv", self.gymnasium_async)] {
            if let Some(rate) = rate {
                write!(f, "  {:.2} × {peer} ({rate:.0})", embody / rate)?;
            }
        }
        Ok(())
    }
}
