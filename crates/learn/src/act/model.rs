//! The network: stem per camera → tokens → encoder → chunk queries → actions.
//!
//! Pre-norm transformer; all inputs and outputs are normalised. Parameter names follow LeRobot's ACT
//! (`model.encoder.layers.0.…`, `model.decoder_pos_embed.weight`, `model.action_head.weight`).

use std::cell::RefCell;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{ActConfig, check};
use crate::error::Error;
use crate::nn::{Conv, LayerNorm, Linear, ParamTable, Weights};
use crate::ops::{self, Activation, ConvGeometry};

/// Sizes that come from the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActShape {
    /// Name (last part of the key), height and width of each camera's pictures.
    pub cameras: Vec<(String, usize, usize)>,
    pub state_dim: usize,
    pub action_dim: usize,
}

/// Random dropping of features while training: a stream of its own per shard.
pub(crate) struct Dropout {
    share: f32,
    rng: RefCell<ChaCha8Rng>,
}

impl Dropout {
    /// Drops `share` of the features, by the stream of `seed`.
    pub fn new(share: f32, seed: u64) -> Self {
        Self { share, rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// `x` with features set to 0 and the rest scaled up to keep the mean.
    fn drop<const D: usize>(this: Option<&Self>, x: Tensor<D>) -> Tensor<D> {
        let Some(this) = this.filter(|d| d.share > 0.0) else { return x };
        let shape = x.dims();
        let kept = 1.0 / (1.0 - this.share);
        let limit = (f64::from(this.share) * 65_536.0) as u16;
        let mut noise = vec![0u8; 2 * shape.iter().product::<usize>()];
        this.rng.borrow_mut().fill_bytes(&mut noise);
        let (pairs, _) = noise.as_chunks::<2>();
        let keep = |pair: &[u8; 2]| if u16::from_le_bytes(*pair) < limit { 0.0 } else { kept };
        let mask: Vec<f32> = pairs.iter().map(keep).collect();
        let mask = Tensor::<D>::from_data(TensorData::new(mask, shape), &x.device().inner());
        x * mask
    }
}

/// Normalised inputs of a batch.
pub(crate) struct ActInputs {
    /// `[batch, height, width, 3]` per camera.
    pub images: Vec<Tensor<4>>,
    /// `[batch, state_dim]`.
    pub state: Tensor<2>,
}

#[derive(Debug, Clone)]
struct Camera {
    stem: Vec<Conv>,
    /// 1 × 1 convolution to one channel per key point, then points to a token.
    keypoints: Option<(Linear, Linear)>,
    keypoint_after: usize,
    map: Option<Linear>,
    /// 2-D sine positions `[cells, dim]`.
    positions: Vec<f32>,
    cells: usize,
}

#[derive(Debug, Clone)]
struct Attention {
    q: Linear,
    kv: Linear,
    out: Linear,
}

#[derive(Debug, Clone)]
struct FeedForward {
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Debug, Clone)]
struct EncoderLayer {
    norm: LayerNorm,
    attention: Attention,
    feed_forward: FeedForward,
}

#[derive(Debug, Clone)]
struct DecoderLayer {
    own: Attention,
    norm_own: LayerNorm,
    cross: Attention,
    norm_cross: LayerNorm,
    feed_forward: FeedForward,
}

/// The network's structure; its weights live in a flat vector ordered by [`ActNet::table`].
#[derive(Debug, Clone)]
pub(crate) struct ActNet {
    pub table: ParamTable,
    cameras: Vec<Camera>,
    state: Linear,
    /// One learned vector per single token (state, key points) and per camera's map.
    kinds: usize,
    encoder: Vec<EncoderLayer>,
    encoder_norm: LayerNorm,
    queries: usize,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    head: Linear,
    linear_path: Option<Linear>,
    cfg: ActConfig,
}

impl ActNet {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &ActConfig, shape: &ActShape) -> Result<Self, Error> {
        cfg.validate()?;
        let mut table = ParamTable::default();
        let mut cameras = Vec::new();
        for (name, height, width) in &shape.cameras {
            cameras.push(Camera::new(&mut table, cfg, name, *height, *width)?);
        }
        let t = &mut table;
        let dim = cfg.dim;
        let state = t.linear("model.encoder_robot_state_input_proj", shape.state_dim, dim, 1.0);
        let kinds = t.embedding("model.encoder_1d_feature_pos_embed", 1 + 2 * cameras.len(), dim);
        let encoder = (0..cfg.encoder_layers)
            .map(|i| EncoderLayer::new(t, &format!("model.encoder.layers.{i}"), cfg))
            .collect();
        let encoder_norm = t.norm("model.encoder.norm", dim);
        let queries = t.embedding("model.decoder_pos_embed", cfg.chunk_size, dim);
        let decoder = (0..cfg.decoder_layers)
            .map(|i| DecoderLayer::new(t, &format!("model.decoder.layers.{i}"), cfg))
            .collect();
        let decoder_norm = t.norm("model.decoder.norm", dim);
        let head = t.linear("model.action_head", dim, shape.action_dim, 0.1);
        let chunk = cfg.chunk_size * shape.action_dim;
        let linear_path =
            cfg.linear_path.then(|| t.linear("model.linear_path", shape.state_dim, chunk, 0.0));
        Ok(Self {
            table,
            cameras,
            state,
            kinds,
            encoder,
            encoder_norm,
            queries,
            decoder,
            decoder_norm,
            head,
            linear_path,
            cfg: cfg.clone(),
        })
    }

