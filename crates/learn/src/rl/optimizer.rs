//! Gradients of several shards summed in order, their length, and Adam, over flat vectors.
//!
//! Vectors are cut into pieces of a fixed size, each a task of the team: the number of threads
//! changes no bit.

use std::sync::Mutex;

use super::kernels::{self, AdamStep};
use embody_core::Team;

/// Parameters per task.
const CUT: usize = 16_384;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `total = ` the sum of `parts`, in their order; returns the Euclidean norm of the sum.
pub(crate) fn sum(team: &Team, parts: &[&[f32]], total: &mut [f32]) -> f64 {
    let cuts: Vec<_> = total.chunks_mut(CUT).map(|cut| Mutex::new((cut, 0.0))).collect();
    team.run(cuts.len(), &|i| {
        let (cut, squares) = &mut *lock(&cuts[i]);
        let range = i * CUT..i * CUT + cut.len();
        for (k, part) in parts.iter().enumerate() {
            match k {
                0 => cut.copy_from_slice(&part[range.clone()]),
                _ => kernels::add(cut, &part[range.clone()]),
            }
        }
        *squares = kernels::sum_of_squares(cut);
    });
    cuts.iter().map(|cut| lock(cut).1).sum::<f64>().sqrt()
}

/// What gradients of length `norm` are multiplied by so that they are no longer than `max`, as
/// PyTorch's `clip_grad_norm_`.
pub(crate) fn clip(norm: f64, max: f64) -> f32 {
    (max / (norm + 1e-6)).min(1.0) as f32
}

/// Adam's moments and settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adam {
    pub m: Vec<f32>,
    pub v: Vec<f32>,
    pub steps: u64,
    pub eps: f64,
    pub weight_decay: f64,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;

impl Adam {
    pub fn new(len: usize, eps: f64) -> Self {
        Self { m: vec![0.0; len], v: vec![0.0; len], steps: 0, eps, weight_decay: 0.0 }
    }

    /// One step with gradients `g` times `scale`.
    pub fn step(&mut self, team: &Team, params: &mut [f32], g: &[f32], lr: f64, scale: f32) {
        self.step_with(team, params, g, lr, scale, None);
    }

    /// As [`Adam::step`]; then `target`, if there is one, moves towards the parameters by its second
    /// entry, in the same pass.
    pub fn step_with(
        &mut self,
        team: &Team,
        params: &mut [f32],
        g: &[f32],
        lr: f64,
        scale: f32,
        target: Option<(&mut [f32], f32)>,
    ) {
        self.steps += 1;
        let t = self.steps as f64;
        let step = AdamStep {
            lr: lr as f32,
            beta1: BETA1 as f32,
            beta2: BETA2 as f32,
            eps: self.eps as f32,
            weight_decay: self.weight_decay as f32,
            correct1: (1.0 - BETA1.powf(t)) as f32,
            correct2: (1.0 - BETA2.powf(t)).sqrt() as f32,
            scale,
        };
        let (target, tau) = target.map_or((&mut [][..], 0.0), |(t, tau)| (t, tau));
        let mut targets = target.chunks_mut(CUT);
        let cuts: Vec<_> = params
            .chunks_mut(CUT)
            .zip(self.m.chunks_mut(CUT).zip(self.v.chunks_mut(CUT)))
            .zip(g.chunks(CUT))
            .map(|cut| Mutex::new((cut, targets.next())))
            .collect();
        team.run(cuts.len(), &|i| {
            let (((w, (m, v)), g), target) = &mut *lock(&cuts[i]);
            kernels::adam(w, m, v, g, step);
            if let Some(target) = target {
                kernels::move_towards(target, w, tau);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{normals, stream};

    /// Against the published update in f64, with a decoupled decay and gradients clipped.
    #[test]
    fn adam_follows_the_paper_on_any_number_of_threads() {
        let n = 3 * CUT + 17;
        let mut rng = stream(3, "test", 0);
        let mut start = vec![0.0; n];
        normals(&mut rng, &mut start);
        let mut results = Vec::new();
        let mut grads = vec![vec![0.0; n]; 3];
        grads.iter_mut().for_each(|g| normals(&mut rng, g));
        for threads in [1, 2, 3] {
            let team = Team::new(threads);
            let (mut w, mut adam) = (start.clone(), Adam::new(n, 1e-5));
            adam.weight_decay = 0.01;
            for g in &grads {
                let mut total = vec![0.0; n];
                let norm = sum(&team, &[&g[..], &g[..]], &mut total);
                adam.step(&team, &mut w, &total, 1e-2, clip(norm, 0.5));
            }
            results.push(w);
        }
        assert!(results[0] == results[1] && results[0] == results[2]);
        let norms: Vec<f64> = grads
            .iter()
            .map(|g| g.iter().map(|v| 4.0 * f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt())
            .collect();
        for i in (0..n).step_by(97) {
            let (mut w, mut m, mut v) = (f64::from(start[i]), 0.0, 0.0);
            for (t, g) in grads.iter().enumerate() {
                let g = 2.0 * f64::from(g[i]) * 0.5 / (norms[t] + 1e-6);
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let t = t as i32 + 1;
                let (mh, vh): (f64, f64) =
                    (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                w = w * (1.0 - 1e-2 * 0.01) - 1e-2 * mh / (vh.sqrt() + 1e-5);
            }
            assert!((f64::from(results[0][i]) - w).abs() < 1e-5, "{i}: {} {w}", results[0][i]);
        }
    }
}
