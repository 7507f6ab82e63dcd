//! Pushes to the Hub: what is sent, what is refused, what readers see.

use std::process::Command;

use serde_json::Value;

use super::server::{Fault, PART, Server, TOKEN};
use super::{contents, embody, error_of, json_of, noise, owned};
use crate::bench::Bench;
use crate::view::dataset;

const REPO: &str = "lab/new";
const URL: &str = "hf://datasets/lab/new";

fn push(bench: &Bench, server: &Server, args: &[&str]) -> Command {
    let mut all = vec!["data", "push", "set", URL, "--json"];
    all.extend(args);
    let mut command = embody(bench, server, &all);
    command.env("HF_TOKEN", TOKEN);
    command
}

fn pull(bench: &Bench, server: &Server, target: &str) -> Value {
    let mut command = embody(bench, server, &["data", "pull", URL, target, "--json"]);
    json_of(command.env("HF_TOKEN", TOKEN))
}

fn uploads(server: &Server) -> usize {
    server.hub().seen.iter().filter(|s| s.method == "PUT").count()
}

#[test]
fn a_push_makes_the_repository_private_with_card_and_tag() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    let error = error_of(&mut push(&bench, &server, &[]));
    assert!(error.contains("answered 404") && error.contains("--create"), "{error}");
    let report = json_of(&mut push(&bench, &server, &["--create"]));
    assert_eq!(report["created"], true);
    assert_eq!(report["tag"], "v3.0");
    assert!(server.is_private(REPO));
    let there = server.files(REPO, "main");
    assert_eq!(there, server.files(REPO, "v3.0"));
    let card = String::from_utf8(there["README.md"].clone()).unwrap();
    assert!(
        card.contains("- LeRobot\n") && card.contains("data_files: data/*/*.parquet"),
        "{card}"
    );
    for (name, content) in contents(&bench.path("set")) {
        if name != "meta/embody.json" {
            assert_eq!(there[&name], content, "{name}");
        }
    }
    let lineage: Value = serde_json::from_slice(&there["meta/embody.json"]).unwrap();
    assert!(lineage.get("store").is_none(), "where it lies is no part of what is pushed");
    let log = bench.ok(&["data", "log", "set"]);
    assert!(log.contains(report["version"].as_str().unwrap()), "{log}");
}

#[test]
fn what_is_pulled_again_is_the_dataset_and_knows_where_it_is_from() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    let pushed = json_of(&mut push(&bench, &server, &["--create"]));
    let pulled = pull(&bench, &server, "back");
    assert_eq!(pulled["version"], pushed["version"]);
    let info = |path: &str| -> Value {
        serde_json::from_str(&bench.ok(&["data", "info", path, "--json"])).unwrap()
    };
    let log: Value = serde_json::from_str(&bench.ok(&["data", "log", "back", "--json"])).unwrap();
    assert_eq!(log["store"]["url"], URL);
    assert_eq!(log["store"]["version"], pushed["version"]);
    assert_eq!(log["store"]["endpoint"], server.endpoint());
    assert_eq!(log["operation"], "record", "the way it came to be is kept");
    assert_eq!(info("back")["episodes"], info("set")["episodes"]);
    bench.ok(&["data", "validate", "back"]);
    // Nothing differs in either direction.
    assert_eq!(pull(&bench, &server, "back")["downloaded_bytes"], 0);
    let (commits, before) = (server.commit_count(), uploads(&server));
    assert_eq!(json_of(&mut push(&bench, &server, &[]))["changed"], false);
    assert_eq!((server.commit_count(), uploads(&server)), (commits, before));
}

#[test]
fn only_what_changed_is_sent() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    json_of(&mut push(&bench, &server, &["--create"]));
    bench.write("set/notes.md", "kept cold\n");
    let before = uploads(&server);
    let report = json_of(&mut push(&bench, &server, &["--message", "Notes"]));
    assert_eq!(report["changed_files"], 1);
    assert_eq!(report["uploaded_bytes"], 0, "a small text goes inside the commit");
    assert_eq!(uploads(&server), before);
    assert_eq!(server.files(REPO, "v3.0")["notes.md"], b"kept cold\n", "the tag moves along");
}

#[test]
fn a_new_version_replaces_the_old_one_whole() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("old"));
    let args = ["data", "push", "old", URL, "--json", "--create"];
    json_of(embody(&bench, &server, &args).env("HF_TOKEN", TOKEN));
    bench.ok(&["data", "delete", "old", "set", "--episodes", "0"]);
    let report = json_of(&mut push(&bench, &server, &[]));
    assert_eq!(report["changed"], true);
    pull(&bench, &server, "back");
    bench.ok(&["data", "validate", "back"]);
    let back = contents(&bench.path("back"));
    let set = contents(&bench.path("set"));
    let names = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> Vec<String> {
        let own = |n: &&String| !["README.md", ".gitattributes"].contains(&n.as_str());
        files.keys().filter(own).cloned().collect()
    };
    assert_eq!(names(&back), names(&set));
}

