//! Settings of the ACT family: which network, how its actions are represented.
//!
//! Names are those of LeRobot's `config.json`, with what LeRobot does not know beside them. The
//! defaults are the small preset's; [`ActConfig::lerobot`] has LeRobot's.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::imitation::ActionRepresentation;
use crate::imitation::transformer::{FeedForwardActivation, LayerSizes};
use crate::imitation::vision::{StemLayer, StemSizes};

/// An action-chunking transformer (Zhao et al. 2023, arXiv:2304.13705).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActConfig {
    /// Actions predicted at once.
    pub chunk_size: usize,
    /// Actions executed of each chunk before the next inference.
    pub n_action_steps: usize,
    /// torchvision's name of the network that all cameras share, where `stem` is empty.
    pub vision_backbone: String,
    /// Normalises before each block, and the encoder's output; otherwise after each block.
    pub pre_norm: bool,
    /// Width of a token.
    #[serde(rename = "dim_model")]
    pub dim: usize,
    /// Attention heads; divides `dim`.
    #[serde(rename = "n_heads")]
    pub heads: usize,
    /// Width of the feed-forward layers.
    #[serde(rename = "dim_feedforward")]
    pub ff_dim: usize,
    /// What stands inside the feed-forward layers.
    pub feedforward_activation: FeedForwardActivation,
    /// Encoder layers.
    #[serde(rename = "n_encoder_layers")]
    pub encoder_layers: usize,
    /// Decoder layers.
    #[serde(rename = "n_decoder_layers")]
    pub decoder_layers: usize,
    /// Whether a variational encoder compresses the demonstrated actions in training.
    pub use_vae: bool,
    /// Dimensions of its latent.
    pub latent_dim: usize,
    /// Its layers.
    pub n_vae_encoder_layers: usize,
    /// Weight of the latent's divergence in the loss.
    pub kl_weight: f64,
    /// Convolutions of a small stem for each camera, in place of `vision_backbone`.
    pub stem: Vec<StemLayer>,
    /// Key points per camera, read off the stem; 0 for none.
    pub keypoints: usize,
    /// After how many convolutions the key points are read off.
    pub keypoint_layer: usize,
    /// Whether the last map's cells are tokens too.
    pub map_tokens: bool,
    /// Whether tokens carry their positions and the decoder starts from its queries; otherwise it
    /// starts from zeros, and both are added to queries and keys in every layer, as in LeRobot.
    /// With one decoder layer the former tells actions apart better.
    pub placed_tokens: bool,
    /// What the predicted actions are relative to.
    pub action_representation: ActionRepresentation,
    /// Whether the last commanded action, minus the state, is an input: it tells where the motion is
    /// going. Wants state and action of the same dimensions.
    pub observe_last_action: bool,
    /// Whether a linear map from the state (and the last action, where that is an input) to the
    /// whole chunk is added to the network's output, starting from zero. Little data supports it
    /// before it supports the rest.
    pub linear_path: bool,
    /// Share of features dropped at random in training.
    pub dropout: f64,
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
            pre_norm: true,
            dim: 128,
            heads: 4,
            ff_dim: 256,
            encoder_layers: 2,
            use_vae: false,
            stem: vec![layer(16, 5, 2), layer(32, 3, 2), layer(64, 3, 2), layer(64, 3, 2)],
            keypoints: 32,
            keypoint_layer: 2,
            placed_tokens: true,
            dropout: 0.0,
            temporal_ensemble_coeff: Some(0.01),
            ..Self::lerobot()
        }
    }
}

impl ActConfig {
    /// LeRobot's defaults: the paper's network, 51.6 million parameters with one camera.
    pub fn lerobot() -> Self {
        Self {
            chunk_size: 100,
            n_action_steps: 100,
            vision_backbone: "resnet18".into(),
            pre_norm: false,
            dim: 512,
            heads: 8,
            ff_dim: 3200,
            feedforward_activation: FeedForwardActivation::Relu,
            encoder_layers: 4,
            decoder_layers: 1,
            use_vae: true,
            latent_dim: 32,
            n_vae_encoder_layers: 4,
            kl_weight: 10.0,
            stem: Vec::new(),
            keypoints: 0,
            keypoint_layer: 0,
            map_tokens: true,
            placed_tokens: false,
            action_representation: ActionRepresentation::Absolute,
            observe_last_action: false,
            linear_path: false,
            dropout: 0.1,
            temporal_ensemble_coeff: None,
        }
    }

    /// Whether LeRobot has this network: nothing of our own is asked for.
    pub(crate) fn is_lerobots(&self) -> bool {
        self.stem.is_empty()
            && self.keypoints == 0
            && self.map_tokens
            && !self.placed_tokens
            && self.action_representation == ActionRepresentation::Absolute
            && !self.observe_last_action
            && !self.linear_path
    }

    /// Sizes of the transformer's layers.
    pub(crate) fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            dim: self.dim,
            heads: self.heads,
            ff_dim: self.ff_dim,
            activation: self.feedforward_activation,
            pre_norm: self.pre_norm,
        }
    }

    /// What each camera's stem is to be.
    pub(crate) fn stem_sizes(&self) -> StemSizes<'_> {
        StemSizes {
            layers: &self.stem,
            keypoints: self.keypoints,
            keypoint_layer: self.keypoint_layer,
            map_tokens: self.map_tokens,
            dim: self.dim,
        }
    }

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
            ("latent_dim", self.latent_dim),
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
            ("latent_dim", self.latent_dim, 8192),
            ("n_vae_encoder_layers", self.n_vae_encoder_layers, 256),
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
        self.stem_sizes().validate()?;
        let kl = self.kl_weight;
        check("kl_weight", kl, kl >= 0.0 && kl.is_finite(), "it must be at least 0")
    }
}
