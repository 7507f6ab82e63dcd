//! Trim: cut frames off the ends of episodes.

use std::ops::Range;
use std::path::Path;

use embody_core::{Result, Task};
use serde::Serialize;
use serde_json::json;

use super::{Edit, EditReport, Take, kept_splits, request};
use crate::dataset::Dataset;
use crate::import::v3_info;

/// Which frames of an episode stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trim {
    /// Episode index.
    pub episode: usize,
    /// Frames that stay.
    pub keep: Range<usize>,
}

impl Trim {
    /// From text such as `3=20:180`, `3=20:` or `3=:180` (the end is not included).
    ///
    /// # Errors
    /// When it is no such text, or beyond the episode.
    pub fn parse(text: &str, dataset: &Dataset) -> Result<Self> {
        let bad = || {
            let hint = "write EPISODE=FROM:TO, the frames to keep, such as 3=20:180";
            request(format!("{text:?} is no cut"), hint)
        };
        let (episode, frames) = text.split_once('=').ok_or_else(bad)?;
        let (from, to) = frames.split_once(':').ok_or_else(bad)?;
        let episode = episode.trim().parse().map_err(|_| bad())?;
        let number = |text: &str, default: usize| match text.trim() {
            "" => Ok(default),
            text => text.parse().map_err(|_| bad()),
        };
        let length = dataset.episode(episode)?.length;
        Ok(Self { episode, keep: number(from, 0)?..number(to, length)? })
    }
}

/// Keeps only some frames of some episodes; the others stay whole.
///
/// Video can be cut without loss where a key frame stands. A cut elsewhere is moved back to the key
/// frame before it where `on_key_frames` says so, else refused.
///
/// # Errors
/// When frames do not exist, a cut needs encoding, or as [`super::delete`]; nothing is left behind.
pub fn trim(
    source: &Path,
    target: &Path,
    cuts: &[Trim],
    on_key_frames: bool,
    task: Task<'_>,
) -> Result<EditReport> {
    let dataset = Dataset::open(source)?;
    let all: Vec<usize> = (0..dataset.episodes().len()).collect();
    let mut takes: Vec<Take> = all.iter().map(|&e| Take::whole(&dataset, 0, e)).collect();
    for cut in cuts {
        let length = dataset.episode(cut.episode)?.length;
        let Range { start, end } = cut.keep;
        if start >= end || end > length {
            return Err(request(
                format!("episode {}: there are no frames {start} to {end}", cut.episode),
                &format!("it has frames 0 to {length}; the end is not included"),
            ));
        }
        let start = key_frame(&dataset, cut, on_key_frames)?;
        takes[cut.episode].keep = start..end;
    }
    let cuts: Vec<Trim> =
        cuts.iter().map(|c| Trim { keep: takes[c.episode].keep.clone(), ..c.clone() }).collect();
    let edit = Edit {
        sources: std::slice::from_ref(&dataset),
        info: v3_info(dataset.info()),
        takes,
        splits: kept_splits(&dataset, &all),
        rename: None,
        operation: "trim",
        parameters: json!({"keep": cuts}),
    };
    edit.into_dataset(target, task)
}

/// The frame at which a cut can be made.
fn key_frame(dataset: &Dataset, cut: &Trim, move_back: bool) -> Result<usize> {
    let start = cut.keep.start;
    if start == 0 {
        return Ok(0);
    }
    let sync = dataset.key_frames(cut.episode)?;
    if sync.get(start) == Some(&true) {
        return Ok(start);
    }
    let before = (0..start).rev().find(|&f| sync[f]).unwrap_or(0);
    if move_back {
        return Ok(before);
    }
    let after = (start..cut.keep.end).find(|&f| sync[f]).unwrap_or(cut.keep.end);
    Err(request(
        format!(
            "episode {}: frame {start} is no key frame; to begin there, frames {start} to {} would \
             have to be encoded again",
            cut.episode,
            after - 1
        ),
        &format!("begin at frame {before} (on key frames: --key-frames) or at frame {after}"),
    ))
}
