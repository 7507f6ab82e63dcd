//! Forward and backward passes of the fused operations, on plain slices, one thread.
//!
//! Layouts: images and feature maps NHWC, tokens `[batch, tokens, dim]`, weights `[in, out]`
//! (convolutions `[kernel_h · kernel_w · in, out]`). Every sum runs in a fixed order.

use std::sync::Arc;

use super::gemm::{Mat, matmul};

/// What follows a linear map or a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(0, x).
    Relu,
}

/// Sizes of a convolution over NHWC maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Input channels.
    pub channels: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Output channels.
    pub out_channels: usize,
}

impl ConvGeometry {
    /// Output height and width.
    pub fn output(&self) -> (usize, usize) {
        let side = |n: usize| (n + 2 * self.padding).saturating_sub(self.kernel) / self.stride + 1;
        (side(self.height), side(self.width))
    }

    /// Elements of one window.
    pub fn window(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }
}

/// `act(x · w + b)`; `x [m, k]`, `w [k, n]`, `b [n]`.
pub fn linear(x: &[f32], w: &[f32], b: &[f32], act: Activation) -> Vec<f32> {
    let n = b.len();
    let k = w.len() / n;
    let m = x.len() / k;
    let mut y = Vec::with_capacity(m * n);
    for _ in 0..m {
        y.extend_from_slice(b);
    }
    matmul((m, k, n), &mut y, 0, n, Mat::new(x, k), Mat::new(w, n), 1.0, 1.0);
    if act == Activation::Relu {
        y.iter_mut().for_each(|v| *v = v.max(0.0));
    }
    y
}

/// Gradients of a linear map.
pub struct LinearGrads {
    pub x: Option<Vec<f32>>,
    pub w: Vec<f32>,
    pub b: Vec<f32>,
}

/// Backward pass of [`linear`]; `y` is its result. `x`'s gradient only where asked for.
pub fn linear_backward(
    x: &[f32],
    w: &[f32],
    y: &[f32],
    mut dy: Vec<f32>,
    n: usize,
    act: Activation,
    need_x: bool,
) -> LinearGrads {
    let k = w.len() / n;
    let m = dy.len() / n;
    mask_relu(&mut dy, y, act);
    let mut dw = vec![0.0; k * n];
    matmul((k, m, n), &mut dw, 0, n, Mat::new(x, k).t(), Mat::new(&dy, n), 1.0, 0.0);
    let db = column_sums(&dy, n);
    let dx = need_x.then(|| {
        let mut dx = vec![0.0; m * k];
        matmul((m, n, k), &mut dx, 0, k, Mat::new(&dy, n), Mat::new(w, n).t(), 1.0, 0.0);
        dx
    });
    LinearGrads { x: dx, w: dw, b: db }
}

fn mask_relu(dy: &mut [f32], y: &[f32], act: Activation) {
    if act == Activation::Relu {
        for (d, v) in dy.iter_mut().zip(y) {
            *d = if *v > 0.0 { *d } else { 0.0 };
        }
    }
}

fn column_sums(rows: &[f32], n: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; n];
    for row in rows.chunks_exact(n) {
        for (s, v) in sums.iter_mut().zip(row) {
            *s += v;
        }
    }
    sums
}

/// `act(conv(x, w) + b)`; `x [batch, h, w, c]` → `[batch, oh, ow, out]`.
pub fn conv(x: &[f32], w: &[f32], b: &[f32], g: &ConvGeometry, act: Activation) -> Vec<f32> {
    let (oh, ow) = g.output();
    let (image, k, n) = (g.height * g.width * g.channels, g.window(), g.out_channels);
    let batch = x.len() / image;
    let rows = oh * ow;
    let mut y = Vec::with_capacity(batch * rows * n);
    for _ in 0..batch * rows {
        y.extend_from_slice(b);
    }
    let mut patches = vec![0.0; rows * k];
    for (i, picture) in x.chunks_exact(image).enumerate() {
        im2col(picture, g, &mut patches);
        let at = i * rows * n;
        matmul((rows, k, n), &mut y, at, n, Mat::new(&patches, k), Mat::new(w, n), 1.0, 1.0);
    }
    if act == Activation::Relu {
        y.iter_mut().for_each(|v| *v = v.max(0.0));
    }
    y
}

