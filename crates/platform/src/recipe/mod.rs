//! The recipe file: what it may say, and where in the file it said it.
//!
//! ```toml
//! name = "demo"
//! seed = 0
//!
//! [steps.record]
//! kind = "record"
//! episodes = 100
//!
//! [steps.process]
//! kind = "process"
//! dataset = "@record"        # the output of step `record`
//! ```
//!
//! A string that starts with `@` names another step's output and is the only kind of edge. Relative
//! paths are relative to the folder the command runs in. Everything is parsed before anything runs.

mod places;
#[cfg(test)]
mod tests;

use std::path::Path;

use embody_core::{IoContext, Result, nearest_key};
use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use crate::error::PlatformError;
use places::Places;

const TOP_KEYS: [&str; 4] = ["name", "title", "seed", "steps"];

/// A parsed recipe; parameters of the steps are checked by [`Step::parse`].
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Short name; the default output folder is called so.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Root of every random stream of the run.
    pub seed: u64,
    /// Steps by name, in the order of the file.
    pub steps: IndexMap<String, Step>,
    /// Text of the file, as it was read.
    pub text: String,
    /// Values changed by `--set`, as `key=value`.
    pub overrides: Vec<String>,
}

/// One step of a recipe.
#[derive(Debug, Clone)]
pub struct Step {
    /// Name in the recipe.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Its parameters, without `kind`.
    pub params: toml::Table,
    places: Places,
}

impl Recipe {
    /// Reads a recipe file and applies `overrides` (`STEP.KEY=VALUE`, `seed=VALUE`).
    ///
    /// # Errors
    /// When the file can't be read or is no recipe; see [`Recipe::parse`].
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).at("read recipe", path)?;
        Self::parse(&text, &path.display().to_string(), overrides)
    }

    /// Parses a recipe; `file` is how errors call it.
    ///
    /// # Errors
    /// Names the file, the line and the key: bad TOML, an unknown key, a wrong type, an override of
    /// a step that does not exist, a reference to no step, a circle of steps.
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self> {
        let mut table: toml::Table = toml::from_str(text).map_err(|e: toml::de::Error| {
            let line = e.span().map(|s| places::line_of(text, s.start));
            PlatformError::ParseRecipe { at: places::at(file, line), message: e.message().into() }
        })?;
        let places = Places::new(file, text);
        for assignment in overrides {
            apply_override(&mut table, assignment)?;
        }
        if let Some(key) = table.keys().find(|k| !TOP_KEYS.contains(&k.as_str())) {
            Err(unknown_key(&places, &[key], "the recipe", key, &TOP_KEYS))?;
        }
        let bad = |key: &str, message: &str| PlatformError::BadValue {
            at: places.of(&[key]),
            place: format!("`{key}`"),
            message: message.into(),
        };
        let text_of = |key: &str, default: &str| match table.get(key) {
            None => Ok(default.to_owned()),
            Some(toml::Value::String(value)) => Ok(value.clone()),
            Some(_) => Err(bad(key, "must be a string")),
        };
        let name = text_of("name", "recipe")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            Err(bad("name", "must be made of letters, digits, `-` and `_`"))?;
        }
        let seed = match table.get("seed") {
            None => 0,
            Some(toml::Value::Integer(seed)) if *seed >= 0 => *seed as u64,
            Some(_) => Err(bad("seed", "must be an integer of at least 0"))?,
        };
        let title = text_of("title", &name)?;
        let Some(steps_value) = table.remove("steps") else {
            Err(PlatformError::Empty { at: file.into() })?
        };
        let toml::Value::Table(step_tables) = steps_value else {
            Err(bad("steps", "must be tables `[steps.NAME]`"))?
        };
        let mut steps = IndexMap::new();
        for (step_name, value) in step_tables {
            let place = format!("step `{step_name}`");
            if !step_name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
                let message = "a step's name is made of letters, digits, `-` and `_`".into();
                Err(PlatformError::BadValue {
                    at: places.of(&["steps", &step_name]),
                    place: place.clone(),
                    message,
                })?;
            }
            let toml::Value::Table(mut params) = value else {
                let message = "must be a table `[steps.NAME]`".into();
                Err(PlatformError::BadValue {
                    at: places.of(&["steps", &step_name]),
                    place,
                    message,
                })?
            };
            let kind = match params.remove("kind") {
                Some(toml::Value::String(kind)) => kind,
                _ => String::new(),
            };
            let places = places.below(&["steps", &step_name]);
            steps.insert(step_name.clone(), Step { name: step_name, kind, params, places });
        }
        if steps.is_empty() {
            Err(PlatformError::Empty { at: file.into() })?;
        }
        let recipe =
            Self { name, title, seed, steps, text: text.to_owned(), overrides: overrides.to_vec() };
        recipe.check_inputs()?;
        Ok(recipe)
    }

    /// The steps in an order in which every step comes after its inputs.
    pub fn order(&self) -> Vec<&Step> {
        let mut done: Vec<&str> = Vec::new();
        let mut order = Vec::new();
        while order.len() < self.steps.len() {
            let before = order.len();
            for step in self.steps.values() {
                let ready = step.inputs().iter().all(|i| done.contains(&i.as_str()));
                if ready && !done.contains(&step.name.as_str()) {
                    done.push(&step.name);
                    order.push(step);
                }
            }
            // `check_inputs` has refused circles, so every round places at least one step.
            if order.len() == before {
                break;
            }
        }
        order
    }

    fn check_inputs(&self) -> Result<()> {
        let known: Vec<String> = self.steps.keys().cloned().collect();
        for step in self.steps.values() {
            if let Some(target) = step.inputs().into_iter().find(|i| !self.steps.contains_key(i)) {
                let at = step.places.of_value(&format!("@{target}"));
                Err(PlatformError::UnknownInput {
                    at,
                    step: step.name.clone(),
                    target,
                    known: known.clone(),
                })?;
            }
        }
        let placed = self.order();
        if placed.len() < self.steps.len() {
            let stuck = |name: &String| !placed.iter().any(|s| &s.name == name);
            let mut name = known.iter().find(|n| stuck(n)).cloned().unwrap_or_default();
            let mut cycle: Vec<String> = Vec::new();
            while !cycle.contains(&name) {
                cycle.push(name.clone());
                name =
                    self.steps[&name].inputs().into_iter().find(|n| stuck(n)).unwrap_or_default();
            }
            cycle.retain({
                let start = name.clone();
                let mut seen = false;
                move |n| {
                    seen |= *n == start;
                    seen
                }
            });
            cycle.push(name.clone());
            Err(PlatformError::Cycle { at: self.steps[&name].places.of(&[]), cycle })?;
        }
        Ok(())
    }
}

