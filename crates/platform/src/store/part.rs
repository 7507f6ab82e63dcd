//! One file on its way in: written aside while it comes, hashed as it comes, named only when it is
//! what the store announced.
//!
//! A file under way stands in the folder [`PARTS`] as `KEY.part`, beside `KEY.json` which says what
//! it is a part of. A later run goes on from there if it is still a part of the same thing: the same
//! path, size and hash, asked for with `If-Range` so that a file changed meanwhile comes whole.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use embody_core::{IoContext, Result, Task, hash_bytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::digest::{Checksum, Hasher};
use super::error::StoreError;
use super::http::{Failure, Patience};
use super::name::PARTS;
use super::pull::Remote;

const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Name of the progress.
pub(super) const PULL: &str = "pull";

/// A file that a store lists.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    /// Where it goes, below the target.
    pub name: String,
    /// What the store calls it.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// What it must hash to; `None` where the store says nothing usable.
    pub checksum: Option<Checksum>,
    /// Entity tag, where the listing has one.
    pub etag: Option<String>,
}

/// A file's bytes on the way.
pub(super) struct Opened {
    /// Which byte comes first.
    pub start: u64,
    /// Entity tag of what is sent.
    pub etag: Option<String>,
    /// The bytes; an error says why they broke off.
    pub body: BoxStream<'static, std::result::Result<Bytes, String>>,
}

/// Bytes that have come, over all files.
pub(super) struct Meter<'a> {
    name: &'a str,
    task: Task<'a>,
    done: Cell<u64>,
    shown: Cell<Option<Instant>>,
}

impl<'a> Meter<'a> {
    pub(super) fn begin(name: &'a str, total: u64, task: Task<'a>) -> Self {
        task.begin(name, Some(total), "bytes");
        Self { name, task, done: Cell::new(0), shown: Cell::new(None) }
    }

    pub(super) fn add(&self, bytes: u64) -> Result<()> {
        self.done.set(self.done.get() + bytes);
        let due = self.shown.get().is_none_or(|at| at.elapsed() >= SHOW_EVERY);
        if due {
            self.shown.set(Some(Instant::now()));
            self.task.advance(self.name, self.done.get(), "")?;
        }
        Ok(())
    }

    /// What came will come again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.done.set(self.done.get().saturating_sub(bytes));
    }

    pub(super) fn end(self) -> Result<()> {
        self.task.advance(self.name, self.done.get(), "")?;
        self.task.end(self.name);
        Ok(())
    }
}

/// What a part is a part of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Label {
    key: String,
    bytes: u64,
    checksum: Option<String>,
    etag: Option<String>,
}

/// Brings `file` into the folder `into`; gives the bytes that came over the wire.
///
/// # Errors
/// What the store answered in the end, or that the content is not what it announced.
pub(super) async fn fetch(
    remote: &Remote,
    file: &RemoteFile,
    into: &Path,
    meter: &Meter<'_>,
    task: Task<'_>,
) -> Result<u64> {
    let id = hash_bytes(file.key.as_bytes());
    let part = into.join(PARTS).join(format!("{}.part", id.short()));
    let label_path = part.with_extension("json");
    let mut label = Label {
        key: file.key.clone(),
        bytes: file.bytes,
        checksum: file.checksum.as_ref().map(|c| c.digits().to_owned()),
        etag: None,
    };
    let mut state = resume(file, &part, &label_path, &mut label, task)?;
    meter.add(state.have)?;
    let mut patience = Patience::default();
    let mut came = 0;
    // A part that an earlier run left may be spoilt; what this run fetched whole is not.
    let mut doubtful = state.have > 0;
    loop {
        while state.have < file.bytes {
            let opened = remote.open(file, state.have, label.etag.as_deref()).await;
            let outcome = match opened {
                Ok(opened) => {
                    if opened.start != state.have || opened.etag != label.etag {
                        if opened.start == 0 && state.have > 0 {
                            meter.take_back(state.have);
                            state = State::fresh(file, &part)?;
                            doubtful = false;
                        }
                        label.etag = opened.etag.clone();
                        write_label(&label_path, &label)?;
                    }
                    receive(remote, file, opened, &mut state, &mut came, meter).await
                }
                // The store has less than we have: begin again.
                Err(Failure::Refused(416, _)) if state.have > 0 => {
                    meter.take_back(state.have);
                    state = State::fresh(file, &part)?;
                    doubtful = false;
                    Ok(0)
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(0) => {}
                Ok(_) => patience.progress(),
                Err(failure) => patience.after(failure, task).await?,
            }
        }
        let hasher = std::mem::replace(&mut state.hasher, Hasher::blake3());
        let digits = hasher.finish();
        let expected = file.checksum.as_ref().map(Checksum::digits);
        if expected.is_none_or(|e| e == digits) {
            break;
        }
        if !doubtful {
            fs::remove_file(&part).at("remove", &part)?;
            let why = format!(
                "{} bytes hash to {digits}, announced as {}",
                file.bytes,
                label.checksum.as_deref().unwrap_or_default()
            );
            return Err(StoreError::Corrupt { url: remote.address(file), why }.into());
        }
        doubtful = false;
        meter.take_back(state.have);
        state = State::fresh(file, &part)?;
    }
    let target = into.join(&file.name);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).at("create folder", folder)?;
    }
    drop(state);
    fs::rename(&part, &target).at("put in place", &target)?;
    fs::remove_file(&label_path).ok();
    Ok(came)
}

