//! Every target takes its seeds, what they become when they are cut or changed, and what fuzzing
//! once found (`fuzz/regressions/TARGET/*` at the workspace's root).

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn folder(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind).join(target);
    let Ok(entries) = fs::read_dir(&root) else { return Vec::new() };
    let mut out: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    out.sort();
    out
}

#[test]
fn every_target_takes_its_seeds_whole_cut_and_changed() {
    for target in TARGETS {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("seeds");
        let made = write_seeds(target.name, &out, &scratch.path().join("made"), None);
        let mut seeds: Vec<Vec<u8>> =
            (0..made).map(|i| fs::read(out.join(format!("seed-{i:03}"))).unwrap()).collect();
        seeds.extend(folder("seeds", target.name).into_iter().map(|s| s.1));
        assert!(!seeds.is_empty(), "{} has nothing to begin from", target.name);
        for seed in &seeds {
            assert!(seed.len() <= 1 << 20, "{}: a seed of {} bytes", target.name, seed.len());
            (target.run)(seed, scratch.path());
            for part in 1..4 {
                let at = seed.len() * part / 4;
                (target.run)(&seed[..at], scratch.path());
                let mut changed = seed.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 0xff;
                    (target.run)(&changed, scratch.path());
                }
            }
        }
    }
}

#[test]
fn what_fuzzing_found_stays_mended() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions");
    for entry in fs::read_dir(&root).into_iter().flatten() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        // Targets of other crates are replayed by the fuzzing program alone.
        let Some(target) = find(&name) else { continue };
        let scratch = tempfile::tempdir().unwrap();
        for (path, bytes) in folder("regressions", &name) {
            println!("{}", path.display());
            (target.run)(&bytes, scratch.path());
        }
    }
}
