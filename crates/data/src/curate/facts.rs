//! The names under which expressions, tables and pages know an episode's measures, with their units.
//!
//! One list ([`FACTS`]) is the only place where a name is given; a filter, the help and the page read
//! it from here.

use super::survey::{CameraMeasures, EpisodeMeasures};

/// The value of a named measure; `None` where it does not apply to the episode.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A number.
    Number(Option<f64>),
    /// A truth value.
    Flag(Option<bool>),
    /// A text.
    Text(String),
}

/// A named measure.
pub struct FactName {
    /// Its name in expressions.
    pub name: &'static str,
    /// What it is, with unit and range.
    pub about: &'static str,
    /// Whether pictures have to be decoded for it.
    pub pictures: bool,
    /// Its value.
    pub of: fn(&EpisodeMeasures) -> Fact,
}

fn number(value: impl Into<Option<f64>>) -> Fact {
    Fact::Number(value.into())
}

fn cameras(m: &EpisodeMeasures, worst: fn(&CameraMeasures) -> f64) -> Fact {
    let looked = m.cameras.values().filter(|c| c.broken.is_none());
    Fact::Number(looked.map(worst).reduce(f64::max))
}

fn count(m: &EpisodeMeasures, is: fn(&CameraMeasures) -> bool) -> Fact {
    number(m.cameras.values().filter(|c| is(c)).count() as f64)
}

const fn table(
    name: &'static str,
    about: &'static str,
    of: fn(&EpisodeMeasures) -> Fact,
) -> FactName {
    FactName { name, about, pictures: false, of }
}

const fn picture(
    name: &'static str,
    about: &'static str,
    of: fn(&EpisodeMeasures) -> Fact,
) -> FactName {
    FactName { name, about, pictures: true, of }
}

/// Every named measure of an episode.
pub static FACTS: &[FactName] = &[
    table("episode", "index in the dataset", |m| number(m.episode as f64)),
    table("frames", "number of frames", |m| number(m.frames as f64)),
    table("seconds", "length, s", |m| number(m.seconds)),
    table("task", "instruction; several are joined by a line break", |m| {
        Fact::Text(m.tasks.join("\n"))
    }),
    table("success", "whether the task was achieved; null where nobody judged", |m| {
        Fact::Flag(m.success)
    }),
    table("score", "a classifier's score of success, 0-1, as annotated", |m| number(m.score)),
    table("total_reward", "sum of rewards, where recorded", |m| number(m.total_reward)),
    table("synthetic", "whether it was made from another episode, not acted", |m| {
        Fact::Flag(Some(m.variation.is_some()))
    }),
    table(
        "variation",
        "how a synthetic episode was made: appearance, placement; else empty",
        |m| Fact::Text(m.variation.as_ref().map(|v| v.kind.clone()).unwrap_or_default()),
    ),
    table("source_episode", "episode that a synthetic one was made from, else null", |m| {
        number(m.variation.as_ref().map(|v| v.source_episode as f64))
    }),
    picture("quality", "geometric mean of the parts of quality, 0-1", |m| number(m.quality.score)),
    table("finite", "whether every value is finite", |m| Fact::Flag(Some(m.non_finite.is_none()))),
    table("idle_fraction", "share of steps without motion, 0-1", |m| number(m.idle_fraction)),
    table("longest_idle_seconds", "longest stretch without motion, s", |m| {
        let longest = m.idle_spans.iter().map(|s| s.len() - 1).max().unwrap_or(0);
        number(longest as f64 * m.seconds / m.frames.max(1) as f64)
    }),
    table("duplicate_fraction", "share of rows in motion that repeat the row before, 0-1", |m| {
        number(m.duplicate_fraction)
    }),
    table("velocity_spikes", "jumps of a joint in position", |m| {
        number(m.velocity_spikes.len() as f64)
    }),
    table(
        "jerk_spikes",
        "jumps of a joint in acceleration",
        |m| number(m.jerk_spikes.len() as f64),
    ),
    table("log_jerk", "log dimensionless jerk; nearer to 0 is smoother", |m| number(m.log_jerk)),
    table("lag_seconds", "by how much observations trail actions, s; null where unknown", |m| {
        number(m.lag.as_ref().map(|l| l.seconds))
    }),
    table("lag_confidence", "correlation at that lag, 0.5-1", |m| {
        number(m.lag.as_ref().map(|l| l.confidence))
    }),
    table("gripper_moves", "changes between open and closed; null without gripper", |m| {
        number(m.gripper.as_ref().map(|g| g.moves as f64))
    }),
    table("gripper_chatter", "changes within 0.3 s of the one before", |m| {
        number(m.gripper.as_ref().map(|g| g.chatter as f64))
    }),
    table("gripper_travel", "share of the gripper's range that was used, 0-1", |m| {
        number(m.gripper.as_ref().map(|g| g.travel))
    }),
    table("length_z", "robust z-score of the length among all episodes", |m| number(m.length_z)),
    picture(
        "duplicate_of",
        "lowest earlier episode that this one nearly repeats, else null",
        |m| {
            let same = m.nearest.as_ref().filter(|n| n.same && n.episode < m.episode);
            number(same.map(|n| n.episode as f64))
        },
    ),
    table(
        "nearest_distance",
        "distance to the nearest other episode, fraction of the range",
        |m| number(m.nearest.as_ref().map(|n| n.distance)),
    ),
    picture("sharpness", "sharpness over the camera's median, worst camera", |m| {
        let ratios = m.cameras.values().filter_map(|c| c.relative_sharpness);
        Fact::Number(ratios.reduce(f64::min))
    }),
    picture("dark_fraction", "share of dark pictures (mean level < 25), worst camera, 0-1", |m| {
        cameras(m, |c| c.dark)
    }),
    picture("bright_fraction", "share of bright pictures (mean level > 230), worst camera", |m| {
        cameras(m, |c| c.bright)
    }),
    picture("clipped_fraction", "share of pixels at the ends of the scale, worst camera", |m| {
        cameras(m, |c| c.clipped)
    }),
    picture("repeated_fraction", "share of repeated pictures in motion, worst camera, 0-1", |m| {
        cameras(m, |c| c.repeated)
    }),
    picture("black_cameras", "cameras that are black throughout", |m| count(m, |c| c.black)),
    picture("frozen_cameras", "cameras that hang while the robot moves", |m| {
        count(m, |c| c.frozen)
    }),
    picture("broken_cameras", "cameras with missing or damaged frames", |m| {
        count(m, |c| c.broken.is_some())
    }),
];
