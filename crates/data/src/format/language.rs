//! Language columns as LeRobot 0.6 has them (`lerobot/datasets/language.py`): a list of entries per
//! frame. `language_events` holds what is said at the frame; `language_persistent` holds, in every row
//! alike, what begins to apply at a time of the episode and applies until the next of its style.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array as _, ArrayRef, Float32Array, ListArray, StructArray};
use arrow_schema::{DataType, Field, Fields};
use serde_json::json;

/// The column whose entries say since when they apply.
pub(crate) const PERSISTENT: &str = "language_persistent";

fn item(inner: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", inner, true))
}

/// Arrow type of a language column.
pub(super) fn language_type(persistent: bool) -> DataType {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let mut fields = vec![text("role"), text("content"), text("style")];
    if persistent {
        fields.push(Field::new("timestamp", DataType::Float32, true));
    }
    fields.push(text("camera"));
    // Each call is JSON text.
    fields.push(Field::new("tool_calls", DataType::List(item(DataType::Utf8)), true));
    DataType::List(item(DataType::Struct(Fields::from(fields))))
}

/// The same for Hugging Face `datasets`.
pub(super) fn language_feature(persistent: bool) -> serde_json::Value {
    let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
    let mut entry = serde_json::Map::new();
    for name in ["role", "content", "style"] {
        entry.insert(name.to_owned(), value("string"));
    }
    if persistent {
        entry.insert("timestamp".to_owned(), value("float32"));
    }
    entry.insert("camera".to_owned(), value("string"));
    let calls = json!({"feature": {"_type": "Json"}, "_type": "List"});
    entry.insert("tool_calls".to_owned(), calls);
    json!({"feature": entry, "_type": "List"})
}

/// The entries of a persistent column after `seconds` were cut off the episode's start: what applied
/// already then applies from the start.
///
/// # Errors
/// When the column is none of that kind.
pub(crate) fn moved(column: &ArrayRef, seconds: f64) -> Result<ArrayRef, String> {
    let none = || format!("is of type {}, no persistent language", column.data_type());
    let lists = column.as_list_opt::<i32>().ok_or_else(none)?;
    let entries = lists.values().as_struct_opt().ok_or_else(none)?;
    let at = entries.fields().iter().position(|f| f.name() == "timestamp").ok_or_else(none)?;
    let times = entries.column(at).as_primitive_opt::<Float32Type>().ok_or_else(none)?;
    let times: Float32Array =
        times.iter().map(|t| t.map(|t| (f64::from(t) - seconds).max(0.0) as f32)).collect();
    let mut columns = entries.columns().to_vec();
    columns[at] = Arc::new(times);
    let entries = StructArray::try_new(entries.fields().clone(), columns, entries.nulls().cloned());
    let entries = entries.map_err(|e| e.to_string())?;
    let DataType::List(field) = lists.data_type() else { return Err(none()) };
    let nulls = lists.nulls().cloned();
    ListArray::try_new(Arc::clone(field), lists.offsets().clone(), Arc::new(entries), nulls)
        .map(|a| Arc::new(a) as ArrayRef)
        .map_err(|e| e.to_string())
}
