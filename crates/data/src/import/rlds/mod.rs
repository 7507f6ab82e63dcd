//! RLDS: datasets as TensorFlow Datasets writes them, TFRecords of `tf.train.Example`, one episode
//! to a record.
//!
//! Shapes come from `features.json`, splits and the number of episodes from `dataset_info.json`.
//! One record is in memory at a time. Invariants: every record's checksum holds; a feature has as
//! many entries as every other of its episode, or the episode is an error; a shard with fewer
//! episodes than declared is an error, a shard that is not there is told.

mod example;
mod features;
mod tfrecord;

use std::collections::HashMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use embody_core::{ArrayData, DType, EpisodeOutcome, IoContext, Result};
use indexmap::IndexMap;
use serde_json::Value;

use crate::error::DataError;
use crate::finding::Finding;
use crate::format::read_json;
use crate::import::arrays::{
    Column, EpisodeHead, Episodes, Recording, Scalar, Values, decode_pictures, numbers, pixels,
    wrong,
};
use crate::picture;

use example::Feature;
use features::{Kind, Leaf};
use tfrecord::Record;

/// The folder that holds `features.json`: `source` itself or its only version.
fn folder_of(source: &Path) -> Option<PathBuf> {
    let holds = |folder: &Path| folder.join("features.json").is_file();
    if holds(source) {
        return Some(source.to_owned());
    }
    let versions = std::fs::read_dir(source).ok()?;
    let mut versions: Vec<PathBuf> =
        versions.filter_map(|e| Some(e.ok()?.path())).filter(|p| holds(p)).collect();
    if versions.len() == 1 { versions.pop() } else { None }
}

/// Whether `source` is the folder of an RLDS dataset, or holds such.
pub(super) fn is_rlds(source: &Path) -> bool {
    let inside = |p: PathBuf| p.join("features.json").is_file();
    inside(source.to_owned())
        || std::fs::read_dir(source).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| inside(e.path()))))
}

/// Opens the recording at `source`.
pub(super) fn open(source: &Path) -> Result<Recording> {
    let Some(folder) = folder_of(source) else {
        return Err(DataError::Request {
            why: format!("{} holds several versions of an RLDS dataset", source.display()),
            hint: "name the folder of one, the one with features.json".to_owned(),
        }
        .into());
    };
    let mut notes = Vec::new();
    let info_path = folder.join("dataset_info.json");
    let info: Value =
        if info_path.is_file() { read_json(&info_path)? } else { serde_json::json!({}) };
    let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or("");
    if !matches!(text("fileFormat"), "tfrecord" | "") {
        let why = format!("its records are of the format {:?}, not tfrecord", text("fileFormat"));
        return Err(wrong(&info_path, "", why).into());
    }
    let shards = shards(&folder, &info, &info_path, &mut notes)?;
    let mut places = Vec::new();
    let mut splits: IndexMap<String, Range<usize>> = IndexMap::new();
    for (file, shard) in shards.iter().enumerate() {
        let records = tfrecord::index(&shard.path)?;
        if let Some(says) = shard.episodes.filter(|says| *says != records.len()) {
            let why = format!("it has {} episodes, dataset_info.json says {says}", records.len());
            return Err(wrong(&shard.path, "", why).into());
        }
        let range = places.len()..places.len() + records.len();
        let split = splits.entry(shard.split.clone()).or_insert(range.start..range.start);
        split.end = range.end;
        let place = |(number, record)| Place { file, number, record };
        places.extend(records.into_iter().enumerate().map(place));
    }
    if places.is_empty() {
        return Err(wrong(&folder, "", "it holds no episodes").into());
    }
    let (leaves, columns) = features::read(&folder)?.into_iter().unzip();
    let files = shards.into_iter().map(|s| s.path).collect();
    let mut episodes = Rlds { files, places, leaves, columns, open: None };
    episodes.measure_pictures()?;
    Ok(Recording {
        format: format!("RLDS {} {}", text("name"), text("version")).trim_end().to_owned(),
        fps: None,
        robot_type: None,
        splits,
        notes,
        episodes: Box::new(episodes),
    })
}

