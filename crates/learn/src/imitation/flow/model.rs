//! The network: an encoder mixes the observation's tokens, and a decoder, looking at them, says the
//! velocity of a chunk on its path from noise to actions.

use burn::tensor::Tensor;

use super::config::FlowConfig;
use super::path::{ActionTokens, Chunk, FlowMatching};
use crate::error::Error;
use crate::imitation::tokens::Tokens;
use crate::imitation::transformer::{DecoderLayer, EncoderLayer, through};
use crate::imitation::{Inputs, Pass, Shape};
use crate::nn::{LayerNorm, Linear, ParamTable};
use crate::ops::{Activation, KeyMask};

/// Wavelengths of a time's features, as in π0.
const PERIODS: (f64, f64) = (0.004, 4.0);

/// The network's structure; its weights live in a flat vector ordered by [`FlowNet::table`].
#[derive(Debug, Clone)]
pub(crate) struct FlowNet {
    pub table: ParamTable,
    cfg: FlowConfig,
    tokens: Tokens,
    encoder: Vec<EncoderLayer>,
    encoder_norm: LayerNorm,
    actions: ActionTokens,
    positions: usize,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    head: Linear,
    action_dim: usize,
}

impl FlowNet {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &FlowConfig, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        let mut table = ParamTable::default();
        let t = &mut table;
        let (dim, sizes, action_dim) = (cfg.dim_model, cfg.layer_sizes(), shape.action_dim);
        let tokens = Tokens::new(t, &cfg.stem_sizes(), &cfg.vision_backbone, shape, 0)?;
        let encoder = (0..cfg.n_encoder_layers)
            .map(|i| EncoderLayer::new(t, &format!("model.encoder.layers.{i}"), sizes))
            .collect();
        let encoder_norm = t.norm("model.encoder.norm", dim);
        let actions = ActionTokens::new(t, action_dim, dim, PERIODS);
        let positions = t.embedding("model.decoder_pos_embed", cfg.chunk_size, dim);
        let decoder = (0..cfg.n_decoder_layers)
            .map(|i| DecoderLayer::new(t, &format!("model.decoder.layers.{i}"), sizes))
            .collect();
        let decoder_norm = t.norm("model.decoder.norm", dim);
        let head = t.linear("model.action_out_proj", dim, action_dim, 0.1);
        Ok(Self {
            table,
            cfg: cfg.clone(),
            tokens,
            encoder,
            encoder_norm,
            actions,
            positions,
            decoder,
            decoder_norm,
            head,
            action_dim,
        })
    }
}

impl FlowMatching for FlowNet {
    /// The observation's tokens, mixed.
    type Memory = Tensor<3>;

    fn chunk(&self) -> Chunk {
        Chunk {
            steps: self.cfg.chunk_size,
            width: self.action_dim,
            action_dim: self.action_dim,
            euler_steps: self.cfg.num_inference_steps,
            time_alpha: self.cfg.time_alpha,
        }
    }

    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Tensor<3> {
        let (tokens, positions) = self.tokens.forward(pass, inputs, Vec::new());
        let norm = Some(&self.encoder_norm);
        through(pass, &self.encoder, norm, tokens + positions, None, &KeyMask::All)
    }

    fn velocity(
        &self,
        pass: Pass<'_>,
        memory: &Tensor<3>,
        chunk: Tensor<3>,
        times: &[f32],
    ) -> Tensor<3> {
        let positions = pass.w.matrix(self.positions).clone().unsqueeze::<3>();
        let mut x = self.actions.embed(pass, chunk, times) + positions;
        for layer in &self.decoder {
            x = layer.forward(pass, x, None, memory, None);
        }
        let x = self.decoder_norm.forward(pass.w, x);
        self.head.forward(pass.w, x, Activation::None)
    }
}
