//! Files of LeRobot datasets and of recordings: one file at a time is replaced in a whole dataset.

use std::fs;
use std::path::{Path, PathBuf};

use super::{put, quietly, seeds};
use crate::annotate::read_annotations;
use crate::dataset::{Dataset, detect_format};
use crate::lineage::{LINEAGE_FILE, lineage};
use crate::recorder::LeRobotRecorder;
use crate::repair::repair;
use crate::validate::{DecodeCheck, ValidateOptions, validate};
use crate::versions::Versions;

/// Files that describe a dataset, by the first byte of the input.
pub(super) const META: [&str; 4] =
    ["meta/info.json", "meta/stats.json", LINEAGE_FILE, "a kept version"];
/// Tables of a dataset.
pub(super) const TABLES: [&str; 3] = [
    "meta/tasks.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
    "data/chunk-000/file-000.parquet",
];
/// Files of a dataset of version 2.1.
pub(super) const V2: [&str; 5] = [
    "meta/info.json",
    "meta/episodes.jsonl",
    "meta/episodes_stats.jsonl",
    "meta/tasks.jsonl",
    "data/chunk-000/episode_000000.parquet",
];

/// The file that the first byte names, replaced by the rest; gives its bytes back afterwards.
fn replaced(root: &Path, files: &[&str], bytes: &[u8], run: impl FnOnce()) {
    let Some((&which, content)) = bytes.split_first() else { return };
    let path = root.join(files[usize::from(which) % files.len()]);
    let before = fs::read(&path).ok();
    put(&path, content);
    run();
    match before {
        Some(before) => drop(put(&path, &before)),
        None => drop(fs::remove_file(&path)),
    }
}

/// The dataset that is damaged; made where it is not there.
fn dataset(scratch: &Path) -> PathBuf {
    let root = scratch.join("dataset");
    if !root.is_dir() {
        seeds::dataset(&root);
    }
    root
}

/// Opens a dataset and reads everything in it but pixels.
fn read(root: &Path) {
    let _ = detect_format(root);
    let options = ValidateOptions { decode: DecodeCheck::None, ..ValidateOptions::default() };
    let _ = quietly(|task| validate(root, &options, task));
    let _ = lineage(root);
    let Ok(dataset) = Dataset::open_any(root) else { return };
    for episode in 0..dataset.episodes().len().min(4) {
        let _ = dataset.episode_table(episode);
        let _ = dataset.episode_text(episode, "note");
        let keys: Vec<String> = dataset.info().video_keys().map(str::to_owned).collect();
        for key in &keys {
            let _ = dataset.episode_video_mp4(episode, key);
        }
    }
    for split in dataset.info().splits.keys() {
        let _ = (dataset.split(Some(split)), dataset.split_stats(split));
    }
}

/// Descriptions in JSON.
pub(super) fn meta(bytes: &[u8], scratch: &Path) {
    let root = dataset(scratch);
    if bytes.first().is_some_and(|b| usize::from(*b) % META.len() == 3) {
        let manifest = scratch.join(".embody-versions/versions/a.json");
        put(&manifest, &bytes[1..]);
        if let Ok(versions) = Versions::beside(&root) {
            let _ = (versions.list(), versions.find("a"), versions.history(&root));
        }
        return;
    }
    replaced(&root, &META[..3], bytes, || read(&root));
}

/// Parquet tables.
pub(super) fn tables(bytes: &[u8], scratch: &Path) {
    let root = dataset(scratch);
    replaced(&root, &TABLES, bytes, || read(&root));
}

/// A dataset of version 2.1.
pub(super) fn v2(bytes: &[u8], scratch: &Path) {
    let root = scratch.join("dataset-v2");
    if !root.is_dir() {
        seeds::dataset_v2(&root);
    }
    replaced(&root, &V2, bytes, || read(&root));
}

/// A table that lost its end, or any other part, mended.
pub(super) fn repair_table(bytes: &[u8], scratch: &Path) {
    let root = dataset(scratch);
    replaced(&root, &TABLES, bytes, || {
        let _ = quietly(|task| repair(&root, &scratch.join("mended"), true, task));
    });
}

/// The file of a journal that the first byte names, and the recovery of the recording.
pub(super) fn journal(bytes: &[u8], scratch: &Path) {
    let Some((&which, content)) = bytes.split_first() else { return };
    let kept = seeds::journal(&scratch.join("kept"));
    let target = scratch.join("work/recording");
    let folder = scratch.join("work/.recording.journal");
    for stale in [&target, &folder] {
        fs::remove_dir_all(stale).ok();
    }
    for (i, (name, original)) in kept.iter().enumerate() {
        let mine = i == usize::from(which) % kept.len();
        put(&folder.join(name), if mine { content } else { original });
    }
    let _ = LeRobotRecorder::recover(&target, None, 1);
}

/// A table of annotations.
pub(super) fn annotations(bytes: &[u8], scratch: &Path) {
    for name in ["table.csv", "table.jsonl"] {
        let _ = read_annotations(&put(&scratch.join(name), bytes));
    }
}
