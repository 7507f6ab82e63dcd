//! One flat table, a row per frame: episode and frame, time, instruction, every feature; pictures as
//! PNG bytes, without loss. For notebooks, DuckDB, pandas, polars.
//!
//! A block of frames is in memory at a time; a row group is a few of them.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema, SchemaRef};
use embody_core::{Result, Task};
use rayon::prelude::*;
use serde_json::json;

use super::rows::{Rows, aside, put};
use crate::error::{DataError, write_table};
use crate::format::{cast_column, key_type, parquet_writer};
use crate::picture::encode_png;

/// Frames in memory at a time.
const FRAMES: usize = 128;

/// Bytes after which a row group ends.
const GROUP_BYTES: usize = 64 << 20;

pub(super) fn write(rows: &Rows<'_>, target: &Path, task: Task<'_>) -> Result<()> {
    let temporary = aside(target)?;
    let schema = schema(rows);
    let mut writer = parquet_writer(temporary.path(), Arc::clone(&schema))?;
    let fail = |e: &(dyn std::error::Error + 'static)| write_table(target, e);
    for (number, &episode) in rows.episodes.iter().enumerate() {
        let length = rows.dataset.episodes()[episode].length;
        for from in (0..length).step_by(FRAMES) {
            task.cancel.check()?;
            let block = from..(from + FRAMES).min(length);
            let columns = columns(rows, &schema, number, episode, block)?;
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| fail(&e))?;
            writer.write(&batch).map_err(|e| fail(&e))?;
            if writer.in_progress_size() > GROUP_BYTES {
                writer.flush().map_err(|e| fail(&e))?;
            }
        }
        task.advance("export", number as u64 + 1, "")?;
    }
    writer.close().map_err(|e| fail(&e))?;
    put(temporary, target)
}

fn schema(rows: &Rows<'_>) -> SchemaRef {
    use arrow_schema::DataType::{Binary, Float32, Int64, Utf8};
    let mut fields = vec![
        Field::new("episode_index", Int64, false),
        Field::new("frame_index", Int64, false),
        Field::new("timestamp", Float32, true),
        Field::new("task", Utf8, false),
    ];
    for (key, spec) in &rows.features {
        let kind = if spec.dtype.is_visual() { Binary } else { key_type(key, spec) };
        fields.push(Field::new(key, kind, true));
    }
    let info = rows.dataset.info();
    let about = json!({"fps": info.fps, "robot_type": info.robot_type, "features": rows.features});
    Arc::new(Schema::new(fields).with_metadata([("embody".to_owned(), about.to_string())]))
}

fn columns(
    rows: &Rows<'_>,
    schema: &Schema,
    number: usize,
    episode: usize,
    block: std::ops::Range<usize>,
) -> Result<Vec<ArrayRef>> {
    let (from, count) = (block.start, block.len());
    let batch = rows.dataset.rows(episode, None)?.slice(from, count);
    let missing = |key: &str| DataError::Inconsistent {
        path: rows.dataset.episodes()[episode].rows.file.clone(),
        why: format!("episode {episode}: column {key:?} is missing"),
        hint: "the table contradicts meta/info.json: run embody data validate",
    };
    let column = |key: &str| -> Result<ArrayRef> {
        let found = batch.column_by_name(key).ok_or_else(|| missing(key))?;
        let kind = schema.field_with_name(key).map_or(found.data_type(), |f| f.data_type());
        let bad = |why| DataError::Inconsistent {
            path: rows.dataset.episodes()[episode].rows.file.clone(),
            why: format!("episode {episode}: column {key:?}: {why}"),
            hint: "the table contradicts meta/info.json: run embody data validate",
        };
        Ok(cast_column(found, kind).map_err(bad)?)
    };
    let tasks = rows.tasks(episode)?;
    let mut out: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_value(number as i64, count)),
        Arc::new(Int64Array::from_iter_values(block.clone().map(|f| f as i64))),
        column("timestamp")?,
        Arc::new(StringArray::from_iter_values(&tasks[block.clone()])),
    ];
    for (key, spec) in &rows.features {
        let [height, width, 3] = spec.shape[..] else {
            out.push(column(key)?);
            continue;
        };
        if !spec.dtype.is_visual() {
            out.push(column(key)?);
            continue;
        }
        if spec.dtype == embody_core::DType::Image {
            // As they lie in the table.
            let files = rows.dataset.encoded_pictures(episode, key, block.clone())?;
            out.push(Arc::new(BinaryArray::from_iter_values(&files)));
            continue;
        }
        let rgb = rows.pictures(episode, key, block.clone())?;
        let pictures: std::result::Result<Vec<Vec<u8>>, String> = rgb
            .par_chunks_exact(height * width * 3)
            .map(|p| encode_png(p, height, width))
            .collect();
        let pictures = pictures.map_err(|why| DataError::Encode { why })?;
        out.push(Arc::new(BinaryArray::from_iter_values(&pictures)));
    }
    Ok(out)
}
