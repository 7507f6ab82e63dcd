//! How noise is added to a trajectory and taken away again: DDPM (Ho et al. 2020, arXiv:2006.11239)
//! and DDIM with η = 0 (Song et al. 2020, arXiv:2010.02502), with the numbers that the `diffusers`
//! package gives LeRobot: cosine or linear betas, leading spacing of inference steps, samples
//! clipped, the last step without noise.

use serde::{Deserialize, Serialize};

/// How noise is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoiseScheduler {
    /// With fresh noise at each step.
    #[serde(rename = "DDPM")]
    Ddpm,
    /// Without.
    #[serde(rename = "DDIM")]
    Ddim,
}

/// How the noise of a step grows with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly from `beta_start` to `beta_end`.
    Linear,
    /// Squared cosine (Nichol & Dhariwal 2021, arXiv:2102.09672), at most 0.999.
    SquaredcosCapV2,
}

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The trajectory without it.
    Sample,
}

/// Products of (1 − β) up to each step, and what else a step needs.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    kept: Vec<f64>,
    kind: NoiseScheduler,
    prediction: PredictionType,
    /// Samples stay within ± this.
    clip: Option<f32>,
    stride: usize,
}

impl Schedule {
    /// A schedule of `steps`, of which inference takes `inference`.
    pub fn new(
        kind: NoiseScheduler,
        prediction: PredictionType,
        (beta, start, end): (BetaSchedule, f64, f64),
        (steps, inference): (usize, usize),
        clip: Option<f32>,
    ) -> Self {
        let bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let n = steps as f64;
        let beta = |i: usize| match beta {
            BetaSchedule::Linear => start + (end - start) * i as f64 / (n - 1.0).max(1.0),
            BetaSchedule::SquaredcosCapV2 => {
                (1.0 - bar((i + 1) as f64 / n) / bar(i as f64 / n)).min(0.999)
            }
        };
        let product = |kept: &mut f64, i: usize| {
            *kept *= 1.0 - beta(i);
            Some(*kept)
        };
        let kept = (0..steps).scan(1.0, product).collect();
        Self { kept, kind, prediction, clip, stride: (steps / inference).max(1) }
    }

    /// Noise levels of inference, highest first.
    pub fn levels(&self, inference: usize) -> impl Iterator<Item = usize> + use<> {
        let stride = self.stride;
        (0..inference).rev().map(move |i| i * stride)
    }

    /// Whether the step down from `level` adds fresh noise.
    pub fn wants_noise(&self, level: usize) -> bool {
        self.kind == NoiseScheduler::Ddpm && level > 0
    }

    /// `√ᾱ · clean + √(1 − ᾱ) · noise` at `level`.
    pub fn add_noise(&self, clean: &[f32], noise: &[f32], level: usize) -> Vec<f32> {
        let kept = self.kept[level];
        let (a, b) = (kept.sqrt() as f32, (1.0 - kept).sqrt() as f32);
        clean.iter().zip(noise).map(|(c, n)| a * c + b * n).collect()
    }

    /// From `level` one inference step down: `x` in place, by what the network `said`; `noise` is
    /// drawn for DDPM where the step is not the last.
    pub fn step(&self, x: &mut [f32], said: &[f32], level: usize, noise: Option<&[f32]>) {
        let kept = self.kept[level];
        let before = level.checked_sub(self.stride).map_or(1.0, |at| self.kept[at]);
        for (i, (x, said)) in x.iter_mut().zip(said).enumerate() {
            let (at, out) = (f64::from(*x), f64::from(*said));
            let mut clean = match self.prediction {
                PredictionType::Epsilon => (at - (1.0 - kept).sqrt() * out) / kept.sqrt(),
                PredictionType::Sample => out,
            };
            if let Some(clip) = self.clip.map(f64::from) {
                clean = clean.clamp(-clip, clip);
            }
            *x = match self.kind {
                NoiseScheduler::Ddim => {
                    let noise = match self.prediction {
                        PredictionType::Epsilon => out,
                        PredictionType::Sample => (at - kept.sqrt() * out) / (1.0 - kept).sqrt(),
                    };
                    before.sqrt() * clean + (1.0 - before).sqrt() * noise
                }
                NoiseScheduler::Ddpm => {
                    let alpha = kept / before;
                    let mean = (before.sqrt() * (1.0 - alpha) * clean
                        + alpha.sqrt() * (1.0 - before) * at)
                        / (1.0 - kept);
                    let variance = ((1.0 - before) / (1.0 - kept) * (1.0 - alpha)).max(1e-20);
                    let fresh = noise.map_or(0.0, |n| f64::from(n[i]));
                    mean + variance.sqrt() * fresh
                }
            } as f32;
        }
    }
}
