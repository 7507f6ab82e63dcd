//! Settings of a training run.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::act::{ActConfig, check};
use crate::error::Error;

/// Which policy to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum PolicyConfig {
    /// A small action-chunking transformer with a convolutional stem.
    ActSmall(ActConfig),
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::ActSmall(ActConfig::default())
    }
}

/// Random changes of the training pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Pictures move by up to this many pixels each way, their edge repeated.
    pub shift_px: usize,
    /// Brightness of a picture changes by a factor within ± this.
    pub brightness: f32,
}

impl AugmentConfig {
    /// No change.
    pub(crate) const NONE: Self = Self { shift_px: 0, brightness: 0.0 };
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self { shift_px: 2, brightness: 0.0 }
    }
}

/// How to train. Everything but `threads` and `prefetch` is part of
/// what makes a result.
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
    /// Parts that a batch is split into, computed side by side and summed in order. Part of the
    /// result, so that the number of threads is not.
    pub shards: usize,
    /// Highest learning rate of AdamW.
    pub lr: f64,
    /// Fraction of `lr` at the end of the cosine.
    pub final_lr: f64,
    /// Steps of linear warm-up.
    pub warmup: usize,
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
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Root of every random stream.
    pub seed: u64,
    /// Threads; 0 for one per core. Never changes a result.
    pub threads: usize,
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
            weight_decay: 1e-4,
            grad_clip: 1.0,
            ema: 0.998,
            augment: AugmentConfig::default(),
            log_every: 20,
            eval_every: 500,
            eval_frames: 256,
            checkpoint_every: 500,
            seed: 0,
            threads: 0,
            prefetch: 4,
        }
    }
}

impl TrainConfig {
    /// Without what never changes a result.
    pub(crate) fn of_the_result(&self) -> Self {
        Self { threads: 0, prefetch: 1, ..self.clone() }
    }

    /// The policy's settings.
    pub(crate) fn act(&self) -> &ActConfig {
        let PolicyConfig::ActSmall(act) = &self.policy;
        act
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
        let change = self.augment.brightness;
        check("brightness", change, (0.0..1.0).contains(&change), "it must be in [0, 1)")?;
        self.act().validate()
    }
}

/// The windows over time that a [`embody_core::BatchSource`] must be opened with to train `cfg`, and to
/// judge its policy with [`crate::open_loop`]: frame offsets by feature key. Offset -1 of the action
/// is for the baseline "hold the last action".
pub fn required_windows(cfg: &TrainConfig) -> IndexMap<String, Vec<i64>> {
    windows(cfg.act().chunk_size)
}

/// See [`required_windows`].
pub(crate) fn windows(chunk: usize) -> IndexMap<String, Vec<i64>> {
    let last = i64::try_from(chunk).unwrap_or(i64::MAX);
    IndexMap::from([(crate::checkpoint::ACTION.to_owned(), (-1..last).collect())])
}
