//! Open-loop evaluation: predicted chunks against what was recorded on held-out frames, beside the
//! baseline "hold the last action".
//!
//! At frame t the policy sees the recorded observation and predicts a(t), a(t+1), …; the baseline
//! predicts a(t−1) for all of them. An error at horizon k is |prediction − a(t+k)|. Entries outside the
//! episode do not count. Normalised errors divide by each dimension's deviation over the frames
//! looked at; dimensions that hardly move (below 1 % of the median deviation) are left out of them.

use std::path::Path;

use embody_core::{Batch, BatchSource, Result, Task, derive_seed};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::checkpoint;
use crate::error::Error;
use crate::policy::{Inference, Observation, Seen};
use crate::processor::pixels;
use crate::statistics::bootstrap_ratio;
use crate::train::{targets, windows};

/// What to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenLoopOptions {
    /// The horizon reported in detail, in seconds.
    pub horizon_secs: f64,
    /// Most frames looked at, evenly spaced.
    pub max_frames: usize,
    /// Episodes whose trajectories are kept for plots.
    pub plot_episodes: usize,
    /// Root of the bootstrap's stream.
    pub seed: u64,
    /// Threads; 0 for one per core. Never changes a result.
    pub threads: usize,
    /// Where networks are computed.
    pub backend: Backend,
    /// What to do, for a policy that follows instructions.
    pub instruction: Option<String>,
}

impl Default for OpenLoopOptions {
    fn default() -> Self {
        Self {
            horizon_secs: 0.5,
            max_frames: 600,
            plot_episodes: 2,
            seed: 0,
            threads: 0,
            backend: Backend::Cpu,
            instruction: None,
        }
    }
}

/// A mean with its 95 % interval (bootstrap over episodes).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanInterval {
    /// The mean.
    pub mean: f64,
    /// Lower and upper end.
    pub interval: (f64, f64),
}

/// Errors of one action dimension at the horizon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointError {
    /// Name of the dimension.
    pub name: String,
    /// Its deviation over the frames looked at, in its unit.
    pub std: f64,
    /// Mean absolute error of the policy, in its unit.
    pub policy: f64,
    /// Of the baseline.
    pub hold_last: f64,
    /// Whether it hardly moves and is left out of normalised errors.
    pub still: bool,
}

/// Recorded and predicted actions of an episode, for plots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Episode index in the dataset.
    pub episode: usize,
    /// Frames of the recorded actions.
    pub frames: Vec<usize>,
    /// `[joint][frame]`.
    pub recorded: Vec<Vec<f32>>,
    /// Predicted chunks.
    pub chunks: Vec<PredictedChunk>,
}

/// One prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictedChunk {
    /// Frame from which it was predicted; its first action is for that frame.
    pub frame: usize,
    /// `[joint][step]`.
    pub actions: Vec<Vec<f32>>,
}

/// An open-loop evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenLoopResult {
    /// Frames per second.
    pub fps: f64,
    /// Frames looked at.
    pub frames: usize,
    /// Episodes they come from.
    pub episodes: usize,
    /// Names of the action's dimensions.
    pub joints: Vec<String>,
    /// The horizon in steps: round(horizon_secs · fps).
    pub horizon_step: usize,
    /// Normalised error of the policy at the horizon.
    pub policy: MeanInterval,
    /// Of the baseline.
    pub hold_last: MeanInterval,
    /// Policy minus baseline, paired by episode: below 0, the policy is better.
    pub difference: MeanInterval,
    /// Mean absolute error over all moving dimensions at the horizon, in the action's units.
    pub policy_raw: f64,
    /// Of the baseline.
    pub hold_last_raw: f64,
    /// Normalised error of the policy by horizon step.
    pub policy_by_step: Vec<f64>,
    /// Of the baseline.
    pub hold_last_by_step: Vec<f64>,
    /// By dimension, at the horizon.
    pub by_joint: Vec<JointError>,
    /// For plots.
    pub trajectories: Vec<Trajectory>,
}

/// The windows over time that the held-out source for [`open_loop`] must be opened with.
///
/// # Errors
/// When the policy can't be read.
pub fn open_loop_windows(model_dir: &Path) -> Result<IndexMap<String, Vec<i64>>> {
    let model = checkpoint::read_model(model_dir)?;
    let p = &model.processor;
    let vectors = p.state.iter().chain(&p.env).map(|v| v.key.as_str());
    let keys = vectors.chain(p.cameras.iter().map(|c| c.key.as_str()));
    Ok(windows(model.config.steps(), keys))
}

struct Row {
    episode: usize,
    frame: usize,
    predicted: Vec<f32>,
    /// Previous action first.
    recorded: Vec<f32>,
    is_pad: Vec<bool>,
}

