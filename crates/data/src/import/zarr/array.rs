//! A Zarr array, version 2 or 3, read by rows of its first axis.
//!
//! Read here rather than with the `zarrs` crate: that brings 72 more crates, among them four
//! libraries in C, for a layout that is JSON, a grid of files and a handful of codecs (zarr-specs,
//! v2 and v3 core). A chunk is at most 1 GiB; one slab of chunks, those that share their
//! rows, is kept for the next read.

use std::ops::Range;
use std::path::PathBuf;

use embody_core::Result;
use rayon::prelude::*;
use serde_json::Value;

use super::codec::Codec;
use super::store::Store;
use crate::import::arrays::{Scalar, wrong};

/// Most bytes of a chunk, and of the chunks that share their rows.
const MAX_SLAB: usize = 1 << 30;
/// A slab of more bytes than this has to come from stored ones …
const FREE_SLAB: usize = 1 << 26;
/// … at least one for so many; compressed recordings stay far below.
const MAX_RATIO: usize = 1100;

/// How chunks are named.
#[derive(Debug, Clone, PartialEq)]
enum Naming {
    /// `0.0`, or `0/0` with that separator.
    V2(String),
    /// `c/0/0`.
    V3(String),
}

/// A chunk: where it lies in the grid, and its bytes as stored; none where it is not there.
struct Chunk {
    place: Vec<usize>,
    bytes: Option<Vec<u8>>,
}

/// An array of a store.
pub(super) struct ZarrArray {
    name: String,
    store: PathBuf,
    pub shape: Vec<usize>,
    chunks: Vec<usize>,
    pub scalar: Scalar,
    pub big_endian: bool,
    codecs: Vec<Codec>,
    /// Bytes of an element that was never written; none where that is an error.
    fill: Option<Vec<u8>>,
    naming: Naming,
    slab: Option<(usize, Vec<u8>)>,
    /// Chunks that were not there, of how many.
    pub missing: (usize, usize),
}

impl ZarrArray {
    /// The array `name` of `store`; `None` where there is none, the inner error says why it can't
    /// be read.
    pub fn open(
        store: &mut Store,
        name: &str,
    ) -> Result<Option<std::result::Result<Self, String>>> {
        if let Some(meta) = store.json(&format!("{name}/.zarray"))? {
            return Ok(Some(Self::v2(store, name, &meta)));
        }
        match store.json(&format!("{name}/zarr.json"))? {
            Some(meta) if meta.get("node_type").and_then(Value::as_str) == Some("array") => {
                Ok(Some(Self::v3(store, name, &meta)))
            }
            _ => Ok(None),
        }
    }

    fn v2(store: &Store, name: &str, meta: &Value) -> std::result::Result<Self, String> {
        if meta.get("order").and_then(Value::as_str).unwrap_or("C") != "C" {
            return Err("its chunks lie in Fortran order".to_owned());
        }
        let filters = meta.get("filters").and_then(Value::as_array);
        if filters.is_some_and(|f| !f.is_empty()) {
            return Err("its chunks went through filters, which are not undone".to_owned());
        }
        let dtype = meta.get("dtype").and_then(Value::as_str).unwrap_or("structured");
        let (scalar, big_endian) = scalar_v2(dtype)?;
        let codecs = match meta.get("compressor") {
            None | Some(Value::Null) => Vec::new(),
            Some(codec) => vec![Codec::of(codec, "id")?],
        };
        let separator = meta.get("dimension_separator").and_then(Value::as_str).unwrap_or(".");
        let fill = match meta.get("fill_value") {
            None | Some(Value::Null) => None,
            Some(value) => Some(fill_bytes(value, scalar, big_endian)?),
        };
        let naming = Naming::V2(separator.to_owned());
        let chunks = numbers(meta.get("chunks")).ok_or("it does not say its chunks")?;
        Self::new(store, name, meta, chunks, scalar, big_endian, codecs, fill, naming)
    }

