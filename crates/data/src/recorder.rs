//! The recorder: frames in, a LeRobotDataset v3.0 out.
//!
//! Video is encoded in segments on a small pool while recording goes on; finished episodes are
//! appended in order. The bytes written do not depend on the number of threads. The dataset appears
//! under its name only at [`LeRobotRecorder::finish`]; dropped before, nothing is left behind.

mod pool;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, UInt8Array};
use embody_core::{
    Array, ArrayData, ArrayView, AtomicDir, CancelToken, ContentHash, DType, DataView,
    EpisodeOutcome, FeatureSpec, Features, NoProgress, Recorder, Result, StatsMap, Task, VideoInfo,
};
use indexmap::IndexMap;
use serde_json::json;

use crate::error::DataError;
use crate::format::{Info, RESERVED, cast_column, column_type, fixed_list};
use crate::stats::{PictureStats, array_stats, sampled_frames};
use crate::video::{EncodedVideo, I420, SegmentEncoder, VideoSettings};
use crate::writer::{DatasetWriter, Footage, NewEpisode};

use pool::{Job, Pool, Ticket};

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct RecordSpec {
    /// Frames per second.
    pub fps: f64,
    /// What is recorded, such as `so101`.
    pub robot_type: Option<String>,
    /// Features without the reserved ones (`timestamp`, `index`, …). Pictures are
    /// [`DType::Video`] of shape `[height, width, 3]`.
    pub features: Features,
    /// How video is encoded.
    pub video: VideoSettings,
    /// Encoding threads; 0 is one per core.
    pub threads: usize,
    /// What goes into the lineage record, such as the recipe's resolved parameters.
    pub parameters: serde_json::Value,
    /// Where the frames come from, when that is another recording.
    pub origin: Option<Origin>,
}

/// What a dataset is made from; goes into the lineage record.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// What makes it, such as `import`.
    pub operation: String,
    /// Content hash of the source.
    pub source: ContentHash,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RecordReport {
    /// Where.
    pub path: PathBuf,
    /// Episodes kept.
    pub episodes: usize,
    /// Frames kept.
    pub frames: usize,
    /// Content hash.
    pub version: ContentHash,
}

/// Records episodes into a new dataset.
pub struct LeRobotRecorder {
    writer: DatasetWriter,
    target: AtomicDir,
    spec: RecordSpec,
    cameras: IndexMap<String, SegmentEncoder>,
    pool: Pool,
    open: Option<OpenEpisode>,
    waiting: VecDeque<SavedEpisode>,
    started: usize,
    frames: usize,
}

/// The episode being recorded.
struct OpenEpisode {
    task: String,
    length: usize,
    values: IndexMap<String, ArrayData>,
    cameras: IndexMap<String, Camera>,
}

#[derive(Default)]
struct Camera {
    buffer: Vec<I420>,
    tickets: Vec<Ticket>,
    /// Levels of each frame, kept until the length says which are sampled.
    pictures: Vec<PictureStats>,
}

/// An episode whose video may still be encoding.
struct SavedEpisode {
    open: OpenEpisode,
    outcome: EpisodeOutcome,
}

impl LeRobotRecorder {
    /// Starts a dataset that will stand at `target`.
    ///
    /// # Errors
    /// When a feature can't be recorded or the folder can't be made.
    pub fn create(target: &Path, spec: RecordSpec) -> Result<Self> {
        let refuse = |why: String| -> embody_core::Error {
            DataError::Record { episode: 0, frame: 0, why }.into()
        };
        if !(spec.fps.is_finite() && spec.fps > 0.0) {
            return Err(refuse(format!("{} frames per second", spec.fps)));
        }
        let mut info = Info::new(spec.fps, spec.robot_type.clone(), &spec.features);
        let mut cameras = IndexMap::new();
        for (key, feature) in &spec.features {
            if RESERVED.contains(&key.as_str()) || key.contains('/') || key.is_empty() {
                return Err(refuse(format!("feature name {key:?} is not allowed")));
            }
            match feature.dtype {
                DType::Video => {
                    let [height, width, 3] = feature.shape[..] else {
                        let shape = &feature.shape;
                        return Err(refuse(format!(
                            "camera {key:?} has shape {shape:?}, not [h, w, 3]"
                        )));
                    };
                    cameras.insert(
                        key.clone(),
                        SegmentEncoder::new(width, height, spec.fps, spec.video)?,
                    );
                }
                DType::Image | DType::String => {
                    return Err(refuse(format!(
                        "feature {key:?}: {:?} can't be recorded",
                        feature.dtype
                    )));
                }
                _ if feature.numel() == 0 || feature.shape.len() > 5 => {
                    return Err(refuse(format!("feature {key:?} has shape {:?}", feature.shape)));
                }
                _ => {}
            }
        }
        for (key, camera) in &cameras {
            if let Some(feature) = info.features.get_mut(key) {
                if feature.names.is_null() {
                    feature.names = json!(["height", "width", "channels"]);
                }
                feature.info = Some(video_info(camera, &spec));
            }
        }
        let target = AtomicDir::begin(target, false)?;
        let threads = match spec.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        Ok(Self {
            writer: DatasetWriter::new(target.path(), info),
            target,
            spec,
            pool: Pool::new(if cameras.is_empty() { 0 } else { threads }),
            cameras,
            open: None,
            waiting: VecDeque::new(),
            started: 0,
            frames: 0,
        })
    }

