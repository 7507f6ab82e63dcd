//! Second pass over a log: takes the chosen messages, mixes where asked, and hands frames to the
//! recorder in order. A message is decoded only if a frame needs it and forgotten after the last
//! frame that does.

use std::collections::BTreeMap;
use std::path::Path;

use embody_core::{
    ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Features, Recorder, Result, Task,
};

use super::align::{Pick, slerp};
use super::episodes::Episode;
use super::streams::Keeper;
use super::survey::{Part, Survey, parts_by_stream, unreadable};
use crate::error::DataError;
use crate::finding::Finding;
use crate::log::{Log, Message};
use crate::mapping::{Mapping, Method};
use crate::message::{Camera, Picture, Plan};
use crate::recorder::LeRobotRecorder;

/// What a message gave.
enum Sample {
    /// By slot.
    Numbers(Vec<Vec<f64>>),
    Picture(Picture),
}

/// Reading state of a stream.
struct Feed {
    plan: Option<Plan>,
    camera: Option<Camera>,
    /// Messages so far, in the order of the log.
    arrived: usize,
    /// By rank: whether a frame needs the message.
    needed: Vec<bool>,
    /// By rank: whether it has come.
    come: Vec<bool>,
    samples: BTreeMap<usize, Sample>,
    /// Numbers that were not finite and replaced, by slot.
    replaced: Vec<u64>,
}

/// Counts by part, for the report.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub fresh: usize,
    pub held: usize,
    pub interpolated: usize,
    pub stale: usize,
    pub oldest_ns: i64,
    pub replaced: u64,
}

/// Second pass over one log.
pub(super) struct Gather<'a> {
    log: &'a Log,
    survey: &'a Survey,
    mapping: &'a Mapping,
    episodes: &'a [Episode],
    feeds: Vec<Feed>,
    /// Parts by stream.
    parts: Vec<Vec<&'a Part>>,
    /// Episode and frame to be written next.
    next: (usize, usize),
    scratch: Scratch,
    pub tally: Vec<Tally>,
}

/// Buffers of one frame.
#[derive(Default)]
struct Scratch {
    f32: Vec<f32>,
    f64: Vec<f64>,
    i64: Vec<i64>,
    bool: Vec<bool>,
}

impl<'a> Gather<'a> {
    /// Prepares the pass.
    pub fn new(
        log: &'a Log,
        survey: &'a Survey,
        mapping: &'a Mapping,
        episodes: &'a [Episode],
    ) -> Result<Self> {
        let by_stream = parts_by_stream(&survey.parts);
        let mut feeds = Vec::new();
        for (s, stream) in survey.streams.iter().enumerate() {
            let count = stream.times.len();
            let fields: Vec<&str> = survey.fields[s].iter().map(String::as_str).collect();
            let fail = |why: String| mapping.error(&stream.topic, why, "see embody data inspect");
            let plan = (!fields.is_empty()).then(|| stream.decoder.plan(&fields)).transpose();
            let pictured = by_stream
                .get(&s)
                .is_some_and(|parts| parts.iter().any(|&p| survey.parts[p].slot.is_none()));
            let camera = pictured
                .then(|| Camera::new(&stream.channel.type_name, &stream.decoder))
                .transpose();
            let mut needed = vec![false; count];
            for part in by_stream.get(&s).into_iter().flatten() {
                for pick in episodes.iter().flat_map(|e| &e.picks[*part]) {
                    needed[pick.a] = true;
                    needed[pick.b] = true;
                }
            }
            feeds.push(Feed {
                plan: plan.map_err(fail)?,
                camera: camera.map_err(fail)?,
                arrived: 0,
                needed,
                come: vec![false; count],
                samples: BTreeMap::new(),
                replaced: vec![0; fields.len()],
            });
        }
        let parts = (0..feeds.len())
            .map(|s| survey.parts.iter().filter(|p| p.stream == s).collect())
            .collect();
        let tally = vec![Tally::default(); survey.parts.len()];
        let scratch = Scratch::default();
        Ok(Self { log, survey, mapping, episodes, feeds, parts, next: (0, 0), scratch, tally })
    }

