//! Moments on disk, transitions to be drawn, feature maps beside them.
//!
//! ```text
//! DIR/buffer.json          what a record holds; never changes
//! DIR/000000.records       records of one length, appended; checksummed
//! DIR/actors.json          last numbers of actors whose records have gone
//! DIR/features-HASH/000000.halves   feature maps of the same records, as half-precision numbers
//! ```
//! A record is one [`Moment`]; its picture is there once, although it is the end of one transition
//! and the beginning of the next. A transition exists where an actor's moment follows the one before
//! without a gap, so no episode runs into another. Vectors are held in memory, pictures and maps are
//! read where they lie: memory is bounded by the capacity times a record's vectors. Nothing is ever
//! rewritten: a cut tail costs the last moment, resuming only reads.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Moment, Result, hash_bytes, write_atomic};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::record::{self, Layout};
use crate::checkpoint;
use crate::error::Error;
use crate::rl::kernels;

const SPEC_FILE: &str = "buffer.json";
const ACTORS_FILE: &str = "actors.json";
/// A segment holds about this many bytes.
const SEGMENT_BYTES: usize = 64 << 20;
const VERSION: u32 = 1;

/// What moments are made of: agreed on between actors and learner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperienceSpec {
    /// Length of the state vector.
    pub state_dim: usize,
    /// Length of the action.
    pub action_dim: usize,
    /// Cameras by key, with height and width of their pictures.
    pub cameras: Vec<(String, usize, usize)>,
}

/// Feature maps that are kept beside pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MapSpec {
    /// What made them: encoder, shifts, seed.
    pub made_by: String,
    /// Numbers in a map.
    pub len: usize,
    /// Maps per picture.
    pub variants: usize,
}

/// A transition: the record that it leads to, and the one that it starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub to: u64,
    pub from: u64,
}

/// What a step was, beside its vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Happened {
    pub reward: f32,
    pub penalty: f32,
    pub terminated: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFile {
    version: u32,
    spec: ExperienceSpec,
    records_per_segment: usize,
}

struct Segment {
    number: u64,
    records: File,
    maps: Option<File>,
    /// Records, and maps of as many.
    len: usize,
    mapped: usize,
    states: Vec<f32>,
    actions: Vec<f32>,
    happened: Vec<Happened>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    seq: u64,
    /// Its record, if it is still there.
    at: Option<u64>,
}

/// A buffer on disk.
pub(crate) struct Buffer {
    dir: PathBuf,
    pub layout: Layout,
    capacity: u64,
    per_segment: usize,
    segments: VecDeque<Segment>,
    /// Records ever taken in.
    total: u64,
    ready: VecDeque<Place>,
    actors: BTreeMap<u64, Last>,
    maps: Option<(MapSpec, PathBuf)>,
    /// Transitions that came since it was opened, those found on disk included.
    pub transitions: u64,
    /// Records cut off when it was opened, for they were not whole.
    pub cut: u64,
}

