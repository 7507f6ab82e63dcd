//! Runs the binary in a scratch folder and redacts what differs from machine to machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A scratch folder to run the binary in.
pub struct Bench {
    pub home: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embody"));
        command
            .args(args)
            .current_dir(self.home.path())
            .env("EMBODY_ASSETS", workspace().join(".embody/assets"))
            .env_remove("EMBODY_THREADS")
            .env_remove("EMBODY_LOG")
            .env("XDG_CONFIG_HOME", self.path("no-config"))
            .env("EMBODY_CACHE", self.path("cache"))
            .env_remove("HF_ENDPOINT")
            .env_remove("HF_TOKEN")
            .env_remove("HF_TOKEN_PATH")
            .env("HF_HOME", self.path("no-hub"))
            .env("NO_PROXY", "127.0.0.1,127.0.0.2,localhost")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs, expects success, gives stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?} failed:\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs, expects failure, gives stderr, redacted.
    pub fn err(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} should have failed");
        self.redact(&String::from_utf8(output.stderr).unwrap())
    }

    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.home.path().display().to_string(), "[HOME]")
            .replace(&workspace().display().to_string(), "[WORKSPACE]")
            .replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
    }

    /// Every file below the scratch folder, relative and sorted.
    pub fn files(&self) -> Vec<String> {
        fn list(root: &Path, dir: &Path, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    list(root, &path, out);
                } else {
                    out.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let mut files = Vec::new();
        list(self.home.path(), self.home.path(), &mut files);
        files.sort();
        files
    }
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The real Unitree G1 recording beside the project; `None` (with a printed line) where it is absent.
pub fn g1_recording() -> Option<PathBuf> {
    let path = workspace().join("../shared/data/unitree-g1-bottle");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    path.canonicalize().ok()
}

/// A copy of a folder.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            // Written anew, not copied: the source may be read-only.
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
