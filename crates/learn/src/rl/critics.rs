//! An ensemble of action-value functions Q(s, a) with slowly following targets: what SAC and TD3 share.
//!
//! Each function works on a shard of a batch with room of its own ([`CriticWork`]); gradients of all
//! critics lie in one flat vector per shard.

use super::kernels::Nonlinearity;
use super::mlp::{Init, Mlp, PIECE, Tape};
use super::optimizer::Adam;
use crate::noise::stream;

/// N networks of one shape.
pub(crate) struct Critics {
    pub net: Mlp,
    pub count: usize,
    pub params: Vec<f32>,
    pub target: Vec<f32>,
    pub adam: Adam,
    pub grads: Vec<f32>,
}

/// What one shard needs.
pub(crate) struct CriticWork {
    tapes: Vec<Tape>,
    /// Observation, then action, `[rows, obs_dim + action_dim]`.
    pub x: Vec<f32>,
    /// Values per critic, `[count, PIECE]`.
    pub q: Vec<f32>,
    d: Vec<f32>,
    pub dx: Vec<f32>,
    pub grads: Vec<f32>,
}

impl Critics {
    pub fn new(
        sizes: (usize, &[usize]),
        count: usize,
        act: Nonlinearity,
        layer_norm: bool,
        seed: u64,
    ) -> Self {
        let net = Mlp::new(&[&[sizes.0], sizes.1, &[1]].concat(), act, layer_norm);
        let mut params = vec![0.0; count * net.len()];
        for (i, params) in params.chunks_exact_mut(net.len()).enumerate() {
            net.init(params, Init::Uniform, &mut stream(seed, "critic/weights", i as u64));
        }
        let (adam, grads) = (Adam::new(params.len(), 1e-8), vec![0.0; params.len()]);
        Self { target: params.clone(), net, count, params, adam, grads }
    }

    pub fn work(&self) -> CriticWork {
        let wide = vec![0.0; PIECE * self.net.inputs()];
        CriticWork {
            tapes: (0..self.count).map(|_| self.net.tape()).collect(),
            x: wide.clone(),
            q: vec![0.0; self.count * PIECE],
            d: vec![0.0; PIECE],
            dx: wide,
            grads: vec![0.0; self.params.len()],
        }
    }

    /// Values of the first `rows` rows of `work.x` into `work.q`, by `params` (the critics' own, or
    /// their targets'), of the critics in `which`.
    pub fn values(&self, params: &[f32], rows: usize, which: &[usize], work: &mut CriticWork) {
        let len = self.net.len();
        for &c in which {
            let x = &work.x[..rows * self.net.inputs()];
            let q = self.net.forward(&params[c * len..(c + 1) * len], x, &mut work.tapes[c]);
            work.q[c * PIECE..c * PIECE + rows].copy_from_slice(q);
        }
    }

    /// The gradient of `weight · Σ (q − wanted)²` over rows and critics, after [`Critics::values`] of
    /// all: added to `work.grads`, or with `fresh` written over them; that of `work.x` is added to
    /// `inputs` where asked. Returns Σ (q − wanted)² and Σ q.
    pub fn learn(
        &self,
        wanted: &[f32],
        weight: f32,
        fresh: bool,
        work: &mut CriticWork,
        mut inputs: Option<&mut [f32]>,
    ) -> (f64, f64) {
        let (rows, len) = (wanted.len(), self.net.len());
        let size = rows * self.net.inputs();
        let (mut loss, mut sum) = (0.0, 0.0);
        for c in 0..self.count {
            let q = &work.q[c * PIECE..c * PIECE + rows];
            for ((d, q), wanted) in work.d.iter_mut().zip(q).zip(wanted) {
                *d = 2.0 * weight * (q - wanted);
                loss += f64::from(q - wanted) * f64::from(q - wanted);
                sum += f64::from(*q);
            }
            let params = &self.params[c * len..(c + 1) * len];
            let (x, d) = (&work.x[..size], &work.d[..rows]);
            let grads = &mut work.grads[c * len..(c + 1) * len];
            let dx = inputs.is_some().then_some(&mut work.dx[..size]);
            self.net.backward(params, x, d, &mut work.tapes[c], grads, fresh, dx);
            if let Some(sum) = inputs.as_deref_mut() {
                super::kernels::add(&mut sum[..size], &work.dx[..size]);
            }
        }
        (loss, sum)
    }

    /// Adds the gradient of `Σ d[c, row] · Q_c` with respect to the inputs to `sum`
    /// (`[rows, obs_dim + action_dim]`), after [`Critics::values`] of all. `d` gives critic and row's
    /// weight.
    pub fn input_gradient(
        &self,
        rows: usize,
        d: impl Fn(&[f32], usize, usize) -> f32,
        work: &mut CriticWork,
        sum: &mut [f32],
    ) {
        let len = self.net.len();
        let size = rows * self.net.inputs();
        for c in 0..self.count {
            let mut any = false;
            for row in 0..rows {
                work.d[row] = d(&work.q, c, row);
                any |= work.d[row] != 0.0;
            }
            if !any {
                continue;
            }
            let params = &self.params[c * len..(c + 1) * len];
            let (d, dx) = (&work.d[..rows], &mut work.dx[..size]);
            self.net.backward_input(params, rows, d, &mut work.tapes[c], dx);
            super::kernels::add(&mut sum[..size], dx);
        }
    }
}

/// The smallest value of a row among critics `which`, and whose it is.
pub(crate) fn smallest(q: &[f32], which: &[usize], row: usize) -> (usize, f32) {
    let value = |c: usize| q[c * PIECE + row];
    let first = which[0];
    which[1..].iter().fold((first, value(first)), |(best, least), &c| {
        if value(c) < least { (c, value(c)) } else { (best, least) }
    })
}

/// Rows in pieces of at most [`PIECE`].
pub(crate) fn pieces(rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..rows).step_by(PIECE).map(move |from| from..(from + PIECE).min(rows))
}

/// Rows `rows` of `values [.., dim]`.
pub(crate) fn rows_of<'a>(
    values: &'a [f32],
    dim: usize,
    rows: &std::ops::Range<usize>,
) -> &'a [f32] {
    &values[rows.start * dim..rows.end * dim]
}

/// Observations and actions side by side, as a critic takes them.
pub(crate) fn join(obs: &[f32], actions: &[f32], n: usize, rows: usize, x: &mut [f32]) {
    let dim = obs.len() / rows;
    for (i, x) in x.chunks_exact_mut(dim + n).take(rows).enumerate() {
        x[..dim].copy_from_slice(&obs[i * dim..(i + 1) * dim]);
        x[dim..].copy_from_slice(&actions[i * n..(i + 1) * n]);
    }
}
