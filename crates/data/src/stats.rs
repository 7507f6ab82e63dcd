//! Statistics: exact moments, mergeable in any grouping of episodes, and exact quantiles, of one
//! episode or of a whole dataset (`columns`).
//!
//! Invariants: everything is accumulated in f64 in episode order, so the result does not depend on
//! threads; statistics of pictures are over the sampled frames, in 0-1, one entry per channel.

mod columns;

use std::ops::Range;

use embody_core::{Array, ArrayData, FeatureStats, Result, StatsMap, Task};

use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::video::can_decode;

const QUANTILES: [f64; 5] = [0.01, 0.10, 0.50, 0.90, 0.99];

/// The elements of a numeric array as f64, row-major; `None` for bools.
fn numbers(array: &Array) -> Option<Box<dyn Iterator<Item = f64> + '_>> {
    Some(match &array.data {
        ArrayData::U8(v) => Box::new(v.iter().map(|&x| f64::from(x))),
        ArrayData::F32(v) => Box::new(v.iter().map(|&x| f64::from(x))),
        ArrayData::F64(v) => Box::new(v.iter().copied()),
        ArrayData::I64(v) => Box::new(v.iter().map(|&x| x as f64)),
        ArrayData::Bool(_) => return None,
    })
}

/// Elements per row of `[rows, …]`.
fn width(array: &Array) -> usize {
    array.shape.iter().skip(1).product()
}

/// Exact statistics of one array `[rows, …]`, per element of a row; `None` for bools or no rows.
pub(crate) fn array_stats(array: &Array) -> Option<FeatureStats> {
    let (rows, dims) = (*array.shape.first()?, width(array));
    if rows == 0 || dims == 0 {
        return None;
    }
    let mut moments = Moments::new(dims);
    moments.add(array)?;
    let mut columns = vec![Vec::with_capacity(rows); dims];
    for (i, value) in numbers(array)?.enumerate() {
        columns[i % dims].push(value);
    }
    columns.iter_mut().for_each(|c| c.sort_by(f64::total_cmp));
    let quantile = |q: f64| -> Vec<f64> {
        columns
            .iter()
            .map(|c| {
                let at = q * (c.len() - 1) as f64;
                let (low, high) = (c[at.floor() as usize], c[at.ceil() as usize]);
                low + (high - low) * at.fract()
            })
            .collect()
    };
    Some(moments.finish(QUANTILES.map(quantile)))
}

/// Count, mean, second central moment and range per dimension (Chan et al. 1979).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    count: u64,
    mean: Vec<f64>,
    m2: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
}

impl Moments {
    pub fn new(dims: usize) -> Self {
        Self {
            count: 0,
            mean: vec![0.0; dims],
            m2: vec![0.0; dims],
            min: vec![f64::INFINITY; dims],
            max: vec![f64::NEG_INFINITY; dims],
        }
    }

    /// Adds all rows of an array of `dims` elements per row; `None` where it is not numeric.
    pub fn add(&mut self, array: &Array) -> Option<()> {
        let dims = self.mean.len();
        if width(array) != dims || dims == 0 {
            return None;
        }
        let part = match &array.data {
            ArrayData::U8(v) => Self::of_rows(v, dims, f64::from),
            ArrayData::F32(v) => Self::of_rows(v, dims, f64::from),
            ArrayData::F64(v) => Self::of_rows(v, dims, |x| x),
            ArrayData::I64(v) => Self::of_rows(v, dims, |x| x as f64),
            ArrayData::Bool(_) => return None,
        };
        self.merge(&part);
        Some(())
    }

    /// Two passes over rows that are in memory: the mean first, then what deviates from it.
    fn of_rows<T: Copy>(values: &[T], dims: usize, number: impl Fn(T) -> f64) -> Self {
        let mut out = Self::new(dims);
        out.count = (values.len() / dims) as u64;
        for row in values.chunks_exact(dims) {
            for (d, &value) in row.iter().enumerate() {
                let value = number(value);
                out.mean[d] += value;
                out.min[d] = out.min[d].min(value);
                out.max[d] = out.max[d].max(value);
            }
        }
        let rows = out.count.max(1) as f64;
        out.mean.iter_mut().for_each(|m| *m /= rows);
        for row in values.chunks_exact(dims) {
            for (d, &value) in row.iter().enumerate() {
                out.m2[d] += (number(value) - out.mean[d]).powi(2);
            }
        }
        out
    }

    /// Moments of one array; `None` where it is not numeric.
    pub fn of_array(array: &Array) -> Option<Self> {
        let mut out = Self::new(width(array));
        out.add(array).map(|()| out)
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let total = a + b;
        for d in 0..self.mean.len() {
            let delta = other.mean[d] - self.mean[d];
            self.mean[d] += delta * b / total;
            self.m2[d] += other.m2[d] + delta * delta * a * b / total;
            self.min[d] = self.min[d].min(other.min[d]);
            self.max[d] = self.max[d].max(other.max[d]);
        }
        self.count += other.count;
    }

