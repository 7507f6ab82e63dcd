//! `embody data` from end to end, on a small generated dataset: what is printed, exit codes, `--json`.

use std::path::Path;

use embody_core::{ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Recorder};
use embody_data::{LeRobotRecorder, RecordSpec, VideoSettings};
use serde_json::Value;

use crate::bench::Bench;

const SIZE: usize = 32;
const CAMERA: &str = "observation.images.front";

/// Four episodes of 12 to 15 frames with a camera; the last one failed.
fn dataset(path: &Path) {
    let mut features = embody_core::Features::new();
    let names = ["shoulder", "gripper"];
    features.insert("observation.state".into(), FeatureSpec::new(DType::Float32, &[2], &names));
    features.insert("action".into(), FeatureSpec::new(DType::Float32, &[2], &names));
    features.insert(CAMERA.into(), FeatureSpec::new(DType::Video, &[SIZE, SIZE, 3], &[]));
    let spec = RecordSpec {
        fps: 10.0,
        robot_type: Some("test_arm".into()),
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: Value::Null,
        origin: None,
    };
    let mut recorder = LeRobotRecorder::create(path, spec).unwrap();
    for e in 0..4usize {
        recorder.begin_episode(if e < 2 { "wave" } else { "point" }).unwrap();
        for t in 0..12 + e {
            let at = (t as f32 * 0.4 + e as f32).sin();
            let (state, action) = ([at, (t % 2) as f32], [at + 0.1, 0.5]);
            let pixel = |i: usize| ((i * 7 + t * 11 + e * 40) % 256) as u8;
            let rgb: Vec<u8> = (0..SIZE * SIZE * 3).map(pixel).collect();
            let row: [(&str, ArrayView<'_>); 3] = [
                ("observation.state", ArrayView { shape: &[2], data: DataView::F32(&state) }),
                ("action", ArrayView { shape: &[2], data: DataView::F32(&action) }),
                (CAMERA, ArrayView { shape: &[SIZE, SIZE, 3], data: DataView::U8(&rgb) }),
            ];
            recorder.add_frame(&row).unwrap();
        }
        let outcome = EpisodeOutcome { success: Some(e < 3), ..Default::default() };
        recorder.save_episode(outcome).unwrap();
    }
    recorder.finish().unwrap();
}

/// Hashes stand for what they name; how long a hash is shown is part of the text.
fn without_hashes(bench: &Bench, text: &str) -> String {
    let hex = |c: char| c.is_ascii_hexdigit();
    let text = bench.redact(text);
    let word = |w: &str| {
        // Recordings are named by dataset, version and episode.
        if let Some((name, rest)) = w.split_once('-').filter(|(n, _)| *n == "\"set") {
            return format!("{name}-[HASH]{}", &rest[12..]);
        }
        let bare = w.trim_end_matches([':', ',', '.']);
        let hash =
            bare.len() >= 8 && bare.chars().all(hex) && bare.chars().any(|c| c.is_ascii_digit());
        if hash { w.replace(bare, "[HASH]") } else { w.to_owned() }
    };
    let line = |l: &str| l.split(' ').map(word).collect::<Vec<_>>().join(" ");
    // Progress lines say how long it took.
    let lines = text.lines().filter(|l| !l.contains(" episodes in ") && !l.contains(" logs in "));
    lines.map(line).collect::<Vec<_>>().join("\n")
}

/// Runs commands one after the other and writes down what a person sees.
fn transcript(bench: &Bench, commands: &[&[&str]]) -> String {
    let mut out = String::new();
    for args in commands {
        let done = bench.run(args);
        let code = done.status.code().unwrap();
        let (said, complaint) =
            (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
        out += &format!("$ embody {}\n{}", args.join(" "), without_hashes(bench, &said));
        if code != 0 {
            out += &format!("\n[exit {code}]\n{}", without_hashes(bench, &complaint));
        }
        out = out.trim_end().to_owned() + "\n\n";
    }
    out
}

fn json(bench: &Bench, args: &[&str]) -> Value {
    serde_json::from_str(&bench.ok(args)).unwrap()
}

#[test]
fn edits_say_what_they_made() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    insta::assert_snapshot!(transcript(
        &bench,
        &[
            &["data", "delete", "set", "less", "--episodes", "1"],
            &["data", "delete", "set", "less", "--episodes", "1"],
            &["data", "delete", "set", "none", "--episodes", "9"],
            &["data", "split", "set", "parts", "--part", "train=0.5", "--part", "val=2-3"],
            &["data", "merge", "parts/train", "parts/val", "--out", "all"],
            &["data", "trim", "set", "cut", "--keep", "2=0:8"],
            &["data", "relabel", "set", "said", "--from", "point", "--to", "point at it"],
            &["data", "annotate", "set", "noted", "--episode", "3", "--success", "true"],
            &["data", "diff", "set", "less"],
            &["data", "diff", "set", "said"],
        ],
    ));
    let report = json(&bench, &["data", "diff", "set", "less", "--json"]);
    assert_eq!(report["episodes"]["removed"], serde_json::json!([1]));
    let report = json(&bench, &["data", "delete", "set", "fewer", "--episodes", "0,2-", "--json"]);
    assert_eq!((&report[0]["episodes"], &report[0]["frames"]), (&1.into(), &13.into()));
}

#[test]
fn versions_are_kept_and_put_back() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    let kept = json(&bench, &["data", "keep", "set", "--json"]);
    let version = kept["version"].as_str().unwrap();
    let versions = bench.ok(&["data", "versions", "set"]);
    assert!(versions.contains(&version[..8]), "{versions}");
    bench.ok(&["data", "checkout", &version[..10], "again"]);
    let same = bench.ok(&["data", "diff", "set", "again"]);
    insta::assert_snapshot!(without_hashes(&bench, &same));
    insta::assert_snapshot!(
        transcript(
            &bench,
            &[
                &["data", "checkout", "ffff", "nothing"],
                &["data", "checkout", &version[..10], "again"],
            ],
        )
        .replace(&version[..10], "[HASH]")
    );
}

