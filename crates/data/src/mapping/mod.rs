//! The mapping from topics of a log to features of a dataset: a small declarative TOML file.
//!
//! `embody data inspect LOG --mapping FILE` proposes one; a person edits it. Invariant: a key that
//! is not known, or a value that makes no sense, is an error that names file and line and the
//! nearest key; nothing is ignored.

mod propose;
#[cfg(test)]
mod tests;

use std::path::Path;

use embody_core::{DType, IoContext, Result, nearest_key};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

pub(crate) use propose::propose;

/// How a stream's value at a frame's time is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The last message at or before that time (zero-order hold).
    #[default]
    Latest,
    /// The message nearest in time.
    Nearest,
    /// Between the messages before and after, linearly.
    Linear,
    /// As `linear`, for quaternions of four numbers: along the great circle.
    Slerp,
}

/// Which time orders messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// When the message was logged.
    #[default]
    Log,
    /// When the message was published.
    Publish,
    /// The stamp in the message (`header.stamp`, `timestamp`); the log time where it has none.
    Header,
}

/// Where episodes begin and end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpisodeRule {
    /// What separates them.
    pub by: EpisodesBy,
    /// For `gap`: no mapped topic has a message for so long.
    pub gap_secs: Option<f64>,
    /// For `topic`: the topic whose messages say it.
    pub topic: Option<String>,
    /// For `topic`: the field to look at.
    pub field: Option<String>,
    /// For `topic`: its value (text, number or truth value) when an episode begins.
    pub begin: Option<toml::Value>,
    /// For `topic`: its value when an episode ends; any other value than `begin` where not given.
    pub end: Option<toml::Value>,
    /// What to do with frames for which a stream is older than its `max_age_secs`.
    pub stale: Stale,
}

/// See [`EpisodeRule::by`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpisodesBy {
    /// A log is an episode.
    #[default]
    File,
    /// Silence separates episodes.
    Gap,
    /// Messages of a topic begin and end episodes.
    Topic,
}

/// See [`EpisodeRule::stale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stale {
    /// Keep the old value; the report counts the frames.
    #[default]
    Hold,
    /// Leave the frames out; what lies on both sides becomes two episodes.
    Split,
    /// Refuse the log.
    Fail,
}

/// A field of a topic's messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRef {
    /// The topic.
    pub topic: String,
    /// The field, such as `data` or `pose.position.x`.
    pub field: String,
}

/// A part of a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRef {
    /// The topic.
    pub topic: String,
    /// The field: a number, a list, or a structure of numbers.
    pub field: String,
    /// Names of its numbers in the dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Overrides the feature's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Stands in for numbers that are infinite or NaN; without it they are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_finite: Option<f64>,
}

/// A feature of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureMap {
    /// Element type: float32, float64, int64 or bool.
    #[serde(default = "float32")]
    pub dtype: DType,
    /// Shape of a frame's value; a vector where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// How values between messages are had.
    #[serde(default)]
    pub method: Method,
    /// Oldest message that may be used, seconds; any where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<f64>,
    /// What it consists of, in order.
    pub from: Vec<SourceRef>,
}

fn float32() -> DType {
    DType::Float32
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraMap {
    /// A topic of pictures or video.
    pub topic: String,
    /// `latest` or `nearest`.
    #[serde(default)]
    pub method: Method,
    /// Oldest picture that may be used, seconds; any where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<f64>,
}

/// What a log becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Frames per second of the dataset.
    pub fps: f64,
    /// What was recorded, such as `so101`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robot: Option<String>,
    /// The instruction, the same for every episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The instruction from a topic: the last message before the episode's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_from: Option<FieldRef>,
    /// Whether the episode succeeded, from a topic: its first message from the episode's beginning
    /// on; the field is a truth value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_from: Option<FieldRef>,
    /// Which time orders messages.
    #[serde(default)]
    pub clock: Clock,
    /// For Rerun recordings: the timeline that orders messages; one that counts steps does so at
    /// `fps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<String>,
    /// Where episodes begin and end.
    #[serde(default)]
    pub episodes: EpisodeRule,
    /// Features of numbers by key.
    #[serde(default)]
    pub features: IndexMap<String, FeatureMap>,
    /// Cameras by key.
    #[serde(default)]
    pub cameras: IndexMap<String, CameraMap>,
    #[serde(skip)]
    places: Places,
}

/// Where things stand in the file, for errors.
#[derive(Debug, Clone, PartialEq, Default)]
struct Places {
    file: String,
    text: String,
}

