//! Statistics as LeRobot spells them in JSON: nested like the feature's value, images `[3][1][1]`,
//! `count` a list.

use embody_core::{FeatureSpec, FeatureStats, Features, StatsMap};
use serde_json::{Map, Value, json};

/// Statistics from `stats.json` or one `stats` object of `episodes_stats.jsonl`. Entries that make
/// no sense are left out: what is missing is the validator's business.
pub(crate) fn parse_stats(value: &Value) -> StatsMap {
    let Value::Object(features) = value else { return StatsMap::new() };
    features.iter().map(|(key, value)| (key.clone(), parse_feature(value))).collect()
}

fn parse_feature(value: &Value) -> FeatureStats {
    let numbers = |name: &str| {
        let mut out = Vec::new();
        if let Some(value) = value.get(name) {
            flatten(value, &mut out);
        }
        out
    };
    FeatureStats {
        min: numbers("min"),
        max: numbers("max"),
        mean: numbers("mean"),
        std: numbers("std"),
        count: numbers("count").first().map_or(0, |&n| n.max(0.0) as u64),
        q01: numbers("q01"),
        q10: numbers("q10"),
        q50: numbers("q50"),
        q90: numbers("q90"),
        q99: numbers("q99"),
    }
}

fn flatten(value: &Value, out: &mut Vec<f64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| flatten(v, out)),
        Value::Number(n) => out.push(n.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(b) => out.push(f64::from(*b)),
        Value::Null => out.push(f64::NAN),
        _ => {}
    }
}

/// The content of `stats.json`.
pub(crate) fn stats_to_json(stats: &StatsMap, features: &Features) -> Value {
    let mut out = Map::new();
    for (key, stats) in stats {
        let inner = features.get(key).map(inner_shape).unwrap_or_default();
        let mut entry = Map::new();
        for (name, values) in entries(stats) {
            if !values.is_empty() {
                entry.insert(name.to_owned(), nest(values, &inner));
            }
        }
        entry.insert("count".to_owned(), json!([stats.count]));
        out.insert(key.clone(), Value::Object(entry));
    }
    Value::Object(out)
}

/// Extents of a statistic's axes after the first: `[1, 1]` for pictures, none for vectors.
pub(crate) fn inner_shape(spec: &FeatureSpec) -> Vec<usize> {
    if spec.dtype.is_visual() { vec![1, 1] } else { spec.shape.iter().skip(1).copied().collect() }
}

fn nest(values: &[f64], inner: &[usize]) -> Value {
    let step: usize = inner.iter().product();
    if inner.is_empty() || step == 0 || !values.len().is_multiple_of(step) {
        return json!(values);
    }
    values.chunks_exact(step).map(|part| nest_one(part, inner)).collect()
}

fn nest_one(values: &[f64], shape: &[usize]) -> Value {
    match shape {
        [] | [_] => json!(values),
        [_, rest @ ..] => {
            let step = rest.iter().product::<usize>().max(1);
            values.chunks_exact(step).map(|part| nest_one(part, rest)).collect()
        }
    }
}

/// Named vectors of one feature's statistics, in LeRobot's order.
pub(crate) fn entries(stats: &FeatureStats) -> [(&'static str, &Vec<f64>); 9] {
    [
        ("min", &stats.min),
        ("max", &stats.max),
        ("mean", &stats.mean),
        ("std", &stats.std),
        ("q01", &stats.q01),
        ("q10", &stats.q10),
        ("q50", &stats.q50),
        ("q90", &stats.q90),
        ("q99", &stats.q99),
    ]
}
