//! What tests against LeRobot share: asking its Python, reading its answer, the difference.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::checkpoint;

/// Largest difference over largest entry that is agreement.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// Tensors of a file by name, flat.
pub(crate) type Vectors = BTreeMap<String, Vec<f32>>;

/// Runs `tests/oracle/SCRIPT` by the Python that `variable` names; false where it names none.
pub(crate) fn ask(variable: &str, script: &str, verb: &str, home: &Path) -> bool {
    let Ok(python) = std::env::var(variable) else {
        eprintln!("skipped: {variable} names no Python; CONTRIBUTING.md says what it needs");
        return false;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let mut command = Command::new(python);
    command.arg(folder.join(script)).arg(verb).arg(home).env("HF_HUB_OFFLINE", "1");
    let done = command.output().expect("start python");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    true
}

/// All tensors of a file that the oracle wrote.
pub(crate) fn vectors(path: &Path) -> Vectors {
    checkpoint::read_all_vectors(path).expect("the oracle's file").into_iter().collect()
}

/// Largest difference, as a share of the largest entry or of `floor`.
pub(crate) fn error(ours: &[f32], theirs: &[f32], floor: f32) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(floor, |m, v| m.max(v.abs()));
    ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}