impl Places {
    /// File and line of the first line that holds `needle`.
    fn of(&self, needle: &str) -> String {
        match self.text.lines().position(|line| line.contains(needle)) {
            Some(line) if !needle.is_empty() => format!("{}:{}", self.file, line + 1),
            _ => self.file.clone(),
        }
    }
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// When it can't be read, or see [`Mapping::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at("read mapping", path)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses a mapping; `file` is how errors call it.
    ///
    /// # Errors
    /// Names file, line and key: bad TOML, an unknown key (with the nearest known one), a value that
    /// makes no sense.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let mut mapping: Self = toml::from_str(text).map_err(|e| refused(&e, text, file))?;
        mapping.places = Places { file: file.to_owned(), text: text.to_owned() };
        mapping.check()?;
        Ok(mapping)
    }

    /// The text that it was read from.
    pub(crate) fn text(&self) -> &str {
        &self.places.text
    }

    /// This mapping as changed by the program, with the text that says the same.
    pub(crate) fn rewritten(mut self) -> Result<Self> {
        let text = toml::to_string(&self).map_err(|e| {
            self.error("", format!("the mapping can't be written: {e}"), "report this")
        })?;
        self.places.text = text;
        self.check()?;
        Ok(self)
    }

    /// An error about the line that holds `needle`.
    pub(crate) fn error(&self, needle: &str, why: String, hint: impl Into<String>) -> DataError {
        DataError::Mapping { at: self.places.of(needle), why, hint: hint.into() }
    }

    fn check(&self) -> Result<()> {
        let bad = |needle: &str, why: String, hint: &str| -> Result<()> {
            Err(self.error(needle, why, hint).into())
        };
        if !(self.fps.is_finite() && self.fps > 0.0 && self.fps <= 100_000.0) {
            return bad(
                "fps",
                format!("fps is {}", self.fps),
                "give frames per second, such as 30",
            );
        }
        if self.features.is_empty() && self.cameras.is_empty() {
            let hint = "add [features.\"observation.state\"] with from = [{ topic, field }]";
            return bad("", "it maps nothing".to_owned(), hint);
        }
        if self.task.is_some() && self.task_from.is_some() {
            return bad("task_from", "both task and task_from are given".to_owned(), "keep one");
        }
        for (key, feature) in &self.features {
            if !matches!(
                feature.dtype,
                DType::Float32 | DType::Float64 | DType::Int64 | DType::Bool
            ) {
                let why = format!("feature {key:?} has dtype {:?}", feature.dtype);
                return bad(key, why, "float32, float64, int64 and bool can be made from messages");
            }
            if feature.from.is_empty() {
                let why = format!("feature {key:?} is made from nothing");
                return bad(key, why, "name topic and field: from = [{ topic, field }]");
            }
            self.check_age(key, feature.max_age_secs)?;
            for source in &feature.from {
                let method = source.method.unwrap_or(feature.method);
                let float = matches!(feature.dtype, DType::Float32 | DType::Float64);
                if matches!(method, Method::Linear | Method::Slerp) && !float {
                    let why = format!("feature {key:?}: {:?} can't be interpolated", feature.dtype);
                    return bad(key, why, "use method = \"latest\" or \"nearest\"");
                }
            }
        }
        for (key, camera) in &self.cameras {
            self.check_age(key, camera.max_age_secs)?;
            if matches!(camera.method, Method::Linear | Method::Slerp) {
                let why = format!("camera {key:?}: pictures can't be interpolated");
                return bad(key, why, "use method = \"latest\" or \"nearest\"");
            }
            if self.features.contains_key(key) {
                let why = format!("{key:?} is both a feature and a camera");
                return bad(key, why, "rename one of them");
            }
        }
        self.check_episodes()
    }

    fn check_age(&self, key: &str, age: Option<f64>) -> Result<()> {
        match age {
            Some(age) if !(age.is_finite() && age >= 0.0) => {
                let why = format!("{key:?}: max_age_secs is {age}");
                Err(self.error(key, why, "give seconds of at least 0").into())
            }
            _ => Ok(()),
        }
    }

    fn check_episodes(&self) -> Result<()> {
        let rule = &self.episodes;
        let need = |needle: &str, what: &str| -> Result<()> {
            let why = format!("episodes are separated by {needle:?}, but {what} is not given");
            Err(self.error("by", why, format!("add {what} to [episodes]")).into())
        };
        match rule.by {
            EpisodesBy::File => Ok(()),
            EpisodesBy::Gap if !rule.gap_secs.is_some_and(|g| g.is_finite() && g > 0.0) => {
                need("gap", "gap_secs (above 0)")
            }
            EpisodesBy::Topic if rule.topic.is_none() => need("topic", "topic"),
            EpisodesBy::Topic if rule.field.is_none() => need("topic", "field"),
            EpisodesBy::Topic if rule.begin.is_none() => need("topic", "begin"),
            EpisodesBy::Gap | EpisodesBy::Topic => Ok(()),
        }
    }

    /// All topics that it names.
    pub(crate) fn topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self
            .features
            .values()
            .flat_map(|f| f.from.iter().map(|s| s.topic.as_str()))
            .chain(self.cameras.values().map(|c| c.topic.as_str()))
            .chain(self.task_from.iter().chain(&self.outcome_from).map(|t| t.topic.as_str()))
            .chain(self.episodes.topic.as_deref())
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

/// An error of the TOML reader with file and line; an unknown key gets the nearest known one.
fn refused(error: &toml::de::Error, text: &str, file: &str) -> DataError {
    let line = error.span().map_or(1, |span| {
        text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
    });
    let at = format!("{file}:{line}");
    let message = error.message();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut quoted = rest.split('`').skip(1).step_by(2);
        let key = quoted.next().unwrap_or("");
        let known: Vec<&str> = quoted.collect();
        let hint = nearest_key(key, known.iter().copied()).map_or_else(
            || format!("known are {}", known.join(", ")),
            |n| format!("did you mean `{n}`?"),
        );
        return DataError::Mapping { at, why: format!("unknown key `{key}`"), hint };
    }
    let hint = "see docs/guides/logs.md, or let embody data inspect LOG --mapping FILE write one";
    DataError::Mapping { at, why: message.trim().to_owned(), hint: hint.to_owned() }
}
