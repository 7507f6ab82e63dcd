//! `embody run` and `embody demo`: the same code; the demo is a recipe that comes with the binary.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};
use embody_platform::{
    CacheState, Recipe, RunOptions, RunResult, StepKind, plan, run as run_recipe,
};
use serde_json::json;

use crate::App;
use crate::cli::RunFlags;
use crate::steps;
use crate::ui::{open_in_browser, print_data};

const DEMO: &str = include_str!("../../../../recipes/demo.toml");

/// Runs the recipe that comes with the binary.
///
/// # Errors
/// See [`run`].
pub fn demo(app: &App<'_>, flags: &RunFlags) -> Result<()> {
    execute(app, &Recipe::parse(DEMO, "recipes/demo.toml", &flags.set)?, flags)
}

/// Runs a recipe file.
///
/// # Errors
/// A wrong recipe, with file and line; what the first failing step says.
pub fn run(app: &App<'_>, path: &Path, flags: &RunFlags) -> Result<()> {
    execute(app, &Recipe::read(path, &flags.set)?, flags)
}

/// Runs a recipe into `out`.
///
/// # Errors
/// What the first failing step says.
pub fn run_to(app: &App<'_>, recipe: &Recipe, out: &Path, fresh: &[String]) -> Result<RunResult> {
    let boxed = steps::kinds(&app.config);
    let kinds: Vec<&dyn StepKind> = boxed.iter().map(AsRef::as_ref).collect();
    run_recipe(recipe, &kinds, &options(app, out, fresh), app.task)
}

fn options(app: &App<'_>, out: &Path, fresh: &[String]) -> RunOptions {
    RunOptions {
        out: out.to_owned(),
        threads: app.config.threads,
        fresh: fresh.to_vec(),
        code: code_version(),
    }
}

fn execute(app: &App<'_>, recipe: &Recipe, flags: &RunFlags) -> Result<()> {
    let out = flags.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&recipe.name));
    let options = options(app, &out, &flags.fresh);
    let boxed = steps::kinds(&app.config);
    let kinds: Vec<&dyn StepKind> = boxed.iter().map(AsRef::as_ref).collect();
    if flags.plan {
        for step in plan(recipe, &kinds, &options)? {
            if app.json {
                print_data(&json!(step).to_string());
                continue;
            }
            let state = match step.state {
                CacheState::Cached => "in the cache",
                CacheState::Run => "would run",
                CacheState::Resume => "would continue",
                CacheState::Unknown => "depends on the steps before",
            };
            print_data(&format!("{:<12} {:<10} {state}", step.name, step.kind));
        }
        return Ok(());
    }
    let result = run_recipe(recipe, &kinds, &options, app.task)?;
    let report = publish_report(&result, &options.out)?;
    if app.json {
        print_data(&json!(result).to_string());
        return Ok(());
    }
    for line in steps::summary(&result) {
        print_data(&line);
    }
    print_data(&format!("result   {}", options.out.join("result.json").display()));
    open_page(report, flags.no_open);
    Ok(())
}

/// Says where the page is, and shows it to whoever sits before a terminal.
pub fn open_page(page: Option<PathBuf>, no_open: bool) {
    let Some(page) = page else { return };
    print_data(&format!("report   {}", page.display()));
    if !no_open && std::io::stdout().is_terminal() {
        open_in_browser(page.as_os_str());
    }
}

/// Puts the page of the last report step at the top of the run's folder.
///
/// # Errors
/// When it can't be copied.
pub fn publish_report(result: &RunResult, out: &Path) -> Result<Option<PathBuf>> {
    let Some(step) = result.steps.values().rev().find(|s| s.kind == "report") else {
        return Ok(None);
    };
    let page = out.join(&result.folders[&step.name]).join(steps::report::PAGE);
    let target = out.join("report.html");
    let bytes = std::fs::read(&page).at("read", &page)?;
    embody_core::write_atomic(&target, &bytes)?;
    Ok(Some(target))
}

/// Version of the program and revision of its source.
pub fn code_version() -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), env!("EMBODY_REVISION"))
}
