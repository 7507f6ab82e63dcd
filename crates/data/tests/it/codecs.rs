//! Datasets in codecs other than AV1, with the real ffmpeg: recorded, edited, processed, checked,
//! carried through a message log, and read by LeRobot and PyAV.

use std::path::{Path, PathBuf};
use std::process::Command;

use embody_core::{DType, EpisodeOutcome, Recorder};
use embody_data::{
    Dataset, DecodeCheck, ExportFormat, ExportOptions, Ffmpeg, ImportOptions, LeRobotRecorder,
    Look, ProcessOptions, RecordSpec, Severity, SurveyOptions, ValidateOptions, VideoCodec,
    VideoSettings, delete, export, import, merge, process, survey, use_ffmpeg, validate,
};
use serde_json::json;

use crate::common::{SIZE, add_frame, difference, picture, python, record, run, spec, with_task};

const CAMERA: &str = "observation.images.front";
const H264: VideoSettings = VideoSettings {
    codec: VideoCodec::H264,
    gop: 10,
    quantiser: 60,
    speed: 10,
    crf: 18,
    preset: embody_data::H264Preset::Veryfast,
};

/// The ffmpeg of the tests, in use from now on; `None` (said) where there is none.
fn tool() -> Option<Ffmpeg> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/tools/bin/ffmpeg");
    let named = std::env::var_os("EMBODY_FFMPEG").map(PathBuf::from);
    let found = [named, Some(own), Some(PathBuf::from("ffmpeg"))];
    let tool = found.into_iter().flatten().find_map(|path| Ffmpeg::new(path).ok());
    match &tool {
        Some(tool) => use_ffmpeg(tool.clone()),
        None => println!("skipped: no ffmpeg (cargo xtask setup --tools puts one in place)"),
    }
    tool
}

fn record_h264(target: &Path, lengths: &[usize], threads: usize) {
    let spec = RecordSpec { video: H264, ..spec(threads) };
    let mut recorder = LeRobotRecorder::create(target, spec).unwrap();
    for (e, &length) in lengths.iter().enumerate() {
        recorder.begin_episode("pick the cube").unwrap();
        for t in 0..length {
            add_frame(&mut recorder, e, t, length).unwrap();
        }
        recorder.save_episode(EpisodeOutcome::default()).unwrap();
    }
    recorder.finish().unwrap();
}

/// Every frame shows what was recorded as episode `names[e]`.
fn assert_shows(root: &Path, names: &[usize]) {
    let dataset = Dataset::open(root).unwrap();
    assert_eq!(dataset.episodes().len(), names.len());
    for (e, &name) in names.iter().enumerate() {
        let frames: Vec<usize> = (0..dataset.episodes()[e].length).collect();
        for (t, rgb) in dataset.decode_frames(e, CAMERA, &frames).unwrap().iter().enumerate() {
            let off = |t: usize| difference(rgb, &picture(name, t));
            assert!(off(t) < 6.0, "episode {e}, frame {t}: {} levels", off(t));
            assert!(off(t) < off(t + 1) && (t == 0 || off(t) < off(t - 1)), "episode {e}, {t}");
        }
    }
}

fn assert_clean(root: &Path) {
    let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
    let found = with_task(|t| validate(root, &options, t).unwrap());
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
    assert!(found.checked.decoded_frames > 0);
}

fn codec(root: &Path) -> String {
    let dataset = Dataset::open(root).unwrap();
    dataset.info().features[CAMERA].info.clone().unwrap().codec.unwrap()
}

/// The one video file of a dataset.
fn video(root: &Path) -> PathBuf {
    Dataset::open(root).unwrap().episodes()[0].videos[CAMERA].file.clone()
}

