//! The Hugging Face Hub's writing side.
//!
//! ```text
//! POST /api/repos/create                     where there is none and --create is given
//! POST /api/datasets/R/preupload/REV         which files go by LFS, by the repository's rules
//! POST /datasets/R.git/info/lfs/objects/batch   where LFS contents go; those known already need nothing
//! PUT  …, POST verify                        one request, or numbered parts and a completion
//! POST /api/datasets/R/commit/REV            one line of JSON per file; fails if the parent is not the head
//! DELETE, POST /api/datasets/R/tag/…         the tag that loaders look for
//! ```
//! Contents may lie there before the commit, but no reader sees them; the commit is the one change.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use embody_core::{Error, Result, Task};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::digest::Hasher;
use super::error::StoreError;
use super::http::{Failure, Patience, json as read_json, shown};
use super::hub::Hub;
use super::manifest::{LINEAGE, MAX_LINEAGE};
use super::part::{Meter, RemoteFile};
use super::push::{
    LocalFile, PushOptions, PushReport, RemoteState, absent, check_ancestry, only_lineage,
};

/// Files that one question asks about.
const BATCH: usize = 256;
/// First bytes of a file by which the Hub tells text from data.
const SAMPLE: u64 = 512;
/// Largest file that goes inside the commit, whatever the server says: it is held in memory.
const MAX_INLINE: u64 = 64 << 20;
const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// Folders of a dataset: what the store has in them and the folder has not is taken out.
const DATA_FOLDERS: [&str; 5] = ["data/", "images/", "meta/", "streams/", "videos/"];

#[derive(Deserialize)]
struct Preupload {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<BatchObject>,
}

#[derive(Deserialize)]
struct BatchObject {
    oid: String,
    actions: Option<Actions>,
    error: Option<BatchError>,
}

#[derive(Deserialize)]
struct BatchError {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: HashMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: String,
}

/// A file that differs from what the Hub has.
struct Change {
    file: LocalFile,
    /// SHA-256 where it goes by LFS.
    lfs: Option<String>,
}

/// Pushes `files` as one commit.
pub(super) async fn push(
    hub: &Hub,
    source: &Path,
    files: &BTreeMap<String, LocalFile>,
    options: &PushOptions,
    task: Task<'_>,
) -> Result<PushReport> {
    let branch = hub.at.revision.as_deref().unwrap_or("main");
    let url = format!("hf://datasets/{}", hub.at.repo);
    let (head, created) = head_of(hub, branch, options, task).await?;
    let there = match &head {
        Some(head) => hub.tree(head, "", task).await?,
        None => Vec::new(),
    };
    let there: BTreeMap<&str, &RemoteFile> = there.iter().map(|f| (f.name.as_str(), f)).collect();
    let mut changed = differing(files, &there, task)?;
    changed.extend(absent(options, files, |name| there.contains_key(name)));
    let deleted: Vec<&str> = there
        .keys()
        .filter(|name| DATA_FOLDERS.iter().any(|f| name.starts_with(f)))
        .filter(|name| !files.contains_key(**name))
        .copied()
        .collect();
    let mut report = PushReport {
        url: url.clone(),
        endpoint: Some(hub.endpoint()),
        version: head.clone(),
        pinned: head.as_ref().map(|h| format!("{url}@{h}")),
        files: files.len(),
        bytes: files.values().map(|f| f.bytes).sum(),
        changed_files: changed.len(),
        uploaded_bytes: 0,
        deleted_files: deleted.len(),
        created,
        tag: None,
        changed: created,
        seconds: 0.0,
    };
    let names = changed.iter().map(|f| f.name.as_str()).chain(deleted.iter().copied());
    if only_lineage(names) {
        report.changed_files = 0;
        report.deleted_files = 0;
    } else {
        if let Some(head) = &head {
            let state = remote_state(hub, head, &there, task).await?;
            check_ancestry(&url, source, options, &state)?;
        }
        if options.plan_only {
            return Ok(report);
        }
        let (changes, ignored) = modes(hub, branch, changed, task).await?;
        if !ignored.is_empty() {
            task.note(&format!("left out by the repository's .gitignore: {}", ignored.join(", ")));
        }
        report.uploaded_bytes = upload(hub, branch, &changes, options, task).await?;
        let commit = commit(hub, branch, head.as_deref(), &changes, &deleted, options).await?;
        report.pinned = Some(format!("{url}@{commit}"));
        report.version = Some(commit);
        report.changed = true;
    }
    if let (Some(tag), Some(commit), false) = (&options.tag, &report.version, options.plan_only) {
        if set_tag(hub, tag, commit, task).await? {
            report.changed = true;
        }
        report.tag = Some(tag.clone());
    }
    Ok(report)
}