/// A file of records.
struct Shard {
    path: PathBuf,
    split: String,
    number: usize,
    /// Number of episodes in it, where it is known.
    episodes: Option<usize>,
}

/// The shards that are here, by split in the declared order; missing ones are noted.
/// Parses one record.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn read_example(record: &[u8]) -> std::result::Result<usize, String> {
    example::parse(record).map(|features| features.len())
}

fn shards(
    folder: &Path,
    info: &Value,
    info_path: &Path,
    notes: &mut Vec<Finding>,
) -> Result<Vec<Shard>> {
    let declared: Vec<(&str, Vec<Option<usize>>)> = info
        .get("splits")
        .and_then(Value::as_array)
        .map(|splits| splits.iter().filter_map(split_of).collect())
        .unwrap_or_default();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).at("read folder", folder)? {
        let path = entry.at("read folder", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((left, right)) = name.split_once(".tfrecord") else { continue };
        let split = left.rsplit('-').next().unwrap_or(left).to_owned();
        let number = right.trim_start_matches('-').split('-').next().unwrap_or("");
        let number = if right.is_empty() { Some(0) } else { number.parse().ok() };
        let Some(number) = number else { continue };
        let lengths = declared.iter().find(|d| d.0 == split).map(|d| &d.1);
        let episodes = lengths.and_then(|l| l.get(number).copied().flatten());
        found.push(Shard { path, split, number, episodes });
    }
    let rank = |s: &Shard| declared.iter().position(|d| d.0 == s.split).unwrap_or(usize::MAX);
    found.sort_by(|a, b| {
        (rank(a), &a.split, a.number, &a.path).cmp(&(rank(b), &b.split, b.number, &b.path))
    });
    if found.is_empty() {
        return Err(wrong(folder, "", "there is no file of records (*.tfrecord*)").into());
    }
    for (split, lengths) in &declared {
        let here = found.iter().filter(|s| s.split == *split).count();
        if here < lengths.len() {
            let text = format!("split {split}: {here} of {} files are here", lengths.len());
            notes.push(
                Finding::warning("shards-missing", text)
                    .file(info_path.file_name().unwrap_or_default().to_string_lossy())
                    .hint("fetch the rest, or go on with the part that is here"),
            );
        }
    }
    Ok(found)
}

fn split_of(split: &Value) -> Option<(&str, Vec<Option<usize>>)> {
    let number = |v: &Value| v.as_str().map_or_else(|| v.as_u64(), |t| t.parse().ok());
    let lengths = split.get("shardLengths").and_then(Value::as_array);
    let lengths = lengths.map(|l| l.iter().map(|v| Some(number(v)? as usize)).collect());
    Some((split.get("name")?.as_str()?, lengths.unwrap_or_default()))
}

/// Where an episode stands.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    number: usize,
    record: Record,
}

/// An open RLDS dataset.
struct Rlds {
    files: Vec<PathBuf>,
    places: Vec<Place>,
    leaves: Vec<Leaf>,
    columns: Vec<Column>,
    open: Option<Open>,
}

/// The episode being read.
struct Open {
    place: Place,
    bytes: Vec<u8>,
    features: HashMap<String, Feature>,
    length: usize,
}

impl Rlds {
    fn load(&self, episode: usize) -> Result<Open> {
        let place = self.places[episode];
        let path = &self.files[place.file];
        let bytes = tfrecord::read(path, place.number, place.record)?;
        let at = format!("episode {}", place.number);
        let features = example::parse(&bytes).map_err(|why| wrong(path, &at, why))?;
        Ok(Open { place, bytes, features, length: 0 })
    }

