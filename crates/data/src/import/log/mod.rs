//! Message logs to LeRobot v3.0, as a mapping says.
//!
//! Two passes over each log: [`survey`] takes times, [`episodes`] and [`align`] decide which
//! messages make which frame, [`gather`] decodes just those and records. Memory holds the times of
//! one log and the messages of a few frames, never a stream. The originals are kept ([`streams`]).

mod align;
mod carry;
mod episodes;
mod gather;
mod streams;
mod survey;
#[cfg(test)]
mod tests;

use std::path::Path;

use embody_core::{ContentHash, IoContext, Result, Task, hash_file, hash_tree};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;

use super::{ImportOptions, ImportReport};
use crate::error::DataError;
use crate::finding::Finding;
use crate::log::{ClockDrift, Log, LogClock, Timing, clock_drift, logs_at, timing};
use crate::mapping::{Mapping, Method};
use crate::recorder::{LeRobotRecorder, Origin, RecordSpec};

use episodes::episodes;
use gather::{Gather, Tally};
use streams::Keeper;
use survey::Survey;

pub(crate) use align::tick;
pub(crate) use carry::{Carried, carry};
pub(crate) use streams::{MAPPING_FILE, begin as begin_mcap};

/// What became of a topic.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// The topic.
    pub topic: String,
    /// Type of its messages.
    pub type_name: String,
    /// Messages, rate, jitter, gaps, messages that are missing.
    #[serde(flatten)]
    pub timing: Timing,
    /// Log time against the stamps in the messages, in the first log.
    pub clock: Option<ClockDrift>,
    /// What it was used for.
    pub used: Vec<UseReport>,
}

/// One use of a topic.
#[derive(Debug, Clone, Serialize)]
pub struct UseReport {
    /// Key of the feature or camera.
    pub feature: String,
    /// How values between messages were had.
    pub method: Method,
    /// Frames with a message of their own.
    pub fresh: usize,
    /// Frames that repeat the message of the frame before.
    pub held: usize,
    /// Frames between two messages.
    pub interpolated: usize,
    /// Frames whose message is older than allowed.
    pub stale: usize,
    /// Time from a frame to the farthest message used, seconds.
    pub oldest_secs: f64,
    /// Numbers that were infinite or NaN and were replaced.
    pub replaced: u64,
}

/// Gathered over all logs.
struct Total {
    type_name: String,
    times: Vec<Vec<i64>>,
    clock: Option<ClockDrift>,
    used: Vec<(String, Method, Tally)>,
}

/// Imports the log, or the folder of logs, at `source`.
pub(super) fn import(
    source: &Path,
    target: &Path,
    options: &ImportOptions,
    task: Task<'_>,
) -> Result<ImportReport> {
    let own = source.join(crate::session::SESSION_MAPPING);
    let own = crate::session::is_session(source).then_some(own);
    let mapping = match options.map.as_ref().or(own.as_ref()) {
        Some(path) => Mapping::read(path)?,
        None => {
            return Err(DataError::Request {
                why: format!("{} is a message log: which topics become which features?", source.display()),
                hint: format!(
                    "let a mapping be proposed: embody data inspect {} --mapping map.toml; edit it, \
                     then import with --map map.toml",
                    source.display()
                ),
            }
            .into());
        }
    };
    let from = if source.is_dir() { hash_tree(source, &|_| false)? } else { hash_file(source)? };
    let logs = logs_at(source)?;
    let origin = Origin { operation: "import".to_owned(), source: from };
    import_with(&logs, target, &mapping, origin, options, task)
}

/// Imports the streams that a dataset keeps, at another rate or with another mapping.
///
/// # Errors
/// When the dataset keeps no streams, or as importing a log.
pub fn resample(
    dataset: &Path,
    target: &Path,
    fps: Option<f64>,
    options: &ImportOptions,
    task: Task<'_>,
) -> Result<ImportReport> {
    let folder = dataset.join("streams");
    let stored = dataset.join(MAPPING_FILE);
    if !stored.is_file() {
        return Err(DataError::Request {
            why: format!("{} keeps no streams to sample again", dataset.display()),
            hint: "import the log again, without --drop-streams".to_owned(),
        }
        .into());
    }
    let mut mapping = Mapping::read(options.map.as_deref().unwrap_or(&stored))?;
    if let Some(fps) = fps {
        mapping.fps = fps;
    }
    // Each file is an episode already.
    mapping.episodes = crate::mapping::EpisodeRule {
        stale: mapping.episodes.stale,
        ..crate::mapping::EpisodeRule::default()
    };
    mapping.task_from = None;
    // The kept streams have one clock.
    mapping.timeline = None;
    let mapping = mapping.rewritten()?;
    let source = crate::lineage::version_of(dataset)?;
    let origin = Origin { operation: "resample".to_owned(), source };
    import_with(&logs_at(&folder)?, target, &mapping, origin, options, task)
}