#[test]
fn doctor_and_repair_agree() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    let info = bench.path("set/meta/info.json");
    let text = std::fs::read_to_string(&info).unwrap();
    std::fs::write(&info, text.replace("\"total_frames\": 54", "\"total_frames\": 50")).unwrap();
    insta::assert_snapshot!(transcript(
        &bench,
        &[
            &["data", "doctor", "set"],
            &["data", "repair", "set", "--dry-run"],
            &["data", "repair", "set", "mended"],
            &["data", "doctor", "mended"],
        ],
    ));
    let found = bench.run(&["data", "doctor", "set", "--json"]);
    assert_eq!(found.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let codes: Vec<_> = found["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert!(codes.contains(&&Value::from("total-frames")), "{codes:?}");
}

#[test]
fn curation_plans_before_it_writes() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    let files = bench.files();
    let plan = json(&bench, &["data", "curate", "set", "--json"]);
    assert!(plan["episodes"].as_array().is_some_and(|e| e.len() == 4), "{plan}");
    assert_eq!(bench.files(), files, "a plan writes nothing");
    insta::assert_snapshot!(transcript(
        &bench,
        &[
            &["data", "process", "set", "clean", "--held-out", "0.34"],
            &["data", "process", "set", "clean", "--held-out", "0.34"],
            &["data", "process", "set", "clean", "--held-out", "0.34", "--overwrite"],
        ],
    ));
}

#[test]
fn nothing_is_replaced_unasked() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    bench.write("taken/precious.txt", "mine");
    bench.write("file.rrd", "mine");
    std::fs::create_dir(bench.path("empty")).unwrap();
    let cases: [&[&str]; 5] = [
        &["data", "import", "set", "taken"],
        &["data", "process", "set", "taken"],
        &["data", "annotate", "set", "taken", "--episode", "0", "--score", "0.5"],
        &["data", "export", "set", "taken", "--format", "mcap"],
        &["data", "export", "set", "file.rrd", "--format", "rrd"],
    ];
    insta::assert_snapshot!(transcript(&bench, &cases));
    assert_eq!(std::fs::read_to_string(bench.path("taken/precious.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(bench.path("file.rrd")).unwrap(), "mine");
    bench.ok(&["data", "import", "set", "empty"]);
    bench.ok(&["data", "import", "set", "taken", "--overwrite"]);
    assert!(!bench.path("taken/precious.txt").exists());
}

#[test]
fn every_export_format_is_written_and_logs_come_back() {
    let bench = Bench::new();
    dataset(&bench.path("set"));
    insta::assert_snapshot!(transcript(
        &bench,
        &[
            &["data", "export", "set", "set.hdf5", "--format", "hdf5"],
            &["data", "export", "set", "set.zarr", "--format", "zarr"],
            &["data", "export", "set", "set.parquet", "--format", "parquet", "--no-pictures"],
            &["data", "export", "set", "mcap", "--format", "mcap", "--episodes", "1-2"],
            &["data", "export", "set", "rrd", "--format", "rrd", "--episodes", "1-2"],
            &["data", "export", "set", "all.rrd", "--format", "rrd"],
            &["data", "export", "set", "x", "--format", "mcap", "--episodes", "7"],
            &["data", "inspect", "rrd"],
            &["data", "inspect", "all.rrd"],
            &["data", "import", "rrd", "back"],
            &["data", "import", "rrd", "again", "--map", "rrd/mapping.toml"],
            &["data", "info", "back"],
        ],
    ));
    let seen = json(&bench, &["data", "inspect", "mcap", "--json"]);
    assert_eq!(seen["logs"].as_array().unwrap().len(), 2);
    let proposed = bench.path("map.toml");
    bench.ok(&["data", "inspect", "rrd", "--mapping", "map.toml"]);
    assert!(std::fs::read_to_string(proposed).unwrap().contains("\"/observation/state\""));
    bench.ok(&["data", "resample", "back", "slow", "--fps", "5"]);
    let info = json(&bench, &["data", "info", "slow", "--json"]);
    assert_eq!(info["info"]["fps"], 5, "{info}");
}
