//! Twin delayed deep deterministic policy gradient: Fujimoto et al. 2018,
//! <https://arxiv.org/abs/1802.09477>.
//!
//! One file, top to bottom: settings and presets, [`Td3::advance`] (steps and updates), the critics, the
//! actor. Actions lie in [-1, 1] for networks, noise and memory, and are laid onto the task's bounds
//! where they leave; with CleanRL, critics see them in the task's units.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use embody_core::{Result, Team};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::agent::{Agent, AgentState, Scalars, bad_state, lock};
use super::critics::{CriticWork, Critics, join, pieces, rows_of, smallest};
use super::envs::Envs;
use super::kernels::{self, Nonlinearity};
use super::mlp::{Init, Mlp, PIECE, Tape};
use super::optimizer::{self, Adam};
use super::policy::{ActorModel, Deviation, Squash, check_bounds};
use super::replay::{Replay, Shard};
use crate::error::{Error, check};
use crate::noise::{normals, stream};
use crate::rl::config::{above_zero, at_least_one, not_negative, share};

/// Settings of TD3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Td3Config {
    /// Transitions remembered.
    pub buffer_size: usize,
    /// Environment steps of uniformly random actions before learning begins.
    pub learning_starts: u64,
    /// Transitions of an update.
    pub batch_size: usize,
    /// Updates of the critics per step of all environments.
    pub updates_per_step: usize,
    /// Discount per step.
    pub gamma: f64,
    /// How far the targets follow at each update of the actor.
    pub tau: f64,
    /// Learning rate of the actor.
    pub actor_lr: f64,
    /// Learning rate of the critics.
    pub critic_lr: f64,
    /// Updates of the critics for one of the actor and of all targets.
    pub policy_delay: usize,
    /// Number of critics; the smallest value counts as target, the first is climbed.
    pub critics: usize,
    /// Deviation of the noise on actions that are taken, of half the range between the bounds.
    pub exploration_noise: f64,
    /// Deviation of the noise on the target's actions.
    pub target_noise: f64,
    /// Bound of that noise, either way.
    pub target_noise_clip: f64,
    /// Widths of the actor's hidden layers.
    pub actor_hidden: Vec<usize>,
    /// Widths of the critics'.
    pub critic_hidden: Vec<usize>,
    /// Nonlinearity of all.
    pub activation: Nonlinearity,
    /// Layer normalisation in the critics.
    pub critic_layer_norm: bool,
    /// Whether critics see actions in the task's units, rather than from -1 to 1.
    pub actions_in_units: bool,
}

impl Default for Td3Config {
    fn default() -> Self {
        Self::cleanrl()
    }
}

impl Td3Config {
    /// CleanRL's `td3_continuous_action`.
    pub fn cleanrl() -> Self {
        Self {
            buffer_size: 1_000_000,
            learning_starts: 25_000,
            batch_size: 256,
            updates_per_step: 1,
            gamma: 0.99,
            tau: 0.005,
            actor_lr: 3e-4,
            critic_lr: 3e-4,
            policy_delay: 2,
            critics: 2,
            exploration_noise: 0.1,
            target_noise: 0.2,
            target_noise_clip: 0.5,
            actor_hidden: vec![256, 256],
            critic_hidden: vec![256, 256],
            activation: Nonlinearity::Relu,
            critic_layer_norm: false,
            actions_in_units: true,
        }
    }

