//! Message logs: MCAP, rosbag2 (SQLite), ROS 1 bags, PX4 ULog, Rerun recordings, behind one small
//! interface.
//!
//! A [`Log`] has channels; [`Log::visit`] hands their messages out in the order of log time, ties in
//! the order of the file, with memory bounded by the chunks that overlap in time. Nothing that a
//! file says about itself is trusted: every length is checked against the bytes that are there.
//! Invariant: a damaged or cut-off file gives what is whole, and a finding that says where it ends.

mod mcap;
mod merge;
mod packed;
mod rosbag1;
mod rosbag2;
mod rrd;
mod timing;
mod ulog;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embody_core::{IoContext, Result};
use memmap2::Mmap;
use serde::Serialize;
use tempfile::TempDir;

use crate::error::DataError;
use crate::finding::Finding;
use crate::video::map_file;

pub(crate) use self::mcap::MAGIC as MCAP_MAGIC;
pub use timing::{ClockDrift, Timing};
pub(crate) use timing::{clock_drift, timing};

/// Formats of message logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LogFormat {
    /// <https://mcap.dev/spec>
    Mcap,
    /// ROS 2 bag in SQLite files.
    Rosbag2,
    /// ROS 1 bag, version 2.0.
    Rosbag1,
    /// PX4 flight log.
    Ulog,
    /// Rerun recording.
    Rrd,
}

impl LogFormat {
    /// As people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mcap => "MCAP",
            Self::Rosbag2 => "rosbag2 (SQLite)",
            Self::Rosbag1 => "ROS 1 bag",
            Self::Ulog => "PX4 ULog",
            Self::Rrd => "Rerun recording",
        }
    }
}

/// How messages of a channel are serialised.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// OMG CDR, as ROS 2 uses it.
    Cdr,
    /// ROS 1 serialisation.
    Ros1,
    /// Protocol Buffers.
    Protobuf,
    /// JSON text.
    Json,
    /// PX4's packed structures.
    Ulog,
    /// Something that can be kept but not decoded here.
    Other(String),
}

impl Encoding {
    /// The name that MCAP uses (`ulog` is ours).
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cdr => "cdr",
            Self::Ros1 => "ros1",
            Self::Protobuf => "protobuf",
            Self::Json => "json",
            Self::Ulog => "ulog",
            Self::Other(name) => name,
        }
    }

    /// The encoding of a name.
    pub fn parse(name: &str) -> Self {
        match name {
            "cdr" => Self::Cdr,
            "ros1" => Self::Ros1,
            "protobuf" => Self::Protobuf,
            "json" => Self::Json,
            "ulog" => Self::Ulog,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The definition of a channel's messages as the file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `ros1msg`, `ros2msg`, `protobuf`, `jsonschema`, `ulog`, …
    pub encoding: String,
    /// Text, or a serialised FileDescriptorSet.
    pub data: Vec<u8>,
}

/// A stream of messages of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name, such as `/camera/image`.
    pub topic: String,
    /// Type of its messages, such as `sensor_msgs/msg/Image`.
    pub type_name: String,
    /// How they are serialised.
    pub encoding: Encoding,
    /// What they look like; `None` where the file does not say.
    pub definition: Option<Definition>,
    /// Whatever else the file says of it.
    pub metadata: BTreeMap<String, String>,
}

/// One message, borrowed from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Index into [`Log::channels`].
    pub channel: usize,
    /// When it was written to the log, nanoseconds.
    pub log_time: i64,
    /// When it was published, nanoseconds; the log time where the format does not say.
    pub publish_time: i64,
    /// The serialised message.
    pub data: &'a [u8],
}

/// What takes messages; an error stops the visit and comes back from it.
pub type Take<'t> = dyn FnMut(Message<'_>) -> Result<()> + 't;

/// An open log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    format: LogFormat,
    channels: Vec<Channel>,
    findings: Vec<Finding>,
    source: Source,
    /// Whether every message is compressed by itself.
    packed_messages: bool,
    /// Where files lie that were compressed as a whole.
    _unpacked: Option<TempDir>,
}

#[derive(Debug)]
enum Source {
    Mcap(mcap::Mcap),
    Rosbag1(rosbag1::Rosbag1),
    Rosbag2(rosbag2::Rosbag2),
    Ulog(ulog::Ulog),
    Rrd(Box<rrd::Rrd>),
}

/// Which clock orders the messages of a log that has several (Rerun's timelines).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogClock<'a> {
    /// Name of the timeline; one of times where not given.
    pub timeline: Option<&'a str>,
    /// Steps per second of a timeline that counts; times need none.
    pub ticks_per_sec: f64,
}

impl Default for LogClock<'_> {
    fn default() -> Self {
        Self { timeline: None, ticks_per_sec: 1.0 }
    }
}