/// The commit that the branch is at; makes the repository where that is wanted. `None` for a plan
/// of a repository that does not exist.
async fn head_of(
    hub: &Hub,
    branch: &str,
    options: &PushOptions,
    task: Task<'_>,
) -> Result<(Option<String>, bool)> {
    let (status, missing) = match hub.find_commit(branch, task).await? {
        Ok(head) => return Ok((Some(head), false)),
        Err(refusal) => refusal,
    };
    // Without a right to see it, the Hub says 401 of a repository that does not exist.
    if !matches!(status, 401 | 404) || !options.create || hub.at.revision.is_some() {
        return Err(missing);
    }
    if options.plan_only {
        return Ok((None, true));
    }
    let (organization, name) = hub.at.repo.split_once('/').unwrap_or_default();
    let visibility = if options.public { "public" } else { "private" };
    let body = json!({
        "type": "dataset",
        "name": name,
        "organization": organization,
        "private": !options.public,
        "visibility": visibility,
    });
    let url = hub.url(["api", "repos", "create"]);
    let request = || {
        let request = hub.request(Method::POST, url.clone());
        request.header(CONTENT_TYPE, "application/json").body(body.to_string())
    };
    match hub.http.ask(task, request).await? {
        // 409: made by an earlier attempt whose answer was lost, or by someone else just now.
        Ok(_) | Err((409, _)) => {}
        Err((_, error)) => return Err(error),
    }
    Ok((Some(hub.commit(branch, task).await?), true))
}

/// Files that the Hub has not, or has with other content.
fn differing(
    files: &BTreeMap<String, LocalFile>,
    there: &BTreeMap<&str, &RemoteFile>,
    task: Task<'_>,
) -> Result<Vec<LocalFile>> {
    let mut out = Vec::new();
    task.begin("compare", Some(files.len() as u64), "files");
    for (done, (name, file)) in files.iter().enumerate() {
        let same = match there.get(name.as_str()) {
            Some(remote) if remote.bytes == file.bytes => match &remote.checksum {
                Some(sum) => file.hash(sum.hasher(file.bytes), task)? == sum.digits(),
                None => false,
            },
            _ => false,
        };
        if !same {
            out.push(file.clone());
        }
        task.advance("compare", done as u64 + 1, "")?;
    }
    task.end("compare");
    Ok(out)
}

async fn remote_state(
    hub: &Hub,
    head: &str,
    there: &BTreeMap<&str, &RemoteFile>,
    task: Task<'_>,
) -> Result<RemoteState> {
    let lineage = match there.contains_key(LINEAGE) {
        true => hub.small(head, LINEAGE, MAX_LINEAGE as usize, task).await?,
        false => None,
    };
    let lineage: Option<Value> = lineage.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let version = lineage.as_ref().and_then(|l| l.get("version")?.as_str().map(str::to_owned));
    let data = |name: &&str| DATA_FOLDERS.iter().any(|f| name.starts_with(f));
    let holds_data = there.keys().any(data);
    Ok(RemoteState { at: Some(head.to_owned()), version, holds_data })
}

