//! The trainer: batches in, a policy's folder out; stops and continues to the bit.
//!
//! A batch is cut into a fixed number of shards; each is run forward and back on one thread and the
//! gradients are summed in shard order. So both cores are busy in every operation, and the number of
//! threads can't change a result. Everything random is a function of (seed, step).

mod batch;
mod bench;
mod config;
mod phase;
mod preset;
mod start;
mod state;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use embody_core::{
    AtomicDir, Batch, BatchSource, ContentHash, FeatureSpec, IoContext, Loader, LoaderOptions,
    Result, Sampler, Task, derive_seed, hash_bytes,
};
use serde::{Deserialize, Serialize};

pub(crate) use batch::{Targets, inputs, targets};
pub use bench::{Bench, BenchShape};
pub(crate) use config::windows;
pub use config::{AugmentConfig, TrainConfig, required_windows};
pub use preset::{Preset, preset, presets};
pub use start::{Start, StartStatistics};

use crate::checkpoint::{self, ACTION, ENVIRONMENT, Model};
use crate::error::{Error, check, name_frames};
use crate::events::Events;
use crate::imitation::{ActionRepresentation, Dropout, Net, Pass, Steps};
use crate::nn::Weights;
use crate::noise;
use crate::optim::{self, OptimState};
use crate::processor::{
    CameraInput, IMAGE_MEAN, IMAGE_STD, NormMode, Normalizer, PixelTable, Processor, VectorInput,
};
use crate::workers::Workers;
use batch::Augment;
use phase::Phases;
pub(crate) use state::Lines;
use state::{Best, Saved, Window};

/// The trained policy's folder in a run's folder.
pub const POLICY_DIR: &str = "policy";
/// A run's metrics: reproducible, unlike its timings.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// What a finished run left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOutcome {
    /// The policy's folder, LeRobot's checkpoint layout.
    pub model_dir: PathBuf,
    /// `metrics.jsonl`: step, loss, held_out_loss, lr, grad_norm, epoch.
    pub metrics: PathBuf,
    /// Optimiser steps taken in all.
    pub steps: usize,
    /// Mean loss over the last logged window.
    pub train_loss: f64,
    /// Loss on held-out frames at the end, where there are any.
    pub held_out_loss: Option<f64>,
    /// Number of parameters.
    pub parameters: usize,
    /// Step that the run continued from.
    pub resumed_from: Option<usize>,
    /// Seconds, over all parts of the run; 0 where it was done already.
    pub elapsed_s: f64,
    /// Frames learned from per second, over all parts of the run.
    pub samples_per_s: f64,
    /// Share of the time, since this part of the run began, in which a step waited for its batch.
    pub data_wait: f64,
}

#[derive(Serialize, Deserialize)]
struct DoneFile {
    config_hash: ContentHash,
    config: TrainConfig,
    steps: usize,
    loss: f64,
    held_out_loss: Option<f64>,
    parameters: usize,
}

/// One line of [`METRICS_FILE`]: means over the steps since the last line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Optimiser steps taken.
    pub step: usize,
    /// L1 loss on training batches, in normalised units.
    pub loss: f64,
    /// L1 loss of the averaged weights on held-out frames, where they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Length of the gradient before clipping.
    pub grad_norm: f64,
    /// Passes over the training frames so far.
    pub epoch: f64,
}

/// Reads a run's [`METRICS_FILE`].
///
/// # Errors
/// When it can't be read or a line is damaged.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsRow>> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    let parse = |line: &str| {
        serde_json::from_str(line).map_err(|source| Error::Json { path: path.to_owned(), source })
    };
    Ok(text.lines().map(parse).collect::<Result<_, _>>()?)
}

#[derive(Serialize)]
struct TimingLine {
    step: usize,
    samples_per_s: f64,
    elapsed_s: f64,
    /// Share of the time since the last line in which steps waited for their batch.
    data_wait: f64,
}

