//! The plan: of each episode whether it stays, which of its frames, with which weight, and why.
//!
//! A plan only reads. [`crate::process()`] carries one out; `embody data curate` shows one. The same
//! options give the same plan, whatever the number of threads and whether it is carried out or not.

use std::ops::Range;
use std::path::Path;

use embody_core::{ContentHash, Result, Task};
use serde::Serialize;

use super::filter::Filter;
use super::remarks::{Remark, percent, remarks};
use super::survey::{DriftMeasures, EpisodeMeasures, Look, Survey, SurveyOptions, survey};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::process::ProcessOptions;

/// What is to be done with an episode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedEpisode {
    /// Whether it stays.
    pub keep: bool,
    /// Why it is left out; empty where it stays.
    pub reasons: Vec<String>,
    /// Frames that stay; less than all where idle ends are trimmed.
    pub frames: Range<usize>,
    /// How much more often than weight 1 its frames are to be drawn in training; `None` where no
    /// expression was given.
    pub weight: Option<f64>,
    /// What is remarkable about it, whether it stays or not.
    pub remarks: Vec<Remark>,
    /// Its measures.
    pub measures: EpisodeMeasures,
}

/// What is to be done with a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Content hash of the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentHash>,
    /// By episode.
    pub episodes: Vec<PlannedEpisode>,
    /// Dimensions whose start pose drifts.
    pub drift: Vec<DriftMeasures>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

impl Plan {
    /// Indices of the episodes that stay.
    pub fn kept(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.episodes.len()).filter(|&e| self.episodes[e].keep)
    }

    /// Frames that stay.
    pub fn frames(&self) -> usize {
        self.kept().map(|e| self.episodes[e].frames.len()).sum()
    }

    /// The survey it rests on.
    pub fn survey(&self) -> Survey {
        Survey {
            episodes: self.episodes.iter().map(|e| e.measures.clone()).collect(),
            drift: self.drift.clone(),
            notes: self.notes.clone(),
        }
    }
}

/// Measures every episode of the dataset at `source`, pictures included, and says what `options`
/// would keep, drop and trim. Nothing is written. Older versions of the layout are planned too.
///
/// # Errors
/// When the dataset can't be read, options make no sense, or an expression is wrong.
pub fn plan(source: &Path, options: &ProcessOptions, look: Look, task: Task<'_>) -> Result<Plan> {
    let dataset = Dataset::open_any(source)?;
    let mut plan = make(&dataset, options, look, task)?;
    plan.version = Some(dataset.version()?);
    Ok(plan)
}

/// As [`plan`], for an open dataset; looks at video at least as closely as the options need.
pub(crate) fn make(
    dataset: &Dataset,
    options: &ProcessOptions,
    look: Look,
    task: Task<'_>,
) -> Result<Plan> {
    options.check(dataset)?;
    let parse = |what: &str, text: &Option<String>| {
        text.as_deref().map(|text| Filter::parse(what, text)).transpose()
    };
    let keep = parse("keep", &options.keep)?;
    let weight = parse("weight", &options.weight)?;
    let decode = [&keep, &weight].into_iter().flatten().any(Filter::needs_pictures);
    let video = match look {
        _ if decode => Look::Pictures,
        Look::None if options.drop_broken_video => Look::Index,
        look => look,
    };
    let measure = SurveyOptions {
        video,
        idle_threshold: options.idle_threshold,
        action_key: options.action_key.clone(),
        ..SurveyOptions::default()
    };
    let Survey { episodes, drift, notes } = survey(dataset, &measure, task)?;
    let episodes = episodes
        .into_iter()
        .map(|m| verdict(dataset, options, keep.as_ref(), weight.as_ref(), m))
        .collect::<Result<_>>()?;
    Ok(Plan { version: None, episodes, drift, notes })
}

fn verdict(
    dataset: &Dataset,
    options: &ProcessOptions,
    keep: Option<&Filter>,
    weight: Option<&Filter>,
    m: EpisodeMeasures,
) -> Result<PlannedEpisode> {
    let mut reasons = Vec::new();
    let mut frames = 0..m.frames;
    if options.drop_failed && m.success == Some(false) {
        reasons.push("the task was not achieved".to_owned());
    }
    if options.drop_broken_video {
        reasons.extend(m.cameras.values().filter_map(|c| c.broken.clone()));
    }
    if let Some(bad) = &m.non_finite {
        let text = format!(
            "{}, dimension {}, is not finite at frame {}",
            bad.feature, bad.dimension, bad.frame
        );
        if !options.drop_non_finite {
            return Err(DataError::Inconsistent {
                path: dataset.episodes()[m.episode].rows.file.clone(),
                why: format!("episode {}: {text}", m.episode),
                hint: "leave such episodes out with drop_non_finite",
            }
            .into());
        }
        reasons.push(text);
    } else if m.idle_fraction > options.max_idle_fraction {
        reasons.push(format!(
            "{} of frames are idle, more than {}",
            percent(m.idle_fraction),
            percent(options.max_idle_fraction)
        ));
    } else if options.trim_idle && reasons.is_empty() {
        frames = trimmed(dataset, &m, options.idle_margin)?;
    }
    if frames.len() < options.min_frames {
        reasons.push(format!("{} frames, fewer than {}", frames.len(), options.min_frames));
    }
    if let Some(filter) = keep
        && !filter.holds(dataset, &m)?
    {
        reasons.push(format!("not kept by the expression: {}", filter.explain(&m)));
    }
    let weight = weight.map(|w| w.number(dataset, &m)).transpose()?;
    if weight == Some(0.0) {
        reasons.push("its weight is 0".to_owned());
    }
    let remarks = remarks(&m);
    Ok(PlannedEpisode { keep: reasons.is_empty(), reasons, frames, weight, remarks, measures: m })
}

/// The frames from the first step that moves to the last, and `margin` more at each end; the start
/// lies on a key frame, so that no picture is encoded again.
fn trimmed(dataset: &Dataset, m: &EpisodeMeasures, margin: usize) -> Result<Range<usize>> {
    let end = (m.active.end + margin).min(m.frames);
    let start = m.active.start.saturating_sub(margin);
    let start = if start == 0 { 0 } else { dataset.key_frame_before(m.episode, start)? };
    Ok(start..end)
}
