//! `embody policy`: look at, time and evaluate trained policies.

use std::path::Path;

use embody_core::{Error, Observations, Result};
use embody_learn::{EvalOptions, evaluate};
use embody_sim::EnvOptions;
use serde_json::json;

use crate::App;
use crate::cli::PolicyCommand;
use crate::steps::eval::{camera_size, evaluation_seeds, load};
use crate::steps::rollouts;
use crate::ui::print_data;

/// Runs the verb.
///
/// # Errors
/// A checkpoint that can't be read, an unknown task.
pub fn run(app: &App<'_>, command: &PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Info { path } => info(app, path),
        PolicyCommand::Bench { path, iterations } => bench(app, path, *iterations),
        PolicyCommand::Eval { path, task, episodes, seed } => {
            eval(app, path, task, *episodes, *seed)
        }
    }
}

fn info(app: &App<'_>, path: &Path) -> Result<()> {
    let policy = embody_learn::describe(path)?;
    if app.json {
        print_data(&json!(policy).to_string());
        return Ok(());
    }
    print_data(&format!("{} with {} weights", policy.kind, policy.parameters));
    print_data(&format!("hash       {}", policy.hash));
    print_data(&format!("reads      {}", policy.inputs.join(", ")));
    print_data(&format!(
        "predicts   {} actions of {} dimensions at {} fps, executes {}",
        policy.chunk_size, policy.action_dim, policy.fps, policy.n_action_steps
    ));
    Ok(())
}

/// Times inference on grey pictures and zeros: the work is the same whatever is seen.
fn bench(app: &App<'_>, path: &Path, iterations: usize) -> Result<()> {
    let mut policy = load(path, Some(1), app.config.threads)?;
    let inputs = policy.spec().inputs.clone();
    let shapes: Vec<Vec<usize>> =
        inputs.values().map(|f| [&[1], f.shape.as_slice()].concat()).collect();
    let grey: Vec<Vec<u8>> = inputs.values().map(|f| vec![128; f.numel()]).collect();
    let zeros: Vec<Vec<f32>> = inputs.values().map(|f| vec![0.0; f.numel()]).collect();
    let mut observations = Observations::default();
    for (i, (key, feature)) in inputs.iter().enumerate() {
        let data = match feature.dtype.is_visual() {
            true => embody_core::DataView::U8(&grey[i]),
            false => embody_core::DataView::F32(&zeros[i]),
        };
        let view = embody_core::ArrayView { shape: &shapes[i], data };
        observations.arrays.insert(key, view);
    }
    let latency = embody_learn::latency(policy.as_mut(), &observations, iterations)?;
    if app.json {
        print_data(&json!(latency).to_string());
    } else {
        print_data(&format!(
            "batch-1 inference: p50 {:.2} ms, p99 {:.2} ms (n = {}, {} threads)",
            latency.p50_ms, latency.p99_ms, latency.n, app.config.threads
        ));
    }
    Ok(())
}

fn eval(app: &App<'_>, path: &Path, task: &str, episodes: usize, seed: u64) -> Result<()> {
    if episodes == 0 {
        return Err(Error::new("`--episodes 0` leaves nothing to evaluate"));
    }
    let mut policy = load(path, None, app.config.threads)?;
    let default = EnvOptions::new(&app.config.assets);
    let options = EnvOptions {
        num_envs: rollouts::slots(episodes),
        threads: app.config.threads,
        camera_size: camera_size(policy.as_ref()).map(|[h, w]| (h, w)).or(default.camera_size),
        ..default
    };
    let mut env = embody_sim::make(task, options)?;
    let options = EvalOptions { seeds: evaluation_seeds(seed, episodes), ..EvalOptions::default() };
    let result = evaluate(env.as_mut(), policy.as_mut(), &options, &mut |_| Ok(()), app.task)?;
    if app.json {
        print_data(&json!(result).to_string());
    } else {
        print_data(&result.verdict());
    }
    Ok(())
}
