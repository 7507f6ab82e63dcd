//! A trained policy acting in a batch of environments.
//!
//! Every environment is inferred by itself, batch 1, on one thread: matrix kernels may round
//! differently at another batch size, and what happens in one environment must not depend on which
//! others stand beside it. Environments are spread over threads.

use std::collections::VecDeque;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use embody_core::{DType, FeatureSpec, Observations, Policy, PolicySpec, Result};
use serde::{Deserialize, Serialize};

use crate::act::{ActInputs, check};
use crate::checkpoint::{self, ACT_SMALL, Model};
use crate::error::Error;
use crate::nn::Weights;
use crate::processor::{floats, picture_to_f32, pixel_table, pixels, resize_area};
use crate::rl::{ActorModel, MLP_GAUSSIAN};
use crate::workers::Workers;

/// How a loaded policy runs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyOptions {
    /// Threads for inference; 0 for one per core. Never changes a result.
    pub threads: usize,
    /// Execute this many actions of each chunk, without temporal ensembling, whatever the policy's
    /// own settings say.
    pub n_action_steps: Option<usize>,
    /// Coefficient of temporal ensembling, in place of the policy's own; see
    /// [`crate::ActConfig::temporal_ensemble_coeff`].
    pub temporal_ensemble: Option<f64>,
}

/// Loads the policy in `dir` (LeRobot's checkpoint layout, type `act-small` or `mlp-gaussian`).
///
/// # Errors
/// When a file is absent or damaged, a tensor missing, unexpected or misshapen, or an option
/// impossible.
pub fn load_policy(dir: &Path, options: PolicyOptions) -> Result<Box<dyn Policy>> {
    if checkpoint::policy_type(dir)? == MLP_GAUSSIAN {
        let one = options.n_action_steps.is_none_or(|n| n == 1);
        let value = format!("{:?}", options.n_action_steps);
        check("n_action_steps", value, one, "this policy gives one action at a time")?;
        return Ok(Box::new(ActorModel::read(dir)?.into_policy()));
    }
    let model = checkpoint::read_model(dir)?;
    let steps = options.n_action_steps.unwrap_or(model.net.config().n_action_steps);
    let fits = (1..=model.net.config().chunk_size).contains(&steps);
    check("n_action_steps", steps, fits, "it must be between 1 and chunk_size")?;
    let ensemble = options.temporal_ensemble.or_else(|| {
        let own = model.net.config().temporal_ensemble_coeff;
        own.filter(|_| options.n_action_steps.is_none())
    });
    let fits = ensemble.is_none_or(f64::is_finite);
    check("temporal_ensemble", format!("{ensemble:?}"), fits, "it must be a finite number")?;
    let inference = Inference::new(&model);
    let mut inputs = embody_core::Features::new();
    let p = &model.processor;
    for c in &p.cameras {
        inputs.insert(c.key.clone(), FeatureSpec::new(DType::Image, &[c.height, c.width, 3], &[]));
    }
    let state = FeatureSpec::new(DType::Float32, &[p.state.mean.len()], &[]);
    inputs.insert(p.state_key.clone(), state);
    let spec = PolicySpec {
        kind: ACT_SMALL.to_owned(),
        inputs,
        action_dim: p.action.mean.len(),
        chunk_size: model.net.config().chunk_size,
        n_action_steps: if ensemble.is_some() { 1 } else { steps },
    };
    Ok(Box::new(ActPolicy {
        inference,
        spec,
        ensemble,
        queues: Vec::new(),
        workers: Workers::new(options.threads)?,
    }))
}

/// A model ready to predict.
pub(crate) struct Inference {
    pub model: Model,
    weights: Weights,
    pixels: [[f32; 256]; 3],
    device: Device,
}

/// What one prediction looks at: pixels of each camera with height and width, and the raw state.
pub(crate) struct Observation<'a> {
    pub pictures: Vec<(&'a [u8], usize, usize)>,
    pub state: &'a [f32],
    /// The last commanded action, or before the first the state.
    pub last: &'a [f32],
}

impl Inference {
    /// Puts the model's weights into tensors.
    pub fn new(model: &Model) -> Self {
        let device = Device::flex();
        let weights = Weights::new(&model.net.table, &model.weights, &device);
        Self { model: model.clone(), weights, pixels: pixel_table(), device }
    }

    /// The next `chunk_size` actions in the robot's units, `[chunk_size, action_dim]`.
    pub fn chunk(&self, observation: &Observation<'_>) -> Vec<f32> {
        let p = &self.model.processor;
        let mut images = Vec::new();
        for (camera, (data, h, w)) in p.cameras.iter().zip(&observation.pictures) {
            let size = (camera.height, camera.width);
            let resized = ((*h, *w) != size).then(|| resize_area(data, (*h, *w), size));
            let mut out = Vec::with_capacity(size.0 * size.1 * 3);
            picture_to_f32(
                resized.as_deref().unwrap_or(data),
                size,
                (0, 0),
                &self.pixels,
                &mut out,
            );
            let data = TensorData::new(out, [1, size.0, size.1, 3]);
            images.push(Tensor::from_data(data, &self.device));
        }
        let mut vector = Vec::with_capacity(p.vector_dim());
        p.encode_vector(observation.state, observation.last, &mut vector);
        let shape = [1, vector.len()];
        let state = Tensor::from_data(TensorData::new(vector, shape), &self.device);
        let inputs = ActInputs { images, state };
        let out = self.model.net.forward(&self.weights, &inputs, None, &self.device);
        let data = out.into_data();
        let mut actions = data.as_slice::<f32>().expect("actions are f32").to_vec();
        p.decode_actions(&mut actions, observation.state, observation.last);
        actions
    }
}

