//! Checks of tables: columns, indices, times, values, statistics.

use arrow_schema::DataType;
use embody_core::{Array, ArrayData, DType, FeatureSpec, FeatureStats};
use indexmap::IndexMap;

use super::meta::unreadable;
use super::{Part, ValidateOptions, has_stats};
use crate::dataset::Dataset;
use crate::finding::Finding;
use crate::format::{RESERVED, array_of, texts_of};
use crate::process::non_finite;
use crate::stats::Moments;

/// Checks the rows of an episode. True where some action or state changes over it.
pub(super) fn check(
    dataset: &Dataset,
    episode: usize,
    options: &ValidateOptions,
    part: &mut Part,
) -> bool {
    let info = dataset.info();
    let row = &dataset.episodes()[episode];
    let file = dataset.relative(&row.rows.file);
    let at = |f: Finding| f.file(file.clone()).episode(episode);
    if !row.rows.file.is_file() {
        return true;
    }
    let table = match dataset.table(&row.rows.file) {
        Ok(table) => table,
        Err(e) => {
            part.findings.push(at(unreadable(&row.rows.file, &e)));
            return true;
        }
    };
    if row.length == 0 {
        part.findings.push(at(Finding::error("episode-empty", "the episode has no frames")));
        return true;
    }
    let last = dataset
        .episodes()
        .iter()
        .filter(|e| e.rows.file == row.rows.file)
        .map(|e| e.rows.rows.end)
        .max();
    if last == Some(row.rows.rows.end) && table.rows() != row.rows.rows.end {
        let text =
            format!("the file has {} rows, its episodes have {}", table.rows(), row.rows.rows.end);
        part.findings.push(at(Finding::error("row-count", text)));
    }
    for (key, _) in info.table_features() {
        if table.schema().index_of(key).is_err() {
            let text = format!("column {key:?} is declared but missing");
            part.findings.push(at(Finding::error("column-missing", text)));
        }
    }
    for field in table.schema().fields() {
        if !info.features.contains_key(field.name()) {
            let text = format!("column {:?} is not declared in info.json", field.name());
            part.findings.push(at(Finding::error("column-undeclared", text)));
        }
    }
    let batch = match dataset.rows(episode, None) {
        Ok(batch) => batch,
        Err(e) => {
            part.findings.push(at(Finding::error("rows-unreadable", e.to_string())));
            return true;
        }
    };
    part.complete = true;
    part.checked.frames += row.length;
    let mut moves = false;
    let mut told = false;
    for (key, spec) in info.table_features() {
        if spec.dtype == DType::Video {
            continue;
        }
        let Some(column) = batch.column_by_name(key) else {
            part.complete = false;
            continue;
        };
        if spec.dtype == DType::Image {
            part.findings.extend(pictures(dataset, episode, key, row.length).map(&at));
            continue;
        }
        if spec.dtype == DType::Language {
            if !matches!(column.data_type(), DataType::List(_) | DataType::LargeList(_)) {
                let text =
                    format!("column {key:?} is of type {}, no list of entries", column.data_type());
                part.findings.push(at(Finding::error("column-shape", text)));
            }
            continue;
        }
        if spec.dtype == DType::String {
            let text = if spec.shape == [1] { texts_of(column).map(drop) } else { Ok(()) };
            if let Err(why) = text {
                let text = format!("column {key:?} {why}");
                part.findings.push(at(Finding::error("column-shape", text)));
            }
            continue;
        }
        let array = match array_of(column, spec) {
            Ok(array) => array,
            Err(why) => {
                let text = format!("column {key:?} {why}");
                part.findings.push(at(Finding::error("column-shape", text)));
                part.complete = false;
                continue;
            }
        };
        part.checked.values += array.shape.iter().product::<usize>() as u64;
        let width = spec.numel().max(1);
        if let Some((frame, dim)) = non_finite(&array) {
            let name = spec.dim_names().get(dim).cloned().unwrap_or_default();
            let text = format!("{key}, dimension {dim} ({name}), is not finite");
            let hint = "leave such episodes out: embody data process drops them with the reason";
            part.findings
                .push(at(Finding::error("non-finite-value", text)).frame(frame).hint(hint));
            part.complete = false;
            continue;
        }
        if RESERVED.contains(&key) {
            part.findings.extend(bookkeeping(dataset, episode, key, &array).map(&at));
            continue;
        }
        ranges(key, &array, width, options, &mut part.findings, &at);
        if let Some(stats) = crate::stats::array_stats(&array) {
            moves |= stats.min.iter().zip(&stats.max).any(|(a, b)| a != b);
            told |= row.stats.contains_key(key);
            let says = row.stats.get(key).filter(|s| !s.mean.is_empty());
            if let Some(text) = says.and_then(|says| differ(says, &stats, spec)) {
                let text = format!("{key}: statistics of the episode: {text}");
                part.findings.push(at(Finding::warning("episode-stats-mismatch", text)));
            }
        }
        let mut m = Moments::new(width);
        if m.add(&array).is_some() {
            part.moments.insert(key.to_owned(), m);
        }
    }
    if !told && !part.moments.is_empty() {
        let text = "the episode has no statistics of its own";
        part.findings.push(at(Finding::note("episode-stats-missing", text)));
    }
    moves
}

