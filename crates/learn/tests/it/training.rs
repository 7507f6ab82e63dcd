use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use embody_core::{
    CancelToken, Embodiments, FrameRef, Mixture, MixtureStats, NoProgress, Portion, Progress,
    ProgressEvent, Task,
};
use embody_learn::{
    ActionRepresentation, OpenLoopOptions, PolicyConfig, Start, StartStatistics, TrainConfig,
    TrainOutcome, describe, open_loop, read_metrics, train,
};

use crate::source::{Drawn, small, small_diffusion, small_flow, small_vqbet};

/// A run that begins with another's policy.
fn go_on(cfg: &TrainConfig, start: &Start, out: &Path) -> embody_core::Result<TrainOutcome> {
    let (source, held_out) = (Drawn::new(1, 20, cfg), Drawn::new(2, 4, cfg));
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    train(&source, Some(&held_out), cfg, Some(start), out, task)
}

/// Asks to stop after a step.
struct StopAt(u64, CancelToken);

impl Progress for StopAt {
    fn emit(&self, event: ProgressEvent<'_>) {
        if let ProgressEvent::Advance { done, .. } = event
            && done >= self.0
        {
            self.1.cancel();
        }
    }
}

pub fn run(cfg: &TrainConfig, out: &Path) -> embody_core::Result<TrainOutcome> {
    let (source, held_out) = (Drawn::new(1, 20, cfg), Drawn::new(2, 4, cfg));
    let cancel = CancelToken::default();
    train(&source, Some(&held_out), cfg, None, out, Task { progress: &NoProgress, cancel: &cancel })
}

fn stop_at(step: u64, cfg: &TrainConfig, out: &Path) {
    let (source, held_out) = (Drawn::new(1, 20, cfg), Drawn::new(2, 4, cfg));
    let stop = StopAt(step, CancelToken::default());
    let task = Task { progress: &stop, cancel: &stop.1 };
    let error = train(&source, Some(&held_out), cfg, None, out, task).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

/// What has to be reproducible: the policy's files and the metrics.
fn result(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(out.join("policy")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            fs::read(path).unwrap(),
        );
    }
    files.insert("metrics".into(), fs::read(out.join("metrics.jsonl")).unwrap());
    files
}

#[test]
fn threads_change_no_bit() {
    let home = tempfile::tempdir().unwrap();
    let mut results = Vec::new();
    for (name, threads) in [("one", 1), ("again", 1), ("two", 2), ("three", 3)] {
        let out = home.path().join(name);
        let mut cfg = TrainConfig { threads, prefetch: 2 * threads - 1, ..small(30) };
        let PolicyConfig::ActSmall(act) = &mut cfg.policy else { panic!("the small one") };
        act.dropout = 0.1;
        run(&cfg, &out).unwrap();
        results.push(result(&out));
    }
    assert!(results[0].contains_key("model.safetensors"));
    for other in &results[1..] {
        assert!(results[0] == *other, "another number of threads gave another result");
    }
}

#[test]
fn noisy_policies_learn_the_same_on_any_threads() {
    for cfg in [small_diffusion(12), small_flow(12)] {
        let home = tempfile::tempdir().unwrap();
        let mut results = Vec::new();
        for threads in [1, 2, 3] {
            let out = home.path().join(threads.to_string());
            run(&TrainConfig { threads, ..cfg.clone() }, &out).unwrap();
            results.push(result(&out));
        }
        stop_at(7, &cfg, &home.path().join("parts"));
        run(&cfg, &home.path().join("parts")).unwrap();
        results.push(result(&home.path().join("parts")));
        for other in &results[1..] {
            assert!(results[0] == *other, "another number of threads gave another result");
        }
    }
}

