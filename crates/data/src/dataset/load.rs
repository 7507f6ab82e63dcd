//! Reading descriptions and episode lists of every version into one structure.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use embody_core::{EpisodeOutcome, FeatureStats, Result, SimulationRecord, StatsMap};
use indexmap::IndexMap;
use serde::Deserialize;

use super::leaves::Leaves;
use super::{Annotations, Dataset, Episode, RowSpan, VideoSpan, detect_format};
use crate::error::DataError;
use crate::finding::Finding;
use crate::format::{
    FormatVersion, Info, RESERVED, TableFile, fill, parse_stats, read_json, read_jsonl, read_tasks,
    read_tasks_jsonl, strings_of,
};

/// Loads a dataset of any known version. What contradicts itself but can be represented comes back
/// as findings; what can't be read at all is an error.
pub(crate) fn load(root: &Path) -> Result<(Dataset, Vec<Finding>)> {
    let format = detect_format(root)?;
    let info: Info = read_json(&root.join("meta/info.json"))?;
    let mut findings = Vec::new();
    check_info(&info, &mut findings);
    let stats_path = root.join("meta/stats.json");
    let mut stats =
        if stats_path.exists() { parse_stats(&read_json(&stats_path)?) } else { StatsMap::new() };
    let tasks = read_task_list(root, format)?;
    let episodes = read_episodes(root, &info, format)?;
    if stats.is_empty() && format != FormatVersion::V30 {
        stats = merge_all(&episodes);
    }
    if stats.is_empty() {
        findings.push(
            Finding::warning("stats-missing", "there are no statistics of the dataset")
                .file("meta/stats.json"),
        );
    }
    check_totals(&info, &episodes, &tasks, &mut findings);
    let dataset = Dataset {
        root: root.to_owned(),
        format,
        info,
        episodes,
        tasks,
        stats,
        tables: Mutex::new(HashMap::new()),
        videos: Mutex::new(HashMap::new()),
        version: OnceLock::new(),
    };
    check_files(&dataset, &mut findings);
    Ok((dataset, findings))
}

/// Instructions by task index.
pub(crate) fn read_task_list(root: &Path, format: FormatVersion) -> Result<Vec<String>> {
    match format {
        FormatVersion::V30 => read_tasks(&root.join("meta/tasks.parquet")),
        FormatVersion::V20 | FormatVersion::V21 => read_tasks_jsonl(&root.join("meta/tasks.jsonl")),
    }
}

/// The episodes in order of their index.
pub(crate) fn read_episodes(
    root: &Path,
    info: &Info,
    format: FormatVersion,
) -> Result<Vec<Episode>> {
    match format {
        FormatVersion::V30 => episodes_v3(root, info),
        FormatVersion::V20 | FormatVersion::V21 => episodes_v2(root, info, format),
    }
}

fn merge_all(episodes: &[Episode]) -> StatsMap {
    let Some(first) = episodes.first() else { return StatsMap::new() };
    first
        .stats
        .keys()
        .filter_map(|key| {
            let parts: Vec<&FeatureStats> =
                episodes.iter().filter_map(|e| e.stats.get(key)).collect();
            (parts.len() == episodes.len())
                .then(|| crate::stats::merge(&parts))
                .flatten()
                .map(|s| (key.clone(), s))
        })
        .collect()
}

fn check_info(info: &Info, findings: &mut Vec<Finding>) {
    let mut push = |f: Finding| findings.push(f.file("meta/info.json"));
    if !(info.fps.is_finite() && info.fps > 0.0) {
        push(Finding::error("bad-fps", format!("fps is {}", info.fps)));
    }
    for key in RESERVED {
        if !info.features.contains_key(key) {
            push(
                Finding::error("feature-missing", format!("feature {key:?} is not declared"))
                    .hint("every LeRobot dataset declares it; record or import again"),
            );
        }
    }
    for (key, spec) in &info.features {
        if key.contains('/') {
            push(Finding::error("feature-name", format!("feature name {key:?} contains `/`")));
        }
        if spec.shape.contains(&0) {
            push(Finding::error(
                "feature-shape",
                format!("feature {key:?} has shape {:?}", spec.shape),
            ));
        }
    }
    if info.video_keys().next().is_some() && info.video_path.is_none() {
        push(Finding::error("video-path-missing", "there are video features but no video_path"));
    }
}

