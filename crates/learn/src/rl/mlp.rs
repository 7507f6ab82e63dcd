//! Multilayer perceptrons on plain slices: forward, backward, initialisation.
//!
//! Parameters of a network are one flat vector, weights `[inputs, outputs]` row by row; what a pass
//! keeps lives in a [`Tape`] that is allocated once. One thread per pass: work is spread over
//! threads by shards of a batch, one level up. Matrix products go through [`crate::ops`]' door.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::kernels::{self, Nonlinearity};
use crate::noise::normal;
use crate::ops::gemm::{Mat, matmul};

/// Rows that one pass takes at most; more are passed in pieces, so that they stay in the cache.
pub(crate) const PIECE: usize = 256;

/// Where a layer's parameters lie in the flat vector.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weight: usize,
    bias: usize,
    /// Scale of the layer normalisation, its shift behind it.
    norm: Option<usize>,
}

/// The shape of a network: linear layers with a nonlinearity, and on request a layer normalisation,
/// between them; the last is linear.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mlp {
    layers: Vec<Layer>,
    act: Nonlinearity,
    layer_norm: bool,
    /// Whether the last layer is linear; otherwise it is as those before it.
    linear_end: bool,
    len: usize,
}

/// How the weights of a network begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Orthogonal with gain √2, the last layer with this one; biases 0 (Saxe et al., arXiv 1312.6120).
    Orthogonal { last_gain: f32 },
    /// Weights and biases uniform within ±1/√inputs, PyTorch's default for linear layers.
    Uniform,
}

/// What a forward pass leaves for the backward pass, and room for both.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape {
    layers: Vec<Kept>,
    /// Gradients on their way down.
    down: [Vec<f32>; 2],
}

#[derive(Debug, Clone, Default)]
struct Kept {
    /// Output of the layer, after the nonlinearity.
    out: Vec<f32>,
    /// Before the nonlinearity, where the backward pass wants that.
    pre: Vec<f32>,
    hat: Vec<f32>,
    inverse: Vec<f32>,
}

/// A parameter tensor: name, shape as PyTorch stores it, place.
pub(crate) struct ParamSpec {
    pub name: String,
    pub shape: Vec<usize>,
    pub at: usize,
}

impl ParamSpec {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// From memory (`[inputs, outputs]`) to file (`[outputs, inputs]`); the other way with `back`.
    pub fn turn(&self, values: &[f32], back: bool) -> Vec<f32> {
        let &[outputs, inputs] = self.shape.as_slice() else { return values.to_vec() };
        let (rows, cols) = if back { (outputs, inputs) } else { (inputs, outputs) };
        let column = |c: usize| (0..rows).map(move |r| values[r * cols + c]);
        (0..cols).flat_map(column).collect()
    }
}

impl Layer {
    /// The gradient of the layer's inputs from that of its linear outputs, `d [rows, outputs]`.
    fn pass_down(&self, params: &[f32], d: &[f32], down: &mut [f32]) {
        let (k, n) = (self.inputs, self.outputs);
        let w = &params[self.weight..self.weight + k * n];
        if n == 1 {
            return kernels::outer(d, w, down);
        }
        let rows = d.len() / n;
        matmul((rows, n, k), down, 0, k, Mat::new(d, n), Mat::new(w, n).t(), 1.0, 0.0);
    }
}

impl Mlp {
    /// `sizes` are inputs, hidden layers, outputs.
    pub fn new(sizes: &[usize], act: Nonlinearity, layer_norm: bool) -> Self {
        Self::build(sizes, act, layer_norm, true)
    }

    /// The same without the linear end: normalisation and nonlinearity follow the last layer too.
    pub fn headless(sizes: &[usize], act: Nonlinearity, layer_norm: bool) -> Self {
        Self::build(sizes, act, layer_norm, false)
    }