/// What a format's room gives on opening.
struct Opened<S> {
    channels: Vec<Channel>,
    findings: Vec<Finding>,
    source: S,
}

impl Log {
    /// Opens the log at `path`: a file, or the folder of a rosbag2 recording.
    ///
    /// # Errors
    /// When it is missing, of no known format, or so damaged that nothing can be had from it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_by(path, LogClock::default())
    }

    /// As [`Log::open`], its messages ordered by a clock where it has several.
    ///
    /// # Errors
    /// As [`Log::open`], and where it has no such clock.
    pub fn open_by(path: &Path, clock: LogClock<'_>) -> Result<Self> {
        let format = detect(path)?.ok_or_else(|| no_log(path, "it is no message log"))?;
        let (files, unpacked) = packed::unpack(log_files(path)?)?;
        let mut log = match format {
            LogFormat::Mcap => Self::from(path, format, mcap::open(&files)?, Source::Mcap),
            LogFormat::Rosbag2 => {
                Self::from(path, format, rosbag2::open(path, &files)?, Source::Rosbag2)
            }
            LogFormat::Rosbag1 => {
                Self::from(path, format, rosbag1::open(&Bytes::open(path)?)?, Source::Rosbag1)
            }
            LogFormat::Ulog => {
                Self::from(path, format, ulog::open(&Bytes::open(path)?)?, Source::Ulog)
            }
            LogFormat::Rrd => {
                let opened = rrd::open(&Bytes::open(path)?, clock)?;
                Self::from(path, format, opened, |source| Source::Rrd(Box::new(source)))
            }
        };
        if path.is_dir() {
            log.findings.extend(rosbag2::compare_files(path)?);
        }
        log.packed_messages = matches!(format, LogFormat::Mcap | LogFormat::Rosbag2)
            && rosbag2::packs_messages(path)?;
        log._unpacked = unpacked;
        Ok(log)
    }

    fn from<S>(
        path: &Path,
        format: LogFormat,
        opened: Opened<S>,
        wrap: impl Fn(S) -> Source,
    ) -> Self {
        let Opened { channels, findings, source } = opened;
        let (path, source) = (path.to_owned(), wrap(source));
        Self { path, format, channels, findings, source, packed_messages: false, _unpacked: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Its channels; messages name them by position.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// What opening found: damage, a missing end, dropouts.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Hands the messages of the channels for which `wanted` is true to `take`, in the order of log
    /// time. Gives what was found to be damaged on the way.
    ///
    /// # Errors
    /// Those of `take`, and I/O errors.
    pub fn visit(
        &self,
        wanted: &dyn Fn(usize) -> bool,
        take: &mut Take<'_>,
    ) -> Result<Vec<Finding>> {
        let wanted: Vec<bool> = (0..self.channels.len()).map(wanted).collect();
        if !self.packed_messages {
            return self.visit_stored(&wanted, take);
        }
        let mut lost = 0u64;
        let mut findings = self.visit_stored(
            &wanted,
            &mut |message| match packed::unpack_message(message.data) {
                Ok(data) => take(Message { data: &data, ..message }),
                Err(_) => {
                    lost += 1;
                    Ok(())
                }
            },
        )?;
        if lost > 0 {
            let text = format!("{lost} messages are no whole zstd and are left out");
            findings.push(Finding::error("log-messages-damaged", text));
        }
        Ok(findings)
    }

    /// Messages as they are stored.
    fn visit_stored(&self, wanted: &[bool], take: &mut Take<'_>) -> Result<Vec<Finding>> {
        match &self.source {
            Source::Mcap(source) => source.visit(wanted, take),
            Source::Rosbag1(source) => source.visit(wanted, take),
            Source::Rosbag2(source) => source.visit(wanted, take),
            Source::Ulog(source) => source.visit(wanted, take),
            Source::Rrd(source) => source.visit(wanted, take),
        }
    }
}

/// The format of what lies at `path`; `None` where it is no message log.
///
/// # Errors
/// When it can't be read.
pub fn detect(path: &Path) -> Result<Option<LogFormat>> {
    if path.is_dir() {
        let files = log_files(path)?;
        let rosbag2 = path.join("metadata.yaml").is_file();
        return Ok(match files.first() {
            Some(first) if rosbag2 => detect(first)?,
            _ => None,
        });
    }
    if let Some(inner) = packed::inner_name(path) {
        // Compressed as a whole by rosbag2: its name says what is in it.
        let extension = Path::new(inner).extension().and_then(|e| e.to_str());
        return Ok(match extension {
            Some("db3") => Some(LogFormat::Rosbag2),
            Some("mcap") => Some(LogFormat::Mcap),
            _ => None,
        });
    }
    let mut head = [0u8; 16];
    let mut file = File::open(path).at("open", path)?;
    let mut len = 0;
    while len < head.len() {
        match file.read(&mut head[len..]).at("read", path)? {
            0 => break,
            n => len += n,
        }
    }
    let head = &head[..len];
    Ok(if head.starts_with(&mcap::MAGIC) {
        Some(LogFormat::Mcap)
    } else if head.starts_with(b"#ROSBAG V") {
        Some(LogFormat::Rosbag1)
    } else if head.starts_with(b"SQLite format 3\0") {
        Some(LogFormat::Rosbag2)
    } else if head.starts_with(&ulog::MAGIC) {
        Some(LogFormat::Ulog)
    } else if head.starts_with(&rrd::MAGIC) {
        Some(LogFormat::Rrd)
    } else {
        None
    })
}

/// The logs at `path`: itself where it is one, else the logs in the folder, in natural order of
/// their names (`bag_2` before `bag_10`).
///
/// # Errors
/// When the folder can't be read.
pub fn logs_at(path: &Path) -> Result<Vec<PathBuf>> {
    if detect(path)?.is_some() {
        return Ok(vec![path.to_owned()]);
    }
    let mut logs = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).at("read folder", path)? {
            let entry = entry.at("read folder", path)?;
            // Files whose beginning is still being written have hidden names.
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let entry = entry.path();
            if !hidden && detect(&entry)?.is_some() {
                logs.push(entry);
            }
        }
    }
    sort_naturally(&mut logs);
    Ok(logs)
}

