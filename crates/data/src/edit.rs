//! Edits: delete episodes, split, merge, trim, relabel. Each makes a new dataset and leaves its
//! sources alone.
//!
//! Video packets are copied, never encoded again, so what is kept is identical to the bit; a video
//! file of which every episode is kept is taken over whole (a hard link where the disk allows).
//! Tables are written anew, because their indices count over the dataset. An edit that can't be made
//! without encoding is refused, with the place. A split of the source stays a split of the result,
//! so that what was held out stays held out.

mod merge;
mod split;
mod trim;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use embody_core::{AtomicDir, ContentHash, Result, Task};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::format::Info;
use crate::import::{Changes, Labels, copy_changed, rename_tasks, v3_info};
use crate::writer::DatasetWriter;

pub use merge::merge;
pub use split::{Part, split};
pub use trim::{Trim, trim};

/// What an edit did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EditReport {
    /// Where the result stands.
    pub path: PathBuf,
    /// Its episodes.
    pub episodes: usize,
    /// Its frames.
    pub frames: usize,
    /// Video files taken over whole.
    pub files_kept: usize,
    /// Content hashes of the sources.
    pub parents: Vec<ContentHash>,
    /// Content hash of the result.
    pub version: ContentHash,
}

/// Leaves out episodes.
///
/// # Errors
/// When the source is no sound v3.0 dataset, has no such episode, none would be left, or the target
/// exists; nothing is left behind.
pub fn delete(
    source: &Path,
    target: &Path,
    episodes: &[usize],
    task: Task<'_>,
) -> Result<EditReport> {
    let dataset = Dataset::open(source)?;
    for &episode in episodes {
        dataset.episode(episode)?;
    }
    let gone: std::collections::HashSet<usize> = episodes.iter().copied().collect();
    let kept: Vec<usize> = (0..dataset.episodes().len()).filter(|e| !gone.contains(e)).collect();
    if kept.is_empty() {
        return Err(request(
            format!("all {} episodes of {} would be deleted", gone.len(), source.display()),
            "keep at least one",
        ));
    }
    let takes = kept.iter().map(|&e| Take::whole(&dataset, 0, e)).collect();
    let mut sorted: Vec<usize> = gone.into_iter().collect();
    sorted.sort_unstable();
    let edit = Edit {
        sources: std::slice::from_ref(&dataset),
        info: v3_info(dataset.info()),
        takes,
        splits: kept_splits(&dataset, &kept),
        rename: None,
        operation: "delete",
        parameters: json!({"episodes": sorted}),
    };
    edit.into_dataset(target, task)
}

/// Which instructions to change.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Relabel {
    /// Only in these episodes; in all where `None`.
    pub episodes: Option<Vec<usize>>,
    /// Only this instruction; any where `None`.
    pub from: Option<String>,
    /// The new instruction.
    pub to: String,
}

/// Changes instructions. Each frame takes the first of `labels` that fits it.
///
/// # Errors
/// As [`delete`]; also when a label fits no frame.
pub fn relabel(
    source: &Path,
    target: &Path,
    labels: &[Relabel],
    task: Task<'_>,
) -> Result<EditReport> {
    let dataset = Dataset::open(source)?;
    for label in labels {
        for &episode in label.episodes.iter().flatten() {
            dataset.episode(episode)?;
        }
        if label.to.trim().is_empty() {
            return Err(request("the new instruction is empty".to_owned(), "give it some text"));
        }
        let fits = |e: usize, t: &String| label.fits(e, t);
        let used = (0..dataset.episodes().len())
            .any(|e| dataset.episodes()[e].tasks.iter().any(|t| fits(e, t)));
        if !used {
            let from = label.from.as_deref().unwrap_or("");
            return Err(request(
                format!("no chosen episode of {} has the instruction {from:?}", source.display()),
                &format!("it has {:?}", dataset.tasks()),
            ));
        }
    }
    let all: Vec<usize> = (0..dataset.episodes().len()).collect();
    let rename = |episode: usize, old: &str| -> String {
        let label = labels.iter().find(|l| l.fits(episode, old));
        label.map_or_else(|| old.to_owned(), |l| l.to.clone())
    };
    let edit = Edit {
        sources: std::slice::from_ref(&dataset),
        info: v3_info(dataset.info()),
        takes: all.iter().map(|&e| Take::whole(&dataset, 0, e)).collect(),
        splits: kept_splits(&dataset, &all),
        rename: Some(&rename),
        operation: "relabel",
        parameters: json!({"labels": labels}),
    };
    edit.into_dataset(target, task)
}

