//! The environments as a learner sees them: vectors in, vectors out, episodes that begin by
//! themselves, returns counted.
//!
//! Batches with [`Autoreset::SameStep`] or [`Autoreset::Disabled`] are taken (the latter are reset
//! here); both deliver an episode's last observation beside the next one's first, as Gymnasium did up
//! to 0.29, on which the published results stand. [`Autoreset::NextStep`] is refused: it puts a
//! step that nobody chose between two episodes.

use std::collections::VecDeque;

use embody_core::{ArrayView, Autoreset, DataView, Result, VecEnv, derive_seed};
use serde::{Deserialize, Serialize};

use super::normalize::Bits;
use crate::error::Error;

/// Finished episodes over which returns are averaged.
const WINDOW: usize = 100;

/// A batch of environments, the state of its episodes, and what the last step gave.
pub(crate) struct Envs<'e> {
    env: &'e mut dyn VecEnv,
    /// Observation keys, with their dimensions, in the specification's order.
    pub inputs: Vec<(String, usize)>,
    pub num: usize,
    pub obs_dim: usize,
    pub action_dim: usize,
    pub low: Vec<f32>,
    pub high: Vec<f32>,
    /// Observations after the last step (and after any reset), `[num, obs_dim]`.
    pub obs: Vec<f64>,
    /// As `obs`, but the last observation of the episode where one has ended.
    pub last_obs: Vec<f64>,
    /// Rewards of the last step, `[num]`.
    pub rewards: Vec<f64>,
    /// Whether the last step ended the episode by the task's rule, `[num]`.
    pub terminated: Vec<bool>,
    /// Whether it did by time, `[num]`.
    pub truncated: Vec<bool>,
    /// Whether it did at all, `[num]`.
    pub done: Vec<bool>,
    active: Vec<bool>,
    clipped: Vec<f32>,
    seeds: Vec<u64>,
    state: EpisodeState,
    /// Return and length of the last episodes, oldest first.
    recent: VecDeque<(f64, usize)>,
    /// Those that have ended since the last [`Envs::take_finished`].
    finished: Vec<(f64, usize)>,
}

struct EpisodeState {
    returns: Vec<f64>,
    lengths: Vec<usize>,
    /// Episodes that began by themselves, per environment.
    automatic: Vec<u64>,
}

/// [`Envs`] in a checkpoint, beside the batch's own snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedEnvs {
    returns: Bits,
    lengths: Vec<usize>,
    automatic: Vec<u64>,
    recent: Vec<(Bits, usize)>,
    finished: Vec<(Bits, usize)>,
}

impl<'e> Envs<'e> {
    /// Takes a batch over and begins an episode in every environment.
    pub fn start(env: &'e mut dyn VecEnv, keys: &[String], seed: u64) -> Result<Self> {
        if env.autoreset() == Autoreset::NextStep {
            return Err(Error::Invalid {
                what: format!("environment `{}` resets itself at the next step", env.spec().id),
                hint: "make it with `same-step` or without resets".into(),
            }
            .into());
        }
        let spec = env.spec();
        let known = || spec.observations.keys().cloned().collect::<Vec<_>>().join(", ");
        let vector = |key: &&String| {
            let feature = &spec.observations[key.as_str()];
            feature.dtype.is_numeric() && !key.contains("environment_state")
        };
        let chosen: Vec<String> = match keys {
            [] => spec.observations.keys().filter(vector).cloned().collect(),
            keys => keys.to_vec(),
        };
        let mut inputs = Vec::new();
        for key in chosen {
            let feature = spec
                .observations
                .get(&key)
                .ok_or_else(|| Error::MissingFeature { key: key.clone(), known: known() })?;
            if !feature.dtype.is_numeric() || feature.shape.len() != 1 {
                let found = format!("{:?} {:?}", feature.dtype, feature.shape);
                return Err(Error::FeatureShape { key, found, expected: "a vector".into() }.into());
            }
            inputs.push((key, feature.numel()));
        }
        let obs_dim: usize = inputs.iter().map(|(_, dim)| dim).sum();
        if obs_dim == 0 {
            let key = "observation.state".to_owned();
            return Err(Error::MissingFeature { key, known: known() }.into());
        }
        let (num, action_dim) = (env.num_envs(), spec.action.numel());
        let (low, high) = (spec.action_low.clone(), spec.action_high.clone());
        if low.len() != action_dim || high.len() != action_dim {
            return Err(Error::FeatureShape {
                key: "action".into(),
                found: format!("bounds of {} and {} dimensions", low.len(), high.len()),
                expected: format!("{action_dim}"),
            }
            .into());
        }
        let seeds = (0..num).map(|i| derive_seed(seed, "rl/environment", i as u64)).collect();
        let state = EpisodeState {
            returns: vec![0.0; num],
            lengths: vec![0; num],
            automatic: vec![0; num],
        };
        let mut envs = Self {
            env,
            inputs,
            num,
            obs_dim,
            action_dim,
            low,
            high,
            obs: vec![0.0; num * obs_dim],
            last_obs: vec![0.0; num * obs_dim],
            rewards: vec![0.0; num],
            terminated: vec![false; num],
            truncated: vec![false; num],
            done: vec![false; num],
            active: vec![true; num],
            clipped: vec![0.0; num * action_dim],
            seeds,
            state,
            recent: VecDeque::new(),
            finished: Vec::new(),
        };
        let seeds: Vec<_> = envs.seeds.iter().copied().map(Some).collect();
        envs.env.reset(&seeds)?;
        envs.read_observations()?;
        envs.last_obs.copy_from_slice(&envs.obs);
        Ok(envs)
    }