    /// Stable-Baselines3's `TD3("MlpPolicy")`, with the exploration noise of its zoo.
    pub fn sb3() -> Self {
        Self {
            learning_starts: 100,
            actor_lr: 1e-3,
            critic_lr: 1e-3,
            actor_hidden: vec![400, 300],
            critic_hidden: vec![400, 300],
            actions_in_units: false,
            ..Self::cleanrl()
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let hidden = self.actor_hidden.iter().chain(&self.critic_hidden);
        at_least_one(&[
            ("buffer_size", self.buffer_size),
            ("batch_size", self.batch_size),
            ("updates_per_step", self.updates_per_step),
            ("policy_delay", self.policy_delay),
            ("critics", self.critics),
            ("actor_hidden", hidden.copied().min().unwrap_or(1)),
        ])?;
        let most = u32::MAX as usize;
        check("buffer_size", self.buffer_size, self.buffer_size < most, "it must be below 2^32")?;
        above_zero(&[("actor_lr", self.actor_lr), ("critic_lr", self.critic_lr)])?;
        share(&[("gamma", self.gamma), ("tau", self.tau)])?;
        not_negative(&[
            ("exploration_noise", self.exploration_noise),
            ("target_noise", self.target_noise),
            ("target_noise_clip", self.target_noise_clip),
        ])
    }
}

/// Steps of all environments taken by one [`Td3::advance`].
const STEPS_AT_ONCE: u64 = 16;
/// A batch is cut into at most this many shards, of at least this many rows.
const MAX_SHARDS: usize = 16;
const MIN_SHARD_ROWS: usize = 128;

/// The learner.
pub(crate) struct Td3 {
    cfg: Td3Config,
    seed: u64,
    /// Steps of all environments so far.
    steps: u64,
    /// Environment steps so far.
    taken: u64,
    updates: u64,
    actor: Mlp,
    params: Vec<f32>,
    target: Vec<f32>,
    grads: Vec<f32>,
    adam: Adam,
    critics: Critics,
    replay: Replay,
    /// Current observations, `[num_envs, obs_dim]`.
    obs: Vec<f32>,
    /// From [-1, 1] to what the critics see, and to what the environments take: scale and shift.
    seen: Vec<(f32, f32)>,
    units: Vec<(f32, f32)>,
    drawn: Vec<u32>,
    work: Vec<Mutex<Work>>,
}

/// Room of one shard, and its part of the batch.
struct Work {
    batch: Shard,
    tape: Tape,
    critic: CriticWork,
    action: Vec<f32>,
    wanted: Vec<f32>,
    d_inputs: Vec<f32>,
    d_out: Vec<f32>,
    grads: Vec<f32>,
    /// Σ of squared errors and of values, or of the actor's loss.
    sums: (f64, f64),
}

impl Td3 {
    /// A fresh learner.
    pub fn new(cfg: &Td3Config, envs: &Envs<'_>, seed: u64) -> Result<Self, Error> {
        cfg.validate()?;
        check_bounds(&envs.low, &envs.high)?;
        let mut td3 = Self::sized(cfg, envs.obs_dim, &envs.low, &envs.high, envs.num, seed);
        td3.observe(envs);
        Ok(td3)
    }

    pub(crate) fn sized(
        cfg: &Td3Config,
        obs_dim: usize,
        low: &[f32],
        high: &[f32],
        num_envs: usize,
        seed: u64,
    ) -> Self {
        let (actions, act) = (low.len(), cfg.activation);
        let sizes = [&[obs_dim], cfg.actor_hidden.as_slice(), &[actions]].concat();
        let actor = Mlp::new(&sizes, act, false);
        let mut params = vec![0.0; actor.len()];
        actor.init(&mut params, Init::Uniform, &mut stream(seed, "td3/weights", 0));
        let inputs = obs_dim + actions;
        let (hidden, norm) = (cfg.critic_hidden.as_slice(), cfg.critic_layer_norm);
        let critics = Critics::new((inputs, hidden), cfg.critics, act, norm, seed);
        let units: Vec<(f32, f32)> =
            low.iter().zip(high).map(|(l, h)| (0.5 * (h - l), 0.5 * (h + l))).collect();
        let shards = (cfg.batch_size / MIN_SHARD_ROWS).clamp(1, MAX_SHARDS);
        let rows = cfg.batch_size.div_ceil(shards);
        let work = || Work {
            batch: Shard::new(rows, obs_dim, actions),
            tape: actor.tape(),
            critic: critics.work(),
            action: vec![0.0; PIECE * actions],
            wanted: vec![0.0; PIECE],
            d_inputs: vec![0.0; PIECE * inputs],
            d_out: vec![0.0; PIECE * actions],
            grads: vec![0.0; actor.len()],
            sums: (0.0, 0.0),
        };
        Self {
            seed,
            steps: 0,
            taken: 0,
            updates: 0,
            target: params.clone(),
            grads: vec![0.0; actor.len()],
            adam: Adam::new(actor.len(), 1e-8),
            replay: Replay::new(cfg.buffer_size, obs_dim, actions),
            obs: vec![0.0; num_envs * obs_dim],
            seen: if cfg.actions_in_units { units.clone() } else { vec![(1.0, 0.0); actions] },
            units,
            drawn: vec![0; cfg.batch_size],
            work: (0..shards).map(|_| Mutex::new(work())).collect(),
            cfg: cfg.clone(),
            actor,
            params,
            critics,
        }
    }

