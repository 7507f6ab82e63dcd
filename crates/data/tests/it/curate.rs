//! Curation on whole datasets: measures against a recording with planted faults, plans against their
//! application, expressions, annotations, and sanity on a real recording.

use std::path::Path;

use embody_core::{ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Recorder};
use embody_data::{
    Annotation, Dataset, ImportOptions, LeRobotRecorder, Look, Phase, Plan, ProcessOptions,
    RecordSpec, VideoSettings, annotate, import, judge, plan, process, read_annotations, validate,
};

use crate::common::{SIZE, picture, record, shared_data, with_task};

const FPS: f64 = 30.0;
const LENGTH: usize = 150;
const DELAY: usize = 3;

/// What is wrong with an episode of [`planted`].
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Idle,
    Jump,
    Chatter,
    NeverCloses,
    Black,
    Frozen,
    Copy,
    Short,
}

const FAULTS: [Fault; 12] = [
    Fault::None,
    Fault::Idle,
    Fault::None,
    Fault::Jump,
    Fault::Chatter,
    Fault::None,
    Fault::NeverCloses,
    Fault::Black,
    Fault::Frozen,
    Fault::Copy,
    Fault::Short,
    Fault::None,
];

/// Command at frame `t` of episode `e`: a motion without period, a grasp in the middle.
fn command(e: usize, t: f64, fault: Fault) -> [f32; 3] {
    let e = if fault == Fault::Copy { 0.0 } else { e as f64 };
    let t = if fault == Fault::Idle { t.min(80.0) } else { t };
    let s = t / FPS;
    let x = (s * (1.1 + 0.05 * e) + e).sin() + 0.5 * (s * 2.7 + 0.3 * e).cos();
    let y = (s * (1.7 + 0.04 * e) + 2.0 * e).cos() + 0.4 * (s * 3.1).sin();
    let closed = match fault {
        Fault::NeverCloses => 0.0,
        Fault::Chatter if t > 60.0 => f64::from(((t / 3.0) as usize).is_multiple_of(2)),
        _ => f64::from(t > 60.0 && t < 110.0),
    };
    [x as f32, y as f32, closed as f32]
}

fn planted(target: &Path) {
    let mut features = embody_core::Features::new();
    let names = ["x", "y", "gripper"];
    for key in ["observation.state", "action"] {
        features.insert(key.into(), FeatureSpec::new(DType::Float32, &[3], &names));
    }
    let video = FeatureSpec::new(DType::Video, &[SIZE, SIZE, 3], &[]);
    features.insert("observation.images.front".into(), video);
    let spec = RecordSpec {
        fps: FPS,
        robot_type: Some("test_arm".into()),
        features,
        video: VideoSettings::default(),
        threads: 2,
        parameters: serde_json::Value::Null,
        origin: None,
    };
    let mut recorder = LeRobotRecorder::create(target, spec).unwrap();
    for (e, &fault) in FAULTS.iter().enumerate() {
        recorder.begin_episode("move and grasp").unwrap();
        let length = if fault == Fault::Short { 20 } else { LENGTH };
        for t in 0..length {
            let action = command(e, t as f64, fault);
            let mut state = command(e, t.saturating_sub(DELAY) as f64, fault);
            if fault == Fault::Jump && t >= 100 {
                state[1] += 1.5;
            }
            let rgb = match fault {
                Fault::Black => vec![0; SIZE * SIZE * 3],
                Fault::Frozen => picture(0, e * 11),
                Fault::Copy => picture(0, t),
                _ => picture(0, t + e * 11),
            };
            let view = |shape: &'static [usize], data| ArrayView { shape, data };
            recorder
                .add_frame(&[
                    ("observation.state", view(&[3], DataView::F32(&state))),
                    ("action", view(&[3], DataView::F32(&action))),
                    ("observation.images.front", view(&[SIZE, SIZE, 3], DataView::U8(&rgb))),
                ])
                .unwrap();
        }
        recorder
            .save_episode(EpisodeOutcome {
                success: (e != 2).then_some(e != 5),
                ..Default::default()
            })
            .unwrap();
    }
    recorder.finish().unwrap();
}

