//! Phases of an episode: standing still, moving, gripping, touching.
//!
//! Every frame gets one phase, strongest first: gripping (around a gripper's change of side),
//! contact (a force or touch sensor is up), idle (a span of idle steps), else moving. Moves are cut
//! where the speed has a deep minimum, as between the strokes of a reach (Viviani & Flash 1995).
//! Segments cover the episode without gap or overlap; pieces shorter than a fifth of a second join
//! the one before.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::series::{Extent, Series};

/// What happens in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing moves.
    Idle,
    /// The robot moves.
    Move,
    /// A gripper opens or closes.
    Grip,
    /// A force or touch sensor is up.
    Contact,
}

/// A stretch of an episode in one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// First frame.
    pub start: usize,
    /// One past the last frame.
    pub end: usize,
    /// What happens.
    pub phase: Phase,
}

/// Seconds before and after a gripper's change that belong to it.
const GRIP_SECS: f64 = 0.2;
/// Shortest segment, seconds.
const SHORTEST_SECS: f64 = 0.2;
/// Half the width of the window in which a speed minimum must be the lowest, seconds.
const MINIMUM_SECS: f64 = 0.3;
/// Share of the episode's high speed (90 % quantile) below which a minimum cuts.
const DEEP: f64 = 0.2;
/// Fractions of a contact sensor's range at which contact begins and ends.
const CONTACT_ON: f64 = 0.25;
const CONTACT_OFF: f64 = 0.15;
/// Words in the names of features or dimensions that feel contact.
const CONTACT_WORDS: [&str; 5] = ["force", "torque", "tactile", "contact", "pressure"];

/// Whether a name is that of a sensor of contact.
pub(crate) fn feels_contact(name: &str) -> bool {
    let name = name.to_lowercase();
    CONTACT_WORDS.iter().any(|word| name.contains(word))
}

/// Per frame: whether any dimension of a contact sensor is up, with hysteresis, measured from the
/// end of its range (over the dataset) that is nearer to the episode's first value.
pub(crate) fn contact(series: &Series, extent: &Extent) -> Vec<bool> {
    let mut out = vec![false; series.frames()];
    for d in 0..series.width.min(extent.low.len()) {
        let column = series.column(d);
        let rest = column.first().map_or(0.0, |&v| extent.unit(d, v));
        let mut up = false;
        for (frame, value) in column.iter().enumerate() {
            let away = (extent.unit(d, *value) - rest).abs();
            up = away > if up { CONTACT_OFF } else { CONTACT_ON };
            out[frame] |= up;
        }
    }
    out
}

/// The phases of an episode.
///
/// `idle` are frame spans, `grips` frames at which a gripper changes side, `touch` says per frame
/// whether there is contact (may be empty), `speeds` has one entry per step.
pub(crate) fn segments(
    frames: usize,
    idle: &[Range<usize>],
    grips: &[usize],
    touch: &[bool],
    speeds: &[f64],
    fps: f64,
) -> Vec<Segment> {
    let count = |seconds: f64| ((seconds * fps).round() as usize).max(1);
    let mut phases = vec![Phase::Move; frames];
    for span in idle {
        phases[span.start.min(frames)..span.end.min(frames)].fill(Phase::Idle);
    }
    for (phase, _) in phases.iter_mut().zip(touch).filter(|(_, t)| **t) {
        *phase = Phase::Contact;
    }
    for &grip in grips {
        let around = grip.saturating_sub(count(GRIP_SECS))..(grip + count(GRIP_SECS)).min(frames);
        phases[around].fill(Phase::Grip);
    }
    let cuts = minima(speeds, count(MINIMUM_SECS));
    let mut out: Vec<Segment> = Vec::new();
    for (frame, &phase) in phases.iter().enumerate() {
        let cut = phase == Phase::Move && cuts.binary_search(&frame).is_ok();
        match out.last_mut() {
            Some(last) if last.phase == phase && !cut => last.end = frame + 1,
            _ => out.push(Segment { start: frame, end: frame + 1, phase }),
        }
    }
    join_short(out, count(SHORTEST_SECS))
}

