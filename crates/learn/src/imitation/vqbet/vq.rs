//! Chunks of actions as codes: an autoencoder between whose halves a vector is rounded to the nearest
//! of a codebook, and what is left of it to the nearest of a second one (residual vector quantisation:
//! van den Oord et al. 2017, arXiv:1711.00937; Zeghidour et al. 2021, arXiv:2107.03312).
//!
//! Encoder and decoder learn by gradients, which pass the rounding as if it were not there. A codebook
//! is no function of gradients: each vector is a running average of what was rounded to it, of which a
//! checkpoint holds the sums. So a batch's part in it is a tally, added up over shards like gradients,
//! and settled once a step. Settings are those of LeRobot's VQ-BeT: averages decay by 0.8, codebooks
//! begin at random, no code is replaced because it is not used.

use burn::tensor::{Tensor, TensorData};

use super::config::VqBetConfig;
use crate::imitation::Pass;
use crate::nn::{Init, Layout, Linear, ParamTable};
use crate::ops::Activation;

/// Codebooks, one for what the one before it left.
pub(super) const LAYERS: usize = 2;
/// What a step keeps of the running averages.
const DECAY: f32 = 0.8;
/// Added to each code's count.
const EPS: f32 = 1e-5;
/// Weight of the encoder's distance from the codes.
const COMMITMENT: f32 = 5.0;

/// Linear maps with ReLU between them, numbered as in PyTorch's `nn.Sequential`.
#[derive(Debug, Clone)]
struct Mlp(Vec<Linear>);

impl Mlp {
    fn new(t: &mut ParamTable, name: &str, widths: &[usize]) -> Self {
        let layer = |(i, ends): (usize, &[usize])| {
            t.linear(&format!("{name}.{}", 2 * i), ends[0], ends[1], 1.0)
        };
        Self(widths.windows(2).enumerate().map(layer).collect())
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<2>) -> Tensor<2> {
        let last = self.0.len() - 1;
        let step = |x, (i, layer): (usize, &Linear)| {
            let act = if i < last { Activation::Relu } else { Activation::None };
            layer.forward(pass.w, x, act)
        };
        self.0.iter().enumerate().fold(x, step)
    }
}

/// Vectors of one layer's codes with the sums of which they are averages.
#[derive(Debug, Clone, Copy)]
struct Codebook {
    /// `[codes, dim]`.
    vectors: usize,
    /// How many were rounded to each, decayed: `[codes]`.
    counts: usize,
    /// Their sums, decayed: `[codes, dim]`.
    sums: usize,
}

impl Codebook {
    fn new(t: &mut ParamTable, name: &str, codes: usize, dim: usize) -> Self {
        let part = |part: &str| format!("{name}._codebook.{part}");
        let batched = Layout::Batched { axes: 1 };
        // It is not begun with the means of a first batch, so it counts as begun from the start.
        t.constant(part("initted"), (1, 0), Layout::Plain, Init::Constant(1.0));
        let counts = t.constant(part("cluster_size"), (codes, 0), batched, Init::Constant(0.0));
        let begin = Init::Uniform((6.0 / (codes * dim) as f32).sqrt());
        let vectors = t.constant(part("embed"), (codes, dim), batched, begin);
        let sums = t.constant(part("embed_avg"), (codes, dim), batched, Init::As(vectors));
        Self { vectors, counts, sums }
    }
}

/// The autoencoder's structure.
#[derive(Debug, Clone)]
pub(crate) struct Vq {
    encoder: Mlp,
    decoder: Mlp,
    books: [Codebook; LAYERS],
    /// Whether it has learned; LeRobot holds this twice.
    done: [usize; 2],
    codes: usize,
    dim: usize,
    width: usize,
}

