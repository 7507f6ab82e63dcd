//! The episode table: `meta/episodes/chunk-000/file-000.parquet`.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, ListBuilder, StringBuilder, UInt64Builder,
};
use arrow_array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Schema};
use embody_core::{IoContext, Result, SimulationRecord};

use super::{DatasetWriter, EpisodeRow};
use crate::error::write_table;
use crate::format::{entries, inner_shape, parquet_writer};

impl DatasetWriter {
    /// Writes the episode table.
    pub(super) fn write_episodes(&self) -> Result<()> {
        let rows = &self.rows;
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        let int = |pick: &dyn Fn(usize, &EpisodeRow) -> usize| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                rows.iter().enumerate().map(|(i, r)| pick(i, r) as i64),
            ))
        };
        columns.push(("episode_index".into(), int(&|i, _| i)));
        columns.push(("tasks".into(), task_lists(rows)));
        columns.push(("length".into(), int(&|_, r| r.length)));
        columns.push(("data/chunk_index".into(), int(&|_, r| r.data.0)));
        columns.push(("data/file_index".into(), int(&|_, r| r.data.1)));
        columns.push(("dataset_from_index".into(), int(&|_, r| r.from)));
        columns.push(("dataset_to_index".into(), int(&|_, r| r.from + r.length)));
        for key in self.videos.keys() {
            let float = |pick: &dyn Fn(&super::VideoRow) -> f64| -> ArrayRef {
                Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.videos.get(key).map(pick))))
            };
            let place = |pick: &dyn Fn(&super::VideoRow) -> usize| -> ArrayRef {
                Arc::new(Int64Array::from_iter(
                    rows.iter().map(|r| r.videos.get(key).map(|v| pick(v) as i64)),
                ))
            };
            columns.push((format!("videos/{key}/chunk_index"), place(&|v| v.file.0)));
            columns.push((format!("videos/{key}/file_index"), place(&|v| v.file.1)));
            columns.push((format!("videos/{key}/from_timestamp"), float(&|v| v.from_timestamp)));
            columns.push((format!("videos/{key}/to_timestamp"), float(&|v| v.to_timestamp)));
        }
        self.stats_columns(&mut columns);
        columns.push(("meta/episodes/chunk_index".into(), int(&|_, _| 0)));
        columns.push(("meta/episodes/file_index".into(), int(&|_, _| 0)));
        outcome_columns(rows, &mut columns);
        annotation_columns(rows, &mut columns);
        let path = self.root.join("meta/episodes/chunk-000/file-000.parquet");
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).at("create folder", parent)?;
        }
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let fail = |e: &(dyn std::error::Error + 'static)| write_table(&path, e);
        let arrays = columns.into_iter().map(|c| c.1).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|e| fail(&e))?;
        let mut writer = parquet_writer(&path, schema)?;
        writer.write(&batch).map_err(|e| fail(&e))?;
        writer.close().map_err(|e| fail(&e))?;
        Ok(())
    }

    fn stats_columns(&self, columns: &mut Vec<(String, ArrayRef)>) {
        for (key, spec) in &self.info.features {
            if !self.rows.iter().any(|r| r.stats.contains_key(key)) {
                continue;
            }
            let inner = inner_shape(spec);
            let stats: Vec<_> =
                self.rows.iter().map(|r| r.stats.get(key).cloned().unwrap_or_default()).collect();
            let names = entries(&stats[0]).map(|e| e.0);
            for (i, name) in names.into_iter().enumerate() {
                let values: Vec<&[f64]> =
                    stats.iter().map(|s| entries(s)[i].1.as_slice()).collect();
                if values.iter().all(|v| v.is_empty()) {
                    continue;
                }
                columns.push((format!("stats/{key}/{name}"), lists(&values, &inner)));
            }
            let mut count = ListBuilder::new(arrow_array::builder::Int64Builder::new());
            for s in &stats {
                count.values().append_value(s.count as i64);
                count.append(true);
            }
            columns.push((format!("stats/{key}/count"), Arc::new(count.finish())));
        }
    }
}

fn task_lists(rows: &[EpisodeRow]) -> ArrayRef {
    let mut tasks = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.tasks.iter().for_each(|t| tasks.values().append_value(t));
        tasks.append(true);
    }
    Arc::new(tasks.finish())
}

