//! Whether an episode achieved its task, told from episodes that somebody judged: a logistic
//! regression on what the survey measures of an episode and where its joints end.
//!
//! Small on purpose: with tens of labels anything larger learns them by heart. Features are brought
//! to mean 0 and deviation 1 over the labelled episodes; the weights have a normal prior such that the
//! log-odds have a deviation of [`PRIOR_LOGIT`] before any label is seen, which leaves nothing to tune.
//! The fit is Newton's method to the optimum, so it is exact and depends on no seed. A judged
//! episode's probability comes from a fit without its fold: disagreement with its label is evidence.
//! Nothing here leaves an episode out.

use std::path::Path;

use embody_core::{Result, Task};
use serde::{Deserialize, Serialize};

use super::facts::{FACTS, Fact};
use super::series::Series;
use super::survey::{Look, SurveyOptions, survey};
use crate::dataset::Dataset;
use crate::error::DataError;

/// Deviation of the log-odds under the prior.
const PRIOR_LOGIT: f64 = 2.0;
/// Parts of the cross-validation, at most.
const FOLDS: usize = 5;
/// Fewest judged episodes of each kind.
const FEWEST: usize = 4;
/// Names of measures that say which episode it is, what was said of it, or how far it is from another,
/// rather than what it is like.
const NOT_EVIDENCE: [&str; 7] =
    ["episode", "frames", "success", "score", "total_reward", "nearest_distance", "length_z"];

/// What is thought of an episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedEpisode {
    /// Its index.
    pub episode: usize,
    /// What somebody said.
    pub label: Option<bool>,
    /// Probability that it achieved its task, 0-1.
    pub probability: f64,
    /// The measures that weigh most, with the value and that of usual successes.
    pub reasons: Vec<String>,
}

/// How far to trust it: predictions for judged episodes by fits that did not see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossCheck {
    /// Parts that were left out in turn.
    pub folds: usize,
    /// Episodes judged as successes.
    pub successes: usize,
    /// Episodes judged as failures.
    pub failures: usize,
    /// Failures given a probability below one half.
    pub failures_found: usize,
    /// Successes given one below one half.
    pub false_alarms: usize,
}

impl CrossCheck {
    /// Judged episodes.
    pub fn total(&self) -> usize {
        self.successes + self.failures
    }

    /// Of them, those told rightly.
    pub fn correct(&self) -> usize {
        self.failures_found + self.successes - self.false_alarms
    }

    /// Share that always saying the more frequent gets right.
    pub fn majority(&self) -> f64 {
        self.successes.max(self.failures) as f64 / self.total().max(1) as f64
    }
}

/// Every episode, and how far to trust it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// By index.
    pub episodes: Vec<JudgedEpisode>,
    /// Over the judged episodes.
    pub check: CrossCheck,
}

