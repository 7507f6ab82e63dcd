//! The path from noise to actions (flow matching, arXiv:2210.02747), for every policy that takes it: at
//! time `t` in (0, 1] a chunk is `t · noise + (1 − t) · actions`, the network says its velocity,
//! `noise − actions`, and Euler steps follow that from `t = 1` to 0.

use burn::tensor::activation::silu;
use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::imitation::{Demonstration, Inputs, Pass};
use crate::nn::{Linear, ParamTable};
use crate::noise::normals;
use crate::ops::Activation;

/// Smallest time that training looks at, as in π0.
const FIRST_TIME: f64 = 0.001;

/// Where a shard's chunks are looked at.
pub(crate) struct FlowDraws {
    /// Standard normal, `[rows, steps, width]`.
    pub noise: Vec<f32>,
    /// In (0, 1], one for each sample.
    pub times: Vec<f32>,
}

/// What a chunk is, and how the way is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// Actions.
    pub steps: usize,
    /// Values of each, those that fill it up beyond the robot's included.
    pub width: usize,
    /// Of them, the robot's: the first.
    pub action_dim: usize,
    /// Euler steps when acting.
    pub euler_steps: usize,
    /// Times are drawn from Beta(`time_alpha`, 1).
    pub time_alpha: f64,
}

/// A network that says velocities.
pub(crate) trait FlowMatching {
    /// What it keeps of an observation.
    type Memory;

    /// Its chunks.
    fn chunk(&self) -> Chunk;

    /// What the velocities are conditioned on.
    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Self::Memory;

    /// The velocity of `chunk [rows, steps, width]` at `times`, one for each row.
    fn velocity(
        &self,
        pass: Pass<'_>,
        memory: &Self::Memory,
        chunk: Tensor<3>,
        times: &[f32],
    ) -> Tensor<3>;

    /// What each action's squared error counts in the batch's loss, `[rows, steps, 1]`: the same for all
    /// inside their episode.
    fn weights(&self, pass: Pass<'_>, wanted: &Demonstration) -> Tensor<3> {
        wanted.weights(wanted.share.per_value, false, pass.device)
    }

    /// Noise and times for `rows` samples.
    fn draw(&self, rng: &mut ChaCha8Rng, rows: usize) -> FlowDraws {
        let Chunk { steps, width, time_alpha, .. } = self.chunk();
        let mut noise = vec![0.0; rows * steps * width];
        normals(rng, &mut noise);
        FlowDraws { noise, times: (0..rows).map(|_| draw_time(rng, time_alpha)).collect() }
    }

    /// The shard's part of the batch's loss, `[1]`: mean squared error of the velocity, over the robot's
    /// own dimensions.
    fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        draws: &FlowDraws,
    ) -> Tensor<1> {
        let memory = self.observe(pass, inputs);
        let (rows, Chunk { steps, width, action_dim, .. }) = (wanted.rows, self.chunk());
        let tensor = |values: &[f32], shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), shape), pass.device)
        };
        let mut actions = vec![tensor(&wanted.actions, [rows, steps, action_dim])];
        if width > action_dim {
            actions.push(Tensor::zeros([rows, steps, width - action_dim], pass.device));
        }
        let actions = Tensor::cat(actions, 2);
        let noise = tensor(&draws.noise, [rows, steps, width]);
        let times = tensor(&draws.times, [rows, 1, 1]);
        let between = noise.clone() * times.clone() + actions.clone() * (times.neg() + 1.0);
        let said = self.velocity(pass, &memory, between, &draws.times);
        let off = (said - (noise - actions)).slice([0..rows, 0..steps, 0..action_dim]);
        (off.clone() * off * self.weights(pass, wanted)).sum()
    }

    /// A chunk `[steps, action_dim]` for one observation; `draw` fills a slice with standard normal
    /// numbers.
    fn predict(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        mut draw: impl FnMut(&mut [f32]),
    ) -> Vec<f32> {
        let memory = self.observe(pass, inputs);
        let Chunk { steps, width, action_dim, euler_steps, .. } = self.chunk();
        let mut chunk = vec![0.0; steps * width];
        draw(&mut chunk);
        for step in 0..euler_steps {
            let time = 1.0 - step as f32 / euler_steps as f32;
            let data = TensorData::new(chunk.clone(), [1, steps, width]);
            let at = Tensor::from_data(data, pass.device);
            let said = self.velocity(pass, &memory, at, &[time]).into_data();
            let said = said.as_slice::<f32>().expect("velocities are f32");
            chunk.iter_mut().zip(said).for_each(|(x, v)| *x -= v / euler_steps as f32);
        }
        chunk.chunks_exact(width).flat_map(|action| &action[..action_dim]).copied().collect()
    }
}

/// Actions as tokens.
#[derive(Debug, Clone)]
pub(crate) struct ActionTokens {
    action: Linear,
    moment: [Linear; 2],
    dim: usize,
    /// Shortest and longest wavelength of a time's features.
    periods: (f64, f64),
}

impl ActionTokens {
    /// Lays out `model.action_in_proj` and its like for actions of `width` values and tokens of `dim`.
    pub fn new(t: &mut ParamTable, width: usize, dim: usize, periods: (f64, f64)) -> Self {
        Self {
            action: t.linear("model.action_in_proj", width, dim, 1.0),
            moment: [
                t.linear("model.action_time_mlp_in", 2 * dim, dim, 1.0),
                t.linear("model.action_time_mlp_out", dim, dim, 1.0),
            ],
            dim,
            periods,
        }
    }

    /// Tokens of `chunk [rows, steps, width]` at `times`, one for each row.
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
}

/// A time of Beta(`alpha`, 1) by its inverse distribution function.
fn draw_time(rng: &mut ChaCha8Rng, alpha: f64) -> f32 {
    let beta = rng.random_range(0.0..1.0f64).powf(1.0 / alpha);
    (FIRST_TIME + (1.0 - FIRST_TIME) * beta) as f32
}

/// Sines, then cosines, of each time at wavelengths from shortest to longest, as in π0: `[rows, dim]`.
fn time_features(times: &[f32], dim: usize, (shortest, longest): (f64, f64)) -> Vec<f32> {
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
