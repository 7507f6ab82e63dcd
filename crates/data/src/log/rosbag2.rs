//! ROS 2 bags in SQLite (rosbag2's `sqlite3` storage).
//!
//! Opened read-only and as immutable, so nothing is created beside a bag; only a bag that was never
//! closed (a `-wal` file beside it) is opened with SQLite's recovery. `metadata.yaml` is a
//! statement, not the truth: where its count of messages differs from what is there, that is a
//! finding.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};
use rusqlite::{Connection, OpenFlags, Row};

use super::{Channel, Definition, Encoding, Message, Opened, Take};
use crate::error::DataError;
use crate::finding::Finding;

#[derive(Debug)]
pub(super) struct Rosbag2 {
    files: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    ids: HashMap<i64, usize>,
}

/// Opens the files of a recording; `root` is the file or folder that was asked for.
pub(super) fn open(root: &Path, files: &[PathBuf]) -> Result<Opened<Rosbag2>> {
    let mut channels: Vec<Channel> = Vec::new();
    let mut findings = Vec::new();
    let mut parts = Vec::new();
    let mut messages = 0;
    for path in files {
        let topics = read_topics(path).map_err(|e| damaged(path, &e))?;
        messages += topics.messages;
        let mut ids = HashMap::new();
        for (id, channel) in topics.channels {
            let at = channels.iter().position(|c| *c == channel).unwrap_or_else(|| {
                channels.push(channel);
                channels.len() - 1
            });
            ids.insert(id, at);
        }
        parts.push(Part { path: path.clone(), ids });
    }
    let described = describe(root)?;
    if let Some(count) = described.messages.filter(|&c| c != messages && root.is_dir()) {
        let text = format!("metadata.yaml says {count} messages, the files hold {messages}");
        findings.push(Finding::warning("log-count", text).file("metadata.yaml"));
    }
    let source = Rosbag2 { files: parts };
    Ok(Opened { channels, findings, source })
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    let wal = path
        .with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy()));
    let unfinished = std::fs::metadata(&wal).is_ok_and(|m| m.len() > 0);
    uri.push_str(if unfinished { "?mode=ro" } else { "?mode=ro&immutable=1" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.execute_batch("PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF;")?;
    if is_cut(path).unwrap_or(false) {
        // SQLite refuses a file shorter than its header says, except to those who repair.
        connection.execute_batch("PRAGMA writable_schema=ON;")?;
    }
    Ok(connection)
}

/// Whether the file is shorter than its header says (SQLite file format, section 1.3: page size at
/// byte 16, number of pages at byte 28, big-endian).
fn is_cut(path: &Path) -> std::io::Result<bool> {
    let mut head = [0u8; 32];
    File::open(path)?.read_exact(&mut head)?;
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        n => u64::from(n),
    };
    let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
    Ok(std::fs::metadata(path)?.len() < page * pages)
}

struct Topics {
    channels: Vec<(i64, Channel)>,
    messages: u64,
}

fn read_topics(path: &Path) -> std::result::Result<Topics, String> {
    let text = |e: rusqlite::Error| e.to_string();
    let connection = connect(path).map_err(text)?;
    // A view could do anything on being read; tables only hold rows.
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
        .map_err(text)?;
    for needed in ["topics", "messages"] {
        if !tables.iter().any(|t| t == needed) {
            return Err(format!("it has no table {needed:?}, as ROS 2 bags have"));
        }
    }
    let mut definitions: HashMap<String, Definition> = HashMap::new();
    if tables.iter().any(|t| t == "message_definitions") {
        let query =
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions";
        let rows: Vec<(String, String, String)> = connection
            .prepare(query)
            .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect())
            .map_err(text)?;
        for (name, encoding, definition) in rows {
            if !definition.is_empty() && encoding != "unknown" {
                let data = definition.into_bytes();
                definitions.insert(name, Definition { encoding, data });
            }
        }
    }
    let channel = |row: &Row<'_>| -> rusqlite::Result<(i64, Channel)> {
        let type_name: String = row.get(2)?;
        let encoding: String = row.get(3)?;
        Ok((
            row.get(0)?,
            Channel {
                topic: row.get(1)?,
                encoding: Encoding::parse(&encoding),
                definition: definitions.get(&type_name).cloned(),
                type_name,
                metadata: BTreeMap::new(),
            },
        ))
    };
    let channels: Vec<(i64, Channel)> = connection
        .prepare("SELECT id, name, type, serialization_format FROM topics ORDER BY id")
        .and_then(|mut s| s.query_map([], channel)?.collect())
        .map_err(text)?;
    // A damaged table is met again, and reported, where its messages are read.
    let messages = connection
        .query_row("SELECT count(*) FROM messages", [], |r| r.get::<_, i64>(0))
        .map_or(0, |n| n.max(0) as u64);
    Ok(Topics { channels, messages })
}

fn damaged(path: &Path, why: &str) -> DataError {
    DataError::ReadLog {
        path: path.to_owned(),
        why: why.to_owned(),
        hint: "the file is damaged or no ROS 2 bag; copy it again".to_owned(),
    }
}

