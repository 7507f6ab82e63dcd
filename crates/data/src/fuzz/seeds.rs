//! Whole and small inputs to begin from, made here; real files beside them are cut where given.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use embody_core::{
    ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Features, Recorder as _,
};
use serde_json::json;

use super::{arrays, lerobot, put, quietly, with_length};
use crate::export::{ExportFormat, ExportOptions, export};
use crate::message::{CdrWriter, common};
use crate::picture::encode_png;
use crate::recorder::{FrameValue, LeRobotRecorder, RecordSpec};
use crate::video::{VideoFile, VideoSettings};

/// Pixels a side of the pictures.
const SIDE: usize = 32;
/// Frames of an episode.
const LENGTH: usize = 4;

/// What a small RLDS dataset declares.
pub(super) const FEATURES: &str = r#"{"featuresDict":{"features":{
 "steps":{"sequence":{"feature":{"featuresDict":{"features":{
  "a":{"tensor":{"dtype":"float32","shape":{"dimensions":["2"]}}},
  "n":{"tensor":{"dtype":"int64","shape":{}}},
  "s":{"text":{}},
  "p":{"image":{"shape":{"dimensions":["-1","-1","3"]}}}}}}}}}}}"#;

/// A record of it, of one step: lists of floats, integers and bytes.
const EXAMPLE: &[u8] =
    b"\n1\n\x17\n\x07steps/a\x12\x0c\x12\x0a\n\x08\0\0\xc0\x3f\0\0\0\xc0\n\x10\n\
    \x07steps/n\x12\x05\x1a\x03\n\x01\x07\n\x0f\n\x07steps/s\x12\x04\n\x02\n\0";

/// Writes seeds of the target `name` into `out`; `data` is a folder of real recordings, if there.
/// Gives how many.
///
/// # Panics
/// Where a seed can't be made or written: that is a fault of this program or a full disk.
pub fn write_seeds(name: &str, out: &Path, scratch: &Path, data: Option<&Path>) -> usize {
    let mut seeds = made(name, scratch);
    if let Some(data) = data {
        seeds.extend(real(name, data));
    }
    for (i, seed) in seeds.iter().enumerate() {
        put(&out.join(format!("seed-{i:03}")), seed);
    }
    seeds.len()
}

