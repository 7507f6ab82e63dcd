//! Pulls from a server that misbehaves, is changed, or is cut off.

use std::process::Stdio;
use std::time::Duration;

use super::server::{Fault, Server, TOKEN};
use super::{contents, embody, error_of, json_of, names, noise, owned, some_files};
use crate::bench::Bench;

const REPO: &str = "lab/set";
const URL: &str = "hf://datasets/lab/set";

#[test]
fn a_pull_brings_every_file_and_a_second_one_nothing() {
    let (bench, server) = (Bench::new(), Server::start());
    let commit = server.repo(REPO, &some_files());
    let report = json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
    assert_eq!(report["version"], commit.as_str());
    assert_eq!(report["files"], some_files().len());
    assert_eq!(report["downloaded_bytes"], report["bytes"]);
    let before = server.hub().seen.len();
    let again = json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(again["downloaded_bytes"], 0);
    assert_eq!(again["changed"], false);
    assert_eq!(again["present_files"], some_files().len());
    let asked: Vec<_> = server.hub().seen[before..].iter().map(|s| s.path.clone()).collect();
    assert!(asked.iter().all(|p| !p.contains("resolve")), "{asked:?}");
    assert_eq!(names(bench.home.path()), ["set"], "nothing is left beside it");
}

#[test]
fn patterns_choose_files_and_a_wider_pull_adds_the_rest() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    let pull = |extra: &[&str]| {
        let mut args = vec!["data", "pull", URL, "set", "--json"];
        args.extend(extra);
        json_of(&mut embody(&bench, &server, &args))
    };
    let plan = pull(&["--exclude", "videos/*", "--plan"]);
    assert_eq!(plan["files"], 5);
    assert!(!bench.path("set").exists());
    let first = pull(&["--exclude", "videos/*"]);
    assert_eq!(first["partial"], true);
    assert_eq!(contents(&bench.path("set")).len(), 5);
    let rest = pull(&[]);
    assert_eq!(rest["present_files"], 5);
    assert_eq!(rest["downloaded_bytes"], 900_000);
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
}

#[test]
fn a_folder_of_a_repository_is_pulled_by_its_path() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    let url = format!("{URL}/data");
    json_of(&mut embody(&bench, &server, &["data", "pull", &url, "set", "--json"]));
    let found: Vec<_> = contents(&bench.path("set")).into_keys().collect();
    assert_eq!(found, ["chunk-000/file-000.parquet", "chunk-000/file-001.parquet"]);
}

#[test]
fn every_passing_fault_is_survived_with_equal_bytes() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    let faults = [
        ("/revision/", Fault::Status(503, None)),
        ("/tree/", Fault::Status(429, Some(1))),
        ("file-000.parquet", Fault::Cut(30_000)),
        ("file-001.parquet", Fault::Status(429, Some(1))),
        ("file-001.parquet", Fault::Cut(0)),
        ("file-001.parquet", Fault::Cut(100_000)),
        ("file-001.parquet", Fault::Cut(150_000)),
        ("file%20000.mp4", Fault::Short(500_000)),
        ("file%20000.mp4", Fault::Whole),
        ("info.txt", Fault::Status(500, None)),
    ];
    for (part, fault) in faults {
        server.fault(part, fault);
    }
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
    let seen = server.hub().seen.clone();
    let ranges: Vec<_> = seen.iter().filter_map(|s| s.range.clone()).collect();
    assert!(ranges.len() >= 3, "interrupted files go on where they were: {ranges:?}");
}

#[test]
fn content_that_is_not_what_was_announced_is_never_put_in_place() {
    for (fault, says) in [(Fault::Spoilt, "hash to"), (Fault::Long, "more than the 70000 bytes")] {
        let (bench, server) = (Bench::new(), Server::start());
        server.repo(REPO, &some_files());
        server.fault("file-000.parquet", fault);
        let error = error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
        assert!(error.contains(says) && error.contains("file-000.parquet"), "{error}");
        assert!(error.contains("hint: "), "{error}");
        assert!(!bench.path("set").exists());
        // The next attempt finds the store mended, and what came well the first time is kept.
        json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
        assert_eq!(contents(&bench.path("set")), owned(&some_files()));
    }
}

