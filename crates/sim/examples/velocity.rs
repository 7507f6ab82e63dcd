//! How fast the velocity tasks step, and pictures of their robots: `cargo run --release -p
//! embody_sim --example velocity -- [OUT]`, robot models from `.embody/assets`.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use embody_core::{Autoreset, VecEnv, derive_seed};
use embody_sim::{EnvOptions, SimEnv};

const TASKS: [&str; 4] =
    ["go1-velocity-flat", "go1-velocity-rough", "g1-velocity-flat", "g1-velocity-rough"];

fn main() -> embody_core::Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if let Some(out) = std::env::args().nth(1).map(PathBuf::from) {
        std::fs::create_dir_all(&out).map_err(|e| embody_core::Error::new(e.to_string()))?;
        for task in TASKS {
            pictures(task, &assets, &out)?;
        }
        return Ok(());
    }
    for task in TASKS {
        for (threads, privileged) in [(1, false), (2, false), (2, true)] {
            let options = EnvOptions {
                num_envs: 64,
                threads,
                privileged,
                camera_size: None,
                trace: false,
                autoreset: Autoreset::SameStep,
                ..EnvOptions::new(&assets)
            };
            let mut env = embody_sim::make_sim(task, options)?;
            let rate = (0..3).map(|round| rate(&mut env, round)).collect::<Result<Vec<_>, _>>()?;
            let best = rate.into_iter().fold(0.0, f64::max);
            let sees = if privileged { ", privileged observations" } else { "" };
            println!("{task:20} {threads} threads{sees}: {best:7.0} env-steps/s");
        }
    }
    Ok(())
}

/// Env-steps per second under random actions, resets included.
fn rate(env: &mut SimEnv, round: u64) -> embody_core::Result<f64> {
    let (num, steps) = (env.num_envs(), 150);
    let active = vec![true; num];
    env.reset(&(0..num as u64).map(Some).collect::<Vec<_>>())?;
    let mut number = round;
    let mut actions = vec![0.0; num * env.spec().action.numel()];
    let start = Instant::now();
    for _ in 0..steps {
        for action in &mut actions {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *action = (number >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        }
        env.step(&actions, &active)?;
    }
    Ok((num * steps) as f64 / start.elapsed().as_secs_f64())
}

/// Standing, and after two seconds of shaking.
fn pictures(task: &str, assets: &Path, out: &Path) -> embody_core::Result<()> {
    let mut env = embody_sim::make_sim(
        task,
        EnvOptions { num_envs: 4, camera_size: None, ..EnvOptions::new(assets) },
    )?;
    env.reset(&(0..4).map(|i| Some(derive_seed(3, task, i))).collect::<Vec<_>>())?;
    let camera = env.camera_names()[0];
    let zeros = vec![0.0; 4 * env.spec().action.numel()];
    for step in 0..60 {
        for i in (0..4).filter(|_| step == 50) {
            let start = Instant::now();
            let image = env.render(i, camera, (480, 640))?;
            println!("{task} {i}: {:.1} ms", 1e3 * start.elapsed().as_secs_f64());
            write(&out.join(format!("{task}-{i}.png")), &image)?;
        }
        env.step(&zeros, &[true; 4])?;
    }
    Ok(())
}

fn write(path: &Path, image: &embody_sim::RgbImage) -> embody_core::Result<()> {
    let error = |e: &dyn std::error::Error| embody_core::Error::new(e.to_string());
    let file = std::fs::File::create(path).map_err(|e| error(&e))?;
    let mut encoder = png::Encoder::new(file, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(|e| error(&e))?;
    writer.write_image_data(&image.data).map_err(|e| error(&e))
}
