//! What a report says, as plain data. Text fields hold plain text; in running text (`summary`,
//! `intro`, [`Block::Text`], [`Note`]) an empty line starts a paragraph and `backticks` mark code.

use serde::{Deserialize, Serialize};

use super::Bytes;

/// One page.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// What was done, in a few words.
    pub title: String,
    /// The line beneath the title: recipe, data, machine.
    pub subtitle: String,
    /// The result in one or two sentences.
    pub summary: String,
    /// The numbers to read first.
    pub headline: Vec<Headline>,
    /// The body, in order.
    pub sections: Vec<Section>,
    /// How to do it again; the last section of the page.
    pub provenance: Provenance,
}

/// One of the numbers to read first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Headline {
    /// What it is: `success rate`.
    pub label: String,
    /// The number with its unit: `93 %`.
    pub value: String,
    /// What it rests on: `93 of 100 seeds, 95 % interval 86–97 %`.
    pub detail: String,
    /// Whether that is good.
    pub tone: Tone,
}

/// How something is meant. Colour is never the only sign of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Neutral,
    /// As wished.
    Success,
    /// To be looked at.
    Warning,
    /// Not as wished.
    Failure,
}

/// A titled part of the page.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// Heading, also in the table of contents.
    pub title: String,
    /// A sentence or two beneath it.
    pub intro: String,
    /// The content.
    pub blocks: Vec<Block>,
}

/// How to do it again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// The command to type.
    pub command: String,
    /// The resolved recipe, complete, as TOML.
    pub recipe: String,
    /// Versions, seeds, hashes, machine.
    pub entries: Vec<KeyValue>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Running text.
    Text {
        /// The paragraphs.
        text: String,
    },
    /// A sentence that stands out.
    Note(Note),
    /// The steps of a run.
    Steps(Steps),
    /// A table.
    Table(Table),
    /// Curves over a common axis.
    Lines(Lines),
    /// Proportions with their 95 % intervals on a common axis from 0 to 1.
    Intervals(Intervals),
    /// Horizontal bars, one per series in each row.
    Bars(Bars),
    /// Many small curves of the same kind.
    SmallMultiples(SmallMultiples),
    /// Videos side by side.
    Videos(Videos),
    /// What validation found.
    Findings(Findings),
    /// Something to copy.
    Code(Code),
    /// Images side by side.
    Images(Images),
    /// Names and values.
    KeyValues(KeyValues),
}

impl Block {
    /// Running text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// A sentence that stands out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Note {
    /// How it is meant.
    pub tone: Tone,
    /// The sentence.
    pub text: String,
}

/// The steps of a run, in order of execution.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Steps {
    /// One per step.
    pub rows: Vec<Step>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Its name in the recipe.
    pub name: String,
    /// What it did, in a few words.
    pub what: String,
    /// How long it took, s; when `cached`, what it took when it ran.
    pub seconds: f64,
    /// Hash of what it made.
    pub hash: String,
    /// Whether an earlier run's result was taken.
    pub cached: bool,
}

/// A table. A column whose cells are all numbers is aligned to the right.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    /// The line above it; may be empty.
    pub caption: String,
    /// Heads.
    pub columns: Vec<Column>,
    /// Rows of as many cells as there are columns; missing ones stay empty.
    pub rows: Vec<Vec<Cell>>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Column {
    /// Text, with the unit: `length, s`.
    pub label: String,
    /// Digits after the point of its numbers; as many as needed (up to four significant) if absent.
    pub digits: Option<usize>,
    /// Whether texts are shown in fixed width (hashes, paths, keys).
    pub code: bool,
}

impl Column {
    /// A column with a head and nothing special.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Shows numbers with `digits` after the point.
    #[must_use]
    pub fn digits(mut self, digits: usize) -> Self {
        self.digits = Some(digits);
        self
    }

