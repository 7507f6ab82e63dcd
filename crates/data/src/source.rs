//! Frames for training. Small recordings: every needed video decoded once, resized, kept as bytes;
//! batches are a gather. Large ones: decoded when a batch asks.
//!
//! Invariants: values do not depend on the number of threads; a cache file is named by everything
//! that decides its bytes and appears only when whole; windows never cross an episode's edge.

mod cache;
mod gather;
mod live;
mod pixels;
mod resize;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embody_core::{
    Array, ArrayData, Batch, BatchSource, ContentHash, DType, Features, FrameRef, Result, StatsMap,
    Task, nearest_key,
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::format::RESERVED;

use cache::Pictures;
use gather::gather_pictures;
use live::Live;
pub use pixels::Pixels;
use pixels::{Scale, rooms};
pub(crate) use resize::Resizer;

/// What to read, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// Split, such as `train`; the whole dataset where `None`.
    pub split: Option<String>,
    /// Features to give; all but the bookkeeping columns where empty.
    pub inputs: Vec<String>,
    /// Height and width to which pictures are resized; as recorded where `None`.
    pub image_size: Option<(usize, usize)>,
    /// Offsets in frames by feature, such as `action: 0..50`; features without stay single frames.
    pub windows: IndexMap<String, Vec<i64>>,
    /// Threads; 0 is one per core.
    pub threads: usize,
    /// Folder for decoded pictures, so that the next run need not decode; memory where `None`.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of decoded pictures to hold in memory (without `cache_dir`); 0 is 8 GiB.
    pub max_memory_bytes: u64,
    /// When pictures are decoded.
    pub decode: DecodeWhen,
    /// Draw all frames alike, whatever the sampling weights of their episodes
    /// ([`Dataset::sampling_weights`]).
    pub unweighted: bool,
    /// What their pixels come out as.
    pub pixels: Pixels,
}

/// When pictures are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecodeWhen {
    /// At opening, into `cache_dir` or memory; while reading where neither has room for them.
    #[default]
    Auto,
    /// At opening; an error where `max_memory_bytes` does not suffice.
    Opening,
    /// While reading: opens at once, and every batch pays for its frames.
    Reading,
}

/// An episode of a source: its index in the dataset and its frames in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEpisode {
    /// Index in the dataset.
    pub episode: usize,
    /// Indices of its frames, for [`BatchSource::batch`].
    pub frames: Range<usize>,
}

/// A split of a dataset in memory, ready for training.
pub struct FrameSource {
    features: Features,
    stats: StatsMap,
    fps: f64,
    episodes: Vec<SourceEpisode>,
    /// Episode number in `episodes` of each frame.
    episode_of: Vec<u32>,
    tables: IndexMap<String, Column>,
    pictures: IndexMap<String, Pictures>,
    /// How pixels become floats; bytes where `None`.
    scale: Option<Scale>,
    windows: IndexMap<String, Vec<i64>>,
    tasks: Vec<Vec<String>>,
    pool: rayon::ThreadPool,
    dataset: Arc<Dataset>,
    /// Sampling weight of each episode.
    weights: Vec<f64>,
}

/// All rows of a table feature.
struct Column {
    width: usize,
    data: ArrayData,
}