/// Compares the policy in `model_dir` with the recording. `source` must have been opened with
/// [`open_loop_windows`].
///
/// # Errors
/// When the horizon exceeds the policy's chunk, no frame is usable, or reading fails.
pub fn open_loop(
    model_dir: &Path,
    source: &dyn BatchSource,
    options: &OpenLoopOptions,
    task: Task<'_>,
) -> Result<OpenLoopResult> {
    let model = checkpoint::read_instructed(model_dir, options.instruction.as_deref())?;
    let chunk = model.config.steps().chunk();
    let horizon_step = (options.horizon_secs * source.fps()).round().max(0.0) as usize;
    crate::error::check(
        "horizon_secs",
        options.horizon_secs,
        horizon_step < chunk,
        &format!(
            "at {} fps it needs a chunk of more than {horizon_step} steps, the policy has {chunk}",
            source.fps()
        ),
    )?;
    if source.is_empty() {
        return Err(Error::NoFrames.into());
    }
    let inference = Inference::new(model, options.backend, options.threads);
    let rows = predict(&inference, source, options, task)?;
    let model = &inference.model;
    let dim = model.processor.action.dim();
    let errors = Errors::of(&rows, chunk, dim, horizon_step)?;
    let joints = if model.action_names.len() == dim {
        model.action_names.clone()
    } else {
        (0..dim).map(|i| format!("dim_{i}")).collect()
    };
    let seed = derive_seed(options.seed, "open_loop/bootstrap", 0);
    let interval = |pick: fn(&EpisodeError) -> f64| {
        let groups: Vec<_> = errors.episodes.values().map(|e| (pick(e), e.count)).collect();
        let (sum, count) = groups.iter().fold((0.0, 0.0), |a, g| (a.0 + g.0, a.1 + g.1));
        MeanInterval { mean: sum / f64::max(count, 1.0), interval: bootstrap_ratio(&groups, seed) }
    };
    let by_joint: Vec<JointError> = joints
        .iter()
        .enumerate()
        .map(|(d, name)| JointError {
            name: name.clone(),
            std: errors.std[d],
            policy: errors.policy_joint[d],
            hold_last: errors.hold_joint[d],
            still: errors.still[d],
        })
        .collect();
    let moving: Vec<&JointError> = by_joint.iter().filter(|j| !j.still).collect();
    let mean = |pick: fn(&JointError) -> f64| {
        moving.iter().map(|j| pick(j)).sum::<f64>() / moving.len().max(1) as f64
    };
    Ok(OpenLoopResult {
        fps: source.fps(),
        frames: rows.len(),
        episodes: errors.episodes.len(),
        horizon_step,
        policy: interval(|e| e.policy),
        hold_last: interval(|e| e.hold),
        difference: interval(|e| e.policy - e.hold),
        policy_raw: mean(|j| j.policy),
        hold_last_raw: mean(|j| j.hold_last),
        policy_by_step: errors.policy_step.clone(),
        hold_last_by_step: errors.hold_step.clone(),
        by_joint,
        trajectories: trajectories(&rows, chunk, dim, options.plot_episodes),
        joints,
    })
}

fn predict(
    inference: &Inference,
    source: &dyn BatchSource,
    options: &OpenLoopOptions,
    task: Task<'_>,
) -> Result<Vec<Row>> {
    let workers = options.backend.workers(options.threads)?;
    let p = &inference.model.processor;
    let steps = inference.model.config.steps();
    let (chunk, observed) = (steps.chunk(), steps.observed);
    let count = source.len().min(options.max_frames.max(1));
    let indices: Vec<usize> = (0..count).map(|i| i * source.len() / count).collect();
    task.begin("open loop", Some(count as u64), "frames");
    let mut rows = Vec::with_capacity(count);
    let mut batch = Batch::default();
    for part in indices.chunks(32) {
        source.batch(part, &mut batch)?;
        let t = targets(&batch, p, steps)?;
        let mut cameras = Vec::new();
        for camera in &p.cameras {
            let view = batch.arrays.get(&camera.key).map(|a| a.view());
            cameras.push(pixels(&camera.key, view.as_ref(), part.len() * observed)?);
        }
        let (state_dim, env_dim, actions) = (p.state_dim(), p.env_dim(), p.action.dim());
        let places: Vec<usize> = (0..part.len()).collect();
        let chunks = workers.map(&places, |i| {
            let see = |at: usize| {
                let size = |h: usize, w: usize| h * w * 3;
                let pictures = cameras.iter().map(|(data, h, w)| {
                    (&data[at * size(*h, *w)..(at + 1) * size(*h, *w)], *h, *w)
                });
                inference.see(&Observation {
                    pictures: pictures.collect(),
                    state: &t.states[at * state_dim..(at + 1) * state_dim],
                    env: &t.envs[at * env_dim..(at + 1) * env_dim],
                })
            };
            let seen: Vec<Seen> = (i * observed..(i + 1) * observed).map(see).collect();
            let seen: Vec<&Seen> = seen.iter().collect();
            inference.chunk(&seen, &t.last[i * actions..(i + 1) * actions])
        });
        let width = t.recorded.len() / part.len();
        for (i, predicted) in chunks.into_iter().enumerate() {
            rows.push(Row {
                episode: batch.frames[i].episode,
                frame: batch.frames[i].frame,
                predicted,
                recorded: t.recorded[i * width..(i + 1) * width].to_vec(),
                is_pad: t.is_pad[i * (chunk + 1)..(i + 1) * (chunk + 1)].to_vec(),
            });
        }
        task.advance("open loop", rows.len() as u64, "")?;
    }
    task.end("open loop");
    Ok(rows)
}