/// Has ffmpeg encode the video of the dataset at `root` with `arguments`, key frames at the episodes'
/// starts, as a recording with another program would have it.
fn as_from_elsewhere(tool: &Ffmpeg, root: &Path, codec: &str, arguments: &[&str]) {
    let dataset = Dataset::open(root).unwrap();
    let starts: Vec<String> =
        dataset.episodes().iter().map(|e| e.videos[CAMERA].from_timestamp.to_string()).collect();
    let (file, made) = (video(root), root.join("made.mp4"));
    let mut command = Command::new(tool.path());
    command.args(["-v", "error", "-c:v", "libdav1d", "-i"]).arg(&file);
    command.args(arguments).args(["-force_key_frames", &starts.join(","), "-y"]).arg(&made);
    assert!(command.status().unwrap().success());
    std::fs::rename(&made, &file).unwrap();
    // Another program keeps no lineage.
    std::fs::remove_file(root.join("meta/embody.json")).unwrap();
    let info = root.join("meta/info.json");
    let text = std::fs::read_to_string(&info).unwrap();
    assert!(text.contains("\"video.codec\": \"av1\""));
    std::fs::write(
        &info,
        text.replace("\"video.codec\": \"av1\"", &format!("\"video.codec\": \"{codec}\"")),
    )
    .unwrap();
}

const ELSEWHERE: &[(&str, &[&str])] = &[
    ("h264", &["-c:v", "libx264", "-bf", "3", "-g", "12", "-crf", "12", "-pix_fmt", "yuv420p"]),
    (
        "hevc",
        &[
            "-c:v",
            "libx265",
            "-crf",
            "10",
            "-pix_fmt",
            "yuv420p10le",
            "-x265-params",
            "log-level=none:keyint=15:open-gop=0:ctu=16",
        ],
    ),
    ("mpeg4", &["-c:v", "mpeg4", "-bf", "2", "-q:v", "2", "-g", "12"]),
    ("vp9", &["-c:v", "libvpx-vp9", "-crf", "12", "-b:v", "2M", "-g", "12", "-cpu-used", "8"]),
];

#[test]
fn h264_is_recorded_edited_and_checked() {
    if tool().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    record_h264(&at("set"), &[33, 120, 21], 2);
    assert_eq!(codec(&at("set")), "h264");
    assert_clean(&at("set"));
    assert_shows(&at("set"), &[0, 1, 2]);
    // Threads change no byte.
    record_h264(&at("alone"), &[33, 120, 21], 1);
    assert_eq!(
        std::fs::read(video(&at("set"))).unwrap(),
        std::fs::read(video(&at("alone"))).unwrap()
    );

    with_task(|t| delete(&at("set"), &at("deleted"), &[1], t).unwrap());
    assert_clean(&at("deleted"));
    assert_shows(&at("deleted"), &[0, 2]);
    let same = |a: &Path, (ea, b): (usize, &Path), eb: usize| {
        let (a, b) = (Dataset::open(a).unwrap(), Dataset::open(b).unwrap());
        let frames: Vec<usize> = (0..a.episodes()[ea].length).collect();
        assert!(
            a.decode_frames(ea, CAMERA, &frames).unwrap()
                == b.decode_frames(eb, CAMERA, &frames).unwrap(),
            "packets were not copied"
        );
    };
    same(&at("set"), (2, &at("deleted")), 1);
    with_task(|t| merge(&[at("deleted"), at("alone")], &at("merged"), t).unwrap());
    assert_clean(&at("merged"));
    assert_shows(&at("merged"), &[0, 2, 0, 1, 2]);
}