/// The step and, where it names one, the part of its output that `text` refers to: `@STEP` or
/// `@STEP/PART`.
pub fn reference(text: &str) -> Option<(&str, Option<&str>)> {
    let text = text.strip_prefix('@')?;
    Some(text.split_once('/').map_or((text, None), |(step, part)| (step, Some(part))))
}

impl Step {
    /// Names of the steps whose output this one takes, in order of appearance.
    pub fn inputs(&self) -> Vec<String> {
        fn collect(value: &toml::Value, out: &mut Vec<String>) {
            match value {
                toml::Value::String(text) => {
                    if let Some((name, _)) = reference(text)
                        && !out.iter().any(|o| o == name)
                    {
                        out.push(name.to_owned());
                    }
                }
                toml::Value::Array(items) => items.iter().for_each(|v| collect(v, out)),
                toml::Value::Table(table) => table.values().for_each(|v| collect(v, out)),
                _ => {}
            }
        }
        let mut inputs = Vec::new();
        self.params.values().for_each(|v| collect(v, &mut inputs));
        inputs
    }

    /// Parses the parameters into the type that the step's kind declares.
    ///
    /// # Errors
    /// Names file, line and key; an unknown key comes with the nearest known one.
    pub fn parse<P: DeserializeOwned>(&self) -> Result<P> {
        let value = toml::Value::Table(self.params.clone());
        serde_path_to_error::deserialize(value).map_err(|e| {
            let mut path: Vec<String> = e
                .path()
                .to_string()
                .split('.')
                .filter(|p| !p.is_empty() && *p != "." && *p != "?")
                .map(str::to_owned)
                .collect();
            let message = e.inner().message().to_owned();
            let place = format!("step `{}`", self.name);
            if let Some((key, known)) = unknown_field(&message) {
                if path.last() != Some(&key) {
                    path.push(key.clone());
                }
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                return unknown_key(&self.places, &path, &place, &key, &known).into();
            }
            let keys: Vec<&str> = path.iter().map(String::as_str).collect();
            let place = match keys.is_empty() {
                true => place,
                false => format!("{place}, `{}`", keys.join(".")),
            };
            PlatformError::BadValue { at: self.places.of(&keys), place, message }.into()
        })
    }