    /// Sizes of pictures that `features.json` leaves open, from the first episode.
    fn measure_pictures(&mut self) -> Result<()> {
        if !self.columns.iter().any(|c| c.dtype == DType::Video && c.shape.is_empty()) {
            return Ok(());
        }
        let first = self.load(0)?;
        for (leaf, column) in self.leaves.iter().zip(&mut self.columns) {
            if column.dtype != DType::Video || !column.shape.is_empty() {
                continue;
            }
            let path = &self.files[first.place.file];
            let place = format!("episode {}, {}", first.place.number, leaf.name);
            let Some(Feature::Bytes(pictures)) = first.features.get(&leaf.name) else {
                return Err(wrong(path, &place, "it has no pictures").into());
            };
            let picture = pictures.first().map_or(&[][..], |p| &first.bytes[p.clone()]);
            let (h, w) = picture::size_of(picture).map_err(|why| wrong(path, &place, why))?;
            column.shape = vec![h, w, 3];
        }
        Ok(())
    }

    fn wrong(&self, open: &Open, leaf: &Leaf, why: impl std::fmt::Display) -> embody_core::Error {
        let place = format!("episode {}, {}", open.place.number, leaf.name);
        wrong(&self.files[open.place.file], &place, why).into()
    }
}

/// Number of values of one entry of a leaf in the record.
fn width(leaf: &Leaf, column: &Column) -> usize {
    match leaf.kind {
        Kind::Numbers(_) => column.shape.iter().product(),
        Kind::Raw(layout) => {
            let pixels: usize = column.shape[..2].iter().product();
            pixels * layout.channels()
        }
        Kind::Packed { .. } | Kind::Text | Kind::Picture => 1,
    }
}

impl Episodes for Rlds {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn open(&mut self, episode: usize, used: &[usize]) -> Result<EpisodeHead> {
        let mut open = self.load(episode)?;
        let path = &self.files[open.place.file];
        let place = format!("{}, episode {}", path.display(), open.place.number);
        // Every feature of the steps has to tell the same number of them.
        let mut length: Option<(usize, &str)> = None;
        for &index in used {
            let (leaf, column) = (&self.leaves[index], &self.columns[index]);
            let Some(feature) = open.features.get(&leaf.name) else {
                return Err(self.wrong(&open, leaf, "the record does not have it"));
            };
            let (values, width) = (feature.len(), width(leaf, column));
            if !values.is_multiple_of(width) {
                let why = format!("{values} values, {width} to a frame");
                return Err(self.wrong(&open, leaf, why));
            }
            let entries = values / width;
            match length {
                _ if !leaf.per_step && entries == 1 => {}
                _ if !leaf.per_step => {
                    let why = format!("{entries} entries, an episode has one");
                    return Err(self.wrong(&open, leaf, why));
                }
                None => length = Some((entries, &leaf.name)),
                Some((steps, _)) if steps == entries => {}
                Some((steps, other)) => {
                    let why = format!("it has {entries} steps, {other} has {steps}");
                    return Err(self.wrong(&open, leaf, why));
                }
            }
        }
        open.length = length.map_or(0, |l| l.0);
        let reward = open.features.get("steps/reward").and_then(|f| match f {
            Feature::Floats(v) => Some(v.iter().map(|&r| f64::from(r)).sum::<f64>()),
            _ => None,
        });
        let outcome =
            EpisodeOutcome { total_reward: reward.filter(|r| r.is_finite()), ..Default::default() };
        let head = EpisodeHead { place, length: open.length, task: None, outcome };
        self.open = Some(open);
        Ok(head)
    }

