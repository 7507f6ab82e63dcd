//! The fuzzing program: how it is built, seeded, run, and asked about single inputs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Target, files, host};
use crate::sh::{self, Context, Fail, Result};
use crate::workspace::Workspace;

/// Instrumentation as libFuzzer wants it; `cfg(fuzzing)` makes some crates leave checksums unasked.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What counts as a hang, and how much memory as too much.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=1024", "-malloc_limit_mb=512"];

/// Processor time for one input that counts as a hang.
const HANG_SECS: f64 = 10.0;

/// Ticks per second of the times in `/proc`: what Linux shows on every platform.
const TICKS: f64 = 100.0;

/// Builds the program and puts it at `binary` at once, so that a run going on is not disturbed.
pub fn build(workspace: &Workspace, home: &Path, binary: &Path) -> Result<()> {
    let host = host()?;
    let target = home.join("target");
    let mut cargo = workspace.cargo();
    cargo.current_dir(workspace.root.join("fuzz")).env("RUSTFLAGS", FLAGS);
    cargo.args(["build", "--release", "--locked", "--target", &host, "--target-dir"]).arg(&target);
    sh::run(&mut cargo)?;
    let folder = home.join("bin");
    fs::create_dir_all(&folder).during("create folder", &folder)?;
    let aside = folder.join("embody-fuzz.new");
    let built = target.join(host).join("release/embody-fuzz");
    fs::copy(&built, &aside).during("copy", &built)?;
    fs::rename(&aside, binary).during("rename", &aside)
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Whole,
    Finding,
}

/// How far a turn is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub cpu_secs: f64,
    pub runs: u64,
    pub edges: u64,
    pub inputs: u64,
    pub ended: Ended,
}

/// The program and its folder.
pub struct Program {
    pub binary: PathBuf,
    pub home: PathBuf,
    pub root: PathBuf,
}

impl Program {
    /// A call of the program for a target.
    fn call(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let scratch = scratch.join("embody-fuzz");
        fs::create_dir_all(&scratch).ok();
        command.env("EMBODY_FUZZ_TARGET", name).env("EMBODY_FUZZ_SCRATCH", &scratch);
        // What parsers unpack on the way stays in memory, too; threads would only blur the count.
        command.env("TMPDIR", &scratch).env("RAYON_NUM_THREADS", "1");
        command.stdin(Stdio::null());
        command
    }

    /// Removes what processes left in memory.
    fn sweep(&self, name: &str, pid: u32) {
        for root in [Path::new("/dev/shm"), &std::env::temp_dir()] {
            fs::remove_dir_all(root.join("embody-fuzz").join(format!("{name}-{pid}"))).ok();
        }
    }

    /// The targets that the program has.
    pub fn targets(&self) -> Result<Vec<Target>> {
        let text = sh::capture(self.call("").env("EMBODY_FUZZ_LIST", "1"))?;
        let target = |line: &str| {
            let (name, max_len) = line.split_once(' ')?;
            Some(Target { name: name.to_owned(), max_len: max_len.parse().ok()? })
        };
        Ok(text.lines().filter_map(target).collect())
    }

    fn folder(&self, kind: &str, name: &str) -> PathBuf {
        self.home.join(kind).join(name)
    }

    /// Puts seeds beside the corpus: made ones, committed ones, and mended findings.
    pub fn seed(&self, name: &str, data: &Path) -> Result<()> {
        let seeds = self.folder("seeds", name);
        if seeds.is_dir() {
            return Ok(());
        }
        let aside = self.folder("seeds.new", name);
        fs::create_dir_all(&aside).during("create folder", &aside)?;
        let data = self.root.join(data);
        let mut call = self.call(name);
        call.env("EMBODY_FUZZ_SEEDS", &aside);
        if data.is_dir() {
            call.env("EMBODY_FUZZ_DATA", &data);
        }
        sh::capture(&mut call)?;
        for kind in ["seeds", "regressions"] {
            for file in files(&self.root.join("fuzz").join(kind).join(name))? {
                let to = aside.join(file.file_name().unwrap_or_default());
                fs::copy(&file, &to).during("copy", &file)?;
            }
        }
        fs::create_dir_all(self.home.join("seeds")).during("create folder", &self.home)?;
        fs::rename(&aside, &seeds).during("rename", &aside)
    }

