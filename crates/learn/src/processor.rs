//! What stands between recorded values and the network: normalisation, pictures, and how actions
//! are represented. Written beside the weights in LeRobot's processor files.

use std::borrow::Cow;

use embody_core::{ArrayView, DataView, FeatureStats};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::imitation::ActionRepresentation;
use crate::letterbox::Letterbox;

/// ImageNet's channel means and deviations, LeRobot's default for pictures.
pub(crate) const IMAGE_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
pub(crate) const IMAGE_STD: [f64; 3] = [0.229, 0.224, 0.225];
const EPS: f32 = 1e-8;

/// How a kind of feature is normalised, under LeRobot's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum NormMode {
    /// Not at all.
    Identity,
    /// `(x − mean) / (std + 1e-8)`.
    MeanStd,
    /// From [min, max] to [-1, 1].
    MinMax,
    /// From [1 % quantile, 99 % quantile] to [-1, 1].
    Quantiles,
}

impl NormMode {
    /// The two statistics that it needs.
    pub fn statistics(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Identity => None,
            Self::MeanStd => Some(["mean", "std"]),
            Self::MinMax => Some(["min", "max"]),
            Self::Quantiles => Some(["q01", "q99"]),
        }
    }
}

/// Normalisation of each dimension of a vector by two statistics: mean and deviation, or both ends of
/// its range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normalizer {
    pub mode: NormMode,
    /// Mean or lower end; zeros for [`NormMode::Identity`].
    pub first: Vec<f32>,
    /// Deviation or upper end; ones for [`NormMode::Identity`].
    pub second: Vec<f32>,
}

impl Normalizer {
    /// From statistics, guarded: see [`Normalizer::guarded`].
    pub fn from_stats(
        mode: NormMode,
        key: &str,
        stats: Option<&FeatureStats>,
        dim: usize,
    ) -> Result<Self, Error> {
        let pick = |s: &FeatureStats| match mode {
            NormMode::Identity => (vec![0.0; dim], vec![1.0; dim]),
            NormMode::MeanStd => (s.mean.clone(), s.std.clone()),
            NormMode::MinMax => (s.min.clone(), s.max.clone()),
            NormMode::Quantiles => (s.q01.clone(), s.q99.clone()),
        };
        let (first, second) = stats
            .map(pick)
            .filter(|(a, b)| a.len() == dim && b.len() == dim)
            .ok_or_else(|| Error::Stats { key: key.to_owned() })?;
        Ok(Self::guarded(mode, &first, &second))
    }

    /// A dimension that hardly moves is not stretched, so that sensor noise on it is not blown up to
    /// the size of a signal; the guarded values are what a checkpoint stores.
    pub fn guarded(mode: NormMode, first: &[f64], second: &[f64]) -> Self {
        let guard = |(a, b): (&f64, &f64)| match mode {
            NormMode::Identity => (0.0, 1.0),
            NormMode::MeanStd => {
                let moves = b.is_finite() && *b > 1e-6 + 1e-5 * a.abs();
                (*a as f32, if moves { *b as f32 } else { 1.0 })
            }
            NormMode::MinMax | NormMode::Quantiles => {
                let moves = b.is_finite() && b - a > 1e-6 + 1e-5 * a.abs();
                let half = if moves { 0.0 } else { 1.0 };
                ((a - half) as f32, (b + half) as f32)
            }
        };
        let (first, second) = first.iter().zip(second).map(guard).unzip();
        Self { mode, first, second }
    }

    /// Leaves `dim` values as they are.
    pub fn identity(dim: usize) -> Self {
        Self { mode: NormMode::Identity, first: vec![0.0; dim], second: vec![1.0; dim] }
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.first.len()
    }

    /// Both statistics of element `i` of a run of vectors, by `i % dim`.
    fn each<'a>(&'a self, values: &'a mut [f32]) -> impl Iterator<Item = (&'a mut f32, f32, f32)> {
        let statistics = self.first.iter().zip(&self.second).cycle();
        values.iter_mut().zip(statistics).map(|(v, (a, b))| (v, *a, *b))
    }

    /// To the network's units, in place.
    pub fn apply(&self, values: &mut [f32]) {
        match self.mode {
            NormMode::Identity => {}
            NormMode::MeanStd => {
                self.each(values).for_each(|(v, mean, std)| *v = (*v - mean) / (std + EPS));
            }
            NormMode::MinMax | NormMode::Quantiles => {
                let all = self.each(values);
                all.for_each(|(v, low, high)| *v = 2.0 * (*v - low) / span(low, high) - 1.0);
            }
        }
    }

    /// Inverse of [`Normalizer::apply`], up to the 1e-8 that LeRobot leaves out here.
    pub fn invert(&self, values: &mut [f32]) {
        match self.mode {
            NormMode::Identity => {}
            NormMode::MeanStd => self.each(values).for_each(|(v, mean, std)| *v = *v * std + mean),
            NormMode::MinMax | NormMode::Quantiles => {
                let all = self.each(values);
                all.for_each(|(v, low, high)| *v = (*v + 1.0) / 2.0 * span(low, high) + low);
            }
        }
    }
}

/// Width of a range, 1e-8 where it is none.
fn span(low: f32, high: f32) -> f32 {
    if high == low { EPS } else { high - low }
}

/// One camera that the policy looks through.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CameraInput {
    pub key: String,
    pub height: usize,
    pub width: usize,
    /// Height and width of the part that the network sees; all of it where `None`.
    pub crop: Option<(usize, usize)>,
    /// Of each channel's values in [0, 1].
    pub normalizer: Normalizer,
    /// Where the policy takes pictures of any size and brings them to its own, in place of `crop`.
    pub letterbox: Option<Letterbox>,
}

