//! Object stores, writing side: contents first, then the manifest, then the pointer.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use embody_core::{Result, Task, hash_bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{
    Error as ObjectError, MultipartUpload, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};

use super::digest::Hasher;
use super::error::StoreError;
use super::http::{Failure, Patience};
use super::manifest::{
    LATEST, LAYOUT, LINEAGE, Latest, MAX_LINEAGE, Manifest, Stored, object_key, version_key,
};
use super::object::Objects;
use super::part::Meter;
use super::push::{
    LocalFile, PushOptions, PushReport, RemoteState, absent, check_ancestry, only_lineage,
};

/// Files up to this size go in one request; larger ones in parts of it.
const PART: u64 = 16 << 20;
/// Parts that S3 allows, with some to spare.
const MAX_PARTS: u64 = 9_000;

/// Pushes `files` as a new version.
pub(super) async fn push(
    objects: &Objects,
    source: &Path,
    files: &BTreeMap<String, LocalFile>,
    options: &PushOptions,
    task: Task<'_>,
) -> Result<PushReport> {
    let url = objects.url();
    let latest = objects.latest(task).await?;
    let before = match &latest {
        Some((latest, _)) => Some(objects.manifest(&version_key(&latest.version), task).await?),
        None => None,
    };
    let has = |name: &str| before.as_ref().is_some_and(|m| m.files.iter().any(|f| f.path == name));
    let mut all: Vec<LocalFile> = files.values().cloned().collect();
    all.extend(absent(options, files, has));
    // What the store alone has of those stays: a card that someone wrote there.
    let mut stored = Vec::new();
    if let Some(before) = &before {
        let kept =
            |f: &&Stored| options.if_absent.contains_key(&f.path) && !files.contains_key(&f.path);
        stored.extend(before.files.iter().filter(kept).cloned());
    }
    let mut contents: HashMap<String, LocalFile> = HashMap::new();
    task.begin("hash", Some(all.len() as u64), "files");
    for (done, file) in all.into_iter().enumerate() {
        let digits = file.hash(Hasher::blake3(), task)?;
        let hash = serde_json::from_value(digits.clone().into())
            .map_err(|e| embody_core::Error::new(format!("{}: {e}", file.name)))?;
        stored.push(Stored { path: file.name.clone(), hash, bytes: file.bytes });
        contents.insert(digits, file);
        task.advance("hash", done as u64 + 1, "")?;
    }
    task.end("hash");
    let parent = latest.as_ref().map(|(l, _)| l.version.clone());
    let manifest = Manifest::of(stored, parent, dataset_version(files).await?);
    let old: BTreeMap<&str, &Stored> =
        before.iter().flat_map(|m| &m.files).map(|f| (f.path.as_str(), f)).collect();
    let changed = manifest.files.iter().filter(|f| old.get(f.path.as_str()) != Some(f));
    let changed: Vec<&str> = changed.map(|f| f.path.as_str()).collect();
    let new: HashMap<&str, ()> = manifest.files.iter().map(|f| (f.path.as_str(), ())).collect();
    let deleted = old.keys().filter(|name| !new.contains_key(**name)).count();
    let nothing = before.is_some() && deleted == 0 && only_lineage(changed.iter().copied());
    let version = match (&parent_of(&latest), nothing || options.plan_only) {
        (at, true) => at.clone(),
        _ => Some(manifest.version.to_string()),
    };
    let mut report = PushReport {
        pinned: version.as_ref().map(|v| format!("{url}@{v}")),
        url: url.clone(),
        endpoint: None,
        version,
        files: files.len(),
        bytes: files.values().map(|f| f.bytes).sum(),
        changed_files: if nothing { 0 } else { changed.len() },
        uploaded_bytes: 0,
        deleted_files: deleted,
        created: false,
        tag: None,
        changed: false,
        seconds: 0.0,
    };
    if nothing {
        return Ok(report);
    }
    let at = parent_of(&latest);
    let plain = before.is_none() && !objects.keys("", task).await?.iter().all(|k| is_ours(&k.0));
    if plain {
        return Err(StoreError::Refused {
            url,
            why: "files lie there that were not pushed by embody".to_owned(),
            hint: "choose another prefix; a pull reads this one as it is",
        }
        .into());
    }
    let version = before.as_ref().and_then(|m| m.dataset.clone()).or_else(|| at.clone());
    let state = RemoteState { version, holds_data: at.is_some(), at };
    check_ancestry(&url, source, options, &state)?;
    if options.plan_only {
        return Ok(report);
    }
    report.uploaded_bytes = upload(objects, contents, options, task).await?;
    let key = version_key(&manifest.version);
    put_small(objects, &key, &manifest, PutMode::Overwrite, task).await?;
    let latest_now = Latest { embody_store: LAYOUT, version: manifest.version };
    publish(objects, &latest_now, latest, source, options, task).await?;
    report.changed = true;
    Ok(report)
}

