//! Export to MCAP with ROS 2 messages: one file per episode, and the mapping that imports them again.
//!
//! Vectors of numbers become `sensor_msgs/msg/JointState` (names and positions), which every viewer
//! plots by name; other shapes multi-arrays of `std_msgs`. Video packets are copied, not encoded
//! again, as `foxglove_msgs/msg/CompressedVideo`. Frame k lies k/fps after the start.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use embody_core::{
    Array, ArrayData, AtomicDir, DType, FeatureSpec, IoContext, Result, Task, write_atomic,
};
use mcap::records::MessageHeader;

use super::rows::{Rows, refuse};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::import::{begin_mcap, tick};
use crate::log::{Channel, Definition, Encoding};
use crate::message::{CdrWriter, common};
use crate::video::{VideoFile, with_sequence_header};

/// Time of the first frame: one second, since viewers take zero for "not set".
const START_NS: i64 = 1_000_000_000;
const TASK_TOPIC: &str = "/task";

/// Where one feature goes.
struct Track {
    key: String,
    spec: FeatureSpec,
    topic: String,
    form: Form,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Joints,
    Floats,
    Ints,
    Bytes,
    Video,
    Picture,
}

impl Form {
    fn of(spec: &FeatureSpec) -> Option<Self> {
        Some(match spec.dtype {
            DType::Video => Self::Video,
            DType::Image => Self::Picture,
            DType::Float16 | DType::Float32 | DType::Float64 if spec.shape.len() == 1 => {
                Self::Joints
            }
            DType::Float16 | DType::Float32 | DType::Float64 => Self::Floats,
            DType::Bool | DType::Uint8 => Self::Bytes,
            dtype if dtype.is_numeric() => Self::Ints,
            _ => return None,
        })
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Joints => "sensor_msgs/msg/JointState",
            Self::Floats => "std_msgs/msg/Float64MultiArray",
            Self::Ints => "std_msgs/msg/Int64MultiArray",
            Self::Bytes => "std_msgs/msg/UInt8MultiArray",
            Self::Video => "foxglove_msgs/msg/CompressedVideo",
            Self::Picture => "sensor_msgs/msg/CompressedImage",
        }
    }
}

/// Writes the chosen episodes to the folder `target`.
pub(super) fn write(rows: &Rows<'_>, target: &Path, task: Task<'_>) -> Result<()> {
    let tracks = tracks(rows)?;
    let staging = AtomicDir::begin(target, false)?;
    for (done, &episode) in rows.episodes.iter().enumerate() {
        let path = staging.path().join(format!("episode-{episode:06}.mcap"));
        write_episode(rows.dataset, episode, &tracks, &path)?;
        task.advance("export", done as u64 + 1, "")?;
    }
    let mapping = mapping(rows.dataset, &tracks);
    write_atomic(&staging.path().join("mapping.toml"), mapping.as_bytes())?;
    staging.commit().map(|_| ())
}

fn tracks(rows: &Rows<'_>) -> Result<Vec<Track>> {
    rows.features
        .iter()
        .map(|(key, spec)| {
            let form = Form::of(spec).ok_or_else(|| {
                refuse(key, &format!("{:?} has no form in ROS 2 messages", spec.dtype))
            })?;
            let topic = format!("/{}", key.replace('.', "/"));
            Ok(Track { key: key.clone(), spec: spec.clone(), topic, form })
        })
        .collect()
}

fn channel(topic: &str, type_name: &str) -> Channel {
    let definition = common(type_name, false)
        .map(|s| Definition { encoding: "ros2msg".to_owned(), data: s.to_ros2msg().into_bytes() });
    Channel {
        topic: topic.to_owned(),
        type_name: type_name.to_owned(),
        encoding: Encoding::Cdr,
        definition,
        metadata: BTreeMap::new(),
    }
}

/// Footage of a camera: the file, and its samples.
type Footage = (VideoFile, std::ops::Range<usize>);

fn footage(dataset: &Dataset, episode: usize, key: &str) -> Result<Footage> {
    let (video, samples) = dataset.episode_samples(episode, key)?;
    let refuse = |why: String| DataError::ReadVideo { path: video.path().to_owned(), why };
    let codec = video.track().config.codec();
    if format_of(&codec).is_none() {
        let why = format!("codec {codec} is not exported to MCAP, only av1, h264 and hevc");
        return Err(refuse(why).into());
    }
    if !video.track().samples[samples.clone()].is_sorted_by_key(|s| s.pts) {
        // foxglove.CompressedVideo forbids them: a message is a frame of its moment.
        let why = format!("its {codec} reorders frames (B-frames), which messages can't hold");
        return Err(refuse(why).into());
    }
    Ok((video, samples))
}

/// The format that `foxglove.CompressedVideo` calls a codec.
fn format_of(codec: &str) -> Option<&'static str> {
    Some(match codec {
        "av1" => "av1",
        "h264" => "h264",
        "hevc" => "h265",
        _ => return None,
    })
}

