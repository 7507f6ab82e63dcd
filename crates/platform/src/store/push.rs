//! Push: a folder, to an address.
//!
//! What the store has already is found out by hash and not sent again. Nothing that readers look at
//! changes until everything is there; then it changes at once. A store that holds something which
//! what is pushed was not made from is left alone: pushing then would undo someone else's work.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use embody_core::{IoContext, Result, Task};
use serde::Serialize;

use super::access::StoreAccess;
use super::digest::Hasher;
use super::error::StoreError;
use super::hub::Hub;
use super::manifest::LINEAGE;
use super::name::check_names;
use super::object::Objects;
use super::pull::local_files;
use super::url::StoreUrl;
use super::{DEFAULT_CONNECTIONS, Overlay, block_on, hub_push, object_push};

/// How to push.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Make the repository where there is none (Hub).
    pub create: bool,
    /// Make it public rather than private.
    pub public: bool,
    /// Push although the store holds something else by now.
    pub overwrite: bool,
    /// First line of the commit.
    pub message: String,
    /// Connections at a time.
    pub connections: usize,
    /// Files whose content is this rather than what is on disk.
    pub overlay: Overlay,
    /// Files of the folder that are not pushed.
    pub leave_out: Vec<String>,
    /// Files to add where neither the folder nor the store has them.
    pub if_absent: Overlay,
    /// Content versions that the folder was made from, itself included.
    pub ancestors: Vec<String>,
    /// Commit or version of this very address that the folder came from.
    pub base: Option<String>,
    /// Tag to set on what is pushed; moved where it exists (Hub).
    pub tag: Option<String>,
    /// Only say what would be done.
    pub plan_only: bool,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            create: false,
            public: false,
            overwrite: false,
            message: "Upload by embody".to_owned(),
            connections: DEFAULT_CONNECTIONS,
            overlay: Overlay::new(),
            leave_out: Vec::new(),
            if_absent: Overlay::new(),
            ancestors: Vec::new(),
            base: None,
            tag: None,
            plan_only: false,
        }
    }
}

/// What a push did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct PushReport {
    /// Where it went.
    pub url: String,
    /// The Hub's address; `None` for object stores.
    pub endpoint: Option<String>,
    /// Commit or content version that stands there now; `None` where nothing was pushed yet.
    pub version: Option<String>,
    /// The address that always means this content.
    pub pinned: Option<String>,
    /// Files of the folder.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Files that differ from what the store had.
    pub changed_files: usize,
    /// Bytes that went over the wire as contents; what the store knew by its hash did not.
    pub uploaded_bytes: u64,
    /// Files that were taken out, since the folder does not have them.
    pub deleted_files: usize,
    /// Whether the repository was made.
    pub created: bool,
    /// The tag that was set.
    pub tag: Option<String>,
    /// Whether anything changed there.
    pub changed: bool,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Where the bytes of a file come from.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Disk(PathBuf),
    Memory(Vec<u8>),
}

/// A file to push.
#[derive(Debug, Clone)]
pub(super) struct LocalFile {
    /// Path in the dataset.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Its bytes.
    pub content: Content,
}

impl LocalFile {
    fn memory(name: &str, content: &[u8]) -> Self {
        let bytes = content.len() as u64;
        Self { name: name.to_owned(), bytes, content: Content::Memory(content.to_owned()) }
    }

    /// Runs the whole content through `hasher`.
    pub(super) fn hash(&self, mut hasher: Hasher, task: Task<'_>) -> Result<String> {
        match &self.content {
            Content::Disk(path) => hasher.update_file(path, self.bytes, task.cancel)?,
            Content::Memory(bytes) => hasher.update(bytes),
        }
        Ok(hasher.finish())
    }

    /// `count` bytes from `start` on; fewer only at the end.
    pub(super) async fn read(&self, start: u64, count: u64) -> Result<Vec<u8>> {
        use tokio::io::{AsyncReadExt, AsyncSeekExt};
        let count = count.min(self.bytes.saturating_sub(start));
        match &self.content {
            Content::Memory(bytes) => {
                let range = start as usize..(start + count) as usize;
                Ok(bytes.get(range).unwrap_or_default().to_vec())
            }
            Content::Disk(path) => {
                let mut file = tokio::fs::File::open(path).await.at("read", path)?;
                file.seek(std::io::SeekFrom::Start(start)).await.at("read", path)?;
                let mut out = Vec::with_capacity(count as usize);
                file.take(count).read_to_end(&mut out).await.at("read", path)?;
                if out.len() as u64 != count {
                    return Err(self.changed());
                }
                Ok(out)
            }
        }
    }

