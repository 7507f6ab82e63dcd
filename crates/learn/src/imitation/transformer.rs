//! Transformer layers. Positions that are given are added to queries and keys in every layer, never to
//! values, as in DETR (Carion et al. 2020, arXiv:2005.12872) and LeRobot's ACT; without, tokens carry
//! their positions themselves (Vaswani et al. 2017, arXiv:1706.03762).
//!
//! Names and shapes of the parameters are PyTorch's `nn.MultiheadAttention` with its fused
//! `in_proj_weight`, `nn.Linear` and `nn.LayerNorm`. `pre_norm` normalises before a block, otherwise
//! after the residual sum. All tensors are `[batch, tokens, dim]`; positions may have batch 1.

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use serde::{Deserialize, Serialize};

use super::Pass;
use crate::nn::{LayerNorm, Linear, ParamTable};
use crate::ops::{self, Activation, KeyMask};

/// What stands between the two linear maps of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForwardActivation {
    /// max(0, x).
    #[default]
    Relu,
    /// x · Φ(x), exact.
    Gelu,
}

/// Sizes of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerSizes {
    pub dim: usize,
    pub heads: usize,
    pub ff_dim: usize,
    pub activation: FeedForwardActivation,
    pub pre_norm: bool,
}

/// Multi-head attention with its projections.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    weight: usize,
    bias: usize,
    out: Linear,
    dim: usize,
    heads: usize,
}

impl Attention {
    /// Lays out `name.in_proj_weight`, `name.in_proj_bias`, `name.out_proj.…`.
    pub fn new(t: &mut ParamTable, name: &str, dim: usize, heads: usize) -> Self {
        let (weight, bias) = t.in_projection(name, dim);
        let out = t.linear(&format!("{name}.out_proj"), dim, dim, 1.0);
        Self { weight, bias, out, dim, heads }
    }

    /// `query` looks at `key` and takes from `value`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        mask: &KeyMask,
    ) -> Tensor<3> {
        let (weight, bias) = (pass.w.matrix(self.weight), pass.w.vector(self.bias));
        let project = |x: Tensor<3>, part: usize| {
            let columns = part * self.dim..(part + 1) * self.dim;
            let weight = weight.clone().slice([0..self.dim, columns.clone()]);
            ops::linear(x, &weight, &bias.clone().slice([columns]), Activation::None)
        };
        let ([batch, queries, _], keys) = (query.dims(), key.dims()[1]);
        let dropped = pass.dropped(batch * self.heads * queries * keys);
        let query = project(query, 0);
        let pairs = Tensor::cat(vec![project(key, 1), project(value, 2)], 2);
        let seen = ops::attention(query, pairs, self.heads, mask, dropped);
        self.out.forward(pass.w, seen, Activation::None)
    }
}

#[derive(Debug, Clone)]
struct FeedForward {
    up: Linear,
    down: Linear,
    activation: FeedForwardActivation,
}

impl FeedForward {
    fn new(t: &mut ParamTable, layer: &str, sizes: LayerSizes) -> Self {
        Self {
            up: t.linear(&format!("{layer}.linear1"), sizes.dim, sizes.ff_dim, 1.0),
            down: t.linear(&format!("{layer}.linear2"), sizes.ff_dim, sizes.dim, 1.0),
            activation: sizes.activation,
        }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let hidden = match self.activation {
            FeedForwardActivation::Relu => self.up.forward(pass.w, x, Activation::Relu),
            FeedForwardActivation::Gelu => gelu(self.up.forward(pass.w, x, Activation::None)),
        };
        self.down.forward(pass.w, pass.drop(hidden), Activation::None)
    }
}

/// `x` with its positions, where they are given.
fn at(x: &Tensor<3>, positions: Option<&Tensor<3>>) -> Tensor<3> {
    match positions {
        Some(positions) => x.clone() + positions.clone(),
        None => x.clone(),
    }
}

/// `x + block(x)`, normalised before the block or after the sum.
fn residual(
    pass: Pass<'_>,
    norm: &LayerNorm,
    pre_norm: bool,
    x: Tensor<3>,
    block: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    if pre_norm {
        let normed = norm.forward(pass.w, x.clone());
        x + pass.drop(block(normed))
    } else {
        norm.forward(pass.w, x.clone() + pass.drop(block(x)))
    }
}

/// Self-attention, then feed-forward.
#[derive(Debug, Clone)]
pub(crate) struct EncoderLayer {
    attention: Attention,
    norm_attention: LayerNorm,
    feed_forward: FeedForward,
    norm_feed_forward: LayerNorm,
    pre_norm: bool,
}