/// What is left of an environment's chunks.
#[derive(Debug, Default)]
struct Queue {
    /// Chunks, oldest first, each with the next step to take; one without ensembling.
    chunks: VecDeque<(Vec<f32>, usize)>,
    /// The last action given; empty before the first.
    last: Vec<f32>,
}

struct ActPolicy {
    inference: Inference,
    spec: PolicySpec,
    ensemble: Option<f64>,
    queues: Vec<Queue>,
    workers: Workers,
}

impl ActPolicy {
    /// One prediction for each of `envs`.
    fn infer(&self, observations: &Observations<'_>, envs: &[usize]) -> Result<Vec<Vec<f32>>> {
        let p = &self.inference.model.processor;
        let view = |key: &str| observations.arrays.get(key);
        let known = || observations.arrays.keys().copied().collect::<Vec<_>>().join(", ");
        let missing = |key: &str| Error::MissingFeature { key: key.to_owned(), known: known() };
        let state_view = view(&p.state_key).ok_or_else(|| missing(&p.state_key))?;
        let num_envs = state_view.shape.first().copied().unwrap_or(0);
        let dim = p.state.mean.len();
        let states = floats(&p.state_key, Some(state_view), num_envs, dim)?;
        let mut cameras = Vec::new();
        for camera in &p.cameras {
            let array = view(&camera.key).ok_or_else(|| missing(&camera.key))?;
            cameras.push(pixels(&camera.key, Some(array), num_envs)?);
        }
        let chunks = self.workers.map(envs, |env| {
            let picture = |(data, h, w): &(&[u8], usize, usize)| {
                let size = h * w * 3;
                (env * size, size, *h, *w, data.len())
            };
            let pictures = cameras
                .iter()
                .map(|c| (picture(c), c.0))
                .map(|((at, size, h, w, _), data)| (&data[at..at + size], h, w))
                .collect();
            let state = &states[env * dim..(env + 1) * dim];
            let last = &self.queues[*env].last;
            let last = if last.is_empty() { state } else { last.as_slice() };
            self.inference.chunk(&Observation { pictures, state, last })
        });
        let broken = chunks.iter().zip(envs).find(|(c, _)| c.iter().any(|v| !v.is_finite()));
        match broken {
            Some((_, env)) => Err(Error::NotFinite { env: *env }.into()),
            None => Ok(chunks),
        }
    }
}

impl Policy for ActPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, env: usize) {
        if let Some(queue) = self.queues.get_mut(env) {
            queue.chunks.clear();
            queue.last.clear();
        }
    }

    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let dim = self.spec.action_dim;
        check_lengths(active, actions, dim)?;
        if self.queues.len() < active.len() {
            self.queues.resize_with(active.len(), Queue::default);
        }
        let steps = self.spec.n_action_steps;
        let empty = |q: &Queue| q.chunks.back().is_none_or(|(_, next)| *next >= steps);
        let envs: Vec<usize> =
            (0..active.len()).filter(|i| active[*i] && empty(&self.queues[*i])).collect();
        if !envs.is_empty() {
            let chunks = self.infer(observations, &envs)?;
            for (env, chunk) in envs.iter().zip(chunks) {
                let queue = &mut self.queues[*env].chunks;
                if self.ensemble.is_none() {
                    queue.clear();
                }
                queue.push_back((chunk, 0));
            }
        }
        let chunk_size = self.spec.chunk_size;
        for (env, action) in actions.chunks_exact_mut(dim).enumerate().filter(|(i, _)| active[*i]) {
            let Queue { chunks, last } = &mut self.queues[env];
            chunks.retain(|(_, next)| *next < chunk_size);
            mix(chunks, self.ensemble.unwrap_or(0.0), action);
            chunks.iter_mut().for_each(|(_, next)| *next += 1);
            last.clear();
            last.extend_from_slice(action);
        }
        Ok(())
    }
}

/// The weighted mean of the chunks' present actions.
fn mix(chunks: &VecDeque<(Vec<f32>, usize)>, coefficient: f64, action: &mut [f32]) {
    let dim = action.len();
    if let [(chunk, next)] = chunks.as_slices().0
        && chunks.len() == 1
    {
        action.copy_from_slice(&chunk[next * dim..(next + 1) * dim]);
        return;
    }
    let mut sum = vec![0.0f64; dim];
    let mut total = 0.0;
    for (rank, (chunk, next)) in chunks.iter().enumerate() {
        let weight = (-coefficient * rank as f64).exp();
        total += weight;
        for (s, v) in sum.iter_mut().zip(&chunk[next * dim..]) {
            *s += weight * f64::from(*v);
        }
    }
    action.iter_mut().zip(&sum).for_each(|(a, s)| *a = (s / total) as f32);
}

/// One action per environment.
pub(crate) fn check_lengths(active: &[bool], actions: &[f32], dim: usize) -> Result<(), Error> {
    if actions.len() == active.len() * dim {
        return Ok(());
    }
    Err(Error::FeatureShape {
        key: checkpoint::ACTION.to_owned(),
        found: format!("room for {} numbers", actions.len()),
        expected: format!("{} environments × {dim}", active.len()),
    })
}
