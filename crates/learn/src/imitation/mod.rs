//! Imitation: policies that learn from demonstrations, a folder each, and what they share.
//!
//! A network is a structure over a table of parameters whose names and shapes are LeRobot's, so that
//! a checkpoint is the flat vector of weights written out by name. [`Net`] is what the trainer and the
//! runtime know of it; `tokens`, `transformer` and `vision` hold blocks that several policies use.
//! Nothing in here knows datasets, files or back ends.

pub(crate) mod act;
pub(crate) mod diffusion;
pub(crate) mod flow;
mod net;
pub(crate) mod part;
#[cfg(test)]
mod tests;
mod tokens;
pub(crate) mod transformer;
pub(crate) mod vision;
pub(crate) mod vla;
pub(crate) mod vqbet;

use std::cell::RefCell;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::nn::Weights;
use crate::ops::Dropped;

pub use net::PolicyConfig;
pub(crate) use net::{FirstPhase, Net, Steps};
pub(crate) use vla::Instruction;

/// What the predicted actions are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionRepresentation {
    /// The actions themselves.
    #[default]
    Absolute,
    /// Action minus the state at the time of prediction; wants state and action of the same
    /// dimensions (joint positions and joint targets).
    DeltaToState,
    /// Action minus the last commanded action (the state before the first); wants the same. Where
    /// commands are smooth, "go on as before" is then the zero from which learning starts.
    DeltaToLast,
}

/// Sizes that come from the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Name (last part of the key), height and width of what is seen of each camera's pictures.
    pub cameras: Vec<(String, usize, usize)>,
    /// Of the robot's state with what is put beside it, at one step.
    pub state_dim: Option<usize>,
    /// Of its surroundings', at one step.
    pub env_dim: Option<usize>,
    pub action_dim: usize,
}

/// Normalised observations of some samples, each the last few steps, oldest first.
pub(crate) struct Inputs {
    /// `[rows · steps, height, width, 3]` per camera, a sample's steps side by side.
    pub images: Vec<Tensor<4>>,
    /// Of the robot, `[rows, steps · state_dim]`.
    pub state: Option<Tensor<2>>,
    /// Of its surroundings, `[rows, steps · env_dim]`.
    pub env: Option<Tensor<2>>,
    /// What to do, the same for all samples; empty where the policy reads none.
    pub instruction: Instruction,
}

impl Inputs {
    /// Number of samples, each of `steps` observations.
    pub fn rows(&self, steps: usize) -> usize {
        let vectors = self.state.iter().chain(&self.env).map(|t| t.dims()[0]);
        vectors.chain(self.images.iter().map(|t| t.dims()[0] / steps)).next().unwrap_or(0)
    }
}

/// The actions that some samples should lead to.
pub(crate) struct Demonstration {
    /// Normalised, `[rows, predicted, action_dim]`.
    pub actions: Vec<f32>,
    /// Which lie inside their episode, `[rows, predicted]`.
    pub kept: Vec<bool>,
    pub rows: usize,
    /// Of the batch that they are part of.
    pub share: LossShare,
}

impl Demonstration {
    /// The actions as a tensor.
    fn tensor(&self, device: &Device) -> Tensor<3> {
        let predicted = self.kept.len() / self.rows.max(1);
        let dim = self.actions.len() / self.kept.len().max(1);
        let data = TensorData::new(self.actions.clone(), [self.rows, predicted, dim]);
        Tensor::from_data(data, device)
    }

    /// `weight` where an action counts, 0 elsewhere: `[rows, predicted, 1]`.
    fn weights(&self, weight: f32, padding_counts: bool, device: &Device) -> Tensor<3> {
        let each = |kept: &bool| if *kept || padding_counts { weight } else { 0.0 };
        let values: Vec<f32> = self.kept.iter().map(each).collect();
        let predicted = self.kept.len() / self.rows.max(1);
        Tensor::from_data(TensorData::new(values, [self.rows, predicted, 1]), device)
    }
}

/// A shard's share of its batch's means: the shards' losses sum up to the batch's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LossShare {
    /// 1 over the number of action values inside their episodes, in the whole batch.
    pub per_value: f32,
    /// 1 over the number of samples in the whole batch.
    pub per_row: f32,
}

/// What every layer needs on the way forward.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub w: &'a Weights,
    /// `None` outside training.
    pub dropout: Option<&'a Dropout>,
    pub device: &'a Device,
}

impl Pass<'_> {
    /// `x` with features dropped, in training.
    pub fn drop<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.dropout {
            Some(dropout) if dropout.share > 0.0 => dropout.apply(x),
            _ => x,
        }
    }

    /// Which of `count` attention weights are dropped, in training.
    pub fn dropped(&self, count: usize) -> Dropped {
        let dropout = self.dropout.filter(|dropout| dropout.share > 0.0)?;
        Some(dropout.factors(count).into())
    }
}

/// Random dropping of features while training: a stream of its own per shard.
pub(crate) struct Dropout {
    share: f32,
    rng: RefCell<ChaCha8Rng>,
}

impl Dropout {
    /// Drops `share` of the features, by the stream of `seed`.
    pub fn new(share: f32, seed: u64) -> Self {
        Self { share, rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// `x` with features set to 0 and the rest scaled up to keep the mean.
    fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.dims();
        let factors = self.factors(shape.iter().product());
        let factors = Tensor::<D>::from_data(TensorData::new(factors, shape), &x.device().inner());
        x * factors
    }

    /// What `count` features are multiplied by.
    fn factors(&self, count: usize) -> Vec<f32> {
        let kept = 1.0 / (1.0 - self.share);
        let limit = (f64::from(self.share) * 65_536.0) as u16;
        let mut noise = vec![0u8; 2 * count];
        self.rng.borrow_mut().fill_bytes(&mut noise);
        let (pairs, _) = noise.as_chunks::<2>();
        let keep = |pair: &[u8; 2]| if u16::from_le_bytes(*pair) < limit { 0.0 } else { kept };
        pairs.iter().map(keep).collect()
    }
}