/// Vectors rounded to codes.
struct Rounded {
    /// `[n, layers]`.
    codes: Vec<usize>,
    /// Of each layer: what was left to it, `[n, dim]`, and the code's vectors.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Vq {
    /// Lays out the autoencoder of chunks of `width` numbers under `name`.
    pub fn new(t: &mut ParamTable, name: &str, cfg: &VqBetConfig, width: usize) -> Self {
        let (codes, dim, hidden) =
            (cfg.vqvae_n_embed, cfg.vqvae_embedding_dim, cfg.vqvae_enc_hidden_dim);
        let flag = |t: &mut ParamTable, part: &str| {
            t.constant(format!("{name}.{part}"), (1, 0), Layout::Flag, Init::Constant(0.0))
        };
        let done = [flag(t, "discretized"), flag(t, "vq_layer.freeze_codebook")];
        let book = |i| Codebook::new(t, &format!("{name}.vq_layer.layers.{i}"), codes, dim);
        let books = std::array::from_fn(book);
        let encoder = Mlp::new(t, &format!("{name}.encoder"), &[width, hidden, hidden, dim]);
        let decoder = Mlp::new(t, &format!("{name}.decoder"), &[dim, hidden, hidden, width]);
        Self { encoder, decoder, books, done, codes, dim, width }
    }

    /// Whether it has learned, by the weights.
    pub fn is_done(&self, pass: Pass<'_>) -> bool {
        host(pass.w.vector(self.done[0]).clone())[0] != 0.0
    }

    /// The same by the flat vector of weights.
    pub fn is_done_in(&self, t: &ParamTable, weights: &[f32]) -> bool {
        weights[t.specs[self.done[0]].offset] != 0.0
    }

    fn tensor(&self, pass: Pass<'_>, values: Vec<f32>, width: usize) -> Tensor<2> {
        let shape = [values.len() / width, width];
        Tensor::from_data(TensorData::new(values, shape), pass.device)
    }

    /// Rounds `[n, dim]` numbers.
    fn round(&self, pass: Pass<'_>, mut left: Vec<f32>) -> Rounded {
        let n = left.len() / self.dim;
        let mut codes = vec![0; n * LAYERS];
        let mut layers = Vec::new();
        for (layer, book) in self.books.iter().enumerate() {
            let book = host(pass.w.matrix(book.vectors).clone());
            let mut vectors = Vec::with_capacity(left.len());
            for (i, row) in left.chunks_exact(self.dim).enumerate() {
                let code = nearest(row, &book);
                codes[i * LAYERS + layer] = code;
                vectors.extend_from_slice(&book[code * self.dim..(code + 1) * self.dim]);
            }
            let rest = left.iter().zip(&vectors).map(|(l, v)| l - v).collect();
            layers.push((std::mem::replace(&mut left, rest), vectors));
        }
        Rounded { codes, layers }
    }

    /// The codes of `chunks [n, width]`: `[n, layers]`.
    pub fn codes(&self, pass: Pass<'_>, chunks: Vec<f32>) -> Vec<usize> {
        let chunks = self.tensor(pass, chunks, self.width);
        self.round(pass, host(self.encoder.forward(pass, chunks))).codes
    }

    /// The chunks that `codes [n, layers]` stand for, `[n, width]`, without gradients.
    pub fn decode(&self, pass: Pass<'_>, codes: &[usize]) -> Tensor<2> {
        let mut sums = vec![0.0; codes.len() / LAYERS * self.dim];
        for (layer, book) in self.books.iter().enumerate() {
            let book = host(pass.w.matrix(book.vectors).clone());
            let chosen = codes.iter().skip(layer).step_by(LAYERS);
            for (sum, code) in sums.chunks_exact_mut(self.dim).zip(chosen) {
                let vector = &book[code * self.dim..(code + 1) * self.dim];
                sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
            }
        }
        let sums = self.tensor(pass, sums, self.dim);
        self.decoder.forward(pass, sums).detach()
    }

