//! Bad input: one clear error naming file and place, nothing half-written left in place.

use std::fs;
use std::path::Path;

use embody_data::{
    Dataset, FrameSource, ImportOptions, LeRobotRecorder, ProcessOptions, SourceOptions,
    ValidateOptions, ValidationReport, diff, import, process, repair, validate,
};

use crate::common::{copy_tree, record, with_task};

const DATA: &str = "data/chunk-000/file-000.parquet";
const VIDEO: &str = "videos/observation.images.front/chunk-000/file-000.mp4";

struct Set {
    home: tempfile::TempDir,
}

impl Set {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        record(&home.path().join("set"), &[20, 12, 16], 2);
        Self { home }
    }

    fn root(&self) -> std::path::PathBuf {
        self.home.path().join("set")
    }

    fn target(&self) -> std::path::PathBuf {
        self.home.path().join("target")
    }

    /// Nothing but the source (and nothing hidden) stands in the folder.
    fn assert_clean(&self) {
        let names: Vec<_> =
            fs::read_dir(self.home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["set"], "something half-written was left");
    }

    fn validate(&self) -> ValidationReport {
        with_task(|t| validate(&self.root(), &ValidateOptions::default(), t).unwrap())
    }

    fn codes(&self) -> Vec<String> {
        self.validate().findings.into_iter().map(|f| f.code).collect()
    }

    fn import_error(&self) -> String {
        let error = with_task(|t| {
            import(&self.root(), &self.target(), ImportOptions::default(), t).unwrap_err()
        });
        assert!(error.hint().is_some(), "no hint: {error}");
        self.assert_clean();
        error.to_string()
    }

    fn edit_json(&self, file: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.root().join(file);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut value);
        fs::write(&path, value.to_string()).unwrap();
    }
}

fn cut(path: &Path, keep: f64) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..(bytes.len() as f64 * keep) as usize]).unwrap();
}

#[test]
fn a_missing_path_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (gone, target) = (home.path().join("gone"), home.path().join("target"));
    let error = with_task(|t| import(&gone, &target, ImportOptions::default(), t).unwrap_err());
    assert_eq!(error.to_string(), format!("no such dataset: {}", gone.display()));
    assert_eq!(error.hint(), Some("check the path"));
    assert!(with_task(|t| validate(&gone, &ValidateOptions::default(), t)).is_err());
    assert!(Dataset::open(home.path()).unwrap_err().to_string().contains("meta/info.json"));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_truncated_table_is_named() {
    let set = Set::new();
    cut(&set.root().join(DATA), 0.7);
    let error = set.import_error();
    assert!(error.contains(DATA) && error.contains("truncated"), "{error}");
    assert!(set.codes().contains(&"table-no-footer".to_owned()));
    let error = with_task(|t| {
        process(&set.root(), &set.target(), &ProcessOptions::default(), t).unwrap_err()
    });
    assert!(error.to_string().contains(DATA), "{error}");
    set.assert_clean();
}

#[test]
fn a_truncated_video_is_named() {
    let set = Set::new();
    cut(&set.root().join(VIDEO), 0.9);
    let error = set.import_error();
    assert!(error.contains(VIDEO), "{error}");
    assert!(set.codes().contains(&"video-truncated".to_owned()));
}

