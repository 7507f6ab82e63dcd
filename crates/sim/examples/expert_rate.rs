//! How often the experts succeed, and one of them with a wrong belief of where its object is:
//! `cargo run -p embody_sim --release --example expert_rate -- [SEEDS] [TASK…]`; with one task, also
//! with errors of up to 15 mm. The last line is JSON: successes of each task where the belief is right.
#![allow(clippy::print_stdout)]

use std::path::Path;

use embody_core::VecEnv;
use embody_sim::{EnvOptions, ExpertOptions};

const TASKS: [&str; 5] =
    ["so101-reach", "so101-push", "so101-pick-lift", "aloha-transfer-cube", "aloha-insertion"];

fn main() -> embody_core::Result<()> {
    let mut args = std::env::args().skip(1);
    let seeds: usize = args.next().and_then(|a| a.parse().ok()).unwrap_or(100);
    let named: Vec<String> = args.collect();
    let tasks: Vec<&str> = match named.is_empty() {
        true => TASKS.to_vec(),
        false => named.iter().map(String::as_str).collect(),
    };
    println!("task                  belief error (mm)   success   steps (mean)");
    let mut rows = Vec::new();
    for task in &tasks {
        let successes = print_rate(task, seeds, [0.0, 0.0])?;
        rows.push(serde_json::json!({ "task": task, "seeds": seeds, "successes": successes }));
    }
    if let [task] = named.as_slice() {
        for error in [5.0, 8.0, 10.0, 15.0] {
            for (x, y) in [(error, 0.0), (0.0, error), (-error, 0.0), (0.0, -error)] {
                print_rate(task, seeds, [x, y])?;
            }
        }
    }
    println!("{}", serde_json::Value::Array(rows));
    Ok(())
}

fn print_rate(task: &str, seeds: usize, error_mm: [f64; 2]) -> embody_core::Result<usize> {
    let (successes, steps, diverged, failed) = rate(task, seeds, error_mm.map(|e| e / 1000.0))?;
    let [x, y] = error_mm;
    println!(
        "{task:<22}{x:6.1} {y:6.1}      {successes:4}/{seeds}   {steps:6.1}   diverged {diverged} \
         failed {failed:?}"
    );
    Ok(successes)
}

fn rate(
    task: &str,
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
    let mut env = embody_sim::make_sim(task, options)?;
    let options = ExpertOptions { belief_error_m, ..ExpertOptions::new(&assets) };
    let mut expert = embody_sim::expert(task, seeds, 0, options)?;
    env.reset(&(0..seeds as u64).map(|s| Some(1000 + s)).collect::<Vec<_>>())?;
    let mut active = vec![true; seeds];
    let mut actions = vec![0.0; seeds * env.spec().action.numel()];
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