    /// Where the dataset is being built: files put here become part of it.
    pub(crate) fn staging(&self) -> &Path {
        self.target.path()
    }

    /// Waits for the encoder, computes statistics and puts the dataset in place.
    ///
    /// # Errors
    /// When an episode is still open, there is none, or something can't be written; nothing is left
    /// in place then.
    pub fn finish(mut self) -> Result<RecordReport> {
        if self.open.is_some() {
            return Err(self.refuse("the episode is still open".to_owned()));
        }
        while let Some(episode) = self.waiting.pop_front() {
            self.append(episode)?;
        }
        let (episodes, frames) = (self.writer.episodes(), self.frames);
        let cancel = CancelToken::default();
        let task = Task { progress: &NoProgress, cancel: &cancel };
        let parameters = std::mem::take(&mut self.spec.parameters);
        let (operation, parent) = match self.spec.origin.take() {
            Some(Origin { operation, source }) => (operation, Some(source)),
            None => ("record".to_owned(), None),
        };
        let (lineage, _) =
            self.writer.finish(IndexMap::new(), parent, &operation, parameters, task)?;
        let path = self.target.commit()?;
        Ok(RecordReport { path, episodes, frames, version: lineage.version })
    }

    fn refuse(&self, why: String) -> embody_core::Error {
        let frame = self.open.as_ref().map_or(0, |o| o.length);
        DataError::Record { episode: self.started.saturating_sub(1), frame, why }.into()
    }

    /// Appends an episode whose footage is (or will be) ready; blocks until it is.
    fn append(&mut self, episode: SavedEpisode) -> Result<()> {
        let SavedEpisode { open, outcome } = episode;
        let mut stats = StatsMap::new();
        let mut columns: IndexMap<String, ArrayRef> = IndexMap::new();
        for (key, data) in open.values {
            let spec = &self.spec.features[&key];
            let mut shape = vec![open.length];
            shape.extend(&spec.shape);
            let array = Array { shape, data };
            if spec.dtype.is_numeric() {
                stats.extend(array_stats(&array).map(|s| (key.clone(), s)));
            }
            columns.insert(key.clone(), self.column(&key, spec, array.data)?);
        }
        let mut videos = IndexMap::new();
        for (key, camera) in open.cameras {
            let mut packets = Vec::with_capacity(open.length);
            let mut av1c = Vec::new();
            for ticket in camera.tickets {
                let segment = ticket.wait()?;
                packets.extend(segment.packets);
                av1c = segment.av1c;
            }
            let config = self.cameras[&key].config(&av1c);
            videos.insert(key.clone(), EncodedVideo { config, packets });
            let mut pictures = PictureStats::default();
            for frame in sampled_frames(open.length) {
                pictures.merge(&camera.pictures[frame]);
            }
            stats.insert(key, pictures.finish());
        }
        let task = self.writer.task_index(&open.task);
        let places = [self.writer.episodes(), self.frames, task].map(|n| n as i64);
        reserved_stats(&mut stats, open.length, self.spec.fps, places);
        self.frames += open.length;
        self.writer.append(NewEpisode {
            columns,
            length: open.length,
            frame_tasks: None,
            tasks: vec![open.task],
            videos: videos.iter().map(|(k, v)| (k.clone(), Footage::Encoded(v))).collect(),
            stats,
            outcome,
        })
    }