/// Frames at which the smoothed speed is lowest in its neighbourhood and low in all.
fn minima(speeds: &[f64], half: usize) -> Vec<usize> {
    let smooth: Vec<f64> = (0..speeds.len())
        .map(|i| {
            let window = &speeds[i.saturating_sub(2)..(i + 3).min(speeds.len())];
            window.iter().sum::<f64>() / window.len() as f64
        })
        .collect();
    let mut sorted = smooth.clone();
    sorted.sort_by(f64::total_cmp);
    let Some(high) = sorted.get(sorted.len() * 9 / 10) else { return Vec::new() };
    (half..smooth.len().saturating_sub(half))
        .filter(|&i| {
            let (before, after) = (&smooth[i - half..i], &smooth[i + 1..=i + half]);
            smooth[i] < DEEP * high
                && before.iter().all(|v| *v > smooth[i])
                && after.iter().all(|v| *v >= smooth[i])
        })
        .collect()
}

fn join_short(segments: Vec<Segment>, shortest: usize) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for segment in segments {
        let short = segment.end - segment.start < shortest;
        match out.last_mut() {
            Some(last) if short || last.end - last.start < shortest => {
                // A short beginning takes the phase of what follows.
                if last.end - last.start < shortest {
                    last.phase = segment.phase;
                }
                last.end = segment.end;
            }
            _ => out.push(segment),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(segments: &[Segment]) -> Vec<(usize, usize, Phase)> {
        segments.iter().map(|s| (s.start, s.end, s.phase)).collect()
    }

    #[test]
    fn a_pick_is_idle_reach_grip_carry() {
        // 30 Hz: stands 1 s, reaches in two strokes with a stop at frame 60, grips at 100, carries on.
        let speed = |t: usize| match t {
            0..30 => 0.0,
            _ => (((t - 30) as f64) * std::f64::consts::PI / 30.0).sin().abs(),
        };
        let speeds: Vec<f64> = (0..149).map(speed).collect();
        let idle = 0..30;
        let found = segments(150, std::slice::from_ref(&idle), &[100], &[], &speeds, 30.0);
        assert_eq!(
            plain(&found),
            [
                (0, 30, Phase::Idle),
                (30, 60, Phase::Move),
                (60, 94, Phase::Move),
                (94, 106, Phase::Grip),
                (106, 120, Phase::Move),
                (120, 150, Phase::Move),
            ]
        );
    }

    #[test]
    fn segments_cover_every_frame_once() {
        let speeds: Vec<f64> = (0..299).map(|t| (t as f64 * 0.21).sin().abs()).collect();
        let touch: Vec<bool> = (0..300).map(|t| (t / 17) % 3 == 0).collect();
        let found = segments(300, &[40..80, 200..230], &[55, 60, 290], &touch, &speeds, 30.0);
        assert_eq!((found[0].start, found[found.len() - 1].end), (0, 300));
        assert!(found.windows(2).all(|w| w[0].end == w[1].start));
        assert!(found.iter().all(|s| s.end - s.start >= 6), "{found:?}");
        assert!(segments(0, &[], &[], &[], &[], 30.0).is_empty());
        assert_eq!(plain(&segments(3, &[], &[], &[], &[1.0; 2], 30.0)), [(0, 3, Phase::Move)]);
    }

    #[test]
    fn contact_has_hysteresis_and_counts_from_rest() {
        let values = vec![10.0, 10.0, 4.0, 7.0, 8.0, 9.5, 10.0];
        let extent = Extent { low: vec![0.0], high: vec![10.0] };
        let found = contact(&Series { width: 1, values }, &extent);
        assert_eq!(found, [false, false, true, true, true, false, false]);
        assert!(feels_contact("observation.wrist_Force.z") && !feels_contact("gripper.pos"));
    }
}
