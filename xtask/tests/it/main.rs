//! What the design forbids by words is forbidden here by tests: the direction of imports, unused
//! dependencies, and the house rules on files. All read the tracked files, so a rule can't be kept
//! by hiding a file from it, and each first makes sure that it looks at something.

mod house;
mod star;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Files that git tracks or would (new ones that it does not ignore), relative to the root; where this is no
/// checkout (a source archive), every file outside hidden folders and `target`.
fn tracked() -> Vec<PathBuf> {
    let root = root();
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output();
    let mut files: Vec<PathBuf> = match git {
        Ok(out) if out.status.success() => {
            let names = String::from_utf8(out.stdout).expect("file names are UTF-8");
            names
                .split_terminator('\0')
                .map(PathBuf::from)
                .filter(|f| root.join(f).is_file())
                .collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(&root, &root, &mut found);
            found
        }
    };
    files.sort();
    files.dedup();
    assert!(files.len() > 30, "only {} files found: the rules would hold of nothing", files.len());
    files
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("read folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") {
                walk(root, &path, found);
            }
        } else {
            found.push(path.strip_prefix(root).expect("below the root").to_owned());
        }
    }
}

/// Tracked Rust sources with their text.
fn rust_sources() -> Vec<(String, String)> {
    let root = root();
    let sources: Vec<_> = tracked()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "rs"))
        .map(|file| {
            let text = std::fs::read_to_string(root.join(&file)).expect("read source");
            (file.to_string_lossy().replace('\\', "/"), text)
        })
        .collect();
    assert!(sources.len() > 20, "only {} Rust files found", sources.len());
    sources
}

/// Fails with every finding, or passes where there is none.
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
