//! Export to Rerun recordings (`.rrd`), one per episode: in one file, or in a folder beside the
//! mapping that imports them again.
//!
//! Numbers become `Scalars` with the names of their dimensions, cameras `AssetVideo` of the episode's
//! own packets with a `VideoFrameReference` per frame, pictures `EncodedImage` as they are, texts and
//! instructions `TextDocument`, what was said of the episode `TextLog`. Two timelines: `frame` counts,
//! `time` is k/fps since the episode's start. Equal data give equal bytes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray};
use embody_core::{
    ArrayData, AtomicDir, DType, FeatureSpec, IoContext, Result, Task, write_atomic,
};

use super::rows::{Rows, aside, put, refuse};
use crate::dataset::Dataset;
use crate::error::write_table;
use crate::import::tick;
use crate::mp4::read_track;
use crate::rrd::{Component, RrdWriter, Timeline, blobs, list_of};

/// Rows of a chunk at most.
const ROWS: usize = 2048;
const FRAME: Timeline = Timeline::Sequence("frame");
const TIME: Timeline = Timeline::Duration("time");
/// Where the instruction stands.
const TASK: &str = "/task";
/// Where it is said what happened.
const EVENTS: &str = "/events";
/// Whole numbers up to here are the same as f64.
const EXACT: i64 = 1 << 53;

/// Writes the chosen episodes to the file `target` where its name ends in `.rrd`, else to a folder.
pub(super) fn write(rows: &Rows<'_>, target: &Path, task: Task<'_>) -> Result<()> {
    if target.extension().is_some_and(|e| e.eq_ignore_ascii_case("rrd")) {
        let temporary = aside(target)?;
        let out = BufWriter::new(temporary.as_file());
        let mut writer = RrdWriter::new(out).at("write", target)?;
        for (done, &episode) in rows.episodes.iter().enumerate() {
            recording(rows, episode, &mut writer, target)?;
            task.advance("export", done as u64 + 1, "")?;
        }
        writer.finish().at("write", target)?;
        return put(temporary, target);
    }
    let staging = AtomicDir::begin(target, false)?;
    for (done, &episode) in rows.episodes.iter().enumerate() {
        let path = staging.path().join(format!("episode-{episode:06}.rrd"));
        let out = BufWriter::new(File::create(&path).at("create", &path)?);
        let mut writer = RrdWriter::new(out).at("write", &path)?;
        recording(rows, episode, &mut writer, &path)?;
        let file = writer.finish().at("write", &path)?;
        file.into_inner().map_err(|e| e.into_error()).at("write", &path)?;
        task.advance("export", done as u64 + 1, "")?;
    }
    write_atomic(&staging.path().join("mapping.toml"), mapping(rows).as_bytes())?;
    staging.commit().map(|_| ())
}

/// One episode as a recording of its own.
pub(super) fn recording<W: Write>(
    rows: &Rows<'_>,
    episode: usize,
    writer: &mut RrdWriter<W>,
    path: &Path,
) -> Result<()> {
    let dataset = rows.dataset;
    let fail = |e: std::io::Error| -> embody_core::Error { write_table(path, &e).into() };
    let name = dataset.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = dataset.version()?.to_string();
    let hex: String = version.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    let seed = u64::from_str_radix(&hex, 16).unwrap_or(0).wrapping_mul(1 << 16);
    let seed = seed.wrapping_add((episode as u64) << 40);
    writer.begin(&name, &format!("{name}-{hex}-{episode:06}"), seed).map_err(fail)?;
    let title = strings([format!("{name}, episode {episode}")].iter());
    let title = component("RecordingInfo", "name", "Name", title);
    writer.chunk("/__properties", &[], vec![title]).map_err(fail)?;
    let mut out = Recording { rows, episode, length: dataset.episode(episode)?.length, writer };
    out.said().map_err(fail)?;
    out.instructions()?.map_err(fail)?;
    let table = rows.table(episode)?;
    for (key, spec) in &rows.features {
        match spec.dtype {
            DType::Video => out.video(key)?.map_err(fail)?,
            DType::Image => out.pictures(key)?.map_err(fail)?,
            DType::String => out.texts(key)?.map_err(fail)?,
            DType::Language => return Err(refuse(key, "language has no form in Rerun")),
            _ => out.numbers(key, spec, &table[key])?.map_err(fail)?,
        }
    }
    Ok(())
}

/// Path of a feature: its parts lie inside each other.
fn entity(key: &str) -> String {
    let mut out = String::from("/");
    for c in key.chars() {
        match c {
            '.' => out.push('/'),
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => out.push(c),
            // Rerun's entity paths escape what else a name may hold.
            c if c.is_ascii_graphic() || c == ' ' => out.extend(['\\', c]),
            c => {
                let _ = write!(out, "\\u{{{:04X}}}", u32::from(c));
            }
        }
    }
    out
}