/// Two phases: the first ends between two lines of metrics and two checkpoints. Stopped within the first,
/// where it ends, and within the second.
#[test]
fn codes_and_their_choice_learn_the_same_on_any_threads_and_in_parts() {
    let cfg = small_vqbet(6, 14);
    let home = tempfile::tempdir().unwrap();
    let mut results = Vec::new();
    for threads in [1, 2, 3] {
        let out = home.path().join(threads.to_string());
        run(&TrainConfig { threads, ..cfg.clone() }, &out).unwrap();
        results.push(result(&out));
    }
    for stops in [vec![3, 9], vec![6], vec![5, 7]] {
        let parts = home.path().join(format!("{stops:?}"));
        stops.iter().for_each(|step| stop_at(*step, &cfg, &parts));
        run(&cfg, &parts).unwrap();
        results.push(result(&parts));
    }
    for other in &results[1..] {
        assert!(results[0] == *other, "threads or parts gave another result");
    }
    let rows = read_metrics(&home.path().join("1/metrics.jsonl")).unwrap();
    let steps: Vec<usize> = rows.iter().map(|row| row.step).collect();
    assert_eq!(steps, [4, 6, 8, 12, 14], "a line ends with the first phase");
    // Warm-up begins anew with the second phase.
    assert_eq!((rows[1].lr, rows[2].lr), (1e-3, cfg.lr * 2.0 / 10.0));

    let error = run(&small_vqbet(14, 14), &home.path().join("none")).unwrap_err();
    assert!(error.message().contains("`steps`"), "{error}");
}

