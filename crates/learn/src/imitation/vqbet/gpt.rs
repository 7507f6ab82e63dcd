//! The transformer over observations and action tokens: GPT-2's (Radford et al. 2019) by way of nanoGPT,
//! as LeRobot's VQ-BeT has it. Each token sees itself and those before it.
//!
//! Names and shapes of the parameters are LeRobot's (`vqbet.policy.transformer.h.0.attn.c_attn.weight`).

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;

use super::config::VqBetConfig;
use crate::imitation::Pass;
use crate::nn::{Init, LayerNorm, Layout, Linear, ParamTable};
use crate::ops::{self, Activation, KeyMask};

/// Attention, then feed-forward, both normalised before.
#[derive(Debug, Clone)]
struct Block {
    norm_attention: LayerNorm,
    /// Queries, keys and values side by side.
    project: Linear,
    gather: Linear,
    norm_feed_forward: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Block {
    fn new(t: &mut ParamTable, name: &str, cfg: &VqBetConfig) -> Self {
        let (dim, block) = (cfg.gpt_hidden_dim, cfg.gpt_block_size);
        // A checkpoint holds which tokens each one sees; it is always the same.
        let mask = format!("{name}.attn.bias");
        t.constant(mask, (block, block), Layout::Batched { axes: 2 }, Init::LowerTriangle);
        Self {
            norm_attention: t.norm(&format!("{name}.ln_1"), dim),
            project: t.linear(&format!("{name}.attn.c_attn"), dim, 3 * dim, 1.0),
            gather: t.linear(&format!("{name}.attn.c_proj"), dim, dim, 1.0),
            norm_feed_forward: t.norm(&format!("{name}.ln_2"), dim),
            up: t.linear(&format!("{name}.mlp.0"), dim, 4 * dim, 1.0),
            down: t.linear(&format!("{name}.mlp.2"), 4 * dim, dim, 1.0),
            heads: cfg.gpt_n_head,
        }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + pass.drop(self.attend(pass, self.norm_attention.forward(pass.w, x)));
        let hidden = self.norm_feed_forward.forward(pass.w, x.clone());
        let hidden = gelu(self.up.forward(pass.w, hidden, Activation::None));
        x + pass.drop(self.down.forward(pass.w, hidden, Activation::None))
    }

    fn attend(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let all = self.project.forward(pass.w, x, Activation::None);
        let query = all.clone().slice([0..batch, 0..tokens, 0..dim]);
        let pairs = all.slice([0..batch, 0..tokens, dim..3 * dim]);
        let dropped = pass.dropped(batch * self.heads * tokens * tokens);
        let seen = ops::attention(query, pairs, self.heads, &KeyMask::Causal, dropped);
        self.gather.forward(pass.w, seen, Activation::None)
    }
}

/// The transformer's structure.
#[derive(Debug, Clone)]
pub(crate) struct Gpt {
    enter: Linear,
    positions: usize,
    blocks: Vec<Block>,
    norm: LayerNorm,
    leave: usize,
    leave_dim: usize,
}

impl Gpt {
    /// Lays out the transformer under `name`.
    pub fn new(t: &mut ParamTable, name: &str, cfg: &VqBetConfig) -> Self {
        let dim = cfg.gpt_hidden_dim;
        let part = |part: &str| format!("{name}.transformer.{part}");
        Self {
            enter: t.linear(&part("wte"), cfg.gpt_input_dim, dim, 1.0),
            positions: t.embedding(&part("wpe"), cfg.gpt_block_size, dim),
            blocks: (0..cfg.gpt_n_layer)
                .map(|i| Block::new(t, &part(&format!("h.{i}")), cfg))
                .collect(),
            norm: t.norm(&part("ln_f"), dim),
            leave: t.linear_weight(&format!("{name}.lm_head"), dim, cfg.gpt_output_dim),
            leave_dim: cfg.gpt_output_dim,
        }
    }

    /// Lets the parameters under `name` begin as GPT-2's do.
    pub fn begin(&self, t: &mut ParamTable, name: &str) {
        let narrow = 0.02 / (2.0 * self.blocks.len() as f32).sqrt();
        for spec in t.specs.iter_mut().filter(|s| s.name.starts_with(name) && !s.frozen) {
            spec.init = match spec.name.as_str() {
                n if n.ends_with(".bias") => Init::Constant(0.0),
                _ if spec.cols == 0 => Init::Constant(1.0),
                n if n.ends_with("c_proj.weight") => Init::Normal(narrow),
                _ => Init::Normal(0.02),
            };
        }
    }

    /// `[batch, tokens, gpt_input_dim]` → `[batch, tokens, gpt_hidden_dim]`.
    pub fn forward(&self, pass: Pass<'_>, tokens: Tensor<3>) -> Tensor<3> {
        let x = self.enter.forward(pass.w, tokens, Activation::None);
        let [_, count, dim] = x.dims();
        let positions = pass.w.matrix(self.positions).clone().slice([0..count, 0..dim]);
        let x = pass.drop(x + positions.unsqueeze::<3>());
        let x = self.blocks.iter().fold(x, |x, block| block.forward(pass, x));
        self.norm.forward(pass.w, x)
    }

    /// Features `[n, gpt_output_dim]` of tokens that came out.
    pub fn leave(&self, pass: Pass<'_>, x: Tensor<2>) -> Tensor<2> {
        let none = Tensor::zeros([self.leave_dim], pass.device);
        ops::linear(x, pass.w.matrix(self.leave), &none, Activation::None)
    }
}