/// Indices and times.
/// Whether every row holds a picture of the declared size, by its header.
fn pictures(dataset: &Dataset, episode: usize, key: &str, length: usize) -> Option<Finding> {
    const BLOCK: usize = 256;
    let spec = dataset.info().features.get(key)?;
    let bad = |text: String| Some(Finding::error("picture-unreadable", text));
    for from in (0..length).step_by(BLOCK) {
        let frames = from..(from + BLOCK).min(length);
        let files = match dataset.encoded_pictures(episode, key, frames) {
            Ok(files) => files,
            Err(e) => return bad(e.to_string()),
        };
        for (i, file) in files.iter().enumerate() {
            let finding = match crate::picture::size_of(file) {
                Ok((height, width)) if spec.shape.starts_with(&[height, width]) => continue,
                Ok((height, width)) => {
                    let text =
                        format!("{key}: a picture of {width}x{height}, declared {:?}", spec.shape);
                    Finding::error("picture-size", text)
                }
                Err(why) => Finding::error("picture-unreadable", format!("{key}: {why}")),
            };
            return Some(finding.frame(from + i));
        }
    }
    None
}

fn bookkeeping(dataset: &Dataset, episode: usize, key: &str, array: &Array) -> Option<Finding> {
    let row = &dataset.episodes()[episode];
    if key == "timestamp" {
        return times(dataset.fps(), array);
    }
    let ArrayData::I64(values) = &array.data else {
        let text = format!("column {key:?} does not hold whole numbers");
        return Some(Finding::error("column-type", text));
    };
    let (code, start, step) = match key {
        "frame_index" => ("frame-index", 0, 1),
        "index" => ("index-not-continuous", row.rows.global.start as i64, 1),
        "episode_index" => ("episode-index-column", row.index as i64, 0),
        _ => {
            let tasks = dataset.tasks().len() as i64;
            let frame = values.iter().position(|v| !(0..tasks).contains(v))?;
            let text = format!("task_index {} is not one of {tasks} tasks", values[frame]);
            return Some(Finding::error("task-index", text).frame(frame));
        }
    };
    let expected = |i: usize| start + step * i as i64;
    let frame = (0..values.len()).find(|&i| values[i] != expected(i))?;
    let text = format!("{key} is {}, expected {}", values[frame], expected(frame));
    Some(Finding::error(code, text).frame(frame))
}

fn times(fps: f64, array: &Array) -> Option<Finding> {
    let times: Vec<f64> = match &array.data {
        ArrayData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::F64(v) => v.clone(),
        _ => {
            return Some(Finding::error(
                "column-type",
                "column \"timestamp\" does not hold numbers",
            ));
        }
    };
    if let Some(i) = times.windows(2).position(|w| w[1] <= w[0]) {
        let text = format!("timestamp goes from {} s to {} s", times[i], times[i + 1]);
        return Some(Finding::error("timestamp-not-monotonic", text).frame(i + 1));
    }
    // Stored in f32: beyond about 800 s its own rounding passes LeRobot's tolerance.
    let slack = |i: usize| 1e-4 + f64::from(f32::EPSILON) * times[i].abs();
    let off = |i: usize| times[i] - i as f64 / fps;
    let frame = (0..times.len()).find(|&i| off(i).abs() > slack(i))?;
    let late = (off(0) * fps).round();
    if late != 0.0 && (0..times.len()).all(|i| (off(i) - late / fps).abs() <= slack(i)) {
        let text =
            format!("every timestamp is {late:+} frames off: the first is {:.5} s", times[0]);
        return Some(Finding::error("timestamp-off-by-one", text).frame(0));
    }
    if let Some(rate) = steady_rate(&times).filter(|_| times.len() > 10) {
        let text = format!(
            "timestamps drift: frames come at {:.4} a second, fps is {fps}; at the last frame they are \
             {:+.4} s off",
            1.0 / rate,
            off(times.len() - 1)
        );
        return Some(Finding::error("timestamp-drift", text).frame(frame));
    }
    let text = format!(
        "timestamp is {:.5} s, frame {frame} at {fps} fps is {:.5} s",
        times[frame],
        frame as f64 / fps
    );
    Some(Finding::error("timestamp-off-grid", text).frame(frame))
}