fn plan_of(root: &Path, options: &ProcessOptions, look: Look) -> Plan {
    with_task(|t| plan(root, options, look, t).unwrap())
}

fn codes(plan: &Plan, episode: usize) -> Vec<&str> {
    plan.episodes[episode].remarks.iter().map(|r| r.code.as_str()).collect()
}

#[test]
fn every_planted_fault_is_found_and_clean_episodes_have_no_remark() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    planted(&root);
    let options = ProcessOptions { drop_failed: false, ..Default::default() };
    let found = plan_of(&root, &options, Look::Pictures);
    for (e, fault) in FAULTS.iter().enumerate() {
        let codes = codes(&found, e);
        let measures = &found.episodes[e].measures;
        let expected: &[&str] = match fault {
            Fault::None if e == 5 => &["failed"],
            Fault::None if e == 0 => &["near-duplicate"],
            Fault::None => &[],
            Fault::Idle => &["idle"],
            Fault::Jump => &["velocity-spike", "jerk-spike"],
            Fault::Chatter => &["gripper-chatter"],
            Fault::NeverCloses => &["gripper-still"],
            Fault::Black => &["camera-black"],
            Fault::Frozen => &["camera-frozen"],
            Fault::Copy => &["near-duplicate"],
            Fault::Short => &["gripper-still", "length"],
        };
        assert_eq!(codes, expected, "episode {e}: {:#?}", found.episodes[e].remarks);
        if !matches!(fault, Fault::Short | Fault::Jump) {
            let lag = measures.lag.as_ref().expect("moves");
            let delay = DELAY as f64 / FPS;
            assert!((lag.seconds - delay).abs() < 0.02, "episode {e}: {lag:?}");
        }
    }
    let jump = &found.episodes[3].measures.velocity_spikes;
    assert_eq!((jump.len(), jump[0].frame, jump[0].dimension.as_str()), (1, 100, "y"));
    let idle = &found.episodes[1].measures;
    assert!((idle.idle_fraction - 69.0 / 149.0).abs() < 1e-9);
    assert_eq!(idle.idle_spans, vec![80..LENGTH]);
    assert!(idle.segments.iter().any(|s| s.phase == Phase::Idle && s.end == LENGTH));
    let copy = found.episodes[9].measures.nearest.as_ref().unwrap();
    assert!(copy.same && copy.episode == 0 && copy.distance < 1e-6);
    assert!(found.episodes[9].measures.quality.score > 0.9, "a copy is as good as its original");
    for e in [7, 8] {
        assert_eq!(found.episodes[e].measures.quality.score, 0.0);
    }
    for e in [0, 2, 5, 11] {
        assert!(found.episodes[e].measures.quality.score > 0.95);
    }
}

#[test]
fn a_plan_is_what_processing_does() {
    let home = tempfile::tempdir().unwrap();
    let (root, target) = (home.path().join("set"), home.path().join("out"));
    planted(&root);
    let before = Dataset::open(&root).unwrap().version().unwrap();
    let options = ProcessOptions {
        keep: Some(
            "quality > 0.4 && success != false && duplicate_of == null && \
             column[\"action.gripper\"].max > 0.5"
                .into(),
        ),
        weight: Some("success == true ? 2.0 : 0.5".into()),
        max_idle_fraction: 1.0,
        trim_idle: true,
        min_frames: 10,
        held_out: 0.0,
        ..Default::default()
    };
    let planned = plan_of(&root, &options, Look::None);
    let kept: Vec<usize> = planned.kept().collect();
    assert_eq!(kept, [0, 1, 2, 3, 11]);
    assert!(planned.episodes[5].reasons[0].contains("not achieved"));
    assert!(planned.episodes[9].reasons[0].contains("duplicate_of 0"), "{:?}", planned.episodes[9]);
    assert!(planned.episodes[7].reasons[0].contains("quality 0,"));
    assert_eq!(planned.episodes[1].frames, 0..86, "idle from frame 80, five of margin");
    let report = with_task(|t| process(&root, &target, &options, t).unwrap());
    assert_eq!((&report.kept, report.frames), (&kept, planned.frames()));
    let made = Dataset::open(&target).unwrap();
    assert_eq!(made.sampling_weights(), [2.0, 2.0, 0.5, 2.0, 2.0]);
    assert_eq!(made.episodes()[1].length, 86);
    assert_eq!(before, Dataset::open(&root).unwrap().version().unwrap(), "the source is untouched");
    let parameters = made.lineage().unwrap().unwrap().parameters;
    assert_eq!(parameters["keep"], options.keep.clone().unwrap());
}

