//! Rerun recordings: what is exported comes back, damaged files are faced, and Rerun itself
//! (`EMBODY_RERUN_PYTHON` with rerun-sdk 0.41) reads what we write and writes what we read.

use std::path::{Path, PathBuf};

use embody_core::ArrayData;
use embody_data::{
    Dataset, ExportFormat, ExportOptions, ImportOptions, Log, LogClock, LogFormat, VideoSettings,
    encode_mp4, episode_rrd, export, import, inspect,
};
use serde_json::Value;

use crate::arrays::run;
use crate::common::{difference, picture, record, with_task};

const CAMERA: &str = "observation.images.front";

fn python() -> Option<PathBuf> {
    let found = std::env::var_os("EMBODY_RERUN_PYTHON").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: EMBODY_RERUN_PYTHON is not set");
    }
    found
}

fn answer(python: &Path, script: &str, arguments: &[&Path]) -> Value {
    let text = run(python, script, arguments);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn exported(root: &Path, target: &Path) {
    let options = ExportOptions::default();
    with_task(|t| export(root, target, ExportFormat::Rrd, &options, t).unwrap());
}

#[test]
fn a_folder_of_recordings_comes_back_equal() {
    let home = tempfile::tempdir().unwrap();
    let [root, folder, again] = ["set", "rrd", "again"].map(|n| home.path().join(n));
    record(&root, &[20, 70, 3], 2);
    exported(&root, &folder);
    let options = ImportOptions { map: Some(folder.join("mapping.toml")), ..Default::default() };
    let video = VideoSettings { quantiser: 1, ..VideoSettings::default() };
    with_task(|t| import(&folder, &again, ImportOptions { video, ..options }, t).unwrap());
    let (before, after) = (Dataset::open(&root).unwrap(), Dataset::open(&again).unwrap());
    assert_eq!(after.episodes().len(), 3);
    for e in 0..3 {
        let (a, b) = (before.episode_table(e).unwrap(), after.episode_table(e).unwrap());
        for key in ["action", "observation.state", "observation.grid", "next.reward", "next.done"] {
            assert_eq!(a[key].data, b[key].data, "episode {e}, {key}");
        }
        assert_eq!(before.episodes()[e].tasks, after.episodes()[e].tasks);
        let frames: Vec<usize> = (0..before.episodes()[e].length).collect();
        let a = before.decode_frames(e, CAMERA, &frames).unwrap().concat();
        let b = after.decode_frames(e, CAMERA, &frames).unwrap().concat();
        assert!(difference(&a, &b) < 3.0, "episode {e}: {}", difference(&a, &b));
    }
    let names = &after.info().features["action"].names;
    assert_eq!(names, &serde_json::json!(["x", "y", "gripper"]));
}

#[test]
fn equal_data_give_equal_bytes_and_a_file_of_several_recordings_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let [root, one] = ["set", "all.rrd"].map(|n| home.path().join(n));
    record(&root, &[8, 5], 1);
    let dataset = Dataset::open(&root).unwrap();
    let bytes = episode_rrd(&dataset, 1).unwrap();
    assert_eq!(bytes, episode_rrd(&dataset, 1).unwrap());
    assert_ne!(bytes, episode_rrd(&dataset, 0).unwrap());
    assert!(episode_rrd(&dataset, 2).unwrap_err().to_string().contains("no episode 2"));
    exported(&root, &one);
    let error = Log::open(&one).unwrap_err().to_string();
    assert!(error.contains("2 recordings"), "{error}");
}

