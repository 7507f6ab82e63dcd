//! How often the expert succeeds, also with a wrong belief of where the cube is:
//! `cargo run -p embody_sim --release --example expert_rate -- [SEEDS]`.
#![allow(clippy::print_stdout)]

use std::path::Path;

use embody_core::VecEnv;
use embody_sim::{EnvOptions, ExpertOptions};

const TASK: &str = "so101-pick-lift";

fn main() -> embody_core::Result<()> {
    let seeds: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(100);
    println!("belief error (mm)      success   steps (mean)");
    for (x, y) in [
        (0.0, 0.0),
        (5.0, 0.0),
        (0.0, 5.0),
        (-5.0, 0.0),
        (0.0, -5.0),
        (8.0, 0.0),
        (0.0, 8.0),
        (-8.0, 0.0),
        (0.0, -8.0),
        (10.0, 0.0),
        (0.0, 10.0),
        (-10.0, 0.0),
        (0.0, -10.0),
        (15.0, 0.0),
        (0.0, 15.0),
    ] {
        let (successes, steps, diverged, failed) = rate(seeds, [x / 1000.0, y / 1000.0])?;
        println!(
            "{x:6.1} {y:6.1}   {successes:4}/{seeds}   {steps:6.1}   diverged {diverged} failed {failed:?}"
        );
    }
    Ok(())
}

fn rate(
    seeds: usize,
    belief_error_m: [f64; 2],
) -> embody_core::Result<(usize, f64, u64, Vec<usize>)> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    let options = EnvOptions {
        num_envs: seeds,
        privileged: true,
        camera_size: None,
        ..EnvOptions::new(&assets)
    };
    let mut env = embody_sim::make_sim(TASK, options)?;
    let options = ExpertOptions { belief_error_m, ..ExpertOptions::new(&assets) };
    let mut expert = embody_sim::expert(TASK, seeds, 0, options)?;
    env.reset(&(0..seeds as u64).map(|s| Some(1000 + s)).collect::<Vec<_>>())?;
    let mut active = vec![true; seeds];
    let mut actions = vec![0.0; seeds * 6];
    let mut steps = 0;
    while active.contains(&true) {
        expert.act(&env.observations(), &active, &mut actions)?;
        env.step(&actions, &active)?;
        steps += active.iter().filter(|a| **a).count();
        for (i, active) in active.iter_mut().enumerate() {
            *active = !env.terminated()[i] && !env.truncated()[i];
        }
    }
    let successes = env.success().iter().filter(|s| **s).count();
    let failed = env.success().iter().enumerate().filter(|(_, s)| !**s).map(|(i, _)| i).collect();
    Ok((successes, steps as f64 / seeds as f64, env.diverged(), failed))
}
