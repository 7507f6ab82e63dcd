//! Measures this machine: `cargo run -p embody_sim --release --example speed`.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use embody_core::VecEnv;
use embody_sim::{EnvOptions, ExpertOptions};

const TASK: &str = "so101-pick-lift";

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets")
}

fn main() -> embody_core::Result<()> {
    let start = Instant::now();
    let plain = EnvOptions { threads: 1, ..EnvOptions::new(assets()) };
    drop(embody_sim::make_sim(TASK, plain.clone())?);
    println!("first make: {:.2} s", start.elapsed().as_secs_f64());
    for (label, smooth_edges, shadows) in [
        ("plain", false, false),
        ("shadows", false, true),
        ("smooth", true, false),
        ("both", true, true),
    ] {
        for camera in ["front", "wrist"] {
            for size in [96, 224] {
                let options = EnvOptions {
                    smooth_edges,
                    shadows,
                    cameras: Some(vec![camera.to_owned()]),
                    camera_size: Some((size, size)),
                    ..plain.clone()
                };
                let mut env = embody_sim::make_sim(TASK, options)?;
                // A reset draws one picture and costs 30 µs beside it.
                let fps = best(|| env.reset(&[Some(1)]))?;
                println!("{label:8} {camera:6} {size:4}: {fps:7.0} frames per CPU-second");
            }
        }
    }
    let action = [0.0f32, -40.0, 40.0, 70.0, 90.0, 40.0];
    for (label, camera_size) in [("physics only", None), ("2 cameras 96", Some((96, 96)))] {
        let num_envs = 16;
        let options = EnvOptions { num_envs, camera_size, ..plain.clone() };
        let mut env = embody_sim::make_sim(TASK, options)?;
        let seeds: Vec<_> = (0..num_envs as u64).map(Some).collect();
        env.reset(&seeds)?;
        let actions = action.repeat(num_envs);
        let batches = best(|| env.step(&actions, &[true; 16]))?;
        println!("{label}: {:.0} env-steps per CPU-second", batches * num_envs as f64);
    }
    let start = Instant::now();
    let successes = episodes()?;
    println!(
        "100 expert episodes, 2 cameras 96, all cores: {:.1} s, {successes} successes",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Calls per second of this thread's own time (others may be busy too), best of several rounds.
fn best(mut act: impl FnMut() -> embody_core::Result<()>) -> embody_core::Result<f64> {
    let mut best = 0f64;
    for _ in 0..7 {
        let (start, mut calls) = (thread_seconds(), 0);
        while thread_seconds() - start < 0.2 {
            act()?;
            calls += 1;
        }
        best = best.max(f64::from(calls) / (thread_seconds() - start));
    }
    Ok(best)
}

/// CPU time of this thread on Linux, elsewhere the clock.
fn thread_seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|s| s.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(|| start.elapsed().as_secs_f64(), |nanos| nanos * 1e-9)
}

fn episodes() -> embody_core::Result<usize> {
    let n = 20;
    let options = EnvOptions { num_envs: n, privileged: true, ..EnvOptions::new(assets()) };
    let mut env = embody_sim::make(TASK, options)?;
    let mut expert = embody_sim::expert(TASK, n, 0, ExpertOptions::new(assets()))?;
    let mut successes = 0;
    for round in 0..5u64 {
        env.reset(&(0..n as u64).map(|i| Some(round * 100 + i)).collect::<Vec<_>>())?;
        (0..n).for_each(|i| expert.reset(i));
        let mut active = vec![true; n];
        let mut actions = vec![0.0; 6 * n];
        while active.contains(&true) {
            expert.act(&env.observations(), &active, &mut actions)?;
            env.step(&actions, &active)?;
            for (i, active) in active.iter_mut().enumerate() {
                *active = !env.terminated()[i] && !env.truncated()[i];
            }
        }
        successes += env.success().iter().filter(|s| **s).count();
    }
    Ok(successes)
}