#[test]
fn timelines_are_chosen_by_name() {
    let home = tempfile::tempdir().unwrap();
    let [root, file] = ["set", "one.rrd"].map(|n| home.path().join(n));
    record(&root, &[6], 1);
    std::fs::write(&file, episode_rrd(&Dataset::open(&root).unwrap(), 0).unwrap()).unwrap();
    let times = |clock: LogClock<'_>| -> Vec<i64> {
        let log = Log::open_by(&file, clock).unwrap();
        assert_eq!(log.format(), LogFormat::Rrd);
        let at = log.channels().iter().position(|c| c.topic == "/action").unwrap();
        let mut times = Vec::new();
        let found = log.visit(&|c| c == at, &mut |m| {
            times.push(m.log_time);
            Ok(())
        });
        assert_eq!(found.unwrap(), []);
        times
    };
    assert_eq!(times(LogClock::default())[..3], [0, 33_333_333, 66_666_667]);
    let steps = LogClock { timeline: Some("frame"), ticks_per_sec: 10.0 };
    assert_eq!(times(steps)[..3], [0, 100_000_000, 200_000_000]);
    let wrong = LogClock { timeline: Some("times"), ..LogClock::default() };
    let error = Log::open_by(&file, wrong).unwrap_err().to_string();
    assert!(error.contains("no timeline \"times\"") && error.contains("\"time\""), "{error}");
}

#[test]
fn damaged_recordings_give_what_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let [root, file] = ["set", "one.rrd"].map(|n| home.path().join(n));
    record(&root, &[6], 1);
    let whole = episode_rrd(&Dataset::open(&root).unwrap(), 0).unwrap();
    let visit = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let Ok(log) = Log::open(&file) else { return (0, 1) };
        let mut count = 0;
        let found = log.visit(&|_| true, &mut |_| {
            count += 1;
            Ok(())
        });
        (count, found.unwrap().len() + log.findings().len())
    };
    let (all, none) = visit(&whole);
    assert!(all > 30 && none == 0, "{all} messages, {none} findings");
    for cut in [13, 30, 200, whole.len() / 3, whole.len() / 2] {
        let (some, found) = visit(&whole[..cut]);
        assert!(some <= all && found > 0, "cut at {cut}: {some} of {all}, {found} findings");
    }
    let rounds = std::env::var("EMBODY_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..400 * rounds {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        visit(&bytes);
    }
}

#[test]
fn rerun_reads_what_we_write() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let [root, file] = ["set", "all.rrd"].map(|n| home.path().join(n));
    record(&root, &[20, 7], 2);
    exported(&root, &file);
    let read = answer(&python, "rerun_reads.py", &[&file]);
    assert_eq!(read["ok"], true, "{}", read["why"]);
    assert_eq!(read["printed"], 0);
    let recordings = read["recordings"].as_array().unwrap();
    assert_eq!(recordings.len(), 2);
    let dataset = Dataset::open(&root).unwrap();
    let mut found: Vec<&Value> = recordings.iter().collect();
    found.sort_by_key(|r| r["id"].as_str().unwrap().to_owned());
    for (e, recording) in found.into_iter().enumerate() {
        assert_eq!(recording["application"], "set");
        let columns = &recording["columns"];
        let table = dataset.episode_table(e).unwrap();
        for (key, path) in [("action", "/action"), ("observation.grid", "/observation/grid")] {
            let ours: Vec<f64> = match &table[key].data {
                ArrayData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
                ArrayData::F64(v) => v.clone(),
                other => panic!("{other:?}"),
            };
            let theirs: Vec<Vec<f64>> =
                serde_json::from_value(columns[format!("{path}:Scalars:scalars")].clone()).unwrap();
            assert_eq!(theirs.concat(), ours, "episode {e}, {key}");
        }
        let names = &columns["/action:SeriesLines:names"];
        assert_eq!(names, &serde_json::json!([["x", "y", "gripper"]]));
        let task = &dataset.episodes()[e].tasks[0];
        assert_eq!(columns["/task:TextDocument:text"], serde_json::json!([[task]]));
        let length = dataset.episodes()[e].length;
        let shown = columns["/observation/images/front:VideoFrameReference:timestamp"].as_array();
        assert_eq!(shown.unwrap().len(), length);
        let frames: Vec<usize> = (0..length).collect();
        assert_eq!(recording["frames"]["/action"], serde_json::json!(frames));
        let said = columns["/events:TextLog:text"].as_array().unwrap();
        assert!(said.last().unwrap()[0].as_str().unwrap().contains("ends: success"), "{said:?}");
    }
}