fn import_with(
    logs: &[std::path::PathBuf],
    target: &Path,
    mapping: &Mapping,
    origin: Origin,
    options: &ImportOptions,
    task: Task<'_>,
) -> Result<ImportReport> {
    let mut recorder: Option<LeRobotRecorder> = None;
    let mut totals: IndexMap<String, Total> = IndexMap::new();
    let mut notes: Vec<Finding> = Vec::new();
    let mut format = "message log";
    let mut count = 0;
    let source_version: ContentHash = origin.source.clone();
    task.begin("import", Some(logs.len() as u64), "logs");
    for (done, path) in logs.iter().enumerate() {
        let clock = LogClock { timeline: mapping.timeline.as_deref(), ticks_per_sec: mapping.fps };
        let log = Log::open_by(path, clock)?;
        format = log.format().as_str();
        notes.extend(crate::session::dropped(&log)?);
        let mut survey = match Survey::of(&log, mapping, task) {
            Ok(survey) => survey,
            // A recording that was killed as it began: a topic has no message yet.
            Err(error) if is_cut_off(&log) && !error.is_cancelled() => {
                notes.extend(log.findings().to_vec());
                let text = format!("the log was cut off before it held an episode: {error}");
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                notes.push(Finding::warning("episode-incomplete", text).file(name));
                continue;
            }
            Err(error) => return Err(error),
        };
        let episodes = episodes(&log, &mut survey, mapping)?;
        let mut gather = Gather::new(&log, &survey, mapping, &episodes)?;
        if !episodes.is_empty() {
            let recorder = match &mut recorder {
                Some(recorder) => recorder,
                None => {
                    let spec = RecordSpec {
                        fps: mapping.fps,
                        robot_type: mapping.robot.clone(),
                        features: gather.features()?,
                        video: options.video,
                        threads: 0,
                        parameters: json!({
                            "mapping": mapping.text(),
                            "keep_streams": !options.drop_streams,
                            "options": options.parameters,
                        }),
                        origin: Some(origin.clone()),
                    };
                    recorder.insert(LeRobotRecorder::create(target, spec)?)
                }
            };
            let keeper = (!options.drop_streams)
                .then(|| Keeper::new(recorder.staging(), count, &survey, &episodes))
                .transpose()?;
            gather.run(recorder, keeper, task)?;
            count += episodes.len();
        }
        let tally = std::mem::take(&mut gather.tally);
        drop(gather);
        notes.append(&mut survey.findings);
        add_up(&mut totals, survey, &tally);
        task.advance("import", done as u64 + 1, "")?;
    }
    task.end("import");
    let Some(recorder) = recorder else {
        let why: Vec<&str> = notes.iter().map(|n| n.message.as_str()).collect();
        return Err(DataError::Request {
            why: format!("no episode came out of the log: {}", why.join("; ")),
            hint: "see topics and gaps with embody data inspect".to_owned(),
        }
        .into());
    };
    if !options.drop_streams {
        let path = recorder.staging().join(MAPPING_FILE);
        std::fs::write(&path, mapping.text()).at("write", &path)?;
    }
    let done = recorder.finish()?;
    let streams: Vec<StreamReport> = totals.into_iter().map(report).collect();
    notes.extend(streams.iter().flat_map(stale_notes));
    Ok(ImportReport {
        path: done.path,
        source_format: format.to_owned(),
        episodes: done.episodes,
        frames: done.frames,
        source_version,
        version: done.version,
        notes,
        streams,
    })
}

/// Whether the log lacks its end.
fn is_cut_off(log: &Log) -> bool {
    log.findings().iter().any(|f| f.code == "log-cut-off")
}

fn add_up(totals: &mut IndexMap<String, Total>, survey: Survey, tally: &[Tally]) {
    let Survey { streams, parts, .. } = survey;
    for (s, stream) in streams.into_iter().enumerate() {
        let total = totals.entry(stream.topic.clone()).or_insert_with(|| Total {
            type_name: stream.channel.type_name.clone(),
            times: Vec::new(),
            clock: clock_drift(&stream.log_times, &stream.stamps),
            used: Vec::new(),
        });
        total.times.push(stream.log_times);
        for (part, tally) in parts.iter().zip(tally).filter(|(part, _)| part.stream == s) {
            match total.used.iter_mut().find(|u| u.0 == part.key && u.1 == part.method) {
                // Several fields of a topic share the fate of its messages.
                Some(used) if part.slot.is_some_and(|slot| slot > 0) => {
                    used.2.replaced += tally.replaced;
                }
                Some(used) => used.2.merge(tally),
                None => total.used.push((part.key.clone(), part.method, tally.clone())),
            }
        }
    }
}

fn report((topic, total): (String, Total)) -> StreamReport {
    let used = total.used.into_iter().map(|(feature, method, tally)| UseReport {
        feature,
        method,
        fresh: tally.fresh,
        held: tally.held,
        interpolated: tally.interpolated,
        stale: tally.stale,
        oldest_secs: tally.oldest_ns as f64 / 1e9,
        replaced: tally.replaced,
    });
    StreamReport {
        topic,
        type_name: total.type_name,
        timing: timing(&total.times),
        clock: total.clock,
        used: used.collect(),
    }
}

fn stale_notes(stream: &StreamReport) -> Vec<Finding> {
    let stale = stream.used.iter().filter(|u| u.stale > 0);
    stale
        .map(|used| {
            let text = format!(
                "{} frames of {} hold a message of {} that is older than allowed (up to {:.3} s)",
                used.stale, used.feature, stream.topic, used.oldest_secs
            );
            Finding::warning("stale-frames", text)
                .hint("cut there with stale = \"split\" under [episodes] of the mapping")
        })
        .collect()
}
