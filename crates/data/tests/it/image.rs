//! Image features (pictures in the table) and language columns: recorded, read, edited, exported;
//! LeRobot reads what we write and writes what we read.

use std::path::{Path, PathBuf};

use embody_core::{ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Features, Recorder};
use embody_data::{
    Dataset, DecodeCheck, ExportFormat, ExportOptions, ImportOptions, LeRobotRecorder,
    ProcessOptions, RecordSpec, Trim, ValidateOptions, VideoSettings, export, import, process,
    trim, validate,
};
use serde_json::{Value, json};

use crate::arrays::run;
use crate::common::{SIZE, picture, with_task};

const PHOTO: &str = "observation.images.photo";

fn python() -> Option<PathBuf> {
    let found = std::env::var_os("EMBODY_LEROBOT_PYTHON").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: EMBODY_LEROBOT_PYTHON is not set");
    }
    found
}

fn record_photos(root: &Path, lengths: &[usize]) {
    let mut features = Features::new();
    features.insert("action".into(), FeatureSpec::new(DType::Float32, &[2], &["x", "y"]));
    features.insert(PHOTO.into(), FeatureSpec::new(DType::Image, &[SIZE, SIZE, 3], &[]));
    let spec = RecordSpec {
        fps: 10.0,
        robot_type: None,
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: Value::Null,
        origin: None,
    };
    let mut recorder = LeRobotRecorder::create(root, spec).unwrap();
    for (e, &length) in lengths.iter().enumerate() {
        recorder.begin_episode("take photos").unwrap();
        for t in 0..length {
            let (action, rgb) = ([t as f32, e as f32], picture(e, t));
            let row: [(&str, ArrayView<'_>); 2] = [
                ("action", ArrayView { shape: &[2], data: DataView::F32(&action) }),
                (PHOTO, ArrayView { shape: &[SIZE, SIZE, 3], data: DataView::U8(&rgb) }),
            ];
            recorder.add_frame(&row).unwrap();
        }
        recorder.save_episode(EpisodeOutcome::default()).unwrap();
    }
    recorder.finish().unwrap();
}

fn photos(dataset: &Dataset, e: usize) -> Vec<Vec<u8>> {
    let frames: Vec<usize> = (0..dataset.episodes()[e].length).collect();
    dataset.decode_frames(e, PHOTO, &frames).unwrap()
}

fn sound(root: &Path) {
    let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
    let found = with_task(|t| validate(root, &options, t).unwrap());
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
}

#[test]
fn pictures_in_the_table_are_exact_through_every_step() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    record_photos(&path("set"), &[12, 30]);
    sound(&path("set"));
    let set = Dataset::open(&path("set")).unwrap();
    assert_eq!(photos(&set, 1)[7], picture(1, 7));
    let stats = &set.stats()[PHOTO];
    assert_eq!((stats.mean.len(), stats.count), (3, 42));
    assert!(stats.mean.iter().all(|m| (0.0..1.0).contains(m)), "{stats:?}");
    let again = with_task(|t| embody_data::compute_stats(&set, true, t).unwrap());
    assert!((again[PHOTO].mean[0] - stats.mean[0]).abs() < 1e-9);
    with_task(|t| import(&path("set"), &path("copied"), ImportOptions::default(), t).unwrap());
    let options = ProcessOptions { held_out: 0.0, min_frames: 1, ..Default::default() };
    with_task(|t| process(&path("set"), &path("processed"), &options, t).unwrap());
    let cut = [Trim { episode: 1, keep: 5..25 }];
    with_task(|t| trim(&path("processed"), &path("cut"), &cut, false, t).unwrap());
    for name in ["copied", "processed", "cut"] {
        sound(&path(name));
        let dataset = Dataset::open(&path(name)).unwrap();
        let from = if name == "cut" { 5 } else { 0 };
        for (t, rgb) in photos(&dataset, 1).into_iter().enumerate() {
            assert!(rgb == picture(1, from + t), "{name}, frame {t}");
        }
    }
    for (file, format) in [
        ("out.hdf5", ExportFormat::Hdf5),
        ("out.zarr", ExportFormat::Zarr),
        ("out.parquet", ExportFormat::Parquet),
        ("mcap", ExportFormat::Mcap),
        ("rrd", ExportFormat::Rrd),
    ] {
        let all = ExportOptions::default();
        let done = with_task(|t| export(&path("set"), &path(file), format, &all, t).unwrap());
        assert_eq!((done.episodes, done.frames), (2, 42));
    }
    for folder in ["mcap", "rrd"] {
        let root = path(&format!("from-{folder}"));
        let map = Some(path(folder).join("mapping.toml"));
        let video = VideoSettings { quantiser: 1, ..VideoSettings::default() };
        let options = ImportOptions { map, video, ..Default::default() };
        with_task(|t| import(&path(folder), &root, options, t).unwrap());
        let back = Dataset::open(&root).unwrap();
        let off = crate::common::difference(&photos(&back, 1).concat(), &photos(&set, 1).concat());
        assert!(off < 5.0, "{folder}: pictures differ by {off} levels");
    }
}

