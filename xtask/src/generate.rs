//! References that a program writes: checked in, so that a change of the interface shows in review,
//! and compared with what the program says by `cargo xtask test`.

use std::fs;

use crate::setup;
use crate::sh::{self, Context, Fail, Result};
use crate::workspace::Workspace;

/// A file under the workspace, and the arguments of `embody` that print its content.
const REFERENCES: &[(&str, &[&str])] = &[("docs/reference/cli.md", &["reference"])];

/// Writes every reference, or with `check` fails on the first line that differs.
pub fn run(workspace: &Workspace, check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (file, args) in REFERENCES {
        let mut cargo = workspace.cargo();
        cargo.args(["run", "--quiet", "--locked", "--package", "embody"]);
        cargo.args(setup::feature_args(workspace)).arg("--").args(*args);
        // Help wraps at the terminal's width; the checked-in text must not depend on it.
        let text = sh::capture(cargo.env("COLUMNS", "100").env("NO_COLOR", "1"))?;
        if text.trim().is_empty() {
            return Err(Fail::new(format!("`embody {}` printed nothing", args.join(" "))));
        }
        let path = workspace.root.join(file);
        let old = fs::read_to_string(&path).unwrap_or_default();
        if old == text {
            println!("{file}: up to date");
        } else if check {
            let line = old.lines().zip(text.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| old.lines().count().min(text.lines().count())) + 1;
            println!("{file}:{line}: differs from what `embody {}` prints", args.join(" "));
            stale.push(*file);
        } else {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).during("create folder", parent)?;
            }
            fs::write(&path, text).during("write", &path)?;
            println!("{file}: written");
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(Fail::new(format!("{} out of date", stale.join(", "))).hint("run `cargo xtask generate`"))
}
