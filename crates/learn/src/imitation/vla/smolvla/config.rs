//! Settings of SmolVLA under LeRobot's names, and the sizes of the vision-language model that it
//! begins with: LeRobot names that model and fetches its `config.json`. Here the sizes of the one that
//! SmolVLA was made with are known; those of another stand in `vlm_config.json` beside the policy.

use serde::{Deserialize, Serialize};

use crate::error::{Error, check};
use crate::imitation::vla::language::{Family, LanguageSizes};
use crate::imitation::vla::vision::VisionSizes;

/// How the expert's layers look at the language model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionMode {
    /// They make keys and values of what is remembered there, but every
    /// `self_attn_every_n_layers`-th, which joins.
    CrossAttn,
    /// All join.
    SelfAttn,
}

/// SmolVLA's settings; the defaults are LeRobot's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmolVlaConfig {
    /// Actions predicted at once.
    pub chunk_size: usize,
    /// Actions executed of each chunk before the next inference.
    pub n_action_steps: usize,
    /// Dimensions that states are filled up to with zeros.
    pub max_state_dim: usize,
    /// Likewise of actions.
    pub max_action_dim: usize,
    /// Width and height that pictures are brought to, filled up with black at the left and the top.
    pub resize_imgs_with_padding: [usize; 2],
    /// Cameras of the pretraining that are not there (`observation.images.empty_camera_0` and on).
    pub empty_cameras: usize,
    /// Longest instruction, in tokens.
    pub tokenizer_max_length: usize,
    /// Euler steps from noise to actions.
    pub num_steps: usize,
    /// The vision-language model's name.
    pub vlm_model_name: String,
    /// Whether special tokens mark where a picture begins and ends.
    pub add_image_special_tokens: bool,
    /// How the expert looks at the language model.
    pub attention_mode: AttentionMode,
    /// Layers of the expert; 0 or less for as many as the language model's.
    pub num_expert_layers: i64,
    /// Layers kept of the language model; 0 or less for all.
    pub num_vlm_layers: i64,
    /// The expert joins in every so many-th layer; 0 or less for none.
    pub self_attn_every_n_layers: i64,
    /// Width of the expert's tokens over the language model's.
    pub expert_width_multiplier: f64,
    /// Shortest wavelength of a time's features.
    pub min_period: f64,
    /// Longest.
    pub max_period: f64,
    /// Sizes of the model that `vlm_model_name` names.
    #[serde(skip)]
    pub(crate) vlm: SmolVlmSizes,
}

impl Default for SmolVlaConfig {
    fn default() -> Self {
        Self {
            chunk_size: 50,
            n_action_steps: 50,
            max_state_dim: 32,
            max_action_dim: 32,
            resize_imgs_with_padding: [512, 512],
            empty_cameras: 0,
            tokenizer_max_length: 48,
            num_steps: 10,
            vlm_model_name: SmolVlmSizes::KNOWN.into(),
            add_image_special_tokens: false,
            attention_mode: AttentionMode::CrossAttn,
            num_expert_layers: -1,
            num_vlm_layers: 16,
            self_attn_every_n_layers: 2,
            expert_width_multiplier: 0.75,
            min_period: 4e-3,
            max_period: 4.0,
            vlm: SmolVlmSizes::default(),
        }
    }
}

/// Sizes of a vision-language model of SmolVLM's kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SmolVlmSizes {
    pub vision: VisionSizes,
    pub text: LanguageSizes,
    /// Layers of the text model, of which the policy may keep fewer.
    pub text_layers: usize,
    pub vocabulary: usize,
    /// Whether the words' embeddings serve as output layer too.
    pub tied: bool,
    /// Patches each way that become one token.
    pub scale_factor: usize,
}

impl Default for SmolVlmSizes {
    /// SmolVLM2-500M-Video-Instruct's.
    fn default() -> Self {
        Self {
            vision: VisionSizes {
                dim: 768,
                ff_dim: 3072,
                layers: 12,
                heads: 12,
                image_size: 512,
                patch_size: 16,
            },
            text: LanguageSizes {
                family: Family::Llama,
                dim: 960,
                ff_dim: 2560,
                heads: 15,
                kv_heads: 5,
                head_dim: 64,
                eps: 1e-5,
            },
            text_layers: 32,
            vocabulary: 49_280,
            tied: false,
            scale_factor: 4,
        }
    }
}