/// What the first phase learned stays as it is in the second, which begins at once where a policy goes
/// on from one that has it behind it.
#[test]
fn codes_stay_once_they_are_learned() {
    let home = tempfile::tempdir().unwrap();
    let codes = |dir: &Path| {
        let bytes = fs::read(dir.join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let all = tensors.tensors().into_iter().filter(|(name, _)| name.contains("vqvae_model"));
        all.map(|(name, view)| (name, view.data().to_vec())).collect::<BTreeMap<_, _>>()
    };
    let first = run(&small_vqbet(6, 7), &home.path().join("first")).unwrap();
    let longer = run(&small_vqbet(6, 12), &home.path().join("longer")).unwrap();
    let learned = codes(&first.policies[0]);
    assert!(learned.len() == 22 && learned == codes(&longer.policies[0]), "{}", learned.len());
    let start = Start::read(&first.policies[0], StartStatistics::Data).unwrap();
    let more = go_on(&small_vqbet(6, 5), &start, &home.path().join("more")).unwrap();
    assert!(learned == codes(&more.policies[0]));
    let lr = read_metrics(&more.metrics).unwrap()[0].lr;
    assert_eq!(lr, small_vqbet(6, 5).lr * 4.0 / 10.0, "the second phase's warm-up");
}

#[test]
fn training_ends_early_with_the_best_weights() {
    let home = tempfile::tempdir().unwrap();
    // Far too fast to go on getting better.
    let cfg = TrainConfig { lr: 0.03, ema: 0.0, eval_every: 4, patience: 2, ..small(400) };
    let outcome = run(&cfg, &home.path().join("whole")).unwrap();
    assert!(outcome.steps < 400, "{outcome:?}");
    let rows = read_metrics(&outcome.metrics).unwrap();
    let best = rows.iter().filter_map(|r| Some((r.held_out_loss?, r.step)));
    let (loss, step) = best.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert_eq!(outcome.held_out_loss, Some(loss));
    assert_eq!(outcome.steps, step + 2 * cfg.eval_every);
    assert!(home.path().join("whole/tensorboard").is_dir());

    stop_at(step as u64 + 1, &cfg, &home.path().join("parts"));
    let again = run(&cfg, &home.path().join("parts")).unwrap();
    assert_eq!(again.resumed_from, Some(step + 1));
    assert!(result(&home.path().join("whole")) == result(&home.path().join("parts")));
    let done = run(&cfg, &home.path().join("whole")).unwrap();
    assert_eq!((done.steps, done.elapsed_s), (outcome.steps, 0.0));
}

#[test]
fn stopped_and_continued_equals_uninterrupted() {
    let home = tempfile::tempdir().unwrap();
    let cfg = small(30);
    run(&cfg, &home.path().join("whole")).unwrap();
    let parts = home.path().join("parts");
    stop_at(15, &cfg, &parts);
    assert!(parts.join("checkpoints/000015/pretrained_model/config.json").is_file());
    // A crash after the checkpoint leaves later lines behind, the last one torn.
    let metrics = parts.join("metrics.jsonl");
    let mut text = fs::read_to_string(&metrics).unwrap();
    text.push_str(
        "{\"step\":16,\"loss\":9.0,\"lr\":0.0,\"grad_norm\":0.0,\"epoch\":0.0}\n{\"step\":2",
    );
    fs::write(&metrics, text).unwrap();
    stop_at(22, &cfg, &parts);
    let outcome = run(&cfg, &parts).unwrap();
    assert_eq!(outcome.resumed_from, Some(22));
    assert!(result(&home.path().join("whole")) == result(&parts));
    assert!(!parts.join("checkpoints").exists());
    let steps: Vec<usize> = read_metrics(&metrics).unwrap().iter().map(|m| m.step).collect();
    assert_eq!(steps, [4, 8, 12, 16, 20, 24, 28, 30]);
    // Once done, the same call only reads.
    assert_eq!(run(&cfg, &parts).unwrap().resumed_from, Some(30));
}

#[test]
fn another_setting_starts_over() {
    let home = tempfile::tempdir().unwrap();
    stop_at(15, &small(30), home.path());
    let outcome = run(&TrainConfig { lr: 1e-3, ..small(20) }, home.path()).unwrap();
    assert_eq!(outcome.resumed_from, None);
    let first = read_metrics(&outcome.metrics).unwrap()[0];
    assert_eq!(first.step, 4);
}

#[test]
fn a_loss_that_is_no_number_names_step_and_frames() {
    let cfg = small(60);
    let mut source = Drawn::new(1, 20, &cfg);
    source.broken = Some(FrameRef { dataset: 0, episode: 7, frame: 5 });
    let home = tempfile::tempdir().unwrap();
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let error = train(&source, None, &cfg, None, home.path(), task).unwrap_err();
    assert!(error.message().starts_with("the loss became NaN at step "), "{error}");
    assert!(error.message().contains("episode "), "{error}");
    assert!(!home.path().join("policy").exists());
}

#[test]
fn impossible_settings_name_their_key() {
    let home = tempfile::tempdir().unwrap();
    let refuse = |cfg: TrainConfig, key: &str| {
        let error = run(&cfg, home.path()).unwrap_err();
        assert!(error.message().contains(&format!("`{key}`")), "{error}");
        assert!(error.hint().is_some());
    };
    refuse(TrainConfig { steps: 0, ..small(1) }, "steps");
    refuse(TrainConfig { lr: f64::NAN, ..small(1) }, "lr");
    refuse(TrainConfig { inputs: vec!["observation.nose".into()], ..small(1) }, "observation.nose");
    let mut cfg = small(1);
    let PolicyConfig::ActSmall(act) = &mut cfg.policy else { panic!("the small one") };
    act.n_action_steps = 7;
    refuse(cfg, "n_action_steps");
    let unknown = serde_json::from_str::<TrainConfig>(r#"{"stepz": 3}"#).unwrap_err();
    assert!(unknown.to_string().contains("stepz"), "{unknown}");
    let unknown = r#"{"policy": {"type": "act-small", "dims": 3}}"#;
    let unknown = serde_json::from_str::<TrainConfig>(unknown).unwrap_err();
    assert!(unknown.to_string().contains("dims"), "{unknown}");
}

#[test]
fn a_policy_learns_on_from_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let cfg = TrainConfig { lr: 3e-3, ..small(200) };
    let first = run(&cfg, &home.path().join("first")).unwrap();
    for statistics in [StartStatistics::Data, StartStatistics::Policy] {
        let start = Start::read(&first.policies[0], statistics).unwrap();
        assert_eq!(*start.policy(), cfg.policy);
        assert_eq!(start.inputs(), ["observation.state", "observation.images.front"]);
        // The data are the same, so are their statistics: nothing is lost where nothing is learned.
        let still = TrainConfig { lr: 1e-9, ema: 0.0, ..small(1) };
        let out = home.path().join(format!("{statistics:?}"));
        let second = go_on(&still, &start, &out).unwrap();
        let (before, after) = (first.held_out_loss.unwrap(), second.held_out_loss.unwrap());
        assert!((before - after).abs() < 1e-4, "{statistics:?}: {before} before, {after} after");
        // The same command finds it done; another start is another run.
        assert_eq!(go_on(&still, &start, &out).unwrap().resumed_from, Some(1));
        let other = Start::read(&second.policies[0], statistics).unwrap();
        assert_eq!(go_on(&still, &other, &out).unwrap().resumed_from, None);
    }
    let mut wider = small(1);
    let PolicyConfig::ActSmall(act) = &mut wider.policy else { panic!("the small one") };
    act.ff_dim *= 2;
    let start = Start::read(&first.policies[0], StartStatistics::Data).unwrap();
    let error = go_on(&wider, &start, &home.path().join("wider")).unwrap_err();
    assert!(error.message().contains("linear1.weight"), "{error}");
    assert!(error.hint().is_some());
}

/// Codes of where to go must follow from the picture: errors far below holding the last action.
#[test]
fn codes_are_chosen_by_what_is_seen() {
    let home = tempfile::tempdir().unwrap();
    let cfg = TrainConfig { lr: 3e-3, ..small_vqbet(200, 700) };
    let (source, held_out) = (Drawn::new(1, 100, &cfg), Drawn::new(2, 10, &cfg));
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let outcome = train(&source, Some(&held_out), &cfg, None, home.path(), task).unwrap();
    let rows = read_metrics(&outcome.metrics).unwrap();
    let held = |from: usize, to: usize| {
        let phase = rows.iter().filter(|r| r.step > from && r.step <= to);
        let mut all = phase.filter_map(|r| r.held_out_loss);
        (all.next().unwrap(), all.next_back().unwrap())
    };
    for (from, to) in [(7, 199), (207, 700)] {
        let (begin, end) = held(from, to);
        assert!(end < 0.5 * begin, "steps {from} to {to}: held-out loss {begin}, then {end}");
    }
    let options = OpenLoopOptions { horizon_secs: 0.4, ..Default::default() };
    let judged = open_loop(&outcome.policies[0], &held_out, &options, task).unwrap();
    println!("{} raw, {} against {}", judged.policy_raw, judged.policy.mean, judged.hold_last.mean);
    assert!(judged.policy_raw < 0.1, "{}", judged.policy_raw);
    assert!(judged.policy.mean < 0.5 * judged.hold_last.mean);
    assert!(judged.difference.interval.1 < 0.0);
}

/// The square's place must come out of the picture: predicted end points within 10 % of the picture
/// on squares never seen, where holding the last action is far off.
#[test]
fn it_learns_to_see() {
    let home = tempfile::tempdir().unwrap();
    for representation in [
        ActionRepresentation::Absolute,
        ActionRepresentation::DeltaToState,
        ActionRepresentation::DeltaToLast,
    ] {
        let mut cfg = TrainConfig { lr: 3e-3, ..small(300) };
        let PolicyConfig::ActSmall(act) = &mut cfg.policy else { panic!("the small one") };
        act.action_representation = representation;
        act.observe_last_action = representation == ActionRepresentation::DeltaToLast;
        let out = home.path().join(format!("{representation:?}"));
        let source = Drawn::new(1, 100, &cfg);
        let held_out = Drawn::new(2, 10, &cfg);
        let cancel = CancelToken::default();
        let task = Task { progress: &NoProgress, cancel: &cancel };
        let outcome = train(&source, Some(&held_out), &cfg, None, &out, task).unwrap();
        let options = OpenLoopOptions { horizon_secs: 0.4, ..Default::default() };
        let judged = open_loop(&outcome.policies[0], &held_out, &options, task).unwrap();
        assert_eq!(judged.horizon_step, 4);
        assert_eq!(judged.episodes, 10);
        assert!(judged.policy_raw < 0.1, "{representation:?}: {}", judged.policy_raw);
        assert!(judged.policy.mean < 0.5 * judged.hold_last.mean);
        assert!(judged.difference.interval.1 < 0.0);
        assert_eq!(judged.trajectories.len(), 2);
        assert_eq!(describe(&outcome.policies[0]).unwrap().parameters, outcome.parameters);
    }
}

/// An arm that moves across and down, and a crane that moves down and in depth in the same way.
fn arm_and_crane([arm, crane]: &[Drawn; 2]) -> embody_core::Result<Mixture<'_>> {
    let portion = |name: &str, source| Portion { name: name.to_owned(), source, weight: 1.0 };
    let portions = vec![portion("arm", arm as _), portion("crane", crane as _)];
    Mixture::new(portions, MixtureStats::PerDataset, Embodiments::Padded)
}

