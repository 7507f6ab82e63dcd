//! Edits: what is kept is identical to the bit, whatever is done to the rest.

use std::path::{Path, PathBuf};

use embody_core::hash_file;
use embody_data::{
    Dataset, DecodeCheck, EditReport, ImportOptions, Part, ProcessOptions, Relabel, Trim,
    ValidateOptions, delete, import, merge, parse_episodes, process, relabel, split, trim,
    validate,
};

use crate::common::{record, shared_data, with_task};

const CAMERA: &str = "observation.images.front";

/// Frames `to..` of an episode of one dataset equal those of another: values and pictures.
fn assert_same(a: &Dataset, (ea, from): (usize, usize), b: &Dataset, eb: usize, key: &str) {
    let length = b.episodes()[eb].length;
    let frames: Vec<usize> = (0..length).collect();
    let shifted: Vec<usize> = frames.iter().map(|f| f + from).collect();
    assert!(
        a.decode_frames(ea, key, &shifted).unwrap() == b.decode_frames(eb, key, &frames).unwrap()
    );
    let (ta, tb) = (a.episode_table(ea).unwrap(), b.episode_table(eb).unwrap());
    for (name, array) in &tb {
        if ["index", "episode_index", "task_index", "timestamp", "frame_index"]
            .contains(&name.as_str())
        {
            continue;
        }
        let width = array.shape.iter().skip(1).product::<usize>();
        let all = format!("{:?}", ta[name].data);
        if from == 0 && ta[name].shape[0] == length {
            assert_eq!(ta[name], *array, "{name}");
        } else if let (embody_core::ArrayData::F32(x), embody_core::ArrayData::F32(y)) =
            (&ta[name].data, &array.data)
        {
            assert_eq!(x[from * width..(from + length) * width], y[..], "{name} of {all:.0}");
        }
    }
}

fn assert_clean(root: &Path) {
    let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
    let found = with_task(|t| validate(root, &options, t).unwrap());
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
}

struct Set {
    home: tempfile::TempDir,
}

impl Set {
    fn new(lengths: &[usize]) -> Self {
        let home = tempfile::tempdir().unwrap();
        record(&home.path().join("set"), lengths, 2);
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn open(&self, name: &str) -> Dataset {
        Dataset::open(&self.path(name)).unwrap()
    }

    fn delete(&self, from: &str, to: &str, episodes: &[usize]) -> EditReport {
        with_task(|t| delete(&self.path(from), &self.path(to), episodes, t).unwrap())
    }
}

#[test]
fn deleting_keeps_the_others_as_they_are() {
    let set = Set::new(&[20, 33, 9, 40]);
    let report = set.delete("set", "less", &[2, 0, 2]);
    assert_eq!((report.episodes, report.frames, report.files_kept), (2, 73, 0));
    let (before, after) = (set.open("set"), set.open("less"));
    for (new, old) in [1, 3].into_iter().enumerate() {
        assert_same(&before, (old, 0), &after, new, CAMERA);
        assert_eq!(after.episodes()[new].outcome, before.episodes()[old].outcome);
    }
    assert_clean(&set.path("less"));
    let lineage = after.lineage().unwrap().unwrap();
    assert_eq!(lineage.operation, "delete");
    assert_eq!(lineage.parent, Some(before.version().unwrap()));
    assert_eq!(lineage.parameters, serde_json::json!({"episodes": [0, 2]}));
    // The instructions of the episodes that are gone are gone as well.
    assert_eq!(after.tasks(), ["lift the cube"]);
}

#[test]
fn a_video_file_that_stays_whole_is_not_written_again() {
    let set = Set::new(&[20, 33, 9, 40]);
    // Three files: two of the source, one of which is cut, and one more.
    with_task(|t| {
        let sources = [set.path("set"), set.path("set")];
        merge(&sources, &set.path("twice"), t).unwrap();
        let info = set.path("twice/meta/info.json");
        let mut value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&info).unwrap()).unwrap();
        value["video_files_size_in_mb"] = 0.02.into();
        std::fs::write(&info, value.to_string()).unwrap();
        // Written again in small files.
        import(&set.path("twice"), &set.path("many"), ImportOptions::default(), t).unwrap()
    });
    let before = set.open("many");
    let files: std::collections::BTreeSet<PathBuf> =
        before.episodes().iter().map(|e| e.videos[CAMERA].file.clone()).collect();
    assert!(files.len() > 2, "{files:?}");
    let report = set.delete("many", "less", &[0]);
    assert_eq!(report.files_kept, files.len() - 1);
    let after = set.open("less");
    for new in 0..after.episodes().len() {
        assert_same(&before, (new + 1, 0), &after, new, CAMERA);
    }
    assert_clean(&set.path("less"));
    let last = |d: &Dataset| d.episodes().last().unwrap().videos[CAMERA].file.clone();
    assert_eq!(hash_file(&last(&before)).unwrap(), hash_file(&last(&after)).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let node = |path: &Path| std::fs::metadata(path).unwrap().ino();
        assert_eq!(node(&last(&before)), node(&last(&after)), "a hard link");
    }
}

