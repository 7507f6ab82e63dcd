//! What is exported comes back: through our own import, and through the libraries of others.

use std::path::Path;

use embody_core::ArrayData;
use embody_data::{
    Dataset, ExportFormat, ExportOptions, ImportOptions, VideoSettings, export, import,
};
use serde_json::Value;

use crate::arrays::{hex, pythons, run};
use crate::common::{difference, record, with_task};
use crate::text::record_text;

const CAMERA: &str = "observation.images.front";

fn back(source: &Path, target: &Path) -> Dataset {
    let video = VideoSettings { quantiser: 1, ..VideoSettings::default() };
    let options = ImportOptions { video, ..ImportOptions::default() };
    with_task(|t| import(source, target, options, t)).unwrap_or_else(|e| panic!("{e:?}"));
    Dataset::open(target).unwrap()
}

fn same(before: &Dataset, after: &Dataset, keys: &[&str]) {
    assert_eq!(before.fps(), after.fps());
    assert_eq!(before.episodes().len(), after.episodes().len());
    for e in 0..before.episodes().len() {
        let (a, b) = (before.episode_table(e).unwrap(), after.episode_table(e).unwrap());
        for key in keys {
            assert_eq!(a[*key].data, b[*key].data, "episode {e}, {key}");
        }
        let frames: Vec<usize> = (0..before.episodes()[e].length).collect();
        let a = before.decode_frames(e, CAMERA, &frames).unwrap().concat();
        let b = after.decode_frames(e, CAMERA, &frames).unwrap().concat();
        let off = difference(&a, &b);
        assert!(off < 2.0, "episode {e}: pictures differ by {off} levels");
        assert_eq!(before.episodes()[e].tasks, after.episodes()[e].tasks);
    }
}

#[test]
fn hdf5_and_zarr_come_back_equal() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[20, 70, 3], 2);
    let before = Dataset::open(&root).unwrap();
    let target = home.path().join("set.hdf5");
    let options = ExportOptions::default();
    let report = with_task(|t| export(&root, &target, ExportFormat::Hdf5, &options, t).unwrap());
    assert_eq!((report.episodes, report.frames), (3, 93));
    let after = back(&target, &home.path().join("from-hdf5"));
    let keys = ["action", "observation.state", "observation.grid", "next.reward", "next.done"];
    same(&before, &after, &keys);
    assert_eq!(after.episodes()[2].outcome.success, Some(false));
    assert_eq!(after.episodes()[1].outcome.seed, Some(u64::MAX - 1));
    let target = home.path().join("set.zarr");
    with_task(|t| export(&root, &target, ExportFormat::Zarr, &options, t).unwrap());
    let after = back(&target, &home.path().join("from-zarr"));
    same(&before, &after, &keys);
}

#[test]
fn text_goes_where_there_is_a_place_for_it() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record_text(&root, &[6, 8]);
    let before = Dataset::open(&root).unwrap();
    let target = home.path().join("set.hdf5");
    let all = ExportOptions::default();
    with_task(|t| export(&root, &target, ExportFormat::Hdf5, &all, t).unwrap());
    let root_back = home.path().join("back");
    with_task(|t| import(&target, &root_back, ImportOptions::default(), t).unwrap());
    let after = Dataset::open(&root_back).unwrap();
    for e in 0..2 {
        assert_eq!(before.episode_text(e, "note").unwrap(), after.episode_text(e, "note").unwrap());
        let task = |d: &Dataset| d.episode_table(e).unwrap()["task_index"].data.clone();
        assert_eq!(task(&before), task(&after));
    }
    let zarr = home.path().join("set.zarr");
    let error = with_task(|t| export(&root, &zarr, ExportFormat::Zarr, &all, t).unwrap_err());
    assert!(error.to_string().contains("\"note\""), "{error}");
    assert_eq!(error.hint(), Some("leave it out: --without note"));
    let unknown = ExportOptions { without: vec!["nope".into()], ..Default::default() };
    let error = with_task(|t| export(&root, &zarr, ExportFormat::Zarr, &unknown, t).unwrap_err());
    assert!(error.hint().unwrap().contains("note"), "{error:?}");
    let mut names: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["back", "set", "set.hdf5"], "something half-written was left");
}

#[test]
fn others_open_what_we_export() {
    for python in pythons() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("set");
        record(&root, &[12, 30], 2);
        let dataset = Dataset::open(&root).unwrap();
        for (file, format) in [
            ("set.hdf5", ExportFormat::Hdf5),
            ("set.zarr", ExportFormat::Zarr),
            ("set.parquet", ExportFormat::Parquet),
        ] {
            let options = ExportOptions::default();
            with_task(|t| export(&root, &home.path().join(file), format, &options, t).unwrap());
        }
        let read = run(&python, "read_exports.py", &[home.path()]);
        let read: Value = serde_json::from_str(read.lines().last().unwrap()).unwrap();
        let mut expected = [String::new(), String::new()];
        let mut pictures = Vec::new();
        for (e, episode) in dataset.episodes().iter().enumerate() {
            let table = dataset.episode_table(e).unwrap();
            expected[0] += &hex(&table["action"].data, "float32");
            expected[1] += &hex(&table["observation.grid"].data, "float64");
            let ArrayData::Bool(done) = &table["next.done"].data else { panic!() };
            assert_eq!(read["hdf5"]["done"][e], serde_json::json!(done));
            let frames: Vec<usize> = (0..episode.length).collect();
            pictures.extend(dataset.decode_frames(e, CAMERA, &frames).unwrap().concat());
        }
        for format in ["hdf5", "zarr", "parquet"] {
            let found = &read[format];
            if found.is_null() {
                println!("{} has no library for {format}", python.display());
                continue;
            }
            assert_eq!(found["action"], expected[0], "{format}");
            assert_eq!(found["grid"], expected[1], "{format}");
            let theirs = std::fs::read(home.path().join(format!("{format}.rgb"))).unwrap();
            assert!(theirs == pictures, "{format}: pictures differ");
        }
        assert_eq!(read["hdf5"]["masks"], serde_json::json!({"train": ["demo_0", "demo_1"]}));
        assert_eq!(read["zarr"]["ends"], serde_json::json!([12, 42]));
    }
}
