//! Any known version of LeRobot's layout to v3.0. Video packets and table values are copied, never
//! encoded or rounded again.

use std::ops::Range;
use std::path::Path;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use embody_core::{Array, ArrayData, AtomicDir, EpisodeOutcome, Result, StatsMap, Task};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde_json::json;

use crate::dataset::{Annotations, Dataset, detect_format};
use crate::error::DataError;
use crate::finding::Finding;
use crate::format::{Info, PERSISTENT, moved};
use crate::import::log::{Carried, carry};
use crate::import::{ImportOptions, ImportReport};
use crate::stats::{array_stats, picture_stats};
use crate::video::{EncodedVideo, I420, Segment, SegmentEncoder, VideoFile, VideoSettings};
use crate::writer::{DatasetWriter, Footage, NewEpisode};

/// Imports the dataset at `source` (LeRobot v2.0, v2.1 or v3.0) into a new v3.0 dataset at `target`.
///
/// # Errors
/// When the source is missing, damaged or contradicts itself, or the target can't be written; names
/// the file and leaves nothing behind.
pub(super) fn import(
    source: &Path,
    target: &Path,
    options: ImportOptions,
    task: Task<'_>,
) -> Result<ImportReport> {
    let source_format = detect_format(source)?;
    let says_itself = options.fps.is_none() && options.rename.is_empty();
    if !(says_itself && options.task.is_none() && options.robot_type.is_none()) {
        return Err(DataError::Request {
            why: format!("{} says its own frame rate, names and tasks", source.display()),
            hint: "import it without --fps, --task, --robot and --rename".to_owned(),
        }
        .into());
    }
    let dataset = Dataset::open_any(source)?;
    let chosen = options.episodes.unwrap_or_else(|| (0..dataset.episodes().len()).collect());
    let staging = AtomicDir::begin(target, false)?;
    let mut info = v3_info(dataset.info());
    let mut notes = Vec::new();
    actual_video_info(&dataset, &mut info, &mut notes)?;
    let mut writer = DatasetWriter::new(staging.path(), info);
    writer.declare_tasks(dataset.tasks());
    let whole: Vec<_> = chosen.iter().map(|&episode| (episode, None)).collect();
    copy_all(&dataset, &whole, None, &mut writer, ("import", task), &mut |_, _| {})?;
    let all = chosen.len() == dataset.episodes().len();
    let splits = if all { kept_splits(&dataset) } else { IndexMap::new() };
    let source_version = dataset.version()?;
    let parameters = json!({"source_format": source_format, "options": options.parameters});
    let episodes = writer.episodes();
    let frames = chosen.iter().map(|&e| dataset.episodes()[e].length).sum();
    let (lineage, _) =
        writer.finish(splits, Some(source_version.clone()), "import", parameters, task)?;
    let path = staging.commit()?;
    Ok(ImportReport {
        path,
        source_format: format!("LeRobotDataset {}", source_format.as_str()),
        episodes,
        frames,
        source_version,
        version: lineage.version,
        notes,
        streams: Vec::new(),
    })
}

