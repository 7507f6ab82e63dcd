//! Manipulation tasks: experts solve them, and where another package poses the same problem, it comes
//! out the same there.

use std::path::Path;
use std::process::Command;

use embody_core::{DataView, VecEnv};
use embody_sim::{EnvOptions, EpisodeStart, ExpertOptions, SimEnv};

use crate::assets;

const ORACLE: &str = "EMBODY_SIM_PYTHON";

fn make(assets: &Path, task: &str, num_envs: usize) -> SimEnv {
    let options =
        EnvOptions { num_envs, privileged: true, camera_size: None, ..EnvOptions::new(assets) };
    embody_sim::make_sim(task, options).unwrap()
}

/// The folder of robot models, where it holds this one.
fn with(robot: &str) -> Option<std::path::PathBuf> {
    let assets = assets()?;
    if assets.join(robot).is_dir() {
        return Some(assets);
    }
    eprintln!("skipped: no model of {robot}, run `cargo xtask setup --robots`");
    None
}

fn successes(assets: &Path, task: &str, n: usize) -> usize {
    let mut env = make(assets, task, n);
    let mut expert = embody_sim::expert(task, n, 0, ExpertOptions::new(assets)).unwrap();
    env.reset(&(0..n as u64).map(|s| Some(300 + s)).collect::<Vec<_>>()).unwrap();
    let mut active = vec![true; n];
    let mut actions = vec![0.0; n * env.spec().action.numel()];
    while active.contains(&true) {
        expert.act(&env.observations(), &active, &mut actions).unwrap();
        env.step(&actions, &active).unwrap();
        for (i, active) in active.iter_mut().enumerate() {
            *active = !env.terminated()[i] && !env.truncated()[i];
        }
    }
    assert_eq!(env.diverged(), 0);
    env.success().iter().filter(|s| **s).count()
}

#[test]
fn experts_succeed() {
    let Some(assets) = assets() else { return };
    for task in ["so101-reach", "so101-push"] {
        let successes = successes(&assets, task, 40);
        assert!(successes >= 38, "{task}: {successes} of 40");
    }
    let Some(assets) = with("aloha") else { return };
    for task in ["aloha-transfer-cube", "aloha-insertion"] {
        let successes = successes(&assets, task, 12);
        assert!(successes >= 11, "{task}: {successes} of 12");
    }
}

/// Tasks, with the bounds of `observation.environment_state` at the beginning.
const STARTS: [(&str, &str, &[[f32; 2]]); 5] = [
    ("so101-reach", "so101", &[[0.17, 0.28], [-0.09, 0.09], [0.04, 0.14]]),
    ("so101-push", "so101", &[[0.20, 0.25], [-0.06, 0.06], [0.16, 0.30], [-0.12, 0.12]]),
    ("aloha-transfer-cube", "aloha", &[[0.0, 0.2], [0.4, 0.6], [0.05, 0.05]]),
    (
        "aloha-insertion",
        "aloha",
        &[
            [0.1, 0.2],
            [0.4, 0.6],
            [0.05, 0.05],
            [1.0, 1.0],
            [0.0, 0.0],
            [0.0, 0.0],
            [0.0, 0.0],
            [-0.2, -0.1],
            [0.4, 0.6],
        ],
    ),
    ("pusht", "", &[]),
];