/// Backward pass of [`conv`]; windows are gathered again rather than kept: cheaper than the memory.
pub fn conv_backward(
    x: &[f32],
    w: &[f32],
    y: &[f32],
    mut dy: Vec<f32>,
    g: &ConvGeometry,
    act: Activation,
    need_x: bool,
) -> LinearGrads {
    let (oh, ow) = g.output();
    let (image, k, n) = (g.height * g.width * g.channels, g.window(), g.out_channels);
    let rows = oh * ow;
    mask_relu(&mut dy, y, act);
    let db = column_sums(&dy, n);
    let mut dw = vec![0.0; k * n];
    let mut dx = if need_x { vec![0.0; x.len()] } else { Vec::new() };
    let mut patches = vec![0.0; rows * k];
    for (i, picture) in x.chunks_exact(image).enumerate() {
        let grad = Mat { data: &dy, offset: i * rows * n, row: n, col: 1 };
        im2col(picture, g, &mut patches);
        matmul((k, rows, n), &mut dw, 0, n, Mat::new(&patches, k).t(), grad, 1.0, 1.0);
        if need_x {
            matmul((rows, n, k), &mut patches, 0, k, grad, Mat::new(w, n).t(), 1.0, 0.0);
            col2im(&patches, g, &mut dx[i * image..(i + 1) * image]);
        }
    }
    LinearGrads { x: need_x.then_some(dx), w: dw, b: db }
}

/// The part of a window's row that lies inside the picture: kernel columns `[from, to)` starting at
/// input column `left`.
fn row_span(g: &ConvGeometry, ox: usize) -> (usize, usize, usize) {
    let start = ox * g.stride;
    let from = g.padding.saturating_sub(start).min(g.kernel);
    let to = (g.width + g.padding).saturating_sub(start).min(g.kernel).max(from);
    (from, to, (start + from).saturating_sub(g.padding))
}

fn im2col(picture: &[f32], g: &ConvGeometry, patches: &mut [f32]) {
    let (oh, ow) = g.output();
    let (c, k) = (g.channels, g.window());
    for oy in 0..oh {
        for ky in 0..g.kernel {
            let iy = (oy * g.stride + ky).wrapping_sub(g.padding);
            let inside = iy < g.height;
            for ox in 0..ow {
                let at = (oy * ow + ox) * k + ky * g.kernel * c;
                let row = &mut patches[at..at + g.kernel * c];
                if !inside {
                    row.fill(0.0);
                    continue;
                }
                let (from, to, left) = row_span(g, ox);
                let source = (iy * g.width + left) * c;
                row[..from * c].fill(0.0);
                row[from * c..to * c].copy_from_slice(&picture[source..source + (to - from) * c]);
                row[to * c..].fill(0.0);
            }
        }
    }
}

fn col2im(patches: &[f32], g: &ConvGeometry, picture: &mut [f32]) {
    let (oh, ow) = g.output();
    let (c, k) = (g.channels, g.window());
    for oy in 0..oh {
        for ky in 0..g.kernel {
            let iy = (oy * g.stride + ky).wrapping_sub(g.padding);
            if iy >= g.height {
                continue;
            }
            for ox in 0..ow {
                let (from, to, left) = row_span(g, ox);
                let at = (oy * ow + ox) * k + ky * g.kernel * c;
                let target = (iy * g.width + left) * c;
                let values = &patches[at + from * c..at + to * c];
                for (p, v) in picture[target..target + (to - from) * c].iter_mut().zip(values) {
                    *p += v;
                }
            }
        }
    }
}

const NORM_EPS: f32 = 1e-5;

