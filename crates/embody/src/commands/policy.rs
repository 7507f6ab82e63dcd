//! `embody policy`: look at, time and export trained policies.

use std::path::Path;

use embody_core::Result;
use serde_json::json;

use crate::App;
use crate::cli::PolicyCommand;
use crate::steps::policy::load;
use crate::ui::print_data;

/// Runs the verb.
///
/// # Errors
/// A checkpoint that can't be read.
pub fn run(app: &App<'_>, command: &PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Info { path } => info(app, path),
        PolicyCommand::Export { path, onnx } => export(app, path, onnx),
        PolicyCommand::Bench { path, iterations, instruction } => {
            bench(app, path, *iterations, instruction.as_deref())
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

fn export(app: &App<'_>, path: &Path, onnx: &Path) -> Result<()> {
    let written = embody_learn::export_onnx(path, onnx)?;
    if app.json {
        print_data(&json!(written).to_string());
        return Ok(());
    }
    let megabytes = written.bytes as f64 / 1e6;
    print_data(&format!("{} ({megabytes:.1} MB, {} operators)", onnx.display(), written.nodes));
    for (name, shape) in &written.inputs {
        print_data(&format!("takes {name} {shape:?}"));
    }
    print_data(&format!("gives {} {:?}", written.output, written.output_shape));
    Ok(())
}

fn bench(app: &App<'_>, path: &Path, iterations: usize, instruction: Option<&str>) -> Result<()> {
    let mut policy = load(path, Some(1), instruction, app.config.threads, app.config.backend)?;
    let latency = embody_learn::blank_latency(policy.as_mut(), iterations)?;
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