    /// Refuses a parameter that is not among `known`; for kinds whose parameters are not one type.
    ///
    /// # Errors
    /// Names file, line and the nearest known key.
    pub fn check_keys(&self, known: &[&str]) -> Result<()> {
        match self.params.keys().find(|k| !known.contains(&k.as_str())) {
            Some(key) => {
                let place = format!("step `{}`", self.name);
                Err(unknown_key(&self.places, &[key], &place, key, known).into())
            }
            None => Ok(()),
        }
    }

    /// The same step with other parameters, errors still naming the places of this one.
    #[must_use]
    pub fn with_params(&self, params: toml::Table) -> Self {
        Self { params, ..self.clone() }
    }

    /// An error about parameter `key` of this step, naming file and line.
    pub fn bad_value(&self, key: &str, message: impl Into<String>) -> embody_core::Error {
        PlatformError::BadValue {
            at: self.places.of(&[key]),
            place: format!("step `{}`, `{key}`", self.name),
            message: message.into(),
        }
        .into()
    }

    pub(crate) fn unknown_kind(&self, known: Vec<String>) -> PlatformError {
        let at = self.places.of(&["kind"]);
        let step = self.name.clone();
        if self.kind.is_empty() {
            return PlatformError::MissingKind { at, step, known };
        }
        PlatformError::UnknownKind { at, step, kind: self.kind.clone(), known }
    }
}

fn unknown_key(
    places: &Places,
    path: &[&str],
    place: &str,
    key: &str,
    known: &[&str],
) -> PlatformError {
    PlatformError::UnknownKey {
        at: places.of(path),
        key: key.to_owned(),
        place: place.to_owned(),
        nearest: nearest_key(key, known.iter().copied()).map(str::to_owned),
        known: known.iter().map(|k| (*k).to_owned()).collect(),
    }
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2).map(str::to_owned);
    let key = quoted.next()?;
    Some((key, quoted.collect()))
}

fn apply_override(table: &mut toml::Table, assignment: &str) -> Result<()> {
    let bad = |message: &str, nearest: Option<String>| PlatformError::BadSet {
        assignment: assignment.to_owned(),
        message: message.to_owned(),
        nearest,
    };
    let (key, raw) = assignment.split_once('=').ok_or_else(|| bad("there is no `=`", None))?;
    // What TOML reads as a value is one; anything else is a string, so that paths need no quotes.
    let value = toml::from_str::<toml::Table>(&format!("v = {raw}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(raw.to_owned()));
    let path: Vec<&str> = key.trim().split('.').collect();
    if path.iter().any(|p| p.is_empty()) {
        Err(bad("the key is empty", None))?;
    }
    let [step, rest @ ..] = path.as_slice() else { Err(bad("the key is empty", None))? };
    let Some((last, middle)) = rest.split_last() else {
        if TOP_KEYS.contains(step) && *step != "steps" {
            table.insert((*step).to_owned(), value);
            return Ok(());
        }
        let nearest = nearest_key(step, TOP_KEYS).map(str::to_owned);
        Err(bad(&format!("`{step}` is no key of a recipe"), nearest))?
    };
    let steps = table.get_mut("steps").and_then(toml::Value::as_table_mut);
    let names: Vec<String> =
        steps.as_ref().map(|s| s.keys().cloned().collect()).unwrap_or_default();
    let Some(mut place) = steps.and_then(|s| s.get_mut(*step)).and_then(toml::Value::as_table_mut)
    else {
        let nearest = nearest_key(step, names.iter().map(String::as_str)).map(str::to_owned);
        Err(bad(&format!("the recipe has no step `{step}`"), nearest))?
    };
    for key in middle {
        let next = place.entry((*key).to_owned()).or_insert_with(|| toml::Table::new().into());
        place = next.as_table_mut().ok_or_else(|| bad(&format!("`{key}` is no table"), None))?;
    }
    place.insert((*last).to_owned(), value);
    Ok(())
}
