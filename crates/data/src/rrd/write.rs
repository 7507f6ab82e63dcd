//! Writing: recordings of chunks, and the footer that lets a reader find them.
//!
//! Ids are counted from the recording's name, so the same data give the same bytes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::{
    Array as _, ArrayRef, DurationNanosecondArray, Int64Array, ListArray, RecordBatch,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::manifest::Manifest;
use super::proto::Message;
use super::{
    CHECKSUM_SEED, FOOT, MAGIC, MESSAGE_HEAD, SORBET, VERSION, VERSION_BITS, compression, kind,
};

/// Where payloads are worth packing: video is not.
const PACK_BELOW: usize = 1 << 20;

/// Something that orders rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timeline {
    /// Numbers without a unit.
    Sequence(&'static str),
    /// Nanoseconds since the beginning.
    Duration(&'static str),
}

impl Timeline {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequence(name) | Self::Duration(name) => name,
        }
    }

    pub fn array(self, values: Vec<Option<i64>>) -> ArrayRef {
        match self {
            Self::Sequence(_) => Arc::new(Int64Array::from(values)),
            Self::Duration(_) => Arc::new(DurationNanosecondArray::from(values)),
        }
    }
}

/// A component of an entity: a list per row.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    /// Name of the archetype, such as `Scalars`.
    pub archetype: &'static str,
    /// Its field, such as `scalars`.
    pub field: &'static str,
    /// Type of its values, such as `Scalar`.
    pub kind: &'static str,
    /// A list of values per row.
    pub values: ListArray,
}

impl Component {
    /// Such as `Scalars:scalars`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.archetype, self.field)
    }

    /// What schemas say of it.
    pub fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            ("rerun:archetype".to_owned(), format!("rerun.archetypes.{}", self.archetype)),
            ("rerun:component".to_owned(), self.name()),
            ("rerun:component_type".to_owned(), format!("rerun.components.{}", self.kind)),
        ])
    }
}

/// Lists of `len` values each.
pub(crate) fn list_of(values: ArrayRef, len: usize) -> ListArray {
    let rows = values.len().checked_div(len).unwrap_or(0);
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(len, rows));
    ListArray::new(
        Arc::new(Field::new_list_field(values.data_type().clone(), true)),
        offsets,
        values,
        None,
    )
}

/// One list for each of `blobs`, which holds its bytes as a list of its own.
pub(crate) fn blobs<'a>(blobs: impl Iterator<Item = &'a [u8]>) -> ListArray {
    let (mut bytes, mut ends) = (Vec::new(), vec![0i32]);
    for blob in blobs {
        bytes.extend_from_slice(blob);
        ends.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    }
    let item = Arc::new(Field::new_list_field(DataType::UInt8, false));
    let values = Arc::new(arrow_array::UInt8Array::from(bytes));
    let inner = ListArray::new(item, OffsetBuffer::new(ScalarBuffer::from(ends)), values, None);
    list_of(Arc::new(inner), 1)
}

/// An identifier that grows with time.
#[derive(Debug, Clone, Copy)]
struct Tuid {
    time: u64,
    count: u64,
}

impl Tuid {
    /// As rows hold it.
    fn bytes(self) -> [u8; 16] {
        (u128::from(self.time) << 64 | u128::from(self.count)).to_be_bytes()
    }

    fn message(self) -> Message {
        Message::default().fixed(1, self.time).fixed(2, self.count)
    }
}

/// Writes a file of one recording or several.
pub(crate) struct RrdWriter<W> {
    out: W,
    at: u64,
    store: Vec<u8>,
    next: Tuid,
    manifest: Option<Manifest>,
    manifests: Vec<Vec<u8>>,
}

fn arrow(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

/// A schema or batch as an Arrow IPC stream.
pub(super) fn stream(schema: &Schema, batch: Option<&RecordBatch>) -> io::Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(arrow)?;
    if let Some(batch) = batch {
        writer.write(batch).map_err(arrow)?;
        return writer.into_inner().map_err(arrow);
    }
    writer.flush().map_err(arrow)?;
    // Without the mark at the end, as Rerun hashes it.
    Ok(writer.get_ref().clone())
}

