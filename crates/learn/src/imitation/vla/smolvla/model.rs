//! The network. The language model reads the cameras' tokens, the instruction and the state as one
//! sequence, in which pictures and words see each other but not the state, which sees all; the expert's
//! tokens are the actions of a chunk, each of which sees those before it.
//!
//! Names and shapes of the parameters are LeRobot's (`model.vlm_with_expert.vlm.model.text_model.…`,
//! `model.vlm_with_expert.lm_expert.…`, `model.action_in_proj.…`).

use burn::tensor::Tensor;

use super::config::{AttentionMode, SmolVlaConfig};
use crate::error::Error;
use crate::imitation::flow::{ActionTokens, Chunk, FlowMatching};
use crate::imitation::vla::expert::{Expert, Memory, Way};
use crate::imitation::vla::language::{LanguageModel, Matrix};
use crate::imitation::vla::vision::VisionTower;
use crate::imitation::vla::{TIME_ALPHA, check_inputs, last, padded};
use crate::imitation::{Inputs, Pass, Shape};
use crate::nn::{Linear, ParamTable};
use crate::ops::{Activation, KeyMask};

/// The network's structure; its weights live in a flat vector ordered by [`SmolVlaNet::table`].
#[derive(Debug, Clone)]
pub(crate) struct SmolVlaNet {
    pub table: ParamTable,
    cfg: SmolVlaConfig,
    vision: VisionTower,
    connector: Matrix,
    text: LanguageModel,
    expert: Expert,
    state: Linear,
    actions: ActionTokens,
    head: Linear,
    action_dim: usize,
}

impl SmolVlaNet {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &SmolVlaConfig, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        check_inputs(shape, cfg.max_state_dim, cfg.max_action_dim)?;
        let mut table = ParamTable::default();
        let t = &mut table;
        let (vlm, layers, sizes) = (&cfg.vlm, cfg.layers(), cfg.expert_sizes());
        let name = "model.vlm_with_expert.vlm.model";
        let vision = VisionTower::new(t, &format!("{name}.vision_model"), vlm.vision, cfg.side());
        let connector = Matrix::new(
            t,
            &format!("{name}.connector.modality_projection.proj"),
            vlm.vision.dim * vlm.scale_factor.pow(2),
            vlm.text.dim,
        );
        let text_model = format!("{name}.text_model");
        let text = LanguageModel::new(t, &text_model, vlm.text, (vlm.vocabulary, layers));
        let head = "model.vlm_with_expert.vlm.lm_head.weight";
        let twin = vlm.tied.then_some(text.embeddings);
        t.beside(head, &[vlm.vocabulary, vlm.text.dim], twin);
        let way = |i: usize| {
            let every = usize::try_from(cfg.self_attn_every_n_layers).unwrap_or(0);
            let joins = cfg.attention_mode == AttentionMode::SelfAttn
                || (every > 0 && i.is_multiple_of(every));
            if joins { Way::Join } else { Way::Cross }
        };
        let ways: Vec<Way> = (0..layers).map(way).collect();
        let expert = Expert::new(t, "model.vlm_with_expert.lm_expert", sizes, &ways);
        let state = t.linear("model.state_proj", cfg.max_state_dim, vlm.text.dim, 1.0);
        let periods = (cfg.min_period, cfg.max_period);
        let actions = ActionTokens::new(t, cfg.max_action_dim, sizes.dim, periods);
        let head = t.linear("model.action_out_proj", sizes.dim, cfg.max_action_dim, 1.0);
        Ok(Self {
            table,
            cfg: cfg.clone(),
            vision,
            connector,
            text,
            expert,
            state,
            actions,
            head,
            action_dim: shape.action_dim,
        })
    }

    /// A camera's pictures as tokens of the language model: squares of `scale_factor` patches each way,
    /// side by side, projected.
    fn look(&self, pass: Pass<'_>, pictures: Tensor<4>) -> Tensor<3> {
        let patches = self.vision.forward(pass, pictures);
        let [n, count, dim] = patches.dims();
        let scale = self.cfg.vlm.scale_factor;
        let side = count.isqrt() / scale;
        let squares = patches.reshape([n * side, scale, side, scale * dim]).swap_dims(1, 2);
        self.connector.forward(pass, squares.reshape([n, side * side, scale * scale * dim]))
    }
}

impl FlowMatching for SmolVlaNet {
    /// What the expert looks at.
    type Memory = Memory;

    fn chunk(&self) -> Chunk {
        Chunk {
            steps: self.cfg.chunk_size,
            width: self.cfg.max_action_dim,
            action_dim: self.action_dim,
            euler_steps: self.cfg.num_steps,
            time_alpha: TIME_ALPHA,
        }
    }

    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Memory {
        let rows = inputs.rows(1);
        let scale = (self.cfg.vlm.text.dim as f64).sqrt();
        let said = &inputs.instruction;
        let mut tokens = Vec::new();
        for pictures in &inputs.images {
            // LeRobot scales what it sees and what it is told, but not its marks around pictures.
            let mark =
                |marks: &[usize]| (!marks.is_empty()).then(|| self.text.embed(pass, marks, rows));
            tokens.extend(mark(&said.before_picture));
            tokens.push(self.look(pass, pictures.clone()) * scale);
            tokens.extend(mark(&said.after_picture));
        }
        if !said.tokens.is_empty() {
            tokens.push(self.text.embed(pass, &said.tokens, rows) * scale);
        }
        if let Some(state) = &inputs.state {
            let state = padded(pass, state.clone(), self.cfg.max_state_dim);
            let token = self.state.forward(pass.w, state, Activation::None);
            tokens.push(token.reshape([rows, 1, self.cfg.vlm.text.dim]));
        }
        let tokens = Tensor::cat(tokens, 1);
        let n = tokens.dims()[1];
        let sees = |i: usize| (0..n).map(move |j| j + 1 < n || i + 1 == n);
        let mask = KeyMask::Pairs((0..n).flat_map(sees).collect::<Vec<_>>().into());
        self.expert.recall(pass, self.text.read(pass, tokens, &mask))
    }

    fn velocity(
        &self,
        pass: Pass<'_>,
        memory: &Memory,
        chunk: Tensor<3>,
        times: &[f32],
    ) -> Tensor<3> {
        let tokens = self.actions.embed(pass, chunk, times);
        let tokens = self.expert.forward(pass, tokens, memory, |i, j| j <= i);
        self.head.forward(pass.w, last(tokens, self.cfg.chunk_size), Activation::None)
    }
}