impl Relabel {
    fn fits(&self, episode: usize, task: &str) -> bool {
        self.episodes.as_ref().is_none_or(|list| list.contains(&episode))
            && self.from.as_ref().is_none_or(|from| from == task)
    }
}

/// Episode indices from text such as `3,5-7,90-`; ascending, each once.
///
/// # Errors
/// When it is no such list, or names an episode that is not among `total`.
pub fn parse_episodes(text: &str, total: usize) -> Result<Vec<usize>> {
    let mut out = std::collections::BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let bad = || {
            request(
                format!("{part:?} is no list of episodes"),
                "write indices and ranges, both ends included, such as 3,5-7,90-",
            )
        };
        let number = |t: &str| t.trim().parse::<usize>().map_err(|_| bad());
        let (from, to) = match part.split_once('-') {
            Some((from, "")) => (number(from)?, total.saturating_sub(1)),
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(part)?, number(part)?),
        };
        if from > to || to >= total {
            return Err(request(
                format!("there is no episode {}", if to >= total { to.max(from) } else { from }),
                &format!("there are episodes 0 to {}", total.saturating_sub(1)),
            ));
        }
        out.extend(from..=to);
    }
    Ok(out.into_iter().collect())
}

fn request(why: String, hint: &str) -> embody_core::Error {
    DataError::Request { why, hint: hint.to_owned() }.into()
}

/// One episode of the result: frames `keep` of an episode of a source.
#[derive(Debug, Clone, PartialEq)]
struct Take {
    source: usize,
    episode: usize,
    keep: Range<usize>,
}

impl Take {
    fn whole(dataset: &Dataset, source: usize, episode: usize) -> Self {
        Self { source, episode, keep: 0..dataset.episodes()[episode].length }
    }
}

/// New instruction of an old one in an episode of the only source.
type Rename<'a> = &'a dyn Fn(usize, &str) -> String;

/// An edit worked out: what to take, in which order.
struct Edit<'a> {
    sources: &'a [Dataset],
    info: Info,
    takes: Vec<Take>,
    splits: IndexMap<String, String>,
    rename: Option<Rename<'a>>,
    operation: &'a str,
    parameters: serde_json::Value,
}

impl Edit<'_> {
    /// Makes the dataset stand at `target`.
    fn into_dataset(self, target: &Path, task: Task<'_>) -> Result<EditReport> {
        let staging = begin(target)?;
        let mut report = self.write(staging.path(), task)?;
        report.path = staging.commit()?;
        Ok(report)
    }

    /// Writes the dataset into an empty folder.
    fn write(self, root: &Path, task: Task<'_>) -> Result<EditReport> {
        let mut writer = DatasetWriter::new(root, self.info.clone());
        let keys: Vec<String> = self.info.video_keys().map(str::to_owned).collect();
        let links: Vec<Vec<Option<bool>>> =
            keys.iter().map(|key| linked(self.sources, &self.takes, key)).collect();
        task.begin(self.operation, Some(self.takes.len() as u64), "episodes");
        for (number, take) in self.takes.iter().enumerate() {
            let linked = keys
                .iter()
                .zip(&links)
                .filter_map(|(key, links)| Some((key.as_str(), links[number]?)))
                .collect();
            let mut relabel = |labels: &mut Labels| {
                if let Some(rename) = self.rename {
                    rename_tasks(labels, &|old| rename(take.episode, old));
                }
            };
            let changes = Changes { relabel: Some(&mut relabel), linked, encode: None };
            let source = &self.sources[take.source];
            copy_changed(source, take.episode, Some(take.keep.clone()), changes, &mut writer)?;
            task.advance(self.operation, number as u64 + 1, "")?;
        }
        task.end(self.operation);
        let parents: Vec<ContentHash> =
            self.sources.iter().map(Dataset::version).collect::<Result<_>>()?;
        writer.merged(parents.get(1..).unwrap_or_default());
        let (episodes, files_kept) = (writer.episodes(), writer.linked());
        let frames = self.takes.iter().map(|t| t.keep.len()).sum();
        let (lineage, _) = writer.finish(
            self.splits,
            parents.first().cloned(),
            self.operation,
            self.parameters,
            task,
        )?;
        let (path, version) = (root.to_owned(), lineage.version);
        Ok(EditReport { path, episodes, frames, files_kept, parents, version })
    }
}

