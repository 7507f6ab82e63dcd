//! From times to episodes: where they begin and end, and which messages make each frame.

use std::ops::Range;

use embody_core::Result;

use super::align::{Pick, align, frames_between, tick};
use super::survey::{Part, Survey};
use crate::error::DataError;
use crate::finding::Finding;
use crate::log::Log;
use crate::mapping::{EpisodesBy, Mapping, Method, Stale};
use crate::message::Value;

/// Most frames of an episode; more means a jump of a clock.
const FRAME_LIMIT: usize = 20_000_000;

/// An episode to be written.
pub(super) struct Episode {
    pub task: String,
    /// Whether it succeeded, where the log says so.
    pub success: Option<bool>,
    pub frames: usize,
    /// First frame's time and last frame's.
    pub window: (i64, i64),
    /// By part, then by frame.
    pub picks: Vec<Vec<Pick>>,
    /// By stream: messages (by rank) that belong to it, for keeping the original.
    pub kept: Vec<Range<usize>>,
}

/// A stretch of a log.
struct Segment {
    from: i64,
    to: i64,
    /// Whether values from before `from` may be held.
    open: bool,
    /// Whether its ends are known to be right: kept streams say them.
    fixed: bool,
}

/// Cuts a surveyed log into episodes.
pub(super) fn episodes(log: &Log, survey: &mut Survey, mapping: &Mapping) -> Result<Vec<Episode>> {
    let mut out = Vec::new();
    for (number, segment) in segments(survey, mapping).into_iter().enumerate() {
        match frame_up(log, survey, mapping, &segment)? {
            Ok(episodes) => out.extend(episodes),
            Err(why) => {
                let text = format!("segment {number} of the log gives no episode: {why}");
                let name = log.path().file_name().unwrap_or_default().to_string_lossy();
                survey.findings.push(Finding::warning("episode-incomplete", text).file(name));
            }
        }
    }
    Ok(out)
}

fn segments(survey: &Survey, mapping: &Mapping) -> Vec<Segment> {
    match mapping.episodes.by {
        EpisodesBy::File => vec![match window_of(survey) {
            Some((from, to)) => Segment { from, to, open: true, fixed: true },
            None => Segment { from: i64::MIN, to: i64::MAX, open: false, fixed: false },
        }],
        EpisodesBy::Gap => {
            let gap = (mapping.episodes.gap_secs.unwrap_or(1.0) * 1e9).min(9e18) as i64;
            let mut times: Vec<i64> = survey
                .streams
                .iter()
                .enumerate()
                .filter(|(i, _)| survey.parts.iter().any(|p| p.stream == *i))
                .flat_map(|(_, s)| s.times.iter().copied())
                .collect();
            times.sort_unstable();
            let mut out: Vec<Segment> = Vec::new();
            for time in times {
                match out.last_mut() {
                    Some(last) if time.saturating_sub(last.to) <= gap => last.to = time,
                    _ => out.push(Segment { from: time, to: time, open: false, fixed: false }),
                }
            }
            out
        }
        EpisodesBy::Topic => {
            let (begin, end) = (&mapping.episodes.begin, &mapping.episodes.end);
            let mut out = Vec::new();
            let mut open = None;
            for (time, value) in &survey.events {
                let begins = begin.as_ref().is_some_and(|b| same(b, value));
                let ends = end.as_ref().map_or(!begins, |e| same(e, value));
                if let Some(from) = open.filter(|_| ends) {
                    // What is at the very time of the end is no longer part of it.
                    let to = time.saturating_sub(1);
                    out.push(Segment { from, to, open: true, fixed: false });
                    open = None;
                }
                if begins && open.is_none() {
                    open = Some(*time);
                }
            }
            out.extend(open.map(|from| Segment { from, to: i64::MAX, open: true, fixed: false }));
            out
        }
    }
}

