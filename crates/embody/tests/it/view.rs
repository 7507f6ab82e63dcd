//! The episode viewer as a browser meets it: over a socket, with and without the token.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use embody_core::{ArrayView, DType, DataView, EpisodeOutcome, FeatureSpec, Recorder};
use embody_data::{LeRobotRecorder, RecordSpec, VideoSettings};
use serde_json::Value;

use crate::bench::Bench;

pub const SIZE: usize = 32;
pub const LENGTHS: [usize; 2] = [6, 9];
pub const CAMERA: &str = "observation.images.front";
const PHOTO: &str = "observation.images.photo";

/// The recipe's steps that import the dataset at `path` as `step`, and process it as `to` whole.
pub fn processed(step: &str, path: &str, to: &str, held_out: f64) -> String {
    format!(
        r#"[steps.{step}]
kind = "import"
path = "{path}"

[steps.{to}]
kind = "process"
dataset = "@{step}"
drop_failed = false
min_frames = 2
max_idle_fraction = 1.0
held_out = {held_out:?}
"#
    )
}

/// Two episodes; the second failed, and its flag goes up at frame 4.
pub fn dataset(path: &Path) {
    robot(path, &["shoulder", "gripper"], true);
}

/// The same of a robot with these joints, which has cameras or not.
pub fn robot(path: &Path, joints: &[&str], sees: bool) {
    let vector = |names: &[&str]| FeatureSpec::new(DType::Float32, &[names.len()], names);
    let mut features = embody_core::Features::new();
    features.insert("observation.state".into(), vector(joints));
    features.insert("action".into(), vector(joints));
    features.insert("next.done".into(), FeatureSpec::new(DType::Bool, &[1], &[]));
    if sees {
        features.insert(CAMERA.into(), FeatureSpec::new(DType::Video, &[SIZE, SIZE, 3], &[]));
        features.insert(PHOTO.into(), FeatureSpec::new(DType::Image, &[SIZE, SIZE, 3], &[]));
    }
    let spec = RecordSpec {
        fps: 10.0,
        robot_type: Some("test_arm".into()),
        features,
        video: VideoSettings::default(),
        threads: 1,
        parameters: Value::Null,
        origin: None,
    };
    let n = joints.len();
    let mut recorder = LeRobotRecorder::create(path, spec).unwrap();
    for (e, length) in LENGTHS.into_iter().enumerate() {
        recorder.begin_episode("Wave <b>twice</b>.").unwrap();
        for t in 0..length {
            let (mut state, mut action) = (vec![t as f32; n], vec![0.0; n]);
            (state[n - 1], action[0]) = (e as f32, t as f32 + 0.5);
            let (done, grey) = ([t >= 4], [(t * 20) as u8; SIZE * SIZE * 3]);
            let row: [(&str, ArrayView<'_>); 5] = [
                ("observation.state", ArrayView { shape: &[n], data: DataView::F32(&state) }),
                ("action", ArrayView { shape: &[n], data: DataView::F32(&action) }),
                ("next.done", ArrayView { shape: &[1], data: DataView::Bool(&done) }),
                (CAMERA, ArrayView { shape: &[SIZE, SIZE, 3], data: DataView::U8(&grey) }),
                (PHOTO, ArrayView { shape: &[SIZE, SIZE, 3], data: DataView::U8(&grey) }),
            ];
            recorder.add_frame(if sees { &row } else { &row[..3] }).unwrap();
        }
        let outcome = EpisodeOutcome { success: Some(e == 0), ..Default::default() };
        recorder.save_episode(outcome).unwrap();
    }
    recorder.finish().unwrap();
}

/// A viewer that runs until it is dropped.
struct Viewer {
    child: Child,
    port: u16,
    token: String,
}

impl Viewer {
    fn start(bench: &Bench) -> Self {
        dataset(&bench.path("waves"));
        let args = ["data", "view", "waves", "--episode", "1", "--no-open", "--json"];
        let mut child = bench.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["address"].as_str().unwrap();
        let rest = address.strip_prefix("http://127.0.0.1:").unwrap();
        let (port, rest) = rest.split_once("/?token=").unwrap();
        let token = rest.strip_suffix("#episode=1").unwrap().to_owned();
        Self { child, port: port.parse().unwrap(), token }
    }

    /// Status, head and body of a GET.
    fn get(&self, path: &str, headers: &[&str]) -> (u16, String, Vec<u8>) {
        let host = format!("Host: 127.0.0.1:{}", self.port);
        let host = if headers.iter().any(|h| h.starts_with("Host:")) { "" } else { &host };
        let lines: Vec<&str> = std::iter::once(host)
            .chain(headers.iter().copied())
            .filter(|h| !h.is_empty())
            .collect();
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
        socket.write_all(request.as_bytes()).unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, all[end + 4..].to_vec())
    }

    fn known(&self, path: &str, headers: &[&str]) -> (u16, String, Vec<u8>) {
        let cookie = format!("Cookie: embody_view-{}={}", self.port, self.token);
        let headers: Vec<&str> = headers.iter().copied().chain([cookie.as_str()]).collect();
        self.get(path, &headers)
    }

    fn json(&self, path: &str) -> Value {
        let (status, head, body) = self.known(path, &[]);
        assert_eq!(status, 200, "{head}");
        serde_json::from_slice(&body).unwrap()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A browser that can be driven from here.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

#[test]
fn a_browser_shows_what_failed_first() {
    let bench = Bench::new();
    let viewer = Viewer::start(&bench);
    let address = format!("http://127.0.0.1:{}/?token={}", viewer.port, viewer.token);
    let profile = format!("--user-data-dir={}", bench.path("profile").display());
    let flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"];
    let look = |browser: &&str| {
        let mut command = Command::new(browser);
        command.args(flags).arg(&profile).args(["--enable-logging=stderr", "--dump-dom", &address]);
        command.output().ok()
    };
    let Some(seen) = BROWSERS.iter().find_map(look) else {
        println!("skipped: none of {} is on the PATH", BROWSERS.join(", "));
        return;
    };
    let said = String::from_utf8_lossy(&seen.stderr);
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("Uncaught")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let page = String::from_utf8_lossy(&seen.stdout);
    let listed = |episode: &str| page.find(&format!("<span>{episode}</span>"));
    let (first, second) = (listed("Episode 1"), listed("Episode 0"));
    assert!(first.is_some() && first < second, "{first:?} {second:?}: {page}");
    // The task is text, not markup.
    assert!(page.contains("Wave &lt;b&gt;twice&lt;/b&gt;."));
}

#[test]
fn nothing_is_shown_without_the_token() {
    let bench = Bench::new();
    let viewer = Viewer::start(&bench);
    let video = format!("/api/episodes/0/video/{CAMERA}");
    for path in ["/", "/view.js", "/api/dataset", "/api/episodes/0", &video, "/?token=0", "/other"]
    {
        assert_eq!(viewer.get(path, &[]).0, 403, "{path}");
    }
    let other = format!("Cookie: embody_view-{}={}", viewer.port, "0".repeat(32));
    assert_eq!(viewer.get("/api/dataset", &[&other]).0, 403);
    // A foreign name that points at this machine, with the right token.
    assert_eq!(viewer.known("/api/dataset", &["Host: evil.example"]).0, 403);
    let (status, head, _) = viewer.get(&format!("/?token={}", viewer.token), &[]);
    assert_eq!(status, 303);
    let head = head.to_lowercase();
    assert!(head.contains("set-cookie") && head.contains("httponly") && head.contains("strict"));
    assert_eq!(viewer.known("/", &[]).0, 200);
    assert_eq!(viewer.known("/other", &[]).0, 404);
}

#[test]
fn the_page_gets_numbers_events_and_video() {
    let bench = Bench::new();
    let viewer = Viewer::start(&bench);
    let (_, head, page) = viewer.known("/", &[]);
    assert!(head.to_lowercase().contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(String::from_utf8(page).unwrap().contains("<script src=\"/view.js\">"));

    let all = viewer.json("/api/dataset");
    assert_eq!(all["frames"], 15);
    assert_eq!(all["cameras"][0]["key"], CAMERA);
    assert_eq!(all["episodes"][1]["success"], false);
    assert_eq!(all["episodes"][1]["tasks"][0], "Wave <b>twice</b>.");

    let one = viewer.json("/api/episodes/1");
    assert_eq!(one["length"], 9);
    let series = one["series"].as_array().unwrap();
    let named = |feature: &str, name: &str| {
        let found = series.iter().find(|s| s["feature"] == feature && s["name"] == name);
        found.unwrap_or_else(|| panic!("no {feature} {name}"))["values"].clone()
    };
    let expected: Vec<f64> = (0..9).map(|t| f64::from(t) + 0.5).collect();
    assert_eq!(named("action", "shoulder"), serde_json::json!(expected));
    assert_eq!(named("observation.state", "gripper"), serde_json::json!(vec![1.0; 9]));
    assert_eq!(one["events"], serde_json::json!([{ "frame": 4, "what": "next.done" }]));

    let path = format!("/api/episodes/1/video/{CAMERA}");
    let (status, _, whole) = viewer.known(&path, &[]);
    assert_eq!((status, &whole[4..8]), (200, b"ftyp".as_slice()));
    let (status, head, part) = viewer.known(&path, &["Range: bytes=4-7"]);
    assert_eq!((status, part.as_slice()), (206, b"ftyp".as_slice()));
    assert!(head.contains(&format!("bytes 4-7/{}", whole.len())), "{head}");
    assert_eq!(viewer.known(&path, &["Range: bytes=99999999-"]).0, 416);
}

#[test]
fn pictures_of_the_table_and_a_recording_for_rerun() {
    let bench = Bench::new();
    let viewer = Viewer::start(&bench);
    let all = viewer.json("/api/dataset");
    assert_eq!(
        (&all["cameras"][0]["still"], &all["cameras"][1]["still"]),
        (&false.into(), &true.into())
    );
    let path = format!("/api/episodes/1/picture/{PHOTO}/3");
    let (status, head, picture) = viewer.known(&path, &[]);
    assert_eq!((status, &picture[1..4]), (200, b"PNG".as_slice()));
    assert!(head.to_lowercase().contains("content-type: image/png"), "{head}");
    assert_eq!(viewer.known(&format!("/api/episodes/1/picture/{PHOTO}/9"), &[]).0, 422);
    assert_eq!(viewer.known(&format!("/api/episodes/1/picture/{CAMERA}/0"), &[]).0, 422);
    let (status, head, recording) = viewer.known("/api/episodes/1/recording.rrd", &[]);
    assert_eq!((status, &recording[..4]), (200, b"RRF2".as_slice()));
    assert!(head.contains("filename=\"episode-000001.rrd\""), "{head}");
    assert_eq!(viewer.get("/api/episodes/1/recording.rrd", &[]).0, 403);
}

#[test]
fn what_is_not_there_is_said() {
    let bench = Bench::new();
    let viewer = Viewer::start(&bench);
    for (path, word) in [
        ("/api/episodes/2", "no episode 2"),
        ("/api/episodes/0/video/..%2F..%2Fmeta", "no video feature"),
    ] {
        let (status, _, body) = viewer.known(path, &[]);
        let said: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 422, "{path}");
        assert!(said["error"].as_str().unwrap().contains(word), "{said}");
    }
    assert_eq!(viewer.known("/api/episodes/x", &[]).0, 400);
    let error = bench.err(&["data", "view", "waves", "--episode", "7", "--no-open"]);
    assert!(error.contains("has no episode 7") && error.contains("episodes 0 to 1"), "{error}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_in_good_order() {
    let bench = Bench::new();
    let mut viewer = Viewer::start(&bench);
    let pid = viewer.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(viewer.child.wait().unwrap().success());
}
