//! `embody`: the only binary. It parses, builds, calls a library, and renders.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.

mod cli;
mod commands;
mod health;
mod memory;
mod settings;
mod steps;
mod ui;
mod view;

use std::process::ExitCode;

use clap::Parser;
use embody_core::{CancelToken, Result, Task};

use cli::{Cli, Command};
use settings::Config;

/// What every command is given.
pub struct App<'a> {
    /// Resolved settings.
    pub config: Config,
    /// Whether stdout is for machines.
    pub json: bool,
    /// Where progress goes, when to stop.
    pub task: Task<'a>,
}

fn main() -> ExitCode {
    memory::keep();
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_cancelled() => {
            ui::say("stopped; the same command continues where this one was");
            ExitCode::from(130)
        }
        Err(error) => {
            ui::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let config = Config::load(&cli.global)?;
    start_log(&config.log)?;
    let ffmpeg = config.ffmpeg.clone();
    embody_data::find_ffmpeg_by(move || settings::find_ffmpeg(&ffmpeg));
    let cancel = CancelToken::default();
    let on_signal = cancel.clone();
    ctrlc::set_handler(move || {
        if on_signal.is_cancelled() {
            // Asked twice: whoever insists gets an end now; what is on disk is whole anyway.
            #[allow(clippy::disallowed_methods, reason = "the user insists")]
            std::process::exit(130);
        }
        on_signal.cancel();
        ui::say("stopping after the current piece of work; again to stop at once");
    })
    .map_err(|e| embody_core::Error::new(format!("could not listen for Ctrl-C: {e}")))?;
    let progress = ui::progress(cli.global.quiet);
    let task = Task { progress: progress.as_ref(), cancel: &cancel };
    let app = App { config, json: cli.global.json, task };
    match &cli.command {
        Command::Demo(flags) => commands::run::demo(&app, flags),
        Command::Run { recipe, flags } | Command::Train { recipe, flags } => {
            commands::run::run(&app, recipe, flags)
        }
        Command::Data(command) => commands::data::run(&app, command),
        Command::Sim(command) => commands::sim::run(&app, command),
        Command::Robot(command) => commands::robot::run(&app, command),
        Command::Assets(command) => commands::assets::run(&app, command),
        Command::Eval(flags) => commands::eval::run(&app, flags),
        Command::Policy(command) => commands::policy::run(&app, command),
        Command::Bench(command) => commands::bench::run(&app, command),
        Command::Recipe(command) => commands::recipe::run(&app, command),
        Command::Config(command) => commands::config::run(&app, command),
        Command::Completions { shell } => commands::reference::completions(*shell),
        Command::Reference => commands::reference::print(),
    }
}

fn start_log(filter: &str) -> Result<()> {
    let parsed = tracing_subscriber::EnvFilter::try_new(filter).map_err(|e| {
        embody_core::Error::new(format!("`log` is `{filter}`: {e}"))
            .with_hint("write a level (warn, info, debug) or pairs such as `embody_data=debug`")
    })?;
    tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).init();
    Ok(())
}