/// The window that a kept stream brings along (see [`super::streams`]).
fn window_of(survey: &Survey) -> Option<(i64, i64)> {
    let stream = survey.streams.first()?;
    let (from, to) = stream.channel.metadata.get(super::streams::WINDOW)?.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// Whether a value in the mapping is that of a message.
fn same(wanted: &toml::Value, value: &Value) -> bool {
    match (wanted, value) {
        (toml::Value::String(a), Value::Text(b)) => a == b,
        (toml::Value::Boolean(a), Value::Ints(b)) => b[..] == [i64::from(*a)],
        (toml::Value::Integer(a), Value::Ints(b)) => b[..] == [*a],
        (toml::Value::Integer(a), Value::Floats(b)) => b[..] == [*a as f64],
        (toml::Value::Float(a), Value::Floats(b)) => b[..] == [*a],
        (toml::Value::Float(a), Value::Ints(b)) => b.len() == 1 && b[0] as f64 == *a,
        _ => false,
    }
}

/// Messages of a part's stream that a segment may use, by rank.
fn usable(survey: &Survey, stream: usize, segment: &Segment) -> Range<usize> {
    let times = &survey.streams[stream].times;
    if segment.open {
        return 0..times.len();
    }
    times.partition_point(|&t| t < segment.from)..times.partition_point(|&t| t <= segment.to)
}

/// First and last time for which every part has a value; or why there is none.
fn window(survey: &Survey, segment: &Segment) -> std::result::Result<(i64, i64), String> {
    let (mut start, mut end, mut last_any) = (segment.from, segment.to, i64::MIN);
    let mut bounded = false;
    for part in &survey.parts {
        let stream = &survey.streams[part.stream];
        let times = &stream.times[usable(survey, part.stream, segment)];
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Err(format!("{} has no message in it", stream.topic));
        };
        start = start.max(first);
        last_any = last_any.max(last);
        let until = match (part.method, part.max_age) {
            (Method::Latest, None) => continue,
            (Method::Latest, Some(age)) => last.saturating_add(age),
            _ => last,
        };
        end = end.min(until);
        bounded = true;
    }
    if segment.fixed {
        return Ok((segment.from, segment.to));
    }
    if !bounded {
        end = end.min(last_any);
    }
    // What is held may outlast every message, but not make frames without end.
    end = end.min(last_any);
    if start > end {
        return Err("its streams do not overlap in time".to_owned());
    }
    Ok((start, end))
}

fn frame_up(
    log: &Log,
    survey: &Survey,
    mapping: &Mapping,
    segment: &Segment,
) -> Result<std::result::Result<Vec<Episode>, String>> {
    let (start, end) = match window(survey, segment) {
        Ok(window) => window,
        Err(why) => return Ok(Err(why)),
    };
    let fps = mapping.fps;
    let frames = frames_between(start, end, fps);
    if frames > FRAME_LIMIT {
        return Err(DataError::Request {
            why: format!(
                "{}: an episode from {start} to {end} ns would have {frames} frames",
                log.path().display()
            ),
            hint: "a clock jumps: try another `clock` in the mapping, or episodes by gap"
                .to_owned(),
        }
        .into());
    }
    let picks: Vec<Vec<Pick>> = survey
        .parts
        .iter()
        .map(|part| {
            let range = usable(survey, part.stream, segment);
            let times = &survey.streams[part.stream].times[range.clone()];
            let ticks = (0..frames).map(|k| tick(start, fps, k));
            let mut picks = align(times, ticks, part.method, part.max_age);
            for pick in &mut picks {
                pick.a += range.start;
                pick.b += range.start;
            }
            picks
        })
        .collect();
    let runs = runs(log, survey, mapping, &picks, frames, start)?;
    let whole = runs.len() == 1 && runs[0].len() == frames && !segment.open;
    let task = task_at(survey, mapping, end)?;
    let success = success_from(survey, start);
    Ok(Ok(runs
        .into_iter()
        .map(|run| {
            let picks: Vec<Vec<Pick>> = picks.iter().map(|p| p[run.clone()].to_vec()).collect();
            let window = (tick(start, fps, run.start), tick(start, fps, run.end - 1));
            let kept = (0..survey.streams.len())
                .map(|s| {
                    if whole || mapping.episodes.by == EpisodesBy::File && run.len() == frames {
                        usable(survey, s, segment)
                    } else {
                        used(survey, &picks, s, window)
                    }
                })
                .collect();
            Episode { task: task.clone(), success, frames: run.len(), window, picks, kept }
        })
        .collect()))
}

