//! The table of contents at the end of a recording: a row per chunk, saying where it lies and which
//! times it holds of each component, and the schema of the whole
//! (`rerun.log_msg.v1alpha1.RrdManifest`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{Field, FieldRef, Schema};
use sha2::{Digest, Sha256};

use super::compression;
use super::proto::Message;
use super::write::{Component, Timeline, row_id, stream};

/// First and last time of a chunk, and its rows.
type Span = (i64, i64, u64);

/// Gathers what the table of contents says.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    chunks: Vec<Row>,
    /// Metadata of each component.
    components: BTreeMap<String, HashMap<String, String>>,
    timelines: BTreeSet<Timeline>,
    /// Columns of the recording, by name.
    schema: BTreeMap<String, Field>,
}

#[derive(Debug)]
struct Row {
    entity: String,
    id: [u8; 16],
    place: u64,
    size: u64,
    plain: u64,
    rows: u64,
    components: Vec<String>,
    times: BTreeMap<Timeline, Span>,
}

/// Name of a column, without characters that other programs choke on.
fn column_name(parts: &[&str]) -> String {
    let name = parts.join(":").replace([',', ' ', '-', '.', '\\'], "_");
    name.trim_start_matches('_').to_owned()
}

impl Manifest {
    /// Adds a chunk whose message body begins at `place`; `size` is its length and that of its rows
    /// when unpacked.
    pub fn add(
        &mut self,
        entity: &str,
        id: [u8; 16],
        place: u64,
        size: (u64, u64),
        times: &[(Timeline, Vec<i64>)],
        components: &[Component],
    ) {
        let span = |values: &[i64]| {
            let first = values.iter().min().copied().unwrap_or(0);
            (first, values.iter().max().copied().unwrap_or(0), values.len() as u64)
        };
        self.chunks.push(Row {
            entity: entity.to_owned(),
            id,
            place,
            size: size.0,
            plain: size.1,
            rows: components.first().map_or(0, |c| arrow_array::Array::len(&c.values) as u64),
            components: components.iter().map(Component::name).collect(),
            times: times.iter().map(|(t, values)| (*t, span(values))).collect(),
        });
        for (timeline, values) in times {
            self.timelines.insert(*timeline);
            let about = HashMap::from([
                ("rerun:index_name".to_owned(), timeline.name().to_owned()),
                ("rerun:kind".to_owned(), "index".to_owned()),
            ]);
            let kind = timeline.array(values.iter().copied().map(Some).collect());
            let field = Field::new(timeline.name(), kind.data_type().clone(), true);
            self.schema.insert(timeline.name().to_owned(), field.with_metadata(about));
        }
        for component in components {
            let name = component.name();
            let mut about = component.metadata();
            self.components.entry(name.clone()).or_insert_with(|| about.clone());
            about.insert("rerun:entity_path".to_owned(), entity.to_owned());
            about.insert("rerun:kind".to_owned(), "data".to_owned());
            if times.is_empty() {
                about.insert("rerun:is_static".to_owned(), "true".to_owned());
            }
            let of = if entity == "/__properties" { "property" } else { entity };
            let kind = arrow_array::Array::data_type(&component.values).clone();
            let field = Field::new(format!("{of}:{name}"), kind, true).with_metadata(about);
            self.schema.insert(field.name().clone(), field);
        }
    }

    /// The message.
    pub fn message(self, store: &[u8]) -> io::Result<Vec<u8>> {
        let mut fields = vec![row_id(false)];
        fields.extend(self.schema.values().cloned());
        let schema = Schema::new(fields);
        let table = self.table()?;
        let plain = stream(&table.schema(), Some(&table))?;
        let part = Message::default()
            .number(1, 1)
            .bytes(2, &lz4_flex::block::compress(&plain))
            .number(3, compression::LZ4)
            .number(4, plain.len() as u64);
        let bytes = Message::default().bytes(1, &stream(&schema, None)?);
        let message = Message::default()
            .bytes(1, store)
            .message(2, bytes)
            .bytes(3, &schema_hash(&schema)?)
            .message(4, part);
        Ok(message.finish())
    }

