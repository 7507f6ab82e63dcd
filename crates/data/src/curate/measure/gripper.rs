//! Grippers: opening and closing, chatter, and those that never close.
//!
//! A gripper dimension is one whose name says so. Its value, as a fraction of its range over the
//! dataset, is read with hysteresis: it changes side when it passes 0.65 upwards or 0.35 downwards.
//! Changes that follow another within 0.3 s are chatter: no hand means to do that.

use crate::curate::series::{Extent, Series};

/// Fractions of the range at which the side changes.
const UP: f64 = 0.65;
const DOWN: f64 = 0.35;
/// Changes closer than this are chatter, seconds.
const CHATTER_SECS: f64 = 0.3;
/// Words in the names of gripper dimensions.
const WORDS: [&str; 8] =
    ["gripper", "finger", "thumb", "pinky", "jaw", "handindex", "handmiddle", "handring"];

/// What a gripper did in an episode; the largest over its dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Gripper {
    /// Changes of side.
    pub moves: usize,
    /// Changes that follow another within 0.3 s.
    pub chatter: usize,
    /// Largest share of the dataset's range that was used, 0-1.
    pub travel: f64,
}

/// Dimensions whose names are those of grippers or fingers.
pub(crate) fn gripper_dimensions(names: &[String]) -> Vec<usize> {
    let plain = |name: &String| name.to_lowercase().replace(['_', '-', '.', ' '], "");
    let is = |name: &String| WORDS.iter().any(|word| plain(name).contains(word));
    (0..names.len()).filter(|&d| is(&names[d])).collect()
}

/// Frames at which a dimension changes side.
pub(crate) fn changes(series: &Series, extent: &Extent, dimension: usize) -> Vec<usize> {
    let mut side: Option<bool> = None;
    let mut out = Vec::new();
    for (frame, row) in series.rows().enumerate() {
        let value = extent.unit(dimension, row[dimension]);
        let now = match value {
            v if v >= UP => Some(true),
            v if v <= DOWN => Some(false),
            _ => side,
        };
        if side.is_some() && now != side {
            out.push(frame);
        }
        side = now;
    }
    out
}

/// What the gripper dimensions did; `None` where there are none or none ever moves in the dataset.
pub(crate) fn gripper(
    series: &Series,
    extent: &Extent,
    dimensions: &[usize],
    fps: f64,
) -> Option<Gripper> {
    let mut out: Option<Gripper> = None;
    for &d in dimensions {
        if extent.high.get(d).zip(extent.low.get(d)).is_none_or(|(h, l)| h <= l) {
            continue;
        }
        let changes = changes(series, extent, d);
        let soon = |w: &&[usize]| ((w[1] - w[0]) as f64) < CHATTER_SECS * fps;
        let column = series.column(d);
        let low = column.iter().copied().fold(f64::INFINITY, f64::min);
        let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let found = out.get_or_insert_default();
        found.moves = found.moves.max(changes.len());
        found.chatter = found.chatter.max(changes.windows(2).filter(soon).count());
        found.travel = found.travel.max(extent.unit(d, high) - extent.unit(d, low));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Extent {
        Extent { low: vec![0.0], high: vec![100.0] }
    }

    fn series(f: impl Fn(usize) -> f64) -> Series {
        Series { width: 1, values: (0..120).map(f).collect() }
    }

    #[test]
    fn one_grasp_and_one_release_are_two_moves() {
        let grasp = series(|t| if (40..80).contains(&t) { 90.0 } else { 5.0 });
        let found = gripper(&grasp, &whole(), &[0], 30.0).expect("has one");
        assert_eq!((found.moves, found.chatter), (2, 0));
        assert!((found.travel - 0.85).abs() < 1e-12);
        assert_eq!(changes(&grasp, &whole(), 0), [40, 80]);
    }

    #[test]
    fn chatter_is_counted_and_noise_around_the_middle_is_not() {
        let chatter = series(|t| if t >= 60 && (t / 3) % 2 == 0 { 100.0 } else { 0.0 });
        let found = gripper(&chatter, &whole(), &[0], 30.0).expect("has one");
        assert_eq!((found.moves, found.chatter), (20, 19));
        let noise = series(|t| 50.0 + if t % 2 == 0 { 10.0 } else { -10.0 });
        let found = gripper(&noise, &whole(), &[0], 30.0).expect("has one");
        assert_eq!((found.moves, found.chatter), (0, 0));
        assert!((found.travel - 0.2).abs() < 1e-12, "it never closes");
    }

    #[test]
    fn grippers_are_known_by_name() {
        let names =
            ["shoulder_pan.pos", "gripper.pos", "kLeftHandThumbBend", "wrist", "kRightHandRing"];
        assert_eq!(gripper_dimensions(&names.map(str::to_owned)), [1, 2, 4]);
        assert_eq!(
            gripper(&series(|_| 0.0), &Extent { low: vec![0.0], high: vec![0.0] }, &[0], 30.0),
            None
        );
    }
}
