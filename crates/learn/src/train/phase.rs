//! Where in a training a step lies: most policies learn in one phase, VQ-BeT in two, what acts only
//! after what it acts with.
//!
//! Each phase is a training of its own: other parameters, rates and decay, and an optimiser that begins
//! anew. What learns in the first is not averaged, so that the second learns with what will act.

use super::config::TrainConfig;
use crate::imitation::FirstPhase;
use crate::optim::{self, StepSettings};

/// The phases of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phases {
    first: Option<FirstPhase>,
}

impl Phases {
    /// Those of `cfg`'s policy; one that `begins` in the second phase has only that.
    pub fn new(cfg: &TrainConfig, begins: u8) -> Self {
        Self { first: cfg.policy.first_phase().filter(|_| begins == 0) }
    }

    /// Steps of the first of two.
    pub fn first_steps(self) -> usize {
        self.first.map_or(0, |first| first.steps)
    }

    /// Whether `done` steps end the first of two.
    pub fn turns(self, done: usize) -> bool {
        self.first.is_some_and(|first| first.steps == done)
    }

    /// Settings of `step`, whose parameters are of `phase` and whose gradients have the length `norm`.
    pub fn settings(self, cfg: &TrainConfig, phase: u8, step: usize, norm: f64) -> StepSettings {
        let scale = (cfg.grad_clip / norm.max(cfg.grad_clip)) as f32;
        let beta1 = cfg.beta1 as f32;
        if let Some(FirstPhase { lr, weight_decay, .. }) = self.first.filter(|_| phase == 0) {
            let weight_decay = weight_decay as f32;
            return StepSettings { step, phase, lr, beta1, weight_decay, ema_decay: 0.0, scale };
        }
        let before = self.first_steps();
        let (step, steps) = (step - before, cfg.steps - before);
        let lr = optim::learning_rate(cfg.lr, cfg.warmup, steps, cfg.final_lr, step);
        let (weight_decay, ema_decay) = (cfg.weight_decay as f32, cfg.ema as f32);
        StepSettings { step, phase, lr, beta1, weight_decay, ema_decay, scale }
    }
}
