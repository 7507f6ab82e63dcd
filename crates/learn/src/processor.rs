//! What stands between recorded values and the network: normalisation, pictures, and how actions
//! are represented. Written beside the weights in LeRobot's processor files.

use std::borrow::Cow;

use embody_core::{ArrayView, DataView, FeatureStats};

use crate::act::ActionRepresentation;
use crate::error::Error;

/// ImageNet's channel means and deviations, LeRobot's default for pictures.
pub(crate) const IMAGE_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub(crate) const IMAGE_STD: [f32; 3] = [0.229, 0.224, 0.225];
const EPS: f32 = 1e-8;

/// Mean and deviation of each dimension of a vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normalizer {
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

impl Normalizer {
    /// From statistics. A dimension that hardly moves gets deviation 1, so that sensor noise on it is
    /// not blown up to the size of a signal; the guarded value is what a checkpoint stores.
    pub fn from_stats(key: &str, stats: Option<&FeatureStats>, dim: usize) -> Result<Self, Error> {
        let stats = stats
            .filter(|s| s.mean.len() == dim && s.std.len() == dim)
            .ok_or_else(|| Error::Stats { key: key.to_owned() })?;
        Ok(Self::guarded(&stats.mean, &stats.std))
    }

    /// See [`Normalizer::from_stats`].
    pub fn guarded(mean: &[f64], std: &[f64]) -> Self {
        let guard = |(m, s): (&f64, &f64)| {
            let moves = s.is_finite() && *s > 1e-6 + 1e-5 * m.abs();
            if moves { *s as f32 } else { 1.0 }
        };
        Self {
            mean: mean.iter().map(|m| *m as f32).collect(),
            std: mean.iter().zip(std).map(guard).collect(),
        }
    }

    /// `(x − μ) / (σ + 1e-8)`, element `i` with dimension `i % dim`.
    pub fn apply(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.mean.len()) {
            for ((v, m), s) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *v = (*v - m) / (s + EPS);
            }
        }
    }

    /// `x · σ + μ`.
    pub fn invert(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.mean.len()) {
            for ((v, m), s) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *v = *v * s + m;
            }
        }
    }
}

/// One camera that the policy looks through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CameraInput {
    pub key: String,
    pub height: usize,
    pub width: usize,
}

/// Everything that turns observations into network inputs and outputs into actions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Processor {
    pub cameras: Vec<CameraInput>,
    pub state_key: String,
    pub state: Normalizer,
    pub action: Normalizer,
    /// Normalises last action minus state, where that is an input.
    pub lag: Option<Normalizer>,
    pub representation: ActionRepresentation,
}

impl Processor {
    /// Length of the vector that the network reads.
    pub fn vector_dim(&self) -> usize {
        self.state.mean.len() + self.lag.as_ref().map_or(0, |l| l.mean.len())
    }

    /// Appends the vector that the network reads: the state and, where asked for, how far the last
    /// action lies from it. `state` and `last` are raw.
    pub fn encode_vector(&self, state: &[f32], last: &[f32], out: &mut Vec<f32>) {
        let from = out.len();
        out.extend_from_slice(state);
        self.state.apply(&mut out[from..]);
        if let Some(lag) = &self.lag {
            let from = out.len();
            out.extend(last.iter().zip(state).map(|(l, s)| l - s));
            lag.apply(&mut out[from..]);
        }
    }

    /// What actions are relative to.
    fn reference<'a>(&self, state: &'a [f32], last: &'a [f32]) -> Option<&'a [f32]> {
        match self.representation {
            ActionRepresentation::Absolute => None,
            ActionRepresentation::DeltaToState => Some(state),
            ActionRepresentation::DeltaToLast => Some(last),
        }
    }