/// Trains `cfg`'s policy on `source` and leaves it in `out_dir/policy`. `source` (and `held_out`) must
/// have been opened with [`required_windows`].
///
/// Begins with random weights or, where given, with those of `start`, whose policy `cfg` then has to
/// name. Continues by itself from a checkpoint of the same settings and data in `out_dir`, and returns at
/// once where such a run is done; a checkpoint of another run is replaced.
///
/// # Errors
/// Settings that make no network, data without the features asked for or of other sizes than `start`'s,
/// a loss that is not finite (naming step and frames), I/O; or cancellation, after writing a checkpoint.
pub fn train(
    source: &dyn BatchSource,
    held_out: Option<&dyn BatchSource>,
    cfg: &TrainConfig,
    start: Option<&Start>,
    out_dir: &Path,
    task: Task<'_>,
) -> Result<TrainOutcome> {
    cfg.validate()?;
    if source.is_empty() {
        return Err(Error::NoFrames.into());
    }
    let run = Run::new(source, cfg, start)?;
    let done_path = out_dir.join("training.json");
    if let Some(outcome) = run.finished(out_dir, &done_path)? {
        return Ok(outcome);
    }
    let parameters = run.net.table().len();
    let saved = state::restore(out_dir, &run.hash, parameters)?;
    let resumed_from = saved.as_ref().map(|s| s.step);
    let first = match start {
        Some(start) => start.weights(run.net.table())?,
        None => run.net.table().initial(cfg.seed),
    };
    let saved = saved.unwrap_or(Saved {
        step: 0,
        window: Window::default(),
        best: None,
        events_len: 0,
        elapsed_s: 0.0,
        optim: OptimState::new(first),
    });
    if let Some(step) = resumed_from {
        task.note(&format!("training continues from step {step}"));
    }
    task.begin("train", Some(cfg.steps as u64), "steps");
    let end = run.steps(held_out, saved, out_dir, task)?;

    let dir = AtomicDir::begin(&out_dir.join(POLICY_DIR), false)?;
    let steps = end.saved.step;
    let weights = end.saved.best.map_or(end.saved.optim.ema, |best| best.weights);
    checkpoint::write_model(dir.path(), &run.model(weights))?;
    let model_dir = dir.commit()?;
    let done = DoneFile {
        config_hash: run.hash.clone(),
        config: cfg.of_the_result(),
        steps,
        loss: end.loss,
        held_out_loss: end.held_out_loss,
        parameters,
    };
    let text = serde_json::to_vec_pretty(&done)
        .map_err(|source| Error::Json { path: done_path.clone(), source })?;
    embody_core::write_atomic(&done_path, &text)?;
    // The optimiser's state has served; the policy stays.
    state::clear(out_dir)?;
    task.end("train");
    Ok(TrainOutcome {
        model_dir,
        metrics: out_dir.join(METRICS_FILE),
        steps,
        train_loss: end.loss,
        held_out_loss: end.held_out_loss,
        parameters,
        resumed_from,
        elapsed_s: end.saved.elapsed_s,
        samples_per_s: (steps * cfg.batch_size) as f64 / end.saved.elapsed_s.max(1e-9),
        data_wait: end.data_wait,
    })
}

/// What stays the same over a run.
struct Run<'a> {
    source: &'a dyn BatchSource,
    cfg: &'a TrainConfig,
    net: Net,
    phases: Phases,
    steps: Steps,
    processor: Processor,
    action_names: Vec<String>,
    versions: Vec<ContentHash>,
    /// Settings of LeRobot's that only its programs read, of the policy that training began with.
    carried: serde_json::Map<String, serde_json::Value>,
    hash: ContentHash,
    workers: Workers,
    pixels: Vec<PixelTable>,
    device: Device,
}

/// A shard's part of the batch's loss, its gradients, and what it adds to running averages.
#[derive(Default)]
struct ShardOutcome {
    loss: f64,
    grads: Vec<f32>,
    tally: Vec<f32>,
}

struct End {
    saved: Saved,
    loss: f64,
    held_out_loss: Option<f64>,
    data_wait: f64,
}

