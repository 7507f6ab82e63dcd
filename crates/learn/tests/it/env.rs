//! A point that must reach the square that it sees.

use embody_core::{
    ArrayView, DType, DataView, EnvSpec, FeatureSpec, Features, Observations, Result, VecEnv,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::source::{CAMERA, SIDE, STATE, draw};

pub struct Reach {
    spec: EnvSpec,
    count: usize,
    goals: Vec<[f32; 2]>,
    state: Vec<f32>,
    pixels: Vec<u8>,
    steps: Vec<usize>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    success: Vec<bool>,
    shapes: ([usize; 2], [usize; 4]),
}

impl Reach {
    pub fn new(count: usize) -> Self {
        let vector = FeatureSpec::new(DType::Float32, &[2], &[]);
        Self {
            spec: EnvSpec {
                id: "reach".into(),
                version: 1,
                task: "Reach the square.".into(),
                robot_type: "point".into(),
                control_hz: 10.0,
                max_episode_steps: 20,
                success_defined: true,
                observations: Features::from([
                    (STATE.to_owned(), vector.clone()),
                    (CAMERA.to_owned(), FeatureSpec::new(DType::Image, &[SIDE, SIDE, 3], &[])),
                ]),
                action: vector,
                action_low: vec![-1.0; 2],
                action_high: vec![1.0; 2],
            },
            count,
            goals: vec![[0.0; 2]; count],
            state: vec![0.0; count * 2],
            pixels: vec![0; count * SIDE * SIDE * 3],
            steps: vec![0; count],
            rewards: vec![0.0; count],
            terminated: vec![false; count],
            truncated: vec![false; count],
            success: vec![false; count],
            shapes: ([count, 2], [count, SIDE, SIDE, 3]),
        }
    }
}

impl VecEnv for Reach {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.count
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        for (i, seed) in seeds.iter().enumerate() {
            let Some(seed) = seed else { continue };
            let mut rng = ChaCha8Rng::seed_from_u64(*seed);
            self.goals[i] = [rng.random_range(-0.8..0.8), rng.random_range(-0.8..0.8)];
            self.state[2 * i..2 * i + 2].fill(0.0);
            let mut picture = Vec::new();
            draw(self.goals[i], &mut picture);
            self.pixels[i * picture.len()..(i + 1) * picture.len()].copy_from_slice(&picture);
            self.steps[i] = 0;
            (self.terminated[i], self.truncated[i], self.success[i]) = (false, false, false);
        }
        Ok(())
    }

    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()> {
        for i in (0..self.count).filter(|i| active[*i]) {
            let state = &mut self.state[2 * i..2 * i + 2];
            state.copy_from_slice(&actions[2 * i..2 * i + 2]);
            let goal = self.goals[i];
            let far = (state[0] - goal[0]).hypot(state[1] - goal[1]);
            self.steps[i] += 1;
            self.success[i] = far < 0.15;
            self.rewards[i] = -f64::from(far);
            self.terminated[i] = self.success[i];
            self.truncated[i] = self.steps[i] >= self.spec.max_episode_steps;
        }
        Ok(())
    }

    fn observations(&self) -> Observations<'_> {
        let mut observations = Observations::default();
        let state = ArrayView { shape: &self.shapes.0, data: DataView::F32(&self.state) };
        let pixels = ArrayView { shape: &self.shapes.1, data: DataView::U8(&self.pixels) };
        observations.arrays.insert(STATE, state);
        observations.arrays.insert(CAMERA, pixels);
        observations
    }

    fn rewards(&self) -> &[f64] {
        &self.rewards
    }

    fn terminated(&self) -> &[bool] {
        &self.terminated
    }

    fn truncated(&self) -> &[bool] {
        &self.truncated
    }

    fn success(&self) -> &[bool] {
        &self.success
    }

    fn diverged(&self) -> u64 {
        0
    }
}
