//! Measurements of what the issues ask for: a row per bar, each from real commands.

use clap::Parser;

use crate::sh::{Fail, Result};
use crate::workspace::Workspace;

#[derive(Parser)]
pub struct Args {
    /// Which set
    name: Option<String>,
}

pub fn run(_: &Workspace, _: &Args) -> Result<()> {
    Err(Fail::new("placeholder"))
}
