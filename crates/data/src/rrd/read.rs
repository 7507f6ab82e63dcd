//! Reading: messages of a file, and a chunk's bytes as a record batch.
//!
//! Arrow IPC is walked here message by message, so that each buffer is known to lie inside the bytes
//! that are there before arrow makes arrays of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{Schema, SchemaRef};

use super::proto::{Fields, Value};
use super::{FOOT, MAGIC, MESSAGE_HEAD, STREAM_FOOT, STREAM_HEAD, compression, kind};

/// No chunk may unpack to more, as in Rerun's own reader.
const CHUNK_LIMIT: u64 = 1 << 31;
/// An LZ4 block makes at most so many bytes of one (lz4 block format, "Parsing restrictions").
const LZ4_RATIO: u64 = 255;

/// A store in a file: a recording or a blueprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreId {
    /// Whether it is a recording (and no blueprint, which says how a viewer looks).
    pub recording: bool,
    /// Name of the application.
    pub application: String,
    /// Its own name.
    pub id: String,
}

/// Where a chunk lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    /// Index into [`Parsed::stores`].
    pub store: usize,
    /// Where its message starts.
    pub at: usize,
    /// The payload.
    pub body: Range<usize>,
    /// Bytes when unpacked, as the file says; `None` where it is not packed.
    pub unpacked: Option<u64>,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Stores, in the order of their appearance.
    pub stores: Vec<StoreId>,
    /// Chunks of all stores, in the order of the file.
    pub chunks: Vec<ChunkPlace>,
    /// From where on it can't be read, and why.
    pub trouble: Option<(usize, String)>,
}

/// Walks the messages of a file.
///
/// # Errors
/// When it does not begin as such files do, or is of a version that is not read.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut out = Parsed::default();
    stream_head(bytes, 0)?;
    let mut at = STREAM_HEAD;
    while at < bytes.len() {
        match message(bytes, at, &mut out) {
            Ok(next) => at = next,
            Err(why) => {
                out.trouble = Some((at, why));
                break;
            }
        }
    }
    Ok(out)
}

