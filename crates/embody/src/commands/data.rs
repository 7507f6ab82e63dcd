//! `embody data`: look at, check and import datasets.

mod logs;
mod serve;

use std::path::Path;

use embody_core::{Error, Result, write_atomic};
use embody_data::{
    Annotation, Dataset, DecodeCheck, ExportFormat, ExportOptions, ImportOptions, ProcessOptions,
    Severity, ValidateOptions, Versions,
};
use serde_json::json;

use super::{curate, stores};
use crate::App;
use crate::cli::{DataCommand, Decode, Export};
use crate::ui::print_data;
use crate::view;

/// Runs the verb.
///
/// # Errors
/// A path that holds no dataset, a dataset that contradicts itself.
pub fn run(app: &App<'_>, command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Info { path } => info(app, path),
        DataCommand::Validate { path, decode } => validate(app, path, *decode),
        DataCommand::Inspect { path, mapping } => logs::inspect(app, path, mapping.as_deref()),
        DataCommand::Import { source, target, how } => {
            let options = ImportOptions {
                fps: how.fps,
                task: how.task.clone(),
                robot_type: how.robot.clone(),
                rename: how.rename.clone(),
                map: how.map.clone(),
                drop_streams: how.drop_streams,
                threads: app.config.threads,
                ..ImportOptions::default()
            };
            let (source, options) = stores::fetched(&app.config, source, options, app.task)?;
            let report = embody_data::import(&source, target, options, app.task)?;
            logs::imported(app, target, &report);
            Ok(())
        }
        DataCommand::Resample { source, target, fps, map } => {
            let options = ImportOptions { map: map.clone(), ..ImportOptions::default() };
            let report = embody_data::resample(source, target, *fps, &options, app.task)?;
            logs::imported(app, target, &report);
            Ok(())
        }
        DataCommand::Export { source, target, format, without, no_pictures } => {
            let format = match format {
                Export::Hdf5 => ExportFormat::Hdf5,
                Export::Mcap => ExportFormat::Mcap,
                Export::Parquet => ExportFormat::Parquet,
                Export::Zarr => ExportFormat::Zarr,
            };
            let options = ExportOptions {
                without: without.clone(),
                no_pictures: *no_pictures,
                ..ExportOptions::default()
            };
            let report = embody_data::export(source, target, format, &options, app.task)?;
            if app.json {
                print_data(&json!(report).to_string());
            } else {
                let (episodes, frames) = (report.episodes, report.frames);
                print_data(&format!("{}: {episodes} episodes, {frames} frames", target.display()));
            }
            Ok(())
        }
        DataCommand::Curate { path, rules, no_pictures } => {
            curate::plan(app, path, rules, *no_pictures)
        }
        DataCommand::Judge { path, out } => curate::judge(app, path, out.as_deref()),
        DataCommand::Measures => curate::measures(app),
        DataCommand::Process { source, target, rules, held_out, seed } => {
            let options =
                ProcessOptions { held_out: *held_out, seed: *seed, ..curate::options(rules) };
            curate::process(app, source, target, &options)
        }
        DataCommand::Annotate { source, target, from, .. } => match from {
            Some(file) => {
                let annotations = embody_data::read_annotations(file)?;
                curate::annotate(app, source, target, &annotations)
            }
            None => curate::annotate(app, source, target, &[annotation(command)]),
        },
        DataCommand::Report { path, out, rules } => crate::health::write(app, path, out, rules),
        DataCommand::View { path, episode, port, no_open } => {
            let options = view::Options { port: *port, episode: *episode, open: !no_open };
            view::run(app, path, &options)
        }
        DataCommand::Serve(flags) => serve::run(app, flags),
        DataCommand::Log { path } => log(app, path),
        DataCommand::Edit(command) => super::edits::run(app, command),
        DataCommand::Store(command) => stores::run(app, command),
        DataCommand::Video { path, episode, camera, out } => {
            let dataset = Dataset::open(path)?;
            let key = match camera {
                Some(key) => key.clone(),
                None => dataset.info().video_keys().next().map(str::to_owned).ok_or_else(|| {
                    Error::new(format!("{} has no video feature", path.display()))
                })?,
            };
            write_atomic(out, &dataset.episode_video_mp4(*episode, &key)?)?;
            if !app.json {
                print_data(&format!("{}: episode {episode}, {key}", out.display()));
            }
            Ok(())
        }
    }
}

