//! Array formats: Zarr, RLDS, HDF5. Recordings are opened as an import does and read by rows.

use std::path::Path;

use super::{put, text_and_rest};
use crate::import::fuzz::{ArrayFormat, read_all, read_example};

/// Description of an array in JSON, a zero byte, its first chunk; beside them a group and the ends
/// of two episodes.
pub(super) fn zarr_array(bytes: &[u8], scratch: &Path) {
    let (meta, chunk) = text_and_rest(bytes);
    let root = scratch.join("store.zarr");
    if !root.join(".zgroup").is_file() {
        put(&root.join(".zgroup"), br#"{"zarr_format":2}"#);
        let ends = br#"{"zarr_format":2,"shape":[2],"chunks":[2],"dtype":"<i8","compressor":null,
            "fill_value":null,"order":"C","filters":null}"#;
        put(&root.join("meta/episode_ends/.zarray"), ends);
        let numbers = [2i64, 4].map(i64::to_le_bytes).concat();
        put(&root.join("meta/episode_ends/0"), &numbers);
    }
    let array = root.join("data/a");
    // Version 2 where it says so, else 3.
    let here = match meta.contains("zarr_format\":2") || meta.contains("zarr_format\": 2") {
        true => ".zarray",
        false => "zarr.json",
    };
    std::fs::remove_dir_all(&array).ok();
    put(&array.join(here), meta.as_bytes());
    let described: serde_json::Value = serde_json::from_str(&meta).unwrap_or_default();
    let dims = described["shape"].as_array().map_or(1, Vec::len).clamp(1, 8);
    for separator in [".", "/"] {
        let key = vec!["0"; dims].join(separator);
        let key = if here == ".zarray" { key } else { format!("c{separator}{key}") };
        put(&array.join(key), chunk);
    }
    read_all(ArrayFormat::Zarr, &root);
}

/// A store in a zip file.
pub(super) fn zarr_zip(bytes: &[u8], scratch: &Path) {
    let path = put(&scratch.join("store.zarr.zip"), bytes);
    read_all(ArrayFormat::Zarr, &path);
}

/// A record of RLDS.
pub(super) fn rlds_example(bytes: &[u8], _: &Path) {
    read_example(bytes);
}

/// `features.json`, a zero byte, one record.
pub(super) fn rlds_features(bytes: &[u8], scratch: &Path) {
    let (features, record) = text_and_rest(bytes);
    let root = scratch.join("rlds");
    put(&root.join("features.json"), features.as_bytes());
    put(&root.join("set-train.tfrecord-00000-of-00001"), &record_file(record));
    read_all(ArrayFormat::Rlds, &root);
}

/// A file of records beside a fixed `features.json`.
pub(super) fn tfrecord(bytes: &[u8], scratch: &Path) {
    let root = scratch.join("tfrecord");
    if !root.join("features.json").is_file() {
        put(&root.join("features.json"), super::seeds::FEATURES.as_bytes());
    }
    put(&root.join("set-train.tfrecord-00000-of-00001"), bytes);
    read_all(ArrayFormat::Rlds, &root);
}

/// One record framed as TFRecord has it; checksums are left at zero, fuzzing does not ask for them.
pub(super) fn record_file(record: &[u8]) -> Vec<u8> {
    let mut out = (record.len() as u64).to_le_bytes().to_vec();
    out.extend([0; 4]);
    out.extend(record);
    out.extend([0; 4]);
    out
}

/// An HDF5 file.
pub(super) fn hdf5(bytes: &[u8], scratch: &Path) {
    let path = put(&scratch.join("input.hdf5"), bytes);
    read_all(ArrayFormat::Hdf5, &path);
}
