//! MCAP (<https://mcap.dev/spec>, version 0).
//!
//! The file is walked record by record from its start; the offsets in its summary are not needed
//! and not trusted, so a recording that was cut off reads like a whole one up to the cut. Records
//! are taken apart here rather than by the `mcap` crate (which writes them), because a foreign
//! length must never decide how much memory is asked for.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;

use embody_core::Result;
use mcap::records::op;

use super::merge::{Entry, Loaded, Place, Runs, merge};
use super::{Bytes, Channel, Cursor, Definition, Encoding, Opened, Take, nanos, no_log};
use crate::finding::Finding;

pub(crate) const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// Bytes of opcode and length before each record.
const HEAD: usize = 9;
/// No chunk may unpack to more.
const CHUNK_LIMIT: u64 = 1 << 28;

#[derive(Debug)]
pub(super) struct Mcap {
    files: Vec<Part>,
    places: Vec<Place>,
    chunks: Vec<Chunk>,
}

/// One file; a recording may have several.
#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// Our channel by the file's id.
    ids: HashMap<u16, usize>,
}

#[derive(Debug)]
struct Chunk {
    file: usize,
    /// Where its record starts.
    at: usize,
    body: Range<usize>,
    packing: Option<Packing>,
}

/// How a chunk is packed; a run of bare messages has none.
#[derive(Debug)]
struct Packing {
    name: String,
    size: u64,
    crc: u32,
}

/// Opens the files of a recording.
pub(super) fn open(files: &[PathBuf]) -> Result<Opened<Mcap>> {
    let mut out = Opened {
        channels: Vec::new(),
        findings: Vec::new(),
        source: Mcap { files: Vec::new(), places: Vec::new(), chunks: Vec::new() },
    };
    for path in files {
        let bytes = Bytes::open(path)?;
        if !bytes.map.starts_with(&MAGIC) {
            return Err(no_log(path, "it does not begin as MCAP files do").into());
        }
        scan(bytes, &mut out);
    }
    Ok(out)
}

/// Channels and schemas as they are declared in one file.
#[derive(Default)]
struct Declared {
    schemas: HashMap<u16, (String, Definition)>,
    channels: BTreeMap<u16, Declaration>,
}

/// A channel as a file declares it.
struct Declaration {
    /// Id of its schema; 0 for none.
    schema: u16,
    topic: String,
    encoding: String,
    metadata: BTreeMap<String, String>,
}

/// Text behind its length.
fn text(cursor: &mut Cursor<'_>) -> Option<String> {
    std::str::from_utf8(cursor.block()?).ok().map(str::to_owned)
}

impl Declared {
    /// Takes the record of a schema or a channel. Read here, because the crate takes memory for the
    /// lengths in it before it looks how many bytes there are.
    fn record(&mut self, opcode: u8, body: &[u8]) -> Option<()> {
        let mut body = Cursor::new(body);
        let id = body.u16()?;
        if opcode == op::SCHEMA {
            let (name, encoding) = (text(&mut body)?, text(&mut body)?);
            let definition = Definition { encoding, data: body.block()?.to_vec() };
            self.schemas.entry(id).or_insert((name, definition));
            return Some(());
        }
        let schema = body.u16()?;
        let (topic, encoding) = (text(&mut body)?, text(&mut body)?);
        let mut metadata = BTreeMap::new();
        let mut pairs = Cursor::new(body.block()?);
        while pairs.left() > 0 {
            metadata.insert(text(&mut pairs)?, text(&mut pairs)?);
        }
        self.channels.entry(id).or_insert(Declaration { schema, topic, encoding, metadata });
        Some(())
    }

    /// Declares everything in `out` and gives the ids.
    fn settle(self, out: &mut Vec<Channel>) -> HashMap<u16, usize> {
        let mut ids = HashMap::new();
        for (id, channel) in self.channels {
            let schema = self.schemas.get(&channel.schema);
            let ours = Channel {
                topic: channel.topic,
                type_name: schema.map_or_else(String::new, |s| s.0.clone()),
                encoding: Encoding::parse(&channel.encoding),
                definition: schema.map(|s| s.1.clone()),
                metadata: channel.metadata,
            };
            // The same channel in the next file of a recording.
            let at = out.iter().position(|c| *c == ours).unwrap_or_else(|| {
                out.push(ours);
                out.len() - 1
            });
            ids.insert(id, at);
        }
        ids
    }
}

fn scan(bytes: Bytes, out: &mut Opened<Mcap>) {
    let map = &bytes.map[..];
    let file = out.source.files.len();
    let mut declared = Declared::default();
    let mut runs = Runs::default();
    let first_chunk = out.source.chunks.len();
    let (mut at, mut summary, mut declared_there, mut ended) = (MAGIC.len(), false, false, false);
    let trouble = loop {
        let Some((opcode, body)) = record_at(map, at) else {
            break (!ended).then(|| {
                if map.len() - at < HEAD { "the file ends" } else { "a record passes the end" }
            });
        };
        let content = &map[body.clone()];
        match opcode {
            op::SCHEMA | op::CHANNEL => {
                declared_there |= summary;
                if declared.record(opcode, content).is_none() {
                    break Some("a channel's description is damaged");
                }
            }
            op::MESSAGE => match message_times(content) {
                Some((log_time, _)) => runs.add(log_time, at..body.end),
                None => break Some("a message is too short"),
            },
            op::CHUNK => match chunk(map, file, at, &body) {
                Some((place, chunk)) => {
                    out.source.places.push(place);
                    out.source.chunks.push(chunk);
                }
                None => break Some("a chunk's header is damaged"),
            },
            op::DATA_END => summary = true,
            op::FOOTER => ended = true,
            0 => break Some("a record of type 0"),
            _ => {}
        }
        at = body.end;
    };
    if let Some(why) = trouble {
        out.findings.push(bytes.ends_at(at, why));
    }
    for run in runs.runs {
        out.source.places.push(run.place);
        let at = run.bytes.start;
        out.source.chunks.push(Chunk { file, at, body: run.bytes, packing: None });
    }
    if !declared_there {
        // No summary repeats the channels: they stand inside the chunks.
        for chunk in &out.source.chunks[first_chunk..] {
            if let Ok(content) = unpack(map, chunk) {
                let mut at = 0;
                while let Some((opcode, body)) = record_at(&content, at) {
                    if matches!(opcode, op::SCHEMA | op::CHANNEL) {
                        declared.record(opcode, &content[body.clone()]);
                    }
                    at = body.end;
                }
            }
        }
    }
    let ids = declared.settle(&mut out.channels);
    out.source.files.push(Part { bytes, ids });
}

