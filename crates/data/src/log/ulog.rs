//! PX4 flight logs (<https://docs.px4.io/main/en/dev_log/ulog_file_format>).
//!
//! Messages are packed structures described by format lines in the file itself; times are
//! microseconds since boot and count as log and publish time. After damage reading goes on at the
//! next synchronisation mark, as the format intends.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use embody_core::Result;

use super::merge::{Entry, Loaded, Place, Run, Runs, merge};
use super::{Bytes, Channel, Cursor, Definition, Encoding, Opened, Take, no_log};
use crate::finding::Finding;

pub(super) const MAGIC: [u8; 7] = [0x55, 0x4c, 0x6f, 0x67, 0x01, 0x12, 0x35];
const SYNC: [u8; 8] = [0x2f, 0x73, 0x13, 0x20, 0x25, 0x0c, 0xbb, 0x12];
const HEAD: usize = 16;

#[derive(Debug)]
pub(super) struct Ulog {
    bytes: Bytes,
    ids: HashMap<u16, usize>,
    places: Vec<Place>,
    runs: Vec<Run>,
}

/// A message of the file: type and body.
fn message_at(bytes: &[u8], at: usize) -> Option<(u8, Range<usize>)> {
    let mut cursor = Cursor::new(bytes.get(at..)?);
    let (len, kind) = (usize::from(cursor.u16()?), cursor.u8()?);
    cursor.take(len)?;
    Some((kind, at + 3..at + 3 + len))
}

/// Microseconds at the start of a data message's body (behind its id).
fn time(body: &[u8]) -> Option<i64> {
    let mut cursor = Cursor::new(body);
    cursor.u16()?;
    i64::try_from(cursor.u64()?).ok()?.checked_mul(1000)
}

#[derive(Default)]
struct Scan {
    formats: BTreeMap<String, String>,
    subscribed: Vec<(u16, String, u8)>,
    metadata: BTreeMap<String, String>,
    runs: Runs,
    dropouts: (u64, u64),
    appended: Vec<usize>,
}

/// Opens a flight log.
pub(super) fn open(bytes: &Bytes) -> Result<Opened<Ulog>> {
    let map = &bytes.map[..];
    if map.len() < HEAD {
        return Err(no_log(&bytes.path, "the file ends inside its header").into());
    }
    let mut scan = Scan::default();
    let mut findings = Vec::new();
    let mut at = HEAD;
    while at < map.len() {
        let end = scan.appended.iter().copied().find(|&a| a > at).unwrap_or(map.len());
        let known = message_at(&map[..end], at).filter(|(kind, _)| b"BFIMPQARDLCSO".contains(kind));
        let Some((kind, body)) = known else {
            if end < map.len() {
                // The appended part begins anew; what was cut off before it is expected.
                at = end;
                continue;
            }
            findings.push(bytes.ends_at(at, "a message that is damaged or not whole"));
            let next = map[at + 1..].windows(SYNC.len()).position(|w| w == SYNC);
            match next {
                Some(skip) => at += 1 + skip + SYNC.len(),
                None => break,
            }
            continue;
        };
        scan.message(kind, at, body.clone(), map);
        at = body.end;
    }
    if scan.dropouts.0 > 0 {
        let (count, ms) = scan.dropouts;
        let text = format!("the logger dropped data {count} times, {ms} ms in all");
        findings.push(Finding::warning("log-dropouts", text).file(bytes.name()));
    }
    Ok(scan.finish(bytes, findings))
}

