use std::fs;
use std::path::Path;

use embody_core::{CancelToken, NoProgress, Observations, Policy, Task, VecEnv};
use embody_learn::{
    EpisodeRollout, EvalOptions, EvalResult, PolicyOptions, compare, evaluate, latency,
    load_policy, replay_mean,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::env::Reach;
use crate::source::{CAMERA, small, small_diffusion, small_flow};
use crate::training::run;

fn judge(
    envs: usize,
    policy: &mut dyn Policy,
    seeds: std::ops::Range<u64>,
    record: usize,
) -> (EvalResult, Vec<EpisodeRollout>) {
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let options =
        EvalOptions { seeds: seeds.collect(), record_episodes: record, ..Default::default() };
    let mut kept = Vec::new();
    let mut keep = |episode| {
        kept.push(episode);
        Ok(())
    };
    let result = evaluate(&mut Reach::new(envs), policy, &options, &mut keep, task).unwrap();
    kept.sort_by_key(|e| e.index);
    (result, kept)
}

#[test]
fn neighbours_and_threads_change_nothing() {
    let home = tempfile::tempdir().unwrap();
    let outcome = run(&small(40), home.path()).unwrap();
    let mut results = Vec::new();
    for (envs, threads) in [(1, 1), (3, 2), (7, 3)] {
        for temporal_ensemble in [None, Some(0.01)] {
            let options = PolicyOptions { threads, temporal_ensemble, ..Default::default() };
            let mut policy = load_policy(&outcome.policies[0], options).unwrap();
            results.push(judge(envs, policy.as_mut(), 0..10, 2));
        }
    }
    for pair in results.chunks_exact(2).skip(1) {
        assert!(pair[0] == results[0], "another batch gave another result");
        assert!(pair[1] == results[1], "another batch gave another result");
    }
    let (result, rollouts) = &results[0];
    assert_eq!(result.trials, 10);
    assert_eq!(rollouts[0].observations[CAMERA].shape[0], rollouts[0].steps);
    assert_eq!(rollouts[0].actions.len(), 2 * rollouts[0].steps);
    assert!(rollouts[2].observations.is_empty());
}

#[test]
fn a_trained_policy_beats_the_mean_trajectory() {
    let home = tempfile::tempdir().unwrap();
    let outcome = run(&embody_learn::TrainConfig { lr: 3e-3, ..small(400) }, home.path()).unwrap();
    let mut policy = load_policy(&outcome.policies[0], PolicyOptions::default()).unwrap();
    let (ours, _) = judge(4, policy.as_mut(), 100..140, 0);
    let mut mean = replay_mean(&[vec![0.0, 0.0, 0.1, 0.1]], 2).unwrap();
    let (baseline, _) = judge(4, mean.as_mut(), 100..140, 0);
    assert!(ours.success_rate > 0.6, "{} of {}", ours.successes, ours.trials);
    let paired = compare(&ours, &baseline).unwrap();
    assert!(paired.p_value < 1e-3 && paired.difference > 0.4, "{paired:?}");
    assert!(compare(&ours, &judge(4, mean.as_mut(), 0..40, 0).0).is_err());
    // Fewer seeds, or others too: those that both ran are compared.
    let part = compare(&ours, &judge(4, mean.as_mut(), 130..160, 0).0).unwrap();
    let sum = part.both + part.only_first + part.only_second + part.neither;
    assert_eq!((paired.pairs, part.pairs, sum), (40, 10, 10));

    let mut env = Reach::new(2);
    env.reset(&[Some(1), Some(2)]).unwrap();
    let time = latency(policy.as_mut(), &env.observations(), 20).unwrap();
    assert!(time.p50_ms > 0.0 && time.p50_ms <= time.p99_ms && time.n == 20);
}

#[test]
fn diffusion_and_flow_learn_to_reach() {
    for (cfg, lr) in [(small_diffusion(500), 3e-3), (small_flow(500), 3e-3)] {
        let home = tempfile::tempdir().unwrap();
        let outcome = run(&embody_learn::TrainConfig { lr, ..cfg }, home.path()).unwrap();
        let act = |envs, threads| {
            let options = PolicyOptions { threads, ..Default::default() };
            let mut policy = load_policy(&outcome.policies[0], options).unwrap();
            judge(envs, policy.as_mut(), 100..140, 1)
        };
        let (alone, beside) = (act(1, 1), act(7, 2));
        assert!(alone == beside, "another batch gave another result");
        let result = alone.0;
        assert!(result.success_rate > 0.5, "{} of {}", result.successes, result.trials);
    }
}

#[test]
fn an_observation_that_is_absent_is_named() {
    let home = tempfile::tempdir().unwrap();
    let outcome = run(&small(4), home.path()).unwrap();
    let mut policy = load_policy(&outcome.policies[0], PolicyOptions::default()).unwrap();
    let env = Reach::new(1);
    let mut seen = env.observations();
    seen.arrays.shift_remove(CAMERA);
    let error = policy.act(&seen, &[true], &mut [0.0; 2]).unwrap_err();
    assert!(error.message().contains(CAMERA), "{error}");
    let error = policy.act(&Observations::default(), &[true], &mut [0.0; 2]).unwrap_err();
    assert!(error.message().contains("observation.state"), "{error}");
}

type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;

fn rewrite(dir: &Path, change: &dyn Fn(&mut Tensors)) {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors = file
        .tensors()
        .into_iter()
        .map(|(n, v)| (n, v.shape().to_vec(), v.data().to_vec()))
        .collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(n, shape, data)| (n, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn loading_is_strict() {
    let home = tempfile::tempdir().unwrap();
    let outcome = run(&small(2), home.path()).unwrap();
    let dir = &outcome.policies[0];
    let refuse = |change: &dyn Fn(&mut Tensors), message: &str| {
        let good = fs::read(dir.join("model.safetensors")).unwrap();
        rewrite(dir, change);
        let error = load_policy(dir, PolicyOptions::default()).err().unwrap();
        assert!(error.message().contains(message), "{error}");
        fs::write(dir.join("model.safetensors"), good).unwrap();
    };
    let name = "model.action_head.weight";
    refuse(&|t| t.retain(|(n, ..)| n != name), "tensor `model.action_head.weight` is missing");
    refuse(
        &|t| t.push(("model.extra".into(), vec![1], vec![0; 4])),
        "tensor `model.extra` is not part of this policy",
    );
    refuse(
        &|t| t.iter_mut().filter(|(n, ..)| n == name).for_each(|(_, shape, _)| shape.reverse()),
        "tensor `model.action_head.weight` has shape [32, 2]",
    );
    load_policy(dir, PolicyOptions::default()).unwrap();
    fs::write(dir.join("model.safetensors"), b"no").unwrap();
    assert!(load_policy(dir, PolicyOptions::default()).is_err());
    let absent = load_policy(&home.path().join("nowhere"), PolicyOptions::default()).err().unwrap();
    assert!(absent.to_string().contains("config.json"), "{absent}");
    let bad = PolicyOptions { n_action_steps: Some(99), ..Default::default() };
    run(&small(3), home.path()).unwrap();
    assert!(load_policy(dir, bad).is_err());
}
