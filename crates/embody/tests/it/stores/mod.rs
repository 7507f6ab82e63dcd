//! `embody data pull` and `push` against a server that speaks the Hub's protocol, folders, S3 and the
//! real clients.

mod faults;
mod objects;
mod peers;
mod pushing;
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bench::Bench;
use server::Server;

/// `count` bytes that repeat nowhere soon, different for each `seed`.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A few files, small ones and large ones, in folders.
fn some_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("README.md", b"# A set\n".to_vec()),
        ("data/chunk-000/file-000.parquet", noise(1, 70_000)),
        ("data/chunk-000/file-001.parquet", noise(2, 300_000)),
        ("empty", Vec::new()),
        ("meta/info.txt", noise(3, 5_000)),
        ("videos/observation.images.front/chunk-000/file 000.mp4", noise(4, 900_000)),
    ]
}

/// The binary, pointed at the server.
fn embody(bench: &Bench, server: &Server, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command.env("HF_ENDPOINT", server.endpoint());
    command
}

fn json_of(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "failed:\n{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "should have failed");
    String::from_utf8(output.stderr).unwrap()
}

/// Every file below a folder with its content.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

fn owned(files: &[(&str, Vec<u8>)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(n, c)| ((*n).to_owned(), c.clone())).collect()
}

/// Names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