/// Opcode and body of the record at `at`, if it is all there.
fn record_at(bytes: &[u8], at: usize) -> Option<(u8, Range<usize>)> {
    let mut cursor = Cursor::new(bytes.get(at..)?);
    let opcode = cursor.u8()?;
    let len = cursor.len64()?;
    Some((opcode, at + HEAD..at + HEAD + len))
}

/// Log and publish time of a message record: channel u16, sequence u32, two times u64.
fn message_times(body: &[u8]) -> Option<(i64, i64)> {
    let mut cursor = Cursor::new(body);
    cursor.take(6)?;
    Some((nanos(cursor.u64()?), nanos(cursor.u64()?)))
}

fn chunk(map: &[u8], file: usize, at: usize, body: &Range<usize>) -> Option<(Place, Chunk)> {
    let mut cursor = Cursor::new(&map[body.clone()]);
    let (start, end) = (nanos(cursor.u64()?), nanos(cursor.u64()?));
    let (size, crc) = (cursor.u64()?, cursor.u32()?);
    let name = std::str::from_utf8(cursor.block()?).ok()?.to_owned();
    let len = cursor.len64()?;
    let from = body.start + cursor.at;
    let packing = Some(Packing { name, size, crc });
    Some((Place { start, end }, Chunk { file, at, body: from..from + len, packing }))
}

fn unpack<'a>(map: &'a [u8], chunk: &Chunk) -> std::result::Result<Cow<'a, [u8]>, String> {
    let packed = &map[chunk.body.clone()];
    let Some(Packing { name, size, crc }) = &chunk.packing else {
        return Ok(Cow::Borrowed(packed));
    };
    let content = match name.as_str() {
        "" => Cow::Borrowed(packed),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed);
            Cow::Owned(read_bounded(decoder.map_err(|e| e.to_string())?, packed.len(), *size)?)
        }
        "lz4" => {
            let decoder = lz4_flex::frame::FrameDecoder::new(packed);
            Cow::Owned(read_bounded(decoder, packed.len(), *size)?)
        }
        other => return Err(format!("unknown compression {other:?}")),
    };
    if content.len() as u64 != *size {
        return Err(format!("it holds {} bytes, its header says {size}", content.len()));
    }
    if *crc != 0 && crc32fast::hash(&content) != *crc && !cfg!(feature = "fuzz") {
        return Err("its checksum is wrong".to_owned());
    }
    Ok(content)
}

/// Reads a decompressor to its end, which must come within `claimed` bytes. Memory grows with what
/// really comes out.
pub(super) fn read_bounded(
    reader: impl Read,
    packed: usize,
    claimed: u64,
) -> std::result::Result<Vec<u8>, String> {
    if claimed > CHUNK_LIMIT {
        return Err(format!("it claims to hold {claimed} bytes; at most {CHUNK_LIMIT} are read"));
    }
    let mut out = Vec::with_capacity((claimed as usize).min(packed.saturating_mul(8) + 4096));
    reader.take(claimed + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
    if out.len() as u64 > claimed {
        return Err(format!("it holds more than the {claimed} bytes that its header says"));
    }
    Ok(out)
}

impl Mcap {
    pub fn visit(&self, wanted: &[bool], take: &mut Take<'_>) -> Result<Vec<Finding>> {
        merge(&self.places, &|i| self.load(i, wanted), take)
    }

    fn load(&self, i: usize, wanted: &[bool]) -> std::result::Result<Loaded<'_>, Box<Finding>> {
        let chunk = &self.chunks[i];
        let part = &self.files[chunk.file];
        let bytes =
            unpack(&part.bytes.map, chunk).map_err(|why| part.bytes.chunk(chunk.at, &why))?;
        let mut entries = Vec::new();
        let (mut at, mut lost) = (0, 0u64);
        let mut trouble = None;
        while at < bytes.len() {
            let Some((opcode, body)) = record_at(&bytes, at) else {
                trouble = Some("a record inside it passes its end".to_owned());
                break;
            };
            at = body.end;
            if opcode != op::MESSAGE {
                continue;
            }
            let content = &bytes[body.clone()];
            let (Some((log_time, publish_time)), Some(id)) =
                (message_times(content), Cursor::new(content).u16())
            else {
                trouble = Some("a message inside it is too short".to_owned());
                break;
            };
            match part.ids.get(&id) {
                Some(&channel) if wanted[channel] => {
                    let data = body.start + 22..body.end;
                    entries.push(Entry { channel, log_time, publish_time, data });
                }
                Some(_) => {}
                None => lost += 1,
            }
        }
        if lost > 0 && trouble.is_none() {
            trouble = Some(format!("{lost} messages are of channels that are not declared"));
        }
        let finding = trouble.map(|why| part.bytes.chunk(chunk.at, &why));
        Ok(Loaded { bytes, entries, finding })
    }
}