/// Asks which files go by LFS. Gives the changes and the names of files that are ignored there.
async fn modes(
    hub: &Hub,
    branch: &str,
    files: Vec<LocalFile>,
    task: Task<'_>,
) -> Result<(Vec<Change>, Vec<String>)> {
    let url = hub.api(["preupload", branch]);
    let mut by_name = HashMap::new();
    for some in files.chunks(BATCH) {
        let mut asked = Vec::new();
        for file in some {
            let sample = BASE64.encode(file.read(0, SAMPLE).await?);
            asked.push(json!({ "path": file.name, "size": file.bytes, "sample": sample }));
        }
        let body = json!({ "files": asked }).to_string();
        let request = || {
            let request = hub.request(Method::POST, url.clone());
            request.header(CONTENT_TYPE, "application/json").body(body.clone())
        };
        let Preupload { files } = read_json(hub.http.send(task, request).await?).await?;
        by_name.extend(files.into_iter().map(|m| (m.path.clone(), m)));
    }
    let (mut changes, mut ignored) = (Vec::new(), Vec::new());
    task.begin("hash", Some(files.len() as u64), "files");
    for (done, file) in files.into_iter().enumerate() {
        let protocol = |why: String| StoreError::Protocol { url: shown(&url), why };
        let mode = by_name
            .get(&file.name)
            .ok_or_else(|| protocol(format!("no word about {:?}", file.name)))?;
        if mode.should_ignore {
            ignored.push(file.name);
            continue;
        }
        let lfs = match mode.upload_mode.as_str() {
            "lfs" => Some(file.hash(Hasher::sha256(), task)?),
            "regular" if file.bytes <= MAX_INLINE => None,
            "regular" => {
                let why = format!("{:?} of {} bytes is to go without LFS", file.name, file.bytes);
                return Err(protocol(why).into());
            }
            other => return Err(protocol(format!("upload mode {other:?}")).into()),
        };
        changes.push(Change { file, lfs });
        task.advance("hash", done as u64 + 1, "")?;
    }
    task.end("hash");
    Ok((changes, ignored))
}

/// Sends the contents that go by LFS and are not there; gives the bytes sent.
async fn upload(
    hub: &Hub,
    branch: &str,
    changes: &[Change],
    options: &PushOptions,
    task: Task<'_>,
) -> Result<u64> {
    let by_lfs: Vec<(&LocalFile, &str)> =
        changes.iter().filter_map(|c| Some((&c.file, c.lfs.as_deref()?))).collect();
    let mut unique: BTreeMap<&str, &LocalFile> = BTreeMap::new();
    unique.extend(by_lfs.iter().map(|(file, oid)| (*oid, *file)));
    let unique: Vec<(&str, &LocalFile)> = unique.into_iter().collect();
    let url = lfs_batch_url(hub);
    let mut work = Vec::new();
    for some in unique.chunks(BATCH) {
        let objects: Vec<Value> =
            some.iter().map(|(oid, f)| json!({ "oid": oid, "size": f.bytes })).collect();
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": objects,
            "hash_algo": "sha256",
            "ref": { "name": branch },
        })
        .to_string();
        let request = || {
            let request = hub.request(Method::POST, url.clone());
            request.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON).body(body.clone())
        };
        let Batch { objects } = read_json(hub.http.send(task, request).await?).await?;
        for object in objects {
            let known = some.iter().find(|(oid, _)| *oid == object.oid);
            let Some((oid, file)) = known else { continue };
            if let Some(BatchError { code, message }) = object.error {
                let url = format!("{} for {}", shown(&url), file.name);
                let code_name = String::new();
                return Err(
                    StoreError::Status { url, status: code, code: code_name, message }.into()
                );
            }
            work.extend(object.actions.map(|actions| (*oid, *file, actions)));
        }
    }
    let sent: u64 = work.iter().map(|(_, file, _)| file.bytes).sum();
    let meter = Meter::begin("push", sent, task);
    stream::iter(&work)
        .map(|(oid, file, actions)| upload_one(hub, oid, file, actions, &meter, task))
        .buffer_unordered(options.connections.max(1))
        .try_collect::<Vec<()>>()
        .await?;
    meter.end()?;
    Ok(sent)
}