    fn build(sizes: &[usize], act: Nonlinearity, layer_norm: bool, linear_end: bool) -> Self {
        let mut len = 0;
        let mut take = |n: usize| {
            len += n;
            len - n
        };
        let mut layers = Vec::new();
        for (i, pair) in sizes.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let weight = take(inputs * outputs);
            let bias = take(outputs);
            let hidden = !linear_end || i + 2 < sizes.len();
            let norm = (layer_norm && hidden).then(|| take(2 * outputs));
            layers.push(Layer { inputs, outputs, weight, bias, norm });
        }
        Self { layers, act, layer_norm, linear_end, len }
    }

    /// Widths of the hidden layers, the nonlinearity, and whether there is layer normalisation.
    pub fn shape(&self) -> (Vec<usize>, Nonlinearity, bool) {
        let hidden = self.layers[..self.layers.len() - 1].iter().map(|l| l.outputs).collect();
        (hidden, self.act, self.layer_norm)
    }

    /// Whether layer `i` is the linear end.
    fn ends_at(&self, i: usize) -> bool {
        self.linear_end && i + 1 == self.layers.len()
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// The parameter tensors, named as a list of PyTorch layers under `prefix` would be.
    pub fn specs(&self, prefix: &str) -> Vec<ParamSpec> {
        let mut specs = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, at| {
            specs.push(ParamSpec { name: format!("{prefix}.{name}"), shape, at });
        };
        for (i, l) in self.layers.iter().enumerate() {
            add(format!("{i}.weight"), vec![l.outputs, l.inputs], l.weight);
            add(format!("{i}.bias"), vec![l.outputs], l.bias);
            if let Some(norm) = l.norm {
                add(format!("{i}.norm.weight"), vec![l.outputs], norm);
                add(format!("{i}.norm.bias"), vec![l.outputs], norm + l.outputs);
            }
        }
        specs
    }

    /// Fresh parameters.
    pub fn init(&self, params: &mut [f32], init: Init, rng: &mut ChaCha8Rng) {
        for (i, l) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            let weight = &mut params[l.weight..l.weight + l.inputs * l.outputs];
            match init {
                Init::Orthogonal { last_gain } => {
                    let gain = if last { last_gain } else { std::f32::consts::SQRT_2 };
                    orthogonal(weight, l.inputs, l.outputs, gain, rng);
                    params[l.bias..l.bias + l.outputs].fill(0.0);
                }
                Init::Uniform => {
                    let bound = 1.0 / (l.inputs as f32).sqrt();
                    let mut draw = || rng.random_range(-bound..bound);
                    weight.iter_mut().for_each(|w| *w = draw());
                    params[l.bias..l.bias + l.outputs].iter_mut().for_each(|b| *b = draw());
                }
            }
            if let Some(norm) = l.norm {
                params[norm..norm + l.outputs].fill(1.0);
                params[norm + l.outputs..norm + 2 * l.outputs].fill(0.0);
            }
        }
    }

    /// Room for passes of up to [`PIECE`] rows.
    pub fn tape(&self) -> Tape {
        let widest = self.layers.iter().map(|l| l.outputs.max(l.inputs)).max().unwrap_or(0);
        let room = |wanted: bool, n: usize| vec![0.0; if wanted { PIECE * n } else { 0 }];
        let kept = |l: &Layer| Kept {
            out: room(true, l.outputs),
            pre: room(l.norm.is_some() || self.act == Nonlinearity::Silu, l.outputs),
            hat: room(l.norm.is_some(), l.outputs),
            inverse: room(l.norm.is_some(), 1),
        };
        let layers = self.layers.iter().map(kept).collect();
        Tape { layers, down: [room(true, widest), room(true, widest)] }
    }

    /// The outputs `[rows, outputs]` of `x [rows, inputs]`, at most [`PIECE`] rows.
    pub fn forward<'t>(&self, params: &[f32], x: &[f32], tape: &'t mut Tape) -> &'t [f32] {
        let rows = x.len() / self.inputs();
        for (i, l) in self.layers.iter().enumerate() {
            let (before, rest) = tape.layers.split_at_mut(i);
            let x = before.last().map_or(x, |k| &k.out[..rows * l.inputs]);
            let w = &params[l.weight..l.weight + l.inputs * l.outputs];
            let b = &params[l.bias..l.bias + l.outputs];
            let size = rows * l.outputs;
            let last = self.ends_at(i);
            let Kept { out, pre, hat, inverse } = &mut rest[0];
            let (m, k, n) = (rows, l.inputs, l.outputs);
            let out = &mut out[..size];
            let times = |z: &mut [f32]| {
                matmul((m, k, n), z, 0, n, Mat::new(x, k), Mat::new(w, n), 1.0, 0.0);
            };
            if last && n == 1 {
                kernels::rows_dot(x, w, b[0], out);
            } else if last {
                times(out);
                kernels::add_bias(out, b);
            } else if let Some(norm) = l.norm {
                let z = &mut pre[..size];
                times(z);
                kernels::add_bias(z, b);
                let (gamma, beta) = params[norm..norm + 2 * n].split_at(n);
                kernels::layer_norm(z, gamma, beta, &mut hat[..size], &mut inverse[..m], out);
                // The nonlinearity's input takes the place of the normalisation's.
                z.copy_from_slice(out);
                kernels::activate_in_place(out, self.act);
            } else if self.act == Nonlinearity::Silu {
                let z = &mut pre[..size];
                times(z);
                kernels::add_bias(z, b);
                kernels::activate(z, out, self.act);
            } else {
                times(out);
                kernels::bias_activate(out, b, self.act);
            }
        }
        &tape.layers[self.layers.len() - 1].out[..rows * self.outputs()]
    }

    /// The gradient of the parameters, given that of the outputs of the last [`Mlp::forward`], which
    /// was of `x`: added to `grads`, or with `fresh` written over them. That of `x` goes to `dx`
    /// where asked.
    #[allow(clippy::too_many_arguments, reason = "what a backward pass looks at")]
    pub fn backward(
        &self,
        params: &[f32],
        x: &[f32],
        d_out: &[f32],
        tape: &mut Tape,
        grads: &mut [f32],
        fresh: bool,
        mut dx: Option<&mut [f32]>,
    ) {
        let keep = if fresh { 0.0 } else { 1.0 };
        let rows = x.len() / self.inputs();
        let [above, below] = &mut tape.down;
        above[..d_out.len()].copy_from_slice(d_out);
        for (i, l) in self.layers.iter().enumerate().rev() {
            let (k, n) = (l.inputs, l.outputs);
            let size = rows * n;
            let d = &mut above[..size];
            if !self.ends_at(i) {
                let kept = &tape.layers[i];
                let pre = kept.pre.get(..size).unwrap_or(&[]);
                kernels::activate_backward(d, &kept.out[..size], pre, self.act);
                if let Some(norm) = l.norm {
                    if fresh {
                        grads[norm..norm + 2 * n].fill(0.0);
                    }
                    let (d_gamma, d_beta) = grads[norm..norm + 2 * n].split_at_mut(n);
                    let gamma = &params[norm..norm + n];
                    let (hat, inverse) = (&kept.hat[..size], &kept.inverse[..rows]);
                    kernels::layer_norm_backward(d, gamma, hat, inverse, d_gamma, d_beta);
                }
            }
            if fresh {
                grads[l.bias..l.bias + n].fill(0.0);
            }
            kernels::add_rows(d, &mut grads[l.bias..l.bias + n]);
            let input = if i == 0 { x } else { &tape.layers[i - 1].out[..rows * k] };
            if n == 1 {
                let dw = &mut grads[l.weight..l.weight + k];
                if fresh {
                    dw.fill(0.0);
                }
                kernels::add_weighted_rows(d, input, dw);
            } else {
                let (input, d) = (Mat::new(input, k).t(), Mat::new(d, n));
                matmul((k, rows, n), grads, l.weight, n, input, d, 1.0, keep);
            }
            let down = match (i, dx.as_deref_mut()) {
                (0, None) => return,
                (0, Some(dx)) => dx,
                _ => &mut below[..rows * k],
            };
            l.pass_down(params, d, down);
            std::mem::swap(above, below);
        }
    }

    /// As [`Mlp::backward`] for `x` alone: gradients of the parameters are not computed.
    pub fn backward_input(
        &self,
        params: &[f32],
        rows: usize,
        d_out: &[f32],
        tape: &mut Tape,
        dx: &mut [f32],
    ) {
        let [above, below] = &mut tape.down;
        above[..d_out.len()].copy_from_slice(d_out);
        for (i, l) in self.layers.iter().enumerate().rev() {
            let (k, n) = (l.inputs, l.outputs);
            let size = rows * n;
            let d = &mut above[..size];
            if !self.ends_at(i) {
                let kept = &tape.layers[i];
                let pre = kept.pre.get(..size).unwrap_or(&[]);
                kernels::activate_backward(d, &kept.out[..size], pre, self.act);
                if let Some(norm) = l.norm {
                    let (hat, inverse) = (&kept.hat[..size], &kept.inverse[..rows]);
                    let gamma = &params[norm..norm + n];
                    let (mut unused, mut unused_too) = (vec![0.0; n], vec![0.0; n]);
                    kernels::layer_norm_backward(
                        d,
                        gamma,
                        hat,
                        inverse,
                        &mut unused,
                        &mut unused_too,
                    );
                }
            }
            l.pass_down(params, d, if i == 0 { &mut *dx } else { &mut below[..rows * k] });
            std::mem::swap(above, below);
        }
    }

    /// The outputs of one row, by itself: no other row can change their rounding.
    pub fn row<'t>(&self, params: &[f32], x: &[f32], tape: &'t mut Tape) -> &'t [f32] {
        for (i, l) in self.layers.iter().enumerate() {
            let (before, rest) = tape.layers.split_at_mut(i);
            let x = before.last().map_or(x, |k| &k.out[..l.inputs]);
            let w = &params[l.weight..l.weight + l.inputs * l.outputs];
            let b = &params[l.bias..l.bias + l.outputs];
            let Kept { out, pre, hat, inverse } = &mut rest[0];
            let n = l.outputs;
            let last = self.ends_at(i);
            let out = &mut out[..n];
            kernels::row_times_matrix(x, w, b, out);
            if last {
                break;
            }
            if let Some(norm) = l.norm {
                let (gamma, beta) = params[norm..norm + 2 * n].split_at(n);
                let z = &mut pre[..n];
                z.copy_from_slice(out);
                kernels::layer_norm(z, gamma, beta, &mut hat[..n], &mut inverse[..1], out);
            }
            kernels::activate_in_place(out, self.act);
        }
        &tape.layers[self.layers.len() - 1].out[..self.outputs()]
    }
}

/// A matrix with orthonormal rows or columns, whichever are fewer, times `gain`: Gram-Schmidt on
/// Gaussian vectors, twice, in f64.
fn orthogonal(weight: &mut [f32], inputs: usize, outputs: usize, gain: f32, rng: &mut ChaCha8Rng) {
    let (count, dim) = (inputs.min(outputs), inputs.max(outputs));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    while vectors.len() < count {
        let mut v: Vec<f64> = (0..dim).map(|_| f64::from(normal(rng))).collect();
        for _ in 0..2 {
            for u in &vectors {
                let along: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
            }
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-6 {
            v.iter_mut().for_each(|v| *v /= norm);
            vectors.push(v);
        }
    }
    for (i, w) in weight.iter_mut().enumerate() {
        let (input, output) = (i / outputs, i % outputs);
        let (which, at) = if inputs <= outputs { (input, output) } else { (output, input) };
        *w = (vectors[which][at] * f64::from(gain)) as f32;
    }
}

#[cfg(test)]
mod tests;