/// The version that the lineage among these files names.
async fn dataset_version(files: &BTreeMap<String, LocalFile>) -> Result<Option<String>> {
    let Some(file) = files.get(LINEAGE) else { return Ok(None) };
    let bytes = file.read(0, MAX_LINEAGE).await?;
    let record: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    Ok(record.and_then(|r| r.get("version")?.as_str().map(str::to_owned)))
}

fn parent_of(latest: &Option<(Latest, Option<String>)>) -> Option<String> {
    latest.as_ref().map(|(l, _)| l.version.to_string())
}

/// Whether a key is of the layout: what a push that did not end leaves behind.
fn is_ours(key: &str) -> bool {
    key.starts_with("objects/") || key.starts_with("versions/") || key == LATEST
}

/// Sends the contents that are not there; gives the bytes sent.
async fn upload(
    objects: &Objects,
    contents: HashMap<String, LocalFile>,
    options: &PushOptions,
    task: Task<'_>,
) -> Result<u64> {
    let there = objects.keys("objects", task).await?;
    let there: HashMap<String, u64> = there.into_iter().map(|(key, n, _)| (key, n)).collect();
    let mut missing: Vec<(String, LocalFile)> = contents.into_iter().collect();
    let key = |digits: &str| format!("objects/{}/{}", &digits[..2], &digits[2..]);
    missing.retain(|(digits, file)| there.get(&key(digits)) != Some(&file.bytes));
    missing.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then_with(|| a.0.cmp(&b.0)));
    let sent = missing.iter().map(|(_, f)| f.bytes).sum();
    let meter = Meter::begin("push", sent, task);
    stream::iter(&missing)
        .map(|(digits, file)| upload_one(objects, digits, file, &meter, task))
        .buffer_unordered(options.connections.max(1))
        .try_collect::<Vec<()>>()
        .await?;
    meter.end()?;
    Ok(sent)
}

/// Sends one content under the name of its hash, and only if it still has that hash.
async fn upload_one(
    objects: &Objects,
    digits: &str,
    file: &LocalFile,
    meter: &Meter<'_>,
    task: Task<'_>,
) -> Result<()> {
    let hash = serde_json::from_value(digits.into())
        .map_err(|e| embody_core::Error::new(format!("{}: {e}", file.name)))?;
    let key = object_key(&hash);
    let path = objects.path(&key);
    let mut patience = Patience::default();
    if file.bytes <= PART {
        let content = file.read(0, file.bytes).await?;
        if hash_bytes(&content) != hash {
            return Err(file.changed());
        }
        let payload = PutPayload::from(content);
        loop {
            match objects.store.put(&path, payload.clone()).await {
                Ok(_) => return meter.add(file.bytes),
                Err(e) => patience.after(objects.failed(&key, e), task).await?,
            }
        }
    }
    loop {
        let mut upload = match objects.store.put_multipart(&path).await {
            Ok(upload) => upload,
            Err(e) => {
                patience.after(objects.failed(&key, e), task).await?;
                continue;
            }
        };
        let mut sent = 0;
        let failure = match send_parts(upload.as_mut(), file, digits, meter, &mut sent).await {
            Ok(()) => match upload.complete().await {
                Ok(_) => return Ok(()),
                Err(e) => objects.failed(&key, e),
            },
            Err(Sent::Store(e)) => objects.failed(&key, e),
            Err(Sent::Local(e)) => Failure::Fatal(e),
        };
        // Best effort: what is left of it is no object, and stores clear it in time.
        upload.abort().await.ok();
        meter.take_back(sent);
        patience.after(failure, task).await?;
    }
}

