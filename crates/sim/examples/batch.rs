//! Our batch beside MuJoCo's own C batch stepper (`mjbatch.h`), from the same states with the same
//! actions and never reset, as JSON: `cargo run --release -p embody_sim --example batch`.
//!
//! The stepper does nothing but `mj_step`; ours observes, rewards and judges as well. Both take
//! turns, so that a change of the machine's speed meets both; medians are given.
#![allow(clippy::print_stdout, unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::time::Instant;

use embody_core::{Result, VecEnv};
use embody_sim::{EnvOptions, SimEnv};
use mujoco_rs::mujoco_c::mjModel;
use mujoco_rs::prelude::MjModel;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ENVS: usize = 64;
const THREADS: usize = 2;
const ROUNDS: usize = 5;
/// Turns of each in a round, of some 30 ms.
const TURNS: usize = 20;
/// Bits of `mjtState`.
const QPOS: c_int = 1 << 1;
const QVEL: c_int = 1 << 2;
const CTRL: c_int = 1 << 6;

#[repr(C)]
struct Config {
    nthread: c_int,
    persistent: u8,
}

unsafe extern "C" {
    fn mjb_makeBatch(
        m: *const mjModel,
        nsim: c_int,
        config: *const Config,
        error: *mut c_char,
        error_sz: c_int,
    ) -> *mut c_void;
    fn mjb_deleteBatch(b: *mut c_void);
    fn mjb_nstate(b: *const c_void) -> c_int;
    fn mjb_stateComponent(b: *mut c_void, component: c_int, size: *mut c_int) -> *mut f64;
    fn mjb_step(b: *mut c_void, ids: *const c_int, nid: c_int, nstep: c_int, stage: c_int)
    -> c_int;
}

/// MuJoCo's batch.
struct Stepper {
    batch: *mut c_void,
    stride: usize,
}

impl Stepper {
    fn new(model: &MjModel) -> Self {
        let config = Config { nthread: THREADS as c_int, persistent: 1 };
        // SAFETY: the model outlives the call, which copies it; no error text is asked for.
        let batch = unsafe {
            mjb_makeBatch(model.ffi(), ENVS as c_int, &raw const config, std::ptr::null_mut(), 0)
        };
        assert!(!batch.is_null(), "MuJoCo makes the batch");
        // SAFETY: the batch was just made.
        let stride = unsafe { mjb_nstate(batch) } as usize;
        Self { batch, stride }
    }

    fn set(&mut self, component: c_int, sim: usize, values: impl Iterator<Item = f64>) {
        // SAFETY: rows are `stride` apart, and `values` are as many as the component has.
        unsafe {
            let first = mjb_stateComponent(self.batch, component, std::ptr::null_mut());
            let row = first.add(sim * self.stride);
            values.enumerate().for_each(|(i, value)| *row.add(i) = value);
        }
    }

    fn step(&mut self, steps: usize) {
        // SAFETY: the batch stands; no ids means all simulations, stage 0 that nothing follows.
        unsafe { mjb_step(self.batch, std::ptr::null(), 0, steps as c_int, 0) };
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        // SAFETY: made by `mjb_makeBatch`, and not used after this.
        unsafe { mjb_deleteBatch(self.batch) }
    }
}

/// Seconds that both take for `steps` control steps from the start of seed `round`.
fn round(
    env: &mut SimEnv,
    model: &MjModel,
    actions: &[Vec<f32>],
    substeps: usize,
    round: u64,
) -> Result<(f64, f64)> {
    let seeds: Vec<_> = (0..ENVS as u64).map(|i| Some(1000 * round + i)).collect();
    env.reset(&seeds)?;
    let mut stepper = Stepper::new(model);
    for sim in 0..ENVS {
        let Some(start) = env.simulation(sim) else { continue };
        stepper.set(QPOS, sim, start.qpos.into_iter());
        stepper.set(QVEL, sim, start.qvel.into_iter());
    }
    let dims = env.spec().action.numel();
    let (mut ours, mut theirs) = (0.0, 0.0);
    for turn in actions.chunks(actions.len().div_ceil(TURNS)) {
        let begun = Instant::now();
        for actions in turn {
            for (sim, action) in actions.chunks_exact(dims).enumerate() {
                stepper.set(CTRL, sim, action.iter().map(|a| f64::from(*a)));
            }
            stepper.step(substeps);
        }
        theirs += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for actions in turn {
            env.step(actions, &[true; ENVS])?;
        }
        ours += begun.elapsed().as_secs_f64();
    }
    Ok((ours, theirs))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    let mut rows = Vec::new();
    for (task, file, steps) in [
        ("Humanoid-v5", "humanoid.xml", 100),
        ("Ant-v5", "ant.xml", 100),
        ("HalfCheetah-v5", "half_cheetah.xml", 800),
    ] {
        let options = EnvOptions {
            num_envs: ENVS,
            threads: THREADS,
            camera_size: None,
            trace: false,
            ..EnvOptions::new(&assets)
        };
        let mut env = embody_sim::make_sim(task, options)?;
        let substeps = embody_sim::show(task)?.substeps;
        let path = assets.join("gymnasium").join(file);
        let model = MjModel::from_xml(&path)
            .map_err(|e| embody_core::Error::new(format!("{}: {e}", path.display())))?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let spec = env.spec().clone();
        let draw = |rng: &mut ChaCha8Rng| -> Vec<f32> {
            let one = |_| spec.action_low.iter().zip(&spec.action_high);
            (0..ENVS).flat_map(one).map(|(low, high)| rng.random_range(*low..=*high)).collect()
        };
        let actions: Vec<Vec<f32>> = (0..steps).map(|_| draw(&mut rng)).collect();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for number in 0..ROUNDS {
            let (mine, stepper) = round(&mut env, &model, &actions, substeps, number as u64)?;
            let rate = |seconds: f64| (steps * ENVS) as f64 / seconds;
            ours.push(rate(mine));
            theirs.push(rate(stepper));
        }
        let ratio = median(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect());
        rows.push(serde_json::json!({
            "task": task,
            "embody": median(ours),
            "mjbatch": median(theirs),
            "ratio": ratio,
        }));
    }
    println!("{}", serde_json::Value::Array(rows));
    Ok(())
}
