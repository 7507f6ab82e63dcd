//! Axes: where ticks stand and what they say.

use crate::report::html::number;

/// A range of values with its ticks; maps values to 0-1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// Lower end.
    pub lo: f64,
    /// Upper end; above `lo`.
    pub hi: f64,
    /// Whether distances are those of the logarithms.
    pub log: bool,
    /// Values inside the range, with their texts.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where `value` stands between the ends, 0-1.
    pub fn fraction(&self, value: f64) -> f64 {
        if self.log {
            (value.ln() - self.lo.ln()) / (self.hi.ln() - self.lo.ln())
        } else {
            (value - self.lo) / (self.hi - self.lo)
        }
    }
}

/// An axis over `values` (those not finite are passed over) with about `target` ticks.
///
/// `nice_ends` moves the ends outwards to ticks; `from_zero` includes 0 where that wastes little:
/// values all of one sign, the nearest less than half as far from 0 as the farthest.
pub(crate) fn linear(
    values: impl Iterator<Item = f64>,
    target: usize,
    nice_ends: bool,
    from_zero: bool,
) -> Axis {
    let (mut lo, mut hi) = range(values);
    if from_zero && lo > 0.0 && lo < 0.5 * hi {
        lo = 0.0;
    } else if from_zero && hi < 0.0 && hi > 0.5 * lo {
        hi = 0.0;
    }
    let step = nice_step((hi - lo) / target.max(1) as f64);
    if nice_ends {
        lo = (lo / step + 1e-9).floor() * step;
        hi = (hi / step - 1e-9).ceil() * step;
    }
    let first = (lo / step - 1e-9).ceil() as i64;
    let last = (hi / step + 1e-9).floor() as i64;
    let largest = lo.abs().max(hi.abs());
    let ticks = (first..=last)
        .map(|i| {
            let value = i as f64 * step;
            (value, label(value, step, largest))
        })
        .collect();
    Axis { lo, hi, log: false, ticks }
}

/// A logarithmic axis over the positive ones of `values`: decades, with 2 and 5 between where there
/// are few of them.
pub(crate) fn logarithmic(values: impl Iterator<Item = f64>, target: usize) -> Axis {
    let (lo, hi) = range(values.filter(|v| *v > 0.0));
    let lo = if lo > 0.0 { lo } else { hi / 10.0 };
    let decades = (hi / lo).log10();
    let steps: &[f64] = if decades <= 0.8 {
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]
    } else if decades < 2.2 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
    let every = ((last - first) as usize).div_ceil(target.max(1)).max(1);
    let marks: Vec<f64> = (first..=last)
        .step_by(if steps.len() == 1 { every } else { 1 })
        .flat_map(|decade| {
            steps.iter().map(move |s| {
                // Dividing gives 0.3 where multiplying gives 0.30000000000000004.
                if decade < 0 { s / 10f64.powi(-decade) } else { s * 10f64.powi(decade) }
            })
        })
        .collect();
    let below = marks.iter().rev().find(|m| **m <= lo * (1.0 + 1e-9)).copied().unwrap_or(lo);
    let above = marks.iter().find(|m| **m >= hi * (1.0 - 1e-9)).copied().unwrap_or(hi);
    let ticks = marks
        .into_iter()
        .filter(|m| (below..=above).contains(m))
        .map(|m| (m, number_of_log(m)))
        .collect();
    Axis { lo: below, hi: above, log: true, ticks }
}

/// The smallest of 1, 2, 2.5, 5, 10 × 10ᵏ that is not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let lead = rough / power;
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|s| lead <= s * (1.0 + 1e-9));
    step.unwrap_or(10.0) * power
}

/// Smallest and largest finite value, a little apart where they are the same.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.filter(|v| v.is_finite()) {
        lo = lo.min(value);
        hi = hi.max(value);
    }
    if lo > hi {
        return (0.0, 1.0);
    }
    let size = lo.abs().max(hi.abs());
    if hi - lo > size * 1e-9 {
        (lo, hi)
    } else if size == 0.0 {
        (-0.5, 0.5)
    } else {
        (lo - size * 0.1, hi + size * 0.1)
    }
}

