//! Memory of transitions for off-policy learning: plain f32 columns, the oldest overwritten.
//!
//! The next observation is the episode's own last one where an episode ended, and `ends` is 1 only
//! where it terminated: what a time limit cut short goes on to have a value.

use std::io::{self, Read, Write};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::envs::Envs;

/// Transitions in order of arrival, as a ring.
pub(crate) struct Replay {
    capacity: usize,
    len: usize,
    /// Where the next transition goes once the ring is full.
    at: usize,
    pub obs_dim: usize,
    pub action_dim: usize,
    pub obs: Vec<f32>,
    pub next_obs: Vec<f32>,
    pub actions: Vec<f32>,
    pub rewards: Vec<f32>,
    pub ends: Vec<f32>,
}

/// Some transitions side by side.
#[derive(Default)]
pub(crate) struct Shard {
    pub obs: Vec<f32>,
    pub next_obs: Vec<f32>,
    pub actions: Vec<f32>,
    pub rewards: Vec<f32>,
    pub ends: Vec<f32>,
}

impl Shard {
    pub fn new(rows: usize, obs_dim: usize, action_dim: usize) -> Self {
        let mut shard = Self::default();
        shard.resize(rows, obs_dim, action_dim);
        shard
    }

    fn resize(&mut self, rows: usize, obs_dim: usize, action_dim: usize) {
        self.obs.resize(rows * obs_dim, 0.0);
        self.next_obs.resize(rows * obs_dim, 0.0);
        self.actions.resize(rows * action_dim, 0.0);
        self.rewards.resize(rows, 0.0);
        self.ends.resize(rows, 0.0);
    }
}

impl Replay {
    pub fn new(capacity: usize, obs_dim: usize, action_dim: usize) -> Self {
        let column = |n: usize| Vec::with_capacity(n * capacity);
        Self {
            capacity,
            len: 0,
            at: 0,
            obs_dim,
            action_dim,
            obs: column(obs_dim),
            next_obs: column(obs_dim),
            actions: column(action_dim),
            rewards: column(1),
            ends: column(1),
        }
    }

    /// Keeps one step of all environments: `before` are the observations that `actions` answered.
    pub fn push(&mut self, before: &[f32], actions: &[f32], envs: &Envs<'_>) {
        let (dim, n) = (self.obs_dim, self.action_dim);
        for i in 0..envs.num {
            let at = self.at;
            let next = envs.last_obs[i * dim..(i + 1) * dim].iter().map(|v| *v as f32);
            put(&mut self.obs, at, before[i * dim..(i + 1) * dim].iter().copied());
            put(&mut self.next_obs, at, next);
            put(&mut self.actions, at, actions[i * n..(i + 1) * n].iter().copied());
            put(&mut self.rewards, at, [envs.rewards[i] as f32].into_iter());
            put(&mut self.ends, at, [if envs.terminated[i] { 1.0 } else { 0.0 }].into_iter());
            self.len = (self.len + 1).min(self.capacity);
            self.at = (at + 1) % self.capacity;
        }
    }

    /// Fills the first `rows` places with random numbers, for measuring.
    pub fn fill_with_noise(&mut self, rows: usize) {
        let mut rng = crate::noise::stream(0, "bench/transitions", 0);
        for (dim, column) in self.columns() {
            column.resize(rows * dim, 0.0);
            crate::noise::normals(&mut rng, column);
        }
        self.ends.fill(0.0);
        (self.len, self.at) = (rows, rows % self.capacity);
    }

    /// Draws places of transitions, uniformly and with repetition.
    pub fn draw(&self, rng: &mut ChaCha8Rng, out: &mut [u32]) {
        let len = self.len as u32;
        out.iter_mut().for_each(|o| *o = rng.random_range(0..len));
    }

