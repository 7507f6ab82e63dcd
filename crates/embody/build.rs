//! Tells the binary where MuJoCo's library lies, and which revision of the source it is.

use std::path::Path;
use std::process::Command;

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lib = workspace.join(".embody/mujoco/lib");
    let lib = lib.canonicalize().unwrap_or(lib);
    // Beside the binary for an installed copy, in the source tree for one built here.
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN");
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib");
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{}", lib.display());
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(hash) => {
            let clean = git(&["status", "--porcelain"]).is_some_and(|s| s.is_empty());
            if clean { hash } else { format!("{hash}+changes") }
        }
        None => "no-revision".to_owned(),
    };
    println!("cargo:rustc-env=EMBODY_REVISION={revision}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    println!("cargo:rerun-if-changed=../../.git/index");
}