    /// What the autoencoder makes of `chunks [n, width]`: mean absolute error of what comes out, and
    /// the distance of the encoder's vectors from their codes; `share` is 1 over the number of chunks
    /// in the batch.
    pub fn loss(&self, pass: Pass<'_>, chunks: Vec<f32>, share: f32) -> Tensor<1> {
        let chunks = self.tensor(pass, chunks, self.width);
        let latent = self.encoder.forward(pass, chunks.clone());
        let rounded = self.round(pass, host(latent.clone()));
        let mut left = latent.clone();
        let mut distance = Tensor::zeros([1], pass.device);
        let mut sum = Tensor::zeros(left.dims(), pass.device);
        for (_, vectors) in rounded.layers {
            let vectors = self.tensor(pass, vectors, self.dim);
            sum = sum + vectors.clone();
            left = left - vectors;
            distance = distance + (left.clone() * left.clone()).sum();
        }
        // Each layer lets gradients through to what was left to it, and that to the encoder.
        let through = (latent.clone() - latent.detach()) * LAYERS as f32 + sum;
        let off = (chunks - self.decoder.forward(pass, through)).abs().sum();
        off * (share / self.width as f32) + distance * (COMMITMENT * share / self.dim as f32)
    }

    /// What `chunks` add to each layer's codes: counts, then sums.
    pub fn tally(&self, pass: Pass<'_>, chunks: Vec<f32>) -> Vec<f32> {
        let chunks = self.tensor(pass, chunks, self.width);
        let rounded = self.round(pass, host(self.encoder.forward(pass, chunks)));
        let mut all = Vec::with_capacity(LAYERS * self.codes * (1 + self.dim));
        for (layer, (left, _)) in rounded.layers.iter().enumerate() {
            let mut counts = vec![0.0; self.codes];
            let mut sums = vec![0.0; self.codes * self.dim];
            let codes = rounded.codes.iter().skip(layer).step_by(LAYERS);
            for (row, code) in left.chunks_exact(self.dim).zip(codes) {
                counts[*code] += 1.0;
                let sum = &mut sums[code * self.dim..(code + 1) * self.dim];
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            all.append(&mut counts);
            all.append(&mut sums);
        }
        all
    }

    /// Moves the codebooks in `weights` by the tally of a batch; after the `last` they stay.
    pub fn settle(&self, t: &ParamTable, tally: &[f32], last: bool, weights: &mut [f32]) {
        let parts = tally.chunks_exact(self.codes * (1 + self.dim));
        for (book, part) in self.books.iter().zip(parts) {
            let (counts, sums) = part.split_at(self.codes);
            average(&mut weights[t.specs[book.counts].range()], counts);
            average(&mut weights[t.specs[book.sums].range()], sums);
            let counts = weights[t.specs[book.counts].range()].to_vec();
            let sums = weights[t.specs[book.sums].range()].to_vec();
            let total: f32 = counts.iter().sum();
            // Laplace smoothing: a code that nothing is rounded to is an average all the same.
            let smooth = |n: &f32| (n + EPS) / (total + self.codes as f32 * EPS) * total;
            let vectors = &mut weights[t.specs[book.vectors].range()];
            let rows = vectors.chunks_exact_mut(self.dim).zip(sums.chunks_exact(self.dim));
            for ((vector, sum), n) in rows.zip(counts.iter().map(smooth)) {
                vector.iter_mut().zip(sum).for_each(|(v, s)| *v = s / n);
            }
        }
        if last {
            self.done.iter().for_each(|id| weights[t.specs[*id].offset] = 1.0);
        }
    }
}

/// The number of the row of `book` that is nearest to `row`; of several, the first.
fn nearest(row: &[f32], book: &[f32]) -> usize {
    let square =
        |vector: &[f32]| -> f32 { row.iter().zip(vector).map(|(a, b)| (a - b) * (a - b)).sum() };
    let distances = book.chunks_exact(row.len()).map(square).enumerate();
    distances.fold((0, f32::INFINITY), |best, at| if at.1 < best.1 { at } else { best }).0
}

fn average(old: &mut [f32], new: &[f32]) {
    old.iter_mut().zip(new).for_each(|(old, new)| *old += (1.0 - DECAY) * (new - *old));
}

/// A tensor's numbers.
pub(super) fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().as_slice::<f32>().expect("features are f32").to_vec()
}
