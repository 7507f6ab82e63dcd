//! Zarr as diffusion_policy writes it: `data/*` with a row per frame of all episodes,
//! `meta/episode_ends` with where each ends; version 2 or 3, a folder or a zip file (UMI).
//!
//! Every array has as many rows as the episodes make, or it is an error. Chunks that a writer left
//! out because they hold nothing but the fill value are filled in, and counted in the report.

mod array;
mod blosc;
mod codec;
mod store;

use std::ops::Range;
use std::path::Path;

use embody_core::{ArrayData, DType, EpisodeOutcome, Result};
use indexmap::IndexMap;
use serde_json::Value;

use crate::finding::Finding;
use crate::format::RESERVED;
use crate::import::arrays::{
    Becomes, Column, EpisodeHead, Episodes, Pixels, Recording, Scalar, Values, numbers, pixels,
    wrong,
};

use array::ZarrArray;
use store::Store;

const ENDS: &str = "meta/episode_ends";

/// Whether `source` is a Zarr group: a folder, or a zip file with one at its top.
pub(super) fn is_zarr(source: &Path) -> bool {
    if source.is_file() {
        let mut magic = [0; 4];
        let read = std::fs::File::open(source)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
        if read.is_err() || magic != *b"PK\x03\x04" {
            return false;
        }
    }
    Store::open(source).is_ok_and(|s| {
        s.has(".zgroup") || s.has("zarr.json") || s.has("data/.zgroup") || s.has("data/zarr.json")
    })
}

/// Opens the recording at `source`.
pub(super) fn open(source: &Path) -> Result<Recording> {
    let mut store = Store::open(source)?;
    let ends = episode_ends(&mut store)?;
    let frames = ends.last().copied().unwrap_or(0);
    let version = if store.has("zarr.json") { 3 } else { 2 };
    let mut notes = Vec::new();
    let mut columns = Vec::new();
    let mut tables = Vec::new();
    for name in store.children("data")? {
        let name = format!("data/{name}");
        let Some(opened) = ZarrArray::open(&mut store, &name)? else {
            let text = format!("{name} is left out: it is no array");
            notes.push(Finding::note("column-left-out", text));
            continue;
        };
        let (column, table) = column(&name, frames, opened);
        columns.push(column);
        tables.push(table);
    }
    if columns.is_empty() {
        return Err(wrong(source, "data", "it holds no arrays").into());
    }
    let others = store.children("meta")?;
    for name in others.iter().filter(|n| *n != "episode_ends") {
        let text = format!("meta/{name} is left out: it is not one per frame");
        notes.push(Finding::note("column-left-out", text));
    }
    // What `embody data export` adds; others may say it as well.
    let about = match store.json("zarr.json")? {
        Some(root) => root.get("attributes").cloned().unwrap_or_default(),
        None => store.json(".zattrs")?.unwrap_or_default(),
    };
    let texts = about.get("episode_tasks").and_then(Value::as_array);
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let tasks: Vec<Option<String>> =
        texts.map(|t| t.iter().map(text).collect()).unwrap_or_default();
    Ok(Recording {
        format: format!("Zarr v{version} (diffusion_policy)"),
        fps: about.get("fps").and_then(Value::as_f64).filter(|f| *f > 0.0),
        robot_type: about.get("robot_type").and_then(text),
        splits: IndexMap::new(),
        notes,
        episodes: Box::new(Zarr { store, ends, tasks, columns, tables, from: 0 }),
    })
}

/// Where episodes end, in frames of the whole recording.
fn episode_ends(store: &mut Store) -> Result<Vec<usize>> {
    let path = store.path().to_owned();
    let fail = |why: String| wrong(&path, ENDS, why);
    let Some(opened) = ZarrArray::open(store, ENDS)? else {
        let why =
            "it is missing: only diffusion_policy's layout is read (data/*, meta/episode_ends)";
        return Err(fail(why.to_owned()).into());
    };
    let mut array = opened.map_err(fail)?;
    if array.shape.len() != 1 || array.shape[0] > 1 << 24 {
        return Err(fail(format!("it has shape {:?}", array.shape)).into());
    }
    let raw = array.read(store, 0..array.shape[0])?;
    if array.missing.0 > 0 {
        return Err(fail("chunks of it are missing".to_owned()).into());
    }
    let ends = match numbers(array.scalar, array.big_endian, &raw).map_err(fail)? {
        ArrayData::I64(ends) => ends,
        _ => return Err(fail("it does not hold whole numbers".to_owned()).into()),
    };
    let mut last = 0;
    for (episode, &end) in ends.iter().enumerate() {
        if end <= last {
            let why = format!("episode {episode} ends at frame {end}, it begins at {last}");
            return Err(fail(why).into());
        }
        last = end;
    }
    if ends.is_empty() {
        return Err(fail("it holds no episodes".to_owned()).into());
    }
    Ok(ends.into_iter().map(|e| e as usize).collect())
}

/// An array and how its rows become values.
struct Table {
    array: Option<ZarrArray>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Numbers,
    Raw(Pixels),
    /// Pictures of floats; what white is, known from the first frames read.
    Floats {
        layout: Pixels,
        white: Option<f64>,
    },
}