#[test]
fn a_dataset_splits_and_merges_back() {
    let set = Set::new(&[20, 33, 9, 40, 12]);
    let parts = [
        ("first".to_owned(), Part::Episodes(vec![3, 1])),
        ("rest".to_owned(), Part::Fraction(0.6)),
    ];
    let reports =
        with_task(|t| split(&set.path("set"), &set.path("parts"), &parts, None, t).unwrap());
    assert_eq!(reports.iter().map(|r| r.episodes).collect::<Vec<_>>(), [2, 3]);
    let (whole, first, rest) = (set.open("set"), set.open("parts/first"), set.open("parts/rest"));
    for (new, old) in [1, 3].into_iter().enumerate() {
        assert_same(&whole, (old, 0), &first, new, CAMERA);
    }
    for (new, old) in [0, 2, 4].into_iter().enumerate() {
        assert_same(&whole, (old, 0), &rest, new, CAMERA);
    }
    let sources = [set.path("parts/rest"), set.path("parts/first")];
    let report = with_task(|t| merge(&sources, &set.path("merged"), t).unwrap());
    assert_eq!((report.episodes, report.frames), (5, 114));
    let merged = set.open("merged");
    for (new, old) in [0, 2, 4, 1, 3].into_iter().enumerate() {
        assert_same(&whole, (old, 0), &merged, new, CAMERA);
        assert_eq!(merged.episodes()[new].tasks, whole.episodes()[old].tasks);
    }
    assert_eq!(merged.tasks(), ["pick the cube", "lift the cube"]);
    for root in ["parts/first", "parts/rest", "merged"] {
        assert_clean(&set.path(root));
    }
    let lineage = merged.lineage().unwrap().unwrap();
    assert_eq!(lineage.parent, Some(rest.version().unwrap()));
    assert_eq!(lineage.merged, [first.version().unwrap()]);
    // By chance, but the same for the same seed.
    let halves = [("a".to_owned(), Part::Fraction(0.5)), ("b".to_owned(), Part::Fraction(0.5))];
    let by_seed = |name: &str| {
        let reports =
            with_task(|t| split(&set.path("set"), &set.path(name), &halves, Some(3), t).unwrap());
        reports.iter().map(|r| r.version.clone()).collect::<Vec<_>>()
    };
    assert_eq!(by_seed("x"), by_seed("y"));
}

#[test]
fn what_was_held_out_stays_held_out() {
    let set = Set::new(&[20, 33, 9, 40, 12, 18]);
    let options = ProcessOptions { drop_failed: false, held_out: 0.34, ..Default::default() };
    with_task(|t| process(&set.path("set"), &set.path("split"), &options, t).unwrap());
    set.delete("split", "less", &[1]);
    let less = set.open("less");
    assert_eq!(less.info().splits["train"], "0:3");
    assert_eq!(less.info().splits["held_out"], "3:5");
    let sources = [set.path("less"), set.path("split")];
    with_task(|t| merge(&sources, &set.path("merged"), t).unwrap());
    let merged = set.open("merged");
    assert_eq!(merged.info().splits["train"], "0:7");
    assert_eq!(merged.info().splits["held_out"], "7:11");
    assert_same(&less, (4, 0), &merged, 8, CAMERA);
    let parts = [("exam".to_owned(), Part::parse("held_out", 6).unwrap().1)];
    let report = with_task(|t| {
        split(&set.path("split"), &set.path("exam"), &parts, None, t).unwrap().remove(0)
    });
    assert_eq!(report.episodes, 2);
    assert_clean(&set.path("merged"));
}

#[test]
fn datasets_that_differ_are_refused_with_every_difference() {
    let set = Set::new(&[9]);
    record(&set.path("other"), &[8], 1);
    let info = set.path("other/meta/info.json");
    let mut value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&info).unwrap()).unwrap();
    value["robot_type"] = "other_arm".into();
    value["features"]["action"]["names"] = serde_json::json!(["x", "y", "z"]);
    std::fs::write(&info, value.to_string()).unwrap();
    let sources = [set.path("set"), set.path("other")];
    let error = with_task(|t| merge(&sources, &set.path("merged"), t).unwrap_err());
    let text = error.to_string();
    assert!(text.contains("robot other_arm against test_arm"), "{text}");
    assert!(text.contains("\"action\" has dimensions"), "{text}");
    assert!(error.hint().is_some());
    assert!(!set.path("merged").exists());
}

