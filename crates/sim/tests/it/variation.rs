//! Replay is exact, looks change pictures only, and demonstrations can be carried over.

use std::path::Path;

use embody_core::{CancelToken, DataView, NoProgress, Task, VecEnv, hash_bytes};
use embody_sim::{
    AppearanceRange, Demonstration, EnvOptions, ExpertOptions, Placement, SimEnv, SourceChoice,
    VariationOptions, VariedEpisode,
};
use indexmap::IndexMap;

use crate::{TASK, assets};

const STATE: &str = "observation.state";

fn env(assets: &Path, num_envs: usize, threads: usize, camera: Option<usize>) -> SimEnv {
    let options = EnvOptions {
        num_envs,
        threads,
        camera_size: camera.map(|c| (c, c)),
        privileged: true,
        ..EnvOptions::new(assets)
    };
    embody_sim::make_sim(TASK, options).unwrap()
}

/// Demonstrations of the expert, as they are recorded.
fn demonstrations(assets: &Path, count: usize, first_seed: u64) -> Vec<Demonstration> {
    let mut env = env(assets, count, 0, None);
    let mut expert = embody_sim::expert(TASK, count, 7, ExpertOptions::new(assets)).unwrap();
    env.reset(&(0..count as u64).map(|s| Some(first_seed + s)).collect::<Vec<_>>()).unwrap();
    let mut active = vec![true; count];
    let mut actions = vec![0.0; 6 * count];
    let mut out = vec![(Vec::new(), Vec::new()); count];
    while active.contains(&true) {
        expert.act(&env.observations(), &active, &mut actions).unwrap();
        for (i, (states, done)) in out.iter_mut().enumerate().filter(|(i, _)| active[*i]) {
            let DataView::F32(state) = env.observations().arrays[STATE].data else { panic!() };
            states.extend_from_slice(&state[6 * i..6 * i + 6]);
            done.extend_from_slice(&actions[6 * i..6 * i + 6]);
        }
        env.step(&actions, &active).unwrap();
        for (i, active) in active.iter_mut().enumerate() {
            *active &= !env.terminated()[i] && !env.truncated()[i];
        }
    }
    out.into_iter()
        .enumerate()
        .map(|(i, (states, actions))| Demonstration {
            episode: i,
            actions,
            observations: IndexMap::from([(STATE.to_owned(), states)]),
            success: Some(env.success()[i]),
            seed: Some(first_seed + i as u64),
            simulation: env.simulation(i).unwrap(),
        })
        .collect()
}

fn options(per_episode: usize, placement: Option<Placement>) -> VariationOptions {
    VariationOptions {
        per_episode,
        appearance: AppearanceRange::default(),
        placement,
        seed: 11,
        keep_failures: false,
        source: hash_bytes(b"source"),
    }
}

fn vary(
    env: &mut SimEnv,
    sources: &[Demonstration],
    options: &VariationOptions,
) -> (Vec<VariedEpisode>, embody_sim::VariationReport) {
    let cancel = CancelToken::default();
    let mut out = Vec::new();
    let mut take = |episode| {
        out.push(episode);
        Ok(())
    };
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let report = embody_sim::vary(env, sources, options, &mut take, task).unwrap();
    (out, report)
}

const PLACED: Placement = Placement { choice: SourceChoice::Nearest, action_noise: 0.0, trials: 8 };

#[test]
fn recorded_demonstrations_replay_to_the_bit() {
    let Some(assets) = assets() else { return };
    let mut sources = demonstrations(&assets, 20, 3000);
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    for (envs, threads) in [(16, 2), (3, 1)] {
        let mut env = env(&assets, envs, threads, None);
        for replayed in embody_sim::replay(&mut env, &sources, task).unwrap() {
            assert!(replayed.exact, "{replayed:?}");
            assert_eq!(replayed.first_difference, None);
            assert_eq!(replayed.success.0, Some(replayed.success.1));
            assert!(replayed.changed.is_empty());
        }
    }
    // A single bit of a position is noticed, by the hash and by what is seen.
    let joint = &mut sources[4].simulation.qpos[1];
    *joint = f64::from_bits(joint.to_bits() ^ (1 << 40));
    let changed = embody_sim::replay(&mut env(&assets, 4, 1, None), &sources, task).unwrap();
    assert!(!changed[4].exact && changed[5].exact);
    assert_eq!(changed[4].first_difference, Some((0, STATE.to_owned())));
    sources[4].simulation.qpos.pop();
    let error = embody_sim::replay(&mut env(&assets, 4, 1, None), &sources, task).unwrap_err();
    assert!(error.to_string().contains("qpos has 12 elements, expected 13"), "{error}");
}

