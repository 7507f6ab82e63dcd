//! Settings that are known to work, by name.

use super::config::{PolicyConfig, TrainConfig};
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
    let real = ActConfig {
        chunk_size: 30,
        n_action_steps: 15,
        action_representation: ActionRepresentation::DeltaToState,
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
            about: "a small ACT for recordings of a real robot at about 30 Hz: actions relative to the state, small pictures",
            image_size: Some([96, 128]),
            config: TrainConfig {
                policy: PolicyConfig::ActSmall(real),
                steps: 2000,
                ..TrainConfig::default()
            },
        },
    ]
}