/// Layer normalisation over rows of `gamma.len()`, with scale and shift.
pub fn layer_norm(x: &[f32], gamma: &[f32], beta: &[f32]) -> Vec<f32> {
    let n = gamma.len();
    let mut y = vec![0.0; x.len()];
    for (row, out) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let (mean, scale) = moments(row);
        for i in 0..n {
            out[i] = (row[i] - mean) * scale * gamma[i] + beta[i];
        }
    }
    y
}

fn moments(row: &[f32]) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = lane_sum(row, |v| v) / n;
    let variance = lane_sum(row, |v| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (variance + NORM_EPS).sqrt())
}

/// A sum in eight fixed lanes, which the compiler can turn into vector instructions.
fn lane_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (whole, rest) = values.as_chunks::<8>();
    for chunk in whole {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|v| f(*v)).sum::<f32>()
}

/// Backward pass of [`layer_norm`]: gradients of `x`, `gamma`, `beta`.
pub fn layer_norm_backward(x: &[f32], gamma: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let n = gamma.len();
    let mut dx = vec![0.0; x.len()];
    let (mut dgamma, mut dbeta) = (vec![0.0; n], vec![0.0; n]);
    let (mut hat, mut dhat) = (vec![0.0; n], vec![0.0; n]);
    for ((row, grad), out) in x.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dx.chunks_exact_mut(n))
    {
        let (mean, scale) = moments(row);
        for i in 0..n {
            hat[i] = (row[i] - mean) * scale;
            dhat[i] = grad[i] * gamma[i];
            dgamma[i] += grad[i] * hat[i];
            dbeta[i] += grad[i];
        }
        let mean_dhat = lane_sum(&dhat, |v| v) / n as f32;
        let mean_both = hat.iter().zip(&dhat).map(|(a, b)| a * b).sum::<f32>() / n as f32;
        for i in 0..n {
            out[i] = scale * (dhat[i] - mean_dhat - hat[i] * mean_both);
        }
    }
    (dx, dgamma, dbeta)
}

/// Sizes of an attention: `q [batch, queries, dim]`, `kv [batch, keys, 2 · dim]` (keys first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionGeometry {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens that ask.
    pub queries: usize,
    /// Tokens that are looked at.
    pub keys: usize,
    /// Width of a token.
    pub dim: usize,
    /// Heads; divides `dim`.
    pub heads: usize,
}

/// Which keys an attention may look at.
#[derive(Debug, Clone, Default)]
pub enum KeyMask {
    /// Every one.
    #[default]
    All,
    /// Those that are true, `[batch, keys]`; at least one of each sequence.
    Only(Arc<[bool]>),
    /// Those that are true, `[queries, keys]`, in every sequence alike; at least one of each query.
    Pairs(Arc<[bool]>),
    /// Those up to the query's own place, of sequences that look at themselves.
    Causal,
}

impl KeyMask {
    /// Puts the scores of keys that `query` of sequence `b` may not see beyond reach.
    fn apply(&self, scores: &mut [f32], b: usize, query: usize) {
        let (kept, row) = match self {
            Self::All => return,
            Self::Causal => return scores[query + 1..].fill(f32::MIN),
            Self::Only(kept) => (kept, b),
            Self::Pairs(kept) => (kept, query),
        };
        let kept = &kept[row * scores.len()..(row + 1) * scores.len()];
        let hidden = scores.iter_mut().zip(kept).filter(|(_, kept)| !**kept);
        hidden.for_each(|(score, _)| *score = f32::MIN);
    }
}

/// Factors of the attention weights in training, `[batch, heads, queries, keys]`: 0 where one is
/// dropped; `None` where all are kept as they are.
pub type Dropped = Option<Arc<[f32]>>;