    fn finish(&self, quantiles: [Vec<f64>; 5]) -> FeatureStats {
        let [q01, q10, q50, q90, q99] = quantiles;
        let count = self.count.max(1) as f64;
        FeatureStats {
            min: self.min.clone(),
            max: self.max.clone(),
            mean: self.mean.clone(),
            std: self.m2.iter().map(|m| (m / count).max(0.0).sqrt()).collect(),
            count: self.count,
            q01,
            q10,
            q50,
            q90,
            q99,
        }
    }

    /// Moments as statistics; the quantiles are empty.
    pub fn finish_without_quantiles(&self) -> FeatureStats {
        self.finish(Default::default())
    }

    fn of(stats: &FeatureStats) -> Self {
        let n = stats.count as f64;
        Self {
            count: stats.count,
            mean: stats.mean.clone(),
            m2: stats.std.iter().map(|s| s * s * n).collect(),
            min: stats.min.clone(),
            max: stats.max.clone(),
        }
    }
}

/// Statistics of a whole dataset, computed anew: of tables exactly, moments and quantiles, each
/// column read once, in bounded memory (see `columns`); of pictures over sampled frames, decoded
/// where `decode` is true, else merged from the episodes' own statistics.
///
/// # Errors
/// When a file can't be read or a frame not decoded, or the work was cancelled.
pub fn compute_stats(dataset: &Dataset, decode: bool, task: Task<'_>) -> Result<StatsMap> {
    let all: Vec<usize> = (0..dataset.episodes().len()).collect();
    let mut out = dataset_stats(dataset, &all, task)?;
    let visual = dataset.info().features.iter().filter(|(_, f)| decode && f.dtype.is_visual());
    for (key, _) in visual {
        let each: Result<Vec<Option<PictureStats>>> = all
            .par_iter()
            .map(|&episode| {
                task.cancel.check()?;
                picture_stats(dataset, episode, key, 0..dataset.episodes()[episode].length)
            })
            .collect();
        let mut sum = PictureStats::default();
        each?.iter().flatten().for_each(|part| sum.merge(part));
        if sum.frames > 0 {
            out.insert(key.clone(), sum.finish());
        }
    }
    Ok(out)
}

/// Statistics of sampled frames of an episode; `None` where the codec can't be decoded here, and of
/// depth.
pub(crate) fn picture_stats(
    dataset: &Dataset,
    episode: usize,
    key: &str,
    frames: Range<usize>,
) -> Result<Option<PictureStats>> {
    let from = dataset.episode(episode)?;
    match from.videos.get(key) {
        Some(span) => {
            let codec = dataset.video(&span.file)?.track().config.codec();
            if !can_decode(&codec) || dataset.depth_scale(key).is_some() {
                return Ok(None);
            }
        }
        None if !dataset.has_pictures(key) => return Ok(None),
        None => {}
    }
    let width = dataset.info().features.get(key).and_then(|f| f.shape.get(1)).copied().unwrap_or(0);
    let sampled: Vec<usize> =
        sampled_frames(frames.len()).into_iter().map(|f| frames.start + f).collect();
    let mut stats = PictureStats::default();
    dataset.visit_frames(episode, key, &sampled, &mut |_, rgb| {
        stats.add(rgb, width);
        Ok(())
    })?;
    Ok(Some(stats))
}

/// Statistics of all features over some episodes of a dataset: table columns exactly; pictures merged
/// from the episodes' own statistics (their quantiles as the mean of the episodes', weighted by
/// count).
pub(crate) fn dataset_stats(
    dataset: &Dataset,
    episodes: &[usize],
    task: Task<'_>,
) -> Result<StatsMap> {
    let mut tables = columns::column_stats(dataset, episodes, columns::BUDGET, task)?;
    let mut out = StatsMap::new();
    for (key, spec) in &dataset.info().features {
        if let Some(stats) = tables.shift_remove(key.as_str()) {
            out.insert(key.clone(), stats);
        } else if spec.dtype.is_visual() {
            let parts: Vec<&FeatureStats> = episodes
                .iter()
                .filter_map(|&e| dataset.episodes().get(e)?.stats.get(key))
                .filter(|s| s.count > 0)
                .collect();
            if let Some(merged) = merge(&parts) {
                out.insert(key.clone(), merged);
            }
        }
    }
    Ok(out)
}

