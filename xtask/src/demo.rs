//! The first command of the README: set up, build, run the demo; both times are stated.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::setup::{self, Wanted};
use crate::sh::{self, Context, Fail, Result};
use crate::workspace::Workspace;

/// Sets up and builds the release binary; returns how long the build took.
pub fn build(workspace: &Workspace) -> Result<Duration> {
    setup::run(workspace, Wanted::default())?;
    let start = Instant::now();
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--package", "embody", "--locked"]);
    sh::run(cargo.args(setup::feature_args(workspace)))?;
    let took = start.elapsed();
    eprintln!("build: {}", sh::seconds(took));
    Ok(took)
}

/// Builds, runs `embody demo ARGS` on this terminal, and prints build and run time.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let built = build(workspace)?;
    let start = Instant::now();
    let mut demo = Command::new(workspace.binary());
    demo.arg("demo").args(args).current_dir(&workspace.root).env("PATH", workspace.path());
    let shown = sh::show(&demo);
    let status = demo.status().during("start", &shown)?;
    eprintln!("build: {}", sh::seconds(built));
    eprintln!("demo: {}", sh::seconds(start.elapsed()));
    if status.success() { Ok(()) } else { Err(Fail::new(format!("`{shown}` ended with {status}"))) }
}
