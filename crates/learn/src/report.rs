//! Small facts about a policy: how large it is, how fast it answers.

use std::path::Path;
use std::time::Instant;

use embody_core::{
    ArrayView, ContentHash, DataView, Observations, Policy, PolicySpec, Result, hash_tree,
};
use serde::{Deserialize, Serialize};

use crate::checkpoint;
use crate::error::Error;
use crate::rl::{ActorModel, MLP_GAUSSIAN};

/// What a policy's folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicySummary {
    /// Kind, such as `act-small`.
    pub kind: String,
    /// Number of parameters.
    pub parameters: usize,
    /// Observation features that it reads.
    pub inputs: Vec<String>,
    /// Number of action dimensions.
    pub action_dim: usize,
    /// Actions predicted at once.
    pub chunk_size: usize,
    /// Actions executed of each chunk.
    pub n_action_steps: usize,
    /// Frames per second of the recording it learned from; 0 where a checkpoint does not say.
    pub fps: f64,
    /// Content hashes of the datasets that it learned from; empty where a checkpoint does not say.
    pub trained_on: Vec<ContentHash>,
    /// Hash of the folder.
    pub hash: ContentHash,
}

/// Describes the policy in `dir`.
///
/// # Errors
/// When it can't be read.
pub fn describe(dir: &Path) -> Result<PolicySummary> {
    if checkpoint::policy_type(dir)? == MLP_GAUSSIAN {
        let actor = ActorModel::read(dir)?;
        return Ok(PolicySummary {
            kind: MLP_GAUSSIAN.to_owned(),
            parameters: actor.net.len(),
            inputs: actor.inputs.iter().map(|(key, _)| key.clone()).collect(),
            action_dim: actor.low.len(),
            chunk_size: 1,
            n_action_steps: 1,
            fps: actor.fps,
            trained_on: Vec::new(),
            hash: hash_tree(dir, &|_| false)?,
        });
    }
    let model = checkpoint::read_model(dir)?;
    let p = &model.processor;
    let vectors = p.state.iter().chain(&p.env).map(|v| v.key.clone());
    let cameras = p.cameras.iter().map(|c| c.key.clone());
    Ok(PolicySummary {
        kind: model.config.kind().to_owned(),
        parameters: model.net.table().len(),
        inputs: vectors.chain(cameras).collect(),
        action_dim: p.action.dim(),
        chunk_size: model.config.steps().chunk(),
        n_action_steps: model.config.steps().executed,
        fps: model.fps,
        trained_on: model.trained_on.clone(),
        hash: hash_tree(dir, &|_| false)?,
    })
}

/// Time of a batch-1 inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// Inferences measured.
    pub n: usize,
}

/// A policy slower than this in all, seconds, is timed a few times only.
const PATIENCE_SECS: f64 = 60.0;
const FEWEST: usize = 5;

/// Measures a whole inference (pictures and state in, chunk out) for environment 0 of `observations`,
/// `iterations` times after three to warm up; fewer, but five, where that takes more than a minute.
///
/// # Errors
/// When the policy fails on these observations.
pub fn latency(
    policy: &mut dyn Policy,
    observations: &Observations<'_>,
    iterations: usize,
) -> Result<Latency> {
    let envs = observations.arrays.values().find_map(|v| v.shape.first().copied()).unwrap_or(1);
    let PolicySpec { action_dim, .. } = *policy.spec();
    if iterations == 0 || envs == 0 {
        let what = format!("{iterations} iterations over {envs} environments can't be measured");
        return Err(Error::Invalid { what, hint: "ask for at least one of each".into() }.into());
    }
    let mut active = vec![false; envs];
    active[0] = true;
    let mut actions = vec![0.0; envs * action_dim];
    let mut times = Vec::with_capacity(iterations);
    let begun = Instant::now();
    for i in 0..iterations + 3 {
        if times.len() >= FEWEST && begun.elapsed().as_secs_f64() > PATIENCE_SECS {
            break;
        }
        // Without an empty queue there would be nothing to infer.
        policy.reset(0);
        let start = Instant::now();
        policy.act(observations, &active, &mut actions)?;
        if i >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    policy.reset(0);
    let none = || Error::Invalid { what: "nothing was measured".into(), hint: String::new() };
    Ok(Latency::of(times).ok_or_else(none)?)
}

/// The same on grey pictures and zeros: the work is the same whatever is seen.
///
/// # Errors
/// See [`latency`].
pub fn blank_latency(policy: &mut dyn Policy, iterations: usize) -> Result<Latency> {
    let inputs = policy.spec().inputs.clone();
    let shapes: Vec<Vec<usize>> =
        inputs.values().map(|f| [&[1], f.shape.as_slice()].concat()).collect();
    let grey: Vec<Vec<u8>> = inputs.values().map(|f| vec![128; f.numel()]).collect();
    let zeros: Vec<Vec<f32>> = inputs.values().map(|f| vec![0.0; f.numel()]).collect();
    let mut observations = Observations::default();
    for (i, (key, feature)) in inputs.iter().enumerate() {
        let data = match feature.dtype.is_visual() {
            true => DataView::U8(&grey[i]),
            false => DataView::F32(&zeros[i]),
        };
        observations.arrays.insert(key, ArrayView { shape: &shapes[i], data });
    }
    latency(policy, &observations, iterations)
}

impl Latency {
    /// Of measured milliseconds; `None` of none.
    pub(crate) fn of(mut milliseconds: Vec<f64>) -> Option<Self> {
        milliseconds.sort_by(f64::total_cmp);
        let last = milliseconds.len().checked_sub(1)?;
        let at = |q: f64| milliseconds[(last as f64 * q).round() as usize];
        Some(Self { p50_ms: at(0.5), p99_ms: at(0.99), n: milliseconds.len() })
    }
}