impl Saved {
    /// Keeps the averaged weights where `loss`, theirs on held-out frames, is the best so far; true
    /// where the best lies `patience` steps back.
    fn judge(&mut self, loss: f64, patience: usize) -> bool {
        if self.best.as_ref().is_none_or(|best| loss < best.loss) {
            let weights = self.optim.ema.clone();
            self.best = Some(Best { loss, step: self.step, weights });
        }
        self.best.as_ref().is_some_and(|best| self.step - best.step >= patience)
    }
}

impl<'a> Run<'a> {
    fn new(
        source: &'a dyn BatchSource,
        cfg: &'a TrainConfig,
        start: Option<&Start>,
    ) -> Result<Self> {
        let features = source.features();
        let feature = |key: &str| -> Result<&FeatureSpec, Error> {
            features.get(key).ok_or_else(|| Error::MissingFeature {
                key: key.to_owned(),
                known: features.keys().cloned().collect::<Vec<_>>().join(", "),
            })
        };
        cfg.validate()?;
        let stats = |key: &str, dim| {
            let of_start = start.and_then(|start| start.normalizer(key));
            let mode = of_start.map_or(cfg.policy.norm_mode(), |of_start| of_start.mode);
            Normalizer::from_stats(mode, key, source.stats().get(key), dim)
        };
        let vector = |key: String, dim: usize| -> Result<VectorInput> {
            Ok(VectorInput { normalizer: stats(&key, dim)?, key })
        };
        let mut cameras = Vec::new();
        let (mut state, mut env) = (None, None);
        for key in chosen_inputs(cfg, source) {
            let spec = feature(&key)?;
            let numeric = spec.dtype.is_numeric();
            match spec.shape.as_slice() {
                [height, width, 3] if spec.dtype.is_visual() => {
                    let (height, width) = (*height, *width);
                    let crop = cfg.policy.crop().map(|(size, _)| size);
                    let normalizer =
                        Normalizer::guarded(NormMode::MeanStd, &IMAGE_MEAN, &IMAGE_STD);
                    let camera = CameraInput { key, height, width, crop, normalizer };
                    checkpoint::check_crop(&camera)?;
                    cameras.push(camera);
                }
                [n] if numeric && key == ENVIRONMENT => env = Some(vector(key, *n)?),
                [n] if numeric && state.is_none() => state = Some(vector(key, *n)?),
                shape => {
                    let found = format!("{:?} {shape:?}", spec.dtype);
                    let expected = "RGB pictures [h, w, 3], or one vector".to_owned();
                    return Err(Error::FeatureShape { key, found, expected }.into());
                }
            }
        }
        let action_names = feature(ACTION)?.dim_names();
        let action_dim = action_names.len();
        let (representation, observes_last) = cfg.policy.representation();
        let steps = cfg.policy.steps();
        let mut processor = Processor {
            state,
            env,
            action: stats(ACTION, action_dim)?,
            lag: None,
            cameras,
            representation,
        };
        checkpoint::check_representation(&cfg.policy, processor.state_dim(), action_dim)?;
        let delta = representation != ActionRepresentation::Absolute;
        if delta || observes_last {
            let (actions, lag) = measured_normalizers(source, &processor, steps)?;
            processor.action = if delta { actions } else { processor.action };
            processor.lag = observes_last.then_some(lag);
        }
        if let Some(start) = start {
            start.lend_statistics(&mut processor);
        }
        let net = Net::new(&cfg.policy, &checkpoint::net_shape(&processor))?;
        let begins = start.map_or(0, |start| start.model.net.phase(&start.model.weights));
        let phases = Phases::new(cfg, begins);
        let rule = format!("the first {} teach the policy its codes", phases.first_steps());
        check("steps", cfg.steps, cfg.steps > phases.first_steps(), &rule)?;
        let workers = cfg.backend.workers(cfg.threads)?;
        let hash = run_hash(source, cfg, &processor, start);
        let versions = source.versions()?;
        let pixels = processor.cameras.iter().map(CameraInput::pixel_table).collect();
        let device = cfg.backend.device(cfg.threads);
        Ok(Self {
            source,
            cfg,
            net,
            phases,
            steps,
            processor,
            action_names,
            versions,
            carried: start.map(|start| start.model.carried.clone()).unwrap_or_default(),
            hash,
            workers,
            pixels,
            device,
        })
    }

