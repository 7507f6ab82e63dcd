//! How long this machine takes to build, as the table in CONTRIBUTING.md: clean builds, and for each
//! crate the way from an edit to all tests that it touches. The numbers judge the crate layout and
//! the profiles in the root Cargo.toml.
//!
//! Everything happens in a clone with a target folder of its own, so that a measurement that is
//! stopped half-way leaves no edit in anybody's sources. What is not committed is not measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::setup::{self, Wanted};
use crate::sh::{self, Context, Result};
use crate::workspace::{self, Workspace};

const BUILD_TESTS: &[&str] =
    &["nextest", "run", "--workspace", "--locked", "--cargo-quiet", "--no-run"];
const CHECK: &[&str] = &["check", "--workspace", "--all-targets", "--locked", "--quiet"];
const RELEASE: &[&str] = &["build", "--release", "--package", "embody", "--locked", "--quiet"];

/// Prints a Markdown table.
pub fn run(workspace: &Workspace) -> Result<()> {
    let root = workspace::cache()?.join("profile-build");
    if root.exists() {
        fs::remove_dir_all(&root).during("remove", &root)?;
    }
    sh::run(Command::new("git").args(["clone", "--quiet"]).arg(&workspace.root).arg(&root))?;
    let clone = Workspace { target: root.join("target"), root: root.clone() };
    setup::run(&clone, Wanted::TEST)?;
    println!("| what | time |\n|---|---|");
    row("clean release build of the binary", timed(&clone, RELEASE)?);
    row("then a clean dev build of all tests", timed(&clone, BUILD_TESTS)?);
    row("then a clean check of everything", timed(&clone, CHECK)?);
    for dir in crates(&clone)? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let root = ["src/lib.rs", "src/main.rs"].map(|file| dir.join(file));
        let Some(source) = root.iter().find(|file| file.is_file()) else { continue };
        edit(source)?;
        row(&format!("edit `{name}` → everything checked"), timed(&clone, CHECK)?);
        row(&format!("edit `{name}` → all tests built"), timed(&clone, BUILD_TESTS)?);
    }
    fs::remove_dir_all(&root).during("remove", &root)
}

fn row(what: &str, took: Duration) {
    println!("| {what} | {} |", sh::seconds(took));
}

/// Adds a private item, which every user of the crate has to be rebuilt for.
fn edit(source: &Path) -> Result<()> {
    let mut text = fs::read_to_string(source).during("read", source)?;
    text.push_str("\n#[allow(dead_code)]\nfn edited_for_measurement() {}\n");
    fs::write(source, text).during("write", source)
}

fn timed(clone: &Workspace, args: &[&str]) -> Result<Duration> {
    let mut cargo = clone.cargo();
    cargo.args(args).args(setup::feature_args(clone)).env("CARGO_TARGET_DIR", &clone.target);
    let start = Instant::now();
    sh::capture(cargo.env_remove(workspace::MUJOCO_DIR))?;
    Ok(start.elapsed())
}

fn crates(clone: &Workspace) -> Result<Vec<PathBuf>> {
    let dir = clone.root.join("crates");
    let entries = fs::read_dir(&dir).during("read folder", &dir)?;
    let mut crates: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    crates.sort();
    Ok(crates)
}