/// Learns from the judged episodes of the dataset at `root` and says what it thinks of all.
///
/// # Errors
/// When the dataset can't be read, or fewer than four episodes of either kind were judged.
pub fn judge(root: &Path, task: Task<'_>) -> Result<Judgement> {
    let dataset = Dataset::open_any(root)?;
    let labels: Vec<Option<bool>> = dataset.episodes().iter().map(|e| e.outcome.success).collect();
    let count = |kind: bool| labels.iter().filter(|l| **l == Some(kind)).count();
    let (successes, failures) = (count(true), count(false));
    if successes.min(failures) < FEWEST {
        return Err(DataError::Request {
            why: format!(
                "{}: {successes} episodes are judged as successes and {failures} as failures",
                root.display()
            ),
            hint: format!(
                "judge at least {FEWEST} of each, better 20: embody data annotate --success"
            ),
        }
        .into());
    }
    let (names, rows) = features(&dataset, task)?;
    let labelled: Vec<usize> = (0..rows.len()).filter(|&e| labels[e].is_some()).collect();
    let truth = |e: usize| labels[e] == Some(true);
    let fit = |of: &[usize]| {
        let rows: Vec<&[f64]> = of.iter().map(|&e| rows[e].as_slice()).collect();
        let labels: Vec<bool> = of.iter().map(|&e| truth(e)).collect();
        Fit::new(&rows, &labels)
    };
    // Folds of like shares: the n-th of either kind goes to fold n modulo their number.
    let folds = FOLDS.min(successes.min(failures));
    let mut fold_of = vec![usize::MAX; rows.len()];
    for kind in [true, false] {
        for (n, &e) in labelled.iter().filter(|&&e| truth(e) == kind).enumerate() {
            fold_of[e] = n % folds;
        }
    }
    let whole = fit(&labelled);
    let others = |fold: usize| -> Vec<usize> {
        labelled.iter().copied().filter(|&e| fold_of[e] != fold).collect()
    };
    let fits: Vec<Fit> = (0..folds).map(|fold| fit(&others(fold))).collect();
    let good: Vec<&[f64]> =
        labelled.iter().filter(|&&e| truth(e)).map(|&e| rows[e].as_slice()).collect();
    let usual: Vec<f64> = (0..names.len()).map(|j| mean(good.iter().map(|row| row[j]))).collect();
    let mut check = CrossCheck { folds, successes, failures, failures_found: 0, false_alarms: 0 };
    let mut episodes = Vec::new();
    for (episode, row) in rows.iter().enumerate() {
        let by = fits.get(fold_of[episode]).unwrap_or(&whole);
        let probability = by.probability(row);
        match labels[episode] {
            Some(false) if probability < 0.5 => check.failures_found += 1,
            Some(true) if probability < 0.5 => check.false_alarms += 1,
            _ => {}
        }
        let reasons = by.reasons(row, probability < 0.5, &names, &usual);
        episodes.push(JudgedEpisode { episode, label: labels[episode], probability, reasons });
    }
    Ok(Judgement { episodes, check })
}

/// Names of features, and their values by episode; what does not apply is not a number.
fn features(dataset: &Dataset, task: Task<'_>) -> Result<(Vec<String>, Vec<Vec<f64>>)> {
    let options = SurveyOptions { video: Look::None, ..SurveyOptions::default() };
    let measured = survey(dataset, &options, task)?;
    let known = || FACTS.iter().filter(|f| !f.pictures && !NOT_EVIDENCE.contains(&f.name));
    let declared = &dataset.info().features;
    let keys: Vec<&str> = [options.state_key.as_str(), options.action_key.as_str()]
        .into_iter()
        .filter(|k| declared.get(*k).is_some_and(|f| f.dtype.is_numeric()))
        .collect();
    let mut names: Vec<String> = known().map(|f| f.name.to_owned()).collect();
    for key in &keys {
        for dim in declared[*key].dim_names() {
            names.extend(["first", "last", "mean"].map(|what| format!("{what} {key}.{dim}")));
        }
    }
    let mut rows = Vec::new();
    for m in &measured.episodes {
        task.cancel.check()?;
        let mut row: Vec<f64> = known()
            .map(|fact| match (fact.of)(m) {
                Fact::Number(value) => value.unwrap_or(f64::NAN),
                Fact::Flag(value) => value.map_or(f64::NAN, |v| f64::from(u8::from(v))),
                Fact::Text(_) => f64::NAN,
            })
            .collect();
        for (_, array) in dataset.columns(m.episode, &keys)? {
            let Some(series) = Series::of(&array).filter(|s| s.frames() > 0) else {
                row.resize(names.len(), f64::NAN);
                continue;
            };
            for d in 0..series.width {
                let last = series.row(series.frames() - 1)[d];
                row.extend([series.row(0)[d], last, mean(series.column(d).into_iter())]);
            }
        }
        rows.push(row);
    }
    Ok((names, rows))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) =
        values.filter(|v| v.is_finite()).fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    if n > 0.0 { sum / n } else { f64::NAN }
}

/// A fitted regression.
struct Fit {
    /// Per feature: mean and deviation over the rows it was fitted to; deviation 0 leaves it out.
    scale: Vec<(f64, f64)>,
    /// Weight per feature, the intercept last.
    weights: Vec<f64>,
}

