//! Rerun recordings as message logs: an entity's archetype is a channel, a row is a message.
//!
//! Rows are handed out as the ROS 2 message that means the same ([`message`]), so that mapping,
//! resampling and kept streams are those of every other log; what has no such message becomes JSON.
//! A recording has several timelines: one that the caller names orders the messages, else one of
//! times (durations before stamps, `log_time` last), else a sequence, whose steps are given a rate.

mod message;
mod video;

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field};
use embody_core::{Result, nearest_key};

use super::merge::{Entry, Loaded, Place, merge};
use super::{Bytes, Channel, LogClock, Opened, Take, no_log};
use crate::error::DataError;
use crate::finding::Finding;
use crate::rrd::{MAGIC as RRD, Parsed, batch, parse};

use message::Form;

pub(super) const MAGIC: [u8; 4] = RRD;

/// Archetypes that say how others look; their static values are no messages.
const LOOKS: [&str; 5] =
    ["SeriesLines", "SeriesPoints", "AssetVideo", "VideoStream", "RecordingInfo"];

#[derive(Debug)]
pub(super) struct Rrd {
    bytes: Bytes,
    parsed: Parsed,
    /// Index into the chunks of `parsed`, or a video's frames.
    places: Vec<(Place, What)>,
    clock: Clock,
    channels: Vec<Form>,
    /// Channel by entity and archetype.
    ids: BTreeMap<(String, String), usize>,
    /// First time, at which static rows are handed out.
    start: i64,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Chunk(usize),
    /// Channel, and the part of its frames.
    Frames(usize, usize),
}

/// The timeline that orders messages.
#[derive(Debug, Clone)]
struct Clock {
    timeline: String,
    /// Nanoseconds of a step.
    step: f64,
}

impl Clock {
    fn time(&self, value: i64) -> i64 {
        if self.step == 1.0 { value } else { (value as f64 * self.step) as i64 }
    }
}

/// One chunk's columns, by what they are.
struct Rows {
    entity: String,
    times: Vec<(String, ArrayRef)>,
    /// Archetype, field, and a list per row.
    components: Vec<(String, String, ArrayRef)>,
}

impl Rows {
    fn of(rows: &RecordBatch) -> std::result::Result<Self, String> {
        let schema = rows.schema_ref();
        let about = |field: &Field, key: &str| {
            field.metadata().get(key).map(|value| value.to_string()).unwrap_or_default()
        };
        let entity = schema.metadata().get("rerun:entity_path").map(|value| value.to_string());
        let entity = entity.ok_or("it names no entity: rerun rrd migrate brings it up to date")?;
        let (mut times, mut components) = (Vec::new(), Vec::new());
        for (field, column) in schema.fields().iter().zip(rows.columns()) {
            match about(field, "rerun:kind").as_str() {
                "index" => times.push((about(field, "rerun:index_name"), column.clone())),
                "data" => {
                    let archetype = about(field, "rerun:archetype");
                    let archetype = archetype.rsplit('.').next().unwrap_or("").to_owned();
                    let component = about(field, "rerun:component");
                    let name = component.rsplit(':').next().unwrap_or("").to_owned();
                    components.push((archetype, name, column.clone()));
                }
                _ => {}
            }
        }
        Ok(Self { entity, times, components })
    }

    fn archetypes(&self) -> BTreeSet<&str> {
        self.components.iter().map(|c| c.0.as_str()).collect()
    }

    /// The fields of an archetype.
    fn fields(&self, archetype: &str) -> Vec<(&str, &ArrayRef)> {
        let own = self.components.iter().filter(|c| c.0 == archetype);
        own.map(|c| (c.1.as_str(), &c.2)).collect()
    }

    /// Times of the rows by a clock; `None` where the chunk does not lie on its timeline.
    fn clock(&self, clock: &Clock) -> Option<Vec<Option<i64>>> {
        let (_, column) = self.times.iter().find(|(name, _)| *name == clock.timeline)?;
        let whole = arrow_cast::cast(column, &DataType::Int64).ok()?;
        Some(whole.as_primitive::<Int64Type>().iter().map(|t| Some(clock.time(t?))).collect())
    }
}

/// What a first pass over all chunks finds.
#[derive(Default)]
struct Found {
    /// Type and number of chunks of each timeline.
    timelines: BTreeMap<String, (Option<DataType>, usize)>,
    /// Chunks with rows in time.
    temporal: usize,
    /// Fields by entity and archetype; whether any lies in time.
    forms: BTreeMap<(String, String), (BTreeSet<String>, bool)>,
    statics: message::Statics,
}

