//! All checks and all tests: the README's second command, and what CI runs.
//!
//! Cheap checks come first, but a failed one does not hide the others: every step runs, the table
//! at the end gives the time of each, and the exit status is that of the worst. A tool that could
//! not be installed fails its step; nothing is skipped in silence. Only the last test runner's
//! summary is nextest's, so that a reader of the output's end sees how many tests ran.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::peers;
use crate::setup::{self, Wanted};
use crate::sh::{self, Fail, Result};
use crate::workspace::Workspace;

/// A named step; `run` reports failure by an error.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

const SETUP: &str = "setup";

const STEPS: &[Step] = &[
    Step { name: SETUP, what: "what the build and the checks need", run: setup_all },
    Step { name: "fetch", what: "dependencies as Cargo.lock has them", run: fetch },
    Step { name: "format", what: "rustfmt", run: format },
    Step { name: "spelling", what: "typos", run: spelling },
    Step { name: "deny", what: "licences, sources and bans of dependencies", run: deny },
    Step { name: "clippy", what: "lints, warnings denied", run: clippy },
    Step { name: "docs", what: "rustdoc, warnings denied", run: docs },
    Step { name: "doctests", what: "examples in the documentation", run: doctests },
    Step {
        name: "tests",
        what: "every test, by nextest; also that generated references are up to date",
        run: tests,
    },
];

/// Runs the named steps (all without names) and prints the table.
pub fn run(workspace: &Workspace, names: &[String], list: bool) -> Result<()> {
    if list {
        STEPS.iter().for_each(|step| println!("{:<11} {}", step.name, step.what));
        return Ok(());
    }
    if let Some(name) = names.iter().find(|n| STEPS.iter().all(|step| step.name != **n)) {
        let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        return Err(Fail::new(format!("no step is called {name:?}"))
            .hint(format!("the steps are {}", known.join(", "))));
    }
    // Set-up is cheap when all is there, and the others count on it.
    let wanted =
        |s: &&Step| names.is_empty() || s.name == SETUP || names.iter().any(|n| n == s.name);
    let chosen = STEPS.iter().filter(wanted);
    let mut rows: Vec<(&str, Duration, Result<()>)> = Vec::new();
    for step in chosen {
        eprintln!("\n── {}: {} ──", step.name, step.what);
        let start = Instant::now();
        let outcome = (step.run)(workspace);
        if let Err(fail) = &outcome {
            eprintln!("{fail}");
        }
        rows.push((step.name, start.elapsed(), outcome));
    }
    table(&rows);
    let failed: Vec<_> = rows.iter().filter(|r| r.2.is_err()).map(|r| r.0).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let again = format!("`cargo xtask test {}` runs them alone", failed.join(" "));
    Err(Fail::new(format!("failed: {}", failed.join(", "))).hint(again))
}

fn table(rows: &[(&str, Duration, Result<()>)]) {
    println!("\n{:<12} {:>12}  result", "step", "time");
    for (name, took, outcome) in rows {
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<12} {:>12}  {verdict}", sh::seconds(*took));
    }
    let total = rows.iter().map(|row| row.1).sum();
    println!("{:<12} {:>12}", "all", sh::seconds(total));
}

fn setup_all(workspace: &Workspace) -> Result<()> {
    setup::run(workspace, Wanted::TEST)
}

/// Everything Cargo.lock names, for every platform: cargo-deny reads it offline.
fn fetch(workspace: &Workspace) -> Result<()> {
    sh::run(workspace.cargo().args(["fetch", "--locked", "--quiet"]))
}

fn format(workspace: &Workspace) -> Result<()> {
    sh::run(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn spelling(workspace: &Workspace) -> Result<()> {
    let mut typos = Command::new(workspace.tools().join("typos"));
    sh::run(typos.args(["--format", "brief"]).current_dir(&workspace.root))
}

/// Advisories are left out: their database is no package, and checks must not need the network.
/// Second versions of a crate are other people's to settle, and named in one line.
fn deny(workspace: &Workspace) -> Result<()> {
    let deny = |level: &str| {
        let mut deny = Command::new(workspace.tools().join("cargo-deny"));
        deny.current_dir(&workspace.root).env("PATH", workspace.path());
        deny.args(["--offline", "--color", "never", "--log-level", level, "check"]);
        deny.args(["--hide-inclusion-graph", "bans", "licenses", "sources"]);
        deny
    };
    let output = sh::output(&mut deny("warn"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let twice: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("warning[duplicate]"))
        .filter_map(|line| line.split('\'').nth(1))
        .collect();
    if !twice.is_empty() {
        eprintln!("in two versions: {}", twice.join(", "));
    }
    // Once more for the verdict, without the warnings around it.
    sh::run(&mut deny("error"))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet"]);
    sh::run(cargo.args(setup::feature_args(workspace)).args(["--", "--deny", "warnings"]))
}

fn docs(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    sh::run(cargo.args(setup::feature_args(workspace)).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn doctests(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--doc", "--workspace", "--locked", "--quiet"]);
    sh::run(cargo.args(setup::feature_args(workspace)))
}

fn tests(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--cargo-quiet"]);
    // The package that the tasks of Gymnasium have to equal to the bit.
    match peers::gymnasium() {
        Ok(python) => _ = cargo.env("EMBODY_SIM_PYTHON", python),
        Err(fail) => eprintln!("not compared with the gymnasium package: {fail}"),
    }
    sh::run(cargo.args(setup::feature_args(workspace)))
}
