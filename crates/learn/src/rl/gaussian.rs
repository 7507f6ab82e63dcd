//! Squashed Gaussian actions, as SAC and HIL-SERL draw them: forward, and the way back of
//! `weight · log π` and of whatever climbs the actions themselves.

use super::kernels;
use super::mlp::PIECE;

/// Range of the logarithm of an action's deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub min: f32,
    pub max: f32,
    /// Kept in the range by tanh; otherwise cut off at it.
    pub smooth: bool,
}

/// Squashed Gaussian actions of some rows, and what the way back needs.
pub(crate) struct Sample {
    mean: Vec<f32>,
    raw_std: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// In [-1, 1].
    pub y: Vec<f32>,
    /// As the critics see them.
    pub action: Vec<f32>,
    sigma: Vec<f32>,
    /// d log-deviation / d the network's output.
    d_log_std: Vec<f32>,
    /// Log-probability per dimension.
    terms: Vec<f32>,
    /// And per row.
    pub log_prob: Vec<f32>,
}

impl Sample {
    /// Room for [`PIECE`] rows; `seen` scales and shifts actions from [-1, 1] to what critics see.
    pub fn new(seen: &[(f32, f32)]) -> Self {
        let room = || vec![0.0; PIECE * seen.len()];
        let tile = |f: fn(&(f32, f32)) -> f32| {
            seen.iter().map(f).cycle().take(PIECE * seen.len()).collect()
        };
        Self {
            mean: room(),
            raw_std: room(),
            scale: tile(|s| s.0),
            shift: tile(|s| s.1),
            y: room(),
            action: room(),
            sigma: room(),
            d_log_std: room(),
            terms: room(),
            log_prob: vec![0.0; PIECE],
        }
    }

    /// Draws actions from the actor's outputs `[rows, 2 · actions]` with the given noise.
    pub fn draw(&mut self, spread: Spread, out: &[f32], noise: &[f32], actions: usize) {
        let rows = out.len() / (2 * actions);
        let n = rows * actions;
        for (i, out) in out.chunks_exact(2 * actions).enumerate() {
            self.mean[i * actions..(i + 1) * actions].copy_from_slice(&out[..actions]);
            self.raw_std[i * actions..(i + 1) * actions].copy_from_slice(&out[actions..]);
        }
        kernels::squashed_gaussian(
            (&self.mean[..n], &self.raw_std[..n], noise),
            (&self.scale[..n], &self.shift[..n]),
            (spread.min, spread.max),
            spread.smooth,
            [
                &mut self.y[..n],
                &mut self.action[..n],
                &mut self.sigma[..n],
                &mut self.d_log_std[..n],
                &mut self.terms[..n],
            ],
        );
        for (sum, terms) in self.log_prob.iter_mut().zip(self.terms[..n].chunks_exact(actions)) {
            *sum = terms.iter().sum();
        }
    }

    /// The gradient of the actor's outputs, `d_out [rows, 2 · actions]`, for a loss of
    /// `weight · log π` per row and of `d_action(row, dimension)` per action, after
    /// [`Sample::draw`] with the same `noise [rows, actions]`.
    pub fn backward(
        &self,
        weight: f32,
        noise: &[f32],
        d_action: impl Fn(usize, usize) -> f32,
        d_out: &mut [f32],
    ) {
        let n = self.y.len() / PIECE;
        for i in 0..noise.len() / n {
            for j in 0..n {
                let at = i * n + j;
                let (y, scale) = (self.y[at], self.scale[at]);
                let slope = scale * (1.0 - y * y);
                let d_x = d_action(i, j) * slope + weight * 2.0 * y * slope / (slope + 1e-6);
                let d_log_std = d_x * self.sigma[at] * noise[at] - weight;
                d_out[i * 2 * n + j] = d_x;
                d_out[i * 2 * n + n + j] = d_log_std * self.d_log_std[at];
            }
        }
    }
}