    /// Size of the picture of each camera, from the first message that shows one.
    pub fn features(&self) -> Result<Features> {
        let mut features = Features::new();
        for (key, feature) in &self.mapping.features {
            let parts = self.survey.parts.iter().filter(|p| &p.key == key);
            let names: Vec<&str> = parts.flat_map(|p| p.names.iter().map(String::as_str)).collect();
            let shape = feature.shape.clone().unwrap_or_else(|| vec![names.len()]);
            if shape.iter().product::<usize>() != names.len() {
                let why = format!("{key:?} has shape {shape:?}, its fields hold {}", names.len());
                let hint = "shape multiplies out to the count of numbers";
                return Err(self.mapping.error(key, why, hint).into());
            }
            // Names belong to the dimensions of a vector.
            let names = if shape.len() == 1 { names } else { Vec::new() };
            features.insert(key.clone(), FeatureSpec::new(feature.dtype, &shape, &names));
        }
        for part in self.survey.parts.iter().filter(|p| p.slot.is_none()) {
            let stream = &self.survey.streams[part.stream];
            let show = || -> std::result::Result<Option<Picture>, String> {
                let first = stream.first.as_deref().ok_or("it has no message")?;
                Camera::new(&stream.channel.type_name, &stream.decoder)?.picture(first, true)
            };
            let picture = show()
                .and_then(|p| p.ok_or_else(|| "its first message shows no picture".to_owned()))
                .map_err(|why| unreadable(self.log, stream, 0, why))?;
            let shape = [picture.height, picture.width, 3];
            features.insert(part.key.clone(), FeatureSpec::new(DType::Video, &shape, &[]));
        }
        Ok(features)
    }

    /// Reads the log and records its episodes.
    pub fn run(
        &mut self,
        recorder: &mut LeRobotRecorder,
        mut keeper: Option<Keeper>,
        task: Task<'_>,
    ) -> Result<Vec<Finding>> {
        let of_channel = &self.survey.of_channel;
        let log = self.log;
        let mut count = 0usize;
        let found = log.visit(&|c| of_channel[c].is_some(), &mut |message| {
            count += 1;
            if count.is_multiple_of(1024) {
                task.cancel.check()?;
            }
            let Some(s) = of_channel[message.channel] else { return Ok(()) };
            let arrived = self.feeds[s].arrived;
            self.feeds[s].arrived += 1;
            let stream = &self.survey.streams[s];
            let Some(index) = arrived.checked_sub(stream.skipped) else { return Ok(()) };
            if index >= stream.times.len() {
                return Ok(());
            }
            let rank = stream.rank.as_ref().map_or(index, |rank| rank[index]);
            if let Some(keeper) = &mut keeper {
                keeper.take(s, rank, message)?;
            }
            let feed = &mut self.feeds[s];
            feed.take(rank, message)
                .and_then(|()| feed.check(rank, &self.parts[s]))
                .map_err(|why| unreadable(log, stream, index, why))?;
            self.emit(recorder)
        })?;
        if self.next.0 < self.episodes.len() {
            return Err(DataError::ReadLog {
                path: self.log.path().to_owned(),
                why: "the second reading gave fewer messages than the first".to_owned(),
                hint: "is the file still being written? stop the recording first".to_owned(),
            }
            .into());
        }
        for (part, tally) in self.survey.parts.iter().zip(&mut self.tally) {
            tally.replaced += part.slot.map_or(0, |slot| self.feeds[part.stream].replaced[slot]);
        }
        if let Some(keeper) = keeper {
            keeper.finish()?;
        }
        Ok(found)
    }

    /// Writes every frame that has all it needs.
    fn emit(&mut self, recorder: &mut LeRobotRecorder) -> Result<()> {
        while let Some(episode) = self.episodes.get(self.next.0) {
            let frame = self.next.1;
            let ready = self.survey.parts.iter().zip(&episode.picks).all(|(part, picks)| {
                let come = &self.feeds[part.stream].come;
                come[picks[frame].a] && come[picks[frame].b]
            });
            if !ready {
                return Ok(());
            }
            if frame == 0 {
                recorder.begin_episode(&episode.task)?;
            }
            self.write(recorder, episode, frame)?;
            if frame + 1 < episode.frames {
                self.next.1 += 1;
            } else {
                let success = episode.success;
                recorder.save_episode(EpisodeOutcome { success, ..Default::default() })?;
                self.next = (self.next.0 + 1, 0);
            }
            self.forget();
        }
        Ok(())
    }