    fn column(&self, key: &str, spec: &FeatureSpec, data: ArrayData) -> Result<ArrayRef> {
        let values: ArrayRef = match data {
            ArrayData::U8(v) => Arc::new(UInt8Array::from(v)),
            ArrayData::F32(v) => Arc::new(Float32Array::from(v)),
            ArrayData::F64(v) => Arc::new(Float64Array::from(v)),
            ArrayData::I64(v) => Arc::new(Int64Array::from(v)),
            ArrayData::Bool(v) => Arc::new(BooleanArray::from(v)),
        };
        let scalar = column_type(&FeatureSpec { shape: vec![1], ..spec.clone() });
        cast_column(&values, &scalar)
            .and_then(|values| fixed_list(values, &spec.shape))
            .map_err(|why| self.refuse(format!("feature {key:?}: {why}")))
    }

    /// Appends what is ready, and waits where too much would pile up in memory.
    fn drain(&mut self) -> Result<()> {
        while let Some(episode) = self.waiting.front() {
            let ready = episode.open.cameras.values().all(|c| c.tickets.iter().all(Ticket::ready));
            if !ready && self.waiting.len() <= 8 {
                break;
            }
            if let Some(episode) = self.waiting.pop_front() {
                self.append(episode)?;
            }
        }
        Ok(())
    }
}

/// Statistics of the columns that the writer makes.
fn reserved_stats(stats: &mut StatsMap, length: usize, fps: f64, [episode, first, task]: [i64; 3]) {
    let mut add = |key: &str, data: ArrayData| {
        if let Some(s) = array_stats(&Array { shape: vec![length, 1], data }) {
            stats.insert(key.to_owned(), s);
        }
    };
    add("timestamp", ArrayData::F32((0..length).map(|i| (i as f64 / fps) as f32).collect()));
    add("frame_index", ArrayData::I64((0..length as i64).collect()));
    add("episode_index", ArrayData::I64(vec![episode; length]));
    add("index", ArrayData::I64((first..first + length as i64).collect()));
    add("task_index", ArrayData::I64(vec![task; length]));
}

fn video_info(camera: &SegmentEncoder, spec: &RecordSpec) -> VideoInfo {
    let mut extra = serde_json::Map::new();
    extra.insert("video.g".to_owned(), json!(spec.video.gop));
    VideoInfo {
        height: Some(camera.height),
        width: Some(camera.width),
        codec: Some("av1".to_owned()),
        pix_fmt: Some("yuv420p".to_owned()),
        is_depth_map: Some(false),
        fps: Some(spec.fps),
        channels: Some(3),
        has_audio: Some(false),
        extra,
    }
}

impl Recorder for LeRobotRecorder {
    fn begin_episode(&mut self, task: &str) -> Result<()> {
        if self.open.is_some() {
            return Err(self.refuse("an episode is open already".to_owned()));
        }
        self.started += 1;
        self.open = Some(OpenEpisode {
            task: task.to_owned(),
            length: 0,
            values: self
                .spec
                .features
                .iter()
                .filter(|(_, f)| f.dtype != DType::Video)
                .map(|(k, f)| (k.clone(), empty(f.dtype)))
                .collect(),
            cameras: self.cameras.keys().map(|k| (k.clone(), Camera::default())).collect(),
        });
        Ok(())
    }

