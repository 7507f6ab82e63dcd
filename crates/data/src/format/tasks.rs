//! `meta/tasks.parquet`: a pandas frame whose index is the instruction.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use embody_core::Result;
use serde_json::json;

use super::{TableFile, parquet_writer, read_jsonl, strings_of};
use crate::error::{DataError, write_table};

/// Instructions by task index.
pub(crate) fn read_tasks(path: &Path) -> Result<Vec<String>> {
    let table = TableFile::open(path)?;
    let batch = table.read(0, table.rows(), None)?;
    let bad = |why: &str| DataError::Inconsistent {
        path: path.to_owned(),
        why: why.to_owned(),
        hint: "it needs a text index `task` and an integer column `task_index`",
    };
    let index = batch.column_by_name("task_index").ok_or_else(|| bad("no column task_index"))?;
    if index.data_type() != &DataType::Int64 {
        return Err(bad("column task_index is not int64").into());
    }
    let index = index.as_primitive::<arrow_array::types::Int64Type>();
    let text = batch
        .column_by_name("task")
        .or_else(|| batch.column_by_name("__index_level_0__"))
        .and_then(strings_of)
        .ok_or_else(|| bad("no text column task"))?;
    let pairs = index.values().iter().copied().zip(text.into_iter().flatten());
    ordered(pairs.collect()).map_err(|why| bad(&why).into())
}

/// Instructions by task index, from v2's `tasks.jsonl`.
pub(crate) fn read_tasks_jsonl(path: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Row {
        task_index: i64,
        task: String,
    }
    let rows: Vec<Row> = read_jsonl(path)?;
    ordered(rows.into_iter().map(|r| (r.task_index, r.task)).collect()).map_err(|why| {
        let hint = "task indices must be 0, 1, 2, …";
        DataError::Inconsistent { path: path.to_owned(), why, hint }.into()
    })
}

fn ordered(mut pairs: Vec<(i64, String)>) -> std::result::Result<Vec<String>, String> {
    pairs.sort();
    for (i, (index, _)) in pairs.iter().enumerate() {
        if *index != i as i64 {
            return Err(format!("task indices are not 0..{}: found {index}", pairs.len()));
        }
    }
    Ok(pairs.into_iter().map(|p| p.1).collect())
}

/// Writes instructions in order of their index, with the pandas description without which LeRobot
/// would take row numbers for instructions.
pub(crate) fn write_tasks(path: &Path, tasks: &[String]) -> Result<()> {
    let column = |name: &str, pandas: &str, numpy: &str| {
        json!({"name": name, "field_name": name, "pandas_type": pandas,
               "numpy_type": numpy, "metadata": null})
    };
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "attributes": {},
        "creator": {"library": "embody", "version": env!("CARGO_PKG_VERSION")},
        "pandas_version": "2.2.0",
    });
    let schema = Arc::new(
        Schema::new(vec![
            Field::new("task_index", DataType::Int64, true),
            Field::new("task", DataType::Utf8, true),
        ])
        .with_metadata(std::collections::HashMap::from([(
            "pandas".to_owned(),
            pandas.to_string(),
        )])),
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..tasks.len() as i64)),
        Arc::new(StringArray::from_iter_values(tasks)),
    ];
    let fail = |e: &(dyn std::error::Error + 'static)| write_table(path, e);
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| fail(&e))?;
    let mut writer = parquet_writer(path, schema)?;
    writer.write(&batch).map_err(|e| fail(&e))?;
    writer.close().map_err(|e| fail(&e))?;
    Ok(())
}
