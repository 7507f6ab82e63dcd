//! One feature of one episode as numbers, and the robust statistics that measures are built from.
//!
//! Everything is f64 and row-major `[frames, width]`; order statistics sort with `total_cmp`, so a
//! result never depends on threads. Empty input has no median: functions say so with `None`.

use embody_core::{Array, ArrayData};

/// Scale of the median absolute deviation that equals one standard deviation of a normal
/// distribution (Rousseeuw & Croux 1993).
const MAD_SIGMA: f64 = 1.4826;

/// A numeric feature over the frames of an episode: `[frames, width]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Elements per frame, at least 1.
    pub width: usize,
    /// `frames × width` numbers.
    pub values: Vec<f64>,
}

impl Series {
    /// The numbers of `array`; `None` for bools and empty rows.
    pub fn of(array: &Array) -> Option<Self> {
        let width = array.shape.iter().skip(1).product::<usize>();
        let values = match &array.data {
            ArrayData::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            ArrayData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            ArrayData::F64(v) => v.clone(),
            ArrayData::I64(v) => v.iter().map(|&x| x as f64).collect(),
            ArrayData::Bool(_) => return None,
        };
        (width > 0).then_some(Self { width, values })
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.values.len() / self.width
    }

    /// The values of each frame.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.width)
    }

    /// One frame's values.
    pub fn row(&self, frame: usize) -> &[f64] {
        &self.values[frame * self.width..][..self.width]
    }

    /// One dimension over time.
    pub fn column(&self, dimension: usize) -> Vec<f64> {
        self.values.iter().skip(dimension).step_by(self.width).copied().collect()
    }
}

/// Smallest and largest finite value per dimension over a dataset.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Extent {
    pub low: Vec<f64>,
    pub high: Vec<f64>,
}

impl Extent {
    /// Takes in the finite values of `series`.
    pub fn add(&mut self, series: &Series) {
        self.resize(series.width);
        for row in series.rows() {
            for (d, v) in row.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                self.low[d] = self.low[d].min(*v);
                self.high[d] = self.high[d].max(*v);
            }
        }
    }

    /// Takes in what `other` saw.
    pub fn merge(&mut self, other: &Self) {
        self.resize(other.low.len());
        for d in 0..other.low.len() {
            self.low[d] = self.low[d].min(other.low[d]);
            self.high[d] = self.high[d].max(other.high[d]);
        }
    }

    fn resize(&mut self, width: usize) {
        let width = width.max(self.low.len());
        self.low.resize(width, f64::INFINITY);
        self.high.resize(width, f64::NEG_INFINITY);
    }

    /// Range per dimension, 0 where nothing was seen.
    pub fn ranges(&self) -> Vec<f64> {
        self.low.iter().zip(&self.high).map(|(l, h)| (h - l).max(0.0)).collect()
    }

    /// A value as a fraction of its dimension's range, 0 where the range is empty.
    pub fn unit(&self, dimension: usize, value: f64) -> f64 {
        let range = self.high[dimension] - self.low[dimension];
        if range > 0.0 { (value - self.low[dimension]) / range } else { 0.0 }
    }
}

/// The middle value (the mean of the two in the middle); `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

/// Median and robust standard deviation (scaled median absolute deviation); `None` of nothing.
pub(crate) fn robust(values: &[f64]) -> Option<(f64, f64)> {
    let middle = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    Some((middle, MAD_SIGMA * median(&deviations)?))
}

/// 0 up to `low`, 1 from `high`, straight between.
pub(crate) fn ramp(value: f64, low: f64, high: f64) -> f64 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::{ramp, robust};

    #[test]
    fn robust_scale_ignores_an_outlier() {
        let (middle, scale) = robust(&[1.0, 2.0, 3.0, 4.0, 1000.0]).expect("values");
        assert_eq!((middle, scale), (3.0, 1.4826));
        assert_eq!(robust(&[]), None);
    }

    #[test]
    fn a_ramp_is_flat_outside() {
        assert_eq!(
            [ramp(0.0, 1.0, 3.0), ramp(2.0, 1.0, 3.0), ramp(9.0, 1.0, 3.0)],
            [0.0, 0.5, 1.0]
        );
    }
}