fn check_totals(info: &Info, episodes: &[Episode], tasks: &[String], findings: &mut Vec<Finding>) {
    let frames: usize = episodes.iter().map(|e| e.length).sum();
    for (code, what, says, has) in [
        ("total-episodes", "total_episodes", info.total_episodes, episodes.len()),
        ("total-frames", "total_frames", info.total_frames, frames),
        ("total-tasks", "total_tasks", info.total_tasks, tasks.len()),
    ] {
        if says != has {
            let text = format!("{what} is {says}, but the episodes make {has}");
            findings.push(Finding::error(code, text).file("meta/info.json"));
        }
    }
    for (i, episode) in episodes.iter().enumerate() {
        if episode.index != i {
            let text = format!("episode number {i} has index {}", episode.index);
            findings.push(Finding::error("episode-index", text).file("meta/episodes").episode(i));
            break;
        }
    }
    let mut next = 0;
    for (i, episode) in episodes.iter().enumerate() {
        let global = &episode.rows.global;
        if global.start != next || global.len() != episode.length {
            let text = format!(
                "rows {}..{} of the dataset, expected {next}..{} (length {})",
                global.start,
                global.end,
                next + episode.length,
                episode.length
            );
            findings.push(Finding::error("episode-rows", text).file("meta/episodes").episode(i));
            break;
        }
        next = global.end;
    }
    for name in info.splits.keys() {
        match info.split(name) {
            Some(range) if range.end <= episodes.len() => {}
            _ => {
                let text = format!(
                    "split {name:?} is {:?} of {} episodes",
                    info.splits[name],
                    episodes.len()
                );
                findings.push(Finding::warning("split-range", text).file("meta/info.json"));
            }
        }
    }
}

/// Every file that an episode names must be there; each missing one is one finding.
fn check_files(dataset: &Dataset, findings: &mut Vec<Finding>) {
    let mut known: HashMap<&Path, bool> = HashMap::new();
    for episode in &dataset.episodes {
        let video = episode.videos.values().map(|v| (v.file.as_path(), "video-missing"));
        for (file, code) in [(episode.rows.file.as_path(), "data-missing")].into_iter().chain(video)
        {
            if *known.entry(file).or_insert_with(|| file.is_file()) {
                continue;
            }
            if findings.iter().any(|f| f.file.as_deref() == Some(&dataset.relative(file))) {
                continue;
            }
            let stands = elsewhere(&dataset.root, file);
            let (code, text) = match (code, &stands) {
                ("video-missing", Some(folder)) => (
                    "video-folder",
                    format!("the video stands in `{folder}/`, not where info.json says"),
                ),
                ("video-missing", None) => (code, "video file is missing".to_owned()),
                _ => (code, "data file is missing".to_owned()),
            };
            let mut finding =
                Finding::error(code, text).file(dataset.relative(file)).episode(episode.index);
            if let Some(folder) = stands.filter(|_| code == "video-folder") {
                finding = finding.hint(format!(
                    "rename the folder `{folder}`, or have it mended: embody data repair"
                ));
            }
            findings.push(finding);
        }
    }
}

/// The first folder of a missing video file, where it is only called differently.
pub(crate) fn elsewhere(root: &Path, file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root).ok()?;
    let mut parts = relative.components();
    let first = parts.next()?.as_os_str().to_str()?;
    ["video", "videos"]
        .into_iter()
        .find(|name| *name != first && root.join(name).join(parts.as_path()).is_file())
        .map(str::to_owned)
}

// ---- v2.0, v2.1: a file per episode ----

