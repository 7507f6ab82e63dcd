//! House rules on files: sizes, machine paths, unsafe code, what libraries may touch.

use crate::{none, root, rust_sources, tracked};

/// Files that may switch `unsafe_code` on: foreign functions, memory maps, the one matrix kernel,
/// exchanges between threads, the tests' counting allocator.
const FFI: &[&str] = &[
    "crates/core/src/team.rs",
    "crates/data/src/ring.rs",
    "crates/data/src/source/cache.rs",
    "crates/data/src/video/decode.rs",
    "crates/data/src/video/yuv.rs",
    "crates/embody/src/memory.rs",
    "crates/learn/src/ops/gemm.rs",
    "crates/learn/src/rl/kernels.rs",
    "crates/robot/src/bus/latency.rs",
    "crates/robot/src/camera/v4l2/sys.rs",
    "crates/robot/tests/it/allocations.rs",
    "crates/robot/src/runtime/counting.rs",
    "crates/robot/src/runtime/exchange.rs",
    "crates/robot/src/runtime/realtime.rs",
    "crates/sim/src/mj.rs",
];

/// Library crates: they print nothing, read no environment and never end the process.
const LIBRARIES: &[&str] = &["core", "data", "sim", "drive", "learn", "robot", "platform"];

/// Lines of library code: sources outside tests, up to the first inline module of tests.
fn library_lines() -> Vec<(String, usize, String)> {
    let mut lines = Vec::new();
    for (file, text) in rust_sources() {
        let ours = LIBRARIES.iter().any(|c| file.starts_with(&format!("crates/{c}/src/")));
        if !ours || file.ends_with("/tests.rs") || file.contains("/tests/") {
            continue;
        }
        let all: Vec<&str> = text.lines().collect();
        let code = all.iter().take_while({
            let mut at = 0;
            let all = &all;
            move |line| {
                at += 1;
                let mut next = all[at..].iter().skip_while(|l| l.starts_with("#["));
                **line != "#[cfg(test)]" || !next.next().is_some_and(|l| l.ends_with('{'))
            }
        });
        for (i, line) in code.enumerate() {
            if !line.trim_start().starts_with("//") {
                lines.push((file.clone(), i + 1, (*line).to_owned()));
            }
        }
    }
    assert!(lines.len() > 500, "only {} lines of library code found", lines.len());
    lines
}

#[test]
fn no_source_file_is_longer_than_800_lines() {
    let long: Vec<_> = rust_sources()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > 800)
        .map(|(lines, file)| format!("{file}: {lines} lines"))
        .collect();
    none("a room of more than 800 lines wants a wall", &long);
}

#[test]
fn no_tracked_file_is_larger_than_one_mebibyte() {
    let root = root();
    let large: Vec<_> = tracked()
        .into_iter()
        .map(|file| (std::fs::metadata(root.join(&file)).expect("metadata").len(), file))
        .filter(|(bytes, _)| *bytes > 1 << 20)
        .map(|(bytes, file)| format!("{}: {bytes} bytes", file.display()))
        .collect();
    none("data and binaries do not belong in the tree", &large);
}

/// Paths of one machine and hosts of registries break everyone else's checkout.
#[test]
fn no_tracked_file_names_this_machine() {
    // Put together from parts, so that this file does not find itself.
    let slash = |name: &str| format!("/{name}/");
    let folders = ["work", "root", "farm", "home", "Users"].map(slash);
    let words = [
        format!("/tmp{}", slash("w")),
        format!(".{}/", "library"),
        format!("index{}url", "-"),
        format!("registry{}url", "-"),
        format!("files.python{}.org", "hosted"),
        format!("{}.python.org", "pypi"),
        format!("index.crates{}io", "."),
        format!("static.crates{}io", "."),
    ];
    let root = root();
    let mut findings = Vec::new();
    for file in tracked() {
        if file.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        for (i, line) in text.lines().enumerate() {
            let named = words.iter().find(|w| line.contains(w.as_str()));
            let named = named.or_else(|| folders.iter().find(|f| absolute(line, f)));
            if let Some(word) = named {
                findings.push(format!("{}:{}: {word}", file.display(), i + 1));
            }
        }
    }
    none("no paths of one machine, no hosts of registries", &findings);
}

/// Whether `folder` ("/name/") begins a path in `line`, rather than going on a longer one.
fn absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_.-}*>)".contains(c))
    })
}

#[test]
fn a_machine_path_is_found_where_it_begins() {
    let folder = format!("/{}/", "home");
    assert!(absolute(&format!("path = \"{folder}me\""), &folder));
    assert!(!absolute(&format!("docs{folder}page"), &folder));
}

#[test]
fn unsafe_code_stays_in_the_modules_for_it() {
    let allow = format!("allow({}", "unsafe_code");
    let sources = rust_sources();
    let users: Vec<_> =
        sources.iter().filter(|s| s.1.contains(&allow)).map(|s| s.0.as_str()).collect();
    let outside = users.iter().filter(|u| !FFI.contains(u));
    let mut findings: Vec<_> =
        outside.map(|file| format!("{file}: not in the list of modules that may")).collect();
    let idle = FFI.iter().filter(|f| !users.contains(f));
    findings.extend(idle.map(|file| format!("{file}: in the list, but has none")));
    none("unsafe code only for foreign functions, memory maps and processor features", &findings);
}

#[test]
fn libraries_read_no_environment_and_print_nothing() {
    let banned =
        ["std::env::var", "env::var(", "env::var_os(", "env::vars(", "println!(", "eprint!("];
    let findings: Vec<_> = library_lines()
        .into_iter()
        .filter(|(file, ..)| !file.contains("/src/bin/"))
        .filter_map(|(file, line, text)| {
            let word = banned.iter().find(|b| text.contains(**b))?;
            Some(format!("{file}:{line}: {word}"))
        })
        .collect();
    none("only programs read the environment and print", &findings);
}

#[test]
fn nothing_is_left_to_do() {
    let words = [format!("{}!(", "todo"), format!("{}!(", "unimplemented"), format!("{}ME", "FIX")];
    let mut findings = Vec::new();
    for (file, text) in rust_sources() {
        for (i, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|w| line.contains(w.as_str())) {
                findings.push(format!("{file}:{}: {word}", i + 1));
            }
        }
    }
    none("no stubs", &findings);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = rust_sources()
        .into_iter()
        .filter(|(file, _)| !file.ends_with("/tests.rs") && !file.contains("/tests/"))
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    none("a module opens with what it is, why, and which invariants hold", &silent);
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut numbers: Vec<usize> = tracked()
        .into_iter()
        .filter(|f| f.starts_with("docs/decisions"))
        .filter_map(|f| f.file_name()?.to_str()?.split('-').next()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let wanted: Vec<_> = (1..=numbers.len()).collect();
    assert!(!numbers.is_empty(), "no decision is recorded");
    assert_eq!(numbers, wanted, "docs/decisions/NNN-title.md are numbered in order");
}
