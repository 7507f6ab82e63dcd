//! `embody policy`: look at and time trained policies.

use std::path::Path;

use embody_core::{Observations, Result};
use serde_json::json;

use crate::App;
use crate::cli::PolicyCommand;
use crate::steps::eval::load;
use crate::ui::print_data;

/// Runs the verb.
///
/// # Errors
/// A checkpoint that can't be read.
pub fn run(app: &App<'_>, command: &PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Info { path } => info(app, path),
        PolicyCommand::Bench { path, iterations } => bench(app, path, *iterations),
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
    for data in &policy.trained_on {
        print_data(&format!("trained on {data}"));
    }
    print_data(&format!("reads      {}", policy.inputs.join(", ")));
    print_data(&format!(
        "predicts   {} actions of {} dimensions at {} fps, executes {}",
        policy.chunk_size, policy.action_dim, policy.fps, policy.n_action_steps
    ));
    Ok(())
}

/// Times inference on grey pictures and zeros: the work is the same whatever is seen.
fn bench(app: &App<'_>, path: &Path, iterations: usize) -> Result<()> {
    let mut policy = load(path, Some(1), app.config.threads, app.config.backend)?;
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
            "batch-1 inference: p50 {:.2} ms, p99 {:.2} ms (n = {}, {} threads, {})",
            latency.p50_ms, latency.p99_ms, latency.n, app.config.threads, app.config.backend
        ));
    }
    Ok(())
}