#[test]
fn a_spoilt_part_of_an_earlier_run_is_fetched_again() {
    let (bench, server) = (Bench::new(), Server::start());
    let big = noise(9, 400_000);
    server.repo(REPO, &[("big.parquet", big.clone())]);
    server.fault("big.parquet", Fault::Cut(200_000));
    for _ in 0..8 {
        server.fault("big.parquet", Fault::Status(403, None));
    }
    error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
    server.hub().faults_clear();
    let parts = bench.path(".set.partial/.embody-parts");
    let part = names(&parts).into_iter().find(|n| n.ends_with(".part")).unwrap();
    let mut bytes = std::fs::read(parts.join(&part)).unwrap();
    assert!(bytes.len() >= 100_000);
    bytes[50] ^= 1;
    std::fs::write(parts.join(&part), bytes).unwrap();
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(contents(&bench.path("set"))["big.parquet"], big);
}

#[test]
fn a_file_that_changes_between_two_attempts_is_not_glued() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &[("a.parquet", noise(1, 300_000))]);
    server.fault("a.parquet", Fault::Cut(150_000));
    server.fault("a.parquet", Fault::Status(403, None));
    error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
    let now = noise(2, 300_000);
    server.repo(REPO, &[("a.parquet", now.clone())]);
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(contents(&bench.path("set"))["a.parquet"], now);
}

#[test]
fn names_that_would_leave_the_folder_write_nothing() {
    for name in ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", ".git/config", "a/./b"] {
        let (bench, server) = (Bench::new(), Server::start());
        server.repo(REPO, &[("fine", b"1".to_vec()), (name, b"2".to_vec())]);
        let error = error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
        assert!(error.contains(&format!("{name:?}")), "{error}");
        assert!(names(bench.home.path()).is_empty(), "{name:?}");
    }
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &[("a", b"1".to_vec()), ("a/b", b"2".to_vec())]);
    let error = error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
    assert!(error.contains("a file where its folder would be"), "{error}");
}

#[test]
fn the_token_goes_to_the_endpoint_and_to_no_other_host() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    server.serve_lfs_elsewhere();
    server.fault("README.md", Fault::Redirect(format!("http://{}", server.other)));
    let mut command = embody(&bench, &server, &["data", "pull", URL, "set"]);
    let output = command.env("HF_TOKEN", TOKEN).env("EMBODY_LOG", "trace").output().unwrap();
    assert!(output.status.success());
    let text = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&text).contains(TOKEN), "a token was printed");
    let seen = server.hub().seen.clone();
    let other = server.other.to_string();
    let there: Vec<_> = seen.iter().filter(|s| s.host == other).collect();
    assert!(there.len() >= 4, "contents came from the other host");
    assert!(there.iter().all(|s| !s.token), "the other host saw the token: {there:?}");
    assert!(seen.iter().filter(|s| s.host != other).all(|s| s.token));
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
}

#[test]
fn a_listing_that_names_another_host_goes_on_at_the_endpoint() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    let to = format!("http://{}/api/datasets/{REPO}/tree/main?cursor=3", server.other);
    server.fault("/tree/", Fault::NextPage(to));
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
    let other = server.other.to_string();
    assert!(server.hub().seen.iter().all(|s| s.host != other));
}

#[test]
fn a_listing_without_end_is_refused() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    let to = format!("{}/api/datasets/{REPO}/tree/main?cursor=99", server.endpoint());
    server.fault("/tree/", Fault::NextPage(to.clone()));
    server.fault("/tree/", Fault::NextPage(to));
    let error = error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
    assert!(error.contains("a listing that does not end"), "{error}");
}

