//! TensorBoard's event files: scalars over steps.
//!
//! A file is a row of records: length (u64), masked CRC-32C of it, payload, masked CRC-32C of that,
//! little-endian (TensorFlow's `record_writer.h`); a payload is a protobuf `Event` (`event.proto`:
//! wall_time 1, step 2, file_version 3, summary 5; `summary.proto`: value 1 with tag 1 and
//! simple_value 2).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use embody_core::{IoContext, Result};

/// Folder of the event files in a run's folder.
pub const EVENTS_DIR: &str = "tensorboard";

/// Appends scalars to one event file.
pub(crate) struct Events {
    path: PathBuf,
    file: fs::File,
    len: u64,
}

impl Events {
    /// Opens the run's event file, keeping its first `keep` bytes: what was written by the
    /// checkpoint that the run goes on from.
    pub fn open(out: &Path, keep: u64) -> Result<Self> {
        let dir = out.join(EVENTS_DIR);
        fs::create_dir_all(&dir).at("create folder", &dir)?;
        let path = dir.join("events.out.tfevents.0.embody");
        let mut options = OpenOptions::new();
        let file =
            options.create(true).truncate(false).write(true).open(&path).at("open", &path)?;
        let on_disk = file.metadata().at("look at", &path)?.len();
        let len = if on_disk >= keep { keep } else { 0 };
        file.set_len(len).at("cut", &path)?;
        drop(file);
        let file = OpenOptions::new().append(true).open(&path).at("open", &path)?;
        let mut events = Self { path, file, len };
        if len == 0 {
            let mut event = Vec::new();
            wall_time(&mut event);
            bytes_field(&mut event, 3, b"brain.Event:2");
            events.write(&event)?;
        }
        Ok(events)
    }

    /// Writes scalars of `step`.
    pub fn add<'a>(
        &mut self,
        step: u64,
        scalars: impl Iterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend_from_slice(&(value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        let mut event = Vec::new();
        wall_time(&mut event);
        event.push(2 << 3);
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.write(&event)
    }

    /// Flushes to disk; returns the file's length.
    pub fn sync(&self) -> Result<u64> {
        self.file.sync_all().at("flush", &self.path)?;
        Ok(self.len)
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let record = record(payload);
        self.len += record.len() as u64;
        self.file.write_all(&record).at("write", &self.path)
    }
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend_from_slice(&masked(&length));
    record.extend_from_slice(payload);
    record.extend_from_slice(&masked(payload));
    record
}

fn masked(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn wall_time(event: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    event.push(1 << 3 | 1);
    event.extend_from_slice(&now.to_le_bytes());
}

fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length, masked checksum, payload, masked checksum; the mask is TensorFlow's (`crc32c.h`).
    #[test]
    fn records_are_framed_as_tensorflows() {
        let record = record(b"abc");
        assert_eq!(&record[..8], &3u64.to_le_bytes());
        assert_eq!(&record[12..15], b"abc");
        // CRC-32C of "123456789" is the published check value.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let crc = 0xe306_9283u32;
        let wanted = crc.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked(b"123456789"), wanted.to_le_bytes());
    }

    #[test]
    fn a_file_is_continued_where_the_checkpoint_stood() {
        let home = tempfile::tempdir().expect("temporary folder");
        let mut events = Events::open(home.path(), 0).expect("open");
        events.add(300, [("a/b", 1.5)].into_iter()).expect("write");
        let keep = events.sync().expect("flush");
        events.add(400, [("a/b", 2.5)].into_iter()).expect("write");
        drop(events);
        let events = Events::open(home.path(), keep).expect("open");
        let path = home.path().join(EVENTS_DIR).join("events.out.tfevents.0.embody");
        assert_eq!(fs::metadata(path).expect("file").len(), keep);
        drop(events);
    }
}