    /// Drops samples that no later frame needs: picks never go back in time within an episode.
    fn forget(&mut self) {
        let Some(episode) = self.episodes.get(self.next.0) else { return };
        let mut first = vec![usize::MAX; self.feeds.len()];
        for (part, picks) in self.survey.parts.iter().zip(&episode.picks) {
            first[part.stream] = first[part.stream].min(picks[self.next.1].a);
        }
        for (feed, first) in self.feeds.iter_mut().zip(first) {
            while let Some(entry) = feed.samples.first_entry().filter(|e| *e.key() < first) {
                entry.remove();
            }
        }
    }

    fn write(
        &mut self,
        recorder: &mut LeRobotRecorder,
        episode: &Episode,
        frame: usize,
    ) -> Result<()> {
        let scratch = &mut self.scratch;
        let mut places: Vec<(&str, DType, usize, usize)> = Vec::new();
        scratch.clear();
        let mut mixed = Vec::new();
        for (key, feature) in &self.mapping.features {
            mixed.clear();
            let parts = self.survey.parts.iter().enumerate().filter(|(_, p)| &p.key == key);
            for (i, part) in parts {
                let pick = episode.picks[i][frame];
                mix(part, &self.feeds[part.stream], pick, &mut mixed);
            }
            let at = scratch.push(feature.dtype, &mixed).map_err(|why| DataError::Record {
                episode: self.next.0,
                frame,
                why: format!("feature {key:?}: {why}"),
            })?;
            places.push((key.as_str(), feature.dtype, at, mixed.len()));
        }
        let vectors: Vec<[usize; 1]> = places.iter().map(|p| [p.3]).collect();
        let mut values: Vec<(&str, ArrayView<'_>)> = places
            .iter()
            .zip(&vectors)
            .map(|((key, dtype, at, len), vector)| {
                let shape = self.mapping.features[*key].shape.as_deref().unwrap_or(vector);
                (*key, ArrayView { shape, data: scratch.view(*dtype, *at..at + len) })
            })
            .collect();
        let mut pictures: Vec<(&str, [usize; 3], &[u8])> = Vec::new();
        for (i, part) in self.survey.parts.iter().enumerate().filter(|(_, p)| p.slot.is_none()) {
            let pick = episode.picks[i][frame];
            if let Some(Sample::Picture(p)) = self.feeds[part.stream].samples.get(&pick.a) {
                pictures.push((&part.key, [p.height, p.width, 3], &p.rgb));
            }
        }
        values.extend(
            pictures
                .iter()
                .map(|(key, shape, rgb)| (*key, ArrayView { shape, data: DataView::U8(rgb) })),
        );
        for (i, tally) in self.tally.iter_mut().enumerate() {
            let picks = &episode.picks[i];
            tally.add(picks[frame], frame.checked_sub(1).map(|f| picks[f]));
        }
        recorder.add_frame(&values)
    }
}

impl Tally {
    fn add(&mut self, pick: Pick, before: Option<Pick>) {
        if pick.stale {
            self.stale += 1;
        } else if pick.a != pick.b {
            self.interpolated += 1;
        } else if before.is_some_and(|b| b.a == pick.a && b.b == pick.b) {
            self.held += 1;
        } else {
            self.fresh += 1;
        }
        self.oldest_ns = self.oldest_ns.max(pick.age);
    }