fn component(
    archetype: &'static str,
    field: &'static str,
    kind: &'static str,
    values: ListArray,
) -> Component {
    Component { archetype, field, kind, values }
}

fn strings<T: AsRef<str>>(texts: impl Iterator<Item = T>) -> ListArray {
    list_of(Arc::new(StringArray::from_iter_values(texts)), 1)
}

/// An episode on its way into a recording.
struct Recording<'r, W> {
    rows: &'r Rows<'r>,
    episode: usize,
    length: usize,
    writer: &'r mut RrdWriter<W>,
}

/// Writing fails otherwise than reading does.
type Written = std::io::Result<()>;

impl<W: Write> Recording<'_, W> {
    fn times(&self, frames: impl Iterator<Item = usize> + Clone) -> [(Timeline, Vec<i64>); 2] {
        let fps = self.rows.dataset.fps();
        let counts = frames.clone().map(|f| f as i64).collect();
        [(FRAME, counts), (TIME, frames.map(|f| tick(0, fps, f)).collect())]
    }

    /// Blocks of rows that are written at once.
    fn blocks(&self, size: usize) -> impl Iterator<Item = Range<usize>> + use<W> {
        let length = self.length;
        (0..length).step_by(size.max(1)).map(move |from| from..(from + size.max(1)).min(length))
    }

    /// Where the episode begins and ends, how it went, and its labelled stretches.
    fn said(&mut self) -> Written {
        let episode = &self.rows.dataset.episodes()[self.episode];
        let last = self.length.saturating_sub(1);
        let outcome = match episode.outcome.success {
            Some(true) => ": success",
            Some(false) => ": failure",
            None => "",
        };
        let mut said = vec![(0, format!("episode {} begins", self.episode))];
        for segment in &episode.annotations.segments {
            let label = segment.label.as_deref().or(segment.task.as_deref()).unwrap_or("segment");
            let end = segment.end.saturating_sub(1).min(last);
            said.push((segment.start.min(last), format!("{label} begins")));
            said.push((end, format!("{label} ends")));
        }
        said.push((last, format!("episode {} ends{outcome}", self.episode)));
        said.sort_by_key(|s| s.0);
        let times = self.times(said.iter().map(|s| s.0));
        let levels = strings(said.iter().map(|_| "INFO"));
        let parts = vec![
            component("TextLog", "text", "Text", strings(said.iter().map(|s| &s.1))),
            component("TextLog", "level", "TextLogLevel", levels),
        ];
        self.writer.chunk(EVENTS, &times, parts)
    }

    /// The instruction, where it begins to hold.
    fn instructions(&mut self) -> Result<Written> {
        let tasks = self.rows.tasks(self.episode)?;
        let begins = |f: &usize| *f == 0 || tasks[*f] != tasks[*f - 1];
        let frames: Vec<usize> = (0..tasks.len()).filter(begins).collect();
        let times = self.times(frames.iter().copied());
        let texts = strings(frames.iter().map(|f| tasks[*f]));
        let text = component("TextDocument", "text", "Text", texts);
        Ok(self.writer.chunk(TASK, &times, vec![text]))
    }

    fn texts(&mut self, key: &str) -> Result<Written> {
        let texts = self.rows.dataset.episode_text(self.episode, key)?;
        for block in self.blocks(ROWS) {
            let times = self.times(block.clone());
            let text = component("TextDocument", "text", "Text", strings(texts[block].iter()));
            if let Err(e) = self.writer.chunk(&entity(key), &times, vec![text]) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(()))
    }

    fn numbers(&mut self, key: &str, spec: &FeatureSpec, data: &ArrayData) -> Result<Written> {
        let values: Vec<f64> = match data {
            ArrayData::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            ArrayData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            ArrayData::F64(v) => v.clone(),
            ArrayData::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
            ArrayData::I64(v) => {
                if let Some(big) = v.iter().find(|x| x.unsigned_abs() > EXACT as u64) {
                    return Err(refuse(key, &format!("{big} is no exact f64, as Rerun plots")));
                }
                v.iter().map(|&x| x as f64).collect()
            }
        };
        let width = spec.numel();
        let path = entity(key);
        let names = strings_of(spec.dim_names());
        let names = component("SeriesLines", "names", "Name", names);
        if let Err(e) = self.writer.chunk(&path, &[], vec![names]) {
            return Ok(Err(e));
        }
        for block in self.blocks(ROWS) {
            let times = self.times(block.clone());
            let part = values[block.start * width..block.end * width].to_vec();
            let part = list_of(Arc::new(Float64Array::from(part)), width);
            let part = component("Scalars", "scalars", "Scalar", part);
            if let Err(e) = self.writer.chunk(&path, &times, vec![part]) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(()))
    }

    fn video(&mut self, key: &str) -> Result<Written> {
        let file = self.rows.dataset.episode_video_mp4(self.episode, key)?;
        let track = read_track(&file).map_err(|why| refuse(key, &why))?;
        let scale = i128::from(track.config.timescale.max(1));
        let mut shown: Vec<i64> = track
            .samples
            .iter()
            .map(|s| (i128::from(s.pts) * 1_000_000_000 / scale) as i64)
            .collect();
        shown.sort_unstable();
        shown.truncate(self.length);
        let path = entity(key);
        let asset = vec![
            component("AssetVideo", "blob", "Blob", blobs([&file[..]].into_iter())),
            component("AssetVideo", "media_type", "MediaType", strings(["video/mp4"].iter())),
        ];
        let write = |out: &mut Self| -> Written {
            out.writer.chunk(&path, &[], asset)?;
            for block in out.blocks(ROWS) {
                let times = out.times(block.clone());
                let at: ArrayRef = Arc::new(Int64Array::from(shown[block].to_vec()));
                let at = list_of(at, 1);
                let at = component("VideoFrameReference", "timestamp", "VideoTimestamp", at);
                out.writer.chunk(&path, &times, vec![at])?;
            }
            Ok(())
        };
        if shown.len() < self.length {
            let frames = shown.len();
            return Err(refuse(key, &format!("episode {}: only {frames} frames", self.episode)));
        }
        Ok(write(self))
    }

    /// Pictures of the table, as they lie there.
    fn pictures(&mut self, key: &str) -> Result<Written> {
        let spec = &self.rows.features[key];
        let block = (64 << 20) / spec.numel().max(1);
        let path = entity(key);
        for block in self.blocks(block.clamp(1, ROWS)) {
            let files = self.rows.dataset.encoded_pictures(self.episode, key, block.clone())?;
            let times = self.times(block);
            let media = |f: &Vec<u8>| {
                if f.starts_with(&[0xff, 0xd8]) { "image/jpeg" } else { "image/png" }
            };
            let parts = vec![
                component("EncodedImage", "blob", "Blob", blobs(files.iter().map(|f| &f[..]))),
                component(
                    "EncodedImage",
                    "media_type",
                    "MediaType",
                    strings(files.iter().map(media)),
                ),
            ];
            if let Err(e) = self.writer.chunk(&path, &times, parts) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(()))
    }
}

