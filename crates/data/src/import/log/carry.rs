//! Kept streams follow the episodes that they belong to, through edits, processing and import.
//!
//! A file whose episode stays as it is is taken over whole (a hard link where the disk allows). One
//! of which frames were cut off, or whose instruction changed, is written again with the same
//! messages: only window and instruction in its channels differ, so that sampling it again finds the
//! frames that are left. A dataset keeps the streams of all its episodes or of none.

use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;

use embody_core::{IoContext, Result};
use mcap::records::MessageHeader;

use super::align::tick;
use super::gather::stream_path;
use super::streams::{MAPPING_FILE, TASK, WINDOW, begin, fail};
use crate::error::DataError;
use crate::files::link_or_copy;
use crate::log::{Channel, Log};

/// An episode on its way into another dataset.
pub(crate) struct Carried<'a> {
    /// The dataset that it comes from.
    pub source: &'a Path,
    /// Its number there.
    pub episode: usize,
    /// The dataset that it goes to.
    pub target: &'a Path,
    /// Its number there.
    pub number: usize,
    /// Frames that are left; all where `None`.
    pub keep: Option<Range<usize>>,
    /// Frames per second.
    pub fps: f64,
    /// Its instruction, where it has one for all frames.
    pub task: Option<&'a str>,
}

/// Takes the kept streams of an episode along; does nothing where the source keeps none.
///
/// # Errors
/// When the streams of the episode are missing or damaged, or can't be written.
pub(crate) fn carry(carried: &Carried<'_>) -> Result<()> {
    let mapping = carried.source.join(MAPPING_FILE);
    if !mapping.is_file() {
        return Ok(());
    }
    let from = stream_path(carried.source, carried.episode);
    let to = stream_path(carried.target, carried.number);
    if !from.is_file() {
        return Err(damaged(&from, "the episode's streams are missing".to_owned()));
    }
    let kept_mapping = carried.target.join(MAPPING_FILE);
    if !kept_mapping.exists() {
        link_or_copy(&mapping, &kept_mapping)?;
    }
    let log = Log::open(&from)?;
    let channels: Vec<Channel> = log
        .channels()
        .iter()
        .map(|channel| changed(channel, carried).map_err(|why| damaged(&from, why)))
        .collect::<Result<_>>()?;
    if channels == log.channels() {
        return link_or_copy(&from, &to);
    }
    rewrite(&log, channels, &to)
}

/// The channel with the window and the instruction that the episode has now.
fn changed(channel: &Channel, carried: &Carried<'_>) -> std::result::Result<Channel, String> {
    let mut channel = channel.clone();
    if let Some(keep) = &carried.keep {
        let window = channel.metadata.get(WINDOW).and_then(|w| w.split_once(".."));
        let start = window.and_then(|(from, _)| from.parse::<i64>().ok());
        let start = start.ok_or("its channels do not say the episode's window")?;
        let last = keep.end.saturating_sub(1).max(keep.start);
        let (from, to) = (tick(start, carried.fps, keep.start), tick(start, carried.fps, last));
        channel.metadata.insert(WINDOW.to_owned(), format!("{from}..{to}"));
    }
    if let Some(task) = carried.task {
        channel.metadata.insert(TASK.to_owned(), task.to_owned());
    }
    Ok(channel)
}

fn rewrite(log: &Log, channels: Vec<Channel>, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).at("create folder", parent)?;
    }
    let file = File::create(to).at("create", to)?;
    let mut channels: Vec<(Channel, u16)> = channels.into_iter().map(|c| (c, 0)).collect();
    let mut writer = begin(BufWriter::new(file), to, &mut channels)?;
    let lost = log.visit(&|_| true, &mut |message| {
        let header = MessageHeader {
            channel_id: channels[message.channel].1,
            sequence: 0,
            log_time: message.log_time.max(0) as u64,
            publish_time: message.publish_time.max(0) as u64,
        };
        let written = writer.write_to_known_channel(&header, message.data);
        Ok(written.map_err(|e| fail(to, &e))?)
    })?;
    if let Some(finding) = log.findings().iter().chain(&lost).next() {
        return Err(damaged(log.path(), finding.message.clone()));
    }
    writer.finish().map_err(|e| fail(to, &e))?;
    Ok(())
}

fn damaged(path: &Path, why: String) -> embody_core::Error {
    DataError::ReadLog {
        path: path.to_owned(),
        why,
        hint: "copy the dataset again, or import its log again (--drop-streams leaves them out)"
            .to_owned(),
    }
    .into()
}