    /// One step with `actions [num, action_dim]`, clipped to the task's bounds.
    pub fn step(&mut self, actions: &[f32]) -> Result<()> {
        for (clipped, actions) in self
            .clipped
            .chunks_exact_mut(self.action_dim)
            .zip(actions.chunks_exact(self.action_dim))
        {
            for (j, (c, a)) in clipped.iter_mut().zip(actions).enumerate() {
                *c = a.max(self.low[j]).min(self.high[j]);
            }
        }
        self.env.step(&self.clipped, &self.active)?;
        // Copies, for a reset clears them in the environment.
        self.rewards.copy_from_slice(self.env.rewards());
        self.terminated.copy_from_slice(self.env.terminated());
        self.truncated.copy_from_slice(self.env.truncated());
        for i in 0..self.num {
            self.done[i] = self.terminated[i] || self.truncated[i];
            self.state.returns[i] += self.rewards[i];
            self.state.lengths[i] += 1;
            if !self.rewards[i].is_finite() {
                return Err(Error::RewardNotFinite { env: i, value: self.rewards[i] }.into());
            }
        }
        self.read_observations()?;
        self.last_obs.copy_from_slice(&self.obs);
        if self.done.iter().any(|d| *d) {
            self.end_episodes()?;
        }
        Ok(())
    }

    fn end_episodes(&mut self) -> Result<()> {
        match self.env.autoreset() {
            Autoreset::SameStep => {
                let mut at = 0;
                for (key, dim) in &self.inputs {
                    let view = self.env.final_observation(key);
                    let place = Place { key, dim: *dim, at, width: self.obs_dim };
                    place.copy(view, self.num, &mut self.last_obs, |i| self.done[i])?;
                    at += dim;
                }
            }
            _ => {
                let begin = |i: usize| {
                    self.done[i].then(|| {
                        derive_seed(self.seeds[i], "autoreset", self.state.automatic[i] + 1)
                    })
                };
                let seeds: Vec<_> = (0..self.num).map(begin).collect();
                self.env.reset(&seeds)?;
                self.read_observations()?;
            }
        }
        for i in (0..self.num).filter(|i| self.done[*i]) {
            let episode = (self.state.returns[i], self.state.lengths[i]);
            (self.state.returns[i], self.state.lengths[i]) = (0.0, 0);
            self.state.automatic[i] += 1;
            if self.recent.len() == WINDOW {
                self.recent.pop_front();
            }
            self.recent.push_back(episode);
            self.finished.push(episode);
        }
        Ok(())
    }

    fn read_observations(&mut self) -> Result<()> {
        let mut at = 0;
        for (key, dim) in &self.inputs {
            let place = Place { key, dim: *dim, at, width: self.obs_dim };
            place.copy(self.env.observation(key), self.num, &mut self.obs, |_| true)?;
            at += dim;
        }
        Ok(())
    }