/// One training for both.
fn two_robots(cfg: &TrainConfig, out: &Path, task: Task<'_>) -> embody_core::Result<TrainOutcome> {
    let sources =
        |seed, episodes| [false, true].map(|second| Drawn::new(seed, episodes, cfg).robot(second));
    let (learned, held_out) = (sources(1, 60), sources(2, 6));
    let (learned, held_out) = (arm_and_crane(&learned)?, arm_and_crane(&held_out)?);
    train(&learned, Some(&held_out), cfg, None, out, task)
}

fn policies(out: &Path) -> Vec<Vec<u8>> {
    let file = |name: &str| fs::read(out.join("policies").join(name).join("model.safetensors"));
    ["arm", "crane"].map(|name| file(name).unwrap()).to_vec()
}

/// Two robots share one network and each gets a policy of its own, which does what it saw its robot
/// do; threads and an interruption change no bit.
#[test]
fn robots_that_differ_learn_together() {
    let home = tempfile::tempdir().unwrap();
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let cfg = TrainConfig { lr: 3e-3, ..small(300) };
    let whole = home.path().join("whole");
    let outcome = two_robots(&cfg, &whole, task).unwrap();
    assert_eq!(outcome.policies.len(), 2);
    assert!(!whole.join("policy").exists());
    for (policy, second) in outcome.policies.iter().zip([false, true]) {
        let unseen = Drawn::new(3, 10, &cfg).robot(second);
        let options = OpenLoopOptions { horizon_secs: 0.4, ..Default::default() };
        let judged = open_loop(policy, &unseen, &options, task).unwrap();
        assert!(judged.policy_raw < 0.1, "{}: {}", policy.display(), judged.policy_raw);
        assert!(judged.difference.interval.1 < 0.0);
        // Its own network: less than what both have.
        assert!(describe(policy).unwrap().parameters < outcome.parameters);
    }

    let short = TrainConfig { checkpoint_every: 7, ..small(20) };
    let once = home.path().join("once");
    two_robots(&TrainConfig { threads: 1, ..short.clone() }, &once, task).unwrap();
    let twice = home.path().join("twice");
    let stop = StopAt(10, CancelToken::default());
    let short = TrainConfig { threads: 2, ..short };
    let stopped = two_robots(&short, &twice, Task { progress: &stop, cancel: &stop.1 });
    assert!(stopped.unwrap_err().is_cancelled());
    let outcome = two_robots(&short, &twice, task).unwrap();
    assert!(outcome.resumed_from.is_some());
    assert!(policies(&once) == policies(&twice), "another result");
    assert_eq!(two_robots(&short, &twice, task).unwrap().elapsed_s, 0.0);
}
