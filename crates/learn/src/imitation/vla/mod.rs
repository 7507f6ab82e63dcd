//! Vision-language-action models: policies that read an instruction. A vision tower turns pictures into
//! tokens, a language model reads them with the instruction, and a smaller transformer beside it, the
//! action expert, looks at what each of its layers remembers while it carries a chunk of actions from
//! noise to what a demonstrator would do (flow matching, as in `imitation/flow`).
//!
//! `vision`, `language` and `expert` are what SmolVLA (arXiv:2506.01844) and π0
//! (arXiv:2410.24164) share; each has a folder with its settings and how its parts are put together.
//! Tokens that LeRobot pads and masks (missing cameras, short instructions) are left out here: what is
//! masked has no influence there, and positions count only what is seen.

mod expert;
mod language;
pub(crate) mod pi0;
pub(crate) mod smolvla;
#[cfg(test)]
mod tests;
mod vision;

use burn::tensor::Tensor;

use crate::error::{Error, check};
use crate::imitation::{Pass, Shape};

/// Times on the path from noise to actions are drawn from Beta(1.5, 1).
const TIME_ALPHA: f64 = 1.5;

/// The instruction in the numbers of its tokenizer's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Of the text.
    pub tokens: Vec<usize>,
    /// Put before each picture's tokens, where the policy marks pictures.
    pub before_picture: Vec<usize>,
    /// Put after them.
    pub after_picture: Vec<usize>,
}

/// A VLA sees through cameras, feels a state, and both state and actions fit what it was made for.
pub(crate) fn check_inputs(shape: &Shape, states: usize, actions: usize) -> Result<(), Error> {
    let cameras = shape.cameras.len();
    check("input_features", cameras, cameras > 0, "the policy wants a camera")?;
    let (env, rule) = (shape.env_dim.is_some(), "it reads no state of the surroundings");
    check("input_features", "observation.environment_state", !env, rule)?;
    let rule = "the policy wants a state";
    check("input_features", "without observation.state", shape.state_dim.is_some(), rule)?;
    let rule = "the state has more dimensions";
    check("max_state_dim", states, shape.state_dim.unwrap_or(0) <= states, rule)?;
    check("max_action_dim", actions, shape.action_dim <= actions, "the action has more dimensions")
}

/// `x [rows, n]` with zeros up to `width` features.
fn padded(pass: Pass<'_>, x: Tensor<2>, width: usize) -> Tensor<2> {
    let [rows, n] = x.dims();
    match width - n {
        0 => x,
        lacking => Tensor::cat(vec![x, Tensor::zeros([rows, lacking], pass.device)], 1),
    }
}

/// The last `steps` of `tokens`: those of a chunk's actions.
fn last(tokens: Tensor<3>, steps: usize) -> Tensor<3> {
    let [rows, n, dim] = tokens.dims();
    tokens.slice([0..rows, n - steps..n, 0..dim])
}