impl Buffer {
    /// Opens the buffer in `dir`, or makes it.
    pub fn open(dir: &Path, spec: &ExperienceSpec, capacity: u64) -> Result<Self> {
        let layout = Layout::new(spec);
        let path = dir.join(SPEC_FILE);
        let per_segment = if path.exists() {
            let file: SpecFile = checkpoint::read_json(&path)?;
            if file.spec != *spec || file.version != VERSION || file.records_per_segment == 0 {
                return Err(Error::Invalid {
                    what: format!(
                        "{} holds moments of {:?}, not of {spec:?}",
                        dir.display(),
                        file.spec
                    ),
                    hint: "give another folder, or the settings that it was made with".into(),
                }
                .into());
            }
            file.records_per_segment
        } else {
            let records_per_segment = (SEGMENT_BYTES / layout.len).clamp(64, 16_384);
            let file = SpecFile { version: VERSION, spec: spec.clone(), records_per_segment };
            let text = serde_json::to_vec_pretty(&file)
                .map_err(|source| Error::Json { path: path.clone(), source })?;
            write_atomic(&path, &text)?;
            records_per_segment
        };
        let mut buffer = Self {
            dir: dir.to_owned(),
            layout,
            capacity,
            per_segment,
            segments: VecDeque::new(),
            total: 0,
            ready: VecDeque::new(),
            actors: BTreeMap::new(),
            maps: None,
            transitions: 0,
            cut: 0,
        };
        let actors = dir.join(ACTORS_FILE);
        if actors.exists() {
            let known: Vec<(u64, u64)> = checkpoint::read_json(&actors)?;
            buffer.actors = known.into_iter().map(|(a, seq)| (a, Last { seq, at: None })).collect();
        }
        buffer.load()?;
        Ok(buffer)
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).at("read folder", &self.dir)? {
            let name = entry.at("read folder", &self.dir)?.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".records"));
            found.extend(number.and_then(|n| n.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads every record's vectors, and the last segment's pictures to find where it was cut.
    fn load(&mut self) -> Result<()> {
        let numbers = self.numbers()?;
        self.total = numbers.first().map_or(0, |n| n * self.per_segment as u64);
        for (i, &number) in numbers.iter().enumerate() {
            let last = i + 1 == numbers.len();
            let path = self.segment_path(number);
            let damaged = |what: String| Error::Invalid {
                what: format!("{}: {what}", path.display()),
                hint: "it was changed by another program; restore it from a copy".into(),
            };
            if number != numbers[0] + i as u64 {
                return Err(damaged("the segment before it is missing".into()).into());
            }
            let segment = self.segment(number)?;
            let bytes = segment.records.metadata().at("look at", &path)?.len();
            let whole = (bytes / self.layout.len as u64) as usize;
            if (!last && whole != self.per_segment) || whole > self.per_segment {
                return Err(damaged(format!("{whole} records, not {}", self.per_segment)).into());
            }
            let mut good = 0;
            let wanted = if last { self.layout.len } else { self.layout.vectors_len };
            let mut bytes_of = vec![0; wanted];
            let mut moments = Vec::with_capacity(whole);
            while good < whole {
                let at = (good * self.layout.len) as u64;
                segment.records.read_exact_at(&mut bytes_of, at).at("read", &path)?;
                match self.layout.read_vectors(&bytes_of) {
                    Some(head) if !last || self.layout.pictures_are_whole(&bytes_of) => {
                        moments.push(head);
                        good += 1;
                    }
                    _ if last => break,
                    _ => return Err(damaged(format!("record {good} is damaged")).into()),
                }
            }
            if bytes != (good * self.layout.len) as u64 {
                self.cut += (whole - good) as u64
                    + u64::from(!bytes.is_multiple_of(self.layout.len as u64));
                segment.records.set_len((good * self.layout.len) as u64).at("cut", &path)?;
            }
            self.segments.push_back(segment);
            for (actor, moment) in moments {
                self.index(actor, &moment);
            }
        }
        Ok(())
    }

    fn segment_path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:06}.records"))
    }

    /// A segment's files, opened; nothing is read.
    fn segment(&self, number: u64) -> Result<Segment> {
        let path = self.segment_path(number);
        let mut segment = Segment {
            number,
            records: open_file(&path)?,
            maps: None,
            len: 0,
            mapped: 0,
            states: Vec::new(),
            actions: Vec::new(),
            happened: Vec::new(),
        };
        if let Some((spec, dir)) = &self.maps {
            self.open_maps(&mut segment, spec, dir)?;
        }
        Ok(segment)
    }

    fn open_maps(&self, segment: &mut Segment, spec: &MapSpec, dir: &Path) -> Result<()> {
        let path = dir.join(format!("{:06}.halves", segment.number));
        let file = open_file(&path)?;
        let len = record::maps_len(spec, self.layout.cameras()) as u64;
        let held = file.metadata().at("look at", &path)?.len() / len;
        let mut mapped = held.min(segment.len as u64);
        // What a loss of power left unwritten is made again.
        let mut bytes = vec![0; len as usize];
        while mapped > 0 {
            file.read_exact_at(&mut bytes, (mapped - 1) * len).at("read", &path)?;
            if record::sealed(&bytes) {
                break;
            }
            mapped -= 1;
        }
        file.set_len(mapped * len).at("cut", &path)?;
        (segment.mapped, segment.maps) = (mapped as usize, Some(file));
        Ok(())
    }

    /// Keeps feature maps of this kind beside the pictures; those already there are used.
    pub fn keep_maps(&mut self, spec: MapSpec) -> Result<()> {
        let made_by = hash_bytes(spec.made_by.as_bytes());
        let dir = self.dir.join(format!("features-{}", made_by.short()));
        fs::create_dir_all(&dir).at("create folder", &dir)?;
        let mut segments = std::mem::take(&mut self.segments);
        for segment in &mut segments {
            self.open_maps(segment, &spec, &dir)?;
        }
        self.segments = segments;
        self.maps = Some((spec, dir));
        Ok(())
    }

    /// The last number of `actor`, 0 for none.
    pub fn last(&self, actor: u64) -> u64 {
        self.actors.get(&actor).map_or(0, |last| last.seq)
    }

    /// The record of the last moment of `actor`.
    pub fn last_place(&self, actor: u64) -> Option<u64> {
        self.actors.get(&actor).and_then(|last| last.at)
    }

    /// Records ever taken in.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Transitions that can be drawn.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Appends a moment of `actor`; `false` where it is known already.
    pub fn push(&mut self, actor: u64, moment: &Moment) -> Result<bool> {
        if moment.seq <= self.last(actor) {
            return Ok(false);
        }
        self.layout.check(moment)?;
        if self.segments.back().is_none_or(|s| s.len == self.per_segment) {
            if let Some(full) = self.segments.back() {
                full.records.sync_data().at("flush", &self.segment_path(full.number))?;
            }
            let segment = self.segment(self.total / self.per_segment as u64)?;
            self.segments.push_back(segment);
        }
        let bytes = self.layout.write(actor, moment);
        if let Some(segment) = self.segments.back() {
            let at = (segment.len * self.layout.len) as u64;
            let path = self.segment_path(segment.number);
            segment.records.write_all_at(&bytes, at).at("write", &path)?;
        }
        self.index(actor, moment);
        Ok(true)
    }

    /// Takes note of the record that was just written or read.
    fn index(&mut self, actor: u64, moment: &Moment) {
        let at = self.total;
        self.total += 1;
        let step = moment.step.as_ref();
        if let Some(segment) = self.segments.back_mut() {
            segment.len += 1;
            segment.states.extend_from_slice(&moment.state);
            match step {
                Some(step) => segment.actions.extend_from_slice(&step.action),
                None => {
                    segment.actions.resize(segment.actions.len() + self.layout.action_dim, 0.0);
                }
            }
            segment.happened.push(Happened {
                reward: step.map_or(0.0, |s| s.reward),
                penalty: step.map_or(0.0, |s| s.penalty),
                terminated: step.is_some_and(|s| s.terminated),
            });
        }
        let before = self.actors.insert(actor, Last { seq: moment.seq, at: Some(at) });
        if let Some(Last { seq, at: Some(from) }) = before
            && step.is_some()
            && seq + 1 == moment.seq
        {
            self.ready.push_back(Place { to: at, from });
            self.transitions += 1;
        }
        let start = self.total.saturating_sub(self.capacity);
        while self.ready.front().is_some_and(|p| p.to < start) {
            self.ready.pop_front();
        }
    }

    /// Transitions that lead to record `record` or a later one.
    pub fn transitions_from(&self, record: u64) -> u64 {
        (self.ready.len() - self.ready.partition_point(|p| p.to < record)) as u64
    }

    /// Draws transitions, uniformly and with repetition.
    ///
    /// # Panics
    /// When there is none.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Place {
        self.ready[rng.random_range(0..self.ready.len())]
    }

    /// Every record that is still there.
    pub fn places(&self) -> std::ops::Range<u64> {
        let first =
            self.segments.front().map_or(self.total, |s| s.number * self.per_segment as u64);
        first..self.total
    }

    fn at(&self, record: u64) -> (&Segment, usize) {
        let per = self.per_segment as u64;
        let first = self.segments.front().map_or(0, |s| s.number);
        (&self.segments[(record / per - first) as usize], (record % per) as usize)
    }

    /// The state of a record.
    pub fn state(&self, record: u64) -> &[f32] {
        let (segment, i) = self.at(record);
        let dim = self.layout.state_dim;
        &segment.states[i * dim..(i + 1) * dim]
    }

    /// The action and the outcome of the step that led to a record.
    pub fn step(&self, record: u64) -> (&[f32], Happened) {
        let (segment, i) = self.at(record);
        let dim = self.layout.action_dim;
        (&segment.actions[i * dim..(i + 1) * dim], segment.happened[i])
    }

    /// The whole moment of a record, as it was taken in.
    pub fn moment(&self, record: u64) -> Result<Moment> {
        let (segment, i) = self.at(record);
        let path = self.segment_path(segment.number);
        let mut bytes = vec![0; self.layout.len];
        segment
            .records
            .read_exact_at(&mut bytes, (i * self.layout.len) as u64)
            .at("read", &path)?;
        self.layout.read(&bytes).ok_or_else(|| {
            let what = format!("{}: record {i} is damaged", path.display());
            Error::Invalid { what, hint: "restore it from a copy".into() }.into()
        })
    }

    /// The first record without feature maps; `None` where every one has them.
    pub fn unmapped(&self) -> Option<u64> {
        self.maps.as_ref()?;
        let lacks = |s: &&Segment| s.mapped < s.len;
        let segment = self.segments.iter().find(lacks)?;
        Some(segment.number * self.per_segment as u64 + segment.mapped as u64)
    }

    /// Adds the maps of record [`Buffer::unmapped`], `[variants, cameras, len]`.
    pub fn add_maps(&mut self, maps: &[f32]) -> Result<()> {
        let Some(record) = self.unmapped() else { return Ok(()) };
        let Some((_, dir)) = &self.maps else { return Ok(()) };
        let mut bytes: Vec<u8> =
            maps.iter().flat_map(|v| kernels::to_half(*v).to_le_bytes()).collect();
        record::seal(&mut bytes);
        let per = self.per_segment as u64;
        let first = self.segments.front().map_or(0, |s| s.number);
        let segment = &mut self.segments[(record / per - first) as usize];
        if let Some(file) = &segment.maps {
            let path = dir.join(format!("{:06}.halves", segment.number));
            file.write_all_at(&bytes, (segment.mapped * bytes.len()) as u64).at("write", &path)?;
            segment.mapped += 1;
        }
        Ok(())
    }

    /// Reads map `variant` of `camera` of a record into `out [len]`.
    pub fn map(
        &self,
        record: u64,
        variant: usize,
        camera: usize,
        bytes: &mut Vec<u8>,
        out: &mut [f32],
    ) -> io::Result<()> {
        let (segment, i) = self.at(record);
        let (Some((spec, _)), Some(file)) = (&self.maps, &segment.maps) else { return Ok(()) };
        if i >= segment.mapped {
            return Err(io::Error::other("a feature map is read before it is made"));
        }
        let cameras = self.layout.cameras();
        let size = 2 * spec.len;
        let at = i * record::maps_len(spec, cameras) + (variant * cameras + camera) * size;
        bytes.resize(size, 0);
        file.read_exact_at(bytes, at as u64)?;
        kernels::from_halves(bytes, out);
        Ok(())
    }

    /// Makes everything safe from a loss of power.
    pub fn sync(&mut self) -> Result<()> {
        if let Some(segment) = self.segments.back() {
            segment.records.sync_data().at("flush", &self.segment_path(segment.number))?;
        }
        Ok(())
    }

    /// Forgets what no transition needs any more: whole segments, from the oldest on.
    pub fn settle(&mut self) -> Result<()> {
        self.sync()?;
        let start = self.total.saturating_sub(self.capacity);
        let needed = self.ready.iter().map(|p| p.from).min().unwrap_or(self.total).min(start);
        let gone = |s: &Segment| (s.number + 1) * self.per_segment as u64 <= needed;
        if !self.segments.front().is_some_and(gone) || self.segments.len() < 2 {
            return Ok(());
        }
        let known: Vec<(u64, u64)> = self.actors.iter().map(|(a, last)| (*a, last.seq)).collect();
        let path = self.dir.join(ACTORS_FILE);
        let text = serde_json::to_vec(&known)
            .map_err(|source| Error::Json { path: path.clone(), source })?;
        write_atomic(&path, &text)?;
        while self.segments.len() > 1 && self.segments.front().is_some_and(gone) {
            let Some(old) = self.segments.pop_front() else { break };
            let path = self.segment_path(old.number);
            fs::remove_file(&path).at("remove", &path)?;
            if let Some((_, dir)) = &self.maps {
                let path = dir.join(format!("{:06}.halves", old.number));
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        let first = self.segments.front().map_or(0, |s| s.number * self.per_segment as u64);
        for last in self.actors.values_mut() {
            last.at = last.at.filter(|at| *at >= first);
        }
        Ok(())
    }

    /// Goes back to the first `total` records, as if the later ones had never come.
    pub fn cut_to(&mut self, total: u64) -> Result<()> {
        if total >= self.total {
            return Ok(());
        }
        let per = self.per_segment as u64;
        while let Some(last) = self.segments.back() {
            let path = self.segment_path(last.number);
            if last.number * per >= total && last.number > 0 {
                fs::remove_file(&path).at("remove", &path)?;
                self.segments.pop_back();
                continue;
            }
            let keep = (total - last.number * per) * self.layout.len as u64;
            last.records.set_len(keep).at("cut", &path)?;
            break;
        }
        let capacity = self.capacity;
        let mut again = Self::open(&self.dir, &self.layout.spec, capacity)?;
        if let Some((spec, _)) = self.maps.take() {
            again.keep_maps(spec)?;
        }
        *self = again;
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).at("open", path)
}

#[cfg(test)]
mod tests;
