//! Pull: what stands at an address, as a folder.
//!
//! The plan comes first: which files there are, which of them the target has already (same size, same
//! hash), which an earlier, stopped pull has fetched. The rest comes over several connections into a
//! folder beside the target, which takes the target's place only when every file in it is what the
//! store announced: nobody ever sees half of one version and half of another.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

use embody_core::{AtomicDir, IoContext, Result, Task};
use futures_util::{StreamExt, TryStreamExt, stream};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Serialize;

use super::access::StoreAccess;
use super::error::StoreError;
use super::http::Failure;
use super::hub::Hub;
use super::name::{PARTS, check_names};
use super::object::Objects;
use super::part::{Meter, Opened, PULL, RemoteFile, fetch};
use super::url::StoreUrl;
use super::{DEFAULT_CONNECTIONS, Overlay, block_on};

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Only files that one of these patterns fits; `*` goes across folders. All where empty.
    pub include: Vec<String>,
    /// No files that one of these fits.
    pub exclude: Vec<String>,
    /// Connections at a time.
    pub connections: usize,
    /// Give up what in the target is not as the store has it.
    pub replace: bool,
    /// Only say what would be done.
    pub plan_only: bool,
    /// Files of the target that count as if they had this content.
    pub overlay: Overlay,
    /// Files of the target that are no loss where the store has none of that name.
    pub disposable: Vec<String>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
            connections: DEFAULT_CONNECTIONS,
            replace: false,
            plan_only: false,
            overlay: Overlay::new(),
            disposable: Vec::new(),
        }
    }
}

/// What a pull did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct PullReport {
    /// Where it came from.
    pub url: String,
    /// The Hub's address; `None` for object stores.
    pub endpoint: Option<String>,
    /// Commit or content version; `None` for a plain prefix, which has none.
    pub version: Option<String>,
    /// The address that always means this content, where there is one.
    pub pinned: Option<String>,
    /// Where it stands.
    pub path: PathBuf,
    /// Files asked for.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Files that were there already, in the target or from a stopped pull.
    pub present_files: usize,
    /// Their size.
    pub present_bytes: u64,
    /// Bytes that came over the wire.
    pub downloaded_bytes: u64,
    /// Files of which only the size could be checked, since the store gives no hash.
    pub unhashed_files: usize,
    /// Whether patterns left files out.
    pub partial: bool,
    /// Whether anything was written.
    pub changed: bool,
    /// Wall-clock time.
    pub seconds: f64,
}

/// A store, opened at one version.
pub(super) enum Remote {
    Hub { hub: Box<Hub>, commit: String },
    Objects(Objects),
}

