//! What can be read of a damaged dataset: its description put right, its tables opened or completed,
//! the places of its frames counted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use embody_core::{DType, FeatureSpec, Result};

use super::{Log, footer};
use crate::dataset::{Dataset, elsewhere, read_episodes, read_task_list};
use crate::error::DataError;
use crate::finding::Finding;
use crate::format::{FormatVersion, Info, RESERVED, TableFile, parse_stats, read_json};
use crate::import::v3_info;
use crate::validate::lacks_footer;
use crate::video::VideoFile;

/// A damaged dataset, as far as it can be read.
pub(super) struct Source {
    /// Description and episodes as they should be; files as they are.
    pub dataset: Dataset,
    /// Description of the result.
    pub info: Info,
    /// Tables by the file that the episodes name.
    pub tables: HashMap<PathBuf, Table>,
    /// First frame, counted in its video file, of each camera of each episode.
    pub starts: HashMap<(usize, String), usize>,
}

/// A table and which of its rows belong to which episode.
pub(super) struct Table {
    pub file: TableFile,
    /// Rows of each episode in order of their frames; `None` where no column says it.
    pub rows: Option<HashMap<i64, Vec<(i64, u32)>>>,
}

impl Source {
    /// Reads what there is at `root`.
    pub fn read(root: &Path, scratch: &Path, log: &mut Log) -> Result<Self> {
        let (format, info) = description(root, log)?;
        let mut episodes = read_episodes(root, &info, format)?;
        let tasks = read_task_list(root, format).or_else(|error| {
            let mut tasks: Vec<String> = Vec::new();
            for task in episodes.iter().flat_map(|e| &e.tasks) {
                if !tasks.contains(task) {
                    tasks.push(task.clone());
                }
            }
            let text = format!("instructions taken from the episode list ({error})");
            log.done(Finding::note("table-missing", text).file("meta/tasks"));
            if tasks.is_empty() { Err(error) } else { Ok(tasks) }
        })?;
        for episode in &mut episodes {
            for span in episode.videos.values_mut().filter(|v| !v.file.is_file()) {
                let Some(folder) = elsewhere(root, &span.file) else { continue };
                let Ok(relative) = span.file.strip_prefix(root) else { continue };
                let rest: PathBuf = relative.components().skip(1).collect();
                let text = format!("videos of `{folder}/` taken to where they belong");
                log.done(Finding::note("video-folder", text).file(folder.clone()));
                span.file = root.join(folder).join(rest);
            }
        }
        let stats = root.join("meta/stats.json");
        let dataset = Dataset {
            root: root.to_owned(),
            format,
            stats: read_json(&stats).map(|v| parse_stats(&v)).unwrap_or_default(),
            info,
            episodes,
            tasks,
            tables: Mutex::new(HashMap::new()),
            videos: Mutex::new(HashMap::new()),
            version: OnceLock::new(),
        };
        let mut out = Self {
            info: v3_info(dataset.info()),
            tables: HashMap::new(),
            starts: HashMap::new(),
            dataset,
        };
        out.open_tables(scratch, log);
        out.columns(log);
        out.place_frames(log);
        out.label_codecs(log);
        Ok(out)
    }

    fn open_tables(&mut self, scratch: &Path, log: &mut Log) {
        let dataset = &self.dataset;
        let mut files: Vec<PathBuf> = Vec::new();
        for episode in dataset.episodes() {
            if !files.contains(&episode.rows.file) && episode.rows.file.is_file() {
                files.push(episode.rows.file.clone());
            }
        }
        for path in files {
            let name = dataset.relative(&path);
            let file = match TableFile::open(&path) {
                Ok(file) => file,
                Err(_) if lacks_footer(&path) => {
                    let lengths: Vec<usize> = dataset
                        .episodes()
                        .iter()
                        .filter(|e| e.rows.file == path)
                        .map(|e| e.length)
                        .collect();
                    let to = scratch.join(format!("{}.parquet", self.tables.len()));
                    match footer::complete(&path, &to, &self.info, &lengths) {
                        Ok((file, groups)) => {
                            let text = format!(
                                "footer rebuilt: {} rows in {groups} whole row groups",
                                file.rows()
                            );
                            log.done(Finding::note("table-no-footer", text).file(name));
                            file
                        }
                        Err(why) => {
                            let text = format!("nothing whole is in it: {why}");
                            log.lost(Finding::error("table-no-footer", text).file(name));
                            continue;
                        }
                    }
                }
                Err(e) => {
                    log.lost(Finding::error("table-unreadable", e.to_string()).file(name));
                    continue;
                }
            };
            let rows = rows_of(&file);
            self.tables.insert(path, Table { file, rows });
        }
    }

