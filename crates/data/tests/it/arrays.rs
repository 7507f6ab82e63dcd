//! Array formats, written by the libraries that people use and imported: run where
//! `EMBODY_ARRAYS_PYTHON` names interpreters (separated by `:`) with h5py, zarr, numcodecs, Pillow,
//! and, for more, imagecodecs, protobuf and google-crc32c.
//!
//! Numbers and text have to come out equal to the bit, pictures within what AV1 loses at its best
//! quality: a mean of 3 levels (chroma is halved in both directions).

use std::path::{Path, PathBuf};
use std::process::Command;

use embody_core::ArrayData;
use embody_data::{
    Dataset, DecodeCheck, ImportOptions, ValidateOptions, VideoSettings, import, validate,
};
use serde_json::Value;

use crate::common::{difference, with_task};

pub fn pythons() -> Vec<PathBuf> {
    let found = std::env::var_os("EMBODY_ARRAYS_PYTHON");
    if found.is_none() {
        println!("skipped: EMBODY_ARRAYS_PYTHON is not set");
    }
    found.iter().flat_map(|f| std::env::split_paths(f).collect::<Vec<_>>()).collect()
}

pub fn run(python: &Path, script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(script);
    let done = Command::new(python).arg(script).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    text
}

/// Little-endian bytes of numbers as their library writes them.
pub fn hex(data: &ArrayData, dtype: &str) -> String {
    let bytes: Vec<u8> = match data {
        ArrayData::U8(v) => v.clone(),
        ArrayData::Bool(v) => v.iter().map(|&b| u8::from(b)).collect(),
        ArrayData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ArrayData::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ArrayData::I64(v) => match dtype {
            "int16" => v.iter().flat_map(|&x| (x as i16).to_le_bytes()).collect(),
            "int32" => v.iter().flat_map(|&x| (x as i32).to_le_bytes()).collect(),
            _ => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        },
    };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The options that a source of `write_arrays.py` needs.
fn options(name: &str) -> ImportOptions {
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let video = VideoSettings { quantiser: 1, ..VideoSettings::default() };
    let mut options = ImportOptions { video, ..ImportOptions::default() };
    match name {
        "aloha" | "aloha-compressed" => {
            options.fps = Some(50.0);
            options.task = Some("insert the peg".to_owned());
        }
        "rlds" => {
            options.fps = Some(5.0);
            options.rename =
                pairs(&[("steps/action/arm", "action"), ("steps/action/hand", "action")]);
        }
        _ if name.starts_with("robomimic") => {}
        _ => {
            options.fps = Some(10.0);
            options.task = Some("push the T".to_owned());
        }
    }
    options
}

fn check(home: &Path, out: &Path, name: &str, expected: &Value) {
    let listed = home.join(name);
    let source = if listed.exists() { listed } else { home.join(format!("{name}.hdf5")) };
    let target = out.join(name);
    let report = with_task(|t| import(&source, &target, options(name), t))
        .unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let dataset = Dataset::open(&target).unwrap();
    assert_eq!(dataset.fps(), expected["fps"].as_f64().unwrap(), "{name}");
    let lineage = dataset.lineage().unwrap().unwrap();
    assert_eq!(
        (lineage.operation.as_str(), lineage.parent),
        ("import", Some(report.source_version))
    );
    let episodes = expected["episodes"].as_array().unwrap();
    assert_eq!(dataset.episodes().len(), episodes.len(), "{name}");
    for (e, want) in episodes.iter().enumerate() {
        let table = dataset.episode_table(e).unwrap();
        for (key, column) in want["columns"].as_object().unwrap() {
            let dtype = column["dtype"].as_str().unwrap();
            let got = table.get(key).unwrap_or_else(|| panic!("{name}: no feature {key}"));
            assert_eq!(hex(&got.data, dtype), column["hex"], "{name}, episode {e}, {key}");
        }
        let ArrayData::I64(tasks) = &table["task_index"].data else { panic!() };
        let tasks: Vec<&str> =
            tasks.iter().map(|&t| dataset.tasks()[t as usize].as_str()).collect();
        assert_eq!(serde_json::json!(tasks), want["task"], "{name}, episode {e}");
        for (key, file) in want["cameras"].as_object().unwrap() {
            let theirs = std::fs::read(home.join(file.as_str().unwrap())).unwrap();
            let frames: Vec<usize> = (0..dataset.episodes()[e].length).collect();
            let ours = dataset.decode_frames(e, key, &frames).unwrap().concat();
            let off = difference(&ours, &theirs);
            assert!(off < 3.0, "{name}, episode {e}, {key}: pictures differ by {off} levels");
        }
    }
    let options = ValidateOptions { decode: DecodeCheck::None, ..Default::default() };
    let found = with_task(|t| validate(&target, &options, t).unwrap());
    assert!(found.is_ok(), "{name}: {:#?}", found.findings);
}

#[test]
fn every_array_format_imports_equal_to_the_bit() {
    for python in pythons() {
        let home = tempfile::tempdir().unwrap();
        let (sources, out) = (home.path().join("sources"), home.path().join("out"));
        run(&python, "write_arrays.py", &[&sources]);
        let expected = std::fs::read_to_string(sources.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let names = expected.as_object().unwrap();
        assert!(names.len() >= 15, "only {} sources were written", names.len());
        std::fs::create_dir(&out).unwrap();
        for (name, expected) in names {
            check(&sources, &out, name, expected);
        }
        println!("{} sources of {}", names.len(), python.display());
        robomimic_keeps_order_splits_and_text(&out);
        rlds_keeps_splits_and_text(&out);
    }
}

fn robomimic_keeps_order_splits_and_text(out: &Path) {
    let dataset = Dataset::open(&out.join("robomimic")).unwrap();
    let info = dataset.info();
    assert_eq!((info.splits["train"].as_str(), info.splits["valid"].as_str()), ("0:2", "2:3"));
    assert_eq!(info.robot_type.as_deref(), Some("Panda"));
    let words: Vec<String> = (0..5).map(|t| format!("w{t}")).collect();
    assert_eq!(dataset.episode_text(1, "observation.word").unwrap(), words);
    assert!(!info.features.contains_key("next_obs.eef"));
    let episode = &dataset.episodes()[0];
    assert!(episode.outcome.total_reward.is_some());
}

fn rlds_keeps_splits_and_text(out: &Path) {
    if !out.join("rlds").exists() {
        return;
    }
    let dataset = Dataset::open(&out.join("rlds")).unwrap();
    let info = dataset.info();
    assert_eq!((info.splits["train"].as_str(), info.splits["val"].as_str()), ("0:2", "2:3"));
    assert_eq!(info.features["action"].shape, [7]);
    assert_eq!(dataset.episode_text(2, "observation.word").unwrap()[4], "wörd 4");
    assert_eq!(dataset.episode_text(1, "episode_metadata.file_path").unwrap()[0], "/log/1");
    assert_eq!(dataset.episodes()[0].tasks, ["reach 0", "reach 1"]);
}
