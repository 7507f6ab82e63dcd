//! Near-duplicate episodes: same motion and same pictures.
//!
//! An episode's embedding is its trajectory at [`POINTS`] instants spread over its length, each
//! dimension in fractions of its range over the dataset; the distance of two episodes is the root
//! mean square difference of their embeddings. A pair is a near-duplicate when that is at most
//! [`SAME_MOTION`] and, where both have pictures, their perceptual hashes differ in at most
//! [`SAME_PICTURE`] of 64 bits on average. Episodes are sorted by the mean of their embedding: it
//! can't differ by more than the distance does (Cauchy-Schwarz), so only neighbours in that order are
//! compared, and the result is exact.

use rayon::prelude::*;

use crate::curate::series::Series;

/// Instants of a trajectory in its embedding.
const POINTS: usize = 16;
/// Distance up to which a nearest episode is looked for, fraction of the range.
const NEAR: f64 = 0.15;
/// Distance up to which motions are the same.
const SAME_MOTION: f64 = 0.01;
/// Mean number of differing bits up to which pictures are the same.
const SAME_PICTURE: f64 = 6.0;

/// What of an episode is compared.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Print {
    /// Embedding of the trajectory; empty where there is none.
    pub motion: Vec<f32>,
    /// Perceptual hashes of all cameras; empty where no picture was looked at.
    pub pictures: Vec<u64>,
}

/// The episode most like another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Near {
    /// Its index.
    pub episode: usize,
    /// Root mean square distance of trajectories, fraction of the range.
    pub distance: f64,
    /// Mean number of differing bits of 64, where both have pictures.
    pub bits: Option<f64>,
    /// Whether the two are near-duplicates.
    pub same: bool,
}

/// The embedding of a trajectory; empty where there is no frame.
pub(crate) fn embedding(series: &Series, low: &[f64], ranges: &[f64]) -> Vec<f32> {
    let last = series.frames().saturating_sub(1);
    if series.frames() == 0 {
        return Vec::new();
    }
    (0..POINTS)
        .flat_map(|i| {
            let at = last as f64 * i as f64 / (POINTS - 1) as f64;
            let (before, after) = (at.floor() as usize, at.ceil() as usize);
            (0..series.width).map(move |d| {
                let (a, b) = (series.row(before)[d], series.row(after)[d]);
                let value = a + (b - a) * at.fract();
                if ranges[d] > 0.0 { ((value - low[d]) / ranges[d]) as f32 } else { 0.0 }
            })
        })
        .collect()
}

/// For each episode the nearest other one within reach; ties go to the lower index.
pub(crate) fn nearest(prints: &[Print]) -> Vec<Option<Near>> {
    let mean = |p: &Print| {
        p.motion.iter().map(|&v| f64::from(v)).sum::<f64>() / p.motion.len().max(1) as f64
    };
    let mut order: Vec<(f64, usize)> = prints
        .iter()
        .enumerate()
        .filter(|(_, p)| !p.motion.is_empty() && p.motion.iter().all(|v| v.is_finite()))
        .map(|(i, p)| (mean(p), i))
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut out = vec![None; prints.len()];
    let found: Vec<(usize, Option<Near>)> = (0..order.len())
        .into_par_iter()
        .map(|at| {
            let (mean, episode) = order[at];
            let after = order[at + 1..].iter().take_while(|o| o.0 - mean <= NEAR);
            let before = order[..at].iter().rev().take_while(|o| mean - o.0 <= NEAR);
            let best = before
                .chain(after)
                .filter_map(|o| compare(prints, episode, o.1))
                .min_by(|a, b| a.distance.total_cmp(&b.distance).then(a.episode.cmp(&b.episode)));
            (episode, best)
        })
        .collect();
    for (episode, near) in found {
        out[episode] = near;
    }
    out
}

fn compare(prints: &[Print], episode: usize, other: usize) -> Option<Near> {
    let (a, b) = (&prints[episode], &prints[other]);
    if a.motion.len() != b.motion.len() {
        return None;
    }
    let limit = NEAR * NEAR * a.motion.len() as f64;
    let mut sum = 0.0;
    for (x, y) in a.motion.chunks(64).zip(b.motion.chunks(64)) {
        sum += x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
        if sum > limit {
            return None;
        }
    }
    let distance = (sum / a.motion.len() as f64).sqrt();
    let both = !a.pictures.is_empty() && a.pictures.len() == b.pictures.len();
    let bits = both.then(|| {
        let pairs = a.pictures.iter().zip(&b.pictures);
        f64::from(pairs.map(|(x, y)| (x ^ y).count_ones()).sum::<u32>()) / a.pictures.len() as f64
    });
    let same = distance <= SAME_MOTION && bits.is_none_or(|b| b <= SAME_PICTURE);
    Some(Near { episode: other, distance, bits, same })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(phase: f64, frames: usize, hash: u64) -> Print {
        let values =
            (0..frames).map(|i| (i as f64 / (frames - 1) as f64 * 3.0 + phase).sin()).collect();
        let series = Series { width: 1, values };
        Print { motion: embedding(&series, &[-1.0], &[2.0]), pictures: vec![hash; 4] }
    }

    #[test]
    fn a_copy_is_found_even_at_another_speed() {
        let prints =
            [print(0.0, 100, 7), print(0.9, 100, 7), print(0.003, 150, 15), print(1.7, 80, 7)];
        let found = nearest(&prints);
        let first = found[0].expect("near");
        assert_eq!((first.episode, first.same, first.bits), (2, true, Some(1.0)));
        assert!(first.distance < 0.005);
        assert!(found[1].is_none_or(|n| !n.same));
        assert_eq!(found[2].expect("near").episode, 0);
    }

    #[test]
    fn the_same_motion_before_other_pictures_is_no_duplicate() {
        let found = nearest(&[print(0.0, 100, 0), print(0.0, 100, u64::MAX >> 20)]);
        assert!(!found[0].expect("near").same);
    }

    #[test]
    fn sorting_by_the_mean_misses_nothing() {
        let prints: Vec<Print> =
            (0..60).map(|i| print(f64::from(i * 37 % 61) * 0.05, 50, 0)).collect();
        let found = nearest(&prints);
        for (e, near) in found.iter().enumerate() {
            let all = (0..prints.len()).filter(|o| *o != e).filter_map(|o| compare(&prints, e, o));
            let best = all
                .min_by(|a, b| a.distance.total_cmp(&b.distance).then(a.episode.cmp(&b.episode)));
            assert_eq!(*near, best, "episode {e}");
        }
        assert_eq!(nearest(&[Print::default()]), [None]);
    }
}
