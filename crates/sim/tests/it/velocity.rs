//! The velocity tasks: robots stand, terms are those that are shown, disturbances are as declared.

use embody_core::{Autoreset, VecEnv};
use embody_sim::{EnvOptions, EpisodeStart, SimEnv};

use crate::assets;

const ALL: [&str; 4] =
    ["go1-velocity-flat", "go1-velocity-rough", "g1-velocity-flat", "g1-velocity-rough"];

/// Environments, where the robots' models are in place.
fn make(task: &str, num_envs: usize, options: impl Fn(&mut EnvOptions)) -> Option<SimEnv> {
    let assets = assets()?;
    let robot = task.split('-').next()?;
    if !assets.join(robot).exists() {
        eprintln!("skipped: no model of {robot}, run `cargo xtask setup --tools`");
        return None;
    }
    let mut chosen =
        EnvOptions { num_envs, camera_size: None, privileged: true, ..EnvOptions::new(assets) };
    options(&mut chosen);
    Some(embody_sim::make_sim(task, chosen).unwrap())
}

fn names(env: &SimEnv, key: &str) -> Vec<String> {
    let names = env.spec().observations[key].names.as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// A dimension of an observation of environment `env`, by name.
fn value(env: &SimEnv, key: &str, name: &str, index: usize) -> f32 {
    let names = names(env, key);
    let at = names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no {name}"));
    let view = env.observation(key).unwrap();
    view.as_f32().unwrap()[index * names.len() + at]
}

fn zeros(env: &SimEnv) -> Vec<f32> {
    vec![0.0; env.num_envs() * env.spec().action.numel()]
}

/// Actions that shake every joint, the same for equal arguments.
fn shaking(env: &SimEnv, step: usize) -> Vec<f32> {
    (0..env.num_envs() * env.spec().action.numel())
        .map(|i| 0.8 * ((0.7 * step as f32) + 1.3 * i as f32).sin())
        .collect()
}

/// The default pose at rest, with nominal physics.
fn at_rest(env: &SimEnv) -> EpisodeStart {
    let record = env.simulation(0).unwrap();
    // Actuators hold the default pose at the beginning, in the order of the joints.
    let mut qpos = vec![0.0, 0.0, record.qpos[2], 1.0, 0.0, 0.0, 0.0];
    qpos.extend(&record.ctrl);
    EpisodeStart { qpos, qvel: vec![0.0; record.qvel.len()], ctrl: record.ctrl, appearance: None }
}

/// Steps under zero action until the first push is due, and says who stands.
fn who_stands(env: &mut SimEnv, tall: f32) -> Vec<bool> {
    let (n, action) = (env.num_envs(), zeros(env));
    let mut stands = vec![true; n];
    for _ in 0..248 {
        env.step(&action, &vec![true; n]).unwrap();
        for (i, stands) in stands.iter_mut().enumerate() {
            let height = value(env, "observation.privileged", "height", i);
            *stands &= height > tall && !env.terminated()[i];
        }
    }
    assert_eq!(env.diverged(), 0);
    stands
}

#[test]
fn the_default_pose_stands() {
    for (task, tall) in [("go1-velocity-flat", 0.24), ("g1-velocity-flat", 0.74)] {
        let Some(mut env) = make(task, 1, |_| ()) else { return };
        let start = at_rest(&env);
        env.begin(&[Some(start)]).unwrap();
        assert_eq!(who_stands(&mut env, tall), [true], "{task}");
    }
    // The quadruped does so whatever is drawn.
    let Some(mut env) = make("go1-velocity-flat", 32, |_| ()) else { return };
    env.reset(&(0..32).map(Some).collect::<Vec<_>>()).unwrap();
    assert_eq!(who_stands(&mut env, 0.2), [true; 32]);
}

#[test]
fn thread_count_and_history_change_no_bit() {
    for task in ALL {
        let run = |threads: usize| {
            let mut env = make(task, 5, |options| {
                options.threads = threads;
                options.autoreset = Autoreset::SameStep;
            })?;
            env.reset(&(10..15).map(Some).collect::<Vec<_>>()).unwrap();
            let mut seen: Vec<u32> = Vec::new();
            for step in 0..120 {
                env.step(&shaking(&env, step), &[true; 5]).unwrap();
                for view in env.observations().arrays.values() {
                    seen.extend(view.as_f32().unwrap().iter().map(|x| x.to_bits()));
                }
                seen.extend(env.rewards().iter().map(|r| r.to_bits() as u32));
            }
            Some(seen)
        };
        let Some(one) = run(1) else { return };
        for threads in [2, 4] {
            assert!(run(threads).unwrap() == one, "{task}: {threads} threads");
        }
        // Seeds alone decide, whatever the environment went through before.
        let mut env = make(task, 2, |_| ()).unwrap();
        let first = |env: &mut SimEnv, seeds: [u64; 2]| {
            env.reset(&seeds.map(Some)).unwrap();
            for step in 0..10 {
                env.step(&[0.1 * step as f32].repeat(zeros(env).len()), &[true; 2]).unwrap();
            }
            let view = env.observation("observation.privileged").unwrap();
            let all = view.as_f32().unwrap();
            all[..all.len() / 2].to_vec()
        };
        let fresh = first(&mut env, [3, 4]);
        first(&mut env, [5, 6]);
        assert_eq!(first(&mut env, [3, 7]), fresh, "{task}");
    }
}

#[test]
fn observations_stay_finite_and_episodes_judge_themselves() {
    for task in ALL {
        let Some(mut env) = make(task, 4, |options| options.autoreset = Autoreset::SameStep) else {
            return;
        };
        let mut ended = 0;
        for step in 0..300 {
            let action: Vec<f32> = shaking(&env, 7 * step).iter().map(|a| 2.5 * a).collect();
            env.step(&action, &[true; 4]).unwrap();
            for (key, view) in env.observations().arrays {
                let values = view.as_f32().unwrap();
                assert!(values.iter().all(|v| v.is_finite()), "{task} {key}, step {step}");
                assert!(values.iter().all(|v| v.abs() < 200.0), "{task} {key}, step {step}");
            }
            assert!(env.rewards().iter().all(|r| r.is_finite() && *r > -10.0 && *r < 1.0));
            ended += env.terminated().iter().filter(|t| **t).count();
        }
        assert!(ended > 0, "{task}: flailing brings a robot down");
        assert_eq!(env.diverged(), 0, "{task}");
    }
}

#[test]
fn what_is_shown_is_what_runs() {
    for task in ALL {
        let shown = embody_sim::show(task).unwrap();
        let Some(mut env) = make(task, 1, |_| ()) else { return };
        let keys: Vec<_> = env.spec().observations.keys().cloned().collect();
        assert_eq!(keys, shown.observations.iter().map(|t| t.name).collect::<Vec<_>>());
        for (term, feature) in shown.observations.iter().zip(env.spec().observations.values()) {
            let size = format!("f32 [{}]", feature.numel());
            assert!(term.meaning.starts_with(&size), "{}: {}", term.name, term.meaning);
        }
        env.step(&zeros(&env), &[true]).unwrap();
        assert_eq!(env.reward_terms(0).len(), shown.rewards.len());
        let total: f64 = env.reward_terms(0).iter().sum();
        assert_eq!(total, env.rewards()[0]);
        // The sign of a contribution is that of the weight that is shown.
        for (term, value) in shown.rewards.iter().zip(env.reward_terms(0)) {
            let weight: f64 = term.meaning.split(' ').next().unwrap().parse().unwrap();
            assert!(value * weight >= 0.0, "{}: {value} under {weight}", term.name);
        }
        // Parameters that are shown are observed, within what is shown.
        for seed in 0..20 {
            env.reset(&[Some(seed)]).unwrap();
            for term in &shown.randomization {
                let names = names(&env, "observation.privileged");
                if !names.iter().any(|n| n == term.name) {
                    continue;
                }
                let (range, _) = term.meaning.split_once(':').unwrap();
                let (low, high) = range.split_once("..").unwrap();
                let (low, high): (f32, f32) = (low.parse().unwrap(), high.parse().unwrap());
                let value = value(&env, "observation.privileged", term.name, 0);
                assert!((low..=high).contains(&value), "{}: {value}", term.name);
            }
        }
    }
}

#[test]
fn a_push_changes_the_velocity_by_what_is_declared() {
    let Some(mut env) = make("go1-velocity-flat", 16, |_| ()) else { return };
    env.reset(&(0..16).map(Some).collect::<Vec<_>>()).unwrap();
    let action = zeros(&env);
    let speed = |env: &SimEnv, i| {
        ["velocity.x", "velocity.y"].map(|n| value(env, "observation.privileged", n, i))
    };
    let (mut before, mut pushes) = (vec![[0.0; 2]; 16], 0);
    for step in 0..520 {
        (0..16).for_each(|i| before[i] = speed(&env, i));
        env.step(&action, &[true; 16]).unwrap();
        for (i, before) in before.iter().enumerate() {
            let after = speed(&env, i);
            let jump = (after[0] - before[0]).hypot(after[1] - before[1]);
            // Standing, the base moves by less than 0.1 m/s from step to step.
            if step > 50 && jump > 0.15 {
                assert!(step >= 248, "seed {i}: pushed at step {step}");
                assert!(jump < 0.4 * 1.42 + 0.1, "seed {i}: {jump} m/s at step {step}");
                pushes += 1;
            }
        }
    }
    assert!(pushes >= 12, "{pushes} pushes");
}

#[test]
fn commands_are_in_range_and_change() {
    let Some(mut env) = make("go1-velocity-flat", 4, |_| ()) else { return };
    let action = zeros(&env);
    let mut standing = 0;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40u64 {
        env.reset(&[0, 1, 2, 3].map(|i| Some(4 * seed + i))).unwrap();
        for i in 0..4 {
            let [x, y, turn] = ["command.ahead", "command.aside", "command.turn"]
                .map(|n| value(&env, "observation.state", n, i));
            assert!(x.abs() <= 1.0 && y.abs() <= 0.5 && turn.abs() <= 1.0);
            standing += usize::from([x, y, turn] == [0.0; 3]);
            seen.insert(x.to_bits());
        }
    }
    assert!((5..40).contains(&standing), "{standing} of 160 stand");
    assert!(seen.len() > 100);
    env.reset(&[0, 1, 2, 3].map(Some)).unwrap();
    let first = value(&env, "observation.state", "command.ahead", 0);
    for _ in 0..510 {
        env.step(&action, &[true; 4]).unwrap();
    }
    assert!(env.terminated()[0] || value(&env, "observation.state", "command.ahead", 0) != first);
}

#[test]
fn physics_differ_between_environments_as_drawn() {
    let Some(mut env) = make("go1-velocity-flat", 2, |_| ()) else { return };
    env.reset(&[Some(1), Some(2)]).unwrap();
    // The same state, yet other masses, motors and friction.
    let action = vec![0.3; 24];
    let start = |env: &SimEnv| {
        let record = env.simulation(0).unwrap();
        EpisodeStart { qpos: record.qpos, qvel: record.qvel, ctrl: record.ctrl, appearance: None }
    };
    let start = start(&env);
    let posture = |env: &SimEnv, i| value(env, "observation.privileged", "height", i);
    env.begin(&[Some(start.clone()), Some(start.clone())]).unwrap();
    for _ in 0..20 {
        env.step(&action, &[true; 2]).unwrap();
    }
    let nominal = posture(&env, 0);
    assert_eq!(nominal, posture(&env, 1), "given states have nominal physics");
    let mass = |env: &SimEnv, i| value(env, "observation.privileged", "base_mass", i);
    assert_eq!([mass(&env, 0), mass(&env, 1)], [0.0; 2]);
    env.reset(&[Some(1), Some(2)]).unwrap();
    assert_ne!(mass(&env, 0), mass(&env, 1));
    for _ in 0..20 {
        env.step(&action, &[true; 2]).unwrap();
    }
    assert_ne!(posture(&env, 0), nominal);
}

#[test]
fn success_is_standing_when_told_to_stand() {
    let Some(mut env) = make("go1-velocity-flat", 64, |_| ()) else { return };
    env.reset(&(0..64).map(Some).collect::<Vec<_>>()).unwrap();
    let action = zeros(&env);
    let mut active = vec![true; 64];
    for _ in 0..1000 {
        env.step(&action, &active).unwrap();
        for (i, active) in active.iter_mut().enumerate() {
            *active &= !env.terminated()[i] && !env.truncated()[i];
        }
    }
    let mut successes = 0;
    for i in 0..64 {
        let error = env.metrics(i)[0];
        assert_eq!(error.0, "velocity_error_m_s");
        assert_eq!(env.success()[i], env.truncated()[i] && error.1 <= 0.2, "seed {i}: {error:?}");
        successes += usize::from(env.success()[i]);
    }
    // Who only stands succeeds only where little else is told.
    assert!(successes < 16, "{successes} of 64 by standing still");
    assert!(env.truncated().iter().any(|t| *t), "some stand for 20 s");
}

#[test]
fn terrain_levels_follow_what_robots_manage() {
    let Some(mut env) =
        make("go1-velocity-rough", 8, |options| options.autoreset = Autoreset::SameStep)
    else {
        return;
    };
    let level = |env: &SimEnv, i: usize| {
        let metrics = env.metrics(i);
        metrics.iter().find(|(name, _)| *name == "terrain_level").unwrap().1
    };
    env.reset(&(0..8).map(Some).collect::<Vec<_>>()).unwrap();
    let before: Vec<f64> = (0..8).map(|i| level(&env, i)).collect();
    assert!(before.iter().any(|l| *l >= 4.0) && before.iter().any(|l| *l < 4.0), "{before:?}");
    let action = zeros(&env);
    for _ in 0..1000 {
        env.step(&action, &[true; 8]).unwrap();
    }
    // Standing in place goes nowhere: nobody is a level higher.
    for (i, before) in before.iter().enumerate() {
        assert!(level(&env, i) <= *before, "{i}: from {before} to {}", level(&env, i));
    }
    assert!((0..8).any(|i| level(&env, i) < before[i]), "who was told to walk is a level lower");
}

#[test]
fn a_batch_goes_on_from_where_it_was_kept() {
    for task in ["go1-velocity-rough", "g1-velocity-flat"] {
        let fresh = || {
            make(task, 4, |options| {
                (options.autoreset, options.trace) = (Autoreset::SameStep, false);
            })
        };
        let Some(mut env) = fresh() else { return };
        env.reset(&(20..24).map(Some).collect::<Vec<_>>()).unwrap();
        let step = |env: &mut SimEnv, n: usize| {
            let action: Vec<f32> = shaking(env, 3 * n).iter().map(|a| 2.0 * a).collect();
            env.step(&action, &[true; 4]).unwrap();
            let view = env.observation("observation.privileged").unwrap();
            (view.as_f32().unwrap().to_vec(), env.rewards().to_vec())
        };
        // Long enough for falls, so that some episodes have begun by themselves.
        (0..150).for_each(|n| drop(step(&mut env, n)));
        let kept = env.snapshot().unwrap();
        let expected: Vec<_> = (150..350).map(|n| step(&mut env, n)).collect();
        let mut other = fresh().unwrap();
        other.restore(&kept).unwrap();
        let got: Vec<_> = (150..350).map(|n| step(&mut other, n)).collect();
        assert!(got == expected, "{task}");
    }
}