#[test]
fn threads_change_nothing() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    planted(&root);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| plan_of(&root, &ProcessOptions::default(), Look::Pictures));
        serde_json::to_string(&found).unwrap()
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn expressions_are_refused_with_the_place_and_what_is_known() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[30, 30], 1);
    let error = |keep: &str| {
        let options = ProcessOptions { keep: Some(keep.into()), ..Default::default() };
        let error = with_task(|t| plan(&root, &options, Look::None, t).unwrap_err());
        (error.to_string(), error.hint().unwrap_or_default().to_owned())
    };
    let (text, hint) = error("qualty > 0.4");
    assert!(text.contains("line 1, column 1: `qualty` is not known"), "{text}");
    assert!(hint.contains("did you mean `quality`?") && hint.contains("idle_fraction"), "{hint}");
    let (text, hint) = error("column['action.grippr'].max > 1.0");
    assert!(text.contains("for episode 0") && text.contains("action.grippr"), "{text}");
    assert!(hint.contains("did you mean \"action.gripper\"?"), "{hint}");
    let (text, hint) = error("score > 0.5");
    assert!(text.contains("score null") && hint.contains("== null ||"), "{text} {hint}");
    let (text, _) = error("frames");
    assert!(text.contains("not true or false"), "{text}");
    let (_, hint) = error("frames / 2 > 3.0");
    assert!(hint.contains("frames / 2.0"), "{hint}");
}

#[test]
fn annotations_make_a_new_version_and_reach_every_frame() {
    let home = tempfile::tempdir().unwrap();
    let (root, target) = (home.path().join("set"), home.path().join("labelled"));
    record(&root, &[30, 20, 25], 1);
    let table = home.path().join("labels.csv");
    std::fs::write(
        &table,
        "episode,start,end,success,score,weight,task,label\n\
         0,,,false,0.25,,,\n\
         1,,,,,3,stack the cubes,\n\
         2,5,15,true,,,\"grasp, gently\",grasp\n",
    )
    .unwrap();
    let annotations = read_annotations(&table).unwrap();
    assert_eq!(annotations.len(), 3);
    let lineage = with_task(|t| annotate(&root, &target, &annotations, t).unwrap());
    let (before, after) = (Dataset::open(&root).unwrap(), Dataset::open(&target).unwrap());
    assert_eq!(lineage.parent, Some(before.version().unwrap()));
    assert_eq!(
        (lineage.operation.as_str(), &lineage.version),
        ("annotate", &after.version().unwrap())
    );
    let episodes = after.episodes();
    assert_eq!(episodes[0].outcome.success, Some(false));
    assert_eq!(episodes[0].annotations.score, Some(0.25));
    assert_eq!(episodes[0].outcome.seed, before.episodes()[0].outcome.seed);
    assert_eq!(episodes[1].tasks, ["stack the cubes"]);
    assert_eq!(after.sampling_weights(), [1.0, 3.0, 1.0]);
    assert_eq!(episodes[2].tasks, ["pick the cube", "grasp, gently"]);
    let segment = &episodes[2].annotations.segments[0];
    assert_eq!((segment.start, segment.end, segment.label.as_deref()), (5, 15, Some("grasp")));
    // What nobody uses any more is gone, and every frame names its instruction.
    assert_eq!(after.tasks(), ["pick the cube", "stack the cubes", "grasp, gently"]);
    let embody_core::ArrayData::I64(tasks) = &after.episode_table(2).unwrap()["task_index"].data
    else {
        panic!("task_index is not int64");
    };
    assert_eq!(tasks.iter().map(|t| *t as usize).collect::<Vec<_>>(), {
        let mut expected = vec![0; 25];
        expected[5..15].fill(2);
        expected
    });
    for e in 0..3 {
        let key = "observation.images.front";
        assert_eq!(
            before.decode_frames(e, key, &[0, 7]).unwrap(),
            after.decode_frames(e, key, &[0, 7]).unwrap()
        );
        let (a, b) = (before.episode_table(e).unwrap(), after.episode_table(e).unwrap());
        assert_eq!((&a["action"], &a["timestamp"]), (&b["action"], &b["timestamp"]));
    }
    let report = with_task(|t| validate(&target, &Default::default(), t).unwrap());
    assert!(report.is_ok(), "{:#?}", report.findings);
    // Annotations travel through processing, and a cut moves them.
    let third = home.path().join("third");
    let options = ProcessOptions {
        keep: Some("score == null || score > 0.5".into()),
        drop_failed: false,
        held_out: 0.0,
        ..Default::default()
    };
    with_task(|t| process(&target, &third, &options, t).unwrap());
    let third = Dataset::open(&third).unwrap();
    assert_eq!(third.sampling_weights(), [3.0, 1.0]);
    assert_eq!(third.episodes()[1].annotations.segments.len(), 1);
}

