//! `embody data`: edits, repair, recovery, versions.

use std::path::{Path, PathBuf};

use embody_core::{Error, Result};
use embody_data::{
    Dataset, DatasetDiff, EditReport, LeRobotRecorder, Part, Relabel, Trim, Versions,
    parse_episodes,
};
use serde_json::json;

use crate::App;
use crate::cli::EditCommand;
use crate::steps::vary;
use crate::ui::print_data;

/// Runs the verb.
///
/// # Errors
/// What the edit says; nothing is left behind then.
pub fn run(app: &App<'_>, command: &EditCommand) -> Result<()> {
    match command {
        EditCommand::Delete { source, target, episodes } => {
            let episodes = parse_episodes(episodes, episode_count(source)?)?;
            let report = embody_data::delete(source, target, &episodes, app.task)?;
            edited(app, &[source], &[report])
        }
        EditCommand::Split { source, target, parts, seed } => {
            let total = episode_count(source)?;
            let parts: Vec<(String, Part)> =
                parts.iter().map(|text| Part::parse(text, total)).collect::<Result<_>>()?;
            let reports = embody_data::split(source, target, &parts, *seed, app.task)?;
            edited(app, &[source], &reports)
        }
        EditCommand::Merge { sources, out } => {
            let report = embody_data::merge(sources, out, app.task)?;
            edited(app, &sources.iter().collect::<Vec<_>>(), &[report])
        }
        EditCommand::Trim { source, target, keep, key_frames } => {
            let dataset = Dataset::open(source)?;
            let cuts: Vec<Trim> =
                keep.iter().map(|text| Trim::parse(text, &dataset)).collect::<Result<_>>()?;
            let report = embody_data::trim(source, target, &cuts, *key_frames, app.task)?;
            edited(app, &[source], &[report])
        }
        EditCommand::Relabel { source, target, to, from, episodes } => {
            let total = episode_count(source)?;
            let episodes = episodes.as_ref().map(|e| parse_episodes(e, total)).transpose()?;
            let label = Relabel { episodes, from: from.clone(), to: to.clone() };
            let report = embody_data::relabel(source, target, &[label], app.task)?;
            edited(app, &[source], &[report])
        }
        EditCommand::Vary { source, target, how, seed, dry_run } => {
            vary(app, source, target.as_deref().filter(|_| !dry_run), how, *seed)
        }
        EditCommand::Repair { source, target, dry_run } => {
            repair(app, source, target.as_deref(), *dry_run)
        }
        EditCommand::Recover { path, out } => recover(app, path, out.as_deref()),
        EditCommand::Diff { a, b } => diff(app, a, b),
        EditCommand::Keep { path } => {
            let kept = Versions::beside(path)?.keep(path, app.task)?;
            if app.json {
                print_data(&json!(kept).to_string());
            } else {
                print_data(&format!("{}: version {}", path.display(), kept.version));
            }
            Ok(())
        }
        EditCommand::Versions { path, forget } => versions(app, path, forget.as_deref()),
        EditCommand::Checkout { name, target, from } => {
            let store = Versions::beside(from.as_deref().unwrap_or(target))?;
            let manifest = store.checkout(name, target, app.task)?;
            if app.json {
                print_data(&json!(manifest).to_string());
            } else {
                print_data(&format!("{}: version {}", target.display(), manifest.version.short()));
            }
            Ok(())
        }
    }
}

fn episode_count(source: &Path) -> Result<usize> {
    Ok(Dataset::open(source)?.episodes().len())
}

/// Keeps source and result in the store beside the result, and says what was done.
fn edited(app: &App<'_>, sources: &[&PathBuf], reports: &[EditReport]) -> Result<()> {
    for report in reports {
        let store = Versions::beside(&report.path)?;
        for source in sources {
            store.keep(source, app.task)?;
        }
        store.keep(&report.path, app.task)?;
        if !app.json {
            print_data(&format!(
                "{}: {} episodes, {} frames, version {}",
                report.path.display(),
                report.episodes,
                report.frames,
                report.version.short()
            ));
        }
    }
    if app.json {
        print_data(&json!(reports).to_string());
    }
    Ok(())
}