/// Scaled dot-product attention over heads: result `[batch, queries, dim]` and the attention
/// weights `[batch, heads, queries, keys]` before any is dropped, below 1e-37 where `mask` hides a key.
pub fn attention(
    q: &[f32],
    kv: &[f32],
    mask: &KeyMask,
    dropped: &Dropped,
    g: &AttentionGeometry,
) -> (Vec<f32>, Vec<f32>) {
    let head = g.dim / g.heads;
    let scale = 1.0 / (head as f32).sqrt();
    let mut out = vec![0.0; g.batch * g.queries * g.dim];
    let mut weights = vec![0.0; g.batch * g.heads * g.queries * g.keys];
    let mut kept = Vec::new();
    for b in 0..g.batch {
        for h in 0..g.heads {
            let at = (b * g.heads + h) * g.queries * g.keys;
            let (qm, km, vm) = head_views(q, kv, g, b, h);
            let size = (g.queries, head, g.keys);
            matmul(size, &mut weights, at, g.keys, qm, km.t(), scale, 0.0);
            let rows = weights[at..at + g.queries * g.keys].chunks_exact_mut(g.keys);
            for (query, row) in rows.enumerate() {
                mask.apply(row, b, query);
                softmax(row);
            }
            let p = with_dropped(&weights, dropped, at, g, &mut kept);
            let to = b * g.queries * g.dim + h * head;
            matmul((g.queries, g.keys, head), &mut out, to, g.dim, p, vm, 1.0, 0.0);
        }
    }
    (out, weights)
}

/// The weights of a sequence's head from `at` on, times their factors where some are dropped, for
/// which `kept` is room.
fn with_dropped<'a>(
    weights: &'a [f32],
    dropped: &Dropped,
    at: usize,
    g: &AttentionGeometry,
    kept: &'a mut Vec<f32>,
) -> Mat<'a> {
    let Some(factors) = dropped else { return Mat::strided(weights, at, g.keys) };
    let part = at..at + g.queries * g.keys;
    kept.clear();
    kept.extend(weights[part.clone()].iter().zip(&factors[part]).map(|(w, f)| w * f));
    Mat::new(kept, g.keys)
}

fn head_views<'a>(
    q: &'a [f32],
    kv: &'a [f32],
    g: &AttentionGeometry,
    b: usize,
    h: usize,
) -> (Mat<'a>, Mat<'a>, Mat<'a>) {
    let head = g.dim / g.heads;
    let keys = b * g.keys * 2 * g.dim + h * head;
    (
        Mat::strided(q, b * g.queries * g.dim + h * head, g.dim),
        Mat::strided(kv, keys, 2 * g.dim),
        Mat::strided(kv, keys + g.dim, 2 * g.dim),
    )
}

fn softmax(row: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|v| *v = exp(*v - top));
    let inverse = 1.0 / lane_sum(row, |v| v);
    row.iter_mut().for_each(|v| *v *= inverse);
}

/// Backward pass of [`attention`]: gradients of `q` and `kv`.
pub fn attention_backward(
    q: &[f32],
    kv: &[f32],
    weights: &[f32],
    dropped: &Dropped,
    dout: &[f32],
    g: &AttentionGeometry,
) -> (Vec<f32>, Vec<f32>) {
    let head = g.dim / g.heads;
    let scale = 1.0 / (head as f32).sqrt();
    let mut dq = vec![0.0; q.len()];
    let mut dkv = vec![0.0; kv.len()];
    let mut ds = vec![0.0; g.queries * g.keys];
    let mut kept = Vec::new();
    for b in 0..g.batch {
        for h in 0..g.heads {
            let at = (b * g.heads + h) * g.queries * g.keys;
            let (qm, km, vm) = head_views(q, kv, g, b, h);
            let from = b * g.queries * g.dim + h * head;
            let dom = Mat::strided(dout, from, g.dim);
            let p = with_dropped(weights, dropped, at, g, &mut kept);
            let keys_at = b * g.keys * 2 * g.dim + h * head;
            let (nq, nk, row) = (g.queries, g.keys, 2 * g.dim);
            matmul((nk, nq, head), &mut dkv, keys_at + g.dim, row, p.t(), dom, 1.0, 0.0);
            matmul((nq, head, nk), &mut ds, 0, nk, dom, vm.t(), 1.0, 0.0);
            if let Some(factors) = dropped {
                ds.iter_mut().zip(&factors[at..]).for_each(|(d, f)| *d *= f);
            }
            let probabilities = &weights[at..at + nq * nk];
            for (d, p) in ds.chunks_exact_mut(nk).zip(probabilities.chunks_exact(nk)) {
                let dot = d.iter().zip(p).map(|(a, b)| a * b).sum::<f32>();
                for (d, p) in d.iter_mut().zip(p) {
                    *d = (*d - dot) * p;
                }
            }
            let dsm = Mat::new(&ds, nk);
            matmul((nq, nk, head), &mut dq, from, g.dim, dsm, km, scale, 0.0);
            matmul((nk, nq, head), &mut dkv, keys_at, row, dsm.t(), qm, scale, 0.0);
        }
    }
    (dq, dkv)
}

