//! Settings that are known to work, by name.

use super::config::{AugmentConfig, PolicyConfig, TrainConfig};
use crate::act::{ActConfig, ActionRepresentation};

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
    vec![
        Preset {
            name: "act-small",
            about: "a small ACT for simulated arms: minutes on two cores",
            image_size: None,
            config: TrainConfig::default(),
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
                augment: AugmentConfig { shift_px: 6, brightness: 0.2 },
                eval_every: 100,
                ..TrainConfig::default()
            },
        },
    ]
}
