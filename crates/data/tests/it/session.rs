//! A robot's session: recorded, cut off, killed; looked at, completed.
//!
//! The short run belongs to every test run; `EMBODY_CRASH_INSTANTS=200` makes the long one.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use embody_core::{ArrayData, StreamRecorder, TurnRecord};
use embody_data::{
    Dataset, DecodeCheck, ImportOptions, Log, PictureCoding, SessionCamera, SessionRecorder,
    SessionSpec, ValidateOptions, import, repair, validate,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::common::with_task;

const SIDE: usize = 32;
const HZ: f64 = 200.0;

fn spec() -> SessionSpec {
    let camera =
        |name: &str, fps| SessionCamera { name: name.into(), height: SIDE, width: SIDE, fps };
    SessionSpec {
        robot_type: "so101_follower".into(),
        joints: vec!["pan".into(), "lift".into()],
        control_hz: HZ,
        cameras: vec![camera("front", 30.0), camera("wrist", 60.0)],
        fps: 30.0,
        pictures: PictureCoding::default(),
    }
}

/// Where the machine is, and what the cameras show: all tell the time.
fn position(at: Duration) -> f32 {
    (at.as_secs_f64() * 10.0) as f32
}

fn level(number: u64) -> u8 {
    (20 + number * 3 % 200) as u8
}

fn turn(recorder: &SessionRecorder, number: u64, at: Duration, intervention: bool) {
    let (numbers, none) = ([position(at), -position(at)], [f32::NAN; 2]);
    let source = if intervention { "intervention" } else { "policy" };
    recorder
        .turn(&TurnRecord {
            number,
            late: Duration::ZERO,
            at,
            device: Some(at),
            fresh: true,
            positions: &numbers,
            velocities: &none,
            loads: &none,
            wanted: Some(&numbers),
            given: Some(&numbers),
            source,
            intervention,
            clips: &[],
            phase: "active",
            bus_errors: 0,
        })
        .unwrap();
}

fn picture(recorder: &SessionRecorder, camera: usize, number: u64, at: Duration) {
    let rgb = vec![level(number); SIDE * SIDE * 3];
    recorder.frame(camera, at, None, &rgb).unwrap();
}

/// `secs` of a session at its rates; a person has the machine in the second half.
fn record(recorder: &SessionRecorder, secs: f64) {
    let turns = (secs * HZ) as u64;
    let (mut front, mut wrist) = (0, 0);
    for number in 0..turns {
        let at = Duration::from_secs_f64(number as f64 / HZ);
        turn(recorder, number, at, number >= turns / 2);
        while front as f64 / 30.0 <= at.as_secs_f64() {
            picture(recorder, 0, front, Duration::from_secs_f64(front as f64 / 30.0));
            front += 1;
        }
        while wrist as f64 / 60.0 <= at.as_secs_f64() {
            picture(recorder, 1, wrist, Duration::from_secs_f64(wrist as f64 / 60.0));
            wrist += 1;
        }
    }
}

fn assert_valid(root: &Path) {
    let options = ValidateOptions { decode: DecodeCheck::Sampled, ..Default::default() };
    let found = with_task(|t| validate(root, &options, t).unwrap());
    assert!(found.is_ok(), "{}: {:#?}", root.display(), found.findings);
}

#[test]
fn a_session_becomes_a_dataset_with_outcomes_interventions_and_a_report() {
    let home = tempfile::tempdir().unwrap();
    let (folder, target) = (home.path().join("session"), home.path().join("set"));
    let recorder = SessionRecorder::create(&folder, spec(), SystemTime::now()).unwrap();
    for (task, success) in [("lift", Some(true)), ("drop", Some(false)), ("wave", None)] {
        recorder.begin_episode(task, Duration::ZERO).unwrap();
        record(&recorder, 2.0);
        recorder.end_episode(success, Duration::from_secs(3)).unwrap();
    }
    let found = with_task(|t| validate(&folder, &ValidateOptions::default(), t).unwrap());
    assert!(found.findings.is_empty() && found.checked.episodes == 3, "{found:?}");
    // The mapping stands in the folder.
    let report = with_task(|t| import(&folder, &target, ImportOptions::default(), t)).unwrap();
    assert_eq!(report.episodes, 3);
    assert_valid(&target);
    let dataset = Dataset::open(&target).unwrap();
    assert_eq!(dataset.tasks(), ["lift", "drop", "wave"]);
    let success: Vec<_> = dataset.episodes().iter().map(|e| e.outcome.success).collect();
    assert_eq!(success, [Some(true), Some(false), None]);
    for episode in dataset.episodes() {
        assert!((59..=61).contains(&episode.length), "{}", episode.length);
    }
    let table = dataset.episode_table(0).unwrap();
    let ArrayData::F32(states) = &table["observation.state"].data else { panic!() };
    let ArrayData::F32(actions) = &table["action"].data else { panic!() };
    let ArrayData::Bool(taken) = &table["intervention"].data else { panic!() };
    let start = states[0];
    for (frame, (state, action)) in states.chunks(2).zip(actions.chunks(2)).enumerate() {
        let wanted = start + frame as f32 / 3.0;
        assert!((state[0] - wanted).abs() < 2e-3, "frame {frame}: {} {wanted}", state[0]);
        // The command of the turn that was running.
        assert!((action[0] - wanted).abs() <= 0.051, "frame {frame}: {} {wanted}", action[0]);
    }
    assert!(!taken[10] && taken[50]);
    let stream = |topic: &str| report.streams.iter().find(|s| s.topic == topic).unwrap();
    assert_eq!(stream("/joint_states").timing.missed, 0);
    assert!((stream("/cameras/wrist").timing.rate_hz - 60.0).abs() < 0.1);
    assert!(stream("/joint_states").clock.as_ref().unwrap().drift_ppm.abs() < 1.0);
}

/// The last file of a session is cut at bytes all over it: it is completed with all that is whole.
#[test]
fn a_session_that_was_cut_off_is_completed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("session");
    let recorder = SessionRecorder::create(&folder, spec(), SystemTime::now()).unwrap();
    recorder.begin_episode("whole", Duration::ZERO).unwrap();
    record(&recorder, 0.5);
    recorder.end_episode(Some(true), Duration::from_secs(1)).unwrap();
    recorder.begin_episode("cut", Duration::ZERO).unwrap();
    record(&recorder, 1.0);
    drop(recorder);
    let last = folder.join("episode-000001.mcap");
    let bytes = std::fs::read(&last).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut cuts: Vec<usize> = (0..6).map(|_| rng.next_u32() as usize % bytes.len()).collect();
    cuts.extend([0, 5, 9, 100, 4000, bytes.len()]);
    for (i, cut) in cuts.into_iter().enumerate() {
        std::fs::write(&last, &bytes[..cut]).unwrap();
        let target = home.path().join(format!("set-{i}"));
        let found = with_task(|t| validate(&folder, &ValidateOptions::default(), t).unwrap());
        let told = found.findings.iter().any(|f| f.code == "log-cut-off");
        assert!(told || cut < 8, "{cut}: {found:?}");
        let report = with_task(|t| repair(&folder, &target, false, t)).unwrap();
        assert_valid(&target);
        let dataset = Dataset::open(&target).unwrap();
        assert!((1..=2).contains(&report.episodes), "{report:?}");
        assert!((14..=15).contains(&dataset.episodes()[0].length));
        // 30 frames were recorded; the file holds them in the order of time.
        let got = dataset.episodes().get(1).map_or(0, |e| e.length);
        let part = cut as f64 / bytes.len() as f64 * 30.0;
        assert!((got as f64 - part).abs() < 3.5, "{got} frames of a part of {part}");
    }
}