impl Fit {
    fn new(rows: &[&[f64]], labels: &[bool]) -> Self {
        let width = rows.first().map_or(0, |r| r.len());
        let scale: Vec<(f64, f64)> = (0..width)
            .map(|j| {
                let centre = mean(rows.iter().map(|r| r[j]));
                let variance = mean(rows.iter().map(|r| (r[j] - centre).powi(2)));
                let deviation = variance.sqrt();
                let moves = deviation.is_finite() && deviation > 1e-9 * centre.abs().max(1e-9);
                (centre, if moves { deviation } else { 0.0 })
            })
            .collect();
        let mut fit = Self { scale, weights: vec![0.0; width + 1] };
        let scaled: Vec<Vec<f64>> = rows.iter().map(|row| fit.scaled(row)).collect();
        let used = fit.scale.iter().filter(|s| s.1 > 0.0).count();
        let precision = used.max(1) as f64 / PRIOR_LOGIT.powi(2);
        fit.weights = newton(&scaled, labels, precision);
        fit
    }

    /// A row as the regression sees it: missing values are the mean, the last is for the intercept.
    fn scaled(&self, row: &[f64]) -> Vec<f64> {
        let one = |(v, (centre, deviation)): (&f64, &(f64, f64))| match *deviation > 0.0 {
            // Far outside of what was seen, a straight line says nothing: it is held at 4 deviations.
            true if v.is_finite() => ((v - centre) / deviation).clamp(-4.0, 4.0),
            _ => 0.0,
        };
        row.iter().zip(&self.scale).map(one).chain([1.0]).collect()
    }

    fn probability(&self, row: &[f64]) -> f64 {
        logistic(dot(&self.scaled(row), &self.weights))
    }

