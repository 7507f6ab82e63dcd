//! Reinforcement learning on a pendulum: it is solved, whatever the threads, with or without a break.

use std::fs;
use std::path::Path;

use embody_core::{
    ArrayView, Autoreset, CancelToken, DataView, NoProgress, Observations, Progress, ProgressEvent,
    Task, VecEnv,
};
use embody_learn::{
    AlgorithmConfig, EpisodeRow, EvalResult, PolicyOptions, PpoConfig, RlConfig, RlOutcome,
    SacConfig, StdRange, Td3Config, TemperatureUpdate, Truncation, compare, evaluate, load_policy,
    rl_preset, rl_presets, train_rl,
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

fn sac() -> AlgorithmConfig {
    AlgorithmConfig::Sac(SacConfig {
        buffer_size: 20_000,
        learning_starts: 1_000,
        gamma: 0.9,
        batch_size: 128,
        updates_per_step: 4,
        actor_lr: 1e-3,
        actor_hidden: vec![64, 64],
        critic_hidden: vec![64, 64],
        ..SacConfig::cleanrl()
    })
}

fn td3() -> AlgorithmConfig {
    AlgorithmConfig::Td3(Td3Config {
        buffer_size: 20_000,
        learning_starts: 1_000,
        batch_size: 128,
        updates_per_step: 4,
        actor_lr: 1e-3,
        critic_lr: 1e-3,
        actor_hidden: vec![64, 64],
        critic_hidden: vec![64, 64],
        ..Td3Config::cleanrl()
    })
}

/// Off-policy learning steps fewer environments at a time.
fn few(steps: u64) -> RlConfig {
    RlConfig { num_envs: 4, log_every: 500, checkpoint_every: 1_000, ..config(steps) }
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
    solves(&ppo(), &config(120_000), -250.0);
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
fn sac_swings_the_pendulum_up() {
    solves(&sac(), &few(10_000), -250.0);
}

#[test]
fn sac_with_many_critics_swings_the_pendulum_up() {
    let AlgorithmConfig::Sac(base) = sac() else { unreachable!() };
    let many = SacConfig {
        critics: 3,
        updates_per_step: 2,
        critic_layer_norm: true,
        temperature: TemperatureUpdate::BeforeCritics,
        std_range: StdRange::Clamp,
        actions_in_units: false,
        normalize_observations: true,
        actor_climbs_mean: true,
        policy_delay: 2,
        policy_updates: 1,
        ..base
    };
    solves(&AlgorithmConfig::Sac(many), &few(10_000), -250.0);
}

#[test]
fn td3_swings_the_pendulum_up() {
    solves(&td3(), &few(8_000), -250.0);
}

#[test]
fn sac_and_td3_interrupted_give_the_same_weights() {
    broken_equals_whole(&sac(), &few(4_000), 2_100);
    broken_equals_whole(&td3(), &few(4_000), 2_100);
}

#[test]
fn sac_and_td3_are_the_same_on_any_number_of_threads() {
    threads_change_nothing(&sac(), &few(2_000));
    threads_change_nothing(&td3(), &few(2_000));
}

/// Where a task defines no success, returns are what is stated and compared, seed by seed.
#[test]
fn returns_stand_in_for_success() {
    let pendulum = Pendulum::new(1, Autoreset::Disabled);
    let judged = |returns: [f64; 4]| {
        let row =
            |(seed, total_reward)| EpisodeRow { seed, success: false, steps: 9, total_reward };
        let rows = (0..).zip(returns).map(row).collect();
        EvalResult::new(pendulum.spec(), "some".into(), rows, 0)
    };
    let (better, worse) = (judged([1.0, 2.0, 3.0, 4.0]), judged([-2.0, 1.0, 1.0, 0.0]));
    assert_eq!((better.mean_reward, worse.mean_reward), (2.5, 0.0));
    let (low, high) = better.return_interval;
    assert!((1.0..2.5).contains(&low) && high > 2.5 && high <= 4.0);
    let said = better.verdict();
    assert!(said.starts_with("mean return 2.5 of 4 episodes, 95 % interval "), "{said}");
    let paired = compare(&better, &worse).unwrap();
    let (low, high) = paired.return_interval;
    assert_eq!(paired.return_difference, 2.5);
    assert!((1.0..2.5).contains(&low) && high > 2.5 && high <= 4.0);
}

#[test]
fn every_preset_is_in_order() {
    for preset in rl_presets() {
        assert_eq!(rl_preset(preset.name), Some(preset.clone()));
        let json = serde_json::to_string(&preset.algorithm).unwrap();
        assert_eq!(serde_json::from_str::<AlgorithmConfig>(&json).unwrap(), preset.algorithm);
    }
}

fn message(algorithm: &AlgorithmConfig, cfg: &RlConfig, env: &mut Pendulum) -> String {
    let home = tempfile::tempdir().unwrap();
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    train_rl(env, None, algorithm, cfg, home.path(), task).unwrap_err().to_string()
}

#[test]
fn what_can_not_be_is_refused_by_name() {
    let pendulum = || Pendulum::new(16, Autoreset::SameStep);
    let cfg = config(2_000);
    let refuse = |algorithm: &AlgorithmConfig, cfg: &RlConfig, wanted: &str| {
        let said = message(algorithm, cfg, &mut pendulum());
        assert!(said.contains(wanted), "{said}");
    };
    let ppo_with = |minibatches, lr| {
        AlgorithmConfig::Ppo(PpoConfig { minibatches, lr, ..PpoConfig::cleanrl() })
    };
    refuse(&ppo_with(0, 1e-3), &cfg, "`minibatches` is 0");
    refuse(&ppo_with(32, f64::NAN), &cfg, "`lr` is NaN");
    refuse(&ppo(), &RlConfig { num_envs: 3, ..cfg.clone() }, "the batch has 16 environments");
    refuse(&ppo(), &RlConfig { log_every: 0, ..cfg.clone() }, "`log_every` is 0");
    let inputs = vec!["observation.velocity".to_owned()];
    refuse(&ppo(), &RlConfig { inputs, ..cfg.clone() }, "it has observation.state");
    let many = SacConfig { critics_in_target: 3, ..SacConfig::cleanrl() };
    refuse(&AlgorithmConfig::Sac(many), &cfg, "`critics_in_target` is 3");
    let said = message(&ppo(), &cfg, &mut Pendulum::new(16, Autoreset::NextStep));
    assert!(said.contains("resets itself at the next step"), "{said}");
}

#[test]
fn a_policy_of_another_task_is_refused_by_key_and_shape() {
    let home = tempfile::tempdir().unwrap();
    let outcome = run(&ppo(), &config(2_000), home.path(), Autoreset::SameStep);
    let mut policy = load_policy(&outcome.policy_dir, PolicyOptions::default()).unwrap();
    assert_eq!(policy.spec().kind, "mlp-gaussian");
    let (shape, values) = ([1, 4], [0.0f64; 4]);
    let view = ArrayView { shape: &shape, data: DataView::F64(&values) };
    let mut seen = Observations::default();
    let error = policy.act(&seen, &[true], &mut [0.0]).unwrap_err().to_string();
    assert!(error.contains("`observation.state` is not in the data"), "{error}");
    seen.arrays.insert("observation.state", view);
    let error = policy.act(&seen, &[true], &mut [0.0]).unwrap_err().to_string();
    assert!(
        error.contains("`observation.state` has [1, 4], expected f32 or f64 [1, 3]"),
        "{error}"
    );
    // Files that do not belong together, or claim more than there is.
    let config = outcome.policy_dir.join("config.json");
    let good = fs::read_to_string(&config).unwrap();
    for (from, to, wanted) in [
        ("64,\n    64", "64,\n    65", "tensor `actor.1.weight` has shape [64, 64]"),
        ("64,\n    64", "9999999,\n    64", "hidden layers of [9999999, 64]"),
        (
            "\"clip_observations\": 10.0",
            "\"clip_observations\": null",
            "is not part of this policy",
        ),
        ("\"squash\"", "\"squish\"", "is not what was expected"),
    ] {
        assert!(good.contains(from), "{good}");
        fs::write(&config, good.replace(from, to)).unwrap();
        let error = load_policy(&outcome.policy_dir, PolicyOptions::default()).err().unwrap();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

/// Environments that can't be put back: the run goes on all the same, and says that it differs.
#[test]
fn a_run_goes_on_without_snapshots() {
    struct Notes(std::sync::Mutex<Vec<String>>, Option<CancelToken>);
    impl Progress for Notes {
        fn emit(&self, event: ProgressEvent<'_>) {
            match event {
                ProgressEvent::Note { text } => self.0.lock().unwrap().push(text.to_owned()),
                ProgressEvent::Advance { task: "train", done, .. } if done >= 3_000 => {
                    self.1.iter().for_each(CancelToken::cancel);
                }
                _ => {}
            }
        }
    }
    let home = tempfile::tempdir().unwrap();
    for stop in [true, false] {
        let cancel = CancelToken::default();
        let notes = Notes(std::sync::Mutex::default(), stop.then(|| cancel.clone()));
        let task = Task { progress: &notes, cancel: &cancel };
        let mut env = Pendulum::new(16, Autoreset::SameStep);
        env.remembers = false;
        let result = train_rl(&mut env, None, &ppo(), &config(5_000), home.path(), task);
        assert_eq!(result.is_err(), stop, "{result:?}");
        let said = notes.0.lock().unwrap().join(" ");
        assert_eq!(said.contains("episodes begin anew"), !stop, "{said}");
    }
}
