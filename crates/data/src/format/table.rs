//! Parquet tables: schema as Hugging Face `datasets` wants it, reading by row range, columns as
//! plain arrays.
//!
//! Image features stay what they are (a struct of bytes and path): edits pass them through.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array as _, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait, RecordBatch,
    RecordBatchReader as _,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use embody_core::{Array, ArrayData, DType, FeatureSpec, IoContext, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::Info;
use super::language::{PERSISTENT, language_feature, language_type};
use crate::error::{DataError, read_table};

/// An open Parquet file: its footer is read once.
#[derive(Clone)]
pub(crate) struct TableFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
}

impl TableFile {
    /// Opens `path` and reads its footer.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open table", path)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|e| read_table(path, e))?;
        Ok(Self { path: path.to_owned(), metadata })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.metadata.metadata().file_metadata().num_rows().max(0) as usize
    }

    /// Columns.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Rows `from..from + count` of the named columns (all where `None`), as one batch.
    pub fn read(&self, from: usize, count: usize, columns: Option<&[&str]>) -> Result<RecordBatch> {
        let fail = |e: &dyn std::fmt::Display| read_table(&self.path, e);
        // Opened anew: a cloned handle would share its position with readers on other threads.
        let file = File::open(&self.path).at("open table", &self.path)?;
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        if let Some(columns) = columns {
            let roots: Vec<usize> = columns
                .iter()
                .map(|name| {
                    self.schema().index_of(name).map_err(|_| DataError::Inconsistent {
                        path: self.path.clone(),
                        why: format!("column {name:?} is missing"),
                        hint: "the dataset is incomplete: record, copy or download it again",
                    })
                })
                .collect::<std::result::Result<_, _>>()?;
            let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
            builder = builder.with_projection(mask);
        }
        let builder = self.skip_groups(builder, from);
        let (builder, from) = builder;
        let reader = builder
            .with_offset(from)
            .with_limit(count)
            .with_batch_size(count.clamp(1, 1 << 16))
            .build()
            .map_err(|e| fail(&e))?;
        let schema = reader.schema();
        let batches: Vec<RecordBatch> =
            reader.collect::<std::result::Result<_, _>>().map_err(|e| fail(&e))?;
        let batch = concat(&schema, &batches).map_err(|e| fail(&e))?;
        if batch.num_rows() != count {
            return Err(DataError::Inconsistent {
                path: self.path.clone(),
                why: format!(
                    "rows {from}..{} are asked for, the file has {}",
                    from + count,
                    self.rows()
                ),
                hint: "the table and meta/episodes disagree: run embody data validate",
            }
            .into());
        }
        Ok(batch)
    }

    /// Leaves out the row groups before row `from`; gives the offset into what remains.
    fn skip_groups(
        &self,
        builder: ParquetRecordBatchReaderBuilder<File>,
        mut from: usize,
    ) -> (ParquetRecordBatchReaderBuilder<File>, usize) {
        let groups = self.metadata.metadata().row_groups();
        let mut first = 0;
        while let Some(group) = groups.get(first) {
            let rows = group.num_rows().max(0) as usize;
            if from < rows {
                break;
            }
            from -= rows;
            first += 1;
        }
        (builder.with_row_groups((first..groups.len()).collect()), from)
    }
}