    fn read(&mut self, column: usize, rows: Range<usize>) -> Result<Values> {
        let (leaf, column) = (&self.leaves[column], &self.columns[column]);
        let Some(open) = &self.open else { return Ok(Values::Text(Vec::new())) };
        let wanted: Vec<usize> =
            if leaf.per_step { rows.clone().collect() } else { vec![0; rows.len()] };
        let fail = |why: String| self.wrong(open, leaf, why);
        let Some(feature) = open.features.get(&leaf.name) else {
            return Err(fail("the record does not have it".to_owned()));
        };
        let bytes_of = |row: &usize| match feature {
            Feature::Bytes(places) => places.get(*row).map(|p| &open.bytes[p.clone()]),
            _ => None,
        };
        let missing = || "it holds no bytes".to_owned();
        let read = || -> std::result::Result<Values, String> {
            Ok(match &leaf.kind {
                Kind::Text => {
                    let one = |row| example::text(bytes_of(row).ok_or_else(missing)?);
                    let texts: Result<Vec<_>, _> =
                        wanted.iter().map(|r| one(r).map(str::to_owned)).collect();
                    Values::Text(texts?)
                }
                Kind::Picture => {
                    let size = (column.shape[0], column.shape[1]);
                    let one = |row: usize| bytes_of(&row).ok_or_else(missing);
                    Values::Array(decode_pictures(&wanted, "step", size, one)?)
                }
                Kind::Packed { scalar, zlib } => {
                    let size = column.shape.iter().product::<usize>() * scalar.size();
                    let mut raw = Vec::new();
                    for row in &wanted {
                        unpack(bytes_of(row).ok_or_else(missing)?, *zlib, size, &mut raw)?;
                    }
                    Values::Array(numbers(*scalar, false, &raw)?)
                }
                Kind::Numbers(scalar) => {
                    let width = column.shape.iter().product();
                    Values::Array(slice(feature, *scalar, width, &wanted)?)
                }
                Kind::Raw(layout) => {
                    let size = column.shape[0] * column.shape[1];
                    let width = size * layout.channels();
                    let ArrayData::U8(raw) = slice(feature, Scalar::U8, width, &wanted)? else {
                        return Err(missing());
                    };
                    Values::Array(ArrayData::U8(pixels(*layout, size, raw)?))
                }
            })
        };
        read().map_err(fail)
    }
}

/// Appends the `size` bytes that one entry of a packed tensor holds.
fn unpack(bytes: &[u8], zlib: bool, size: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let before = out.len();
    if zlib {
        let unpacked = flate2::read::ZlibDecoder::new(bytes).take(size as u64 + 1);
        { unpacked }.read_to_end(out).map_err(|e| format!("damaged zlib: {e}"))?;
    } else {
        out.extend_from_slice(bytes);
    }
    match out.len() - before {
        n if n == size => Ok(()),
        n => Err(format!("an entry has {n} bytes, not {size}")),
    }
}

/// Rows of a list of numbers in the type that was declared.
fn slice(
    feature: &Feature,
    scalar: Scalar,
    width: usize,
    rows: &[usize],
) -> Result<ArrayData, String> {
    let short = || "it has too few values".to_owned();
    match feature {
        Feature::Floats(values) => {
            let mut out = Vec::with_capacity(rows.len() * width);
            for row in rows {
                out.extend(values.get(row * width..(row + 1) * width).ok_or_else(short)?);
            }
            match scalar {
                Scalar::F64 => Ok(ArrayData::F64(out.into_iter().map(f64::from).collect())),
                Scalar::F32 | Scalar::F16 => Ok(ArrayData::F32(out)),
                other => Err(format!("it holds floats, declared is {other:?}")),
            }
        }
        Feature::Ints(values) => {
            let mut out = Vec::with_capacity(rows.len() * width);
            for row in rows {
                out.extend(values.get(row * width..(row + 1) * width).ok_or_else(short)?);
            }
            let bad = |value: i64| format!("{value} is no {scalar:?}");
            match scalar {
                Scalar::Bool => out
                    .into_iter()
                    .map(|v| if v == 0 || v == 1 { Ok(v == 1) } else { Err(bad(v)) })
                    .collect::<Result<_, _>>()
                    .map(ArrayData::Bool),
                Scalar::U8 => out
                    .into_iter()
                    .map(|v| u8::try_from(v).map_err(|_| bad(v)))
                    .collect::<Result<_, _>>()
                    .map(ArrayData::U8),
                Scalar::F16 | Scalar::F32 | Scalar::F64 => {
                    Err(format!("it holds integers, declared is {scalar:?}"))
                }
                _ => Ok(ArrayData::I64(out)),
            }
        }
        Feature::Bytes(_) => Err("it holds bytes, not numbers".to_owned()),
        Feature::Empty => Err("it is empty".to_owned()),
    }
}
