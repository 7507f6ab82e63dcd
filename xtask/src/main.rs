//! `cargo xtask`: set-up, build, demo, test and bars, the commands a person and CI both run.
//!
//! It imports none of the library crates, so that it compiles in seconds and can put in place what
//! they need before they are compiled (MuJoCo's library, the robot models, an assembler). Every
//! command first installs what it lacks, by package name, pinned and checksummed, and says in one
//! line what could not be had, why, and how to supply it by hand.

mod bars;
mod demo;
mod fuzz;
mod generate;
mod peers;
mod profile;
mod setup;
mod sh;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo::Backend;
use crate::sh::Result;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Set-up, build, demo, test and bars of the embody workspace.
#[derive(Subcommand)]
enum Command {
    /// Put in place what the build and the demo need; says what is there and what was installed
    Setup {
        /// Also the tools that `test` uses
        #[arg(long)]
        tools: bool,
        /// Also the robot models that the demo does not use
        #[arg(long)]
        robots: bool,
    },
    /// Set up, then build the release binary
    Build {
        /// Back ends beside the portable one: `libtorch` (PyTorch's library, installed by pip),
        /// `cuda`
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        features: Vec<Backend>,
    },
    /// Set up, build, then run `embody demo` and state both times
    Demo {
        /// Arguments for `embody demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// All checks and all tests, with the time of each; what CI runs
    #[command(alias = "ci")]
    Test {
        /// Only these steps (see `--list`); all of them without
        steps: Vec<String>,
        /// Name the steps and stop
        #[arg(long)]
        list: bool,
    },
    /// Write the generated references in docs (tests check that they are up to date)
    Generate,
    /// Measure what the issues ask for: a row per bar
    Bars(bars::Args),
    /// Feed every parser of foreign bytes damaged input, in turns, and keep count
    Fuzz(fuzz::Args),
    /// Measure clean builds and the way from an edit to its tests, as a table for CONTRIBUTING.md
    ProfileBuild,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Workspace::locate().and_then(|workspace| dispatch(&workspace, cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            eprintln!("{fail}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(workspace: &Workspace, command: Command) -> Result<()> {
    match command {
        Command::Setup { tools, robots } => setup::run(workspace, setup::Wanted { tools, robots }),
        Command::Build { features } => demo::build_with(workspace, &features).map(|_| ()),
        Command::Demo { args } => demo::run(workspace, &args),
        Command::Test { steps, list } => test::run(workspace, &steps, list),
        Command::Generate => generate::run(workspace),
        Command::Bars(args) => bars::run(workspace, &args),
        Command::Fuzz(args) => fuzz::run(workspace, &args),
        Command::ProfileBuild => profile::run(workspace),
    }
}
