//! Repair: a sound dataset out of a damaged one, without inventing data.
//!
//! The source stays as it is; what can be read of it is written anew: indices, totals, order,
//! statistics, labels and places of frames are computed from the data, tables without a footer are
//! read page by page, videos are cut at their last whole frame and the table with them, and episodes
//! whose data are lost are left out. Everything that was done or given up is listed with its place.
//! What no program can know (black pictures, a clock that ran wrong) stays, and validation of the
//! result, which comes with the report, says so.

mod episode;
mod footer;
mod source;

use std::path::{Path, PathBuf};

use embody_core::{AtomicDir, ContentHash, Result, Task};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;

use crate::error::DataError;
use crate::finding::Finding;
use crate::validate::{DecodeCheck, ValidateOptions, validate};
use crate::writer::DatasetWriter;

use episode::Salvage;
use source::Source;

/// What a repair did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairReport {
    /// Where the result stands; `None` where nothing was written.
    pub path: Option<PathBuf>,
    /// What was mended; codes are those of the findings.
    pub done: Vec<Finding>,
    /// What was given up: episodes and frames whose data are lost.
    pub lost: Vec<Finding>,
    /// What validation says of the result.
    pub left: Vec<Finding>,
    /// Episodes of the result.
    pub episodes: usize,
    /// Its frames.
    pub frames: usize,
    /// Content hash of the source.
    pub parent: ContentHash,
    /// Content hash of the result; `None` where nothing was written.
    pub version: Option<ContentHash>,
}

/// What was mended and what was given up, in the order in which it was met.
#[derive(Debug, Default)]
struct Log {
    done: Vec<Finding>,
    lost: Vec<Finding>,
}

impl Log {
    /// Notes something that was mended, once.
    fn done(&mut self, finding: Finding) {
        if !self.done.contains(&finding) {
            self.done.push(finding);
        }
    }

    fn lost(&mut self, finding: Finding) {
        if !self.lost.contains(&finding) {
            self.lost.push(finding);
        }
    }
}

/// Mends the dataset at `source` (any version) as a new v3.0 one at `target`, or makes one of a robot's
/// session, cut off or not; with `dry_run` only
/// says what it would do.
///
/// # Errors
/// When the description is beyond repair, no episode can be saved, or the target exists or can't be
/// written; nothing is left behind.
pub fn repair(source: &Path, target: &Path, dry_run: bool, task: Task<'_>) -> Result<RepairReport> {
    if !dry_run && target.exists() {
        return Err(DataError::Request {
            why: format!("{} exists already", target.display()),
            hint: "name another folder, or remove that one first".to_owned(),
        }
        .into());
    }
    if crate::session::is_session(source) {
        return crate::session::complete(source, target, dry_run, task);
    }
    let mut log = Log::default();
    let before = validate(
        source,
        &ValidateOptions { decode: DecodeCheck::None, ..ValidateOptions::default() },
        task,
    )?;
    // Tables that had to be completed stand here meanwhile.
    let scratch = tempfile::tempdir()
        .map_err(|e| embody_core::Error::new(format!("could not make a folder to work in: {e}")))?;
    let read = Source::read(source, scratch.path(), &mut log)?;
    let mut plan = Vec::new();
    let total = read.dataset.episodes().len();
    task.begin("look", Some(total as u64), "episodes");
    for number in 0..total {
        plan.extend(Salvage::of(&read, number, &mut log)?);
        task.advance("look", number as u64 + 1, "")?;
    }
    task.end("look");
    if plan.is_empty() {
        return Err(DataError::Request {
            why: format!("no episode of {} can be saved", source.display()),
            hint: log
                .lost
                .first()
                .map_or_else(|| "it has none".to_owned(), |f| format!("the first: {f}")),
        }
        .into());
    }
    counted(&before.findings, &mut log);
    let parent = read.dataset.version()?;
    let frames = plan.iter().map(Salvage::len).sum();
    let mut report = RepairReport {
        path: None,
        done: Vec::new(),
        lost: Vec::new(),
        left: Vec::new(),
        episodes: plan.len(),
        frames,
        parent: parent.clone(),
        version: None,
    };
    if !dry_run {
        let staging = AtomicDir::begin(target, false)?;
        let splits = splits(&read, &plan);
        let mut writer = DatasetWriter::new(staging.path(), read.info.clone());
        task.begin("repair", Some(plan.len() as u64), "episodes");
        for (done, episode) in plan.iter().enumerate() {
            episode.write(&read, &mut writer)?;
            task.advance("repair", done as u64 + 1, "")?;
        }
        task.end("repair");
        let texts = |list: &[Finding]| list.iter().map(Finding::to_string).collect::<Vec<_>>();
        let parameters = json!({"done": texts(&log.done), "lost": texts(&log.lost)});
        let (lineage, _) = writer.finish(splits, Some(parent), "repair", parameters, task)?;
        report.left = validate(staging.path(), &ValidateOptions::default(), task)?.findings;
        report.path = Some(staging.commit()?);
        report.version = Some(lineage.version);
    }
    report.done = log.done;
    report.lost = log.lost;
    Ok(report)
}

/// What is mended simply by writing the dataset anew: counts, statistics, order of episodes.
fn counted(before: &[Finding], log: &mut Log) {
    for finding in before {
        let text = match finding.code.as_str() {
            "total-episodes" | "total-frames" | "total-tasks" => "counted again",
            "stats-missing" | "stats-mismatch" => "statistics of the dataset computed again",
            "episode-stats-missing" | "episode-stats-mismatch" => {
                "statistics of episodes computed again"
            }
            "episode-order" => "episodes written in order of their index",
            "episode-index" | "episode-rows" => "episodes numbered and placed anew",
            "content-changed" => "the version named by its content",
            _ => continue,
        };
        let mut note = Finding::note(&finding.code, text);
        note.file.clone_from(&finding.file);
        log.done(note);
    }
}

/// The source's splits in terms of the episodes that could be saved.
fn splits(source: &Source, plan: &[Salvage]) -> IndexMap<String, String> {
    let info = source.dataset.info();
    let mut out = IndexMap::new();
    for name in info.splits.keys() {
        let Some(range) = info.split(name) else { continue };
        let start = plan.partition_point(|p| p.number < range.start);
        let end = plan.partition_point(|p| p.number < range.end);
        if start < end {
            out.insert(name.clone(), format!("{start}:{end}"));
        }
    }
    out
}
