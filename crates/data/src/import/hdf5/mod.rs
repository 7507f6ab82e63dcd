//! HDF5: demonstrations in robomimic's layout and in ALOHA's, a file or a folder of files.
//!
//! Columns are those of the first episode; every other has to have the same, in the same type and
//! shape, with as many rows as it has actions. Episodes keep the order of their numbers; where
//! `mask/train` and `mask/valid` name all of them, train comes first and both become splits.

mod layout;
mod table;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use embody_core::{ArrayData, IoContext, Result};
use hdf5_pure::{ChunkCacheConfig, File, FileAccessProperties, Group, MetadataCacheConfig};
use indexmap::IndexMap;

use crate::error::DataError;
use crate::finding::Finding;
use crate::import::arrays::{Becomes, Column, EpisodeHead, Episodes, Recording, Values, wrong};

use layout::{About, Layout, about_episode};
use table::Table;

/// The splits of robomimic that are kept, in their order.
const SPLITS: [&str; 2] = ["train", "valid"];

/// Whether `source` is an HDF5 file or a folder with some.
pub(super) fn is_hdf5(source: &Path) -> bool {
    if source.is_file() {
        return hdf5_pure::is_hdf5(source).unwrap_or(false);
    }
    files_of(source).is_ok_and(|files| !files.is_empty())
}