fn write_episode(
    dataset: &Dataset,
    episode: usize,
    tracks: &[Track],
    path: &Path,
) -> Result<usize> {
    let length = dataset.episode(episode)?.length;
    let table = dataset.episode_table(episode)?;
    let mut footages = BTreeMap::new();
    for track in tracks.iter().filter(|t| t.form == Form::Video) {
        footages.insert(&track.key, footage(dataset, episode, &track.key)?);
    }
    let mut channels: Vec<(Channel, u16)> =
        tracks.iter().map(|t| (channel(&t.topic, t.form.type_name()), 0)).collect();
    channels.push((channel(TASK_TOPIC, "std_msgs/msg/String"), 0));
    let out = BufWriter::new(File::create(path).at("create", path)?);
    let mut writer = begin_mcap(out, path, &mut channels)?;
    let mut count = 0u32;
    let mut put = |id: u16, time: i64, data: Vec<u8>| -> Result<()> {
        let time = time.max(0) as u64;
        let header =
            MessageHeader { channel_id: id, sequence: count, log_time: time, publish_time: time };
        writer.write_to_known_channel(&header, &data).map_err(|e| DataError::WriteTable {
            path: path.to_owned(),
            why: e.to_string(),
            full: false,
        })?;
        count += 1;
        Ok(())
    };
    let text = dataset.episodes()[episode].tasks.first().map_or("", String::as_str);
    put(channels[tracks.len()].1, START_NS, CdrWriter::new().text(text).finish())?;
    for frame in 0..length {
        let time = tick(START_NS, dataset.fps(), frame);
        for (track, (_, id)) in tracks.iter().zip(&channels) {
            let data = match footages.get(&track.key) {
                Some((video, samples)) => packet(video, samples.start + frame, time)?,
                None if track.form == Form::Picture => still(dataset, episode, track, frame, time)?,
                None => numbers(track, &table[&track.key], frame, time),
            };
            put(*id, time, data)?;
        }
    }
    writer.finish().map_err(|e| DataError::WriteTable {
        path: path.to_owned(),
        why: e.to_string(),
        full: false,
    })?;
    Ok(count as usize)
}

fn packet(video: &VideoFile, sample: usize, time: i64) -> Result<Vec<u8>> {
    let refuse = |why: String| DataError::ReadVideo { path: video.path().to_owned(), why };
    let data = video
        .sample(sample)
        .ok_or_else(|| refuse(format!("the file ends before packet {sample}")))?;
    let config = &video.track().config;
    let format = format_of(&config.codec()).unwrap_or("av1");
    let data = match format {
        "av1" if video.track().samples[sample].sync => {
            with_sequence_header(data, config.child(b"av1C").unwrap_or(&[]))
        }
        "av1" => data.to_vec(),
        _ => video.annex_b(sample).map_err(refuse)?,
    };
    Ok(CdrWriter::new().time(time).text("").bytes(&data).text(format).finish())
}

/// A picture of the table, as it lies there.
fn still(
    dataset: &Dataset,
    episode: usize,
    track: &Track,
    frame: usize,
    time: i64,
) -> Result<Vec<u8>> {
    let file = dataset.encoded_pictures(episode, &track.key, frame..frame + 1)?.swap_remove(0);
    let format = if file.starts_with(&[0xff, 0xd8]) { "jpeg" } else { "png" };
    Ok(CdrWriter::new().time(time).text("").text(format).bytes(&file).finish())
}

/// One row of a column as a message.
fn numbers(track: &Track, column: &Array, frame: usize, time: i64) -> Vec<u8> {
    let width = track.spec.numel();
    let range = frame * width..(frame + 1) * width;
    let floats: Vec<f64> = match &column.data {
        ArrayData::U8(v) => v[range].iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F32(v) => v[range].iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F64(v) => v[range].to_vec(),
        ArrayData::Bool(v) => v[range].iter().map(|&x| f64::from(u8::from(x))).collect(),
        ArrayData::I64(v) => return layout(CdrWriter::new(), track).longs(&v[range]).finish(),
    };
    match track.form {
        Form::Joints => {
            let names = track.spec.dim_names();
            let head = CdrWriter::new().time(time).text("");
            head.texts(&names).doubles(&floats).doubles(&[]).doubles(&[]).finish()
        }
        Form::Bytes => {
            let bytes: Vec<u8> = floats.iter().map(|&x| x as u8).collect();
            layout(CdrWriter::new(), track).bytes(&bytes).finish()
        }
        _ => layout(CdrWriter::new(), track).doubles(&floats).finish(),
    }
}

/// `std_msgs/MultiArrayLayout` of a feature: a dimension per axis, outermost first.
fn layout(mut out: CdrWriter, track: &Track) -> CdrWriter {
    let shape = &track.spec.shape;
    out = out.long(shape.len() as u32);
    for (i, size) in shape.iter().enumerate() {
        let stride: usize = shape[i..].iter().product();
        out = out.text("").long(*size as u32).long(stride as u32);
    }
    out.long(0)
}

/// The mapping that makes the dataset again.
fn mapping(dataset: &Dataset, tracks: &[Track]) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!("fps = {:?}\n", dataset.fps());
    if let Some(robot) = &dataset.info().robot_type {
        let _ = writeln!(text, "robot = {}", quoted(robot));
    }
    let _ = write!(text, "\n[task_from]\ntopic = {}\nfield = \"data\"\n", quoted(TASK_TOPIC));
    for track in tracks {
        let (key, topic) = (quoted(&track.key), quoted(&track.topic));
        if matches!(track.form, Form::Video | Form::Picture) {
            let _ = write!(text, "\n[cameras.{key}]\ntopic = {topic}\n");
            continue;
        }
        let dtype = match track.spec.dtype {
            DType::Bool => "bool",
            DType::Float64 => "float64",
            DType::Float16 | DType::Float32 => "float32",
            _ => "int64",
        };
        let field = if track.form == Form::Joints { "position" } else { "data" };
        let names: Vec<String> = track.spec.dim_names().iter().map(|n| quoted(n)).collect();
        let _ = write!(
            text,
            "\n[features.{key}]\ndtype = \"{dtype}\"\nshape = {:?}\nfrom = [\n  {{ topic = {topic}, \
             field = \"{field}\", names = [{}] }},\n]\n",
            track.spec.shape,
            names.join(", ")
        );
    }
    text
}