    /// Declares columns that are nowhere declared, takes back declarations of what is nowhere.
    fn columns(&mut self, log: &mut Log) {
        let schemas: Vec<_> = self.tables.values().map(|t| t.file.schema().clone()).collect();
        let nowhere: Vec<String> = self
            .info
            .table_features()
            .map(|(k, _)| k.to_owned())
            .filter(|k| !RESERVED.contains(&k.as_str()))
            .filter(|k| schemas.iter().all(|s| s.index_of(k).is_err()))
            .collect();
        for key in nowhere {
            self.info.features.shift_remove(&key);
            let text = format!("{key:?} is no longer declared: no table has it");
            log.done(Finding::note("column-missing", text).file("meta/info.json"));
        }
        for field in schemas.iter().flat_map(|s| s.fields()) {
            if self.info.features.contains_key(field.name()) {
                continue;
            }
            if let Some(spec) = spec_of(field.data_type()) {
                let text =
                    format!("{:?} declared: {:?} {:?}", field.name(), spec.dtype, spec.shape);
                log.done(Finding::note("column-undeclared", text).file("meta/info.json"));
                self.info.features.insert(field.name().clone(), spec);
            } else {
                let text =
                    format!("column {:?} of type {} left out", field.name(), field.data_type());
                log.lost(Finding::error("column-undeclared", text));
            }
        }
    }

    /// Counts where the frames of each episode begin in its video files.
    fn place_frames(&mut self, log: &mut Log) {
        let dataset = &self.dataset;
        for key in dataset.info().video_keys() {
            let mut files: HashMap<&Path, Vec<usize>> = HashMap::new();
            for (number, episode) in dataset.episodes().iter().enumerate() {
                if let Some(span) = episode.videos.get(key) {
                    files.entry(&span.file).or_default().push(number);
                }
            }
            for (file, mut list) in files {
                let Ok(video) = dataset.video(file) else { continue };
                let at = |e: usize| dataset.episodes()[e].videos[key].from_timestamp;
                list.sort_by(|&a, &b| at(a).total_cmp(&at(b)).then(a.cmp(&b)));
                let lengths: usize = list.iter().map(|&e| self.length(e)).sum();
                // Where every frame of the file belongs to a row, counting beats any clock.
                let counts = lengths == video.len() || list.len() == 1;
                let mut next = 0;
                for &e in &list {
                    let span = &dataset.episodes()[e].videos[key];
                    let told = video.span(span.from_timestamp, span.to_timestamp, dataset.fps());
                    let exact = video.pts(told.start).map(|p| {
                        p as f64 / f64::from(video.track().config.timescale) - span.from_timestamp
                    });
                    let start = if counts { next } else { told.start };
                    let duration = self.length(e) as f64 / dataset.fps();
                    let said = span.to_timestamp - span.from_timestamp;
                    let off = exact.is_none_or(|d| d.abs() > 1e-3)
                        || told.start != start
                        || (said - duration).abs() > 0.5 / dataset.fps();
                    if off {
                        let text = format!("{key}: place in the video counted anew");
                        let finding = Finding::note("video-span", text);
                        log.done(finding.file(dataset.relative(file)).episode(e));
                    }
                    self.starts.insert((e, key.to_owned()), start);
                    next += self.length(e);
                }
            }
        }
    }

    /// Rows that the tables have for an episode; what the list says where they don't tell.
    fn length(&self, number: usize) -> usize {
        let episode = &self.dataset.episodes()[number];
        let table = self.tables.get(&episode.rows.file);
        let rows = table.and_then(|t| t.rows.as_ref());
        rows.and_then(|r| r.get(&(episode.index as i64))).map_or(episode.length, |r| {
            // A table that was cut has fewer; the video still has them all.
            r.len().max(episode.length)
        })
    }

    fn label_codecs(&mut self, log: &mut Log) {
        let keys: Vec<String> = self.info.video_keys().map(str::to_owned).collect();
        for key in keys {
            let mut spans = self.dataset.episodes().iter().filter_map(|e| e.videos.get(&key));
            let Some(video) = spans.find_map(|v| self.dataset.video(&v.file).ok()) else {
                continue;
            };
            let actual = video.track().config.codec();
            let Some(feature) = self.info.features.get_mut(&key) else { continue };
            let label = &mut feature.info.get_or_insert_with(Default::default).codec;
            if !label.as_deref().is_some_and(|says| crate::video::same_codec(says, &actual)) {
                let says = label.as_deref().unwrap_or("nothing");
                let text = format!("{key}: codec labelled {actual} instead of {says}");
                log.done(Finding::note("video-codec-label", text).file("meta/info.json"));
                *label = Some(actual);
            }
        }
    }

