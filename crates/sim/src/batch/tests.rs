//! Divergence, which needs a hand on an environment's state.

use std::path::Path;

use embody_core::{Autoreset, VecEnv};

use crate::{EnvOptions, make_sim};

#[test]
fn a_diverged_environment_ends_alone_and_is_counted_once() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if !assets.exists() {
        return;
    }
    let options = EnvOptions { num_envs: 3, camera_size: None, ..EnvOptions::new(assets) };
    let mut env = make_sim("so101-pick-lift", options).expect("environments");
    let action = [0.0, -62.0, 52.0, 78.0, 90.0, 8.0].repeat(3);
    env.step(&action, &[true; 3]).expect("step");
    env.slots[1].data.qvel_mut()[2] = f64::NAN;
    env.step(&action, &[true; 3]).expect("step");
    assert_eq!(env.terminated(), [false, true, false]);
    assert_eq!(env.success(), [false; 3]);
    assert_eq!(env.diverged(), 1);
    let observations = env.observations();
    let state = observations.arrays["observation.state"].as_f32().expect("state");
    assert!(state.iter().all(|v| v.is_finite()), "the last good observation stays");
    env.step(&action, &[true; 3]).expect("stepping on changes nothing");
    assert_eq!(env.diverged(), 1);
    env.reset(&[None, Some(5), None]).expect("reset");
    env.step(&action, &[true; 3]).expect("step");
    assert_eq!(env.terminated(), [false; 3]);
}

#[test]
fn episodes_follow_each_other_as_the_option_says() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if !assets.exists() {
        return;
    }
    let make = |autoreset| {
        let options =
            EnvOptions { num_envs: 2, camera_size: None, autoreset, ..EnvOptions::new(&assets) };
        let mut env = make_sim("so101-pick-lift", options).expect("environments");
        env.reset(&[Some(7), Some(8)]).expect("reset");
        env
    };
    let action = [0.0, -62.0, 52.0, 78.0, 90.0, 8.0].repeat(2);
    let limit = 160;
    let mut envs = [Autoreset::Disabled, Autoreset::NextStep, Autoreset::SameStep].map(make);
    let state = |env: &crate::SimEnv| {
        env.observation("observation.state").and_then(|v| v.as_f32().map(<[f32]>::to_vec))
    };
    for env in &mut envs {
        for step in 1..limit {
            env.step(&action, &[true; 2]).expect("step");
            assert_eq!(env.truncated(), [false; 2], "step {step}");
        }
        env.step(&action, &[true; 2]).expect("step");
        assert_eq!(env.truncated(), [true; 2]);
    }
    let [disabled, next, same] = &mut envs;
    let last = state(disabled);
    assert_eq!(state(next), last, "the next step begins the episode");
    let kept = same.final_observation("observation.state").and_then(|v| v.as_f32());
    assert_eq!(kept.map(<[f32]>::to_vec), last, "the old episode's last observation is kept");
    assert_ne!(state(same), last, "the same step begins the episode");
    next.step(&action, &[true; 2]).expect("step");
    assert_eq!(state(next), state(same), "both begin the same episode");
    assert_eq!((next.rewards(), next.truncated()), (&[0.0; 2][..], &[false; 2][..]));
    for env in [next, same] {
        env.step(&action, &[true; 2]).expect("step");
    }
    assert_eq!(state(&envs[1]), state(&envs[2]), "and go on in step");
}

#[test]
fn a_saved_batch_goes_on_to_the_bit() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if !assets.join("gymnasium").exists() {
        return;
    }
    for task in [
        "so101-pick-lift",
        "aloha-insertion",
        "pusht",
        "Ant-v5",
        "Humanoid-v5",
        "Hopper-v4",
        "go1-velocity-rough",
    ] {
        // PushT's are places: all over the square, so that the agent meets the block.
        let (middle, size) = if task == "pusht" { (256.0, 200.0) } else { (0.0, 0.3) };
        let make = || {
            let options = EnvOptions {
                num_envs: 3,
                camera_size: Some((24, 24)),
                privileged: true,
                autoreset: Autoreset::SameStep,
                trace: false,
                ..EnvOptions::new(&assets)
            };
            make_sim(task, options).expect("environments")
        };
        let (mut env, mut other) = (make(), make());
        env.reset(&[Some(1), Some(2), Some(3)]).expect("reset");
        let dims = env.spec().action.numel();
        let action = |t: usize| -> Vec<f32> {
            (0..3 * dims).map(|i| middle + ((t * 7 + i * 3) as f32).sin() * size).collect()
        };
        for t in 0..60 {
            env.step(&action(t), &[true; 3]).expect("step");
        }
        let saved = env.snapshot().expect("a snapshot");
        other.restore(&saved).expect("it fits");
        for t in 60..160 {
            for (key, view) in &env.observations().arrays {
                assert_eq!(other.observation(key), Some(*view), "{task}, step {t}: {key}");
            }
            for env in [&mut env, &mut other] {
                env.step(&action(t), &[true; 3]).expect("step");
            }
            assert_eq!(env.rewards(), other.rewards(), "{task}, step {t}");
            assert_eq!(env.terminated(), other.terminated(), "{task}, step {t}");
        }
        assert_eq!(env.snapshot(), other.snapshot());
        for broken in [&saved[..saved.len() - 8], &saved[8..], &[]] {
            other.restore(broken).expect_err("a broken state is refused");
        }
        let mut longer = saved.clone();
        longer.push(0);
        other.restore(&longer).expect_err("a longer state is refused");
    }
}

/// What a task is about is in the picture of a policy's camera when an episode begins.
#[test]
fn objects_are_seen() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if !assets.join("aloha").exists() {
        return;
    }
    for task in ["so101-reach", "so101-push", "aloha-transfer-cube", "aloha-insertion", "pusht"] {
        let options = EnvOptions { camera_size: None, ..EnvOptions::new(&assets) };
        let mut env = make_sim(task, options).expect("an environment");
        let geoms = env.loaded.task.surfaces().objects;
        // The socket is several geoms, some of them out of sight.
        let things: Vec<&[usize]> = match task {
            "aloha-insertion" => vec![&geoms[..1], &geoms[1..]],
            _ => geoms.chunks(1).collect(),
        };
        let cameras: Vec<_> = env.cameras.iter().filter(|c| c.policy).map(|c| c.name).collect();
        for seed in 0..60 {
            env.reset(&[Some(seed)]).expect("reset");
            let mut seen = Vec::new();
            for camera in &cameras {
                seen.extend(env.render_depth(0, camera, (96, 96)).expect("a picture").geom);
            }
            for thing in &things {
                let of = |geom: &i32| thing.iter().any(|g| *g as i32 == *geom);
                let pixels = seen.iter().filter(|geom| of(geom)).count();
                assert!(pixels >= 8, "{task}, seed {seed}: {pixels} pixels of {thing:?}");
            }
        }
    }
}