/// The one annotation that flags give.
fn annotation(command: &DataCommand) -> Annotation {
    let DataCommand::Annotate { episode, frames, success, task, score, weight, label, .. } =
        command
    else {
        return Annotation::default();
    };
    Annotation {
        episode: episode.unwrap_or_default(),
        start: frames.map(|f| f.0),
        end: frames.map(|f| f.1),
        success: *success,
        score: *score,
        weight: *weight,
        task: task.clone(),
        label: label.clone(),
    }
}

fn info(app: &App<'_>, path: &Path) -> Result<()> {
    let dataset = Dataset::open_any(path)?;
    let info = dataset.info();
    let seconds = info.total_frames as f64 / info.fps;
    if app.json {
        let episodes: Vec<_> = dataset
            .episodes()
            .iter()
            .map(|e| json!({ "index": e.index, "frames": e.length, "tasks": e.tasks, "outcome": e.outcome }))
            .collect();
        print_data(
            &json!({ "info": info, "version": dataset.version()?, "episodes": episodes })
                .to_string(),
        );
        return Ok(());
    }
    print_data(&format!("{} ({})", path.display(), dataset.format().as_str()));
    print_data(&format!("version    {}", dataset.version()?));
    print_data(&format!("robot      {}", info.robot_type.as_deref().unwrap_or("not given")));
    print_data(&format!(
        "holds      {} episodes, {} frames at {} fps, {seconds:.0} s",
        info.total_episodes, info.total_frames, info.fps
    ));
    for task in dataset.tasks() {
        print_data(&format!("task       {task}"));
    }
    for (name, range) in &info.splits {
        print_data(&format!("split      {name}: episodes {range}"));
    }
    for (key, feature) in &info.features {
        print_data(&format!("feature    {key:<28} {:?} {:?}", feature.dtype, feature.shape));
    }
    Ok(())
}

fn validate(app: &App<'_>, path: &Path, decode: Decode) -> Result<()> {
    let decode = match decode {
        Decode::None => DecodeCheck::None,
        Decode::Sampled => DecodeCheck::Sampled,
        Decode::All => DecodeCheck::All,
    };
    let options = ValidateOptions { decode, ..Default::default() };
    let report = embody_data::validate(path, &options, app.task)?;
    if app.json {
        print_data(&json!(report).to_string());
    } else {
        for finding in &report.findings {
            print_data(&finding.to_string());
            if let Some(hint) = &finding.hint {
                print_data(&format!("  hint: {hint}"));
            }
        }
    }
    let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let totals = [
        plural(errors, "error"),
        plural(warnings, "warning"),
        plural(count(Severity::Note), "note"),
    ]
    .join(", ");
    if errors > 0 {
        return Err(Error::new(format!("{} is not valid: {totals}", path.display())));
    }
    if !app.json {
        print_data(&format!("{} is valid: {totals}", path.display()));
    }
    Ok(())
}

fn log(app: &App<'_>, path: &Path) -> Result<()> {
    let lineage = embody_data::lineage(path)?.ok_or_else(|| {
        Error::new(format!("{} has no lineage: it was not made by embody", path.display()))
            .with_hint("import it: embody data import SOURCE TARGET")
    })?;
    let history = Versions::beside(path)?.history(path)?;
    if app.json {
        let mut value = json!(lineage);
        value["before"] = json!(history[history.len().min(1)..]);
        print_data(&value.to_string());
        return Ok(());
    }
    for (i, lineage) in history.iter().enumerate() {
        if i > 0 {
            print_data("");
        }
        print_data(&format!("version    {}", lineage.version));
        if let Some(parent) = &lineage.parent {
            print_data(&format!("parent     {parent}"));
        }
        for other in &lineage.merged {
            print_data(&format!("merged     {other}"));
        }
        print_data(&format!(
            "operation  {} (embody {})",
            lineage.operation, lineage.embody_version
        ));
        print_data(&format!("parameters {}", lineage.parameters));
        if let Some(copy) = &lineage.store {
            print_data(&format!("store      {} at {}", copy.url, copy.version));
        }
    }
    Ok(())
}