    fn model(&self, weights: Vec<f32>) -> Model {
        Model {
            config: self.cfg.policy.clone(),
            net: self.net.clone(),
            processor: self.processor.clone(),
            weights,
            fps: self.source.fps(),
            action_names: self.action_names.clone(),
            trained_on: self.versions.clone(),
            carried: self.carried.clone(),
        }
    }

    /// The outcome of an earlier, complete run with the same hash.
    fn finished(&self, out_dir: &Path, done_path: &Path) -> Result<Option<TrainOutcome>> {
        if !done_path.exists() {
            return Ok(None);
        }
        let done: DoneFile = checkpoint::read_json(done_path)?;
        let model_dir = out_dir.join(POLICY_DIR);
        if done.config_hash != self.hash || !model_dir.is_dir() {
            return Ok(None);
        }
        Ok(Some(TrainOutcome {
            model_dir,
            metrics: out_dir.join(METRICS_FILE),
            steps: done.steps,
            train_loss: done.loss,
            held_out_loss: done.held_out_loss,
            parameters: done.parameters,
            resumed_from: Some(done.steps),
            elapsed_s: 0.0,
            samples_per_s: 0.0,
            data_wait: 0.0,
        }))
    }

    /// All remaining steps. Batches are read ahead on threads of their own.
    fn steps(
        &self,
        held_out: Option<&dyn BatchSource>,
        mut saved: Saved,
        out_dir: &Path,
        task: Task<'_>,
    ) -> Result<End> {
        let cfg = self.cfg;
        let mut metrics = Lines::open(out_dir.join(METRICS_FILE), saved.step)?;
        let mut timing = Lines::open(out_dir.join("timing.jsonl"), saved.step)?;
        let mut events = Events::open(out_dir, saved.events_len)?;
        let mut written = Instant::now();
        let first = saved.step;
        let mut last = (f64::NAN, None);
        let started = Instant::now();
        let before = saved.elapsed_s;
        let (mut data_wait, mut waited) = (0.0, Duration::ZERO);
        std::thread::scope(|scope| {
            let options = LoaderOptions {
                batch_size: cfg.batch_size,
                seed: cfg.seed,
                window: cfg.shuffle_window,
                first,
                end: Some(cfg.steps),
                workers: self.workers.len().min(cfg.prefetch),
                // A window is many batches.
                prefetch: if cfg.shuffle_window > 1 { 1 } else { cfg.prefetch },
            };
            let mut batches = Loader::start(scope, self.source, &options)?;
            // Begin of a window of metrics: when, at which step, having waited how long.
            let mut tick = (Instant::now(), first, Duration::ZERO);
            while saved.step < cfg.steps {
                let step = saved.step;
                let Some(batch) = batches.next() else { break };
                let batch = batch?;
                let (loss, norm, lr) = self.step(step, &batch, &mut saved.optim, out_dir)?;
                batches.give_back(batch);
                saved.step += 1;
                saved.window.add(loss, norm);
                let done = saved.step;
                let mut at_end = done == cfg.steps;
                saved.elapsed_s = before + started.elapsed().as_secs_f64();
                let turns = self.phases.turns(done);
                if done.is_multiple_of(cfg.log_every) || at_end || turns {
                    let judge =
                        at_end || (cfg.eval_every > 0 && done.is_multiple_of(cfg.eval_every));
                    let held_out_loss = match held_out.filter(|h| judge && !h.is_empty()) {
                        Some(source) => Some(self.held_out_loss(source, &saved.optim.ema)?),
                        None => None,
                    };
                    // Losses of two phases are of different things.
                    let judges = cfg.patience > 0 && done >= self.phases.first_steps();
                    if let Some(loss) = held_out_loss.filter(|_| judges) {
                        at_end |= saved.judge(loss, cfg.patience * cfg.eval_every);
                    }
                    let (loss, grad_norm) = saved.window.means();
                    let epoch = (done * cfg.batch_size) as f64 / self.source.len() as f64;
                    metrics.add(&MetricsRow {
                        step: done,
                        loss,
                        held_out_loss,
                        lr,
                        grad_norm,
                        epoch,
                    })?;
                    let rate = ((done - tick.1) * cfg.batch_size) as f64;
                    let seconds = tick.0.elapsed().as_secs_f64().max(1e-9);
                    data_wait = (batches.waited() - tick.2).as_secs_f64() / seconds;
                    timing.add(&TimingLine {
                        step: done,
                        samples_per_s: rate / seconds,
                        elapsed_s: saved.elapsed_s,
                        data_wait,
                    })?;
                    let numbers = [
                        ("train/loss", Some(loss)),
                        ("train/held_out_loss", held_out_loss),
                        ("train/lr", Some(lr)),
                        ("train/grad_norm", Some(grad_norm)),
                        ("train/samples_per_s", Some(rate / seconds)),
                        ("train/data_wait", Some(data_wait)),
                    ];
                    let numbers = numbers.into_iter().filter_map(|(tag, v)| Some((tag, v?)));
                    events.add(done as u64, numbers)?;
                    tick = (Instant::now(), done, batches.waited());
                    last = (loss, held_out_loss.or(last.1));
                    saved.window = Window::default();
                }
                let loss = if saved.window.count > 0 { saved.window.means().0 } else { last.0 };
                let mut note = format!("loss {loss:.4}");
                if let Some(held_out) = last.1 {
                    note += &format!(", held-out {held_out:.4}");
                }
                if data_wait >= 0.05 {
                    note += &format!(", waits for data {:.0} % of the time", data_wait * 100.0);
                }
                let go_on = task.advance("train", done as u64, &note);
                let minutes = written.elapsed().as_secs_f64() / 60.0;
                let due = done.is_multiple_of(cfg.checkpoint_every)
                    || cfg.checkpoint_minutes > 0.0 && minutes >= cfg.checkpoint_minutes;
                if !at_end && (go_on.is_err() || due) {
                    written = Instant::now();
                    saved.events_len = events.sync()?;
                    metrics.sync()?;
                    timing.sync()?;
                    let model = self.model(saved.optim.ema.clone());
                    state::save(out_dir, &saved, &self.hash, &model)?;
                }
                go_on?;
                if at_end {
                    break;
                }
            }
            waited = batches.waited();
            Ok::<_, embody_core::Error>(())
        })?;
        metrics.sync()?;
        timing.sync()?;
        events.sync()?;
        if let Some(best) = &saved.best {
            last.1 = Some(best.loss);
        }
        let data_wait = waited.as_secs_f64() / started.elapsed().as_secs_f64().max(1e-9);
        Ok(End { saved, loss: last.0, held_out_loss: last.1, data_wait })
    }