fn column(
    name: &str,
    frames: usize,
    opened: std::result::Result<ZarrArray, String>,
) -> (Column, Table) {
    let refuse =
        |why: String| (Column::refused(name, why), Table { array: None, kind: Kind::Numbers });
    let array = match opened {
        Ok(array) => array,
        Err(why) => return refuse(why),
    };
    if array.shape[0] != frames {
        let rows = array.shape[0];
        return refuse(format!("it has {rows} rows, the episodes have {frames} frames"));
    }
    let row = array.row_shape().to_vec();
    if row.contains(&0) {
        return refuse(format!("its rows have shape {row:?}"));
    }
    let (kind, dtype, shape) = match (Pixels::of(&row), array.scalar) {
        (Some((layout, h, w)), Scalar::U8) => (Kind::Raw(layout), DType::Video, vec![h, w, 3]),
        (Some((layout, h, w)), Scalar::F32 | Scalar::F64) if layout.channels() == 3 => {
            (Kind::Floats { layout, white: None }, DType::Video, vec![h, w, 3])
        }
        _ => {
            let shape = if row.is_empty() { vec![1] } else { row };
            (Kind::Numbers, array.scalar.dtype(), shape)
        }
    };
    let becomes = Becomes::Feature(key_of(name, dtype.is_visual()));
    (Column::new(name, dtype, &shape, becomes), Table { array: Some(array), kind })
}

/// The feature that an array becomes.
fn key_of(name: &str, picture: bool) -> String {
    let name = name.strip_prefix("data/").unwrap_or(name);
    match name {
        _ if picture => format!("observation.images.{name}"),
        _ if name == "action" || name.starts_with("action_") || name.starts_with("next.") => {
            name.to_owned()
        }
        _ if RESERVED.contains(&name) => format!("zarr.{name}"),
        _ => format!("observation.{name}"),
    }
}

/// An open store.
struct Zarr {
    store: Store,
    ends: Vec<usize>,
    /// Instructions of the episodes, where the store says them.
    tasks: Vec<Option<String>>,
    columns: Vec<Column>,
    tables: Vec<Table>,
    /// First frame of the open episode.
    from: usize,
}

impl Episodes for Zarr {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn open(&mut self, episode: usize, _used: &[usize]) -> Result<EpisodeHead> {
        self.from = if episode == 0 { 0 } else { self.ends[episode - 1] };
        let place = format!("{}, episode {episode}", self.store.path().display());
        let length = self.ends[episode] - self.from;
        let task = self.tasks.get(episode).cloned().flatten();
        Ok(EpisodeHead { place, length, task, outcome: EpisodeOutcome::default() })
    }

    fn read(&mut self, column: usize, rows: Range<usize>) -> Result<Values> {
        let path = self.store.path().to_owned();
        let (about, table) = (&self.columns[column], &mut self.tables[column]);
        let fail = |why: String| wrong(&path, &about.name, why);
        let Some(array) = &mut table.array else {
            return Err(fail("it can't be read".to_owned()).into());
        };
        let frames = self.from + rows.start..self.from + rows.end;
        let raw = array.read(&mut self.store, frames.clone())?;
        let size = about.shape.iter().take(2).product();
        let data = match &mut table.kind {
            Kind::Numbers => numbers(array.scalar, array.big_endian, &raw),
            Kind::Raw(layout) => pixels(*layout, size, raw).map(ArrayData::U8),
            Kind::Floats { layout, white } => {
                let values = numbers(array.scalar, array.big_endian, &raw);
                let bytes = values.and_then(|v| levels(v, white));
                bytes.and_then(|b| pixels(*layout, size, b)).map(ArrayData::U8)
            }
        };
        let at = |why| format!("frames {} to {}: {why}", frames.start, frames.end - 1);
        Ok(Values::Array(data.map_err(|why| fail(at(why)))?))
    }

    fn notes(&self) -> Vec<Finding> {
        let of = |(column, table): (&Column, &Table)| {
            let (missing, total) = table.array.as_ref()?.missing;
            let text = format!(
                "{}: {missing} of {total} chunks are not there and read as the fill value",
                column.name
            );
            (missing > 0).then(|| {
                let hint =
                    "writers leave out chunks that hold nothing else; a partial copy looks alike";
                Finding::warning("chunks-missing", text).hint(hint)
            })
        };
        self.columns.iter().zip(&self.tables).filter_map(of).collect()
    }
}

/// Pictures of floats as levels 0-255. White is 1 where the first frames hold nothing above it,
/// else 255; a value outside is an error, since one of the two would be wrong.
fn levels(values: ArrayData, white: &mut Option<f64>) -> std::result::Result<Vec<u8>, String> {
    let values: Vec<f64> = match values {
        ArrayData::F32(v) => v.into_iter().map(f64::from).collect(),
        ArrayData::F64(v) => v,
        _ => return Err("its pictures are no floats".to_owned()),
    };
    let unit = || if values.iter().all(|v| *v <= 1.0) { 1.0 } else { 255.0 };
    let white = *white.get_or_insert_with(unit);
    let level = |&v: &f64| match (0.0..=white).contains(&v) {
        true => Ok((v * 255.0 / white).round() as u8),
        false => Err(format!("a pixel is {v}, the pictures before went from 0 to {white}")),
    };
    values.iter().map(level).collect()
}