/// Files that `metadata.yaml` in `root` names and that are not there: a recording split over several
/// files is whole only with all of them.
pub(super) fn compare_files(root: &Path) -> Result<Vec<Finding>> {
    let path = root.join("metadata.yaml");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    let named: Vec<String> = text
        .lines()
        .skip_while(|line| line.trim() != "relative_file_paths:")
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .map(|name| name.trim().trim_matches(['"', '\'']).to_owned())
        .collect();
    // Names are compared without their folders: older bags name them below the bag's own.
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let named: Vec<String> = named.iter().map(|n| last(n)).collect();
    let mut findings = Vec::new();
    for name in named.iter().filter(|n| !root.join(n).is_file()) {
        // A file that was unpacked by hand is as good.
        if name.strip_suffix(".zstd").is_some_and(|inner| root.join(inner).is_file()) {
            continue;
        }
        let text =
            format!("metadata.yaml names {name}, which is not there; its messages are missing");
        findings.push(Finding::error("log-file-missing", text).file("metadata.yaml"));
    }
    Ok(findings)
}

#[derive(Default)]
struct Described {
    messages: Option<u64>,
    packed_messages: bool,
}

/// Whether each message is compressed by itself (`compression_mode: message`), in either storage.
pub(super) fn packs_messages(root: &Path) -> Result<bool> {
    Ok(describe(root)?.packed_messages)
}

/// The few lines of `metadata.yaml` that matter; rosbag2 writes one key per line.
fn describe(root: &Path) -> Result<Described> {
    let path = if root.is_dir() {
        root.join("metadata.yaml")
    } else {
        root.with_file_name("metadata.yaml")
    };
    if !path.is_file() {
        return Ok(Described::default());
    }
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let value = line.strip_prefix("  ")?.strip_prefix(key)?.strip_prefix(':')?;
            Some(value.trim().trim_matches(['"', '\'']).to_ascii_lowercase())
        })
    };
    let mode = value("compression_mode").unwrap_or_default();
    let format = value("compression_format").unwrap_or_default();
    let unreadable = |why: String, hint: &str| DataError::ReadLog {
        path: path.clone(),
        why,
        hint: hint.to_owned(),
    };
    if mode == "message" && format != "zstd" {
        let hint = "convert the bag: ros2 bag convert, without compression";
        return Err(unreadable(format!("messages are compressed as {format:?}"), hint).into());
    }
    Ok(Described {
        messages: value("message_count").and_then(|v| v.parse().ok()),
        packed_messages: mode == "message",
    })
}

impl Rosbag2 {
    pub fn visit(&self, wanted: &[bool], take: &mut Take<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for part in &self.files {
            self.visit_file(part, wanted, take, &mut findings)?;
        }
        Ok(findings)
    }

    /// Files of a recording follow each other in time, so one is read after the other.
    fn visit_file(
        &self,
        part: &Part,
        wanted: &[bool],
        take: &mut Take<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let name = part.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let connection = connect(&part.path).map_err(|e| damaged(&part.path, &e.to_string()))?;
        // Ordered by time where the index can be followed from end to end, by row number where not.
        let whole = index_is_whole(&connection);
        let order = if whole.is_ok() { "timestamp, id" } else { "id" };
        let ids: Vec<String> = part
            .ids
            .iter()
            .filter(|(_, channel)| wanted[**channel])
            .map(|(id, _)| id.to_string())
            .collect();
        let query = format!(
            "SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({}) ORDER BY {order}",
            ids.join(",")
        );
        let fail = |e: rusqlite::Error| damaged(&part.path, &e.to_string());
        let mut statement = connection.prepare(&query).map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        let (mut last, mut count, mut odd) = (None, 0u64, 0u64);
        let trouble = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break whole.err(),
                Err(e) => break Some(e.to_string()),
            };
            let (Ok(id), Ok(time), Ok(data)) =
                (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get_ref(2))
            else {
                odd += 1;
                continue;
            };
            let (Some(&channel), Ok(data)) = (part.ids.get(&id), data.as_blob()) else {
                odd += 1;
                continue;
            };
            take(Message { channel, log_time: time, publish_time: time, data })?;
            last = Some(time);
            count += 1;
        };
        if let Some(why) = trouble {
            let end = last.map_or_else(|| "its start".to_owned(), |t| format!("time {t} ns"));
            let text = format!("readable up to {end} ({count} messages), then: {why}");
            findings.push(Finding::warning("log-cut-off", text).file(name.clone()));
        }
        if odd > 0 {
            let text = format!("{odd} rows are damaged and left out");
            findings.push(Finding::error("log-rows-damaged", text).file(name));
        }
        Ok(())
    }
}

/// Walks times and rows in order of time once, without the messages themselves.
fn index_is_whole(connection: &Connection) -> std::result::Result<(), String> {
    let walk = || -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare("SELECT id, topic_id FROM messages ORDER BY timestamp, id")?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    walk().map_err(|e| e.to_string())
}