    /// Shows texts in fixed width.
    #[must_use]
    pub fn code(mut self) -> Self {
        self.code = true;
        self
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Cell {
    #[allow(clippy::cast_precision_loss)] // counts of a report stay far below 2^53
    fn from(value: usize) -> Self {
        Self::Number(value as f64)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// Curves over a common axis.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lines {
    /// The line above it.
    pub title: String,
    /// What x is, with its unit: `horizon, s`.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// The curves.
    pub series: Vec<Series>,
    /// Vertical marks.
    pub marks: Vec<Mark>,
    /// Logarithmic y; points that are not positive are left out then.
    pub log_y: bool,
}

/// A vertical mark in a plot.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// A few words.
    pub label: String,
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points by rising x. A point that is not finite is a gap (and does not survive JSON).
    pub points: Vec<[f64; 2]>,
    /// Low and high around each point, drawn as a band; empty, or as many as `points`.
    pub band: Vec<[f64; 2]>,
    /// How the line is drawn.
    pub style: LineStyle,
}

impl Series {
    /// A solid line.
    pub fn new(name: impl Into<String>, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.into(), points, ..Self::default() }
    }

    /// Draws it otherwise.
    #[must_use]
    pub fn style(mut self, style: LineStyle) -> Self {
        self.style = style;
        self
    }

    /// Adds low and high around each point.
    #[must_use]
    pub fn band(mut self, band: Vec<[f64; 2]>) -> Self {
        self.band = band;
        self
    }
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineStyle {
    /// A line.
    #[default]
    Solid,
    /// Dashes, as for a second thing of the same kind.
    Dashed,
    /// Dots.
    Dotted,
    /// A grey line, as for a baseline or what was recorded.
    Muted,
    /// Only the points.
    Points,
}

/// Proportions with their 95 % intervals on a common axis from 0 to 1, shown in per cent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intervals {
    /// The line above it.
    pub title: String,
    /// One per proportion.
    pub rows: Vec<IntervalRow>,
}

/// A proportion with its interval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntervalRow {
    /// What it is of.
    pub label: String,
    /// The proportion, 0-1.
    pub value: f64,
    /// Lower end of the interval, 0-1.
    pub low: f64,
    /// Upper end of the interval, 0-1.
    pub high: f64,
    /// What it rests on: `93 of 100`.
    pub detail: String,
    /// `Neutral` is drawn in grey, as for a baseline; others in colour.
    pub tone: Tone,
}

/// Horizontal bars, one per series in each row, on a common axis from 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bars {
    /// The line above it.
    pub title: String,
    /// What the length is, with its unit.
    pub x_label: String,
    /// Names of the series; one name: plain bars.
    pub series: Vec<String>,
    /// One per group of bars.
    pub rows: Vec<BarRow>,
}

/// A group of bars.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BarRow {
    /// What it is of.
    pub label: String,
    /// One value per series, not negative.
    pub values: Vec<f64>,
}

/// Many small curves of the same kind, with one legend; series of the same place share a colour.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmallMultiples {
    /// The line above them.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// One per thing.
    pub panels: Vec<Panel>,
}

/// One small plot.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Panel {
    /// What it is of.
    pub title: String,
    /// Its curves.
    pub series: Vec<Series>,
}

/// Videos side by side; they play muted in a loop while in sight.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Videos {
    /// The line above them.
    pub caption: String,
    /// One per video.
    pub items: Vec<Video>,
}

/// One video.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Video {
    /// What it is of: `seed 17`.
    pub label: String,
    /// How it ended; shown in words as well.
    pub tone: Tone,
    /// An MP4 file.
    pub mp4: Bytes,
    /// A PNG shown before it plays, or where the browser lacks the codec.
    pub poster: Option<Bytes>,
    /// A line beneath it.
    pub note: String,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Findings {
    /// The line above them.
    pub caption: String,
    /// One per finding; the caller sorts.
    pub rows: Vec<Finding>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Stable name, such as `non-finite-value`; may be empty.
    pub code: String,
    /// What was found, with the value.
    pub what: String,
    /// File, episode, frame.
    pub place: String,
    /// What was done about it, or what to do.
    pub hint: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    #[default]
    Note,
    /// Probably wrong, but usable.
    Warning,
    /// Not usable.
    Error,
}

/// Something to copy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Code {
    /// The line above it; may be empty.
    pub caption: String,
    /// `toml`, `sh`, `json`, `text`.
    pub language: String,
    /// The text.
    pub text: String,
}

/// Images side by side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// The line above them.
    pub caption: String,
    /// One per image.
    pub items: Vec<Image>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Image {
    /// What it shows; also the text for who can't see it.
    pub label: String,
    /// A PNG file.
    pub png: Bytes,
    /// A line beneath it.
    pub note: String,
}

/// Names and values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyValues {
    /// The line above them; may be empty.
    pub caption: String,
    /// The pairs.
    pub rows: Vec<KeyValue>,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
    /// Whether the value is shown in fixed width (hashes, paths, commands).
    pub code: bool,
}

impl KeyValue {
    /// A value in running type.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), code: false }
    }

    /// A value in fixed width.
    pub fn code(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { code: true, ..Self::new(key, value) }
    }
}