/// One list of several texts.
fn strings_of(texts: Vec<String>) -> ListArray {
    let count = texts.len();
    list_of(Arc::new(StringArray::from_iter_values(texts)), count)
}

/// An episode as the bytes of a `.rrd` file, without language columns.
pub(super) fn bytes(dataset: &Dataset, episode: usize) -> Result<Vec<u8>> {
    let features = dataset.info().features.iter();
    let without = features.filter(|(_, f)| f.dtype == DType::Language).map(|(key, _)| key.clone());
    let options = super::ExportOptions { without: without.collect(), ..Default::default() };
    let rows = Rows::of(dataset, &options)?;
    let path = dataset.root();
    let mut writer = RrdWriter::new(Vec::new()).at("write", path)?;
    recording(&rows, episode, &mut writer, path)?;
    writer.finish().at("write", path)
}

/// The mapping that makes the dataset again.
fn mapping(rows: &Rows<'_>) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let dataset = rows.dataset;
    let mut text = format!("fps = {:?}\ntimeline = \"time\"\n", dataset.fps());
    if let Some(robot) = &dataset.info().robot_type {
        let _ = writeln!(text, "robot = {}", quoted(robot));
    }
    let _ = write!(text, "\n[task_from]\ntopic = {}\nfield = \"data\"\n", quoted(TASK));
    for (key, spec) in &rows.features {
        let (key, topic) = (quoted(key), quoted(&entity(key)));
        if spec.dtype.is_visual() {
            let _ = write!(text, "\n[cameras.{key}]\ntopic = {topic}\n");
            continue;
        }
        if spec.dtype == DType::String {
            let _ = write!(text, "\n# {key} is text, which mappings do not take: {topic}\n");
            continue;
        }
        let dtype = match spec.dtype {
            DType::Bool => "bool",
            DType::Float64 => "float64",
            DType::Float16 | DType::Float32 => "float32",
            _ => "int64",
        };
        let names: Vec<String> = spec.dim_names().iter().map(|n| quoted(n)).collect();
        let _ = write!(
            text,
            "\n[features.{key}]\ndtype = \"{dtype}\"\nshape = {:?}\nfrom = [\n  {{ topic = {topic}, \
             field = \"position\", names = [{}] }},\n]\n",
            spec.shape,
            names.join(", ")
        );
    }
    text
}
