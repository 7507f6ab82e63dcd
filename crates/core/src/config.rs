//! Settings with their origin: flag, then environment, then file, then default.

use serde::Serialize;

/// Where a setting's value came from, strongest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from", content = "at")]
pub enum Origin {
    /// A command-line flag.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A file.
    File(String),
    /// Built in.
    Default,
}

/// One resolved setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Name, such as `threads`.
    pub key: &'static str,
    /// Value as text.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// What it does, in a line.
    pub help: &'static str,
}

/// Resolved settings, in declared order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Settings(pub Vec<Setting>);

impl Settings {
    /// Takes the strongest of the given candidates for `key`.
    pub fn resolve(
        &mut self,
        key: &'static str,
        help: &'static str,
        default: String,
        candidates: impl IntoIterator<Item = (Origin, Option<String>)>,
    ) -> &str {
        let found = candidates.into_iter().find_map(|(origin, value)| Some((origin, value?)));
        let (origin, value) = found.unwrap_or((Origin::Default, default));
        self.0.push(Setting { key, value, origin, help });
        &self.0[self.0.len() - 1].value
    }
}

/// The known key nearest to `key`, for "did you mean" hints; `None` where nothing is near.
pub fn nearest_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(key, k), k))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}
