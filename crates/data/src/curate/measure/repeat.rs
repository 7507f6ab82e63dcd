//! Duplicated frames: rows that repeat the row before in every recorded number.
//!
//! A recorder that runs faster than its sensors writes the same readings again. Unlike idleness this
//! compares observations too, and exactly: a real sensor at rest still trembles in its last bits.

use crate::curate::series::Series;

/// Of each step from a frame to the next: whether every value of every series is the same, to the
/// bit. `frames - 1` entries; empty where there is no series.
pub(crate) fn repeated_steps(series: &[&Series]) -> Vec<bool> {
    let Some(frames) = series.iter().map(|s| s.frames()).min() else { return Vec::new() };
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    (1..frames).map(|f| series.iter().all(|s| same(s.row(f - 1), s.row(f)))).collect()
}

#[cfg(test)]
mod tests {
    use super::repeated_steps;
    use crate::curate::series::Series;

    #[test]
    fn only_rows_equal_in_every_column_repeat() {
        let state = Series { width: 1, values: vec![1.0, 1.0, 1.0, 2.0, 2.0] };
        let action = Series { width: 1, values: vec![5.0, 5.0, 6.0, 6.0, 6.0] };
        assert_eq!(repeated_steps(&[&state, &action]), [true, false, false, true]);
        assert!(repeated_steps(&[]).is_empty());
    }
}
