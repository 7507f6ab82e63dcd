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
mod robot;
mod start;
mod state;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use embody_core::{
    AtomicDir, Batch, BatchSource, ContentHash, Embodiment, IoContext, Loader, LoaderOptions,
    Result, Sampler, Task, derive_seed, hash_bytes,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use batch::{inputs, targets};
pub use bench::{Bench, BenchShape};
pub(crate) use config::windows;
pub use config::{AugmentConfig, TrainConfig, required_windows};
pub use preset::{Preset, preset, presets};
pub use start::{Start, StartStatistics};

use crate::checkpoint::{self, Model};
use crate::error::{Error, check, name_frames};
use crate::events::Events;
use crate::imitation::{Dropout, Instruction, LossShare, Net, Pass};
use crate::nn::Weights;
use crate::noise;
use crate::optim::{self, OptimState};
use crate::workers::Workers;
use batch::Augment;
use phase::Phases;
use robot::{Part, Robot, parts, robots};
pub(crate) use state::Lines;
use state::{Best, Saved, Window};

/// The trained policy's folder in a run's folder.
pub const POLICY_DIR: &str = "policy";
/// In its place, where it was trained for several robots: each one's policy under its name.
pub const POLICIES_DIR: &str = "policies";
/// A run's metrics: reproducible, unlike its timings.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// What a finished run left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOutcome {
    /// The policy's folder, LeRobot's checkpoint layout; of several robots, each one's.
    pub policies: Vec<PathBuf>,
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