fn concat(
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> std::result::Result<RecordBatch, arrow_schema::ArrowError> {
    match batches {
        [one] => Ok(one.clone()),
        many => arrow_select::concat::concat_batches(schema, many),
    }
}

/// A column as a plain array `[rows, …]`, or why it can't be one (strings, images, gaps).
pub(crate) fn array_of(
    column: &ArrayRef,
    spec: &FeatureSpec,
) -> std::result::Result<Array, String> {
    let rows = column.len();
    let (values, per_row) = flatten(column)?;
    let want = spec.numel();
    if per_row != want && rows > 0 {
        return Err(format!(
            "rows hold {per_row} values, the feature's shape {:?} has {want}",
            spec.shape
        ));
    }
    if values.null_count() > 0 {
        return Err("has empty (null) values".to_owned());
    }
    macro_rules! collect {
        ($kind:ty, $to:ty, $variant:ident) => {
            ArrayData::$variant(
                values.as_primitive::<$kind>().values().iter().map(|&v| v as $to).collect(),
            )
        };
    }
    let data = match values.data_type() {
        DataType::Float32 => ArrayData::F32(values.as_primitive::<Float32Type>().values().to_vec()),
        DataType::Float64 => ArrayData::F64(values.as_primitive::<Float64Type>().values().to_vec()),
        DataType::Float16 => ArrayData::F32(
            values.as_primitive::<Float16Type>().values().iter().map(|v| v.to_f32()).collect(),
        ),
        DataType::Int64 => ArrayData::I64(values.as_primitive::<Int64Type>().values().to_vec()),
        DataType::Int32 => collect!(Int32Type, i64, I64),
        DataType::Int16 => collect!(Int16Type, i64, I64),
        DataType::Int8 => collect!(Int8Type, i64, I64),
        DataType::UInt32 => collect!(UInt32Type, i64, I64),
        DataType::UInt16 => collect!(UInt16Type, i64, I64),
        DataType::UInt64 => collect!(UInt64Type, i64, I64),
        DataType::UInt8 => ArrayData::U8(values.as_primitive::<UInt8Type>().values().to_vec()),
        DataType::Boolean => ArrayData::Bool(values.as_boolean().values().iter().collect()),
        other => return Err(format!("is of type {other}, not numeric")),
    };
    let mut shape = vec![rows];
    if spec.shape != [1] {
        shape.extend(&spec.shape);
    }
    Ok(Array { shape, data })
}

/// Innermost values of nested lists, and how many there are per row.
fn flatten(column: &ArrayRef) -> std::result::Result<(ArrayRef, usize), String> {
    let rows = column.len();
    let mut values = Arc::clone(column);
    loop {
        if values.null_count() > 0 {
            return Err("has empty (null) values".to_owned());
        }
        values = match values.data_type() {
            DataType::List(_) => even_list(values.as_list::<i32>())?,
            DataType::LargeList(_) => even_list(values.as_list::<i64>())?,
            DataType::FixedSizeList(_, width) => {
                let list = values.as_fixed_size_list();
                let from = list.value_offset_at(0);
                list.values().slice(from, list.len() * *width as usize)
            }
            _ => break,
        };
    }
    let per_row = values.len().checked_div(rows).unwrap_or(0);
    Ok((values, per_row))
}

/// The values of a list column whose rows are all of one length.
fn even_list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
) -> std::result::Result<ArrayRef, String> {
    let offsets = list.offsets();
    let mut widths = offsets.windows(2).map(|w| w[1] - w[0]);
    if widths.next().is_some_and(|first| widths.any(|width| width != first)) {
        return Err("has rows of different lengths".to_owned());
    }
    let (from, to) = (offsets[0].as_usize(), offsets[list.len()].as_usize());
    Ok(list.values().slice(from, to - from))
}

/// A column of one string per row, or why it is none.
pub(crate) fn texts_of(column: &ArrayRef) -> std::result::Result<Vec<String>, String> {
    if column.null_count() > 0 {
        return Err("has empty (null) values".to_owned());
    }
    let rows = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => strings_of(column),
        _ => None,
    };
    let rows = rows.ok_or_else(|| format!("is of type {}, not text", column.data_type()))?;
    Ok(rows.into_iter().flatten().collect())
}

/// A column of strings, or of lists of strings, row by row.
pub(crate) fn strings_of(column: &ArrayRef) -> Option<Vec<Vec<String>>> {
    let texts = |values: &ArrayRef| -> Option<Vec<String>> {
        match values.data_type() {
            DataType::Utf8 => {
                Some(values.as_string::<i32>().iter().map(|s| s.unwrap_or("").to_owned()).collect())
            }
            DataType::LargeUtf8 => {
                Some(values.as_string::<i64>().iter().map(|s| s.unwrap_or("").to_owned()).collect())
            }
            DataType::Utf8View => {
                Some(values.as_string_view().iter().map(|s| s.unwrap_or("").to_owned()).collect())
            }
            _ => None,
        }
    };
    match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().iter().map(|v| texts(&v?)).collect(),
        DataType::LargeList(_) => column.as_list::<i64>().iter().map(|v| texts(&v?)).collect(),
        _ => Some(texts(column)?.into_iter().map(|s| vec![s]).collect()),
    }
}

/// Arrow type of the table feature `key`.
pub(crate) fn key_type(key: &str, spec: &FeatureSpec) -> DataType {
    match spec.dtype {
        DType::Language => language_type(key == PERSISTENT),
        _ => column_type(spec),
    }
}

