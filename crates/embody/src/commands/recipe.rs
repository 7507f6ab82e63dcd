//! `embody recipe`: what a recipe may contain.

use embody_core::Result;
use embody_platform::Recipe;
use serde_json::{Map, Value, json};

use crate::App;
use crate::cli::RecipeCommand;
use crate::steps;
use crate::ui::print_data;

/// Runs the verb.
///
/// # Errors
/// When the recipe is wrong, with file and line.
pub fn run(app: &App<'_>, command: &RecipeCommand) -> Result<()> {
    let kinds = steps::kinds(&app.config);
    match command {
        RecipeCommand::Kinds => {
            for kind in &kinds {
                if app.json {
                    print_data(&json!({ "name": kind.name(), "about": kind.about() }).to_string());
                } else {
                    print_data(&format!("{:<10} {}", kind.name(), kind.about()));
                }
            }
        }
        RecipeCommand::Check { recipe, set } => {
            let recipe = Recipe::read(recipe, set)?;
            let mut resolved = Map::new();
            for step in recipe.order() {
                let kind = steps::find(&kinds, step)?;
                let mut params = json!({ "kind": step.kind });
                if let (Value::Object(all), Value::Object(more)) =
                    (&mut params, kind.resolve(step)?)
                {
                    all.extend(more);
                }
                resolved.insert(step.name.clone(), params);
            }
            let whole = json!({ "name": recipe.name, "seed": recipe.seed, "steps": resolved });
            if app.json {
                print_data(&whole.to_string());
            } else {
                print_data(steps::to_toml(&whole)?.trim_end());
            }
        }
    }
    Ok(())
}