    fn v3(store: &Store, name: &str, meta: &Value) -> std::result::Result<Self, String> {
        let dtype = meta.get("data_type").and_then(Value::as_str).unwrap_or("extension");
        let scalar = scalar_v3(dtype)?;
        let grid = meta.pointer("/chunk_grid/configuration/chunk_shape");
        let chunks = numbers(grid).ok_or("its chunks lie on no regular grid")?;
        let encoding = meta.get("chunk_key_encoding").cloned().unwrap_or_default();
        let default = encoding.get("name").and_then(Value::as_str).unwrap_or("default");
        let separator = encoding.pointer("/configuration/separator").and_then(Value::as_str);
        let naming = match default {
            "default" => Naming::V3(separator.unwrap_or("/").to_owned()),
            "v2" => Naming::V2(separator.unwrap_or(".").to_owned()),
            other => return Err(format!("its chunks are named in the way {other:?}")),
        };
        let mut big_endian = false;
        let mut codecs = Vec::new();
        for codec in meta.get("codecs").and_then(Value::as_array).into_iter().flatten() {
            match codec.get("name").and_then(Value::as_str) {
                Some("bytes") => {
                    let endian = codec.pointer("/configuration/endian").and_then(Value::as_str);
                    big_endian = endian == Some("big");
                }
                Some("sharding_indexed") => {
                    return Err("it is sharded; write it again without shards".to_owned());
                }
                _ => codecs.push(Codec::of(codec, "name")?),
            }
        }
        codecs.reverse();
        let fill = match meta.get("fill_value") {
            None | Some(Value::Null) => None,
            Some(value) => Some(fill_bytes(value, scalar, big_endian)?),
        };
        Self::new(store, name, meta, chunks, scalar, big_endian, codecs, fill, naming)
    }

    #[allow(clippy::too_many_arguments, reason = "both versions end here, each with its own words")]
    fn new(
        store: &Store,
        name: &str,
        meta: &Value,
        chunks: Vec<usize>,
        scalar: Scalar,
        big_endian: bool,
        codecs: Vec<Codec>,
        fill: Option<Vec<u8>>,
        naming: Naming,
    ) -> std::result::Result<Self, String> {
        let shape = numbers(meta.get("shape")).ok_or("it does not say its shape")?;
        if shape.len() != chunks.len() || chunks.contains(&0) || shape.len() > 6 {
            return Err(format!("shape {shape:?} in chunks of {chunks:?} makes no sense"));
        }
        if shape.is_empty() {
            return Err("it is a single value, not one per frame".to_owned());
        }
        let product = |dims: &[usize]| {
            dims.iter().try_fold(scalar.size(), |n, &d| n.checked_mul(d)).filter(|n| *n <= MAX_SLAB)
        };
        let mut slab = shape.clone();
        slab[0] = chunks[0];
        let grid = shape.iter().zip(&chunks).skip(1).map(|(n, c)| n.div_ceil(*c));
        let few =
            grid.map(|n| n as u64).try_fold(1, u64::checked_mul).is_some_and(|n| n <= 1 << 16);
        let fits = few && product(&chunks).is_some() && product(&slab).is_some();
        if !fits || shape.iter().any(|&n| n > 1 << 40) {
            return Err(format!("shape {shape:?} in chunks of {chunks:?} is too large to hold"));
        }
        Ok(Self {
            name: name.to_owned(),
            store: store.path().to_owned(),
            shape,
            chunks,
            scalar,
            big_endian,
            codecs,
            fill,
            naming,
            slab: None,
            missing: (0, 0),
        })
    }

    /// Shape of a row.
    pub fn row_shape(&self) -> &[usize] {
        &self.shape[1..]
    }

    fn row_bytes(&self) -> usize {
        self.row_shape().iter().product::<usize>() * self.scalar.size()
    }

