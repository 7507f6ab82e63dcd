//! Settings of the flow-matching policy. Names are those of ACT and SmolVLA where these have them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::imitation::ActionRepresentation;
use crate::imitation::transformer::{FeedForwardActivation, LayerSizes};
use crate::imitation::vision::{StemLayer, StemSizes};

/// A policy that carries actions along a learned flow. The defaults are the small preset's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowConfig {
    /// Actions predicted at once.
    pub chunk_size: usize,
    /// Actions executed of each chunk before the next inference.
    pub n_action_steps: usize,
    /// torchvision's name of the network that all cameras share, where `stem` is empty.
    pub vision_backbone: String,
    /// Width of a token.
    pub dim_model: usize,
    /// Attention heads; divides `dim_model`.
    pub n_heads: usize,
    /// Width of the feed-forward layers.
    pub dim_feedforward: usize,
    /// What stands inside the feed-forward layers.
    pub feedforward_activation: FeedForwardActivation,
    /// Layers that mix the observation's tokens.
    pub n_encoder_layers: usize,
    /// Layers through which actions look at each other and at the observation.
    pub n_decoder_layers: usize,
    /// Euler steps from noise to actions.
    pub num_inference_steps: usize,
    /// Times are drawn from Beta(`time_alpha`, 1): above 1, noisy actions are seen more often.
    pub time_alpha: f64,
    /// Convolutions of a small stem for each camera, in place of `vision_backbone`.
    pub stem: Vec<StemLayer>,
    /// Key points per camera, read off the stem; 0 for none.
    pub keypoints: usize,
    /// After how many convolutions the key points are read off.
    pub keypoint_layer: usize,
    /// Whether the last map's cells are tokens too.
    pub map_tokens: bool,
    /// What the predicted actions are relative to.
    pub action_representation: ActionRepresentation,
    /// Whether the last commanded action, minus the state, is an input. Wants state and action of the
    /// same dimensions.
    pub observe_last_action: bool,
    /// Share of features dropped at random in training.
    pub dropout: f64,
    /// Predict at every step and average all predictions of the present action with weights
    /// exp(−this · rank), oldest first, as ACT does. `None` executes `n_action_steps` of each chunk
    /// instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporal_ensemble_coeff: Option<f64>,
}

impl Default for FlowConfig {
    fn default() -> Self {
        let layer = |channels, kernel, stride| StemLayer { channels, kernel, stride };
        Self {
            chunk_size: 16,
            n_action_steps: 8,
            vision_backbone: "resnet18".into(),
            dim_model: 128,
            n_heads: 4,
            dim_feedforward: 256,
            feedforward_activation: FeedForwardActivation::Relu,
            n_encoder_layers: 2,
            n_decoder_layers: 2,
            num_inference_steps: 10,
            time_alpha: 1.5,
            stem: vec![layer(16, 5, 2), layer(32, 3, 2), layer(64, 3, 2), layer(64, 3, 2)],
            keypoints: 32,
            keypoint_layer: 2,
            map_tokens: true,
            action_representation: ActionRepresentation::Absolute,
            observe_last_action: false,
            dropout: 0.0,
            temporal_ensemble_coeff: None,
        }
    }
}

impl FlowConfig {
    /// What each camera's stem is to be.
    pub(crate) fn stem_sizes(&self) -> StemSizes<'_> {
        StemSizes {
            layers: &self.stem,
            keypoints: self.keypoints,
            keypoint_layer: self.keypoint_layer,
            map_tokens: self.map_tokens,
            dim: self.dim_model,
        }
    }

    /// Sizes of the transformer's layers, which normalise first.
    pub(crate) fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            dim: self.dim_model,
            heads: self.n_heads,
            ff_dim: self.dim_feedforward,
            activation: self.feedforward_activation,
            pre_norm: true,
        }
    }

    /// Refuses values that make no network.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let bounded = [
            ("chunk_size", self.chunk_size, 4096),
            ("n_action_steps", self.n_action_steps, self.chunk_size),
            ("dim_model", self.dim_model, 8192),
            ("n_heads", self.n_heads, 8192),
            ("dim_feedforward", self.dim_feedforward, 65_536),
            ("n_encoder_layers", self.n_encoder_layers, 256),
            ("n_decoder_layers", self.n_decoder_layers, 256),
            ("num_inference_steps", self.num_inference_steps, 100_000),
        ];
        for (key, value, most) in bounded {
            let rule = format!("it must be from 1 to {most}");
            check(key, value, (1..=most).contains(&value), &rule)?;
        }
        let dim = self.dim_model;
        check(
            "n_heads",
            self.n_heads,
            dim.is_multiple_of(self.n_heads),
            "it must divide dim_model",
        )?;
        check("dim_model", dim, dim.is_multiple_of(4), "it must be a multiple of 4")?;
        let alpha = self.time_alpha;
        check("time_alpha", alpha, alpha > 0.0 && alpha.is_finite(), "it must be above 0")?;
        self.stem_sizes().validate()
    }
}
