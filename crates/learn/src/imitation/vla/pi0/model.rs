//! The network. PaliGemma reads the cameras' tokens and the instruction, which all see each other; the
//! expert's tokens are the state, which sees those and itself, and the actions of a chunk, which see
//! all.
//!
//! Names and shapes of the parameters are LeRobot's (`model.paligemma_with_expert.paligemma.model.…`,
//! `model.paligemma_with_expert.gemma_expert.model.…`, `model.action_in_proj.…`).

use burn::tensor::Tensor;
use rand::Rng;

use super::config::Pi0Config;
use crate::error::Error;
use crate::imitation::flow::{FlowDraws, draw_time};
use crate::imitation::vla::actions::{ActionTokens, first_of_each, flow_loss, integrate, padded};
use crate::imitation::vla::check_inputs;
use crate::imitation::vla::expert::{Expert, Memory, Way};
use crate::imitation::vla::language::LanguageModel;
use crate::imitation::vla::vision::VisionTower;
use crate::imitation::{Demonstration, Inputs, Pass, Shape};
use crate::nn::{Linear, ParamTable};
use crate::ops::{Activation, KeyMask};

/// Times are drawn from Beta(1.5, 1).
const TIME_ALPHA: f64 = 1.5;

/// The network's structure; its weights live in a flat vector ordered by [`Pi0Net::table`].
#[derive(Debug, Clone)]
pub(crate) struct Pi0Net {
    pub table: ParamTable,
    cfg: Pi0Config,
    vision: VisionTower,
    projector: Linear,
    text: LanguageModel,
    expert: Expert,
    state: Linear,
    actions: ActionTokens,
    dims: (usize, usize),
    action_dim: usize,
}

impl Pi0Net {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &Pi0Config, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        check_inputs(shape, cfg.max_state_dim, cfg.max_action_dim)?;
        let mut table = ParamTable::default();
        let t = &mut table;
        let sizes = cfg.sizes();
        let (text_dim, expert_dim) = (sizes.text.dim, sizes.expert.dim);
        let both = "model.paligemma_with_expert";
        let name = format!("{both}.paligemma.model");
        let tower = format!("{name}.vision_tower.vision_model");
        let vision = VisionTower::plain(t, &tower, sizes.vision);
        let projector = format!("{name}.multi_modal_projector.linear");
        let projector = t.linear(&projector, sizes.vision.dim, text_dim, 1.0);
        let words = (sizes.vocabulary, sizes.layers);
        let text = LanguageModel::new(t, &format!("{name}.language_model"), sizes.text, words);
        let head = format!("{both}.paligemma.lm_head.weight");
        t.beside(&head, &[sizes.vocabulary, text_dim], Some(text.embeddings));
        let ways = vec![Way::Join; sizes.layers];
        let expert = format!("{both}.gemma_expert");
        t.beside(&format!("{expert}.lm_head.weight"), &[sizes.vocabulary, expert_dim], None);
        let expert = Expert::new(t, &format!("{expert}.model"), sizes.expert, &ways);
        let state = t.linear("model.state_proj", cfg.max_state_dim, expert_dim, 1.0);
        let periods = (cfg.min_period, cfg.max_period);
        let actions = ActionTokens::new(t, cfg.max_action_dim, expert_dim, periods);
        Ok(Self {
            table,
            cfg: cfg.clone(),
            vision,
            projector,
            text,
            expert,
            state,
            actions,
            dims: (text_dim, expert_dim),
            action_dim: shape.action_dim,
        })
    }

    /// Values of noise that a chunk takes: those that fill actions up too.
    pub fn noise_per_row(&self) -> usize {
        self.cfg.chunk_size * self.cfg.max_action_dim
    }

    /// What the expert looks at.
    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Memory {
        let look = |pictures: &Tensor<4>| {
            let patches = self.vision.forward(pass, pictures.clone());
            self.projector.forward(pass.w, patches, Activation::None)
        };
        let mut tokens: Vec<Tensor<3>> = inputs.images.iter().map(look).collect();
        let said = &inputs.instruction.tokens;
        if !said.is_empty() {
            // Gemma scales its words' embeddings; what is seen is not.
            let scale = (self.dims.0 as f64).sqrt();
            tokens.push(self.text.embed(pass, said, inputs.rows(1)) * scale);
        }
        let tokens = Tensor::cat(tokens, 1);
        self.expert.recall(pass, self.text.read(pass, tokens, &KeyMask::All))
    }

    /// The velocity of `chunk [rows, chunk_size, max_action_dim]` at `times`, one for each row.
    fn velocity(
        &self,
        pass: Pass<'_>,
        (inputs, memory): (&Inputs, &Memory),
        chunk: Tensor<3>,
        times: &[f32],
    ) -> Tensor<3> {
        let rows = chunk.dims()[0];
        let mut tokens = Vec::new();
        if let Some(state) = &inputs.state {
            let state = padded(pass, state.clone(), self.cfg.max_state_dim);
            let token = self.state.forward(pass.w, state, Activation::None);
            tokens.push(token.reshape([rows, 1, self.dims.1]));
        }
        tokens.push(self.actions.embed(pass, chunk, times));
        let tokens = Tensor::cat(tokens, 1);
        let tokens = self.expert.forward(pass, tokens, memory, |i, j| i > 0 || j == 0);
        self.actions.velocity(pass, tokens, self.cfg.chunk_size)
    }

    /// A chunk `[chunk_size, action_dim]` for one observation; `draw` fills a slice with standard normal
    /// numbers.
    pub fn predict(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        mut draw: impl FnMut(&mut [f32]),
    ) -> Vec<f32> {
        let memory = self.observe(pass, inputs);
        let mut noise = vec![0.0; self.noise_per_row()];
        draw(&mut noise);
        let size = (self.cfg.chunk_size, self.cfg.max_action_dim);
        let chunk = integrate(pass, noise, size, self.cfg.num_inference_steps, |chunk, time| {
            self.velocity(pass, (inputs, &memory), chunk, &[time])
        });
        first_of_each(&chunk, self.cfg.max_action_dim, self.action_dim)
    }

    /// A time for each of `rows`.
    pub fn draw_times(&self, rng: &mut impl Rng, rows: usize) -> Vec<f32> {
        (0..rows).map(|_| draw_time(rng, TIME_ALPHA)).collect()
    }

    /// The shard's part of the batch's loss, `[1]`: mean squared error of the velocity, over the robot's
    /// own dimensions; actions beyond their episode count, as in LeRobot.
    pub fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        draws: &FlowDraws,
    ) -> Tensor<1> {
        let memory = self.observe(pass, inputs);
        let values = (self.cfg.chunk_size * self.action_dim) as f32;
        let weights = wanted.weights(wanted.share.per_row / values, true, pass.device);
        flow_loss(pass, wanted, draws, self.cfg.max_action_dim, weights, |chunk| {
            self.velocity(pass, (inputs, &memory), chunk, &draws.times)
        })
    }
}