    /// One optimiser step: loss, gradient norm, learning rate.
    fn step(
        &self,
        step: usize,
        batch: &Batch,
        optim: &mut OptimState,
        out_dir: &Path,
    ) -> Result<(f64, f64, f64)> {
        let cfg = self.cfg;
        let base = Weights::new(self.net.table(), &optim.weights, &self.device);
        let targets = targets(batch, &self.processor, self.steps)?;
        let augment = Augment {
            config: cfg.augment,
            seed: cfg.seed,
            step,
            batch_size: cfg.batch_size,
            crop_is_random: cfg.policy.crop().is_some_and(|(_, random)| random),
        };
        let parts = if cfg.backend.takes_parts() { cfg.shards } else { 1 };
        let shards = shards(batch.frames.len(), parts);
        let parts = self
            .workers
            .map(&shards, |range| self.shard(batch, &targets, range.clone(), &base, augment));
        let mut parts = parts.into_iter();
        let first = parts.next().transpose()?;
        let ShardOutcome { mut loss, mut grads, mut tally } = first.unwrap_or_default();
        for part in parts {
            let part = part?;
            loss += part.loss;
            grads.iter_mut().zip(&part.grads).for_each(|(g, p)| *g += p);
            tally.iter_mut().zip(&part.tally).for_each(|(t, p)| *t += p);
        }
        let norm = optim::norm(&grads);
        if !loss.is_finite() || !norm.is_finite() {
            let good = step / cfg.checkpoint_every * cfg.checkpoint_every;
            let dir = state::checkpoint_dir(out_dir, good);
            let checkpoint = if dir.is_dir() { dir.display().to_string() } else { "none".into() };
            let frames = name_frames(&batch.frames);
            return Err(Error::Diverged { loss, step, frames, checkpoint }.into());
        }
        let phase = self.net.phase(&optim.weights);
        let settings = self.phases.settings(cfg, phase, step, norm);
        optim.step(self.net.table(), &grads, settings, self.workers.len());
        if !tally.is_empty() {
            self.net.settle(&tally, self.phases.turns(step + 1), &mut optim.weights);
            optim.ema.clone_from(&optim.weights);
        }
        Ok((loss, norm, settings.lr))
    }

