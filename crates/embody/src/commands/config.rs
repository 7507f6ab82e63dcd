//! `embody config`.

use embody_core::Result;
use serde_json::json;

use crate::App;
use crate::cli::ConfigCommand;
use crate::settings::origin_text;
use crate::ui::print_data;

/// Runs the verb.
///
/// # Errors
/// None of its own.
pub fn run(app: &App<'_>, command: &ConfigCommand) -> Result<()> {
    let ConfigCommand::Show = command;
    let settings = &app.config.settings.0;
    if app.json {
        print_data(&json!(settings).to_string());
        return Ok(());
    }
    let width = settings.iter().map(|s| s.value.len()).max().unwrap_or(0);
    for setting in settings {
        let origin = origin_text(&setting.origin);
        print_data(&format!(
            "{:<8} {:<width$}  from {origin}; {}",
            setting.key, setting.value, setting.help
        ));
    }
    Ok(())
}