impl Found {
    fn add(&mut self, rows: &Rows) {
        self.temporal += usize::from(!rows.times.is_empty());
        for (name, column) in &rows.times {
            let entry = self.timelines.entry(name.clone()).or_insert((None, 0));
            entry.0 = Some(column.data_type().clone());
            entry.1 += 1;
        }
        for (archetype, field, _) in &rows.components {
            let key = (rows.entity.clone(), archetype.clone());
            let entry = self.forms.entry(key).or_default();
            entry.0.insert(field.clone());
            entry.1 |= !rows.times.is_empty();
        }
        self.statics.add(rows);
    }

    /// The timeline that orders messages.
    fn clock(&self, asked: LogClock<'_>) -> std::result::Result<Clock, String> {
        let names = || self.timelines.keys().map(String::as_str);
        let name = match asked.timeline {
            Some(asked) if self.timelines.contains_key(asked) => asked,
            Some(asked) => {
                let near = nearest_key(asked, names());
                let near = near.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
                let known: Vec<&str> = names().collect();
                return Err(format!("no timeline {asked:?}, it has {}{near}", known.join(", ")));
            }
            None => {
                let rank = |name: &str, kind: &Option<DataType>| match kind {
                    _ if name == "log_time" => 2,
                    Some(DataType::Duration(_)) => 0,
                    Some(DataType::Timestamp(..)) => 1,
                    _ if name == "log_tick" => 4,
                    _ => 3,
                };
                let by = |(name, (kind, count)): &(&String, &(Option<DataType>, usize))| {
                    // A timeline that only some chunks lie on would lose the others.
                    (*count < self.temporal, rank(name, kind), (*name).clone())
                };
                match self.timelines.iter().min_by_key(by) {
                    Some((name, _)) => name,
                    None => "",
                }
            }
        };
        let kind = self.timelines.get(name).and_then(|t| t.0.as_ref());
        let time = matches!(kind, Some(DataType::Duration(_) | DataType::Timestamp(..)) | None);
        let step = if time { 1.0 } else { 1e9 / asked.ticks_per_sec };
        Ok(Clock { timeline: name.to_owned(), step })
    }
}

/// Opens a recording.
pub(super) fn open(bytes: &Bytes, asked: LogClock<'_>) -> Result<Opened<Rrd>> {
    let refuse = |why: String| no_log(&bytes.path, &why);
    let parsed = parse(&bytes.map).map_err(refuse)?;
    let mut findings = Vec::new();
    if let Some((at, why)) = &parsed.trouble {
        findings.push(bytes.ends_at(*at, why));
    }
    let recordings: Vec<&str> =
        parsed.stores.iter().filter(|s| s.recording).map(|s| s.id.as_str()).collect();
    if recordings.len() > 1 {
        return Err(DataError::ReadLog {
            path: bytes.path.to_path_buf(),
            why: format!(
                "it holds {} recordings, from {:?} to {:?}; a log is one",
                recordings.len(),
                recordings[0],
                recordings[recordings.len() - 1]
            ),
            hint: "write each to a file of its own, as embody data export to a folder does".into(),
        }
        .into());
    }
    let mut found = Found::default();
    for place in parsed.chunks.iter().filter(|c| parsed.stores[c.store].recording) {
        match batch(&bytes.map, place).and_then(|rows| Rows::of(&rows)) {
            Ok(rows) => found.add(&rows),
            Err(why) => findings.push(bytes.chunk(place.at, &why)),
        }
    }
    let clock = found.clock(asked).map_err(refuse)?;
    let mut rrd = Rrd {
        bytes: bytes.clone(),
        parsed,
        places: Vec::new(),
        clock,
        channels: Vec::new(),
        ids: BTreeMap::new(),
        start: 0,
    };
    let channels = rrd.channels(&found);
    findings.extend(rrd.index(&found));
    Ok(Opened { channels, findings, source: rrd })
}

impl Rrd {
    fn channels(&mut self, found: &Found) -> Vec<Channel> {
        let mut out = Vec::new();
        let shown = |key: &&(String, String)| {
            let (fields, temporal) = &found.forms[*key];
            !fields.is_empty()
                && !key.0.starts_with("/__")
                && (*temporal || !LOOKS.contains(&key.1.as_str()))
                && !LOOKS[..2].contains(&key.1.as_str())
        };
        let keys: Vec<&(String, String)> = found.forms.keys().filter(shown).collect();
        for key in &keys {
            let (entity, archetype) = key;
            let form = Form::of(entity, archetype, &found.forms[*key].0, &found.statics);
            let alone = keys.iter().filter(|k| k.0 == *entity).count() == 1;
            let topic = if alone { entity.clone() } else { format!("{entity}:{archetype}") };
            out.push(form.channel(topic, archetype, &self.clock.timeline));
            self.ids.insert((*key).clone(), self.channels.len());
            self.channels.push(form);
        }
        out
    }