#[test]
fn frames_are_cut_off_on_key_frames_or_not_at_all() {
    let set = Set::new(&[20, 33]);
    let source = set.open("set");
    let cut = |text: &str| Trim::parse(text, &source).unwrap();
    let error = with_task(|t| {
        trim(&set.path("set"), &set.path("cut"), &[cut("1=7:30")], false, t).unwrap_err()
    });
    let text = error.to_string();
    assert!(text.contains("episode 1: frame 7 is no key frame"), "{text}");
    assert!(text.contains("frames 7 to 7"), "{text}");
    assert!(error.hint().unwrap().contains("frame 6"), "{:?}", error.hint());
    assert!(!set.path("cut").exists());
    let cuts = [cut("1=7:30"), cut("0=:11")];
    let report = with_task(|t| trim(&set.path("set"), &set.path("cut"), &cuts, true, t).unwrap());
    assert_eq!((report.episodes, report.frames), (2, 35));
    let after = set.open("cut");
    assert_same(&source, (0, 0), &after, 0, CAMERA);
    assert_same(&source, (1, 6), &after, 1, CAMERA);
    assert_clean(&set.path("cut"));
    for bad in ["1", "9=0:3", "1=5:x"] {
        assert!(Trim::parse(bad, &source).is_err(), "{bad}");
    }
    let beyond = [Trim { episode: 1, keep: 4..99 }];
    let error =
        with_task(|t| trim(&set.path("set"), &set.path("no"), &beyond, true, t).unwrap_err());
    assert!(error.to_string().contains("no frames 4 to 99"), "{error}");
}

#[test]
fn instructions_change_and_nothing_else() {
    let set = Set::new(&[20, 33, 9]);
    let labels = [
        Relabel { episodes: Some(vec![2]), from: None, to: "push".into() },
        Relabel { episodes: None, from: Some("pick the cube".into()), to: "lift the cube".into() },
    ];
    let report = with_task(|t| relabel(&set.path("set"), &set.path("said"), &labels, t).unwrap());
    assert_eq!(report.files_kept, 1);
    let (before, after) = (set.open("set"), set.open("said"));
    assert_eq!(after.tasks(), ["lift the cube", "push"]);
    let tasks: Vec<&str> = after.episodes().iter().map(|e| e.tasks[0].as_str()).collect();
    assert_eq!(tasks, ["lift the cube", "lift the cube", "push"]);
    for e in 0..3 {
        assert_same(&before, (e, 0), &after, e, CAMERA);
    }
    assert_clean(&set.path("said"));
    let none = [Relabel { from: Some("fly".into()), to: "x".into(), ..Default::default() }];
    let error = with_task(|t| relabel(&set.path("set"), &set.path("no"), &none, t).unwrap_err());
    assert!(error.to_string().contains("\"fly\""), "{error}");
}

#[test]
fn lists_of_episodes_are_understood_or_refused() {
    assert_eq!(parse_episodes("3,5-7, 0", 9).unwrap(), [0, 3, 5, 6, 7]);
    assert_eq!(parse_episodes("7-", 9).unwrap(), [7, 8]);
    for bad in ["", "9", "5-3", "a", "1-x", "-3"] {
        assert!(parse_episodes(bad, 9).is_err(), "{bad}");
    }
    let set = Set::new(&[5, 6]);
    let refused = |episodes: &[usize]| {
        with_task(|t| delete(&set.path("set"), &set.path("x"), episodes, t).unwrap_err())
    };
    assert!(refused(&[2]).to_string().contains("no episode 2"));
    assert!(refused(&[0, 1]).to_string().contains("all 2 episodes"));
    let error = with_task(|t| delete(&set.path("set"), &set.path("set"), &[0], t).unwrap_err());
    assert!(error.to_string().contains("exists already"), "{error}");
    let twice =
        [("a".to_owned(), Part::Episodes(vec![0])), ("b".to_owned(), Part::Episodes(vec![0]))];
    let error =
        with_task(|t| split(&set.path("set"), &set.path("x"), &twice, None, t).unwrap_err());
    assert!(error.to_string().contains("episode 0 is in part"), "{error}");
    assert!(!set.path("x").exists());
}

#[test]
fn the_g1_recording_is_edited() {
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let camera = "observation.images.cam_high";
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    with_task(|t| import(&source, &path("v3"), ImportOptions::default(), t).unwrap());
    let whole = Dataset::open(&path("v3")).unwrap();
    let report = with_task(|t| delete(&path("v3"), &path("less"), &[4, 9], t).unwrap());
    assert_eq!(report.episodes, 10);
    let less = Dataset::open(&path("less")).unwrap();
    for (new, old) in [(0, 0), (4, 5), (9, 11)] {
        let frames = [0, less.episodes()[new].length - 1];
        assert_eq!(
            less.decode_frames(new, camera, &frames).unwrap(),
            whole.decode_frames(old, camera, &frames).unwrap()
        );
        let mp4 = |d: &Dataset, e: usize| d.episode_video_mp4(e, camera).unwrap();
        assert!(mp4(&less, new) == mp4(&whole, old), "packets are copied");
    }
    let cut = [Trim { episode: 2, keep: 100..200 }];
    with_task(|t| trim(&path("less"), &path("cut"), &cut, true, t).unwrap());
    with_task(|t| merge(&[path("cut"), path("less")], &path("both"), t).unwrap());
    let options = ValidateOptions { decode: DecodeCheck::Sampled, ..Default::default() };
    for name in ["less", "cut", "both"] {
        let found = with_task(|t| validate(&path(name), &options, t).unwrap());
        assert!(found.is_ok(), "{name}: {:#?}", found.findings);
    }
}
