//! Settings of π0 under LeRobot's names. The sizes of PaliGemma and of its expert follow from theirs.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::imitation::vla::language::{Family, LanguageSizes};
use crate::imitation::vla::vision::VisionSizes;

/// A Gemma model by its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GemmaVariant {
    /// Of two billion parameters: 2048 wide.
    #[serde(rename = "gemma_2b")]
    TwoBillion,
    /// Of 300 million: 1024 wide.
    #[serde(rename = "gemma_300m")]
    ThreeHundredMillion,
}

impl GemmaVariant {
    fn sizes(self) -> LanguageSizes {
        let (dim, ff_dim) = match self {
            Self::TwoBillion => (2048, 16_384),
            Self::ThreeHundredMillion => (1024, 4096),
        };
        let family = Family::Gemma;
        LanguageSizes { family, dim, ff_dim, heads: 8, kv_heads: 1, head_dim: 256, eps: 1e-6 }
    }
}

/// π0's settings; the defaults are LeRobot's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pi0Config {
    /// PaliGemma's language model.
    pub paligemma_variant: GemmaVariant,
    /// The expert.
    pub action_expert_variant: GemmaVariant,
    /// Actions predicted at once.
    pub chunk_size: usize,
    /// Actions executed of each chunk before the next inference.
    pub n_action_steps: usize,
    /// Dimensions that states are filled up to with zeros.
    pub max_state_dim: usize,
    /// Likewise of actions.
    pub max_action_dim: usize,
    /// Euler steps from noise to actions.
    pub num_inference_steps: usize,
    /// Shortest wavelength of a time's features.
    pub min_period: f64,
    /// Longest.
    pub max_period: f64,
    /// Height and width that pictures are brought to, filled up with black on both sides.
    pub image_resolution: [usize; 2],
    /// Cameras of the pretraining that are not there (`observation.images.empty_camera_0` and on).
    pub empty_cameras: usize,
    /// Longest instruction, in tokens.
    pub tokenizer_max_length: usize,
    /// What the variants stand for.
    #[serde(skip)]
    pub(crate) sizes: Option<Pi0Sizes>,
}

impl Default for Pi0Config {
    fn default() -> Self {
        Self {
            paligemma_variant: GemmaVariant::TwoBillion,
            action_expert_variant: GemmaVariant::ThreeHundredMillion,
            chunk_size: 50,
            n_action_steps: 50,
            max_state_dim: 32,
            max_action_dim: 32,
            num_inference_steps: 10,
            min_period: 4e-3,
            max_period: 4.0,
            image_resolution: [224, 224],
            empty_cameras: 0,
            tokenizer_max_length: 48,
            sizes: None,
        }
    }
}

/// Sizes of both models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pi0Sizes {
    pub vision: VisionSizes,
    pub text: LanguageSizes,
    pub expert: LanguageSizes,
    /// Of text and expert.
    pub layers: usize,
    pub vocabulary: usize,
}

impl Pi0Config {
    /// Sizes of both models.
    pub(crate) fn sizes(&self) -> Pi0Sizes {
        let vision = VisionSizes {
            dim: 1152,
            ff_dim: 4304,
            layers: 27,
            heads: 16,
            image_size: self.side(),
            patch_size: 14,
        };
        self.sizes.unwrap_or(Pi0Sizes {
            vision,
            text: self.paligemma_variant.sizes(),
            expert: self.action_expert_variant.sizes(),
            layers: 18,
            vocabulary: 257_152,
        })
    }

    /// Side of the pictures that the vision tower sees.
    pub(crate) fn side(&self) -> usize {
        self.image_resolution[0]
    }

    /// Refuses values that make no network.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let bounded = [
            ("chunk_size", self.chunk_size, 4096),
            ("n_action_steps", self.n_action_steps, self.chunk_size),
            ("max_state_dim", self.max_state_dim, 65_536),
            ("max_action_dim", self.max_action_dim, 65_536),
            ("image_resolution", self.side(), 4096),
            ("tokenizer_max_length", self.tokenizer_max_length, 65_536),
            ("num_inference_steps", self.num_inference_steps, 100_000),
        ];
        for (key, value, most) in bounded {
            let rule = format!("it must be from 1 to {most}");
            check(key, value, (1..=most).contains(&value), &rule)?;
        }
        let [height, width] = self.image_resolution;
        let patch = self.sizes().vision.patch_size;
        check(
            "image_resolution",
            format!("[{height}, {width}]"),
            width == height && width >= patch,
            &format!("it must be square, and a patch of {patch} pixels at least"),
        )?;
        // PaliGemma's projection of pictures is as wide as its language model of two billion.
        let (variant, wide) = (self.paligemma_variant, GemmaVariant::TwoBillion);
        let rule = "PaliGemma stands on `gemma_2b`";
        check("paligemma_variant", format!("{variant:?}"), variant == wide, rule)?;
        for (key, period) in [("min_period", self.min_period), ("max_period", self.max_period)] {
            check(key, period, period > 0.0 && period.is_finite(), "it must be above 0")?;
        }
        Ok(())
    }
}

/// What LeRobot calls the tensor `name` of a checkpoint: openpi's have no common prefix, and those of
/// π0.5's kind another name for the maps of action and time.
pub(crate) fn parameter(name: &str) -> String {
    match name.strip_prefix("model.") {
        Some(_) => name.to_owned(),
        None if name.starts_with("time_mlp_") => format!("model.action_{name}"),
        None => format!("model.{name}"),
    }
}