/// Makes synthetic demonstrations; without a target, says what they would be made from.
fn vary(
    app: &App<'_>,
    source: &Path,
    target: Option<&Path>,
    how: &vary::Params,
    seed: u64,
) -> Result<()> {
    how.check().map_err(|(key, why)| Error::new(format!("--{}: {why}", key.replace('_', "-"))))?;
    let (assets, threads) = (&app.config.assets, app.config.threads);
    let Some(target) = target else {
        let dataset = Dataset::open(source)?;
        let episodes: Vec<usize> = dataset.split(how.split.as_deref())?.collect();
        let sources = vary::demonstrations(&dataset, &episodes)?;
        let task_id = &sources[0].simulation.task;
        let mut env = vary::env_like(assets, &dataset, task_id, 1, threads)?;
        let report = embody_sim::plan_variation(
            &mut env,
            &sources,
            &how.options(seed, &dataset)?,
            app.task,
        )?;
        if app.json {
            print_data(&json!(report).to_string());
            return Ok(());
        }
        for (episode, why) in &report.unused {
            print_data(&format!("would leave out episode {episode}: {why}"));
        }
        print_data(&format!(
            "would make {} episodes from {} demonstrations of {task_id}",
            report.wanted, report.sources
        ));
        return Ok(());
    };
    if target.exists() {
        return Err(Error::new(format!("{} exists already", target.display()))
            .with_hint("name another folder, or remove that one first"));
    }
    let outcome = vary::run(assets, source, target, how, seed, threads, app.task)?;
    let store = Versions::beside(target)?;
    store.keep(source, app.task)?;
    let kept = store.keep(target, app.task)?;
    if app.json {
        print_data(&json!({ "outcome": outcome, "version": kept.version }).to_string());
        return Ok(());
    }
    outcome.details().iter().for_each(|line| print_data(line));
    print_data(&format!("{}: {}", target.display(), outcome.summary()));
    Ok(())
}

fn repair(app: &App<'_>, source: &Path, target: Option<&Path>, dry_run: bool) -> Result<()> {
    let report = embody_data::repair(source, target.unwrap_or(source), dry_run, app.task)?;
    if let Some(path) = &report.path {
        Versions::beside(path)?.keep(path, app.task)?;
    }
    if app.json {
        print_data(&json!(report).to_string());
        return Ok(());
    }
    let word = if dry_run { "would mend" } else { "mended" };
    for (word, list) in [(word, &report.done), ("lost", &report.lost), ("left", &report.left)] {
        for finding in list {
            print_data(&format!("{word}: {finding}"));
        }
    }
    match (&report.path, &report.version) {
        (Some(path), Some(version)) => print_data(&format!(
            "{}: {} episodes, {} frames, version {}",
            path.display(),
            report.episodes,
            report.frames,
            version.short()
        )),
        _ => print_data(&format!(
            "nothing written; {} episodes, {} frames would be saved",
            report.episodes, report.frames
        )),
    }
    Ok(())
}

fn recover(app: &App<'_>, path: &Path, out: Option<&Path>) -> Result<()> {
    let threads = app.config.threads;
    let report = LeRobotRecorder::recover(path, out, threads)?.ok_or_else(|| {
        Error::new(format!("there is nothing to recover of {}", path.display()))
            .with_hint("name the folder that was being recorded; its journal is .NAME.journal")
    })?;
    if app.json {
        print_data(&json!(report).to_string());
        return Ok(());
    }
    if let Some(episode) = report.unfinished {
        print_data(&format!("episode {episode} was being recorded: it has no outcome"));
    }
    if report.lost_frames > 0 {
        print_data(&format!("{} frames had not reached the disk", report.lost_frames));
    }
    print_data(&format!(
        "{}: {} episodes, {} frames, version {}",
        report.path.display(),
        report.episodes,
        report.frames,
        report.version.short()
    ));
    Ok(())
}

