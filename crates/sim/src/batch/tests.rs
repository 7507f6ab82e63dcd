//! Divergence, which needs a hand on an environment's state.

use std::path::Path;

use embody_core::VecEnv;

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
