//! VQ-BeT's network: of each observation a token for its picture and one for its state, then a token
//! that asks for the chunk of actions from there on; behind the present one, tokens that ask for the
//! chunks after it. What comes out of an asking token chooses a code of each codebook and, for the
//! codes drawn, how far the actions lie from what those stand for.
//!
//! Names and shapes of the parameters are LeRobot's (`vqbet.policy.…`, `vqbet.action_head.…`). A
//! backbone's batch normalisation keeps the statistics it was given, as in our Diffusion Policy.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use super::config::VqBetConfig;
use super::gpt::Gpt;
use super::vq::{LAYERS, Vq, host};
use crate::error::{Error, check};
use crate::imitation::vision::{BackboneNorm, KeypointEncoder, Stem};
use crate::imitation::{Demonstration, Inputs, Pass, Shape};
use crate::nn::{Init, Layout, Linear, ParamTable};
use crate::ops::Activation;

const GPT: &str = "vqbet.policy";
/// Exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002).
const GAMMA: f32 = 2.0;

/// What makes tokens of pictures.
#[derive(Debug, Clone)]
enum Vision {
    /// LeRobot's, of one camera.
    Backbone(Box<KeypointEncoder>, Linear),
    /// A small one for each camera.
    Stems(Vec<Stem>),
}

/// What chooses codes.
#[derive(Debug, Clone)]
enum Bins {
    /// All at once.
    Together(Linear),
    /// The second knowing the first.
    InTurn(Linear, Linear),
}

/// The network's structure; its weights lie as in [`VqBetNet::table`].
#[derive(Debug, Clone)]
pub(crate) struct VqBetNet {
    pub table: ParamTable,
    cfg: VqBetConfig,
    vision: Vision,
    state: Option<Linear>,
    env: Option<Linear>,
    asking: usize,
    gpt: Gpt,
    vq: Vq,
    bins: Bins,
    offsets: Linear,
    action_dim: usize,
}

/// What the network says about some chunks.
struct Said {
    /// `[n, layers, codes]`.
    logits: Tensor<3>,
    /// Chunks for codes drawn by them, `[n, action_chunk_size · action_dim]`.
    actions: Tensor<2>,
}

