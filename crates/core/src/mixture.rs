//! Several datasets as one source, each with a share of what training draws.
//!
//! Shares hold exactly in expectation and to within a few frames in every epoch ([`crate::Sampler`]);
//! inside a dataset the weights of its episodes apply. Datasets of one robot must have the same
//! features: what differs is refused by name. Robots that differ are padded to what all have together
//! (`embodiment`).

mod embodiment;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{
    Array, Batch, BatchSource, ContentHash, Error, FeatureStats, Features, Result, StatsMap,
};

pub use embodiment::Embodiment;

/// A dataset of a mixture.
pub struct Portion<'a> {
    /// What errors call it, such as its path.
    pub name: String,
    /// Its frames.
    pub source: &'a dyn BatchSource,
    /// Its share of the frames drawn is this over the sum of all.
    pub weight: f64,
}

/// By which statistics values of a mixture are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MixtureStats {
    /// Those of the mixture as it is drawn: one mean and deviation for all.
    #[default]
    Joint,
    /// Each dataset's own: values are brought from their dataset's mean and deviation to those of the
    /// first, whose units the policy speaks. For the same robot with other gains, zeros or units.
    PerDataset,
}

/// What a mixture makes of robots that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embodiments {
    /// There is one robot: what differs is refused by name.
    #[default]
    Same,
    /// Each dataset is a robot of its own: vectors are padded to the dimensions of all, known by name,
    /// and a robot may lack cameras. Each is then normalised by its own statistics, or by those of the
    /// mixture where dimensions of the same name are the same thing.
    Padded,
}

/// Features whose values change, with factor and offset per dimension.
type Moves = Vec<(String, Vec<(f32, f32)>)>;

/// Several datasets as one.
pub struct Mixture<'a> {
    portions: Vec<Portion<'a>>,
    features: Features,
    /// Of each portion, where they are padded.
    robots: Vec<Embodiment>,
    /// First frame of each portion, and the end of the last.
    starts: Vec<usize>,
    stats: StatsMap,
    /// Of each portion.
    moved: Vec<Moves>,
    scratch: Mutex<Vec<Batch>>,
}

impl<'a> Mixture<'a> {
    /// Puts `portions` together.
    ///
    /// # Errors
    /// When there is none, one is empty, a weight is not above 0, rates differ, or features do that
    /// may not; names the dataset.
    pub fn new(
        portions: Vec<Portion<'a>>,
        stats: MixtureStats,
        embodiments: Embodiments,
    ) -> Result<Self> {
        let Some(first) = portions.first() else {
            return Err(Error::new("a mixture of no dataset").with_hint("name at least one"));
        };
        for p in &portions {
            if !p.weight.is_finite() || p.weight <= 0.0 {
                return Err(Error::new(format!("{}: weight {} in the mixture", p.name, p.weight))
                    .with_hint("weights are above 0; leave a dataset out to draw nothing of it"));
            }
            if p.source.is_empty() {
                return Err(Error::new(format!("{}: there is no frame", p.name))
                    .with_hint("check the filters and the split, or leave the dataset out"));
            }
            if (p.source.fps() - first.source.fps()).abs() > 1e-6 * first.source.fps() {
                return Err(Error::new(format!(
                    "{}: {} frames per second, {} has {}",
                    p.name,
                    p.source.fps(),
                    first.name,
                    first.source.fps()
                ))
                .with_hint("a chunk of actions must last as long in all: embody data resample"));
            }
        }
        let padded = embodiments == Embodiments::Padded;
        let (features, mut robots) = if padded {
            embodiment::together(&portions)?
        } else {
            portions.iter().try_for_each(|p| same_features(first, p))?;
            (first.source.features().clone(), Vec::new())
        };
        let mut starts = vec![0];
        for p in &portions {
            starts.push(starts[starts.len() - 1] + p.source.len());
        }
        let unmoved = vec![Vec::new(); portions.len()];
        let (stats, moved) = match stats {
            MixtureStats::PerDataset if !padded => {
                let to = first.source.stats();
                let moved: Result<Vec<_>> = portions.iter().map(|p| moves(p, first)).collect();
                (to.clone(), moved?)
            }
            MixtureStats::PerDataset => {
                for (robot, portion) in robots.iter_mut().zip(&portions) {
                    robot.stats = portion.source.stats().clone();
                }
                (joint(&portions, &robots), unmoved)
            }
            MixtureStats::Joint => {
                let joint = joint(&portions, &robots);
                for robot in &mut robots {
                    robot.stats = robot.part_of(&joint);
                }
                (joint, unmoved)
            }
        };
        let scratch = Mutex::new(Vec::new());
        Ok(Self { portions, features, robots, starts, stats, moved, scratch })
    }

    /// Which portion frame `index` belongs to.
    fn portion(&self, index: usize) -> usize {
        self.starts.partition_point(|&start| start <= index).saturating_sub(1)
    }
}