    fn add_frame(&mut self, values: &[(&str, ArrayView<'_>)]) -> Result<()> {
        let place = (self.started.saturating_sub(1), self.open.as_ref().map_or(0, |o| o.length));
        let refuse = |why: String| -> embody_core::Error {
            DataError::Record { episode: place.0, frame: place.1, why }.into()
        };
        // Everything is checked before anything is kept: a refused frame leaves no trace.
        for key in self.spec.features.keys() {
            let count = values.iter().filter(|(k, _)| k == key).count();
            if count != 1 {
                let why = if count == 0 { "is missing" } else { "is given twice" };
                return Err(refuse(format!("feature {key:?} {why}")));
            }
        }
        for (key, value) in values {
            let Some(spec) = self.spec.features.get(*key) else {
                let known: Vec<_> = self.spec.features.keys().map(String::as_str).collect();
                return Err(refuse(format!(
                    "unknown feature {key:?}, declared are {}",
                    known.join(", ")
                )));
            };
            check(spec, value).map_err(|why| refuse(format!("feature {key:?} {why}")))?;
        }
        let Some(open) = self.open.as_mut() else {
            return Err(refuse("no episode is open".to_owned()));
        };
        for (key, value) in values {
            if let (Some(encoder), Some(rgb)) = (self.cameras.get(*key), value.as_u8()) {
                let camera = &mut open.cameras[*key];
                let mut picture = PictureStats::default();
                picture.add(rgb, encoder.width);
                camera.pictures.push(picture);
                camera.buffer.push(I420::from_rgb(rgb, encoder.width, encoder.height));
                if camera.buffer.len() >= encoder.segment_frames() {
                    let frames = std::mem::take(&mut camera.buffer);
                    camera.tickets.push(self.pool.submit(Job { encoder: *encoder, frames }));
                }
            } else if let Some(kept) = open.values.get_mut(*key) {
                push(kept, value);
            }
        }
        open.length += 1;
        Ok(())
    }

    fn save_episode(&mut self, outcome: EpisodeOutcome) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Err(self.refuse("no episode is open".to_owned()));
        };
        if open.length == 0 {
            return Err(self.refuse("the episode is empty".to_owned()));
        }
        for (key, camera) in &mut open.cameras {
            if !camera.buffer.is_empty() {
                let frames = std::mem::take(&mut camera.buffer);
                let job = Job { encoder: self.cameras[key], frames };
                camera.tickets.push(self.pool.submit(job));
            }
        }
        self.waiting.push_back(SavedEpisode { open, outcome });
        self.drain()
    }

    fn discard_episode(&mut self) {
        self.open = None;
    }
}

fn empty(dtype: DType) -> ArrayData {
    match dtype {
        DType::Float64 => ArrayData::F64(Vec::new()),
        DType::Float16 | DType::Float32 => ArrayData::F32(Vec::new()),
        DType::Bool => ArrayData::Bool(Vec::new()),
        DType::Uint8 => ArrayData::U8(Vec::new()),
        _ => ArrayData::I64(Vec::new()),
    }
}

/// Whether a value fits its feature.
fn check(spec: &FeatureSpec, value: &ArrayView<'_>) -> std::result::Result<(), String> {
    let count = value.shape.iter().product::<usize>();
    if value.shape != spec.shape && !(spec.shape == [1] && value.shape.is_empty()) {
        return Err(format!("has shape {:?}, declared is {:?}", value.shape, spec.shape));
    }
    let (fits, len, finite) = match value.data {
        DataView::U8(v) => (matches!(spec.dtype, DType::Video | DType::Uint8), v.len(), true),
        DataView::F32(v) => (
            matches!(spec.dtype, DType::Float16 | DType::Float32),
            v.len(),
            v.iter().all(|x| x.is_finite()),
        ),
        DataView::F64(v) => {
            (spec.dtype == DType::Float64, v.len(), v.iter().all(|x| x.is_finite()))
        }
        DataView::I64(v) => (
            spec.dtype.is_numeric()
                && !matches!(
                    spec.dtype,
                    DType::Float16 | DType::Float32 | DType::Float64 | DType::Uint8
                ),
            v.len(),
            true,
        ),
        DataView::Bool(v) => (spec.dtype == DType::Bool, v.len(), true),
    };
    if !fits {
        return Err(format!("is given in another type than {:?}", spec.dtype));
    }
    if len != count {
        return Err(format!("has {len} values for shape {:?}", value.shape));
    }
    if !finite {
        let at = match value.data {
            DataView::F32(v) => v.iter().position(|x| !x.is_finite()),
            DataView::F64(v) => v.iter().position(|x| !x.is_finite()),
            _ => None,
        };
        let at = at.unwrap_or(0);
        let names = spec.dim_names();
        return Err(format!("is not finite in dimension {at} ({})", names[at]));
    }
    Ok(())
}

fn push(kept: &mut ArrayData, value: &ArrayView<'_>) {
    match (kept, value.data) {
        (ArrayData::U8(to), DataView::U8(from)) => to.extend_from_slice(from),
        (ArrayData::F32(to), DataView::F32(from)) => to.extend_from_slice(from),
        (ArrayData::F64(to), DataView::F64(from)) => to.extend_from_slice(from),
        (ArrayData::I64(to), DataView::I64(from)) => to.extend_from_slice(from),
        (ArrayData::Bool(to), DataView::Bool(from)) => to.extend_from_slice(from),
        // `check` has compared the types.
        _ => {}
    }
}
