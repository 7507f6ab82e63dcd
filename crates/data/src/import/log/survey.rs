//! First pass over a log: which messages there are and when, what their numbers are called. Nothing
//! of a message is kept but its time, its stamp, and the texts that say what an episode is about.

use std::collections::HashMap;

use embody_core::{Result, Task, nearest_key};

use crate::error::DataError;
use crate::finding::Finding;
use crate::inspect::Stamp;
use crate::log::{Channel, Log, Message};
use crate::mapping::{Clock, FieldRef, Mapping, Method};
use crate::message::{Camera, Decoder, Kind, Plan, Tree, Value};

/// A mapped topic of one log.
pub(super) struct Stream {
    pub topic: String,
    /// The first of its channels.
    pub channel: Channel,
    pub decoder: Decoder,
    /// Log times, in the order of the log.
    pub log_times: Vec<i64>,
    /// Stamps, where messages have them.
    pub stamps: Vec<i64>,
    /// Times by the mapping's clock, ascending.
    pub times: Vec<i64>,
    /// Place in `times` of each message in the order of the log; `None` where that is the same.
    pub rank: Option<Vec<usize>>,
    /// Messages before the first key frame of a video; they are not counted.
    pub skipped: usize,
    /// The first message.
    pub first: Option<Vec<u8>>,
}

/// What reading a stream needs besides.
struct Reader {
    stamp: Option<Stamp>,
    /// Whether a stamp was looked for in the first message.
    looked: bool,
    video: bool,
    clock_times: Vec<i64>,
}

/// One place of the dataset that a stream fills.
pub(super) struct Part {
    /// Key of the feature or camera.
    pub key: String,
    pub stream: usize,
    /// Which of the stream's fields; `None` for pictures.
    pub slot: Option<usize>,
    pub method: Method,
    pub max_age: Option<i64>,
    pub non_finite: Option<f64>,
    /// Count of numbers; 0 for pictures.
    pub width: usize,
    pub names: Vec<String>,
}

/// Values of a field over time.
pub(super) type Texts = Vec<(i64, Value)>;

/// A log, surveyed.
pub(super) struct Survey {
    pub streams: Vec<Stream>,
    /// Stream by channel of the log.
    pub of_channel: Vec<Option<usize>>,
    pub parts: Vec<Part>,
    /// Field paths of each stream, by slot.
    pub fields: Vec<Vec<String>>,
    pub tasks: Texts,
    pub events: Texts,
    pub outcomes: Texts,
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Surveys `log` as `mapping` asks.
    pub fn of(log: &Log, mapping: &Mapping, task: Task<'_>) -> Result<Self> {
        let mut survey = Self {
            streams: Vec::new(),
            of_channel: vec![None; log.channels().len()],
            parts: Vec::new(),
            fields: Vec::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            outcomes: Vec::new(),
            findings: log.findings().to_vec(),
        };
        for topic in mapping.topics() {
            survey.add_stream(log, mapping, topic)?;
        }
        survey.read(log, mapping, task)?;
        survey.add_parts(log, mapping)?;
        Ok(survey)
    }

    fn add_stream(&mut self, log: &Log, mapping: &Mapping, topic: &str) -> Result<()> {
        let channels = log.channels();
        let Some(first) = channels.iter().find(|c| c.topic == topic) else {
            let known: Vec<&str> = channels.iter().map(|c| c.topic.as_str()).collect();
            let near = nearest_key(topic, known.iter().copied());
            let hint = near.map_or_else(
                || format!("it has {}", known.join(", ")),
                |near| format!("did you mean {near:?}?"),
            );
            let why = format!("{} has no topic {topic:?}", log.path().display());
            return Err(mapping.error(topic, why, hint).into());
        };
        for (i, channel) in channels.iter().enumerate().filter(|(_, c)| c.topic == topic) {
            if channel.type_name != first.type_name || channel.encoding != first.encoding {
                let why = format!(
                    "topic {topic:?} of {} carries both {} and {}",
                    log.path().display(),
                    first.type_name,
                    channel.type_name
                );
                return Err(mapping.error(topic, why, "one topic must carry one type").into());
            }
            self.of_channel[i] = Some(self.streams.len());
        }
        let decoder = Decoder::new(first).map_err(|why| {
            let why = format!("topic {topic:?} can't be decoded: {why}");
            mapping.error(topic, why, "record it with definitions (MCAP), or leave the topic out")
        })?;
        self.streams.push(Stream {
            topic: topic.to_owned(),
            channel: first.clone(),
            decoder,
            log_times: Vec::new(),
            stamps: Vec::new(),
            times: Vec::new(),
            rank: None,
            skipped: 0,
            first: None,
        });
        self.fields.push(Vec::new());
        Ok(())
    }

