//! The network and its flow. At time `t` in (0, 1] a chunk is `t · noise + (1 − t) · actions`; the
//! network learns its velocity, `noise − actions`, and acting follows it from `t = 1` down to 0.

use burn::tensor::activation::silu;
use burn::tensor::{Tensor, TensorData};
use rand::Rng;

use super::config::FlowConfig;
use crate::error::Error;
use crate::imitation::tokens::Tokens;
use crate::imitation::transformer::{DecoderLayer, EncoderLayer, through};
use crate::imitation::{Demonstration, Inputs, Pass, Shape};
use crate::nn::{LayerNorm, Linear, ParamTable};
use crate::ops::{Activation, KeyMask};

/// Smallest time that training looks at, as in π0.
const FIRST_TIME: f64 = 0.001;
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
    /// Actions to tokens, then action and time to one token.
    action: Linear,
    moment: [Linear; 2],
    positions: usize,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    head: Linear,
    action_dim: usize,
}

/// Where a shard's chunks are looked at.
pub(crate) struct FlowDraws {
    /// Standard normal, as many as action values.
    pub noise: Vec<f32>,
    /// In (0, 1], one for each sample.
    pub times: Vec<f32>,
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
        let action = t.linear("model.action_in_proj", action_dim, dim, 1.0);
        let moment = [
            t.linear("model.action_time_mlp_in", 2 * dim, dim, 1.0),
            t.linear("model.action_time_mlp_out", dim, dim, 1.0),
        ];
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
            action,
            moment,
            positions,
            decoder,
            decoder_norm,
            head,
            action_dim,
        })
    }

    /// The observation's tokens, mixed.
    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Tensor<3> {
        let (tokens, positions) = self.tokens.forward(pass, inputs, Vec::new());
        let norm = Some(&self.encoder_norm);
        through(pass, &self.encoder, norm, tokens + positions, None, &KeyMask::All)
    }

    /// The velocity of `chunk [rows, chunk_size, action_dim]` at `times`, one for each row.
    fn velocity(
        &self,
        pass: Pass<'_>,
        memory: &Tensor<3>,
        chunk: Tensor<3>,
        times: &[f32],
    ) -> Tensor<3> {
        let [rows, steps, _] = chunk.dims();
        let dim = self.cfg.dim_model;
        let time = TensorData::new(time_features(times, dim, PERIODS), [rows, 1, dim]);
        let time = Tensor::<3>::from_data(time, pass.device).expand([rows, steps, dim]);
        let action = self.action.forward(pass.w, chunk, Activation::None);
        let both = Tensor::cat(vec![action, time], 2);
        let x = silu(self.moment[0].forward(pass.w, both, Activation::None));
        let positions = pass.w.matrix(self.positions).clone().unsqueeze::<3>();
        let mut x = self.moment[1].forward(pass.w, x, Activation::None) + positions;
        for layer in &self.decoder {
            x = layer.forward(pass, x, None, memory, None);
        }
        let x = self.decoder_norm.forward(pass.w, x);
        self.head.forward(pass.w, x, Activation::None)
    }

    /// A time for each of `rows`.
    pub fn draw_times(&self, rng: &mut impl Rng, rows: usize) -> Vec<f32> {
        (0..rows).map(|_| draw_time(rng, self.cfg.time_alpha)).collect()
    }

    /// The shard's part of the batch's loss, `[1]`: mean squared error of the velocity, over actions
    /// inside their episode.
    pub fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        draws: &FlowDraws,
    ) -> Tensor<1> {
        let width = self.cfg.chunk_size * self.action_dim;
        let shape = [wanted.rows, self.cfg.chunk_size, self.action_dim];
        let (mut noisy, mut velocity) = (Vec::new(), Vec::new());
        let rows = wanted.actions.chunks_exact(width).zip(draws.noise.chunks_exact(width));
        for ((actions, noise), t) in rows.zip(&draws.times) {
            noisy.extend(actions.iter().zip(noise).map(|(a, n)| t * n + (1.0 - t) * a));
            velocity.extend(actions.iter().zip(noise).map(|(a, n)| n - a));
        }
        let tensor =
            |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, shape), pass.device);
        let observed = self.observe(pass, inputs);
        let said = self.velocity(pass, &observed, tensor(noisy), &draws.times);
        let off = said - tensor(velocity);
        (off.clone() * off * wanted.weights(wanted.share.per_value, false, pass.device)).sum()
    }

    /// A chunk `[chunk_size, action_dim]` for one observation; `draw` fills a slice with standard
    /// normal numbers.
    pub fn predict(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        mut draw: impl FnMut(&mut [f32]),
    ) -> Vec<f32> {
        let observed = self.observe(pass, inputs);
        let mut chunk = vec![0.0; self.cfg.chunk_size * self.action_dim];
        draw(&mut chunk);
        let steps = self.cfg.num_inference_steps;
        for step in 0..steps {
            let t = 1.0 - step as f32 / steps as f32;
            let data = TensorData::new(chunk.clone(), [1, self.cfg.chunk_size, self.action_dim]);
            let at = Tensor::from_data(data, pass.device);
            let said = self.velocity(pass, &observed, at, &[t]).into_data();
            let said = said.as_slice::<f32>().expect("velocities are f32");
            chunk.iter_mut().zip(said).for_each(|(x, v)| *x -= v / steps as f32);
        }
        chunk
    }
}

/// A time of Beta(`alpha`, 1) by its inverse distribution function.
pub(crate) fn draw_time(rng: &mut impl Rng, alpha: f64) -> f32 {
    let beta = rng.random_range(0.0..1.0f64).powf(1.0 / alpha);
    (FIRST_TIME + (1.0 - FIRST_TIME) * beta) as f32
}

/// Sines, then cosines, of each time at wavelengths from shortest to longest, as in π0: `[rows, dim]`.
pub(crate) fn time_features(
    times: &[f32],
    dim: usize,
    (shortest, longest): (f64, f64),
) -> Vec<f32> {
    let half = dim / 2;
    let angle = |t: f32, i: usize| {
        let share = i as f64 / (half.max(2) - 1) as f64;
        let wavelength = shortest * (longest / shortest).powf(share);
        f64::from(t) / wavelength * std::f64::consts::TAU
    };
    let row = |t: &f32| {
        let sines = (0..half).map(|i| angle(*t, i).sin() as f32);
        let cosines = (0..half).map(|i| angle(*t, i).cos() as f32);
        sines.chain(cosines).collect::<Vec<_>>()
    };
    times.iter().flat_map(row).collect()
}