    /// Represents and normalises a chunk of actions in place; `state` and `last` are raw.
    pub fn encode_actions(&self, actions: &mut [f32], state: &[f32], last: &[f32]) {
        if let Some(reference) = self.reference(state, last) {
            for row in actions.chunks_exact_mut(reference.len()) {
                row.iter_mut().zip(reference).for_each(|(a, r)| *a -= r);
            }
        }
        self.action.apply(actions);
    }

    /// Inverse of [`Processor::encode_actions`].
    pub fn decode_actions(&self, actions: &mut [f32], state: &[f32], last: &[f32]) {
        self.action.invert(actions);
        if let Some(reference) = self.reference(state, last) {
            for row in actions.chunks_exact_mut(reference.len()) {
                row.iter_mut().zip(reference).for_each(|(a, r)| *a += r);
            }
        }
    }
}

/// Appends a picture as normalised floats, moved by `(right, down)` pixels with its edge repeated.
pub(crate) fn picture_to_f32(
    pixels: &[u8],
    (height, width): (usize, usize),
    shift: (isize, isize),
    table: &[[f32; 256]; 3],
    out: &mut Vec<f32>,
) {
    let source = |at: usize, by: isize, n: usize| at.saturating_add_signed(-by).min(n - 1);
    for y in 0..height {
        let row = source(y, shift.1, height) * width;
        for x in 0..width {
            let at = (row + source(x, shift.0, width)) * 3;
            out.extend((0..3).map(|c| table[c][usize::from(pixels[at + c])]));
        }
    }
}

/// Normalised value of each byte, per channel.
pub(crate) fn pixel_table() -> [[f32; 256]; 3] {
    std::array::from_fn(|c| {
        std::array::from_fn(|v| (v as f32 / 255.0 - IMAGE_MEAN[c]) / IMAGE_STD[c])
    })
}

/// Resizes an RGB picture by averaging the area under each target pixel (borders of areas count by
/// the part that they cover), rounding to nearest.
pub fn resize_area(
    pixels: &[u8],
    (height, width): (usize, usize),
    (to_height, to_width): (usize, usize),
) -> Vec<u8> {
    let rows = coverage(height, to_height);
    let columns = coverage(width, to_width);
    let mut out = Vec::with_capacity(to_height * to_width * 3);
    for row in &rows {
        for column in &columns {
            let (mut sum, mut area) = ([0.0f32; 3], 0.0);
            for (y, wy) in row {
                for (x, wx) in column {
                    let at = (y * width + x) * 3;
                    for c in 0..3 {
                        sum[c] += wy * wx * f32::from(pixels[at + c]);
                    }
                    area += wy * wx;
                }
            }
            out.extend(sum.map(|s| (s / area).round() as u8));
        }
    }
    out
}

/// For each target index, source indices with the length that lies under it.
fn coverage(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let span = |i: usize| {
        // Exact in integers: target i covers [i · from, (i + 1) · from) in units of 1 / to.
        let (start, end) = (i * from, (i + 1) * from);
        (start / to..end.div_ceil(to))
            .map(|s| (s, ((s + 1) * to).min(end) - (s * to).max(start)))
            .map(|(s, part)| (s, part as f32 / to as f32))
            .collect()
    };
    (0..to).map(span).collect()
}

/// The array's elements as f32, which must multiply out to `rows × width`.
pub(crate) fn floats<'a>(
    key: &str,
    array: Option<&ArrayView<'a>>,
    rows: usize,
    width: usize,
) -> Result<Cow<'a, [f32]>, Error> {
    let array = array.ok_or_else(|| Error::MissingFeature {
        key: key.to_owned(),
        known: "no such array in this batch".into(),
    })?;
    let values: Cow<'a, [f32]> = match array.data {
        DataView::F32(data) => data.into(),
        DataView::F64(data) => data.iter().map(|v| *v as f32).collect::<Vec<_>>().into(),
        _ => return Err(wrong(key, array, &format!("floats [{rows}, {width}]"))),
    };
    if values.len() != rows * width {
        return Err(wrong(key, array, &format!("[{rows}, {width}]")));
    }
    Ok(values)
}