#[test]
fn wrong_annotations_are_refused_by_line_and_episode() {
    let home = tempfile::tempdir().unwrap();
    let (root, target) = (home.path().join("set"), home.path().join("labelled"));
    record(&root, &[10], 1);
    let refused = |a: Annotation| {
        let error = with_task(|t| annotate(&root, &target, &[a], t).unwrap_err());
        assert!(error.hint().is_some() && !target.exists());
        error.to_string()
    };
    let base = Annotation::default;
    assert!(
        refused(Annotation { episode: 4, success: Some(true), ..base() }).contains("no episode 4")
    );
    assert!(refused(base()).contains("says nothing"));
    let stretch = Annotation { start: Some(3), end: Some(11), success: Some(true), ..base() };
    assert!(refused(stretch).contains("from 3 to 11 is not inside its 10 frames"));
    assert!(refused(Annotation { label: Some("x".into()), ..base() }).contains("needs a stretch"));
    assert!(refused(Annotation { score: Some(2.0), ..base() }).contains("score is 2"));
    assert!(refused(Annotation { weight: Some(-1.0), ..base() }).contains("weight is -1"));
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        let error = read_annotations(&path).unwrap_err();
        format!("{error} / {}", error.hint().unwrap_or_default())
    };
    let text = file("a.csv", "episode,succes\n0,true\n");
    assert!(
        text.contains("line 1: column \"succes\"") && text.contains("did you mean \"success\"?"),
        "{text}"
    );
    let text = file("b.csv", "episode,success\n0,true\n1,maybe\n");
    assert!(text.contains("b.csv, line 3: column \"success\""), "{text}");
    let text = file("c.jsonl", "{\"episode\": 0}\n{\"episode\": \"x\"}\n");
    assert!(text.contains("c.jsonl") && text.contains("line 2"), "{text}");
}

