//! A trained policy acting in a batch of environments.
//!
//! Every environment is inferred by itself, batch 1, on one thread: matrix kernels may round
//! differently at another batch size, and what happens in one environment must not depend on which
//! others stand beside it. Environments are spread over threads.

use std::collections::VecDeque;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use embody_core::{DType, FeatureSpec, Observations, Policy, PolicySpec, Result, hash_bytes};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::checkpoint::{self, Model};
use crate::error::{Error, check};
use crate::imitation::{Inputs, Pass};
use crate::nn::Weights;
use crate::noise;
use crate::processor::{
    CameraInput, PixelTable, VectorInput, floats, picture_to_f32, pixels, resize_area,
};
use crate::rl::{ActorModel, HIL_SERL, HilSerlPolicy, MLP_GAUSSIAN};
use crate::workers::Workers;

/// How a loaded policy runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyOptions {
    /// Threads for inference; 0 for one per core. Never changes a result.
    pub threads: usize,
    /// Where networks are computed.
    pub backend: Backend,
    /// Execute this many actions of each chunk, without temporal ensembling, whatever the policy's
    /// own settings say.
    pub n_action_steps: Option<usize>,
    /// Coefficient of temporal ensembling, in place of the policy's own; see
    /// [`crate::ActConfig::temporal_ensemble_coeff`].
    pub temporal_ensemble: Option<f64>,
    /// What to do, for a policy that follows instructions.
    pub instruction: Option<String>,
}

/// Loads the policy in `dir` (LeRobot's checkpoint layout; one of [`crate::PolicyConfig`]'s types, or
/// `mlp-gaussian`, `hil-serl` without cameras).
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
    if checkpoint::policy_type(dir)? == HIL_SERL {
        return Ok(Box::new(HilSerlPolicy::read(dir, None)?));
    }
    Ok(Box::new(load_chunks(dir, options)?))
}

/// A policy that imitates, whatever its type.
fn load_chunks(dir: &Path, options: PolicyOptions) -> Result<ChunkPolicy> {
    let model = checkpoint::read_instructed(dir, options.instruction.as_deref())?;
    let own = model.config.steps();
    let steps = options.n_action_steps.unwrap_or(own.executed);
    let rule = "it must be between 1 and the actions predicted from the present one on";
    check("n_action_steps", steps, (1..=own.chunk()).contains(&steps), rule)?;
    let ensemble = options
        .temporal_ensemble
        .or_else(|| model.config.ensemble().filter(|_| options.n_action_steps.is_none()));
    let fits = ensemble.is_none_or(f64::is_finite);
    check("temporal_ensemble", format!("{ensemble:?}"), fits, "it must be a finite number")?;
    let mut inputs = embody_core::Features::new();
    let p = &model.processor;
    for c in &p.cameras {
        inputs.insert(c.key.clone(), FeatureSpec::new(DType::Image, &[c.height, c.width, 3], &[]));
    }
    for v in p.state.iter().chain(&p.env) {
        let spec = FeatureSpec::new(DType::Float32, &[v.normalizer.dim()], &[]);
        inputs.insert(v.key.clone(), spec);
    }
    let spec = PolicySpec {
        kind: model.config.kind().to_owned(),
        inputs,
        action_dim: p.action.dim(),
        chunk_size: own.chunk(),
        n_action_steps: if ensemble.is_some() { 1 } else { steps },
    };
    Ok(ChunkPolicy {
        inference: Inference::new(model, options.backend, options.threads),
        spec,
        ensemble,
        queues: Vec::new(),
        workers: options.backend.workers(options.threads)?,
    })
}

/// A policy whose actions come out of noise, with the noise chosen from outside.
pub trait Steerable: Policy {
    /// Chooses the noise of the next chunk in environment `env`: `[action_dim]`, the same for each of
    /// its actions. Standard normal numbers are what the policy learned with.
    fn steer(&mut self, env: usize, noise: &[f32]);
}

/// Loads the diffusion or flow policy in `dir`, to be steered by its noise.
///
/// # Errors
/// As [`load_policy`]; or when the policy does not begin with noise, or mixes chunks.
pub fn load_steerable(dir: &Path, options: PolicyOptions) -> Result<Box<dyn Steerable>> {
    let policy = load_chunks(dir, options)?;
    let fits = policy.inference.model.net.is_steered_by_noise();
    check("type", &policy.spec.kind, fits, "only diffusion and flow policies begin with noise")?;
    let alone = policy.ensemble.is_none();
    check("temporal_ensemble", "on", alone, "steered chunks are executed one after another")?;
    Ok(Box::new(policy))
}

impl Steerable for ChunkPolicy {
    fn steer(&mut self, env: usize, noise: &[f32]) {
        if self.queues.len() <= env {
            self.queues.resize_with(env + 1, Queue::default);
        }
        noise.clone_into(&mut self.queues[env].start);
    }
}

