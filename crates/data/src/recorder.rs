//! The recorder: frames in, a LeRobotDataset v3.0 out.
//!
//! Video is encoded in segments on a small pool while recording goes on; finished episodes are
//! appended in order. The bytes written do not depend on the number of threads. The dataset appears
//! under its name only at [`LeRobotRecorder::finish`]. Until then a journal beside it holds every
//! frame, so that a crash costs one frame at most; [`LeRobotRecorder::recover`] completes it.

mod journal;
mod levels;
mod pool;
mod recover;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray,
    StructArray, UInt8Array,
};
use arrow_schema::DataType;
use embody_core::{
    Array, ArrayData, ArrayView, AtomicDir, CancelToken, ContentHash, DType, DataView,
    EpisodeOutcome, FeatureSpec, Features, NoProgress, Recorder, Result, StatsMap, Task, VideoInfo,
};
use indexmap::IndexMap;
use serde_json::json;

use crate::error::DataError;
use crate::format::{Info, RESERVED, cast_column, column_type, fixed_list};
use crate::picture::encode_png;
use crate::stats::{PictureStats, array_stats};
use crate::video::{EncodedVideo, I420, SegmentEncoder, VideoSettings};
use crate::writer::{DatasetWriter, Footage, NewEpisode};

use journal::{Header, Journal, Leftover, journal_folder};
use levels::Levels;
use pool::{Job, Pool, Ticket};
pub use recover::RecoverReport;
use recover::pack;

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct RecordSpec {
    /// Frames per second.
    pub fps: f64,
    /// What is recorded, such as `so101`.
    pub robot_type: Option<String>,
    /// Features without the reserved ones (`timestamp`, `index`, …). Pictures are
    /// [`DType::Video`], or [`DType::Image`] (a PNG per row of the table), of shape
    /// `[height, width, 3]`.
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

/// The value of one feature in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FrameValue<'a> {
    /// Numbers, truth values or a picture.
    Array(ArrayView<'a>),
    /// Text, of a [`DType::String`] feature.
    Text(&'a str),
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
    /// Episodes begun, and those of them that were kept.
    started: usize,
    kept: usize,
    frames: usize,
    /// After the pool, whose threads write to it: they are done before it goes.
    journal: Option<Journal>,
    recovered: Option<RecoverReport>,
}

/// The episode being recorded.
struct OpenEpisode {
    /// Instruction of the frames to come.
    task: String,
    /// Instructions in order of their first frame.
    tasks: Vec<String>,
    /// Of each frame, which of them.
    frame_tasks: Vec<usize>,
    length: usize,
    values: IndexMap<String, Values>,
    cameras: IndexMap<String, Camera>,
}

impl OpenEpisode {
    /// Notes a frame under the instruction of the moment.
    fn count_frame(&mut self) {
        let task = self.tasks.iter().position(|t| *t == self.task).unwrap_or_else(|| {
            self.tasks.push(self.task.clone());
            self.tasks.len() - 1
        });
        self.frame_tasks.push(task);
        self.length += 1;
    }
}

/// What a table feature has been given.
enum Values {
    Array(ArrayData),
    Text(StringBuilder),
    /// PNG files, and the levels that statistics are made of.
    Pictures(BinaryBuilder, Levels),
}

struct Camera {
    buffer: Vec<I420>,
    tickets: Vec<Ticket>,
    levels: Levels,
}

impl Camera {
    /// Without frames so far; `folder` takes what does not fit into memory.
    fn new(folder: &Path) -> Self {
        Self { buffer: Vec::new(), tickets: Vec::new(), levels: Levels::new(folder) }
    }
}

/// An episode whose video may still be encoding.
struct SavedEpisode {
    open: OpenEpisode,
    outcome: EpisodeOutcome,
}

impl LeRobotRecorder {
    /// Starts a dataset that will stand at `target`, with a journal beside it. A journal that an
    /// earlier recording of the same name left is completed first, as `NAME-recovered`: see
    /// [`LeRobotRecorder::recovered`]. What has an origin can be had from there again and needs no
    /// journal.
    ///
    /// # Errors
    /// When a feature can't be recorded or the folder can't be made.
    pub fn create(target: &Path, spec: RecordSpec) -> Result<Self> {
        if spec.origin.is_some() {
            return Self::build(target, spec);
        }
        let recovered = Self::rescue(target, spec.threads)?;
        let header = Header {
            version: 0,
            fps: spec.fps,
            robot_type: spec.robot_type.clone(),
            features: spec.features.clone(),
            video: spec.video,
            parameters: spec.parameters.clone(),
        };
        let mut recorder = Self::build(target, spec)?;
        recorder.journal = Some(Journal::create(&journal_folder(target), &header)?);
        recorder.recovered = recovered;
        Ok(recorder)
    }

    /// As [`LeRobotRecorder::create`], without a journal: for frames that can be made again, such as
    /// those of a simulation. A crash loses them all.
    ///
    /// # Errors
    /// As [`LeRobotRecorder::create`].
    pub fn without_journal(target: &Path, spec: RecordSpec) -> Result<Self> {
        Self::build(target, spec)
    }

    /// The recording that was completed before this one began.
    pub fn recovered(&self) -> Option<&RecoverReport> {
        self.recovered.as_ref()
    }

    fn build(target: &Path, spec: RecordSpec) -> Result<Self> {
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
                DType::String if feature.shape != [1] => {
                    let shape = &feature.shape;
                    return Err(refuse(format!("text {key:?} has shape {shape:?}, not [1]")));
                }
                DType::Image if !matches!(feature.shape[..], [h, w, 3] if h > 0 && w > 0) => {
                    let shape = &feature.shape;
                    return Err(refuse(format!(
                        "image {key:?} has shape {shape:?}, not [h, w, 3]"
                    )));
                }
                DType::Language => {
                    let why = "language columns can't be recorded: they are written afterwards";
                    return Err(refuse(format!("feature {key:?}: {why}")));
                }
                DType::Image => {
                    if let Some(feature) = info.features.get_mut(key)
                        && feature.names.is_null()
                    {
                        feature.names = json!(["height", "width", "channels"]);
                    }
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
            kept: 0,
            frames: 0,
            journal: None,
            recovered: None,
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
    /// in place then but the journal.
    pub fn finish(self) -> Result<RecordReport> {
        self.finish_with(IndexMap::new())
    }

    /// As [`LeRobotRecorder::finish`], with episode ranges such as `0:8` by split; all of it is
    /// `train` where there is none.
    ///
    /// # Errors
    /// As [`LeRobotRecorder::finish`].
    pub fn finish_with(self, splits: IndexMap<String, String>) -> Result<RecordReport> {
        if self.open.is_some() {
            return Err(self.refuse("the episode is still open".to_owned()));
        }
        self.close(None, splits)
    }

    /// Forgets the whole recording.
    ///
    /// # Errors
    /// When its journal can't be removed.
    pub fn abandon(mut self) -> Result<()> {
        self.journal.take().map_or(Ok(()), Journal::remove)
    }

    /// Puts the dataset in place; `left` is the journal that it comes from, if not its own.
    fn close(
        mut self,
        left: Option<&Leftover>,
        splits: IndexMap<String, String>,
    ) -> Result<RecordReport> {
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
        let (lineage, _) = self.writer.finish(splits, parent, &operation, parameters, task)?;
        // Best effort (the journal's disk may be full): without the note, a crash between here and the
        // journal's end would bring the recording a second time, under another name.
        match (left, &self.journal) {
            (Some(left), _) => left.seal(self.target.target(), &lineage.version).ok(),
            (None, Some(journal)) => journal.seal(self.target.target(), &lineage.version).ok(),
            (None, None) => None,
        };
        let path = self.target.commit()?;
        if let Some(journal) = self.journal.take() {
            journal.remove()?;
        }
        Ok(RecordReport { path, episodes, frames, version: lineage.version })
    }

    /// Changes the instruction: frames added from now on carry `task`.
    ///
    /// # Errors
    /// When no episode is open.
    pub fn set_task(&mut self, task: &str) -> Result<()> {
        match self.open.as_mut() {
            Some(open) => {
                task.clone_into(&mut open.task);
                Ok(())
            }
            None => Err(self.refuse("no episode is open".to_owned())),
        }
    }

    /// Adds one frame as [`Recorder::add_frame`] does; values may be text.
    ///
    /// # Errors
    /// As [`Recorder::add_frame`].
    pub fn add_values(&mut self, values: &[(&str, FrameValue<'_>)]) -> Result<()> {
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
        let view = |key: &str| values.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let mut images = Vec::with_capacity(self.cameras.len());
        let mut pictures = Vec::with_capacity(self.cameras.len());
        for (number, (key, encoder)) in self.cameras.iter().enumerate() {
            let Some(rgb) = view(key).as_ref().and_then(pixels) else { continue };
            let mut picture = PictureStats::default();
            picture.add(rgb, encoder.width);
            let image = I420::from_rgb(rgb, encoder.width, encoder.height);
            if let Some(journal) = &mut self.journal {
                let camera = &open.cameras[key];
                journal.picture(number, camera.tickets.len(), camera.buffer.len(), &image)?;
            }
            images.push(image);
            pictures.push(picture);
        }
        if let Some(journal) = &mut self.journal {
            journal.frame(pack(&self.spec.features, &open.task, view, &pictures))?;
        }
        for (key, value) in values {
            if let Some(kept) = open.values.get_mut(*key) {
                push(kept, value, &self.spec.features[*key])?;
            }
        }
        let cameras = self.cameras.values().zip(open.cameras.values_mut()).enumerate();
        for ((number, (encoder, camera)), (image, picture)) in
            cameras.zip(images.into_iter().zip(pictures))
        {
            camera.levels.push(&picture)?;
            camera.buffer.push(image);
            if camera.buffer.len() >= encoder.segment_frames() {
                let keep =
                    self.journal.as_ref().and_then(|j| j.segment(number, camera.tickets.len()));
                let frames = std::mem::take(&mut camera.buffer);
                camera.tickets.push(self.pool.submit(Job { encoder: *encoder, frames, keep }));
            }
        }
        open.count_frame();
        Ok(())
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
        for (key, values) in open.values {
            let spec = &self.spec.features[&key];
            let data = match values {
                Values::Array(data) => data,
                Values::Text(mut text) => {
                    columns.insert(key, Arc::new(text.finish()));
                    continue;
                }
                Values::Pictures(mut files, levels) => {
                    stats.insert(key.clone(), levels.finish()?.finish());
                    columns.insert(key, picture_column(&mut files)?);
                    continue;
                }
            };
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
            let mut configuration = Vec::new();
            for ticket in camera.tickets {
                let segment = ticket.wait()?;
                if !packets.is_empty() && configuration != segment.configuration {
                    let why = format!("{key}: the encoder changed its configuration half-way");
                    return Err(DataError::Encode { why }.into());
                }
                packets.extend(segment.packets);
                configuration = segment.configuration;
            }
            let config = self.cameras[&key].config(&configuration);
            videos.insert(key.clone(), EncodedVideo { config, packets });
            stats.insert(key, camera.levels.finish()?.finish());
        }
        self.frames += open.length;
        self.writer.append(NewEpisode {
            columns,
            length: open.length,
            frame_tasks: Some(open.frame_tasks),
            tasks: open.tasks,
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

fn video_info(camera: &SegmentEncoder, spec: &RecordSpec) -> VideoInfo {
    let mut info = VideoInfo {
        height: Some(camera.height),
        width: Some(camera.width),
        is_depth_map: Some(false),
        fps: Some(spec.fps),
        channels: Some(3),
        has_audio: Some(false),
        ..VideoInfo::default()
    };
    spec.video.describe(&mut info);
    info
}

impl Recorder for LeRobotRecorder {
    fn begin_episode(&mut self, task: &str) -> Result<()> {
        if self.open.is_some() {
            return Err(self.refuse("an episode is open already".to_owned()));
        }
        if let Some(journal) = &mut self.journal {
            journal.begin(self.started, task, self.cameras.len())?;
        }
        self.started += 1;
        self.open = Some(OpenEpisode {
            task: task.to_owned(),
            tasks: Vec::new(),
            frame_tasks: Vec::new(),
            length: 0,
            values: self
                .spec
                .features
                .iter()
                .filter(|(_, f)| f.dtype != DType::Video)
                .map(|(k, f)| (k.clone(), empty(f.dtype, self.target.path())))
                .collect(),
            cameras: self
                .cameras
                .keys()
                .map(|k| (k.clone(), Camera::new(self.target.path())))
                .collect(),
        });
        Ok(())
    }

    fn add_frame(&mut self, values: &[(&str, ArrayView<'_>)]) -> Result<()> {
        let values: Vec<_> = values.iter().map(|(k, v)| (*k, FrameValue::Array(*v))).collect();
        self.add_values(&values)
    }

    fn save_episode(&mut self, outcome: EpisodeOutcome) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Err(self.refuse("no episode is open".to_owned()));
        };
        if open.length == 0 {
            return Err(self.refuse("the episode is empty".to_owned()));
        }
        for (number, (key, camera)) in open.cameras.iter_mut().enumerate() {
            if !camera.buffer.is_empty() {
                let frames = std::mem::take(&mut camera.buffer);
                let keep =
                    self.journal.as_ref().and_then(|j| j.segment(number, camera.tickets.len()));
                let job = Job { encoder: self.cameras[key], frames, keep };
                camera.tickets.push(self.pool.submit(job));
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.save(&outcome)?;
        }
        self.kept += 1;
        self.waiting.push_back(SavedEpisode { open, outcome });
        self.drain()
    }

    fn discard_episode(&mut self) {
        self.open = None;
        if let Some(journal) = &mut self.journal {
            // Best effort: a row file that stays would at worst bring the episode back after a crash.
            journal.discard().ok();
        }
    }
}

fn pixels<'a>(value: &FrameValue<'a>) -> Option<&'a [u8]> {
    if let FrameValue::Array(array) = value { array.as_u8() } else { None }
}

fn empty(dtype: DType, folder: &Path) -> Values {
    Values::Array(match dtype {
        DType::Image => return Values::Pictures(BinaryBuilder::new(), Levels::new(folder)),
        DType::String => return Values::Text(StringBuilder::new()),
        DType::Float64 => ArrayData::F64(Vec::new()),
        DType::Float16 | DType::Float32 => ArrayData::F32(Vec::new()),
        DType::Bool => ArrayData::Bool(Vec::new()),
        DType::Uint8 => ArrayData::U8(Vec::new()),
        _ => ArrayData::I64(Vec::new()),
    })
}

/// Whether a value fits its feature.
fn check(spec: &FeatureSpec, value: &FrameValue<'_>) -> std::result::Result<(), String> {
    let value = match value {
        FrameValue::Array(array) => array,
        FrameValue::Text(_) if spec.dtype == DType::String => return Ok(()),
        FrameValue::Text(_) => return Err(format!("is text, declared is {:?}", spec.dtype)),
    };
    let count = value.shape.iter().product::<usize>();
    if value.shape != spec.shape && !(spec.shape == [1] && value.shape.is_empty()) {
        return Err(format!("has shape {:?}, declared is {:?}", value.shape, spec.shape));
    }
    let (fits, len, finite) = match value.data {
        DataView::U8(v) => (spec.dtype.is_visual() || spec.dtype == DType::Uint8, v.len(), true),
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

/// The column of an image feature: PNG files under the names that LeRobot gives them.
fn picture_column(files: &mut BinaryBuilder) -> Result<ArrayRef> {
    let files: ArrayRef = Arc::new(files.finish());
    let names = (0..files.len()).map(|frame| format!("frame-{frame:06}.png"));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let DataType::Struct(fields) = column_type(&FeatureSpec::new(DType::Image, &[], &[])) else {
        return Err(DataError::Encode { why: "pictures have no column".to_owned() }.into());
    };
    let column = StructArray::try_new(fields, vec![files, names], None);
    let column = column.map_err(|e| DataError::Encode { why: e.to_string() })?;
    Ok(Arc::new(column))
}

/// Adds a picture to an image feature's column.
fn push_picture(
    files: &mut BinaryBuilder,
    levels: &mut Levels,
    rgb: &[u8],
    shape: &[usize],
) -> Result<()> {
    let (height, width) = (shape[0], shape[1]);
    let file = encode_png(rgb, height, width).map_err(|why| DataError::Encode { why })?;
    files.append_value(file);
    let mut picture = PictureStats::default();
    picture.add(rgb, width);
    levels.push(&picture)
}

fn push(kept: &mut Values, value: &FrameValue<'_>, spec: &FeatureSpec) -> Result<()> {
    let (kept, value) = match (kept, value) {
        (Values::Array(kept), FrameValue::Array(value)) => (kept, value),
        (Values::Text(kept), FrameValue::Text(text)) => {
            kept.append_value(text);
            return Ok(());
        }
        (Values::Pictures(files, levels), FrameValue::Array(value)) => {
            return push_picture(files, levels, value.as_u8().unwrap_or(&[]), &spec.shape);
        }
        // `check` has compared the types.
        _ => return Ok(()),
    };
    match (kept, value.data) {
        (ArrayData::U8(to), DataView::U8(from)) => to.extend_from_slice(from),
        (ArrayData::F32(to), DataView::F32(from)) => to.extend_from_slice(from),
        (ArrayData::F64(to), DataView::F64(from)) => to.extend_from_slice(from),
        (ArrayData::I64(to), DataView::I64(from)) => to.extend_from_slice(from),
        (ArrayData::Bool(to), DataView::Bool(from)) => to.extend_from_slice(from),
        // `check` has compared the types.
        _ => {}
    }
    Ok(())
}
