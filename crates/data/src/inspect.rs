//! Looking at message logs: what is in them, how regular it is, and what it could become.

use std::path::{Path, PathBuf};

use embody_core::{Result, Task};
use indexmap::IndexMap;
use serde::Serialize;

use crate::error::DataError;
use crate::finding::Finding;
use crate::log::{Channel, ClockDrift, Log, Timing, clock_drift, logs_at, timing};
use crate::mapping;
use crate::message::{Decoder, Plan, Tree, Value};

/// What lies in one log or in a folder of logs.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The logs.
    pub logs: Vec<LogReport>,
    /// The channels of all logs, by topic.
    pub channels: Vec<ChannelReport>,
    /// Damage and other things worth knowing.
    pub findings: Vec<Finding>,
}

/// One log.
#[derive(Debug, Clone, Serialize)]
pub struct LogReport {
    /// Where.
    pub path: PathBuf,
    /// Format, such as `MCAP`.
    pub format: &'static str,
    /// Number of messages.
    pub messages: usize,
    /// From the first message to the last, seconds.
    pub duration_secs: f64,
}

/// One channel.
#[derive(Debug, Clone, Serialize)]
pub struct ChannelReport {
    /// Its name.
    pub topic: String,
    /// Type of its messages.
    pub type_name: String,
    /// How they are serialised.
    pub encoding: String,
    /// Rate and regularity.
    #[serde(flatten)]
    pub timing: Timing,
    /// Log time against the stamps in the messages.
    pub clock: Option<ClockDrift>,
    /// The first message, large lists shortened.
    pub sample: serde_json::Value,
    /// Names of the joints, for joint states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joint_names: Option<Vec<String>>,
    /// Why its messages can't be decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl std::ops::Deref for ChannelReport {
    type Target = Timing;

    fn deref(&self) -> &Timing {
        &self.timing
    }
}

impl Inspection {
    /// The text of a mapping from these logs to a dataset, to be edited.
    pub fn propose_mapping(&self) -> String {
        mapping::propose(self)
    }
}

/// Reads the stamp of a message: `header.stamp`, `timestamp`, or the microseconds of ULog.
#[derive(Debug)]
pub(crate) struct Stamp(Plan);

impl Stamp {
    /// For messages that have one.
    pub fn of(decoder: &Decoder) -> Option<Self> {
        ["header.stamp", "timestamp", "stamp"].iter().find_map(|path| {
            // JSON fits any path; only a message would tell.
            let cheap = decoder.schema().is_some();
            decoder.plan(&[path]).ok().filter(|_| cheap).map(Self)
        })
    }

    /// As [`Self::of`], also for encodings where only a message tells.
    pub fn find(decoder: &Decoder, message: &[u8]) -> Option<Self> {
        ["header.stamp", "timestamp", "stamp"].iter().find_map(|path| {
            let mut stamp = Self(decoder.plan(&[path]).ok()?);
            stamp.read(message).map(|_| stamp)
        })
    }

