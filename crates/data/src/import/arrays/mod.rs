//! What array formats (RLDS, HDF5, Zarr) have in common: named columns with one entry per frame,
//! which become features of a dataset by way of the recorder.
//!
//! A format says which columns there are and reads rows of them ([`Episodes`]); the mapping to
//! features is one ([`plan`]), and so is the way through the recorder ([`record`]). Invariants:
//! memory holds a block of frames, never an episode's pictures; every error names the file, the
//! episode and the column; what has no place in the dataset is named in the report.

mod numbers;
mod plan;

use std::ops::Range;
use std::path::Path;

use embody_core::{
    ArrayData, ArrayView, ContentHash, DType, DataView, EpisodeOutcome, Recorder, Result, Task,
    hash_file, hash_tree,
};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde_json::json;

use crate::error::DataError;
use crate::finding::Finding;
use crate::import::{ImportOptions, ImportReport};
use crate::picture;
use crate::recorder::{FrameValue, LeRobotRecorder, Origin, RecordSpec};

pub(super) use numbers::{Pixels, Scalar, numbers, pixels};
use plan::Plan;

/// Bytes of decoded frames read at a time.
const BLOCK_BYTES: usize = 32 << 20;

/// One array of a recording, with an entry per frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// Where it stands, such as `steps/observation/image_0`.
    pub name: String,
    /// Element type; [`DType::Video`] for pictures, whose values are RGB bytes.
    pub dtype: DType,
    /// Shape of one frame's value.
    pub shape: Vec<usize>,
    /// What it becomes by default.
    pub becomes: Becomes,
}

impl Column {
    /// A column of that name.
    pub fn new(name: &str, dtype: DType, shape: &[usize], becomes: Becomes) -> Self {
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), becomes }
    }

    /// One that can't be read, and why.
    pub fn refused(name: &str, why: String) -> Self {
        Self::new(name, DType::Uint8, &[1], Becomes::Refused(why))
    }
}

/// Decodes encoded pictures of one size, one after the other in the result; `one` gives what is
/// called `what` number `n` in an error.
pub(super) fn decode_pictures<'a>(
    numbers: &[usize],
    what: &str,
    (height, width): (usize, usize),
    one: impl Fn(usize) -> std::result::Result<&'a [u8], String> + Sync,
) -> std::result::Result<ArrayData, String> {
    let pictures: std::result::Result<Vec<Vec<u8>>, String> = numbers
        .par_iter()
        .map(|&number| {
            let picture = one(number)?;
            picture::decode(picture, height, width).map_err(|e| format!("{what} {number}: {e}"))
        })
        .collect();
    Ok(ArrayData::U8(pictures?.concat()))
}

/// What becomes of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Becomes {
    /// A feature of that name.
    Feature(String),
    /// The instruction of each frame; the column is text.
    Task,
    /// Nothing, because other columns say the same; unless it is given a name.
    Nothing(&'static str),
    /// An error for this reason, unless it is left out on purpose.
    Refused(String),
}

/// Values of one column over some frames.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Numbers, truth values, or pictures as RGB bytes.
    Array(ArrayData),
    /// Text.
    Text(Vec<String>),
}

/// What is known of an episode before its frames are read.
#[derive(Debug, Clone, Default)]
pub(super) struct EpisodeHead {
    /// File and episode in it, for errors.
    pub place: String,
    /// Number of frames.
    pub length: usize,
    /// Instruction, where it is one for the episode.
    pub task: Option<String>,
    /// What is known of its outcome.
    pub outcome: EpisodeOutcome,
}

/// The episodes of a recording, read by rows.
pub(super) trait Episodes {
    /// All columns; the same for every episode.
    fn columns(&self) -> &[Column];
    /// Number of episodes.
    fn len(&self) -> usize;
    /// Makes `episode` the one that [`Episodes::read`] reads, after checking that the columns that
    /// are `used` agree on its length.
    fn open(&mut self, episode: usize, used: &[usize]) -> Result<EpisodeHead>;
    /// Rows of a column of the open episode, as many as asked for.
    fn read(&mut self, column: usize, rows: Range<usize>) -> Result<Values>;
    /// What was worth knowing about the frames read.
    fn notes(&self) -> Vec<Finding> {
        Vec::new()
    }
}

/// A recording about to be imported.
pub(super) struct Recording {
    /// Its format, such as `RLDS bridge_dataset 1.0.0`.
    pub format: String,
    /// Frames per second, where it says so.
    pub fps: Option<f64>,
    /// What was recorded.
    pub robot_type: Option<String>,
    /// Episodes by split.
    pub splits: IndexMap<String, Range<usize>>,
    /// What is worth knowing.
    pub notes: Vec<Finding>,
    /// The frames.
    pub episodes: Box<dyn Episodes>,
}