    /// The three features that speak most for failure (or success).
    fn reasons(&self, row: &[f64], failure: bool, names: &[String], usual: &[f64]) -> Vec<String> {
        let sign = if failure { -1.0 } else { 1.0 };
        let mut parts: Vec<(f64, usize)> = self
            .scaled(row)
            .iter()
            .zip(&self.weights)
            .take(names.len())
            .enumerate()
            .map(|(j, (x, w))| (sign * x * w, j))
            .filter(|(part, _)| *part > 0.1)
            .collect();
        parts.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let say = |&(_, j): &(f64, usize)| {
            format!("{} {:.3} (successes {:.3})", names[j], row[j], usual[j])
        };
        parts.iter().take(3).map(say).collect()
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Weights of greatest posterior probability: log-likelihood minus `precision`/2 · |w|², the last
/// weight (intercept) free but for a trace. Newton steps, halved until they do not go down.
fn newton(rows: &[Vec<f64>], labels: &[bool], precision: f64) -> Vec<f64> {
    let width = rows.first().map_or(0, Vec::len);
    let penalty = |j: usize| if j + 1 == width { 1e-3 } else { precision };
    let value = |w: &[f64]| -> f64 {
        let fit: f64 = rows
            .iter()
            .zip(labels)
            .map(|(row, label)| {
                let x = if *label { dot(row, w) } else { -dot(row, w) };
                // log(logistic(x)) without overflow.
                if x > 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() }
            })
            .sum();
        fit - w.iter().enumerate().map(|(j, w)| penalty(j) * w * w / 2.0).sum::<f64>()
    };
    let mut w = vec![0.0; width];
    for _ in 0..100 {
        let mut gradient: Vec<f64> = (0..width).map(|j| -penalty(j) * w[j]).collect();
        let mut curvature = vec![0.0; width * width];
        (0..width).for_each(|j| curvature[j * width + j] = penalty(j));
        for (row, label) in rows.iter().zip(labels) {
            let p = logistic(dot(row, &w));
            let miss = f64::from(u8::from(*label)) - p;
            for i in 0..width {
                gradient[i] += miss * row[i];
                for j in 0..=i {
                    curvature[i * width + j] += p * (1.0 - p) * row[i] * row[j];
                }
            }
        }
        let step = cholesky_solve(curvature, &gradient);
        let before = value(&w);
        let mut length = 1.0;
        let next = loop {
            let next: Vec<f64> = w.iter().zip(&step).map(|(w, s)| w + length * s).collect();
            if value(&next) >= before || length < 1e-6 {
                break next;
            }
            length /= 2.0;
        };
        let moved = next.iter().zip(&w).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        w = next;
        if moved < 1e-10 {
            break;
        }
    }
    w
}

/// Solves A x = b for a positive definite A, of which the lower triangle is read.
fn cholesky_solve(mut a: Vec<f64>, b: &[f64]) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let sum = a[i * n + j] - dot(&a[i * n..i * n + j], &a[j * n..j * n + j]);
            a[i * n + j] =
                if i == j { sum.max(f64::MIN_POSITIVE).sqrt() } else { sum / a[j * n + j] };
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        x[i] = (x[i] - dot(&a[i * n..i * n + i], &x[..i])) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let below: f64 = (i + 1..n).map(|k| a[k * n + i] * x[k]).sum();
        x[i] = (x[i] - below) / a[i * n + i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without pattern, -0.5 to 0.5.
    fn noise(i: usize) -> f64 {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64
            / (1u64 << 53) as f64
            - 0.5
    }

    #[test]
    fn the_fit_is_the_optimum() {
        let rows: Vec<Vec<f64>> =
            (0..40).map(|i| vec![noise(i) * 3.0, noise(i + 1000) * 3.0, 1.0]).collect();
        let labels: Vec<bool> = (0..40).map(|i| rows[i][0] + 0.8 * noise(i + 5000) > 0.2).collect();
        let w = newton(&rows, &labels, 0.5);
        // The gradient of the penalised likelihood vanishes there.
        for j in 0..3 {
            let miss: f64 = rows
                .iter()
                .zip(&labels)
                .map(|(r, l)| (f64::from(u8::from(*l)) - logistic(dot(r, &w))) * r[j])
                .sum();
            let penalty = if j == 2 { 1e-3 } else { 0.5 };
            assert!((miss - penalty * w[j]).abs() < 1e-8, "{j}: {miss}");
        }
        assert!(w[0] > 1.0 && w[1].abs() < w[0] / 2.0, "{w:?}");
    }

    #[test]
    fn a_linear_system_is_solved() {
        let x =
            cholesky_solve(vec![4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 1.0, 3.0, 6.0], &[11.0, 21.0, 25.0]);
        for (x, wanted) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((x - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn features_that_say_nothing_are_not_believed() {
        let rows: Vec<Vec<f64>> =
            (0..60).map(|i| (0..80).map(|j| noise(i * 80 + j)).collect()).collect();
        let labels: Vec<bool> = (0..60).map(|i| noise(i + 99_991) > 0.0).collect();
        let mut right = 0;
        for fold in 0..5 {
            let inside = |i: &usize| i % 5 != fold;
            let of: Vec<usize> = (0..60).filter(inside).collect();
            let part: Vec<&[f64]> = of.iter().map(|&i| rows[i].as_slice()).collect();
            let fit = Fit::new(&part, &of.iter().map(|&i| labels[i]).collect::<Vec<_>>());
            right += (0..60)
                .filter(|i| !inside(i) && (fit.probability(&rows[*i]) > 0.5) == labels[*i])
                .count();
        }
        // Chance: 30 of 60, deviation 3.9.
        assert!((18..=42).contains(&right), "{right} of 60");
    }

    #[test]
    fn missing_and_constant_features_have_no_weight() {
        let rows: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i), f64::NAN, 7.0]).collect();
        let parts: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let fit = Fit::new(&parts, &(0..20).map(|i| i >= 10).collect::<Vec<_>>());
        assert_eq!(fit.weights[1..3], [0.0, 0.0]);
        assert!(fit.probability(&[19.0, 3.0, 7.0]) > 0.8);
        assert!(fit.probability(&[0.0, f64::NAN, 8.0]) < 0.2);
    }
}