impl<W: Write> RrdWriter<W> {
    /// Begins a file.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION)?;
        // Packed with LZ4, Protocol Buffers.
        out.write_all(&[1, 2, 0, 0])?;
        let next = Tuid { time: 0, count: 0 };
        let (store, manifests) = (Vec::new(), Vec::new());
        Ok(Self { out, at: 12, store, next, manifest: None, manifests })
    }

    fn message(&mut self, kind: u64, body: &[u8]) -> io::Result<()> {
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&(body.len() as u64).to_le_bytes())?;
        self.out.write_all(body)?;
        self.at += (MESSAGE_HEAD + body.len()) as u64;
        Ok(())
    }

    fn tuid(&mut self) -> Tuid {
        self.next.count = self.next.count.wrapping_add(1);
        self.next
    }

    /// Begins a recording; what was before is complete. `seed` makes its ids differ from those of
    /// other recordings.
    pub fn begin(&mut self, application: &str, recording: &str, seed: u64) -> io::Result<()> {
        self.end_recording()?;
        // Half of the numbers are left for counting.
        self.next = Tuid { time: 1_000_000_000, count: seed >> 1 };
        let application = Message::default().bytes(1, application.as_bytes());
        let store = Message::default().number(1, 1).bytes(2, recording.as_bytes());
        self.store = store.message(3, application).finish();
        let other = concat!("embody ", env!("CARGO_PKG_VERSION"));
        let extra = Message::default().bytes(1, other.as_bytes());
        let info = Message::default()
            .bytes(2, &self.store)
            .message(5, Message::default().number(1, 6).message(2, extra))
            .message(6, Message::default().number(1, VERSION_BITS));
        let row = self.tuid().message();
        let body = Message::default().message(1, row).message(2, info).finish();
        self.manifest = Some(Manifest::default());
        self.message(kind::SET_STORE_INFO, &body)
    }

    /// Writes rows of an entity such as `/observation/state`; without times they hold for all times.
    /// Every column has the same number of rows, at least one.
    pub fn chunk(
        &mut self,
        entity: &str,
        times: &[(Timeline, Vec<i64>)],
        mut components: Vec<Component>,
    ) -> io::Result<()> {
        components.sort_by_key(Component::name);
        let rows = components.first().map_or(0, |c| c.values.len());
        let mut ids = FixedSizeBinaryBuilder::with_capacity(rows, 16);
        for _ in 0..rows {
            let id = self.tuid();
            ids.append_value(id.bytes()).map_err(arrow)?;
        }
        let chunk = self.tuid();
        let mark = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let mut fields = vec![row_id(true)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids.finish())];
        for (timeline, values) in times {
            let column = timeline.array(values.iter().copied().map(Some).collect());
            let sorted = if values.is_sorted() { "true" } else { "false" };
            let about = [
                ("rerun:index_name", timeline.name()),
                ("rerun:is_sorted", sorted),
                ("rerun:kind", "index"),
            ];
            let field = Field::new(timeline.name(), column.data_type().clone(), true);
            fields.push(field.with_metadata(mark(&about)));
            columns.push(column);
        }
        for component in &components {
            let mut about = component.metadata();
            about.insert("rerun:kind".to_owned(), "data".to_owned());
            let kind = component.values.data_type().clone();
            fields.push(Field::new(component.name(), kind, true).with_metadata(about));
            columns.push(Arc::new(component.values.clone()));
        }
        let id = format!("chunk_{:016X}{:016x}", chunk.time, chunk.count);
        let about = [("rerun:entity_path", entity), ("rerun:id", &id), ("sorbet:version", SORBET)];
        let schema = Schema::new_with_metadata(fields, mark(&about));
        let batch = RecordBatch::try_new(Arc::new(schema), columns).map_err(arrow)?;
        let plain = stream(&batch.schema(), Some(&batch))?;
        let packed = (plain.len() < PACK_BELOW).then(|| lz4_flex::block::compress(&plain));
        let way = if packed.is_some() { compression::LZ4 } else { compression::OFF };
        let body = Message::default()
            .bytes(1, &self.store)
            .number(2, way)
            .number(3, plain.len() as u64)
            .number(4, 1)
            .bytes(5, packed.as_deref().unwrap_or(&plain))
            .message(6, chunk.message())
            .number(7, u64::from(times.is_empty()))
            .finish();
        let place = self.at + MESSAGE_HEAD as u64;
        if let Some(manifest) = &mut self.manifest {
            let size = (body.len() as u64, plain.len() as u64);
            manifest.add(entity, chunk.bytes(), place, size, times, &components);
        }
        self.message(kind::ARROW_MSG, &body)
    }

    fn end_recording(&mut self) -> io::Result<()> {
        if let Some(manifest) = self.manifest.take() {
            self.manifests.push(manifest.message(&self.store)?);
        }
        Ok(())
    }

    /// Writes the footer and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_recording()?;
        let footer = self.manifests.iter().fold(Message::default(), |m, bytes| m.bytes(1, bytes));
        let footer = footer.finish();
        let place = self.at + MESSAGE_HEAD as u64;
        self.message(kind::END, &footer)?;
        self.out.write_all(&place.to_le_bytes())?;
        self.out.write_all(&(footer.len() as u64).to_le_bytes())?;
        let sum = twox_hash::XxHash32::oneshot(CHECKSUM_SEED, &footer);
        self.out.write_all(&sum.to_le_bytes())?;
        self.out.write_all(&MAGIC)?;
        self.out.write_all(&FOOT)?;
        self.out.write_all(&1u32.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The column of row ids.
pub(super) fn row_id(chunk: bool) -> Field {
    let mut about = HashMap::from([
        ("ARROW:extension:metadata".to_owned(), r#"{"namespace":"row"}"#.to_owned()),
        ("ARROW:extension:name".to_owned(), "rerun.datatypes.TUID".to_owned()),
        ("rerun:kind".to_owned(), "control".to_owned()),
    ]);
    if chunk {
        about.insert("rerun:is_sorted".to_owned(), "true".to_owned());
    }
    Field::new("rerun.controls.RowId", DataType::FixedSizeBinary(16), false).with_metadata(about)
}
