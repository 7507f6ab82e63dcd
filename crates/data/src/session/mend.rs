//! Looking at a session and making a dataset of it, whole or cut off.

use std::path::Path;

use embody_core::{Result, Task};
use serde_json::Value;

use super::SESSION_MAPPING;
use super::messages::DROPPED;
use crate::finding::{Finding, Severity};
use crate::import::{ImportOptions, import};
use crate::log::{Encoding, Log, logs_at};
use crate::repair::RepairReport;
use crate::validate::{Checked, ValidateOptions, ValidationReport, validate};

/// What is to be said of a session: files that were cut off, messages that were dropped.
///
/// # Errors
/// When the folder can't be read.
pub(crate) fn check(root: &Path, task: Task<'_>) -> Result<ValidationReport> {
    let logs = logs_at(root)?;
    let mut findings = Vec::new();
    let mut checked = Checked::default();
    task.begin("look", Some(logs.len() as u64), "episodes");
    for (done, path) in logs.iter().enumerate() {
        let log = Log::open(path)?;
        let hint = format!(
            "what is whole is kept: embody data repair {} TARGET makes a dataset of it",
            root.display()
        );
        let cut = log.findings().iter().cloned().map(|f| f.hint(hint.clone()));
        findings.extend(cut);
        findings.extend(dropped(&log)?);
        let mut messages = 0;
        findings.extend(log.visit(&|_| true, &mut |_| {
            messages += 1;
            Ok(())
        })?);
        checked.episodes += 1;
        checked.values += messages;
        task.advance("look", done as u64 + 1, "")?;
    }
    task.end("look");
    Ok(ValidationReport { findings, checked })
}

/// What a log says of messages that its recorder dropped.
pub(crate) fn dropped(log: &Log) -> Result<Vec<Finding>> {
    let channels = log.channels();
    let ours = |c: usize| channels[c].topic == DROPPED && channels[c].encoding == Encoding::Json;
    if !(0..channels.len()).any(ours) {
        return Ok(Vec::new());
    }
    let mut counts: Vec<(String, u64)> = Vec::new();
    log.visit(&ours, &mut |message| {
        if let Ok(Value::Object(said)) = serde_json::from_slice(message.data)
            && let (Some(stream), Some(count)) = (said.get("stream"), said.get("count"))
            && let (Some(stream), Some(count)) = (stream.as_str(), count.as_u64())
        {
            match counts.iter_mut().find(|(s, _)| s == stream) {
                Some((_, sum)) => *sum += count,
                None => counts.push((stream.to_owned(), count)),
            }
        }
        Ok(())
    })?;
    let name = log.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let findings = counts.into_iter().map(|(stream, count)| {
        let text = format!("{count} messages of {stream} did not reach the log: it was behind");
        Finding::warning("recording-dropped", text).file(name.clone())
    });
    Ok(findings.collect())
}

/// Makes a dataset of the session at `source`; with `dry_run` only says what there is.
///
/// # Errors
/// When no episode comes out, or the target can't be written.
pub(crate) fn complete(
    source: &Path,
    target: &Path,
    dry_run: bool,
    task: Task<'_>,
) -> Result<RepairReport> {
    let found = check(source, task)?;
    let cut = |f: &Finding| f.code == "log-cut-off";
    let (done, mut lost): (Vec<_>, Vec<_>) = found.findings.into_iter().partition(cut);
    let parent = embody_core::hash_tree(source, &|_| false)?;
    let mut report = RepairReport {
        path: None,
        done,
        lost: Vec::new(),
        left: Vec::new(),
        episodes: found.checked.episodes,
        frames: 0,
        parent,
        version: None,
    };
    if !dry_run {
        let map = Some(source.join(SESSION_MAPPING));
        let imported = import(source, target, ImportOptions { map, ..Default::default() }, task)?;
        let notes = imported.notes.into_iter().filter(|n| n.severity != Severity::Note);
        let known = |n: &Finding| cut(n) || lost.contains(n);
        let more: Vec<_> = notes.filter(|n| !known(n)).collect();
        lost.extend(more);
        report.left = validate(target, &ValidateOptions::default(), task)?.findings;
        (report.episodes, report.frames) = (imported.episodes, imported.frames);
        (report.path, report.version) = (Some(imported.path), Some(imported.version));
    }
    report.lost = lost;
    Ok(report)
}