enum Sent {
    Store(ObjectError),
    Local(embody_core::Error),
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    file: &LocalFile,
    digits: &str,
    meter: &Meter<'_>,
    sent: &mut u64,
) -> Result<(), Sent> {
    let size = PART.max(file.bytes.div_ceil(MAX_PARTS));
    let mut hasher = Hasher::blake3();
    while *sent < file.bytes {
        let part = file.read(*sent, size).await.map_err(Sent::Local)?;
        let bytes = part.len() as u64;
        hasher.update(&part);
        upload.put_part(PutPayload::from(part)).await.map_err(Sent::Store)?;
        *sent += bytes;
        meter.add(bytes).map_err(Sent::Local)?;
    }
    if hasher.finish() == digits { Ok(()) } else { Err(Sent::Local(file.changed())) }
}

/// Moves the pointer, if it is still where it was when we looked.
async fn publish(
    objects: &Objects,
    now: &Latest,
    before: Option<(Latest, Option<String>)>,
    source: &Path,
    options: &PushOptions,
    task: Task<'_>,
) -> Result<()> {
    let mode = match &before {
        _ if options.overwrite => PutMode::Overwrite,
        None => PutMode::Create,
        Some((_, etag)) => PutMode::Update(UpdateVersion { e_tag: etag.clone(), version: None }),
    };
    let moved = |found: Option<String>| StoreError::MovedOn {
        url: objects.url(),
        found: found.unwrap_or_else(|| "another version".to_owned()),
        folder: source.to_owned(),
    };
    match put_small(objects, LATEST, now, mode, task).await {
        Err(PutFailure::Taken) => Err(moved(None).into()),
        Err(PutFailure::Unsupported) => {
            // Folders, and stores without conditional writes: look once more, then write.
            let found = objects.latest(task).await?;
            if parent_of(&found) != parent_of(&before) {
                return Err(moved(parent_of(&found)).into());
            }
            Ok(put_small(objects, LATEST, now, PutMode::Overwrite, task).await?)
        }
        Err(PutFailure::Other(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

enum PutFailure {
    /// The condition did not hold.
    Taken,
    /// The store knows no conditions.
    Unsupported,
    Other(embody_core::Error),
}

impl From<PutFailure> for embody_core::Error {
    fn from(failure: PutFailure) -> Self {
        match failure {
            PutFailure::Other(error) => error,
            PutFailure::Taken | PutFailure::Unsupported => Self::new("a write was refused"),
        }
    }
}

async fn put_small<T: serde::Serialize>(
    objects: &Objects,
    key: &str,
    value: &T,
    mode: PutMode,
    task: Task<'_>,
) -> Result<(), PutFailure> {
    let text = serde_json::to_vec(value)
        .map_err(|e| PutFailure::Other(embody_core::Error::new(format!("{key}: {e}"))))?;
    let payload = PutPayload::from(text);
    let mut patience = Patience::default();
    loop {
        let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
        match objects.store.put_opts(&objects.path(key), payload.clone(), options).await {
            Ok(_) => return Ok(()),
            Err(ObjectError::Precondition { .. } | ObjectError::AlreadyExists { .. }) => {
                return Err(PutFailure::Taken);
            }
            Err(ObjectError::NotImplemented { .. } | ObjectError::NotSupported { .. }) => {
                return Err(PutFailure::Unsupported);
            }
            Err(e) => {
                let failure = objects.failed(key, e);
                patience.after(failure, task).await.map_err(PutFailure::Other)?;
            }
        }
    }
}
