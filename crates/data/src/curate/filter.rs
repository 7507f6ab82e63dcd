//! Expressions over measures and table columns, such as
//! `quality > 0.4 && idle_fraction < 0.5 && success != false`.
//!
//! The language is CEL (the Common Expression Language): no loops without bound, no side effects. All
//! numbers are floating; what does not apply to an episode is `null`. Table columns stand in the map
//! `column`, by `feature` or `feature.dimension`, each with `min`, `max`, `mean`, `std`, `first`,
//! `last` and `sum` over the episode: `column["action.gripper.pos"].max > 20`.
//!
//! An expression is checked before any episode is read: unknown names are refused with their place
//! and the nearest known name.

use std::collections::HashMap;

use cel::objects::{Key, Map};
use cel::{Context, ExecutionError, Program, Value};
use embody_core::{Result, nearest_key};

use super::facts::{FACTS, Fact};
use super::series::Series;
use super::survey::EpisodeMeasures;
use crate::dataset::{Dataset, EpisodeTable};
use crate::error::DataError;

/// Variable that holds aggregates of table columns.
const COLUMN: &str = "column";

/// A checked expression.
pub(crate) struct Filter {
    source: String,
    program: Program,
    /// Named measures that it reads, in the order of [`FACTS`].
    names: Vec<usize>,
    columns: bool,
}

impl Filter {
    /// Parses and checks an expression; `what` is where it stands, such as `keep`.
    ///
    /// # Errors
    /// When it is no CEL or names something unknown; says where and what is known.
    pub fn parse(what: &str, source: &str) -> Result<Self> {
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            let place = first.map_or((1, 1), |e| e.pos);
            let why = first.map_or_else(|| errors.to_string(), |e| e.msg.clone());
            let why = why.lines().next().unwrap_or_default().to_owned();
            refuse(what, source, place, &why, "combine names with && || ! == != < <= > >= ( )")
        })?;
        let references = program.references();
        let mut unknown: Vec<&str> = references
            .variables()
            .into_iter()
            .filter(|v| *v != COLUMN && FACTS.iter().all(|f| f.name != *v))
            .collect();
        unknown.sort_unstable_by_key(|name| position(source, name));
        if let Some(name) = unknown.first() {
            let known: Vec<&str> = FACTS.iter().map(|f| f.name).chain([COLUMN]).collect();
            let near = nearest_key(name, known.iter().copied());
            let meant = near.map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
            return Err(refuse(
                what,
                source,
                position(source, name),
                &format!("`{name}` is not known"),
                &format!("{meant}known are: {}", known.join(", ")),
            ));
        }
        let has = |name: &str| references.has_variable(name);
        let names = (0..FACTS.len()).filter(|&i| has(FACTS[i].name)).collect();
        let columns = has(COLUMN);
        drop(references);
        Ok(Self { source: source.to_owned(), program, names, columns })
    }

    /// Whether pictures have to be decoded for it.
    pub fn needs_pictures(&self) -> bool {
        self.names.iter().any(|&i| FACTS[i].pictures)
    }

    /// Whether it holds for an episode.
    ///
    /// # Errors
    /// When it can't be evaluated for this episode or does not give true or false.
    pub fn holds(&self, dataset: &Dataset, m: &EpisodeMeasures) -> Result<bool> {
        match self.value(dataset, m)? {
            Value::Bool(answer) => Ok(answer),
            other => Err(self.fail(m, &format!("it gives {other:?}, not true or false"), "")),
        }
    }

    /// Its value as a number that is not negative.
    ///
    /// # Errors
    /// When it can't be evaluated for this episode or gives something else.
    pub fn number(&self, dataset: &Dataset, m: &EpisodeMeasures) -> Result<f64> {
        let value = match self.value(dataset, m)? {
            Value::Float(v) => v,
            Value::Int(v) => v as f64,
            Value::UInt(v) => v as f64,
            Value::Bool(v) => f64::from(v),
            other => return Err(self.fail(m, &format!("it gives {other:?}, not a number"), "")),
        };
        match value.is_finite() && value >= 0.0 {
            true => Ok(value),
            false => {
                Err(self.fail(m, &format!("it gives {value}, a weight must be 0 or more"), ""))
            }
        }
    }

    /// The measures that it reads, as `name value, …`.
    pub fn explain(&self, m: &EpisodeMeasures) -> String {
        let text = |fact: Fact| match fact {
            Fact::Number(Some(v)) if v.fract() == 0.0 => format!("{v}"),
            Fact::Number(Some(v)) => format!("{v:.3}"),
            Fact::Flag(Some(v)) => v.to_string(),
            Fact::Number(None) | Fact::Flag(None) => "null".to_owned(),
            Fact::Text(text) => format!("{text:?}"),
        };
        let each =
            self.names.iter().map(|&i| format!("{} {}", FACTS[i].name, text((FACTS[i].of)(m))));
        each.collect::<Vec<_>>().join(", ")
    }

    fn value(&self, dataset: &Dataset, m: &EpisodeMeasures) -> Result<Value> {
        let mut context = Context::default();
        for &i in &self.names {
            let value = match (FACTS[i].of)(m) {
                Fact::Number(v) => v.map_or(Value::Null, Value::Float),
                Fact::Flag(v) => v.map_or(Value::Null, Value::Bool),
                Fact::Text(v) => Value::from(v),
            };
            context.add_variable_from_value(FACTS[i].name, value);
        }
        let mut known = Vec::new();
        if self.columns {
            let table = dataset.episode_table(m.episode)?;
            let columns = aggregates(dataset, &table);
            known = columns.keys().cloned().collect();
            known.sort();
            context.add_variable_from_value(COLUMN, map(columns));
        }
        self.program.execute(&context).map_err(|e| {
            let hint = match &e {
                ExecutionError::NoSuchKey(key) => {
                    let near = nearest_key(key, known.iter().map(String::as_str));
                    let meant = near.map(|n| format!("did you mean {n:?}? ")).unwrap_or_default();
                    format!("{meant}`column` knows: {}", known.join(", "))
                }
                _ if self.explain(m).contains(" null") => {
                    "a measure that does not apply is null: guard it, as in \
                     `lag_seconds == null || lag_seconds < 0.2`"
                        .to_owned()
                }
                _ => "all numbers are floating: write `frames / 2.0`, not `frames / 2`".to_owned(),
            };
            self.fail(m, &e.to_string(), &hint)
        })
    }

    fn fail(&self, m: &EpisodeMeasures, why: &str, hint: &str) -> embody_core::Error {
        let why =
            format!("`{}` for episode {} ({}): {why}", self.source, m.episode, self.explain(m));
        let hint = if hint.is_empty() {
            "write a condition, such as `quality > 0.4 && success != false`".to_owned()
        } else {
            hint.to_owned()
        };
        DataError::Request { why, hint }.into()
    }
}

