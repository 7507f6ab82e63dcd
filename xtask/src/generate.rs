//! References that the program writes are checked in, so that a change of the interface shows in
//! review. Tests of the binary compare them with what it prints; this writes them anew.

use crate::setup;
use crate::sh::{self, Fail, Result};
use crate::workspace::Workspace;

/// Tests that write what they compare when this is set, then compare.
const UPDATE: &str = "EMBODY_UPDATE_REFERENCE";
const TESTS: &str = "test(the_reference_is_the_programs_help) + test(errors_in_the_guide)";

/// Writes the references, then checks that they hold, and names what changed.
pub fn run(workspace: &Workspace) -> Result<()> {
    let tests = || {
        let mut cargo = workspace.cargo();
        cargo.args(["nextest", "run", "--locked", "--package", "embody", "-E", TESTS]);
        cargo.args(setup::feature_args(workspace));
        cargo
    };
    // A test that found a difference fails although it has written the new text.
    sh::output(tests().env(UPDATE, "1"))?;
    sh::capture(&mut tests()).map_err(|fail| {
        Fail::new(fail.what)
            .hint("the references don't settle: run the tests of `embody` to see why")
    })?;
    let mut git = std::process::Command::new("git");
    let changed =
        sh::capture(git.args(["status", "--short", "docs"]).current_dir(&workspace.root))?;
    print!("{}", if changed.is_empty() { "docs: up to date\n" } else { &changed });
    Ok(())
}