impl Scan {
    fn message(&mut self, kind: u8, at: usize, body: Range<usize>, map: &[u8]) {
        let content = &map[body.clone()];
        match kind {
            b'F' => {
                if let Some((name, fields)) = String::from_utf8_lossy(content).split_once(':') {
                    self.formats.insert(name.to_owned(), fields.to_owned());
                }
            }
            b'A' if content.len() > 3 => {
                let id = u16::from_le_bytes([content[1], content[2]]);
                let name = String::from_utf8_lossy(&content[3..]).into_owned();
                self.subscribed.push((id, name, content[0]));
            }
            b'D' => {
                if let Some(time) = time(content) {
                    self.runs.add(time, at..body.end);
                }
            }
            b'O' if content.len() >= 2 => {
                self.dropouts.0 += 1;
                self.dropouts.1 += u64::from(u16::from_le_bytes([content[0], content[1]]));
            }
            b'I' => {
                if let Some((key, value)) = info(content) {
                    self.metadata.insert(key, value);
                }
            }
            b'B' if content.len() >= 40 && content[8] & 1 != 0 => {
                for place in content[16..40].chunks_exact(8) {
                    let offset = Cursor::new(place).u64().and_then(|o| usize::try_from(o).ok());
                    self.appended.extend(offset.filter(|o| *o > 0 && *o < map.len()));
                }
                self.appended.sort_unstable();
            }
            _ => {}
        }
    }

    fn finish(self, bytes: &Bytes, findings: Vec<Finding>) -> Opened<Ulog> {
        let mut channels: Vec<Channel> = Vec::new();
        let mut ids = HashMap::new();
        for (id, name, instance) in &self.subscribed {
            let topic = if *instance == 0 { name.clone() } else { format!("{name}:{instance}") };
            let at = channels.iter().position(|c| c.topic == topic).unwrap_or_else(|| {
                let definition = Definition {
                    encoding: "ulog".to_owned(),
                    data: self.definition(name).into_bytes(),
                };
                channels.push(Channel {
                    topic,
                    type_name: name.clone(),
                    encoding: Encoding::Ulog,
                    definition: Some(definition),
                    metadata: BTreeMap::new(),
                });
                channels.len() - 1
            });
            ids.insert(*id, at);
        }
        let places = self.runs.runs.iter().map(|r| r.place).collect();
        let source = Ulog { bytes: bytes.clone(), ids, places, runs: self.runs.runs };
        Opened { channels, findings, source }
    }

    /// The format lines that a type needs, its own first.
    fn definition(&self, name: &str) -> String {
        let mut names = vec![name];
        let mut text = String::new();
        let mut next = 0;
        while next < names.len() {
            let name = names[next];
            next += 1;
            let Some(fields) = self.formats.get(name) else { continue };
            text.push_str(&format!("{name}:{fields}\n"));
            for field in fields.split(';') {
                let kind = field.split([' ', '[']).next().unwrap_or("");
                if self.formats.contains_key(kind) && !names.contains(&kind) {
                    names.push(kind);
                }
            }
        }
        text
    }
}

/// Key and value of an information message whose value is text.
fn info(content: &[u8]) -> Option<(String, String)> {
    let mut cursor = Cursor::new(content);
    let len = usize::from(cursor.u8()?);
    let key = String::from_utf8_lossy(cursor.take(len)?).into_owned();
    let (kind, name) = key.split_once(' ')?;
    let value = cursor.take(cursor.left())?;
    kind.starts_with("char").then(|| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
}

impl Ulog {
    pub fn visit(&self, wanted: &[bool], take: &mut Take<'_>) -> Result<Vec<Finding>> {
        merge(&self.places, &|i| Ok(self.load(i, wanted)), take)
    }

    fn load(&self, i: usize, wanted: &[bool]) -> Loaded<'_> {
        let bytes = &self.bytes.map[self.runs[i].bytes.clone()];
        let mut entries = Vec::new();
        let mut at = 0;
        while let Some((_, body)) = message_at(bytes, at) {
            at = body.end;
            let content = &bytes[body.clone()];
            let id = Cursor::new(content).u16();
            let channel = id.and_then(|id| self.ids.get(&id).copied());
            if let (Some(channel), Some(log_time)) = (channel.filter(|&c| wanted[c]), time(content))
            {
                let data = body.start + 2..body.end;
                entries.push(Entry { channel, log_time, publish_time: log_time, data });
            }
        }
        Loaded { bytes: bytes.into(), entries, finding: None }
    }
}
