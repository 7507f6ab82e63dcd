//! Features: what a dataset's columns, an environment's observations and a policy's inputs are.
//!
//! Serialises exactly as the `features` table of LeRobot's `meta/info.json`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Features by key, in the order they were declared.
pub type Features = IndexMap<String, FeatureSpec>;

/// Element type of a feature, spelled as LeRobot spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    Float16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Bool,
    String,
    /// What is said to and by the robot: a list of entries per frame (LeRobot's `language_persistent`
    /// and `language_events`).
    Language,
    /// One encoded still image per frame.
    Image,
    /// Frames in a video file beside the table.
    Video,
}

impl DType {
    /// Whether frames of this feature are pictures.
    pub fn is_visual(self) -> bool {
        matches!(self, Self::Image | Self::Video)
    }

    /// Whether this is a number that statistics and normalisation apply to.
    pub fn is_numeric(self) -> bool {
        !self.is_visual() && !matches!(self, Self::String | Self::Language | Self::Bool)
    }
}

/// One feature: type, shape, names of its dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureSpec {
    /// Element type.
    pub dtype: DType,
    /// Shape of one frame's value; images `[height, width, channels]`.
    pub shape: Vec<usize>,
    /// Names of the dimensions: `null`, a list, or a nested object, as the recording has it.
    #[serde(default)]
    pub names: serde_json::Value,
    /// Codec facts of a video feature.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "video_info")]
    pub info: Option<VideoInfo>,
    /// Keys that we do not know, kept as they were.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl FeatureSpec {
    /// A feature of `dtype` and `shape` whose dimensions are called `names` (may be empty).
    pub fn new(dtype: DType, shape: &[usize], names: &[&str]) -> Self {
        let names = if names.is_empty() { serde_json::Value::Null } else { names.into() };
        Self { dtype, shape: shape.to_vec(), names, info: None, extra: serde_json::Map::new() }
    }

    /// Number of elements of one frame's value.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Names of the dimensions of a vector; a nested object's lists joined in order; `dim_0`, … where
    /// the recording gives none or the wrong number.
    pub fn dim_names(&self) -> Vec<String> {
        fn collect(value: &serde_json::Value, out: &mut Vec<String>) {
            match value {
                serde_json::Value::String(name) => out.push(name.clone()),
                serde_json::Value::Array(items) => items.iter().for_each(|v| collect(v, out)),
                serde_json::Value::Object(map) => map.values().for_each(|v| collect(v, out)),
                _ => {}
            }
        }
        let mut names = Vec::new();
        collect(&self.names, &mut names);
        if names.len() != self.numel() {
            names = (0..self.numel()).map(|i| format!("dim_{i}")).collect();
        }
        names
    }
}

/// What a video feature's files hold. Keys are LeRobot's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VideoInfo {
    /// Pixels.
    #[serde(rename = "video.height", default, skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// Pixels.
    #[serde(rename = "video.width", default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Codec name, such as `av1`.
    #[serde(rename = "video.codec", default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Pixel format, such as `yuv420p`.
    #[serde(rename = "video.pix_fmt", default, skip_serializing_if = "Option::is_none")]
    pub pix_fmt: Option<String>,
    /// Whether pixels are depths.
    #[serde(rename = "video.is_depth_map", default, skip_serializing_if = "Option::is_none")]
    pub is_depth_map: Option<bool>,
    /// Frames per second.
    #[serde(rename = "video.fps", default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Colour channels.
    #[serde(rename = "video.channels", default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Whether the file has sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_audio: Option<bool>,
    /// Keys that we do not know, kept as they were.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}
