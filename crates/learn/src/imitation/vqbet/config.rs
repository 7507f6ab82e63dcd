//! Settings of VQ-BeT, under the names of LeRobot's `config.json`. The defaults are the small preset's.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::imitation::ActionRepresentation;
use crate::imitation::vision::{StemLayer, StemSizes};

/// A policy that chooses codes of action chunks (Lee et al. 2024, arXiv:2403.03181).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VqBetConfig {
    /// Observations looked at, the present one last.
    pub n_obs_steps: usize,
    /// Chunks predicted from the present one on, each a step after the one before.
    pub n_action_pred_token: usize,
    /// Actions of a chunk; all of the present one are carried out.
    pub action_chunk_size: usize,
    /// torchvision's name of the network that sees, where `stem` is empty.
    pub vision_backbone: String,
    /// Height and width of the part of each picture that the network sees: the middle one when
    /// acting. All of it where `None`.
    pub crop_shape: Option<[usize; 2]>,
    /// Whether training sees parts at random.
    pub crop_is_random: bool,
    /// Whether the backbone normalises groups of channels; by fixed statistics otherwise.
    pub use_group_norm: bool,
    /// Key points that the backbone's last map is boiled down to.
    pub spatial_softmax_num_keypoints: usize,
    /// Optimiser steps of the first phase, in which the autoencoder learns.
    pub n_vqvae_training_steps: usize,
    /// Codes of each of the autoencoder's two layers.
    pub vqvae_n_embed: usize,
    /// Width of a code's vector.
    pub vqvae_embedding_dim: usize,
    /// Width of the autoencoder's hidden layers.
    pub vqvae_enc_hidden_dim: usize,
    /// Most tokens that the transformer takes.
    pub gpt_block_size: usize,
    /// Width of a token on its way in.
    pub gpt_input_dim: usize,
    /// Width of a token on its way out.
    pub gpt_output_dim: usize,
    /// Layers of the transformer.
    pub gpt_n_layer: usize,
    /// Attention heads; divides `gpt_hidden_dim`.
    pub gpt_n_head: usize,
    /// Width of the transformer.
    pub gpt_hidden_dim: usize,
    /// Share of features dropped at random in training.
    pub dropout: f64,
    /// Weight of the actions' mean absolute error.
    pub offset_loss_weight: f64,
    /// Weight of the first code's loss.
    pub primary_code_loss_weight: f64,
    /// Weight of the second code's loss.
    pub secondary_code_loss_weight: f64,
    /// Codes are drawn as likely as exp(logit / this): near 0, the likeliest.
    pub bet_softmax_temperature: f64,
    /// Whether the second code is chosen knowing the first.
    pub sequentially_select: bool,
    /// Learning rate of the first phase, the same throughout.
    pub optimizer_vqvae_lr: f64,
    /// Weight decay of the first phase.
    pub optimizer_vqvae_weight_decay: f64,
    /// Convolutions of a small stem for each camera, in place of `vision_backbone`.
    pub stem: Vec<StemLayer>,
    /// Key points per camera, read off the stem.
    pub keypoints: usize,
    /// After how many convolutions the key points are read off.
    pub keypoint_layer: usize,
    /// What the predicted actions are relative to.
    pub action_representation: ActionRepresentation,
    /// Whether the last commanded action, minus the state, is an input. Wants state and action of the
    /// same dimensions, and `n_obs_steps` 1.
    pub observe_last_action: bool,
    /// Predict at every step and average all predictions of the present action with weights
    /// exp(−this · rank), oldest first, as ACT does. `None` executes `action_chunk_size` of each
    /// prediction instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporal_ensemble_coeff: Option<f64>,
}

impl Default for VqBetConfig {
    fn default() -> Self {
        let layer = |channels, kernel, stride| StemLayer { channels, kernel, stride };
        Self {
            n_obs_steps: 1,
            n_action_pred_token: 3,
            action_chunk_size: 8,
            crop_shape: None,
            n_vqvae_training_steps: 2000,
            vqvae_embedding_dim: 64,
            gpt_block_size: 64,
            gpt_input_dim: 128,
            gpt_output_dim: 128,
            gpt_n_layer: 4,
            gpt_n_head: 4,
            gpt_hidden_dim: 128,
            dropout: 0.0,
            stem: vec![layer(16, 5, 2), layer(32, 3, 2), layer(64, 3, 1)],
            keypoints: 32,
            keypoint_layer: 3,
            ..Self::lerobot()
        }
    }
}