/// Text of the tick at `value` on an axis with ticks every `step` and values up to `largest`.
fn label(value: f64, step: f64, largest: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    for (unit, sign) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if largest >= unit * if unit > 1e3 { 1.0 } else { 10.0 } && step >= unit * 0.01 {
            let text = number(value / unit, Some(decimals(step / unit)));
            return if value == 0.0 { "0".to_owned() } else { text + sign };
        }
    }
    if step < 1e-4 || largest >= 1e12 {
        return if value == 0.0 { "0".to_owned() } else { scientific(value) };
    }
    number(value, Some(decimals(step)))
}

fn number_of_log(value: f64) -> String {
    if (1e-3..1e4).contains(&value) { number(value, None) } else { scientific(value) }
}

fn scientific(value: f64) -> String {
    let text = format!("{value:.1e}").replace(".0e", "e");
    text.replace('-', "−")
}

/// Digits after the point that tell multiples of `step` apart.
fn decimals(step: f64) -> usize {
    (0..12)
        .find(|d| {
            let scaled = step * 10f64.powi(*d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        })
        .and_then(|d| usize::try_from(d).ok())
        .unwrap_or(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> String {
        let ticks: Vec<_> = axis.ticks.iter().map(|(_, text)| text.as_str()).collect();
        format!("[{}, {}] {}", axis.lo, axis.hi, ticks.join(" "))
    }

    fn nice(values: &[f64]) -> String {
        texts(&linear(values.iter().copied(), 5, true, true))
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(nice(&[0.0, 1.0]), "[0, 1] 0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(nice(&[0.013, 0.117]), "[0, 0.125] 0.000 0.025 0.050 0.075 0.100 0.125");
        assert_eq!(nice(&[0.0, 20_000.0]), "[0, 20000] 0 5k 10k 15k 20k");
        assert_eq!(nice(&[-1.3, 0.7]), "[-1.5, 1] −1.5 −1.0 −0.5 0.0 0.5 1.0");
        assert_eq!(nice(&[95.0, 104.0]), "[94, 104] 94 96 98 100 102 104");
        assert_eq!(nice(&[1e-7, 4e-6]), "[0, 0.000004] 0 1e−6 2e−6 3e−6 4e−6");
    }

    #[test]
    fn x_keeps_its_ends() {
        let axis = linear([3.0, 372.0].into_iter(), 5, false, false);
        assert_eq!(texts(&axis), "[3, 372] 100 200 300");
    }

    #[test]
    fn degenerate_ranges_still_have_an_axis() {
        assert_eq!(nice(&[]), "[0, 1] 0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(nice(&[f64::NAN, f64::INFINITY]), nice(&[]));
        for values in [[0.0, 0.0], [5.0, 5.0], [-2e-9, -2e-9], [1e300, 1e300], [1e-300, 1e-300]] {
            let axis = linear(values.into_iter(), 5, true, true);
            assert!(axis.lo < axis.hi && (2..12).contains(&axis.ticks.len()), "{axis:?}");
            assert!((0.0..=1.0).contains(&axis.fraction(values[0])), "{axis:?}");
        }
    }

    #[test]
    fn log_ticks() {
        let log = |values: &[f64]| texts(&logarithmic(values.iter().copied(), 5));
        assert_eq!(log(&[0.004, 3.0]), "[0.001, 10] 0.001 0.01 0.1 1 10");
        assert_eq!(log(&[0.03, 0.9]), "[0.02, 1] 0.02 0.05 0.1 0.2 0.5 1");
        assert_eq!(log(&[0.0, -1.0]), "[0.1, 1] 0.1 0.2 0.5 1");
        assert_eq!(log(&[0.3, 0.9]), "[0.3, 1] 0.3 0.5 0.7 1");
        assert_eq!(log(&[1e-9, 1.0]), "[0.000000001, 1] 1e−9 1e−7 1e−5 0.001 0.1");
    }
}
