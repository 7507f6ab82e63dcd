//! The store of versions, and what differs between them.

use std::fs;
use std::path::Path;

use embody_data::{Dataset, Relabel, Trim, Versions, delete, diff, merge, relabel, trim};

use crate::common::{copy_tree, record, with_task};

fn objects(home: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(home.join(".embody-versions/objects")).unwrap() {
        count += fs::read_dir(entry.unwrap().path()).unwrap().count();
    }
    count
}

#[test]
fn a_version_kept_can_be_had_again() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    record(&path("set"), &[20, 33, 9], 2);
    let version = Dataset::open(&path("set")).unwrap().version().unwrap();
    let store = Versions::beside(&path("set")).unwrap();
    let kept = with_task(|t| store.keep(&path("set"), t).unwrap());
    assert_eq!(kept.version, version);
    with_task(|t| delete(&path("set"), &path("less"), &[1], t).unwrap());
    let second = with_task(|t| store.keep(&path("less"), t).unwrap());
    assert_eq!(store.list().unwrap().len(), 2);
    // The history goes back over what is kept.
    let history = store.history(&path("less")).unwrap();
    let operations: Vec<&str> = history.iter().map(|l| l.operation.as_str()).collect();
    assert_eq!(operations, ["delete", "record"]);
    fs::remove_dir_all(path("set")).unwrap();
    let short = &version.as_str()[..8];
    with_task(|t| store.checkout(short, &path("again"), t).unwrap());
    let again = Dataset::open(&path("again")).unwrap();
    assert_eq!(again.version().unwrap(), version);
    assert_eq!(again.lineage().unwrap().unwrap().operation, "record");
    // An edit of a description in place does not reach the store.
    fs::write(path("again/meta/info.json"), "{}").unwrap();
    with_task(|t| store.checkout(short, &path("third"), t).unwrap());
    Dataset::open(&path("third")).unwrap();
    let error = with_task(|t| store.checkout(short, &path("third"), t).unwrap_err());
    assert!(error.to_string().contains("exists already"), "{error}");
    assert!(store.find("zzzz").unwrap_err().to_string().contains("no version"));
    // Forgetting removes what no other version has.
    let before = objects(home.path());
    let (_, freed) = store.forget(short).unwrap();
    assert!(freed > 0 && objects(home.path()) < before);
    with_task(|t| store.checkout(second.version.as_str(), &path("fourth"), t).unwrap());
    assert!(store.find(short).is_err());
}

#[test]
fn a_changed_object_is_not_checked_out() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    record(&path("set"), &[9], 1);
    let store = Versions::beside(&path("set")).unwrap();
    let kept = with_task(|t| store.keep(&path("set"), t).unwrap());
    let file = kept.files.iter().find(|f| f.path == "meta/stats.json").unwrap();
    let (first, rest) = file.hash.as_str().split_at(2);
    fs::write(path(".embody-versions/objects").join(first).join(rest), "{}").unwrap();
    let error = with_task(|t| store.checkout(kept.version.as_str(), &path("x"), t).unwrap_err());
    assert!(error.to_string().contains("meta/stats.json"), "{error}");
    assert!(error.hint().is_some() && !path("x").exists());
}

#[test]
fn differences_are_named() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    record(&path("set"), &[20, 33, 9, 40], 2);
    record(&path("other"), &[25], 2);
    with_task(|t| {
        delete(&path("set"), &path("a"), &[0], t).unwrap();
        let cut = [Trim { episode: 2, keep: 10..30 }];
        trim(&path("a"), &path("b"), &cut, false, t).unwrap();
        let label = Relabel { episodes: Some(vec![0]), from: None, to: "push".into() };
        relabel(&path("b"), &path("c"), &[label], t).unwrap();
        merge(&[path("c"), path("other")], &path("d"), t).unwrap();
    });
    let found = with_task(|t| diff(&path("set"), &path("d"), t).unwrap());
    assert_eq!(found.episodes.same, 1);
    assert_eq!(found.episodes.moved, [(2, 1)]);
    let changed: Vec<_> = found.episodes.changed.iter().map(|c| (c.a, c.b, &c.what)).collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!((changed[0].0, changed[0].1), (1, 0));
    assert!(changed[0].2[0].starts_with("instructions"), "{changed:?}");
    assert_eq!((changed[1].0, changed[1].1), (3, 2));
    assert_eq!(changed[1].2[0], "only frames 10 to 30 of 40 are left");
    assert_eq!((&found.episodes.removed[..], &found.episodes.added[..]), (&[0][..], &[3][..]));
    assert!(found.description.iter().any(|d| d.contains("\"push\" added")), "{found:?}");
    assert!(!found.statistics.is_empty());
    assert!(found.new_findings.is_empty(), "{:?}", found.new_findings);
    copy_tree(&path("set"), &path("same"));
    let same = with_task(|t| diff(&path("set"), &path("same"), t).unwrap());
    assert_eq!(same.a.version, same.b.version);
    assert_eq!(same.episodes.same, 4);
    assert!(same.description.is_empty() && same.statistics.is_empty());
}
