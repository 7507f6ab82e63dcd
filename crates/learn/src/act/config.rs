//! Settings of the ACT family: which network, how its actions are represented.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What the predicted actions are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionRepresentation {
    /// The actions themselves.
    #[default]
    Absolute,
    /// Action minus the state at the time of prediction; wants state and action of the same
    /// dimensions (joint positions and joint targets).
    DeltaToState,
    /// Action minus the last commanded action (the state before the first); wants the same. Where
    /// commands are smooth, "go on as before" is then the zero from which learning starts.
    DeltaToLast,
}

/// One convolution of the stem, followed by ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StemLayer {
    /// Output channels.
    pub channels: usize,
    /// Side of the square kernel, in pixels of its input.
    pub kernel: usize,
    /// Step between windows, in pixels of its input.
    pub stride: usize,
}

/// A small action-chunking transformer (Zhao et al. 2023, arXiv:2304.13705) with a convolutional stem
/// instead of ResNet-18, and spatial-softmax key points (Levine et al. 2016) beside the map's tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActConfig {
    /// Actions predicted at once.
    pub chunk_size: usize,
    /// Actions executed of each chunk before the next inference.
    pub n_action_steps: usize,
    /// Width of a token.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub ff_dim: usize,
    /// Encoder layers.
    pub encoder_layers: usize,
    /// Decoder layers.
    pub decoder_layers: usize,
    /// Convolutions of each camera's stem.
    pub stem: Vec<StemLayer>,
    /// Key points per camera; 0 for none.
    pub keypoints: usize,
    /// After how many convolutions the key points are read off.
    pub keypoint_layer: usize,
    /// Whether the last map's cells are tokens too.
    pub map_tokens: bool,
    /// What the predicted actions are relative to.
    pub action_representation: ActionRepresentation,
    /// Whether the last commanded action, minus the state, is an input: it tells where the motion is
    /// going. Wants state and action of the same dimensions.
    pub observe_last_action: bool,
    /// Whether a linear map from the state (and the last action, where that is an input) to the
    /// whole chunk is added to the network's output, starting from zero. Little data supports it
    /// before it supports the rest.
    pub linear_path: bool,
    /// Share of features dropped at random in training, for small datasets.
    pub dropout: f32,
    /// Predict at every step and average all predictions of the present action with weights
    /// exp(−this · rank), oldest first (ACT's temporal ensembling; the paper uses 0.01). `None` executes
    /// `n_action_steps` of each chunk instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporal_ensemble_coeff: Option<f64>,
}

impl Default for ActConfig {
    fn default() -> Self {
        let layer = |channels, kernel, stride| StemLayer { channels, kernel, stride };
        Self {
            chunk_size: 16,
            n_action_steps: 8,
            dim: 128,
            heads: 4,
            ff_dim: 256,
            encoder_layers: 2,
            decoder_layers: 1,
            stem: vec![layer(16, 5, 2), layer(32, 3, 2), layer(64, 3, 2), layer(64, 3, 2)],
            keypoints: 32,
            keypoint_layer: 2,
            map_tokens: true,
            action_representation: ActionRepresentation::Absolute,
            observe_last_action: false,
            linear_path: false,
            dropout: 0.0,
            temporal_ensemble_coeff: Some(0.01),
        }
    }
}

impl ActConfig {
    /// Refuses values that make no network.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let positive = [
            ("chunk_size", self.chunk_size),
            ("n_action_steps", self.n_action_steps),
            ("dim", self.dim),
            ("heads", self.heads),
            ("ff_dim", self.ff_dim),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("stem", self.stem.len()),
        ];
        for (key, value) in positive {
            check(key, value, value > 0, "it must be at least 1")?;
        }
        // A policy's folder may come from anywhere: far beyond any network, far below what exhausts
        // memory while it is laid out.
        let bounded = [
            ("chunk_size", self.chunk_size, 4096),
            ("dim", self.dim, 8192),
            ("ff_dim", self.ff_dim, 65_536),
            ("encoder_layers", self.encoder_layers, 256),
            ("decoder_layers", self.decoder_layers, 256),
            ("stem", self.stem.len(), 64),
            ("keypoints", self.keypoints, 8192),
        ];
        for (key, value, most) in bounded {
            check(key, value, value <= most, &format!("it can be {most} at most"))?;
        }
        check(
            "n_action_steps",
            self.n_action_steps,
            self.n_action_steps <= self.chunk_size,
            "it can't exceed chunk_size",
        )?;
        check("heads", self.heads, self.dim.is_multiple_of(self.heads), "it must divide dim")?;
        check("dim", self.dim, self.dim.is_multiple_of(4), "it must be a multiple of 4")?;
        check(
            "keypoint_layer",
            self.keypoint_layer,
            self.keypoints == 0 || (1..=self.stem.len()).contains(&self.keypoint_layer),
            "it must be between 1 and the number of stem layers",
        )?;
        check(
            "keypoints",
            self.keypoints,
            self.keypoints > 0 || self.map_tokens,
            "without key points, map_tokens must be true",
        )?;
        check("dropout", self.dropout, (0.0..1.0).contains(&self.dropout), "it must be in [0, 1)")?;
        check(
            "temporal_ensemble_coeff",
            format!("{:?}", self.temporal_ensemble_coeff),
            self.temporal_ensemble_coeff.is_none_or(f64::is_finite),
            "it must be a finite number",
        )?;
        for layer in &self.stem {
            let numbers = [layer.channels, layer.kernel, layer.stride];
            let whole = numbers.iter().all(|n| (1..=8192).contains(n));
            check("stem", format!("{layer:?}"), whole, "every number must be from 1 to 8192")?;
        }
        Ok(())
    }
}

pub(crate) fn check(
    key: &'static str,
    value: impl ToString,
    holds: bool,
    rule: &str,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Config { key, value: value.to_string(), rule: rule.to_owned() })
    }
}