/// Starts the result; what stands at the target already is not replaced.
fn begin(target: &Path) -> Result<AtomicDir> {
    if target.exists() {
        return Err(request(
            format!("{} exists already", target.display()),
            "name another folder, or remove that one first",
        ));
    }
    AtomicDir::begin(target, false)
}

/// Of each take: whether its video of `key` stays in its file, which is taken over whole; true at the
/// first episode of a file.
fn linked(sources: &[Dataset], takes: &[Take], key: &str) -> Vec<Option<bool>> {
    let mut out = vec![None; takes.len()];
    // A merge of many small files packs them into large ones instead.
    let enough = |source: &Dataset, bytes: u64| {
        let limit = source.info().video_files_size_in_mb.unwrap_or(200.0) * 1024.0 * 1024.0;
        sources.len() == 1 || bytes as f64 >= limit / 4.0
    };
    let by_file: Vec<HashMap<&Path, Vec<usize>>> =
        sources.iter().map(|source| episodes_by_file(source, key)).collect();
    let mut at = 0;
    while let Some(take) = takes.get(at) {
        let source = &sources[take.source];
        let span = source.episodes().get(take.episode).and_then(|e| e.videos.get(key));
        let all = span.and_then(|s| by_file[take.source].get(s.file.as_path()));
        let count = all.filter(|all| {
            let same = |(t, &e): (&Take, &usize)| *t == Take::whole(source, take.source, e);
            takes[at..].len() >= all.len()
                && takes[at..].iter().zip(all.iter()).all(same)
                && span.is_some_and(|s| holds_only(source, &s.file, all))
                && span.is_some_and(|s| {
                    std::fs::metadata(&s.file).is_ok_and(|m| enough(source, m.len()))
                })
        });
        match count.map(Vec::len) {
            Some(count) => {
                out[at] = Some(true);
                out[at + 1..at + count].fill(Some(false));
                at += count;
            }
            None => at += 1,
        }
    }
    out
}

/// Episodes of each video file, in the order in which they stand in it.
fn episodes_by_file<'a>(dataset: &'a Dataset, key: &str) -> HashMap<&'a Path, Vec<usize>> {
    let mut out: HashMap<&Path, Vec<(f64, usize)>> = HashMap::new();
    for (number, episode) in dataset.episodes().iter().enumerate() {
        if let Some(span) = episode.videos.get(key) {
            out.entry(&span.file).or_default().push((span.from_timestamp, number));
        }
    }
    out.into_iter()
        .map(|(file, mut list)| {
            list.sort_by(|a, b| a.0.total_cmp(&b.0));
            (file, list.into_iter().map(|e| e.1).collect())
        })
        .collect()
}

/// Whether a video file holds the frames of these episodes and no others.
fn holds_only(dataset: &Dataset, file: &Path, episodes: &[usize]) -> bool {
    let frames: usize = episodes.iter().map(|&e| dataset.episodes()[e].length).sum();
    dataset.video(file).is_ok_and(|video| video.len() == frames)
}

/// The source's splits in terms of the kept episodes, which are in ascending order.
fn kept_splits(dataset: &Dataset, kept: &[usize]) -> IndexMap<String, String> {
    let info = dataset.info();
    let mut out = IndexMap::new();
    for name in info.splits.keys() {
        let Some(range) = info.split(name).filter(|r| r.end <= dataset.episodes().len()) else {
            continue;
        };
        let start = kept.partition_point(|&e| e < range.start);
        let end = kept.partition_point(|&e| e < range.end);
        if start < end {
            out.insert(name.clone(), format!("{start}:{end}"));
        }
    }
    out
}