/// Starts vary in the ranges that are stated, and to hold still does not succeed.
#[test]
fn episodes_begin_as_stated_and_do_not_end_by_themselves() {
    for (task, robot, bounds) in STARTS {
        let Some(assets) = with(robot) else { return };
        let n = 100;
        let mut env = make(&assets, task, n);
        env.reset(&(0..n as u64).map(Some).collect::<Vec<_>>()).unwrap();
        let of = |env: &SimEnv, key| env.observation(key).unwrap().as_f32().unwrap().to_vec();
        let seen = of(&env, "observation.environment_state");
        for (i, [low, high]) in bounds.iter().enumerate() {
            let values: Vec<f32> = seen.chunks(seen.len() / n).map(|row| row[i]).collect();
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(least >= low - 1e-6 && most <= high + 1e-6, "{task} {i}: {least}..{most}");
            assert!(most - least >= 0.8 * (high - low), "{task} {i}: only {least}..{most}");
        }
        let still = of(&env, "observation.state");
        for _ in 0..80 {
            env.step(&still, &vec![true; n]).unwrap();
        }
        assert!(!env.success().contains(&true), "{task} succeeds by holding still");
        assert_eq!(env.diverged(), 0);
    }
}

/// Positions, rewards and pictures are the same to the bit on any number of threads.
#[test]
fn thread_count_changes_no_bit() {
    for (task, robot, _) in STARTS {
        let Some(assets) = with(robot) else { return };
        let run = |threads: usize| {
            let options = EnvOptions {
                num_envs: 5,
                threads,
                camera_size: Some((24, 32)),
                ..EnvOptions::new(&assets)
            };
            let mut env = embody_sim::make_sim(task, options).unwrap();
            env.reset(&[1, 2, 3, 4, 5].map(Some)).unwrap();
            let spec = env.spec().clone();
            let bounds: Vec<_> = spec.action_low.iter().zip(&spec.action_high).collect();
            let mut seen = Vec::new();
            for step in 0..20 {
                let actions: Vec<f32> = (0..5 * bounds.len())
                    .map(|i| {
                        let (low, high) = bounds[i % bounds.len()];
                        low + (high - low) * (0.5 + 0.2 * ((step + 3 * i) as f32 * 0.3).sin())
                    })
                    .collect();
                env.step(&actions, &[true; 5]).unwrap();
                (0..5).for_each(|i| seen.extend_from_slice(env.qpos(i)));
                seen.extend_from_slice(env.rewards());
            }
            let pictures: Vec<Vec<u8>> = spec
                .observations
                .keys()
                .filter_map(|key| match env.observation(key)?.data {
                    DataView::U8(pixels) => Some(pixels.to_vec()),
                    _ => None,
                })
                .collect();
            assert!(!pictures.is_empty(), "{task} shows no pictures");
            (seen, pictures)
        };
        let one = run(1);
        for threads in [2, 4] {
            assert!(run(threads) == one, "{task} on {threads} threads");
        }
    }
}

#[test]
fn a_task_without_an_expert_says_so() {
    let error = embody_sim::expert("pusht", 1, 0, ExpertOptions::new("none")).err().unwrap();
    assert_eq!(error.to_string(), "task `pusht` has no expert");
}

/// Runs a script beside this file's folder; the numbers it wrote.
fn played(python: &str, script: &str, arguments: &[&str]) -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(script);
    let name = format!("embody-{}-{}", arguments.join("-"), std::process::id());
    let out = std::env::temp_dir().join(name);
    let status = Command::new(python).arg(path).args(arguments).arg(&out).status().unwrap();
    assert!(status.success(), "{script} {arguments:?} ended with {status}");
    let bytes = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The oracle's Python, where it has these modules.
fn oracle(modules: &str) -> Option<String> {
    let Some(python) = std::env::var_os(ORACLE).and_then(|p| p.into_string().ok()) else {
        eprintln!("skipped: {ORACLE} names no Python with {modules}");
        return None;
    };
    let has = Command::new(&python).args(["-c", &format!("import {modules}")]).output().unwrap();
    if has.status.success() {
        return Some(python);
    }
    eprintln!("skipped: {python} lacks {modules}");
    None
}

fn begin(env: &mut SimEnv, qpos: &[f64]) {
    let record = env.simulation(0).unwrap();
    let start = EpisodeStart {
        qpos: qpos.to_vec(),
        qvel: vec![0.0; record.qvel.len()],
        ctrl: record.ctrl,
        appearance: None,
    };
    env.begin(&[Some(start)]).unwrap();
}

