//! `embody data pull` and `push`: what of a dataset matters to a store, and what a person is told.
//!
//! Files are moved by `embody_platform::store`, which knows no datasets. From here come the lineage,
//! the card and the tag by which LeRobot finds its version.

use std::path::{Path, PathBuf};

use embody_core::{Error, Result, Task, hash_bytes};
use embody_data::{Dataset, ImportOptions, Lineage, StoreCopy, Versions};
use embody_platform::store::{
    Overlay, PullOptions, PullReport, PushOptions, PushReport, StoreUrl, pull, push,
};
use serde_json::json;

use crate::App;
use crate::cli::{PullFlags, PushFlags, StoreCommand};
use crate::settings::Config;
use crate::ui::{bytes, print_data, say};

const CARD: &str = "README.md";
const INFO: &str = "meta/info.json";

/// Runs the verb.
///
/// # Errors
/// An address that is none, what the store refused, a target that holds something else.
pub fn run(app: &App<'_>, command: &StoreCommand) -> Result<()> {
    match command {
        StoreCommand::Pull { url, target, flags } => {
            let url = StoreUrl::parse(url)?;
            let report = pull_dataset(app, &url, target, flags)?;
            if app.json {
                print_data(&json!(report).to_string());
            } else {
                print_data(&pulled(&report, flags.plan));
            }
        }
        StoreCommand::Push { source, url, flags } => {
            let url = StoreUrl::parse(url)?;
            let report = push_dataset(app, source, &url, flags)?;
            if app.json {
                print_data(&json!(report).to_string());
            } else {
                print_data(&pushed(source, &report, flags.plan));
            }
        }
    }
    Ok(())
}

fn pull_dataset(
    app: &App<'_>,
    url: &StoreUrl,
    target: &Path,
    flags: &PullFlags,
) -> Result<PullReport> {
    let mut options = PullOptions {
        include: flags.include.clone(),
        exclude: flags.exclude.clone(),
        connections: flags.connections.into(),
        replace: flags.replace,
        plan_only: flags.plan,
        ..PullOptions::default()
    };
    if let Some((name, content)) = embody_data::portable_lineage(target)? {
        if embody_data::lineage(target)?.is_some_and(|l| is_note(&l)) {
            options.disposable.push(name.to_owned());
        }
        options.overlay.insert(name.to_owned(), content);
    }
    let report = pull(url, target, &options, &app.config.stores, app.task)?;
    let whole = !report.partial && !flags.plan && target.join(INFO).is_file();
    if let (true, Some(version)) = (whole, &report.version) {
        let url = url.unpinned().to_string();
        record(
            target,
            StoreCopy { url, endpoint: report.endpoint.clone(), version: version.clone() },
        )?;
    }
    Ok(report)
}

/// Whether a record says only where its dataset was pulled from: it is made again, and not pushed.
fn is_note(lineage: &Lineage) -> bool {
    lineage.operation == "pull"
}

fn record(root: &Path, copy: StoreCopy) -> Result<()> {
    let now = embody_data::lineage(root)?.and_then(|l| l.store);
    if now.as_ref() != Some(&copy) {
        embody_data::record_store(root, copy)?;
    }
    Ok(())
}

fn push_dataset(
    app: &App<'_>,
    source: &Path,
    url: &StoreUrl,
    flags: &PushFlags,
) -> Result<PushReport> {
    let mut options = PushOptions {
        create: flags.create,
        public: flags.public,
        overwrite: flags.overwrite,
        connections: flags.connections.into(),
        plan_only: flags.plan,
        ..PushOptions::default()
    };
    if let Some(message) = &flags.message {
        options.message.clone_from(message);
    }
    let dataset = if source.join(INFO).is_file() { Some(Dataset::open_any(source)?) } else { None };
    if let (Some(dataset), StoreUrl::Hub(hub)) = (&dataset, url) {
        options.if_absent.insert(CARD.to_owned(), card(&hub.repo, dataset).into_bytes());
        // Loaders look for the tag on what everyone sees, which is `main`.
        let on_main = hub.revision.as_deref().is_none_or(|r| r == "main");
        options.tag = on_main.then(|| dataset.format().as_str().to_owned());
    }
    let lineage = embody_data::lineage(source)?;
    if let Some(lineage) = &lineage {
        let history = Versions::beside(source)?.history(source)?;
        for one in history.iter().chain([lineage]) {
            let before = one.parent.iter().chain(&one.merged).chain([&one.version]);
            options.ancestors.extend(before.map(ToString::to_string));
        }
        options.base = lineage
            .store
            .as_ref()
            .filter(|c| is_here(c, url, &app.config))
            .map(|c| c.version.clone());
    }
    if let Some((name, content)) = embody_data::portable_lineage(source)? {
        if lineage.as_ref().is_some_and(is_note) {
            options.leave_out.push(name.to_owned());
        }
        options.overlay = Overlay::from([(name.to_owned(), content)]);
    }
    let report = push(source, url, &options, &app.config.stores, app.task)?;
    // A folder that others made is not written to; one of ours says where it went.
    if let (Some(version), Some(_), false) = (&report.version, &lineage, flags.plan) {
        let url = url.unpinned().to_string();
        let copy = StoreCopy { url, endpoint: report.endpoint.clone(), version: version.clone() };
        if let Err(error) = record(source, copy) {
            let folder = source.display();
            app.task.note(&format!("the push is done, but {folder} can't be marked so: {error}"));
        }
    }
    Ok(report)
}

