//! Settings of Diffusion Policy, under the names of LeRobot's `config.json`.
//!
//! LeRobot's defaults changed in May 2026 (horizon 16 to 64, actions 8 to 32, encoders of their own for
//! each camera, batch in place of group normalisation): what a checkpoint was made with stands in it,
//! and defaults take no part when one is read. The defaults here are the small preset's.

use serde::{Deserialize, Serialize};

use super::schedule::{BetaSchedule, NoiseScheduler, PredictionType};
use crate::error::{Error, check};
use crate::imitation::ActionRepresentation;
use crate::imitation::vision::{StemLayer, StemSizes};

/// A denoising policy (Chi et al. 2023, arXiv:2303.04137).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionConfig {
    /// Observations looked at, the present one last.
    pub n_obs_steps: usize,
    /// Actions predicted at once, from the first observation looked at.
    pub horizon: usize,
    /// Actions carried out of each prediction, from the present one.
    pub n_action_steps: usize,
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
    /// Whether each camera has a backbone of its own.
    pub use_separate_rgb_encoder_per_camera: bool,
    /// Channels of the U-Net's levels.
    pub down_dims: Vec<usize>,
    /// Steps under a convolution's window.
    pub kernel_size: usize,
    /// Groups of channels that are normalised together.
    pub n_groups: usize,
    /// Width of the noise level's features.
    pub diffusion_step_embed_dim: usize,
    /// Whether the condition scales features as well as shifts them.
    pub use_film_scale_modulation: bool,
    /// How noise is taken away.
    pub noise_scheduler_type: NoiseScheduler,
    /// Noise levels.
    pub num_train_timesteps: usize,
    /// How noise grows with the level.
    pub beta_schedule: BetaSchedule,
    /// First of a linear schedule.
    pub beta_start: f64,
    /// Last of a linear schedule.
    pub beta_end: f64,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Whether trajectories are kept within ± `clip_sample_range` while noise is taken away.
    pub clip_sample: bool,
    /// See `clip_sample`.
    pub clip_sample_range: f64,
    /// Levels visited when acting; `None` for all.
    pub num_inference_steps: Option<usize>,
    /// Whether actions beyond the episode's end are left out of the loss.
    pub do_mask_loss_for_padding: bool,
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
    /// exp(−this · rank), oldest first, as ACT does. `None` executes `n_action_steps` of each
    /// prediction instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporal_ensemble_coeff: Option<f64>,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        let layer = |channels, kernel, stride| StemLayer { channels, kernel, stride };
        Self {
            n_obs_steps: 1,
            horizon: 16,
            n_action_steps: 8,
            down_dims: vec![64, 128, 256],
            kernel_size: 3,
            diffusion_step_embed_dim: 64,
            noise_scheduler_type: NoiseScheduler::Ddim,
            num_inference_steps: Some(10),
            do_mask_loss_for_padding: true,
            stem: vec![layer(16, 5, 2), layer(32, 3, 2), layer(64, 3, 1)],
            keypoints: 32,
            keypoint_layer: 3,
            ..Self::lerobot()
        }
    }
}

impl DiffusionConfig {
    /// LeRobot's defaults since May 2026: 260 million parameters and more.
    pub fn lerobot() -> Self {
        Self {
            n_obs_steps: 2,
            horizon: 64,
            n_action_steps: 32,
            vision_backbone: "resnet18".into(),
            crop_shape: None,
            crop_is_random: true,
            use_group_norm: false,
            spatial_softmax_num_keypoints: 32,
            use_separate_rgb_encoder_per_camera: true,
            down_dims: vec![512, 1024, 2048],
            kernel_size: 5,
            n_groups: 8,
            diffusion_step_embed_dim: 128,
            use_film_scale_modulation: true,
            noise_scheduler_type: NoiseScheduler::Ddpm,
            num_train_timesteps: 100,
            beta_schedule: BetaSchedule::SquaredcosCapV2,
            beta_start: 0.0001,
            beta_end: 0.02,
            prediction_type: PredictionType::Epsilon,
            clip_sample: true,
            clip_sample_range: 1.0,
            num_inference_steps: None,
            do_mask_loss_for_padding: false,
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

    /// What each camera's stem is to be; its key points become as many features as there are
    /// numbers in them.
    pub(crate) fn stem_sizes(&self) -> StemSizes<'_> {
        StemSizes {
            layers: &self.stem,
            keypoints: self.keypoints,
            keypoint_layer: self.keypoint_layer,
            map_tokens: false,
            dim: 2 * self.keypoints,
        }
    }

    /// Refuses values that make no network.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let bounded = [
            ("n_obs_steps", self.n_obs_steps, 1024),
            ("horizon", self.horizon, 4096),
            ("n_action_steps", self.n_action_steps, 4096),
            ("kernel_size", self.kernel_size, 255),
            ("n_groups", self.n_groups, 8192),
            ("diffusion_step_embed_dim", self.diffusion_step_embed_dim, 8192),
            ("num_train_timesteps", self.num_train_timesteps, 100_000),
            ("down_dims", self.down_dims.len(), 16),
            ("spatial_softmax_num_keypoints", self.spatial_softmax_num_keypoints, 8192),
        ];
        for (key, value, most) in bounded {
            let rule = format!("it must be from 1 to {most}");
            check(key, value, (1..=most).contains(&value), &rule)?;
        }
        for n in &self.down_dims {
            let fits = *n <= 65_536 && *n > 0 && n.is_multiple_of(self.n_groups);
            check("down_dims", n, fits, "n_groups must divide each, 65536 at most")?;
        }
        let factor = 1 << self.down_dims.len();
        let whole = self.horizon.is_multiple_of(factor);
        check("horizon", self.horizon, whole, "each of down_dims has to halve it evenly")?;
        if !self.stem.is_empty() {
            self.stem_sizes().validate()?;
        }
        if let Some([height, width]) = self.crop_shape {
            let whole = height > 0 && width > 0;
            check("crop_shape", format!("[{height}, {width}]"), whole, "both must be above 0")?;
        }
        let one = !self.observe_last_action || self.n_obs_steps == 1;
        check("observe_last_action", true, one, "it wants n_obs_steps 1")?;
        let range = self.clip_sample_range;
        let rule = "it must be above 0";
        check("clip_sample_range", range, range > 0.0 && range.is_finite(), rule)?;
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            check(key, beta, beta > 0.0 && beta < 1.0, "it must be between 0 and 1")?;
        }
        let odd = self.kernel_size % 2 == 1;
        check("kernel_size", self.kernel_size, odd, "it must be odd")?;
        let even = self.diffusion_step_embed_dim.is_multiple_of(2);
        let wide = even && self.diffusion_step_embed_dim >= 4;
        let rule = "it must be even, and at least 4";
        check("diffusion_step_embed_dim", self.diffusion_step_embed_dim, wide, rule)?;
        let last = self.n_obs_steps - 1 + self.n_action_steps;
        let rule = "n_obs_steps - 1 + n_action_steps can't exceed horizon";
        check("n_action_steps", self.n_action_steps, last <= self.horizon, rule)?;
        let steps = self.inference_steps();
        let fits = (1..=self.num_train_timesteps).contains(&steps);
        check("num_inference_steps", steps, fits, "it must be from 1 to num_train_timesteps")
    }

    /// Levels visited when acting.
    pub(crate) fn inference_steps(&self) -> usize {
        self.num_inference_steps.unwrap_or(self.num_train_timesteps)
    }
}