    fn table(&self) -> io::Result<RecordBatch> {
        let chunks = &self.chunks;
        let mut ids = FixedSizeBinaryBuilder::with_capacity(chunks.len(), 16);
        for chunk in chunks {
            ids.append_value(chunk.id).map_err(io::Error::other)?;
        }
        let numbers = |value: &dyn Fn(&Row) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(chunks.iter().map(value)))
        };
        let flags = |value: &dyn Fn(&Row) -> bool| -> ArrayRef {
            Arc::new(BooleanArray::from_iter(chunks.iter().map(|c| Some(value(c)))))
        };
        let entities = StringArray::from_iter_values(chunks.iter().map(|c| &c.entity));
        let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
        let mut put = |name: &str, column: ArrayRef, nulls: bool, about: &[(&str, &str)]| {
            let about: HashMap<String, String> =
                about.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let field = Field::new(name, column.data_type().clone(), nulls);
            columns.push((field.with_metadata(about), column));
        };
        put("chunk_entity_path", Arc::new(entities), false, &[]);
        put("chunk_id", Arc::new(ids.finish()), false, &[]);
        put("chunk_is_static", flags(&|c| c.times.is_empty()), false, &[]);
        put("chunk_num_rows", numbers(&|c| c.rows), false, &[]);
        put("chunk_byte_offset", numbers(&|c| c.place), false, &[]);
        put("chunk_byte_size", numbers(&|c| c.size), false, &[]);
        put("chunk_byte_size_uncompressed", numbers(&|c| c.plain), false, &[]);
        let about = |component: &HashMap<String, String>, index: &str| -> Vec<(String, String)> {
            let mut out: Vec<_> = component.clone().into_iter().collect();
            out.push(("rerun:index".to_owned(), index.to_owned()));
            out
        };
        for (name, component) in &self.components {
            let there = flags(&|c| c.times.is_empty() && c.components.contains(name));
            let about = about(component, "rerun:static");
            put(&column_name(&[name, "has_static_data"]), there, false, &borrowed(&about));
        }
        let times = |timeline: Timeline, of: &dyn Fn(&Row) -> Option<Span>, last: bool| {
            let pick = |span: Span| if last { span.1 } else { span.0 };
            timeline.array(chunks.iter().map(|c| of(c).map(pick)).collect())
        };
        for timeline in &self.timelines {
            let of = |c: &Row| c.times.get(timeline).copied();
            let about = [("rerun:index", timeline.name())];
            for (suffix, last) in [("start", false), ("end", true)] {
                let name = column_name(&[timeline.name(), suffix]);
                put(&name, times(*timeline, &of, last), true, &about);
            }
        }
        for timeline in &self.timelines {
            for (name, component) in &self.components {
                let of = |c: &Row| {
                    let span = c.times.get(timeline).copied();
                    span.filter(|_| c.components.contains(name))
                };
                if !chunks.iter().any(|c| of(c).is_some()) {
                    continue;
                }
                let about = about(component, timeline.name());
                let about = borrowed(&about);
                let named = |suffix| column_name(&[timeline.name(), name, suffix]);
                put(&named("start"), times(*timeline, &of, false), true, &about);
                put(&named("end"), times(*timeline, &of, true), true, &about);
                put(&named("num_rows"), numbers(&|c| of(c).map_or(0, |s| s.2)), true, &about);
            }
        }
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(io::Error::other)
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

/// SHA-256 of a recording's schema: fields by name, without the schema's own metadata.
pub(super) fn schema_hash(schema: &Schema) -> io::Result<[u8; 32]> {
    let mut fields: Vec<FieldRef> = schema.fields().to_vec();
    fields.sort();
    Ok(Sha256::digest(stream(&Schema::new(fields), None)?).into())
}
