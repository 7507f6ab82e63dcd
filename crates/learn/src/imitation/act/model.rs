//! ACT's network: cameras, state and a latent become tokens; an encoder mixes them, a decoder turns
//! one learned query per future action into that action. In training a second encoder (the VAE's)
//! compresses the demonstrated actions into the latent; when acting the latent is zero.
//!
//! Names and shapes of the parameters are LeRobot's (`model.vae_encoder.layers.0.…`,
//! `model.backbone.layer1.…`, `model.action_head.weight`). What LeRobot does not have, a stem per
//! camera, key points and a linear path, is added under names of our own and only where asked for.

use burn::tensor::Tensor;

use super::config::ActConfig;
use crate::error::Error;
use crate::imitation::tokens::Tokens;
use crate::imitation::transformer::{DecoderLayer, EncoderLayer, through};
use crate::imitation::{Demonstration, Inputs, Pass, Shape};
use crate::nn::{LayerNorm, Linear, ParamTable};
use crate::ops::{Activation, KeyMask};

/// The encoder of demonstrated actions.
#[derive(Debug, Clone)]
struct Vae {
    layers: Vec<EncoderLayer>,
    norm: Option<LayerNorm>,
    cls: usize,
    state: Option<Linear>,
    action: Linear,
    out: Linear,
    positions: usize,
}

/// The network's structure; its weights live in a flat vector ordered by [`ActNet::table`].
#[derive(Debug, Clone)]
pub(crate) struct ActNet {
    pub table: ParamTable,
    cfg: ActConfig,
    vae: Option<Vae>,
    latent: Linear,
    tokens: Tokens,
    encoder: Vec<EncoderLayer>,
    encoder_norm: Option<LayerNorm>,
    queries: usize,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    head: Linear,
    linear_path: Option<Linear>,
}

impl Vae {
    fn new(t: &mut ParamTable, cfg: &ActConfig, shape: &Shape) -> Self {
        let (prefix, dim) = ("model.vae_encoder", cfg.dim);
        let state = shape
            .state_dim
            .map(|n| t.linear("model.vae_encoder_robot_state_input_proj", n, dim, 1.0));
        let tokens = 1 + usize::from(state.is_some()) + cfg.chunk_size;
        let latent = "model.vae_encoder_latent_output_proj";
        Self {
            layers: encoder_layers(t, prefix, cfg.n_vae_encoder_layers, cfg),
            norm: cfg.pre_norm.then(|| t.norm(&format!("{prefix}.norm"), dim)),
            cls: t.embedding("model.vae_encoder_cls_embed", 1, dim),
            state,
            action: t.linear("model.vae_encoder_action_input_proj", shape.action_dim, dim, 1.0),
            out: t.linear(latent, dim, 2 * cfg.latent_dim, 1.0),
            positions: t.sine_table("model.vae_encoder_pos_enc", tokens, dim),
        }
    }
}

fn encoder_layers(
    t: &mut ParamTable,
    prefix: &str,
    count: usize,
    cfg: &ActConfig,
) -> Vec<EncoderLayer> {
    let name = |i| format!("{prefix}.layers.{i}");
    (0..count).map(|i| EncoderLayer::new(t, &name(i), cfg.layer_sizes())).collect()
}

