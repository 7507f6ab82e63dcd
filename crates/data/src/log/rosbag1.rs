//! ROS 1 bags, format 2.0 (<http://wiki.ros.org/Bags/Format/2.0>): chunks plain, bz2 or lz4.
//!
//! Walked record by record from the start, so a bag that was never closed (`.bag.active`) reads up
//! to where it ends. The index records only say which time a chunk spans; where they are missing
//! the chunk itself is asked.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use embody_core::Result;

use super::mcap::read_bounded;
use super::merge::{Entry, Loaded, Place, merge};
use super::{Bytes, Channel, Cursor, Definition, Encoding, Opened, Take, no_log};
use crate::error::DataError;
use crate::finding::Finding;

const MAGIC: &[u8] = b"#ROSBAG V2.0\n";

const OP_MESSAGE: u8 = 2;
const OP_INDEX: u8 = 4;
const OP_CHUNK: u8 = 5;
const OP_CONNECTION: u8 = 7;

#[derive(Debug)]
pub(super) struct Rosbag1 {
    bytes: Bytes,
    ids: HashMap<u32, usize>,
    places: Vec<Place>,
    chunks: Vec<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    at: usize,
    body: Range<usize>,
    compression: String,
    size: u64,
}

/// A record: header fields and where its data lies.
struct Record<'a> {
    header: &'a [u8],
    data: Range<usize>,
}

impl<'a> Record<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let mut cursor = Cursor::new(bytes.get(at..)?);
        let header = cursor.block()?;
        let len = cursor.block()?.len();
        let end = at + cursor.at;
        Some(Self { header, data: end - len..end })
    }

    /// The value of a header field.
    fn field(&self, name: &str) -> Option<&'a [u8]> {
        let mut cursor = Cursor::new(self.header);
        while let Some(field) = cursor.block() {
            let equals = field.iter().position(|&b| b == b'=')?;
            if &field[..equals] == name.as_bytes() {
                return Some(&field[equals + 1..]);
            }
        }
        None
    }

    fn op(&self) -> Option<u8> {
        self.field("op")?.first().copied()
    }

    fn u32(&self, name: &str) -> Option<u32> {
        Cursor::new(self.field(name)?).u32()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.field(name).map(|v| String::from_utf8_lossy(v).into_owned())
    }

    fn time(&self) -> Option<i64> {
        time(Cursor::new(self.field("time")?))
    }
}

/// Seconds and nanoseconds, u32 each.
fn time(mut cursor: Cursor<'_>) -> Option<i64> {
    Some(i64::from(cursor.u32()?) * 1_000_000_000 + i64::from(cursor.u32()?))
}

/// Opens a bag.
pub(super) fn open(bytes: &Bytes) -> Result<Opened<Rosbag1>> {
    let map = &bytes.map[..];
    if !map.starts_with(MAGIC) {
        let version = String::from_utf8_lossy(&map[..map.len().min(12)]).trim().to_owned();
        return Err(DataError::ReadLog {
            path: bytes.path.to_path_buf(),
            why: format!("bag version {version:?}; 2.0 can be read"),
            hint: "convert it with ROS: rosbag fix OLD.bag NEW.bag".to_owned(),
        }
        .into());
    }
    let mut findings = Vec::new();
    let mut connections = BTreeMap::new();
    let mut source = Rosbag1 {
        bytes: bytes.clone(),
        ids: HashMap::new(),
        places: Vec::new(),
        chunks: Vec::new(),
    };
    let mut spans: Vec<Option<Place>> = Vec::new();
    let (mut at, mut closed) = (MAGIC.len(), true);
    while at < map.len() {
        let Some(record) = Record::at(map, at) else {
            findings.push(bytes.ends_at(at, "a record passes the end of the file"));
            closed = false;
            break;
        };
        match record.op() {
            Some(OP_CHUNK) => {
                let (Some(compression), Some(size)) =
                    (record.text("compression"), record.u32("size"))
                else {
                    findings.push(bytes.chunk(at, "its header is damaged"));
                    at = record.data.end;
                    continue;
                };
                let (body, size) = (record.data.clone(), u64::from(size));
                source.chunks.push(Chunk { at, body, compression, size });
                spans.push(None);
            }
            Some(OP_INDEX) => {
                if let Some(span) = spans.last_mut() {
                    widen(span, &map[record.data.clone()]);
                }
            }
            Some(OP_CONNECTION) => connection(&record, &map[record.data.clone()], &mut connections),
            Some(_) => {}
            None => {
                findings.push(bytes.ends_at(at, "a record without type"));
                closed = false;
                break;
            }
        }
        at = record.data.end;
    }
    // An index may lie about a damaged bag: then the chunks themselves are asked.
    for (i, span) in spans.into_iter().enumerate() {
        let place = match span {
            Some(place) if closed && !connections.is_empty() => place,
            _ => source.look_inside(i, &mut connections),
        };
        source.places.push(place);
    }
    let mut channels = Vec::new();
    for (id, channel) in connections {
        // Several publishers of one topic are several connections, but one stream.
        let at = channels.iter().position(|c| *c == channel).unwrap_or_else(|| {
            channels.push(channel);
            channels.len() - 1
        });
        source.ids.insert(id, at);
    }
    if source.chunks.is_empty() && findings.is_empty() {
        return Err(no_log(&bytes.path, "the bag is empty").into());
    }
    Ok(Opened { channels, findings, source })
}

