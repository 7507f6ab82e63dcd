//! AdamW with averaged weights, on flat vectors: one fused pass, element by element, so that the
//! number of threads can't change a bit.

use crate::nn::ParamTable;

/// Everything the optimiser carries from step to step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OptimState {
    pub weights: Vec<f32>,
    /// Exponential moving average of the weights: what a policy is made of.
    pub ema: Vec<f32>,
    pub m: Vec<f32>,
    pub v: Vec<f32>,
}

/// Settings of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepSettings {
    /// Steps taken before this one in its phase.
    pub step: usize,
    /// Phase of the training: parameters of another, and constants, stay as they are.
    pub phase: u8,
    pub lr: f64,
    pub beta1: f32,
    pub weight_decay: f32,
    pub ema_decay: f32,
    /// Gradients are multiplied by this (clipping).
    pub scale: f32,
}

const BETA2: f32 = 0.999;
const EPS: f32 = 1e-8;

impl OptimState {
    /// State before the first step.
    pub fn new(weights: Vec<f32>) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self { ema: weights.clone(), weights, m: zeros.clone(), v: zeros }
    }

    /// One step of AdamW (Loshchilov & Hutter 2019) on what learns, decoupled decay on matrices only.
    pub fn step(&mut self, table: &ParamTable, grads: &[f32], s: StepSettings, threads: usize) {
        let t = s.step as i32 + 1;
        let (lr, beta1) = (s.lr as f32, s.beta1);
        let correct1 = 1.0 - beta1.powi(t);
        let correct2 = (1.0 - BETA2.powi(t)).sqrt();
        // Early averages follow closely, so that a short run is not held back by its beginning.
        let ema = s.ema_decay.min((1 + s.step) as f32 / (10 + s.step) as f32);
        let spec_at = |i: usize| &table.specs[table.specs.partition_point(|p| p.range().end <= i)];
        let work = |start: usize, w: &mut [f32], e: &mut [f32], m: &mut [f32], v: &mut [f32]| {
            let mut i = 0;
            while i < w.len() {
                let spec = spec_at(start + i);
                let end = (spec.range().end - start).min(w.len());
                let shrink = if spec.decay { 1.0 - lr * s.weight_decay } else { 1.0 };
                let learns = !spec.frozen && spec.phase == s.phase;
                for j in if learns { i..end } else { end..end } {
                    let g = grads[start + j] * s.scale;
                    m[j] = beta1 * m[j] + (1.0 - beta1) * g;
                    v[j] = BETA2 * v[j] + (1.0 - BETA2) * g * g;
                    let update = (m[j] / correct1) / (v[j].sqrt() / correct2 + EPS);
                    w[j] = w[j] * shrink - lr * update;
                    e[j] = ema * e[j] + (1.0 - ema) * w[j];
                }
                i = end;
            }
        };
        let part = self.weights.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let parts = self
                .weights
                .chunks_mut(part)
                .zip(self.ema.chunks_mut(part))
                .zip(self.m.chunks_mut(part))
                .zip(self.v.chunks_mut(part));
            for (i, (((w, e), m), v)) in parts.enumerate() {
                let work = &work;
                scope.spawn(move || work(i * part, w, e, m, v));
            }
        });
    }
}

/// Euclidean norm, summed in f64 in order.
pub(crate) fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
}

/// Learning rate of `step`: linear warm-up, then a cosine down to `floor · lr` at `steps`.
pub(crate) fn learning_rate(lr: f64, warmup: usize, steps: usize, floor: f64, step: usize) -> f64 {
    if step < warmup {
        return lr * (step + 1) as f64 / warmup as f64;
    }
    let left = steps.saturating_sub(warmup).max(1);
    let done = (step - warmup) as f64 / left as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
    lr * (floor + (1.0 - floor) * cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.optim.AdamW(lr=0.1, weight_decay=0.01) in PyTorch 2.x on one 1 × 2 weight [1, -2] with
    /// gradients [0.5, -1], then [0.1, 0.3]: computed by hand from the published update in f64.
    #[test]
    fn two_steps_match_the_published_update() {
        let mut table = ParamTable::default();
        table.linear("x", 1, 2, 1.0);
        let mut state = OptimState::new(vec![1.0, -2.0, 0.0, 0.0]);
        let grads = [[0.5f64, -1.0], [0.1, 0.3]];
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0; 2], [0.0; 2]);
        for (step, g) in grads.iter().enumerate() {
            for i in 0..2 {
                let t = step as i32 + 1;
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                w[i] = w[i] * (1.0 - 0.1 * 0.01) - 0.1 * mh / (vh.sqrt() + 1e-8);
            }
            let flat = [g[0] as f32, g[1] as f32, 0.0, 0.0];
            let s = StepSettings {
                step,
                phase: 0,
                lr: 0.1,
                beta1: 0.9,
                weight_decay: 0.01,
                ema_decay: 0.99,
                scale: 1.0,
            };
            state.step(&table, &flat, s, 2);
        }
        for i in 0..2 {
            assert!((f64::from(state.weights[i]) - w[i]).abs() < 1e-5, "{:?} {w:?}", state.weights);
        }
        assert_eq!(&state.weights[2..], [0.0, 0.0]);
    }

    #[test]
    fn the_schedule_rises_then_falls_to_its_floor() {
        let at = |step| learning_rate(1.0, 10, 110, 0.1, step);
        assert_eq!(at(0), 0.1);
        assert_eq!(at(9), 1.0);
        assert!((at(60) - 0.55).abs() < 1e-12);
        assert!((at(110) - 0.1).abs() < 1e-12);
    }
}
