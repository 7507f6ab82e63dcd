//! Batches through shared memory: the protocol as a consumer meets it, the deaths of both sides, and
//! the Python client against LeRobot.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::bench::Bench;
use crate::view::{CAMERA, SIZE, dataset};

struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    header: Value,
}

impl Server {
    fn start(bench: &Bench, args: &[&str]) -> Self {
        let mut command = bench.command(&[&["-q", "data", "serve", "data"], args].concat());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, lines, header: Value::Null };
        server.header = server.message().expect("a header");
        server
    }

    fn message(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).ok()
    }

    fn give_back(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn read(&self, slot: u64, name: &str, bytes: usize) -> Vec<u8> {
        let arrays = self.header["arrays"].as_array().unwrap();
        let offset = match arrays.iter().find(|a| a["name"] == name) {
            Some(array) => array["offset"].as_u64().unwrap(),
            None => 0,
        };
        let mut file = File::open(self.header["file"].as_str().unwrap()).unwrap();
        let start = slot * self.header["slot_bytes"].as_u64().unwrap() + offset;
        file.seek(SeekFrom::Start(start)).unwrap();
        let mut out = vec![0; bytes];
        file.read_exact(&mut out).unwrap();
        out
    }

    fn shape(&self, name: &str) -> Vec<u64> {
        let arrays = self.header["arrays"].as_array().unwrap();
        let array = arrays.iter().find(|a| a["name"] == name).unwrap();
        array["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
    }
}

#[test]
fn a_consumer_maps_batches_and_the_producer_waits_for_slots() {
    let bench = Bench::new();
    dataset(&bench.path("data"));
    let args = ["--batch-size", "4", "--slots", "2", "--batches", "5", "--window", "action=-1..2"];
    let mut server = Server::start(&bench, &args);
    assert_eq!(server.header["protocol"], "embody-batches/1");
    assert_eq!(server.header["frames"], 15);
    assert_eq!(server.shape("action"), [4, 3, 2]);
    assert_eq!(server.shape(CAMERA), [4, SIZE as u64, SIZE as u64, 3]);
    let mut seen = Vec::new();
    for sequence in 1..=5u64 {
        let message = server.message().unwrap();
        let slot = message["slot"].as_u64().unwrap();
        assert_eq!((message["sequence"].as_u64().unwrap(), slot), (sequence, (sequence - 1) % 2));
        assert_eq!(server.read(slot, "", 8), sequence.to_le_bytes());
        let long = |bytes: Vec<u8>| -> Vec<i64> {
            bytes.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let episodes = long(server.read(slot, "episode_index", 32));
        let frames = long(server.read(slot, "frame_index", 32));
        let state = server.read(slot, "observation.state", 32);
        let padded = server.read(slot, "action_is_pad", 12);
        for row in 0..4 {
            let value = |i: usize| f32::from_le_bytes(state[i * 4..i * 4 + 4].try_into().unwrap());
            assert_eq!(value(row * 2) as i64, frames[row]);
            assert_eq!(value(row * 2 + 1) as i64, episodes[row]);
            let last = [5, 8][episodes[row] as usize];
            let edges = [frames[row] == 0, false, frames[row] == last];
            assert_eq!(padded[row * 3..row * 3 + 3], edges.map(u8::from));
            seen.push((episodes[row], frames[row]));
        }
        server.give_back();
    }
    // Fifteen frames are an epoch: none is drawn twice before all were.
    let mut epoch = seen[..15].to_vec();
    epoch.sort_unstable();
    epoch.dedup();
    assert_eq!(epoch.len(), 15);
    assert_eq!(server.message().unwrap()["end"], true);
    drop(server.child.stdin.take());
    assert!(server.child.wait().unwrap().success());

    // Another reader goes on where this one ended.
    let args = ["--batch-size", "4", "--first-batch", "3", "--batches", "1"];
    let mut again = Server::start(&bench, &args);
    let slot = again.message().unwrap()["slot"].as_u64().unwrap();
    let frames = again.read(slot, "frame_index", 32);
    let wanted: Vec<u8> = seen[12..16].iter().flat_map(|(_, f)| f.to_le_bytes()).collect();
    assert_eq!(frames, wanted);
    drop(again.child.stdin.take());
    assert!(again.child.wait().unwrap().success());
}

#[test]
fn a_full_ring_waits_and_a_consumer_that_dies_ends_the_producer() {
    let bench = Bench::new();
    dataset(&bench.path("data"));
    let mut server = Server::start(&bench, &["--batch-size", "2", "--slots", "2"]);
    for _ in 0..2 {
        server.message().unwrap();
    }
    // Both slots are out: nothing is announced and nothing written until one comes back.
    let before = (server.read(0, "", 8), server.read(1, "", 8));
    assert_eq!(before, (1u64.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec()));
    server.give_back();
    let message = server.message().unwrap();
    assert_eq!((message["sequence"].as_u64(), message["slot"].as_u64()), (Some(3), Some(0)));
    assert_eq!(server.read(1, "", 8), 2u64.to_le_bytes());
    let file = PathBuf::from(server.header["file"].as_str().unwrap());
    assert!(file.exists());
    drop(server.child.stdin.take());
    assert!(server.child.wait().unwrap().success(), "a consumer that goes is no error");
    assert!(!file.exists());
}

#[test]
fn what_cannot_be_served_is_said_on_both_sides() {
    let bench = Bench::new();
    dataset(&bench.path("data"));
    let output = bench.run(&["data", "serve", "data", "--input", "nose"]);
    assert!(!output.status.success());
    let message: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(message["error"].as_str().unwrap().contains("\"nose\""), "{message}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint:"));
    let said = bench.err(&["data", "serve", "data", "--weight", "1", "--weight", "2"]);
    assert!(said.contains("2 weights for 1 datasets"), "{said}");
    let said = bench.err(&["data", "serve", "data", "--slots", "1000000000"]);
    assert!(said.contains("64 GiB"), "{said}");
    let said = bench.err(&["data", "serve", "data", "--window", "action=nine"]);
    assert!(said.contains("FEATURE=START..END"), "{said}");
}

/// Runs Python on the client, which is put beside the script.
fn python(bench: &Bench, script: &str, arguments: &[&Path]) -> Option<String> {
    let Some(python) = std::env::var_os("EMBODY_LEROBOT_PYTHON") else {
        println!("skipped: EMBODY_LEROBOT_PYTHON is not set");
        return None;
    };
    bench.write("embody_batches.py", &bench.ok(&["data", "serve", "--print-client"]));
    let path = bench.write("script.py", script);
    let done = Command::new(python)
        .arg(path)
        .arg(env!("CARGO_BIN_EXE_embody"))
        .args(arguments)
        .current_dir(bench.home.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    Some(said)
}

#[test]
fn python_sees_what_lerobot_sees() {
    let bench = Bench::new();
    dataset(&bench.path("data"));
    let script = include_str!("serve_lerobot.py");
    let Some(said) = python(&bench, script, &[&bench.path("data")]) else { return };
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(said["rows"], 60, "{said}");
    // Both decode the same packets; conversion from YUV rounds differently.
    assert!(said["worst_level"].as_f64().unwrap() <= 3.0, "{said}");
}

#[test]
fn python_survives_a_producer_that_is_killed() {
    let bench = Bench::new();
    dataset(&bench.path("data"));
    let script = r#"
import os, signal, sys
from embody_batches import Batches
batches = Batches(sys.argv[2], embody=sys.argv[1], batch_size=2, seed=3)
first = next(batches)
kept = first["frame_index"].copy()
os.kill(batches._process.pid, signal.SIGKILL)
try:
    for _ in range(10):
        next(batches)
except RuntimeError as error:
    assert "-9" in str(error), error
else:
    raise SystemExit("a dead producer went unnoticed")
assert len(first["frame_index"]) == len(kept)  # still mapped: reading it is no crash
_ = first["frame_index"].sum()
try:
    Batches("nowhere", embody=sys.argv[1])
except RuntimeError as error:
    assert "nowhere" in str(error) and "hint" in str(error), error
else:
    raise SystemExit("a missing dataset went unnoticed")
with Batches(sys.argv[2], embody=sys.argv[1], batch_size=2, keep=2, batches=4) as batches:
    seen = [(b["episode_index"].copy(), b) for b in batches]
assert len(seen) == 4
print("done")
"#;
    let Some(said) = python(&bench, script, &[&bench.path("data")]) else { return };
    assert_eq!(said.trim(), "done");
}