    /// What the shard says of the weights.
    fn shard(
        &self,
        batch: &Batch,
        targets: &Targets,
        range: std::ops::Range<usize>,
        base: &Weights,
        augment: Augment,
    ) -> Result<ShardOutcome, Error> {
        let augment_step = augment.step;
        let augment = Some(augment).filter(|a| !a.is_none());
        let inputs = inputs(
            batch,
            targets,
            range.clone(),
            &self.processor,
            &self.pixels,
            augment,
            &self.device,
        )?;
        let weights = base.tracked();
        let stream = (augment_step * self.cfg.batch_size + range.start) as u64;
        let seed = derive_seed(self.cfg.seed, "train/dropout", stream);
        let dropout = Dropout::new(self.cfg.policy.dropout() as f32, seed);
        let pass = Pass { w: &weights, dropout: Some(&dropout), device: &self.device };
        let mut rng = noise::stream(self.cfg.seed, "train/noise", stream);
        let wanted = targets.wanted(range);
        let loss = self.net.loss(pass, &inputs, &wanted, &mut rng);
        let grads = weights.gradients(self.net.table(), &loss.backward());
        let tally = self.net.tally(Pass { w: base, dropout: None, ..pass }, &wanted);
        Ok(ShardOutcome { loss: value(loss), grads, tally })
    }

    /// Mean loss on evenly spaced held-out frames, without changes to the pictures; what is random
    /// is the same each time.
    fn held_out_loss(&self, source: &dyn BatchSource, weights: &[f32]) -> Result<f64> {
        let weights = Weights::new(self.net.table(), weights, &self.device);
        let indices = Sampler::spread(source, self.cfg.eval_frames)?;
        let (mut sum, mut valid) = (0.0, 0.0);
        let mut batch = Batch::default();
        for part in indices.chunks(self.cfg.batch_size) {
            source.batch(part, &mut batch)?;
            let t = targets(&batch, &self.processor, self.steps)?;
            let rows: Vec<usize> = (0..part.len()).collect();
            let errors = self.workers.map(&rows, |row| -> Result<f64, Error> {
                let range = *row..row + 1;
                let (p, device) = (&self.processor, &self.device);
                let inputs = inputs(&batch, &t, range.clone(), p, &self.pixels, None, device)?;
                let pass = Pass { w: &weights, dropout: None, device };
                let mut rng = noise::stream(self.cfg.seed, "train/held-out", part[*row] as u64);
                let wanted = t.wanted(range);
                Ok(value(self.net.held_out_loss(pass, &inputs, &wanted, &mut rng)))
            });
            let kept = t.kept.iter().filter(|kept| **kept).count() as f64;
            for error in errors {
                sum += error? * kept;
            }
            valid += kept;
        }
        Ok(sum / f64::max(valid, 1.0))
    }
}

/// The only number of a tensor; not a number where it has none.
fn value(loss: Tensor<1>) -> f64 {
    let data = loss.into_data();
    data.as_slice::<f32>().ok().and_then(|v| v.first().copied()).map_or(f64::NAN, f64::from)
}

