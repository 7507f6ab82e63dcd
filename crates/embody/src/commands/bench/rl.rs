//! `embody bench rl`: PPO with the environment, SAC without, beside the peers' where asked for.

use std::time::Duration;

use embody_core::{Autoreset, Error, IoContext, Result};
use embody_learn::{
    AlgorithmConfig, RlConfig, SacConfig, rl_preset, sac_flop_per_update, sac_updates_per_second,
    sgemm_flop_per_second, train_rl,
};
use embody_sim::EnvOptions;
use serde::Serialize;
use serde_json::Value;

use super::peers::{self, Script};
use crate::App;

const TASK: &str = "HalfCheetah-v5";
/// Sizes of observation and action of that task.
const SIZES: (usize, usize) = (17, 6);
/// Rollouts of PPO that are measured in one stretch, after one that warms up.
const ROLLOUTS: u64 = 4;
const PEERS: [&str; 5] =
    ["torch", "gymnasium[mujoco]==1.4.*", "mujoco==3.17.*", "stable-baselines3", "sbx-rl"];
const SCRIPT: &str = include_str!("rl_peers.py");

/// A measured rate: the median of some stretches.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Whose: `ppo`, `ppo-torch`, `sac`, `sac-ceiling`, `sac-sb3` or `sac-sbx`.
    name: &'static str,
    what: &'static str,
    threads: usize,
    per_second: f64,
    unit: &'static str,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, threads, per_second, unit, .. } = self;
        write!(f, "{what:<58} {threads} threads {per_second:10.1} {unit}/s")
    }
}

/// Measures `samples` stretches of about `seconds` each and takes medians.
///
/// # Errors
/// When the task's model is absent, or a peer fails.
pub fn run(app: &App<'_>, peers: bool, samples: usize, seconds: f64) -> Result<Vec<Row>> {
    if samples == 0 || !(0.01..=3600.0).contains(&seconds) {
        return Err(Error::new(format!("{samples} samples of {seconds} s measure nothing"))
            .with_hint("give at least one sample of 0.01 to 3600 seconds"));
    }
    let mut script = peers::start(app, peers, &PEERS, SCRIPT)?;
    let threads = app.config.threads;
    let time = Duration::from_secs_f64(seconds);
    let sac = SacConfig::cleanrl();
    let flop = sac_flop_per_update(&sac, SIZES.0, SIZES.1);
    let (mut ppo, mut updates, mut ceiling) = (Vec::new(), Vec::new(), Vec::new());
    let (mut clean, mut sb3, mut sbx) = (Vec::new(), Vec::new(), Vec::new());
    app.task.begin("bench", Some(samples as u64), "rounds");
    // In turns, so that whatever else the machine does falls on all alike.
    for round in 0..samples {
        ppo.push(ours(app, round)?);
        updates.extend(sac_updates_per_second(&sac, SIZES, threads, 1, time)?);
        ceiling.extend(sgemm_flop_per_second(threads, 1, time).iter().map(|f| f / flop));
        if let Some(script) = &mut script {
            clean.push(peer(script, "ppo", seconds)?);
            sb3.push(peer(script, "sb3-sac", seconds)?);
            sbx.push(peer(script, "sbx-sac", seconds)?);
        }
        app.task.advance("bench", round as u64 + 1, "")?;
    }
    app.task.end("bench");
    let rows = [
        ("ppo", "PPO, CleanRL's settings, HalfCheetah-v5, learning included", ppo, "steps"),
        ("ppo-torch", "the same algorithm in PyTorch", clean, "steps"),
        ("sac", "SAC, batch 256, networks 256 x 2", updates, "updates"),
        ("sac-ceiling", "its matrix products alone, at the rate of large ones", ceiling, "updates"),
        ("sac-sb3", "the same update in Stable-Baselines3", sb3, "updates"),
        ("sac-sbx", "the same update in SBX", sbx, "updates"),
    ];
    let row = |(name, what, mut rates, unit): (_, _, Vec<f64>, _)| {
        rates.sort_by(f64::total_cmp);
        let per_second = *rates.get(rates.len() / 2)?;
        Some(Row { name, what, threads, per_second, unit })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// Steps per second of PPO over some rollouts: the median of theirs.
fn ours(app: &App<'_>, round: usize) -> Result<f64> {
    let options = EnvOptions {
        num_envs: 1,
        threads: 1,
        camera_size: None,
        autoreset: Autoreset::SameStep,
        trace: false,
        ..EnvOptions::new(&app.config.assets)
    };
    let mut env = embody_sim::make(TASK, options)?;
    let preset = rl_preset("ppo-cleanrl").ok_or_else(|| Error::new("there is no such preset"))?;
    let AlgorithmConfig::Ppo(ppo) = &preset.algorithm else {
        return Err(Error::new("the preset is of another algorithm"));
    };
    let rollout = ppo.rollout_steps as u64;
    let config = RlConfig {
        steps: (ROLLOUTS + 1) * rollout,
        log_every: rollout,
        eval_every: 0,
        eval_episodes: 0,
        seed: round as u64,
        threads: app.config.threads,
        ..preset.run
    };
    let home = std::env::temp_dir().join(format!("embody-bench-rl-{}", std::process::id()));
    if home.exists() {
        std::fs::remove_dir_all(&home).at("remove", &home)?;
    }
    std::fs::create_dir_all(&home).at("create folder", &home)?;
    let silent = embody_core::Task { progress: &embody_core::NoProgress, cancel: app.task.cancel };
    train_rl(env.as_mut(), None, &preset.algorithm, &config, &home, silent)?;
    let path = home.join("timing.jsonl");
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    let rate = |line: &str| serde_json::from_str::<Value>(line).ok()?["steps_per_s"].as_f64();
    let mut rates: Vec<f64> = text.lines().skip(1).filter_map(rate).collect();
    std::fs::remove_dir_all(&home).at("remove", &home)?;
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().ok_or_else(|| Error::new("nothing was measured"))
}

fn peer(script: &mut Script, what: &str, seconds: f64) -> Result<f64> {
    let answer = script.ask(&format!("{what} {TASK} {seconds}"))?;
    let rate = answer["per_second"].as_f64();
    rate.ok_or_else(|| Error::new(format!("the peer `{what}` gave no rate: {answer}")))
}
