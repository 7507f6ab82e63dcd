//! MCAP as a session writes it: without chunks, every record in one write to the system.
//!
//! What was written is the system's, so the end of the process loses none of it. The definitions of
//! all channels stand at the file's beginning, and the file appears under its name only with them.
//! Written here rather than by the `mcap` crate, whose writer makes several writes of a record.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use embody_core::{IoContext, Result};
use mcap::records::op;

use crate::log::{Channel, MCAP_MAGIC};

/// How often what was written is forced onto the disk, for the sake of power cuts.
const FLUSH: Duration = Duration::from_secs(1);

/// A growing MCAP file.
#[derive(Debug)]
pub(super) struct McapLog {
    path: PathBuf,
    file: File,
    channels: Vec<Channel>,
    sequences: Vec<u32>,
    record: Vec<u8>,
    flushed: Instant,
}

/// Appends `fill`'s content as a record: opcode, length, content.
fn record(out: &mut Vec<u8>, opcode: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let at = out.len();
    out.extend([0; 8]);
    fill(out);
    let len = (out.len() - at - 8) as u64;
    out[at..at + 8].copy_from_slice(&len.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    block(out, text.as_bytes());
}

fn block(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// Schemas and channels; numbers are places in `channels`, schemas counted from 1.
fn declare(out: &mut Vec<u8>, channels: &[Channel]) {
    for (i, channel) in channels.iter().enumerate() {
        let (id, mut schema) = (i as u16, 0);
        if let Some(definition) = &channel.definition {
            schema = id + 1;
            record(out, op::SCHEMA, |out| {
                out.extend(schema.to_le_bytes());
                text(out, &channel.type_name);
                text(out, &definition.encoding);
                block(out, &definition.data);
            });
        }
        record(out, op::CHANNEL, |out| {
            out.extend(id.to_le_bytes());
            out.extend(schema.to_le_bytes());
            text(out, &channel.topic);
            text(out, channel.encoding.as_str());
            let mut pairs = Vec::new();
            for (key, value) in &channel.metadata {
                text(&mut pairs, key);
                text(&mut pairs, value);
            }
            block(out, &pairs);
        });
    }
}

impl McapLog {
    /// Begins a file of these channels; messages name them by position.
    pub fn create(path: &Path, channels: Vec<Channel>) -> Result<Self> {
        let mut head = MCAP_MAGIC.to_vec();
        record(&mut head, op::HEADER, |out| {
            text(out, "");
            text(out, "embody");
        });
        declare(&mut head, &channels);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!(".tmp-{name}"));
        let mut file = File::create(&aside).at("create", &aside)?;
        file.write_all(&head).at("write", &aside)?;
        file.sync_all().at("flush", &aside)?;
        fs::rename(&aside, path).at("create", path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            sequences: vec![0; channels.len()],
            channels,
            record: Vec::new(),
            flushed: Instant::now(),
        })
    }

    /// Appends a message; times are nanoseconds.
    pub fn message(
        &mut self,
        channel: usize,
        log_time: u64,
        publish_time: u64,
        data: &[u8],
    ) -> Result<()> {
        self.record.clear();
        let sequence = self.sequences[channel];
        self.sequences[channel] = sequence.wrapping_add(1);
        record(&mut self.record, op::MESSAGE, |out| {
            out.extend((channel as u16).to_le_bytes());
            out.extend(sequence.to_le_bytes());
            out.extend(log_time.to_le_bytes());
            out.extend(publish_time.to_le_bytes());
            out.extend(data);
        });
        self.file.write_all(&self.record).at("write", &self.path)?;
        if self.flushed.elapsed() >= FLUSH {
            self.file.sync_data().at("flush", &self.path)?;
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Ends the file: the channels again, for readers that look at the end first.
    pub fn finish(mut self) -> Result<()> {
        let start = fs::metadata(&self.path).at("look at", &self.path)?.len();
        let mut tail = Vec::new();
        record(&mut tail, op::DATA_END, |out| out.extend([0; 4]));
        let summary = start + tail.len() as u64;
        declare(&mut tail, &self.channels);
        record(&mut tail, op::FOOTER, |out| {
            out.extend(summary.to_le_bytes());
            // No offsets, no checksum.
            out.extend([0; 12]);
        });
        tail.extend(MCAP_MAGIC);
        self.file.write_all(&tail).at("write", &self.path)?;
        self.file.sync_all().at("flush", &self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
