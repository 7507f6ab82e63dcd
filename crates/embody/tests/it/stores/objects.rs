//! Folders as object stores: versions, what a reader sees, what is refused. S3 is in `peers.rs`.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{contents, error_of, json_of, names, noise};
use crate::bench::{Bench, workspace};
use crate::view::dataset;

fn url(bench: &Bench) -> String {
    format!("file://{}", bench.path("store").display())
}

fn push(bench: &Bench, source: &str, extra: &[&str]) -> Value {
    let url = url(bench);
    let mut args = vec!["data", "push", source, &url, "--json"];
    args.extend(extra);
    json_of(&mut bench.command(&args))
}

fn pull(bench: &Bench, url: &str, target: &str) -> Value {
    json_of(&mut bench.command(&["data", "pull", url, target, "--json"]))
}

#[test]
fn versions_stand_beside_each_other_and_share_their_contents() {
    let bench = Bench::new();
    dataset(&bench.path("one"));
    let first = push(&bench, "one", &[]);
    assert_eq!(push(&bench, "one", &[])["changed"], false);
    bench.ok(&["data", "annotate", "one", "two", "--episode", "0", "--score", "0.5"]);
    let second = push(&bench, "two", &[]);
    assert!(
        second["uploaded_bytes"].as_u64() < first["uploaded_bytes"].as_u64(),
        "videos are shared: {second}"
    );
    pull(&bench, &url(&bench), "latest");
    pull(&bench, first["pinned"].as_str().unwrap(), "pinned");
    let data = |path: &str| {
        let mut files = contents(&bench.path(path));
        files.remove("meta/embody.json");
        files.remove("README.md");
        files
    };
    assert_eq!(data("latest"), data("two"));
    assert_eq!(data("pinned"), data("one"));
    let short = format!("{}@{}", url(&bench), &first["version"].as_str().unwrap()[..10]);
    pull(&bench, &short, "short");
    assert_eq!(data("short"), data("one"));
    let none = format!("{}@0123456789", url(&bench));
    let error = error_of(&mut bench.command(&["data", "pull", &none, "x"]));
    assert!(error.contains("no version") && error.contains("there are: "), "{error}");
    bench.ok(&["data", "validate", "latest"]);
}

#[test]
fn another_line_of_versions_is_refused() {
    let bench = Bench::new();
    dataset(&bench.path("base"));
    push(&bench, "base", &[]);
    bench.ok(&["data", "delete", "base", "a", "--episodes", "0"]);
    bench.ok(&["data", "delete", "base", "b", "--episodes", "1"]);
    push(&bench, "a", &[]);
    let url = url(&bench);
    let error = error_of(&mut bench.command(&["data", "push", "b", &url]));
    assert!(error.contains("has moved on"), "{error}");
    push(&bench, "b", &["--overwrite"]);
}

#[test]
fn a_damaged_store_is_told_from_a_good_one() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    let version = push(&bench, "set", &[])["version"].as_str().unwrap().to_owned();
    let url = url(&bench);
    let store = bench.path("store");
    let object = contents(&store.join("objects")).into_iter().max_by_key(|(_, c)| c.len()).unwrap();
    let path = store.join("objects").join(&object.0);
    let mut spoilt = object.1.clone();
    spoilt[10] ^= 1;
    std::fs::write(&path, &spoilt).unwrap();
    let error = error_of(&mut bench.command(&["data", "pull", &url, "x"]));
    assert!(error.contains("hash to") && error.contains(&object.0), "{error}");
    std::fs::write(&path, &spoilt[1..]).unwrap();
    let error = error_of(&mut bench.command(&["data", "pull", &url, "x"]));
    assert!(error.contains("listed with"), "{error}");
    std::fs::write(&path, &object.1).unwrap();
    let manifest = store.join(format!("versions/{version}.json"));
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("meta/info.json", "../../info.json")).unwrap();
    let error = error_of(&mut bench.command(&["data", "pull", &url, "x"]));
    assert!(error.contains("do not hash to its name"), "{error}");
    assert!(!bench.path("x").exists());
}

#[test]
fn a_plain_folder_is_read_as_it_lies_and_not_pushed_into() {
    let bench = Bench::new();
    bench.write("store/a/b.txt", "b");
    bench.write("store/c.txt", "c");
    let report = pull(&bench, &url(&bench), "copy");
    assert_eq!(report["unhashed_files"], 2);
    assert!(report["version"].is_null());
    assert_eq!(contents(&bench.path("copy")), contents(&bench.path("store")));
    let url = url(&bench);
    let text = bench.ok(&["data", "pull", &url, "again"]);
    assert!(text.contains("by their size only"), "{text}");
    let error = error_of(&mut bench.command(&["data", "push", "copy", &url]));
    assert!(error.contains("were not pushed by embody"), "{error}");
}

/// Killed at many instants, a push leaves the version that was there, and the same command ends it.
#[test]
fn killed_at_any_instant_a_push_shows_the_old_version_or_the_new() {
    let bench = Bench::new();
    let write = |folder: &str, seed: u64| {
        for i in 0..8 {
            let path = bench.path(folder).join(format!("data/file-{i}.bin"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, noise(seed + i, 1_500_000)).unwrap();
        }
    };
    write("old", 0);
    write("new", 4);
    push(&bench, "old", &[]);
    let (old, new) = (contents(&bench.path("old")), contents(&bench.path("new")));
    let url = url(&bench);
    let mut kills = 0;
    for i in 0..20_u64 {
        let mut command = bench.command(&["data", "push", "new", &url, "--overwrite"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not waiting for anything: the instant itself is what is varied.
        std::thread::sleep(Duration::from_millis(2 + i * 3));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        let target = format!("seen-{i}");
        pull(&bench, &url, &target);
        let seen = contents(&bench.path(&target));
        assert!(seen == old || seen == new, "kill {i}: a reader sees a mixture");
        std::fs::remove_dir_all(bench.path(&target)).unwrap();
    }
    assert!(kills >= 3, "only {kills} runs were killed");
    push(&bench, "new", &["--overwrite"]);
    pull(&bench, &url, "end");
    assert_eq!(contents(&bench.path("end")), new);
    assert_eq!(names(&bench.path("end")), ["data"]);
}

/// A store written by the first version of the layout opens for ever.
#[test]
fn a_store_of_the_first_layout_opens() {
    let bench = Bench::new();
    let golden = workspace().join("crates/embody/tests/golden/store-1");
    let url = format!("file://{}", golden.display());
    let report = pull(&bench, &url, "set");
    assert_eq!(report["unhashed_files"], 0);
    let found = contents(&bench.path("set"));
    let expected = [("data/one.txt", "one\n"), ("two.txt", "two\n")];
    assert_eq!(found.len(), 2);
    assert!(expected.iter().all(|(name, text)| found[*name] == text.as_bytes()));
}