    /// The settings it was laid out for.
    pub fn config(&self) -> &ActConfig {
        &self.cfg
    }

    /// Normalised actions `[batch, chunk_size, action_dim]`.
    pub fn forward(
        &self,
        w: &Weights,
        inputs: &ActInputs,
        dropout: Option<&Dropout>,
        device: &Device,
    ) -> Tensor<3> {
        let [batch, _] = inputs.state.dims();
        let dim = self.cfg.dim;
        let kinds = w.matrix(self.kinds);
        let kind = |i: usize| kinds.clone().slice([i..i + 1, 0..dim]).unsqueeze::<3>();
        let state = self.state.forward(w, inputs.state.clone(), Activation::None);
        let mut tokens = vec![state.reshape([batch, 1, dim]) + kind(0)];
        for (i, (camera, image)) in self.cameras.iter().zip(&inputs.images).enumerate() {
            let (points, map) = camera.forward(w, image.clone());
            if let Some(points) = points {
                let points = Dropout::drop(dropout, points.reshape([batch, 1, dim]));
                tokens.push(points + kind(1 + 2 * i));
            }
            if let Some(map) = map {
                let data = TensorData::new(camera.positions.clone(), [1, camera.cells, dim]);
                let positions = Tensor::<3>::from_data(data, device);
                tokens.push(Dropout::drop(dropout, map) + (positions + kind(2 + 2 * i)));
            }
        }
        let mut memory = Tensor::cat(tokens, 1);
        for layer in &self.encoder {
            memory = layer.forward(w, memory, self.cfg.heads, dropout);
        }
        let memory = self.encoder_norm.forward(w, memory);
        let queries = w.matrix(self.queries).clone().unsqueeze::<3>();
        let mut x = queries.expand([batch, self.cfg.chunk_size, dim]);
        for layer in &self.decoder {
            x = layer.forward(w, x, memory.clone(), self.cfg.heads, dropout);
        }
        let x = self.decoder_norm.forward(w, x);
        let actions = self.head.forward(w, x, Activation::None);
        let Some(path) = self.linear_path else { return actions };
        let shape = actions.dims();
        actions + path.forward(w, inputs.state.clone(), Activation::None).reshape(shape)
    }
}

impl Camera {
    fn new(
        t: &mut ParamTable,
        cfg: &ActConfig,
        name: &str,
        height: usize,
        width: usize,
    ) -> Result<Self, Error> {
        let (mut h, mut w, mut channels) = (height, width, 3);
        let mut stem: Vec<Conv> = Vec::new();
        for (i, layer) in cfg.stem.iter().enumerate() {
            let geometry = ConvGeometry {
                height: h,
                width: w,
                channels,
                kernel: layer.kernel,
                stride: layer.stride,
                padding: (layer.kernel - 1) / 2,
                out_channels: layer.channels,
            };
            let fits = layer.kernel <= h.min(w) + 2 * geometry.padding;
            check("stem", format!("{layer:?}"), fits, "the kernel is larger than its input")?;
            stem.push(t.conv(&format!("model.backbone.{name}.conv{i}"), geometry));
            (h, w) = geometry.output();
            channels = layer.channels;
        }
        let prefix = format!("model.backbone.{name}");
        let keypoints = (cfg.keypoints > 0).then(|| {
            let from = stem[cfg.keypoint_layer - 1].geometry.out_channels;
            (
                t.linear(&format!("{prefix}.keypoints"), from, cfg.keypoints, 1.0),
                t.linear(&format!("{prefix}.keypoint_proj"), 2 * cfg.keypoints, cfg.dim, 1.0),
            )
        });
        let map = cfg.map_tokens.then(|| {
            t.linear(&format!("{prefix}.encoder_img_feat_input_proj"), channels, cfg.dim, 1.0)
        });
        let (cells, positions) = (h * w, sine_positions(h, w, cfg.dim));
        Ok(Self { stem, keypoints, keypoint_after: cfg.keypoint_layer, map, positions, cells })
    }