#[test]
fn errors_name_the_address_the_status_and_the_mend() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    let error = |url: &str| error_of(&mut embody(&bench, &server, &["data", "pull", url, "x"]));
    let text = error("hf://datasets/lab/none");
    assert!(text.contains("answered 401") && text.contains("HF_TOKEN"), "{text}");
    let text = error("hf://datasets/lab/set@v9");
    assert!(text.contains("answered 404") && text.contains("branch, a tag or a commit"), "{text}");
    let text = error("hf://datasets/lab/set/nothing");
    assert!(text.contains("answered 404") && text.contains("check the path"), "{text}");
    let text = error("hf://lab/set");
    assert!(text.contains("hint: write hf://datasets/"), "{text}");
    server.fault("/revision/", Fault::Status(429, Some(100_000)));
    let text = error(URL);
    assert!(text.contains("answered 429") && text.contains("slow down"), "{text}");
    server.make_private(REPO);
    let text = error(URL);
    assert!(text.contains("answered 401") && text.contains("private"), "{text}");
    let file = bench.write("token", &format!("{TOKEN}\n"));
    let mut command = embody(&bench, &server, &["data", "pull", URL, "x", "--plan"]);
    assert!(command.env("HF_TOKEN_PATH", file).output().unwrap().status.success());
    let mut command = bench.command(&["data", "pull", URL, "x"]);
    let text = error_of(command.env("HF_ENDPOINT", "ftp://somewhere"));
    assert!(text.contains("set HF_ENDPOINT"), "{text}");
}

#[test]
fn what_was_changed_in_the_target_is_not_lost_unless_told() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    bench.write("set/notes.txt", "mine");
    bench.write("set/README.md", "# Mine\n");
    let error = error_of(&mut embody(&bench, &server, &["data", "pull", URL, "set"]));
    assert!(error.contains("2 files are not as") && error.contains("--replace"), "{error}");
    assert_eq!(std::fs::read_to_string(bench.path("set/notes.txt")).unwrap(), "mine");
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json", "--replace"]));
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
}

/// Killed at many instants, the same command ends with equal bytes, and no reader sees a part.
#[test]
fn killed_at_any_instant_the_same_command_completes() {
    let (bench, server) = (Bench::new(), Server::start());
    let files: Vec<(String, Vec<u8>)> =
        (0..12).map(|i| (format!("data/file-{i}.parquet"), noise(i, 700_000))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, c)| (n.as_str(), c.clone())).collect();
    server.repo(REPO, &files);
    let mut kills = 0;
    for i in 0..40_u64 {
        let mut command =
            embody(&bench, &server, &["data", "pull", URL, "set", "--connections", "3"]);
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // Not waiting for anything: the instant itself is what is varied.
        std::thread::sleep(Duration::from_millis(3 + i * 2));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        let target = bench.path("set");
        assert!(!target.exists() || contents(&target) == owned(&files), "a part is seen");
    }
    assert!(kills >= 5, "only {kills} runs were killed");
    json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(contents(&bench.path("set")), owned(&files));
    assert_eq!(names(bench.home.path()), ["set"]);
}

#[test]
#[cfg(unix)]
fn ctrl_c_keeps_what_came() {
    let (bench, server) = (Bench::new(), Server::start());
    server.repo(REPO, &some_files());
    // The server asks for patience: the pull is surely at work when the signal comes.
    server.fault("file-000.parquet", Fault::Status(429, Some(60)));
    let mut command = embody(&bench, &server, &["data", "pull", URL, "set"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let staging = bench.path(".set.partial");
    let others = some_files().into_iter().map(|(n, _)| n).filter(|n| !n.ends_with("000.parquet"));
    while !others.clone().all(|name| staging.join(name).exists()) {
        std::thread::yield_now();
    }
    let signal =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signal.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(!bench.path("set").exists());
    let rest = json_of(&mut embody(&bench, &server, &["data", "pull", URL, "set", "--json"]));
    assert_eq!(rest["downloaded_bytes"], 70_000);
    assert_eq!(contents(&bench.path("set")), owned(&some_files()));
}