/// Messages of stream `s` that an episode uses: chosen ones and those between; of streams that only
/// say something about it, those in its time.
fn used(survey: &Survey, picks: &[Vec<Pick>], s: usize, window: (i64, i64)) -> Range<usize> {
    let of_stream = survey.parts.iter().zip(picks).filter(|(part, _)| part.stream == s);
    let range = of_stream.fold(None, |range: Option<Range<usize>>, (_, picks)| {
        let first = picks.iter().map(|p| p.a).min()?;
        let last = picks.iter().map(|p| p.b).max()? + 1;
        Some(match range {
            Some(range) => range.start.min(first)..range.end.max(last),
            None => first..last,
        })
    });
    range.unwrap_or_else(|| {
        let times = &survey.streams[s].times;
        times.partition_point(|&t| t < window.0)..times.partition_point(|&t| t <= window.1)
    })
}

/// Stretches of frames to be kept, as the rule on stale values says.
fn runs(
    log: &Log,
    survey: &Survey,
    mapping: &Mapping,
    picks: &[Vec<Pick>],
    frames: usize,
    start: i64,
) -> Result<Vec<Range<usize>>> {
    let stale = |k: usize| survey.parts.iter().zip(picks).find(|(_, p)| p[k].stale);
    let whole = || std::iter::once(0..frames).collect();
    match mapping.episodes.stale {
        Stale::Hold => Ok(whole()),
        Stale::Fail => match (0..frames).find_map(|k| stale(k).map(|found| (k, found))) {
            None => Ok(whole()),
            Some((k, (part, picks))) => {
                let Part { key, stream, .. } = part;
                Err(DataError::Request {
                    why: format!(
                        "{}: at {:.3} s the newest message of {:?} for {key} is {:.3} s away",
                        log.path().display(),
                        (tick(start, mapping.fps, k) - start) as f64 / 1e9,
                        survey.streams[*stream].topic,
                        picks[k].age as f64 / 1e9
                    ),
                    hint:
                        "allow it with stale = \"hold\" or cut there with \"split\", in [episodes]"
                            .to_owned(),
                }
                .into())
            }
        },
        Stale::Split => {
            let mut out: Vec<Range<usize>> = Vec::new();
            for k in (0..frames).filter(|&k| stale(k).is_none()) {
                match out.last_mut() {
                    Some(run) if run.end == k => run.end += 1,
                    _ => out.push(k..k + 1),
                }
            }
            Ok(out)
        }
    }
}

/// The first judgement from `start` on.
fn success_from(survey: &Survey, start: i64) -> Option<bool> {
    let (_, said) = survey.outcomes.iter().find(|(time, _)| *time >= start)?;
    match said {
        Value::Ints(truth) => Some(truth.first().copied()? != 0),
        _ => None,
    }
}

/// The instruction of an episode that ends at `end`.
fn task_at(survey: &Survey, mapping: &Mapping, end: i64) -> Result<String> {
    let kept = survey.streams.first().and_then(|s| s.channel.metadata.get(super::streams::TASK));
    if let Some(task) = kept.or(mapping.task.as_ref()) {
        return Ok(task.clone());
    }
    let said = survey.tasks.iter().rev().find(|(time, _)| *time <= end).or(survey.tasks.first());
    match said {
        Some((_, Value::Text(text))) => Ok(text.clone()),
        Some(_) => Err(mapping
            .error("task_from", "the field of task_from is no text".to_owned(), "name a string")
            .into()),
        None => {
            let why = "there is no instruction for the episodes".to_owned();
            let hint = "add task = \"what the robot does\", or [task_from] with topic and field";
            Err(mapping.error("task", why, hint).into())
        }
    }
}
