//! Writing a LeRobotDataset v3.0 episode by episode: the one writer behind recorder, import and
//! processing.
//!
//! Data files hold one row group per episode, video files the packets of consecutive episodes; a new
//! file begins where the next episode would pass the size limit. Times in the episode table come
//! from integer ticks of the file itself, so they cannot drift. The folder written to is a staging
//! folder: nothing is a dataset before [`DatasetWriter::finish`].

mod episodes;

use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use embody_core::{ContentHash, EpisodeOutcome, IoContext, Result, StatsMap, Task};
use indexmap::IndexMap;
use parquet::arrow::ArrowWriter;

use crate::dataset::{Annotations, load};
use crate::error::{DataError, write_table};
use crate::files::link_or_copy;
use crate::format::{
    Info, RESERVED, array_of, data_schema, fill, parquet_writer, stats_to_json, write_tasks,
};
use crate::lineage::{Lineage, seal};
use crate::mp4::{Mp4Writer, Packet, TrackConfig};
use crate::stats::{array_stats, dataset_stats};
use crate::video::{EncodedVideo, TICKS_PER_FRAME, VideoFile};

const MB: f64 = 1024.0 * 1024.0;

/// Packets of one camera of one episode.
pub(crate) enum Footage<'a> {
    /// Encoded here.
    Encoded(&'a EncodedVideo),
    /// Samples of another file, to be copied.
    Copied(&'a VideoFile, Range<usize>),
    /// Samples of another file that is taken over whole, as it is: `first` at its first episode, the
    /// others follow in their order.
    Linked { file: &'a VideoFile, range: Range<usize>, first: bool },
}

/// An episode to append.
pub(crate) struct NewEpisode<'a> {
    /// Columns of the table features, without the reserved ones (which are made here) or with them
    /// (they are replaced, except for `timestamp`).
    pub columns: IndexMap<String, ArrayRef>,
    /// Number of frames.
    pub length: usize,
    /// Instruction of each frame, as an index into `tasks`; all 0 where `None`.
    pub frame_tasks: Option<Vec<usize>>,
    /// Instructions.
    pub tasks: Vec<String>,
    /// Footage by video key.
    pub videos: IndexMap<String, Footage<'a>>,
    /// Statistics of this episode.
    pub stats: StatsMap,
    /// Success, seed, reward.
    pub outcome: EpisodeOutcome,
}

/// Where an episode went; a row of the episode table.
pub(crate) struct EpisodeRow {
    pub length: usize,
    pub tasks: Vec<String>,
    pub data: (usize, usize),
    pub from: usize,
    pub videos: IndexMap<String, VideoRow>,
    pub stats: StatsMap,
    pub outcome: EpisodeOutcome,
    pub annotations: Annotations,
}

pub(crate) struct VideoRow {
    pub file: (usize, usize),
    pub from_timestamp: f64,
    pub to_timestamp: f64,
}

struct DataShard {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
}

#[derive(Default)]
struct VideoShard {
    open: Option<(PathBuf, Mp4Writer<BufWriter<File>>)>,
    /// Number of files begun.
    files: usize,
}

/// Writes a dataset into a staging folder.
pub(crate) struct DatasetWriter {
    root: PathBuf,
    info: Info,
    schema: SchemaRef,
    data: Option<DataShard>,
    data_files: usize,
    videos: IndexMap<String, VideoShard>,
    tasks: IndexMap<String, usize>,
    rows: Vec<EpisodeRow>,
    frames: usize,
    /// Video files taken over whole.
    linked: usize,
    /// Versions that went in besides the parent.
    merged: Vec<ContentHash>,
}

impl DatasetWriter {
    /// Starts an empty dataset in `root`. `info` says features and frame rate.
    pub fn new(root: &Path, mut info: Info) -> Self {
        info.total_episodes = 0;
        info.total_frames = 0;
        info.total_tasks = 0;
        let videos = info.video_keys().map(|k| (k.to_owned(), VideoShard::default())).collect();
        Self {
            root: root.to_owned(),
            schema: data_schema(&info),
            info,
            data: None,
            data_files: 0,
            videos,
            tasks: IndexMap::new(),
            rows: Vec::new(),
            frames: 0,
            linked: 0,
            merged: Vec::new(),
        }
    }

    /// Names versions that went in besides the parent, for lineage.
    pub fn merged(&mut self, versions: &[ContentHash]) {
        self.merged = versions.to_vec();
    }

    /// The folder that is written to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Video files taken over whole.
    pub fn linked(&self) -> usize {
        self.linked
    }

    /// Episodes so far.
    pub fn episodes(&self) -> usize {
        self.rows.len()
    }

    /// Fixes the order of instructions ahead of the episodes.
    pub fn declare_tasks(&mut self, tasks: &[String]) {
        for task in tasks {
            self.task_index(task);
        }
    }

    /// Index of an instruction, declaring it where it is new.
    pub fn task_index(&mut self, task: &str) -> usize {
        let next = self.tasks.len();
        *self.tasks.entry(task.to_owned()).or_insert(next)
    }

    /// Appends an episode.
    pub fn append(&mut self, episode: NewEpisode<'_>) -> Result<()> {
        let index = self.rows.len();
        self.declare_tasks(&episode.tasks);
        let batch = self.batch(index, &episode)?;
        let data = self.write_rows(&batch)?;
        let mut videos = IndexMap::new();
        let keys: Vec<String> = self.videos.keys().cloned().collect();
        for key in keys {
            let Some(footage) = episode.videos.get(&key) else {
                let why = format!("no video for feature {key:?}");
                return Err(DataError::Record { episode: index, frame: 0, why }.into());
            };
            videos.insert(key.clone(), self.write_video(&key, footage)?);
        }
        let mut stats = episode.stats;
        for key in RESERVED {
            // These columns are made here: so are their statistics.
            let spec = self.info.features.get(key);
            let array = batch.column_by_name(key).zip(spec).and_then(|(c, s)| array_of(c, s).ok());
            stats.extend(array.as_ref().and_then(array_stats).map(|s| (key.to_owned(), s)));
        }
        self.rows.push(EpisodeRow {
            length: episode.length,
            tasks: episode.tasks,
            data,
            from: self.frames,
            videos,
            stats,
            outcome: episode.outcome,
            annotations: Annotations::default(),
        });
        self.frames += episode.length;
        Ok(())
    }

    /// Changes what is said of the episode appended last.
    pub fn annotate_last(&mut self, change: impl FnOnce(&mut Annotations)) {
        if let Some(row) = self.rows.last_mut() {
            change(&mut row.annotations);
        }
    }

    /// All columns of the episode in the order of the schema.
    fn batch(&self, index: usize, episode: &NewEpisode<'_>) -> Result<RecordBatch> {
        let length = episode.length;
        let constant = |v: i64| -> ArrayRef { Arc::new(Int64Array::from_value(v, length)) };
        let range = |from: i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(from..from + length as i64))
        };
        let task = |local: usize| -> i64 {
            let text = episode.tasks.get(local);
            text.and_then(|t| self.tasks.get(t)).map_or(0, |&i| i as i64)
        };
        let mut columns = Vec::new();
        for field in self.schema.fields() {
            let given = episode.columns.get(field.name());
            let column: ArrayRef = match field.name().as_str() {
                "timestamp" => given.cloned().unwrap_or_else(|| {
                    let fps = self.info.fps;
                    Arc::new(Float32Array::from_iter_values(
                        (0..length).map(|i| (i as f64 / fps) as f32),
                    ))
                }),
                "frame_index" => range(0),
                "episode_index" => constant(index as i64),
                "index" => range(self.frames as i64),
                "task_index" => match &episode.frame_tasks {
                    Some(tasks) => {
                        Arc::new(Int64Array::from_iter_values(tasks.iter().map(|&t| task(t))))
                    }
                    None => constant(task(0)),
                },
                name => given.cloned().ok_or_else(|| DataError::Record {
                    episode: index,
                    frame: 0,
                    why: format!("no values for feature {name:?}"),
                })?,
            };
            let column = crate::format::cast_column(&column, field.data_type()).map_err(|why| {
                let why = format!("feature {:?}: {why}", field.name());
                DataError::Record { episode: index, frame: 0, why }
            })?;
            columns.push(column);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| DataError::Record { episode: index, frame: 0, why: e.to_string() }.into())
    }

    fn place(&self, number: usize) -> (usize, usize) {
        let per_chunk = self.info.chunks_size.max(1);
        (number / per_chunk, number % per_chunk)
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<(usize, usize)> {
        let limit = self.info.data_files_size_in_mb.unwrap_or(100.0) * MB;
        if let Some(shard) = &self.data {
            let grown = shard.writer.bytes_written() as f64 + batch.get_array_memory_size() as f64;
            if grown > limit {
                self.close_data()?;
            }
        }
        let shard = match &mut self.data {
            Some(shard) => shard,
            None => {
                let (chunk, file) = self.place(self.data_files);
                let path = self.path_of(&self.info.data_path.clone(), chunk, file, "")?;
                let writer = parquet_writer(&path, Arc::clone(&self.schema))?;
                self.data_files += 1;
                self.data.insert(DataShard { path, writer })
            }
        };
        let fail = |e: parquet::errors::ParquetError| write_table(&shard.path, &e);
        shard.writer.write(batch).map_err(fail)?;
        shard.writer.flush().map_err(fail)?;
        Ok(self.place(self.data_files - 1))
    }

    fn close_data(&mut self) -> Result<()> {
        if let Some(DataShard { path, writer }) = self.data.take() {
            writer.close().map_err(|e| write_table(&path, &e))?;
        }
        Ok(())
    }

    fn path_of(&self, template: &str, chunk: usize, file: usize, key: &str) -> Result<PathBuf> {
        let values: [(&str, &dyn crate::format::Value); 3] =
            [("chunk_index", &chunk), ("file_index", &file), ("video_key", &key)];
        let relative = fill(template, &values)
            .map_err(|why| DataError::NotADataset { path: self.root.clone(), why })?;
        let path = self.root.join(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).at("create folder", parent)?;
        }
        Ok(path)
    }

    fn write_video(&mut self, key: &str, footage: &Footage<'_>) -> Result<VideoRow> {
        let (config, bytes): (&TrackConfig, u64) = match footage {
            Footage::Linked { file, range, first } => {
                return self.link_video(key, file, range, *first);
            }
            Footage::Encoded(video) => {
                (&video.config, video.packets.iter().map(|p| p.0.len() as u64).sum())
            }
            Footage::Copied(file, range) => (
                &file.track().config,
                file.track().samples[range.clone()].iter().map(|s| u64::from(s.size)).sum(),
            ),
        };
        let config = &config.without_bit_rate();
        let limit = self.info.video_files_size_in_mb.unwrap_or(200.0) * MB;
        let full = self
            .videos
            .get(key)
            .and_then(|s| s.open.as_ref())
            .is_some_and(|(_, w)| w.config() != config || (w.bytes() + bytes) as f64 > limit);
        if full {
            self.close_video(key)?;
        }
        let files = self.videos.get(key).map_or(0, |s| s.files);
        let fresh = self.videos.get(key).is_none_or(|s| s.open.is_none());
        if fresh {
            let (chunk, file) = self.place(files);
            let template = self.info.video_path.clone().unwrap_or_default();
            let path = self.path_of(&template, chunk, file, key)?;
            let out = BufWriter::with_capacity(1 << 20, File::create(&path).at("create", &path)?);
            let writer = Mp4Writer::new(out, config.clone()).at("write", &path)?;
            let shard = self.videos.entry(key.to_owned()).or_default();
            shard.open = Some((path, writer));
            shard.files += 1;
        }
        let place = self.place(if fresh { files } else { files - 1 });
        let Some((path, writer)) = self.videos.get_mut(key).and_then(|s| s.open.as_mut()) else {
            return Err(DataError::Encode { why: format!("no open file for {key:?}") }.into());
        };
        let scale = f64::from(config.timescale);
        let from_timestamp = writer.ticks() as f64 / scale;
        writer.start_chunk();
        match footage {
            Footage::Encoded(video) => {
                for (data, sync) in &video.packets {
                    let packet = Packet { data, duration: TICKS_PER_FRAME, cts: 0, sync: *sync };
                    writer.write(packet).at("write", path)?;
                }
            }
            Footage::Linked { .. } => {}
            Footage::Copied(file, range) => {
                for i in range.clone() {
                    let sample = file.track().samples[i];
                    let data = file.sample(i).ok_or_else(|| DataError::ReadVideo {
                        path: file.path().to_owned(),
                        why: format!("the file ends before frame {i}"),
                    })?;
                    let (duration, cts, sync) = (sample.duration, sample.cts, sample.sync);
                    writer.write(Packet { data, duration, cts, sync }).at("write", path)?;
                }
            }
        }
        let to_timestamp = writer.ticks() as f64 / scale;
        Ok(VideoRow { file: place, from_timestamp, to_timestamp })
    }

    /// Takes over a whole file, which stays as it is; gives the place of samples `range` of it.
    fn link_video(
        &mut self,
        key: &str,
        file: &VideoFile,
        range: &Range<usize>,
        first: bool,
    ) -> Result<VideoRow> {
        if first {
            self.close_video(key)?;
            let shard = self.videos.entry(key.to_owned()).or_default();
            shard.files += 1;
            let (chunk, number) = self.place(self.videos[key].files - 1);
            let template = self.info.video_path.clone().unwrap_or_default();
            let path = self.path_of(&template, chunk, number, key)?;
            link_or_copy(file.path(), &path)?;
            self.linked += 1;
        }
        let place = self.place(self.videos.get(key).map_or(0, |s| s.files).saturating_sub(1));
        let scale = f64::from(file.track().config.timescale);
        let samples = &file.track().samples[range.clone()];
        let start = samples.iter().map(|s| s.pts).min().unwrap_or(0);
        let end = samples.iter().map(|s| s.pts + i64::from(s.duration)).max().unwrap_or(0);
        Ok(VideoRow {
            file: place,
            from_timestamp: start as f64 / scale,
            to_timestamp: end as f64 / scale,
        })
    }

    fn close_video(&mut self, key: &str) -> Result<()> {
        if let Some((path, writer)) = self.videos.get_mut(key).and_then(|s| s.open.take()) {
            let out = writer.finish().at("write", &path)?;
            out.into_inner().map_err(|e| e.into_error()).at("write", &path)?;
        }
        Ok(())
    }

    /// Completes every file, computes exact statistics over the whole dataset (and over `train`,
    /// where splits are given), and records lineage.
    pub fn finish(
        mut self,
        splits: IndexMap<String, String>,
        parent: Option<ContentHash>,
        operation: &str,
        parameters: serde_json::Value,
        task: Task<'_>,
    ) -> Result<(Lineage, StatsMap)> {
        if self.rows.is_empty() {
            return Err(DataError::Request {
                why: format!("there is no episode to write to {}", self.root.display()),
                hint: "record at least one episode, or relax the filters".to_owned(),
            }
            .into());
        }
        self.close_data()?;
        for key in self.videos.keys().cloned().collect::<Vec<_>>() {
            self.close_video(&key)?;
        }
        let mut tasks: Vec<(String, usize)> = self.tasks.drain(..).collect();
        tasks.sort_by_key(|t| t.1);
        let tasks: Vec<String> = tasks.into_iter().map(|t| t.0).collect();
        fs::create_dir_all(self.root.join("meta")).at("create folder", &self.root)?;
        write_tasks(&self.root.join("meta/tasks.parquet"), &tasks)?;
        self.write_episodes()?;
        self.info.total_episodes = self.rows.len();
        self.info.total_frames = self.frames;
        self.info.total_tasks = tasks.len();
        self.info.splits = splits;
        if self.info.splits.is_empty() {
            self.info.splits.insert("train".to_owned(), format!("0:{}", self.rows.len()));
        }
        self.json("meta/info.json", &self.info)?;
        let (dataset, _) = load(&self.root)?;
        let all: Vec<usize> = (0..self.rows.len()).collect();
        let stats = dataset_stats(&dataset, &all, task)?;
        self.json("meta/stats.json", &stats_to_json(&stats, &self.info.features))?;
        let train = dataset.split(Some("train")).ok().filter(|t| *t != (0..all.len()));
        if let Some(train) = train {
            let stats = dataset_stats(&dataset, &train.collect::<Vec<_>>(), task)?;
            self.json("meta/stats_train.json", &stats_to_json(&stats, &self.info.features))?;
        }
        let merged = std::mem::take(&mut self.merged);
        let lineage = seal(&self.root, parent, merged, operation, parameters)?;
        Ok((lineage, stats))
    }

    fn json(&self, relative: &str, value: &impl serde::Serialize) -> Result<()> {
        let path = self.root.join(relative);
        let text = serde_json::to_vec_pretty(value)
            .map_err(|e| DataError::Json { path: path.clone(), why: e.to_string() })?;
        fs::write(&path, text).at("write", &path)
    }
}
