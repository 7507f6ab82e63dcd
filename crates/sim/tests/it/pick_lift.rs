//! What the task promises: solvable, tolerant, and not solvable blindly.

use embody_core::{DType, VecEnv};
use embody_sim::{EnvOptions, ExpertOptions};

use crate::{TASK, assets};

const MAX_STEPS: usize = 160;

fn blind_env(assets: &std::path::Path, num_envs: usize) -> Box<dyn VecEnv> {
    let options =
        EnvOptions { num_envs, privileged: true, camera_size: None, ..EnvOptions::new(assets) };
    embody_sim::make(TASK, options).unwrap()
}

/// Plays one episode per seed; `act` gets the environment and the step, and fills actions.
fn play(
    env: &mut dyn VecEnv,
    first_seed: u64,
    mut act: impl FnMut(&dyn VecEnv, usize, &[bool], &mut [f32]),
) -> usize {
    let n = env.num_envs();
    env.reset(&(0..n as u64).map(|s| Some(first_seed + s)).collect::<Vec<_>>()).unwrap();
    let mut active = vec![true; n];
    let mut actions = vec![0.0; 6 * n];
    for step in 0..MAX_STEPS {
        act(env, step, &active, &mut actions);
        env.step(&actions, &active).unwrap();
        for (i, active) in active.iter_mut().enumerate() {
            *active &= !env.terminated()[i] && !env.truncated()[i];
        }
    }
    assert!(!active.contains(&true), "every episode ends");
    assert_eq!(env.diverged(), 0);
    env.success().iter().filter(|s| **s).count()
}

fn expert_successes(assets: &std::path::Path, n: usize, belief_error_m: [f64; 2]) -> usize {
    let mut env = blind_env(assets, n);
    let options = ExpertOptions { belief_error_m, ..ExpertOptions::new(assets) };
    let mut expert = embody_sim::expert(TASK, n, 0, options).unwrap();
    play(&mut *env, 500, |env, _, active, actions| {
        expert.act(&env.observations(), active, actions).unwrap();
    })
}

#[test]
fn the_expert_succeeds() {
    let Some(assets) = assets() else { return };
    let successes = expert_successes(&assets, 40, [0.0; 2]);
    assert!(successes >= 39, "{successes} of 40");
}

#[test]
fn eight_millimetres_off_still_grasps() {
    let Some(assets) = assets() else { return };
    for error in [[0.008, 0.0], [-0.008, 0.0], [0.0, 0.008], [0.0, -0.008]] {
        let successes = expert_successes(&assets, 20, error);
        assert!(successes >= 18, "{successes} of 20 with the belief off by {error:?}");
    }
}

#[test]
fn replaying_the_mean_trajectory_mostly_fails() {
    let Some(assets) = assets() else { return };
    let n = 40;
    let mut env = blind_env(&assets, n);
    let mut expert = embody_sim::expert(TASK, n, 0, ExpertOptions::new(&assets)).unwrap();
    let mut mean = vec![[0.0f32; 6]; MAX_STEPS];
    play(&mut *env, 0, |env, step, _, actions| {
        // Past its end a demonstration holds its last action.
        expert.act(&env.observations(), &vec![true; n], actions).unwrap();
        for action in actions.chunks_exact(6) {
            for (mean, value) in mean[step].iter_mut().zip(action) {
                *mean += value / n as f32;
            }
        }
    });
    let successes = play(&mut *env, 900, |_, step, _, actions| {
        actions.chunks_exact_mut(6).for_each(|action| action.copy_from_slice(&mean[step]));
    });
    assert!(successes * 4 <= n, "{successes} of {n} without looking");
}

#[test]
fn the_spec_says_what_observations_are() {
    let Some(assets) = assets() else { return };
    let options = EnvOptions { num_envs: 3, ..EnvOptions::new(assets) };
    let env = embody_sim::make(TASK, options).unwrap();
    let spec = env.spec();
    assert_eq!(spec.task, "Pick up the cube and lift it.");
    assert_eq!(spec.robot_type, "so101");
    assert_eq!(
        spec.action.dim_names(),
        [
            "shoulder_pan.pos",
            "shoulder_lift.pos",
            "elbow_flex.pos",
            "wrist_flex.pos",
            "wrist_roll.pos",
            "gripper.pos"
        ]
    );
    let keys: Vec<_> = spec.observations.keys().cloned().collect();
    let expected = ["observation.state", "observation.images.front", "observation.images.wrist"];
    assert_eq!(keys, expected);
    assert_eq!(spec.observations[expected[1]].dtype, DType::Image);
    let observations = env.observations();
    for (key, feature) in &spec.observations {
        let view = &observations.arrays[key.as_str()];
        assert_eq!(view.shape[0], 3);
        assert_eq!(view.shape[1..], feature.shape, "{key}");
    }
    assert_eq!(spec.action_low.len(), 6);
    assert!(spec.action_low.iter().zip(&spec.action_high).all(|(low, high)| low < high));
}

#[test]
fn state_follows_actions() {
    let Some(assets) = assets() else { return };
    let mut env = blind_env(&assets, 1);
    env.reset(&[Some(4)]).unwrap();
    let target = [20.0, -30.0, 30.0, 60.0, 45.0, 60.0];
    for _ in 0..40 {
        env.step(&target, &[true]).unwrap();
    }
    let observations = env.observations();
    let state = observations.arrays["observation.state"].as_f32().unwrap();
    for (joint, (got, wanted)) in state.iter().zip(target).enumerate() {
        assert!((got - wanted).abs() < 1.0, "joint {joint} is at {got}, wanted {wanted}");
    }
}

#[test]
fn pictures_of_every_camera() {
    let Some(assets) = assets() else { return };
    for camera in ["front", "wrist", "overview"] {
        let image = embody_sim::render(TASK, &assets, 1, camera, (60, 80)).unwrap();
        assert_eq!(image.data.len(), 60 * 80 * 3);
        let colours: std::collections::HashSet<_> = image.data.chunks(3).collect();
        assert!(colours.len() > 50, "{camera} shows {} colours", colours.len());
    }
}