    /// A token of key points `[batch, dim]` and tokens of the map `[batch, cells, dim]`.
    fn forward(&self, w: &Weights, image: Tensor<4>) -> (Option<Tensor<2>>, Option<Tensor<3>>) {
        let [batch, ..] = image.dims();
        let mut x = image;
        let mut points = None;
        for (i, conv) in self.stem.iter().enumerate() {
            if self.map.is_none() && i >= self.keypoint_after {
                break;
            }
            x = conv.forward(w, x);
            if let Some((maps, proj)) = &self.keypoints
                && self.keypoint_after == i + 1
            {
                let at = ops::spatial_softmax(maps.forward(w, x.clone(), Activation::None));
                points = Some(proj.forward(w, at, Activation::None));
            }
        }
        let map = self.map.as_ref().map(|map| {
            let [_, h, width, c] = x.dims();
            map.forward(w, x.reshape([batch, h * width, c]), Activation::None)
        });
        (points, map)
    }
}

/// Sine positions of the cells of a map, half of `dim` for y and half for x, row-major; first
/// position 1, normalised to 2π, temperature 10,000, as in DETR and LeRobot's ACT.
fn sine_positions(height: usize, width: usize, dim: usize) -> Vec<f32> {
    let half = dim / 2;
    let mut out = Vec::with_capacity(height * width * dim);
    let mut encode = |at: usize, n: usize| {
        let angle = (at + 1) as f64 / n as f64 * std::f64::consts::TAU;
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

impl Attention {
    fn new(t: &mut ParamTable, name: &str, dim: usize) -> Self {
        Self {
            q: t.linear(&format!("{name}.q_proj"), dim, dim, 1.0),
            kv: t.linear(&format!("{name}.kv_proj"), dim, 2 * dim, 1.0),
            out: t.linear(&format!("{name}.out_proj"), dim, dim, 1.0),
        }
    }

    fn forward(&self, w: &Weights, q: Tensor<3>, kv: Tensor<3>, heads: usize) -> Tensor<3> {
        let q = self.q.forward(w, q, Activation::None);
        let kv = self.kv.forward(w, kv, Activation::None);
        self.out.forward(w, ops::attention(q, kv, heads), Activation::None)
    }
}

impl FeedForward {
    fn new(t: &mut ParamTable, layer: &str, norm: &str, cfg: &ActConfig) -> Self {
        Self {
            norm: t.norm(&format!("{layer}.{norm}"), cfg.dim),
            up: t.linear(&format!("{layer}.linear1"), cfg.dim, cfg.ff_dim, 1.0),
            down: t.linear(&format!("{layer}.linear2"), cfg.ff_dim, cfg.dim, 1.0),
        }
    }

    fn forward(&self, w: &Weights, x: Tensor<3>) -> Tensor<3> {
        let hidden = self.up.forward(w, self.norm.forward(w, x), Activation::Relu);
        self.down.forward(w, hidden, Activation::None)
    }
}

impl EncoderLayer {
    fn new(t: &mut ParamTable, name: &str, cfg: &ActConfig) -> Self {
        Self {
            norm: t.norm(&format!("{name}.norm1"), cfg.dim),
            attention: Attention::new(t, &format!("{name}.self_attn"), cfg.dim),
            feed_forward: FeedForward::new(t, name, "norm2", cfg),
        }
    }

    fn forward(
        &self,
        w: &Weights,
        x: Tensor<3>,
        heads: usize,
        dropout: Option<&Dropout>,
    ) -> Tensor<3> {
        let drop = |x| Dropout::drop(dropout, x);
        let normed = self.norm.forward(w, x.clone());
        let x = x + drop(self.attention.forward(w, normed.clone(), normed, heads));
        x.clone() + drop(self.feed_forward.forward(w, x))
    }
}

impl DecoderLayer {
    fn new(t: &mut ParamTable, name: &str, cfg: &ActConfig) -> Self {
        Self {
            norm_own: t.norm(&format!("{name}.norm1"), cfg.dim),
            own: Attention::new(t, &format!("{name}.self_attn"), cfg.dim),
            norm_cross: t.norm(&format!("{name}.norm2"), cfg.dim),
            cross: Attention::new(t, &format!("{name}.multihead_attn"), cfg.dim),
            feed_forward: FeedForward::new(t, name, "norm3", cfg),
        }
    }

    fn forward(
        &self,
        w: &Weights,
        x: Tensor<3>,
        memory: Tensor<3>,
        heads: usize,
        dropout: Option<&Dropout>,
    ) -> Tensor<3> {
        let drop = |x| Dropout::drop(dropout, x);
        let normed = self.norm_own.forward(w, x.clone());
        let x = x + drop(self.own.forward(w, normed.clone(), normed, heads));
        let normed = self.norm_cross.forward(w, x.clone());
        let x = x + drop(self.cross.forward(w, normed, memory, heads));
        x.clone() + drop(self.feed_forward.forward(w, x))
    }
}
