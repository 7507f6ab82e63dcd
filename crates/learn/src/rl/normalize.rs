//! Running mean and variance of observations and of discounted returns, in the update order of
//! Gymnasium's wrappers (`NormalizeObservation`, `NormalizeReward`) or of SB3's `VecNormalize`.
//!
//! Moments are merged by Chan's parallel formula, in f64, beginning with mean 0, variance 1 and a
//! count of 1e-4, as both libraries do.

use serde::{Deserialize, Serialize};

/// By whose rules values are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// As they come.
    #[default]
    Off,
    /// Gymnasium's wrappers: an episode's last observation counts as well; the discounted return
    /// forgets its past where an episode terminates, not where it is truncated.
    Gymnasium,
    /// SB3's `VecNormalize`: last observations don't count; the discounted return begins anew after
    /// every episode.
    VecNormalize,
}

/// Added to the variance.
const EPS: f64 = 1e-8;

/// Running moments of vectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunningMoments {
    pub mean: Vec<f64>,
    pub var: Vec<f64>,
    pub count: f64,
}

/// f64 values by their bits, which JSON can't round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub fn of(values: &[f64]) -> Self {
        Self(values.iter().map(|v| v.to_bits()).collect())
    }

    pub fn values(&self) -> Vec<f64> {
        self.0.iter().map(|b| f64::from_bits(*b)).collect()
    }

    /// Writes the values over `to`, if they are as many.
    pub fn put(&self, to: &mut [f64]) -> bool {
        let fits = self.0.len() == to.len();
        to.iter_mut().zip(&self.0).for_each(|(t, b)| *t = f64::from_bits(*b));
        fits
    }
}

impl RunningMoments {
    pub fn new(dim: usize) -> Self {
        Self { mean: vec![0.0; dim], var: vec![1.0; dim], count: 1e-4 }
    }

    /// Takes in rows `[n, dim]`.
    pub fn update(&mut self, rows: &[f64]) {
        let dim = self.mean.len();
        let n = rows.len() / dim;
        if n == 0 {
            return;
        }
        let batch = n as f64;
        let total = self.count + batch;
        for j in 0..dim {
            let column = || rows.iter().skip(j).step_by(dim);
            let mean = column().sum::<f64>() / batch;
            let var = match n {
                1 => 0.0,
                _ => column().map(|v| (v - mean) * (v - mean)).sum::<f64>() / batch,
            };
            let delta = mean - self.mean[j];
            let squares =
                self.var[j] * self.count + var * batch + delta * delta * self.count * batch / total;
            self.mean[j] += delta * batch / total;
            self.var[j] = squares / total;
        }
        self.count = total;
    }

    /// `(x − mean) / √(var + 1e-8)` as f32, then clipped to ± `clip`, row by row.
    pub fn normalize(&self, x: &[f64], clip: f32, out: &mut [f32]) {
        let dim = self.mean.len();
        for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            for (j, (x, out)) in x.iter().zip(out).enumerate() {
                let value = (x - self.mean[j]) / (self.var[j] + EPS).sqrt();
                *out = (value as f32).clamp(-clip, clip);
            }
        }
    }

    pub fn bits(&self) -> Bits {
        let all: Vec<f64> =
            self.mean.iter().chain(&self.var).chain([&self.count]).copied().collect();
        Bits::of(&all)
    }

    /// Takes over saved moments, if they are of this size.
    pub fn restore(&mut self, bits: &Bits) -> bool {
        let (all, dim) = (bits.values(), self.mean.len());
        if all.len() != 2 * dim + 1 {
            return false;
        }
        self.mean.copy_from_slice(&all[..dim]);
        self.var.copy_from_slice(&all[dim..2 * dim]);
        self.count = all[2 * dim];
        true
    }
}

/// Rewards over the standard deviation of their discounted sum.
#[derive(Debug, Clone)]
pub(crate) struct RewardScale {
    rule: Normalization,
    gamma: f64,
    /// Discounted sum per environment.
    returns: Vec<f64>,
    moments: RunningMoments,
}

impl RewardScale {
    pub fn new(rule: Normalization, gamma: f64, num_envs: usize) -> Self {
        Self { rule, gamma, returns: vec![0.0; num_envs], moments: RunningMoments::new(1) }
    }

    /// Scales the rewards of one step, `[num_envs]`, and clips them to ± `clip`.
    pub fn scale(
        &mut self,
        rewards: &[f64],
        terminated: &[bool],
        truncated: &[bool],
        clip: f64,
        out: &mut [f32],
    ) {
        if self.rule == Normalization::Off {
            out.iter_mut().zip(rewards).for_each(|(o, r)| *o = *r as f32);
            return;
        }
        let gymnasium = self.rule == Normalization::Gymnasium;
        for (i, sum) in self.returns.iter_mut().enumerate() {
            let goes_on = if gymnasium && terminated[i] { 0.0 } else { 1.0 };
            *sum = *sum * self.gamma * goes_on + rewards[i];
        }
        self.moments.update(&self.returns);
        let deviation = (self.moments.var[0] + EPS).sqrt();
        for (out, reward) in out.iter_mut().zip(rewards) {
            *out = (reward / deviation).clamp(-clip, clip) as f32;
        }
        if !gymnasium {
            for (i, sum) in self.returns.iter_mut().enumerate() {
                *sum = if terminated[i] || truncated[i] { 0.0 } else { *sum };
            }
        }
    }

    pub fn bits(&self) -> (Bits, Bits) {
        (Bits::of(&self.returns), self.moments.bits())
    }

    pub fn restore(&mut self, (returns, moments): &(Bits, Bits)) -> bool {
        returns.put(&mut self.returns) && self.moments.restore(moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gymnasium 1.4, `NormalizeReward(gamma=0.9)` over rewards 1, 2, −1, 3 with a termination at the
    /// third step: printed by the library.
    #[test]
    fn rewards_scale_as_gymnasiums() {
        let mut scale = RewardScale::new(Normalization::Gymnasium, 0.9, 1);
        let mut out = [0.0];
        let mut seen = Vec::new();
        for (reward, terminated) in [(1.0, false), (2.0, false), (-1.0, true), (3.0, false)] {
            scale.scale(&[reward], &[terminated], &[false], 1e9, &mut out);
            seen.push(out[0]);
        }
        let wanted = [70.714_21, 2.105_035_8, -0.628_008, 2.049_556];
        for (a, b) in seen.iter().zip(wanted) {
            assert!((a - b).abs() < 1e-6 * b.abs(), "{seen:?} {wanted:?}");
        }
    }

    #[test]
    fn moments_of_many_rows_equal_those_of_one_after_another() {
        let rows: Vec<f64> = (0..40).map(|i| f64::from(i * i % 17)).collect();
        let (mut whole, mut single) = (RunningMoments::new(2), RunningMoments::new(2));
        whole.update(&rows);
        rows.chunks_exact(2).for_each(|row| single.update(row));
        for (a, b) in whole.var.iter().chain(&whole.mean).zip(single.var.iter().chain(&single.mean))
        {
            assert!((a - b).abs() < 1e-9);
        }
        let mut back = RunningMoments::new(2);
        assert!(back.restore(&whole.bits()) && back == whole);
        assert!(!RunningMoments::new(3).restore(&whole.bits()));
    }
}
