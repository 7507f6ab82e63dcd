//! LeRobot itself as the judge: run where `EMBODY_LEROBOT_PYTHON` names an interpreter that has it.

use std::path::Path;

use embody_core::{Array, ArrayData, FeatureStats};
use embody_data::{
    Dataset, DecodeCheck, ImportOptions, ValidateOptions, compute_stats, import, validate,
};
use serde_json::{Value, json};

use crate::common::{difference, python, record, run, shared_data, with_task};

fn rows(array: &Array) -> Vec<Vec<f64>> {
    let values: Vec<f64> = match &array.data {
        ArrayData::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F64(v) => v.clone(),
        ArrayData::I64(v) => v.iter().map(|&x| x as f64).collect(),
        ArrayData::Bool(v) => v.iter().map(|&x| f64::from(x)).collect(),
    };
    let width = array.shape.iter().skip(1).product::<usize>();
    values.chunks(width).map(<[f64]>::to_vec).collect()
}

fn stats(s: &FeatureStats) -> Value {
    json!({"min": s.min, "max": s.max, "mean": s.mean, "std": s.std,
           "q01": s.q01, "q50": s.q50, "q99": s.q99})
}

/// Has LeRobot read the dataset at `root` and compare it with what we read; gives the difference of
/// pictures.
fn judge(python: &Path, root: &Path, camera: &str, keys: &[&str], pictures: bool) -> f64 {
    let dataset = Dataset::open(root).unwrap();
    let folder = root.parent().unwrap();
    let mut values: indexmap::IndexMap<&str, Vec<Vec<f64>>> = indexmap::IndexMap::new();
    let mut task_of = Vec::new();
    let mut bytes = Vec::new();
    for (e, episode) in dataset.episodes().iter().enumerate() {
        let table = dataset.episode_table(e).unwrap();
        for key in keys {
            values.entry(key).or_default().extend(rows(&table[*key]));
        }
        for task in rows(&table["task_index"]) {
            task_of.push(dataset.tasks()[task[0] as usize].clone());
        }
        if pictures {
            let frames: Vec<usize> = (0..episode.length).collect();
            bytes.extend(dataset.decode_frames(e, camera, &frames).unwrap().concat());
        }
    }
    let shape = &dataset.info().features[camera].shape;
    let expected = json!({
        "episodes": dataset.episodes().len(),
        "frames": task_of.len(),
        "fps": dataset.fps() as i64,
        "tasks": dataset.tasks(),
        "values": values,
        "task_of": task_of,
        "camera": camera,
        "pictures": if pictures { json!([shape[0], shape[1]]) } else { Value::Null },
        "stats": keys.iter().filter_map(|k| Some((k.to_string(), stats(dataset.stats().get(*k)?))))
            .collect::<serde_json::Map<_, _>>(),
    });
    std::fs::write(folder.join("pictures.rgb"), bytes).unwrap();
    let file = folder.join("expected.json");
    std::fs::write(&file, expected.to_string()).unwrap();
    let answer = run(python, "read_ours.py", &[root, &file]);
    assert_eq!(answer["ok"], true);
    answer["mean_difference"].as_f64().unwrap()
}

/// Features that the synthetic recordings have.
const RECORDED: &[&str] =
    &["observation.state", "action", "next.reward", "observation.grid", "timestamp", "frame_index"];

/// [`judge`] of a synthetic recording; `None` without LeRobot.
pub fn judge_recording(root: &Path) -> Option<f64> {
    Some(judge(&python()?, root, "observation.images.front", RECORDED, true))
}

#[test]
fn lerobot_reads_every_value_that_we_record() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[40, 9, 65], 2);
    let off = judge(&python, &root, "observation.images.front", RECORDED, true);
    println!("pictures differ by {off:.3} levels");
    assert!(off < 1.5, "pictures differ by {off} levels");
}

#[test]
fn lerobot_reads_what_we_import() {
    let Some(python) = python() else { return };
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let options = ImportOptions { episodes: Some(vec![3, 0]), ..Default::default() };
    with_task(|t| import(&source, &root, options, t).unwrap());
    let keys = ["observation.state", "action", "timestamp", "episode_index"];
    let off = judge(&python, &root, "observation.images.cam_high", &keys, true);
    println!("pictures differ by {off:.3} levels");
    assert!(off < 1.5, "pictures differ by {off} levels");
}

#[test]
fn lerobot_reads_the_bridge_sample() {
    let Some(python) = python() else { return };
    let Some(source) = shared_data("bridge-rlds") else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let options = ImportOptions { fps: Some(5.0), ..Default::default() };
    with_task(|t| import(&source, &root, options, t).unwrap());
    let keys = ["observation.state", "action", "next.reward", "language_embedding", "timestamp"];
    let off = judge(&python, &root, "observation.images.image_0", &keys, true);
    println!("pictures differ by {off:.3} levels");
    assert!(off < 1.5, "pictures differ by {off} levels");
}

