//! What differs between two datasets: description, episodes, statistics, findings.
//!
//! Episodes are compared by content, wherever they stand: the bytes of every column and the packets
//! of every camera. One that lost frames at its ends is recognised by its rows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use arrow_array::ArrayRef;
use embody_core::{ArrayData, ContentHash, EpisodeOutcome, Result, Task, hash_bytes};
use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::Dataset;
use crate::finding::Finding;
use crate::format::{RESERVED, array_of, strings_of};
use crate::validate::{DecodeCheck, ValidateOptions, validate};

/// How far a mean must move, in standard deviations, to be listed.
const SHIFT: f64 = 0.1;

/// What differs between dataset `a` and dataset `b`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetDiff {
    /// The first.
    pub a: DiffSide,
    /// The second.
    pub b: DiffSide,
    /// Differences of the description: frame rate, robot, features, splits, instructions.
    pub description: Vec<String>,
    /// Differences of episodes.
    pub episodes: EpisodesDiff,
    /// Statistics that moved, the farthest first.
    pub statistics: Vec<MovedStatistic>,
    /// What validation finds in `b` and not in `a`.
    pub new_findings: Vec<Finding>,
    /// What validation finds in `a` and not in `b`.
    pub gone_findings: Vec<Finding>,
}

/// One of two datasets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiffSide {
    /// Its folder.
    pub path: PathBuf,
    /// Content hash.
    pub version: ContentHash,
    /// Number of episodes.
    pub episodes: usize,
    /// Number of frames.
    pub frames: usize,
}

/// Episodes of two datasets.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct EpisodesDiff {
    /// How many are in both, equal to the bit.
    pub same: usize,
    /// Of these, those that stand elsewhere: index in `a`, index in `b`.
    pub moved: Vec<(usize, usize)>,
    /// In both, but different.
    pub changed: Vec<ChangedEpisode>,
    /// Only in `a`: their indices there.
    pub removed: Vec<usize>,
    /// Only in `b`: their indices there.
    pub added: Vec<usize>,
}

/// An episode that is in both datasets, but differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedEpisode {
    /// Index in `a`.
    pub a: usize,
    /// Index in `b`.
    pub b: usize,
    /// What differs: features, `instructions`, `outcome`, or which frames are left.
    pub what: Vec<String>,
}

/// A dimension whose mean or spread differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MovedStatistic {
    /// Feature.
    pub feature: String,
    /// Name of the dimension.
    pub dimension: String,
    /// Mean in `a` and in `b`.
    pub mean: (f64, f64),
    /// Standard deviation in `a` and in `b`.
    pub std: (f64, f64),
    /// By how many standard deviations (of `a`) the mean moved.
    pub shift: f64,
}

/// Compares two datasets of any known version.
///
/// # Errors
/// When one of them can't be opened or read.
pub fn diff(a: &Path, b: &Path, task: Task<'_>) -> Result<DatasetDiff> {
    let (left, right) = (Dataset::open_any(a)?, Dataset::open_any(b)?);
    let keys: Vec<String> = left
        .info()
        .features
        .keys()
        .filter(|k| right.info().features.contains_key(*k) && !RESERVED.contains(&k.as_str()))
        .cloned()
        .collect();
    task.begin("compare", None, "episodes");
    let prints = [&left, &right].map(|d| fingerprints(d, &keys));
    let [old, new] = prints;
    let episodes = compare(&old?, &new?);
    task.end("compare");
    let options = ValidateOptions { decode: DecodeCheck::None, ..ValidateOptions::default() };
    let found = [a, b].map(|root| validate(root, &options, task));
    let [before, after] = found;
    let (before, after) = (before?.findings, after?.findings);
    let only = |of: &[Finding], not: &[Finding]| -> Vec<Finding> {
        let known = |f: &Finding| not.iter().any(|n| n.code == f.code && n.message == f.message);
        of.iter().filter(|f| !known(f)).cloned().collect()
    };
    Ok(DatasetDiff {
        a: side(&left)?,
        b: side(&right)?,
        description: description(&left, &right),
        episodes,
        statistics: statistics(&left, &right),
        new_findings: only(&after, &before),
        gone_findings: only(&before, &after),
    })
}

fn side(dataset: &Dataset) -> Result<DiffSide> {
    Ok(DiffSide {
        path: dataset.root().to_owned(),
        version: dataset.version()?,
        episodes: dataset.episodes().len(),
        frames: dataset.episodes().iter().map(|e| e.length).sum(),
    })
}

