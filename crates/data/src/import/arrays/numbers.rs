//! Bytes of files as numbers and pictures, without losing a bit: integers widen to i64, halves to
//! f32, and what does not fit is an error.

use arrow_array::types::{ArrowPrimitiveType, Float16Type};
use embody_core::{ArrayData, DType, DataView};

use super::Values;

/// Element types as files store them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Scalar {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

impl Scalar {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Element type of the feature.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bool => DType::Bool,
            Self::I8 => DType::Int8,
            Self::I16 => DType::Int16,
            Self::I32 => DType::Int32,
            Self::I64 => DType::Int64,
            Self::U8 => DType::Uint8,
            Self::U16 => DType::Uint16,
            Self::U32 => DType::Uint32,
            Self::U64 => DType::Uint64,
            Self::F16 => DType::Float16,
            Self::F32 => DType::Float32,
            Self::F64 => DType::Float64,
        }
    }
}

/// The numbers in `bytes`, or why they can't be kept.
pub(in crate::import) fn numbers(
    scalar: Scalar,
    big_endian: bool,
    bytes: &[u8],
) -> Result<ArrayData, String> {
    if !bytes.len().is_multiple_of(scalar.size()) {
        return Err(format!("{} bytes are no whole number of {scalar:?}", bytes.len()));
    }
    // Each arm reads fixed-size chunks; `as` widens, it never cuts.
    macro_rules! read {
        ($from:ty, $to:ty) => {
            bytes
                .as_chunks::<{ size_of::<$from>() }>()
                .0
                .iter()
                .map(|b| {
                    let value = if big_endian {
                        <$from>::from_be_bytes(*b)
                    } else {
                        <$from>::from_le_bytes(*b)
                    };
                    value as $to
                })
                .collect()
        };
    }
    type F16 = <Float16Type as ArrowPrimitiveType>::Native;
    Ok(match scalar {
        Scalar::Bool => match bytes.iter().find(|b| **b > 1) {
            Some(bad) => return Err(format!("a truth value is {bad}")),
            None => ArrayData::Bool(bytes.iter().map(|b| *b == 1).collect()),
        },
        Scalar::U8 => ArrayData::U8(bytes.to_vec()),
        Scalar::I8 => ArrayData::I64(read!(i8, i64)),
        Scalar::I16 => ArrayData::I64(read!(i16, i64)),
        Scalar::I32 => ArrayData::I64(read!(i32, i64)),
        Scalar::I64 => ArrayData::I64(read!(i64, i64)),
        Scalar::U16 => ArrayData::I64(read!(u16, i64)),
        Scalar::U32 => ArrayData::I64(read!(u32, i64)),
        Scalar::U64 => {
            let values: Vec<u64> = read!(u64, u64);
            let values: Result<Vec<i64>, _> = values.into_iter().map(i64::try_from).collect();
            ArrayData::I64(values.map_err(|_| "a number is above 2^63 - 1".to_owned())?)
        }
        Scalar::F16 => {
            let halves: Vec<u16> = read!(u16, u16);
            ArrayData::F32(halves.into_iter().map(|h| F16::from_bits(h).to_f32()).collect())
        }
        Scalar::F32 => ArrayData::F32(read!(f32, f32)),
        Scalar::F64 => ArrayData::F64(read!(f64, f64)),
    })
}

/// The whole of it.
pub(super) fn view(data: &ArrayData) -> DataView<'_> {
    row_of(data, 0, len(data))
}

fn len(data: &ArrayData) -> usize {
    match data {
        ArrayData::U8(v) => v.len(),
        ArrayData::F32(v) => v.len(),
        ArrayData::F64(v) => v.len(),
        ArrayData::I64(v) => v.len(),
        ArrayData::Bool(v) => v.len(),
    }
}

