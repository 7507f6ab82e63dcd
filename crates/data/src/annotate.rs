//! Annotations: success, score, weight, instruction and labelled segments, set afterwards.
//!
//! They make a new version, never a change in place; lineage says what was set. An instruction goes
//! where LeRobot reads it (`task_index` of every frame, or of a segment's frames); the rest stands in
//! `embody/` columns of the episode table. Tables come as CSV or as one JSON object per line; both
//! name their columns, and every error names the line.

use std::path::Path;

use embody_core::{AtomicDir, IoContext, Result, Task, nearest_key};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, SegmentLabel};
use crate::error::DataError;
use crate::import::{Changes, Labels, copy_changed, v3_info};
use crate::lineage::Lineage;
use crate::writer::DatasetWriter;

/// Columns that an annotation table may have.
const COLUMNS: [&str; 8] =
    ["episode", "start", "end", "success", "score", "weight", "task", "label"];

/// What is to be said of an episode, or of a stretch of one. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    /// Episode index.
    pub episode: usize,
    /// First frame of the stretch; with `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// One past the last frame of the stretch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
    /// Whether the task (or the stretch) was achieved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// A classifier's score of success, 0-1; of a whole episode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Sampling weight, 0 or more; of a whole episode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Name of the stretch, such as a phase or a skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Copies the dataset at `source` to `target` with the annotations set, in their order: a later one
/// wins. A stretch replaces an earlier one of the same frames.
///
/// # Errors
/// When an annotation makes no sense for the dataset (names it), or files can't be read or written;
/// nothing is left behind.
pub fn annotate(
    source: &Path,
    target: &Path,
    annotations: &[Annotation],
    task: Task<'_>,
) -> Result<Lineage> {
    let dataset = Dataset::open(source)?;
    let mut by_episode: IndexMap<usize, Vec<&Annotation>> = IndexMap::new();
    for annotation in annotations {
        check(&dataset, annotation)?;
        by_episode.entry(annotation.episode).or_default().push(annotation);
    }
    if by_episode.is_empty() {
        return Err(DataError::Request {
            why: "there is nothing to annotate".to_owned(),
            hint: "give at least one annotation".to_owned(),
        }
        .into());
    }
    let staging = AtomicDir::begin(target, false)?;
    let mut writer = DatasetWriter::new(staging.path(), v3_info(dataset.info()));
    writer.declare_tasks(&used_tasks(&dataset, &by_episode)?);
    let files = crate::edit::whole_files(&dataset);
    task.begin("annotate", Some(dataset.episodes().len() as u64), "episodes");
    // A file of which every episode stays is linked, not copied.
    for (episode, linked) in files.into_iter().enumerate() {
        let given = by_episode.get(&episode).map(Vec::as_slice).unwrap_or_default();
        let mut relabel = |labels: &mut Labels| given.iter().for_each(|a| set(labels, a));
        let changes = Changes { relabel: Some(&mut relabel), linked };
        copy_changed(&dataset, episode, None, changes, &mut writer)?;
        task.advance("annotate", episode as u64 + 1, "")?;
    }
    task.end("annotate");
    let splits = dataset.info().splits.clone();
    let parameters = serde_json::json!({ "annotations": annotations });
    let (lineage, _) =
        writer.finish(splits, Some(dataset.version()?), "annotate", parameters, task)?;
    staging.commit()?;
    Ok(lineage)
}

/// The instructions that stay in use, in their old order: one that every frame gave up is not
/// declared again.
fn used_tasks(
    dataset: &Dataset,
    by_episode: &IndexMap<usize, Vec<&Annotation>>,
) -> Result<Vec<String>> {
    let whole = |a: &&Annotation| a.task.is_some() && a.start.is_none();
    let mut used = vec![false; dataset.tasks().len()];
    for (number, episode) in dataset.episodes().iter().enumerate() {
        if by_episode.get(&number).is_some_and(|all| all.iter().any(whole)) {
            continue;
        }
        for text in &episode.tasks {
            if let Some(at) = dataset.tasks().iter().position(|t| t == text) {
                used[at] = true;
            }
        }
    }
    Ok(dataset.tasks().iter().zip(used).filter(|(_, u)| *u).map(|(t, _)| t.clone()).collect())
}

