//! Writes pictures of an expert's episode: `cargo run -p embody_sim --release --example shots -- OUT
//! [SEED] [SIZE] [TASK] [EVERY]`, robot models from `.embody/assets`.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};

use embody_core::VecEnv;
use embody_sim::{EnvOptions, ExpertOptions, RgbImage};

fn main() -> embody_core::Result<()> {
    let mut args = std::env::args().skip(1);
    let out = PathBuf::from(args.next().unwrap_or_else(|| "shots".to_owned()));
    let mut number = |default: usize| args.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (seed, size) = (number(0) as u64, number(480));
    let task = args.next().unwrap_or_else(|| "so101-pick-lift".to_owned());
    let every = args.next().and_then(|a| a.parse().ok()).unwrap_or(10);
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    std::fs::create_dir_all(&out).map_err(|e| embody_core::Error::new(e.to_string()))?;

    let options = EnvOptions { privileged: true, camera_size: None, ..EnvOptions::new(&assets) };
    let mut env = embody_sim::make_sim(&task, options)?;
    let mut expert = embody_sim::expert(&task, 1, 0, ExpertOptions::new(&assets))?;
    env.reset(&[Some(seed)])?;
    let mut action = vec![0.0; env.spec().action.numel()];
    for step in 0..env.spec().max_episode_steps {
        let last = env.terminated()[0];
        if step % every == 0 || last {
            for camera in env.camera_names() {
                let image = env.render(0, camera, (size, size))?;
                write(&out.join(format!("{camera}-{step:03}.png")), &image)?;
            }
        }
        if last {
            break;
        }
        expert.act(&env.observations(), &[true], &mut action)?;
        env.step(&action, &[true])?;
    }
    println!("seed {seed}: success {}", env.success()[0]);
    Ok(())
}

fn write(path: &Path, image: &RgbImage) -> embody_core::Result<()> {
    let error = |e: &dyn std::error::Error| embody_core::Error::new(e.to_string());
    let file = std::fs::File::create(path).map_err(|e| error(&e))?;
    let mut encoder = png::Encoder::new(file, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(|e| error(&e))?;
    writer.write_image_data(&image.data).map_err(|e| error(&e))
}