/// A model ready to predict.
pub(crate) struct Inference {
    pub model: Model,
    weights: Weights,
    pixels: Vec<PixelTable>,
    device: Device,
}

/// What is seen at one step.
pub(crate) struct Observation<'a> {
    /// Pixels of each camera with height and width.
    pub pictures: Vec<(&'a [u8], usize, usize)>,
    /// Raw; empty where the policy does not read it.
    pub state: &'a [f32],
    /// Of the surroundings, likewise.
    pub env: &'a [f32],
}

/// An observation made ready for the network.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Normalised pixels of each camera.
    images: Vec<Vec<f32>>,
    /// Raw.
    state: Vec<f32>,
    /// Raw.
    env: Vec<f32>,
}

impl Inference {
    /// Puts the model's weights into tensors; they are not kept beside these.
    pub fn new(mut model: Model, backend: Backend, threads: usize) -> Self {
        let device = backend.device(threads);
        let values = std::mem::take(&mut model.weights);
        let weights = Weights::moved(model.net.table(), values, &device);
        let pixels = model.processor.cameras.iter().map(CameraInput::pixel_table).collect();
        Self { model, weights, pixels, device }
    }

    /// Resizes, crops and normalises pictures.
    pub fn see(&self, observation: &Observation<'_>) -> Seen {
        let cameras = self.model.processor.cameras.iter().zip(&self.pixels);
        let see =
            |((camera, table), (data, h, w)): ((&CameraInput, &PixelTable), &(&[u8], _, _))| {
                look(camera, table, data, (*h, *w))
            };
        Seen {
            images: cameras.zip(&observation.pictures).map(see).collect(),
            state: observation.state.to_vec(),
            env: observation.env.to_vec(),
        }
    }

    /// The next actions in the robot's units from the present one on, `[chunk, action_dim]`. `seen`
    /// are the last observations, oldest first; `last` is the last commanded action, or before the
    /// first the state. What is random follows from what is seen, so that the same situation leads
    /// to the same actions.
    pub fn chunk(&self, seen: &[&Seen], last: &[f32]) -> Vec<f32> {
        self.chunk_from(seen, last, None)
    }

    /// The same with the noise chosen that actions come out of.
    fn chunk_from(&self, seen: &[&Seen], last: &[f32], start: Option<&[f32]>) -> Vec<f32> {
        let Some(present) = seen.last() else { return Vec::new() };
        let p = &self.model.processor;
        let steps = self.model.config.steps();
        let mut images = Vec::new();
        for (i, camera) in p.cameras.iter().enumerate() {
            let (h, w) = camera.seen();
            let all: Vec<f32> = seen.iter().flat_map(|s| &s.images[i]).copied().collect();
            let data = TensorData::new(all, [seen.len(), h, w, 3]);
            images.push(Tensor::from_data(data, &self.device));
        }
        let states: Vec<f32> = seen.iter().flat_map(|s| &s.state).copied().collect();
        let envs: Vec<f32> = seen.iter().flat_map(|s| &s.env).copied().collect();
        let mut vector = Vec::with_capacity(steps.observed * p.vector_dim());
        p.encode_vector(&states, last, &mut vector);
        let tensor = |values: Vec<f32>| {
            let shape = [1, values.len()];
            Tensor::from_data(TensorData::new(values, shape), &self.device)
        };
        let state = p.state.as_ref().map(|_| tensor(vector));
        let env = p.env.as_ref().map(|input| tensor(input.encode(&envs)));
        let pass = Pass { w: &self.weights, dropout: None, device: &self.device };
        let mut rng = situation_noise(seen);
        let instruction = self.model.instruction.clone();
        let inputs = Inputs { images, state, env, instruction };
        let mut all = self.model.net.predict(pass, &inputs, start, &mut rng);
        let past = (steps.observed - 1) * p.action.dim();
        let mut actions = all.split_off(past);
        p.decode_actions(&mut actions, &present.state, last);
        actions
    }
}

/// A camera's picture `[height, width, 3]` as the network sees it.
fn look(camera: &CameraInput, table: &PixelTable, data: &[u8], found: (usize, usize)) -> Vec<f32> {
    if let Some(letterbox) = camera.letterbox {
        return letterbox.apply(data, found, table);
    }
    let size = (camera.height, camera.width);
    let resized = (found != size).then(|| resize_area(data, found, size));
    let (height, width) = camera.seen();
    let mut out = Vec::with_capacity(height * width * 3);
    let data = resized.as_deref().unwrap_or(data);
    picture_to_f32(data, size, camera.centre(), table, &mut out);
    out
}