    /// Nanoseconds.
    pub fn read(&mut self, message: &[u8]) -> Option<i64> {
        match self.0.extract(message).ok()? {
            [Value::Ints(parts)] => match parts[..] {
                [secs, nanos] => secs.checked_mul(1_000_000_000)?.checked_add(nanos),
                [micros] => micros.checked_mul(1000),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Gathered about a topic while reading.
struct Gathered {
    channel: Channel,
    decoder: std::result::Result<Decoder, String>,
    stamp: Option<Stamp>,
    times: Vec<Vec<i64>>,
    stamps: Vec<i64>,
    sample: Option<Tree>,
}

/// Inspects the log at `path`, or all logs in that folder.
///
/// # Errors
/// When there is no log, or one can't be read at all.
pub fn inspect(path: &Path, task: Task<'_>) -> Result<Inspection> {
    if !path.exists() {
        return Err(DataError::Missing { path: path.to_owned() }.into());
    }
    let paths = logs_at(path)?;
    if paths.is_empty() {
        // Opening it says what can be read.
        Log::open(path)?;
    }
    let mut topics: IndexMap<(String, String), Gathered> = IndexMap::new();
    let mut logs = Vec::new();
    let mut findings = Vec::new();
    task.begin("inspect", Some(paths.len() as u64), "logs");
    for (done, path) in paths.iter().enumerate() {
        logs.push(look(path, done, &mut topics, &mut findings, task)?);
        task.advance("inspect", done as u64 + 1, "")?;
    }
    task.end("inspect");
    let mut channels: Vec<ChannelReport> = topics.into_values().map(report).collect();
    channels.sort_by(|a, b| (&a.topic, &a.type_name).cmp(&(&b.topic, &b.type_name)));
    Ok(Inspection { logs, channels, findings })
}

fn look(
    path: &Path,
    number: usize,
    topics: &mut IndexMap<(String, String), Gathered>,
    findings: &mut Vec<Finding>,
    task: Task<'_>,
) -> Result<LogReport> {
    let log = Log::open(path)?;
    findings.extend_from_slice(log.findings());
    let places: Vec<usize> = log
        .channels()
        .iter()
        .map(|channel| {
            let key = (channel.topic.clone(), channel.type_name.clone());
            let entry = topics.entry(key);
            let at = entry.index();
            entry.or_insert_with(|| {
                let decoder = Decoder::new(channel);
                let stamp = decoder.as_ref().ok().and_then(Stamp::of);
                let channel = channel.clone();
                let (times, stamps, sample) = (Vec::new(), Vec::new(), None);
                Gathered { channel, decoder, stamp, times, stamps, sample }
            });
            at
        })
        .collect();
    let (mut messages, mut first, mut last) = (0usize, i64::MAX, i64::MIN);
    let found = log.visit(&|_| true, &mut |message| {
        if messages % 4096 == 0 {
            task.cancel.check()?;
        }
        messages += 1;
        first = first.min(message.log_time);
        last = last.max(message.log_time);
        let topic = &mut topics[places[message.channel]];
        topic.times.resize_with(number + 1, Vec::new);
        topic.times[number].push(message.log_time);
        // Drift is a matter of one clock: the first log shows it.
        if number == 0
            && let Some(stamp) = &mut topic.stamp
        {
            topic.stamps.push(stamp.read(message.data).unwrap_or(0));
        }
        if topic.sample.is_none()
            && let Ok(decoder) = &topic.decoder
        {
            match decoder.tree(message.data) {
                Ok(tree) => topic.sample = Some(tree),
                Err(why) => topic.decoder = Err(why),
            }
        }
        Ok(())
    })?;
    findings.extend(found);
    let duration_secs = if messages > 0 { last.saturating_sub(first) as f64 / 1e9 } else { 0.0 };
    Ok(LogReport { path: path.to_owned(), format: log.format().as_str(), messages, duration_secs })
}

fn report(topic: Gathered) -> ChannelReport {
    let clock = topic.times.first().and_then(|t| clock_drift(t, &topic.stamps));
    let joint_names = topic.sample.as_ref().and_then(|tree| match tree.get("name") {
        Some(Tree::List(names)) => names
            .iter()
            .map(|n| if let Tree::Text(text) = n { Some(text.clone()) } else { None })
            .collect(),
        _ => None,
    });
    ChannelReport {
        topic: topic.channel.topic,
        type_name: topic.channel.type_name,
        encoding: topic.channel.encoding.as_str().to_owned(),
        timing: timing(&topic.times),
        clock,
        sample: topic.sample.as_ref().map_or(serde_json::Value::Null, |t| shortened(t).to_json()),
        joint_names,
        problem: topic.decoder.err(),
    }
}

/// The tree with lists cut to a few elements.
fn shortened(tree: &Tree) -> Tree {
    const KEPT: usize = 8;
    match tree {
        Tree::List(items) => Tree::List(items.iter().take(KEPT).map(shortened).collect()),
        Tree::Bytes(bytes) => Tree::Bytes(bytes.iter().take(KEPT).copied().collect()),
        Tree::Fields(fields) => {
            Tree::Fields(fields.iter().map(|(k, v)| (k.clone(), shortened(v))).collect())
        }
        other => other.clone(),
    }
}
