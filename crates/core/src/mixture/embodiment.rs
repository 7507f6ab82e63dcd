//! Robots that differ in one mixture: vectors get a dimension for each that some robot has, cameras
//! are those of all.
//!
//! A dimension is known by its name: `gripper.pos` of two arms is one, what only one of them has is
//! padding in the other's frames. A trainer looks at each robot's frames without the padding
//! ([`Batch::unpadded`]), so that nothing made up is learned from.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::Portion;
use crate::{Array, Batch, Error, FeatureSpec, FeatureStats, Features, Result, StatsMap};

/// One robot of several in a padded source: what it has of its features.
#[derive(Debug, Clone, PartialEq)]
pub struct Embodiment {
    /// What errors and results call it.
    pub name: String,
    /// Its features, without padding.
    pub features: Features,
    /// Of its training split, by which its values are normalised.
    pub stats: StatsMap,
    /// Of each of its vectors, where its dimensions stand in the padded one.
    pub places: IndexMap<String, Vec<usize>>,
}

impl Embodiment {
    /// Its part of statistics of the padded features.
    pub(super) fn part_of(&self, padded: &StatsMap) -> StatsMap {
        let own = padded.iter().filter(|(key, _)| self.features.contains_key(*key));
        let part = |(key, stats): (&String, &FeatureStats)| {
            let at = |values: &[f64]| match self.places.get(key) {
                Some(places) => places.iter().map(|place| values[*place]).collect(),
                None => values.to_vec(),
            };
            let FeatureStats { min, max, mean, std, .. } = stats;
            let (min, max, mean, std) = (at(min), at(max), at(mean), at(std));
            let count = stats.count;
            (key.clone(), FeatureStats { min, max, mean, std, count, ..FeatureStats::default() })
        };
        own.map(part).collect()
    }
}

impl Batch {
    /// The rows `rows`, which are `robot`'s, without padding and without features that it lacks, into
    /// `out`, whose memory is used again.
    pub fn unpadded(&self, rows: &[usize], robot: &Embodiment, out: &mut Self) {
        let has =
            |key: &str| robot.features.contains_key(key.strip_suffix("_is_pad").unwrap_or(key));
        out.frames.clear();
        out.frames.extend(rows.iter().map(|row| self.frames[*row]));
        out.arrays.retain(|key, _| has(key) && self.arrays.contains_key(key));
        for (key, array) in self.arrays.iter().filter(|(key, _)| has(key)) {
            let to = out.arrays.entry(key.clone()).or_insert_with(Array::empty);
            to.shape.clone_from(&array.shape);
            to.shape[0] = rows.len();
            match robot.places.get(key) {
                Some(places) => {
                    let wide = array.shape[array.shape.len() - 1];
                    *to.shape.last_mut().expect("a batch has an axis") = places.len();
                    let steps = array.shape[1..array.shape.len() - 1].iter().product::<usize>();
                    let vectors = rows.iter().flat_map(|row| row * steps..(row + 1) * steps);
                    array.data.gather(1, &spots(vectors, wide, places), &mut to.data);
                }
                None => array.data.gather(array.shape[1..].iter().product(), rows, &mut to.data),
            }
        }
    }
}

/// Elements at `places` of each of `vectors`, which are `wide` elements each.
fn spots(vectors: impl Iterator<Item = usize>, wide: usize, places: &[usize]) -> Vec<usize> {
    vectors.flat_map(|v| places.iter().map(move |place| v * wide + place)).collect()
}

/// `array` with the vectors on its last axis padded with zeros to `wide` elements.
pub(super) fn padded(array: &Array, wide: usize, places: &[usize]) -> Array {
    let vectors = array.shape[..array.shape.len() - 1].iter().product::<usize>();
    let mut out = Array { shape: array.shape.clone(), ..Array::empty() };
    *out.shape.last_mut().expect("a batch has an axis") = wide;
    array.data.scatter(1, &spots(0..vectors, wide, places), vectors * wide, &mut out.data);
    out
}

/// The features that all of `portions` have together, and each one's part of them; its statistics are
/// still to be put in.
///
/// # Errors
/// When a feature is of another type in two of them, or pictures are of another size; names both.
pub(super) fn together(portions: &[Portion<'_>]) -> Result<(Features, Vec<Embodiment>)> {
    let mut all = Features::new();
    let mut names: IndexMap<&str, Vec<String>> = IndexMap::new();
    let mut robots: Vec<Embodiment> = Vec::new();
    for portion in portions {
        let features = portion.source.features();
        let mut places = IndexMap::new();
        for (key, spec) in features {
            let have = all.entry(key.clone()).or_insert_with(|| spec.clone());
            let vector = spec.dtype.is_numeric() && spec.shape.len() == 1;
            let alike = vector && have.shape.len() == 1 || have.shape == spec.shape;
            if have.dtype != spec.dtype || !alike {
                let found = format!("{:?} {:?}", spec.dtype, spec.shape);
                let why = format!(
                    "{}: feature `{key}` is {found}, {:?} {:?} in another dataset",
                    portion.name, have.dtype, have.shape
                );
                return Err(Error::new(why)
                    .with_hint("bring pictures to one size with `image_size`, or leave it out"));
            }
            if vector {
                let known = names.entry(key).or_default();
                places.insert(key.clone(), positions(&portion.name, key, spec, known)?);
            }
        }
        if robots.iter().any(|robot| robot.name == portion.name) {
            return Err(Error::new(format!("{} stands twice in the mixture", portion.name))
                .with_hint("give it once, with the weight of both"));
        }
        let (name, features) = (portion.name.clone(), features.clone());
        robots.push(Embodiment { name, features, stats: StatsMap::new(), places });
    }
    for (key, names) in names {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        all[key] = FeatureSpec::new(all[key].dtype, &[names.len()], &names);
    }
    Ok((all, robots))
}

/// Where the dimensions of `spec` stand among those `known`, which grow by what is new.
fn positions(
    dataset: &str,
    key: &str,
    spec: &FeatureSpec,
    known: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let own = spec.dim_names();
    let mut seen = HashSet::new();
    if let Some(twice) = own.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(Error::new(format!(
            "{dataset}: two dimensions of `{key}` are called `{twice}`"
        ))
        .with_hint("robots are told apart by the names of their dimensions: embody data edit"));
    }
    let place = |name: String| {
        known.iter().position(|k| *k == name).unwrap_or_else(|| {
            known.push(name);
            known.len() - 1
        })
    };
    Ok(own.into_iter().map(place).collect())
}