/// Row `row` of `width` values; empty where there is none, which the recorder refuses.
pub(super) fn row_of(data: &ArrayData, row: usize, width: usize) -> DataView<'_> {
    let range = row * width..(row + 1) * width;
    match data {
        ArrayData::U8(v) => DataView::U8(v.get(range).unwrap_or(&[])),
        ArrayData::F32(v) => DataView::F32(v.get(range).unwrap_or(&[])),
        ArrayData::F64(v) => DataView::F64(v.get(range).unwrap_or(&[])),
        ArrayData::I64(v) => DataView::I64(v.get(range).unwrap_or(&[])),
        ArrayData::Bool(v) => DataView::Bool(v.get(range).unwrap_or(&[])),
    }
}

/// Row `row` of several columns of one type, one after the other.
pub(super) fn join<'a>(parts: impl Iterator<Item = (&'a Values, usize)>, row: usize) -> ArrayData {
    let mut out: Option<ArrayData> = None;
    for (values, width) in parts {
        let Values::Array(data) = values else { continue };
        match (&mut out, row_of(data, row, width)) {
            (None, DataView::U8(v)) => out = Some(ArrayData::U8(v.to_vec())),
            (None, DataView::F32(v)) => out = Some(ArrayData::F32(v.to_vec())),
            (None, DataView::F64(v)) => out = Some(ArrayData::F64(v.to_vec())),
            (None, DataView::I64(v)) => out = Some(ArrayData::I64(v.to_vec())),
            (None, DataView::Bool(v)) => out = Some(ArrayData::Bool(v.to_vec())),
            (Some(ArrayData::U8(to)), DataView::U8(v)) => to.extend_from_slice(v),
            (Some(ArrayData::F32(to)), DataView::F32(v)) => to.extend_from_slice(v),
            (Some(ArrayData::F64(to)), DataView::F64(v)) => to.extend_from_slice(v),
            (Some(ArrayData::I64(to)), DataView::I64(v)) => to.extend_from_slice(v),
            (Some(ArrayData::Bool(to)), DataView::Bool(v)) => to.extend_from_slice(v),
            // Another type: the length that comes out is wrong, which the recorder refuses.
            _ => {}
        }
    }
    out.unwrap_or(ArrayData::U8(Vec::new()))
}

/// How the pixels of raw pictures lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Pixels {
    Rgb,
    Rgba,
    Grey,
    /// Channel by channel.
    Planar,
}

impl Pixels {
    /// Values of a pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb | Self::Planar => 3,
            Self::Rgba => 4,
            Self::Grey => 1,
        }
    }

    /// Layout, height and width of arrays of that shape, where they look like pictures. AV1 takes
    /// no side below 16 pixels, so smaller arrays are no pictures.
    pub fn of(shape: &[usize]) -> Option<(Self, usize, usize)> {
        let side = |n: usize| (16..=16_384).contains(&n);
        match *shape {
            [h, w, 3] if side(h) && side(w) => Some((Self::Rgb, h, w)),
            [h, w, 4] if side(h) && side(w) => Some((Self::Rgba, h, w)),
            [h, w, 1] | [1, h, w] if side(h) && side(w) => Some((Self::Grey, h, w)),
            [3, h, w] if side(h) && side(w) => Some((Self::Planar, h, w)),
            _ => None,
        }
    }
}

/// Raw pictures of `pixels` pixels each as RGB.
pub(in crate::import) fn pixels(
    layout: Pixels,
    pixels: usize,
    raw: Vec<u8>,
) -> Result<Vec<u8>, String> {
    match layout {
        Pixels::Rgb => Ok(raw),
        Pixels::Grey => Ok(raw.iter().flat_map(|&v| [v, v, v]).collect()),
        Pixels::Rgba => match raw.chunks_exact(4).all(|p| p[3] == 255) {
            true => Ok(raw.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect()),
            false => Err("the pictures are transparent; RGB is kept".to_owned()),
        },
        Pixels::Planar => {
            let mut out = vec![0; raw.len()];
            let pictures = raw.chunks_exact(pixels * 3).zip(out.chunks_exact_mut(pixels * 3));
            for (from, to) in pictures {
                for (channel, plane) in from.chunks_exact(pixels).enumerate() {
                    for (to, &value) in to.chunks_exact_mut(3).zip(plane) {
                        to[channel] = value;
                    }
                }
            }
            Ok(out)
        }
    }
}
