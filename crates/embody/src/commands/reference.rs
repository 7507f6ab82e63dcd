//! Shell completions, and the command-line reference as Markdown (`docs/reference/cli.md`).

use std::fmt::Write;

use clap::{Command, CommandFactory};
use embody_core::Result;

use crate::cli::Cli;
use crate::ui::print_data;

/// Prints a completion script.
///
/// # Errors
/// None.
pub fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "embody", &mut script);
    print_data(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// Prints the reference.
///
/// # Errors
/// None.
pub fn print() -> Result<()> {
    let mut text = String::from(
        "# Command line\n\nGenerated from the program's own help by `embody reference`; a test compares \
         the two.\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    section(&mut root, "embody", &mut text);
    print_data(text.trim_end());
    Ok(())
}

fn section(command: &mut Command, path: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing to a string does not fail.
    write!(text, "\n## `{path}`\n\n```text\n{}\n```\n", help.join("\n").trim_end()).ok();
    for sub in command.get_subcommands_mut() {
        if !sub.is_hide_set() && sub.get_name() != "help" {
            let path = format!("{path} {}", sub.get_name());
            section(sub, &path, text);
        }
    }
}