fn description(a: &Dataset, b: &Dataset) -> Vec<String> {
    let (x, y) = (a.info(), b.info());
    let mut out = Vec::new();
    let mut changed = |what: &str, old: String, new: String| {
        if old != new {
            out.push(format!("{what}: {old} -> {new}"));
        }
    };
    changed("version of the layout", x.codebase_version.clone(), y.codebase_version.clone());
    changed("frames per second", x.fps.to_string(), y.fps.to_string());
    let robot = |i: &crate::Info| i.robot_type.clone().unwrap_or_else(|| "none".to_owned());
    changed("robot", robot(x), robot(y));
    for (key, spec) in &x.features {
        let Some(other) = y.features.get(key) else { continue };
        let text = |f: &embody_core::FeatureSpec| {
            let codec = f.info.as_ref().and_then(|i| i.codec.clone()).unwrap_or_default();
            format!("{:?} {:?} {:?} {codec}", f.dtype, f.shape, f.dim_names())
        };
        changed(&format!("feature {key}"), text(spec), text(other));
    }
    for (name, range) in &x.splits {
        let new = y.splits.get(name).cloned().unwrap_or_else(|| "none".to_owned());
        changed(&format!("split {name}"), range.clone(), new);
    }
    let gone = |of: &Dataset, from: &Dataset, word: &str| -> Vec<String> {
        let features = of.info().features.keys().filter(|k| !from.info().features.contains_key(*k));
        let tasks = of.tasks().iter().filter(|t| !from.tasks().contains(t));
        features
            .map(|k| format!("feature {k} {word}"))
            .chain(tasks.map(|t| format!("instruction {t:?} {word}")))
            .collect()
    };
    out.extend(gone(a, b, "removed"));
    out.extend(gone(b, a, "added"));
    let splits = y.splits.iter().filter(|(name, _)| !x.splits.contains_key(*name));
    out.extend(splits.map(|(name, range)| format!("split {name}: none -> {range}")));
    out
}

fn statistics(a: &Dataset, b: &Dataset) -> Vec<MovedStatistic> {
    let mut out = Vec::new();
    for (key, old) in a.stats().iter().filter(|(k, _)| !RESERVED.contains(&k.as_str())) {
        let (Some(new), Some(spec)) = (b.stats().get(key), a.info().features.get(key)) else {
            continue;
        };
        let visual = spec.dtype.is_visual();
        let names = if visual { vec![] } else { spec.dim_names() };
        for d in 0..old.mean.len().min(new.mean.len()).min(old.std.len()).min(new.std.len()) {
            let (mean, std) = ((old.mean[d], new.mean[d]), (old.std[d], new.std[d]));
            let moved = mean.1 - mean.0;
            let shift = if std.0 > 0.0 { moved / std.0 } else { moved };
            let spread = (std.1 - std.0).abs() > SHIFT * std.0.max(std.1);
            if shift.abs() > SHIFT || spread {
                let dimension = match (visual, d) {
                    (true, 0) => "red".to_owned(),
                    (true, 1) => "green".to_owned(),
                    (true, _) => "blue".to_owned(),
                    (false, d) => names.get(d).cloned().unwrap_or_else(|| d.to_string()),
                };
                out.push(MovedStatistic { feature: key.clone(), dimension, mean, std, shift });
            }
        }
    }
    out.sort_by(|a, b| b.shift.abs().total_cmp(&a.shift.abs()));
    out
}

/// What an episode consists of, as hashes.
struct Fingerprint {
    /// By feature: column or packets.
    parts: Vec<(String, ContentHash)>,
    /// Rows of the table.
    rows: Vec<u64>,
    tasks: Vec<String>,
    outcome: EpisodeOutcome,
}

fn fingerprints(dataset: &Dataset, keys: &[String]) -> Result<Vec<Fingerprint>> {
    (0..dataset.episodes().len()).into_par_iter().map(|e| fingerprint(dataset, e, keys)).collect()
}

