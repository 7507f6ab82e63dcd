//! One HDF5 dataset with an entry per frame: its type, and rows of it as values.
//!
//! Files are read by `hdf5-pure`: pure Rust, two small dependencies, windows of rows, the filters
//! that h5py writes (gzip, lzf, shuffle, fletcher32). `rust-hdf5` reads as much and has no lzf.
//! What a header says is held against the file's size before a byte is allocated for it.

use std::ops::Range;
use std::path::Path;

use embody_core::{ArrayData, DType, Result};
use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, File};

use crate::import::arrays::{Pixels, Scalar, Values, decode_pictures, numbers, pixels, wrong};
use crate::picture;

/// Most bytes of one chunk: it is decoded whole.
const MAX_CHUNK: u64 = 1 << 30;

/// Best ratio that deflate can reach; the other filters stay below.
const MAX_RATIO: u64 = 1100;

/// How the values of a row are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Numbers {
        scalar: Scalar,
        big_endian: bool,
    },
    Text,
    /// Raw pictures.
    Raw(Pixels),
    /// Encoded pictures, each padded with zeros to the length of the row.
    Encoded,
}

/// An open dataset.
pub(super) struct Table {
    dataset: Dataset,
    pub kind: Kind,
    pub rows: usize,
    /// Shape of a row as the file has it.
    stored: Vec<usize>,
    /// Element type of the feature.
    pub dtype: DType,
    /// Shape of a frame's value.
    pub shape: Vec<usize>,
}

impl Table {
    /// Opens the dataset `name` of `file`; the inner error says why it can't be a column.
    pub fn open(file: &File, path: &Path, name: &str) -> Result<std::result::Result<Self, String>> {
        let fail = |e: hdf5_pure::Error| wrong(path, name, why(&e));
        let dataset = file.dataset(name).map_err(fail)?;
        let shape: Vec<u64> = dataset.shape().map_err(fail)?;
        let datatype = dataset.datatype().map_err(fail)?;
        check_size(file, &dataset, &shape, path, name)?;
        let shape: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
        let Some((&rows, stored)) = shape.split_first() else {
            return Ok(Err("it is a single value, not one per frame".to_owned()));
        };
        let kind = match kind_of(&datatype) {
            Ok(kind) => kind,
            Err(why) => return Ok(Err(why)),
        };
        if kind == Kind::Text && stored.iter().product::<usize>() != 1 {
            return Ok(Err("it holds several texts a frame".to_owned()));
        }
        if stored.contains(&0) || stored.len() > 5 {
            return Ok(Err(format!("its rows have shape {stored:?}")));
        }
        let stored = stored.to_vec();
        let mut table = Self { dataset, kind, rows, dtype: DType::String, shape: vec![1], stored };
        if let Kind::Numbers { scalar, .. } = kind {
            table.dtype = scalar.dtype();
            if !table.stored.is_empty() {
                table.shape = table.stored.clone();
            }
            if let Err(why) = table.as_pictures(scalar, path, name)? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(table))
    }

    /// Takes bytes that are pictures for what they are.
    fn as_pictures(
        &mut self,
        scalar: Scalar,
        path: &Path,
        name: &str,
    ) -> Result<std::result::Result<(), String>> {
        if scalar != Scalar::U8 || self.rows == 0 {
            return Ok(Ok(()));
        }
        let size = if let Some((layout, height, width)) = Pixels::of(&self.stored) {
            self.kind = Kind::Raw(layout);
            (height, width)
        } else if self.stored.len() == 1 && name.contains("images/") {
            let first = self.raw(path, name, 0..1)?;
            match picture::size_of(&first) {
                Ok(size) => {
                    self.kind = Kind::Encoded;
                    size
                }
                Err(why) => return Ok(Err(why)),
            }
        } else {
            return Ok(Ok(()));
        };
        self.dtype = DType::Video;
        self.shape = vec![size.0, size.1, 3];
        Ok(Ok(()))
    }

    fn raw(&self, path: &Path, name: &str, rows: Range<usize>) -> Result<Vec<u8>> {
        let read = self.dataset.read_raw_rows(rows.start as u64, rows.len() as u64);
        Ok(read.map_err(|e| wrong(path, name, e))?)
    }