    fn observe(&mut self, envs: &Envs<'_>) {
        self.obs.iter_mut().zip(&envs.obs).for_each(|(o, e)| *o = *e as f32);
    }

    /// One step of all environments.
    fn act(&mut self, envs: &mut Envs<'_>) -> Result<()> {
        let (dim, n) = (envs.obs_dim, envs.action_dim);
        let mut rng = stream(self.seed, "td3/actions", self.steps);
        let mut squashed = vec![0.0; envs.num * n];
        if self.taken < self.cfg.learning_starts {
            squashed.iter_mut().for_each(|a| *a = rng.random_range(-1.0..1.0));
        } else {
            normals(&mut rng, &mut squashed);
            let work = &mut *lock(&self.work[0]);
            let deviation = self.cfg.exploration_noise as f32;
            for (obs, actions) in self.obs.chunks_exact(dim).zip(squashed.chunks_exact_mut(n)) {
                let out = self.actor.row(&self.params, obs, &mut work.tape);
                for (a, out) in actions.iter_mut().zip(out) {
                    *a = (kernels::tanh(*out) + deviation * *a).clamp(-1.0, 1.0);
                }
            }
        }
        let onto = |to: &[(f32, f32)]| -> Vec<f32> {
            let one = |(j, y): (usize, &f32)| y * to[j % n].0 + to[j % n].1;
            squashed.iter().enumerate().map(one).collect()
        };
        envs.step(&onto(&self.units))?;
        let actions = onto(&self.seen);
        self.replay.push(&self.obs, &actions, envs);
        self.observe(envs);
        self.steps += 1;
        self.taken += envs.num as u64;
        Ok(())
    }

    /// One update from transitions drawn anew.
    fn update(&mut self, team: &Team, scalars: &mut Scalars) -> Result<()> {
        let mut rng = stream(self.seed, "td3/batch", self.updates);
        let mut drawn = std::mem::take(&mut self.drawn);
        self.replay.draw(&mut rng, &mut drawn);
        let mut noise = vec![0.0; drawn.len() * self.units.len()];
        normals(&mut rng, &mut noise);
        let actor_turn = (self.updates + 1).is_multiple_of(self.cfg.policy_delay as u64);
        let (loss, values) = self.learn_critics(team, &drawn, &noise, actor_turn)?;
        self.drawn = drawn;
        scalars.add("critic_loss", loss);
        scalars.add("value", values);
        if actor_turn {
            scalars.add("actor_loss", self.learn_actor(team)?);
        }
        self.updates += 1;
        Ok(())
    }

    /// Row range of shard `s`.
    fn shard(&self, s: usize) -> std::ops::Range<usize> {
        let (rows, shards) = (self.cfg.batch_size, self.work.len());
        s * rows / shards..(s + 1) * rows / shards
    }

