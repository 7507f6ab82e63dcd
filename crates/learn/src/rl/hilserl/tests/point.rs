//! The toy task of the tests: a point to be brought to a goal, and one who knows the way.

use embody_core::{
    ArrayView, DType, DataView, EnvSpec, Error, FeatureSpec, Features, Observations, Result, VecEnv,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CAMERA, LIMIT, SIDE, STATE};

/// A point in a square, moved by up to 0.1 a step, must come within 0.1 of a goal; the reward is 1
/// there and 0 elsewhere. With a gripper, it must also be closed there.
pub(super) struct Reach {
    spec: EnvSpec,
    pub cells: Vec<Cell>,
    pub state: Vec<f32>,
    pub pixels: Vec<u8>,
    pub rewards: Vec<f64>,
    pub terminated: Vec<bool>,
    pub truncated: Vec<bool>,
    pub success: Vec<bool>,
    gripper: bool,
    shapes: ([usize; 2], [usize; 4]),
}

#[derive(Clone, Copy, Default)]
pub(super) struct Cell {
    pub at: [f32; 2],
    pub goal: [f32; 2],
    closed: bool,
    steps: usize,
}

impl Reach {
    pub fn new(count: usize, gripper: bool) -> Self {
        let n = if gripper { 3 } else { 2 };
        let observations = Features::from([
            (STATE.to_owned(), FeatureSpec::new(DType::Float32, &[5], &[])),
            (CAMERA.to_owned(), FeatureSpec::new(DType::Image, &[SIDE, SIDE, 3], &[])),
        ]);
        Self {
            spec: EnvSpec {
                id: "bring-the-point".into(),
                version: 1,
                task: "Bring the point to the goal.".into(),
                robot_type: "point".into(),
                control_hz: 10.0,
                max_episode_steps: LIMIT,
                success_defined: true,
                observations,
                action: FeatureSpec::new(DType::Float32, &[n], &[]),
                action_low: vec![-0.1; n],
                action_high: vec![0.1; n],
            },
            cells: vec![Cell::default(); count],
            state: vec![0.0; 5 * count],
            pixels: vec![0; SIDE * SIDE * 3 * count],
            rewards: vec![0.0; count],
            terminated: vec![false; count],
            truncated: vec![false; count],
            success: vec![false; count],
            gripper,
            shapes: ([count, 5], [count, SIDE, SIDE, 3]),
        }
    }

    pub fn show(&mut self) {
        for (i, cell) in self.cells.iter().enumerate() {
            let closed = if cell.closed { 1.0 } else { 0.0 };
            let [x, y] = cell.at;
            let seen = [x, y, cell.goal[0], cell.goal[1], closed];
            self.state[5 * i..5 * i + 5].copy_from_slice(&seen);
            let picture = &mut self.pixels[i * SIDE * SIDE * 3..(i + 1) * SIDE * SIDE * 3];
            picture.fill(20);
            for (place, channel) in [(cell.at, 0), (cell.goal, 1)] {
                let pixel = place.map(|p| ((p + 1.0) * 3.99) as usize);
                picture[(pixel[1] * SIDE + pixel[0]) * 3 + channel] = 255;
            }
        }
    }
}

impl VecEnv for Reach {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.cells.len()
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        for (i, seed) in seeds.iter().enumerate() {
            let Some(seed) = seed else { continue };
            let mut rng = ChaCha8Rng::seed_from_u64(*seed);
            let mut place = || [(); 2].map(|()| rng.random_range(-0.7f32..0.7));
            self.cells[i] = Cell { at: place(), goal: place(), ..Cell::default() };
            (self.terminated[i], self.truncated[i], self.success[i]) = (false, false, false);
        }
        self.show();
        Ok(())
    }

    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()> {
        let n = self.spec.action_low.len();
        for i in (0..self.cells.len()).filter(|i| active[*i]) {
            let (cell, action) = (&mut self.cells[i], &actions[i * n..(i + 1) * n]);
            for (at, by) in cell.at.iter_mut().zip(action) {
                *at = (*at + by).clamp(-1.0, 1.0);
            }
            if self.gripper && action[2].abs() > 0.05 {
                cell.closed = action[2] < 0.0;
            }
            cell.steps += 1;
            let far = (cell.at[0] - cell.goal[0]).hypot(cell.at[1] - cell.goal[1]);
            let there = far < 0.1 && (cell.closed || !self.gripper);
            (self.success[i], self.terminated[i]) = (there, there);
            self.rewards[i] = f64::from(there);
            self.truncated[i] = !there && cell.steps >= LIMIT;
        }
        self.show();
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

    fn snapshot(&self) -> Option<Vec<u8>> {
        let bytes = |c: &Cell| {
            let mut out: Vec<u8> =
                c.at.iter().chain(&c.goal).flat_map(|v| v.to_le_bytes()).collect();
            out.push(u8::from(c.closed));
            out.push(c.steps as u8);
            out
        };
        Some(self.cells.iter().flat_map(bytes).collect())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        if snapshot.len() != 18 * self.cells.len() {
            return Err(Error::new("a snapshot of another number of points"));
        }
        for (cell, bytes) in self.cells.iter_mut().zip(snapshot.chunks_exact(18)) {
            let (words, _) = bytes.as_chunks::<4>();
            let value = |i: usize| f32::from_le_bytes(words[i]);
            (cell.at, cell.goal) = ([value(0), value(1)], [value(2), value(3)]);
            (cell.closed, cell.steps) = (bytes[16] == 1, usize::from(bytes[17]));
        }
        self.show();
        Ok(())
    }
}

/// What someone who knows the way does.
pub(super) fn expert(state: &[f32], action: &mut [f32]) {
    for (action, (at, goal)) in action.iter_mut().zip(state.iter().zip(&state[2..4])) {
        *action = (goal - at).clamp(-0.1, 0.1);
    }
    if let Some(gripper) = action.get_mut(2) {
        *gripper = if state[4] < 0.5 { -0.1 } else { 0.0 };
    }
}
