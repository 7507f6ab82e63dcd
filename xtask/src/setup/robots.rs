//! Robot models out of Python wheels, each into `.embody/assets/NAME` with its licence beside it.
//!
//! The table is the simulation crate's, so that `embody assets` and set-up pin the same wheels. The
//! demo needs the SO-101 arm; the other robots come with `--robots` and with the tests.

use serde::Deserialize;

use super::Outcome;
use super::wheel::Pin;
use crate::sh::{Context, Fail, Result};
use crate::workspace::Workspace;

const TABLE: &str = include_str!("../../../crates/sim/src/robots.json");
/// What building and the demo need.
const FIRST: &str = "so101";

#[derive(Deserialize)]
struct Robot {
    name: String,
    package: String,
    version: String,
    python: String,
    sha256: String,
    /// Prefix in the wheel, and where in the robot's folder what is under it goes.
    parts: Vec<(String, String)>,
}

/// The arm of the demo.
pub fn first(workspace: &Workspace) -> Result<Outcome> {
    provide(workspace, |name| name == FIRST)
}

/// All others.
pub fn others(workspace: &Workspace) -> Result<Outcome> {
    provide(workspace, |name| name != FIRST)
}

fn provide(workspace: &Workspace, wanted: impl Fn(&str) -> bool) -> Result<Outcome> {
    let robots: Vec<Robot> = serde_json::from_str(TABLE).during("read", "robots.json")?;
    let mut names = Vec::new();
    let mut installed = false;
    for Robot { name, package, version, python, sha256, parts } in &robots {
        if !wanted(name) {
            continue;
        }
        let pin = Pin { package, version, python, tags: &[], sha256 };
        let parts: Vec<_> = parts.iter().map(|(from, to)| (&**from, &**to)).collect();
        let folder = workspace.embody().join("assets").join(name);
        let outcome = pin
            .folder(&folder, &parts, |_| Ok(()), name.clone())
            .map_err(|fail| Fail { what: format!("{name}: {}", fail.what), ..fail })?;
        installed |= matches!(outcome, Outcome::Installed(_));
        names.push(name.as_str());
    }
    let what = format!("{} in .embody/assets", names.join(", "));
    Ok(if installed { Outcome::Installed(what) } else { Outcome::Present(what) })
}