#[test]
fn a_video_with_too_few_frames_names_episode_and_frame() {
    let set = Set::new();
    // The video of a recording whose last episode is shorter, under a table that is longer.
    let other = tempfile::tempdir().unwrap();
    record(&other.path().join("set"), &[20, 12, 9], 1);
    fs::copy(other.path().join("set").join(VIDEO), set.root().join(VIDEO)).unwrap();
    let error = set.import_error();
    assert!(error.contains(VIDEO) && error.contains("episode 2, frame 9"), "{error}");
    let found = set.validate();
    let short = found.findings.iter().find(|f| f.code == "video-short").unwrap();
    assert_eq!((short.episode, short.frame), (Some(2), Some(9)));
    let error =
        with_task(|t| FrameSource::open(&set.root(), &SourceOptions::default(), t).err().unwrap());
    assert!(error.to_string().contains("episode 2, frame 9"), "{error}");
    let options = ProcessOptions { drop_failed: false, ..Default::default() };
    let error = with_task(|t| process(&set.root(), &set.target(), &options, t).unwrap_err());
    assert!(error.to_string().contains("episode 2, frame 9"), "{error}");
    set.assert_clean();
    let options = ProcessOptions { drop_broken_video: true, ..options };
    let report = with_task(|t| process(&set.root(), &set.target(), &options, t).unwrap());
    assert_eq!(report.dropped[0].episode, 2);
    assert!(report.dropped[0].reasons[0].contains("frame 9"), "{:?}", report.dropped);
    assert_eq!(Dataset::open(&set.target()).unwrap().info().total_frames, 32);
}

#[test]
fn a_nan_in_an_action_names_episode_frame_and_dimension() {
    let set = Set::new();
    crate::roundtrip::rewrite_column(&set.root().join(DATA), "action", |values| {
        values[(20 + 5) * 3 + 1] = f32::NAN;
    });
    let found = set.validate();
    let nan = found.findings.iter().find(|f| f.code == "non-finite-value").unwrap();
    assert_eq!((nan.episode, nan.frame), (Some(1), Some(5)));
    assert!(nan.message.contains("action") && nan.message.contains("(y)"), "{nan}");
    let error =
        with_task(|t| FrameSource::open(&set.root(), &SourceOptions::default(), t).err().unwrap());
    assert!(error.to_string().contains("episode 1, frame 5: action, dimension y"), "{error}");
    let report = with_task(|t| {
        let options = ProcessOptions { drop_failed: false, ..Default::default() };
        process(&set.root(), &set.target(), &options, t).unwrap()
    });
    assert_eq!(report.dropped[0].episode, 1);
}

#[test]
fn what_lerobot_accepts_in_silence_is_found() {
    type Edit<'a> = (&'static str, &'a dyn Fn(&mut serde_json::Value));
    let cases: [Edit<'_>; 4] = [
        ("total-frames", &|v| v["total_frames"] = 49.into()),
        ("unknown-version", &|v| v["codebase_version"] = "v3.7".into()),
        ("column-missing", &|v| {
            v["features"]["ghost"] =
                serde_json::json!({"dtype": "float32", "shape": [2], "names": null});
        }),
        ("column-undeclared", &|v| {
            v["features"].as_object_mut().unwrap().remove("next.reward");
        }),
    ];
    for (code, edit) in cases {
        let set = Set::new();
        set.edit_json("meta/info.json", edit);
        let codes = set.codes();
        assert!(codes.contains(&code.to_owned()), "{code}: {codes:?}");
    }
    let set = Set::new();
    fs::remove_file(set.root().join("meta/stats.json")).unwrap();
    assert!(set.codes().contains(&"stats-missing".to_owned()));
    let set = Set::new();
    set.edit_json("meta/stats.json", |v| v["action"]["mean"][0] = 123.0.into());
    assert!(set.codes().contains(&"stats-mismatch".to_owned()));
    let set = Set::new();
    set.edit_json("meta/info.json", |v| {
        v["features"]["observation.images.front"]["info"]["video.codec"] = "h264".into();
    });
    assert!(set.codes().contains(&"video-codec-label".to_owned()));
    let set = Set::new();
    fs::remove_file(set.root().join(VIDEO)).unwrap();
    assert!(set.codes().contains(&"video-missing".to_owned()));
    let set = Set::new();
    fs::rename(set.root().join("videos"), set.root().join("video")).unwrap();
    let found = set.validate();
    let missing = found.findings.iter().find(|f| f.code == "video-folder").unwrap();
    assert!(missing.hint.as_ref().unwrap().contains("rename the folder"));
}

