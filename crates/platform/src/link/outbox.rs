//! An actor's moments until the learner has them: append-only files, a folder per life.
//!
//! ```text
//! OUTBOX/0123456789abcdef/00000001.log   [length u32][CRC-32C u32][moment], appended
//! ```
//! A process begins a life of its own when it starts, so a tail that a loss of power took can't be
//! mistaken for something that was sent; what earlier lives left is sent under their names. A cut
//! tail costs the last moment. Files go when everything in them is safe with the learner.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Moment, Result};
use prost::Message;

use super::error::LinkError;
use super::message::WireMoment;

/// A file of the outbox holds about this many bytes.
const FILE_BYTES: u64 = 16 << 20;
/// More is not believed of a record.
const MOST_BYTES: u32 = 256 << 20;
const HEAD: u64 = 8;

/// A file, and where its moments stand.
struct Log {
    path: PathBuf,
    file: File,
    /// Number of its first moment.
    first: u64,
    /// Where each moment begins, and behind them where the next one goes.
    starts: Vec<u64>,
}

impl Log {
    fn last(&self) -> u64 {
        self.first + self.starts.len() as u64 - 2
    }

    fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }
}

/// One life's moments.
pub(super) struct Life {
    pub actor: u64,
    dir: PathBuf,
    logs: VecDeque<Log>,
    pub last: u64,
    /// Up to this number all is safe with the learner.
    pub safe: u64,
}

impl Life {
    /// Begins the life `actor`.
    pub fn begin(outbox: &Path, actor: u64) -> Result<Self> {
        let dir = outbox.join(format!("{actor:016x}"));
        fs::create_dir_all(&dir).at("create folder", &dir)?;
        Ok(Self { actor, dir, logs: VecDeque::new(), last: 0, safe: 0 })
    }

    /// Lives that earlier processes left in `outbox`, by name.
    pub fn left_in(outbox: &Path) -> Result<Vec<Self>> {
        let mut lives = Vec::new();
        if !outbox.is_dir() {
            return Ok(lives);
        }
        for entry in fs::read_dir(outbox).at("read folder", outbox)? {
            let dir = entry.at("read folder", outbox)?.path();
            let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if let (16, Ok(actor)) = (name.len(), u64::from_str_radix(name, 16)) {
                lives.push(Self::open(&dir, actor)?);
            }
        }
        lives.sort_by_key(|life| life.actor);
        Ok(lives)
    }

    fn open(dir: &Path, actor: u64) -> Result<Self> {
        let mut firsts = Vec::new();
        for entry in fs::read_dir(dir).at("read folder", dir)? {
            let name = entry.at("read folder", dir)?.file_name();
            let first = name.to_str().and_then(|n| n.strip_suffix(".log"));
            firsts.extend(first.and_then(|n| n.parse::<u64>().ok()));
        }
        firsts.sort_unstable();
        let mut life = Self { actor, dir: dir.to_owned(), logs: VecDeque::new(), last: 0, safe: 0 };
        life.safe = firsts.first().map_or(0, |first| first.saturating_sub(1));
        life.last = life.safe;
        for first in firsts {
            let path = life.path(first);
            if first != life.last + 1 {
                let message = format!("moments {} to {} are missing", life.last + 1, first - 1);
                return Err(LinkError::Outbox { path, message }.into());
            }
            let mut log = open_log(path, first)?;
            let len = log.file.metadata().at("look at", &log.path)?.len();
            let mut at = 0;
            // The first record that is not whole ends it: nothing behind it was ever said to be safe.
            while let Some(bytes) = read_record(&log.file, at, len) {
                at += HEAD + bytes.len() as u64;
                log.starts.push(at);
            }
            log.file.set_len(at).at("cut", &log.path)?;
            life.last = log.last();
            life.logs.push_back(log);
        }
        Ok(life)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:08}.log"))
    }

    /// Appends the moment whose number follows the last one's.
    pub fn push(&mut self, moment: &Moment) -> Result<()> {
        if moment.seq != self.last + 1 {
            return Err(LinkError::Gap { seq: moment.seq, last: self.last }.into());
        }
        if self.logs.back().is_none_or(|log| log.end() >= FILE_BYTES) {
            let log = open_log(self.path(moment.seq), moment.seq)?;
            self.logs.push_back(log);
        }
        let bytes = WireMoment::from(moment).encode_to_vec();
        let mut record = (bytes.len() as u32).to_le_bytes().to_vec();
        record.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        record.extend_from_slice(&bytes);
        if let Some(log) = self.logs.back_mut() {
            let at = log.end();
            log.file.write_all_at(&record, at).at("write", &log.path)?;
            log.starts.push(at + record.len() as u64);
        }
        self.last = moment.seq;
        Ok(())
    }

    /// Moment `seq`, if it is still here.
    pub fn read(&self, seq: u64) -> Result<Option<WireMoment>> {
        let holds = |log: &&Log| (log.first..=log.last()).contains(&seq);
        let Some(log) = self.logs.iter().find(holds) else { return Ok(None) };
        let at = log.starts[(seq - log.first) as usize];
        let damaged = |message: &str| LinkError::Outbox {
            path: log.path.clone(),
            message: format!("moment {seq} {message}"),
        };
        let bytes = read_record(&log.file, at, log.end()).ok_or_else(|| damaged("is damaged"))?;
        let moment = WireMoment::decode(bytes.as_slice());
        let moment = moment.map_err(|e| damaged(&format!("can't be read: {e}")))?;
        if moment.seq != seq {
            return Err(damaged(&format!("calls itself {}", moment.seq)).into());
        }
        Ok(Some(moment))
    }

    /// Everything up to `seq` is safe with the learner: files of nothing else go.
    pub fn forget(&mut self, seq: u64) -> Result<()> {
        self.safe = self.safe.max(seq);
        while self.logs.len() > 1 && self.logs.front().is_some_and(|log| log.last() <= self.safe) {
            if let Some(log) = self.logs.pop_front() {
                fs::remove_file(&log.path).at("remove", &log.path)?;
            }
        }
        Ok(())
    }

    /// Removes a life of which everything is safe with the learner.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.dir).at("remove", &self.dir)
    }
}

fn open_log(path: PathBuf, first: u64) -> Result<Log> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file.open(&path).at("open", &path)?;
    Ok(Log { path, file, first, starts: vec![0] })
}

/// The record at `at` of a file of `len` bytes, if it is whole.
fn read_record(file: &File, at: u64, len: u64) -> Option<Vec<u8>> {
    let mut head = [0; HEAD as usize];
    if at + HEAD > len {
        return None;
    }
    file.read_exact_at(&mut head, at).ok()?;
    let (size, sum) = head.split_at(4);
    let size = u32::from_le_bytes(size.try_into().ok()?);
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    if size > MOST_BYTES || at + HEAD + u64::from(size) > len {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, at + HEAD).ok()?;
    // A record of nothing but zeros is what a loss of power leaves.
    (size > 0 && crc32c::crc32c(&bytes) == sum).then_some(bytes)
}
