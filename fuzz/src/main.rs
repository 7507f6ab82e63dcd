//! One program for all targets: libFuzzer around the doors of our crates.
//!
//! `cargo xtask fuzz` builds and drives it. The target, its scratch folder and what to do stand in
//! the environment, because libFuzzer owns the command line: `EMBODY_FUZZ_TARGET`,
//! `EMBODY_FUZZ_SCRATCH` (a folder in memory), and `EMBODY_FUZZ_SEEDS` to write seeds and stop.
//! Only an uncaught panic counts: some calls into decoders catch theirs on purpose. Allocations are
//! held to the limits here, since without a sanitizer libFuzzer does not see them.

#![no_main]

mod memory;
mod others;

use std::path::PathBuf;
use std::sync::OnceLock;

use embody_data::fuzz::{self, Target};

#[global_allocator]
static MEMORY: memory::Bounded = memory::Bounded;

struct Run {
    target: Target,
    scratch: PathBuf,
}

static RUN: OnceLock<Run> = OnceLock::new();

fn all() -> impl Iterator<Item = &'static Target> {
    fuzz::TARGETS.iter().chain(others::TARGETS).chain(others::of_robots())
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

fn set_up() -> Run {
    if variable("EMBODY_FUZZ_LIST").is_some() {
        all().for_each(|t| println!("{} {}", t.name, t.max_len));
        std::process::exit(0);
    }
    let name = std::env::var("EMBODY_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = all().find(|t| t.name == name) else {
        eprintln!("EMBODY_FUZZ_TARGET names no target: {name:?}");
        std::process::exit(2);
    };
    let scratch = variable("EMBODY_FUZZ_SCRATCH").unwrap_or_else(std::env::temp_dir);
    let scratch = scratch.join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("the scratch folder can be written");
    if let Some(out) = variable("EMBODY_FUZZ_SEEDS") {
        let data = variable("EMBODY_FUZZ_DATA");
        let made = match fuzz::find(&name) {
            Some(_) => fuzz::write_seeds(&name, &out, &scratch, data.as_deref()),
            None => others::write_seeds(&name, &out, &scratch),
        };
        println!("{made}");
        std::fs::remove_dir_all(&scratch).ok();
        std::process::exit(0);
    }
    // libFuzzer's hook aborts on every panic; this one lets those be caught that are meant to be.
    std::panic::set_hook(Box::new(|info| {
        memory::LAST_PANIC.with_borrow_mut(|p| *p = info.to_string());
    }));
    Run { target: *target, scratch }
}

libfuzzer_sys::fuzz_target!(init: { RUN.get_or_init(set_up); }, |data: &[u8]| {
    let run = RUN.get_or_init(set_up);
    memory::begin();
    let outcome = std::panic::catch_unwind(|| (run.target.run)(data, &run.scratch));
    if outcome.is_err() {
        memory::LAST_PANIC.with_borrow(|p| eprintln!("{p}"));
        std::process::abort();
    }
});
