//! Synthetic recordings.

use std::path::{Path, PathBuf};
use std::process::Command;

use embody_core::{
    ArrayView, CancelToken, DType, DataView, EpisodeOutcome, FeatureSpec, NoProgress, Recorder,
    Task,
};
use embody_data::{LeRobotRecorder, RecordReport, RecordSpec, VideoSettings};
use serde_json::Value;

pub fn with_task<T>(f: impl FnOnce(Task<'_>) -> T) -> T {
    let cancel = CancelToken::default();
    f(Task { progress: &NoProgress, cancel: &cancel })
}

pub const SIZE: usize = 48;

pub fn spec(threads: usize) -> RecordSpec {
    let mut features = embody_core::Features::new();
    features.insert(
        "observation.state".into(),
        FeatureSpec::new(DType::Float32, &[3], &["x", "y", "gripper"]),
    );
    features
        .insert("action".into(), FeatureSpec::new(DType::Float32, &[3], &["x", "y", "gripper"]));
    features.insert("next.reward".into(), FeatureSpec::new(DType::Float32, &[1], &[]));
    features.insert("next.done".into(), FeatureSpec::new(DType::Bool, &[1], &[]));
    features.insert("observation.grid".into(), FeatureSpec::new(DType::Float64, &[2, 3], &[]));
    features.insert(
        "observation.images.front".into(),
        FeatureSpec::new(DType::Video, &[SIZE, SIZE, 3], &[]),
    );
    RecordSpec {
        fps: 30.0,
        robot_type: Some("test_arm".into()),
        features,
        video: VideoSettings::default(),
        threads,
        parameters: serde_json::json!({"made": "by a test"}),
        origin: None,
    }
}

/// The picture of frame `t` of episode `e`: a bright square that moves over a gradient.
pub fn picture(e: usize, t: usize) -> Vec<u8> {
    let mut rgb = vec![0; SIZE * SIZE * 3];
    let (cx, cy) = ((t * 2 + e * 5) % (SIZE - 12), (t + e * 3) % (SIZE - 12));
    for y in 0..SIZE {
        for x in 0..SIZE {
            let inside = (cx..cx + 12).contains(&x) && (cy..cy + 12).contains(&y);
            let pixel = if inside {
                [230, (40 + e * 20 % 200) as u8, 40]
            } else {
                [(x * 4) as u8, (y * 4) as u8, 100]
            };
            rgb[(y * SIZE + x) * 3..][..3].copy_from_slice(&pixel);
        }
    }
    rgb
}

pub fn state(e: usize, t: usize) -> [f32; 3] {
    [t as f32 * 0.1 + e as f32, (t as f32 * 0.3).sin(), (t % 2) as f32]
}

pub fn add_frame(
    recorder: &mut LeRobotRecorder,
    e: usize,
    t: usize,
    length: usize,
) -> embody_core::Result<()> {
    let s = state(e, t);
    let a = state(e, t + 1);
    let grid: Vec<f64> = (0..6).map(|i| (t * 6 + i) as f64 / 7.0).collect();
    let rgb = picture(e, t);
    let view = |shape: &'static [usize], data| ArrayView { shape, data };
    recorder.add_frame(&[
        ("observation.state", view(&[3], DataView::F32(&s))),
        ("action", view(&[3], DataView::F32(&a))),
        ("next.reward", view(&[1], DataView::F32(&[t as f32]))),
        ("next.done", view(&[1], DataView::Bool(&[t + 1 == length]))),
        ("observation.grid", view(&[2, 3], DataView::F64(&grid))),
        ("observation.images.front", view(&[SIZE, SIZE, 3], DataView::U8(&rgb))),
    ])
}

/// Records episodes of these lengths.
pub fn fill(recorder: &mut LeRobotRecorder, lengths: &[usize]) {
    for (e, &length) in lengths.iter().enumerate() {
        recorder.begin_episode(if e % 2 == 0 { "pick the cube" } else { "lift the cube" }).unwrap();
        for t in 0..length {
            add_frame(recorder, e, t, length).unwrap();
        }
        recorder
            .save_episode(EpisodeOutcome {
                success: Some(e % 3 != 2),
                seed: Some(u64::MAX - e as u64),
                total_reward: Some(e as f64 * 0.5),
                simulation: None,
            })
            .unwrap();
    }
}

/// Records `lengths.len()` episodes; every third one is a failure.
pub fn record(target: &Path, lengths: &[usize], threads: usize) -> RecordReport {
    let mut recorder = LeRobotRecorder::create(target, spec(threads)).unwrap();
    fill(&mut recorder, lengths);
    recorder.finish().unwrap()
}

/// Mean absolute difference of levels.
pub fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

pub fn shared_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {name} is not here");
    None
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A Python with LeRobot, where one is named.
pub fn python() -> Option<PathBuf> {
    let found = std::env::var_os("EMBODY_LEROBOT_PYTHON").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: EMBODY_LEROBOT_PYTHON is not set");
    }
    found
}

/// Runs a script of `tests/oracle`; the last line of its output that is JSON.
pub fn run(python: &Path, script: &str, arguments: &[&Path]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(script);
    let done = Command::new(python)
        .arg(script)
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    text.lines().rev().find_map(|l| serde_json::from_str(l).ok()).unwrap_or(Value::Null)
}
