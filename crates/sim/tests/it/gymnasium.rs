//! The tasks of Gymnasium beside the `gymnasium` package: same states, same actions, same bits.

use std::path::Path;
use std::process::Command;

use embody_core::{DataView, EnvSpec, VecEnv};
use embody_sim::{EnvOptions, EpisodeStart, SimEnv};

use crate::assets;

const ORACLE: &str = "EMBODY_SIM_PYTHON";
const STEPS: usize = 1000;

/// What the package did, out of `gymnasium_steps.py`.
fn played(python: &str, task: &str, seed: u64) -> Vec<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/gymnasium_steps.py");
    let out = std::env::temp_dir().join(format!("embody-{task}-{seed}-{}", std::process::id()));
    let status = Command::new(python)
        .arg(script)
        .args([task, &STEPS.to_string(), &seed.to_string()])
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success(), "{task}: the oracle ended with {status}");
    let bytes = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn make(assets: &Path, task: &str) -> SimEnv {
    let options = EnvOptions { camera_size: None, threads: 1, ..EnvOptions::new(assets) };
    embody_sim::make_sim(task, options).unwrap()
}

fn seen(env: &SimEnv) -> &[f64] {
    match env.observation("observation.state").unwrap().data {
        DataView::F64(values) => values,
        other => panic!("observations are {other:?}"),
    }
}

fn same_bits(task: &str, step: usize, spec: &EnvSpec, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{task}: dimensions of the observation");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let name = &spec.observations["observation.state"].names[i];
        assert!(a.to_bits() == b.to_bits(), "{task}, step {step}, {name}: {a:e} against {b:e}");
    }
}

fn compare(env: &mut SimEnv, task: &str, rows: &[f64]) -> usize {
    let start = env.simulation(0).unwrap();
    let (nq, nv, nu) = (start.qpos.len(), start.qvel.len(), start.ctrl.len());
    let dims = seen(env).len();
    let spec = env.spec().clone();
    let (mut rest, mut step, mut ends) = (rows, 0, 0);
    while let Some((&kind, after)) = rest.split_first() {
        let (row, after) = after.split_at(if kind == 0.0 { nq + nv + dims } else { nu + dims + 3 });
        rest = after;
        if kind == 0.0 {
            let start = EpisodeStart {
                qpos: row[..nq].to_vec(),
                qvel: row[nq..nq + nv].to_vec(),
                ctrl: vec![0.0; nu],
                appearance: None,
            };
            env.begin(&[Some(start)]).unwrap();
            same_bits(task, step, &spec, seen(env), &row[nq + nv..]);
            continue;
        }
        step += 1;
        let action: Vec<f32> = row[..nu].iter().map(|a| *a as f32).collect();
        env.step(&action, &[true]).unwrap();
        same_bits(task, step, &spec, seen(env), &row[nu..nu + dims]);
        let [reward, terminated, truncated] = row[nu + dims..] else { panic!("a row is short") };
        let off = (env.rewards()[0] - reward).abs();
        assert!(off <= 1e-12, "{task}, step {step}: reward {} is {off:e} off", env.rewards()[0]);
        let ended = [env.terminated()[0], env.truncated()[0]].map(|e| f64::from(u8::from(e)));
        assert_eq!(ended, [terminated, truncated], "{task}, step {step}: end of the episode");
        ends += usize::from(terminated + truncated > 0.0);
    }
    assert_eq!(step, STEPS);
    ends
}

#[test]
fn tasks_of_gymnasium_equal_the_package_to_the_bit() {
    let Some(assets) = assets() else { return };
    let Ok(python) = std::env::var(ORACLE) else {
        eprintln!("skipped: {ORACLE} names no Python with gymnasium[mujoco]");
        return;
    };
    let tasks: Vec<_> = embody_sim::tasks()
        .into_iter()
        .filter(|id| id.ends_with("-v5") || id.ends_with("-v4"))
        .collect();
    assert!(tasks.len() >= 11, "{tasks:?}");
    for task in tasks {
        let mut env = make(&assets, task);
        let ends: usize =
            [1, 2].map(|seed| compare(&mut env, task, &played(&python, task, seed))).iter().sum();
        eprintln!("{task}: {} steps equal to the bit, {ends} episodes ended", 2 * STEPS);
        assert!(ends >= 2, "{task}: no episode ended");
    }
}