    pub fn merge(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.held += other.held;
        self.interpolated += other.interpolated;
        self.stale += other.stale;
        self.oldest_ns = self.oldest_ns.max(other.oldest_ns);
        self.replaced += other.replaced;
    }
}

impl Feed {
    fn take(&mut self, rank: usize, message: Message<'_>) -> std::result::Result<(), String> {
        let needed = self.needed[rank];
        if let Some(camera) = &mut self.camera {
            if needed || camera.needs_all() {
                let picture = camera.picture(message.data, needed)?;
                if needed {
                    let picture = picture.ok_or("the packet shows no picture")?;
                    self.samples.insert(rank, Sample::Picture(picture));
                }
            }
        } else if let Some(plan) = self.plan.as_mut().filter(|_| needed) {
            let values = plan.extract(message.data)?;
            let mut slots = Vec::with_capacity(values.len());
            for value in values {
                let mut numbers = Vec::new();
                if !value.numbers(&mut numbers) {
                    return Err("text where numbers were before".to_owned());
                }
                slots.push(numbers);
            }
            self.samples.insert(rank, Sample::Numbers(slots));
        }
        self.come[rank] = true;
        Ok(())
    }

    /// Holds new numbers to what the first message promised.
    fn check(&mut self, rank: usize, parts: &[&Part]) -> std::result::Result<(), String> {
        let Some(Sample::Numbers(slots)) = self.samples.get_mut(&rank) else { return Ok(()) };
        for part in parts {
            let Some(slot) = part.slot else { continue };
            let numbers = &mut slots[slot];
            if numbers.len() != part.width {
                return Err(format!(
                    "{} numbers for {}, the first message has {}",
                    numbers.len(),
                    part.key,
                    part.width
                ));
            }
            for number in numbers.iter_mut().filter(|n| !n.is_finite()) {
                let Some(stand_in) = part.non_finite else {
                    return Err(format!(
                        "a number for {} is {number}; say what stands in for it: non_finite = 0.0 \
                         beside its field in the mapping",
                        part.key
                    ));
                };
                *number = stand_in;
                self.replaced[slot] += 1;
            }
        }
        Ok(())
    }
}

/// Appends the numbers of a part for a frame.
fn mix(part: &Part, feed: &Feed, pick: Pick, out: &mut Vec<f64>) {
    let Some(slot) = part.slot else { return };
    let numbers = |i: usize| match feed.samples.get(&i) {
        Some(Sample::Numbers(slots)) => slots[slot].as_slice(),
        _ => &[],
    };
    let (a, b) = (numbers(pick.a), numbers(pick.b));
    if pick.a == pick.b {
        out.extend_from_slice(a);
        return;
    }
    if let (Method::Slerp, [ax, ay, az, aw], [bx, by, bz, bw]) = (part.method, a, b) {
        out.extend(slerp([*ax, *ay, *az, *aw], [*bx, *by, *bz, *bw], pick.t));
        return;
    }
    out.extend(a.iter().zip(b).map(|(a, b)| a + (b - a) * pick.t));
}

impl Scratch {
    fn clear(&mut self) {
        self.f32.clear();
        self.f64.clear();
        self.i64.clear();
        self.bool.clear();
    }

    /// Appends numbers as `dtype`; where they begin.
    fn push(&mut self, dtype: DType, numbers: &[f64]) -> std::result::Result<usize, String> {
        Ok(match dtype {
            DType::Float64 => {
                self.f64.extend_from_slice(numbers);
                self.f64.len()
            }
            DType::Int64 => {
                for &number in numbers {
                    if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
                        return Err(format!("{number} is no whole number that fits exactly"));
                    }
                    self.i64.push(number as i64);
                }
                self.i64.len()
            }
            DType::Bool => {
                self.bool.extend(numbers.iter().map(|n| *n != 0.0));
                self.bool.len()
            }
            _ => {
                self.f32.extend(numbers.iter().map(|n| *n as f32));
                self.f32.len()
            }
        } - numbers.len())
    }

    fn view(&self, dtype: DType, range: std::ops::Range<usize>) -> DataView<'_> {
        match dtype {
            DType::Float64 => DataView::F64(&self.f64[range]),
            DType::Int64 => DataView::I64(&self.i64[range]),
            DType::Bool => DataView::Bool(&self.bool[range]),
            _ => DataView::F32(&self.f32[range]),
        }
    }
}

/// Where episode `number`'s original messages are kept.
pub(super) fn stream_path(root: &Path, number: usize) -> std::path::PathBuf {
    root.join(format!("streams/episode-{number:06}.mcap"))
}
