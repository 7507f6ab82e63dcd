//! A point that must be brought to a goal: it is learned, sooner with demonstrations; threads, breaks
//! and the way to the learner change nothing.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use embody_core::{
    CancelToken, DType, FeatureSpec, Features, Intake, Moment, NoProgress, Observations, Policy,
    PolicySpec, Progress, ProgressEvent, Result, StepTaken, Task, TransitionSink, VecEnv,
    WeightSource,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::point::{Reach, expert};
use super::*;
use crate::policy::{PolicyOptions, load_policy};

mod point;

const STATE: &str = "observation.state";
const CAMERA: &str = "observation.images.top";
const SIDE: usize = 8;
const LIMIT: usize = 25;

/// Takes over for five steps, once in about three episodes.
struct Helper {
    rng: ChaCha8Rng,
    left: u32,
}

impl Helper {
    fn new() -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(4), left: 0 }
    }
}

impl Intervener for Helper {
    fn reset(&mut self, _env: usize) {
        self.left = 0;
    }

    fn intervene(
        &mut self,
        env: usize,
        observations: &Observations<'_>,
        action: &mut [f32],
    ) -> Result<bool> {
        if self.left == 0 && self.rng.random_bool(0.02) {
            self.left = 5;
        }
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let state = observations.arrays[STATE].as_f32().expect("f32");
        expert(&state[5 * env..5 * env + 5], action);
        Ok(true)
    }

    fn snapshot(&self) -> Vec<u8> {
        let position = self.rng.get_word_pos() as u64;
        [position.to_le_bytes().as_slice(), &self.left.to_le_bytes()].concat()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        let position = u64::from_le_bytes(*snapshot.first_chunk().expect("eight bytes"));
        self.rng.set_word_pos(u128::from(position));
        self.left = u32::from_le_bytes(*snapshot.last_chunk().expect("four bytes"));
        Ok(())
    }
}

/// Episodes of the expert.
fn demonstrations(episodes: u64, gripper: bool, pictures: bool) -> Vec<Moment> {
    let mut env = Reach::new(1, gripper);
    let mut all = Vec::new();
    let see = |env: &Reach, step| Moment {
        seq: 0,
        step,
        state: env.state.clone(),
        pictures: if pictures { vec![env.pixels.clone()] } else { Vec::new() },
    };
    for episode in 0..episodes {
        env.reset(&[Some(10_000 + episode)]).unwrap();
        all.push(see(&env, None));
        while !env.terminated[0] && !env.truncated[0] {
            let mut action = vec![0.0; if gripper { 3 } else { 2 }];
            expert(&env.state, &mut action);
            env.step(&action, &[true]).unwrap();
            all.push(see(
                &env,
                Some(StepTaken {
                    action,
                    reward: env.rewards[0] as f32,
                    terminated: env.terminated[0],
                    truncated: env.truncated[0],
                    ..StepTaken::default()
                }),
            ));
        }
    }
    all
}

/// A frozen encoder of two by two cells: their mean colours and a fixed mixture of them.
struct Cells;

impl ImageEncoder for Cells {
    fn id(&self) -> String {
        "cells of two by two".into()
    }

    fn input(&self) -> (usize, usize) {
        (SIDE, SIDE)
    }

    fn map(&self) -> [usize; 3] {
        [SIDE / 2, SIDE / 2, 4]
    }

    fn encode(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        for picture in pixels.chunks_exact(SIDE * SIDE * 3) {
            for cell in 0..SIDE * SIDE / 4 {
                let (row, column) = (cell / (SIDE / 2) * 2, cell % (SIDE / 2) * 2);
                let mut mean = [0.0f32; 3];
                for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let at = ((row + dy) * SIDE + column + dx) * 3;
                    mean.iter_mut().zip(&picture[at..]).for_each(|(m, p)| *m += f32::from(*p));
                }
                let mean = mean.map(|m| m / 255.0);
                out.extend(mean);
                out.push(mean[0] - mean[1]);
            }
        }
        Ok(out)
    }
}

