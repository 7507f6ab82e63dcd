//! Frames per second of the rasteriser on the ALOHA scene, one thread:
//! `cargo run -p embody_sim --release --example camera_speed -- [TASK] [CAMERA]`.
//!
//! Pictures are drawn of states along an expert's episode, physics not counted. "plain" has neither
//! shadows nor several samples per pixel, as MuJoCo's renderer in its fastest setting.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::{Duration, Instant};

use embody_core::VecEnv;
use embody_sim::{EnvOptions, ExpertOptions};

const SIZES: [(usize, usize); 3] = [(96, 96), (224, 224), (480, 640)];
/// Steps between pictures, and how many states are drawn.
const EVERY: usize = 20;
const STATES: usize = 12;
const ROUNDS: usize = 5;

fn main() -> embody_core::Result<()> {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_else(|| "aloha-transfer-cube".to_owned());
    let camera = args.next().unwrap_or_else(|| "top".to_owned());
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    println!("{task}, camera {camera}, frames/s of one thread (median of {ROUNDS} rounds)");
    println!("{:<22}{:>10}{:>10}{:>10}", "", "96x96", "224x224", "640x480");
    for (label, smooth_edges, shadows) in [
        ("plain", false, false),
        ("shadows", false, true),
        ("four samples", true, false),
        ("shadows, four samples", true, true),
    ] {
        let options = EnvOptions {
            camera_size: None,
            privileged: true,
            threads: 1,
            smooth_edges,
            shadows,
            ..EnvOptions::new(&assets)
        };
        let mut env = embody_sim::make_sim(&task, options)?;
        let mut expert = embody_sim::expert(&task, 1, 0, ExpertOptions::new(&assets))?;
        env.reset(&[Some(0)])?;
        let mut action = vec![0.0; env.spec().action.numel()];
        let mut spent = vec![[Duration::ZERO; SIZES.len()]; ROUNDS];
        for step in 0..STATES * EVERY {
            expert.act(&env.observations(), &[true], &mut action)?;
            env.step(&action, &[true])?;
            if step % EVERY != 0 {
                continue;
            }
            for round in &mut spent {
                for (size, spent) in SIZES.iter().zip(round) {
                    let start = Instant::now();
                    env.render(0, &camera, *size)?;
                    *spent += start.elapsed();
                }
            }
        }
        print!("{label:<22}");
        for size in 0..SIZES.len() {
            let mut seconds: Vec<f64> = spent.iter().map(|r| r[size].as_secs_f64()).collect();
            seconds.sort_by(f64::total_cmp);
            print!("{:>10.0}", STATES as f64 / seconds[ROUNDS / 2]);
        }
        println!();
    }
    Ok(())
}