    /// Whether the program takes every finding of the target by now; those that it takes become
    /// seeds.
    pub fn take_back(&self, name: &str) -> Result<bool> {
        for file in files(&self.folder("findings", name))? {
            if !self.takes(name, &file)? {
                return Ok(false);
            }
            let corpus = self.folder("corpus", name);
            fs::create_dir_all(&corpus).during("create folder", &corpus)?;
            let to = corpus.join(file.file_name().unwrap_or_default());
            fs::rename(&file, &to).during("rename", &file)?;
        }
        Ok(true)
    }

    /// Whether an input goes through without trouble.
    fn takes(&self, name: &str, file: &Path) -> Result<bool> {
        let mut call = self.call(name);
        call.args(LIMITS).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = call.spawn().during("start", &self.binary)?;
        let pid = child.id();
        let status = child.wait().during("wait for", &self.binary)?;
        self.sweep(name, pid);
        Ok(status.success())
    }

    /// Feeds one file to the target, for a person to see.
    pub fn replay(&self, name: &str, file: &Path) -> Result<()> {
        let mut call = self.call(name);
        call.env("RUST_BACKTRACE", "1").args(LIMITS).arg(file);
        sh::run(&mut call)
    }

    /// Fuzzes for a turn, saying how far it is every few seconds.
    pub fn fuzz(
        &self,
        target: &Target,
        secs: u64,
        over: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<Progress> {
        let name = &target.name;
        let (corpus, raw) = (self.folder("corpus", name), self.folder("raw", name));
        for folder in [&corpus, &raw, &self.home.join("logs")] {
            fs::create_dir_all(folder).during("create folder", folder)?;
        }
        let log = self.home.join("logs").join(format!("{name}.log"));
        let out = fs::File::create(&log).during("create", &log)?;
        let mut call = self.call(name);
        call.args(LIMITS).arg(format!("-max_len={}", target.max_len));
        call.args(["-reload=0", "-print_final_stats=1", "-use_value_profile=0"]);
        let dictionary = self.root.join("fuzz/dictionaries").join(format!("{name}.dict"));
        if dictionary.is_file() {
            call.arg(format!("-dict={}", dictionary.display()));
        }
        call.arg(format!("-artifact_prefix={}/", raw.display()));
        call.arg(&corpus).arg(self.folder("seeds", name));
        call.stdout(Stdio::null()).stderr(out);
        let mut child = call.spawn().during("start", &self.binary)?;
        let pid = child.id();
        let mut reported = Instant::now();
        let mut stopping: Option<Instant> = None;
        let mut cpu_secs = 0.0;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let status = status_of(&mut child)?;
            cpu_secs = status.cpu_secs.unwrap_or(cpu_secs).max(cpu_secs);
            if status.ended {
                break;
            }
            if stopping.is_none() && (over() || cpu_secs >= secs as f64) {
                signal(pid, "INT");
                stopping = Some(Instant::now());
            }
            // A target in the middle of a long input does not hear.
            if stopping.is_some_and(|s| s.elapsed() > Duration::from_secs(20)) {
                child.kill().ok();
            }
            if reported.elapsed() > Duration::from_secs(20) {
                reported = Instant::now();
                report(progress(&log, cpu_secs, Ended::Whole))?;
            }
        }
        child.wait().during("wait for", &self.binary)?;
        self.sweep(name, pid);
        self.drop_starved(name, &raw)?;
        let ended = if files(&raw)?.is_empty() { Ended::Whole } else { Ended::Finding };
        let last = progress(&log, cpu_secs, ended);
        if last.runs == 0 && ended == Ended::Whole && stopping.is_none() {
            return Err(Fail::new(format!("target {name} did not run"))
                .hint(format!("its output: {}", log.display())));
        }
        report(last)?;
        Ok(last)
    }