    /// The error for a file that is not what it was when the push began.
    pub(super) fn changed(&self) -> embody_core::Error {
        StoreError::Local {
            path: PathBuf::from(&self.name),
            why: "it changed while it was pushed; nothing was published".to_owned(),
            hint: "push again when nothing writes to the folder",
        }
        .into()
    }
}

/// Puts the folder `source` at `url`.
///
/// # Errors
/// What the store refused; a store that has moved on. What readers see is then as it was, and what
/// has been sent is not sent again by the next attempt.
pub fn push(
    source: &Path,
    url: &StoreUrl,
    options: &PushOptions,
    access: &StoreAccess,
    task: Task<'_>,
) -> Result<PushReport> {
    let started = Instant::now();
    let files = collect(source, options)?;
    check_names(&source.display().to_string(), files.keys().map(String::as_str))?;
    if files.is_empty() {
        return Err(StoreError::Local {
            path: source.to_owned(),
            why: "the folder holds no files".to_owned(),
            hint: "check the path",
        }
        .into());
    }
    let mut report = match url {
        StoreUrl::Hub(at) => {
            if !at.path.is_empty() {
                return Err(StoreError::Refused {
                    url: url.to_string(),
                    why: "a dataset fills a repository, not a folder of one".to_owned(),
                    hint: "leave out what stands behind ORG/NAME",
                }
                .into());
            }
            let hub = Hub::new(at.clone(), access)?;
            block_on(task, hub_push::push(&hub, source, &files, options, task))?
        }
        StoreUrl::Object(at) => {
            if at.version.is_some() {
                return Err(StoreError::Refused {
                    url: url.to_string(),
                    why: "a version is named by its content, which is not chosen".to_owned(),
                    hint: "leave out what stands behind @",
                }
                .into());
            }
            let objects = if options.plan_only {
                Objects::open_existing(at, access)?
            } else {
                Objects::open_for(at, access)?
            };
            block_on(task, object_push::push(&objects, source, &files, options, task))?
        }
    };
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn collect(source: &Path, options: &PushOptions) -> Result<BTreeMap<String, LocalFile>> {
    let mut files = BTreeMap::new();
    if !source.is_dir() {
        return Err(StoreError::Local {
            path: source.to_owned(),
            why: "no such folder".to_owned(),
            hint: "name the dataset's folder",
        }
        .into());
    }
    for name in local_files(source)? {
        let path = source.join(&name);
        let bytes = fs::metadata(&path).at("read", &path)?.len();
        files.insert(name.clone(), LocalFile { name, bytes, content: Content::Disk(path) });
    }
    for (name, content) in &options.overlay {
        files.insert(name.clone(), LocalFile::memory(name, content));
    }
    files.retain(|name, _| !options.leave_out.contains(name));
    Ok(files)
}

/// Files to add that neither side has.
pub(super) fn absent<'a>(
    options: &'a PushOptions,
    files: &'a BTreeMap<String, LocalFile>,
    remote_has: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = LocalFile> + 'a {
    let missing = move |name: &&String| !files.contains_key(*name) && !remote_has(name);
    let added = options.if_absent.iter().filter(move |(name, _)| missing(name));
    added.map(|(name, content)| LocalFile::memory(name, content))
}

/// Whether only the record of where the dataset came from differs: that is no change of the dataset.
pub(super) fn only_lineage<'a>(changed: impl Iterator<Item = &'a str>) -> bool {
    changed.into_iter().all(|name| name == LINEAGE)
}

/// Refuses to go over a version that what is pushed was not made from.
///
/// # Errors
/// [`StoreError::MovedOn`].
pub(super) fn check_ancestry(
    url: &str,
    source: &Path,
    options: &PushOptions,
    remote: &RemoteState,
) -> Result<()> {
    let there = [&remote.version, &remote.at].into_iter().flatten();
    let known = there.into_iter().any(|v| options.ancestors.contains(v));
    let same_place = options.base.is_some() && options.base == remote.at;
    if options.overwrite || !remote.holds_data || known || same_place {
        return Ok(());
    }
    let short = |text: &Option<String>| text.as_ref().map(|t| t.chars().take(12).collect());
    let commit: Option<String> = short(&remote.at);
    let version: Option<String> = short(&remote.version);
    let found = match (commit, version) {
        (Some(c), Some(v)) if c != v => format!("version {v} (commit {c})"),
        (Some(c), _) | (None, Some(c)) => c,
        (None, None) => "files of unknown origin".to_owned(),
    };
    Err(StoreError::MovedOn { url: url.to_owned(), found, folder: source.to_owned() }.into())
}

/// What stands at an address before a push.
pub(super) struct RemoteState {
    /// Commit, or version of an object store.
    pub at: Option<String>,
    /// Content version of the dataset there, where it says.
    pub version: Option<String>,
    /// Whether there is anything to lose.
    pub holds_data: bool,
}
