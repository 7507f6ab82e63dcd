//! Calibration drift: a slow shift, over the episodes of a dataset, of where the robot starts or of how
//! far it is from where it was told to be.
//!
//! Every episode's start pose is the median of its first frames, its offset the median of state minus
//! action over all of them. Per dimension the Mann-Kendall test
//! (Mann 1945, Kendall 1975; with the correction for ties) says whether they rise or fall with
//! the episode number, and the Theil-Sen slope (Sen 1968) by how much. A dimension drifts when the
//! test's |z| exceeds [`Z`] and the shift over all episodes exceeds [`SHIFT`] of its range. Beyond
//! [`MOST`] episodes an evenly spread sample of them is tested: the pairs grow with the square.

use crate::curate::series::{Series, median};

/// Standard normal value that |z| must pass: p = 0.0001, two-sided, because every dimension is tested.
const Z: f64 = 3.89;
/// Smallest shift that counts, fraction of the range.
const SHIFT: f64 = 0.03;
/// Fewest episodes from which a trend is claimed.
const FEWEST: usize = 8;
/// Most episodes that are tested.
const MOST: usize = 500;
/// Frames that make the start pose.
const START_FRAMES: usize = 5;

/// A dimension that shifts over the episodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drift {
    /// Dimension.
    pub dimension: usize,
    /// Shift from the first episode to the last, fraction of the dimension's range.
    pub shift: f64,
    /// Mann-Kendall z.
    pub z: f64,
}

/// Where an episode starts: the median of its first frames, per dimension.
pub(crate) fn start_pose(series: &Series) -> Vec<f64> {
    let frames = series.frames().min(START_FRAMES);
    (0..series.width)
        .map(|d| {
            let first: Vec<f64> = (0..frames).map(|f| series.row(f)[d]).collect();
            median(&first).unwrap_or(f64::NAN)
        })
        .collect()
}

/// State minus action, the median over an episode per dimension; empty where widths differ.
pub(crate) fn offsets(state: &Series, action: &Series) -> Vec<f64> {
    if state.width != action.width {
        return Vec::new();
    }
    (0..state.width)
        .map(|d| {
            let pairs = state.rows().zip(action.rows());
            let all: Vec<f64> = pairs.map(|(s, a)| s[d] - a[d]).collect();
            median(&all).unwrap_or(f64::NAN)
        })
        .collect()
}

/// Dimensions that drift, but for those to `skip` (hands are where the last task left them); `starts`
/// are the start poses (or offsets) by episode, empty where there is none.
pub(crate) fn drift(starts: &[Vec<f64>], ranges: &[f64], skip: &[usize]) -> Vec<Drift> {
    let step = starts.len().div_ceil(MOST).max(1);
    let mut out = Vec::new();
    for (dimension, range) in
        ranges.iter().enumerate().filter(|(d, r)| **r > 0.0 && !skip.contains(d))
    {
        let points: Vec<(f64, f64)> = starts
            .iter()
            .enumerate()
            .step_by(step)
            .filter_map(|(e, pose)| Some((e as f64, *pose.get(dimension)?)))
            .filter(|p| p.1.is_finite())
            .collect();
        let (Some(z), Some(slope)) = (mann_kendall(&points), theil_sen(&points)) else { continue };
        let shift = slope * (starts.len() - 1) as f64 / range;
        if points.len() >= FEWEST && z.abs() > Z && shift.abs() > SHIFT {
            out.push(Drift { dimension, shift, z });
        }
    }
    out
}

/// z of the Mann-Kendall test; `None` for fewer than three points or where all are equal.
fn mann_kendall(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len();
    if n < 3 {
        return None;
    }
    let mut s = 0i64;
    for i in 0..n {
        for j in i + 1..n {
            s += match points[j].1.total_cmp(&points[i].1) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Less => -1,
                std::cmp::Ordering::Equal => 0,
            };
        }
    }
    let mut sorted: Vec<f64> = points.iter().map(|p| p.1).collect();
    sorted.sort_by(f64::total_cmp);
    let weight = |t: f64| t * (t - 1.0) * (2.0 * t + 5.0);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|group| weight(group.len() as f64)).sum();
    let variance = (weight(n as f64) - ties) / 18.0;
    (variance > 0.0).then(|| (s - s.signum()) as f64 / variance.sqrt())
}

/// Median of the slopes of all pairs.
fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (i, a) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    median(&slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trembling without trend.
    fn noise(e: usize) -> f64 {
        ((e * 7919 + 13) % 101) as f64 / 101.0 - 0.5
    }

    #[test]
    fn a_slow_shift_is_found_with_its_size_and_noise_is_not() {
        let starts: Vec<Vec<f64>> =
            (0..60).map(|e| vec![0.02 * noise(e), 0.002 * e as f64 + 0.02 * noise(e)]).collect();
        let found = drift(&starts, &[1.0, 1.0], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].dimension, 1);
        assert!((found[0].shift - 0.118).abs() < 0.012 && found[0].z > 5.0, "{found:?}");
        assert!(drift(&starts[..7], &[1.0, 1.0], &[]).is_empty(), "too few episodes");
        assert!(drift(&vec![vec![1.0]; 40], &[1.0], &[]).is_empty(), "nothing moves");
        assert!(drift(&starts, &[1.0, 1.0], &[1]).is_empty(), "a skipped dimension");
    }

    #[test]
    fn the_test_statistic_is_the_published_one() {
        // n = 10, strictly rising: S = 45, variance 10·9·25/18 = 125, z = 44/√125.
        let points: Vec<(f64, f64)> = (0..10).map(|i| (f64::from(i), f64::from(i * i))).collect();
        let z = mann_kendall(&points).expect("enough");
        assert!((z - 44.0 / 125f64.sqrt()).abs() < 1e-12, "{z}");
    }

    #[test]
    fn an_encoder_that_slips_shows_in_the_offset_whatever_the_task() {
        let episode = |e: usize| {
            // Another motion every time; the arm trails by a step and reads 0.1 % more each episode.
            let told = |t: usize| ((t + 7 * e) as f64 * 0.1).sin() + 0.3 * noise(e);
            let action = Series { width: 1, values: (0..200).map(told).collect() };
            let read = |t: usize| told(t.max(1) - 1) + 0.002 * e as f64;
            (Series { width: 1, values: (0..200).map(read).collect() }, action)
        };
        let all: Vec<Vec<f64>> = (0..50).map(|e| offsets(&episode(e).0, &episode(e).1)).collect();
        let found = drift(&all, &[2.0], &[]);
        assert_eq!(found.len(), 1, "{all:?}");
        // 49 episodes of 0.002 over a range of 2.
        assert!((found[0].shift - 0.049).abs() < 0.01, "{found:?}");
        let starts: Vec<Vec<f64>> = (0..50).map(|e| start_pose(&episode(e).0)).collect();
        assert!(drift(&starts, &[2.0], &[]).is_empty(), "where it starts says nothing");
    }

    #[test]
    fn the_start_is_the_median_of_the_first_frames() {
        let series = Series { width: 1, values: vec![1.0, 1.2, 900.0, 1.1, 1.3, 7.0, 7.0] };
        assert_eq!(start_pose(&series), [1.2]);
    }
}