/// Records a foreign recording, whose files lie at `source`, as a new dataset at `target`.
pub(super) fn record(
    source: &Path,
    target: &Path,
    mut recording: Recording,
    options: ImportOptions,
    task: Task<'_>,
) -> Result<ImportReport> {
    let fps = frame_rate(source, &mut recording, &options)?;
    let plan = Plan::of(source, recording.episodes.columns(), &options.rename)?;
    recording.notes.extend(plan.notes());
    let source_version = content_of(source)?;
    let spec = RecordSpec {
        fps,
        robot_type: options.robot_type.clone().or(recording.robot_type.take()),
        features: plan.features.clone(),
        video: options.video,
        threads: options.threads,
        parameters: json!({
            "source_format": recording.format, "fps": fps, "rename": options.rename,
            "task": options.task, "video": options.video, "options": options.parameters,
        }),
        origin: Some(Origin { operation: "import".to_owned(), source: source_version.clone() }),
    };
    let total = recording.episodes.len();
    let all = options.episodes.is_none();
    let chosen = options.episodes.unwrap_or_else(|| (0..total).collect());
    if let Some(bad) = chosen.iter().find(|e| **e >= total) {
        let why = format!("{} has no episode {bad}", source.display());
        let hint = format!("it has episodes 0 to {}", total.saturating_sub(1));
        return Err(DataError::Request { why, hint }.into());
    }
    let used: Vec<usize> = plan.columns().collect();
    let mut recorder = LeRobotRecorder::create(target, spec)?;
    task.begin("import", Some(chosen.len() as u64), "episodes");
    for (done, &episode) in chosen.iter().enumerate() {
        let head = recording.episodes.open(episode, &used)?;
        let place = head.place.clone();
        let default_task = options.task.as_deref();
        record_episode(&mut recorder, &plan, recording.episodes.as_mut(), head, default_task, task)
            .map_err(|e| if e.is_cancelled() { e } else { e.context(place) })?;
        task.advance("import", done as u64 + 1, "")?;
    }
    task.end("import");
    recording.notes.extend(recording.episodes.notes());
    let mut splits = IndexMap::new();
    if all {
        let range = |r: &Range<usize>| format!("{}:{}", r.start, r.end);
        splits.extend(recording.splits.iter().map(|(name, r)| (name.clone(), range(r))));
    }
    let report = recorder.finish_with(splits)?;
    Ok(ImportReport {
        path: report.path,
        source_format: recording.format,
        episodes: report.episodes,
        frames: report.frames,
        source_version,
        version: report.version,
        notes: recording.notes,
        streams: Vec::new(),
    })
}

/// The frame rate: the one asked for, else the one in the file. It is never guessed: every time,
/// velocity and chunk length of a policy hangs on it.
fn frame_rate(source: &Path, recording: &mut Recording, options: &ImportOptions) -> Result<f64> {
    match (options.fps, recording.fps) {
        (Some(asked), Some(says)) if asked != says => {
            let text =
                format!("the recording says {says} frames per second, {asked} was asked for");
            recording.notes.push(Finding::note("frame-rate", text));
            Ok(asked)
        }
        (Some(fps), _) | (None, Some(fps)) => Ok(fps),
        (None, None) => Err(DataError::Request {
            why: format!("{} ({}) does not say its frame rate", source.display(), recording.format),
            hint: "give it: --fps N (BridgeData 5, diffusion_policy 10, robomimic 20, ALOHA 50)"
                .to_owned(),
        }
        .into()),
    }
}

/// Content hash of a file or a folder.
pub(super) fn content_of(source: &Path) -> Result<ContentHash> {
    if source.is_dir() { hash_tree(source, &|_| false) } else { hash_file(source) }
}

fn record_episode(
    recorder: &mut LeRobotRecorder,
    plan: &Plan,
    episodes: &mut dyn Episodes,
    head: EpisodeHead,
    default_task: Option<&str>,
    task: Task<'_>,
) -> Result<()> {
    recorder.begin_episode(head.task.as_deref().or(default_task).unwrap_or(""))?;
    let rows = (BLOCK_BYTES / plan.frame_bytes().max(1)).clamp(1, 1024);
    let mut from = 0;
    while from < head.length {
        task.cancel.check()?;
        let block = from..(from + rows).min(head.length);
        let mut values = IndexMap::new();
        for column in plan.columns() {
            values.insert(column, episodes.read(column, block.clone())?);
        }
        for row in 0..block.len() {
            record_frame(recorder, plan, &values, row)?;
        }
        from = block.end;
    }
    recorder.save_episode(head.outcome)
}

fn record_frame(
    recorder: &mut LeRobotRecorder,
    plan: &Plan,
    values: &IndexMap<usize, Values>,
    row: usize,
) -> Result<()> {
    if let Some(Values::Text(texts)) = plan.task.and_then(|c| values.get(&c))
        && let Some(text) = texts.get(row)
    {
        recorder.set_task(text)?;
    }
    // Joined columns are put together here; the others are handed on where they lie.
    let mut joined: Vec<ArrayData> = Vec::new();
    for target in plan.targets.iter().filter(|t| t.columns.len() > 1) {
        let parts = target.columns.iter().filter_map(|(c, width)| Some((values.get(c)?, *width)));
        joined.push(numbers::join(parts, row));
    }
    let mut joined = joined.iter();
    let mut frame: Vec<(&str, FrameValue<'_>)> = Vec::with_capacity(plan.targets.len());
    for target in &plan.targets {
        let data = match target.columns[..] {
            [(column, width)] => match values.get(&column) {
                Some(Values::Array(data)) => numbers::row_of(data, row, width),
                Some(Values::Text(texts)) => {
                    let text = texts.get(row).map_or("", String::as_str);
                    frame.push((&target.key, FrameValue::Text(text)));
                    continue;
                }
                None => DataView::U8(&[]),
            },
            _ => joined.next().map_or(DataView::U8(&[]), numbers::view),
        };
        let shape = &plan.features[&target.key].shape;
        frame.push((&target.key, FrameValue::Array(ArrayView { shape, data })));
    }
    recorder
        .add_values(&frame)
        .map_err(|e| e.with_hint("mend the recording, or leave the column out: --rename COLUMN="))
}

/// Says that a file of a foreign recording is wrong: `place` is the episode and column.
pub(super) fn wrong(path: &Path, place: &str, why: impl std::fmt::Display) -> DataError {
    let why = if place.is_empty() { why.to_string() } else { format!("{place}: {why}") };
    DataError::Foreign { path: path.to_owned(), why }
}