impl Remote {
    pub(super) async fn open(
        &self,
        file: &RemoteFile,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Opened, Failure> {
        match self {
            Self::Hub { hub, commit } => hub.open(commit, file, from, etag).await,
            Self::Objects(objects) => objects.open(file, from).await,
        }
    }

    /// Address of a file, for messages.
    pub(super) fn address(&self, file: &RemoteFile) -> String {
        match self {
            Self::Hub { hub, commit } => hub.resolve(commit, &file.key).to_string(),
            Self::Objects(objects) => objects.address(&file.key),
        }
    }
}

/// Everything that stands at an address.
struct Listing {
    remote: Remote,
    version: Option<String>,
    endpoint: Option<String>,
    files: Vec<RemoteFile>,
}

/// Which listed files are wanted, and where each is now.
struct Plan {
    wanted: Vec<RemoteFile>,
    /// In the target, as listed: wanted ones, and others that an earlier pull brought.
    in_target: Vec<RemoteFile>,
    /// Files of the target that would be lost: changed there, or unknown to the store.
    lost: Vec<String>,
}

/// Brings what stands at `url` into the folder `target`.
///
/// # Errors
/// What the store refused; a name that would leave the folder; content that is not what was
/// announced; a target that holds something else. The target is then as it was, and what has come is
/// kept beside it for the next attempt.
pub fn pull(
    url: &StoreUrl,
    target: &Path,
    options: &PullOptions,
    access: &StoreAccess,
    task: Task<'_>,
) -> Result<PullReport> {
    let started = Instant::now();
    // `.` has a name of its own only so.
    let target = &std::path::absolute(target).at("name", target)?;
    let filter = Filter::new(&options.include, &options.exclude)?;
    let listing = block_on(task, list(url, access, task))?;
    check_names(&url.to_string(), listing.files.iter().map(|f| f.name.as_str()))?;
    let plan = plan(&listing.files, target, &filter, options, task)?;
    let total = |files: &[RemoteFile]| files.iter().map(|f| f.bytes).sum::<u64>();
    if plan.wanted.is_empty() {
        let filtered = !listing.files.is_empty();
        return Err(StoreError::Empty { url: url.to_string(), filtered }.into());
    }
    let mut missing: Vec<RemoteFile> = plan.wanted.clone();
    missing.retain(|f| !plan.in_target.iter().any(|t| t.name == f.name));
    let version = listing.version.clone();
    let mut report = PullReport {
        url: url.to_string(),
        endpoint: listing.endpoint.clone(),
        pinned: version.as_ref().map(|v| url.pinned(v).to_string()),
        version,
        path: target.to_owned(),
        files: plan.wanted.len(),
        bytes: total(&plan.wanted),
        present_files: plan.wanted.len() - missing.len(),
        present_bytes: total(&plan.wanted) - total(&missing),
        downloaded_bytes: 0,
        unhashed_files: plan.wanted.iter().filter(|f| f.checksum.is_none()).count(),
        partial: plan.wanted.len() < listing.files.len(),
        changed: false,
        seconds: 0.0,
    };
    let nothing_to_do = missing.is_empty() && plan.lost.is_empty();
    if !nothing_to_do && !plan.lost.is_empty() && !options.replace {
        return Err(StoreError::LocalChanges {
            target: target.to_owned(),
            url: url.to_string(),
            count: plan.lost.len(),
            example: plan.lost[0].clone(),
        }
        .into());
    }
    if options.plan_only || nothing_to_do {
        report.seconds = started.elapsed().as_secs_f64();
        return Ok(report);
    }
    let staging = AtomicDir::begin(target, true)?;
    match fill(&listing.remote, &plan, missing, staging.path(), target, options, task) {
        Ok((present, downloaded)) => {
            report.present_files += present.0;
            report.present_bytes += present.1;
            report.downloaded_bytes = downloaded;
            staging.commit()?;
        }
        Err(error) => {
            staging.keep();
            return Err(error);
        }
    }
    report.changed = true;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

async fn list(url: &StoreUrl, access: &StoreAccess, task: Task<'_>) -> Result<Listing> {
    match url {
        StoreUrl::Hub(at) => {
            let hub = Box::new(Hub::new(at.clone(), access)?);
            let commit = hub.commit(at.revision.as_deref().unwrap_or("main"), task).await?;
            let files = hub.tree(&commit, &at.path, task).await?;
            Ok(Listing {
                endpoint: Some(hub.endpoint()),
                version: Some(commit.clone()),
                remote: Remote::Hub { hub, commit },
                files,
            })
        }
        StoreUrl::Object(at) => {
            let objects = Objects::open_existing(at, access)?;
            let (version, files) = objects.list(task).await?;
            Ok(Listing { remote: Remote::Objects(objects), version, endpoint: None, files })
        }
    }
}

/// Compares the listing with the target.
fn plan(
    files: &[RemoteFile],
    target: &Path,
    filter: &Filter,
    options: &PullOptions,
    task: Task<'_>,
) -> Result<Plan> {
    let wanted: Vec<RemoteFile> = files.iter().filter(|f| filter.wants(&f.name)).cloned().collect();
    let mut plan = Plan { wanted, in_target: Vec::new(), lost: Vec::new() };
    if !target.exists() {
        return Ok(plan);
    }
    let mut there = local_files(target)?;
    task.begin("compare", Some(there.len() as u64), "files");
    for file in files {
        let Ok(at) = there.binary_search(&file.name) else { continue };
        let same = match options.overlay.get(&file.name) {
            Some(content) => file.checksum.as_ref().is_some_and(|c| c.fits(content)),
            None => is_as_listed(file, &target.join(&file.name), task)?,
        };
        if same {
            plan.in_target.push(file.clone());
            there.remove(at);
        }
        task.advance("compare", plan.in_target.len() as u64, "")?;
    }
    task.end("compare");
    there.retain(|name| !options.disposable.contains(name));
    plan.lost = there;
    Ok(plan)
}

fn is_as_listed(file: &RemoteFile, path: &Path, task: Task<'_>) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == file.bytes => match &file.checksum {
            Some(checksum) => checksum.fits_file(path, file.bytes, task.cancel),
            None => Ok(true),
        },
        _ => Ok(false),
    }
}

