//! What is said of an episode after it was recorded: score, sampling weight, labelled segments.
//!
//! They stand in columns of the episode table whose names begin with `embody/`, which LeRobot ignores,
//! and travel with the episode through every edit. The trainer's sampler reads weights through
//! [`Dataset::sampling_weights`].

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Dataset;

/// What is said of an episode.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Annotations {
    /// A classifier's score of success, 0-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// How much more often than weight 1 its frames are drawn in training; 1 where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Labelled stretches, by rising start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentLabel>,
}

/// A labelled stretch of an episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentLabel {
    /// First frame.
    pub start: usize,
    /// One past the last frame.
    pub end: usize,
    /// What it is, such as a phase or a skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The instruction that its frames carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Whether it achieved what it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
}

impl Annotations {
    /// The annotations of some of the frames: segments are cut to them and count from their start.
    #[must_use]
    pub fn within(&self, frames: &Range<usize>) -> Self {
        let cut = |s: &SegmentLabel| {
            let (start, end) = (s.start.max(frames.start), s.end.min(frames.end));
            let moved = |at: usize| at - frames.start;
            (start < end).then(|| SegmentLabel {
                start: moved(start),
                end: moved(end),
                ..s.clone()
            })
        };
        Self { segments: self.segments.iter().filter_map(cut).collect(), ..self.clone() }
    }
}

impl Dataset {
    /// Sampling weight of each episode, 1 where none was given: a sampler draws a frame of episode
    /// `e` with probability `w[e] / Σ w[i] · frames[i]`.
    pub fn sampling_weights(&self) -> Vec<f64> {
        self.episodes().iter().map(|e| e.annotations.weight.unwrap_or(1.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_a_cut() {
        let segment =
            |start, end| SegmentLabel { start, end, label: None, task: None, success: None };
        let all = Annotations {
            segments: vec![segment(0, 10), segment(10, 30), segment(30, 40)],
            ..Default::default()
        };
        let part = all.within(&(12..35));
        assert_eq!(part.segments, [segment(0, 18), segment(18, 23)]);
    }
}