/// Lists of numbers, nested like a statistic whose axes after the first are `inner`.
fn lists(values: &[&[f64]], inner: &[usize]) -> ArrayRef {
    let step: usize = inner.iter().product();
    let (inner, step) = match values.iter().all(|v| step > 0 && v.len().is_multiple_of(step)) {
        true => (inner, step),
        false => (&[][..], 1),
    };
    let flat: Vec<f64> = values.iter().flat_map(|v| v.iter().copied()).collect();
    let mut column: ArrayRef = Arc::new(Float64Array::from(flat));
    for &extent in inner.iter().rev() {
        let offsets = OffsetBuffer::from_repeated_length(extent, column.len() / extent);
        column = wrap(column, offsets);
    }
    wrap(column, OffsetBuffer::from_lengths(values.iter().map(|v| v.len() / step)))
}

fn wrap(column: ArrayRef, offsets: OffsetBuffer<i32>) -> ArrayRef {
    let field = Arc::new(Field::new("item", column.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, column, None))
}

/// What LeRobot does not know: success, seed, reward. It ignores columns of other names.
fn outcome_columns(rows: &[EpisodeRow], columns: &mut Vec<(String, ArrayRef)>) {
    if rows.iter().any(|r| r.outcome.success.is_some()) {
        let mut success = BooleanBuilder::new();
        rows.iter().for_each(|r| success.append_option(r.outcome.success));
        columns.push(("embody/success".into(), Arc::new(success.finish())));
    }
    if rows.iter().any(|r| r.outcome.seed.is_some()) {
        let mut seed = UInt64Builder::new();
        rows.iter().for_each(|r| seed.append_option(r.outcome.seed));
        columns.push(("embody/seed".into(), Arc::new(seed.finish())));
    }
    if rows.iter().any(|r| r.outcome.total_reward.is_some()) {
        let mut reward = Float64Builder::new();
        rows.iter().for_each(|r| reward.append_option(r.outcome.total_reward));
        columns.push(("embody/total_reward".into(), Arc::new(reward.finish())));
    }
    if rows.iter().any(|r| r.outcome.simulation.is_some()) {
        simulation_columns(rows, columns);
    }
    debug_assert!(columns.iter().all(|(_, c)| *c.data_type() != DataType::Null));
}

/// How simulated episodes began. Numbers that must come back to the bit stand in lists of doubles,
/// the rest is JSON.
fn simulation_columns(rows: &[EpisodeRow], columns: &mut Vec<(String, ArrayRef)>) {
    let texts = rows.iter().map(|r| {
        let mut record = r.outcome.simulation.clone()?;
        (record.qpos, record.qvel, record.ctrl) = Default::default();
        serde_json::to_string(&record).ok()
    });
    columns.push(("embody/simulation".into(), Arc::new(StringArray::from_iter(texts))));
    let mut list = |name: &str, pick: fn(&SimulationRecord) -> &Vec<f64>| {
        let mut values = ListBuilder::new(Float64Builder::new());
        for row in rows {
            let record = row.outcome.simulation.as_ref();
            values.values().append_slice(record.map_or(&[], |s| pick(s)));
            values.append(record.is_some());
        }
        columns.push((name.into(), Arc::new(values.finish())));
    };
    list("embody/initial_qpos", |s| &s.qpos);
    list("embody/initial_qvel", |s| &s.qvel);
    list("embody/initial_ctrl", |s| &s.ctrl);
}

/// What was said of episodes afterwards; segments as JSON.
fn annotation_columns(rows: &[EpisodeRow], columns: &mut Vec<(String, ArrayRef)>) {
    let mut number = |name: &str, pick: fn(&EpisodeRow) -> Option<f64>| {
        if rows.iter().any(|r| pick(r).is_some()) {
            columns.push((name.into(), Arc::new(Float64Array::from_iter(rows.iter().map(pick)))));
        }
    };
    number("embody/score", |r| r.annotations.score);
    number("embody/weight", |r| r.annotations.weight);
    if rows.iter().any(|r| !r.annotations.segments.is_empty()) {
        let texts = rows.iter().map(|r| {
            let segments = &r.annotations.segments;
            (!segments.is_empty()).then(|| serde_json::to_string(segments).unwrap_or_default())
        });
        columns.push(("embody/segments".into(), Arc::new(StringArray::from_iter(texts))));
    }
}
