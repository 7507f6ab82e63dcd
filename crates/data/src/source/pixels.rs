//! What pixels come out as: bytes as decoded, or floats normalised by channel.
//!
//! A float is `(v / 255 - mean[c]) / std[c]`, computed as `v * scale[c] + bias[c]` in float32 with two
//! roundings and no fused multiply, so it is the same on every machine; within 1e-6 of the formula's
//! own rounding for values of a few units.

use embody_core::ArrayData;
use serde::{Deserialize, Serialize};

/// How pictures come out of a source.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pixels {
    /// `u8` in 0 to 255, as decoded.
    #[default]
    Bytes,
    /// `f32`: the value in [0, 1], less the channel's mean, over its deviation.
    Floats {
        /// Mean of red, green, blue in [0, 1]; 0 leaves values as they are.
        mean: [f32; 3],
        /// Deviation of red, green, blue; above 0, and 1 leaves values as they are.
        std: [f32; 3],
    },
}

/// Eight pixels of three channels: a whole number of any machine's vectors.
const WIDE: usize = 24;

/// Factor and offset of each channel, repeated.
pub(super) struct Scale {
    factor: [f32; WIDE],
    offset: [f32; WIDE],
}

impl Scale {
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let factor = |c: usize| 1.0 / (255.0 * f64::from(std[c]));
        let offset = |c: usize| -f64::from(mean[c]) / f64::from(std[c]);
        Self {
            factor: std::array::from_fn(|i| factor(i % 3) as f32),
            offset: std::array::from_fn(|i| offset(i % 3) as f32),
        }
    }

    /// Converts RGB pixels.
    pub fn apply(&self, from: &[u8], to: &mut [f32]) {
        let (wide, rest) = from.as_chunks::<WIDE>();
        let (wide_to, rest_to) = to.as_chunks_mut::<WIDE>();
        for (from, to) in wide.iter().zip(wide_to) {
            for i in 0..WIDE {
                to[i] = f32::from(from[i]) * self.factor[i] + self.offset[i];
            }
        }
        for (i, (from, to)) in rest.iter().zip(rest_to).enumerate() {
            *to = f32::from(*from) * self.factor[i] + self.offset[i];
        }
    }
}

/// Room for one picture in a batch.
pub(super) enum Room<'a> {
    Bytes(&'a mut [u8]),
    Floats(&'a mut [f32], &'a Scale),
}

impl Room<'_> {
    /// Puts a picture of the room's size there.
    pub fn put(&mut self, rgb: &[u8]) {
        match self {
            Self::Bytes(to) => to.copy_from_slice(rgb),
            Self::Floats(to, scale) => scale.apply(rgb, to),
        }
    }

    /// Puts what another room of the same kind holds.
    pub fn copy(&mut self, other: &Self) {
        match (self, other) {
            (Self::Bytes(to), Self::Bytes(from)) => to.copy_from_slice(from),
            (Self::Floats(to, _), Self::Floats(from, _)) => to.copy_from_slice(from),
            _ => {}
        }
    }
}

/// Rooms for `count` pictures of `values` values in `to`, whose memory is used again.
pub(super) fn rooms<'a>(
    to: &'a mut ArrayData,
    scale: Option<&'a Scale>,
    (count, values): (usize, usize),
) -> Vec<Room<'a>> {
    let chunk = values.max(1);
    match scale {
        None => {
            if !matches!(to, ArrayData::U8(_)) {
                *to = ArrayData::U8(Vec::new());
            }
            let ArrayData::U8(to) = to else { return Vec::new() };
            to.resize(count * values, 0);
            to.chunks_exact_mut(chunk).map(Room::Bytes).collect()
        }
        Some(scale) => {
            if !matches!(to, ArrayData::F32(_)) {
                *to = ArrayData::F32(Vec::new());
            }
            let ArrayData::F32(to) = to else { return Vec::new() };
            to.resize(count * values, 0.0);
            to.chunks_exact_mut(chunk).map(|to| Room::Floats(to, scale)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_the_formula() {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let scale = Scale::new(mean, std);
        // An odd number of pixels: the last ones go one by one.
        let from: Vec<u8> = (0..256 * 3).map(|i| (i / 3) as u8).chain([7; 15]).collect();
        let mut to = vec![f32::NAN; from.len()];
        scale.apply(&from, &mut to);
        for (i, (&v, &got)) in from.iter().zip(&to).enumerate() {
            let expected = (f32::from(v) / 255.0 - mean[i % 3]) / std[i % 3];
            assert!((got - expected).abs() <= 1e-6, "{v} of channel {}: {got}", i % 3);
        }
        let plain = Scale::new([0.0; 3], [1.0; 3]);
        plain.apply(&from, &mut to);
        assert!(from.iter().zip(&to).all(|(&v, &x)| (x - f32::from(v) / 255.0).abs() <= 2e-7));
    }
}
