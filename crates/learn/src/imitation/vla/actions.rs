//! Actions as tokens of the expert and back, and the way from noise to actions: at time `t` in (0, 1] a
//! chunk is `t · noise + (1 − t) · actions`, the network says its velocity, `noise − actions`, and Euler
//! steps follow that from `t = 1` to 0 (flow matching, arXiv:2210.02747).

use burn::tensor::activation::silu;
use burn::tensor::{Tensor, TensorData};

use crate::imitation::flow::{FlowDraws, time_features};
use crate::imitation::{Demonstration, Pass};
use crate::nn::{Linear, ParamTable};
use crate::ops::Activation;

/// The projections between actions and tokens.
#[derive(Debug, Clone)]
pub(crate) struct ActionTokens {
    action: Linear,
    moment: [Linear; 2],
    out: Linear,
    dim: usize,
    /// Shortest and longest wavelength of a time's features.
    periods: (f64, f64),
}

impl ActionTokens {
    /// Lays out `model.action_in_proj` and its like for actions of `action_dim` and tokens of `dim`.
    pub fn new(t: &mut ParamTable, action_dim: usize, dim: usize, periods: (f64, f64)) -> Self {
        Self {
            action: t.linear("model.action_in_proj", action_dim, dim, 1.0),
            moment: [
                t.linear("model.action_time_mlp_in", 2 * dim, dim, 1.0),
                t.linear("model.action_time_mlp_out", dim, dim, 1.0),
            ],
            out: t.linear("model.action_out_proj", dim, action_dim, 1.0),
            dim,
            periods,
        }
    }

    /// Tokens of `chunk [rows, steps, action_dim]` at `times`, one for each row.
    pub fn embed(&self, pass: Pass<'_>, chunk: Tensor<3>, times: &[f32]) -> Tensor<3> {
        let [rows, steps, _] = chunk.dims();
        let time = time_features(times, self.dim, self.periods);
        let time = TensorData::new(time, [rows, 1, self.dim]);
        let time = Tensor::<3>::from_data(time, pass.device).expand([rows, steps, self.dim]);
        let action = self.action.forward(pass.w, chunk, Activation::None);
        let both = Tensor::cat(vec![action, time], 2);
        let x = silu(self.moment[0].forward(pass.w, both, Activation::None));
        self.moment[1].forward(pass.w, x, Activation::None)
    }

    /// The velocity that the last `steps` of the expert's `tokens` stand for.
    pub fn velocity(&self, pass: Pass<'_>, tokens: Tensor<3>, steps: usize) -> Tensor<3> {
        let [rows, n, dim] = tokens.dims();
        let last = tokens.slice([0..rows, n - steps..n, 0..dim]);
        self.out.forward(pass.w, last, Activation::None)
    }
}

/// Carries `chunk [steps, action_dim]` of noise to actions in `count` Euler steps.
pub(crate) fn integrate(
    pass: Pass<'_>,
    mut chunk: Vec<f32>,
    (steps, action_dim): (usize, usize),
    count: usize,
    velocity: impl Fn(Tensor<3>, f32) -> Tensor<3>,
) -> Vec<f32> {
    let by = -1.0 / count as f64;
    for step in 0..count {
        let time = (1.0 + step as f64 * by) as f32;
        let data = TensorData::new(chunk.clone(), [1, steps, action_dim]);
        let said = velocity(Tensor::from_data(data, pass.device), time).into_data();
        let said = said.as_slice::<f32>().expect("velocities are f32");
        chunk.iter_mut().zip(said).for_each(|(x, v)| *x += by as f32 * v);
    }
    chunk
}

/// The first `kept` of every `width` values: the actions that the robot has.
pub(crate) fn first_of_each(values: &[f32], width: usize, kept: usize) -> Vec<f32> {
    values.chunks_exact(width).flat_map(|row| &row[..kept]).copied().collect()
}

/// `x [rows, n]` with zeros up to `width` features.
pub(crate) fn padded(pass: Pass<'_>, x: Tensor<2>, width: usize) -> Tensor<2> {
    let [rows, n] = x.dims();
    match width - n {
        0 => x,
        lacking => Tensor::cat(vec![x, Tensor::zeros([rows, lacking], pass.device)], 1),
    }
}

/// The shard's part of the batch's loss, `[1]`: squared error of the velocity of chunks between noise and
/// `wanted` actions, in the dimensions that the robot has, by `weights [rows, steps, 1]`.
pub(crate) fn flow_loss(
    pass: Pass<'_>,
    wanted: &Demonstration,
    draws: &FlowDraws,
    width: usize,
    weights: Tensor<3>,
    velocity: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Tensor<1> {
    let tensor = |values: &[f32], shape: [usize; 3]| {
        Tensor::<3>::from_data(TensorData::new(values.to_vec(), shape), pass.device)
    };
    let (rows, steps) = (wanted.rows, wanted.kept.len() / wanted.rows.max(1));
    let dim = wanted.actions.len() / wanted.kept.len().max(1);
    let mut actions = vec![tensor(&wanted.actions, [rows, steps, dim])];
    if width > dim {
        actions.push(Tensor::zeros([rows, steps, width - dim], pass.device));
    }
    let actions = Tensor::cat(actions, 2);
    let noise = tensor(&draws.noise, [rows, steps, width]);
    let times = tensor(&draws.times, [rows, 1, 1]);
    let between = noise.clone() * times.clone() + actions.clone() * (times.neg() + 1.0);
    let off = (velocity(between) - (noise - actions)).slice([0..rows, 0..steps, 0..dim]);
    (off.clone() * off * weights).sum()
}