    let steps = end.saved.step;
    let weights = end.saved.best.map_or(end.saved.optim.ema, |best| best.weights);
    for robot in &run.robots {
        let dir = AtomicDir::begin(&robot.folder(out_dir), false)?;
        checkpoint::write_model(dir.path(), &run.model(robot, &weights))?;
        dir.commit()?;
    }
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
        policies: run.policies(out_dir),
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
    /// For all robots.
    net: Net,
    robots: Vec<Robot>,
    phases: Phases,
    versions: Vec<ContentHash>,
    /// Settings of LeRobot's that only its programs read, of the policy that training began with.
    carried: serde_json::Map<String, serde_json::Value>,
    hash: ContentHash,
    workers: Workers,
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
        cfg.validate()?;
        let (net, robots) = robots(source, cfg, start)?;
        let begins = start.map_or(0, |start| start.model.net.phase(&start.model.weights));
        let phases = Phases::new(cfg, begins);
        let rule = format!("the first {} teach the policy its codes", phases.first_steps());
        check("steps", cfg.steps, cfg.steps > phases.first_steps(), &rule)?;
        let workers = cfg.backend.workers(cfg.threads)?;
        let hash = run_hash(source, cfg, &robots, start);
        let versions = source.versions()?;
        let device = cfg.backend.device(cfg.threads);
        Ok(Self {
            source,
            cfg,
            net,
            robots,
            phases,
            versions,
            carried: start.map(|start| start.model.carried.clone()).unwrap_or_default(),
            hash,
            workers,
            device,
        })
    }

    /// The policy of `robot`, whose weights stand in `weights`, those of all.
    fn model(&self, robot: &Robot, weights: &[f32]) -> Model {
        Model {
            config: self.cfg.policy.clone(),
            net: robot.net.clone(),
            processor: robot.processor.clone(),
            weights: robot.weights(weights).into_owned(),
            fps: self.source.fps(),
            action_names: robot.action_names.clone(),
            trained_on: self.versions.clone(),
            carried: self.carried.clone(),
            instruction: Instruction::default(),
        }
    }

    fn policies(&self, out_dir: &Path) -> Vec<PathBuf> {
        self.robots.iter().map(|robot| robot.folder(out_dir)).collect()
    }

    /// The outcome of an earlier, complete run with the same hash.
    fn finished(&self, out_dir: &Path, done_path: &Path) -> Result<Option<TrainOutcome>> {
        if !done_path.exists() {
            return Ok(None);
        }
        let done: DoneFile = checkpoint::read_json(done_path)?;
        let policies = self.policies(out_dir);
        if done.config_hash != self.hash || !policies.iter().all(|policy| policy.is_dir()) {
            return Ok(None);
        }
        Ok(Some(TrainOutcome {
            policies,
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
                    let model = self.model(&self.robots[0], &saved.optim.ema);
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
        let parts = parts(&self.robots, batch, self.source, cfg)?;
        let share = LossShare::over(parts.iter().map(|part| &part.targets));
        let base = |part: &Part<'_>| {
            let weights = part.robot.weights(&optim.weights);
            Weights::new(part.robot.net.table(), &weights, &self.device)
        };
        let bases: Vec<Weights> = parts.iter().map(base).collect();
        let count = if cfg.backend.takes_parts() { cfg.shards } else { 1 };
        let shards: Vec<(usize, Range<usize>)> = parts
            .iter()
            .enumerate()
            .flat_map(|(i, part)| {
                let rows = part.batch.frames.len();
                let own = (count * rows).div_ceil(batch.frames.len());
                shards(rows, own).into_iter().map(move |range| (i, range))
            })
            .collect();
        let done = self.workers.map(&shards, |(i, range)| {
            self.shard(&parts[*i], range.clone(), &bases[*i], step, share)
        });
        let mut loss = 0.0;
        let (mut grads, mut tally): (Vec<f32>, Vec<f32>) = Default::default();
        for ((i, _), done) in shards.iter().zip(done) {
            let done = done?;
            loss += done.loss;
            parts[*i].robot.add(done.grads, &mut grads, self.net.table().len());
            tally.resize(done.tally.len(), 0.0);
            tally.iter_mut().zip(&done.tally).for_each(|(t, d)| *t += d);
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

    /// What rows `range` of `part` say of the weights.
    fn shard(
        &self,
        part: &Part<'_>,
        range: Range<usize>,
        base: &Weights,
        step: usize,
        share: LossShare,
    ) -> Result<ShardOutcome, Error> {
        let cfg = self.cfg;
        let Part { robot, batch, targets, before } = part;
        let first = step * cfg.batch_size + before;
        let augment = Augment {
            config: cfg.augment,
            seed: cfg.seed,
            first,
            crop_is_random: cfg.policy.crop().is_some_and(|(_, random)| random),
        };
        let augment = Some(augment).filter(|a| !a.is_none());
        let (p, pixels) = (&robot.processor, &robot.pixels);
        let inputs = inputs(batch, targets, range.clone(), p, pixels, augment, &self.device)?;
        let weights = base.tracked();
        let stream = (first + range.start) as u64;
        let seed = derive_seed(cfg.seed, "train/dropout", stream);
        let dropout = Dropout::new(cfg.policy.dropout() as f32, seed);
        let pass = Pass { w: &weights, dropout: Some(&dropout), device: &self.device };
        let mut rng = noise::stream(cfg.seed, "train/noise", stream);
        let wanted = targets.wanted(range, share);
        let loss = robot.net.loss(pass, &inputs, &wanted, &mut rng);
        let grads = weights.gradients(robot.net.table(), &loss.backward());
        let tally = robot.net.tally(Pass { w: base, dropout: None, ..pass }, &wanted);
        Ok(ShardOutcome { loss: value(loss), grads, tally })
    }

    /// Mean loss on evenly spaced held-out frames, without changes to the pictures; what is random
    /// is the same each time.
    fn held_out_loss(&self, source: &dyn BatchSource, weights: &[f32]) -> Result<f64> {
        let own =
            |robot: &Robot| Weights::new(robot.net.table(), &robot.weights(weights), &self.device);
        let weights: Vec<Weights> = self.robots.iter().map(own).collect();
        let indices = Sampler::spread(source, self.cfg.eval_frames)?;
        let (mut sum, mut valid) = (0.0, 0.0);
        let mut batch = Batch::default();
        for frames in indices.chunks(self.cfg.batch_size) {
            source.batch(frames, &mut batch)?;
            let parts = parts(&self.robots, &batch, source, self.cfg)?;
            let share = LossShare::over(parts.iter().map(|part| &part.targets));
            let rows: Vec<(usize, usize)> = parts
                .iter()
                .enumerate()
                .flat_map(|(i, part)| (0..part.batch.frames.len()).map(move |row| (i, row)))
                .collect();
            let errors = self.workers.map(&rows, |(i, row)| -> Result<f64, Error> {
                let Part { robot, batch, targets, before } = &parts[*i];
                let (p, pixels, device) = (&robot.processor, &robot.pixels, &self.device);
                let range = *row..row + 1;
                let inputs = inputs(batch, targets, range.clone(), p, pixels, None, device)?;
                let pass = Pass { w: &weights[*i], dropout: None, device };
                let at = frames[before + row] as u64;
                let mut rng = noise::stream(self.cfg.seed, "train/held-out", at);
                let wanted = targets.wanted(range, share);
                Ok(value(robot.net.held_out_loss(pass, &inputs, &wanted, &mut rng)))
            });
            let kept = parts.iter().flat_map(|part| &part.targets.kept);
            let kept = kept.filter(|kept| **kept).count() as f64;
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
fn shards(rows: usize, count: usize) -> Vec<Range<usize>> {
    let count = count.clamp(1, rows.max(1));
    (0..count).map(|i| i * rows / count..(i + 1) * rows / count).collect()
}

/// Names a run: settings that make the result, and the data as far as training can see it.
fn run_hash(
    source: &dyn BatchSource,
    cfg: &TrainConfig,
    robots: &[Robot],
    start: Option<&Start>,
) -> ContentHash {
    let cfg = cfg.of_the_result();
    let cameras = robots.iter().flat_map(|robot| &robot.processor.cameras);
    let cameras: Vec<&str> = cameras.map(|camera| camera.key.as_str()).collect();
    let mut text = json!({
        "config": cfg,
        "frames": source.len(),
        "fps": source.fps(),
        "features": source.features(),
        "stats": source.stats(),
        "weights": source.weights(),
        "cameras": cameras,
        "start": start.map(Start::identity),
    });
    let bodies = source.embodiments();
    if !bodies.is_empty() {
        let body = |b: &Embodiment| json!([b.name, b.features, b.stats]);
        text["embodiments"] = bodies.iter().map(body).collect();
    }
    hash_bytes(text.to_string().as_bytes())
}
