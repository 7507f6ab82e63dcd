//! The vision tower of SigLIP (Zhai et al. 2023, arXiv:2303.15343): a transformer over patches.
//!
//! Names and shapes of the parameters are those of Hugging Face's `SiglipVisionModel`. Learned positions
//! belong to the pictures that it was trained on; pictures of another size share them as SmolVLM does
//! (NaViT, arXiv:2307.06304): a patch takes the position of the cell that its corner falls into.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Int, Tensor, TensorData};

use crate::imitation::Pass;
use crate::nn::{Conv, LayerNorm, Linear, ParamTable};
use crate::ops::{self, Activation, ConvGeometry, KeyMask};

/// SigLIP's, in `LayerNorm`.
const EPS: f64 = 1e-6;

/// Sizes of the tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct VisionSizes {
    pub dim: usize,
    pub ff_dim: usize,
    pub layers: usize,
    pub heads: usize,
    /// Side of the pictures that the positions belong to, pixels.
    pub image_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
}

#[derive(Debug, Clone)]
struct VisionLayer {
    norm_attention: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm_mlp: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl VisionLayer {
    fn new(t: &mut ParamTable, name: &str, sizes: VisionSizes) -> Self {
        let (dim, ff_dim) = (sizes.dim, sizes.ff_dim);
        let square = |t: &mut ParamTable, part: &str| {
            t.linear(&format!("{name}.self_attn.{part}"), dim, dim, 1.0)
        };
        Self {
            norm_attention: t.norm(&format!("{name}.layer_norm1"), dim),
            q: square(t, "q_proj"),
            k: square(t, "k_proj"),
            v: square(t, "v_proj"),
            out: square(t, "out_proj"),
            norm_mlp: t.norm(&format!("{name}.layer_norm2"), dim),
            up: t.linear(&format!("{name}.mlp.fc1"), dim, ff_dim, 1.0),
            down: t.linear(&format!("{name}.mlp.fc2"), ff_dim, dim, 1.0),
            heads: sizes.heads,
        }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let linear = |layer: &Linear, x: Tensor<3>| layer.forward(pass.w, x, Activation::None);
        let normed = self.norm_attention.with_eps(pass.w, x.clone(), EPS);
        let kv = vec![linear(&self.k, normed.clone()), linear(&self.v, normed.clone())];
        let q = linear(&self.q, normed);
        let seen = ops::attention(q, Tensor::cat(kv, 2), self.heads, &KeyMask::All, None);
        let x = x + linear(&self.out, seen);
        let normed = self.norm_mlp.with_eps(pass.w, x.clone(), EPS);
        x + linear(&self.down, gelu_tanh(linear(&self.up, normed)))
    }
}

/// The structure.
#[derive(Debug, Clone)]
pub(crate) struct VisionTower {
    patches: Conv,
    positions: usize,
    /// Row of `positions` for each patch.
    at: Vec<i32>,
    layers: Vec<VisionLayer>,
    norm: LayerNorm,
    dim: usize,
}

impl VisionTower {
    /// Lays out the tower under `name` for pictures of the size that its positions belong to.
    pub fn plain(t: &mut ParamTable, name: &str, sizes: VisionSizes) -> Self {
        let cells = sizes.image_size / sizes.patch_size;
        let at = (0..cells * cells).map(|i| i as i32).collect();
        Self { at, ..Self::new(t, name, sizes, sizes.image_size) }
    }

    /// Lays out the tower under `name` for pictures of `side × side` pixels.
    pub fn new(t: &mut ParamTable, name: &str, sizes: VisionSizes, side: usize) -> Self {
        let embeddings = format!("{name}.embeddings");
        let geometry = ConvGeometry {
            height: side,
            width: side,
            channels: 3,
            kernel: sizes.patch_size,
            stride: sizes.patch_size,
            padding: 0,
            out_channels: sizes.dim,
        };
        let patches = t.conv(&format!("{embeddings}.patch_embedding"), geometry);
        let cells = sizes.image_size / sizes.patch_size;
        let table = format!("{embeddings}.position_embedding");
        let positions = t.embedding(&table, cells * cells, sizes.dim);
        let layer = |i| format!("{name}.encoder.layers.{i}");
        let layers = (0..sizes.layers).map(|i| VisionLayer::new(t, &layer(i), sizes)).collect();
        let norm = t.norm(&format!("{name}.post_layernorm"), sizes.dim);
        let at = cells_of(side / sizes.patch_size, cells);
        Self { patches, positions, at, layers, norm, dim: sizes.dim }
    }

    /// Pictures `[n, side, side, 3]` in [-1, 1] as tokens `[n, patches, dim]`.
    pub fn forward(&self, pass: Pass<'_>, pictures: Tensor<4>) -> Tensor<3> {
        let n = pictures.dims()[0];
        let patches = self.patches.forward(pass.w, pictures, Activation::None);
        let at = TensorData::new(self.at.clone(), [self.at.len()]);
        let at = Tensor::<1, Int>::from_data(at, pass.device);
        let positions = pass.w.matrix(self.positions).clone().select(0, at).unsqueeze::<3>();
        let tokens = patches.reshape([n, self.at.len(), self.dim]) + positions;
        let tokens = self.layers.iter().fold(tokens, |x, layer| layer.forward(pass, x));
        self.norm.with_eps(pass.w, tokens, EPS)
    }
}

/// The cell of a grid of `cells × cells` for each patch of one of `patches × patches`, row by row. In
/// f32 as SmolVLM computes it, whose rounding decides between neighbours.
fn cells_of(patches: usize, cells: usize) -> Vec<i32> {
    let step = 1.0 / cells as f64;
    let bounds: Vec<f32> = (1..cells).map(|i| (step + (i - 1) as f64 * step) as f32).collect();
    let along: Vec<usize> = (0..patches)
        .map(|i| (i as f32 * (1.0 / patches as f32)).min(1.0 - 1e-6))
        .map(|at| bounds.iter().filter(|bound| **bound <= at).count())
        .collect();
    let cell = |(y, x): (usize, usize)| (along[y] * cells + along[x]) as i32;
    (0..patches).flat_map(|y| (0..patches).map(move |x| (y, x))).map(cell).collect()
}

/// GELU by its hyperbolic tangent: `x · σ(√(8/π) · (x + 0.044715 x³))`.
pub(crate) fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    let scale = (8.0 / std::f64::consts::PI).sqrt();
    let inner = (x.clone() * x.clone() * (scale * 0.044_715) + scale) * x.clone();
    x * sigmoid(inner)
}