/// Line and column (from 1) of a name in an expression.
fn position(source: &str, name: &str) -> (isize, isize) {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let at = source.match_indices(name).map(|(at, _)| at).find(|&at| {
        let after = source[at + name.len()..].chars().next();
        let before = source[..at].chars().next_back();
        !after.is_some_and(word) && !before.is_some_and(|c| word(c) || c == '.')
    });
    let before = &source[..at.unwrap_or(0)];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
    (line as isize + 1, column as isize + 1)
}

fn refuse(
    what: &str,
    source: &str,
    (line, column): (isize, isize),
    why: &str,
    hint: &str,
) -> embody_core::Error {
    let why = format!("{what} = `{source}`, line {line}, column {column}: {why}");
    DataError::Request { why, hint: hint.to_owned() }.into()
}

type Aggregates = HashMap<String, HashMap<&'static str, f64>>;

/// Aggregates of every numeric dimension of an episode's table.
fn aggregates(dataset: &Dataset, table: &EpisodeTable) -> Aggregates {
    let mut out = HashMap::new();
    for (key, array) in table {
        let Some(series) = Series::of(array) else { continue };
        let Some(spec) = dataset.info().features.get(key) else { continue };
        if series.width == 1 {
            out.insert(key.clone(), aggregate(&series.values));
        }
        for (d, name) in spec.dim_names().iter().enumerate().filter(|_| series.width > 1) {
            out.insert(format!("{key}.{name}"), aggregate(&series.column(d)));
        }
    }
    out
}

fn aggregate(values: &[f64]) -> HashMap<&'static str, f64> {
    let n = values.len().max(1) as f64;
    let sum: f64 = values.iter().sum();
    let variance = values.iter().map(|v| (v - sum / n).powi(2)).sum::<f64>() / n;
    HashMap::from([
        ("min", values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("mean", sum / n),
        ("std", variance.sqrt()),
        ("first", values.first().copied().unwrap_or(f64::NAN)),
        ("last", values.last().copied().unwrap_or(f64::NAN)),
        ("sum", sum),
    ])
}

fn map(columns: Aggregates) -> Value {
    let inner = |values: HashMap<&'static str, f64>| -> Value {
        let entries = values.into_iter().map(|(k, v)| (Key::from(k), Value::Float(v)));
        Value::Map(Map { map: std::sync::Arc::new(entries.collect()) })
    };
    let entries = columns.into_iter().map(|(k, v)| (Key::from(k), inner(v)));
    Value::Map(Map { map: std::sync::Arc::new(entries.collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(source: &str) -> (String, String) {
        let error = Filter::parse("keep", source).err().expect("is refused");
        (error.to_string(), error.hint().unwrap_or_default().to_owned())
    }

    #[test]
    fn an_unknown_name_is_refused_with_place_and_known_names() {
        let (text, hint) = error("frames > 3 && idle_fracton < 0.5");
        assert_eq!(
            text,
            "keep = `frames > 3 && idle_fracton < 0.5`, line 1, column 15: `idle_fracton` is not known"
        );
        assert!(
            hint.starts_with("did you mean `idle_fraction`? known are: episode, frames"),
            "{hint}"
        );
        assert_eq!(position("a.quality > 0 && quality < 1", "quality"), (1, 18));
        assert_eq!(position("frames > 1 &&\n  x", "x"), (2, 3));
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        let (text, hint) = error("quality > 0.4 && && success");
        assert!(
            text.starts_with("keep = `quality > 0.4 && && success`, line 1, column 1"),
            "{text}"
        );
        assert!(hint.contains("&&"), "{hint}");
        for bad in ["", "quality >", "(((((", "'open", "\u{0}", &"(".repeat(5000)] {
            error(bad);
        }
    }

    #[test]
    fn only_what_needs_pictures_asks_for_them() {
        let needs = |s| Filter::parse("keep", s).expect("parses").needs_pictures();
        assert!(needs("quality > 0.4") && needs("black_cameras == 0"));
        assert!(!needs("idle_fraction < 0.5 && success != false && column['action.x'].max > 1.0"));
    }
}
