//! A pendulum to be swung up, by the equations of Gymnasium's `Pendulum-v1`: observation
//! [cos θ, sin θ, θ̇], torque within ±2, reward −(θ² + 0.1 θ̇² + 0.001 u²), 200 steps of 0.05 s.

use embody_core::{
    ArrayView, Autoreset, DType, DataView, EnvSpec, Error, FeatureSpec, Features, Observations,
    Result, VecEnv, derive_seed,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const STEPS: usize = 200;

pub struct Pendulum {
    spec: EnvSpec,
    autoreset: Autoreset,
    /// Whether [`VecEnv::snapshot`] gives anything.
    pub remembers: bool,
    cells: Vec<Cell>,
    seen: Vec<f64>,
    last: Vec<f64>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    shape: [usize; 2],
}

#[derive(Clone, Copy, Default)]
struct Cell {
    angle: f64,
    speed: f64,
    steps: u64,
    seed: u64,
    automatic: u64,
}

impl Cell {
    fn begin(&mut self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.angle = rng.random_range(-std::f64::consts::PI..std::f64::consts::PI);
        self.speed = rng.random_range(-1.0..1.0);
        self.steps = 0;
    }

    fn step(&mut self, torque: f64) -> f64 {
        let pi = std::f64::consts::PI;
        let u = torque.clamp(-2.0, 2.0);
        let angle = (self.angle + pi).rem_euclid(2.0 * pi) - pi;
        let cost = angle * angle + 0.1 * self.speed * self.speed + 0.001 * u * u;
        self.speed += (15.0 * self.angle.sin() + 3.0 * u) * 0.05;
        self.speed = self.speed.clamp(-8.0, 8.0);
        self.angle += self.speed * 0.05;
        self.steps += 1;
        -cost
    }

    fn see(&self) -> [f64; 3] {
        [self.angle.cos(), self.angle.sin(), self.speed]
    }
}

impl Pendulum {
    pub fn new(count: usize, autoreset: Autoreset) -> Self {
        Self {
            spec: EnvSpec {
                id: "pendulum".into(),
                version: 1,
                task: "Swing the pendulum up.".into(),
                robot_type: "pendulum".into(),
                control_hz: 20.0,
                max_episode_steps: STEPS,
                success_defined: false,
                observations: Features::from([(
                    "observation.state".to_owned(),
                    FeatureSpec::new(DType::Float64, &[3], &["cos", "sin", "speed"]),
                )]),
                action: FeatureSpec::new(DType::Float32, &[1], &["torque"]),
                action_low: vec![-2.0],
                action_high: vec![2.0],
            },
            autoreset,
            remembers: true,
            cells: vec![Cell::default(); count],
            seen: vec![0.0; 3 * count],
            last: vec![0.0; 3 * count],
            rewards: vec![0.0; count],
            terminated: vec![false; count],
            truncated: vec![false; count],
            shape: [count, 3],
        }
    }

    fn look(&mut self) {
        for (seen, cell) in self.seen.chunks_exact_mut(3).zip(&self.cells) {
            seen.copy_from_slice(&cell.see());
        }
    }
}

impl VecEnv for Pendulum {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.cells.len()
    }

    fn autoreset(&self) -> Autoreset {
        self.autoreset
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        for (i, seed) in seeds.iter().enumerate() {
            let Some(seed) = seed else { continue };
            self.cells[i].begin(*seed);
            (self.cells[i].seed, self.cells[i].automatic) = (*seed, 0);
            (self.rewards[i], self.truncated[i]) = (0.0, false);
        }
        self.look();
        Ok(())
    }

    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()> {
        for i in (0..self.cells.len()).filter(|i| active[*i]) {
            let cell = &mut self.cells[i];
            assert!(actions[i].abs() <= 2.0, "the action lies outside its bounds");
            self.rewards[i] = cell.step(f64::from(actions[i]));
            self.truncated[i] = cell.steps >= STEPS as u64;
            self.last[3 * i..3 * i + 3].copy_from_slice(&cell.see());
            if self.truncated[i] && self.autoreset == Autoreset::SameStep {
                cell.automatic += 1;
                cell.begin(derive_seed(cell.seed, "autoreset", cell.automatic));
            }
        }
        self.look();
        Ok(())
    }

    fn observations(&self) -> Observations<'_> {
        let mut observations = Observations::default();
        let view = ArrayView { shape: &self.shape, data: DataView::F64(&self.seen) };
        observations.arrays.insert("observation.state", view);
        observations
    }

    fn final_observation(&self, key: &str) -> Option<ArrayView<'_>> {
        let view = ArrayView { shape: &self.shape, data: DataView::F64(&self.last) };
        (key == "observation.state").then_some(view)
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
        &self.terminated
    }

    fn diverged(&self) -> u64 {
        0
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        let words = |c: &Cell| [c.angle.to_bits(), c.speed.to_bits(), c.steps, c.seed, c.automatic];
        let bytes = self.cells.iter().flat_map(words).flat_map(u64::to_le_bytes).collect();
        self.remembers.then_some(bytes)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        let (words, rest) = snapshot.as_chunks::<8>();
        if words.len() != 5 * self.cells.len() || !rest.is_empty() {
            return Err(Error::new("the snapshot is of another number of pendulums"));
        }
        for (cell, words) in self.cells.iter_mut().zip(words.chunks_exact(5)) {
            let word = |i: usize| u64::from_le_bytes(words[i]);
            *cell = Cell {
                angle: f64::from_bits(word(0)),
                speed: f64::from_bits(word(1)),
                steps: word(2),
                seed: word(3),
                automatic: word(4),
            };
        }
        self.look();
        Ok(())
    }
}