    /// The bytes of some rows, as the file orders them.
    pub fn read(&mut self, store: &mut Store, rows: Range<usize>) -> Result<Vec<u8>> {
        let row = self.row_bytes();
        let mut out = Vec::with_capacity(rows.len() * row);
        let per_slab = self.chunks[0];
        let slabs = rows.start / per_slab..rows.end.div_ceil(per_slab);
        let mut kept = self.slab.take();
        let wanted: Vec<usize> =
            slabs.clone().filter(|s| kept.as_ref().is_none_or(|k| k.0 != *s)).collect();
        let mut stored = Vec::with_capacity(wanted.len());
        for &slab in &wanted {
            stored.push(self.stored(store, slab)?);
        }
        let decoded: Result<Vec<Vec<u8>>> = wanted
            .par_iter()
            .zip(stored)
            .map(|(&slab, chunks)| self.decode_slab(slab, chunks))
            .collect();
        let mut decoded = wanted.into_iter().zip(decoded?);
        for slab in slabs {
            let (index, bytes) = match kept.take() {
                Some(k) if k.0 == slab => k,
                other => {
                    kept = other;
                    decoded.next().unwrap_or((slab, Vec::new()))
                }
            };
            let first = index * per_slab;
            let from = rows.start.max(first) - first;
            let to = rows.end.min(first + per_slab) - first;
            out.extend_from_slice(bytes.get(from * row..to * row).unwrap_or(&[]));
            self.slab = Some((index, bytes));
        }
        Ok(out)
    }

    /// The stored chunks of a slab, in order.
    fn stored(&mut self, store: &mut Store, slab: usize) -> Result<Vec<Chunk>> {
        let limit = MAX_SLAB as u64 + (1 << 20);
        let grid: Vec<usize> =
            self.shape.iter().zip(&self.chunks).skip(1).map(|(n, c)| n.div_ceil(*c)).collect();
        let mut out = Vec::new();
        for flat in 0..grid.iter().product::<usize>() {
            let mut place = vec![slab];
            let mut rest = flat;
            let mut strides = grid.iter().rev().map(|n| {
                let at = rest % n;
                rest /= n;
                at
            });
            let mut inner: Vec<usize> = strides.by_ref().collect();
            inner.reverse();
            place.extend(inner);
            let key = self.key(&place);
            let bytes = store.read(&key, limit)?;
            self.missing.1 += 1;
            if bytes.is_none() {
                self.missing.0 += 1;
                if self.fill.is_none() {
                    let why = "the chunk is missing, and the array has no fill value";
                    return Err(wrong(&self.store, &key, why).into());
                }
            }
            out.push(Chunk { place, bytes });
        }
        Ok(out)
    }

    fn key(&self, place: &[usize]) -> String {
        let numbers: Vec<String> = place.iter().map(usize::to_string).collect();
        match &self.naming {
            Naming::V2(separator) => format!("{}/{}", self.name, numbers.join(separator)),
            Naming::V3(separator) => {
                format!("{}/c{separator}{}", self.name, numbers.join(separator))
            }
        }
    }

    /// The rows of a slab put together from its chunks.
    fn decode_slab(&self, slab: usize, chunks: Vec<Chunk>) -> Result<Vec<u8>> {
        let element = self.scalar.size();
        let expected = self.chunks.iter().product::<usize>() * element;
        let rows = self.chunks[0].min(self.shape[0].saturating_sub(slab * self.chunks[0]));
        let stored: usize = chunks.iter().filter_map(|c| c.bytes.as_ref()).map(Vec::len).sum();
        let claimed = expected.max(rows * self.row_bytes());
        if claimed > FREE_SLAB.max(stored.saturating_mul(MAX_RATIO)) {
            let why = format!(
                "frames {} and following claim {claimed} bytes, {stored} are stored for them",
                slab * self.chunks[0]
            );
            return Err(wrong(&self.store, &self.name, why).into());
        }
        let mut out = match &self.fill {
            Some(fill) => fill.repeat(rows * self.row_bytes() / element),
            None => vec![0; rows * self.row_bytes()],
        };
        for Chunk { place, bytes } in chunks {
            let Some(bytes) = bytes else { continue };
            let fail = |why: String| wrong(&self.store, &self.key(&place), why);
            let mut bytes = bytes;
            for codec in &self.codecs {
                bytes = codec.decode(&bytes, expected, &self.chunks).map_err(fail)?;
            }
            if bytes.len() != expected {
                let why = format!("the chunk has {} bytes, not {expected}", bytes.len());
                return Err(fail(why).into());
            }
            let mut target = self.shape.clone();
            target[0] = rows;
            let mut offset: Vec<usize> =
                place.iter().zip(&self.chunks).map(|(at, size)| at * size).collect();
            offset[0] = 0;
            paste(&bytes, &self.chunks, &mut out, &target, &offset, element);
        }
        Ok(out)
    }
}

