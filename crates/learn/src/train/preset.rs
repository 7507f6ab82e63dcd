//! Settings that are known to work, by name.

use super::config::{AugmentConfig, TrainConfig};
use crate::imitation::act::ActConfig;
use crate::imitation::diffusion::DiffusionConfig;
use crate::imitation::flow::FlowConfig;
use crate::imitation::vqbet::VqBetConfig;
use crate::imitation::{ActionRepresentation, PolicyConfig};

/// A named starting point for a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// Height and width that pictures should be brought to; `None`: as recorded.
    pub image_size: Option<[usize; 2]>,
    /// Settings.
    pub config: TrainConfig,
}

/// Names of all presets.
pub fn presets() -> Vec<&'static str> {
    all().into_iter().map(|p| p.name).collect()
}

/// The preset called `name`.
pub fn preset(name: &str) -> Option<Preset> {
    all().into_iter().find(|p| p.name == name)
}

fn all() -> Vec<Preset> {
    // Tuned on a humanoid's 12 episodes, by leaving episodes out: so little data wants a narrow
    // network, dropout and few steps, and the motion under way says more than the picture.
    let real = ActConfig {
        chunk_size: 30,
        n_action_steps: 15,
        dim: 64,
        ff_dim: 128,
        keypoints: 16,
        action_representation: ActionRepresentation::DeltaToLast,
        observe_last_action: true,
        linear_path: true,
        dropout: 0.2,
        ..ActConfig::default()
    };
    let lerobots = TrainConfig {
        policy: PolicyConfig::Act(ActConfig::lerobot()),
        steps: 100_000,
        batch_size: 8,
        lr: 1e-5,
        final_lr: 1.0,
        warmup: 0,
        grad_clip: 10.0,
        ema: 0.0,
        augment: AugmentConfig::NONE,
        ..TrainConfig::default()
    };
    vec![
        Preset {
            name: "act",
            about: "the paper's ACT with LeRobot's settings, 52 million parameters: days on a processor",
            image_size: None,
            config: lerobots.clone(),
        },
        Preset {
            name: "act-small",
            about: "a small ACT for simulated arms: minutes on two cores",
            image_size: None,
            config: TrainConfig::default(),
        },
        Preset {
            name: "diffusion",
            about: "Diffusion Policy with LeRobot's settings, 260 million parameters and more: days on a processor",
            image_size: None,
            config: TrainConfig {
                policy: PolicyConfig::Diffusion(DiffusionConfig::lerobot()),
                batch_size: 64,
                lr: 1e-4,
                final_lr: 0.0,
                warmup: 500,
                beta1: 0.95,
                weight_decay: 1e-6,
                ..lerobots.clone()
            },
        },
        Preset {
            name: "diffusion-small",
            about: "a small Diffusion Policy for simulated arms",
            image_size: None,
            config: TrainConfig {
                policy: PolicyConfig::DiffusionSmall(DiffusionConfig::default()),
                steps: 10_000,
                checkpoint_every: 1000,
                beta1: 0.95,
                ..TrainConfig::default()
            },
        },
        Preset {
            name: "flow-small",
            about: "a small flow-matching policy for simulated arms",
            image_size: None,
            config: TrainConfig {
                policy: PolicyConfig::Flow(FlowConfig::default()),
                steps: 10_000,
                checkpoint_every: 1000,
                ..TrainConfig::default()
            },
        },
        Preset {
            name: "vqbet",
            about: "VQ-BeT with LeRobot's settings, 38 million parameters: days on a processor",
            image_size: None,
            config: TrainConfig {
                policy: PolicyConfig::VqBet(VqBetConfig::lerobot()),
                batch_size: 64,
                lr: 1e-4,
                final_lr: 0.0,
                warmup: 500,
                beta1: 0.95,
                weight_decay: 1e-6,
                ..lerobots
            },
        },
        Preset {
            name: "vqbet-small",
            about: "a small VQ-BeT for simulated arms",
            image_size: None,
            config: TrainConfig {
                policy: PolicyConfig::VqBetSmall(VqBetConfig::default()),
                steps: 12_000,
                checkpoint_every: 1000,
                beta1: 0.95,
                ..TrainConfig::default()
            },
        },
        Preset {
            name: "act-small-real",
            about: "a small ACT for recordings of a real robot at about 30 Hz: actions relative to the last one, small pictures",
            image_size: Some([96, 128]),
            config: TrainConfig {
                policy: PolicyConfig::ActSmall(real),
                steps: 500,
                lr: 5e-4,
                weight_decay: 0.05,
                augment: AugmentConfig { shift_px: 6, brightness: 0.2, ..AugmentConfig::NONE },
                eval_every: 100,
                ..TrainConfig::default()
            },
        },
    ]
}
