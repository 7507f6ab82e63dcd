//! The network. PaliGemma reads the cameras' tokens and the instruction, which all see each other; the
//! expert's tokens are the state, which sees those and itself, and the actions of a chunk, which see
//! all.
//!
//! Names and shapes of the parameters are LeRobot's (`model.paligemma_with_expert.paligemma.model.…`,
//! `model.paligemma_with_expert.gemma_expert.model.…`, `model.action_in_proj.…`).

use burn::tensor::Tensor;

use super::config::Pi0Config;
use crate::error::Error;
use crate::imitation::flow::{ActionTokens, Chunk, FlowMatching};
use crate::imitation::vla::expert::{Expert, Memory, Way};
use crate::imitation::vla::language::LanguageModel;
use crate::imitation::vla::vision::VisionTower;
use crate::imitation::vla::{TIME_ALPHA, check_inputs, last, padded};
use crate::imitation::{Demonstration, Inputs, Pass, Shape};
use crate::nn::{Linear, ParamTable};
use crate::ops::{Activation, KeyMask};

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
    head: Linear,
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
        let head = t.linear("model.action_out_proj", expert_dim, cfg.max_action_dim, 1.0);
        Ok(Self {
            table,
            cfg: cfg.clone(),
            vision,
            projector,
            text,
            expert,
            state,
            actions,
            head,
            dims: (text_dim, expert_dim),
            action_dim: shape.action_dim,
        })
    }
}

impl FlowMatching for Pi0Net {
    /// What the expert looks at, and the state, which is a token of its own.
    type Memory = (Memory, Option<Tensor<2>>);

    fn chunk(&self) -> Chunk {
        Chunk {
            steps: self.cfg.chunk_size,
            width: self.cfg.max_action_dim,
            action_dim: self.action_dim,
            euler_steps: self.cfg.num_inference_steps,
            time_alpha: TIME_ALPHA,
        }
    }

    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Self::Memory {
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
        let memory = self.text.read(pass, tokens, &KeyMask::All);
        (self.expert.recall(pass, memory), inputs.state.clone())
    }

    fn velocity(
        &self,
        pass: Pass<'_>,
        (memory, state): &Self::Memory,
        chunk: Tensor<3>,
        times: &[f32],
    ) -> Tensor<3> {
        let rows = chunk.dims()[0];
        let mut tokens = Vec::new();
        if let Some(state) = state {
            let state = padded(pass, state.clone(), self.cfg.max_state_dim);
            let token = self.state.forward(pass.w, state, Activation::None);
            tokens.push(token.reshape([rows, 1, self.dims.1]));
        }
        tokens.push(self.actions.embed(pass, chunk, times));
        let tokens = Tensor::cat(tokens, 1);
        let tokens = self.expert.forward(pass, tokens, memory, |i, j| i > 0 || j == 0);
        self.head.forward(pass.w, last(tokens, self.cfg.chunk_size), Activation::None)
    }

    /// Actions beyond their episode count, as in LeRobot.
    fn weights(&self, pass: Pass<'_>, wanted: &Demonstration) -> Tensor<3> {
        let values = (self.cfg.chunk_size * self.action_dim) as f32;
        wanted.weights(wanted.share.per_row / values, true, pass.device)
    }
}