impl ActNet {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &ActConfig, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        let mut table = ParamTable::default();
        let t = &mut table;
        let dim = cfg.dim;
        let vae = cfg.use_vae.then(|| Vae::new(t, cfg, shape));
        let latent = t.linear("model.encoder_latent_input_proj", cfg.latent_dim, dim, 1.0);
        let tokens = Tokens::new(t, &cfg.stem_sizes(), &cfg.vision_backbone, shape, 1)?;
        let encoder = encoder_layers(t, "model.encoder", cfg.encoder_layers, cfg);
        let encoder_norm = cfg.pre_norm.then(|| t.norm("model.encoder.norm", dim));
        let queries = t.embedding("model.decoder_pos_embed", cfg.chunk_size, dim);
        let layer = |i| format!("model.decoder.layers.{i}");
        let decoder = (0..cfg.decoder_layers)
            .map(|i| DecoderLayer::new(t, &layer(i), cfg.layer_sizes()))
            .collect();
        let decoder_norm = t.norm("model.decoder.norm", dim);
        let head = t.linear("model.action_head", dim, shape.action_dim, 0.1);
        let chunk = cfg.chunk_size * shape.action_dim;
        let path = |n| t.linear("model.linear_path", n, chunk, 0.0);
        let linear_path = shape.state_dim.filter(|_| cfg.linear_path).map(path);
        if cfg.is_lerobots() {
            table.begin_like_pytorch(&["model.encoder.", "model.decoder."]);
        }
        Ok(Self {
            table,
            cfg: cfg.clone(),
            vae,
            latent,
            tokens,
            encoder,
            encoder_norm,
            queries,
            decoder,
            decoder_norm,
            head,
            linear_path,
        })
    }

    /// The settings it was laid out for.
    pub fn config(&self) -> &ActConfig {
        &self.cfg
    }

    /// Mean and logarithm of the variance of the latent `[batch, latent_dim]` for demonstrated
    /// actions; `None` without a VAE.
    pub fn encode(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
    ) -> Option<(Tensor<2>, Tensor<2>)> {
        let vae = self.vae.as_ref()?;
        let (batch, chunk, dim) = (wanted.rows, self.cfg.chunk_size, self.cfg.dim);
        let cls = pass.w.matrix(vae.cls).clone().unsqueeze::<3>();
        let mut tokens = vec![cls.expand([batch, 1, dim])];
        if let (Some(layer), Some(state)) = (&vae.state, &inputs.state) {
            let token = layer.forward(pass.w, state.clone(), Activation::None);
            tokens.push(token.reshape([batch, 1, dim]));
        }
        let before = tokens.len();
        tokens.push(vae.action.forward(pass.w, wanted.tensor(pass.device), Activation::None));
        let seen = |row: &[bool]| [vec![true; before], row.to_vec()].concat();
        let kept: Vec<bool> = wanted.kept.chunks_exact(chunk).flat_map(seen).collect();
        let mask = KeyMask::Only(kept.into());
        let positions = pass.w.matrix(vae.positions).clone().unsqueeze::<3>();
        let tokens = Tensor::cat(tokens, 1);
        let out = through(pass, &vae.layers, vae.norm.as_ref(), tokens, Some(&positions), &mask);
        let first = out.slice([0..batch, 0..1, 0..dim]).reshape([batch, dim]);
        let n = self.cfg.latent_dim;
        let latent = vae.out.forward(pass.w, first, Activation::None);
        let mean = latent.clone().slice([0..batch, 0..n]);
        Some((mean, latent.slice([0..batch, n..2 * n])))
    }

    /// Normalised actions `[batch, chunk_size, action_dim]`; no `latent` stands for zeros.
    pub fn forward(&self, pass: Pass<'_>, inputs: &Inputs, latent: Option<Tensor<2>>) -> Tensor<3> {
        let (batch, dim) = (inputs.rows(1), self.cfg.dim);
        let none = || Tensor::zeros([batch, self.cfg.latent_dim], pass.device);
        let latent = self.latent.forward(pass.w, latent.unwrap_or_else(none), Activation::None);
        let (mut tokens, positions) = self.tokens.forward(pass, inputs, vec![latent]);
        let queries = pass.w.matrix(self.queries).clone().unsqueeze::<3>();
        let shape = [batch, self.cfg.chunk_size, dim];
        let (mut x, places, asked) = if self.cfg.placed_tokens {
            tokens = tokens + positions.clone();
            (queries.clone().expand(shape), None, None)
        } else {
            (Tensor::zeros(shape, pass.device), Some(&positions), Some(&queries))
        };
        let norm = self.encoder_norm.as_ref();
        let memory = through(pass, &self.encoder, norm, tokens, places, &KeyMask::All);
        for layer in &self.decoder {
            x = layer.forward(pass, x, asked, &memory, places);
        }
        let x = self.decoder_norm.forward(pass.w, x);
        let actions = self.head.forward(pass.w, x, Activation::None);
        let (Some(path), Some(state)) = (self.linear_path, &inputs.state) else { return actions };
        let shape = actions.dims();
        actions + path.forward(pass.w, state.clone(), Activation::None).reshape(shape)
    }
}