    /// Gathers the batch and moves every critic towards `r + γ (1 − end) min Q'(s', π'(s') + noise)`;
    /// their targets after them where they `follow`. Returns mean squared error and mean value.
    pub(crate) fn learn_critics(
        &mut self,
        team: &Team,
        drawn: &[u32],
        noise: &[f32],
        follow: bool,
    ) -> Result<(f64, f64)> {
        let (cfg, n) = (&self.cfg, self.units.len());
        let (gamma, weight) = (cfg.gamma as f32, 1.0 / cfg.batch_size as f32);
        let (deviation, bound) = (cfg.target_noise as f32, cfg.target_noise_clip as f32);
        let every: Vec<usize> = (0..self.critics.count).collect();
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            self.replay.gather(&drawn[range.clone()], &mut w.batch);
            w.sums = (0.0, 0.0);
            for piece in pieces(range.len()) {
                let (from, rows) = (piece.start, piece.len());
                let next_obs = rows_of(&w.batch.next_obs, self.actor.inputs(), &piece);
                let out = self.actor.forward(&self.target, next_obs, &mut w.tape);
                let noise = &noise[(range.start + from) * n..(range.start + from + rows) * n];
                for (i, (out, e)) in out.iter().zip(noise).enumerate() {
                    let (scale, shift) = self.seen[i % n];
                    let off = (deviation * e).clamp(-bound, bound);
                    w.action[i] = (kernels::tanh(*out) + off).clamp(-1.0, 1.0) * scale + shift;
                }
                join(next_obs, &w.action, n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.target, rows, &every, &mut w.critic);
                for i in 0..rows {
                    let goes_on = 1.0 - w.batch.ends[from + i];
                    let next = smallest(&w.critic.q, &every, i).1;
                    w.wanted[i] = w.batch.rewards[from + i] + gamma * goes_on * next;
                }
                let obs = rows_of(&w.batch.obs, self.actor.inputs(), &piece);
                join(obs, &w.batch.actions[from * n..], n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.params, rows, &every, &mut w.critic);
                let (loss, values) =
                    self.critics.learn(&w.wanted[..rows], weight, from == 0, &mut w.critic, None);
                w.sums.0 += loss;
                w.sums.1 += values;
            }
        });
        let shards: Vec<_> = self.work.iter().map(lock).collect();
        let parts: Vec<&[f32]> = shards.iter().map(|w| w.critic.grads.as_slice()).collect();
        let norm = optimizer::sum(team, &parts, &mut self.critics.grads);
        let sums = shards.iter().fold((0.0, 0.0), |s, w| (s.0 + w.sums.0, s.1 + w.sums.1));
        drop(shards);
        if !norm.is_finite() {
            let (what, step) = ("critics' gradient norm", self.updates);
            return Err(Error::LearningDiverged { what, value: norm, step }.into());
        }
        let Critics { params, target, adam, grads, .. } = &mut self.critics;
        let follow = follow.then_some((target.as_mut_slice(), self.cfg.tau as f32));
        adam.step_with(team, params, grads, self.cfg.critic_lr, 1.0, follow);
        let count = (self.cfg.batch_size * self.critics.count) as f64;
        Ok((sums.0 / count, sums.1 / count))
    }

    /// Moves the actor up the first critic on the batch in hand, and its target after it. Returns
    /// the mean loss, −Q.
    pub(crate) fn learn_actor(&mut self, team: &Team) -> Result<f64> {
        let (cfg, n, dim) = (&self.cfg, self.units.len(), self.actor.inputs());
        let share = 1.0 / cfg.batch_size as f32;
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            w.sums = (0.0, 0.0);
            for piece in pieces(range.len()) {
                let rows = piece.len();
                let obs = rows_of(&w.batch.obs, dim, &piece);
                let out = self.actor.forward(&self.params, obs, &mut w.tape);
                for (i, out) in out.iter().enumerate() {
                    let (scale, shift) = self.seen[i % n];
                    let y = kernels::tanh(*out);
                    w.action[i] = y * scale + shift;
                    w.d_out[i] = scale * (1.0 - y * y);
                }
                join(obs, &w.action, n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.params, rows, &[0], &mut w.critic);
                w.d_inputs[..rows * (dim + n)].fill(0.0);
                let climb = |_: &[f32], c: usize, _: usize| if c == 0 { -share } else { 0.0 };
                self.critics.input_gradient(rows, climb, &mut w.critic, &mut w.d_inputs);
                w.sums.0 -= w.critic.q[..rows].iter().map(|q| f64::from(*q)).sum::<f64>();
                for i in 0..rows {
                    for j in 0..n {
                        w.d_out[i * n + j] *= w.d_inputs[i * (dim + n) + dim + j];
                    }
                }
                let d_out = &w.d_out[..rows * n];
                let fresh = piece.start == 0;
                self.actor.backward(
                    &self.params,
                    obs,
                    d_out,
                    &mut w.tape,
                    &mut w.grads,
                    fresh,
                    None,
                );
            }
        });
        let shards: Vec<_> = self.work.iter().map(lock).collect();
        let parts: Vec<&[f32]> = shards.iter().map(|w| w.grads.as_slice()).collect();
        let norm = optimizer::sum(team, &parts, &mut self.grads);
        let loss: f64 = shards.iter().map(|w| w.sums.0).sum();
        drop(shards);
        if !norm.is_finite() {
            let (what, step) = ("actor's gradient norm", self.updates);
            return Err(Error::LearningDiverged { what, value: norm, step }.into());
        }
        let follow = Some((self.target.as_mut_slice(), self.cfg.tau as f32));
        let lr = self.cfg.actor_lr;
        self.adam.step_with(team, &mut self.params, &self.grads, lr, 1.0, follow);
        Ok(loss / self.cfg.batch_size as f64)
    }
}

