//! By how much observations trail actions: cross-correlation per joint.
//!
//! A position-controlled joint follows its command after a delay: servo, bus, camera-paced loop. The
//! delay is where the correlation of the two velocities peaks (velocities, because slow positions
//! correlate at every lag), refined by a parabola through the peak and its neighbours. A joint counts
//! only where the peak is high ([`CONFIDENT`]) and inside the window; the episode's lag is the median
//! of such joints. Positive: the observation follows the action. Negative: it leads, as in datasets
//! whose actions were computed from later observations.

use crate::curate::series::{Series, median};

/// Correlation from which a joint's lag is believed.
const CONFIDENT: f64 = 0.5;
/// Longest lag looked for, seconds.
const LONGEST_SECS: f64 = 1.0;
/// Share of its range that a joint must travel for its lag to count.
const TRAVEL: f64 = 0.05;

/// The lag of one joint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JointLag {
    /// Dimension of the action and of the observation.
    pub dimension: usize,
    /// Seconds by which the observation follows the action.
    pub seconds: f64,
    /// Correlation at that lag, -1 to 1.
    pub confidence: f64,
}

/// The lag of an episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lag {
    /// Median over joints, seconds.
    pub seconds: f64,
    /// Median correlation of those joints.
    pub confidence: f64,
    /// How many joints it rests on.
    pub joints: usize,
}

/// Lag per joint, for joints that move in both series and correlate.
pub(crate) fn joint_lags(
    actions: &Series,
    states: &Series,
    ranges: &[f64],
    fps: f64,
) -> Vec<JointLag> {
    if actions.width != states.width || actions.frames() != states.frames() {
        return Vec::new();
    }
    let window = ((LONGEST_SECS * fps).round() as usize).min(actions.frames() / 4);
    (0..actions.width)
        .filter_map(|dimension| {
            let [action, state] = [actions, states].map(|s| velocity(&s.column(dimension)));
            let far = |v: &[f64]| v.iter().map(|x| x.abs()).sum::<f64>();
            let least = TRAVEL * ranges.get(dimension).copied().unwrap_or(0.0);
            if least <= 0.0 || far(&action) < least || far(&state) < least {
                return None;
            }
            let (frames, confidence) = peak(&action, &state, window)?;
            (confidence >= CONFIDENT).then_some(JointLag {
                dimension,
                seconds: frames / fps,
                confidence,
            })
        })
        .collect()
}

/// The lag that most joints agree on; `None` where none is believed.
pub(crate) fn lag(joints: &[JointLag]) -> Option<Lag> {
    let seconds: Vec<f64> = joints.iter().map(|j| j.seconds).collect();
    let confidence: Vec<f64> = joints.iter().map(|j| j.confidence).collect();
    Some(Lag { seconds: median(&seconds)?, confidence: median(&confidence)?, joints: joints.len() })
}

fn velocity(x: &[f64]) -> Vec<f64> {
    x.windows(2).map(|w| w[1] - w[0]).collect()
}

/// Lag (frames, refined) and height of the highest correlation; `None` where it lies on the edge of
/// the window or something is constant.
fn peak(action: &[f64], state: &[f64], window: usize) -> Option<(f64, f64)> {
    let window = window as isize;
    let heights: Vec<f64> = (-window..=window).map(|lag| correlation(action, state, lag)).collect();
    let best = (0..heights.len()).max_by(|&a, &b| heights[a].total_cmp(&heights[b]))?;
    if best == 0 || best + 1 == heights.len() {
        return None;
    }
    let [before, at, after] = [heights[best - 1], heights[best], heights[best + 1]];
    let bend = before - 2.0 * at + after;
    let shift = if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 };
    Some((best as f64 - window as f64 + shift, at))
}

/// Pearson correlation of `action[t]` with `state[t + lag]` where both exist; 0 where one is
/// constant.
fn correlation(action: &[f64], state: &[f64], lag: isize) -> f64 {
    let from = (-lag).max(0) as usize;
    let to = (state.len() as isize - lag).clamp(0, action.len() as isize) as usize;
    if to < from + 8 {
        return 0.0;
    }
    let a = &action[from..to];
    let b = &state[(from as isize + lag) as usize..][..a.len()];
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A motion without period at time `t` (seconds), for joint `d`.
    fn motion(t: f64, d: usize) -> f64 {
        let d = d as f64;
        (t * (1.1 + 0.2 * d)).sin() + 0.6 * (t * (2.7 + 0.3 * d) + d).cos() + 0.2 * (t * 5.3).sin()
    }

    fn series(shift_secs: f64, width: usize, still: &[usize]) -> Series {
        let values = (0..300)
            .flat_map(|i| (0..width).map(move |d| (i, d)))
            .map(|(i, d)| match still.contains(&d) {
                true => 0.0,
                false => motion(f64::from(i) / 30.0 - shift_secs, d),
            })
            .collect();
        Series { width, values }
    }

    #[test]
    fn a_known_delay_is_found_to_a_fraction_of_a_frame() {
        for delay in [0.0, 0.1, 0.25, -0.1, 0.05] {
            let found = joint_lags(&series(0.0, 3, &[1]), &series(delay, 3, &[1]), &[3.0; 3], 30.0);
            assert_eq!(found.iter().map(|j| j.dimension).collect::<Vec<_>>(), [0, 2]);
            let found = lag(&found).expect("moves");
            assert!((found.seconds - delay).abs() < 0.01, "{delay}: {found:?}");
            assert!(found.confidence > 0.95 && found.joints == 2);
        }
    }

    #[test]
    fn unrelated_signals_have_no_lag() {
        let noise = |seed: u64| {
            let mut x = seed;
            let values = (0..300)
                .map(|_| {
                    x = x
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (x >> 33) as f64 / f64::from(1u32 << 31)
                })
                .collect();
            Series { width: 1, values }
        };
        assert_eq!(lag(&joint_lags(&noise(1), &noise(2), &[1.0], 30.0)), None);
        let other = Series { width: 2, values: vec![0.0; 600] };
        assert!(joint_lags(&noise(1), &other, &[1.0], 30.0).is_empty(), "other shapes");
    }
}
