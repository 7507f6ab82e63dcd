//! diffusion_policy's layout: `data/NAME` with a row per frame, `meta/episode_ends`; Zarr version 2,
//! chunks of about 4 MiB compressed with zlib, which every reader of Zarr knows.
//!
//! The frame rate and the instruction of each episode go into the attributes, where `embody data
//! import` finds them again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use embody_core::{ArrayData, AtomicDir, DType, FeatureSpec, IoContext, Result, Task};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::rows::{Rows, bytes_of, refuse, short_name};

/// Bytes of a chunk, about.
const CHUNK_BYTES: usize = 4 << 20;

/// Frames decoded at a time.
const FRAMES: usize = 64;

pub(super) fn write(rows: &Rows<'_>, target: &Path, task: Task<'_>) -> Result<()> {
    if let Some(key) = rows.texts().next() {
        return Err(refuse(key, "text has no place in diffusion_policy's layout"));
    }
    let staging = AtomicDir::begin(target, false)?;
    let root = staging.path();
    let mut arrays: IndexMap<&str, Writer> = IndexMap::new();
    for (key, spec) in &rows.features {
        let folder = root.join("data").join(short_name(key));
        if folder.exists() {
            return Err(refuse(key, "another feature has the same name in this layout"));
        }
        arrays.insert(key, Writer::new(folder, spec)?);
    }
    let mut ends = Vec::new();
    let mut tasks = Vec::new();
    let mut frames = 0;
    for (done, &episode) in rows.episodes.iter().enumerate() {
        let table = rows.table(episode)?;
        for (key, spec) in rows.numeric() {
            if let (Some(array), Some(data)) = (arrays.get_mut(key), table.get(key)) {
                array.add(&bytes_of(spec.dtype, data))?;
            }
        }
        let length = rows.dataset.episodes()[episode].length;
        for (key, _) in rows.cameras() {
            for from in (0..length).step_by(FRAMES) {
                task.cancel.check()?;
                let rgb = rows.pictures(episode, key, from..(from + FRAMES).min(length))?;
                if let Some(array) = arrays.get_mut(key) {
                    array.add(&rgb)?;
                }
            }
        }
        let texts = rows.tasks(episode)?;
        if texts.windows(2).any(|w| w[0] != w[1]) {
            let why = format!("episode {episode} has several instructions, this layout one");
            return Err(refuse("task_index", &why));
        }
        tasks.push(texts.first().copied().unwrap_or("").to_owned());
        frames += length;
        ends.push(frames as i64);
        task.advance("export", done as u64 + 1, "")?;
    }
    for array in arrays.into_values() {
        array.finish(frames)?;
    }
    let spec = FeatureSpec::new(DType::Int64, &[1], &[]);
    let mut end = Writer::new(root.join("meta/episode_ends"), &spec)?;
    end.add(&bytes_of(DType::Int64, &ArrayData::I64(ends)))?;
    end.finish(rows.episodes.len())?;
    let info = rows.dataset.info();
    let about = json!({"fps": info.fps, "robot_type": info.robot_type, "episode_tasks": tasks});
    json_file(&root.join(".zattrs"), &about)?;
    for group in ["", "data", "meta"] {
        json_file(&root.join(group).join(".zgroup"), &json!({"zarr_format": 2}))?;
    }
    staging.commit()?;
    Ok(())
}

fn json_file(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, value.to_string()).at("write", path)
}

/// Writes one array chunk by chunk.
struct Writer {
    folder: PathBuf,
    dtype: &'static str,
    row_shape: Vec<usize>,
    row_bytes: usize,
    chunk_rows: usize,
    waiting: Vec<u8>,
    chunks: usize,
}

impl Writer {
    fn new(folder: PathBuf, spec: &FeatureSpec) -> Result<Self> {
        let (dtype, size) = match spec.dtype {
            DType::Float16 | DType::Float32 => ("<f4", 4),
            DType::Float64 => ("<f8", 8),
            DType::Int8 => ("|i1", 1),
            DType::Int16 => ("<i2", 2),
            DType::Int32 => ("<i4", 4),
            DType::Int64 => ("<i8", 8),
            DType::Uint8 | DType::Video | DType::Image => ("|u1", 1),
            DType::Uint16 => ("<u2", 2),
            DType::Uint32 => ("<u4", 4),
            DType::Uint64 => ("<u8", 8),
            DType::Bool => ("|b1", 1),
            DType::String | DType::Language => {
                return Err(refuse("", "text has no place in this layout"));
            }
        };
        fs::create_dir_all(&folder).at("create folder", &folder)?;
        let row_shape = if spec.shape == [1] { Vec::new() } else { spec.shape.clone() };
        let row_bytes = (row_shape.iter().product::<usize>() * size).max(1);
        let chunk_rows = (CHUNK_BYTES / row_bytes).clamp(1, 1 << 16);
        Ok(Self { folder, dtype, row_shape, row_bytes, chunk_rows, waiting: Vec::new(), chunks: 0 })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(bytes);
        let size = self.chunk_rows * self.row_bytes;
        let whole = self.waiting.len() / size * size;
        let rest = self.waiting.split_off(whole);
        let full = std::mem::replace(&mut self.waiting, rest);
        full.chunks_exact(size).try_for_each(|chunk| self.chunk(chunk))
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<()> {
        let zeros = vec!["0"; self.row_shape.len()];
        let name = [
            &[self.chunks.to_string()][..],
            &zeros.iter().map(|z| (*z).to_owned()).collect::<Vec<_>>(),
        ]
        .concat()
        .join(".");
        let path = self.folder.join(name);
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(3));
        let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
        self.chunks += 1;
        fs::write(&path, packed.at("compress", &path)?).at("write", &path)
    }

    /// Pads and writes the last chunk, and describes the array of `rows` rows.
    fn finish(mut self, rows: usize) -> Result<()> {
        if !self.waiting.is_empty() {
            let mut last = std::mem::take(&mut self.waiting);
            last.resize(self.chunk_rows * self.row_bytes, 0);
            self.chunk(&last)?;
        }
        let with = |first: usize| -> Vec<usize> {
            std::iter::once(first).chain(self.row_shape.iter().copied()).collect()
        };
        let meta = json!({
            "zarr_format": 2, "shape": with(rows), "chunks": with(self.chunk_rows),
            "dtype": self.dtype, "order": "C", "fill_value": null, "filters": null,
            "compressor": {"id": "zlib", "level": 3}, "dimension_separator": ".",
        });
        json_file(&self.folder.join(".zarray"), &meta)
    }
}