/// Positions, velocities and rewards of gym-aloha, to the bit.
#[test]
fn aloha_agrees_with_the_package() {
    let (Some(assets), Some(python)) = (with("aloha"), oracle("gym_aloha, dm_control")) else {
        return;
    };
    for (task, theirs) in
        [("aloha-transfer-cube", "transfer_cube"), ("aloha-insertion", "insertion")]
    {
        let mut env = make(&assets, task, 1);
        let (nq, nv) = (env.qpos(0).len(), env.qvel(0).len());
        let mut stages = 0.0f64;
        for seed in ["1", "2", "3"] {
            let rows = played(&python, "aloha_steps.py", &[theirs, "400", seed]);
            let (start, steps) = rows.split_at(1 + nq + nv);
            begin(&mut env, &start[1..=nq]);
            for (i, row) in steps.chunks_exact(1 + 14 + nq + nv + 1).enumerate() {
                let action: Vec<f32> = row[1..15].iter().map(|a| *a as f32).collect();
                env.step(&action, &[true]).unwrap();
                assert_eq!(env.qpos(0), &row[15..15 + nq], "{task}, seed {seed}, step {i}");
                assert_eq!(env.qvel(0), &row[15 + nq..15 + nq + nv], "{task}, {seed}, step {i}");
                let reward = row[15 + nq + nv];
                assert_eq!(env.rewards()[0], reward, "{task}, seed {seed}, step {i}");
                stages = stages.max(reward);
            }
        }
        println!("{task}: equal to the bit over 3 × 400 steps, rewards up to {stages}");
    }
}

/// Largest difference of places in pixels and angles, and of rewards, against gym-pusht.
#[test]
fn pusht_agrees_with_the_package() {
    let Some(python) = oracle("gym_pusht") else { return };
    let mut env = make(Path::new("none"), "pusht", 1);
    let rows = played(&python, "pusht_steps.py", &["40", "300", "5"]);
    let seen = |env: &SimEnv| match env.observation("observation.full_state").unwrap().data {
        DataView::F64(values) => values.to_vec(),
        other => panic!("observations are {other:?}"),
    };
    let (mut rest, mut worst, mut worst_reward) = (rows.as_slice(), 0f64, 0f64);
    let (mut steps, mut equal, mut moved, mut episode) = (0, 0, 0, 0);
    let mut last = Vec::new();
    while let Some((&kind, after)) = rest.split_first() {
        let (row, after) = after.split_at(10);
        rest = after;
        let expected = if kind == 0.0 {
            episode += 1;
            // The package's frame is 45 pixels from the centre of gravity, along the unturned y.
            begin(&mut env, &[row[0], row[1], row[2], row[3] + 45.0, row[4]]);
            &row[5..10]
        } else {
            env.step(&[row[0] as f32, row[1] as f32], &[true]).unwrap();
            let reward = (env.rewards()[0] - row[8]).abs();
            worst_reward = worst_reward.max(reward);
            assert_eq!(f64::from(u8::from(env.terminated()[0])), row[9], "episode {episode}");
            &row[2..7]
        };
        let ours = seen(&env);
        let off = ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-6, "episode {episode}, step {steps}: {ours:?} against {expected:?}");
        worst = worst.max(off);
        steps += 1;
        equal += usize::from(ours == expected);
        moved += usize::from(last != ours[2..]);
        last = ours[2..].to_vec();
    }
    println!(
        "{steps} steps in {episode} episodes, {equal} equal to the bit; the block moved in {moved}; \
         largest difference {worst:e}, of rewards {worst_reward:e}"
    );
    assert!(worst < 1e-9 && worst_reward < 1e-9, "{worst:e}, {worst_reward:e}");
    assert!(moved * 4 > steps, "the block moved in {moved} of {steps} steps only");
}
