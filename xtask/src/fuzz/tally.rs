//! The count: what each target ran, covered and found, added up over all runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::process::{Ended, Program, Progress};
use crate::sh::{Context, Result};

const FILE: &str = "tally.json";
const RESULT: &str = "fuzz.json";
const PAGE: &str = "fuzz.md";

/// A target's count.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Count {
    /// Processor seconds in all.
    cpu_secs: f64,
    /// Processor seconds since the last finding.
    clean_secs: f64,
    /// Inputs run.
    runs: u64,
    /// Edges of the program covered, libFuzzer's `cov`.
    edges: u64,
    /// Inputs kept because they cover something new.
    inputs: u64,
    /// Findings in all.
    findings: usize,
    /// Findings that the program does not take yet.
    open: usize,
}

/// All counts by target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    targets: BTreeMap<String, Count>,
    /// Targets held up by a finding, and the build of the program that does not take it.
    #[serde(skip)]
    held_up: BTreeMap<String, Option<SystemTime>>,
}

fn read(path: &Path) -> Result<Tally> {
    if !path.is_file() {
        return Ok(Tally::default());
    }
    let text = fs::read(path).during("read", path)?;
    serde_json::from_slice(&text).during("read", path)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes).during("write", &aside)?;
    fs::rename(&aside, path).during("rename", &aside)
}

impl Tally {
    /// The count kept here, or the committed one where that knows of more.
    pub fn load(home: &Path, results: &Path) -> Result<Self> {
        let mut tally = read(&home.join(FILE))?;
        for (name, count) in read(&results.join(RESULT))?.targets {
            let mine = tally.targets.entry(name).or_default();
            if count.cpu_secs > mine.cpu_secs {
                *mine = count;
            }
        }
        Ok(tally)
    }

    pub fn declare(&mut self, name: &str) {
        self.targets.entry(name.to_owned()).or_default();
    }

    pub fn clone_of(&self, name: &str) -> Count {
        self.targets.get(name).cloned().unwrap_or_default()
    }

    pub fn clean_secs(&self, name: &str) -> f64 {
        self.targets.get(name).map_or(0.0, |c| c.clean_secs)
    }

    /// Sets a target's count to what it was before the turn and what the turn has come to.
    pub fn set(&mut self, name: &str, before: &Count, turn: Progress) {
        let count = Count {
            cpu_secs: before.cpu_secs + turn.cpu_secs,
            clean_secs: match turn.ended {
                Ended::Whole => before.clean_secs + turn.cpu_secs,
                Ended::Finding => 0.0,
            },
            runs: before.runs + turn.runs,
            edges: before.edges.max(turn.edges),
            inputs: turn.inputs.max(before.inputs),
            ..before.clone()
        };
        self.targets.insert(name.to_owned(), count);
    }

    /// Notes findings.
    pub fn found(&mut self, name: &str, findings: usize) {
        let count = self.targets.entry(name.to_owned()).or_default();
        count.findings += findings;
        count.open += findings;
    }

    /// Notes that no finding is open.
    pub fn taken_back(&mut self, name: &str) {
        self.targets.entry(name.to_owned()).or_default().open = 0;
        self.held_up.remove(name);
    }

    /// Notes that this build of the program does not take a finding.
    pub fn hold_up(&mut self, name: &str, program: &Program) {
        self.held_up.insert(name.to_owned(), build_of(program));
    }

    /// Whether a finding holds the target up, in this build.
    pub fn is_held_up(&self, name: &str, program: &Program) -> bool {
        self.held_up.get(name).is_some_and(|build| *build == build_of(program))
    }

    pub fn open_findings(&self) -> usize {
        self.targets.values().map(|c| c.open).sum()
    }

    pub fn save(&self, home: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).during("write", FILE)?;
        write(&home.join(FILE), &text)
    }

    /// As people read it.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| target | CPU minutes without finding | inputs run | edges | corpus | findings, mended |\n\
             |---|---:|---:|---:|---:|---:|\n",
        );
        for (name, c) in &self.targets {
            let _ = writeln!(
                text,
                "| {name} | {:.1} | {} | {} | {} | {}, {} |",
                c.clean_secs / 60.0,
                c.runs,
                c.edges,
                c.inputs,
                c.findings,
                c.findings - c.open.min(c.findings)
            );
        }
        text
    }

    /// Writes the count and its page to `results`.
    pub fn record(&mut self, results: &Path) -> Result<()> {
        self.targets.retain(|_, c| c.runs > 0 || c.findings > 0);
        for count in self.targets.values_mut() {
            count.cpu_secs = count.cpu_secs.round();
            count.clean_secs = count.clean_secs.round();
        }
        let mut json = serde_json::to_vec_pretty(self).during("write", RESULT)?;
        json.push(b'\n');
        write(&results.join(RESULT), &json)?;
        let page = format!(
            "# Fuzzing\n\nEvery parser of foreign bytes under libFuzzer: a panic, more than 512 MiB \
             at once or 1 GiB in all, or 10 s for one input is a finding. Times add up over runs and \
             begin anew at each finding; the bar is 60 minutes. Written by `cargo xtask fuzz \
             --record`; [how to run it](../guides/fuzzing.md).\n\n{}",
            self.table()
        );
        write(&results.join(PAGE), page.as_bytes())
    }
}

/// When the program was built.
fn build_of(program: &Program) -> Option<SystemTime> {
    fs::metadata(&program.binary).and_then(|m| m.modified()).ok()
}