    fn read(&mut self, log: &Log, mapping: &Mapping, task: Task<'_>) -> Result<()> {
        let place = |field: &Option<FieldRef>| -> Result<Option<(usize, Plan)>> {
            field.as_ref().map(|field| self.field(mapping, field)).transpose()
        };
        let mut task_from = place(&mapping.task_from)?;
        let mut outcome_from = place(&mapping.outcome_from)?;
        let rule = &mapping.episodes;
        let event = rule.topic.clone().zip(rule.field.clone());
        let mut event = place(&event.map(|(topic, field)| FieldRef { topic, field }))?;
        let clock = mapping.clock;
        let mut readers: Vec<Reader> = self
            .streams
            .iter()
            .map(|stream| Reader {
                stamp: Stamp::of(&stream.decoder),
                looked: clock != Clock::Header,
                video: stream.channel.type_name.ends_with("CompressedVideo"),
                clock_times: Vec::new(),
            })
            .collect();
        let (of_channel, streams) = (self.of_channel.clone(), &mut self.streams);
        let (tasks, events) = (&mut self.tasks, &mut self.events);
        let outcomes = &mut self.outcomes;
        let mut count = 0usize;
        let found = log.visit(&|c| of_channel[c].is_some(), &mut |message| {
            count += 1;
            if count.is_multiple_of(4096) {
                task.cancel.check()?;
            }
            let Some(at) = of_channel[message.channel] else { return Ok(()) };
            let time = streams[at].add(&mut readers[at], clock, message);
            for (wanted, out) in [
                (&mut task_from, &mut *tasks),
                (&mut event, &mut *events),
                (&mut outcome_from, &mut *outcomes),
            ] {
                if let Some((stream, plan)) = wanted
                    && *stream == at
                {
                    let number = streams[at].log_times.len().saturating_sub(1);
                    let values = plan
                        .extract(message.data)
                        .map_err(|why| unreadable(log, &streams[at], number, why))?;
                    out.extend(values.first().map(|v| (time, v.clone())));
                }
            }
            Ok(())
        })?;
        self.findings.extend(found);
        for (stream, reader) in self.streams.iter_mut().zip(readers) {
            stream.settle(reader.clock_times);
            if stream.skipped > 0 {
                let text = format!(
                    "{}: {} messages before the first key frame can't be shown",
                    stream.topic, stream.skipped
                );
                self.findings.push(Finding::warning("video-starts-late", text));
            }
        }
        self.tasks.sort_by_key(|t| t.0);
        self.events.sort_by_key(|t| t.0);
        self.outcomes.sort_by_key(|t| t.0);
        Ok(())
    }

    fn field(&self, mapping: &Mapping, field: &FieldRef) -> Result<(usize, Plan)> {
        let at = self.stream(&field.topic);
        let plan = self.streams[at].decoder.plan(&[&field.field]).map_err(|why| {
            mapping.error(&field.field, format!("topic {:?}: {why}", field.topic), SEE)
        })?;
        Ok((at, plan))
    }

    fn stream(&self, topic: &str) -> usize {
        // Every topic that the mapping names was added before.
        self.streams.iter().position(|s| s.topic == topic).unwrap_or(0)
    }

    fn add_parts(&mut self, log: &Log, mapping: &Mapping) -> Result<()> {
        let nanos = |age: Option<f64>| age.map(|secs| (secs * 1e9).min(9e18) as i64);
        for (key, feature) in &mapping.features {
            for source in &feature.from {
                let stream = self.stream(&source.topic);
                let field = source.field.clone();
                let method = source.method.unwrap_or(feature.method);
                let width = self.width(log, mapping, stream, &field)?;
                let place = || format!("{key}: field {field:?} of {:?}", source.topic);
                if method == Method::Slerp && width != 4 {
                    let why = format!("{} has {width} numbers", place());
                    let hint = "slerp is for quaternions of four numbers x, y, z, w";
                    return Err(mapping.error(&field, why, hint).into());
                }
                let names = match &source.names {
                    Some(names) if names.len() != width => {
                        let why = format!("{} has {width} numbers, {} names", place(), names.len());
                        return Err(mapping
                            .error(&field, why, "give a name for each number")
                            .into());
                    }
                    Some(names) => names.clone(),
                    None => names_of(&self.streams[stream].decoder, &field, width),
                };
                self.fields[stream].push(field);
                self.parts.push(Part {
                    key: key.clone(),
                    stream,
                    slot: Some(self.fields[stream].len() - 1),
                    method,
                    max_age: nanos(feature.max_age_secs),
                    non_finite: source.non_finite,
                    width,
                    names,
                });
            }
        }
        for (key, camera) in &mapping.cameras {
            let stream = self.stream(&camera.topic);
            Camera::new(&self.streams[stream].channel.type_name, &self.streams[stream].decoder)
                .map_err(|why| mapping.error(&camera.topic, format!("{key}: {why}"), SEE))?;
            self.parts.push(Part {
                key: key.clone(),
                stream,
                slot: None,
                method: camera.method,
                max_age: nanos(camera.max_age_secs),
                non_finite: None,
                width: 0,
                names: Vec::new(),
            });
        }
        Ok(())
    }

