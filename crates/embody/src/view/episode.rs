//! What the page is told of a dataset and of one episode, as JSON.

use embody_core::{Array, DType, DataView, FeatureSpec, Result};
use embody_data::Dataset;
use serde::Serialize;

/// Columns that number rows and say nothing of the robot.
const BOOKKEEPING: [&str; 5] = ["timestamp", "frame_index", "episode_index", "index", "task_index"];

/// The dataset.
#[derive(Serialize)]
pub struct Overview {
    name: String,
    robot: Option<String>,
    fps: f64,
    frames: usize,
    cameras: Vec<Camera>,
    episodes: Vec<Entry>,
}

#[derive(Serialize)]
struct Camera {
    key: String,
    codec: Option<String>,
    width: usize,
    height: usize,
    /// Whether its pictures stand in the table, one a frame, and not in a video.
    still: bool,
}

#[derive(Serialize)]
struct Entry {
    length: usize,
    tasks: Vec<String>,
    success: Option<bool>,
    split: Option<String>,
}

/// One episode.
#[derive(Serialize)]
pub struct EpisodeData {
    length: usize,
    series: Vec<Series>,
    events: Vec<Event>,
}

/// One dimension of a feature over the episode.
#[derive(Serialize)]
struct Series {
    feature: String,
    name: String,
    /// Absent where a value is not finite.
    values: Vec<Option<f32>>,
}

#[derive(Serialize)]
struct Event {
    frame: usize,
    what: String,
}

/// Says what the dataset holds.
pub fn overview(dataset: &Dataset) -> Overview {
    let info = dataset.info();
    let name = dataset.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let visual = info.features.iter().filter(|(_, f)| f.dtype.is_visual());
    let cameras = visual.map(|(key, feature)| {
        let size = |axis: usize| feature.shape.get(axis).copied().unwrap_or(0);
        let codec = feature.info.as_ref().and_then(|i| i.codec.clone());
        let still = feature.dtype == DType::Image;
        Camera { key: key.clone(), codec, width: size(1), height: size(0), still }
    });
    let splits: Vec<_> =
        info.splits.keys().filter_map(|s| Some((s, dataset.split(Some(s)).ok()?))).collect();
    let entry = |(index, episode): (usize, &embody_data::Episode)| Entry {
        length: episode.length,
        tasks: episode.tasks.clone(),
        success: episode.outcome.success,
        split: splits.iter().find(|(_, r)| r.contains(&index)).map(|(s, _)| (*s).clone()),
    };
    Overview {
        name,
        robot: info.robot_type.clone(),
        fps: info.fps,
        frames: info.total_frames,
        cameras: cameras.collect(),
        episodes: dataset.episodes().iter().enumerate().map(entry).collect(),
    }
}

/// Every number of an episode, and what happened when.
///
/// # Errors
/// When the table can't be read.
pub fn episode(dataset: &Dataset, index: usize) -> Result<EpisodeData> {
    let table = dataset.episode_table(index)?;
    let length = dataset.episodes().get(index).map_or(0, |e| e.length);
    let (mut series, mut events) = (Vec::new(), Vec::new());
    for (key, array) in &table {
        let Some(spec) = dataset.info().features.get(key) else { continue };
        if key == "task_index" {
            events.extend(task_changes(dataset, array));
        } else if matches!(array.view().data, DataView::Bool(_)) {
            events.extend(switches(key, array));
        } else if !BOOKKEEPING.contains(&key.as_str()) {
            series.extend(dimensions(key, spec, array));
        }
    }
    events.sort_by_key(|e| e.frame);
    Ok(EpisodeData { length, series, events })
}

fn dimensions(key: &str, spec: &FeatureSpec, array: &Array) -> Vec<Series> {
    let values: Vec<f32> = match array.view().data {
        DataView::F32(v) => v.to_vec(),
        DataView::F64(v) => v.iter().map(|x| *x as f32).collect(),
        DataView::I64(v) => v.iter().map(|x| *x as f32).collect(),
        DataView::U8(v) => v.iter().map(|x| f32::from(*x)).collect(),
        DataView::Bool(_) => Vec::new(),
    };
    let width = spec.numel().max(1);
    let names = if width == 1 { vec![key.to_owned()] } else { spec.dim_names() };
    let column = |d: usize| {
        values.iter().skip(d).step_by(width).map(|v| Some(*v).filter(|v| v.is_finite())).collect()
    };
    let names = names.into_iter().enumerate();
    names.map(|(d, name)| Series { feature: key.to_owned(), name, values: column(d) }).collect()
}

/// Where another instruction begins, when there is more than one.
fn task_changes(dataset: &Dataset, array: &Array) -> Vec<Event> {
    let DataView::I64(tasks) = array.view().data else { return Vec::new() };
    let changes = (1..tasks.len()).filter(|&i| tasks[i] != tasks[i - 1]);
    let text = |task: i64| usize::try_from(task).ok().and_then(|t| dataset.tasks().get(t));
    changes
        .map(|frame| Event {
            frame,
            what: text(tasks[frame]).cloned().unwrap_or_else(|| "another task".to_owned()),
        })
        .collect()
}

/// Where a flag is raised.
fn switches(key: &str, array: &Array) -> Vec<Event> {
    let DataView::Bool(flags) = array.view().data else { return Vec::new() };
    let raised = (0..flags.len()).filter(|&i| flags[i] && (i == 0 || !flags[i - 1]));
    raised.map(|frame| Event { frame, what: key.to_owned() }).collect()
}