#[test]
fn shifted_video_times_are_found() {
    let set = Set::new();
    let table = set.root().join("meta/episodes/chunk-000/file-000.parquet");
    crate::roundtrip::rewrite_f64(&table, "videos/observation.images.front/from_timestamp", |v| {
        v[1] += 1.0 / 30.0;
    });
    assert!(set.codes().contains(&"video-off-by-one".to_owned()), "{:?}", set.codes());
}

#[test]
fn reversed_rows_are_found() {
    let set = Set::new();
    crate::roundtrip::rewrite_batch(&set.root().join(DATA), |batch| {
        let rows: Vec<u32> = (0..batch.num_rows() as u32).rev().collect();
        arrow_select::take::take_record_batch(batch, &arrow_array::UInt32Array::from(rows)).unwrap()
    });
    let codes = set.codes();
    for code in
        ["episode-index-column", "frame-index", "index-not-continuous", "timestamp-not-monotonic"]
    {
        assert!(codes.contains(&code.to_owned()), "{codes:?}");
    }
}

/// A disk of 200 KiB; `None` where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(home.path())
            .output();
        match done {
            Ok(out) if out.status.success() => Some(Self(home)),
            _ => {
                println!("skipped: tmpfs can't be mounted here");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_full_disk_is_one_error_and_nothing_stays() {
    let set = Set::new();
    let Some(disk) = SmallDisk::mount() else { return };
    let target = disk.0.path().join("target");
    let options = ProcessOptions { drop_failed: false, ..Default::default() };
    let tries = [
        with_task(|t| import(&set.root(), &target, ImportOptions::default(), t).err()),
        with_task(|t| process(&set.root(), &target, &options, t).err()),
        with_task(|t| {
            let options =
                SourceOptions { cache_dir: Some(disk.0.path().into()), ..Default::default() };
            FrameSource::open(&set.root(), &options, t).err()
        }),
    ];
    for error in tries {
        let error = error.expect("the disk is too small");
        let text = error.to_string();
        assert!(text.contains(&disk.0.path().display().to_string()), "{text}");
        assert!(error.hint().is_some_and(|h| h.contains("free some space")), "{error:?}");
        assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 0, "something was left");
    }
}

#[test]
fn a_full_disk_stops_a_recording() {
    let Some(disk) = SmallDisk::mount() else { return };
    let target = disk.0.path().join("target");
    let result = std::panic::catch_unwind(|| record(&target, &[60; 8], 2));
    assert!(result.is_err(), "the disk is too small");
    assert!(!target.exists(), "a dataset that is not whole");
    // What was recorded until then can be had on another disk.
    let home = tempfile::tempdir().unwrap();
    let elsewhere = home.path().join("set");
    let report = LeRobotRecorder::recover(&target, Some(&elsewhere), 2).unwrap().unwrap();
    assert!(report.frames > 0, "{report:?}");
    assert_eq!(Dataset::open(&elsewhere).unwrap().info().total_frames, report.frames);
    assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 0, "something was left");
}

#[test]
fn mutated_files_never_panic() {
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    let set = Set::new();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let files = [
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        DATA,
        VIDEO,
    ];
    for round in 0..60 {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&set.root(), copy.path());
        let path = copy.path().join(files[round % files.len()]);
        let mut bytes = fs::read(&path).unwrap();
        if round % 4 == 3 {
            bytes.truncate(rng.next_u32() as usize % bytes.len());
        } else {
            for _ in 0..1 + round % 7 {
                let at = rng.next_u32() as usize % bytes.len();
                bytes[at] ^= 1 << (rng.next_u32() % 8);
            }
        }
        fs::write(&path, bytes).unwrap();
        // Whatever comes of it, it is an answer.
        with_task(|t| validate(copy.path(), &ValidateOptions::default(), t)).ok();
        with_task(|t| FrameSource::open(copy.path(), &SourceOptions::default(), t)).ok();
        with_task(|t| diff(&set.root(), copy.path(), t)).ok();
        let mended = tempfile::tempdir().unwrap();
        let target = mended.path().join("set");
        if with_task(|t| repair(copy.path(), &target, false, t)).is_ok() {
            Dataset::open(&target).unwrap();
        }
    }
}
