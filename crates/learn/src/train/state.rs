//! What a run leaves on disk so that it can continue exactly: checkpoints and metrics.
//!
//! ```text
//! OUT/metrics.jsonl              step, loss, held_out_loss, lr, grad_norm, epoch: reproducible
//! OUT/timing.jsonl               step, samples_per_s, elapsed_s, data_wait: not reproducible, by nature
//! OUT/tensorboard/               the same numbers as event files
//! OUT/checkpoints/000500/        training_state.{json,safetensors}, best.safetensors where training may
//!                                end early, pretrained_model/ (a policy)
//! OUT/policy/                    the policy, once done
//! OUT/training.json              settings, hash, summary, once done
//! ```

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use embody_core::{AtomicDir, ContentHash, IoContext, Result};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Model, Stored};
use crate::optim::OptimState;

const STATE_JSON: &str = "training_state.json";
const STATE_TENSORS: &str = "training_state.safetensors";
const NAMES: [&str; 4] = ["weights", "ema", "exp_avg", "exp_avg_sq"];
const STATE_BEST: &str = "best.safetensors";

/// The best weights so far, by the loss on held-out frames.
#[derive(Debug, Clone)]
pub(crate) struct Best {
    pub loss: f64,
    pub step: usize,
    pub weights: Vec<f32>,
}

/// Sums since the last line of metrics, kept as bits so that JSON can't round them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    loss_bits: u64,
    norm_bits: u64,
    pub count: usize,
}

impl Window {
    /// Adds one step.
    pub fn add(&mut self, loss: f64, norm: f64) {
        self.loss_bits = (f64::from_bits(self.loss_bits) + loss).to_bits();
        self.norm_bits = (f64::from_bits(self.norm_bits) + norm).to_bits();
        self.count += 1;
    }

    /// Mean loss and mean gradient norm.
    pub fn means(&self) -> (f64, f64) {
        let n = self.count.max(1) as f64;
        (f64::from_bits(self.loss_bits) / n, f64::from_bits(self.norm_bits) / n)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StateFile {
    step: usize,
    config_hash: ContentHash,
    window: Window,
    /// Loss, as bits, and step of the best weights, where there are such.
    best: Option<(u64, usize)>,
    /// Length of the event file.
    events_len: u64,
    /// Wall-clock so far, for people.
    elapsed_s: f64,
}

/// A run as read back.
pub(crate) struct Saved {
    pub step: usize,
    pub window: Window,
    pub best: Option<Best>,
    pub events_len: u64,
    pub elapsed_s: f64,
    pub optim: OptimState,
}

fn checkpoints(out: &Path) -> PathBuf {
    out.join("checkpoints")
}

/// Where the checkpoint of `step` stands.
pub(crate) fn checkpoint_dir(out: &Path, step: usize) -> PathBuf {
    checkpoints(out).join(format!("{step:06}"))
}

fn steps_on_disk(out: &Path) -> Result<Vec<usize>> {
    let dir = checkpoints(out);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(&dir).at("read folder", &dir)? {
        let name = entry.at("read folder", &dir)?.file_name();
        steps.extend(name.to_str().and_then(|n| n.parse::<usize>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Writes the checkpoint of `saved.step` and removes older ones.
pub(crate) fn save(out: &Path, saved: &Saved, hash: &ContentHash, model: &Model) -> Result<()> {
    let dir = AtomicDir::begin(&checkpoint_dir(out, saved.step), false)?;
    let o = &saved.optim;
    let tensors: Vec<_> = NAMES
        .iter()
        .zip([&o.weights, &o.ema, &o.m, &o.v])
        .map(|(name, values)| Stored::floats(*name, vec![values.len()], values.clone()))
        .collect();
    checkpoint::write_tensors(&dir.path().join(STATE_TENSORS), &tensors)?;
    if let Some(best) = &saved.best {
        let best = Stored::floats("weights", vec![best.weights.len()], best.weights.clone());
        checkpoint::write_tensors(&dir.path().join(STATE_BEST), &[best])?;
    }
    let policy = dir.path().join("pretrained_model");
    fs::create_dir_all(&policy).at("create folder", &policy)?;
    checkpoint::write_model(&policy, model)?;
    let state = StateFile {
        step: saved.step,
        config_hash: hash.clone(),
        window: saved.window,
        best: saved.best.as_ref().map(|b| (b.loss.to_bits(), b.step)),
        events_len: saved.events_len,
        elapsed_s: saved.elapsed_s,
    };
    checkpoint::write_json(&dir.path().join(STATE_JSON), &state)?;
    dir.commit()?;
    for step in steps_on_disk(out)?.into_iter().filter(|s| *s != saved.step) {
        let old = checkpoint_dir(out, step);
        fs::remove_dir_all(&old).at("remove old checkpoint", &old)?;
    }
    Ok(())
}

/// The newest checkpoint of the run with this hash; of another run, all are removed.
pub(crate) fn restore(out: &Path, hash: &ContentHash, parameters: usize) -> Result<Option<Saved>> {
    let Some(step) = steps_on_disk(out)?.pop() else { return Ok(None) };
    let dir = checkpoint_dir(out, step);
    let state: StateFile = checkpoint::read_json(&dir.join(STATE_JSON))?;
    if state.config_hash != *hash {
        clear(out)?;
        return Ok(None);
    }
    let path = dir.join(STATE_TENSORS);
    let [weights, ema, m, v] = checkpoint::read_vectors(&path, NAMES, parameters)?;
    let optim = OptimState { weights, ema, m, v };
    let best = match state.best {
        Some((loss, step)) => {
            let [weights] =
                checkpoint::read_vectors(&dir.join(STATE_BEST), ["weights"], parameters)?;
            Some(Best { loss: f64::from_bits(loss), step, weights })
        }
        None => None,
    };
    let StateFile { step, window, events_len, elapsed_s, .. } = state;
    Ok(Some(Saved { step, window, best, events_len, elapsed_s, optim }))
}

/// Removes every checkpoint.
pub(crate) fn clear(out: &Path) -> Result<()> {
    let dir = checkpoints(out);
    if dir.exists() {
        fs::remove_dir_all(&dir).at("remove old checkpoints", &dir)?;
    }
    Ok(())
}

/// A JSON-lines file with one object per step, appended to.
pub(crate) struct Lines {
    path: PathBuf,
    file: fs::File,
}

#[derive(Deserialize)]
struct StepOf {
    step: usize,
}

impl Lines {
    /// Opens for appending after keeping the lines up to step `keep` (a torn last line goes too).
    pub fn open(path: PathBuf, keep: usize) -> Result<Self> {
        let text = if path.exists() { fs::read(&path).at("read", &path)? } else { Vec::new() };
        let mut kept = Vec::new();
        for line in text.split_inclusive(|b| *b == b'\n') {
            let step = serde_json::from_slice::<StepOf>(line).map_or(usize::MAX, |l| l.step);
            if line.ends_with(b"\n") && step <= keep {
                kept.extend_from_slice(line);
            }
        }
        embody_core::write_atomic(&path, &kept)?;
        let file = OpenOptions::new().append(true).open(&path).at("open", &path)?;
        Ok(Self { path, file })
    }

    /// Appends one line.
    pub fn add(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)
            .map_err(|source| crate::error::Error::Json { path: self.path.clone(), source })?;
        line.push(b'\n');
        self.file.write_all(&line).at("write", &self.path)
    }

    /// Flushes to disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().at("flush", &self.path)
    }
}