impl VqBetConfig {
    /// LeRobot's defaults: 38 million parameters.
    pub fn lerobot() -> Self {
        Self {
            n_obs_steps: 5,
            n_action_pred_token: 3,
            action_chunk_size: 5,
            vision_backbone: "resnet18".into(),
            crop_shape: Some([84, 84]),
            crop_is_random: true,
            use_group_norm: false,
            spatial_softmax_num_keypoints: 32,
            n_vqvae_training_steps: 20_000,
            vqvae_n_embed: 16,
            vqvae_embedding_dim: 256,
            vqvae_enc_hidden_dim: 128,
            gpt_block_size: 500,
            gpt_input_dim: 512,
            gpt_output_dim: 512,
            gpt_n_layer: 8,
            gpt_n_head: 8,
            gpt_hidden_dim: 512,
            dropout: 0.1,
            offset_loss_weight: 10_000.0,
            primary_code_loss_weight: 5.0,
            secondary_code_loss_weight: 0.5,
            bet_softmax_temperature: 0.1,
            sequentially_select: false,
            optimizer_vqvae_lr: 1e-3,
            optimizer_vqvae_weight_decay: 1e-4,
            stem: Vec::new(),
            keypoints: 0,
            keypoint_layer: 0,
            action_representation: ActionRepresentation::Absolute,
            observe_last_action: false,
            temporal_ensemble_coeff: None,
        }
    }

    /// Whether LeRobot has this network: nothing of our own is asked for.
    pub(crate) fn is_lerobots(&self) -> bool {
        self.stem.is_empty()
            && self.action_representation == ActionRepresentation::Absolute
            && !self.observe_last_action
            && self.temporal_ensemble_coeff.is_none()
    }

    /// What each camera's stem is to be; its key points become one token.
    pub(crate) fn stem_sizes(&self) -> StemSizes<'_> {
        StemSizes {
            layers: &self.stem,
            keypoints: self.keypoints,
            keypoint_layer: self.keypoint_layer,
            map_tokens: false,
            dim: self.gpt_input_dim,
        }
    }

    /// Chunks predicted: one for each observation, the last of which is the present one's, and those
    /// after it.
    pub(crate) fn chunks(&self) -> usize {
        self.n_obs_steps + self.n_action_pred_token - 1
    }

    /// Refuses values that make no network.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let bounded = [
            ("n_obs_steps", self.n_obs_steps, 1024),
            ("n_action_pred_token", self.n_action_pred_token, 1024),
            ("action_chunk_size", self.action_chunk_size, 4096),
            ("spatial_softmax_num_keypoints", self.spatial_softmax_num_keypoints, 8192),
            ("n_vqvae_training_steps", self.n_vqvae_training_steps, 1_000_000_000),
            ("vqvae_n_embed", self.vqvae_n_embed, 8192),
            ("vqvae_embedding_dim", self.vqvae_embedding_dim, 8192),
            ("vqvae_enc_hidden_dim", self.vqvae_enc_hidden_dim, 65_536),
            ("gpt_block_size", self.gpt_block_size, 65_536),
            ("gpt_input_dim", self.gpt_input_dim, 8192),
            ("gpt_output_dim", self.gpt_output_dim, 8192),
            ("gpt_n_layer", self.gpt_n_layer, 256),
            ("gpt_n_head", self.gpt_n_head, 8192),
            ("gpt_hidden_dim", self.gpt_hidden_dim, 8192),
        ];
        for (key, value, most) in bounded {
            let rule = format!("it must be from 1 to {most}");
            check(key, value, (1..=most).contains(&value), &rule)?;
        }
        let whole = self.gpt_hidden_dim.is_multiple_of(self.gpt_n_head);
        check("gpt_n_head", self.gpt_n_head, whole, "it must divide gpt_hidden_dim")?;
        if !self.stem.is_empty() {
            self.stem_sizes().validate()?;
        }
        if let Some([height, width]) = self.crop_shape {
            let whole = height > 0 && width > 0;
            check("crop_shape", format!("[{height}, {width}]"), whole, "both must be above 0")?;
        }
        let one = !self.observe_last_action || self.n_obs_steps == 1;
        check("observe_last_action", true, one, "it wants n_obs_steps 1")?;
        let weights = [
            ("offset_loss_weight", self.offset_loss_weight),
            ("primary_code_loss_weight", self.primary_code_loss_weight),
            ("secondary_code_loss_weight", self.secondary_code_loss_weight),
        ];
        for (key, weight) in weights {
            let fits = weight >= 0.0 && weight.is_finite();
            check(key, weight, fits, "it must be at least 0")?;
        }
        let above = [
            ("bet_softmax_temperature", self.bet_softmax_temperature),
            ("optimizer_vqvae_lr", self.optimizer_vqvae_lr),
        ];
        for (key, value) in above {
            check(key, value, value > 0.0 && value.is_finite(), "it must be above 0")?;
        }
        let decay = self.optimizer_vqvae_weight_decay;
        let fits = (0.0..1.0).contains(&decay);
        check("optimizer_vqvae_weight_decay", decay, fits, "it must be in [0, 1)")
    }
}