fn lfs_batch_url(hub: &Hub) -> Url {
    let (org, name) = hub.at.repo.split_once('/').unwrap_or_default();
    let git = format!("{name}.git");
    hub.url(["datasets", org, &git, "info", "lfs", "objects", "batch"])
}

async fn upload_one(
    hub: &Hub,
    oid: &str,
    file: &LocalFile,
    actions: &Actions,
    meter: &Meter<'_>,
    task: Task<'_>,
) -> Result<()> {
    let bad = |why: String| StoreError::Protocol { url: shown(&lfs_batch_url(hub)), why };
    let address = |href: &str| Url::parse(href).map_err(|e| bad(format!("{href:?}: {e}")));
    if let Some(action) = &actions.upload {
        let url = address(&action.href)?;
        match action.header.get("chunk_size") {
            None => put(hub, &url, file, (0, file.bytes), meter, task).await.map(|_| ())?,
            Some(size) => {
                let size = size.as_u64().or_else(|| size.as_str()?.parse().ok());
                let size = size.filter(|s| *s > 0).ok_or_else(|| bad("no chunk_size".into()))?;
                multipart(hub, oid, file, action, (&url, size), meter, task).await?;
            }
        }
    }
    if let Some(action) = &actions.verify {
        let url = address(&action.href)?;
        let body = json!({ "oid": oid, "size": file.bytes }).to_string();
        let request = || {
            let request = hub.request(Method::POST, url.clone());
            request.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON).body(body.clone())
        };
        hub.http.send(task, request).await?;
    }
    Ok(())
}

/// Sends numbered parts to the addresses that the server gave, then says that all are there.
async fn multipart(
    hub: &Hub,
    oid: &str,
    file: &LocalFile,
    action: &Action,
    (completion, size): (&Url, u64),
    meter: &Meter<'_>,
    task: Task<'_>,
) -> Result<()> {
    let bad = |why: String| StoreError::Protocol { url: shown(completion), why };
    let mut addresses = BTreeMap::new();
    for (key, value) in &action.header {
        if let (Ok(number), Some(href)) = (key.parse::<u64>(), value.as_str()) {
            addresses.insert(number, Url::parse(href).map_err(|e| bad(format!("{href:?}: {e}")))?);
        }
    }
    if addresses.len() as u64 != file.bytes.div_ceil(size) {
        let why = format!("{} parts of {size} bytes for {}", addresses.len(), file.bytes);
        return Err(bad(why).into());
    }
    let mut parts = Vec::new();
    for (at, (number, url)) in addresses.iter().enumerate() {
        let start = at as u64 * size;
        let count = size.min(file.bytes - start);
        let etag = put(hub, url, file, (start, count), meter, task).await?;
        let etag = etag.ok_or_else(|| bad(format!("part {number} came back without ETag")))?;
        parts.push(json!({ "partNumber": number, "etag": etag }));
    }
    let body = json!({ "oid": oid, "parts": parts }).to_string();
    let request = || {
        let request = hub.request(Method::POST, completion.clone());
        request.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON).body(body.clone())
    };
    hub.http.send(task, request).await.map(|_| ())
}