/// What is read of a model's `config.json` in the layout of Hugging Face's transformers.
#[derive(Deserialize)]
struct VlmFile {
    text_config: TextFile,
    vision_config: VisionFile,
    scale_factor: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
}

#[derive(Deserialize)]
struct TextFile {
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    num_hidden_layers: usize,
    vocab_size: usize,
    #[serde(default = "llama_eps")]
    rms_norm_eps: f64,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "silu")]
    hidden_act: String,
}

#[derive(Deserialize)]
struct VisionFile {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    #[serde(default = "siglip_eps")]
    layer_norm_eps: f64,
    #[serde(default = "gelu_tanh")]
    hidden_act: String,
}

fn llama_eps() -> f64 {
    1e-6
}

fn siglip_eps() -> f64 {
    1e-6
}

fn silu() -> String {
    "silu".into()
}

fn gelu_tanh() -> String {
    "gelu_pytorch_tanh".into()
}

impl SmolVlmSizes {
    /// The model whose sizes are known without a file.
    pub const KNOWN: &str = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct";

    /// From a model's `config.json`.
    pub fn read(json: &[u8]) -> Result<Result<Self, Error>, serde_json::Error> {
        Ok(Self::from_file(&serde_json::from_slice(json)?))
    }

    fn from_file(file: &VlmFile) -> Result<Self, Error> {
        let VlmFile { text_config: t, vision_config: v, .. } = file;
        check("attention_bias", t.attention_bias, !t.attention_bias, "this version has none")?;
        check("mlp_bias", t.mlp_bias, !t.mlp_bias, "this version has none")?;
        let (act, rule) = (&t.hidden_act, "of text, this version has `silu`");
        check("hidden_act", act, act == "silu", rule)?;
        let (act, rule) = (&v.hidden_act, "of pictures, this version has `gelu_pytorch_tanh`");
        check("hidden_act", act, act == "gelu_pytorch_tanh", rule)?;
        let eps = v.layer_norm_eps;
        check("layer_norm_eps", eps, eps == 1e-6, "of pictures, this version has 1e-6")?;
        let heads = t.num_attention_heads;
        check("num_attention_heads", heads, heads > 0, "it must be at least 1")?;
        Ok(Self {
            vision: VisionSizes {
                dim: v.hidden_size,
                ff_dim: v.intermediate_size,
                layers: v.num_hidden_layers,
                heads: v.num_attention_heads,
                image_size: v.image_size,
                patch_size: v.patch_size,
            },
            text: LanguageSizes {
                family: Family::Llama,
                dim: t.hidden_size,
                ff_dim: t.intermediate_size,
                heads,
                kv_heads: t.num_key_value_heads,
                head_dim: t.head_dim.unwrap_or(t.hidden_size / heads),
                eps: t.rms_norm_eps,
            },
            text_layers: t.num_hidden_layers,
            vocabulary: t.vocab_size,
            tied: file.tie_word_embeddings,
            scale_factor: file.scale_factor,
        })
    }