impl Agent for Td3 {
    fn advance(&mut self, envs: &mut Envs<'_>, team: &Team, scalars: &mut Scalars) -> Result<u64> {
        let before = self.taken;
        for _ in 0..STEPS_AT_ONCE {
            self.act(envs)?;
            if self.taken > self.cfg.learning_starts {
                for _ in 0..self.cfg.updates_per_step {
                    self.update(team, scalars)?;
                }
            }
        }
        Ok(self.taken - before)
    }

    fn actor(&self, envs: &Envs<'_>) -> ActorModel {
        ActorModel {
            inputs: envs.inputs.clone(),
            net: self.actor.clone(),
            params: self.params.clone(),
            deviation: Deviation::None,
            moments: None,
            squash: Squash::Tanh,
            low: envs.low.clone(),
            high: envs.high.clone(),
            fps: envs.control_hz(),
            action_names: envs.action_names(),
        }
    }

    fn parameters(&self) -> usize {
        self.params.len() + self.critics.params.len()
    }

    fn save(&self) -> AgentState {
        let small = Saved {
            steps: self.steps,
            taken: self.taken,
            updates: self.updates,
            adam_steps: [self.adam.steps, self.critics.adam.steps],
        };
        let vectors = [
            ("actor", &self.params),
            ("actor.target", &self.target),
            ("actor.exp_avg", &self.adam.m),
            ("actor.exp_avg_sq", &self.adam.v),
            ("critics", &self.critics.params),
            ("critics.target", &self.critics.target),
            ("critics.exp_avg", &self.critics.adam.m),
            ("critics.exp_avg_sq", &self.critics.adam.v),
            ("observations", &self.obs),
        ];
        let vectors = vectors.map(|(name, values)| (name.to_owned(), values.clone())).into();
        AgentState { small: serde_json::to_value(small).unwrap_or_default(), vectors }
    }

    fn restore(&mut self, state: AgentState) -> Result<(), Error> {
        let saved: Saved = serde_json::from_value(state.small.clone()).map_err(|_| bad_state())?;
        (self.steps, self.taken, self.updates) = (saved.steps, saved.taken, saved.updates);
        [self.adam.steps, self.critics.adam.steps] = saved.adam_steps;
        state.put("actor", &mut self.params)?;
        state.put("actor.target", &mut self.target)?;
        state.put("actor.exp_avg", &mut self.adam.m)?;
        state.put("actor.exp_avg_sq", &mut self.adam.v)?;
        state.put("critics", &mut self.critics.params)?;
        state.put("critics.target", &mut self.critics.target)?;
        state.put("critics.exp_avg", &mut self.critics.adam.m)?;
        state.put("critics.exp_avg_sq", &mut self.critics.adam.v)?;
        state.put("observations", &mut self.obs)
    }

    fn write_memory(&self, out: &mut dyn Write) -> io::Result<()> {
        self.replay.write(out)
    }

    fn read_memory(&mut self, from: &mut dyn Read) -> io::Result<()> {
        self.replay.read(from)
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    steps: u64,
    taken: u64,
    updates: u64,
    adam_steps: [u64; 2],
}

#[cfg(test)]
mod tests;