/// Whether a copy is recorded of this very place.
fn is_here(copy: &StoreCopy, url: &StoreUrl, config: &Config) -> bool {
    let endpoint = matches!(url, StoreUrl::Hub(_))
        .then(|| config.stores.hub_endpoint.trim_end_matches('/').to_owned());
    copy.url == url.unpinned().to_string() && copy.endpoint == endpoint
}

/// The source of an import on this disk: an address is pulled into the cache first, and lineage names
/// what was pulled.
///
/// # Errors
/// As a pull.
pub fn fetched(
    config: &Config,
    source: &Path,
    mut options: ImportOptions,
    task: Task<'_>,
) -> Result<(PathBuf, ImportOptions)> {
    let Some(text) = source.to_str().filter(|s| StoreUrl::is_url(s)) else {
        return Ok((source.to_owned(), options));
    };
    let url = StoreUrl::parse(text)?;
    let id = hash_bytes(format!("{} {url}", config.stores.hub_endpoint).as_bytes());
    let target = config.cache.join("stores").join(id.short());
    // The folder is ours: it follows the store.
    let how = PullOptions { replace: true, ..PullOptions::default() };
    let report = pull(&url, &target, &how, &config.stores, task)?;
    task.note(&pulled(&report, false));
    options.parameters = json!({
        "url": url.unpinned().to_string(),
        "endpoint": report.endpoint,
        "version": report.version,
    });
    Ok((target, options))
}

fn pulled(report: &PullReport, plan: bool) -> String {
    let missing = report.files - report.present_files;
    let at = report.pinned.as_ref().unwrap_or(&report.url);
    let mut text = format!(
        "{}: {} files, {}, of {at}",
        report.path.display(),
        report.files,
        bytes(report.bytes)
    );
    if plan {
        let left = bytes(report.bytes - report.present_bytes);
        text +=
            &format!("; {} are there, {missing} files of {left} would come", report.present_files);
    } else {
        let came = bytes(report.downloaded_bytes);
        text += &format!("; {came} came in {:.1} s", report.seconds);
    }
    if report.unhashed_files > 0 {
        text += &format!(
            "\n{} files could be checked by their size only: that store keeps no hashes",
            report.unhashed_files
        );
    }
    text
}

fn pushed(source: &Path, report: &PushReport, plan: bool) -> String {
    let at = report.pinned.as_ref().unwrap_or(&report.url);
    let (files, size) = (report.files, bytes(report.bytes));
    let head = format!("{}: {files} files, {size}", source.display());
    let differ = format!("{} differ, {} go", report.changed_files, report.deleted_files);
    if plan {
        let new = if report.created { ", which would be made" } else { "" };
        return format!("{head}; {differ}, against {at}{new}");
    }
    if report.created {
        say(&format!("made {}", report.url));
    }
    if !report.changed {
        return format!("{head}; {at} is the same, nothing was sent");
    }
    let sent = bytes(report.uploaded_bytes);
    let tag = report.tag.as_ref().map_or_else(String::new, |t| format!(", tag {t}"));
    format!("{head}; {differ}, {sent} sent in {:.1} s; now {at}{tag}", report.seconds)
}

/// The page that the Hub shows, with the tag and the table that its viewers look for.
fn card(name: &str, dataset: &Dataset) -> String {
    let info = dataset.info();
    let robot = info.robot_type.as_deref().unwrap_or("not given");
    let mut text = format!(
        "---\ntask_categories:\n- robotics\ntags:\n- LeRobot\nconfigs:\n- config_name: default\n  \
         data_files: data/*/*.parquet\n---\n\n# {name}\n\nA dataset in the LeRobot {} layout.\n\n\
         | | |\n|---|---|\n| robot | {robot} |\n| episodes | {} |\n| frames | {} |\n| frames per second | {} |\n",
        dataset.format().as_str(),
        info.total_episodes,
        info.total_frames,
        info.fps,
    );
    for (key, feature) in info.features.iter().filter(|(_, f)| f.dtype.is_visual()) {
        text += &format!("| camera | `{key}` {:?} |\n", feature.shape);
    }
    text += "\n## Instructions\n\n";
    for task in dataset.tasks() {
        text += &format!("- {}\n", task.replace(['\n', '\r'], " "));
    }
    text
}

/// The address that a recipe names, if it always means the same.
///
/// # Errors
/// An address that is none, or one that moves.
pub fn pinned(text: &str) -> Result<StoreUrl> {
    let url = StoreUrl::parse(text)?;
    if url.is_pinned() {
        return Ok(url);
    }
    Err(Error::new(format!("{text} may mean something else tomorrow")).with_hint(format!(
        "name a commit or version: `embody data pull --plan {text} x` prints it"
    )))
}