/// Copies a chunk of shape `from_shape` to `offset` in an array of shape `to_shape`; what hangs
/// over the edge is dropped.
fn paste(
    from: &[u8],
    from_shape: &[usize],
    to: &mut [u8],
    to_shape: &[usize],
    offset: &[usize],
    element: usize,
) {
    let ([count, from_rest @ ..], [extent, to_rest @ ..], [at, offset_rest @ ..]) =
        (from_shape, to_shape, offset)
    else {
        return;
    };
    let count = (*count).min(extent.saturating_sub(*at));
    let step_from = from_rest.iter().product::<usize>() * element;
    let step_to = to_rest.iter().product::<usize>() * element;
    // Rows that are whole in both lie one after the other.
    if from_rest == to_rest && offset_rest.iter().all(|o| *o == 0) {
        to[at * step_to..(at + count) * step_to].copy_from_slice(&from[..count * step_from]);
        return;
    }
    for i in 0..count {
        let source = &from[i * step_from..(i + 1) * step_from];
        let target = &mut to[(at + i) * step_to..(at + i + 1) * step_to];
        paste(source, from_rest, target, to_rest, offset_rest, element);
    }
}

fn numbers(value: Option<&Value>) -> Option<Vec<usize>> {
    value?.as_array()?.iter().map(|v| usize::try_from(v.as_u64()?).ok()).collect()
}

/// NumPy's name of a type, such as `<f4`.
fn scalar_v2(dtype: &str) -> std::result::Result<(Scalar, bool), String> {
    let big_endian = dtype.starts_with('>');
    let scalar = match dtype.trim_start_matches(['<', '>', '|', '=']) {
        "b1" => Scalar::Bool,
        "i1" => Scalar::I8,
        "i2" => Scalar::I16,
        "i4" => Scalar::I32,
        "i8" => Scalar::I64,
        "u1" => Scalar::U8,
        "u2" => Scalar::U16,
        "u4" => Scalar::U32,
        "u8" => Scalar::U64,
        "f2" => Scalar::F16,
        "f4" => Scalar::F32,
        "f8" => Scalar::F64,
        _ => return Err(format!("values of type {dtype:?} are not read (numbers are)")),
    };
    Ok((scalar, big_endian))
}

fn scalar_v3(dtype: &str) -> std::result::Result<Scalar, String> {
    Ok(match dtype {
        "bool" => Scalar::Bool,
        "int8" => Scalar::I8,
        "int16" => Scalar::I16,
        "int32" => Scalar::I32,
        "int64" => Scalar::I64,
        "uint8" => Scalar::U8,
        "uint16" => Scalar::U16,
        "uint32" => Scalar::U32,
        "uint64" => Scalar::U64,
        "float16" => Scalar::F16,
        "float32" => Scalar::F32,
        "float64" => Scalar::F64,
        _ => return Err(format!("values of type {dtype:?} are not read (numbers are)")),
    })
}

/// The bytes of an element of that value.
fn fill_bytes(
    value: &Value,
    scalar: Scalar,
    big_endian: bool,
) -> std::result::Result<Vec<u8>, String> {
    let bad = || format!("its fill value {value} is not read");
    let float = match value {
        Value::Number(n) => n.as_f64(),
        Value::Bool(b) => Some(f64::from(*b)),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    let float = float.ok_or_else(bad)?;
    let whole = value.as_i64().or_else(|| value.as_bool().map(i64::from));
    let mut bytes = match scalar {
        Scalar::F32 => (float as f32).to_le_bytes().to_vec(),
        Scalar::F64 => float.to_le_bytes().to_vec(),
        Scalar::F16 if float == 0.0 => vec![0, 0],
        Scalar::F16 => return Err(bad()),
        Scalar::U64 if value.as_u64().is_some() => {
            value.as_u64().unwrap_or_default().to_le_bytes().to_vec()
        }
        _ => {
            let whole = whole.or((float == float.trunc()).then_some(float as i64));
            whole.ok_or_else(bad)?.to_le_bytes()[..scalar.size()].to_vec()
        }
    };
    if big_endian {
        bytes.reverse();
    }
    Ok(bytes)
}