#[derive(Deserialize)]
struct EpisodeLine {
    episode_index: usize,
    #[serde(default)]
    tasks: Vec<String>,
    length: usize,
}

#[derive(Deserialize)]
struct StatsLine {
    episode_index: usize,
    stats: serde_json::Value,
}

fn episodes_v2(root: &Path, info: &Info, format: FormatVersion) -> Result<Vec<Episode>> {
    let info_path = root.join("meta/info.json");
    let template = |why: String| DataError::Inconsistent {
        path: info_path.clone(),
        why,
        hint: "data_path and video_path use {episode_chunk}, {episode_index} and {video_key}",
    };
    let mut lines: Vec<EpisodeLine> = read_jsonl(&root.join("meta/episodes.jsonl"))?;
    lines.sort_by_key(|l| l.episode_index);
    let stats_path = root.join("meta/episodes_stats.jsonl");
    let mut stats: HashMap<usize, StatsMap> = HashMap::new();
    if format == FormatVersion::V21 && stats_path.exists() {
        for line in read_jsonl::<StatsLine>(&stats_path)? {
            stats.insert(line.episode_index, parse_stats(&line.stats));
        }
    }
    let mut next = 0;
    lines
        .into_iter()
        .map(|line| {
            let index = line.episode_index;
            let chunk = index / info.chunks_size.max(1);
            let data =
                fill(&info.data_path, &[("episode_chunk", &chunk), ("episode_index", &index)])
                    .map_err(template)?;
            let mut videos = IndexMap::new();
            for key in info.video_keys() {
                let path = fill(
                    info.video_path.as_deref().unwrap_or(""),
                    &[("episode_chunk", &chunk), ("episode_index", &index), ("video_key", &key)],
                )
                .map_err(template)?;
                let to_timestamp = line.length as f64 / info.fps;
                let span = VideoSpan { file: root.join(path), from_timestamp: 0.0, to_timestamp };
                videos.insert(key.to_owned(), span);
            }
            let from = next;
            next += line.length;
            Ok(Episode {
                index,
                length: line.length,
                tasks: line.tasks,
                rows: RowSpan { file: root.join(data), rows: 0..line.length, global: from..next },
                videos,
                outcome: EpisodeOutcome::default(),
                annotations: Annotations::default(),
                stats: stats.remove(&index).unwrap_or_default(),
            })
        })
        .collect()
}

// ---- v3.0: shared files ----

fn episodes_v3(root: &Path, info: &Info) -> Result<Vec<Episode>> {
    let folder = root.join("meta/episodes");
    let mut files = Vec::new();
    let listed = glob_parquet(&folder);
    for path in listed.unwrap_or_default() {
        files.push(path);
    }
    if files.is_empty() {
        let why = "there is no episode table".to_owned();
        let hint = "the dataset is incomplete (its recording was not finished?)";
        return Err(DataError::Inconsistent { path: folder, why, hint }.into());
    }
    let mut episodes = Vec::new();
    for path in files {
        let table = TableFile::open(&path)?;
        let batch = table.read(0, table.rows(), None)?;
        let rows = Rows { path: &path, batch: &batch, stats: stats_columns(info, &batch) };
        for row in 0..batch.num_rows() {
            episodes.push(rows.episode(root, info, row)?);
        }
    }
    episodes.sort_by_key(|e| e.index);
    place_rows(&mut episodes);
    Ok(episodes)
}

fn glob_parquet(folder: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut out = Vec::new();
    for chunk in std::fs::read_dir(folder)? {
        let chunk = chunk?.path();
        if chunk.is_dir() {
            for file in std::fs::read_dir(chunk)? {
                let file = file?.path();
                if file.extension().is_some_and(|e| e == "parquet") {
                    out.push(file);
                }
            }
        }
    }
    out.sort();
    Ok(out)
}