#[test]
fn we_read_what_lerobot_writes() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("theirs");
    let out = home.path().join("out.json");
    run(&python, "write_theirs.py", &[&root, &out]);
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let found = with_task(|t| {
        let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
        validate(&root, &options, t).unwrap()
    });
    assert!(found.is_ok(), "{:#?}", found.findings);
    println!("{:#?}", found.findings);
    let copied = home.path().join("copied");
    with_task(|t| import(&root, &copied, ImportOptions::default(), t).unwrap());
    let theirs = std::fs::read(home.path().join("theirs.rgb")).unwrap();
    for root in [&root, &copied] {
        let dataset = Dataset::open(root).unwrap();
        let mut pictures = Vec::new();
        for key in expected["values"].as_object().unwrap().keys() {
            let mut all = Vec::new();
            for e in 0..dataset.episodes().len() {
                all.extend(rows(&dataset.episode_table(e).unwrap()[key]));
            }
            let theirs: Vec<Vec<f64>> =
                serde_json::from_value(expected["values"][key].clone()).unwrap();
            assert!(all == theirs, "{key} differs");
        }
        for (e, episode) in dataset.episodes().iter().enumerate() {
            let frames: Vec<usize> = (0..episode.length).collect();
            let key = "observation.images.top";
            pictures.extend(dataset.decode_frames(e, key, &frames).unwrap().concat());
        }
        let off = difference(&pictures, &theirs);
        println!("pictures differ by {off:.3} levels");
        assert!(off < 1.5, "pictures differ by {off} levels");
    }
}

#[test]
fn lerobot_reads_what_we_edit() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    record(&path("set"), &[40, 9, 65, 30], 2);
    with_task(|t| {
        embody_data::delete(&path("set"), &path("less"), &[1], t).unwrap();
        let cut = [embody_data::Trim { episode: 1, keep: 10..50 }];
        embody_data::trim(&path("less"), &path("cut"), &cut, false, t).unwrap();
        let to = "push the cube".to_owned();
        let label = [embody_data::Relabel { episodes: Some(vec![2]), from: None, to }];
        embody_data::relabel(&path("cut"), &path("said"), &label, t).unwrap();
        embody_data::merge(&[path("said"), path("set")], &path("all"), t).unwrap();
    });
    let keys = ["observation.state", "action", "timestamp", "episode_index"];
    let off = judge(&python, &path("all"), "observation.images.front", &keys, true);
    println!("pictures differ by {off:.3} levels");
    assert!(off < 1.5, "pictures differ by {off} levels");
}

#[test]
fn statistics_equal_lerobots_where_those_are_exact() {
    let Some(python) = python() else { return };
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    with_task(|t| import(&source, &root, ImportOptions::default(), t).unwrap());
    let dataset = Dataset::open(&root).unwrap();
    let ours = with_task(|t| compute_stats(&dataset, false, t).unwrap());
    let theirs = run(&python, "stats_theirs.py", &[&root]);
    let close = |key: &str, name: &str, ours: &[f64], relative: f64| {
        let theirs: Vec<f64> =
            serde_json::from_value(theirs["stats"][key][name].clone()).expect("numbers");
        assert_eq!(ours.len(), theirs.len(), "{key} {name}");
        for (d, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            let off = (a - b).abs() / b.abs().max(1e-3);
            assert!(off <= relative, "{key} {name} [{d}]: {a}, LeRobot has {b}");
        }
    };
    for key in ["observation.state", "action", "timestamp", "index"] {
        let stats = &ours[key];
        close(key, "min", &stats.min, 0.0);
        close(key, "max", &stats.max, 0.0);
        // LeRobot runs sums of squares in float32: its moments are near, NumPy's in float64 equal.
        close(key, "mean", &stats.mean, 1e-4);
        close(key, "std", &stats.std, 1e-2);
        close(key, "exact_mean", &stats.mean, 1e-9);
        close(key, "exact_std", &stats.std, 1e-9);
        for (name, values) in [("q01", &stats.q01), ("q50", &stats.q50), ("q99", &stats.q99)] {
            close(key, &format!("exact_{name}"), values, 1e-9);
        }
    }
    println!("LeRobot took {} s over {} episodes", theirs["seconds"], theirs["episodes"]);
}

#[test]
fn lerobot_reads_text_and_tasks_of_frames() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    crate::text::record_text(&root, &[10, 1, 7]);
    let answer = run(&python, "read_text.py", &[&root]);
    let dataset = Dataset::open(&root).unwrap();
    let (mut notes, mut tasks) = (Vec::new(), Vec::new());
    for e in 0..3 {
        notes.extend(dataset.episode_text(e, "note").unwrap());
        let table = dataset.episode_table(e).unwrap();
        tasks.extend(rows(&table["task_index"]).iter().map(|t| &dataset.tasks()[t[0] as usize]));
    }
    assert_eq!(answer["note"], json!(notes));
    assert_eq!(answer["task"], json!(tasks));
    assert_eq!(answer["batch"], json!(notes[..4]));
}
