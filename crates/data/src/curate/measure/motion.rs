//! Jumps in the motion: velocity and jerk spikes by robust z-score, and smoothness.
//!
//! A spike is a frame at which a joint's first (velocity) or third (jerk) difference lies far outside
//! what the same joint does in the rest of the episode. Differences are in fractions of the joint's
//! range over the dataset, so that radians, degrees and metres compare. Two conditions must hold: the
//! z-score (median and scaled MAD; Iglewicz & Hoaglin 1993) and an absolute size, because a joint
//! that hardly moves has a scale near zero. Spikes closer than [`APART`] frames are one.

use crate::curate::series::{Series, robust};

/// z-score beyond which a difference is a spike.
const Z: f64 = 10.0;
/// Smallest jump that counts, as a fraction of the range per frame.
const SMALLEST_VELOCITY: f64 = 0.08;
/// Smallest third difference that counts; noise of amplitude a makes one of up to 8 a.
const SMALLEST_JERK: f64 = 0.16;
/// Scale below which a z-score means nothing, as a fraction of the range per frame.
const FLOOR: f64 = 1e-3;
/// Frames within which spikes are counted as one event.
const APART: usize = 5;

/// A frame at which the motion jumps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spike {
    /// Frame after the jump.
    pub frame: usize,
    /// Dimension that jumps most.
    pub dimension: usize,
    /// Robust z-score, at least [`Z`].
    pub z: f64,
}

/// Velocity spikes: first differences.
pub(crate) fn velocity_spikes(series: &Series, ranges: &[f64], skip: &[usize]) -> Vec<Spike> {
    spikes(series, ranges, skip, SMALLEST_VELOCITY, 1, |x, t| x[t + 1] - x[t])
}

/// Jerk spikes: third differences.
pub(crate) fn jerk_spikes(series: &Series, ranges: &[f64], skip: &[usize]) -> Vec<Spike> {
    spikes(series, ranges, skip, SMALLEST_JERK, 3, |x, t| {
        x[t + 3] - 3.0 * x[t + 2] + 3.0 * x[t + 1] - x[t]
    })
}

fn spikes(
    series: &Series,
    ranges: &[f64],
    skip: &[usize],
    smallest: f64,
    order: usize,
    difference: impl Fn(&[f64], usize) -> f64,
) -> Vec<Spike> {
    let mut found: Vec<Spike> = Vec::new();
    for d in (0..series.width).filter(|d| !skip.contains(d)) {
        let range = ranges.get(d).copied().unwrap_or(0.0);
        if range <= 0.0 || series.frames() <= order {
            continue;
        }
        let x = series.column(d);
        let steps: Vec<f64> = (0..x.len() - order).map(|t| difference(&x, t) / range).collect();
        let Some((middle, scale)) = robust(&steps) else { continue };
        let scale = scale.max(FLOOR);
        found.extend(steps.iter().enumerate().filter_map(|(t, step)| {
            let z = (step - middle).abs() / scale;
            let frame = t + order.div_ceil(2);
            (z > Z && step.abs() > smallest).then_some(Spike { frame, dimension: d, z })
        }));
    }
    found.sort_by(|a, b| a.frame.cmp(&b.frame).then(a.dimension.cmp(&b.dimension)));
    let mut out: Vec<Spike> = Vec::new();
    let mut last = 0;
    for spike in found {
        match out.last_mut() {
            Some(event) if spike.frame <= last + APART => {
                if spike.z > event.z {
                    *event = spike;
                }
            }
            _ => out.push(spike),
        }
        last = spike.frame;
    }
    out
}

/// Speed of each step: the norm of its change in fractions of each dimension's range, per second.
/// `frames - 1` entries.
pub(crate) fn speeds(series: &Series, ranges: &[f64], fps: f64) -> Vec<f64> {
    let rows: Vec<&[f64]> = series.rows().collect();
    rows.windows(2)
        .map(|pair| {
            let change = pair[0].iter().zip(pair[1]).zip(ranges).filter(|(_, r)| **r > 0.0);
            let sum: f64 = change.map(|((a, b), range)| ((b - a) / range).powi(2)).sum();
            sum.sqrt() * fps
        })
        .collect()
}

/// Log dimensionless jerk of a speed profile: the larger (nearer 0), the smoother. `None` where
/// nothing moves or there are fewer than five frames.
///
/// `-ln(T³/v_peak² · ∫ |d²v/dt²|² dt)` (Hogan & Sternad 2009; Balasubramanian et al. 2015). A
/// minimum-jerk reach has about -5.3 whatever its length and amplitude.
pub(crate) fn log_dimensionless_jerk(speeds: &[f64], fps: f64) -> Option<f64> {
    let peak = speeds.iter().copied().fold(0.0, f64::max);
    if speeds.len() < 4 || peak <= 0.0 {
        return None;
    }
    let seconds = speeds.len() as f64 / fps;
    let squares: f64 =
        speeds.windows(3).map(|v| ((v[2] - 2.0 * v[1] + v[0]) * fps * fps).powi(2)).sum::<f64>()
            / fps;
    (squares > 0.0).then(|| -(seconds.powi(3) / (peak * peak) * squares).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(frames: usize) -> Vec<f64> {
        (0..frames).map(|t| (t as f64 * 0.05).sin()).collect()
    }

    #[test]
    fn a_jump_in_a_smooth_motion_is_one_spike_at_its_frame() {
        let mut x = sine(300);
        x[120..].iter_mut().for_each(|v| *v += 0.6);
        let series = Series { width: 1, values: x };
        let ranges = [2.6];
        let jumps = velocity_spikes(&series, &ranges, &[]);
        assert_eq!(jumps.len(), 1, "{jumps:?}");
        assert_eq!((jumps[0].frame, jumps[0].dimension), (120, 0));
        let jerks = jerk_spikes(&series, &ranges, &[]);
        assert_eq!(jerks.len(), 1, "{jerks:?}");
        assert!((118..=121).contains(&jerks[0].frame));
        assert!(velocity_spikes(&series, &ranges, &[0]).is_empty(), "a skipped dimension");
    }

    #[test]
    fn smooth_motion_and_small_noise_have_no_spikes() {
        let noise = |t: usize| ((t * 7919) % 13) as f64 / 13.0 * 0.004;
        let values = sine(300).iter().enumerate().map(|(t, v)| v + noise(t)).collect();
        let series = Series { width: 1, values };
        assert!(velocity_spikes(&series, &[2.0], &[]).is_empty());
        assert!(jerk_spikes(&series, &[2.0], &[]).is_empty());
    }

    #[test]
    fn a_minimum_jerk_reach_has_the_known_smoothness_whatever_its_length() {
        // Speed 30 s²(1-s)², second derivative 60(1-6s+6s²), peak 1.875; the integral of its square
        // is 720, so the value is -ln(720/1.875²) = -5.323.
        for n in [400, 2000] {
            let speed: Vec<f64> = (0..n)
                .map(|i| (f64::from(i) + 0.5) / f64::from(n))
                .map(|s| 30.0 * s * s * (1.0 - s) * (1.0 - s))
                .collect();
            let found = log_dimensionless_jerk(&speed, 30.0).expect("moves");
            assert!((found + 5.323).abs() < 0.03, "{found}");
        }
        assert_eq!(log_dimensionless_jerk(&[0.0; 9], 30.0), None);
    }
}