/// The data files of a recording: the file itself, or those of a rosbag2 folder in order.
fn log_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).at("read folder", path)? {
        let file = entry.at("read folder", path)?.path();
        let inner = packed::inner_name(&file).map(PathBuf::from);
        let extension = inner.as_ref().unwrap_or(&file).extension().and_then(|e| e.to_str());
        if matches!(extension, Some("db3" | "mcap")) && file.is_file() {
            files.push(file);
        }
    }
    // What was unpacked by hand beside the packed file would be read twice.
    let names: Vec<PathBuf> = files.clone();
    files.retain(|f| packed::inner_name(f).is_none_or(|n| !names.contains(&f.with_file_name(n))));
    sort_naturally(&mut files);
    Ok(files)
}

/// Sorts such that numbers inside names count as numbers.
fn sort_naturally(paths: &mut [PathBuf]) {
    paths.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Text and the number behind it, again and again.
        let mut parts: Vec<(String, Option<u64>)> = vec![(String::new(), None)];
        for c in name.chars() {
            let at = parts.len() - 1;
            match (c.to_digit(10), parts[at].1) {
                (Some(digit), number) => {
                    let grown = number.unwrap_or(0).saturating_mul(10);
                    parts[at].1 = Some(grown.saturating_add(digit.into()));
                }
                (None, Some(_)) => parts.push((c.to_string(), None)),
                (None, None) => parts[at].0.push(c),
            }
        }
        (parts, name)
    });
}

fn no_log(path: &Path, why: &str) -> DataError {
    DataError::ReadLog {
        path: path.to_owned(),
        why: why.to_owned(),
        hint: "logs that can be read: MCAP, ROS 1 .bag, ROS 2 .db3 with its folder, PX4 .ulg, Rerun .rrd"
            .into(),
    }
}

/// A mapped file, cheap to share.
#[derive(Debug, Clone)]
struct Bytes {
    path: Arc<PathBuf>,
    map: Arc<Mmap>,
}

impl Bytes {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        let map = map_file(&file).at("map", path)?;
        Ok(Self { path: Arc::new(path.to_owned()), map: Arc::new(map) })
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A finding that says from where on the file can't be read.
    fn ends_at(&self, at: usize, why: &str) -> Finding {
        let text = format!(
            "readable up to byte {at} of {}, then: {why}; everything before it is used",
            self.map.len()
        );
        Finding::warning("log-cut-off", text).file(self.name())
    }

    /// A finding about one damaged chunk.
    fn chunk(&self, at: usize, why: &str) -> Finding {
        let text = format!("the chunk at byte {at} is damaged: {why}; its messages are lost");
        Finding::error("log-chunk-damaged", text).file(self.name())
    }
}

/// Reads little-endian numbers and slices out of foreign bytes; `None` past the end.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let out = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(out)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Option<u64> {
        let low = self.u32()?;
        Some(u64::from(self.u32()?) << 32 | u64::from(low))
    }

    /// A length as u64, if that many bytes are left.
    fn len64(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok().filter(|n| *n <= self.left())
    }

    /// Bytes behind their length as u32.
    fn block(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }
}

/// Nanoseconds as signed; what lies past the year 2262 is damage and is held at the end.
fn nanos(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