impl FrameSource {
    /// Opens a v3.0 dataset and decodes what is needed.
    ///
    /// # Errors
    /// When a feature or split is unknown, a file is damaged or a value not finite (names file,
    /// episode and frame), or pictures would take more memory than allowed.
    pub fn open(root: &Path, options: &SourceOptions, task: Task<'_>) -> Result<Self> {
        let dataset = Arc::new(Dataset::open(root)?);
        let range = dataset.split(options.split.as_deref())?;
        let features = chosen(&dataset, options)?;
        let scale = scale(options.pixels)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .build()
            .map_err(|e| embody_core::Error::new(format!("could not start threads: {e}")))?;
        let mut episodes = Vec::new();
        let mut episode_of = Vec::new();
        for episode in range {
            let from = episode_of.len();
            let length = dataset.episodes()[episode].length;
            episode_of.resize(from + length, episodes.len() as u32);
            episodes.push(SourceEpisode { episode, frames: from..from + length });
        }
        let tables = read_tables(&dataset, &features, &episodes)?;
        let keys: Vec<&str> = features
            .iter()
            .filter(|(_, f)| f.dtype == DType::Video)
            .map(|(k, _)| k.as_str())
            .collect();
        let decode_now = decodes_at_opening(&features, episode_of.len(), options)?;
        let mut pictures = IndexMap::new();
        for key in keys {
            let shape = (features[key].shape[0], features[key].shape[1]);
            let loaded = if decode_now {
                cache::load(&dataset, key, shape, &episodes, options, &pool, task)?
            } else {
                let dataset = Arc::clone(&dataset);
                Pictures::Live(Live { dataset, key: key.to_owned(), size: shape })
            };
            pictures.insert(key.to_owned(), loaded);
        }
        let mut stats = dataset.split_stats("train")?;
        stats.retain(|key, _| features.contains_key(key));
        let all = dataset.sampling_weights();
        let weight = |e: &SourceEpisode| if options.unweighted { 1.0 } else { all[e.episode] };
        let weights = episodes.iter().map(weight).collect();
        let tasks = episodes.iter().map(|e| dataset.episodes()[e.episode].tasks.clone()).collect();
        Ok(Self {
            features,
            stats,
            fps: dataset.fps(),
            episodes,
            episode_of,
            tables,
            pictures,
            scale,
            windows: options.windows.clone(),
            tasks,
            pool,
            weights,
            dataset,
        })
    }

    /// The episodes of this split, in order.
    pub fn episodes(&self) -> &[SourceEpisode] {
        &self.episodes
    }

    /// Instructions of the episode that frame `index` belongs to.
    pub fn tasks(&self, index: usize) -> &[String] {
        self.episode_of.get(index).map_or(&[], |&e| &self.tasks[e as usize])
    }
}

impl BatchSource for FrameSource {
    fn features(&self) -> &Features {
        &self.features
    }

    fn stats(&self) -> &StatsMap {
        &self.stats
    }

    fn len(&self) -> usize {
        self.episode_of.len()
    }

    fn fps(&self) -> f64 {
        self.fps
    }

    fn weights(&self) -> Vec<(Range<usize>, f64)> {
        let each = self.episodes.iter().zip(&self.weights);
        each.map(|(e, &weight)| (e.frames.clone(), weight)).collect()
    }

    /// By the videos, also where their frames were decoded before: how a batch is drawn must not
    /// depend on how much memory this machine has.
    fn runs(&self) -> Result<Option<Vec<Range<usize>>>> {
        if self.pictures.is_empty() {
            return Ok(None);
        }
        let mut runs = Vec::new();
        for episode in &self.episodes {
            let length = episode.frames.len();
            let mut cuts = vec![true; length];
            for key in self.pictures.keys() {
                let sync = self.dataset.camera_key_frames(episode.episode, key)?;
                cuts.iter_mut().zip(sync).for_each(|(cut, sync)| *cut &= sync);
            }
            let mut starts: Vec<usize> = (1..length).filter(|&f| cuts[f]).collect();
            starts.push(length);
            let mut from = 0;
            for to in starts {
                runs.push(episode.frames.start + from..episode.frames.start + to);
                from = to;
            }
        }
        Ok(Some(runs))
    }

    fn versions(&self) -> Result<Vec<ContentHash>> {
        Ok(vec![self.dataset.version()?])
    }

    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()> {
        if let Some(&bad) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(DataError::Request {
                why: format!("frame {bad} of a source of {}", self.len()),
                hint: "ask for frames below len()".to_owned(),
            }
            .into());
        }
        out.frames.clear();
        out.frames.extend(indices.iter().map(|&i| {
            let episode = &self.episodes[self.episode_of[i] as usize];
            FrameRef { dataset: 0, episode: episode.episode, frame: i - episode.frames.start }
        }));
        let wanted = |key: &str| {
            let of = key.strip_suffix("_is_pad").filter(|k| self.windows.contains_key(*k));
            self.features.contains_key(key) || of.is_some_and(|k| self.features.contains_key(k))
        };
        out.arrays.retain(|key, _| wanted(key));
        let mut rows = Vec::new();
        let mut pads = Vec::new();
        for (key, spec) in &self.features {
            let window = self.windows.get(key);
            let steps = window.map_or(1, Vec::len);
            self.rows(indices, window.map(Vec::as_slice), &mut rows, &mut pads);
            let mut shape = vec![indices.len()];
            shape.extend(window.map(Vec::len));
            shape.extend(&spec.shape);
            let slot = out
                .arrays
                .entry(key.clone())
                .or_insert_with(|| Array { shape: Vec::new(), data: ArrayData::U8(Vec::new()) });
            slot.shape = shape;
            if let Some(pictures) = self.pictures.get(key) {
                self.pictures(pictures, spec.numel(), &rows, &mut slot.data)?;
            } else if let Some(column) = self.tables.get(key) {
                column.data.gather(column.width, &rows, &mut slot.data);
            }
            if window.is_some() {
                let slot = out.arrays.entry(format!("{key}_is_pad")).or_insert_with(|| Array {
                    shape: Vec::new(),
                    data: ArrayData::Bool(Vec::new()),
                });
                slot.shape = vec![indices.len(), steps];
                if let ArrayData::Bool(kept) = &mut slot.data {
                    kept.clear();
                    kept.extend_from_slice(&pads);
                } else {
                    slot.data = ArrayData::Bool(pads.clone());
                }
            }
        }
        Ok(())
    }
}

