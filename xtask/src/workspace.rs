//! Where things are: the workspace, its `.embody` folder, the target folder, the user's cache.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sh::{self, Context, Fail, Result};

/// Where the build looks for MuJoCo's library.
pub const MUJOCO_DIR: &str = "MUJOCO_DYNAMIC_LINK_DIR";

pub struct Workspace {
    /// The folder with the root Cargo.toml.
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

impl Workspace {
    /// The workspace whose `cargo xtask` this is.
    pub fn locate() -> Result<Self> {
        let dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
        let text = sh::capture(
            Command::new(cargo())
                .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
                .current_dir(&dir),
        )?;
        let json: serde_json::Value =
            serde_json::from_str(&text).during("read", "cargo metadata")?;
        let path = |key: &str| {
            json[key]
                .as_str()
                .map(PathBuf::from)
                .ok_or_else(|| Fail::new(format!("cargo metadata names no {key}")))
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// What set-up puts in place; ignored by git, safe to delete.
    pub fn embody(&self) -> PathBuf {
        self.root.join(".embody")
    }

    /// MuJoCo's library and headers.
    pub fn mujoco(&self) -> PathBuf {
        self.embody().join("mujoco")
    }

    /// Programs that set-up installed.
    pub fn tools(&self) -> PathBuf {
        self.embody().join("tools/bin")
    }

    /// The release binary.
    pub fn binary(&self) -> PathBuf {
        self.target.join("release").join(format!("embody{}", env::consts::EXE_SUFFIX))
    }

    /// A cargo command in this workspace that finds our tools.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root).env("PATH", self.path());
        // The cargo that runs us set this from .cargo/config.toml; handing it on as if the user had
        // would make the same build look different.
        if env::var_os(MUJOCO_DIR).is_some_and(|dir| self.mujoco().join("lib") == Path::new(&dir)) {
            command.env_remove(MUJOCO_DIR);
        }
        command
    }

    /// `PATH` with our tools in front.
    pub fn path(&self) -> OsString {
        let old = env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.tools()).chain(env::split_paths(&old));
        env::join_paths(all).unwrap_or(old)
    }

    /// A program in our tools or on the user's `PATH`.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let name = format!("{program}{}", env::consts::EXE_SUFFIX);
        env::split_paths(&self.path()).map(|dir| dir.join(&name)).find(|file| file.is_file())
    }
}

/// Downloads kept between workspaces: `$EMBODY_CACHE`, else the platform's cache folder.
pub fn cache() -> Result<PathBuf> {
    let given = |key: &str| env::var_os(key).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = given("EMBODY_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|d| d.join("embody")))
        .or_else(|| given("HOME").map(|d| d.join(".cache/embody")))
        .or_else(|| given("LOCALAPPDATA").map(|d| d.join("embody/cache")))
        .ok_or_else(|| {
            Fail::new("no folder for downloads").hint("set EMBODY_CACHE to a folder you can write")
        })?;
    std::fs::create_dir_all(&dir).during("create folder", &dir)?;
    Ok(dir)
}

/// The cargo that runs us, so that toolchain choices carry over.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