#[test]
fn datasets_of_other_programs_are_read_edited_and_encoded_anew() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().unwrap();
    for (name, arguments) in ELSEWHERE {
        let at = |part: &str| home.path().join(format!("{name}-{part}"));
        record(&at("set"), &[25, 40, 31], 2);
        as_from_elsewhere(&tool, &at("set"), name, arguments);
        assert_clean(&at("set"));
        assert_shows(&at("set"), &[0, 1, 2]);
        with_task(|t| delete(&at("set"), &at("deleted"), &[0], t).unwrap());
        assert_clean(&at("deleted"));
        assert_shows(&at("deleted"), &[1, 2]);
        let options = ProcessOptions {
            drop_failed: false,
            max_idle_fraction: 1.0,
            held_out: 0.0,
            video: Some(VideoSettings::default()),
            ..Default::default()
        };
        with_task(|t| process(&at("set"), &at("av1"), &options, t).unwrap());
        assert_eq!(codec(&at("av1")), "av1");
        assert_clean(&at("av1"));
        assert_shows(&at("av1"), &[0, 1, 2]);
        let options = SurveyOptions { video: Look::Pictures, ..Default::default() };
        let seen = with_task(|t| survey(&Dataset::open(&at("set")).unwrap(), &options, t).unwrap());
        assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    }
}

#[test]
fn doctor_names_wrong_labels_and_broken_frames() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[25, 40], 2);
    // The known case of the field: MPEG-4 part 2 under the name of H.264.
    as_from_elsewhere(&tool, &root, "h264", &["-c:v", "mpeg4", "-q:v", "2", "-g", "10"]);
    let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
    let found = with_task(|t| validate(&root, &options, t).unwrap());
    let labels: Vec<_> = found.findings.iter().map(|f| f.code.clone()).collect();
    assert_eq!(labels, ["video-codec-label"; 2], "{:#?}", found.findings);

    record_h264(&home.path().join("h264"), &[30, 30], 2);
    let root = home.path().join("h264");
    let file = video(&root);
    let mut bytes = std::fs::read(&file).unwrap();
    // Packets of the second episode, behind `mdat`'s head.
    let middle = bytes.len() * 6 / 10;
    bytes[middle..middle + 600].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let found = with_task(|t| validate(&root, &options, t).unwrap());
    let bad = found.findings.iter().find(|f| f.code == "video-damaged").expect("a finding");
    assert_eq!((bad.severity, bad.episode), (Severity::Error, Some(1)), "{bad:?}");
    assert!(bad.message.contains("episode 1, frame"), "{}", bad.message);
}

#[test]
fn h264_goes_through_a_message_log_and_back() {
    if tool().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    record_h264(&at("set"), &[33, 20], 2);
    let options = ExportOptions::default();
    with_task(|t| export(&at("set"), &at("logs"), ExportFormat::Mcap, &options, t).unwrap());
    let logs: Vec<PathBuf> =
        std::fs::read_dir(at("logs")).unwrap().flatten().map(|e| e.path()).collect();
    let map = logs.iter().find(|p| p.extension().is_some_and(|e| e == "toml")).cloned();
    let options = ImportOptions { map, video: H264, ..Default::default() };
    with_task(|t| import(&at("logs"), &at("back"), options, t).unwrap());
    assert_clean(&at("back"));
    let back = Dataset::open(&at("back")).unwrap();
    let camera = back.info().features.values().find(|f| f.dtype == DType::Video).unwrap();
    assert_eq!(camera.info.as_ref().and_then(|i| i.codec.as_deref()), Some("h264"));
    assert_shows(&at("back"), &[0, 1]);
}

#[test]
fn a_recording_in_h264_that_was_killed_is_recovered() {
    if tool().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let spec = RecordSpec { video: H264, ..spec(2) };
    let mut recorder = LeRobotRecorder::create(&root, spec).unwrap();
    for e in 0..2 {
        recorder.begin_episode("pick the cube").unwrap();
        for t in 0..130 {
            add_frame(&mut recorder, e, t, 130).unwrap();
        }
        if e == 0 {
            recorder.save_episode(EpisodeOutcome::default()).unwrap();
        }
    }
    // As a killed process leaves it: nothing is finished.
    drop(recorder);
    let report = LeRobotRecorder::recover(&root, None, 2).unwrap().expect("a journal");
    assert_eq!((report.episodes, report.frames, report.unfinished), (2, 260, Some(1)));
    assert_clean(&root);
    assert_shows(&root, &[0, 1]);
}

