//! Reinforcement learning on a pendulum: it is solved, whatever the threads, with or without a break.

use std::fs;
use std::path::Path;

use embody_core::{Autoreset, CancelToken, NoProgress, Progress, ProgressEvent, Task};
use embody_learn::{
    AlgorithmConfig, PolicyOptions, PpoConfig, RlConfig, RlOutcome, Truncation, evaluate,
    load_policy, rl_preset, rl_presets, train_rl,
};

use crate::pendulum::{Pendulum, STEPS};

fn ppo() -> AlgorithmConfig {
    AlgorithmConfig::Ppo(PpoConfig {
        rollout_steps: 64,
        minibatches: 16,
        lr: 1e-3,
        gamma: 0.9,
        truncation: Truncation::BootstrapFinal,
        ..PpoConfig::cleanrl()
    })
}

fn config(steps: u64) -> RlConfig {
    RlConfig {
        steps,
        num_envs: 16,
        log_every: 2048,
        checkpoint_every: 4096,
        eval_every: 0,
        eval_episodes: 0,
        ..RlConfig::default()
    }
}

fn run(algorithm: &AlgorithmConfig, cfg: &RlConfig, out: &Path, autoreset: Autoreset) -> RlOutcome {
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let mut env = Pendulum::new(cfg.num_envs, autoreset);
    let mut judge = Pendulum::new(4, Autoreset::Disabled);
    train_rl(&mut env, Some(&mut judge), algorithm, cfg, out, task).unwrap()
}

fn weights(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("model.safetensors")).unwrap()
}

/// A run, and the same run stopped at about `stop` steps and continued.
fn broken_equals_whole(algorithm: &AlgorithmConfig, cfg: &RlConfig, stop: u64) {
    let home = tempfile::tempdir().unwrap();
    let (whole, broken) = (home.path().join("whole"), home.path().join("broken"));
    run(algorithm, cfg, &whole, Autoreset::SameStep);
    struct StopAt(u64, CancelToken);
    impl Progress for StopAt {
        fn emit(&self, event: ProgressEvent<'_>) {
            if let ProgressEvent::Advance { task: "train", done, .. } = event
                && done >= self.0
            {
                self.1.cancel();
            }
        }
    }
    let cancel = CancelToken::default();
    let progress = StopAt(stop, cancel.clone());
    let mut env = Pendulum::new(cfg.num_envs, Autoreset::SameStep);
    let task = Task { progress: &progress, cancel: &cancel };
    let error = train_rl(&mut env, None, algorithm, cfg, &broken, task).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    let outcome = run(algorithm, cfg, &broken, Autoreset::SameStep);
    assert!(outcome.resumed_from.is_some_and(|step| step >= stop && step < cfg.steps));
    assert!(weights(&whole.join("policy")) == weights(&broken.join("policy")), "weights differ");
    let metrics = |dir: &Path| fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics(&whole), metrics(&broken));
    // Done already: nothing is done again.
    let again = run(algorithm, cfg, &broken, Autoreset::SameStep);
    assert_eq!((again.resumed_from, again.elapsed_s), (Some(outcome.steps), 0.0));
}

/// The same weights from 1, 2 and 3 threads, and from environments that are reset from outside.
fn threads_change_nothing(algorithm: &AlgorithmConfig, cfg: &RlConfig) {
    let home = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for (threads, autoreset) in [
        (1, Autoreset::SameStep),
        (2, Autoreset::SameStep),
        (3, Autoreset::SameStep),
        (2, Autoreset::Disabled),
    ] {
        let out = home.path().join(format!("{threads}-{autoreset:?}"));
        run(algorithm, &RlConfig { threads, ..cfg.clone() }, &out, autoreset);
        all.push((weights(&out.join("policy")), fs::read(out.join("metrics.jsonl")).unwrap()));
    }
    assert!(all.iter().all(|one| *one == all[0]), "threads or resets changed a result");
}

/// Learns, then judges the policy that was left: a mean return above `wanted`.
fn solves(algorithm: &AlgorithmConfig, cfg: &RlConfig, wanted: f64) {
    let home = tempfile::tempdir().unwrap();
    let cfg = RlConfig { eval_episodes: 10, ..cfg.clone() };
    let outcome = run(algorithm, &cfg, home.path(), Autoreset::SameStep);
    let mut policy = load_policy(&outcome.policy_dir, PolicyOptions::default()).unwrap();
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let options = embody_learn::EvalOptions { seeds: (1000..1030).collect(), ..Default::default() };
    let mut env = Pendulum::new(7, Autoreset::Disabled);
    let result = evaluate(&mut env, policy.as_mut(), &options, &mut |_| Ok(()), task).unwrap();
    assert!(result.mean_reward > wanted, "{} of {outcome:?}", result.mean_reward);
    assert_eq!(result.mean_steps, STEPS as f64);
}

#[test]
fn ppo_swings_the_pendulum_up() {
    solves(&ppo(), &config(120_000), -220.0);
}

#[test]
fn ppo_interrupted_gives_the_same_weights() {
    broken_equals_whole(&ppo(), &config(20_000), 9_000);
}

#[test]
fn ppo_is_the_same_on_any_number_of_threads() {
    let large = AlgorithmConfig::Ppo(PpoConfig { minibatches: 4, ..PpoConfig::rsl_rl() });
    threads_change_nothing(&ppo(), &config(8_192));
    threads_change_nothing(&large, &RlConfig { num_envs: 48, ..config(8_192) });
}

#[test]
fn every_preset_is_in_order() {
    for preset in rl_presets() {
        assert_eq!(rl_preset(preset.name), Some(preset.clone()));
        let json = serde_json::to_string(&preset.algorithm).unwrap();
        assert_eq!(serde_json::from_str::<AlgorithmConfig>(&json).unwrap(), preset.algorithm);
    }
}