#[test]
fn the_g1_recording_is_measured_soberly() {
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("v3");
    let options = ImportOptions { episodes: Some(vec![0, 3, 5, 7, 11]), ..Default::default() };
    with_task(|t| import(&source, &root, options, t).unwrap());
    let found = plan_of(&root, &ProcessOptions::default(), Look::Pictures);
    for e in &found.episodes {
        let m = &e.measures;
        println!(
            "{}: {} idle {:.3} dup {:.3} v {:?} j {:?} lag {:?} grip {:?} near {:?} q {:?}",
            m.episode,
            m.frames,
            m.idle_fraction,
            m.duplicate_fraction,
            m.velocity_spikes,
            m.jerk_spikes,
            m.lag,
            m.gripper,
            m.nearest,
            m.quality
        );
        println!("   {:?} {:?}", m.cameras, e.remarks);
        let lag = m.lag.as_ref().expect("a robot that follows its commands");
        assert!((0.0..0.5).contains(&lag.seconds) && lag.confidence > 0.5);
        assert!(m.gripper.as_ref().is_some_and(|g| g.moves >= 1), "it grasps a bottle");
        let camera = m.cameras.values().next().expect("a camera");
        assert!(!camera.black && !camera.frozen && camera.broken.is_none());
        assert!(m.quality.score > 0.5, "{:?}", m.quality);
        assert!(m.nearest.as_ref().is_none_or(|n| !n.same), "people never repeat themselves");
    }
}

/// Arms reach for a cube; those that fail stop short of it. Of the last six nobody says.
fn reaching(target: &Path, episodes: usize, judged: usize) {
    let mut features = embody_core::Features::new();
    for key in ["observation.state", "action"] {
        features.insert(key.into(), FeatureSpec::new(DType::Float32, &[2], &["reach", "turn"]));
    }
    let spec = RecordSpec {
        fps: FPS,
        robot_type: None,
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: serde_json::Value::Null,
        origin: None,
    };
    let mut recorder = LeRobotRecorder::create(target, spec).unwrap();
    for e in 0..episodes {
        recorder.begin_episode("reach").unwrap();
        let end = if fails(e) { 0.6 } else { 1.0 } + 0.05 * (e as f32 * 2.3).sin();
        for t in 0..40 + e % 7 {
            let at = [end * (t as f32 / 40.0).min(1.0), (t as f32 * 0.2 + e as f32).sin()];
            let row = ArrayView { shape: &[2], data: DataView::F32(&at) };
            recorder.add_frame(&[("observation.state", row), ("action", row)]).unwrap();
        }
        let success = (e < judged).then_some(!fails(e));
        recorder.save_episode(EpisodeOutcome { success, ..Default::default() }).unwrap();
    }
    recorder.finish().unwrap();
}

fn fails(e: usize) -> bool {
    e * 7 % 10 < 3
}

#[test]
fn failures_are_told_from_judged_episodes_with_probability_and_reason() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("reaching");
    reaching(&root, 46, 40);
    let found = with_task(|t| judge(&root, t).unwrap());
    let check = found.check;
    assert_eq!((check.folds, check.successes, check.failures), (5, 28, 12));
    assert!(check.correct() >= 38, "{check:?}");
    for e in &found.episodes[40..] {
        assert_eq!(e.label, None);
        assert_eq!(e.probability < 0.5, fails(e.episode), "{e:?}");
    }
    let failed = found.episodes.iter().find(|e| fails(e.episode)).unwrap();
    assert!(failed.reasons.iter().any(|r| r.contains(".reach")), "{failed:?}");
    // A label given by mistake is contradicted by those who did not see it.
    let wrong = [Annotation { episode: 4, success: Some(fails(4)), ..Default::default() }];
    let target = home.path().join("mistaken");
    with_task(|t| annotate(&root, &target, &wrong, t).unwrap());
    let doubted = &with_task(|t| judge(&target, t).unwrap()).episodes[4];
    assert_ne!(doubted.label.unwrap(), doubted.probability >= 0.5, "{doubted:?}");
    // Nothing is learned from too few, and it says what to do.
    let few = home.path().join("few");
    reaching(&few, 12, 8);
    let error = with_task(|t| judge(&few, t).unwrap_err());
    assert!(error.to_string().contains("judged as successes and 3 as failures"), "{error}");
    assert!(error.hint().unwrap().contains("annotate"));
}
