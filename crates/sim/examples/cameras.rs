//! Our rasteriser beside MuJoCo's renderer on the CPU (EGL, llvmpipe) in its fastest settings, one
//! thread each, as JSON: `LP_NUM_THREADS=0 cargo run --release -p embody_sim --features egl --example
//! cameras [TASK [CAMERA]]`.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::Instant;

use embody_core::{Result, VecEnv};
use embody_sim::{EglQuality, EglRenderer, EnvOptions};

const TASK: &str = "aloha-transfer-cube";
const CAMERA: &str = "top";
const ROUNDS: usize = 5;
const SECONDS: f64 = 0.5;

/// Pictures per second over a stretch.
fn rate(mut draw: impl FnMut() -> Result<()>) -> Result<f64> {
    draw()?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed().as_secs_f64() < SECONDS {
        draw()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let task = words.next().unwrap_or_else(|| TASK.to_owned());
    let camera = words.next().unwrap_or_else(|| CAMERA.to_owned());
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    let mut rows = Vec::new();
    for (height, width) in [(96, 96), (224, 224), (480, 640)] {
        let options = EnvOptions {
            threads: 1,
            camera_size: Some((height, width)),
            cameras: Some(vec![camera.clone()]),
            smooth_edges: false,
            shadows: false,
            randomize_look: false,
            trace: false,
            ..EnvOptions::new(&assets)
        };
        let mut env = embody_sim::make_sim(&task, options.clone())?;
        let mut other = embody_sim::make_sim(&task, EnvOptions { camera_size: None, ..options })?;
        let quality = EglQuality { shadow_size: 0, samples: 0 };
        let mut theirs = EglRenderer::new(&other, (height, width), quality)?;
        let (mut ours, mut mujoco) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            // A reset draws one picture and costs some 30 µs beside it.
            ours.push(rate(|| env.reset(&[Some(1)]))?);
            mujoco.push(rate(|| {
                other.reset(&[Some(1)])?;
                theirs.draw(&mut other, 0, &camera).map(|_| ())
            })?);
        }
        let (ours, mujoco) = (median(ours), median(mujoco));
        rows.push(serde_json::json!({
            "task": task,
            "camera": camera,
            "size": [height, width],
            "embody": ours,
            "mujoco_egl": mujoco,
            "ratio": ours / mujoco,
        }));
    }
    println!("{}", serde_json::Value::Array(rows));
    Ok(())
}