impl BatchSource for Mixture<'_> {
    fn features(&self) -> &Features {
        &self.features
    }

    fn embodiments(&self) -> &[Embodiment] {
        &self.robots
    }

    fn stats(&self) -> &StatsMap {
        &self.stats
    }

    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn fps(&self) -> f64 {
        self.portions[0].source.fps()
    }

    fn weights(&self) -> Vec<(Range<usize>, f64)> {
        let mut out = Vec::new();
        for (p, start) in self.portions.iter().zip(&self.starts) {
            let own = p.source.weights();
            let total: f64 = own.iter().map(|(frames, w)| frames.len() as f64 * w).sum();
            // All 0 inside: as given, for the sampler to refuse if all datasets are so.
            let scale = if total > 0.0 { p.weight / total } else { 0.0 };
            out.extend(own.into_iter().map(|(f, w)| (f.start + start..f.end + start, w * scale)));
        }
        out
    }

    fn runs(&self) -> Result<Option<Vec<Range<usize>>>> {
        let mut out = Vec::new();
        let mut any = false;
        for (p, start) in self.portions.iter().zip(&self.starts) {
            match p.source.runs()? {
                Some(runs) => {
                    any = true;
                    out.extend(runs.into_iter().map(|r| r.start + start..r.end + start));
                }
                None => out.extend((*start..start + p.source.len()).map(|i| i..i + 1)),
            }
        }
        Ok(any.then_some(out))
    }

    fn versions(&self) -> Result<Vec<ContentHash>> {
        let each: Result<Vec<_>> = self.portions.iter().map(|p| p.source.versions()).collect();
        Ok(each?.into_iter().flatten().collect())
    }

    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()> {
        if let Some(&bad) = indices.iter().find(|&&i| i >= self.len()) {
            let why = format!("frame {bad} of a mixture of {}", self.len());
            return Err(Error::new(why).with_hint("ask for frames below len()"));
        }
        if let [one] = &self.portions[..] {
            return one.source.batch(indices, out);
        }
        let of = |index: &usize| self.portion(*index);
        let mut kept: Vec<String> = Vec::new();
        out.frames.clear();
        out.frames.resize(indices.len(), crate::FrameRef { dataset: 0, episode: 0, frame: 0 });
        let mut part = self.scratch().pop().unwrap_or_default();
        for (number, portion) in self.portions.iter().enumerate() {
            let rows: Vec<usize> =
                (0..indices.len()).filter(|&i| of(&indices[i]) == number).collect();
            if rows.is_empty() {
                continue;
            }
            let own: Vec<usize> = rows.iter().map(|&i| indices[i] - self.starts[number]).collect();
            portion.source.batch(&own, &mut part).map_err(|e| e.context(portion.name.clone()))?;
            for (key, moves) in &self.moved[number] {
                let Some(crate::ArrayData::F32(values)) =
                    part.arrays.get_mut(key).map(|a| &mut a.data)
                else {
                    continue;
                };
                for row in values.chunks_exact_mut(moves.len()) {
                    for (v, (factor, offset)) in row.iter_mut().zip(moves) {
                        *v = *v * factor + offset;
                    }
                }
            }
            for (&row, frame) in rows.iter().zip(&part.frames) {
                out.frames[row] = crate::FrameRef { dataset: number, ..*frame };
            }
            if let Some(robot) = self.robots.get(number) {
                for (key, places) in &robot.places {
                    let wide = self.features[key].numel();
                    if let Some(array) = part.arrays.get_mut(key) {
                        *array = embodiment::padded(array, wide, places);
                    }
                }
            }
            for (key, array) in &part.arrays {
                let width = array.shape.iter().skip(1).product();
                let to = out.arrays.entry(key.clone()).or_insert_with(Array::empty);
                to.shape.clone_from(&array.shape);
                if let Some(rows) = to.shape.first_mut() {
                    *rows = indices.len();
                }
                array.data.scatter(width, &rows, indices.len(), &mut to.data);
            }
            let fresh = part.arrays.keys().filter(|key| !kept.contains(key)).cloned();
            kept.extend(fresh.collect::<Vec<_>>());
        }
        out.arrays.retain(|key, _| kept.contains(key));
        self.scratch().push(part);
        Ok(())
    }
}