    /// Rows of the dataset.
    pub fn read(&self, path: &Path, name: &str, rows: Range<usize>) -> Result<Values> {
        let fail = |why: String| wrong(path, name, why);
        if self.kind == Kind::Text {
            let texts = self.dataset.read_string_rows(rows.start as u64, rows.len() as u64);
            return Ok(Values::Text(texts.map_err(|e| fail(e.to_string()))?));
        }
        let raw = self.raw(path, name, rows.clone())?;
        let data = match self.kind {
            Kind::Numbers { scalar, big_endian } => {
                numbers(scalar, big_endian, &raw).map_err(fail)?
            }
            Kind::Raw(layout) => {
                let size = self.shape[0] * self.shape[1];
                ArrayData::U8(pixels(layout, size, raw).map_err(fail)?)
            }
            Kind::Encoded => {
                let (height, width) = (self.shape[0], self.shape[1]);
                let padded: usize = self.stored.iter().product();
                let frames: Vec<usize> = rows.clone().collect();
                let one = |frame: usize| {
                    let at = (frame - rows.start) * padded;
                    raw.get(at..at + padded).ok_or_else(|| format!("frame {frame} is cut"))
                };
                decode_pictures(&frames, "frame", (height, width), one).map_err(fail)?
            }
            Kind::Text => ArrayData::U8(raw),
        };
        Ok(Values::Array(data))
    }
}

/// What is wrong, with the way out where the file is sound and only too new.
fn why(error: &hdf5_pure::Error) -> String {
    let text = error.to_string();
    if text.contains("data layout version") {
        return format!(
            "{text}: HDF5 2.0 writes it under libver=\"latest\", and it is not read here; write the file \
             again with libver=(\"earliest\", \"v114\"), or h5repack --high=4 OLD NEW"
        );
    }
    text
}

/// Refuses sizes that the file can't hold.
fn check_size(
    file: &File,
    dataset: &Dataset,
    shape: &[u64],
    path: &Path,
    name: &str,
) -> Result<()> {
    let fail = |e: hdf5_pure::Error| wrong(path, name, e);
    let element = dataset.element_size().map_err(fail)?;
    let bytes = |dims: &[u64]| dims.iter().try_fold(element, |n, &d| n.checked_mul(d));
    let chunk = dataset.chunk_shape().map_err(fail)?;
    let limit = match &chunk {
        Some(_) => file.file_size().saturating_mul(MAX_RATIO),
        None => file.file_size(),
    };
    if bytes(shape).is_none_or(|n| n > limit) {
        let why = format!("shape {shape:?} is more than a file of this size can hold");
        return Err(wrong(path, name, why).into());
    }
    if let Some(chunk) = chunk
        && bytes(&chunk).is_none_or(|n| n > MAX_CHUNK)
    {
        return Err(wrong(path, name, format!("chunks of shape {chunk:?} are too large")).into());
    }
    Ok(())
}

/// How elements of that type are read.
fn kind_of(datatype: &Datatype) -> std::result::Result<Kind, String> {
    let numbers = |scalar, order: &DatatypeByteOrder| {
        let big_endian = *order == DatatypeByteOrder::BigEndian;
        Ok(Kind::Numbers { scalar, big_endian })
    };
    match datatype {
        Datatype::FixedPoint { size, byte_order, layout }
            if u32::from(layout.bit_precision) == size * 8 && layout.bit_offset == 0 =>
        {
            let scalar = match (size, layout.signed) {
                (1, true) => Scalar::I8,
                (2, true) => Scalar::I16,
                (4, true) => Scalar::I32,
                (8, true) => Scalar::I64,
                (1, false) => Scalar::U8,
                (2, false) => Scalar::U16,
                (4, false) => Scalar::U32,
                (8, false) => Scalar::U64,
                _ => return Err(format!("integers of {size} bytes are not read")),
            };
            numbers(scalar, byte_order)
        }
        Datatype::FloatingPoint { size, byte_order, layout } => {
            let ieee = (layout.exponent_size, layout.mantissa_size);
            match (size, ieee) {
                (2, (5, 10)) => numbers(Scalar::F16, byte_order),
                (4, (8, 23)) => numbers(Scalar::F32, byte_order),
                (8, (11, 52)) => numbers(Scalar::F64, byte_order),
                _ => Err(format!("floats of {size} bytes are not read")),
            }
        }
        // What h5py makes of a bool.
        Datatype::Enumeration { size: 1, members, .. } if is_bool(members) => {
            Ok(Kind::Numbers { scalar: Scalar::Bool, big_endian: false })
        }
        Datatype::String { .. } | Datatype::VariableLength { is_string: true, .. } => {
            Ok(Kind::Text)
        }
        _ => Err("values of its type are not read (numbers, truth values and text are)".to_owned()),
    }
}

fn is_bool(members: &[hdf5_pure::EnumMember]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    names == ["FALSE", "TRUE"]
}