#[test]
fn looks_change_pictures_and_not_the_motion() {
    let Some(assets) = assets() else { return };
    let sources = demonstrations(&assets, 2, 40);
    let range = AppearanceRange { cameras: 1.0, lights: 1.0, textures: 1.0, distractors: 3 };
    let wanted = VariationOptions { appearance: range, ..options(2, None) };
    let (made, report) = vary(&mut env(&assets, 4, 2, Some(32)), &sources, &wanted);
    assert_eq!((made.len(), report.made, report.trials), (4, 4, 4));
    for (i, episode) in made.iter().enumerate() {
        let source = &sources[i / 2];
        assert_eq!(episode.simulation.trajectory, source.simulation.trajectory);
        assert_eq!(episode.actions, source.actions);
        assert_ne!(episode.simulation.appearance, source.simulation.appearance);
        let variation = episode.simulation.variation.as_ref().unwrap();
        assert_eq!((variation.kind.as_str(), variation.source_episode), ("appearance", i / 2));
    }
    let picture = |e: &VariedEpisode| match &e.observations["observation.images.front"].data {
        embody_core::ArrayData::U8(bytes) => bytes[..32 * 32 * 3].to_vec(),
        _ => panic!("pictures are bytes"),
    };
    assert_ne!(picture(&made[0]), picture(&made[1]));
    // What was written down gives the same pictures again.
    let again = Demonstration { simulation: made[1].simulation.clone(), ..sources[0].clone() };
    let still = VariationOptions { appearance: AppearanceRange::default(), ..options(1, None) };
    let (same, _) = vary(&mut env(&assets, 1, 1, Some(32)), &[again], &still);
    assert_eq!(picture(&same[0]), picture(&made[1]));
}

#[test]
fn carried_demonstrations_succeed_and_threads_change_no_bit() {
    let Some(assets) = assets() else { return };
    let sources = demonstrations(&assets, 10, 100);
    let wanted = options(4, Some(PLACED));
    let (made, report) = vary(&mut env(&assets, 16, 2, None), &sources, &wanted);
    assert_eq!((report.wanted, report.made, made.len()), (40, 40, 40));
    // Carrying over is of no use if most trials fail.
    assert!(report.trials <= 56, "{report:?}");
    for episode in &made {
        assert!(episode.success);
        let qpos = &episode.simulation.qpos;
        let cube = &qpos[qpos.len() - 7..];
        assert!((0.17..=0.29).contains(&cube[0]) && (-0.07..=0.07).contains(&cube[1]), "{cube:?}");
    }
    let (again, other) = vary(&mut env(&assets, 5, 1, None), &sources, &wanted);
    assert_eq!(other, report);
    assert!(again == made, "the batch or the threads changed something");
    // Carried episodes are recordings like any other: they replay to the bit.
    let recorded: Vec<Demonstration> = made
        .iter()
        .enumerate()
        .map(|(i, e)| Demonstration {
            episode: i,
            actions: e.actions.clone(),
            observations: IndexMap::new(),
            success: Some(true),
            seed: e.seed,
            simulation: e.simulation.clone(),
        })
        .collect();
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    for replayed in embody_sim::replay(&mut env(&assets, 8, 2, None), &recorded, task).unwrap() {
        assert!(replayed.exact && replayed.success.1, "{replayed:?}");
    }
}

#[test]
fn failures_are_counted_with_reasons_and_kept_on_request() {
    let Some(assets) = assets() else { return };
    let sources = demonstrations(&assets, 2, 60);
    // Noise of 12 degrees makes most grasps fail.
    let placed = Placement { action_noise: 12.0, trials: 2, ..PLACED };
    let wanted = VariationOptions { keep_failures: true, ..options(4, Some(placed)) };
    let (made, report) = vary(&mut env(&assets, 8, 2, None), &sources, &wanted);
    let failed = report.failures.values().sum::<usize>();
    assert_eq!(report.trials, report.made + failed);
    assert!(failed >= 4 && report.trials <= 16, "{report:?}");
    assert!(report.failures.keys().any(|why| why.contains("was not completed")), "{report:?}");
    assert_eq!(made.iter().filter(|e| e.success).count(), report.made);
    assert!(made.iter().any(|e| !e.success), "failures are kept");
}
