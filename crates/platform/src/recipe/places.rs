//! Where in the file a key stands, so that errors can name the line.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Positions of all keys of a TOML file, seen from one of its tables.
#[derive(Debug, Clone)]
pub(super) struct Places {
    file: Arc<str>,
    lines: Arc<Vec<(Vec<String>, usize)>>,
    values: Arc<Vec<(String, usize)>>,
    prefix: Vec<String>,
}

impl Places {
    /// Notes every key of `text`, which must be valid TOML (else there are no lines to tell).
    pub(super) fn new(file: &str, text: &str) -> Self {
        let mut lines = Vec::new();
        let mut values = Vec::new();
        if let Ok(table) = DeTable::parse(text) {
            walk(table.get_ref(), &mut Vec::new(), text, &mut lines, &mut values);
        }
        let (lines, values) = (Arc::new(lines), Arc::new(values));
        Self { file: file.into(), lines, values, prefix: Vec::new() }
    }

    /// The same positions, seen from the table at `path`.
    pub(super) fn below(&self, path: &[&str]) -> Self {
        let mut places = self.clone();
        places.prefix.extend(path.iter().map(|p| (*p).to_owned()));
        places
    }

    /// `FILE:LINE` of the key at `path`, or of the nearest table above it.
    pub(super) fn of(&self, path: &[&str]) -> String {
        let mut full = self.prefix.clone();
        full.extend(path.iter().map(|p| (*p).to_owned()));
        while !full.is_empty() {
            if let Some((_, line)) = self.lines.iter().find(|(p, _)| *p == full) {
                return at(&self.file, Some(*line));
            }
            full.pop();
        }
        at(&self.file, None)
    }

    /// `FILE:LINE` of the first string equal to `text`.
    pub(super) fn of_value(&self, text: &str) -> String {
        match self.values.iter().find(|(value, _)| value == text) {
            Some((_, line)) => at(&self.file, Some(*line)),
            None => self.of(&[]),
        }
    }
}

/// `file:line`, or `file` alone.
pub(super) fn at(file: &str, line: Option<usize>) -> String {
    line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
}

/// 1-based line of a byte offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

fn walk(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    text: &str,
    lines: &mut Vec<(Vec<String>, usize)>,
    values: &mut Vec<(String, usize)>,
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        lines.push((path.clone(), line_of(text, key.span().start)));
        walk_value(value, path, text, lines, values);
        path.pop();
    }
}

fn walk_value(
    value: &Spanned<DeValue<'_>>,
    path: &mut Vec<String>,
    text: &str,
    lines: &mut Vec<(Vec<String>, usize)>,
    values: &mut Vec<(String, usize)>,
) {
    let span: Range<usize> = value.span();
    match value.get_ref() {
        DeValue::Table(inner) => walk(inner, path, text, lines, values),
        DeValue::Array(items) => {
            items.iter().for_each(|v| walk_value(v, path, text, lines, values));
        }
        DeValue::String(string) => values.push((string.to_string(), line_of(text, span.start))),
        _ => {}
    }
}
