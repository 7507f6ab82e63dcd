//! `cargo xtask fuzz`: runs every fuzz target in turns, and keeps count.
//!
//! libFuzzer through `fuzz/`, instrumented with flags that a stable compiler takes and without a
//! sanitizer: the code is safe Rust, and a limit on allocations stands in the program itself. The
//! target with the least time goes next. A finding is made small, kept as a file, and ends the turns
//! of its target until the program, built anew, takes it. Corpus and count stand in `.embody/fuzz`,
//! so that a run goes on where the last one ended; a file `STOP` there ends it within a second.

mod process;
mod tally;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;

use crate::sh::{self, Context, Fail, Result};
use crate::workspace::Workspace;
use process::{Ended, Program};
use tally::Tally;

#[derive(Parser)]
pub struct Args {
    /// Only these targets (see `--list`); all of them without
    targets: Vec<String>,
    /// Name the targets, with what is known of each, and stop
    #[arg(long)]
    list: bool,
    /// Minutes to run in all; without, until every target has `--goal` minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Processes at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Minutes of processor time that a target is to run without finding
    #[arg(long, default_value_t = 60.0)]
    goal: f64,
    /// Seconds of a turn
    #[arg(long, default_value_t = 120)]
    turn: u64,
    /// Take the program as it was built last
    #[arg(long)]
    no_build: bool,
    /// Write the count to docs/results and stop
    #[arg(long)]
    record: bool,
    /// A folder of real recordings, whose beginnings become seeds
    #[arg(long, default_value = "../shared/data")]
    data: PathBuf,
    /// Feed this file to the one target named, and stop
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// A target as the program names it.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    max_len: usize,
}

/// What the jobs share.
struct Shared<'a> {
    args: &'a Args,
    program: Program,
    targets: Vec<Target>,
    state: Mutex<State>,
}

struct State {
    tally: Tally,
    /// Targets being run.
    busy: Vec<String>,
    /// Targets that could not be run.
    broken: usize,
}

/// Dispatches the command.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let home = workspace.embody().join("fuzz");
    fs::create_dir_all(&home).during("create folder", &home)?;
    let results = workspace.root.join("docs/results");
    let mut tally = Tally::load(&home, &results)?;
    if args.record {
        return tally.record(&results);
    }
    let binary = home.join("bin/embody-fuzz");
    if !args.no_build {
        process::build(workspace, &home, &binary)?;
    }
    if !binary.is_file() {
        return Err(Fail::new("the fuzzing program is not built").hint("leave out --no-build"));
    }
    let program = Program { binary, home: home.clone(), root: workspace.root.clone() };
    let mut targets = program.targets()?;
    if let Some(unknown) = args.targets.iter().find(|n| targets.iter().all(|t| t.name != **n)) {
        let known: Vec<_> = targets.iter().map(|t| t.name.as_str()).collect();
        return Err(Fail::new(format!("no target is called {unknown:?}"))
            .hint(format!("the targets are {}", known.join(", "))));
    }
    targets.retain(|t| args.targets.is_empty() || args.targets.contains(&t.name));
    if let Some(file) = &args.replay {
        let [target] = &targets[..] else {
            return Err(Fail::new("--replay needs one target"));
        };
        return program.replay(&target.name, file);
    }
    targets.iter().for_each(|t| tally.declare(&t.name));
    if args.list {
        print!("{}", tally.table());
        return Ok(());
    }
    let stop = home.join("STOP");
    if stop.exists() {
        fs::remove_file(&stop).during("remove", &stop)?;
    }
    let state = Mutex::new(State { tally, busy: Vec::new(), broken: 0 });
    let shared = Shared { args, program, targets, state };
    let deadline = args
        .minutes
        .map(|m| std::time::Instant::now() + Duration::from_secs_f64((m * 60.0).max(1.0)));
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..args.jobs.max(1)).map(|_| scope.spawn(|| job(&shared, deadline, &stop))).collect();
        jobs.into_iter()
            .map(|j| j.join().unwrap_or_else(|_| Err(Fail::new("a job ended in a panic"))))
            .collect()
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    print!("{}", state.tally.table());
    if state.broken > 0 {
        return Err(Fail::new(format!("{} targets could not be run", state.broken)));
    }
    match state.tally.open_findings() {
        0 => Ok(()),
        n => Err(Fail::new(format!("{n} findings are open"))
            .hint(format!("they lie in {}", home.join("findings").display()))),
    }
}

/// Takes turns until the time is over, all have their goal, or a person says stop.
fn job(shared: &Shared<'_>, deadline: Option<std::time::Instant>, stop: &Path) -> Result<()> {
    let over = || stop.exists() || deadline.is_some_and(|d| std::time::Instant::now() >= d);
    loop {
        if over() {
            return Ok(());
        }
        let Some(target) = next(shared) else { return Ok(()) };
        let outcome = turn(shared, &target, &over);
        let mut state = lock(shared);
        state.busy.retain(|b| *b != target.name);
        if let Err(fail) = outcome {
            // One target that does not run must not keep the others from it.
            eprintln!("{}: {fail}", target.name);
            state.tally.hold_up(&target.name, &shared.program);
            state.broken += 1;
        }
    }
}

fn lock<'a>(shared: &'a Shared<'_>) -> std::sync::MutexGuard<'a, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The target that has run least and is neither busy nor held up by a finding.
fn next(shared: &Shared<'_>) -> Option<Target> {
    let goal = shared.args.goal * 60.0;
    let mut state = lock(shared);
    let chosen = shared
        .targets
        .iter()
        .filter(|t| !state.busy.contains(&t.name))
        .map(|t| (state.tally.clean_secs(&t.name), t))
        .filter(|(secs, t)| {
            (shared.args.minutes.is_some() || *secs < goal)
                && !state.tally.is_held_up(&t.name, &shared.program)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, t)| t.clone())?;
    state.busy.push(chosen.name.clone());
    Some(chosen)
}

/// One turn of one target.
fn turn(shared: &Shared<'_>, target: &Target, over: &dyn Fn() -> bool) -> Result<()> {
    let program = &shared.program;
    let name = &target.name;
    if !program.take_back(name)? {
        lock(shared).tally.hold_up(name, program);
        return Ok(());
    }
    lock(shared).tally.taken_back(name);
    program.seed(name, &shared.args.data)?;
    let before = lock(shared).tally.clone_of(name);
    let result = program.fuzz(target, shared.args.turn, over, &mut |progress| {
        let mut state = lock(shared);
        state.tally.set(name, &before, progress);
        state.tally.save(&program.home)
    })?;
    eprintln!(
        "{name:<18} {:>7.0} s  {:>11} runs  {:>6} edges  {:>5} inputs  {}",
        result.cpu_secs,
        result.runs,
        result.edges,
        result.inputs,
        if result.ended == Ended::Whole { "" } else { "FINDING" }
    );
    if result.ended == Ended::Finding {
        let kept = program.minimise(name)?;
        let mut state = lock(shared);
        state.tally.found(name, kept.len());
        state.tally.hold_up(name, program);
        state.tally.save(&program.home)?;
        for file in kept {
            eprintln!("  cargo xtask fuzz {name} --replay {}", file.display());
        }
    }
    Ok(())
}

/// Files of a folder, in order; none where it is not there.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).during("read folder", folder)? {
        out.push(entry.during("read folder", folder)?.path());
    }
    out.sort();
    Ok(out)
}

/// The host's name for the compiler, such as `x86_64-unknown-linux-gnu`.
fn host() -> Result<String> {
    let text = sh::capture(std::process::Command::new("rustc").arg("-vV"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| Fail::new("rustc names no host"))
}