impl FrameSource {
    fn pictures(
        &self,
        pictures: &Pictures,
        values: usize,
        rows: &[usize],
        to: &mut ArrayData,
    ) -> Result<()> {
        let mut rooms = rooms(to, self.scale.as_ref(), (rows.len(), values));
        let decoded: &[u8] = match pictures {
            Pictures::Ram(bytes) => bytes,
            Pictures::File(map) => map,
            Pictures::Live(live) => {
                let frames: Vec<(usize, usize)> = rows
                    .iter()
                    .map(|&row| {
                        let episode = &self.episodes[self.episode_of[row] as usize];
                        (episode.episode, row - episode.frames.start)
                    })
                    .collect();
                return live.gather(&self.pool, &frames, rooms);
            }
        };
        gather_pictures(&self.pool, decoded, values, rows, &mut rooms);
        Ok(())
    }

    /// Rows to gather for `indices`, and which of them lie outside their episode.
    fn rows(
        &self,
        indices: &[usize],
        window: Option<&[i64]>,
        rows: &mut Vec<usize>,
        pads: &mut Vec<bool>,
    ) {
        rows.clear();
        pads.clear();
        let Some(window) = window else {
            rows.extend_from_slice(indices);
            return;
        };
        for &index in indices {
            let frames = &self.episodes[self.episode_of[index] as usize].frames;
            for &offset in window {
                let at = index as i64 + offset;
                let kept = at.clamp(frames.start as i64, frames.end as i64 - 1);
                rows.push(kept as usize);
                pads.push(kept != at);
            }
        }
    }
}

/// How pixels become floats, checked.
fn scale(pixels: Pixels) -> Result<Option<Scale>> {
    let Pixels::Floats { mean, std } = pixels else { return Ok(None) };
    if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return Err(DataError::Request {
            why: format!("pixels normalised by mean {mean:?} and deviation {std:?}"),
            hint: "give finite means and deviations above 0, for values in [0, 1]".to_owned(),
        }
        .into());
    }
    Ok(Some(Scale::new(mean, std)))
}

/// The features asked for, as they come out.
fn chosen(dataset: &Dataset, options: &SourceOptions) -> Result<Features> {
    let declared = &dataset.info().features;
    let unknown = |what: &str, key: &str| -> embody_core::Error {
        let near = nearest_key(key, declared.keys().map(String::as_str));
        let known: Vec<_> = declared.keys().map(String::as_str).collect();
        DataError::Request {
            why: format!("{what} {key:?} is not a feature of {}", dataset.root().display()),
            hint: near.map_or_else(
                || format!("it has {}", known.join(", ")),
                |n| format!("did you mean {n:?}?"),
            ),
        }
        .into()
    };
    let all: Vec<String> = declared
        .iter()
        .filter(|(k, f)| {
            !RESERVED.contains(&k.as_str())
                && !matches!(f.dtype, DType::String | DType::Language | DType::Image)
        })
        .map(|(k, _)| k.clone())
        .collect();
    let keys = if options.inputs.is_empty() { &all } else { &options.inputs };
    let mut out = Features::new();
    for key in keys {
        let mut spec = declared.get(key).cloned().ok_or_else(|| unknown("input", key))?;
        match spec.dtype {
            DType::Video => {
                if spec.shape.get(2) == Some(&1) {
                    // A depth map comes as a grey picture.
                    spec.shape[2] = 3;
                }
                if let Some((height, width)) = options.image_size {
                    if height == 0 || width == 0 {
                        let why = format!("pictures of {height}x{width} pixels");
                        let hint = "give a height and a width above 0".to_owned();
                        return Err(DataError::Request { why, hint }.into());
                    }
                    spec.shape = vec![height, width, 3];
                }
            }
            DType::Image | DType::String | DType::Language => {
                return Err(DataError::Request {
                    why: format!(
                        "input {key:?} is of type {:?}, which can't be trained on",
                        spec.dtype
                    ),
                    hint: "leave it out of the inputs".to_owned(),
                }
                .into());
            }
            _ => {}
        }
        out.insert(key.clone(), spec);
    }
    for (key, window) in &options.windows {
        if !out.contains_key(key) {
            if !declared.contains_key(key) {
                return Err(unknown("window", key));
            }
            let why = format!("there is a window of {key:?}, which is not among the inputs");
            let hint = format!("add {key:?} to the inputs");
            return Err(DataError::Request { why, hint }.into());
        }
        if window.is_empty() {
            let why = format!("the window of {key:?} is empty");
            let hint = "give at least offset 0".to_owned();
            return Err(DataError::Request { why, hint }.into());
        }
    }
    Ok(out)
}