impl VqBetNet {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &VqBetConfig, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        let mut table = ParamTable::default();
        let t = &mut table;
        let dim = cfg.gpt_input_dim;
        let vision = vision(t, cfg, shape)?;
        let mut vector = |name: &str, n: Option<usize>| n.map(|n| t.linear(name, n, dim, 1.0));
        let state = vector("vqbet.state_projector.0", shape.state_dim);
        let env = vector("vqbet.env_projector.0", shape.env_dim);
        let seen = shape.cameras.len() + usize::from(state.is_some()) + usize::from(env.is_some());
        let tokens = cfg.n_obs_steps * (seen + 1) + cfg.n_action_pred_token - 1;
        let rule = format!("there are {tokens} tokens");
        check("gpt_block_size", cfg.gpt_block_size, tokens <= cfg.gpt_block_size, &rule)?;
        let asking = t.token("vqbet.action_token", dim);
        let gpt = Gpt::new(t, GPT, cfg);
        let width = cfg.action_chunk_size * shape.action_dim;
        let head = |part: &str| format!("vqbet.action_head.{part}");
        let before = t.specs.len();
        let vq = Vq::new(t, &head("vqvae_model"), cfg, width);
        let learned_first = before..t.specs.len();
        let (out, codes) = (cfg.gpt_output_dim, cfg.vqvae_n_embed);
        let bin = |t: &mut ParamTable, kind: &str, from, to| {
            t.linear(&head(&format!("map_to_cbet_preds_{kind}.0")), from, to, 1.0)
        };
        let bins = if cfg.sequentially_select {
            let first = bin(t, "primary_bin", out, codes);
            Bins::InTurn(first, bin(t, "secondary_bin", out + codes, codes))
        } else {
            Bins::Together(bin(t, "bin", out, LAYERS * codes))
        };
        let offsets = bin(t, "offset", out, LAYERS * codes * width);
        let chunks = (cfg.chunks(), cfg.action_chunk_size);
        let indices = "vqbet.select_target_actions_indices".to_owned();
        t.constant(indices, chunks, Layout::Indices, Init::Windows);
        if cfg.is_lerobots() {
            t.begin_like_pytorch(&[]);
            t.specs[asking].init = Init::Normal(1.0);
        }
        gpt.begin(t, GPT);
        for (i, spec) in t.specs.iter_mut().enumerate() {
            spec.phase = u8::from(!learned_first.contains(&i));
        }
        let (cfg, action_dim) = (cfg.clone(), shape.action_dim);
        Ok(Self { table, cfg, vision, state, env, asking, gpt, vq, bins, offsets, action_dim })
    }

    /// Numbers in [0, 1) that drawing codes for `rows` samples takes.
    pub fn draws(&self, rows: usize) -> usize {
        rows * self.cfg.chunks() * LAYERS
    }

    /// The same for one observation when acting.
    pub fn acting_draws(&self) -> usize {
        self.cfg.n_action_pred_token * LAYERS
    }

    /// Phase of the training that `weights` are in.
    pub fn phase(&self, weights: &[f32]) -> u8 {
        u8::from(self.vq.is_done_in(&self.table, weights))
    }

    /// What the first phase's codebooks get from the shard; nothing once that is over.
    pub fn tally(&self, pass: Pass<'_>, wanted: &Demonstration) -> Vec<f32> {
        match self.vq.is_done(pass) {
            true => Vec::new(),
            false => self.vq.tally(pass, self.chunks(&wanted.actions)),
        }
    }

    /// Moves the codebooks in `weights` by a batch's tally; after the `last` the first phase is over.
    pub fn settle(&self, tally: &[f32], last: bool, weights: &mut [f32]) {
        self.vq.settle(&self.table, tally, last, weights);
    }

    /// The chunks of each sample, one from each observation's action on, then those after the present
    /// one's: `[rows · chunks, action_chunk_size · action_dim]`.
    fn chunks(&self, actions: &[f32]) -> Vec<f32> {
        let width = self.cfg.action_chunk_size * self.action_dim;
        let (count, all) = (self.cfg.chunks(), self.cfg.chunks() - 1 + self.cfg.action_chunk_size);
        let mut chunks =
            Vec::with_capacity(actions.len() / all * count * self.cfg.action_chunk_size);
        for row in actions.chunks_exact(all * self.action_dim) {
            for first in 0..count {
                chunks.extend_from_slice(&row[first * self.action_dim..][..width]);
            }
        }
        chunks
    }

    /// What the transformer makes of the asking tokens from number `from` on:
    /// `[rows · (chunks − from), gpt_output_dim]`.
    fn features(&self, pass: Pass<'_>, inputs: &Inputs, from: usize) -> Tensor<2> {
        let (steps, dim) = (self.cfg.n_obs_steps, self.cfg.gpt_input_dim);
        let rows = inputs.rows(steps);
        let by_step = |x: Tensor<2>| x.reshape([rows, steps, 1, dim]);
        let mut tokens = Vec::new();
        for (i, image) in inputs.images.iter().enumerate() {
            tokens.extend(self.see(pass, i, image.clone()).map(by_step));
        }
        for (layer, vector) in [(&self.state, &inputs.state), (&self.env, &inputs.env)] {
            if let (Some(layer), Some(vector)) = (layer, vector) {
                let n = vector.dims()[1] / steps;
                let vector = vector.clone().reshape([rows * steps, n]);
                tokens.push(by_step(layer.forward(pass.w, vector, Activation::None)));
            }
        }
        let asking = pass.w.vector(self.asking).clone();
        tokens.push(asking.clone().reshape([1, 1, 1, dim]).expand([rows, steps, 1, dim]));
        let kinds = tokens.len();
        let mut all = Tensor::cat(tokens, 2).reshape([rows, steps * kinds, dim]);
        let more = self.cfg.n_action_pred_token - 1;
        if more > 0 {
            let asking = asking.reshape([1, 1, dim]).expand([rows, more, dim]);
            all = Tensor::cat(vec![all, asking], 1);
        }
        let out = self.gpt.forward(pass, all);
        let dim = self.cfg.gpt_hidden_dim;
        let seen = out.clone().slice([0..rows, 0..steps * kinds, 0..dim]);
        let seen = seen.reshape([rows, steps, kinds * dim]);
        let mut asked = seen.slice([0..rows, from..steps, (kinds - 1) * dim..kinds * dim]);
        if more > 0 {
            let rest = out.slice([0..rows, steps * kinds..steps * kinds + more, 0..dim]);
            asked = Tensor::cat(vec![asked, rest], 1);
        }
        let count = asked.dims()[1];
        self.gpt.leave(pass, asked.reshape([rows * count, dim]))
    }

    /// A token `[rows · steps, gpt_input_dim]` of camera `i`'s pictures.
    fn see(&self, pass: Pass<'_>, i: usize, image: Tensor<4>) -> Option<Tensor<2>> {
        match &self.vision {
            Vision::Backbone(net, project) => {
                let seen = net.forward(pass, image);
                Some(project.forward(pass.w, seen, Activation::None))
            }
            Vision::Stems(stems) => stems[i].forward(pass, image).0,
        }
    }

    /// Draws codes for `features [n, gpt_output_dim]` by `draws [n, layers]`, and gives their actions.
    fn say(&self, pass: Pass<'_>, features: Tensor<2>, draws: &[f32]) -> Said {
        let (n, count) = (features.dims()[0], self.cfg.vqvae_n_embed);
        let temperature = self.cfg.bet_softmax_temperature;
        let draw = |logits: &Tensor<2>, draws: &mut dyn Iterator<Item = f32>| -> Vec<usize> {
            let logits = host(logits.clone());
            logits
                .chunks_exact(count)
                .zip(draws)
                .map(|(l, u)| draw_code(l, temperature, u))
                .collect()
        };
        let (logits, codes) = match &self.bins {
            Bins::Together(bins) => {
                let logits = bins.forward(pass.w, features.clone(), Activation::None);
                let each = logits.clone().reshape([n * LAYERS, count]);
                let codes = draw(&each, &mut draws.iter().copied());
                (logits.reshape([n, LAYERS, count]), codes)
            }
            Bins::InTurn(first, second) => {
                let logits = first.forward(pass.w, features.clone(), Activation::None);
                let primary = draw(&logits, &mut draws.iter().copied().step_by(LAYERS));
                let known = self.one_hot(pass, &primary);
                let known = Tensor::cat(vec![features.clone(), known], 1);
                let others = second.forward(pass.w, known, Activation::None);
                let secondary = draw(&others, &mut draws.iter().copied().skip(1).step_by(LAYERS));
                let codes = primary.into_iter().zip(secondary).flat_map(|(a, b)| [a, b]);
                let both = Tensor::cat(vec![logits, others], 1).reshape([n, LAYERS, count]);
                (both, codes.collect())
            }
        };
        let width = self.cfg.action_chunk_size * self.action_dim;
        let offsets = self.offsets.forward(pass.w, features, Activation::None);
        let chosen = self.one_hot(pass, &codes).reshape([n, LAYERS * count, 1]);
        let offsets = (offsets.reshape([n, LAYERS * count, width]) * chosen).sum_dim(1);
        let actions = self.vq.decode(pass, &codes) + offsets.reshape([n, width]);
        Said { logits, actions }
    }

    /// 1 in the column of each code, 0 elsewhere.
    fn one_hot(&self, pass: Pass<'_>, codes: &[usize]) -> Tensor<2> {
        let count = self.cfg.vqvae_n_embed;
        let mut values = vec![0.0f32; codes.len() * count];
        codes.iter().enumerate().for_each(|(i, code)| values[i * count + code] = 1.0);
        Tensor::from_data(TensorData::new(values, [codes.len(), count]), pass.device)
    }

    /// The shard's part of the batch's loss, `[1]`. In the first phase the autoencoder's; then the focal
    /// loss of both codes and the mean absolute error of the actions for codes drawn by `draws`, one
    /// number in [0, 1) for each. Actions beyond the episode's end count like those before it, as in
    /// LeRobot.
    pub fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        draws: &[f32],
    ) -> Tensor<1> {
        let chunks = self.chunks(&wanted.actions);
        let share = wanted.share.per_row / self.cfg.chunks() as f32;
        if !self.vq.is_done(pass) {
            return self.vq.loss(pass, chunks, share);
        }
        let said = self.say(pass, self.features(pass, inputs, 0), draws);
        let [n, width] = said.actions.dims();
        let right = self.vq.codes(pass, chunks.clone());
        let right = self.one_hot(pass, &right).reshape([n, LAYERS, self.cfg.vqvae_n_embed]);
        let log_p = (log_softmax(said.logits, 2) * right).sum_dim(2);
        let focal = (-log_p.clone().exp() + 1.0).powf_scalar(GAMMA) * -log_p;
        let weights = [self.cfg.primary_code_loss_weight, self.cfg.secondary_code_loss_weight];
        let weights = weights.map(|w| w as f32 * share).to_vec();
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [1, LAYERS, 1]), pass.device);
        let chunks = Tensor::from_data(TensorData::new(chunks, [n, width]), pass.device);
        let off = (said.actions - chunks).abs().sum();
        let per_value = self.cfg.offset_loss_weight as f32 * share / width as f32;
        (focal * weights).sum() + off * per_value
    }

    /// Actions `[predicted, action_dim]` for one observation; `draw` gives numbers in [0, 1). Those of
    /// the past are zeros, the present chunk's follow, then the last one of each chunk after it.
    pub fn predict(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        mut draw: impl FnMut() -> f32,
    ) -> Vec<f32> {
        let draws: Vec<f32> = (0..self.acting_draws()).map(|_| draw()).collect();
        let past = self.cfg.n_obs_steps - 1;
        let said = self.say(pass, self.features(pass, inputs, past), &draws);
        let chunks = host(said.actions);
        let mut actions = vec![0.0; past * self.action_dim];
        let width = self.cfg.action_chunk_size * self.action_dim;
        for (i, chunk) in chunks.chunks_exact(width).enumerate() {
            actions.extend_from_slice(if i == 0 {
                chunk
            } else {
                &chunk[width - self.action_dim..]
            });
        }
        actions
    }

    /// The codes of the demonstrated chunks `[rows · chunks, layers]`, as LeRobot's test compares them.
    #[cfg(test)]
    pub fn codes(&self, pass: Pass<'_>, wanted: &Demonstration) -> Vec<usize> {
        self.vq.codes(pass, self.chunks(&wanted.actions))
    }
}