impl Mixture<'_> {
    fn scratch(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        // A list of buffers is whole at every step.
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses datasets whose batches could not be laid one over the other.
fn same_features(first: &Portion<'_>, other: &Portion<'_>) -> Result<()> {
    let hint = "name the features that all have with `inputs`, or train on datasets of one robot";
    let refuse = |why: String| Err(Error::new(format!("{}: {why}", other.name)).with_hint(hint));
    let (a, b) = (first.source.features(), other.source.features());
    for (key, spec) in a {
        let Some(found) = b.get(key) else {
            return refuse(format!("there is no feature `{key}`, which {} has", first.name));
        };
        let differ = if found.dtype != spec.dtype {
            Some(format!("{:?} against {:?}", found.dtype, spec.dtype))
        } else if found.shape != spec.shape {
            Some(format!("shape {:?} against {:?}", found.shape, spec.shape))
        } else if !spec.dtype.is_visual() && found.dim_names() != spec.dim_names() {
            let (x, y) = (found.dim_names(), spec.dim_names());
            let at = x.iter().zip(&y).position(|(x, y)| x != y).unwrap_or(0);
            Some(format!("dimension {at} is `{}` against `{}`", x[at], y[at]))
        } else {
            None
        };
        if let Some(differ) = differ {
            return refuse(format!("feature `{key}`: {differ} in {}", first.name));
        }
    }
    match b.keys().find(|key| !a.contains_key(*key)) {
        Some(key) => refuse(format!("feature `{key}` is not in {}", first.name)),
        None => Ok(()),
    }
}

/// Statistics of the mixture as it is drawn: the mean of means and the deviation about it, by share of
/// the datasets that have a dimension. Quantiles of a union can't be had from those of its parts and
/// are left out.
fn joint(portions: &[Portion<'_>], robots: &[Embodiment]) -> StatsMap {
    if let [one] = portions {
        return one.source.stats().clone();
    }
    let mut out = StatsMap::new();
    for key in portions.iter().flat_map(|p| p.source.stats().keys()) {
        if out.contains_key(key) {
            continue;
        }
        let Some(shares) = shares(key, portions, robots) else { continue };
        let dims = shares.iter().flat_map(|share| &share.places).max().map_or(0, |last| last + 1);
        let mut stats = FeatureStats {
            count: shares.iter().map(|share| share.stats.count).sum(),
            ..FeatureStats::default()
        };
        for d in 0..dims {
            let having = |share: &Share<'_>| {
                let own = share.places.iter().position(|place| *place == d)?;
                let s = share.stats;
                Some((share.weight, s.mean[own], s.std[own], s.min[own], s.max[own]))
            };
            let those: Vec<_> = shares.iter().filter_map(having).collect();
            let total: f64 = those.iter().map(|of| of.0).sum();
            let mean: f64 = those.iter().map(|of| of.0 / total * of.1).sum();
            let spread = |of: &(f64, f64, f64, f64, f64)| of.2.powi(2) + (of.1 - mean).powi(2);
            let variance: f64 = those.iter().map(|of| of.0 / total * spread(of)).sum();
            stats.mean.push(mean);
            stats.std.push(variance.sqrt());
            stats.min.push(those.iter().fold(f64::INFINITY, |least, of| least.min(of.3)));
            stats.max.push(those.iter().fold(f64::NEG_INFINITY, |most, of| most.max(of.4)));
        }
        out.insert(key.clone(), stats);
    }
    out
}

/// A dataset's part in the statistics of a feature.
struct Share<'a> {
    weight: f64,
    stats: &'a FeatureStats,
    /// Where its dimensions stand among those of all.
    places: Vec<usize>,
}

/// The datasets that have feature `key`; `None` where one of them lacks usable statistics of it.
fn shares<'a>(
    key: &str,
    portions: &'a [Portion<'_>],
    robots: &[Embodiment],
) -> Option<Vec<Share<'a>>> {
    let mut out: Vec<Share<'a>> = Vec::new();
    for (i, portion) in portions.iter().enumerate() {
        let robot = robots.get(i);
        if robot.is_some_and(|robot| !robot.features.contains_key(key)) {
            continue;
        }
        let stats = portion.source.stats().get(key)?;
        let padded = robot.and_then(|robot| robot.places.get(key));
        let dims = padded.map_or(stats.mean.len(), Vec::len);
        let whole = [&stats.mean, &stats.std, &stats.min, &stats.max];
        let alike = padded.is_some() || out.first().is_none_or(|first| first.places.len() == dims);
        if !alike || whole.iter().any(|values| values.len() != dims) {
            return None;
        }
        let places = padded.cloned().unwrap_or_else(|| (0..dims).collect());
        out.push(Share { weight: portion.weight, stats, places });
    }
    Some(out)
}

/// Factor and offset per dimension that bring a portion's numeric features to the first one's mean
/// and deviation. A dimension that hardly moves in either keeps its scale.
fn moves(portion: &Portion<'_>, first: &Portion<'_>) -> Result<Moves> {
    let (from, to) = (portion.source.stats(), first.source.stats());
    let mut out = Vec::new();
    for (key, spec) in portion.source.features() {
        if !matches!(spec.dtype, crate::DType::Float32 | crate::DType::Float64) {
            continue;
        }
        let dims = spec.numel();
        let usable = |s: Option<&&FeatureStats>| {
            s.is_some_and(|s| s.mean.len() == dims && s.std.len() == dims)
        };
        let (Some(from), Some(to)) =
            (from.get(key).filter(|s| usable(Some(s))), to.get(key).filter(|s| usable(Some(s))))
        else {
            let why = format!(
                "{}: statistics of `{key}` are absent or of the wrong length",
                portion.name
            );
            return Err(Error::new(why).with_hint("compute them: embody data process"));
        };
        if from.mean == to.mean && from.std == to.std {
            continue;
        }
        let each = (0..dims).map(|d| {
            let still = from.std[d] < 1e-6 || to.std[d] < 1e-6;
            let factor = if still { 1.0 } else { to.std[d] / from.std[d] };
            (factor as f32, (to.mean[d] - from.mean[d] * factor) as f32)
        });
        out.push((key.clone(), each.collect()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