    /// libFuzzer takes the time that passes for the time an input takes. On a busy machine the two
    /// differ: an input that goes through in less processor time than the limit is no finding.
    fn drop_starved(&self, name: &str, raw: &Path) -> Result<()> {
        for file in files(raw)? {
            let title = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !(title.starts_with("timeout") || title.starts_with("slow-unit")) {
                continue;
            }
            let mut call = self.call(name);
            call.args(["-timeout=600", "-rss_limit_mb=1024"]).arg(&file);
            call.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = call.spawn().during("start", &self.binary)?;
            let mut cpu_secs: f64 = 0.0;
            loop {
                let status = status_of(&mut child)?;
                cpu_secs = status.cpu_secs.unwrap_or(f64::INFINITY).max(cpu_secs);
                if status.ended || cpu_secs > HANG_SECS {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            child.kill().ok();
            let whole = child.wait().during("wait for", &self.binary)?.success();
            self.sweep(name, child.id());
            if whole && cpu_secs <= HANG_SECS {
                fs::remove_file(&file).during("remove", &file)?;
            }
        }
        Ok(())
    }

    /// Makes the findings of a target small and keeps them; gives their files.
    pub fn minimise(&self, name: &str) -> Result<Vec<PathBuf>> {
        let folder = self.folder("findings", name);
        fs::create_dir_all(&folder).during("create folder", &folder)?;
        let mut kept = Vec::new();
        for file in files(&self.folder("raw", name))? {
            let to = folder.join(file.file_name().unwrap_or_default());
            let crash = to.file_name().is_some_and(|n| n.to_string_lossy().starts_with("crash"));
            if crash {
                let mut call = self.call(name);
                call.args(LIMITS).args(["-minimize_crash=1", "-max_total_time=20"]);
                call.arg(format!("-exact_artifact_path={}", to.display())).arg(&file);
                call.stdout(Stdio::null()).stderr(Stdio::null());
                call.status().during("start", &self.binary)?;
            }
            if to.is_file() {
                fs::remove_file(&file).during("remove", &file)?;
            } else {
                fs::rename(&file, &to).during("rename", &file)?;
            }
            let log = self.home.join("logs").join(format!("{name}.log"));
            fs::copy(&log, self.folder("findings.logs", name).with_extension("log")).ok();
            kept.push(to);
        }
        Ok(kept)
    }
}

fn signal(pid: u32, signal: &str) {
    Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().ok();
}

struct Status {
    cpu_secs: Option<f64>,
    ended: bool,
}

/// Processor time and whether the process has ended; it is not waited for, so that its last count
/// can still be read.
fn status_of(child: &mut Child) -> Result<Status> {
    let Ok(text) = fs::read_to_string(format!("/proc/{}/stat", child.id())) else {
        // No such folder on this system: the time that passes has to do.
        let ended = child.try_wait().during("wait for", "the fuzzing program")?.is_some();
        return Ok(Status { cpu_secs: None, ended });
    };
    // Fields behind the name in brackets: state, …, user and system time at 14 and 15 (proc(5)).
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let ended = matches!(fields.first(), Some(&("Z" | "X")));
    Ok(Status { cpu_secs: Some((ticks(11) + ticks(12)) / TICKS), ended })
}

/// Reads libFuzzer's log: `#1234 NEW cov: 56 ft: 78 corp: 9/1Kb …`.
fn progress(log: &Path, cpu_secs: f64, ended: Ended) -> Progress {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut out = Progress { cpu_secs, runs: 0, edges: 0, inputs: 0, ended };
    for line in text.lines() {
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            out.runs = runs.trim().parse().unwrap_or(out.runs);
        }
        let Some(rest) = line.strip_prefix('#') else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let Some(Ok(runs)) = words.first().map(|w| w.parse::<u64>()) else { continue };
        out.runs = out.runs.max(runs);
        let after = |key: &str| {
            let at = words.iter().position(|w| *w == key)?;
            words.get(at + 1)?.split('/').next()?.parse().ok()
        };
        out.edges = after("cov:").unwrap_or(out.edges).max(out.edges);
        out.inputs = after("corp:").unwrap_or(out.inputs);
    }
    out
}