/// The code on which `u` in [0, 1) falls where each is as likely as exp(logit / temperature).
fn draw_code(logits: &[f32], temperature: f64, u: f32) -> usize {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let likely = |l: &f32| (f64::from(l - top) / temperature).exp();
    let mut left = f64::from(u) * logits.iter().map(likely).sum::<f64>();
    let falls = |l: &f32| {
        left -= likely(l);
        left < 0.0
    };
    logits.iter().position(falls).unwrap_or(logits.len() - 1)
}

/// Lays out what sees.
fn vision(t: &mut ParamTable, cfg: &VqBetConfig, shape: &Shape) -> Result<Vision, Error> {
    let name = "vqbet.rgb_encoder";
    if !cfg.stem.is_empty() {
        let any = !shape.cameras.is_empty() || shape.state_dim.is_some() || shape.env_dim.is_some();
        check("inputs", "empty", any, "it wants a camera or a state")?;
        let sizes = cfg.stem_sizes();
        let each = |(camera, height, width): &(String, usize, usize)| {
            Stem::new(t, &sizes, &format!("{name}.{camera}"), (*height, *width))
        };
        return Ok(Vision::Stems(shape.cameras.iter().map(each).collect::<Result<_, _>>()?));
    }
    let ([(_, height, width)], Some(_), None) =
        (&shape.cameras[..], shape.state_dim, shape.env_dim)
    else {
        let rule = "without a stem it wants one camera and the robot's state; take `vqbet-small`";
        check("inputs", format!("{} cameras", shape.cameras.len()), false, rule)?;
        return Ok(Vision::Stems(Vec::new()));
    };
    let norm = if cfg.use_group_norm { BackboneNorm::Group } else { BackboneNorm::Batch };
    let kind = (cfg.vision_backbone.as_str(), norm);
    let points = cfg.spatial_softmax_num_keypoints;
    let net = KeypointEncoder::new(t, name, kind, (*height, *width), points)?;
    let project = t.linear("vqbet.rgb_feature_projector.0", 2 * points, cfg.gpt_input_dim, 1.0);
    Ok(Vision::Backbone(Box::new(net), project))
}
