//! The quality of an episode as a number from 0 to 1, with its parts.
//!
//! It says how well the *recording* serves learning; whether the task was achieved is the outcome's
//! business. The score is the geometric mean of the parts that apply, so that one part at 0 makes the
//! whole 0, and parts of 1 cost nothing. Each part falls linearly from 1 to 0 over the bounds stated
//! beside it:
//!
//! | part | of | 1 up to | 0 from |
//! |---|---|---|---|
//! | `finite` | values that are not finite | none | one |
//! | `activity` | idle fraction | 0.3 | 0.95 |
//! | `continuity` | share of repeated rows or pictures (the larger) | 0.05 | 0.5 |
//! | `smoothness` | velocity and jerk spikes per second | 0 | 1 |
//! | `synchrony` | size of the lag, s | 0.2 | 0.8 |
//! | `gripper` | changes of chatter | 0 | 10 |
//! | `picture` | per camera, the worst: black, frozen or broken is 0, else exposure × clipping × sharpness | | |
//! | `length` | size of the length's robust z | 3.5 | 10 |
//!
//! Exposure: share of dark and bright pictures, 0 to 1. Clipping: share of clipped pixels, 0.1 to
//! 0.7. Sharpness: ratio to the camera's median over the dataset, 1 from 0.5 and 0 at 0.05.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::series::ramp;
use super::survey::{CameraMeasures, EpisodeMeasures};

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Quality {
    /// Geometric mean of the parts, 0-1.
    pub score: f64,
    /// Parts that apply to the episode, each 0-1.
    pub parts: IndexMap<String, f64>,
}

/// The quality of an episode with these measures.
pub(crate) fn quality(m: &EpisodeMeasures) -> Quality {
    let falls = |value: f64, low: f64, high: f64| 1.0 - ramp(value, low, high);
    let mut parts = IndexMap::new();
    let mut part = |name: &str, value: f64| parts.insert(name.to_owned(), value);
    part("finite", if m.non_finite.is_none() { 1.0 } else { 0.0 });
    part("activity", falls(m.idle_fraction, 0.3, 0.95));
    let repeated = m.cameras.values().map(|c| c.repeated).fold(m.duplicate_fraction, f64::max);
    part("continuity", falls(repeated, 0.05, 0.5));
    let spikes = (m.velocity_spikes.len() + m.jerk_spikes.len()) as f64;
    part("smoothness", falls(spikes / m.seconds.max(1e-9), 0.0, 1.0));
    if let Some(lag) = &m.lag {
        part("synchrony", falls(lag.seconds.abs(), 0.2, 0.8));
    }
    if let Some(gripper) = &m.gripper {
        part("gripper", falls(gripper.chatter as f64, 0.0, 10.0));
    }
    if let Some(worst) = m.cameras.values().map(picture).min_by(f64::total_cmp) {
        part("picture", worst);
    }
    if let Some(z) = m.length_z {
        part("length", falls(z.abs(), 3.5, 10.0));
    }
    let product: f64 = parts.values().product();
    Quality { score: product.powf(1.0 / parts.len() as f64), parts }
}

fn picture(camera: &CameraMeasures) -> f64 {
    if camera.black || camera.frozen || camera.broken.is_some() {
        return 0.0;
    }
    let exposure = 1.0 - (camera.dark + camera.bright).min(1.0);
    let clipping = 1.0 - ramp(camera.clipped, 0.1, 0.7);
    let sharpness = camera.relative_sharpness.map_or(1.0, |ratio| ramp(ratio, 0.05, 0.5));
    exposure * clipping * sharpness
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curate::survey::{GripperMeasures, LagMeasures};

    fn good() -> EpisodeMeasures {
        EpisodeMeasures { frames: 300, seconds: 10.0, ..Default::default() }
    }

    #[test]
    fn a_clean_episode_scores_one_and_parts_multiply() {
        assert_eq!(quality(&good()).score, 1.0);
        let mut m = good();
        m.idle_fraction = 0.625;
        m.lag = Some(LagMeasures { seconds: -0.5, confidence: 0.9, joints: 6 });
        let found = quality(&m);
        assert!((found.parts["activity"] - 0.5).abs() < 1e-12);
        assert!((found.parts["synchrony"] - 0.5).abs() < 1e-12);
        // Five parts apply: finite, activity, continuity, smoothness, synchrony.
        assert!((found.score - 0.25f64.powf(0.2)).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_learned_from_scores_zero() {
        let mut m = good();
        m.cameras.insert("front".into(), CameraMeasures { black: true, ..Default::default() });
        assert_eq!(quality(&m).score, 0.0);
        let mut m = good();
        m.gripper = Some(GripperMeasures { chatter: 12, ..Default::default() });
        assert_eq!(quality(&m).score, 0.0);
    }
}