/// Merges statistics of disjoint parts; moments exactly, quantiles as weighted means.
pub(crate) fn merge(parts: &[&FeatureStats]) -> Option<FeatureStats> {
    let first = parts.first()?;
    let dims = first.mean.len();
    let fits = |s: &FeatureStats| [&s.mean, &s.std, &s.min, &s.max].iter().all(|v| v.len() == dims);
    if dims == 0 || !parts.iter().all(|s| fits(s)) {
        return None;
    }
    let mut moments = Moments::new(dims);
    parts.iter().for_each(|s| moments.merge(&Moments::of(s)));
    let mean = |pick: fn(&FeatureStats) -> &Vec<f64>| -> Vec<f64> {
        if parts.iter().any(|s| pick(s).len() != dims) {
            return Vec::new();
        }
        let total: f64 = parts.iter().map(|s| s.count as f64).sum();
        (0..dims)
            .map(|d| parts.iter().map(|s| pick(s)[d] * s.count as f64).sum::<f64>() / total)
            .collect()
    };
    Some(moments.finish([
        mean(|s| &s.q01),
        mean(|s| &s.q10),
        mean(|s| &s.q50),
        mean(|s| &s.q90),
        mean(|s| &s.q99),
    ]))
}

/// Which frames of an episode its picture statistics are taken from: about length^0.75, at least
/// 100, evenly spread (LeRobot's rule).
pub(crate) fn sampled_frames(length: usize) -> Vec<usize> {
    if length == 0 {
        return Vec::new();
    }
    let count = ((length as f64).powf(0.75) as usize).clamp(length.min(100), 10_000);
    if count == 1 {
        return vec![0];
    }
    let step = (length - 1) as f64 / (count - 1) as f64;
    (0..count).map(|i| (i as f64 * step).round() as usize).collect()
}

/// Statistics of pictures from counts of their 256 levels per channel: exact over what was added.
#[derive(Debug, Clone)]
pub(crate) struct PictureStats {
    levels: Box<[[u64; 256]; 3]>,
    frames: u64,
}

impl Default for PictureStats {
    fn default() -> Self {
        Self { levels: Box::new([[0; 256]; 3]), frames: 0 }
    }
}

impl PictureStats {
    /// Size of [`PictureStats::to_bytes`].
    pub const BYTES: usize = 3 * 256 * 4;

    /// The levels of one frame as bytes, for a recorder's journal.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        // A frame is thinned to below 2^32 pixels.
        self.levels.iter().flatten().for_each(|&n| out.extend((n as u32).to_le_bytes()));
    }

    /// One frame's levels from [`PictureStats::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut out = Self { frames: 1, ..Self::default() };
        let words = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        if bytes.len() != Self::BYTES {
            return None;
        }
        out.levels.iter_mut().flatten().zip(words).for_each(|(level, n)| *level = n.into());
        Some(out)
    }

    /// Adds one RGB frame `[height, width, 3]`; large ones are thinned to about 150 pixels a side,
    /// as LeRobot does.
    pub fn add(&mut self, rgb: &[u8], frame_width: usize) {
        let frame_height = (rgb.len() / 3).checked_div(frame_width).unwrap_or(0);
        let longest = frame_width.max(frame_height);
        let step = if longest < 300 { 1 } else { (longest / 150).max(1) };
        for row in rgb.chunks_exact(frame_width * 3).step_by(step) {
            for pixel in row.chunks_exact(3).step_by(step) {
                for (levels, &value) in self.levels.iter_mut().zip(pixel) {
                    levels[usize::from(value)] += 1;
                }
            }
        }
        self.frames += 1;
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.levels.iter_mut().flatten().zip(other.levels.iter().flatten()) {
            *a += b;
        }
        self.frames += other.frames;
    }

    /// Mean level (0-255) over all channels.
    pub fn mean_level(&self) -> f64 {
        let stats = self.finish();
        stats.mean.iter().sum::<f64>() / 3.0 * 255.0
    }

    /// The statistics; `count` is the number of frames.
    pub fn finish(&self) -> FeatureStats {
        let mut out = FeatureStats { count: self.frames, ..FeatureStats::default() };
        for levels in self.levels.iter() {
            let total = levels.iter().sum::<u64>().max(1) as f64;
            let value = |i: usize| i as f64 / 255.0;
            let mean =
                levels.iter().enumerate().map(|(i, &n)| value(i) * n as f64).sum::<f64>() / total;
            let var = levels
                .iter()
                .enumerate()
                .map(|(i, &n)| (value(i) - mean).powi(2) * n as f64)
                .sum::<f64>()
                / total;
            let quantile = |q: f64| {
                let mut before = 0.0;
                for (i, &n) in levels.iter().enumerate() {
                    before += n as f64;
                    if n > 0 && before >= q * total {
                        return value(i);
                    }
                }
                1.0
            };
            out.min.push(levels.iter().position(|&n| n > 0).map_or(0.0, value));
            out.max.push(levels.iter().rposition(|&n| n > 0).map_or(0.0, value));
            out.mean.push(mean);
            out.std.push(var.max(0.0).sqrt());
            let slots = [&mut out.q01, &mut out.q10, &mut out.q50, &mut out.q90, &mut out.q99];
            slots.into_iter().zip(QUANTILES).for_each(|(slot, q)| slot.push(quantile(q)));
        }
        out
    }
}

#[cfg(test)]
mod tests;
