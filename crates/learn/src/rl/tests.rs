//! What the algorithms' tests share: asking PyTorch for the same update, and comparing.

use std::process::Command;

use serde_json::Value;

use crate::checkpoint::{self, Stored};
use crate::noise::{normals, stream};

const PYTHON: &str = "EMBODY_RL_PYTHON";

/// Named vectors.
pub(super) type Vectors = Vec<(String, Vec<f32>)>;

/// The update of `tests/oracle/rl_updates.py`; `None` where no Python with torch is named.
pub(super) fn ask(case: &Value, vectors: &[(String, Vec<f32>)]) -> Option<Vectors> {
    let Ok(python) = std::env::var(PYTHON) else {
        eprintln!("skipped: {PYTHON} names no Python with torch");
        return None;
    };
    let home = tempfile::tempdir().expect("temporary folder");
    checkpoint::write_json(&home.path().join("case.json"), case).expect("write");
    let tensors: Vec<_> =
        vectors.iter().map(|(n, v)| Stored::floats(n, vec![v.len()], v.clone())).collect();
    checkpoint::write_tensors(&home.path().join("in.safetensors"), &tensors).expect("write");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/rl_updates.py");
    let status = Command::new(python).arg(script).arg(home.path()).status().expect("start python");
    assert!(status.success(), "the oracle ended with {status}");
    Some(checkpoint::read_all_vectors(&home.path().join("out.safetensors")).expect("read"))
}

/// Compares with vector `name` of the oracle's: every entry within `tolerance` of the largest.
pub(super) fn near(theirs: &Vectors, name: &str, ours: &[f32], tolerance: f32) {
    let (_, theirs) = theirs.iter().find(|(n, _)| n == name).expect("a vector of that name");
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let scale = theirs.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= tolerance * scale, "{name}: {worst} off, the largest entry is {scale}");
}

/// Normal numbers times `scale`.
pub(super) fn random(label: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut values = vec![0.0; n];
    normals(&mut stream(7, "oracle", label), &mut values);
    values.iter_mut().for_each(|v| *v *= scale);
    values
}

/// Inputs, hidden layers, outputs.
pub(super) fn sizes(inputs: usize, hidden: &[usize], outputs: usize) -> Vec<usize> {
    [&[inputs], hidden, &[outputs]].concat()
}
