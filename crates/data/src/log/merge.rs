//! Chunks to messages in the order of time.
//!
//! Loggers write chunks in the order of arrival, so chunks overlap. A chunk is loaded when the
//! earliest message still to come may be inside it, and dropped after its last message: memory is
//! bounded by the chunks that overlap. Ties keep the order of the file, so the order is the same
//! on every run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use embody_core::Result;

use super::{Message, Take};
use crate::finding::Finding;

/// A chunk of a file and the time that its messages span (both ends inclusive).
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub start: i64,
    pub end: i64,
}

/// A message inside a loaded chunk.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub channel: usize,
    pub log_time: i64,
    pub publish_time: i64,
    pub data: Range<usize>,
}

/// A loaded chunk: its bytes, and the messages of the wanted channels.
pub(super) struct Loaded<'a> {
    pub bytes: std::borrow::Cow<'a, [u8]>,
    pub entries: Vec<Entry>,
    /// What inside it was damaged.
    pub finding: Option<Finding>,
}

/// Hands out the messages of all `places` in order; `load` opens chunk number `i`, or says what is
/// wrong with it.
pub(super) fn merge<'a>(
    places: &[Place],
    load: &dyn Fn(usize) -> std::result::Result<Loaded<'a>, Box<Finding>>,
    take: &mut Take<'_>,
) -> Result<Vec<Finding>> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&i| (places[i].start, i));
    let mut waiting = order.into_iter().peekable();
    let mut open: HashMap<usize, Loaded<'a>> = HashMap::new();
    let mut heap: BinaryHeap<Reverse<(i64, usize, usize)>> = BinaryHeap::new();
    let mut findings = Vec::new();
    loop {
        while let Some(&chunk) = waiting.peek() {
            if heap.peek().is_some_and(|Reverse(next)| next.0 < places[chunk].start) {
                break;
            }
            waiting.next();
            match load(chunk) {
                Ok(mut loaded) => {
                    findings.extend(loaded.finding.take());
                    loaded.entries.sort_by_key(|e| e.log_time);
                    if let Some(first) = loaded.entries.first() {
                        heap.push(Reverse((first.log_time, chunk, 0)));
                        open.insert(chunk, loaded);
                    }
                }
                Err(finding) => findings.push(*finding),
            }
        }
        let Some(Reverse((_, chunk, at))) = heap.pop() else { break };
        let Some(loaded) = open.get(&chunk) else { continue };
        let entry = &loaded.entries[at];
        let data = loaded.bytes.get(entry.data.clone()).unwrap_or(&[]);
        let (log_time, publish_time) = (entry.log_time, entry.publish_time);
        take(Message { channel: entry.channel, log_time, publish_time, data })?;
        match loaded.entries.get(at + 1) {
            Some(next) => heap.push(Reverse((next.log_time, chunk, at + 1))),
            None => {
                open.remove(&chunk);
            }
        }
    }
    Ok(findings)
}

/// A chunk that is not compressed: consecutive messages of the mapped file.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub place: Place,
    pub bytes: Range<usize>,
}

/// Gathers consecutive messages into runs of bounded size.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub runs: Vec<Run>,
}

/// Bytes of a run: small beside memory, large beside a message.
const RUN_BYTES: usize = 1 << 20;

impl Runs {
    /// Adds the message at `bytes`.
    pub fn add(&mut self, time: i64, bytes: Range<usize>) {
        match self.runs.last_mut() {
            Some(run) if run.bytes.len() < RUN_BYTES && run.bytes.end == bytes.start => {
                run.place.start = run.place.start.min(time);
                run.place.end = run.place.end.max(time);
                run.bytes.end = bytes.end;
            }
            _ => self.runs.push(Run { place: Place { start: time, end: time }, bytes }),
        }
    }
}
