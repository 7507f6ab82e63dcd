//! Recipes, the engine that runs them, and the report.