impl EncoderLayer {
    /// Lays out the layer's parameters under `name`.
    pub fn new(t: &mut ParamTable, name: &str, sizes: LayerSizes) -> Self {
        Self {
            attention: Attention::new(t, &format!("{name}.self_attn"), sizes.dim, sizes.heads),
            norm_attention: t.norm(&format!("{name}.norm1"), sizes.dim),
            feed_forward: FeedForward::new(t, name, sizes),
            norm_feed_forward: t.norm(&format!("{name}.norm2"), sizes.dim),
            pre_norm: sizes.pre_norm,
        }
    }

    /// `x [batch, tokens, dim]` with `positions [1 or batch, tokens, dim]`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        x: Tensor<3>,
        positions: Option<&Tensor<3>>,
        mask: &KeyMask,
    ) -> Tensor<3> {
        let x = residual(pass, &self.norm_attention, self.pre_norm, x, |x| {
            let placed = at(&x, positions);
            self.attention.forward(pass, placed.clone(), placed, x, mask)
        });
        residual(pass, &self.norm_feed_forward, self.pre_norm, x, |x| {
            self.feed_forward.forward(pass, x)
        })
    }
}

/// `tokens` through `layers` in turn, then through `norm`, where there is one.
pub(crate) fn through(
    pass: Pass<'_>,
    layers: &[EncoderLayer],
    norm: Option<&LayerNorm>,
    tokens: Tensor<3>,
    positions: Option<&Tensor<3>>,
    mask: &KeyMask,
) -> Tensor<3> {
    let step = |x, layer: &EncoderLayer| layer.forward(pass, x, positions, mask);
    let out = layers.iter().fold(tokens, step);
    match norm {
        Some(norm) => norm.forward(pass.w, out),
        None => out,
    }
}

/// Self-attention, attention to the encoder's output, then feed-forward.
#[derive(Debug, Clone)]
pub(crate) struct DecoderLayer {
    own: Attention,
    norm_own: LayerNorm,
    cross: Attention,
    norm_cross: LayerNorm,
    feed_forward: FeedForward,
    norm_feed_forward: LayerNorm,
    pre_norm: bool,
}

impl DecoderLayer {
    /// Lays out the layer's parameters under `name`.
    pub fn new(t: &mut ParamTable, name: &str, sizes: LayerSizes) -> Self {
        let (dim, heads) = (sizes.dim, sizes.heads);
        Self {
            own: Attention::new(t, &format!("{name}.self_attn"), dim, heads),
            norm_own: t.norm(&format!("{name}.norm1"), dim),
            cross: Attention::new(t, &format!("{name}.multihead_attn"), dim, heads),
            norm_cross: t.norm(&format!("{name}.norm2"), dim),
            feed_forward: FeedForward::new(t, name, sizes),
            norm_feed_forward: t.norm(&format!("{name}.norm3"), dim),
            pre_norm: sizes.pre_norm,
        }
    }

    /// `x` with its `queries` as positions, looking at `memory` with its positions `places`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        x: Tensor<3>,
        queries: Option<&Tensor<3>>,
        memory: &Tensor<3>,
        places: Option<&Tensor<3>>,
    ) -> Tensor<3> {
        let all = &KeyMask::All;
        let x = residual(pass, &self.norm_own, self.pre_norm, x, |x| {
            let placed = at(&x, queries);
            self.own.forward(pass, placed.clone(), placed, x, all)
        });
        let x = residual(pass, &self.norm_cross, self.pre_norm, x, |x| {
            self.cross.forward(pass, at(&x, queries), at(memory, places), memory.clone(), all)
        });
        residual(pass, &self.norm_feed_forward, self.pre_norm, x, |x| {
            self.feed_forward.forward(pass, x)
        })
    }
}

/// Sine positions of the cells of a map, half of `dim` for y and half for x, row-major; first
/// position 1, normalised to 2π, temperature 10,000, as in DETR and LeRobot's ACT:
/// `[height · width, dim]`.
pub(crate) fn sine_positions_2d(height: usize, width: usize, dim: usize) -> Vec<f32> {
    let half = dim / 2;
    let mut out = Vec::with_capacity(height * width * dim);
    let mut encode = |at: usize, n: usize| {
        let angle = (at + 1) as f64 / (n as f64 + 1e-6) * std::f64::consts::TAU;
        for i in 0..half {
            let frequency = 10_000f64.powf(2.0 * (i / 2) as f64 / half as f64);
            let value = angle / frequency;
            out.push(if i % 2 == 0 { value.sin() } else { value.cos() } as f32);
        }
    };
    for y in 0..height {
        for x in 0..width {
            encode(y, height);
            encode(x, width);
        }
    }
    out
}