/// The HDF5 files of a folder by number, or the file itself.
fn files_of(source: &Path) -> Result<Vec<PathBuf>> {
    if source.is_file() {
        return Ok(vec![source.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(source).at("read folder", source)? {
        let path = entry.at("read folder", source)?.path();
        let named = path.extension().is_some_and(|e| e == "hdf5" || e == "h5");
        if named && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|p| number_key(&p.file_name().unwrap_or_default().to_string_lossy()));
    Ok(files)
}

/// Sorts `demo_2` before `demo_10`.
fn number_key(name: &str) -> (String, u64, String) {
    let stem = name.split('.').next().unwrap_or(name);
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    (stem[..digits].to_owned(), stem[digits..].parse().unwrap_or(0), name.to_owned())
}

fn open_file(path: &Path) -> Result<File> {
    // Windows of rows share their chunks; metadata is asked for again with every dataset.
    let access = FileAccessProperties::new()
        .with_metadata_cache(MetadataCacheConfig::new(8 << 20))
        .with_chunk_cache(ChunkCacheConfig::from_h5p_cache(64, 16 << 20));
    File::open_streaming_with_options(path, access).map_err(|e| wrong(path, "", e).into())
}

/// An episode: a group of a file.
struct Place {
    file: usize,
    /// Path of the group, empty for the whole file.
    group: String,
    /// Index in [`SPLITS`].
    split: Option<usize>,
}

impl Place {
    fn path(&self, name: &str) -> String {
        if self.group.is_empty() { name.to_owned() } else { format!("{}/{name}", self.group) }
    }
}

/// Opens the recording at `source`.
pub(super) fn open(source: &Path) -> Result<Recording> {
    let files = files_of(source)?;
    let mut notes = Vec::new();
    let mut places = Vec::new();
    let mut first: Option<(Layout, About)> = None;
    for (index, path) in files.iter().enumerate() {
        let file = open_file(path)?;
        let layout = Layout::of(&file).map_err(|why| wrong(path, "", why))?;
        let about = About::of(layout, &file);
        match &first {
            None => first = Some((layout, about)),
            Some((other, known)) if *other != layout || known.fps != about.fps => {
                let why = format!("it differs from {} in layout or frame rate", files[0].display());
                return Err(wrong(path, "", why).into());
            }
            Some(_) => {}
        }
        match layout {
            Layout::Aloha => {
                places.push(Place { file: index, group: String::new(), split: None });
            }
            Layout::Robomimic => places.extend(demos(&file, path, index, &mut notes)?),
        }
    }
    let Some((layout, about)) = first.filter(|_| !places.is_empty()) else {
        return Err(wrong(source, "", "it holds no episodes").into());
    };
    let splits = order_by_split(&mut places);
    let columns = columns(layout, &files[places[0].file], &places[0])?;
    Ok(Recording {
        format: layout.name().to_owned(),
        fps: about.fps,
        robot_type: about.robot,
        splits,
        notes,
        episodes: Box::new(Hdf5 { files, layout, places, columns, open: None }),
    })
}

/// The episodes of a robomimic file in order of their numbers.
fn demos(file: &File, path: &Path, index: usize, notes: &mut Vec<Finding>) -> Result<Vec<Place>> {
    let fail = |e: hdf5_pure::Error| wrong(path, "", e);
    let mut names = file.group("data").and_then(|g| g.groups()).map_err(fail)?;
    names.sort_by_cached_key(|n| number_key(n));
    let mut members: [HashSet<String>; 2] = Default::default();
    if let Ok(masks) = file.group("mask") {
        for name in masks.datasets().map_err(fail)? {
            match SPLITS.iter().position(|s| *s == name) {
                Some(split) => members[split].extend(mask(file, path, &format!("mask/{name}"))?),
                None => {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    let text = format!("mask/{name} is left out: only train and valid are kept");
                    notes.push(Finding::note("mask-left-out", text).file(file));
                }
            }
        }
    }
    let split = |name: &str| members.iter().position(|m| m.contains(name));
    let place =
        |name: &String| Place { file: index, group: format!("data/{name}"), split: split(name) };
    Ok(names.iter().map(place).collect())
}

/// The episodes that a mask names.
fn mask(file: &File, path: &Path, name: &str) -> Result<Vec<String>> {
    let table = Table::open(file, path, name)?.map_err(|why| wrong(path, name, why))?;
    match table.read(path, name, 0..table.rows)? {
        Values::Text(names) => Ok(names),
        Values::Array(_) => Err(wrong(path, name, "it holds no names of episodes").into()),
    }
}

/// Puts train before valid where every episode is in one of them; gives both ranges.
fn order_by_split(places: &mut [Place]) -> IndexMap<String, Range<usize>> {
    let mut splits = IndexMap::new();
    if places.iter().any(|p| p.split.is_none()) {
        return splits;
    }
    places.sort_by_key(|p| p.split);
    for (index, name) in SPLITS.iter().enumerate() {
        let of = |p: &Place| p.split == Some(index);
        if let Some(from) = places.iter().position(of) {
            let count = places.iter().filter(|p| of(p)).count();
            splits.insert((*name).to_owned(), from..from + count);
        }
    }
    splits
}

/// Names of all datasets of an episode, groups and their members in order of their names.
fn list(group: &Group, prefix: &str, depth: usize, out: &mut Vec<String>) -> Result<(), String> {
    let mut tables = group.datasets().map_err(|e| e.to_string())?;
    tables.sort();
    out.extend(tables.iter().map(|t| format!("{prefix}{t}")));
    let mut groups = group.groups().map_err(|e| e.to_string())?;
    groups.sort();
    if depth == 0 && !groups.is_empty() {
        return Err(format!("groups lie too deep below {prefix:?}"));
    }
    for name in groups {
        let inner = group.group(&name).map_err(|e| e.to_string())?;
        list(&inner, &format!("{prefix}{name}/"), depth - 1, out)?;
    }
    Ok(())
}

/// The columns, from the first episode.
fn columns(layout: Layout, path: &Path, place: &Place) -> Result<Vec<Column>> {
    let file = open_file(path)?;
    let fail = |why: String| wrong(path, &place.group, why);
    let group = match place.group.as_str() {
        "" => Ok(file.root()),
        name => file.group(name),
    };
    let group = group.map_err(|e| fail(e.to_string()))?;
    let mut names = Vec::new();
    list(&group, "", 6, &mut names).map_err(fail)?;
    let rows = match Table::open(&file, path, &place.path(layout.clock()))? {
        Ok(table) => table.rows,
        Err(why) => return Err(fail(format!("{}: {why}", layout.clock())).into()),
    };
    let mut columns = Vec::new();
    for name in names {
        let refused = |why| match layout.becomes(&name, false) {
            Becomes::Nothing(why) => Becomes::Nothing(why),
            _ => Becomes::Refused(why),
        };
        columns.push(match Table::open(&file, path, &place.path(&name))? {
            Ok(table) if table.rows == rows => {
                let becomes = layout.becomes(&name, table.dtype.is_visual());
                Column::new(&name, table.dtype, &table.shape, becomes)
            }
            Ok(table) => {
                let why = format!("it has {} rows, {} has {rows}", table.rows, layout.clock());
                Column::new(&name, table.dtype, &table.shape, refused(why))
            }
            Err(why) => Column { becomes: refused(why.clone()), ..Column::refused(&name, why) },
        });
    }
    Ok(columns)
}

/// Sum of rewards, where it is a number.
fn total(rewards: Values) -> Option<f64> {
    let sum = match rewards {
        Values::Array(ArrayData::F64(v)) => v.iter().sum(),
        Values::Array(ArrayData::F32(v)) => v.iter().map(|&r| f64::from(r)).sum(),
        Values::Array(ArrayData::I64(v)) => v.iter().map(|&r| r as f64).sum(),
        _ => return None,
    };
    Some(sum).filter(|sum: &f64| sum.is_finite())
}

/// Open HDF5 recordings.
struct Hdf5 {
    files: Vec<PathBuf>,
    layout: Layout,
    places: Vec<Place>,
    columns: Vec<Column>,
    open: Option<Open>,
}

/// The episode being read.
struct Open {
    episode: usize,
    /// Tables by column.
    tables: IndexMap<usize, Table>,
}

impl Episodes for Hdf5 {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn open(&mut self, episode: usize, used: &[usize]) -> Result<EpisodeHead> {
        self.open = None;
        let place = &self.places[episode];
        let path = &self.files[place.file];
        let file = open_file(path)?;
        let at = |name: &str| place.path(name);
        let opened = |name: &str| -> Result<Table> {
            let name = at(name);
            Table::open(&file, path, &name)?.map_err(|why| wrong(path, &name, why).into())
        };
        let clock = opened(self.layout.clock())?;
        let mut tables = IndexMap::new();
        for &index in used {
            let column = &self.columns[index];
            let table = opened(&column.name)?;
            let why = if table.rows != clock.rows {
                format!("it has {} rows, {} has {}", table.rows, self.layout.clock(), clock.rows)
            } else if (table.dtype, &table.shape) != (column.dtype, &column.shape) {
                format!(
                    "it holds {:?} {:?}, the first episode {:?} {:?}",
                    table.dtype, table.shape, column.dtype, column.shape
                )
            } else {
                tables.insert(index, table);
                continue;
            };
            return Err(wrong(path, &at(&column.name), why).into());
        }
        let about = About::of(self.layout, &file);
        let episode_of = |group: &str| file.group(group).ok().map(|g| about_episode(&g));
        let (own, mut outcome) = match self.layout {
            Layout::Robomimic => episode_of(&place.group).unwrap_or_default(),
            Layout::Aloha => Default::default(),
        };
        let rewards = used.iter().find(|c| self.columns[**c].name == "rewards");
        if let Some(table) = rewards.and_then(|c| tables.get(c)) {
            outcome.total_reward = total(table.read(path, &at("rewards"), 0..table.rows)?);
        }
        let place = match place.group.as_str() {
            "" => path.display().to_string(),
            group => format!("{}, {group}", path.display()),
        };
        self.open = Some(Open { episode, tables });
        Ok(EpisodeHead { place, length: clock.rows, task: own.or(about.task), outcome })
    }

    fn read(&mut self, column: usize, rows: Range<usize>) -> Result<Values> {
        let found = self.open.as_ref().and_then(|o| Some((o.episode, o.tables.get(&column)?)));
        let Some((episode, table)) = found else {
            let why = "the episode is not open".to_owned();
            return Err(DataError::Request { why, hint: "open it first".to_owned() }.into());
        };
        let place = &self.places[episode];
        table.read(&self.files[place.file], &place.path(&self.columns[column].name), rows)
    }
}
