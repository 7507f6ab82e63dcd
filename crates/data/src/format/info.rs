//! `meta/info.json`, and the path templates in it.

use embody_core::{DType, FeatureSpec, Features};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize, Serializer};

/// Columns that every dataset has and no recorder declares.
pub(crate) const RESERVED: [&str; 5] =
    ["timestamp", "frame_index", "episode_index", "index", "task_index"];

/// Versions of the layout that this program knows. A new one is a compile error where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatVersion {
    /// LeRobot v2.0: a file per episode, one `stats.json`.
    #[serde(rename = "v2.0")]
    V20,
    /// LeRobot v2.1: a file per episode, statistics per episode.
    #[serde(rename = "v2.1")]
    V21,
    /// LeRobot v3.0: shared files.
    #[serde(rename = "v3.0")]
    V30,
}

impl FormatVersion {
    /// The version that `text` names.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "v2.0" => Some(Self::V20),
            "v2.1" => Some(Self::V21),
            "v3.0" => Some(Self::V30),
            _ => None,
        }
    }

    /// As `info.json` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V20 => "v2.0",
            Self::V21 => "v2.1",
            Self::V30 => "v3.0",
        }
    }
}

/// The content of `meta/info.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// Layout version, such as `v3.0`.
    pub codebase_version: String,
    /// What was recorded, such as `so101`.
    #[serde(default)]
    pub robot_type: Option<String>,
    /// Number of episodes.
    #[serde(default)]
    pub total_episodes: usize,
    /// Number of frames.
    #[serde(default)]
    pub total_frames: usize,
    /// Number of tasks.
    #[serde(default)]
    pub total_tasks: usize,
    /// Files per folder.
    #[serde(default = "default_chunk")]
    pub chunks_size: usize,
    /// Size at which a new data file is begun (v3.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_files_size_in_mb: Option<f64>,
    /// Size at which a new video file is begun (v3.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_files_size_in_mb: Option<f64>,
    /// Frames per second.
    #[serde(serialize_with = "number")]
    pub fps: f64,
    /// Episode ranges `a:b` by split.
    #[serde(default)]
    pub splits: IndexMap<String, String>,
    /// Template of data files.
    pub data_path: String,
    /// Template of video files.
    #[serde(default)]
    pub video_path: Option<String>,
    /// Features by key.
    pub features: Features,
    /// Keys that we do not know, kept as they were.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

fn default_chunk() -> usize {
    1000
}

/// Serialises a whole number without a decimal point, as LeRobot's integers need.
pub(crate) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

impl Info {
    /// An empty v3.0 dataset.
    pub(crate) fn new(fps: f64, robot_type: Option<String>, features: &Features) -> Self {
        let mut info = Self {
            codebase_version: FormatVersion::V30.as_str().to_owned(),
            robot_type,
            total_episodes: 0,
            total_frames: 0,
            total_tasks: 0,
            chunks_size: 1000,
            data_files_size_in_mb: Some(100.0),
            video_files_size_in_mb: Some(200.0),
            fps,
            splits: IndexMap::new(),
            data_path: "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet".to_owned(),
            video_path: None,
            features: features.clone(),
            extra: serde_json::Map::new(),
        };
        for key in RESERVED {
            let dtype = if key == "timestamp" { DType::Float32 } else { DType::Int64 };
            info.features.insert(key.to_owned(), FeatureSpec::new(dtype, &[1], &[]));
        }
        if info.video_keys().next().is_some() {
            info.video_path = Some(
                "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4".to_owned(),
            );
        }
        info
    }

    /// Keys of video features.
    pub fn video_keys(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|(_, f)| f.dtype == DType::Video).map(|(k, _)| k.as_str())
    }

    /// Features that stand in the table, not in video files.
    pub fn table_features(&self) -> impl Iterator<Item = (&str, &FeatureSpec)> {
        self.features.iter().filter(|(_, f)| f.dtype != DType::Video).map(|(k, f)| (k.as_str(), f))
    }

    /// Episodes of a split, such as `train`; `None` where it is not declared or malformed.
    pub fn split(&self, name: &str) -> Option<std::ops::Range<usize>> {
        let (from, to) = self.splits.get(name)?.split_once(':')?;
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from <= to).then_some(from..to)
    }
}

/// Fills a template like `chunk-{chunk_index:03d}`; an unknown or malformed placeholder is an error.
pub(crate) fn fill(template: &str, values: &[(&str, &dyn Value)]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else {
            return Err(format!("unclosed placeholder in {template:?}"));
        };
        let inner = &rest[open + 1..open + close];
        let (name, format) = inner.split_once(':').unwrap_or((inner, ""));
        let Some((_, value)) = values.iter().find(|(known, _)| *known == name) else {
            return Err(format!("unknown placeholder {{{name}}} in {template:?}"));
        };
        let width = format.trim_end_matches('d').trim_start_matches('0');
        let width = if width.is_empty() { 0 } else { width.parse().unwrap_or(0) };
        out.push_str(&value.text(width.min(32)));
        rest = &rest[open + close + 1..];
    }
    out.push_str(rest);
    if out.split('/').any(|part| part == "..") || out.starts_with('/') {
        return Err(format!("template {template:?} leaves the dataset's folder"));
    }
    Ok(out)
}

/// What a placeholder can be.
pub(crate) trait Value {
    fn text(&self, width: usize) -> String;
}

impl Value for usize {
    fn text(&self, width: usize) -> String {
        format!("{self:0width$}")
    }
}

impl Value for &str {
    fn text(&self, _width: usize) -> String {
        (*self).to_owned()
    }
}
