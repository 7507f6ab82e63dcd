//! What is recorded comes back.

use embody_core::{
    ArrayData, ArrayView, Batch, BatchSource, DataView, EpisodeOutcome, Recorder, hash_tree,
};
use embody_data::{
    Dataset, DecodeCheck, DecodeWhen, FrameSource, LeRobotRecorder, SourceOptions, ValidateOptions,
    validate,
};

use crate::common::{self, SIZE, difference, picture, record, spec, state, with_task};

#[test]
fn everything_recorded_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let lengths = [40, 7, 1, 75];
    let report = record(&root, &lengths, 2);
    assert_eq!((report.episodes, report.frames), (4, 123));
    let dataset = Dataset::open(&root).unwrap();
    assert_eq!(dataset.version().unwrap(), report.version);
    assert_eq!(dataset.lineage().unwrap().unwrap().operation, "record");
    assert_eq!(dataset.tasks(), ["pick the cube", "lift the cube"]);
    for (e, &length) in lengths.iter().enumerate() {
        let episode = &dataset.episodes()[e];
        assert_eq!(episode.length, length);
        assert_eq!(
            episode.outcome,
            EpisodeOutcome {
                success: Some(e % 3 != 2),
                seed: Some(u64::MAX - e as u64),
                total_reward: Some(e as f64 * 0.5),
                simulation: None,
            }
        );
        let table = dataset.episode_table(e).unwrap();
        let want: Vec<f32> = (0..length).flat_map(|t| state(e, t)).collect();
        assert_eq!(table["observation.state"].shape, [length, 3]);
        assert_eq!(table["observation.state"].data, ArrayData::F32(want));
        assert_eq!(table["observation.grid"].shape, [length, 2, 3]);
        assert_eq!(table["task_index"].data, ArrayData::I64(vec![e as i64 % 2; length]));
        let done: Vec<bool> = (0..length).map(|t| t + 1 == length).collect();
        assert_eq!(table["next.done"].data, ArrayData::Bool(done));
        let frames: Vec<usize> = (0..length).rev().step_by(3).collect();
        let pictures = dataset.decode_frames(e, "observation.images.front", &frames).unwrap();
        for (&t, rgb) in frames.iter().zip(&pictures) {
            let off = difference(rgb, &picture(e, t));
            assert!(off < 6.0, "episode {e}, frame {t}: mean difference {off}");
        }
    }
    let found = with_task(|task| {
        let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
        validate(&root, &options, task).unwrap()
    });
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
    assert_eq!(found.checked.decoded_frames, 123);
}

#[test]
fn threads_change_no_byte() {
    let home = tempfile::tempdir().unwrap();
    let versions: Vec<_> = [1, 3]
        .into_iter()
        .map(|threads| {
            let root = home.path().join(format!("set{threads}"));
            record(&root, &[70, 33, 64], threads);
            hash_tree(&root, &|_| false).unwrap()
        })
        .collect();
    assert_eq!(versions[0], versions[1]);
}

