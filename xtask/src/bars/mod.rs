//! Measurements of what the issues ask for: a row per bar, each from running the real commands.
//!
//! A tool for people and for comparing versions, never a timed test. Work goes to a scratch folder
//! in the user's cache, outside the tree, and is removed unless `--keep`. Peers, and oracles such as
//! pyarrow, are installed there by pip, by name and version.

mod bad_input;
mod data;
mod foundation;
mod imitation;
mod kill;
mod real_world_rl;
mod run;
mod sim_rl;
mod training;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::sh::{self, Context, Fail, Result};
use crate::workspace::{self, Workspace};

#[derive(Parser)]
pub struct Args {
    /// Which bars; without, the names of all
    name: Option<Name>,
    /// One JSON document on stdout
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// A page for docs/results on stdout
    #[arg(long)]
    markdown: bool,
    /// Use this tree's build instead of a fresh clone's
    #[arg(long)]
    quick: bool,
    /// Only rows of these groups, such as `bad-input`; repeatable
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
    /// Leave the scratch folder behind and say where it is
    #[arg(long)]
    keep: bool,
    /// Seed of everything drawn at random here, such as the instants of kills
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// A set of bars: one per issue that asks for any.
#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// From recorded demonstrations to a trained, evaluated policy and a report
    Foundation,
    /// The dataset engine: reading, editing, importing, repairing
    Data,
    /// Simulated environments and reinforcement learning
    SimRl,
    /// Policies from demonstrations: agreement with LeRobot, speed, success
    Imitation,
    /// Real machines: the wire, deadlines, limits, recordings
    RealWorldRl,
}

/// One bar.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which group measured it.
    group: &'static str,
    name: String,
    measured: String,
    required: String,
    holds: bool,
    /// What a peer reaches under the same conditions, with its version; none where there is none.
    peer: Option<String>,
}

/// Where rows gather and how they are measured.
pub struct Bench<'a> {
    workspace: &'a Workspace,
    scratch: PathBuf,
    quick: bool,
    only: &'a [String],
    seed: u64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Results<'a> {
    bars: &'a str,
    command: String,
    revision: String,
    machine: String,
    seed: u64,
    rows: &'a [Row],
}

/// Measures, prints, and fails when a bar does not hold.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let Some(name) = args.name else {
        for name in Name::value_variants() {
            let value = name.to_possible_value().ok_or_else(|| Fail::new("a name is hidden"))?;
            println!("{:<14} {}", value.get_name(), value.get_help().unwrap_or_default());
        }
        return Ok(());
    };
    let scratch = workspace::cache()?.join("bars").join(std::process::id().to_string());
    fs::create_dir_all(&scratch).during("create folder", &scratch)?;
    let mut bench = Bench {
        workspace,
        scratch: scratch.clone(),
        quick: args.quick,
        only: &args.only,
        seed: args.seed,
        rows: Vec::new(),
    };
    let (title, groups) = match name {
        Name::Foundation => ("foundation", foundation::GROUPS),
        Name::Data => ("data", data::GROUPS),
        Name::SimRl => ("sim-rl", sim_rl::GROUPS),
        Name::Imitation => ("imitation", imitation::GROUPS),
        Name::RealWorldRl => ("real-world-rl", real_world_rl::GROUPS),
    };
    let outcome = bench.measure(groups);
    if args.keep {
        eprintln!("scratch: {}", scratch.display());
    } else {
        fs::remove_dir_all(&scratch).during("remove", &scratch)?;
    }
    outcome?;
    let results = Results {
        bars: title,
        command: std::iter::once("cargo xtask".to_owned())
            .chain(std::env::args().skip(1))
            .collect::<Vec<_>>()
            .join(" "),
        revision: revision(workspace),
        machine: machine(),
        seed: args.seed,
        rows: &bench.rows,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results).during("write", "the results")?);
    } else if args.markdown {
        markdown(&results);
    } else {
        results.rows.iter().for_each(print);
    }
    let failed = results.rows.iter().filter(|row| !row.holds).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Fail::new(format!("{failed} of {} bars do not hold", results.rows.len())))
}

/// Rows of one kind, measured together.
pub struct Group {
    pub name: &'static str,
    pub measure: fn(&mut Bench<'_>) -> Result<()>,
}

impl Bench<'_> {
    /// Measures the wanted groups in order. One that fails gives a row that does not hold.
    fn measure(&mut self, groups: &[Group]) -> Result<()> {
        if let Some(unknown) = self.only.iter().find(|o| groups.iter().all(|g| g.name != **o)) {
            let known: Vec<_> = groups.iter().map(|g| g.name).collect();
            return Err(Fail::new(format!("no group is called {unknown:?}"))
                .hint(format!("the groups are {}", known.join(", "))));
        }
        for group in groups {
            if !self.only.is_empty() && !self.only.iter().any(|o| o == group.name) {
                continue;
            }
            eprintln!("── {} ──", group.name);
            let before = self.rows.len();
            if let Err(fail) = (group.measure)(self) {
                self.row("could not be measured", fail.what.clone(), "a result", false);
            }
            for row in &mut self.rows[before..] {
                row.group = group.name;
            }
        }
        Ok(())
    }

    /// Adds a row.
    fn row(
        &mut self,
        name: impl Into<String>,
        measured: impl Into<String>,
        required: impl Into<String>,
        holds: bool,
    ) -> &mut Row {
        let row = Row {
            group: "",
            name: name.into(),
            measured: measured.into(),
            required: required.into(),
            holds,
            peer: None,
        };
        eprintln!("{} {}: {}", if holds { "ok  " } else { "FAIL" }, row.name, row.measured);
        self.rows.push(row);
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// A folder of that name in the scratch folder, empty.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).during("remove", &dir)?;
        }
        fs::create_dir_all(&dir).during("create folder", &dir)?;
        Ok(dir)
    }
}

fn print(row: &Row) {
    let verdict = if row.holds { "holds" } else { "MISSED" };
    let peer = row.peer.as_deref().unwrap_or("-");
    let Row { name, measured, required, .. } = row;
    println!("{name} | {measured} | {required} | {verdict} | {peer}");
}

fn markdown(results: &Results<'_>) {
    println!("# Bars: {}\n", results.bars);
    println!("- command: `{}`", results.command);
    println!("- revision: {}", results.revision);
    println!("- machine: {}", results.machine);
    println!("- seed: {}\n", results.seed);
    println!("| what | measured | required | holds | peer |\n|---|---|---|---|---|");
    for Row { name, measured, required, holds, peer, .. } in results.rows {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let verdict = if *holds { "yes" } else { "**no**" };
        let peer = peer.as_deref().unwrap_or("-");
        println!(
            "| {} | {} | {} | {verdict} | {peer} |",
            cell(name),
            cell(measured),
            cell(required)
        );
    }
}

fn revision(workspace: &Workspace) -> String {
    let git =
        |args: &[&str]| sh::capture(Command::new("git").args(args).current_dir(&workspace.root));
    let head = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|_| "unknown".into());
    let dirty = git(&["status", "--porcelain"]).is_ok_and(|s| !s.trim().is_empty());
    format!("{}{}", head.trim(), if dirty { " with uncommitted changes" } else { "" })
}

/// Processor, cores and memory, without naming the host.
fn machine() -> String {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok())
        .map(|kib| format!(", {} GiB", kib.div_ceil(1 << 20)))
        .unwrap_or_default();
    format!("{cpu}, {cores} cores{memory}, {}", std::env::consts::OS)
}