impl CameraInput {
    /// Normalised value of each byte, per channel.
    pub fn pixel_table(&self) -> PixelTable {
        let mut table = [[0.0; 256]; 3];
        for v in 0..256 {
            let mut rgb = [v as f32 / 255.0; 3];
            self.normalizer.apply(&mut rgb);
            table.iter_mut().zip(rgb).for_each(|(channel, value)| channel[v] = value);
        }
        table
    }

    /// Height and width of what the network sees.
    pub fn seen(&self) -> (usize, usize) {
        let square = self.letterbox.map(|letterbox| (letterbox.side, letterbox.side));
        square.or(self.crop).unwrap_or((self.height, self.width))
    }

    /// The middle part, as torchvision's `CenterCrop` has it: a half is rounded to the even pixel.
    pub fn centre(&self) -> Window {
        let (height, width) = self.seen();
        let middle =
            |all: usize, part: usize| ((all - part) as f64 / 2.0).round_ties_even() as isize;
        let (top, left) = (middle(self.height, height), middle(self.width, width));
        Window { top, left, height, width }
    }
}

/// A part of a picture, which may reach beyond its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub top: isize,
    pub left: isize,
    pub height: usize,
    pub width: usize,
}

/// Normalised value of each byte, per channel.
pub(crate) type PixelTable = [[f32; 256]; 3];

/// One vector that the policy reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorInput {
    pub key: String,
    pub normalizer: Normalizer,
}

impl VectorInput {
    /// The normalised vector.
    pub fn encode(&self, raw: &[f32]) -> Vec<f32> {
        let mut values = raw.to_vec();
        self.normalizer.apply(&mut values);
        values
    }
}

/// Everything that turns observations into network inputs and outputs into actions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Processor {
    pub cameras: Vec<CameraInput>,
    /// Of the robot.
    pub state: Option<VectorInput>,
    /// Of its surroundings.
    pub env: Option<VectorInput>,
    pub action: Normalizer,
    /// Normalises last action minus state, where that is an input.
    pub lag: Option<Normalizer>,
    pub representation: ActionRepresentation,
}

impl Processor {
    /// Dimensions of the robot's state as recorded; 0 without one.
    pub fn state_dim(&self) -> usize {
        self.state.as_ref().map_or(0, |s| s.normalizer.dim())
    }

    /// Dimensions of the state of the surroundings; 0 without one.
    pub fn env_dim(&self) -> usize {
        self.env.as_ref().map_or(0, |e| e.normalizer.dim())
    }

    /// Length of the robot's vector that the network reads.
    pub fn vector_dim(&self) -> usize {
        self.state_dim() + self.lag.as_ref().map_or(0, Normalizer::dim)
    }

    /// Appends the vector that the network reads: the states, oldest first, and, where asked for, how
    /// far the last action lies from the state (then there is one). `states` and `last` are raw.
    pub fn encode_vector(&self, states: &[f32], last: &[f32], out: &mut Vec<f32>) {
        let from = out.len();
        out.extend_from_slice(states);
        if let Some(input) = &self.state {
            input.normalizer.apply(&mut out[from..]);
        }
        if let Some(lag) = &self.lag {
            let from = out.len();
            out.extend(last.iter().zip(states).map(|(l, s)| l - s));
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

/// Appends a window of a picture as normalised floats; beyond the picture its edge is repeated.
pub(crate) fn picture_to_f32(
    pixels: &[u8],
    (height, width): (usize, usize),
    window: Window,
    table: &PixelTable,
    out: &mut Vec<f32>,
) {
    let source = |at: usize, by: isize, n: usize| at.saturating_add_signed(by).min(n - 1);
    for y in 0..window.height {
        let row = source(y, window.top, height) * width;
        for x in 0..window.width {
            let at = (row + source(x, window.left, width)) * 3;
            out.extend((0..3).map(|c| table[c][usize::from(pixels[at + c])]));
        }
    }
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

/// The array's pixels with their height and width: u8 `[rows, height, width, 3]`, where `rows` may be
/// two axes.
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
        (DataView::U8(data), [.., h, w, 3]) if data.len() == rows * h * w * 3 => Ok((data, *h, *w)),
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
        let n = Normalizer::guarded(NormMode::MeanStd, &[1.0, 2.0], &[0.5, 1e-9]);
        assert_eq!(n.second, [0.5, 1.0]);
        let mut values = [2.0, 2.000_001, 0.5, 2.0];
        let before = values;
        n.apply(&mut values);
        assert!((values[0] - 2.0).abs() < 1e-6 && values[1].abs() < 1e-5);
        n.invert(&mut values);
        assert!(values.iter().zip(before).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn ranges_go_to_one_and_back() {
        let n = Normalizer::guarded(NormMode::MinMax, &[1.0, 2.0], &[3.0, 2.0]);
        let mut values = [1.0, 2.0, 2.0, 2.5, 3.0, 1.5];
        let before = values;
        n.apply(&mut values);
        assert_eq!(values, [-1.0, 0.0, 0.0, 0.5, 1.0, -0.5]);
        n.invert(&mut values);
        assert_eq!(values, before);
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
        let window = Window { top: 0, left: -1, height: 2, width: 2 };
        picture_to_f32(&pixels, (2, 2), window, &table, &mut out);
        assert_eq!(out, [0., 1., 2., 0., 1., 2., 6., 7., 8., 6., 7., 8.]);
    }

    #[test]
    fn deltas_invert() {
        let mut p = Processor {
            cameras: vec![],
            state: Some(VectorInput {
                key: "observation.state".into(),
                normalizer: Normalizer::identity(2),
            }),
            env: None,
            action: Normalizer::guarded(NormMode::MeanStd, &[0.1, -0.2], &[0.5, 2.0]),
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
