//! The same seeds and actions give the same bits, whatever stands around them.

use embody_core::{DataView, VecEnv};
use embody_sim::{EnvOptions, ExpertOptions};

use crate::{TASK, assets};

/// Everything that environment `env` showed over some steps of the expert, as bytes.
type Trace = Vec<u8>;

fn run(threads: usize, seeds: &[u64], steps: usize, warm_up: bool) -> Option<Vec<Trace>> {
    let assets = assets()?;
    let options = EnvOptions {
        num_envs: seeds.len(),
        threads,
        camera_size: Some((40, 48)),
        privileged: true,
        ..EnvOptions::new(&assets)
    };
    let mut env = embody_sim::make(TASK, options).unwrap();
    let mut expert = embody_sim::expert(TASK, seeds.len(), 3, ExpertOptions::new(&assets)).unwrap();
    let active = vec![true; seeds.len()];
    let mut actions = vec![0.0; 6 * seeds.len()];
    if warm_up {
        // An earlier episode must leave no trace.
        for _ in 0..30 {
            expert.act(&env.observations(), &active, &mut actions).unwrap();
            env.step(&actions, &active).unwrap();
        }
        (0..seeds.len()).for_each(|i| expert.reset(i));
    }
    env.reset(&seeds.iter().map(|s| Some(*s)).collect::<Vec<_>>()).unwrap();
    let mut traces = vec![Vec::new(); seeds.len()];
    for _ in 0..steps {
        expert.act(&env.observations(), &active, &mut actions).unwrap();
        env.step(&actions, &active).unwrap();
        record(&*env, &mut traces);
    }
    Some(traces)
}

fn record(env: &dyn VecEnv, traces: &mut [Trace]) {
    for view in env.observations().arrays.values() {
        let row: usize = view.shape[1..].iter().product();
        for (i, trace) in traces.iter_mut().enumerate() {
            let range = i * row..(i + 1) * row;
            match view.data {
                DataView::F32(values) => {
                    trace.extend(values[range].iter().flat_map(|v| v.to_le_bytes()));
                }
                DataView::U8(values) => trace.extend(&values[range]),
                _ => panic!("an unexpected type"),
            }
        }
    }
    for (reward, trace) in env.rewards().iter().zip(traces) {
        trace.extend(reward.to_le_bytes());
    }
}

#[test]
fn thread_count_changes_no_bit() {
    let Some(one) = run(1, &[1, 2, 3, 4, 5], 25, false) else { return };
    for threads in [2, 3, 8] {
        assert!(run(threads, &[1, 2, 3, 4, 5], 25, false).unwrap() == one, "{threads} threads");
    }
}

#[test]
fn neighbours_and_history_change_no_bit() {
    let Some(batch) = run(2, &[1, 2, 3], 25, false) else { return };
    assert!(run(1, &[2], 25, false).unwrap()[0] == batch[1], "alone");
    assert!(run(2, &[3, 1], 25, true).unwrap()[1] == batch[0], "elsewhere, after another episode");
    assert!(batch[0] != batch[1], "seeds differ");
}

#[test]
fn inactive_environments_stand_still() {
    let Some(assets) = assets() else { return };
    let options =
        EnvOptions { num_envs: 2, camera_size: Some((16, 16)), ..EnvOptions::new(assets) };
    let mut env = embody_sim::make(TASK, options).unwrap();
    env.reset(&[Some(1), Some(2)]).unwrap();
    let mut before = vec![Vec::new(); 2];
    record(&*env, &mut before);
    let action = [10.0f32, -40.0, 40.0, 60.0, 90.0, 50.0].repeat(2);
    env.step(&action, &[true, false]).unwrap();
    let mut after = vec![Vec::new(); 2];
    record(&*env, &mut after);
    assert!(before[0] != after[0]);
    assert!(before[1] == after[1]);
}