/// Seconds from frame to frame where all times lie on one line (within a millisecond).
fn steady_rate(times: &[f64]) -> Option<f64> {
    let n = times.len() as f64;
    let (mean_i, mean_t) = ((n - 1.0) / 2.0, times.iter().sum::<f64>() / n);
    let (mut cov, mut var) = (0.0, 0.0);
    for (i, t) in times.iter().enumerate() {
        cov += (i as f64 - mean_i) * (t - mean_t);
        var += (i as f64 - mean_i).powi(2);
    }
    let rate = cov / var;
    let line = |i: usize| mean_t + (i as f64 - mean_i) * rate;
    (0..times.len()).all(|i| (times[i] - line(i)).abs() < 1e-3).then_some(rate)
}

fn ranges(
    key: &str,
    array: &Array,
    width: usize,
    options: &ValidateOptions,
    findings: &mut Vec<Finding>,
    at: &dyn Fn(Finding) -> Finding,
) {
    let Some((low, high)) = options.ranges.get(key) else { return };
    let values: Box<dyn Iterator<Item = f64>> = match &array.data {
        ArrayData::F32(v) => Box::new(v.iter().map(|&x| f64::from(x))),
        ArrayData::F64(v) => Box::new(v.iter().copied()),
        ArrayData::I64(v) => Box::new(v.iter().map(|&x| x as f64)),
        ArrayData::U8(v) => Box::new(v.iter().map(|&x| f64::from(x))),
        ArrayData::Bool(_) => return,
    };
    let bound = |side: &[f64], d: usize, none: f64| side.get(d).copied().unwrap_or(none);
    for (i, value) in values.enumerate() {
        let d = i % width;
        let (l, h) = (bound(low, d, f64::NEG_INFINITY), bound(high, d, f64::INFINITY));
        if value < l || value > h {
            let text = format!("{key}, dimension {d}, is {value}, allowed is {l} to {h}");
            findings.push(at(Finding::warning("value-out-of-range", text).frame(i / width)));
            return;
        }
    }
}

/// Checks over all episodes: dimensions that never change, statistics against data.
pub(super) fn check_whole(
    dataset: &Dataset,
    moments: &IndexMap<String, Moments>,
    complete: bool,
    findings: &mut Vec<Finding>,
) {
    for (key, m) in moments {
        let Some(spec) = dataset.info().features.get(key) else { continue };
        let stats = m.finish_without_quantiles();
        let names = spec.dim_names();
        let constant: Vec<&str> = (0..names.len())
            .filter(|&d| stats.min.get(d) == stats.max.get(d))
            .map(|d| names[d].as_str())
            .collect();
        if !constant.is_empty() {
            let text = format!(
                "{key}: {} of {} dimensions never change: {}",
                constant.len(),
                names.len(),
                constant.join(", ")
            );
            findings.push(Finding::note("constant-dimension", text));
        }
        if !complete || dataset.stats().is_empty() {
            continue;
        }
        if !has_stats(dataset.stats(), key) {
            let text = format!("{key} has no statistics");
            findings.push(Finding::warning("stats-missing", text).file("meta/stats.json"));
        } else if let Some(text) = differ(&dataset.stats()[key], &stats, spec) {
            findings.push(
                Finding::warning("stats-mismatch", format!("{key}: {text}"))
                    .file("meta/stats.json"),
            );
        }
    }
}

/// How two statistics differ beyond rounding (LeRobot accumulates in f32).
fn differ(says: &FeatureStats, is: &FeatureStats, spec: &FeatureSpec) -> Option<String> {
    // LeRobot reduces arrays of two and more axes to their last one: nothing to compare with.
    if spec.shape.len() > 1 && says.mean.len() != is.mean.len() {
        return None;
    }
    if says.count != is.count {
        return Some(format!("count is {}, the data has {}", says.count, is.count));
    }
    for (name, says, actual, slack) in [
        ("min", &says.min, &is.min, 1e-4),
        ("max", &says.max, &is.max, 1e-4),
        ("mean", &says.mean, &is.mean, 1e-3),
        ("std", &says.std, &is.std, 1e-2),
    ] {
        if says.len() != actual.len() {
            return Some(format!("{name} has {} entries, expected {}", says.len(), actual.len()));
        }
        for d in 0..says.len() {
            let range = is.max[d] - is.min[d];
            let size = is.max[d].abs().max(is.min[d].abs());
            let allowed = slack * range + 1e-4 * size + 1e-9;
            let off = (says[d] - actual[d]).abs();
            if off.is_nan() || off > allowed {
                return Some(format!("{name}[{d}] is {}, the data gives {}", says[d], actual[d]));
            }
        }
    }
    None
}