/// Arrow type of a table feature.
pub(crate) fn column_type(spec: &FeatureSpec) -> DataType {
    let scalar = match spec.dtype {
        DType::Float16 => DataType::Float16,
        DType::Float32 => DataType::Float32,
        DType::Float64 => DataType::Float64,
        DType::Int8 => DataType::Int8,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 => DataType::Int64,
        DType::Uint8 => DataType::UInt8,
        DType::Uint16 => DataType::UInt16,
        DType::Uint32 => DataType::UInt32,
        DType::Uint64 => DataType::UInt64,
        DType::Bool => DataType::Boolean,
        DType::String => DataType::Utf8,
        DType::Image | DType::Video => {
            return DataType::Struct(Fields::from(vec![
                Field::new("bytes", DataType::Binary, true),
                Field::new("path", DataType::Utf8, true),
            ]));
        }
        DType::Language => return language_type(false),
    };
    if spec.shape.is_empty() || spec.shape == [1] {
        return scalar;
    }
    if let [width] = spec.shape[..] {
        return DataType::FixedSizeList(item(scalar), width as i32);
    }
    // Array2D to Array5D are nested plain lists in storage.
    spec.shape.iter().fold(scalar, |inner, _| DataType::List(item(inner)))
}

fn item(inner: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", inner, true))
}

/// Wraps values row by row into lists of a column's type; `shape` as in [`FeatureSpec::shape`].
pub(crate) fn fixed_list(
    values: ArrayRef,
    shape: &[usize],
) -> std::result::Result<ArrayRef, String> {
    if shape.is_empty() || shape == [1] {
        return Ok(values);
    }
    if let [width] = shape {
        let field = item(values.data_type().clone());
        return FixedSizeListArray::try_new(field, *width as i32, values, None)
            .map(|a| Arc::new(a) as ArrayRef)
            .map_err(|e| e.to_string());
    }
    let mut column = values;
    for &extent in shape.iter().rev() {
        if extent == 0 || !column.len().is_multiple_of(extent) {
            return Err(format!("{} values do not divide by {extent}", column.len()));
        }
        let offsets =
            arrow_buffer::OffsetBuffer::from_repeated_length(extent, column.len() / extent);
        let field = item(column.data_type().clone());
        column = arrow_array::ListArray::try_new(field, offsets, column, None)
            .map(|a| Arc::new(a) as ArrayRef)
            .map_err(|e| e.to_string())?;
    }
    Ok(column)
}

/// A column as another type of the same meaning: exact, or an error.
pub(crate) fn cast_column(
    column: &ArrayRef,
    to: &DataType,
) -> std::result::Result<ArrayRef, String> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
    arrow_cast::cast_with_options(column, to, &options).map_err(|e| e.to_string())
}

/// Schema of data files: columns in the order of the features, and the description that Hugging
/// Face `datasets` reads shapes from.
pub(crate) fn data_schema(info: &Info) -> SchemaRef {
    let mut features = serde_json::Map::new();
    let mut fields = Vec::new();
    for (key, spec) in info.table_features() {
        fields.push(Field::new(key, key_type(key, spec), true));
        let dtype = serde_json::to_value(spec.dtype).unwrap_or_default();
        let value = json!({"dtype": dtype, "_type": "Value"});
        let described = match spec.shape[..] {
            _ if spec.dtype == DType::Image => json!({"_type": "Image"}),
            _ if spec.dtype == DType::Language => language_feature(key == PERSISTENT),
            [] | [1] => value,
            [n] => json!({"feature": value, "length": n, "_type": "List"}),
            _ => json!({
                "shape": spec.shape, "dtype": dtype,
                "_type": format!("Array{}D", spec.shape.len())
            }),
        };
        features.insert(key.to_owned(), described);
    }
    let described = json!({"info": {"features": features}}).to_string();
    Arc::new(
        Schema::new(fields).with_metadata(HashMap::from([("huggingface".to_owned(), described)])),
    )
}

/// A writer of snappy-compressed Parquet; call `flush` to end a row group.
pub(crate) fn parquet_writer(
    path: &Path,
    schema: SchemaRef,
) -> Result<ArrowWriter<std::io::BufWriter<File>>> {
    let file = File::create(path).at("create", path)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(1 << 24))
        .build();
    ArrowWriter::try_new(std::io::BufWriter::new(file), schema, Some(properties))
        .map_err(|e| crate::error::write_table(path, &e).into())
}
