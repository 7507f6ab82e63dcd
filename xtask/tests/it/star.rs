//! The crates form a star: every library may import the core, none imports a sibling (the platform
//! alone also imports the data crate), only the binary imports all. And no dependency lies idle.

use std::collections::BTreeSet;

use crate::{none, root, rust_sources};

/// Package → workspace packages that it may import. The table of ARCHITECTURE.md.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("embody_core", &[]),
    ("embody_data", &["embody_core"]),
    ("embody_sim", &["embody_core"]),
    ("embody_drive", &["embody_core"]),
    ("embody_learn", &["embody_core"]),
    ("embody_robot", &["embody_core"]),
    ("embody_platform", &["embody_core", "embody_data"]),
    (
        "embody",
        &[
            "embody_core",
            "embody_data",
            "embody_sim",
            "embody_drive",
            "embody_learn",
            "embody_robot",
            "embody_platform",
        ],
    ),
    ("xtask", &[]),
];

/// Package → crates that stay out of it, directly or through others: prefixes of names.
const STAYS_OUT: &[(&str, &[&str])] = &[
    ("embody_core", &["tokio", "arrow", "parquet", "burn", "gemm", "mujoco", "indicatif", "clap"]),
    ("embody_data", &["tokio", "burn", "mujoco", "indicatif", "clap"]),
    ("embody_sim", &["tokio", "burn", "arrow", "parquet", "indicatif", "clap"]),
    ("embody_learn", &["tokio", "mujoco", "arrow", "parquet", "indicatif", "clap"]),
    ("embody_robot", &["tokio", "burn", "arrow", "parquet", "mujoco", "indicatif", "clap"]),
    ("embody_platform", &["burn", "mujoco", "indicatif", "clap"]),
];

/// Dependency kinds that link into a crate or its tests.
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

struct Package {
    name: String,
    /// Folder below the root, such as `crates/core`.
    dir: String,
    /// (kind, name in code, package's name)
    dependencies: Vec<(&'static str, String, String)>,
}

fn manifest(path: &str) -> toml::Table {
    let text = std::fs::read_to_string(root().join(path)).expect("read manifest");
    text.parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn packages() -> Vec<Package> {
    let mut dirs = vec!["xtask".to_owned()];
    for entry in std::fs::read_dir(root().join("crates")).expect("read crates").flatten() {
        if entry.path().join("Cargo.toml").is_file() {
            dirs.push(format!("crates/{}", entry.file_name().to_string_lossy()));
        }
    }
    dirs.sort();
    let found: Vec<_> = dirs.into_iter().map(package).collect();
    assert!(found.len() >= 7, "only {} packages found", found.len());
    found
}

fn package(dir: String) -> Package {
    let manifest = manifest(&format!("{dir}/Cargo.toml"));
    let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
    let mut dependencies = Vec::new();
    let mut take = |table: &toml::Table| {
        for kind in KINDS {
            for (key, value) in table.get(kind).and_then(|t| t.as_table()).into_iter().flatten() {
                let renamed = value.get("package").and_then(|p| p.as_str());
                dependencies.push((kind, key.replace('-', "_"), renamed.unwrap_or(key).to_owned()));
            }
        }
    };
    take(&manifest);
    for (_, table) in manifest.get("target").and_then(|t| t.as_table()).into_iter().flatten() {
        take(table.as_table().expect("a target's table"));
    }
    Package { name, dir, dependencies }
}

#[test]
fn imports_point_at_the_core_only() {
    let packages = packages();
    let ours: BTreeSet<_> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    let mut seen = 0;
    for package in &packages {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!("{} is not in the table: say what it may import", package.name));
            continue;
        };
        for (kind, key, dependency) in &package.dependencies {
            let is_ours = ours.contains(dependency.as_str()) || dependency.starts_with("embody_");
            if !is_ours || dependency == &package.name {
                continue;
            }
            seen += 1;
            if !allowed.contains(&dependency.as_str()) {
                findings.push(format!("{} imports {dependency} ({kind}, as {key})", package.name));
            }
        }
    }
    assert!(seen >= 5, "only {seen} imports between crates found");
    none("siblings never import each other", &findings);
}