#[test]
fn pyav_reads_the_same_frames_at_the_same_times() {
    let (Some(tool), Some(python)) = (tool(), python()) else { return };
    let home = tempfile::tempdir().unwrap();
    for (name, arguments) in ELSEWHERE {
        let root = home.path().join(name);
        record(&root, &[25, 40, 31], 2);
        as_from_elsewhere(&tool, &root, name, arguments);
        let dataset = Dataset::open(&root).unwrap();
        let (mut pictures, mut times) = (Vec::new(), Vec::new());
        for (e, episode) in dataset.episodes().iter().enumerate() {
            let frames: Vec<usize> = (0..episode.length).collect();
            pictures.extend(dataset.decode_frames(e, CAMERA, &frames).unwrap().concat());
            let from = episode.videos[CAMERA].from_timestamp;
            times.extend(frames.iter().map(|&f| from + f as f64 / 30.0));
        }
        let bytes = home.path().join("pictures.rgb");
        std::fs::write(&bytes, pictures).unwrap();
        let question = home.path().join("question.json");
        let text = json!({"video": video(&root), "pictures": bytes, "height": SIZE, "width": SIZE,
                          "times": times});
        std::fs::write(&question, text.to_string()).unwrap();
        let answer = run(&python, "frames.py", &[&question]);
        println!("{name}: {answer}");
        assert_eq!(answer["frames"], 96);
        // Chroma is spread by ours to its four pixels; swscale blends it between them where values have
        // more than 8 bits, so coloured edges differ.
        let most = if *name == "hevc" { 3.0 } else { 1.5 };
        let mean = answer["mean"].as_f64().unwrap();
        assert!(mean < most, "{name}: mean difference {mean}");
    }
}

#[test]
fn lerobot_reads_what_we_record_in_h264() {
    if tool().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record_h264(&root, &[40, 9, 120], 2);
    let Some(off) = crate::oracle::judge_recording(&root) else { return };
    println!("pictures differ by {off:.3} levels");
    assert!(off < 1.5, "pictures differ by {off} levels");
}

#[test]
fn depth_of_lerobot_comes_in_metres() {
    let (Some(_), Some(python)) = (tool(), python()) else { return };
    let home = tempfile::tempdir().unwrap();
    let (root, file) = (home.path().join("set"), home.path().join("depth.f32"));
    run(&python, "write_depth.py", &[&root, &file]);
    let theirs: Vec<f32> = std::fs::read(&file)
        .unwrap()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let dataset = Dataset::open(&root).unwrap();
    let key = "observation.images.depth";
    let frames: Vec<usize> = (0..12).collect();
    let ours: Vec<f32> =
        (0..2).flat_map(|e| dataset.decode_depth(e, key, &frames).unwrap().concat()).collect();
    assert_eq!(ours.len(), theirs.len());
    let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("depth differs by {off} m");
    assert!(off < 1e-5, "{off} m");
    assert!(dataset.decode_depth(0, "observation.state", &frames).is_err());
    // An edit copies it, a new encoding leaves it alone.
    with_task(|t| delete_one(&root, home.path(), t));
    let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
    let found = with_task(|t| validate(&root, &options, t).unwrap());
    assert!(found.findings.iter().all(|f| f.severity != Severity::Error), "{:#?}", found.findings);
}

fn delete_one(root: &Path, home: &Path, task: embody_core::Task<'_>) {
    delete(root, &home.join("one"), &[0], task).unwrap();
    let one = Dataset::open(&home.join("one")).unwrap();
    let whole = Dataset::open(root).unwrap();
    let key = "observation.images.depth";
    assert_eq!(
        one.decode_depth(0, key, &[3, 7]).unwrap(),
        whole.decode_depth(1, key, &[3, 7]).unwrap()
    );
}