/// Reads the numeric features of the given episodes into one array each; all values are finite.
fn read_tables(
    dataset: &Dataset,
    features: &Features,
    episodes: &[SourceEpisode],
) -> Result<IndexMap<String, Column>> {
    let keys: Vec<&str> =
        features.iter().filter(|(_, f)| f.dtype != DType::Video).map(|(k, _)| k.as_str()).collect();
    let mut out: IndexMap<String, Column> = IndexMap::new();
    if keys.is_empty() {
        return Ok(out);
    }
    for episode in episodes {
        for (key, array) in dataset.columns(episode.episode, &keys)? {
            if let Some((frame, dim)) = crate::process::non_finite(&array) {
                let name = features[&key].dim_names().get(dim).cloned().unwrap_or_default();
                return Err(DataError::Frame {
                    path: dataset.episodes()[episode.episode].rows.file.clone(),
                    episode: episode.episode,
                    frame,
                    why: format!("{key}, dimension {name}, is not finite"),
                    hint: "leave such episodes out: embody data process",
                }
                .into());
            }
            let width = features[&key].numel();
            let data = match array.data {
                ArrayData::F64(v) => ArrayData::F32(v.into_iter().map(|x| x as f32).collect()),
                other => other,
            };
            match out.get_mut(&key) {
                None => {
                    out.insert(key, Column { width, data });
                }
                Some(column) => match (&mut column.data, data) {
                    (ArrayData::U8(to), ArrayData::U8(from)) => to.extend(from),
                    (ArrayData::F32(to), ArrayData::F32(from)) => to.extend(from),
                    (ArrayData::I64(to), ArrayData::I64(from)) => to.extend(from),
                    (ArrayData::Bool(to), ArrayData::Bool(from)) => to.extend(from),
                    _ => {
                        return Err(DataError::Inconsistent {
                            path: dataset.episodes()[episode.episode].rows.file.clone(),
                            why: format!("column {key:?} changes its type between files"),
                            hint: "record or convert the dataset again",
                        }
                        .into());
                    }
                },
            }
        }
    }
    Ok(out)
}

/// Whether all pictures are decoded before the first batch.
fn decodes_at_opening(features: &Features, frames: usize, options: &SourceOptions) -> Result<bool> {
    let limit = if options.max_memory_bytes == 0 { 8 << 30 } else { options.max_memory_bytes };
    let pictures = features.values().filter(|f| f.dtype == DType::Video);
    let bytes: u64 = pictures.map(|f| f.numel() as u64 * frames as u64).sum();
    let fits = options.cache_dir.is_some() || bytes <= limit;
    if options.decode == DecodeWhen::Opening && !fits {
        return Err(DataError::Request {
            why: format!(
                "decoded pictures take {:.1} GiB, more than the {:.1} GiB allowed",
                bytes as f64 / (1u64 << 30) as f64,
                limit as f64 / (1u64 << 30) as f64
            ),
            hint: "set image_size smaller, cache_dir to keep them on disk, or decode to `reading`"
                .to_owned(),
        }
        .into());
    }
    Ok(fits && options.decode != DecodeWhen::Reading)
}