/// Where each channel of a map looks: softmax over positions, then the mean position in [-1, 1].
/// `map [batch, height · width, channels]` → points `[batch, 2 · channels]` (all x, then all y), and the
/// softmax `[batch, height · width, channels]`.
pub fn spatial_softmax(
    map: &[f32],
    height: usize,
    width: usize,
    channels: usize,
) -> (Vec<f32>, Vec<f32>) {
    let image = height * width * channels;
    let batch = map.len() / image;
    let mut points = vec![0.0; batch * 2 * channels];
    let mut weights = map.to_vec();
    let mut top = vec![0.0f32; channels];
    let mut sum = vec![0.0f32; channels];
    for (w, point) in weights.chunks_exact_mut(image).zip(points.chunks_exact_mut(2 * channels)) {
        top.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        for cell in w.chunks_exact(channels) {
            top.iter_mut().zip(cell).for_each(|(t, v)| *t = t.max(*v));
        }
        let (px, py) = point.split_at_mut(channels);
        for (i, cell) in w.chunks_exact_mut(channels).enumerate() {
            let (x, y) = cell_position(i, height, width);
            for c in 0..channels {
                cell[c] = exp(cell[c] - top[c]);
                sum[c] += cell[c];
                px[c] += cell[c] * x;
                py[c] += cell[c] * y;
            }
        }
        for c in 0..channels {
            sum[c] = 1.0 / sum[c];
            px[c] *= sum[c];
            py[c] *= sum[c];
        }
        for cell in w.chunks_exact_mut(channels) {
            cell.iter_mut().zip(&sum).for_each(|(v, s)| *v *= s);
        }
    }
    (points, weights)
}

fn cell_position(i: usize, height: usize, width: usize) -> (f32, f32) {
    let centre = |at: usize, n: usize| (2 * at + 1) as f32 / n as f32 - 1.0;
    (centre(i % width, width), centre(i / width, height))
}

/// Backward pass of [`spatial_softmax`].
pub fn spatial_softmax_backward(
    weights: &[f32],
    points: &[f32],
    dpoints: &[f32],
    height: usize,
    width: usize,
    channels: usize,
) -> Vec<f32> {
    let image = height * width * channels;
    let mut dmap = vec![0.0; weights.len()];
    for (b, (w, d)) in weights.chunks_exact(image).zip(dmap.chunks_exact_mut(image)).enumerate() {
        let at = b * 2 * channels;
        let (px, py) = points[at..at + 2 * channels].split_at(channels);
        let (dx, dy) = dpoints[at..at + 2 * channels].split_at(channels);
        let cells = w.chunks_exact(channels).zip(d.chunks_exact_mut(channels));
        for (i, (w, d)) in cells.enumerate() {
            let (x, y) = cell_position(i, height, width);
            for c in 0..channels {
                d[c] = w[c] * (dx[c] * (x - px[c]) + dy[c] * (y - py[c]));
            }
        }
    }
    dmap
}

/// e^x for x ≤ 0 and moderate positive x, relative error below 2e-7; written so that loops over it
/// become vector code, and equal on every machine (no libm).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Round x / ln 2 to the nearest integer by the 1.5 · 2^23 trick.
    const MAGIC: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    // Minimax polynomial of Cephes' expf.
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let exponent = (shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127)) << 23;
    p * f32::from_bits(exponent)
}