/// Puts every file into the folder under construction. Gives count and size of those that an earlier
/// pull had fetched, and the bytes that came now.
fn fill(
    remote: &Remote,
    plan: &Plan,
    mut missing: Vec<RemoteFile>,
    staging: &Path,
    target: &Path,
    options: &PullOptions,
    task: Task<'_>,
) -> Result<((usize, u64), u64)> {
    let parts = staging.join(PARTS);
    fs::create_dir_all(&parts).at("create folder", &parts)?;
    let lock_path = parts.join("lock");
    let lock = File::create(&lock_path).at("create", &lock_path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Busy { target: target.to_owned() }.into());
        }
        Err(TryLockError::Error(e)) => return Err(e).at("lock", &lock_path),
    }
    let mut present = (0, 0);
    let mut unfetched = Vec::new();
    for file in missing.drain(..) {
        if is_as_listed(&file, &staging.join(&file.name), task)? {
            present = (present.0 + 1, present.1 + file.bytes);
        } else {
            unfetched.push(file);
        }
    }
    for file in &plan.in_target {
        if !options.overlay.contains_key(&file.name) {
            link(&target.join(&file.name), &staging.join(&file.name))?;
        } else if plan.wanted.iter().any(|w| w.name == file.name) {
            // Only the caller's form of it is there; the store's own is fetched.
            unfetched.push(file.clone());
        }
    }
    // Large files first: the last connection does not end long after the others.
    unfetched.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let meter = Meter::begin(PULL, unfetched.iter().map(|f| f.bytes).sum(), task);
    let downloaded = block_on(task, async {
        stream::iter(&unfetched)
            .map(|file| fetch(remote, file, staging, &meter, task))
            .buffer_unordered(options.connections.max(1))
            .try_fold(0, async |sum, bytes| Ok(sum + bytes))
            .await
    })?;
    meter.end()?;
    // Left by a pull of another version.
    let expected =
        |name: &String| plan.wanted.iter().chain(&plan.in_target).any(|f| f.name == *name);
    for name in local_files(staging)?.iter().filter(|n| !expected(n)) {
        let path = staging.join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    drop(lock);
    fs::remove_dir_all(&parts).at("remove", &parts)?;
    remove_empty_folders(staging)?;
    Ok((present, downloaded))
}

/// Another name for a file, or a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).at("create folder", folder)?;
    }
    if to.exists() {
        fs::remove_file(to).at("remove", to)?;
    }
    let from = from.canonicalize().at("find", from)?;
    fs::hard_link(&from, to).or_else(|_| fs::copy(&from, to).map(|_| ())).at("copy", &from)
}

fn remove_empty_folders(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).at("read folder", folder)? {
        let path = entry.at("read folder", folder)?.path();
        if path.is_dir() {
            remove_empty_folders(&path)?;
            // Fails where it is not empty, as it should.
            fs::remove_dir(&path).ok();
        }
    }
    Ok(())
}

/// Files below `root`, sorted, with `/` between the parts; without what [`PARTS`] holds, version
/// control and caches of other programs.
///
/// # Errors
/// A folder that can't be read, a link to a folder, a name that is not Unicode.
pub(super) fn local_files(root: &Path) -> Result<Vec<String>> {
    fn walk(folder: &Path, below: &str, out: &mut Vec<String>) -> Result<()> {
        for entry in fs::read_dir(folder).at("read folder", folder)? {
            let entry = entry.at("read folder", folder)?;
            let path = entry.path();
            let no = |why: &str, hint| StoreError::Local {
                path: path.clone(),
                why: why.to_owned(),
                hint,
            };
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| no("its name is not Unicode", "rename it"))?;
            let is_dir = path.is_dir();
            if is_dir && (name == PARTS || name == ".git" || (below.is_empty() && name == ".cache"))
            {
                continue;
            }
            if is_dir && entry.file_type().at("read", &path)?.is_symlink() {
                return Err(no("a link to a folder", "copy what it points to").into());
            }
            let relative =
                if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            if is_dir {
                walk(&path, &relative, out)?;
            } else {
                out.push(relative);
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(root, "", &mut out)?;
    out.sort();
    Ok(out)
}

/// `--include` and `--exclude`.
struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let include = if include.is_empty() { None } else { Some(globs(include)?) };
        Ok(Self { include, exclude: globs(exclude)? })
    }

    fn wants(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|i| i.is_match(name)) && !self.exclude.is_match(name)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern).map_err(|e| StoreError::Pattern {
            pattern: pattern.clone(),
            why: e.kind().to_string(),
        })?);
    }
    set.build()
        .map_err(|e| StoreError::Pattern { pattern: patterns.join(" "), why: e.to_string() }.into())
}

fn glob(pattern: &str) -> std::result::Result<Glob, globset::Error> {
    // A folder means all below it, as in the Hub's own client.
    let whole = if pattern.ends_with('/') { format!("{pattern}*") } else { pattern.to_owned() };
    GlobBuilder::new(&whole).literal_separator(false).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_go_across_folders() {
        let filter = |i: &[&str], e: &[&str]| {
            let own = |p: &[&str]| p.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            Filter::new(&own(i), &own(e)).expect("patterns")
        };
        let video = "videos/cam/chunk-000/file-000.mp4";
        assert!(filter(&[], &[]).wants(video));
        assert!(filter(&["videos/*"], &[]).wants(video));
        assert!(filter(&["videos/"], &[]).wants(video));
        assert!(filter(&["*.mp4"], &[]).wants(video));
        assert!(!filter(&["meta/*"], &[]).wants(video));
        assert!(!filter(&[], &["videos/*"]).wants(video));
        assert!(Filter::new(&["[".to_owned()], &[]).is_err());
    }
}
