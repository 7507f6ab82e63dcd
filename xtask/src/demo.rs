//! The first command of the README: set up, build, run the demo; both times are stated.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::peers;
use crate::setup::{self, Wanted};
use crate::sh::{self, Context, Fail, Result};
use crate::workspace::Workspace;

/// A back end for networks that a build may have beside the portable one: a feature of `embody`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    Libtorch,
    Cuda,
}

/// Sets up and builds the release binary; returns how long the build took.
pub fn build(workspace: &Workspace) -> Result<Duration> {
    build_with(workspace, &[])
}

/// The same with more back ends.
pub fn build_with(workspace: &Workspace, backends: &[Backend]) -> Result<Duration> {
    setup::run(workspace, Wanted::default())?;
    let start = Instant::now();
    let mut cargo = workspace.cargo();
    cargo.args(["rustc", "--release", "--package", "embody", "--bin", "embody", "--locked"]);
    cargo.args(setup::feature_args(workspace));
    for backend in backends {
        cargo.args(["--features", if *backend == Backend::Cuda { "cuda" } else { "libtorch" }]);
    }
    if backends.contains(&Backend::Libtorch) {
        let torch = Torch::installed()?;
        // Its build script asks this Python where the library lies; the binary remembers.
        cargo.env("LIBTORCH_USE_PYTORCH", "1").env("VIRTUAL_ENV", &torch.home);
        cargo.env("PATH", prepended(&torch.home.join("bin"), &workspace.path()));
        cargo.args(["--", "-C"]).arg(format!("link-arg=-Wl,-rpath,{}", torch.libraries));
    }
    sh::run(&mut cargo)?;
    let took = start.elapsed();
    eprintln!("build: {}", sh::seconds(took));
    Ok(took)
}

/// PyTorch out of the package index, of the version that the bindings want.
struct Torch {
    /// A Python environment.
    home: PathBuf,
    /// The folder with its libraries.
    libraries: String,
}

impl Torch {
    fn installed() -> Result<Self> {
        let python = peers::torch()?;
        let ask = "import sys, torch, pathlib; \
                   print(sys.prefix); print(pathlib.Path(torch.__file__).parent / 'lib')";
        let said = sh::capture(Command::new(python).args(["-c", ask]))?;
        let mut lines = said.lines().map(str::to_owned);
        match (lines.next(), lines.next()) {
            (Some(home), Some(libraries)) => Ok(Self { home: home.into(), libraries }),
            _ => Err(Fail::new(format!("PyTorch does not say where it is: {said}"))),
        }
    }
}

fn prepended(first: &Path, rest: &OsStr) -> OsString {
    let all = std::iter::once(first.to_owned()).chain(env::split_paths(rest));
    env::join_paths(all).unwrap_or_else(|_| rest.to_owned())
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
