//! Integration tests of `embody_sim`. Those that need the robot models say so and return where
//! `cargo xtask setup` has not put them in place.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bad_input;
mod determinism;
#[cfg(feature = "egl")]
mod egl;
mod gymnasium;
mod live;
mod manipulation;
mod pick_lift;
mod variation;
mod velocity;

use std::path::{Path, PathBuf};

/// The task under test.
pub const TASK: &str = "so101-pick-lift";

/// Folder of the robot models, where there is one.
pub fn assets() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no robot models, run `cargo xtask setup`");
    None
}