/// Turns rows of the dataset into rows of each file: a file's first row is the smallest of its
/// episodes'.
fn place_rows(episodes: &mut [Episode]) {
    let mut first: HashMap<std::path::PathBuf, usize> = HashMap::new();
    for episode in episodes.iter() {
        let start = first.entry(episode.rows.file.clone()).or_insert(usize::MAX);
        *start = (*start).min(episode.rows.global.start);
    }
    for episode in episodes {
        let start = first.get(&episode.rows.file).copied().unwrap_or(0);
        let from = episode.rows.global.start - start;
        episode.rows.rows = from..from + episode.rows.global.len();
    }
}

/// Typed access to the episode table.
struct Rows<'a> {
    path: &'a Path,
    batch: &'a RecordBatch,
    stats: IndexMap<String, StatsColumns>,
}

/// The columns of one feature's statistics, by name.
type StatsColumns = HashMap<&'static str, Leaves>;

fn stats_columns(info: &Info, batch: &RecordBatch) -> IndexMap<String, StatsColumns> {
    const NAMES: [&str; 10] =
        ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"];
    let of = |key: &String| {
        let column = |name: &'static str| {
            let column = batch.column_by_name(&format!("stats/{key}/{name}"))?;
            Some((name, Leaves::of(column)))
        };
        (key.clone(), NAMES.into_iter().filter_map(column).collect())
    };
    info.features.keys().map(of).collect()
}

