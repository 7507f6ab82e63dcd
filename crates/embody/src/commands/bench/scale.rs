//! A table dataset of many frames: how long opening takes, how long statistics, how much memory.

use std::path::Path;
use std::time::Instant;

use embody_core::{
    ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Features, Recorder, Result,
};
use embody_data::{Dataset, LeRobotRecorder, RecordSpec, VideoSettings, compute_stats};
use serde::Serialize;

use crate::App;

/// Size of state and action: a humanoid's upper body.
const DIMS: usize = 26;
/// Frames of an episode: about 17 s at 30 frames/s.
const EPISODE: usize = 500;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Scale {
    episodes: usize,
    frames: usize,
    /// Best of three, seconds.
    open_seconds: f64,
    /// All statistics with exact quantiles, seconds.
    statistics_seconds: f64,
    /// Features whose statistics equal those written while recording.
    equal_to_file: usize,
    /// Most resident memory of this process, MiB, before and after the statistics; 0 where the
    /// system doesn't say.
    peak_mib_opened: u64,
    peak_mib_statistics: u64,
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { episodes, frames, open_seconds, statistics_seconds, .. } = self;
        writeln!(f, "{episodes} episodes, {frames} frames")?;
        writeln!(
            f,
            "open        {:8.1} ms, peak {} MiB",
            open_seconds * 1e3,
            self.peak_mib_opened
        )?;
        write!(f, "statistics  {statistics_seconds:8.2} s,  peak {} MiB", self.peak_mib_statistics)
    }
}

/// Writes the dataset to `root` where there is none, and measures it.
///
/// # Errors
/// When it can't be written or read.
pub fn run(app: &App<'_>, root: &Path, frames: usize) -> Result<Scale> {
    if !root.exists() {
        generate(app, root, frames)?;
    }
    let mut open_seconds = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        Dataset::open(root)?;
        open_seconds = open_seconds.min(begun.elapsed().as_secs_f64());
    }
    let peak_mib_opened = peak_mib();
    let dataset = Dataset::open(root)?;
    let begun = Instant::now();
    let stats = compute_stats(&dataset, false, app.task)?;
    Ok(Scale {
        episodes: dataset.episodes().len(),
        frames: dataset.info().total_frames,
        open_seconds,
        statistics_seconds: begun.elapsed().as_secs_f64(),
        equal_to_file: stats.iter().filter(|(k, s)| dataset.stats().get(*k) == Some(*s)).count(),
        peak_mib_opened,
        peak_mib_statistics: peak_mib(),
    })
}

/// Sines of many periods, so that no two columns are alike.
fn generate(app: &App<'_>, root: &Path, frames: usize) -> Result<()> {
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
    let mut recorder = LeRobotRecorder::without_journal(root, spec)?;
    let episodes = frames.div_ceil(EPISODE);
    app.task.begin("write", Some(episodes as u64), "episodes");
    for e in 0..episodes {
        recorder.begin_episode(if e % 2 == 0 { "pick" } else { "place" })?;
        for t in 0..EPISODE.min(frames - e * EPISODE) {
            let value = |d: usize, late: f64| {
                let s = (t as f64 - late) / 30.0;
                let (d, e) = (d as f64, e as f64);
                ((s * (0.7 + 0.01 * d) + e * 0.37 + d).sin() + 0.1 * (s * 7.0 + d * e).cos()) as f32
            };
            let state: [f32; DIMS] = std::array::from_fn(|d| value(d, 3.0));
            let action: [f32; DIMS] = std::array::from_fn(|d| value(d, 0.0));
            let view = |data| ArrayView { shape: &[DIMS], data };
            recorder.add_frame(&[
                ("observation.state", view(DataView::F32(&state))),
                ("action", view(DataView::F32(&action))),
            ])?;
        }
        recorder.save_episode(EpisodeOutcome::default())?;
        app.task.advance("write", e as u64 + 1, "")?;
    }
    app.task.end("write");
    recorder.finish()?;
    Ok(())
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0)
        / 1024
}