/// Bytes of a file that are read at a time while it is sent.
const CHUNK: u64 = 1 << 20;
/// How often progress is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sends a range of a file; gives the entity tag of the answer.
async fn put(
    hub: &Hub,
    url: &Url,
    file: &LocalFile,
    (start, count): (u64, u64),
    meter: &Meter<'_>,
    task: Task<'_>,
) -> Result<Option<String>> {
    let mut patience = Patience::default();
    loop {
        let owned = file.clone();
        let gone = Arc::new(AtomicU64::new(0));
        let tally = Arc::clone(&gone);
        let chunks = stream::iter((0..count.div_ceil(CHUNK)).map(move |i| {
            let from = start + i * CHUNK;
            (owned.clone(), from, CHUNK.min(start + count - from))
        }));
        let body = chunks.then(move |(file, from, n)| {
            let tally = Arc::clone(&tally);
            async move {
                let chunk = file.read(from, n).await.map_err(|e| e.to_string());
                tally.fetch_add(n, Ordering::Relaxed);
                chunk.map_err(std::io::Error::other)
            }
        });
        // The address is signed; the length must stand in front, stores take no open-ended bodies.
        let request = hub.http.sending(Method::PUT, url.clone(), count);
        let request = request.header(reqwest::header::CONTENT_LENGTH, count);
        let mut sending = pin!(hub.http.once(request.body(reqwest::Body::wrap_stream(body))));
        let mut shown = 0;
        let outcome = loop {
            tokio::select! {
                outcome = &mut sending => break outcome,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let now = gone.load(Ordering::Relaxed);
                    meter.add(now - shown)?;
                    shown = now;
                }
            }
        };
        match outcome {
            Ok(response) => {
                meter.add(count - shown)?;
                let etag = response.headers().get(ETAG).and_then(|v| v.to_str().ok());
                return Ok(etag.map(str::to_owned));
            }
            Err(failure) => {
                meter.take_back(shown);
                patience.after(failure, task).await?;
            }
        }
    }
}

/// The one change that readers see.
async fn commit(
    hub: &Hub,
    branch: &str,
    parent: Option<&str>,
    changes: &[Change],
    deleted: &[&str],
    options: &PushOptions,
) -> Result<String> {
    let mut header = json!({ "summary": options.message, "description": "" });
    if let Some(parent) = parent {
        header["parentCommit"] = json!(parent);
    }
    let mut body = json!({ "key": "header", "value": header }).to_string();
    for Change { file, lfs } in changes {
        let line = match lfs {
            Some(oid) => json!({ "key": "lfsFile", "value": {
                "path": file.name, "algo": "sha256", "oid": oid, "size": file.bytes,
            }}),
            None => json!({ "key": "file", "value": {
                "path": file.name,
                "encoding": "base64",
                "content": BASE64.encode(file.read(0, file.bytes).await?),
            }}),
        };
        body.push('\n');
        body.push_str(&line.to_string());
    }
    for path in deleted {
        body.push('\n');
        body.push_str(&json!({ "key": "deletedFile", "value": { "path": path } }).to_string());
    }
    let url = hub.api(["commit", branch]);
    let request = hub.sending(Method::POST, url, body.len() as u64);
    let request = request.header(CONTENT_TYPE, "application/x-ndjson");
    // Sent once: when the answer is lost, the commit may have been taken, and a second one would be
    // refused as not building on the head.
    match hub.http.once(request.body(body)).await {
        Ok(response) => {
            let Committed { commit_oid } = read_json(response).await?;
            Ok(commit_oid)
        }
        Err(Failure::Refused(_, error) | Failure::Fatal(error)) => Err(error),
        Err(Failure::Again(error, _)) => Err(Error::from(error)
            .context("the commit may or may not have been taken")
            .with_hint("run the same command again: it finds out, and sends nothing twice")),
    }
}

/// Puts the tag on `commit`; gives whether it stood elsewhere.
async fn set_tag(hub: &Hub, tag: &str, commit: &str, task: Task<'_>) -> Result<bool> {
    match hub.find_commit(tag, task).await? {
        Ok(at) if at == commit => return Ok(false),
        Ok(_) => {
            let url = hub.api(["tag", tag]);
            hub.http.send(task, || hub.request(Method::DELETE, url.clone())).await?;
        }
        Err((404, _)) => {}
        Err((_, error)) => return Err(error),
    }
    let url = hub.api(["tag", commit]);
    let body = json!({ "tag": tag }).to_string();
    let request = || {
        let request = hub.request(Method::POST, url.clone());
        request.header(CONTENT_TYPE, "application/json").body(body.clone())
    };
    hub.http.send(task, request).await?;
    Ok(true)
}
