//! Settings of a training run.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::error::{Error, check};
use crate::imitation::{PolicyConfig, Steps};

/// Random changes of the training pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Pictures move by up to this many pixels each way, their edge repeated.
    pub shift_px: usize,
    /// Brightness of a picture changes by a factor within 1 ± this.
    pub brightness: f32,
    /// Its contrast, about its mean grey, likewise.
    pub contrast: f32,
    /// Its saturation, about each pixel's grey, likewise.
    pub saturation: f32,
}

impl AugmentConfig {
    /// No change.
    pub(crate) const NONE: Self =
        Self { shift_px: 0, brightness: 0.0, contrast: 0.0, saturation: 0.0 };
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self { shift_px: 2, ..Self::NONE }
    }
}

/// How to train. Everything but `threads`, `backend`, `prefetch` and `checkpoint_minutes` is part of what
/// makes a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The policy and its settings.
    pub policy: PolicyConfig,
    /// Observation features to use; empty for the state and every camera.
    pub inputs: Vec<String>,
    /// Frames among which batches are shuffled, after the stretches of video that hang on one key
    /// frame were; each stretch is then decoded once. 0 shuffles over the whole dataset, frame by
    /// frame. Three windows are in memory.
    pub shuffle_window: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Frames per step.
    pub batch_size: usize,
    /// Parts that a batch is split into, computed side by side and summed in order: as many at a time
    /// as there are threads, so that many parts make large batches fit into memory. Part of the
    /// result, so that the number of threads is not.
    pub shards: usize,
    /// Highest learning rate of AdamW.
    pub lr: f64,
    /// Fraction of `lr` at the end of the cosine.
    pub final_lr: f64,
    /// Steps of linear warm-up.
    pub warmup: usize,
    /// Decay of AdamW's mean gradient.
    pub beta1: f64,
    /// Decoupled weight decay, on matrices.
    pub weight_decay: f64,
    /// Gradients longer than this are scaled down to it.
    pub grad_clip: f64,
    /// Decay of the averaged weights, of which the policy is made; 0 for none.
    pub ema: f64,
    /// Random changes of the pictures.
    pub augment: AugmentConfig,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Steps between evaluations on held-out frames; 0 for never.
    pub eval_every: usize,
    /// Held-out frames looked at, spread by weight.
    pub eval_frames: usize,
    /// Evaluations on held-out frames without a better loss after which training ends, with the
    /// weights of the best; 0 for never.
    pub patience: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Minutes between checkpoints, whatever the steps; 0 for no such. Never changes a result.
    pub checkpoint_minutes: f64,
    /// Root of every random stream.
    pub seed: u64,
    /// Threads; 0 for one per core. Never changes a result.
    pub threads: usize,
    /// Where networks are computed. Results of different ones differ by rounding alone, and a training
    /// may go on elsewhere than it began. Other than on `cpu`, batches are not cut into shards.
    pub backend: Backend,
    /// Batches read ahead of the step that needs them, at least 1. Never changes a result.
    pub prefetch: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            policy: PolicyConfig::default(),
            inputs: Vec::new(),
            shuffle_window: 0,
            steps: 2500,
            batch_size: 32,
            shards: 4,
            lr: 1e-3,
            final_lr: 0.01,
            warmup: 100,
            beta1: 0.9,
            weight_decay: 1e-4,
            grad_clip: 1.0,
            ema: 0.998,
            augment: AugmentConfig::default(),
            log_every: 20,
            eval_every: 500,
            eval_frames: 256,
            patience: 0,
            checkpoint_every: 500,
            checkpoint_minutes: 10.0,
            seed: 0,
            threads: 0,
            backend: Backend::Cpu,
            prefetch: 4,
        }
    }
}

impl TrainConfig {
    /// Without what never changes a result.
    pub(crate) fn of_the_result(&self) -> Self {
        let (backend, checkpoint_minutes) = (Backend::Cpu, 0.0);
        Self { threads: 0, backend, prefetch: 1, checkpoint_minutes, ..self.clone() }
    }

    /// Refuses impossible values before anything runs.
    ///
    /// # Errors
    /// Names the key, its value and the rule.
    pub fn check(&self) -> embody_core::Result<()> {
        Ok(self.validate()?)
    }

    /// Refuses impossible values, naming the key.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let positive = [
            ("steps", self.steps),
            ("batch_size", self.batch_size),
            ("shards", self.shards),
            ("log_every", self.log_every),
            ("eval_frames", self.eval_frames),
            ("checkpoint_every", self.checkpoint_every),
            ("prefetch", self.prefetch),
        ];
        for (key, value) in positive {
            check(key, value, value > 0, "it must be at least 1")?;
        }
        check("shards", self.shards, self.shards <= self.batch_size, "at most batch_size")?;
        check("lr", self.lr, self.lr > 0.0 && self.lr.is_finite(), "it must be above 0")?;
        check("grad_clip", self.grad_clip, self.grad_clip > 0.0, "it must be above 0")?;
        for (key, value) in [("ema", self.ema), ("final_lr", self.final_lr)] {
            check(key, value, (0.0..=1.0).contains(&value), "it must be between 0 and 1")?;
        }
        let decay = self.weight_decay;
        check("weight_decay", decay, (0.0..1.0).contains(&decay), "it must be in [0, 1)")?;
        let AugmentConfig { brightness, contrast, saturation, .. } = self.augment;
        let changes =
            [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)];
        for (key, change) in changes {
            check(key, change, (0.0..1.0).contains(&change), "it must be in [0, 1)")?;
        }
        let minutes = self.checkpoint_minutes;
        let rule = "it must be at least 0";
        check("checkpoint_minutes", minutes, minutes >= 0.0 && minutes.is_finite(), rule)?;
        let judged = self.patience == 0 || self.eval_every > 0;
        check("patience", self.patience, judged, "it wants evaluations: set `eval_every`")?;
        let (beta1, rule) = (self.beta1, "it must be in [0, 1)");
        check("beta1", beta1, (0.0..1.0).contains(&beta1), rule)?;
        self.policy.learns()?;
        self.policy.validate()
    }
}

/// The windows over time that a [`embody_core::BatchSource`] must be opened with to train `cfg`, and to
/// judge its policy with [`crate::open_loop`]: frame offsets by feature key. `features` are the keys
/// that the source gives where `cfg.inputs` names none. Offset -1 of the action is for the baseline
/// "hold the last action".
///
/// # Errors
/// Settings that make no network.
pub fn required_windows<'a>(
    cfg: &TrainConfig,
    features: impl IntoIterator<Item = &'a str>,
) -> embody_core::Result<IndexMap<String, Vec<i64>>> {
    cfg.policy.validate()?;
    let steps = cfg.policy.steps();
    Ok(match cfg.inputs.is_empty() {
        true => windows(steps, features),
        false => windows(steps, cfg.inputs.iter().map(String::as_str)),
    })
}

/// See [`required_windows`].
pub(crate) fn windows<'a>(
    steps: Steps,
    features: impl IntoIterator<Item = &'a str>,
) -> IndexMap<String, Vec<i64>> {
    let offset = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let before = offset(steps.observed) - 1;
    let actions = (-before.max(1)..offset(steps.chunk())).collect();
    let mut windows = IndexMap::from([(crate::checkpoint::ACTION.to_owned(), actions)]);
    if steps.observed > 1 {
        let seen = features.into_iter().filter(|key| key.starts_with("observation."));
        windows.extend(seen.map(|key| (key.to_owned(), (-before..=0).collect())));
    }
    windows
}