fn settings() -> HilSerlConfig {
    HilSerlConfig {
        batch_size: 128,
        actor_hidden: vec![64, 64],
        critic_hidden: vec![64, 64],
        actor_lr: 1e-3,
        critic_lr: 1e-3,
        temperature_lr: 1e-3,
        gamma: 0.95,
        tau: 0.01,
        critic_updates: 2,
        state_latent: 32,
        image_latent: 32,
        learning_starts: 100,
        ..HilSerlConfig::hil_serl()
    }
}

fn short(steps: u64) -> HilSerlRun {
    HilSerlRun {
        steps,
        log_every: 200,
        checkpoint_every: 300,
        eval_every: 0,
        eval_episodes: 0,
        inputs: vec![STATE.to_owned()],
        ..HilSerlRun::default()
    }
}

struct Setting {
    cfg: HilSerlConfig,
    run: HilSerlRun,
    demos: Vec<Moment>,
    helped: bool,
    gripper: bool,
    encoder: Option<Arc<dyn ImageEncoder>>,
}

impl Setting {
    fn new(steps: u64, demos: u64) -> Self {
        Self {
            cfg: settings(),
            run: short(steps),
            demos: demonstrations(demos, false, false),
            helped: false,
            gripper: false,
            encoder: None,
        }
    }