fn widen(span: &mut Option<Place>, entries: &[u8]) {
    for entry in entries.chunks_exact(12) {
        if let Some(time) = time(Cursor::new(entry)) {
            let place = span.get_or_insert(Place { start: time, end: time });
            place.start = place.start.min(time);
            place.end = place.end.max(time);
        }
    }
}

fn connection(record: &Record<'_>, data: &[u8], out: &mut BTreeMap<u32, Channel>) {
    let (Some(id), Some(topic)) = (record.u32("conn"), record.text("topic")) else { return };
    let inner = Record { header: data, data: 0..0 };
    let definition = inner
        .field("message_definition")
        .map(|text| Definition { encoding: "ros1msg".to_owned(), data: text.to_vec() });
    out.entry(id).or_insert_with(|| Channel {
        topic,
        type_name: inner.text("type").unwrap_or_default(),
        encoding: Encoding::Ros1,
        definition,
        metadata: inner.text("md5sum").map(|m| ("md5sum".to_owned(), m)).into_iter().collect(),
    });
}

impl Rosbag1 {
    pub fn visit(&self, wanted: &[bool], take: &mut Take<'_>) -> Result<Vec<Finding>> {
        merge(&self.places, &|i| self.load(i, wanted), take)
    }

    fn unpack(&self, chunk: &Chunk) -> std::result::Result<Cow<'_, [u8]>, String> {
        let packed = &self.bytes.map[chunk.body.clone()];
        let content = match chunk.compression.as_str() {
            "none" => Cow::Borrowed(packed),
            "bz2" => {
                let decoder = bzip2::bufread::BzDecoder::new(packed);
                Cow::Owned(read_bounded(decoder, packed.len(), chunk.size)?)
            }
            "lz4" => {
                let decoder = lz4_flex::frame::FrameDecoder::new(packed);
                Cow::Owned(read_bounded(decoder, packed.len(), chunk.size)?)
            }
            other => return Err(format!("unknown compression {other:?}")),
        };
        if content.len() as u64 != chunk.size {
            let size = chunk.size;
            return Err(format!("it holds {} bytes, its header says {size}", content.len()));
        }
        Ok(content)
    }

    /// The time that a chunk spans, and the connections declared in it.
    fn look_inside(&self, i: usize, connections: &mut BTreeMap<u32, Channel>) -> Place {
        let mut place = None;
        if let Ok(content) = self.unpack(&self.chunks[i]) {
            let mut at = 0;
            while let Some(record) = Record::at(&content, at) {
                match record.op() {
                    Some(OP_CONNECTION) => {
                        connection(&record, &content[record.data.clone()], connections);
                    }
                    Some(OP_MESSAGE) => {
                        if let Some(time) = record.field("time") {
                            widen(&mut place, &[time, &[0; 4]].concat());
                        }
                    }
                    _ => {}
                }
                at = record.data.end;
            }
        }
        place.unwrap_or(Place { start: i64::MIN, end: i64::MIN })
    }

    fn load(&self, i: usize, wanted: &[bool]) -> std::result::Result<Loaded<'_>, Box<Finding>> {
        let chunk = &self.chunks[i];
        let bytes = self.unpack(chunk).map_err(|why| self.bytes.chunk(chunk.at, &why))?;
        let mut entries = Vec::new();
        let (mut at, mut lost) = (0, 0u64);
        let mut trouble = None;
        while at < bytes.len() {
            let Some(record) = Record::at(&bytes, at) else {
                trouble = Some("a record inside it passes its end".to_owned());
                break;
            };
            at = record.data.end;
            if record.op() != Some(OP_MESSAGE) {
                continue;
            }
            let channel = record.u32("conn").and_then(|id| self.ids.get(&id).copied());
            match (channel, record.time()) {
                (Some(channel), Some(log_time)) => {
                    if wanted[channel] {
                        let (publish_time, data) = (log_time, record.data);
                        entries.push(Entry { channel, log_time, publish_time, data });
                    }
                }
                _ => lost += 1,
            }
        }
        if lost > 0 && trouble.is_none() {
            trouble = Some(format!("{lost} messages are of connections that are not declared"));
        }
        let finding = trouble.map(|why| self.bytes.chunk(chunk.at, &why));
        Ok(Loaded { bytes, entries, finding })
    }
}