    /// How many numbers a field has, from the first message.
    fn width(&self, log: &Log, mapping: &Mapping, stream: usize, field: &str) -> Result<usize> {
        let stream = &self.streams[stream];
        let bad =
            |why: String| mapping.error(field, format!("topic {:?}: {why}", stream.topic), SEE);
        let mut plan = stream.decoder.plan(&[field]).map_err(bad)?;
        let Some(first) = &stream.first else {
            let why = format!("there is no message in {}", log.path().display());
            return Err(bad(why).into());
        };
        let values = plan.extract(first).map_err(|why| unreadable(log, stream, 0, why))?;
        let mut numbers = Vec::new();
        match values.first() {
            Some(value) if value.numbers(&mut numbers) && !numbers.is_empty() => Ok(numbers.len()),
            _ => Err(bad(format!("field {field:?} holds no numbers")).into()),
        }
    }
}

const SEE: &str = "embody data inspect LOG shows topics, types and a message of each";

impl Stream {
    /// Notes a message; its time by `clock`.
    fn add(&mut self, reader: &mut Reader, clock: Clock, message: Message<'_>) -> i64 {
        if reader.video {
            if !begins_video(&self.decoder, message.data) {
                self.skipped += 1;
                return message.log_time;
            }
            reader.video = false;
        }
        if self.first.is_none() {
            self.first = Some(message.data.to_vec());
        }
        if !reader.looked {
            reader.looked = true;
            if reader.stamp.is_none() {
                reader.stamp = Stamp::find(&self.decoder, message.data);
            }
        }
        let stamp = reader.stamp.as_mut().and_then(|s| s.read(message.data));
        let time = match clock {
            Clock::Log => message.log_time,
            Clock::Publish => message.publish_time,
            Clock::Header => stamp.filter(|s| *s != 0).unwrap_or(message.log_time),
        };
        self.log_times.push(message.log_time);
        self.stamps.extend(stamp);
        reader.clock_times.push(time);
        time
    }

    /// Orders times where the clock is not that of the log.
    fn settle(&mut self, times: Vec<i64>) {
        if self.stamps.len() != self.log_times.len() {
            self.stamps.clear();
        }
        if times.is_sorted() {
            self.times = times;
            return;
        }
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|&i| (times[i], i));
        let mut rank = vec![0; times.len()];
        for (place, &i) in order.iter().enumerate() {
            rank[i] = place;
        }
        self.times = order.iter().map(|&i| times[i]).collect();
        self.rank = Some(rank);
    }
}

/// Whether decoding a video stream can begin at this message. Formats that are not read are refused when
/// their pictures are asked for.
fn begins_video(decoder: &Decoder, message: &[u8]) -> bool {
    let Ok(Tree::Fields(fields)) = decoder.tree(message) else { return true };
    let data = fields.iter().find_map(|(name, value)| match value {
        Tree::Bytes(bytes) if name == "data" => Some(bytes),
        _ => None,
    });
    let format = fields.iter().find_map(|(name, value)| match value {
        Tree::Text(text) if name == "format" => Some(text.as_str()),
        _ => None,
    });
    data.is_none_or(|data| crate::video::begins_stream(format.unwrap_or("av1"), data))
}

/// Names of a field's numbers: from the definition where it is a structure, else numbered.
fn names_of(decoder: &Decoder, field: &str, width: usize) -> Vec<String> {
    let last = field.rsplit('.').next().unwrap_or(field);
    // `position[name=elbow]` is the elbow, `position[3]` is position_3.
    let base = match field.strip_suffix(']').and_then(|f| f.rsplit_once('=')) {
        Some((_, name)) => name.trim_matches(['"', '\'']).to_owned(),
        None => field.replace('[', "_").replace(']', ""),
    };
    if width == 1 {
        return vec![base];
    }
    let inner = decoder.schema().and_then(|schema| {
        let mut at = 0;
        for name in field.split('.') {
            let name = name.split('[').next().unwrap_or(name);
            let field = schema.structs[at].fields.iter().find(|f| f.name == name)?;
            let Kind::Struct(inner) = field.kind else { return None };
            at = inner;
        }
        let mut names = Vec::new();
        schema.leaf_names(at, "", &mut names);
        (names.len() == width).then_some(names)
    });
    match inner {
        Some(names) => names.into_iter().map(|n| format!("{base}.{n}")).collect(),
        None => (0..width).map(|i| format!("{last}_{i}")).collect(),
    }
}

/// A message that can't be decoded.
pub(super) fn unreadable(log: &Log, stream: &Stream, number: usize, why: String) -> DataError {
    DataError::Message {
        path: log.path().to_owned(),
        topic: stream.topic.clone(),
        message: number + stream.skipped,
        why,
    }
}

/// Part by position, for grouping.
pub(super) fn parts_by_stream(parts: &[Part]) -> HashMap<usize, Vec<usize>> {
    let mut out: HashMap<usize, Vec<usize>> = HashMap::new();
    for (i, part) in parts.iter().enumerate() {
        out.entry(part.stream).or_default().push(i);
    }
    out
}