    /// Control steps per second.
    pub fn control_hz(&self) -> f64 {
        self.env.spec().control_hz
    }

    pub fn action_names(&self) -> Vec<String> {
        self.env.spec().action.dim_names()
    }

    /// Number of episodes, mean return and mean length of those that have ended since the last call.
    pub fn take_finished(&mut self) -> (usize, Option<(f64, f64)>) {
        let mean = mean(self.finished.iter());
        let count = self.finished.len();
        self.finished.clear();
        (count, mean)
    }

    /// Mean return and mean length of the last hundred episodes.
    pub fn recent(&self) -> Option<(f64, f64)> {
        mean(self.recent.iter())
    }

    /// The batch's own snapshot, and what is kept here.
    pub fn save(&self) -> (Option<Vec<u8>>, SavedEnvs) {
        let bits = |(r, n): &(f64, usize)| (Bits::of(&[*r]), *n);
        let recent = self.recent.iter().map(bits).collect();
        let finished = self.finished.iter().map(bits).collect();
        let state = &self.state;
        let saved = SavedEnvs {
            returns: Bits::of(&state.returns),
            lengths: state.lengths.clone(),
            automatic: state.automatic.clone(),
            recent,
            finished,
        };
        (self.env.snapshot(), saved)
    }

    /// Goes on from [`Envs::save`].
    pub fn restore(&mut self, snapshot: &[u8], saved: &SavedEnvs) -> Result<()> {
        self.env.restore(snapshot)?;
        let state = &mut self.state;
        if saved.lengths.len() != self.num
            || saved.automatic.len() != self.num
            || !saved.returns.put(&mut state.returns)
        {
            return Err(Error::Invalid {
                what: "the checkpoint is of another number of environments".into(),
                hint: "remove the run's folder to begin anew".into(),
            }
            .into());
        }
        state.lengths.clone_from(&saved.lengths);
        state.automatic.clone_from(&saved.automatic);
        let one = |(r, n): &(Bits, usize)| (r.values().first().copied().unwrap_or(0.0), *n);
        self.recent = saved.recent.iter().map(one).collect();
        self.finished = saved.finished.iter().map(one).collect();
        self.read_observations()?;
        self.last_obs.copy_from_slice(&self.obs);
        Ok(())
    }
}

fn mean<'a>(episodes: impl ExactSizeIterator<Item = &'a (f64, usize)>) -> Option<(f64, f64)> {
    let n = episodes.len() as f64;
    let sum = episodes.fold((0.0, 0.0), |s, e| (s.0 + e.0, s.1 + e.1 as f64));
    (n > 0.0).then_some((sum.0 / n, sum.1 / n))
}

/// Where a key's values stand in a row of all.
struct Place<'a> {
    key: &'a str,
    dim: usize,
    at: usize,
    width: usize,
}

impl Place<'_> {
    fn copy(
        &self,
        view: Option<ArrayView<'_>>,
        num: usize,
        out: &mut [f64],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), Error> {
        let wrong = |found: String| Error::FeatureShape {
            key: self.key.to_owned(),
            found,
            expected: format!("f32 or f64 [{num}, {}]", self.dim),
        };
        let view = view.ok_or_else(|| wrong("nothing".into()))?;
        if view.shape != [num, self.dim] {
            return Err(wrong(format!("{:?}", view.shape)));
        }
        for (i, row) in out.chunks_exact_mut(self.width).enumerate().filter(|(i, _)| wanted(*i)) {
            let row = &mut row[self.at..self.at + self.dim];
            let range = i * self.dim..(i + 1) * self.dim;
            match view.data {
                DataView::F64(values) => row.copy_from_slice(&values[range]),
                DataView::F32(values) => {
                    row.iter_mut().zip(&values[range]).for_each(|(r, v)| *r = f64::from(*v));
                }
                _ => return Err(wrong("values of another type".into())),
            }
            if let Some(bad) = row.iter().find(|v| !v.is_finite()) {
                return Err(wrong(format!("{bad} in environment {i}")));
            }
        }
        Ok(())
    }
}