#[test]
fn a_store_that_has_moved_on_is_left_alone_unless_told() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    json_of(&mut push(&bench, &server, &["--create"]));
    bench.ok(&["data", "delete", "set", "theirs", "--episodes", "0"]);
    bench.ok(&["data", "delete", "set", "ours", "--episodes", "1"]);
    let from = |source: &str, extra: &[&str]| {
        let mut args = vec!["data", "push", source, URL, "--json"];
        args.extend(extra);
        let mut command = embody(&bench, &server, &args);
        command.env("HF_TOKEN", TOKEN);
        command
    };
    json_of(&mut from("theirs", &[]));
    let commits = server.commit_count();
    let error = error_of(&mut from("ours", &[]));
    assert!(error.contains("has moved on") && error.contains("--overwrite"), "{error}");
    assert_eq!(server.commit_count(), commits);
    json_of(&mut from("ours", &["--overwrite"]));
    assert_eq!(server.commit_count(), commits + 1);
}

#[test]
fn large_files_go_in_parts_and_faults_on_the_way_change_nothing() {
    let (bench, server) = (Bench::new(), Server::start());
    let files = [
        ("data/a.parquet", noise(1, 3 * PART as usize + 17)),
        ("data/b.parquet", noise(2, PART as usize)),
        ("data/copy.parquet", noise(2, PART as usize)),
        ("text.md", b"small".to_vec()),
    ];
    for (name, content) in &files {
        let path = bench.path("set").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    server.repo(REPO, &[]);
    for part in ["/part/2", "/verify", "/complete", "/batch", "/preupload", "/lfs/"] {
        server.fault(part, Fault::Status(503, None));
    }
    let report = json_of(&mut push(&bench, &server, &[]));
    assert_eq!(report["uploaded_bytes"], 4 * PART + 17, "equal contents go once");
    assert_eq!(server.files(REPO, "main"), owned(&files));
    let seen = server.hub().seen.clone();
    let signed = seen.iter().filter(|s| s.method == "PUT");
    assert!(signed.clone().count() >= 5 && signed.clone().all(|s| !s.token), "no token to storage");
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_by_the_next_run() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    server.repo(REPO, &[]);
    server.fault("/commit/", Fault::Status(503, None));
    let error = error_of(&mut push(&bench, &server, &[]));
    assert!(error.contains("may or may not have been taken"), "{error}");
    let uploaded = uploads(&server);
    json_of(&mut push(&bench, &server, &[]));
    assert_eq!(uploads(&server), uploaded, "contents are not sent twice");
}

#[test]
fn without_a_right_to_write_nothing_is_sent() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    server.repo(REPO, &[]);
    let error = error_of(&mut embody(&bench, &server, &["data", "push", "set", URL]));
    assert!(error.contains("answered 403") && error.contains("write access"), "{error}");
    assert_eq!(uploads(&server), 0);
}

#[test]
fn an_import_takes_an_address_and_a_recipe_a_pinned_one() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    let pushed = json_of(&mut push(&bench, &server, &["--create"]));
    let pinned = pushed["pinned"].as_str().unwrap();
    let mut import = embody(&bench, &server, &["data", "import", URL, "own", "--json"]);
    assert_eq!(json_of(import.env("HF_TOKEN", TOKEN))["episodes"], 2);
    let log = bench.ok(&["data", "log", "own"]);
    assert!(log.contains(URL) && log.contains(pushed["version"].as_str().unwrap()), "{log}");
    let recipe = |path: &str| {
        bench.write("r.toml", &format!("[steps.get]\nkind = \"import\"\npath = \"{path}\"\n"));
        let mut command = embody(&bench, &server, &["run", "r.toml", "--out", "out", "--json"]);
        command.env("HF_TOKEN", TOKEN);
        command
    };
    let error = error_of(&mut recipe(URL));
    assert!(error.contains("may mean something else tomorrow"), "{error}");
    assert!(recipe(pinned).output().unwrap().status.success());
    // The second run takes it from the cache, and asks nobody.
    let before = server.hub().seen.len();
    assert!(recipe(pinned).output().unwrap().status.success());
    assert_eq!(server.hub().seen.len(), before);
}

#[test]
fn a_folder_that_others_made_is_not_written_to() {
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    std::fs::remove_file(bench.path("set/meta/embody.json")).unwrap();
    let before = contents(&bench.path("set"));
    json_of(&mut push(&bench, &server, &["--create"]));
    assert_eq!(contents(&bench.path("set")), before);
    assert_eq!(json_of(&mut push(&bench, &server, &[]))["changed"], false);
    bench.write("set/notes.md", "more");
    let error = error_of(&mut push(&bench, &server, &[]));
    assert!(error.contains("has moved on") && error.contains("--overwrite"), "{error}");
}