#[test]
fn a_bad_frame_is_refused_and_leaves_no_trace() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let mut recorder = LeRobotRecorder::create(&root, spec(1)).unwrap();
    recorder.begin_episode("t").unwrap();
    common::add_frame(&mut recorder, 0, 0, 3).unwrap();
    let rgb = picture(0, 0);
    let frame = |state: &[f32], recorder: &mut LeRobotRecorder| {
        recorder.add_frame(&[
            ("observation.state", ArrayView { shape: &[3], data: DataView::F32(state) }),
            ("action", ArrayView { shape: &[3], data: DataView::F32(&[0.0; 3]) }),
            ("next.reward", ArrayView { shape: &[1], data: DataView::F32(&[0.0]) }),
            ("next.done", ArrayView { shape: &[1], data: DataView::Bool(&[false]) }),
            ("observation.grid", ArrayView { shape: &[2, 3], data: DataView::F64(&[0.0; 6]) }),
            (
                "observation.images.front",
                ArrayView { shape: &[SIZE, SIZE, 3], data: DataView::U8(&rgb) },
            ),
        ])
    };
    let error = frame(&[0.0, f32::NAN, 0.0], &mut recorder).unwrap_err().to_string();
    assert_eq!(
        error,
        "recording episode 0, frame 1: feature \"observation.state\" is not finite in dimension 1 (y)"
    );
    let error = recorder.add_frame(&[]).unwrap_err().to_string();
    assert!(error.contains("\"observation.state\" is missing"), "{error}");
    frame(&[0.0; 3], &mut recorder).unwrap();
    recorder.save_episode(EpisodeOutcome::default()).unwrap();
    recorder.begin_episode("t").unwrap();
    common::add_frame(&mut recorder, 1, 0, 3).unwrap();
    recorder.discard_episode();
    assert_eq!(recorder.finish().unwrap().frames, 2);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "the journal goes");
    let dataset = Dataset::open(&root).unwrap();
    let episode = &dataset.episodes()[0];
    assert_eq!((episode.length, episode.outcome.success), (2, None));
}

#[test]
fn a_recorder_dropped_leaves_what_recovery_needs() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("set");
    let mut recorder = LeRobotRecorder::create(&target, spec(2)).unwrap();
    let error = LeRobotRecorder::recover(&target, None, 2).unwrap_err().to_string();
    assert!(error.contains("is being recorded right now"), "{error}");
    recorder.begin_episode("t").unwrap();
    for t in 0..80 {
        common::add_frame(&mut recorder, 0, t, 80).unwrap();
    }
    recorder.save_episode(EpisodeOutcome::default()).unwrap();
    drop(recorder);
    let names: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [".set.journal"]);
    // The next recording of that name completes it first.
    let next = LeRobotRecorder::create(&target, spec(2)).unwrap();
    let report = next.recovered().unwrap();
    assert_eq!((report.episodes, report.frames, report.unfinished), (1, 80, None));
    assert_eq!(report.path, home.path().join("set-recovered"));
    next.abandon().unwrap();
    let names: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["set-recovered"]);
}

#[test]
fn what_is_recovered_equals_what_would_have_been_recorded() {
    let home = tempfile::tempdir().unwrap();
    let lengths = [40, 33, 64];
    let whole = home.path().join("whole");
    record(&whole, &lengths, 2);
    let target = home.path().join("set");
    let mut recorder = LeRobotRecorder::create(&target, spec(2)).unwrap();
    common::fill(&mut recorder, &lengths);
    drop(recorder);
    LeRobotRecorder::recover(&target, None, 1).unwrap().unwrap();
    let skip = |f: &str| f == "meta/embody.json";
    assert_eq!(hash_tree(&target, &skip).unwrap(), hash_tree(&whole, &skip).unwrap());
}

