//! Writes a table dataset of a million frames (2,000 episodes, 26-dimensional state and action, no
//! video) and measures opening it and one step over it.
//!
//! `cargo run --release -p embody_data --example million_frames -- FOLDER [FRAMES [WHAT]]`; an
//! existing folder is only measured. WHAT is `stats`, `validate`, `plan` or `process`. Prints one JSON
//! object: seconds, and the peak of resident memory before and after it (Linux).
#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::time::Instant;

use embody_core::{
    ArrayView, CancelToken, DType, DataView, EpisodeOutcome, FeatureSpec, Features, IoContext,
    NoProgress, Recorder, Result, Task,
};
use embody_data::{
    Dataset, LeRobotRecorder, Look, ProcessOptions, RecordSpec, ValidateOptions, VideoSettings,
    compute_stats, plan, process, validate,
};
use serde_json::json;

const DIMS: usize = 26;
const EPISODE: usize = 500;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = arguments.get(1).map_or("million", String::as_str);
    let frames = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let root = Path::new(folder);
    if !root.exists() {
        generate(root, frames)?;
    }
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let mut opened = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        Dataset::open(root)?;
        opened = opened.min(begun.elapsed().as_secs_f64());
    }
    let before = peak_mib();
    let begun = Instant::now();
    let what = arguments.get(3).map_or("stats", String::as_str);
    let found = match what {
        "validate" => {
            let report = validate(root, &ValidateOptions::default(), task)?;
            json!({ "findings": report.findings.len(), "values": report.checked.values })
        }
        "plan" => {
            let plan = plan(root, &ProcessOptions::default(), Look::None, task)?;
            json!({ "kept": plan.kept().count() })
        }
        "process" => {
            let home = tempfile::tempdir_in(root.parent().unwrap_or(Path::new(".")))
                .at("create a folder beside", root)?;
            let target = home.path().join("processed");
            let report = process(root, &target, &ProcessOptions::default(), task)?;
            json!({ "kept": report.kept.len(), "version": report.version })
        }
        _ => {
            let dataset = Dataset::open(root)?;
            let stats = compute_stats(&dataset, false, task)?;
            let same = stats.iter().filter(|(k, s)| dataset.stats().get(*k) == Some(*s)).count();
            json!({ "features": stats.len(), "equal_to_file": same })
        }
    };
    let dataset = Dataset::open(root)?;
    println!(
        "{}",
        json!({
            "episodes": dataset.episodes().len(), "frames": dataset.info().total_frames,
            "open_seconds": opened, "what": what, "seconds": begun.elapsed().as_secs_f64(),
            "found": found, "peak_mib_before": before, "peak_mib_after": peak_mib(),
        })
    );
    Ok(())
}

fn generate(root: &Path, frames: usize) -> Result<()> {
    let mut features = Features::new();
    for key in ["observation.state", "action"] {
        features.insert(key.into(), FeatureSpec::new(DType::Float32, &[DIMS], &[]));
    }
    let spec = RecordSpec {
        fps: 30.0,
        robot_type: Some("synthetic".into()),
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: serde_json::Value::Null,
        origin: None,
    };
    let mut recorder = LeRobotRecorder::create(root, spec)?;
    for e in 0..frames.div_ceil(EPISODE) {
        recorder.begin_episode(if e % 2 == 0 { "pick" } else { "place" })?;
        for t in 0..EPISODE.min(frames - e * EPISODE) {
            let value = |d: usize, late: f64| {
                let s = (t as f64 - late) / 30.0;
                let (d, e) = (d as f64, e as f64);
                ((s * (0.7 + 0.01 * d) + e * 0.37 + d).sin() + 0.1 * (s * 7.0 + d * e).cos()) as f32
            };
            let state: Vec<f32> = (0..DIMS).map(|d| value(d, 3.0)).collect();
            let action: Vec<f32> = (0..DIMS).map(|d| value(d, 0.0)).collect();
            let view = |data| ArrayView { shape: &[DIMS], data };
            recorder.add_frame(&[
                ("observation.state", view(DataView::F32(&state))),
                ("action", view(DataView::F32(&action))),
            ])?;
        }
        recorder.save_episode(EpisodeOutcome::default())?;
    }
    recorder.finish()?;
    Ok(())
}

/// Peak of resident memory so far, MiB; 0 where the system doesn't say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0)
        / 1024
}
