//! Import, processing and lineage; and helpers that damage tables.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{
    Array as _, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch,
};
use embody_core::hash_tree;
use embody_data::{Dataset, ImportOptions, ProcessOptions, import, process};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::common::{record, with_task};

/// Rewrites a Parquet file as one changed batch.
pub fn rewrite_batch(path: &Path, change: impl FnOnce(&RecordBatch) -> RecordBatch) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    let batch = change(&arrow_select::concat::concat_batches(&schema, &batches).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub fn replace(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

pub fn rewrite_column(path: &Path, name: &str, edit: impl FnOnce(&mut Vec<f32>)) {
    rewrite_batch(path, |batch| {
        let list = batch.column_by_name(name).unwrap().as_fixed_size_list();
        let mut values = list.values().as_primitive::<Float32Type>().values().to_vec();
        edit(&mut values);
        let arrow_schema::DataType::FixedSizeList(field, width) = list.data_type() else {
            panic!()
        };
        let values = Arc::new(Float32Array::from(values));
        replace(batch, name, Arc::new(FixedSizeListArray::new(field.clone(), *width, values, None)))
    });
}

pub fn rewrite_f64(path: &Path, name: &str, edit: impl FnOnce(&mut Vec<f64>)) {
    rewrite_batch(path, |batch| {
        let column = batch.column_by_name(name).unwrap();
        let mut values = column.as_primitive::<Float64Type>().values().to_vec();
        edit(&mut values);
        replace(batch, name, Arc::new(Float64Array::from(values)))
    });
}

#[test]
fn a_v3_dataset_imports_to_an_equal_one() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    record(&a, &[20, 33], 2);
    let report = with_task(|t| import(&a, &b, ImportOptions::default(), t).unwrap());
    let skip = |f: &str| f == "meta/embody.json";
    for file in ["meta/info.json", "meta/stats.json"] {
        let read = |root: &Path| std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(read(&a), read(&b));
    }
    assert_eq!(hash_tree(&a, &skip).unwrap(), hash_tree(&b, &skip).unwrap());
    let lineage = Dataset::open(&b).unwrap().lineage().unwrap().unwrap();
    assert_eq!(lineage.parent, Some(report.source_version));
    assert_eq!(lineage.operation, "import");
}

#[test]
fn processing_drops_failures_and_idle_episodes_with_reasons() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    record(&a, &[20, 30, 25, 40, 1, 35, 22], 2);
    // Episode 3 stands still.
    rewrite_column(&a.join("data/chunk-000/file-000.parquet"), "action", |values| {
        let (from, to) = (75, 115);
        for row in from..to {
            values.copy_within(from * 3..from * 3 + 3, row * 3);
        }
    });
    let options = ProcessOptions { held_out: 0.34, seed: 3, ..Default::default() };
    let report = with_task(|t| process(&a, &b, &options, t).unwrap());
    let reasons: Vec<(usize, &str)> =
        report.dropped.iter().map(|d| (d.episode, d.reasons[0].as_str())).collect();
    assert_eq!(
        reasons,
        [
            (2, "the task was not achieved"),
            (3, "100 % of frames are idle, more than 90 %"),
            (4, "1 frames, fewer than 2"),
            (5, "the task was not achieved"),
        ]
    );
    assert_eq!(report.splits["train"], "0:2");
    assert_eq!(report.splits["held_out"], "2:3");
    let (before, after) = (Dataset::open(&a).unwrap(), Dataset::open(&b).unwrap());
    for (new, &old) in report.kept.iter().enumerate() {
        let frames: Vec<usize> = (0..after.episodes()[new].length).collect();
        let key = "observation.images.front";
        assert_eq!(
            after.decode_frames(new, key, &frames).unwrap(),
            before.decode_frames(old, key, &frames).unwrap()
        );
        assert_eq!(after.episodes()[new].outcome, before.episodes()[old].outcome);
    }
    let train = after.split_stats("train").unwrap();
    let frames: usize = after.episodes()[..2].iter().map(|e| e.length).sum();
    assert_eq!(train["action"].count, frames as u64);
    assert_eq!(after.stats()["action"].count, report.frames as u64);
    // The same again gives the same version.
    let again = with_task(|t| process(&a, &home.path().join("c"), &options, t).unwrap());
    assert_eq!(again.version, report.version);
}

#[test]
fn idle_ends_are_cut_on_key_frames() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    record(&a, &[60, 50], 2);
    // Episode 0 stands still for its first 20 and last 15 frames.
    rewrite_column(&a.join("data/chunk-000/file-000.parquet"), "action", |values| {
        for row in 0..20 {
            values.copy_within(20 * 3..21 * 3, row * 3);
        }
        for row in 46..60 {
            values.copy_within(45 * 3..46 * 3, row * 3);
        }
    });
    let options =
        ProcessOptions { trim_idle: true, idle_margin: 3, held_out: 0.0, ..Default::default() };
    let report = with_task(|t| process(&a, &b, &options, t).unwrap());
    assert_eq!(report.trimmed.len(), 1);
    // Frame 17 is no key frame (every second one is): the cut is before it.
    assert_eq!((report.trimmed[0].start, report.trimmed[0].end), (16, 11));
    let (before, after) = (Dataset::open(&a).unwrap(), Dataset::open(&b).unwrap());
    assert_eq!(after.episodes()[0].length, 33);
    let key = "observation.images.front";
    assert_eq!(
        after.decode_frames(0, key, &[0, 1, 32]).unwrap(),
        before.decode_frames(0, key, &[16, 17, 48]).unwrap()
    );
    let found = with_task(|t| embody_data::validate(&b, &Default::default(), t).unwrap());
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
}
