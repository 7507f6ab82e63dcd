//! Merge: one dataset out of several that describe the same thing.

use std::path::{Path, PathBuf};

use embody_core::{FeatureSpec, IoContext, Result, Task};
use indexmap::IndexMap;
use serde_json::json;

use super::{Edit, EditReport, Take, request};
use crate::dataset::Dataset;
use crate::format::Info;
use crate::import::{MAPPING_FILE, v3_info};

/// Appends datasets to each other. Instructions of the same text become one task; episodes of splits
/// of the same name stand together, so that a held-out episode stays held out.
///
/// # Errors
/// When the datasets differ in frame rate, robot or features (all differences are listed), or as
/// [`super::delete`]; nothing is left behind.
pub fn merge(sources: &[PathBuf], target: &Path, task: Task<'_>) -> Result<EditReport> {
    if sources.len() < 2 {
        return Err(request("a merge needs at least two datasets".to_owned(), "name another one"));
    }
    let datasets: Vec<Dataset> =
        sources.iter().map(|path| Dataset::open(path)).collect::<Result<_>>()?;
    let mut info = v3_info(datasets[0].info());
    let mut differences = Vec::new();
    for other in &datasets[1..] {
        let found = compare(datasets[0].info(), other.info());
        differences.extend(found.into_iter().map(|d| format!("{}: {d}", other.root().display())));
        agree(&mut info, other.info());
    }
    if !differences.is_empty() {
        return Err(request(
            format!(
                "the datasets differ from {} and can't be merged: {}",
                sources[0].display(),
                differences.join("; ")
            ),
            "make the features the same first, or train on the datasets side by side",
        ));
    }
    same_streams(&datasets)?;
    let (takes, splits) = by_split(&datasets);
    let episodes: Vec<usize> = datasets.iter().map(|d| d.episodes().len()).collect();
    let edit = Edit {
        sources: &datasets,
        info,
        takes,
        splits,
        rename: None,
        operation: "merge",
        parameters: json!({"episodes": episodes}),
    };
    edit.into_dataset(target, task)
}

/// Kept streams have to be sampled by one mapping, or no dataset may have any.
fn same_streams(datasets: &[Dataset]) -> Result<()> {
    let mapping = |dataset: &Dataset| -> Result<Option<String>> {
        let path = dataset.root().join(MAPPING_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        std::fs::read_to_string(&path).at("read", &path).map(Some)
    };
    let first = mapping(&datasets[0])?;
    for other in &datasets[1..] {
        let theirs = mapping(other)?;
        if theirs != first {
            let what = match (&first, &theirs) {
                (Some(_), Some(_)) => "keep streams by different mappings",
                _ => "do not both keep streams",
            };
            let (a, b) = (datasets[0].root().display(), other.root().display());
            return Err(request(
                format!("{a} and {b} {what}, and can't be merged"),
                "sample the one with streams again: embody data resample DATASET TARGET, with --map \
                 for the other's mapping or with --drop-streams",
            ));
        }
    }
    Ok(())
}

/// Everything in which `b` differs from `a` such that their frames can't stand in one table.
fn compare(a: &Info, b: &Info) -> Vec<String> {
    let mut out = Vec::new();
    if a.fps != b.fps {
        out.push(format!("{} frames per second against {}", b.fps, a.fps));
    }
    if a.robot_type != b.robot_type {
        let name = |i: &Info| i.robot_type.clone().unwrap_or_else(|| "none".to_owned());
        out.push(format!("robot {} against {}", name(b), name(a)));
    }
    for (key, spec) in &a.features {
        match b.features.get(key) {
            None => out.push(format!("feature {key:?} is missing")),
            Some(other) => out.extend(compare_features(key, spec, other)),
        }
    }
    for key in b.features.keys().filter(|k| !a.features.contains_key(*k)) {
        out.push(format!("feature {key:?} is only there"));
    }
    out
}

fn compare_features(key: &str, a: &FeatureSpec, b: &FeatureSpec) -> Vec<String> {
    let mut out = Vec::new();
    if a.dtype != b.dtype {
        out.push(format!("{key:?} is {:?} against {:?}", b.dtype, a.dtype));
    }
    if a.shape != b.shape {
        out.push(format!("{key:?} has shape {:?} against {:?}", b.shape, a.shape));
    }
    if a.names != b.names && a.dim_names() != b.dim_names() {
        out.push(format!("{key:?} has dimensions {:?} against {:?}", b.dim_names(), a.dim_names()));
    }
    let label = |f: &FeatureSpec| f.info.as_ref().and_then(|i| i.codec.clone());
    if let (Some(x), Some(y)) = (label(a), label(b))
        && !crate::video::same_codec(&x, &y)
    {
        out.push(format!("{key:?} is encoded as {y} against {x}"));
    }
    out
}

/// Leaves out of `info` what is not true of both, such as encoder settings.
fn agree(info: &mut Info, other: &Info) {
    for (key, spec) in &mut info.features {
        let theirs = other.features.get(key).and_then(|f| f.info.as_ref());
        if let (Some(ours), Some(theirs)) = (&mut spec.info, theirs) {
            ours.extra.retain(|k, v| theirs.extra.get(k) == Some(v));
        }
    }
    info.extra.retain(|k, v| other.extra.get(k) == Some(v));
}

/// All episodes, those of equally named splits together; episodes of no split come last.
fn by_split(datasets: &[Dataset]) -> (Vec<Take>, IndexMap<String, String>) {
    let mut groups: IndexMap<Option<&str>, Vec<Take>> = IndexMap::new();
    for dataset in datasets {
        for name in dataset.info().splits.keys() {
            groups.entry(Some(name)).or_default();
        }
    }
    groups.insert(None, Vec::new());
    for (source, dataset) in datasets.iter().enumerate() {
        let info = dataset.info();
        for episode in 0..dataset.episodes().len() {
            let holds = |name: &&String| info.split(name).is_some_and(|r| r.contains(&episode));
            // Of overlapping splits the later one is the smaller one that matters (`held_out`).
            let name = info.splits.keys().rev().find(holds).map(String::as_str);
            groups.entry(name).or_default().push(Take::whole(dataset, source, episode));
        }
    }
    let mut takes = Vec::new();
    let mut splits = IndexMap::new();
    for (name, group) in groups {
        let start = takes.len();
        takes.extend(group);
        if let Some(name) = name.filter(|_| takes.len() > start) {
            splits.insert(name.to_owned(), format!("{start}:{}", takes.len()));
        }
    }
    (takes, splits)
}
