//! The files of a LeRobot dataset: JSON descriptions, Parquet tables, path templates.

mod info;
mod language;
mod stats_file;
mod table;
mod tasks;
#[cfg(test)]
mod tests;

pub use info::{FormatVersion, Info};
pub(crate) use info::{RESERVED, Value, fill};
pub(crate) use language::{PERSISTENT, moved};
pub(crate) use stats_file::{entries, inner_shape, parse_stats, stats_to_json};
pub(crate) use table::{
    TableFile, array_of, cast_column, column_type, data_schema, fixed_list, key_type,
    parquet_writer, strings_of, texts_of,
};
pub(crate) use tasks::{read_tasks, read_tasks_jsonl, write_tasks};

use std::path::Path;

use embody_core::{IoContext, Result};

use crate::error::DataError;

/// Reads a JSON file into `T`; errors name the file, line and column.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).at("read", path)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| DataError::Json { path: path.to_owned(), why: e.to_string() }.into())
}

/// Reads a file of one JSON value per line; errors name the file and the line.
pub(crate) fn read_jsonl<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            serde_json::from_str(line).map_err(|e| {
                let why = format!("line {}: {e}", i + 1);
                DataError::Json { path: path.to_owned(), why }.into()
            })
        })
        .collect()
}