impl Rows<'_> {
    fn bad(&self, why: String) -> embody_core::Error {
        let hint = "the episode table is damaged or of another version; copy or import again";
        DataError::Inconsistent { path: self.path.to_owned(), why, hint }.into()
    }

    fn int(&self, name: &str, row: usize) -> Result<usize> {
        let column = self
            .batch
            .column_by_name(name)
            .ok_or_else(|| self.bad(format!("column {name:?} is missing")))?;
        let value = (column.is_valid(row) && column.data_type() == &DataType::Int64)
            .then(|| column.as_primitive::<Int64Type>().value(row))
            .and_then(|v| usize::try_from(v).ok())
            .filter(|v| *v < 1 << 48);
        value.ok_or_else(|| self.bad(format!("column {name:?}, row {row}: not a whole number ≥ 0")))
    }

    fn float(&self, name: &str, row: usize) -> Result<f64> {
        let column = self
            .batch
            .column_by_name(name)
            .ok_or_else(|| self.bad(format!("column {name:?} is missing")))?;
        (column.is_valid(row) && column.data_type() == &DataType::Float64)
            .then(|| column.as_primitive::<Float64Type>().value(row))
            .filter(|v| v.is_finite())
            .ok_or_else(|| self.bad(format!("column {name:?}, row {row}: not a finite number")))
    }

    fn episode(&self, root: &Path, info: &Info, row: usize) -> Result<Episode> {
        let template = |why: String| self.bad(format!("info.json: {why}"));
        let index = self.int("episode_index", row)?;
        let length = self.int("length", row)?;
        let global = self.int("dataset_from_index", row)?..self.int("dataset_to_index", row)?;
        if global.start > global.end {
            return Err(self.bad(format!("episode {index}: rows {}..{}", global.start, global.end)));
        }
        let (chunk, file) = (self.int("data/chunk_index", row)?, self.int("data/file_index", row)?);
        let data = fill(&info.data_path, &[("chunk_index", &chunk), ("file_index", &file)])
            .map_err(template)?;
        let mut videos = IndexMap::new();
        for key in info.video_keys() {
            let column = |name: &str| format!("videos/{key}/{name}");
            let chunk = self.int(&column("chunk_index"), row)?;
            let file = self.int(&column("file_index"), row)?;
            let path = fill(
                info.video_path.as_deref().unwrap_or(""),
                &[("chunk_index", &chunk), ("file_index", &file), ("video_key", &key)],
            )
            .map_err(template)?;
            let span = VideoSpan {
                file: root.join(path),
                from_timestamp: self.float(&column("from_timestamp"), row)?,
                to_timestamp: self.float(&column("to_timestamp"), row)?,
            };
            videos.insert(key.to_owned(), span);
        }
        let tasks = self
            .batch
            .column_by_name("tasks")
            .and_then(|c| strings_of(&c.slice(row, 1)))
            .and_then(|mut rows| rows.pop())
            .ok_or_else(|| self.bad("column \"tasks\" is missing or not text".to_owned()))?;
        Ok(Episode {
            index,
            length,
            tasks,
            rows: RowSpan { file: root.join(data), rows: 0..0, global },
            videos,
            outcome: self.outcome(row)?,
            annotations: self.annotations(row)?,
            stats: self.stats(row),
        })
    }

    fn outcome(&self, row: usize) -> Result<EpisodeOutcome> {
        let valid = |name: &str, kind: &DataType| {
            self.batch.column_by_name(name).filter(|c| c.data_type() == kind && c.is_valid(row))
        };
        Ok(EpisodeOutcome {
            success: valid("embody/success", &DataType::Boolean).map(|c| c.as_boolean().value(row)),
            seed: valid("embody/seed", &DataType::UInt64)
                .map(|c| c.as_primitive::<UInt64Type>().value(row)),
            total_reward: valid("embody/total_reward", &DataType::Float64)
                .map(|c| c.as_primitive::<Float64Type>().value(row)),
            simulation: valid("embody/simulation", &DataType::Utf8)
                .map(|c| self.simulation(c.as_string::<i32>().value(row), row))
                .transpose()?,
        })
    }

    /// How a simulated episode began.
    fn simulation(&self, text: &str, row: usize) -> Result<SimulationRecord> {
        let mut record: SimulationRecord = serde_json::from_str(text)
            .map_err(|e| self.bad(format!("column \"embody/simulation\", row {row}: {e}")))?;
        let list = |name: &str| -> Result<Vec<f64>> {
            let bad = || self.bad(format!("column {name:?}, row {row}: not a list of numbers"));
            let column = self.batch.column_by_name(name).ok_or_else(bad)?;
            let cell = column.as_list_opt::<i32>().filter(|c| c.is_valid(row)).ok_or_else(bad)?;
            let cell = cell.value(row);
            let values = cell.as_primitive_opt::<Float64Type>().ok_or_else(bad)?;
            Ok(values.values().to_vec())
        };
        record.qpos = list("embody/initial_qpos")?;
        record.qvel = list("embody/initial_qvel")?;
        record.ctrl = list("embody/initial_ctrl")?;
        Ok(record)
    }

    fn annotations(&self, row: usize) -> Result<Annotations> {
        let valid = |name: &str, kind: &DataType| {
            self.batch.column_by_name(name).filter(|c| c.data_type() == kind && c.is_valid(row))
        };
        let number = |name: &str| {
            valid(name, &DataType::Float64).map(|c| c.as_primitive::<Float64Type>().value(row))
        };
        let segments = match valid("embody/segments", &DataType::Utf8) {
            Some(column) => serde_json::from_str(column.as_string::<i32>().value(row))
                .map_err(|e| self.bad(format!("column \"embody/segments\", row {row}: {e}")))?,
            None => Vec::new(),
        };
        Ok(Annotations { score: number("embody/score"), weight: number("embody/weight"), segments })
    }

    fn stats(&self, row: usize) -> StatsMap {
        let mut out = StatsMap::new();
        for (key, columns) in &self.stats {
            let read = |name: &str| -> Vec<f64> {
                columns.get(name).map(|c| c.row(row).to_vec()).unwrap_or_default()
            };
            let count = read("count").first().map_or(0, |&c| c.max(0.0) as u64);
            if count == 0 {
                continue;
            }
            out.insert(
                key.clone(),
                FeatureStats {
                    min: read("min"),
                    max: read("max"),
                    mean: read("mean"),
                    std: read("std"),
                    count,
                    q01: read("q01"),
                    q10: read("q10"),
                    q50: read("q50"),
                    q90: read("q90"),
                    q99: read("q99"),
                },
            );
        }
        out
    }
}