/// Consecutive parts of `rows`, equal to within one.
fn shards(rows: usize, count: usize) -> Vec<std::ops::Range<usize>> {
    let count = count.clamp(1, rows.max(1));
    (0..count).map(|i| i * rows / count..(i + 1) * rows / count).collect()
}

/// `cfg.inputs`, or the robot's state and every camera; what only a simulator knows of the
/// surroundings has to be named.
fn chosen_inputs(cfg: &TrainConfig, source: &dyn BatchSource) -> Vec<String> {
    if !cfg.inputs.is_empty() {
        return cfg.inputs.clone();
    }
    let wanted = |(key, spec): &(&String, &FeatureSpec)| {
        *key == "observation.state" || (key.starts_with("observation.") && spec.dtype.is_visual())
    };
    source.features().iter().filter(wanted).map(|(key, _)| key.clone()).collect()
}

/// Normalisation of encoded actions over a chunk and of last action minus state, from at most 512
/// frames, spread by weight.
fn measured_normalizers(
    source: &dyn BatchSource,
    processor: &Processor,
    steps: Steps,
) -> Result<(Normalizer, Normalizer)> {
    let dim = processor.action.dim();
    let raw = Processor { action: Normalizer::identity(dim), ..processor.clone() };
    let indices = Sampler::spread(source, 512)?;
    let (mut actions, mut lags) = (Moments::new(dim), Moments::new(dim));
    let mut batch = Batch::default();
    for part in indices.chunks(64) {
        source.batch(part, &mut batch)?;
        let t = targets(&batch, &raw, steps)?;
        for (action, _) in t.actions.chunks_exact(dim).zip(&t.kept).filter(|(_, kept)| **kept) {
            actions.add(action.iter().copied());
        }
        if t.states.len() == t.last.len() {
            for (last, state) in t.last.chunks_exact(dim).zip(t.states.chunks_exact(dim)) {
                lags.add(last.iter().zip(state).map(|(l, s)| l - s));
            }
        }
    }
    Ok((actions.normalizer(processor.action.mode), lags.normalizer(NormMode::MeanStd)))
}

/// Sums for mean and deviation of each dimension, and its range.
struct Moments {
    sum: Vec<f64>,
    squares: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
    count: f64,
}

impl Moments {
    fn new(dim: usize) -> Self {
        Self {
            sum: vec![0.0; dim],
            squares: vec![0.0; dim],
            min: vec![f64::INFINITY; dim],
            max: vec![f64::NEG_INFINITY; dim],
            count: 0.0,
        }
    }

    fn add(&mut self, row: impl Iterator<Item = f32>) {
        self.count += 1.0;
        for (i, v) in row.map(f64::from).enumerate() {
            self.sum[i] += v;
            self.squares[i] += v * v;
            self.min[i] = self.min[i].min(v);
            self.max[i] = self.max[i].max(v);
        }
    }

    fn normalizer(&self, mode: NormMode) -> Normalizer {
        if mode == NormMode::MinMax {
            return Normalizer::guarded(mode, &self.min, &self.max);
        }
        let n = self.count.max(1.0);
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let variance = |(s, m): (&f64, &f64)| (s / n - m * m).max(0.0).sqrt();
        let std: Vec<f64> = self.squares.iter().zip(&mean).map(variance).collect();
        Normalizer::guarded(NormMode::MeanStd, &mean, &std)
    }
}

/// Names a run: settings that make the result, and the data as far as training can see it.
fn run_hash(
    source: &dyn BatchSource,
    cfg: &TrainConfig,
    processor: &Processor,
    start: Option<&Start>,
) -> ContentHash {
    let cfg = cfg.of_the_result();
    let text = serde_json::json!({
        "config": cfg,
        "frames": source.len(),
        "fps": source.fps(),
        "features": source.features(),
        "stats": source.stats(),
        "weights": source.weights(),
        "cameras": processor.cameras.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(),
        "start": start.map(Start::identity),
    });
    hash_bytes(text.to_string().as_bytes())
}