    fn validate(&self) -> Result<(), Error> {
        let Self { vision: v, text: t, .. } = self;
        let bounded = [
            ("vision_config.hidden_size", v.dim, 8192),
            ("vision_config.intermediate_size", v.ff_dim, 65_536),
            ("vision_config.num_hidden_layers", v.layers, 256),
            ("vision_config.num_attention_heads", v.heads, 256),
            ("vision_config.image_size", v.image_size, 4096),
            ("vision_config.patch_size", v.patch_size, v.image_size),
            ("text_config.hidden_size", t.dim, 16_384),
            ("text_config.intermediate_size", t.ff_dim, 131_072),
            ("text_config.num_attention_heads", t.heads, 1024),
            ("text_config.num_key_value_heads", t.kv_heads, t.heads),
            ("text_config.head_dim", t.head_dim, 1024),
            ("text_config.num_hidden_layers", self.text_layers, 256),
            ("text_config.vocab_size", self.vocabulary, 1 << 20),
            ("scale_factor", self.scale_factor, 64),
        ];
        for (key, value, most) in bounded {
            let rule = format!("it must be from 1 to {most}");
            check(key, value, (1..=most).contains(&value), &rule)?;
        }
        let rule = "heads must divide it";
        let fits = v.dim.is_multiple_of(v.heads);
        check("vision_config.hidden_size", v.dim, fits, rule)?;
        let (heads, rule) = (t.heads, "num_key_value_heads must divide it");
        let fits = heads.is_multiple_of(t.kv_heads);
        check("text_config.num_attention_heads", heads, fits, rule)?;
        let (head, rule) = (t.head_dim, "it must be even");
        check("text_config.head_dim", head, head.is_multiple_of(2), rule)?;
        let eps = t.eps;
        check("text_config.rms_norm_eps", eps, (0.0..1.0).contains(&eps), "it must be in [0, 1)")
    }
}

impl SmolVlaConfig {
    /// Layers of the language model and of the expert.
    pub(crate) fn layers(&self) -> usize {
        let all = self.vlm.text_layers;
        usize::try_from(self.num_vlm_layers).ok().filter(|n| *n > 0).map_or(all, |n| n.min(all))
    }

    /// Sizes of the expert's layers: narrower tokens, the same heads.
    pub(crate) fn expert_sizes(&self) -> LanguageSizes {
        let dim = (self.vlm.text.dim as f64 * self.expert_width_multiplier) as usize;
        // Llama's rule: two thirds of four times the width, up to a multiple of 256.
        let ff_dim = (((2.0 * dim as f64 / 3.0) as usize) * 4).next_multiple_of(256);
        LanguageSizes { dim, ff_dim, ..self.vlm.text }
    }

    /// Side of the pictures that the vision tower sees.
    pub(crate) fn side(&self) -> usize {
        self.resize_imgs_with_padding[0]
    }

    /// Refuses values that make no network.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.vlm.validate()?;
        let bounded = [
            ("chunk_size", self.chunk_size, 4096),
            ("n_action_steps", self.n_action_steps, self.chunk_size),
            ("max_state_dim", self.max_state_dim, 65_536),
            ("max_action_dim", self.max_action_dim, 65_536),
            ("resize_imgs_with_padding", self.side(), 4096),
            ("tokenizer_max_length", self.tokenizer_max_length, 65_536),
            ("num_steps", self.num_steps, 100_000),
        ];
        for (key, value, most) in bounded {
            let rule = format!("it must be from 1 to {most}");
            check(key, value, (1..=most).contains(&value), &rule)?;
        }
        let [width, height] = self.resize_imgs_with_padding;
        let token = self.vlm.vision.patch_size * self.vlm.scale_factor;
        check(
            "resize_imgs_with_padding",
            format!("[{width}, {height}]"),
            width == height && width.is_multiple_of(token),
            &format!("it must be square and a multiple of {token}, the side of a token"),
        )?;
        let layers = self.layers() as i64;
        let own = self.num_expert_layers;
        let rule = format!(
            "this version has experts of as many layers as the language model: 0 or {layers}"
        );
        check("num_expert_layers", own, own <= 0 || own == layers, &rule)?;
        let width = self.expert_width_multiplier;
        let wide = width > 0.0 && width <= 4.0 && self.expert_sizes().dim >= 4;
        check("expert_width_multiplier", width, wide, "it must be above 0 and 4 at most")?;
        let even = self.expert_sizes().dim.is_multiple_of(2);
        check("expert_width_multiplier", width, even, "it must make an even width")?;
        let periods = [("min_period", self.min_period), ("max_period", self.max_period)];
        for (key, period) in periods {
            check(key, period, period > 0.0 && period.is_finite(), "it must be above 0")?;
        }
        Ok(())
    }
}