fn stream_head(bytes: &[u8], at: usize) -> Result<(), String> {
    let head = bytes.get(at..at + STREAM_HEAD).ok_or("the file ends inside its header")?;
    if head[..4] != MAGIC {
        let old = matches!(&head[..4], b"RRF0" | b"RRF1");
        let why = if old { "it was written by a Rerun before 0.23" } else { "its first bytes" };
        return Err(format!("{why} ({:?})", String::from_utf8_lossy(&head[..4])));
    }
    if head[4] == 0 && head[5] < 23 {
        return Err(format!("it was written by Rerun 0.{}; 0.23 and later are read", head[5]));
    }
    if head[9] != 2 {
        return Err(format!("its messages are serialised by method {}", head[9]));
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let mut out = [0; 8];
    out.copy_from_slice(bytes.get(at..at.checked_add(8)?)?);
    Some(u64::from_le_bytes(out))
}

/// Takes the message at `at` in; gives where the next one starts.
fn message(bytes: &[u8], at: usize, out: &mut Parsed) -> Result<usize, String> {
    if bytes[at..].starts_with(&MAGIC) {
        // Streams one behind the other are one file.
        stream_head(bytes, at)?;
        return Ok(at + STREAM_HEAD);
    }
    let (Some(kind), Some(len)) = (word(bytes, at), word(bytes, at + 8)) else {
        return Err("the file ends inside a message's header".to_owned());
    };
    let start = at + MESSAGE_HEAD;
    let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
    let end = end.filter(|end| *end <= bytes.len());
    let end = end.ok_or_else(|| format!("a message of {len} bytes passes the end"))?;
    match kind {
        kind::SET_STORE_INFO | kind::BLUEPRINT_ACTIVATION => {}
        kind::ARROW_MSG => chunk(bytes, at, start..end, out)?,
        kind::END => {
            let foot = bytes.get(end..end.saturating_add(STREAM_FOOT));
            let whole = foot.is_some_and(|f| f[20..24] == MAGIC && f[24..28] == FOOT);
            return Ok(if whole { end + STREAM_FOOT } else { end });
        }
        other => return Err(format!("a message of unknown kind {other}")),
    }
    Ok(end)
}

fn text(value: Option<Value<'_>>) -> String {
    let bytes = value.and_then(Value::bytes).unwrap_or(&[]);
    String::from_utf8_lossy(bytes).into_owned()
}

fn chunk(bytes: &[u8], at: usize, place: Range<usize>, out: &mut Parsed) -> Result<(), String> {
    let message = &bytes[place.clone()];
    let id = Fields::find(message, 1)?.and_then(Value::bytes).ok_or("a chunk names no store")?;
    let application = match Fields::find(id, 3)?.and_then(Value::bytes) {
        Some(application) => text(Fields::find(application, 1)?),
        None => String::new(),
    };
    let store = StoreId {
        recording: Fields::find(id, 1)?.and_then(Value::number) != Some(2),
        application,
        id: text(Fields::find(id, 2)?),
    };
    let number = |field| Ok::<_, String>(Fields::find(message, field)?.and_then(Value::number));
    if !matches!(number(4)?, None | Some(0 | 1)) {
        return Err("a chunk is not encoded as Arrow IPC".to_owned());
    }
    let unpacked = match number(2)? {
        None | Some(0 | compression::OFF) => None,
        Some(compression::LZ4) => Some(number(3)?.unwrap_or(0)),
        Some(other) => return Err(format!("a chunk is compressed by unknown method {other}")),
    };
    let payload = Fields::find(message, 5)?.and_then(Value::bytes).ok_or("a chunk is empty")?;
    // The payload is a part of `bytes`: where it lies follows from the addresses.
    let from = payload.as_ptr().addr() - bytes.as_ptr().addr();
    let body = from..from + payload.len();
    let store = out.stores.iter().position(|s| *s == store).unwrap_or_else(|| {
        out.stores.push(store);
        out.stores.len() - 1
    });
    out.chunks.push(ChunkPlace { store, at, body, unpacked });
    Ok(())
}

/// The rows of a chunk.
///
/// # Errors
/// When it is damaged.
pub(crate) fn batch(bytes: &[u8], place: &ChunkPlace) -> Result<RecordBatch, String> {
    let payload = bytes.get(place.body.clone()).ok_or("it passes the end of the file")?;
    let content = match place.unpacked {
        None => payload.to_vec(),
        Some(size) => {
            if size > CHUNK_LIMIT || size > (payload.len() as u64 + 16) * LZ4_RATIO {
                return Err(format!("{} bytes claim to hold {size}", payload.len()));
            }
            let content = lz4_flex::block::decompress(payload, size as usize);
            content.map_err(|e| e.to_string())?
        }
    };
    ipc(Buffer::from_vec(content))
}

/// The one record batch of an Arrow IPC stream
/// (<https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc>).
fn ipc(content: Buffer) -> Result<RecordBatch, String> {
    let mut schema: Option<SchemaRef> = None;
    let mut at = 0usize;
    let long = |at: usize| -> Option<u32> {
        let mut out = [0; 4];
        out.copy_from_slice(content.get(at..at.checked_add(4)?)?);
        Some(u32::from_le_bytes(out))
    };
    loop {
        let mut len = long(at).ok_or("the Arrow stream ends before its rows")?;
        at += 4;
        if len == u32::MAX {
            len = long(at).ok_or("the Arrow stream ends before its rows")?;
            at += 4;
        }
        let end = at.checked_add(len as usize).filter(|end| *end <= content.len());
        let end = end.filter(|end| *end > at).ok_or("an Arrow message passes the end")?;
        let message = arrow_ipc::root_as_message(&content[at..end]).map_err(|e| e.to_string())?;
        let body = usize::try_from(message.bodyLength()).ok().and_then(|l| end.checked_add(l));
        let body_end = body.filter(|e| *e <= content.len()).ok_or("a body passes the end")?;
        match message.header_type() {
            MessageHeader::Schema => {
                let found = message.header_as_schema().ok_or("a schema is missing")?;
                let found = arrow_ipc::convert::try_fb_to_schema(found);
                schema = Some(Arc::new(found.map_err(|e| e.to_string())?));
            }
            MessageHeader::RecordBatch => {
                let rows = message.header_as_record_batch().ok_or("rows are missing")?;
                let schema = schema.ok_or("rows come before the schema")?;
                let body = content.slice_with_length(end, body_end - end);
                return rows_of(&body, rows, schema, message.version());
            }
            other => return Err(format!("Arrow messages of kind {other:?} are not read")),
        }
        at = body_end;
    }
}

fn rows_of(
    body: &Buffer,
    rows: arrow_ipc::RecordBatch<'_>,
    schema: Arc<Schema>,
    version: MetadataVersion,
) -> Result<RecordBatch, String> {
    let inside = |offset: i64, len: i64| {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
        offset.checked_add(len).filter(|end| *end <= body.len())
    };
    let buffers = rows.buffers().ok_or("rows without buffers")?;
    if buffers.iter().any(|b| inside(b.offset(), b.length()).is_none()) {
        return Err("a column passes the end of its chunk".to_owned());
    }
    // Every value takes at least a bit somewhere; columns of nothing but nulls are the exception.
    let most = body.len() as i64 * 8 + 1024;
    let nodes = rows.nodes().ok_or("rows without columns")?;
    let plausible = |n: i64| (0..=most).contains(&n);
    if !plausible(rows.length())
        || nodes.iter().any(|n| !plausible(n.length()) || !plausible(n.null_count()))
    {
        return Err("a column has more rows than its chunk has bits".to_owned());
    }
    arrow_ipc::reader::read_record_batch(body, rows, schema, &HashMap::new(), None, &version)
        .map_err(|e| e.to_string())
}