    fn train(&self, out: &Path, stop: Option<u64>) -> Result<HilSerlOutcome> {
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
        let progress = StopAt(stop.unwrap_or(u64::MAX), cancel.clone());
        let task = Task { progress: &progress, cancel: &cancel };
        let mut env = Reach::new(1, self.gripper);
        let mut judge = Reach::new(4, self.gripper);
        let mut helper = Helper::new();
        let mut demos = self.demos.iter().cloned().map(Ok);
        let beside = Beside {
            intervener: self.helped.then_some(&mut helper as &mut dyn Intervener),
            demonstrations: Some(&mut demos),
            encoder: self.encoder.clone(),
            detector: None,
            judge: Some(&mut judge),
        };
        train_hilserl(&mut env, beside, &self.cfg, &self.run, out, task)
    }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Share of successes of the last `count` episodes of training.
fn late_success(out: &Path, count: usize) -> f64 {
    let all = lines(&out.join("episodes.jsonl"));
    let late = &all[all.len().saturating_sub(count)..];
    late.iter().filter(|l| l["success"] == true).count() as f64 / late.len() as f64
}

#[test]
fn demonstrations_are_what_makes_a_sparse_task_learned_soon() {
    let home = tempfile::tempdir().unwrap();
    let (with, without) = (home.path().join("with"), home.path().join("without"));
    let mut setting = Setting::new(1_500, 20);
    setting.run.eval_episodes = 40;
    let outcome = setting.train(&with, None).unwrap();
    let success = outcome.evaluation.unwrap().success_rate.unwrap();
    assert!(success >= 0.9, "{outcome:?}");
    // As many updates per step as were asked for.
    let last = lines(&with.join("metrics.jsonl")).pop().unwrap();
    assert_eq!(last["updates_per_step"], 2.0);
    assert_eq!(outcome.updates, 2 * (1_500 - 100));
    let alone = Setting { demos: Vec::new(), ..setting };
    alone.train(&without, None).unwrap();
    let (with, without) = (late_success(&with, 40), late_success(&without, 40));
    assert!(with > without + 0.2, "{with} with demonstrations, {without} without");
    // The folder that it left acts by itself.
    let mut policy = load_policy(&outcome.policy_dir, PolicyOptions::default()).unwrap();
    assert_eq!(policy.spec().kind, "hil-serl");
    let (mut env, mut hits) = (Reach::new(20, false), [false; 20]);
    env.reset(&(0..20).map(|i| Some(77 + i)).collect::<Vec<_>>()).unwrap();
    for _ in 0..LIMIT {
        let on: Vec<bool> = hits.iter().map(|hit| !hit).collect();
        let mut actions = vec![0.0; 40];
        policy.act(&env.observations(), &on, &mut actions).unwrap();
        env.step(&actions, &on).unwrap();
        hits.iter_mut().zip(&env.success).for_each(|(hit, s)| *hit |= *s);
    }
    assert!(hits.iter().filter(|h| **h).count() >= 17, "{hits:?}");
}

#[test]
fn interventions_go_to_both_sides_and_into_the_metrics() {
    let home = tempfile::tempdir().unwrap();
    let setting = Setting { helped: true, gripper: true, ..Setting::new(400, 0) };
    let setting = Setting {
        cfg: HilSerlConfig { gripper: Some(2), ..setting.cfg.clone() },
        demos: Vec::new(),
        ..setting
    };
    setting.train(home.path(), None).unwrap();
    let episodes = lines(&home.path().join("episodes.jsonl"));
    let taken: u64 = episodes.iter().map(|e| e["intervened_steps"].as_u64().unwrap()).sum();
    assert!(taken > 5 && episodes.iter().any(|e| e["interventions"] == 1), "{taken}");
    let last = lines(&home.path().join("metrics.jsonl")).pop().unwrap();
    assert!(last["intervention_rate"].as_f64().is_some());
    // Both buffers hold them, the demonstrations' nothing else; penalties are with the transitions.
    let spec = ExperienceSpec { state_dim: 5, action_dim: 3, cameras: Vec::new() };
    let folder = home.path().join("experience");
    let memory = Memory::open(&folder, &spec, None, &setting.cfg, 0).unwrap();
    let flagged = |b: &buffer::Buffer| {
        let steps = b.places().filter_map(|r| b.moment(r).unwrap().step);
        steps.fold((0, 0, 0), |(all, taken, turned), s| {
            (all + 1, taken + u64::from(s.intervened), turned + u64::from(s.penalty < 0.0))
        })
    };
    let (all, by_helper, turned) = flagged(&memory.online);
    assert_eq!(all, 400);
    assert!(by_helper >= taken && turned > 0);
    let (kept, by_helper_too, _) = flagged(&memory.demos);
    assert_eq!((kept, by_helper_too), (by_helper, by_helper));
    assert_eq!(memory.demo_transitions() as u64, by_helper);
}

/// A folder of folders of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn same(a: &Path, b: &Path) {
    for name in ["policy/model.safetensors", "metrics.jsonl", "episodes.jsonl"] {
        assert!(fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_run_resumed_equals_one_that_was_not_stopped() {
    let home = tempfile::tempdir().unwrap();
    let setting = Setting { helped: true, ..Setting::new(700, 3) };
    // So little room that transitions go while it runs.
    let cfg = HilSerlConfig { online_capacity: 250, ..setting.cfg.clone() };
    let setting = Setting { cfg, ..setting };
    let (whole, broken) = (home.path().join("whole"), home.path().join("broken"));
    setting.train(&whole, None).unwrap();
    assert!(setting.train(&broken, Some(430)).unwrap_err().is_cancelled());
    let (kept, checkpoints) = (home.path().join("kept"), broken.join("checkpoints"));
    copy(&checkpoints, &kept);
    let setting = Setting { run: HilSerlRun { threads: 3, ..setting.run.clone() }, ..setting };
    assert!(setting.train(&broken, Some(601)).unwrap_err().is_cancelled());
    // As if it had been killed at 601 with its last checkpoint at 430: what came behind it must go.
    fs::remove_dir_all(&checkpoints).unwrap();
    copy(&kept, &checkpoints);
    let outcome = setting.train(&broken, None).unwrap();
    assert_eq!(outcome.resumed_from, Some(430));
    same(&whole, &broken);
}

#[test]
fn cameras_are_learned_from_by_cached_maps_whatever_the_threads() {
    let home = tempfile::tempdir().unwrap();
    let mut setting = Setting::new(260, 0);
    setting.demos = demonstrations(6, false, true);
    // The goal is in the picture alone.
    setting.demos.iter_mut().for_each(|m| m.state.clear());
    setting.encoder = Some(Arc::new(Cells));
    setting.cfg = HilSerlConfig { variants: 2, shift: 1, state_latent: 0, ..setting.cfg };
    setting.run.cameras = vec![CAMERA.to_owned()];
    // No vector at all.
    setting.run.inputs = vec!["observation.none".to_owned()];
    let said = setting.train(&home.path().join("x"), None).unwrap_err().to_string();
    assert!(said.contains("`observation.none` is not in the data"), "{said}");
    setting.run.inputs = vec![STATE.to_owned()];
    setting.demos = demonstrations(6, false, true);
    let one = home.path().join("one");
    setting.run.threads = 1;
    setting.train(&one, None).unwrap();
    let three = home.path().join("three");
    setting.run.threads = 3;
    setting.train(&three, None).unwrap();
    same(&one, &three);
    // Maps are made once per picture; a picture is kept once per moment.
    let online = one.join("experience/online");
    let records = fs::metadata(online.join("000000.records")).unwrap().len();
    let moments = 260 + lines(&one.join("episodes.jsonl")).len() as u64 + 1;
    let record = 36 + 4 * 7 + 4 + (SIDE * SIDE * 3) as u64 + 4;
    assert_eq!(records, moments * record);
    let folder = fs::read_dir(&online).unwrap().flatten().find(|e| e.path().is_dir()).unwrap();
    let maps = fs::metadata(folder.path().join("000000.halves")).unwrap().len();
    assert_eq!(maps, moments * (2 * 2 * 64 + 4));
    // A policy with cameras asks for its encoder.
    let said =
        load_policy(&one.join("policy"), PolicyOptions::default()).err().unwrap().to_string();
    assert!(said.contains("cells of two by two"), "{said}");
}

/// Takes moments straight to a learner, as the link does.
struct Wire {
    side: Arc<Mutex<LearnerSide>>,
    intake: LearnerIntake,
    last: u64,
}

impl TransitionSink for Wire {
    fn push(&mut self, moment: &Moment) -> Result<()> {
        self.intake.accept(1, moment)?;
        self.last = moment.seq;
        // Every moment is sent twice: numbers make it one.
        assert!(!self.intake.accept(1, moment)?);
        self.side.lock().unwrap().work(u64::MAX)?;
        Ok(())
    }

    fn last(&self) -> u64 {
        self.last
    }
}

struct Weights(Arc<Mutex<LearnerSide>>);

impl WeightSource for Weights {
    fn newer(&mut self, than: u64) -> Result<Option<(u64, Arc<Vec<u8>>)>> {
        let (version, bytes) = self.0.lock().unwrap().weights()?;
        Ok((version > than).then(|| (version, Arc::new(bytes))))
    }
}

fn open(setting: &Setting, out: &Path) -> LearnerSide {
    let mut demos = setting.demos.iter().cloned().map(Ok);
    let env = Reach::new(1, false);
    LearnerSide::open(env.spec(), None, Some(&mut demos), &setting.cfg, &setting.run, out).unwrap()
}

#[test]
fn actor_and_learner_apart_learn_and_go_on_after_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let setting = Setting::new(1, 20);
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let mut last = 0;
    let mut policy_dir = None;
    for part in 0..3u64 {
        let side = Arc::new(Mutex::new(open(&setting, home.path())));
        let before = side.lock().unwrap().transitions();
        assert_eq!(before, part * 400);
        let intake = side.lock().unwrap().intake();
        let mut wire = Wire { side: Arc::clone(&side), intake, last };
        let mut env = Reach::new(1, false);
        let run =
            RemoteActor { steps: 400, inputs: vec![STATE.to_owned()], ..RemoteActor::default() };
        let mut weights = Weights(Arc::clone(&side));
        let cfg = &setting.cfg;
        run_actor(&mut env, None, None, &mut wire, &mut weights, cfg, &run, &mut |_| Ok(()), task)
            .unwrap();
        last = wire.last;
        let mut side = side.lock().unwrap();
        assert_eq!(side.transitions(), (part + 1) * 400);
        let updates = 2 * ((part + 1) * 400 - 100);
        if part < 2 {
            // A checkpoint in the middle only: what came behind it is on disk all the same.
            assert_eq!(side.updates(), updates);
            policy_dir = Some(side.checkpoint().unwrap());
        }
    }
    let mut policy = load_policy(&policy_dir.unwrap(), PolicyOptions::default()).unwrap();
    let mut env = Reach::new(1, false);
    env.reset(&[Some(1)]).unwrap();
    let mut action = [0.0; 2];
    policy.act(&env.observations(), &[true], &mut action).unwrap();
    let other = HilSerlConfig { gamma: 0.9, ..setting.cfg.clone() };
    let spec = env.spec();
    let said = LearnerSide::open(spec, None, None, &other, &setting.run, home.path());
    assert!(said.err().unwrap().to_string().contains("a run with other settings"));
}

/// A frozen policy that goes the right way, too far to one side.
struct Crooked(PolicySpec);

impl Policy for Crooked {
    fn spec(&self) -> &PolicySpec {
        &self.0
    }

    fn reset(&mut self, _env: usize) {}

    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let state = observations.arrays[STATE].as_f32().expect("f32");
        for i in (0..active.len()).filter(|i| active[*i]) {
            expert(&state[5 * i..5 * i + 5], &mut actions[2 * i..2 * i + 2]);
            actions[2 * i] = 0.5 * actions[2 * i] + 0.07;
        }
        Ok(())
    }
}

fn crooked() -> Box<dyn Policy> {
    let inputs = Features::from([(STATE.to_owned(), FeatureSpec::new(DType::Float32, &[5], &[]))]);
    Box::new(Crooked(PolicySpec {
        kind: "crooked".into(),
        inputs,
        action_dim: 2,
        chunk_size: 1,
        n_action_steps: 1,
    }))
}

#[test]
fn a_residual_stays_in_its_bound_and_says_what_was_done() {
    let mut inner = Reach::new(2, false);
    let cfg = ResidualConfig { bound: 0.5, warmup_steps: 0, seed: 0 };
    let mut env = ResidualEnv::new(&mut inner, crooked(), &cfg).unwrap();
    assert_eq!(env.spec().action_high, [1.0, 1.0]);
    env.reset(&[Some(1), Some(2)]).unwrap();
    let base = env.observation("observation.base_action").unwrap().as_f32().unwrap().to_vec();
    let before = env.observation(STATE).unwrap().as_f32().unwrap().to_vec();
    env.step(&[1.0, -0.5, 3.0, 0.0], &[true, true]).unwrap();
    let after = env.observation(STATE).unwrap().as_f32().unwrap().to_vec();
    let done = env.executed().unwrap().to_vec();
    for (i, asked) in [1.0, -0.5, 1.0, 0.0].into_iter().enumerate() {
        // Half the range is 0.1, the bound half of that; the task's own bounds cut it off.
        let wanted = (base[i] + 0.05 * asked).clamp(-0.1, 0.1);
        let moved = after[i / 2 * 5 + i % 2] - before[i / 2 * 5 + i % 2];
        assert!((moved - wanted).abs() < 1e-6, "{i}: {moved} {wanted}");
        assert!((done[i] - (wanted - base[i]) / 0.05).abs() < 1e-5);
    }
    // At first nearly nothing is added, at last everything.
    let cfg = ResidualConfig { warmup_steps: 400, ..cfg };
    let mut inner = Reach::new(1, false);
    let mut env = ResidualEnv::new(&mut inner, crooked(), &cfg).unwrap();
    let mut used = [0; 3];
    for step in 0..600 {
        if step % 20 == 0 {
            env.reset(&[Some(step)]).unwrap();
        }
        env.step(&[0.3, -0.3], &[true]).unwrap();
        let any = env.executed().unwrap().iter().any(|e| *e != 0.0);
        used[step as usize / 200] += u32::from(any);
    }
    assert!(used[0] > 20 && used[0] < 80 && used[1] > 110 && used[2] == 200, "{used:?}");
}

#[test]
fn a_residual_is_learned_by_the_same_learner() {
    let home = tempfile::tempdir().unwrap();
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let judge_cfg = ResidualConfig { bound: 0.8, warmup_steps: 0, seed: 0 };
    let (mut inner, mut judge_inner) = (Reach::new(1, false), Reach::new(4, false));
    let cfg = ResidualConfig { warmup_steps: 300, ..judge_cfg.clone() };
    let mut env = ResidualEnv::new(&mut inner, crooked(), &cfg).unwrap();
    let mut judge = ResidualEnv::new(&mut judge_inner, crooked(), &judge_cfg).unwrap();
    let run = HilSerlRun {
        inputs: vec![STATE.to_owned(), "observation.base_action".to_owned()],
        eval_episodes: 40,
        ..short(1_500)
    };
    let beside = Beside { judge: Some(&mut judge), ..Beside::default() };
    let outcome = train_hilserl(&mut env, beside, &settings(), &run, home.path(), task).unwrap();
    // The frozen policy alone, for comparison: a residual of nothing.
    let alone = (0..40).filter(|seed| reaches_alone(*seed)).count() as u32;
    let success = outcome.evaluation.unwrap().success_rate.unwrap();
    assert!(success > f64::from(alone) / 40.0 + 0.1, "{success}, alone {alone} of 40");
}

/// Whether the frozen policy by itself achieves the task.
fn reaches_alone(seed: u64) -> bool {
    let mut env = Reach::new(1, false);
    let mut policy = crooked();
    env.reset(&[Some(5_000 + seed)]).unwrap();
    (0..LIMIT).any(|_| {
        let mut action = [0.0; 2];
        policy.act(&env.observations(), &[true], &mut action).unwrap();
        env.step(&action, &[true]).unwrap();
        env.success[0]
    })
}

#[test]
fn a_success_detector_learns_from_labels_and_rewards_in_the_tasks_place() {
    let labelled = |episodes: std::ops::Range<u64>| {
        let mut all = Vec::new();
        for episode in episodes {
            let mut env = Reach::new(1, false);
            env.reset(&[Some(episode)]).unwrap();
            for step in 0..6 {
                // Half of the pictures show the point at the goal: no red but under the green.
                let success = step % 2 == 0;
                let cell = &mut env.cells[0];
                cell.at = if success { cell.goal } else { [-cell.goal[1], cell.goal[0]] };
                env.show();
                let pictures = vec![env.pixels.clone()];
                all.push(LabelledMoment { pictures, success, episode });
            }
        }
        all
    };
    let cfg = DetectorConfig {
        iterations: 300,
        lr: 3e-3,
        hidden: 32,
        image_latent: 32,
        threads: 2,
        ..DetectorConfig::default()
    };
    let mut moments = labelled(0..200).into_iter().map(Ok);
    let (mut detector, report) = SuccessDetector::train(&Cells, &mut moments, &cfg).unwrap();
    assert_eq!(report.held_out, (120, 120));
    assert!(report.balanced_accuracy > 0.85, "{report:?}");
    let mut again = labelled(0..200).into_iter().map(Ok);
    let one = DetectorConfig { threads: 1, ..cfg.clone() };
    let (_, same) = SuccessDetector::train(&Cells, &mut again, &one).unwrap();
    assert_eq!(report, same, "threads changed a result");
    let home = tempfile::tempdir().unwrap();
    detector.write(home.path()).unwrap();
    let mut back = SuccessDetector::read(home.path()).unwrap();
    for moment in labelled(900..910) {
        let map = Cells.encode(&moment.pictures[0]).unwrap();
        assert_eq!(back.probability(&[&map]), detector.probability(&[&map]));
    }
    let only = labelled(0..10).into_iter().filter(|m| m.success).map(Ok).collect::<Vec<_>>();
    let said = SuccessDetector::train(&Cells, &mut only.into_iter(), &cfg).err().unwrap();
    assert!(said.to_string().contains("0 failures"), "{said}");
}

#[test]
fn every_preset_is_in_order_and_what_can_not_be_is_refused_by_name() {
    for (name, _, cfg) in HilSerlConfig::presets() {
        cfg.check().unwrap();
        assert_eq!(HilSerlConfig::preset(name), Some(cfg.clone()));
        let text = serde_json::to_string(&cfg).unwrap();
        assert_eq!(serde_json::from_str::<HilSerlConfig>(&text).unwrap(), cfg);
    }
    let refuse = |cfg: HilSerlConfig, wanted: &str| {
        let said = cfg.check().unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    };
    refuse(HilSerlConfig { critics_in_target: 3, ..settings() }, "`critics_in_target` is 3");
    refuse(HilSerlConfig { demo_share: 1.0, ..settings() }, "`demo_share` is 1");
    refuse(HilSerlConfig { gripper_penalty: 0.1, ..settings() }, "`gripper_penalty` is 0.1");
    refuse(HilSerlConfig { rounds_per_step: 0.0, ..settings() }, "`rounds_per_step` is 0");
    let home = tempfile::tempdir().unwrap();
    let cfg = HilSerlConfig { gripper: Some(7), ..settings() };
    let said = Setting { cfg, ..Setting::new(10, 0) }.train(home.path(), None).unwrap_err();
    assert!(said.to_string().contains("`gripper` is 7"), "{said}");
}
