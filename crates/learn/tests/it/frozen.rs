//! What learns on top of something frozen: encoders out of policies, policies steered by their noise.

use embody_core::{DataView, VecEnv};
use embody_learn::{
    ActConfig, ImageEncoder, PolicyConfig, PolicyOptions, ResNetEncoder, SteeredConfig, SteeredEnv,
    TrainConfig, load_steerable,
};

use crate::env::Reach;
use crate::source::{STATE, small, small_diffusion, small_flow};
use crate::training::run;

fn picture(seed: usize, side: usize) -> Vec<u8> {
    (0..side * side * 3).map(|i| ((i * 31 + seed * 97) % 251) as u8).collect()
}

#[test]
fn a_pictures_map_depends_on_the_picture_alone() {
    let encoder = ResNetEncoder::random("resnet18", 3, 64, 0).unwrap();
    assert_eq!((encoder.input(), encoder.map()), ((64, 64), [4, 4, 256]));
    let (first, second) = (picture(1, 64), picture(2, 64));
    let both = encoder.encode(&[first.clone(), second.clone()].concat()).unwrap();
    let alone = [encoder.encode(&first).unwrap(), encoder.encode(&second).unwrap()].concat();
    assert!(both == alone && both.len() == 2 * 4 * 4 * 256);
    assert!(both.iter().any(|v| *v > 0.0) && both.iter().all(|v| v.is_finite() && *v >= 0.0));
    let again = ResNetEncoder::random("resnet18", 3, 64, 0).unwrap();
    let other = ResNetEncoder::random("resnet18", 3, 64, 1).unwrap();
    assert_eq!(encoder.id(), again.id());
    assert_ne!(encoder.id(), other.id());
    assert_eq!(ResNetEncoder::random("resnet18", 4, 128, 0).unwrap().map(), [4, 4, 512]);
    let said = encoder.encode(&first[1..]).unwrap_err().to_string();
    assert!(said.contains("a picture has 12288"), "{said}");
    let said = ResNetEncoder::random("resnet18", 5, 64, 0).err().unwrap().to_string();
    assert!(said.contains("`layers` is 5"), "{said}");
}

#[test]
fn the_backbone_of_a_trained_policy_becomes_an_encoder() {
    let home = tempfile::tempdir().unwrap();
    let act = ActConfig {
        chunk_size: 4,
        n_action_steps: 4,
        dim: 32,
        heads: 2,
        ff_dim: 32,
        encoder_layers: 1,
        n_vae_encoder_layers: 1,
        ..ActConfig::lerobot()
    };
    let cfg = TrainConfig { policy: PolicyConfig::Act(act), batch_size: 2, shards: 1, ..small(2) };
    let dir = run(&cfg, &home.path().join("act")).unwrap().policies.remove(0);
    let encoder = ResNetEncoder::of_policy(&dir, 2, 32).unwrap();
    assert_eq!(encoder.map(), [4, 4, 128]);
    let map = encoder.encode(&picture(3, 32)).unwrap();
    assert!(map.iter().any(|v| *v > 0.0));
    assert_ne!(encoder.id(), ResNetEncoder::random("resnet18", 2, 32, 0).unwrap().id());
    assert_eq!(encoder.id(), ResNetEncoder::of_policy(&dir, 2, 32).unwrap().id());
    let dir = run(&small(2), &home.path().join("small")).unwrap().policies.remove(0);
    let said = ResNetEncoder::of_policy(&dir, 2, 32).err().unwrap().to_string();
    assert!(said.contains("of type act-small, without a ResNet"), "{said}");
}

#[test]
fn a_frozen_policy_is_steered_by_its_noise() {
    for cfg in [small_flow(3), small_diffusion(3)] {
        let home = tempfile::tempdir().unwrap();
        let dir = run(&cfg, home.path()).unwrap().policies.remove(0);
        let policy = || load_steerable(&dir, PolicyOptions::default()).unwrap();
        let settings = SteeredConfig::default();
        let go = |noise: [f32; 4]| {
            let mut inner = Reach::new(2);
            let mut env = SteeredEnv::new(&mut inner, policy(), &settings).unwrap();
            assert_eq!(env.spec().action_high, [1.5, 1.5]);
            // Twenty steps of the task, three of which are a chunk.
            assert_eq!(env.spec().max_episode_steps, 7);
            env.reset(&[Some(1), Some(2)]).unwrap();
            env.step(&noise, &[true, true]).unwrap();
            let DataView::F32(state) = env.observation(STATE).unwrap().data else { unreachable!() };
            (state.to_vec(), env.rewards().to_vec())
        };
        let (state, rewards) = go([0.5, -1.0, 1.4, 0.2]);
        assert_eq!(go([0.5, -1.0, 1.4, 0.2]), (state.clone(), rewards.clone()));
        let (other, _) = go([0.5, -1.0, -1.4, 0.2]);
        assert_eq!(state[..2], other[..2], "what is done beside it changes nothing");
        assert_ne!(state[2..], other[2..], "noise changes what is done");
        // Beyond the bound there is the bound.
        assert_eq!(go([0.5, -1.0, 9.0, 0.2]), go([0.5, -1.0, 1.5, 0.2]));
        // The reward is the chunk's: each step's is minus the distance to the goal.
        let mut inner = Reach::new(1);
        let mut env = SteeredEnv::new(&mut inner, policy(), &settings).unwrap();
        env.reset(&[Some(1)]).unwrap();
        let mut steps = 0;
        while !env.terminated()[0] && !env.truncated()[0] {
            env.step(&[0.0, 0.0], &[true]).unwrap();
            steps += 1;
        }
        assert!(steps <= 7 && env.rewards()[0] < 0.0);
    }
    let home = tempfile::tempdir().unwrap();
    let dir = run(&small(2), home.path()).unwrap().policies.remove(0);
    let said = load_steerable(&dir, PolicyOptions::default()).err().unwrap().to_string();
    assert!(said.contains("`type` is act-small"), "{said}");
}
