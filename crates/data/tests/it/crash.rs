//! kill -9 at any instant: a child process writes, is killed, and what it left is looked at.
//!
//! The short runs belong to every test run; `EMBODY_CRASH_INSTANTS=200` makes the long one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use embody_core::{
    ArrayData, ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Features, Recorder,
};
use embody_data::{
    Dataset, DecodeCheck, ImportOptions, LeRobotRecorder, ProcessOptions, RecordSpec,
    ValidateOptions, VideoSettings, delete, import, merge, process, validate,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::common::{record, with_task};

const SIDE: usize = 16;
const LENGTHS: [usize; 4] = [37, 70, 20, 45];
/// Is begun again: the first try is discarded after a few frames.
const RETRIED: usize = 1;

fn instants() -> u64 {
    std::env::var("EMBODY_CRASH_INSTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

/// Starts this test binary again as the child `what` on `folder`.
fn child(what: &str, folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child_process", "--exact", "--nocapture"])
        .env("EMBODY_CRASH_CHILD", what)
        .env("EMBODY_CRASH_FOLDER", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child does; nothing in an ordinary test run.
#[test]
fn child_process() {
    let (Ok(what), Ok(folder)) =
        (std::env::var("EMBODY_CRASH_CHILD"), std::env::var("EMBODY_CRASH_FOLDER"))
    else {
        return;
    };
    let folder = PathBuf::from(folder);
    let target = folder.join("target");
    if what == "record" {
        record_numbered(&target);
    } else {
        // Begin and end on lines of their own, whatever the harness has printed before.
        println!("\nack");
        with_task(|t| operation(&what, &folder.join("source"), &target, t)).unwrap();
    }
    println!("\ndone");
}

fn operation(
    what: &str,
    source: &Path,
    target: &Path,
    task: embody_core::Task<'_>,
) -> embody_core::Result<()> {
    match what {
        "import" => import(source, target, ImportOptions::default(), task).map(drop),
        "process" => process(source, target, &ProcessOptions::default(), task).map(drop),
        "merge" => merge(&[source.into(), source.into()], target, task).map(drop),
        "delete" => delete(source, target, &[1], task).map(drop),
        other => panic!("{other}"),
    }
}

fn numbered_spec() -> RecordSpec {
    let mut features = Features::new();
    features.insert("action".into(), FeatureSpec::new(DType::Float64, &[2], &["e", "t"]));
    features.insert("cam".into(), FeatureSpec::new(DType::Video, &[SIDE, SIDE, 3], &[]));
    RecordSpec {
        fps: 30.0,
        robot_type: None,
        features,
        video: VideoSettings::default(),
        threads: 2,
        parameters: serde_json::Value::Null,
        origin: None,
    }
}

/// The whole picture has a level that tells frames of an episode apart.
fn level(e: usize, t: usize) -> u8 {
    (20 + (t * 7 + e * 31) % 200) as u8
}

fn record_numbered(target: &Path) {
    let mut recorder = LeRobotRecorder::create(target, numbered_spec()).unwrap();
    let add = |recorder: &mut LeRobotRecorder, e: usize, t: usize| {
        let (numbers, rgb) = ([e as f64, t as f64], vec![level(e, t); SIDE * SIDE * 3]);
        recorder
            .add_frame(&[
                ("action", ArrayView { shape: &[2], data: DataView::F64(&numbers) }),
                ("cam", ArrayView { shape: &[SIDE, SIDE, 3], data: DataView::U8(&rgb) }),
            ])
            .unwrap();
    };
    for (e, &length) in LENGTHS.iter().enumerate() {
        if e == RETRIED {
            recorder.begin_episode("again").unwrap();
            (0..5).for_each(|t| add(&mut recorder, 90, t));
            recorder.discard_episode();
        }
        recorder.begin_episode("count").unwrap();
        for t in 0..length {
            add(&mut recorder, e, t);
            println!("\nack");
        }
        recorder.save_episode(EpisodeOutcome::default()).unwrap();
    }
    recorder.finish().unwrap();
}

/// Kills the child a random time after a random acknowledgement; gives how many there were and
/// whether it came to its end before.
fn kill_somewhere(mut child: std::process::Child, after: usize, wait: Duration) -> (usize, bool) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acks = 0;
    let mut done = false;
    while acks < after && !done {
        match lines.next() {
            Some(Ok(line)) => {
                acks += usize::from(line == "ack");
                done |= line == "done";
            }
            _ => break,
        }
    }
    let start = Instant::now();
    while start.elapsed() < wait {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        acks += usize::from(line == "ack");
        done |= line == "done";
    }
    (acks, done)
}

fn assert_valid(root: &Path) {
    let options = ValidateOptions { decode: DecodeCheck::Sampled, ..Default::default() };
    let found = with_task(|t| validate(root, &options, t).unwrap());
    assert!(found.is_ok(), "{}: {:#?}", root.display(), found.findings);
}

#[test]
fn a_killed_recording_loses_at_most_one_frame() {
    let total: usize = LENGTHS.iter().sum();
    let mut lost = Vec::new();
    let mut ends = [0; 3];
    for instant in 0..instants() {
        let mut rng = ChaCha8Rng::seed_from_u64(instant);
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        let after = rng.next_u32() as usize % (total + 8);
        let wait = Duration::from_micros(u64::from(rng.next_u32() % 4000));
        let (acks, done) = kill_somewhere(child("record", home.path()), after, wait);
        let report = LeRobotRecorder::recover(&target, None, 2).unwrap();
        let place = format!("instant {instant}: {acks} frames acknowledged, done {done}");
        assert!(!done || target.is_dir(), "{place}");
        if report.is_none() && !target.exists() {
            assert!(acks == 0, "{place}, nothing recovered");
            ends[0] += 1;
            continue;
        }
        assert_eq!(report.as_ref().map_or(0, |r| r.lost_frames), 0, "{place}");
        ends[if report.is_some() { 1 } else { 2 }] += 1;
        let frames = check_numbered(&target, &place);
        assert!(frames == acks || frames == acks + 1, "{place}, {frames} recovered");
        lost.push(acks.saturating_sub(frames));
        let left: Vec<_> =
            std::fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        let hidden = left.iter().filter(|n| n.to_string_lossy().contains("journal")).count();
        assert_eq!(hidden, 0, "{place}: {left:?}");
    }
    println!(
        "{} instants: {} before the first frame, {} recovered, {} whole; frames lost at most {}",
        instants(),
        ends[0],
        ends[1],
        ends[2],
        lost.iter().max().unwrap_or(&0)
    );
}

/// Every frame is there, in order, with its picture; gives their number.
fn check_numbered(root: &Path, place: &str) -> usize {
    assert_valid(root);
    let dataset = Dataset::open(root).unwrap();
    let mut count = 0;
    for (e, episode) in dataset.episodes().iter().enumerate() {
        let last = e + 1 == dataset.episodes().len();
        assert!(episode.length == LENGTHS[e] || last, "{place}: episode {e} is {}", episode.length);
        let ArrayData::F64(numbers) = &dataset.episode_table(e).unwrap()["action"].data else {
            panic!()
        };
        if numbers[0] == 90.0 {
            assert!(last, "{place}: the try that was discarded came back");
            continue;
        }
        let frames: Vec<usize> = (0..episode.length).collect();
        let pictures = dataset.decode_frames(e, "cam", &frames).unwrap();
        for (t, rgb) in pictures.iter().enumerate() {
            assert_eq!(numbers[t * 2..t * 2 + 2], [e as f64, t as f64], "{place}");
            let mean = rgb.iter().map(|&v| f64::from(v)).sum::<f64>() / rgb.len() as f64;
            let want = f64::from(level(e, t));
            assert!((mean - want).abs() < 5.0, "{place}: {e}, {t}: {mean} against {want}");
        }
        count += episode.length;
    }
    count
}

#[test]
fn a_killed_operation_leaves_all_or_nothing() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    record(&source, &[20, 33, 9, 40], 2);
    for (number, what) in ["import", "process", "merge", "delete"].into_iter().enumerate() {
        let target = home.path().join("target");
        let start = Instant::now();
        let (_, done) = kill_somewhere(child(what, home.path()), usize::MAX, Duration::ZERO);
        assert!(done, "{what}");
        // Most of the time is the process's start; the work is a part of it.
        let longest = start.elapsed();
        std::fs::remove_dir_all(&target).unwrap();
        let mut whole = 0;
        for instant in 0..instants().div_ceil(4) {
            let mut rng = ChaCha8Rng::seed_from_u64(instant + 1000 * number as u64);
            let part = f64::from(rng.next_u32()) / f64::from(u32::MAX);
            kill_somewhere(child(what, home.path()), 1, longest.mul_f64(part));
            if target.exists() {
                assert_valid(&target);
                whole += 1;
                std::fs::remove_dir_all(&target).unwrap();
            }
        }
        println!("{what}: {whole} of {} whole, the others absent", instants().div_ceil(4));
        // What the killed ones left is in nobody's way.
        with_task(|t| operation(what, &source, &target, t)).unwrap();
        assert_valid(&target);
        std::fs::remove_dir_all(&target).unwrap();
    }
}