#[test]
fn what_stays_out_of_a_crate() {
    let mut findings = Vec::new();
    for (name, banned) in STAYS_OUT {
        let reached = reached_from(name);
        assert!(reached.contains(*name) && reached.len() > 5, "{name} reaches only {reached:?}");
        for bad in reached.iter().filter(|r| banned.iter().any(|b| r.starts_with(b))) {
            findings.push(format!("{name} reaches {bad}: `cargo tree -p {name} -i {bad}`"));
        }
    }
    none("what has no place in a crate", &findings);
}

/// Set-up builds so where there is no assembler.
#[test]
fn the_build_without_default_features_has_no_assembly() {
    let features = |extra: &[&str]| {
        let out = std::process::Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "--package", "embody", "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p} [{f}]"])
            .args(extra)
            .current_dir(root())
            .output()
            .expect("start cargo");
        assert!(out.status.success(), "cargo tree: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("names are UTF-8");
        let codecs = text.lines().filter(|l| l.starts_with("re_rav1d ") || l.starts_with("rav1e "));
        let with_asm = codecs.filter(|l| l.contains("[asm") || l.contains(",asm"));
        with_asm.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert!(!features(&[]).is_empty(), "the default build has assembly");
    let left: Vec<_> = features(&["--no-default-features"]).into_iter().collect();
    none(
        "assembly all the same (does `embody_data` say `default-features = false` in Cargo.toml?)",
        &left,
    );
}

/// Every package that links into `name` on this platform, with the features it asks for.
fn reached_from(name: &str) -> BTreeSet<String> {
    let out = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--package", name])
        .current_dir(root())
        .output()
        .expect("start cargo");
    assert!(out.status.success(), "cargo tree: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("names are UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn every_dependency_is_used() {
    let sources = rust_sources();
    let mut findings = Vec::new();
    let packages = packages();
    for package in &packages {
        for (kind, key, _) in &package.dependencies {
            let mut places = sources.iter().filter(|(file, _)| {
                let Some(inside) = file.strip_prefix(&format!("{}/", package.dir)) else {
                    return false;
                };
                match *kind {
                    "build-dependencies" => inside == "build.rs",
                    "dependencies" => inside.starts_with("src/"),
                    _ => inside != "build.rs",
                }
            });
            if !places.any(|(_, text)| mentions(text, key)) {
                findings.push(format!("{}/Cargo.toml: {kind}: {key}", package.dir));
            }
        }
    }
    none("dependencies that no source names", &findings);
}

#[test]
fn every_workspace_dependency_is_taken_and_pinned_once() {
    let root = manifest("Cargo.toml");
    let shared = root["workspace"]["dependencies"].as_table().expect("workspace dependencies");
    let packages = packages();
    let mut findings = Vec::new();
    for (name, value) in shared {
        let taken = |p: &Package| p.dependencies.iter().any(|d| d.1 == name.replace('-', "_"));
        if !packages.iter().any(taken) {
            findings.push(format!("Cargo.toml: {name} is taken by no crate"));
        }
        let version = value.as_str().or_else(|| value.get("version").and_then(|v| v.as_str()));
        if version == Some("*") {
            findings.push(format!("Cargo.toml: {name} has no version"));
        }
    }
    for package in &packages {
        let manifest = manifest(&format!("{}/Cargo.toml", package.dir));
        for kind in KINDS {
            for (name, value) in manifest.get(kind).and_then(|t| t.as_table()).into_iter().flatten()
            {
                if value.get("workspace").and_then(|w| w.as_bool()) != Some(true) {
                    findings.push(format!(
                        "{}/Cargo.toml: {name} has a version of its own: `{name}.workspace = true`",
                        package.dir
                    ));
                }
            }
        }
    }
    none("one version of each dependency, chosen in the root manifest", &findings);
}

/// Whether `text` names `word` as a whole identifier outside line comments.
fn mentions(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(inside) && !after.is_some_and(inside)
        })
    })
}

#[test]
fn a_mention_is_a_whole_word_outside_comments() {
    assert!(mentions("use serde::Serialize;", "serde"));
    assert!(!mentions("use serde_json::Value;", "serde"));
    assert!(!mentions("// serde is great", "serde"));
}