/// The array's pixels with their height and width: u8 `[rows, height, width, 3]`.
pub(crate) fn pixels<'a>(
    key: &str,
    array: Option<&ArrayView<'a>>,
    rows: usize,
) -> Result<(&'a [u8], usize, usize), Error> {
    let array = array.ok_or_else(|| Error::MissingFeature {
        key: key.to_owned(),
        known: "no such array in this batch".into(),
    })?;
    match (array.data, array.shape) {
        (DataView::U8(data), [n, h, w, 3]) if *n == rows && data.len() == n * h * w * 3 => {
            Ok((data, *h, *w))
        }
        _ => Err(wrong(key, array, &format!("u8 [{rows}, height, width, 3]"))),
    }
}

fn wrong(key: &str, array: &ArrayView<'_>, expected: &str) -> Error {
    let kind = match array.data {
        DataView::U8(_) => "u8",
        DataView::F32(_) => "f32",
        DataView::F64(_) => "f64",
        DataView::I64(_) => "i64",
        DataView::Bool(_) => "bool",
    };
    Error::FeatureShape {
        key: key.to_owned(),
        found: format!("{kind} {:?}", array.shape),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_dimension_is_not_blown_up() {
        let n = Normalizer::guarded(&[1.0, 2.0], &[0.5, 1e-9]);
        assert_eq!(n.std, [0.5, 1.0]);
        let mut values = [2.0, 2.000_001, 0.5, 2.0];
        let before = values;
        n.apply(&mut values);
        assert!((values[0] - 2.0).abs() < 1e-6 && values[1].abs() < 1e-5);
        n.invert(&mut values);
        assert!(values.iter().zip(before).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn area_averages_whole_and_broken_areas() {
        let grey = |v: &[u8]| v.iter().flat_map(|p| [*p; 3]).collect::<Vec<u8>>();
        assert_eq!(resize_area(&grey(&[0, 100, 200, 40]), (2, 2), (1, 1)), grey(&[85]));
        // Three pixels to two: areas of 1.5, so (0 + 0.5 · 90) / 1.5 and (0.5 · 90 + 30) / 1.5.
        assert_eq!(resize_area(&grey(&[0, 90, 30]), (1, 3), (1, 2)), grey(&[30, 50]));
        assert_eq!(resize_area(&grey(&[7, 9]), (1, 2), (1, 2)), grey(&[7, 9]));
    }

    #[test]
    fn a_shifted_picture_repeats_its_edge() {
        let pixels: Vec<u8> = (0..12).collect();
        let table = std::array::from_fn(|_| std::array::from_fn(|v| v as f32));
        let mut out = Vec::new();
        picture_to_f32(&pixels, (2, 2), (1, 0), &table, &mut out);
        assert_eq!(out, [0., 1., 2., 0., 1., 2., 6., 7., 8., 6., 7., 8.]);
    }

    #[test]
    fn deltas_invert() {
        let mut p = Processor {
            cameras: vec![],
            state_key: "observation.state".into(),
            state: Normalizer::guarded(&[0.0; 2], &[1.0; 2]),
            action: Normalizer::guarded(&[0.1, -0.2], &[0.5, 2.0]),
            lag: None,
            representation: ActionRepresentation::DeltaToState,
        };
        for (representation, first) in [
            (ActionRepresentation::Absolute, 1.0),
            (ActionRepresentation::DeltaToState, 0.5),
            (ActionRepresentation::DeltaToLast, 0.75),
        ] {
            p.representation = representation;
            let mut actions = [1.0, 2.0, 3.0, 4.0];
            p.encode_actions(&mut actions, &[0.5, 0.5], &[0.25, 1.5]);
            assert!((actions[0] - (first - 0.1) / 0.5).abs() < 1e-5);
            p.decode_actions(&mut actions, &[0.5, 0.5], &[0.25, 1.5]);
            assert!(actions.iter().zip([1.0, 2.0, 3.0, 4.0]).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