#[test]
fn a_row_without_its_picture_is_named() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record_photos(&root, &[4]);
    let info = root.join("meta/info.json");
    let text = std::fs::read_to_string(&info).unwrap();
    std::fs::write(&info, text.replace("48", "40")).unwrap();
    let found = with_task(|t| validate(&root, &ValidateOptions::default(), t).unwrap());
    let sizes: Vec<_> = found.findings.iter().filter(|f| f.code == "picture-size").collect();
    assert_eq!((sizes.len(), sizes[0].frame), (1, Some(0)), "{:#?}", found.findings);
    let error = Dataset::open(&root).unwrap().decode_frames(0, PHOTO, &[2]).unwrap_err();
    assert!(error.to_string().contains("frame 2"), "{error}");
}

#[test]
fn lerobot_reads_our_pictures_and_language_and_we_read_its_own() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    record_photos(&path("set"), &[12, 30]);
    let set = Dataset::open(&path("set")).unwrap();
    let read = |root: &Path| -> Value {
        let text = run(&python, "read_pictures.py", &[Path::new("read"), root]);
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    };
    let sums = |dataset: &Dataset| -> Vec<u64> {
        let all = (0..dataset.episodes().len()).flat_map(|e| photos(dataset, e));
        all.map(|p| p.iter().enumerate().map(|(i, &v)| (i as u64 % 97 + 1) * u64::from(v)).sum())
            .collect()
    };
    assert_eq!(read(&path("set"))["sums"], json!(sums(&set)));
    // LeRobot writes pictures; its annotation columns are added as its pipeline does.
    run(&python, "read_pictures.py", &[Path::new("write"), &path("theirs")]);
    let theirs = read(&path("theirs"));
    sound(&path("theirs"));
    with_task(|t| import(&path("theirs"), &path("copied"), ImportOptions::default(), t).unwrap());
    let options = ProcessOptions { held_out: 0.0, min_frames: 1, ..Default::default() };
    with_task(|t| process(&path("theirs"), &path("processed"), &options, t).unwrap());
    for name in ["theirs", "copied", "processed"] {
        sound(&path(name));
        assert_eq!(sums(&Dataset::open(&path(name)).unwrap()).len(), 11);
        let again = read(&path(name));
        assert_eq!(again["sums"], json!(sums(&Dataset::open(&path(name)).unwrap())), "{name}");
        assert_eq!(again["language"], theirs["language"], "{name}");
        assert_eq!(again["features"], theirs["features"], "{name}");
    }
    assert_eq!(theirs["language"][0]["language_persistent"][0]["content"], "reach for the cup");
    let hdf5 = ExportOptions::default();
    let error = with_task(|t| {
        export(&path("theirs"), &path("x.hdf5"), ExportFormat::Hdf5, &hdf5, t).unwrap_err()
    });
    assert!(error.to_string().contains("language_"), "{error}");
    with_task(|t| {
        export(&path("theirs"), &path("x.parquet"), ExportFormat::Parquet, &hdf5, t).unwrap()
    });
}