    /// The video of a camera of an episode, and its first frame in it.
    pub fn footage(&self, number: usize, key: &str) -> Result<(VideoFile, usize)> {
        let episode = self.dataset.episode(number)?;
        let span = episode.videos.get(key).ok_or_else(|| {
            embody_core::Error::new(format!("the episode names no video of {key}"))
        })?;
        let video = self.dataset.video(&span.file)?;
        Ok((video, self.starts.get(&(number, key.to_owned())).copied().unwrap_or(0)))
    }
}

/// `meta/info.json`, its version that of the files.
fn description(root: &Path, log: &mut Log) -> Result<(FormatVersion, Info)> {
    let path = root.join("meta/info.json");
    let mut value: serde_json::Value = read_json(&path)?;
    if !value.is_object() {
        let why = "it is no description of a dataset".to_owned();
        return Err(DataError::Json { path, why }.into());
    }
    let says = value["codebase_version"].as_str().unwrap_or("none").to_owned();
    let (old, new) =
        (root.join("meta/episodes.jsonl").is_file(), root.join("meta/episodes").is_dir());
    let format = match (FormatVersion::parse(&says), old, new) {
        (Some(FormatVersion::V30), true, false) | (None, true, false) => FormatVersion::V21,
        (_, false, true) | (None, true, true) => FormatVersion::V30,
        (Some(known), _, _) => known,
        (None, false, false) => {
            return Err(DataError::UnknownVersion { path, version: says }.into());
        }
    };
    if says != format.as_str() {
        let text = format!("read as {}, which its files are, not as {says}", format.as_str());
        let known = FormatVersion::parse(&says).is_some();
        let code = if known { "version-layout" } else { "unknown-version" };
        log.done(Finding::note(code, text).file("meta/info.json"));
        value["codebase_version"] = format.as_str().into();
    }
    templates(&mut value, format, log);
    if let Some(features) = value["features"].as_object_mut() {
        for key in RESERVED {
            if !features.contains_key(key) {
                let dtype = if key == "timestamp" { "float32" } else { "int64" };
                let spec = serde_json::json!({"dtype": dtype, "shape": [1], "names": null});
                features.insert(key.to_owned(), spec);
                let text = format!("{key:?} declared");
                log.done(Finding::note("feature-missing", text).file("meta/info.json"));
            }
        }
    }
    let info: Info =
        serde_json::from_value(value).map_err(|e| DataError::Json { path, why: e.to_string() })?;
    Ok((format, info))
}

/// Path templates of another version give way to those of the files.
fn templates(value: &mut serde_json::Value, format: FormatVersion, log: &mut Log) {
    let shared = format == FormatVersion::V30;
    let (data, video) = if shared {
        (
            "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        )
    } else {
        (
            "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        )
    };
    for (key, template) in [("data_path", data), ("video_path", video)] {
        let says = value[key].as_str().unwrap_or("").to_owned();
        let fits = says.contains(if shared { "{file_index" } else { "{episode_index" });
        let none = key == "video_path" && says.is_empty();
        if !fits && !none {
            let text = format!("{key} is {template:?} instead of {says:?}");
            log.done(Finding::note("version-layout", text).file("meta/info.json"));
            value[key] = template.into();
        }
    }
}

/// Which rows belong to which episode, by the columns that say so.
fn rows_of(file: &TableFile) -> Option<HashMap<i64, Vec<(i64, u32)>>> {
    let batch = file.read(0, file.rows(), Some(&["episode_index"])).ok()?;
    let episode = batch.column(0).as_primitive_opt::<Int64Type>()?.clone();
    let frames = file.read(0, file.rows(), Some(&["frame_index"])).ok();
    let frame = frames.and_then(|b| b.column(0).as_primitive_opt::<Int64Type>().cloned());
    let mut out: HashMap<i64, Vec<(i64, u32)>> = HashMap::new();
    for (row, &index) in episode.values().iter().enumerate() {
        let rows = out.entry(index).or_default();
        let number = frame.as_ref().map_or(rows.len() as i64, |f| f.value(row));
        rows.push((number, row as u32));
    }
    out.values_mut().for_each(|rows| rows.sort_unstable());
    Some(out)
}

/// A column's declaration, where its type leaves no doubt.
fn spec_of(kind: &DataType) -> Option<FeatureSpec> {
    let scalar = |kind: &DataType| {
        Some(match kind {
            DataType::Float32 => DType::Float32,
            DataType::Float64 => DType::Float64,
            DataType::Int64 => DType::Int64,
            DataType::Int32 => DType::Int32,
            DataType::Boolean => DType::Bool,
            DataType::UInt8 => DType::Uint8,
            DataType::Utf8 => DType::String,
            _ => return None,
        })
    };
    match kind {
        DataType::FixedSizeList(item, width) => {
            let width = usize::try_from(*width).ok().filter(|w| *w > 0)?;
            Some(FeatureSpec::new(scalar(item.data_type())?, &[width], &[]))
        }
        kind => Some(FeatureSpec::new(scalar(kind)?, &[1], &[])),
    }
}