struct State {
    out: File,
    have: u64,
    hasher: Hasher,
}

impl State {
    fn fresh(file: &RemoteFile, part: &Path) -> Result<Self> {
        let out = File::create(part).at("create", part)?;
        Ok(Self { out, have: 0, hasher: hasher(file) })
    }
}

fn hasher(file: &RemoteFile) -> Hasher {
    file.checksum.as_ref().map_or_else(Hasher::blake3, |c| c.hasher(file.bytes))
}

/// Takes up the part that an earlier run left, if it is one of this very file.
fn resume(
    file: &RemoteFile,
    part: &Path,
    label_path: &Path,
    label: &mut Label,
    task: Task<'_>,
) -> Result<State> {
    let left = fs::read(label_path).ok().and_then(|b| serde_json::from_slice::<Label>(&b).ok());
    let same = left.filter(|l| {
        let (a, b): (&Label, &Label) = (l, label);
        let content = (&a.key, a.bytes, &a.checksum) == (&b.key, b.bytes, &b.checksum);
        // Without a hash, only the entity tag says that it is the same.
        let known = file.etag.is_none() || l.etag == file.etag;
        content && (l.checksum.is_some() || (l.etag.is_some() && known))
    });
    let have = fs::metadata(part).map_or(0, |m| m.len());
    match same {
        Some(left) if have > 0 && have <= file.bytes => {
            let mut hasher = hasher(file);
            hasher.update_file(part, have, task.cancel)?;
            let out = File::options().append(true).open(part).at("open", part)?;
            *label = left;
            Ok(State { out, have, hasher })
        }
        _ => {
            write_label(label_path, label)?;
            State::fresh(file, part)
        }
    }
}

fn write_label(path: &Path, label: &Label) -> Result<()> {
    let text = serde_json::to_vec(label)
        .map_err(|e| embody_core::Error::new(format!("could not describe a part: {e}")))?;
    let aside = path.with_extension("json-new");
    fs::write(&aside, text).at("write", &aside)?;
    fs::rename(&aside, path).at("put in place", path)
}

/// Takes what comes until the body ends; gives the bytes taken.
async fn receive(
    remote: &Remote,
    file: &RemoteFile,
    mut opened: Opened,
    state: &mut State,
    came: &mut u64,
    meter: &Meter<'_>,
) -> Result<u64, Failure> {
    let mut taken = 0;
    loop {
        let chunk = match opened.body.next().await {
            Some(Ok(chunk)) => chunk,
            Some(Err(why)) if taken > 0 => {
                // Progress all the same: the next attempt goes on from here.
                let _ = why;
                return Ok(taken);
            }
            Some(Err(why)) => {
                let error = StoreError::Unreachable { url: remote.address(file), why };
                return Err(Failure::Again(error, None));
            }
            None if state.have < file.bytes && taken == 0 => {
                let why = format!("it ended after {} of {} bytes", state.have, file.bytes);
                let error = StoreError::Corrupt { url: remote.address(file), why };
                return Err(Failure::Again(error, None));
            }
            None => return Ok(taken),
        };
        let bytes = chunk.len() as u64;
        if state.have + bytes > file.bytes {
            let why = format!("more than the {} bytes that are listed", file.bytes);
            return Err(StoreError::Corrupt { url: remote.address(file), why }.into());
        }
        state.out.write_all(&chunk).at("write a part of", Path::new(&file.name))?;
        state.hasher.update(&chunk);
        state.have += bytes;
        taken += bytes;
        *came += bytes;
        meter.add(bytes)?;
    }
}