/// A dataset on disk: a folder, or a version that is put into one for as long as it is looked at.
struct Side {
    path: PathBuf,
    _held: Option<tempfile::TempDir>,
}

fn side(app: &App<'_>, name: &str, other: &str) -> Result<Side> {
    if Path::new(name).exists() {
        return Ok(Side { path: name.into(), _held: None });
    }
    let near = if Path::new(other).exists() { Path::new(other) } else { Path::new("here") };
    let store = Versions::beside(near)?;
    store.find(name).map_err(|e| {
        e.context(format!(
            "{name} is neither a folder nor a version kept beside {}",
            near.display()
        ))
    })?;
    let held = tempfile::tempdir()
        .map_err(|e| Error::new(format!("could not make a folder to work in: {e}")))?;
    let path = held.path().join(name);
    store.checkout(name, &path, app.task)?;
    Ok(Side { path, _held: Some(held) })
}

fn diff(app: &App<'_>, a: &str, b: &str) -> Result<()> {
    let (left, right) = (side(app, a, b)?, side(app, b, a)?);
    let found = embody_data::diff(&left.path, &right.path, app.task)?;
    if app.json {
        print_data(&json!(found).to_string());
        return Ok(());
    }
    for line in lines(&found, a, b) {
        print_data(&line);
    }
    Ok(())
}

fn lines(diff: &DatasetDiff, a: &str, b: &str) -> Vec<String> {
    let side = |name: &str, s: &embody_data::DiffSide| {
        format!(
            "{name}: version {}, {} episodes, {} frames",
            s.version.short(),
            s.episodes,
            s.frames
        )
    };
    let mut out = vec![side(a, &diff.a), side(b, &diff.b)];
    if diff.a.version == diff.b.version {
        out.push("the same version".to_owned());
        return out;
    }
    out.extend(diff.description.iter().cloned());
    let episodes = &diff.episodes;
    let moved = match episodes.moved.len() {
        0 => String::new(),
        n => format!(", {n} of them in another place"),
    };
    out.push(format!("episodes: {} the same{moved}", episodes.same));
    for (word, list) in [("removed", &episodes.removed), ("added", &episodes.added)] {
        if !list.is_empty() {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            out.push(format!("episodes {word}: {}", list.join(", ")));
        }
    }
    for changed in &episodes.changed {
        let what = changed.what.join("; ");
        out.push(format!("episode {} -> {}: {what}", changed.a, changed.b));
    }
    for moved in diff.statistics.iter().take(20) {
        out.push(format!(
            "{} {}: mean {:.4} -> {:.4} ({:+.2} std), std {:.4} -> {:.4}",
            moved.feature,
            moved.dimension,
            moved.mean.0,
            moved.mean.1,
            moved.shift,
            moved.std.0,
            moved.std.1
        ));
    }
    if diff.statistics.len() > 20 {
        out.push(format!("and {} more statistics (--json)", diff.statistics.len() - 20));
    }
    out.extend(diff.new_findings.iter().map(|f| format!("new: {f}")));
    out.extend(diff.gone_findings.iter().map(|f| format!("gone: {f}")));
    out
}

fn versions(app: &App<'_>, path: &Path, forget: Option<&str>) -> Result<()> {
    let store = Versions::beside(path)?;
    if let Some(version) = forget {
        let (gone, freed) = store.forget(version)?;
        if app.json {
            print_data(&json!({"version": gone.version, "freed_bytes": freed}).to_string());
        } else {
            let mb = freed as f64 / 1e6;
            print_data(&format!(
                "forgot {}; {mb:.1} MB of it were nowhere else in the store",
                gone.version.short()
            ));
        }
        return Ok(());
    }
    let all = store.list()?;
    if app.json {
        print_data(&json!(all).to_string());
        return Ok(());
    }
    for manifest in all {
        let how = manifest.lineage.as_ref().map_or("", |l| l.operation.as_str());
        print_data(&format!(
            "{}  {:<24} {:<8} {:.1} MB",
            manifest.version.short(),
            manifest.name,
            how,
            manifest.bytes() as f64 / 1e6
        ));
    }
    Ok(())
}
