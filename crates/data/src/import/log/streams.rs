//! The original beside the frames: messages of the mapped topics of an episode, byte for byte with
//! their own clocks, in `streams/episode-NNNNNN.mcap` of the dataset, and the mapping beside them.
//!
//! With them a dataset can be resampled to another rate without the log that it came from. The
//! window and the instruction of the episode stand in the channels' metadata, so that every reader
//! of MCAP sees them and resampling finds the same frames again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};
use mcap::records::MessageHeader;

use super::episodes::Episode;
use super::gather::stream_path;
use super::survey::Survey;
use crate::error::DataError;
use crate::log::{Channel, Encoding, Message};
use crate::message::common;

/// Key of the time of first and last frame (`from..to`, nanoseconds) in a channel's metadata.
pub(super) const WINDOW: &str = "embody.window";
/// Key of the instruction.
pub(super) const TASK: &str = "embody.task";
/// Where the mapping stands in a dataset.
pub(crate) const MAPPING_FILE: &str = "streams/mapping.toml";

/// Writes the streams of a log's episodes.
pub(super) struct Keeper {
    waiting: Vec<Kept>,
}

/// One episode's file.
struct Kept {
    path: PathBuf,
    /// By stream: wanted messages by rank.
    ranks: Vec<Range<usize>>,
    left: usize,
    channels: Vec<(Channel, u16)>,
    writer: Option<mcap::Writer<BufWriter<File>>>,
}

pub(super) fn fail(path: &Path, error: &mcap::McapError) -> DataError {
    DataError::WriteTable { path: path.to_owned(), why: error.to_string(), full: false }
}

impl Keeper {
    /// For `episodes`, the first of which is number `first` of the dataset at `root`.
    pub fn new(root: &Path, first: usize, survey: &Survey, episodes: &[Episode]) -> Result<Self> {
        let folder = root.join("streams");
        fs::create_dir_all(&folder).at("create folder", &folder)?;
        let waiting = episodes
            .iter()
            .enumerate()
            .map(|(i, episode)| Kept {
                path: stream_path(root, first + i),
                ranks: episode.kept.clone(),
                left: episode.kept.iter().map(Range::len).sum(),
                channels: survey
                    .streams
                    .iter()
                    .map(|s| (described(&s.channel, episode), 0))
                    .collect(),
                writer: None,
            })
            .collect();
        Ok(Self { waiting })
    }

    /// Keeps a message in the episodes that it belongs to.
    pub fn take(&mut self, stream: usize, rank: usize, message: Message<'_>) -> Result<()> {
        for kept in &mut self.waiting {
            if kept.ranks[stream].contains(&rank) {
                kept.write(stream, message)?;
            }
        }
        // A file whose last message has come is complete; few are open at a time.
        for kept in self.waiting.extract_if(.., |k| k.left == 0) {
            kept.finish()?;
        }
        Ok(())
    }

    /// Closes what is still open.
    pub fn finish(self) -> Result<()> {
        self.waiting.into_iter().try_for_each(Kept::finish)
    }
}

/// A channel as it is kept: with a definition, window and instruction.
fn described(channel: &Channel, episode: &Episode) -> Channel {
    let mut channel = channel.clone();
    let (from, to) = episode.window;
    channel.metadata.insert(WINDOW.to_owned(), format!("{from}..{to}"));
    channel.metadata.insert(TASK.to_owned(), episode.task.clone());
    if channel.definition.as_ref().is_none_or(|d| d.data.is_empty()) {
        let ros1 = channel.encoding == Encoding::Ros1;
        channel.definition =
            common(&channel.type_name, ros1).map(|schema| crate::log::Definition {
                encoding: "ros2msg".to_owned(),
                data: schema.to_ros2msg().into_bytes(),
            });
    }
    channel
}

impl Kept {
    fn write(&mut self, stream: usize, message: Message<'_>) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let file = File::create(&self.path).at("create", &self.path)?;
                let writer = begin(BufWriter::new(file), &self.path, &mut self.channels)?;
                self.writer.insert(writer)
            }
        };
        let header = MessageHeader {
            channel_id: self.channels[stream].1,
            sequence: 0,
            log_time: message.log_time.max(0) as u64,
            publish_time: message.publish_time.max(0) as u64,
        };
        writer.write_to_known_channel(&header, message.data).map_err(|e| fail(&self.path, &e))?;
        self.left -= 1;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.finish().map_err(|e| fail(&self.path, &e))?;
        }
        Ok(())
    }
}

/// Begins an MCAP file and declares `channels`, setting their ids.
pub(crate) fn begin<W: std::io::Write + std::io::Seek>(
    out: W,
    path: &Path,
    channels: &mut [(Channel, u16)],
) -> Result<mcap::Writer<W>> {
    let all = |encoding: Encoding| channels.iter().all(|(c, _)| c.encoding == encoding);
    let profile = if all(Encoding::Cdr) {
        "ros2"
    } else if all(Encoding::Ros1) {
        "ros1"
    } else {
        ""
    };
    let mut writer = mcap::WriteOptions::new()
        .profile(profile)
        .library("embody")
        // One thread: the bytes must not depend on the machine.
        .compression_threads(0)
        .create(out)
        .map_err(|e| fail(path, &e))?;
    for (channel, id) in channels {
        let schema = match &channel.definition {
            Some(d) => writer
                .add_schema(&channel.type_name, &d.encoding, &d.data)
                .map_err(|e| fail(path, &e))?,
            None => 0,
        };
        let metadata: BTreeMap<String, String> = channel.metadata.clone();
        *id = writer
            .add_channel(schema, &channel.topic, channel.encoding.as_str(), &metadata)
            .map_err(|e| fail(path, &e))?;
    }
    Ok(writer)
}
