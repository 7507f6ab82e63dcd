//! Decoded pictures of one camera: in memory, or in a cache file that a later run maps again.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use embody_core::{IoContext, Result, Task, hash_bytes};
use memmap2::Mmap;
use rayon::prelude::*;

use super::live::Live;
use super::{Resizer, SourceEpisode, SourceOptions};
use crate::dataset::Dataset;

/// `[frames, height, width, 3]`
pub(super) enum Pictures {
    /// In memory.
    Ram(Vec<u8>),
    /// In a cache file.
    File(Mmap),
    /// Not decoded yet.
    Live(Live),
}

/// Bytes decoded before they are written to the cache file.
const WAVE_BYTES: usize = 256 << 20;

/// Decodes all frames of `key` of `episodes`, or maps them from the cache.
pub(super) fn load(
    dataset: &Dataset,
    key: &str,
    size: (usize, usize),
    episodes: &[SourceEpisode],
    options: &SourceOptions,
    pool: &rayon::ThreadPool,
    task: Task<'_>,
) -> Result<Pictures> {
    let frame = size.0 * size.1 * 3;
    let frames: usize = episodes.iter().map(|e| e.frames.len()).sum();
    let work =
        Work { dataset, key, size, task, done: AtomicU64::new(0), name: format!("decode {key}") };
    let Some(folder) = &options.cache_dir else {
        let mut bytes = vec![0; frames * frame];
        work.begin(frames);
        work.decode(pool, episodes, &mut bytes)?;
        task.end(&work.name);
        return Ok(Pictures::Ram(bytes));
    };
    let first = episodes.first().map_or(0, |e| e.episode);
    // Everything that decides the bytes; the leading number is this file format's version.
    let identity =
        format!("1 {} {key} {}x{} {first}+{}", dataset.version()?, size.0, size.1, episodes.len());
    let path = folder.join(format!("frames-{}.rgb", hash_bytes(identity.as_bytes()).short()));
    if path.metadata().is_ok_and(|m| m.len() == (frames * frame) as u64) {
        return map(&path);
    }
    std::fs::create_dir_all(folder).at("create folder", folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-frames-")
        .tempfile_in(folder)
        .at("create temporary file in", folder)?;
    work.begin(frames);
    let mut wave = Vec::new();
    let mut rest = episodes;
    while !rest.is_empty() {
        let mut count = 0;
        let mut bytes = 0;
        while count < rest.len() && (count == 0 || bytes < WAVE_BYTES) {
            bytes += rest[count].frames.len() * frame;
            count += 1;
        }
        wave.clear();
        wave.resize(bytes, 0);
        work.decode(pool, &rest[..count], &mut wave)?;
        file.write_all(&wave).at("write", &path)?;
        rest = &rest[count..];
    }
    file.as_file().sync_all().at("flush", &path)?;
    file.persist(&path).map_err(|e| e.error).at("put in place", &path)?;
    task.end(&work.name);
    map(&path)
}

#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Pictures> {
    let file = File::open(path).at("open", path)?;
    // SAFETY: cache files are written aside and renamed, never changed in place; see `VideoFile`.
    let map = unsafe { Mmap::map(&file) }.at("map", path)?;
    Ok(Pictures::File(map))
}

struct Work<'a> {
    dataset: &'a Dataset,
    key: &'a str,
    size: (usize, usize),
    task: Task<'a>,
    done: AtomicU64,
    name: String,
}

/// Frames decoded by one job: small enough to share out evenly, large enough to amortise a seek.
const JOB_FRAMES: usize = 64;

impl Work<'_> {
    fn begin(&self, frames: usize) {
        self.task.begin(&self.name, Some(frames as u64), "frames");
    }

    /// Decodes the frames of `episodes` into `out`, one after the other.
    fn decode(
        &self,
        pool: &rayon::ThreadPool,
        episodes: &[SourceEpisode],
        out: &mut [u8],
    ) -> Result<()> {
        let frame = self.size.0 * self.size.1 * 3;
        let mut jobs = Vec::new();
        let mut rest = out;
        for episode in episodes {
            let mut at = 0;
            while at < episode.frames.len() {
                let count = JOB_FRAMES.min(episode.frames.len() - at);
                let (mine, others) = rest.split_at_mut(count * frame);
                jobs.push((episode.episode, at..at + count, mine));
                rest = others;
                at += count;
            }
        }
        pool.install(|| {
            jobs.into_par_iter()
                .try_for_each(|(episode, frames, out)| self.job(episode, frames, out))
        })
    }

    fn job(&self, episode: usize, frames: std::ops::Range<usize>, out: &mut [u8]) -> Result<()> {
        let shape = &self.dataset.info().features[self.key].shape;
        let mut resizer = Resizer::new((shape[0], shape[1]), self.size);
        let frame = self.size.0 * self.size.1 * 3;
        let wanted: Vec<usize> = frames.collect();
        self.dataset.visit_frames(episode, self.key, &wanted, &mut |position, rgb| {
            resizer.resize(rgb, &mut out[position * frame..(position + 1) * frame]);
            Ok(())
        })?;
        let done = self.done.fetch_add(wanted.len() as u64, Ordering::Relaxed);
        self.task.advance(&self.name, done + wanted.len() as u64, "")
    }
}