fn fingerprint(dataset: &Dataset, number: usize, keys: &[String]) -> Result<Fingerprint> {
    let episode = dataset.episode(number)?;
    let batch = dataset.rows(number, None)?;
    let mut parts = Vec::new();
    let mut rows = vec![DefaultHasher::new(); episode.length];
    for key in keys {
        let Some(spec) = dataset.info().features.get(key) else { continue };
        let mut bytes = Vec::new();
        if spec.dtype == embody_core::DType::Video {
            // Episodes that can't be cut out still have an address: where they lie in their file.
            match dataset.episode_samples(number, key) {
                Ok((video, samples)) => {
                    bytes.extend(video.track().config.sample_entry.iter());
                    samples.for_each(|i| bytes.extend(video.sample(i).unwrap_or_default()));
                }
                Err(e) => bytes.extend(e.to_string().bytes()),
            }
        } else if let Some(column) = batch.column_by_name(key) {
            for (row, hasher) in rows.iter_mut().enumerate() {
                let start = bytes.len();
                value_bytes(column, spec, row, &mut bytes);
                bytes[start..].hash(hasher);
            }
        }
        parts.push((key.clone(), hash_bytes(&bytes)));
    }
    Ok(Fingerprint {
        parts,
        rows: rows.into_iter().map(|h| h.finish()).collect(),
        tasks: episode.tasks.clone(),
        outcome: episode.outcome.clone(),
    })
}

/// One row's value of a column.
fn value_bytes(column: &ArrayRef, spec: &embody_core::FeatureSpec, row: usize, out: &mut Vec<u8>) {
    let cell = column.slice(row, 1);
    match array_of(&cell, spec).map(|a| a.data) {
        Ok(ArrayData::U8(v)) => out.extend(v),
        Ok(ArrayData::F32(v)) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Ok(ArrayData::F64(v)) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Ok(ArrayData::I64(v)) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Ok(ArrayData::Bool(v)) => out.extend(v.iter().map(|&b| u8::from(b))),
        // Text, lists of text, pictures.
        Err(_) => match strings_of(&cell) {
            Some(texts) => texts.iter().flatten().for_each(|t| out.extend(t.bytes())),
            None => out.extend(format!("{cell:?}").bytes()),
        },
    }
}

fn compare(a: &[Fingerprint], b: &[Fingerprint]) -> EpisodesDiff {
    let mut out = EpisodesDiff::default();
    let mut free: Vec<bool> = vec![true; b.len()];
    let mut by_content: HashMap<&[(String, ContentHash)], Vec<usize>> = HashMap::new();
    for (i, print) in b.iter().enumerate().rev() {
        by_content.entry(&print.parts).or_default().push(i);
    }
    let mut rest = Vec::new();
    for (i, old) in a.iter().enumerate() {
        let Some(j) = by_content.get_mut(old.parts.as_slice()).and_then(Vec::pop) else {
            rest.push(i);
            continue;
        };
        free[j] = false;
        let what = described(old, &b[j]);
        if what.is_empty() {
            out.same += 1;
            if i != j {
                out.moved.push((i, j));
            }
        } else {
            out.changed.push(ChangedEpisode { a: i, b: j, what });
        }
    }
    for i in rest {
        let found = (0..b.len()).filter(|&j| free[j]).find_map(|j| {
            let what = partly(&a[i], &b[j])?;
            Some((j, what))
        });
        match found {
            Some((j, what)) => {
                free[j] = false;
                out.changed.push(ChangedEpisode { a: i, b: j, what });
            }
            None => out.removed.push(i),
        }
    }
    out.added = (0..b.len()).filter(|&j| free[j]).collect();
    out.changed.sort_by_key(|c| c.a);
    out
}

/// What differs besides content.
fn described(a: &Fingerprint, b: &Fingerprint) -> Vec<String> {
    let mut out = Vec::new();
    if a.tasks != b.tasks {
        out.push(format!("instructions {:?} -> {:?}", a.tasks, b.tasks));
    }
    if a.outcome != b.outcome {
        out.push("outcome".to_owned());
    }
    out
}

/// What differs between episodes of which something is the same; `None` where nothing is.
fn partly(a: &Fingerprint, b: &Fingerprint) -> Option<Vec<String>> {
    let mut what = if a.rows.len() == b.rows.len() {
        let pairs = || a.parts.iter().zip(&b.parts);
        let equal = pairs().filter(|(x, y)| x == y).count();
        if equal * 2 < a.parts.len().max(1) {
            return None;
        }
        pairs().filter(|(x, y)| x != y).map(|(x, _)| x.0.clone()).collect()
    } else {
        let (short, long) = if a.rows.len() < b.rows.len() { (a, b) } else { (b, a) };
        if short.rows.len() < 2 {
            return None;
        }
        let at = long.rows.windows(short.rows.len()).position(|w| w == short.rows)?;
        let range = format!("{at} to {} of {}", at + short.rows.len(), long.rows.len());
        if std::ptr::eq(short, b) {
            vec![format!("only frames {range} are left")]
        } else {
            vec![format!("was only frames {range}")]
        }
    };
    what.extend(described(a, b));
    Some(what)
}