#[derive(Debug, Default, Clone, Copy)]
struct EpisodeError {
    policy: f64,
    hold: f64,
    count: f64,
}

struct Errors {
    std: Vec<f64>,
    still: Vec<bool>,
    policy_joint: Vec<f64>,
    hold_joint: Vec<f64>,
    policy_step: Vec<f64>,
    hold_step: Vec<f64>,
    /// Sums of normalised errors at the horizon.
    episodes: IndexMap<usize, EpisodeError>,
}

impl Errors {
    fn of(rows: &[Row], chunk: usize, dim: usize, horizon: usize) -> Result<Self, Error> {
        let std = deviations(rows, dim);
        let mut sorted = std.clone();
        sorted.sort_by(f64::total_cmp);
        let floor = 0.01 * sorted[dim / 2];
        let still: Vec<bool> = std.iter().map(|s| *s <= floor.max(1e-6)).collect();
        let moving = still.iter().filter(|s| !**s).count().max(1) as f64;
        let (mut policy_joint, mut hold_joint) = (vec![0.0; dim], vec![0.0; dim]);
        let (mut policy_step, mut hold_step) = (vec![0.0; chunk], vec![0.0; chunk]);
        let mut counts = vec![0.0f64; chunk];
        let mut episodes: IndexMap<usize, EpisodeError> = IndexMap::new();
        for row in rows.iter().filter(|r| !r.is_pad[0]) {
            let last = &row.recorded[..dim];
            for k in (0..chunk).filter(|k| !row.is_pad[k + 1]) {
                let (mut policy, mut hold) = (0.0, 0.0);
                for d in 0..dim {
                    let wanted = f64::from(row.recorded[(k + 1) * dim + d]);
                    let p = (f64::from(row.predicted[k * dim + d]) - wanted).abs();
                    let h = (f64::from(last[d]) - wanted).abs();
                    if k == horizon {
                        policy_joint[d] += p;
                        hold_joint[d] += h;
                    }
                    if !still[d] {
                        policy += p / std[d] / moving;
                        hold += h / std[d] / moving;
                    }
                }
                policy_step[k] += policy;
                hold_step[k] += hold;
                counts[k] += 1.0;
                if k == horizon {
                    let e = episodes.entry(row.episode).or_default();
                    e.policy += policy;
                    e.hold += hold;
                    e.count += 1.0;
                }
            }
        }
        if counts[horizon] == 0.0 {
            return Err(Error::Invalid {
                what: format!("no held-out frame has {horizon} more frames in its episode"),
                hint: "hold out longer episodes, or lower `horizon_secs`".into(),
            });
        }
        let at = counts[horizon];
        policy_joint.iter_mut().chain(&mut hold_joint).for_each(|e| *e /= at);
        for (k, n) in counts.iter().enumerate() {
            policy_step[k] /= n.max(1.0);
            hold_step[k] /= n.max(1.0);
        }
        Ok(Self { std, still, policy_joint, hold_joint, policy_step, hold_step, episodes })
    }
}

/// Population deviation of each dimension of the present action.
fn deviations(rows: &[Row], dim: usize) -> Vec<f64> {
    let n = rows.len().max(1) as f64;
    let present = |r: &Row, d: usize| f64::from(r.recorded[dim + d]);
    (0..dim)
        .map(|d| {
            let mean = rows.iter().map(|r| present(r, d)).sum::<f64>() / n;
            (rows.iter().map(|r| (present(r, d) - mean).powi(2)).sum::<f64>() / n).sqrt()
        })
        .collect()
}

/// The first `count` episodes; chunks thinned so that they do not overlap.
fn trajectories(rows: &[Row], chunk: usize, dim: usize, count: usize) -> Vec<Trajectory> {
    let mut by_episode: IndexMap<usize, Vec<&Row>> = IndexMap::new();
    for row in rows {
        by_episode.entry(row.episode).or_default().push(row);
    }
    let build = |(episode, mut rows): (usize, Vec<&Row>)| {
        rows.sort_by_key(|r| r.frame);
        let joint = |values: &[f32], steps: usize, d: usize| -> Vec<f32> {
            (0..steps).map(|k| values[k * dim + d]).collect()
        };
        let mut chunks = Vec::new();
        let mut free = 0;
        for row in rows.iter().filter(|r| !r.is_pad[1]) {
            if row.frame >= free {
                let steps = row.is_pad[1..].iter().filter(|p| !**p).count();
                let actions = (0..dim).map(|d| joint(&row.predicted, steps, d)).collect();
                chunks.push(PredictedChunk { frame: row.frame, actions });
                free = row.frame + chunk;
            }
        }
        Trajectory {
            episode,
            frames: rows.iter().map(|r| r.frame).collect(),
            recorded: (0..dim)
                .map(|d| rows.iter().map(|r| r.recorded[dim + d]).collect())
                .collect(),
            chunks,
        }
    };
    by_episode.into_iter().take(count).map(build).collect()
}