    /// Copies transitions into a shard's own room, which has as many rows.
    pub fn gather(&self, drawn: &[u32], to: &mut Shard) {
        let (dim, n) = (self.obs_dim, self.action_dim);
        to.resize(drawn.len(), dim, n);
        for (i, at) in drawn.iter().enumerate() {
            let at = *at as usize;
            to.obs[i * dim..(i + 1) * dim].copy_from_slice(&self.obs[at * dim..(at + 1) * dim]);
            let next = &self.next_obs[at * dim..(at + 1) * dim];
            to.next_obs[i * dim..(i + 1) * dim].copy_from_slice(next);
            to.actions[i * n..(i + 1) * n].copy_from_slice(&self.actions[at * n..(at + 1) * n]);
            (to.rewards[i], to.ends[i]) = (self.rewards[at], self.ends[at]);
        }
    }

    fn columns(&mut self) -> [(usize, &mut Vec<f32>); 5] {
        [
            (self.obs_dim, &mut self.obs),
            (self.obs_dim, &mut self.next_obs),
            (self.action_dim, &mut self.actions),
            (1, &mut self.rewards),
            (1, &mut self.ends),
        ]
    }

    /// Writes everything, little-endian.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(self.len as u64).to_le_bytes())?;
        out.write_all(&(self.at as u64).to_le_bytes())?;
        for column in [&self.obs, &self.next_obs, &self.actions, &self.rewards, &self.ends] {
            for part in column.chunks(1 << 16) {
                let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_le_bytes()).collect();
                out.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    /// Reads what [`Replay::write`] wrote for a memory of the same sizes.
    pub fn read(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut word = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes)?;
            Ok::<_, io::Error>(u64::from_le_bytes(bytes) as usize)
        };
        let (len, at) = (word()?, word()?);
        if len > self.capacity || at >= self.capacity {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "sizes do not fit"));
        }
        (self.len, self.at) = (len, at);
        for (dim, column) in self.columns() {
            column.clear();
            let mut left = len * dim;
            let mut bytes = vec![0; 4 << 16];
            while left > 0 {
                let part = &mut bytes[..4 * left.min(1 << 16)];
                from.read_exact(part)?;
                let (words, _) = part.as_chunks::<4>();
                column.extend(words.iter().map(|w| f32::from_le_bytes(*w)));
                left -= words.len();
            }
        }
        Ok(())
    }
}

/// Writes a row over row `at`, or behind the last.
fn put(column: &mut Vec<f32>, at: usize, row: impl ExactSizeIterator<Item = f32>) {
    let from = at * row.len();
    if from == column.len() {
        column.extend(row);
    } else {
        column[from..from + row.len()].iter_mut().zip(row).for_each(|(c, v)| *c = v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_behind_then_over() {
        let mut column = Vec::new();
        for (at, v) in [(0, 1.0), (1, 2.0), (2, 3.0), (0, 4.0)] {
            put(&mut column, at, [v, -v].into_iter());
        }
        assert_eq!(column, [4.0, -4.0, 2.0, -2.0, 3.0, -3.0]);
    }

    #[test]
    fn what_was_written_is_read() {
        let mut memory = Replay::new(3, 2, 1);
        (memory.len, memory.at) = (2, 2);
        memory.obs = vec![1.0, 2.0, 3.0, 4.0];
        memory.next_obs = vec![5.0, 6.0, 7.0, 8.0];
        (memory.actions, memory.rewards, memory.ends) =
            (vec![9.0, 10.0], vec![11.0, 12.0], vec![0.0, 1.0]);
        let mut bytes = Vec::new();
        memory.write(&mut bytes).expect("write");
        let mut back = Replay::new(3, 2, 1);
        back.read(&mut bytes.as_slice()).expect("read");
        assert_eq!(
            (back.len, back.at, back.obs, back.next_obs),
            (2, 2, memory.obs, memory.next_obs)
        );
        assert_eq!(
            (back.actions, back.rewards, back.ends),
            (memory.actions, memory.rewards, memory.ends)
        );
        assert!(Replay::new(1, 2, 1).read(&mut bytes.as_slice()).is_err());
        assert!(Replay::new(3, 2, 1).read(&mut &bytes[..20]).is_err());
    }
}
