//! Standing still: which steps are idle, their share, and the spans they form.
//!
//! A step (from a frame to the next) is idle when no dimension of the action changes by more than a
//! threshold times the dimension's range over the dataset. Ranges come from the whole dataset, so the
//! same stillness is idle in every episode.

use std::ops::Range;

use crate::curate::series::Series;

/// Of each step from a frame to the next: whether no dimension moves by more than `threshold` of its
/// range. `frames - 1` entries.
pub(crate) fn idle_steps(actions: &Series, ranges: &[f64], threshold: f64) -> Vec<bool> {
    let rows: Vec<&[f64]> = actions.rows().collect();
    rows.windows(2)
        .map(|pair| {
            let mut moves = pair[0].iter().zip(pair[1]).zip(ranges);
            moves.all(|((a, b), range)| (a - b).abs() <= threshold * range)
        })
        .collect()
}

/// Share of idle steps, 0-1; 0 where there is no step.
pub(crate) fn idle_fraction(steps: &[bool]) -> f64 {
    steps.iter().filter(|s| **s).count() as f64 / steps.len().max(1) as f64
}

/// Frames of each stretch of at least `shortest` idle steps: from the frame it begins at to the one
/// after its last.
pub(crate) fn idle_spans(steps: &[bool], shortest: usize) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut from = 0;
    for (step, idle) in steps.iter().chain([&false]).enumerate() {
        if !idle {
            if step - from >= shortest.max(1) {
                out.push(from..step + 1);
            }
            from = step + 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{idle_fraction, idle_spans, idle_steps};
    use crate::curate::series::Series;

    #[test]
    fn stillness_in_the_middle_is_found() {
        // Moves for 4 steps, stands for 5, moves for 3; a second dimension trembles below threshold.
        let x = [0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 5.0, 6.0, 7.0];
        let values = x.iter().enumerate().flat_map(|(i, v)| [*v, (i % 2) as f64 * 1e-4]).collect();
        let steps = idle_steps(&Series { width: 2, values }, &[7.0, 1.0], 1e-3);
        assert!((idle_fraction(&steps) - 5.0 / 12.0).abs() < 1e-12);
        assert_eq!(idle_spans(&steps, 2), vec![4..10]);
        assert!(idle_spans(&steps, 6).is_empty());
    }

    #[test]
    fn nothing_is_not_idle() {
        assert_eq!(idle_fraction(&[]), 0.0);
        assert!(idle_spans(&[], 1).is_empty());
        assert_eq!(idle_spans(&[true, true], 1), vec![0..3]);
    }
}
