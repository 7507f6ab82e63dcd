//! How long this machine takes to build, as the table in CONTRIBUTING.md: clean builds, and for each
//! crate the way from an edit to all tests that it touches. The numbers judge the crate layout and
//! the profiles in the root Cargo.toml.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::setup::{self, Wanted};
use crate::sh::{self, Context, Result};
use crate::workspace::Workspace;

/// Prints a Markdown table; clean builds go to a target folder of their own.
pub fn run(workspace: &Workspace, edits_only: bool) -> Result<()> {
    setup::run(workspace, Wanted::BuildAndTest)?;
    println!("| what | time |\n|---|---|");
    if !edits_only {
        let fresh = workspace.target.join("profile-build");
        for (what, args) in [
            (
                "clean release build of the binary",
                &["build", "--release", "--package", "embody"][..],
            ),
            ("clean dev build of all tests", &["test", "--workspace", "--no-run"][..]),
        ] {
            if fresh.exists() {
                fs::remove_dir_all(&fresh).during("remove", &fresh)?;
            }
            row(what, cargo(workspace, args, Some(&fresh))?);
        }
        fs::remove_dir_all(&fresh).during("remove", &fresh)?;
    }
    let warm = ["nextest", "run", "--workspace", "--no-run"];
    cargo(workspace, &warm, None)?;
    for crate_dir in crates(workspace)? {
        let root = ["src/lib.rs", "src/main.rs"].map(|f| crate_dir.join(f));
        let Some(root) = root.into_iter().find(|f| f.is_file()) else { continue };
        let name = crate_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let check = after_edit(workspace, &root, &["check", "--workspace", "--all-targets"])?;
        row(&format!("edit `{name}` → everything checked"), check);
        let build = after_edit(workspace, &root, &warm)?;
        row(&format!("edit `{name}` → all tests built"), build);
    }
    Ok(())
}

fn row(what: &str, took: Duration) {
    println!("| {what} | {} |", sh::seconds(took));
}

/// Appends a line to a source file, measures, and puts the file back as it was.
fn after_edit(workspace: &Workspace, file: &Path, args: &[&str]) -> Result<Duration> {
    let original = fs::read(file).during("read", file)?;
    cargo(workspace, args, None)?;
    let mut edited = original.clone();
    edited.extend_from_slice(b"\n#[allow(dead_code)]\nfn edited_for_measurement() {}\n");
    fs::write(file, edited).during("write", file)?;
    let took = cargo(workspace, args, None);
    fs::write(file, original).during("write", file)?;
    took
}

fn cargo(workspace: &Workspace, args: &[&str], target: Option<&Path>) -> Result<Duration> {
    let mut cargo = workspace.cargo();
    cargo.args(args).args(["--locked", "--quiet"]).args(setup::feature_args(workspace));
    if args[0] == "nextest" {
        // nextest has its own word for quiet.
        cargo = workspace.cargo();
        cargo.args(args).args(["--locked", "--cargo-quiet"]).args(setup::feature_args(workspace));
    }
    if let Some(target) = target {
        cargo.arg("--target-dir").arg(target);
    }
    let start = Instant::now();
    sh::capture(&mut cargo)?;
    Ok(start.elapsed())
}

fn crates(workspace: &Workspace) -> Result<Vec<std::path::PathBuf>> {
    let dir = workspace.root.join("crates");
    let entries = fs::read_dir(&dir).during("read folder", &dir)?;
    let mut crates: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    crates.sort();
    Ok(crates)
}