/// Noise that depends on what is seen and on nothing else.
pub(crate) fn situation_noise(seen: &[&Seen]) -> ChaCha8Rng {
    let mut bytes = Vec::new();
    for values in seen.iter().flat_map(|s| s.images.iter().chain([&s.state, &s.env])) {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    let label = format!("act/{}", hash_bytes(&bytes));
    noise::stream(0, &label, 0)
}

/// What is left of an environment's chunks.
#[derive(Debug, Default)]
struct Queue {
    /// Chunks, oldest first, each with the next step to take; one without ensembling.
    chunks: VecDeque<(Vec<f32>, usize)>,
    /// The last observations, oldest first, where the policy looks at more than one.
    seen: VecDeque<Seen>,
    /// The last action given; empty before the first.
    last: Vec<f32>,
    /// The noise that the next chunk comes out of; empty where it is drawn.
    start: Vec<f32>,
}

struct ChunkPolicy {
    inference: Inference,
    spec: PolicySpec,
    ensemble: Option<f64>,
    queues: Vec<Queue>,
    workers: Workers,
}

impl ChunkPolicy {
    /// What each of `envs` sees now, of `num_envs` in all.
    fn see(
        &self,
        observations: &Observations<'_>,
        num_envs: usize,
        envs: &[usize],
    ) -> Result<Vec<Seen>> {
        let p = &self.inference.model.processor;
        let view = |key: &str| observations.arrays.get(key);
        let known = || observations.arrays.keys().copied().collect::<Vec<_>>().join(", ");
        let missing = |key: &str| Error::MissingFeature { key: key.to_owned(), known: known() };
        let vectors = |input: &Option<VectorInput>| -> Result<Vec<f32>> {
            let Some(v) = input else { return Ok(Vec::new()) };
            let array = view(&v.key).ok_or_else(|| missing(&v.key))?;
            Ok(floats(&v.key, Some(array), num_envs, v.normalizer.dim())?.into_owned())
        };
        let (states, surroundings) = (vectors(&p.state)?, vectors(&p.env)?);
        let (dim, env_dim) = (p.state_dim(), p.env_dim());
        let mut cameras = Vec::new();
        for camera in &p.cameras {
            let array = view(&camera.key).ok_or_else(|| missing(&camera.key))?;
            cameras.push(pixels(&camera.key, Some(array), num_envs)?);
        }
        Ok(self.workers.map(envs, |env| {
            let size = |h: usize, w: usize| h * w * 3;
            let pictures = cameras
                .iter()
                .map(|(data, h, w)| (&data[env * size(*h, *w)..(env + 1) * size(*h, *w)], *h, *w));
            self.inference.see(&Observation {
                pictures: pictures.collect(),
                state: &states[env * dim..(env + 1) * dim],
                env: &surroundings[env * env_dim..(env + 1) * env_dim],
            })
        }))
    }

    /// One prediction for each of `envs`.
    fn infer(&self, envs: &[usize]) -> Result<Vec<Vec<f32>>> {
        let observed = self.inference.model.config.steps().observed;
        let chunks = self.workers.map(envs, |env| {
            let Queue { seen, last, start, .. } = &self.queues[*env];
            // Before there were enough, the first stands for those before it.
            let lacking = observed - seen.len().min(observed);
            let first = std::iter::repeat_n(&seen[0], lacking);
            let seen: Vec<&Seen> = first.chain(seen).collect();
            let present = &seen[observed - 1].state;
            let last = if last.is_empty() { present } else { last };
            let start = (!start.is_empty()).then_some(start.as_slice());
            self.inference.chunk_from(&seen, last, start)
        });
        let broken = chunks.iter().zip(envs).find(|(c, _)| c.iter().any(|v| !v.is_finite()));
        match broken {
            Some((_, env)) => Err(Error::NotFinite { env: *env }.into()),
            None => Ok(chunks),
        }
    }
}

impl Policy for ChunkPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, env: usize) {
        if let Some(queue) = self.queues.get_mut(env) {
            *queue = Queue::default();
        }
    }

    /// A policy that looks back is shown the present alone, as where an episode begins: what it would
    /// look back at belongs to the rate of its recordings, not to that of its predictions.
    fn predict(
        &mut self,
        observations: &Observations<'_>,
        last: &[f32],
        chunk: &mut Vec<f32>,
    ) -> Result<()> {
        let mut seen = self.see(observations, 1, &[0])?;
        let queue =
            Queue { seen: seen.drain(..).collect(), last: last.to_vec(), ..Queue::default() };
        self.queues.splice(..self.queues.len().min(1), [queue]);
        chunk.clear();
        self.infer(&[0])?.iter().for_each(|actions| chunk.extend_from_slice(actions));
        Ok(())
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
        let observed = self.inference.model.config.steps().observed;
        // A policy that looks back has to remember also what it does not act on.
        let looking = match observed {
            1 => envs.clone(),
            _ => (0..active.len()).filter(|i| active[*i]).collect(),
        };
        let seen = self.see(observations, active.len(), &looking)?;
        for (env, seen) in looking.iter().zip(seen) {
            let queue = &mut self.queues[*env].seen;
            queue.push_back(seen);
            queue.drain(..queue.len().saturating_sub(observed));
        }
        if !envs.is_empty() {
            let chunks = self.infer(&envs)?;
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
            let Queue { chunks, last, .. } = &mut self.queues[env];
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