/// Processor seconds of this process so far, all threads (`/proc/self/stat`, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |i: usize| after_name[i].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// What the journal costs: processor time to record with it and without, taken in turns. Only where
/// `EMBODY_BARS` is set.
#[test]
fn the_journal_costs_little() {
    if std::env::var_os("EMBODY_BARS").is_none() {
        println!("skipped: EMBODY_BARS is not set");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..10 {
        let target = home.path().join(format!("set{round}"));
        let start = cpu_seconds();
        let mut recorder = match round % 2 {
            0 => LeRobotRecorder::without_journal(&target, spec(2)).unwrap(),
            _ => LeRobotRecorder::create(&target, spec(2)).unwrap(),
        };
        for e in 0..4 {
            recorder.begin_episode("t").unwrap();
            (0..150).for_each(|t| common::add_frame(&mut recorder, e, t, 150).unwrap());
            recorder.save_episode(EpisodeOutcome::default()).unwrap();
        }
        recorder.finish().unwrap();
        seconds[round % 2].push(cpu_seconds() - start);
    }
    // The quickest of each: the others were disturbed.
    let [without, with] = seconds.map(|s| s.into_iter().fold(f64::INFINITY, f64::min));
    println!("600 frames: {without:.2} s of processor time without the journal, {with:.2} with it");
    assert!(with < 1.1 * without, "{with} against {without} s");
}

#[test]
fn batches_hold_windows_and_pictures() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[10, 5], 2);
    let cache = home.path().join("cache");
    let mut options = SourceOptions {
        inputs: ["observation.state", "action", "observation.images.front"]
            .map(String::from)
            .into(),
        image_size: Some((24, 32)),
        ..Default::default()
    };
    options.windows.insert("action".into(), vec![-1, 0, 1, 2]);
    options.windows.insert("observation.images.front".into(), vec![0, -2, -1]);
    let plain = with_task(|task| FrameSource::open(&root, &options, task).unwrap());
    options.cache_dir = Some(cache.clone());
    let cached = with_task(|task| FrameSource::open(&root, &options, task).unwrap());
    options.threads = 1;
    let again = with_task(|task| FrameSource::open(&root, &options, task).unwrap());
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
    options.cache_dir = None;
    options.max_memory_bytes = 1;
    let opening = SourceOptions { decode: DecodeWhen::Opening, ..options.clone() };
    let error = with_task(|task| FrameSource::open(&root, &opening, task).err().unwrap());
    assert!(error.to_string().contains("more than"), "{error}");
    // Too little memory: decoded while reading, to the same values on any number of threads.
    let live = with_task(|task| FrameSource::open(&root, &options, task).unwrap());
    options.threads = 3;
    let lively = with_task(|task| FrameSource::open(&root, &options, task).unwrap());
    assert_eq!(plain.len(), 15);
    assert_eq!(plain.episodes()[1].frames, 10..15);
    let indices = [9, 0, 10, 14, 3];
    let mut batches: [Batch; 5] = Default::default();
    for (source, batch) in [&plain, &cached, &again, &live, &lively].into_iter().zip(&mut batches) {
        source.batch(&[1, 2], batch).unwrap();
        source.batch(&indices, batch).unwrap();
    }
    let batch = &batches[0];
    assert_eq!(batch.frames[2].episode, 1);
    assert_eq!(batch.frames[3].frame, 4);
    assert_eq!(batch.arrays["observation.state"].shape, [5, 3]);
    assert_eq!(batch.arrays["action"].shape, [5, 4, 3]);
    assert_eq!(batch.arrays["observation.images.front"].shape, [5, 3, 24, 32, 3]);
    let ArrayData::Bool(pad) = &batch.arrays["action_is_pad"].data else { panic!() };
    assert_eq!(pad[..8], [false, false, true, true, true, false, false, false]);
    let ArrayData::F32(action) = &batch.arrays["action"].data else { panic!() };
    // Frame 9 is the last of episode 0: offsets 0, 1 and 2 all give its action.
    assert_eq!(action[3..6], state(0, 10));
    assert_eq!(action[9..12], state(0, 10));
    assert_eq!(action[..3], state(0, 9));
    for other in &batches[1..] {
        assert_eq!(other.arrays, batch.arrays);
    }
    let error = plain.batch(&[15], &mut Batch::default()).unwrap_err().to_string();
    assert!(error.contains("frame 15"), "{error}");
}

#[test]
fn tables_are_read_by_many_threads_at_once() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[20; 12], 2);
    let dataset = Dataset::open(&root).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let dataset = &dataset;
            scope.spawn(move || {
                for round in 0..60 {
                    let e = (round * 5 + thread) % 12;
                    let table = dataset.episode_table(e).unwrap();
                    let want: Vec<f32> = (0..20).flat_map(|t| state(e, t)).collect();
                    assert_eq!(table["observation.state"].data, ArrayData::F32(want));
                }
            });
        }
    });
}