    /// Finds when each chunk's rows are.
    fn index(&mut self, found: &Found) -> Vec<Finding> {
        let (mut findings, mut statics) = (Vec::new(), Vec::new());
        let mut outside: BTreeMap<String, usize> = BTreeMap::new();
        let mut start: Option<i64> = None;
        let mut references: BTreeMap<usize, Vec<(i64, i64)>> = BTreeMap::new();
        for (i, place) in self.parsed.chunks.iter().enumerate() {
            if !self.parsed.stores[place.store].recording {
                continue;
            }
            // What can't be read was said on the first pass.
            let Ok(rows) = batch(&self.bytes.map, place).and_then(|rows| Rows::of(&rows)) else {
                continue;
            };
            if rows.times.is_empty() {
                statics.push(i);
                continue;
            }
            let Some(times) = rows.clock(&self.clock) else {
                *outside.entry(rows.entity).or_default() += 1;
                continue;
            };
            let there = || times.iter().flatten().copied();
            let (Some(from), Some(to)) = (there().min(), there().max()) else { continue };
            start = Some(start.map_or(from, |s| s.min(from)));
            self.places.push((Place { start: from, end: to }, What::Chunk(i)));
            for archetype in rows.archetypes() {
                let id = self.ids.get(&(rows.entity.clone(), archetype.to_owned()));
                let Some((&id, Form::Footage(_))) = id.map(|id| (id, &self.channels[*id])) else {
                    continue;
                };
                let shown = video::references(&rows.fields(archetype));
                let shown = times.iter().zip(shown).filter_map(|(t, at)| Some(((*t)?, at?)));
                references.entry(id).or_default().extend(shown);
            }
        }
        for (id, mut shown) in references {
            shown.sort_by_key(|s| s.0);
            let Form::Footage(footage) = &mut self.channels[id] else { continue };
            for (number, place) in footage.show(&shown).into_iter().enumerate() {
                self.places.push((place, What::Frames(id, number)));
            }
        }
        self.start = start.unwrap_or(0);
        let at = Place { start: self.start, end: self.start };
        self.places.extend(statics.into_iter().map(|i| (at, What::Chunk(i))));
        for (entity, count) in outside {
            let has: Vec<&str> = found.timelines.keys().map(String::as_str).collect();
            let text = format!(
                "{count} chunks of {entity} do not lie on timeline {:?} and are left out",
                self.clock.timeline
            );
            let hint = format!("choose another with timeline = \"…\": {}", has.join(", "));
            findings.push(Finding::error("log-other-timeline", text).hint(hint));
        }
        findings
    }

    pub fn visit(&self, wanted: &[bool], take: &mut Take<'_>) -> Result<Vec<Finding>> {
        let places: Vec<Place> = self.places.iter().map(|p| p.0).collect();
        merge(&places, &|i| self.load(i, wanted), take)
    }

    fn load(&self, i: usize, wanted: &[bool]) -> std::result::Result<Loaded<'_>, Box<Finding>> {
        let mut out = Loading { bytes: Vec::new(), entries: Vec::new() };
        let chunk = match self.places[i].1 {
            What::Chunk(chunk) => &self.parsed.chunks[chunk],
            What::Frames(channel, part) => {
                if let (true, Form::Footage(footage)) = (wanted[channel], &self.channels[channel]) {
                    footage.load(part, |time, message| out.put(channel, time, &message));
                }
                return Ok(out.done(None));
            }
        };
        let damaged = |why: String| Box::new(self.bytes.chunk(chunk.at, &why));
        let rows = batch(&self.bytes.map, chunk).and_then(|r| Rows::of(&r)).map_err(damaged)?;
        let count = rows.components.iter().map(|c| c.2.len()).max().unwrap_or(0);
        let times = match rows.times.is_empty() {
            true => vec![Some(self.start); count],
            false => rows.clock(&self.clock).unwrap_or_default(),
        };
        let mut trouble = None;
        for archetype in rows.archetypes() {
            let key = (rows.entity.clone(), archetype.to_owned());
            let Some(&channel) = self.ids.get(&key).filter(|id| wanted[**id]) else { continue };
            let fields = rows.fields(archetype);
            for (row, time) in times.iter().enumerate() {
                let Some(time) = *time else { continue };
                match self.channels[channel].message(&fields, row, time) {
                    Ok(Some(message)) => out.put(channel, time, &message),
                    Ok(None) => {}
                    Err(why) => trouble = Some(format!("{}, row {row}: {why}", rows.entity)),
                }
            }
        }
        Ok(out.done(trouble.map(|why| self.bytes.chunk(chunk.at, &why))))
    }
}

/// Messages being made.
struct Loading {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Loading {
    fn put(&mut self, channel: usize, time: i64, message: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(message);
        let data = from..self.bytes.len();
        self.entries.push(Entry { channel, log_time: time, publish_time: time, data });
    }

    fn done(self, finding: Option<Finding>) -> Loaded<'static> {
        Loaded { bytes: self.bytes.into(), entries: self.entries, finding }
    }
}