#[test]
fn we_read_what_rerun_writes() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let [file, film, root] = ["theirs.rrd", "film.mp4", "set"].map(|n| home.path().join(n));
    let pictures: Vec<Vec<u8>> = (0..20).map(|t| picture(0, t)).collect();
    encode_film(&film, &pictures);
    let said = answer(&python, "rerun_theirs.py", &[&file, &film]);
    let seen = with_task(|t| inspect(&file, t).unwrap());
    assert_eq!(seen.findings, []);
    let of = |topic: &str| seen.channels.iter().find(|c| c.topic == topic).unwrap();
    assert_eq!(of("/arm").joint_names.clone().unwrap(), ["pan", "lift", "grip"]);
    assert_eq!((of("/film").messages, of("/raw").messages, of("/task").messages), (20, 20, 1));
    assert_eq!(of("/any").sample["weight"], 0.0);
    assert_eq!(of("/log").sample["data"], "step 0");
    let turned = &of("/turned").sample["transform"]["rotation"];
    let half = std::f64::consts::FRAC_1_SQRT_2;
    assert!((turned["z"].as_f64().unwrap() - half).abs() < 1e-6, "{turned}");
    assert!((turned["w"].as_f64().unwrap() - half).abs() < 1e-6, "{turned}");
    let map = home.path().join("map.toml");
    std::fs::write(&map, seen.propose_mapping()).unwrap();
    println!("{}", seen.propose_mapping());
    let text = r#"
fps = 10.0
[task_from]
topic = "/task"
field = "data"
[features."observation.state"]
dtype = "float64"
from = [{ topic = "/arm", field = "position[name=pan]" }, { topic = "/arm", field = "position" },
        { topic = "/speed", field = "data" }]
[features."observation.pose"]
from = [{ topic = "/pose", field = "transform" }]
[cameras."observation.images.raw"]
topic = "/raw"
[cameras."observation.images.jpeg"]
topic = "/jpeg"
[cameras."observation.images.film"]
topic = "/film"
"#;
    std::fs::write(&map, text).unwrap();
    let options = ImportOptions { map: Some(map), ..Default::default() };
    with_task(|t| import(&file, &root, options, t).unwrap_or_else(|e| panic!("{e:?}")));
    let dataset = Dataset::open(&root).unwrap();
    assert_eq!(dataset.episodes()[0].length, 20);
    assert_eq!(dataset.tasks(), ["stack the cups"]);
    let table = dataset.episode_table(0).unwrap();
    let (mut state, mut pose) = (Vec::new(), Vec::new());
    for i in 0..20 {
        let arm: Vec<f64> = serde_json::from_value(said["arm"][i].clone()).unwrap();
        state.push(arm[0]);
        state.extend(&arm);
        state.push(said["speed"][i].as_f64().unwrap());
        let one: Vec<f64> = serde_json::from_value(said["pose"][i].clone()).unwrap();
        pose.extend(one.iter().map(|&x| x as f32));
    }
    assert_eq!(table["observation.state"].data, ArrayData::F64(state));
    assert_eq!(table["observation.pose"].data, ArrayData::F32(pose));
    let frames: Vec<usize> = (0..20).collect();
    let film = dataset.decode_frames(0, "observation.images.film", &frames).unwrap().concat();
    assert!(
        difference(&film, &pictures.concat()) < 6.0,
        "{}",
        difference(&film, &pictures.concat())
    );
    let raw = dataset.decode_frames(0, "observation.images.raw", &frames).unwrap();
    let jpeg = dataset.decode_frames(0, "observation.images.jpeg", &frames).unwrap();
    assert!(difference(&raw.concat(), &jpeg.concat()) < 6.0);
    assert!(raw[0][0].abs_diff(40) < 12 && raw[0][1].abs_diff(90) < 12, "{:?}", &raw[0][..3]);
}

fn encode_film(path: &Path, pictures: &[Vec<u8>]) {
    let size = crate::common::SIZE;
    let settings = VideoSettings { gop: 8, ..VideoSettings::default() };
    let bytes = encode_mp4(pictures, size, size, 10.0, settings).unwrap();
    std::fs::write(path, bytes).unwrap();
}