fn kept_splits(dataset: &Dataset) -> IndexMap<String, String> {
    let total = dataset.episodes().len();
    let info = dataset.info();
    let valid = |name: &str| info.split(name).is_some_and(|r| r.end <= total);
    info.splits.iter().filter(|(k, _)| valid(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The description in terms of v3.0.
pub(crate) fn v3_info(old: &Info) -> Info {
    let mut info = Info::new(old.fps, old.robot_type.clone(), &old.features);
    // The order of columns stays the source's.
    info.features = old.features.clone();
    info.chunks_size = old.chunks_size;
    info.data_files_size_in_mb = old.data_files_size_in_mb.or(info.data_files_size_in_mb);
    info.video_files_size_in_mb = old.video_files_size_in_mb.or(info.video_files_size_in_mb);
    info.extra = old.extra.clone();
    for gone in ["total_videos", "total_chunks"] {
        info.extra.shift_remove(gone);
    }
    info
}

/// Corrects codec and size labels to what the files hold.
fn actual_video_info(dataset: &Dataset, info: &mut Info, notes: &mut Vec<Finding>) -> Result<()> {
    let keys: Vec<String> = info.video_keys().map(str::to_owned).collect();
    for key in keys {
        let Some(span) = dataset.episodes().first().and_then(|e| e.videos.get(&key)) else {
            continue;
        };
        let video = dataset.video(&span.file)?;
        let actual = video.track().config.codec();
        if let Some(feature) = info.features.get_mut(&key) {
            let described = feature.info.get_or_insert_with(Default::default);
            if described.codec.as_deref() != Some(actual.as_str()) {
                let says = described.codec.as_deref().unwrap_or("nothing");
                let text = format!("{key}: info.json says codec {says}, the file is {actual}");
                notes.push(
                    Finding::note("video-codec-label", text).file(dataset.relative(&span.file)),
                );
                described.codec = Some(actual);
            }
        }
    }
    Ok(())
}

/// What of a copied episode may differ from the original; frames count as in the copy.
pub(crate) struct Labels {
    /// Instructions.
    pub tasks: Vec<String>,
    /// Instruction of each frame, as an index into `tasks`.
    pub frame_tasks: Vec<usize>,
    /// Success, seed, reward.
    pub outcome: EpisodeOutcome,
    /// Score, weight, segments.
    pub annotations: Annotations,
}

/// What becomes different while an episode is copied.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    /// Changes the labels.
    pub relabel: Option<&'a mut dyn FnMut(&mut Labels)>,
    /// Cameras whose file is taken over whole; true at the file's first episode.
    pub linked: Vec<(&'a str, bool)>,
}

/// Copies frames `keep` of an episode to `writer`, with changes; all where `None`. A range must start
/// on a key frame of every camera ([`Dataset::key_frame_before`]).
pub(crate) fn copy_changed(
    dataset: &Dataset,
    episode: usize,
    keep: Option<Range<usize>>,
    changes: Changes<'_>,
    writer: &mut DatasetWriter,
) -> Result<()> {
    append(dataset, prepare(dataset, episode, keep, None)?, changes, writer)
}

/// Bytes of tables that are read ahead of the writer.
const WAVE_BYTES: usize = 64 << 20;
/// Episodes that are.
const WAVE_EPISODES: usize = 64;

/// Copies episodes, each with the frames that stay, in this order. Reading and measuring run on all
/// cores, a bounded wave of episodes at a time; they are appended one after the other, so the number of
/// threads changes nothing. With `encode`, colour video is encoded anew instead of copied. `after` is
/// told the position of each that was appended.
pub(crate) fn copy_all(
    dataset: &Dataset,
    episodes: &[(usize, Option<Range<usize>>)],
    encode: Option<VideoSettings>,
    writer: &mut DatasetWriter,
    (name, task): (&str, Task<'_>),
    after: &mut dyn FnMut(usize, &mut DatasetWriter),
) -> Result<()> {
    let row: usize = dataset.info().table_features().map(|(_, f)| f.numel() * 8).sum();
    task.begin(name, Some(episodes.len() as u64), "episodes");
    let mut done = 0;
    while done < episodes.len() {
        let mut bytes = 0;
        let rest = &episodes[done..];
        let fits = |(episode, _): &&(usize, Option<Range<usize>>)| {
            let before = bytes;
            bytes += dataset.episodes().get(*episode).map_or(0, |e| e.length) * row;
            before == 0 || bytes <= WAVE_BYTES
        };
        let wave = rest[..rest.len().min(WAVE_EPISODES)].iter().take_while(fits).count().max(1);
        let prepared: Vec<Prepared> = rest[..wave]
            .par_iter()
            .map(|(episode, keep)| {
                task.cancel.check()?;
                prepare(dataset, *episode, keep.clone(), encode)
            })
            .collect::<Result<_>>()?;
        for episode in prepared {
            append(dataset, episode, Changes::default(), writer)?;
            after(done, writer);
            done += 1;
            task.advance(name, done as u64, "")?;
        }
    }
    task.end(name);
    Ok(())
}

/// An episode read and measured: a function of the dataset, the episode and the frames alone.
struct Prepared {
    episode: usize,
    /// Frames that stay, where not all do.
    keep: Option<Range<usize>>,
    columns: IndexMap<String, ArrayRef>,
    length: usize,
    footage: Vec<(String, (VideoFile, Range<usize>))>,
    encoded: IndexMap<String, EncodedVideo>,
    stats: StatsMap,
    labels: Labels,
}

fn prepare(
    dataset: &Dataset,
    episode: usize,
    keep: Option<Range<usize>>,
    encode: Option<VideoSettings>,
) -> Result<Prepared> {
    let from = dataset.episode(episode)?;
    let keep = keep.filter(|k| *k != (0..from.length));
    let frames = keep.clone().unwrap_or(0..from.length);
    let batch = dataset.rows(episode, None)?.slice(frames.start, frames.len());
    let path = &from.rows.file;
    let mut columns: IndexMap<String, ArrayRef> = IndexMap::new();
    for (key, _) in dataset.info().table_features() {
        let column = batch.column_by_name(key).ok_or_else(|| DataError::Inconsistent {
            path: path.clone(),
            why: format!("episode {episode}: column {key:?} is declared but missing"),
            hint: "the table contradicts meta/info.json; record or copy it again",
        })?;
        columns.insert(key.to_owned(), ArrayRef::clone(column));
    }
    if keep.is_some() {
        // Times count from the new first frame.
        columns.shift_remove("timestamp");
        if let Some(column) = columns.get_mut(PERSISTENT) {
            let cut = frames.start as f64 / dataset.fps();
            *column = moved(column, cut).map_err(|why| DataError::Inconsistent {
                path: path.clone(),
                why: format!("episode {episode}: column {PERSISTENT:?} {why}"),
                hint: "the table contradicts meta/info.json; record or copy it again",
            })?;
        }
    }
    let (tasks, frame_tasks) = tasks_of(dataset, episode, &columns)?;
    let mut footage = Vec::new();
    let mut encoded = IndexMap::new();
    for key in dataset.info().video_keys() {
        match encode {
            Some(settings) if dataset.depth_scale(key).is_none() => {
                let video = encode_anew(dataset, episode, key, frames.clone(), settings)?;
                encoded.insert(key.to_owned(), video);
            }
            _ => {
                footage
                    .push((key.to_owned(), dataset.frame_samples(episode, key, frames.clone())?));
            }
        }
    }
    let stats = episode_stats(dataset, episode, frames.clone())?;
    let annotations = from.annotations.within(&frames);
    let mut outcome = from.outcome.clone();
    if let Some(simulation) = outcome.simulation.as_mut().filter(|_| frames.start > 0) {
        // It no longer begins where the simulation began.
        (simulation.qpos, simulation.qvel, simulation.ctrl) = Default::default();
    }
    let labels = Labels { tasks, frame_tasks, outcome, annotations };
    let length = frames.len();
    Ok(Prepared { episode, keep, columns, length, footage, encoded, stats, labels })
}

fn append(
    dataset: &Dataset,
    prepared: Prepared,
    changes: Changes<'_>,
    writer: &mut DatasetWriter,
) -> Result<()> {
    let Prepared { episode, keep, columns, length, footage, encoded, stats, mut labels } = prepared;
    if let Some(relabel) = changes.relabel {
        relabel(&mut labels);
    }
    let only_task = if let [task] = &labels.tasks[..] { Some(task.clone()) } else { None };
    writer.append(NewEpisode {
        columns,
        length,
        frame_tasks: Some(labels.frame_tasks),
        tasks: labels.tasks,
        videos: footage
            .iter()
            .map(|(key, (video, range))| {
                let linked = changes.linked.iter().find(|(k, _)| k == key);
                let footage = match linked {
                    Some(&(_, first)) => {
                        Footage::Linked { file: video, range: range.clone(), first }
                    }
                    None => Footage::Copied(video, range.clone()),
                };
                (key.clone(), footage)
            })
            .chain(encoded.iter().map(|(key, video)| (key.clone(), Footage::Encoded(video))))
            .collect(),
        stats,
        outcome: labels.outcome,
    })?;
    writer.annotate_last(|a| *a = labels.annotations);
    carry(&Carried {
        source: dataset.root(),
        episode,
        target: writer.root(),
        number: writer.episodes() - 1,
        keep,
        fps: dataset.fps(),
        task: only_task.as_deref(),
    })
}

/// Frames of one camera, decoded and encoded again. A few segments at a time are in memory; which ones
/// does not change a byte.
fn encode_anew(
    dataset: &Dataset,
    episode: usize,
    key: &str,
    frames: Range<usize>,
    settings: VideoSettings,
) -> Result<EncodedVideo> {
    let shape = dataset.info().features.get(key).map(|f| f.shape.clone()).unwrap_or_default();
    let [height, width, 3] = shape[..] else {
        let why = format!("{key} has shape {shape:?}, not [height, width, 3]");
        return Err(DataError::Encode { why }.into());
    };
    let encoder = SegmentEncoder::new(width, height, dataset.fps(), settings)?;
    let all: Vec<usize> = frames.collect();
    let mut packets = Vec::with_capacity(all.len());
    let mut configuration = Vec::new();
    for part in all.chunks(encoder.segment_frames() * rayon::current_num_threads()) {
        let mut pictures = Vec::with_capacity(part.len());
        dataset.visit_frames(episode, key, part, &mut |_, rgb| {
            pictures.push(I420::from_rgb(rgb, width, height));
            Ok(())
        })?;
        let segments: Result<Vec<Segment>> =
            pictures.par_chunks(encoder.segment_frames()).map(|p| encoder.encode(p)).collect();
        for segment in segments? {
            if !packets.is_empty() && configuration != segment.configuration {
                let why = format!("{key}: the encoder changed its configuration half-way");
                return Err(DataError::Encode { why }.into());
            }
            packets.extend(segment.packets);
            configuration = segment.configuration;
        }
    }
    Ok(EncodedVideo { config: encoder.config(&configuration), packets })
}

/// The instructions of an episode and, per frame, which of them; from the table's `task_index`.
fn tasks_of(
    dataset: &Dataset,
    episode: usize,
    columns: &IndexMap<String, ArrayRef>,
) -> Result<(Vec<String>, Vec<usize>)> {
    let from = dataset.episode(episode)?;
    let bad = |why: String| DataError::Inconsistent {
        path: from.rows.file.clone(),
        why: format!("episode {episode}: {why}"),
        hint: "tasks and table disagree: run embody data validate",
    };
    let column = columns.get("task_index").ok_or_else(|| bad("no column task_index".to_owned()))?;
    let int = crate::format::cast_column(column, &arrow_schema::DataType::Int64).map_err(bad)?;
    let mut tasks: Vec<String> = from.tasks.clone();
    let mut out = Vec::with_capacity(int.len());
    for &index in int.as_primitive::<Int64Type>().values() {
        let text = usize::try_from(index).ok().and_then(|i| dataset.tasks().get(i));
        let text = text.ok_or_else(|| bad(format!("task_index {index} is not declared")))?;
        out.push(match tasks.iter().position(|t| t == text) {
            Some(at) => at,
            None => {
                tasks.push(text.clone());
                tasks.len() - 1
            }
        });
    }
    Ok((tasks, out))
}

/// Gives every instruction its new text; those that become equal become one.
pub(crate) fn rename_tasks(labels: &mut Labels, rename: &dyn Fn(&str) -> String) {
    let mut unique: Vec<String> = Vec::new();
    let place: Vec<usize> = labels
        .tasks
        .iter()
        .map(|task| {
            let task = rename(task);
            unique.iter().position(|t| *t == task).unwrap_or_else(|| {
                unique.push(task);
                unique.len() - 1
            })
        })
        .collect();
    labels.tasks = unique;
    labels.frame_tasks.iter_mut().for_each(|task| *task = place[*task]);
}

/// Statistics of frames of one episode: tables exactly, pictures from the source where it has them
/// for the whole episode, else from sampled frames.
fn episode_stats(dataset: &Dataset, episode: usize, frames: Range<usize>) -> Result<StatsMap> {
    let from = dataset.episode(episode)?;
    let whole = frames == (0..from.length);
    let table = dataset.episode_table(episode)?;
    let mut out = StatsMap::new();
    for (key, spec) in &dataset.info().features {
        if spec.dtype.is_visual() {
            let channels = spec.shape.get(2).copied().unwrap_or(3);
            let known = from.stats.get(key).filter(|s| s.mean.len() == channels && whole);
            let stats = match known {
                Some(stats) => Some(stats.clone()),
                None => picture_stats(dataset, episode, key, frames.clone())?.map(|s| s.finish()),
            };
            out.extend(stats.map(|s| (key.clone(), s)));
        } else if spec.dtype.is_numeric() {
            let rows = table.get(key).map(|array| rows_of(array, &frames));
            out.extend(rows.as_ref().and_then(array_stats).map(|s| (key.clone(), s)));
        }
    }
    Ok(out)
}

fn rows_of(array: &Array, frames: &Range<usize>) -> Array {
    let width = array.shape.iter().skip(1).product::<usize>();
    let range = frames.start * width..frames.end * width;
    let data = match &array.data {
        ArrayData::U8(v) => ArrayData::U8(v[range].to_vec()),
        ArrayData::F32(v) => ArrayData::F32(v[range].to_vec()),
        ArrayData::F64(v) => ArrayData::F64(v[range].to_vec()),
        ArrayData::I64(v) => ArrayData::I64(v[range].to_vec()),
        ArrayData::Bool(v) => ArrayData::Bool(v[range].to_vec()),
    };
    let mut shape = array.shape.clone();
    shape[0] = frames.len();
    Array { shape, data }
}