fn instants() -> u64 {
    std::env::var("EMBODY_CRASH_INSTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

/// What the child does; nothing in an ordinary test run. The loop says each turn on its standard
/// output once the turn is handed over; two cameras film in threads of their own.
#[test]
fn child_process() {
    let Ok(folder) = std::env::var("EMBODY_SESSION_FOLDER") else { return };
    let recorder = SessionRecorder::create(Path::new(&folder), spec(), SystemTime::now()).unwrap();
    let start = Instant::now();
    recorder.begin_episode("go on", Duration::ZERO).unwrap();
    let said = std::sync::Mutex::new(std::io::stdout());
    let say = |text: String| {
        let mut out = said.lock().unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let until = |at: Duration| {
        while start.elapsed() < at {
            std::thread::park_timeout(at.saturating_sub(start.elapsed()));
        }
    };
    let (say, until, recorder) = (&say, &until, &recorder);
    std::thread::scope(|scope| {
        for (camera, fps) in [(0, 30.0), (1, 60.0)] {
            scope.spawn(move || {
                for number in 0.. {
                    until(Duration::from_secs_f64(f64::from(number) / fps));
                    picture(recorder, camera, u64::from(number as u32), start.elapsed());
                    say(format!("\npicture {camera} {number}\n"));
                }
            });
        }
        for number in 0.. {
            until(Duration::from_secs_f64(f64::from(number) / HZ));
            turn(recorder, number as u64, start.elapsed(), false);
            say(format!("\nturn {number}\n"));
        }
    });
}

/// Starts the child, kills it a random time after a random line; the numbers that it said last.
fn kill_somewhere(folder: &Path, after: usize, wait: Duration) -> [i64; 3] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["session::child_process", "--exact", "--nocapture"])
        .env("EMBODY_SESSION_FOLDER", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = [-1i64; 3];
    let mut count = 0;
    let mut hear = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["turn", number] => said[0] = number.parse().unwrap_or(said[0]),
            ["picture", camera, number] => {
                let Ok(camera) = camera.parse::<usize>() else { return 0 };
                said[1 + camera] = number.parse().unwrap_or(said[1 + camera]);
            }
            _ => return 0,
        }
        1
    };
    while count < after {
        match lines.next() {
            Some(Ok(line)) => count += hear(&line),
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
        hear(&line);
    }
    said
}

#[test]
fn a_killed_session_loses_nothing_that_it_took() {
    let (mut frames, mut most) = (0, 0);
    for instant in 0..instants() {
        let mut rng = ChaCha8Rng::seed_from_u64(instant);
        let home = tempfile::tempdir().unwrap();
        let folder: PathBuf = home.path().join("session");
        let after = 1 + rng.next_u32() as usize % 300;
        let wait = Duration::from_micros(u64::from(rng.next_u32() % 6000));
        let said = kill_somewhere(&folder, after, wait);
        let place = format!("instant {instant}, after {after}: {said:?}");
        let log = Log::open(&folder.join("episode-000000.mcap")).unwrap();
        let topics = ["/joint_states", "/cameras/front", "/cameras/wrist"];
        let mut last = [-1i64; 3];
        let channels = log.channels();
        log.visit(&|_| true, &mut |message| {
            let at = topics.iter().position(|t| *t == channels[message.channel].topic);
            if let Some(stream) = at {
                last[stream] += 1;
            }
            Ok(())
        })
        .unwrap();
        for (got, said) in last.iter().zip(&said) {
            // What was said is there; at most the next one is there too.
            assert!((0..=1).contains(&(got - said)), "{place}: {last:?}");
            most = most.max((said - got).max(0));
        }
        if last.iter().any(|l| *l < 2) {
            continue;
        }
        let target = home.path().join("set");
        let report = with_task(|t| repair(&folder, &target, false, t)).unwrap();
        assert_eq!(report.episodes, 1, "{place}: {report:?}");
        assert_valid(&target);
        frames += report.frames;
    }
    println!("{} instants: {frames} frames completed, messages lost at most {most}", instants());
}