fn made(name: &str, scratch: &Path) -> Vec<Vec<u8>> {
    match name {
        "mcap" => exported(scratch, ExportFormat::Mcap, "mcap"),
        "rrd" => exported(scratch, ExportFormat::Rrd, "rrd"),
        "hdf5" => exported(scratch, ExportFormat::Hdf5, ""),
        "rosbag1" => vec![rosbag1()],
        "rosbag2" => vec![rosbag2(&scratch.join("seed.db3"))],
        "rosbag2_metadata" => vec![METADATA.into()],
        "ulog" => vec![ulog()],
        "ros_message" => ros_messages(),
        "ulog_message" => vec![b"uint64_t timestamp;float[3] x;char[4] name;\0\x01\0\0\0\0\0\0\0\0\0\x80?\0\0\0@\0\0@@abc\0".into()],
        "protobuf_message" => Vec::new(),
        "json_message" => vec![br#"{"a":1,"b":{"c":2.5},"d":[{"name":"x","e":[1,2]},3],"data":"AAAA","format":"jpeg"}"#.into()],
        "field_path" => [&b"pose.position.x"[..], b"position[3]", b"position[name=elbow]", b"transforms[child_frame_id=a].transform.rotation"].map(<[u8]>::to_vec).into(),
        "mapping" => exported(scratch, ExportFormat::Mcap, "toml"),
        "mp4" => vec![video(scratch).0],
        "av1" => vec![video(scratch).1],
        "png" => vec![encode_png(&picture(1), SIDE, SIDE).expect("a picture")],
        "raw_picture" => vec![raw_picture()],
        "zarr_array" => zarr_arrays(),
        "zarr_zip" => vec![zipped(scratch)],
        "rlds_example" => vec![EXAMPLE.into()],
        "rlds_features" => vec![[FEATURES.as_bytes(), b"\0", EXAMPLE].concat()],
        "tfrecord" => vec![arrays::record_file(EXAMPLE)],
        "lerobot_meta" => {
            let mut seeds = files(&made_once(scratch, "dataset", dataset), &lerobot::META[..3]);
            seeds.push(b"\x03{\"version\":\"a\",\"name\":\"a\",\"lineage\":null,\"files\":[{\"path\":\"a\",\"hash\":\"b\",\"bytes\":1}]}".into());
            seeds
        }
        "lerobot_tables" => files(&made_once(scratch, "dataset", dataset), &lerobot::TABLES),
        "lerobot_v2" => files(&made_once(scratch, "dataset-v2", dataset_v2), &lerobot::V2),
        "repair" => {
            let mut seeds = files(&made_once(scratch, "dataset", dataset), &lerobot::TABLES);
            let cut: Vec<_> = seeds.iter().map(|s| s[..s.len() * 2 / 3].to_vec()).collect();
            seeds.extend(cut);
            seeds
        }
        "journal" => {
            let kept = journal(&scratch.join("kept"));
            kept.iter().enumerate().map(|(i, (_, f))| [&[i as u8][..], f].concat()).collect()
        }
        "annotations" => vec![
            b"episode,success,score,task\n0,true,0.5,pick\n1,false,,\n".into(),
            b"{\"episode\":0,\"success\":true}\n{\"episode\":1,\"task\":\"place\"}\n".into(),
        ],
        _ => Vec::new(),
    }
}

/// Beginnings of real recordings: reading has to get along with their sudden end as well.
fn real(name: &str, data: &Path) -> Vec<Vec<u8>> {
    let cut = |path: &str, lengths: &[usize]| -> Vec<Vec<u8>> {
        let Ok(bytes) = fs::read(data.join(path)) else { return Vec::new() };
        lengths.iter().map(|&n| bytes[..n.min(bytes.len())].to_vec()).collect()
    };
    match name {
        "rosbag1" => ["example.bag", "example-bz2.bag", "example-lz4.bag"]
            .iter()
            .flat_map(|f| cut(&format!("rosbags/ros1/{f}"), &[8_192, 40_000]))
            .collect(),
        "rosbag2" => cut("rosbags/ros2-db3/speed/speed_0.db3", &[24_576, 90_000]),
        "rosbag2_metadata" => cut("rosbags/ros2-db3/speed/metadata.yaml", &[8_192]),
        "ulog" => cut("px4-ulog/sample_log_small.ulg", &[8_192, 60_000]),
        "rlds_features" => cut("bridge-rlds/1.0.0/features.json", &[16_384]),
        "lerobot_v2" => lerobot::V2
            .iter()
            .enumerate()
            .flat_map(|(i, f)| {
                cut(&format!("unitree-g1-bottle/{f}"), &[60_000])
                    .into_iter()
                    .map(move |b| [&[i as u8][..], &b].concat())
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// `scratch/name`, made where it is not there.
fn made_once(scratch: &Path, name: &str, make: fn(&Path)) -> PathBuf {
    let root = scratch.join(name);
    if !root.is_dir() {
        make(&root);
    }
    root
}

/// Files of a dataset, each behind the byte that names it.
fn files(root: &Path, names: &[&str]) -> Vec<Vec<u8>> {
    let read = |(i, name): (usize, &&str)| {
        let bytes = fs::read(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        [&[i as u8][..], &bytes].concat()
    };
    names.iter().enumerate().map(read).collect()
}

fn picture(t: usize) -> Vec<u8> {
    (0..SIDE * SIDE * 3).map(|i| (i * (t + 3) % 251) as u8).collect()
}

fn recorder(target: &Path) -> LeRobotRecorder {
    let mut features = Features::new();
    let names = ["x", "y"];
    features.insert("observation.state".into(), FeatureSpec::new(DType::Float32, &[2], &names));
    features.insert("action".into(), FeatureSpec::new(DType::Float32, &[2], &names));
    features.insert("next.done".into(), FeatureSpec::new(DType::Bool, &[1], &[]));
    features.insert("note".into(), FeatureSpec::new(DType::String, &[1], &[]));
    features.insert(
        "observation.images.cam".into(),
        FeatureSpec::new(DType::Video, &[SIDE, SIDE, 3], &[]),
    );
    let spec = RecordSpec {
        fps: 10.0,
        robot_type: Some("arm".to_owned()),
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: json!({}),
        origin: None,
    };
    LeRobotRecorder::create(target, spec).expect("a recorder")
}

fn add_frames(recorder: &mut LeRobotRecorder) {
    for t in 0..LENGTH {
        let state = [t as f32, 0.5];
        let rgb = picture(t);
        let done = [t + 1 == LENGTH];
        let array = |shape: &'static [usize], data| FrameValue::Array(ArrayView { shape, data });
        let frame = [
            ("observation.state", array(&[2], DataView::F32(&state))),
            ("action", array(&[2], DataView::F32(&state))),
            ("next.done", array(&[1], DataView::Bool(&done))),
            ("note", FrameValue::Text("a")),
            ("observation.images.cam", array(&[SIDE, SIDE, 3], DataView::U8(&rgb))),
        ];
        recorder.add_values(&frame).expect("a frame");
    }
}

/// Records two short episodes at `root`.
pub(super) fn dataset(root: &Path) {
    record(root, 2);
}

fn record(root: &Path, episodes: usize) {
    let mut recorder = recorder(root);
    for _ in 0..episodes {
        recorder.begin_episode("pick").expect("an episode");
        add_frames(&mut recorder);
        recorder.save_episode(EpisodeOutcome::default()).expect("an episode");
    }
    recorder.finish().expect("a dataset");
}

/// One short episode in the layout of version 2.1.
pub(super) fn dataset_v2(root: &Path) {
    let new = root.with_extension("v3");
    record(&new, 1);
    let read = |name: &str| fs::read(new.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    put(
        &root.join("data/chunk-000/episode_000000.parquet"),
        &read("data/chunk-000/file-000.parquet"),
    );
    let video = "videos/observation.images.cam/chunk-000/file-000.mp4";
    let place = "videos/chunk-000/observation.images.cam/episode_000000.mp4";
    put(&root.join(place), &read(video));
    let mut info: serde_json::Value =
        serde_json::from_slice(&read("meta/info.json")).expect("our own JSON");
    info["codebase_version"] = json!("v2.1");
    info["total_chunks"] = json!(1);
    info["total_videos"] = json!(1);
    info["data_path"] = json!("data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet");
    info["video_path"] =
        json!("videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4");
    put(&root.join("meta/info.json"), info.to_string().as_bytes());
    let task = json!({"task_index": 0, "task": "pick"});
    put(&root.join("meta/tasks.jsonl"), format!("{task}\n").as_bytes());
    let episode = json!({"episode_index": 0, "tasks": ["pick"], "length": LENGTH});
    put(&root.join("meta/episodes.jsonl"), format!("{episode}\n").as_bytes());
    let stats: serde_json::Value =
        serde_json::from_slice(&read("meta/stats.json")).expect("our own JSON");
    let stats = json!({"episode_index": 0, "stats": stats});
    put(&root.join("meta/episodes_stats.jsonl"), format!("{stats}\n").as_bytes());
    fs::remove_dir_all(&new).expect("our own folder");
}

/// Files of a journal of a recording that ended in its second episode, by name; made in `folder`
/// once.
pub(super) fn journal(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let kept = folder.join(".recording.journal");
    if !kept.is_dir() {
        let mut recorder = recorder(&folder.join("recording"));
        for last in [false, true] {
            recorder.begin_episode("pick").expect("an episode");
            add_frames(&mut recorder);
            if !last {
                recorder.save_episode(EpisodeOutcome::default()).expect("an episode");
            }
        }
    }
    let mut out: Vec<(String, Vec<u8>)> = fs::read_dir(&kept)
        .expect("a journal is left")
        .map(|entry| {
            let path = entry.expect("a journal is left").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a journal is left"))
        })
        .collect();
    out.sort();
    out
}

fn exported(scratch: &Path, format: ExportFormat, extension: &str) -> Vec<Vec<u8>> {
    let root = made_once(scratch, "dataset", dataset);
    let target = scratch.join(format!("exported-{extension}"));
    let options = ExportOptions { without: vec!["note".to_owned()], ..ExportOptions::default() };
    quietly(|task| export(&root, &target, format, &options, task)).expect("an export");
    if target.is_file() {
        return vec![fs::read(&target).expect("an export")];
    }
    let mut out = Vec::new();
    for entry in fs::read_dir(&target).expect("an export") {
        let path = entry.expect("an export").path();
        if path.extension().is_some_and(|e| e == extension) {
            out.push(fs::read(&path).expect("an export"));
        }
    }
    out
}

/// A video file, and its packets each behind its length.
fn video(scratch: &Path) -> (Vec<u8>, Vec<u8>) {
    let root = made_once(scratch, "dataset", dataset);
    let path = root.join("videos/observation.images.cam/chunk-000/file-000.mp4");
    let file = VideoFile::open(&path).expect("our own video");
    let packets = (0..file.len()).filter_map(|i| file.sample(i)).flat_map(with_length).collect();
    (fs::read(&path).expect("our own video"), packets)
}

fn raw_picture() -> Vec<u8> {
    let mut out = [4u32, 5, 15].map(u32::to_le_bytes).concat();
    out.push(0);
    out.extend((0..60).map(|i| i as u8));
    out
}

fn ros_messages() -> Vec<Vec<u8>> {
    let joint = common("sensor_msgs/JointState", false).expect("a common type").to_ros2msg();
    let message = CdrWriter::new().time(5).text("base").texts(&["a".to_owned(), "b".to_owned()]);
    let message = message.doubles(&[1.0, 2.0]).doubles(&[]).doubles(&[3.0]).finish();
    let tf = common("tf2_msgs/TFMessage", false).expect("a common type").to_ros2msg();
    let odd = "wstring<=5 w\nstring[<=2] names\nbool[3] b\nint64 X=5\nfloat32[] f 1.0\nOther[] o\n\
        ================================================================================\n\
        MSG: pkg/Other\nuint8[] data\nchar c\nbyte d\n";
    let image = common("sensor_msgs/CompressedImage", true).expect("a common type").to_ros2msg();
    vec![
        [joint.as_bytes(), b"\0", &message].concat(),
        [tf.as_bytes(), b"\0", &[0, 1, 0, 0, 1, 0, 0, 0], &[0; 120]].concat(),
        [odd.as_bytes(), b"\0", &[0, 1, 0, 0, 2, 0, 0, 0, b'a', 0, b'b', 0], &[0; 64]].concat(),
        [image.as_bytes(), b"\0", &[0; 40]].concat(),
    ]
}

/// A bag of ROS 1: a chunk with a connection and two messages, and its index.
fn rosbag1() -> Vec<u8> {
    let block = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let header = |fields: &[(&str, &[u8])]| {
        let field = |(k, v): &(&str, &[u8])| block(&[k.as_bytes(), b"=", v].concat());
        block(&fields.iter().flat_map(field).collect::<Vec<u8>>())
    };
    let record = |fields: &[(&str, &[u8])], data: &[u8]| [header(fields), block(data)].concat();
    let about = header(&[
        ("topic", b"/a"),
        ("type", b"std_msgs/Float64"),
        ("md5sum", b"x"),
        ("message_definition", b"float64 data\n"),
    ]);
    let connection = record(&[("op", &[7]), ("conn", &[0; 4]), ("topic", b"/a")], &about[4..]);
    let time = |s: u32| [s.to_le_bytes(), 7u32.to_le_bytes()].concat();
    let message = |s: u32| {
        let fields: [(&str, &[u8]); 3] = [("op", &[2]), ("conn", &[0; 4]), ("time", &time(s))];
        record(&fields, &f64::from(s).to_le_bytes())
    };
    let chunk = [connection.clone(), message(1), message(2)].concat();
    let size = (chunk.len() as u32).to_le_bytes();
    let index = [time(1), vec![0; 4], time(2), vec![9, 0, 0, 0]].concat();
    [
        b"#ROSBAG V2.0\n".to_vec(),
        record(&[("op", &[3]), ("conn_count", &[1, 0, 0, 0])], &[b' '; 16]),
        record(&[("op", &[5]), ("compression", b"none"), ("size", &size)], &chunk),
        record(&[("op", &[4]), ("ver", &[1, 0, 0, 0]), ("conn", &[0; 4])], &index),
        connection,
    ]
    .concat()
}

const METADATA: &str = "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: sqlite3\n  \
    relative_file_paths:\n    - bag_0.db3\n  message_count: 1\n  compression_format: \"\"\n  \
    compression_mode: \"\"\n";

/// A bag of ROS 2 with one message, written at `path`.
pub(super) fn rosbag2(path: &Path) -> Vec<u8> {
    fs::remove_file(path).ok();
    put(&path.with_extension("folder-is-there"), b"");
    let connection = rusqlite::Connection::open(path).expect("a database");
    connection
        .execute_batch(
            "PRAGMA page_size=512; PRAGMA journal_mode=OFF;
             CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT,
                serialization_format TEXT, offered_qos_profiles TEXT);
             CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,
                data BLOB);
             CREATE INDEX timestamp_idx ON messages(timestamp);
             INSERT INTO topics VALUES(1, '/a', 'std_msgs/msg/Float64', 'cdr', '');
             INSERT INTO messages VALUES(1, 1, 5, x'00010000000000000000f03f');",
        )
        .expect("a database");
    drop(connection);
    fs::read(path).expect("a database")
}

/// A flight log: a format, a subscription, two messages.
fn ulog() -> Vec<u8> {
    let message = |kind: u8, body: &[u8]| {
        let len = (body.len() as u16).to_le_bytes();
        [&len[..], &[kind], body].concat()
    };
    let data = |t: u64| {
        let bytes = [&[1, 0][..], &t.to_le_bytes(), &1.5f32.to_le_bytes()].concat();
        message(b'D', &bytes)
    };
    [
        b"ULog\x01\x125\x01\0\0\0\0\0\0\0\0".to_vec(),
        message(b'B', &[0; 40]),
        message(b'F', b"acc:uint64_t timestamp;float x;"),
        message(b'I', b"\x0fchar[3] sys_nameabc"),
        message(b'A', b"\0\x01\0acc"),
        data(1000),
        data(2000),
        message(b'O', &[5, 0]),
    ]
    .concat()
}

fn zarr_arrays() -> Vec<Vec<u8>> {
    let v2 = |compressor: &str, chunk: &[u8]| {
        let meta = format!(
            r#"{{"zarr_format":2,"shape":[4,2],"chunks":[4,2],"dtype":"<f4","compressor":{compressor},"fill_value":0.0,"order":"C","filters":null}}"#
        );
        [meta.as_bytes(), b"\0", chunk].concat()
    };
    let plain = [0u8; 32];
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&plain).expect("in memory");
    let zlib = zlib.finish().expect("in memory");
    let lz4 = [&32u32.to_le_bytes()[..], &lz4_flex::block::compress(&plain)].concat();
    let zstd = zstd::bulk::compress(&plain, 1).expect("in memory");
    // A frame of one block of one stream, stored.
    let blosc = [
        &[2u8, 1, 0x12, 4][..],
        &32u32.to_le_bytes(),
        &32u32.to_le_bytes(),
        &48u32.to_le_bytes(),
        &plain,
    ]
    .concat();
    let v3 = br#"{"zarr_format":3,"node_type":"array","shape":[4,2],"data_type":"uint8","chunk_grid":{"name":"regular","configuration":{"chunk_shape":[4,2]}},"chunk_key_encoding":{"name":"default","configuration":{"separator":"/"}},"fill_value":0,"codecs":[{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}]}"#;
    vec![
        v2("null", &plain),
        v2(r#"{"id":"zlib","level":1}"#, &zlib),
        v2(r#"{"id":"lz4"}"#, &lz4),
        v2(r#"{"id":"zstd"}"#, &zstd),
        v2(r#"{"id":"blosc","cname":"lz4","shuffle":1}"#, &blosc),
        v2(r#"{"id":"gzip"}"#, &zlib),
        v2(r#"{"id":"imagecodecs_jpegxl"}"#, &plain),
        [&v3[..], b"\0", &[0; 12]].concat(),
    ]
}

/// An exported Zarr folder in a zip file, stored and deflated.
fn zipped(scratch: &Path) -> Vec<u8> {
    let root = made_once(scratch, "dataset", dataset);
    let target = scratch.join("exported.zarr");
    let options = ExportOptions {
        without: vec!["note".to_owned()],
        no_pictures: true,
        ..ExportOptions::default()
    };
    quietly(|task| export(&root, &target, ExportFormat::Zarr, &options, task)).expect("an export");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (i, name) in crate::files::list_files(&target).expect("an export").iter().enumerate() {
        let method = if i % 2 == 0 {
            zip::CompressionMethod::Stored
        } else {
            zip::CompressionMethod::Deflated
        };
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        zip.start_file(name, options).expect("in memory");
        zip.write_all(&fs::read(target.join(name)).expect("an export")).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}
