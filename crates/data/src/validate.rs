//! Validation: everything that can be wrong with a dataset, found in one pass and named.
//!
//! LeRobot's reader lets much pass in silence (reversed rows, shifted video, wrong totals, unknown
//! versions); each of those is a finding here, as are the faults seen in published datasets. Works on
//! every version of the layout without converting it. Findings come in episode order, whatever the
//! number of threads.

mod codes;
mod meta;
mod table;
mod video;

pub(crate) use meta::lacks_footer;

use std::path::Path;

use embody_core::{Result, StatsMap, Task};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, detect_format, load};
use crate::finding::{Finding, Severity};
use crate::lineage::{lineage, version_of};
use crate::stats::Moments;

/// How much video to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecodeCheck {
    /// None: only the files' indexes are read.
    None,
    /// A few frames of every episode: finds black, frozen and damaged episodes.
    #[default]
    Sampled,
    /// Every frame.
    All,
}

/// What to check.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidateOptions {
    /// How much video to decode.
    pub decode: DecodeCheck,
    /// Lower and upper bound per dimension, by feature, such as joint limits.
    pub ranges: IndexMap<String, (Vec<f64>, Vec<f64>)>,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    /// Episodes.
    pub episodes: usize,
    /// Rows of tables.
    pub frames: usize,
    /// Numbers in tables.
    pub values: u64,
    /// Episodes of cameras.
    pub videos: usize,
    /// Frames decoded.
    pub decoded_frames: u64,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// Findings: of the whole dataset first, then by episode.
    pub findings: Vec<Finding>,
    /// How much was checked.
    pub checked: Checked,
}

impl ValidationReport {
    /// Number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// Whether nothing contradicts itself.
    pub fn is_ok(&self) -> bool {
        self.count(Severity::Error) == 0
    }
}

/// Findings of one code beyond this many become one that counts the rest.
const MAX_PER_CODE: usize = 20;

/// Checks the dataset at `root`.
///
/// # Errors
/// Only when there is no dataset at all or the work was cancelled; all else is a finding.
pub fn validate(
    root: &Path,
    options: &ValidateOptions,
    task: Task<'_>,
) -> Result<ValidationReport> {
    if crate::session::is_session(root) {
        return crate::session::check(root, task);
    }
    if !root.join("meta/info.json").is_file() {
        detect_format(root)?;
    }
    let mut described = meta::check(root);
    let (dataset, mut findings) = match load(root) {
        Ok(loaded) => loaded,
        Err(error) => {
            if !described.iter().any(|f| f.severity == Severity::Error) {
                let mut finding = Finding::error("unreadable", error.to_string());
                finding.hint = error.hint().map(str::to_owned);
                described.push(finding);
            }
            codes::explain(&mut described);
            return Ok(ValidationReport { findings: described, checked: Checked::default() });
        }
    };
    findings.splice(..0, described);
    let total = dataset.episodes().len();
    task.begin("validate", Some(total as u64), "episodes");
    let done = std::sync::atomic::AtomicU64::new(0);
    let parts: Result<Vec<Part>> = (0..total)
        .into_par_iter()
        .map(|episode| {
            let part = check_episode(&dataset, episode, options);
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            task.advance("validate", done, "")?;
            Ok(part)
        })
        .collect();
    let parts = parts?;
    task.end("validate");
    let mut checked = Checked { episodes: total, ..Checked::default() };
    let mut moments: IndexMap<String, Moments> = IndexMap::new();
    let mut complete = true;
    let mut by_episode = Vec::new();
    for part in parts {
        by_episode.extend(part.findings);
        checked.frames += part.checked.frames;
        checked.values += part.checked.values;
        checked.videos += part.checked.videos;
        checked.decoded_frames += part.checked.decoded_frames;
        complete &= part.complete;
        for (key, m) in part.moments {
            match moments.get_mut(&key) {
                Some(sum) => sum.merge(&m),
                None => {
                    moments.insert(key, m);
                }
            }
        }
    }
    table::check_whole(&dataset, &moments, complete, &mut findings);
    video::check_whole(&dataset, &mut findings);
    check_lineage(root, &mut findings)?;
    findings.extend(by_episode);
    codes::explain(&mut findings);
    Ok(ValidationReport { findings: shorten(findings), checked })
}

/// What the check of one episode gives.
#[derive(Default)]
struct Part {
    findings: Vec<Finding>,
    checked: Checked,
    /// Moments of its numeric features.
    moments: IndexMap<String, Moments>,
    /// Whether all of its table could be read.
    complete: bool,
}

fn check_episode(dataset: &Dataset, episode: usize, options: &ValidateOptions) -> Part {
    let mut part = Part::default();
    let moves = table::check(dataset, episode, options, &mut part);
    let keys: Vec<String> = dataset.info().video_keys().map(str::to_owned).collect();
    for key in &keys {
        video::check(dataset, episode, key, options.decode, moves, &mut part);
    }
    part
}

fn check_lineage(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    if let Ok(Some(record)) = lineage(root) {
        let actual = version_of(root)?;
        if actual != record.version {
            let text = format!(
                "content hash is {}, the record says {}: files were changed afterwards",
                actual.short(),
                record.version.short()
            );
            findings.push(
                Finding::warning("content-changed", text)
                    .file("meta/embody.json")
                    .hint("import the folder to give it a version of its own"),
            );
        }
    }
    Ok(())
}

fn shorten(findings: Vec<Finding>) -> Vec<Finding> {
    let mut seen: IndexMap<String, (Severity, usize)> = IndexMap::new();
    let mut out = Vec::new();
    for finding in findings {
        let entry = seen.entry(finding.code.clone()).or_insert((finding.severity, 0));
        entry.1 += 1;
        if entry.1 <= MAX_PER_CODE {
            out.push(finding);
        }
    }
    for (code, (severity, count)) in seen {
        if count > MAX_PER_CODE {
            let text = format!("and {} more of these", count - MAX_PER_CODE);
            out.push(Finding::new(severity, &code, text));
        }
    }
    out
}

/// Whether statistics say something about `key`.
fn has_stats(stats: &StatsMap, key: &str) -> bool {
    stats.get(key).is_some_and(|s| !s.mean.is_empty())
}
