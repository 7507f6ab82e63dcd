//! Text features and an instruction per frame: recorded, read, copied, opened by LeRobot.

use std::path::Path;

use embody_core::{
    ArrayData, ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Features, Recorder,
};
use embody_data::{
    Dataset, FrameValue, ImportOptions, LeRobotRecorder, ProcessOptions, RecordSpec,
    ValidateOptions, VideoSettings, import, process, validate,
};

use crate::common::with_task;

const WORDS: [&str; 3] = ["", "wörd", "a longer sentence, with \"quotes\""];

pub fn record_text(root: &Path, lengths: &[usize]) {
    let mut features = Features::new();
    features.insert("action".into(), FeatureSpec::new(DType::Float32, &[2], &["x", "y"]));
    features.insert("note".into(), FeatureSpec::new(DType::String, &[1], &[]));
    let spec = RecordSpec {
        fps: 10.0,
        robot_type: None,
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: serde_json::Value::Null,
        origin: None,
    };
    let mut recorder = LeRobotRecorder::create(root, spec).unwrap();
    for (e, &length) in lengths.iter().enumerate() {
        recorder.begin_episode("approach").unwrap();
        for t in 0..length {
            if t == length / 2 {
                recorder.set_task(&format!("grasp {}", e % 2)).unwrap();
            }
            let action = [t as f32 + e as f32 * 0.1, -(t as f32)];
            let action = ArrayView { shape: &[2], data: DataView::F32(&action) };
            let note = FrameValue::Text(WORDS[(e + t) % 3]);
            recorder.add_values(&[("note", note), ("action", FrameValue::Array(action))]).unwrap();
        }
        recorder.save_episode(EpisodeOutcome::default()).unwrap();
    }
    let error = recorder.set_task("none").unwrap_err().to_string();
    assert!(error.contains("no episode is open"), "{error}");
    recorder.begin_episode("t").unwrap();
    let wrong = recorder.add_values(&[
        ("note", FrameValue::Array(ArrayView { shape: &[1], data: DataView::F32(&[0.0]) })),
        ("action", FrameValue::Text("no")),
    ]);
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("\"note\"") && error.contains("another type"), "{error}");
    recorder.discard_episode();
    recorder.finish().unwrap();
}

#[test]
fn text_and_tasks_of_frames_come_back() {
    let home = tempfile::tempdir().unwrap();
    let [root, copied, processed] = ["set", "copied", "processed"].map(|n| home.path().join(n));
    let lengths = [10, 1, 7];
    record_text(&root, &lengths);
    with_task(|t| import(&root, &copied, ImportOptions::default(), t).unwrap());
    let options = ProcessOptions { held_out: 0.0, min_frames: 1, ..Default::default() };
    with_task(|t| process(&root, &processed, &options, t).unwrap());
    for root in [&root, &copied, &processed] {
        let dataset = Dataset::open(root).unwrap();
        assert_eq!(dataset.tasks(), ["approach", "grasp 0", "grasp 1"]);
        for (e, &length) in lengths.iter().enumerate() {
            let notes: Vec<&str> = (0..length).map(|t| WORDS[(e + t) % 3]).collect();
            assert_eq!(dataset.episode_text(e, "note").unwrap(), notes);
            let task = 1 + (e % 2) as i64;
            let tasks = (0..length).map(|t| if t < length / 2 { 0 } else { task }).collect();
            assert_eq!(dataset.episode_table(e).unwrap()["task_index"].data, ArrayData::I64(tasks));
        }
        assert_eq!(dataset.episodes()[0].tasks, ["approach", "grasp 0"]);
        // An episode whose instruction changes before its first frame has only the second.
        assert_eq!(dataset.episodes()[1].tasks, ["grasp 1"]);
        let found = with_task(|t| validate(root, &ValidateOptions::default(), t).unwrap());
        assert!(found.findings.is_empty(), "{:#?}", found.findings);
        assert!(dataset.episode_text(0, "action").unwrap_err().to_string().contains("not text"));
    }
}