/// Sets one annotation on an episode's labels.
fn set(labels: &mut Labels, a: &Annotation) {
    if let Some((start, end)) = a.start.zip(a.end) {
        let segments = &mut labels.annotations.segments;
        let (label, task, success) = (a.label.clone(), a.task.clone(), a.success);
        let at = match segments.iter().position(|s| s.start == start && s.end == end) {
            Some(at) => at,
            None => {
                let fresh = SegmentLabel { start, end, label: None, task: None, success: None };
                let at = segments.partition_point(|s| (s.start, s.end) < (start, end));
                segments.insert(at, fresh);
                at
            }
        };
        let segment = &mut segments[at];
        segment.label = label.or(segment.label.take());
        segment.task = task.or(segment.task.take());
        segment.success = success.or(segment.success);
    } else {
        labels.outcome.success = a.success.or(labels.outcome.success);
        labels.annotations.score = a.score.or(labels.annotations.score);
        labels.annotations.weight = a.weight.or(labels.annotations.weight);
    }
    if let Some(task) = &a.task {
        let range = a.start.zip(a.end).map_or(0..labels.frame_tasks.len(), |(s, e)| s..e);
        let at = labels.tasks.iter().position(|t| t == task).unwrap_or_else(|| {
            labels.tasks.push(task.clone());
            labels.tasks.len() - 1
        });
        labels.frame_tasks[range].fill(at);
        keep_used(labels);
    }
}

/// Leaves out instructions that no frame carries any more.
fn keep_used(labels: &mut Labels) {
    let mut place = vec![None; labels.tasks.len()];
    let mut tasks = Vec::new();
    for (old, text) in labels.tasks.iter().enumerate() {
        if labels.frame_tasks.contains(&old) {
            place[old] = Some(tasks.len());
            tasks.push(text.clone());
        }
    }
    labels.frame_tasks.iter_mut().for_each(|t| *t = place[*t].unwrap_or(0));
    labels.tasks = tasks;
}

fn check(dataset: &Dataset, a: &Annotation) -> Result<()> {
    let episode = dataset.episode(a.episode)?;
    let refuse = |why: String, hint: &str| -> Result<()> {
        let why = format!("annotation of episode {}: {why}", a.episode);
        Err(DataError::Request { why, hint: hint.to_owned() }.into())
    };
    match (a.start, a.end) {
        (Some(start), Some(end)) if start < end && end <= episode.length => {
            if a.score.is_some() || a.weight.is_some() {
                let hint = "a stretch takes success, task and label";
                return refuse("score and weight are of whole episodes".to_owned(), hint);
            }
        }
        (None, None) if a.label.is_some() => {
            return refuse("a label needs a stretch".to_owned(), "give start and end");
        }
        (None, None) => {}
        (start, end) => {
            let text = |v: Option<usize>| v.map_or("nothing".to_owned(), |v| v.to_string());
            let why = format!(
                "the stretch from {} to {} is not inside its {} frames",
                text(start),
                text(end),
                episode.length
            );
            return refuse(why, "start is the first frame, end one past the last");
        }
    }
    if a.success.is_none()
        && a.score.is_none()
        && a.weight.is_none()
        && a.task.is_none()
        && a.label.is_none()
    {
        return refuse("it says nothing".to_owned(), "set success, score, weight, task or label");
    }
    if a.task.as_ref().is_some_and(|t| t.trim().is_empty()) {
        return refuse("the task is empty".to_owned(), "give the instruction in words");
    }
    if let Some(score) = a.score.filter(|s| !(0.0..=1.0).contains(s)) {
        return refuse(format!("score is {score}"), "a score is from 0 to 1");
    }
    if let Some(weight) = a.weight.filter(|w| !(w.is_finite() && *w >= 0.0)) {
        return refuse(format!("weight is {weight}"), "a weight is 0 or more");
    }
    Ok(())
}

/// Reads annotations from a table: CSV with a head line, or one JSON object per line (`.jsonl`).
///
/// # Errors
/// When the file can't be read or a line not understood; names the line.
pub fn read_annotations(path: &Path) -> Result<Vec<Annotation>> {
    if path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson") {
        return crate::format::read_jsonl(path);
    }
    let file = std::fs::File::open(path).at("read", path)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let bad = |line: u64, why: String, hint: String| -> embody_core::Error {
        let why = format!("{}, line {line}: {why}", path.display());
        DataError::Request { why, hint }.into()
    };
    let heads = reader.headers().map_err(|e| bad(1, e.to_string(), String::new()))?.clone();
    for head in &heads {
        if !COLUMNS.contains(&head) {
            let near = nearest_key(head, COLUMNS);
            let meant = near.map(|n| format!("did you mean {n:?}? ")).unwrap_or_default();
            let hint = format!("{meant}known are: {}", COLUMNS.join(", "));
            return Err(bad(1, format!("column {head:?} is not known"), hint));
        }
    }
    let mut out = Vec::new();
    for row in reader.deserialize::<Annotation>() {
        out.push(row.map_err(|e| {
            let line = e.position().map_or(0, csv::Position::line);
            let why = match e.kind() {
                csv::ErrorKind::Deserialize { err, .. } => {
                    let column = err.field().and_then(|f| heads.get(f as usize)).unwrap_or("?");
                    format!("column {column:?}: {}", err.kind())
                }
                _ => e.to_string(),
            };
            bad(line, why, "success is true or false, frames and episodes are whole numbers".into())
        })?);
    }
    Ok(out)
}
