//! Soft actor-critic: Haarnoja et al. 2018, <https://arxiv.org/abs/1812.05905>, with the temperature
//! learned; more critics and many updates a step after REDQ, <https://arxiv.org/abs/2101.05982>, and
//! "A walk in the park", <https://arxiv.org/abs/2208.07860> (layer normalisation in the critics); many
//! environments a step after FastSAC, <https://arxiv.org/abs/2512.01996>.
//!
//! The algorithm, top to bottom: acting, an update, then its parts: critics, actor, temperature;
//! settings and presets are in [`config`]. The switches are those in which CleanRL's
//! `sac_continuous_action` and Stable-Baselines3 differ. A batch is cut into shards by its size
//! alone and gradients are summed in shard order: the number of threads changes no bit.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use embody_core::{Result, Team};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::agent::{Agent, AgentState, Scalars, bad_state, lock};
use super::critics::{CriticWork, Critics, join, pieces, rows_of, smallest};
use super::envs::Envs;
use super::gaussian::Sample;
use super::mlp::{Init, Mlp, PIECE, Tape};
use super::normalize::{Bits, RunningMoments};
use super::optimizer::{self, Adam};
use super::policy::{ActorModel, Deviation, Squash, check_bounds};
use super::replay::{Replay, Shard};
use crate::error::Error;
use crate::noise::{normals, stream};

mod config;

pub use config::{SacConfig, StdRange, TemperatureUpdate};

/// Steps of all environments taken by one [`Sac::advance`].
const STEPS_AT_ONCE: u64 = 16;
/// A batch is cut into at most this many shards, of at least this many rows.
const MAX_SHARDS: usize = 16;
const MIN_SHARD_ROWS: usize = 128;

/// The learner.
pub(crate) struct Sac {
    cfg: SacConfig,
    seed: u64,
    /// Steps of all environments so far.
    steps: u64,
    /// Environment steps so far.
    taken: u64,
    updates: u64,
    actor: Mlp,
    params: Vec<f32>,
    grads: Vec<f32>,
    adam: Adam,
    critics: Critics,
    /// Logarithm of the temperature, and the temperature of the update in hand.
    log_alpha: [f32; 1],
    alpha: f32,
    alpha_adam: Adam,
    replay: Replay,
    moments: RunningMoments,
    /// Current observations as they came, `[num_envs, obs_dim]`.
    obs: Vec<f32>,
    /// From [-1, 1] to what the critics see, and to what the environments take: scale and shift.
    seen: Vec<(f32, f32)>,
    units: Vec<(f32, f32)>,
    drawn: Vec<u32>,
    work: Vec<Mutex<Work>>,
}

/// Standard normal draws of an update, `[batch_size, action_dim]` each.
#[derive(Clone)]
pub(crate) struct Noise {
    /// For the next actions in the critics' targets.
    pub next: Vec<f32>,
    /// For the actions that the actor climbs with.
    pub now: Vec<f32>,
    /// For the actions by which the temperature is judged.
    pub fresh: Vec<f32>,
}

/// Room of one shard, and its part of the batch.
struct Work {
    batch: Shard,
    tape: Tape,
    sample: Sample,
    critic: CriticWork,
    wanted: Vec<f32>,
    d_inputs: Vec<f32>,
    d_out: Vec<f32>,
    grads: Vec<f32>,
    sums: Sums,
}

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub critic_loss: f64,
    pub values: f64,
    pub actor_loss: f64,
    pub log_prob: f64,
}

impl Sac {
    /// A fresh learner.
    pub fn new(cfg: &SacConfig, envs: &Envs<'_>, seed: u64) -> Result<Self, Error> {
        cfg.validate()?;
        check_bounds(&envs.low, &envs.high)?;
        let mut sac = Self::sized(cfg, envs.obs_dim, &envs.low, &envs.high, envs.num, seed);
        sac.observe(envs);
        Ok(sac)
    }

    pub(crate) fn sized(
        cfg: &SacConfig,
        obs_dim: usize,
        low: &[f32],
        high: &[f32],
        num_envs: usize,
        seed: u64,
    ) -> Self {
        let actions = low.len();
        let act = cfg.activation;
        let sizes = [&[obs_dim], cfg.actor_hidden.as_slice(), &[2 * actions]].concat();
        let actor = Mlp::new(&sizes, act, cfg.actor_layer_norm);
        let mut params = vec![0.0; actor.len()];
        actor.init(&mut params, Init::Uniform, &mut stream(seed, "sac/weights", 0));
        let hidden = &cfg.critic_hidden;
        let (norm, inputs) = (cfg.critic_layer_norm, obs_dim + actions);
        let critics = Critics::new((inputs, hidden), cfg.critics, act, norm, seed);
        let units: Vec<(f32, f32)> =
            low.iter().zip(high).map(|(l, h)| (0.5 * (h - l), 0.5 * (h + l))).collect();
        let seen = if cfg.actions_in_units { units.clone() } else { vec![(1.0, 0.0); actions] };
        let shards = (cfg.batch_size / MIN_SHARD_ROWS).clamp(1, MAX_SHARDS);
        let rows = cfg.batch_size.div_ceil(shards);
        let work = || Work {
            batch: Shard::new(rows, obs_dim, actions),
            tape: actor.tape(),
            sample: Sample::new(&seen),
            critic: critics.work(),
            wanted: vec![0.0; PIECE],
            d_inputs: vec![0.0; PIECE * inputs],
            d_out: vec![0.0; PIECE * 2 * actions],
            grads: vec![0.0; actor.len()],
            sums: Sums::default(),
        };
        Self {
            seed,
            steps: 0,
            taken: 0,
            updates: 0,
            grads: vec![0.0; actor.len()],
            adam: Adam::new(actor.len(), 1e-8),
            log_alpha: [cfg.initial_temperature.ln() as f32],
            alpha: cfg.initial_temperature as f32,
            alpha_adam: Adam::new(1, 1e-8),
            replay: Replay::new(cfg.buffer_size, obs_dim, actions),
            moments: RunningMoments::new(obs_dim),
            obs: vec![0.0; num_envs * obs_dim],
            drawn: vec![0; cfg.batch_size],
            work: (0..shards).map(|_| Mutex::new(work())).collect(),
            cfg: cfg.clone(),
            actor,
            params,
            critics,
            seen,
            units,
        }
    }

    /// Remembers `rows` transitions that mean nothing, for measuring.
    pub(crate) fn fill_with_noise(&mut self, rows: usize) {
        self.replay.fill_with_noise(rows);
    }

    fn observe(&mut self, envs: &Envs<'_>) {
        self.obs.iter_mut().zip(&envs.obs).for_each(|(o, e)| *o = *e as f32);
        if self.cfg.normalize_observations {
            self.moments.update(&envs.obs);
        }
    }

    /// One step of all environments.
    fn act(&mut self, envs: &mut Envs<'_>) -> Result<()> {
        let (dim, n) = (envs.obs_dim, envs.action_dim);
        let mut rng = stream(self.seed, "sac/actions", self.steps);
        let mut squashed = vec![0.0; envs.num * n];
        if self.taken < self.cfg.learning_starts {
            squashed.iter_mut().for_each(|a| *a = rng.random_range(-1.0..1.0));
        } else {
            let mut noise = vec![0.0; envs.num * n];
            normals(&mut rng, &mut noise);
            let work = &mut *lock(&self.work[0]);
            let mut normed = vec![0.0; dim];
            for (i, obs) in self.obs.chunks_exact(dim).enumerate() {
                normed.copy_from_slice(obs);
                self.normalize(&mut normed);
                let out = self.actor.row(&self.params, &normed, &mut work.tape);
                work.sample.draw(self.cfg.spread(), out, &noise[i * n..(i + 1) * n], n);
                squashed[i * n..(i + 1) * n].copy_from_slice(&work.sample.y[..n]);
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

    fn normalize(&self, rows: &mut [f32]) {
        if !self.cfg.normalize_observations {
            return;
        }
        let m = &self.moments;
        for row in rows.chunks_exact_mut(m.mean.len()) {
            for (j, v) in row.iter_mut().enumerate() {
                *v = ((f64::from(*v) - m.mean[j]) / (m.var[j] + 1e-8).sqrt()) as f32;
            }
        }
    }

    /// One update from transitions drawn anew.
    pub(crate) fn update(&mut self, team: &Team, scalars: &mut Scalars) -> Result<()> {
        let mut rng = stream(self.seed, "sac/batch", self.updates);
        let mut drawn = std::mem::take(&mut self.drawn);
        self.replay.draw(&mut rng, &mut drawn);
        let mut draw = |wanted: bool| {
            let mut values = vec![0.0; if wanted { drawn.len() * self.units.len() } else { 0 }];
            normals(&mut rng, &mut values);
            values
        };
        let actor_turn = (self.updates + 1).is_multiple_of(self.cfg.policy_delay as u64);
        let mut noise = Noise { next: draw(true), now: draw(true), fresh: Vec::new() };
        let mut which: Vec<usize> = (0..self.critics.count).collect();
        for i in (self.cfg.critics_in_target..which.len()).rev() {
            which.swap_remove(rng.random_range(0..=i));
        }
        let critic_sums = self.learn_critics(team, &drawn, &which, &noise)?;
        self.drawn = drawn;
        let n = (self.cfg.batch_size * self.critics.count) as f64;
        scalars.add("critic_loss", critic_sums.critic_loss / n);
        scalars.add("value", critic_sums.values / n);
        for repeat in 0..if actor_turn { self.cfg.policy_updates } else { 0 } {
            let number = self.updates * self.cfg.policy_updates as u64 + repeat as u64;
            let mut rng = stream(self.seed, "sac/actor", number);
            noise.fresh.resize(noise.now.len(), 0.0);
            if repeat > 0 {
                normals(&mut rng, &mut noise.now);
            }
            normals(&mut rng, &mut noise.fresh);
            let sums = self.learn_actor(team, &noise)?;
            scalars.add("actor_loss", sums.actor_loss / self.cfg.batch_size as f64);
            scalars.add("entropy", -sums.log_prob / self.cfg.batch_size as f64);
        }
        scalars.add("temperature", f64::from(self.log_alpha[0].exp()));
        self.updates += 1;
        Ok(())
    }

    /// Row range of shard `s`.
    fn shard(&self, s: usize) -> std::ops::Range<usize> {
        let (rows, shards) = (self.cfg.batch_size, self.work.len());
        s * rows / shards..(s + 1) * rows / shards
    }

    /// Gathers the batch, moves every critic towards `r + γ (1 − end) (min Q' − α log π)`, and the
    /// targets after them. With [`TemperatureUpdate::BeforeCritics`], the temperature first.
    pub(crate) fn learn_critics(
        &mut self,
        team: &Team,
        drawn: &[u32],
        which: &[usize],
        noise: &Noise,
    ) -> Result<Sums> {
        self.alpha = self.log_alpha[0].exp();
        let cfg = &self.cfg;
        let alpha = if cfg.entropy_in_target { self.alpha } else { 0.0 };
        let (gamma, n) = (cfg.gamma as f32, self.units.len());
        let weight = cfg.critic_coef as f32 / cfg.batch_size as f32;
        let every: Vec<usize> = (0..self.critics.count).collect();
        let judge = cfg.temperature == TemperatureUpdate::BeforeCritics;
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            self.replay.gather(&drawn[range.clone()], &mut w.batch);
            self.normalize(&mut w.batch.obs);
            self.normalize(&mut w.batch.next_obs);
            w.sums = Sums::default();
            for piece in pieces(range.len()) {
                let (from, rows) = (piece.start, piece.len());
                let noise_of = (range.start + from) * n..(range.start + from + rows) * n;
                if judge {
                    let obs = rows_of(&w.batch.obs, self.actor.inputs(), &piece);
                    let out = self.actor.forward(&self.params, obs, &mut w.tape);
                    w.sample.draw(cfg.spread(), out, &noise.now[noise_of.clone()], n);
                    w.sums.log_prob += sum(&w.sample.log_prob[..rows]);
                }
                let next_obs = rows_of(&w.batch.next_obs, self.actor.inputs(), &piece);
                let out = self.actor.forward(&self.params, next_obs, &mut w.tape);
                w.sample.draw(cfg.spread(), out, &noise.next[noise_of], n);
                join(next_obs, &w.sample.action, n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.target, rows, which, &mut w.critic);
                for i in 0..rows {
                    let next = smallest(&w.critic.q, which, i).1 - alpha * w.sample.log_prob[i];
                    let goes_on = 1.0 - w.batch.ends[from + i];
                    w.wanted[i] = w.batch.rewards[from + i] + gamma * goes_on * next;
                }
                let obs = rows_of(&w.batch.obs, self.actor.inputs(), &piece);
                join(obs, &w.batch.actions[from * n..], n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.params, rows, &every, &mut w.critic);
                let (loss, values) =
                    self.critics.learn(&w.wanted[..rows], weight, from == 0, &mut w.critic, None);
                w.sums.critic_loss += loss;
                w.sums.values += values;
            }
        });
        let shards: Vec<_> = self.work.iter().map(lock).collect();
        let parts: Vec<&[f32]> = shards.iter().map(|w| w.critic.grads.as_slice()).collect();
        let norm = optimizer::sum(team, &parts, &mut self.critics.grads);
        let mut sums = Sums::default();
        for w in &shards {
            sums.critic_loss += w.sums.critic_loss;
            sums.values += w.sums.values;
            sums.log_prob += w.sums.log_prob;
        }
        drop(shards);
        if !norm.is_finite() {
            let (what, step) = ("critics' gradient norm", self.updates);
            return Err(Error::LearningDiverged { what, value: norm, step }.into());
        }
        if judge {
            // It serves from the next update on: this one keeps `self.alpha`.
            self.learn_temperature(team, sums.log_prob, 1.0);
        }
        let Critics { params, target, adam, grads, .. } = &mut self.critics;
        let follow = Some((target.as_mut_slice(), self.cfg.tau as f32));
        adam.step_with(team, params, grads, self.cfg.critic_lr, 1.0, follow);
        Ok(sums)
    }

    /// Moves the actor up `Q − α log π` on the batch in hand; then, with
    /// [`TemperatureUpdate::AfterActor`], the temperature.
    pub(crate) fn learn_actor(&mut self, team: &Team, noise: &Noise) -> Result<Sums> {
        let (cfg, alpha, n) = (&self.cfg, self.alpha, self.units.len());
        let (dim, count) = (self.actor.inputs(), self.critics.count);
        let share = 1.0 / cfg.batch_size as f32;
        let every: Vec<usize> = (0..count).collect();
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            w.sums = Sums::default();
            for piece in pieces(range.len()) {
                let (from, rows) = (piece.start, piece.len());
                let noise_of = (range.start + from) * n..(range.start + from + rows) * n;
                let noise = &noise.now[noise_of];
                let obs = rows_of(&w.batch.obs, dim, &piece);
                let out = self.actor.forward(&self.params, obs, &mut w.tape);
                w.sample.draw(cfg.spread(), out, noise, n);
                join(obs, &w.sample.action, n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.params, rows, &every, &mut w.critic);
                w.d_inputs[..rows * (dim + n)].fill(0.0);
                let climb = |q: &[f32], c: usize, row: usize| match cfg.actor_climbs_mean {
                    true => -share / count as f32,
                    false if smallest(q, &every, row).0 == c => -share,
                    false => 0.0,
                };
                self.critics.input_gradient(rows, climb, &mut w.critic, &mut w.d_inputs);
                for i in 0..rows {
                    let q = match cfg.actor_climbs_mean {
                        true => {
                            every.iter().map(|c| w.critic.q[c * PIECE + i]).sum::<f32>()
                                / count as f32
                        }
                        false => smallest(&w.critic.q, &every, i).1,
                    };
                    w.sums.actor_loss += f64::from(alpha * w.sample.log_prob[i] - q);
                }
                let wide = dim + n;
                let d_action = |i: usize, j: usize| w.d_inputs[i * wide + dim + j];
                w.sample.backward(alpha * share, noise, d_action, &mut w.d_out);
                let d_out = &w.d_out[..rows * 2 * n];
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
        let mut sums = Sums::default();
        shards.iter().for_each(|w| sums.actor_loss += w.sums.actor_loss);
        drop(shards);
        if !norm.is_finite() {
            let (what, step) = ("actor's gradient norm", self.updates);
            return Err(Error::LearningDiverged { what, value: norm, step }.into());
        }
        self.adam.step(team, &mut self.params, &self.grads, self.cfg.actor_lr, 1.0);
        if self.cfg.temperature == TemperatureUpdate::AfterActor {
            sums.log_prob = self.log_prob_now(team, &noise.fresh);
            self.learn_temperature(team, sums.log_prob, self.alpha);
            self.alpha = self.log_alpha[0].exp();
        }
        Ok(sums)
    }

    /// Summed log-probability of the actor's actions on the batch in hand.
    fn log_prob_now(&self, team: &Team, noise: &[f32]) -> f64 {
        let n = self.units.len();
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            w.sums.log_prob = 0.0;
            for piece in pieces(range.len()) {
                let rows = range.start + piece.start..range.start + piece.end;
                let obs = rows_of(&w.batch.obs, self.actor.inputs(), &piece);
                let out = self.actor.forward(&self.params, obs, &mut w.tape);
                w.sample.draw(self.cfg.spread(), out, &noise[rows.start * n..rows.end * n], n);
                w.sums.log_prob += sum(&w.sample.log_prob[..rows.len()]);
            }
        });
        self.work.iter().map(|w| lock(w).sums.log_prob).sum()
    }

    /// Moves the logarithm of the temperature by the gradient of `−scale · (log π + target)`: with
    /// `scale` the temperature, that of the temperature's own loss.
    fn learn_temperature(&mut self, team: &Team, log_prob: f64, scale: f32) {
        let target = -self.cfg.target_entropy * self.units.len() as f64;
        let off = log_prob / self.cfg.batch_size as f64 + target;
        let gradient = [-scale * off as f32];
        let lr = self.cfg.temperature_lr;
        self.alpha_adam.step(team, &mut self.log_alpha, &gradient, lr, 1.0);
    }
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum()
}

impl Agent for Sac {
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
            deviation: Deviation::OfState,
            moments: self.cfg.normalize_observations.then(|| (self.moments.clone(), f32::MAX)),
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
            adam_steps: [self.adam.steps, self.critics.adam.steps, self.alpha_adam.steps],
            moments: self.moments.bits(),
        };
        let vectors = [
            ("actor", &self.params),
            ("actor.exp_avg", &self.adam.m),
            ("actor.exp_avg_sq", &self.adam.v),
            ("critics", &self.critics.params),
            ("critics.target", &self.critics.target),
            ("critics.exp_avg", &self.critics.adam.m),
            ("critics.exp_avg_sq", &self.critics.adam.v),
            ("log_alpha.exp_avg", &self.alpha_adam.m),
            ("log_alpha.exp_avg_sq", &self.alpha_adam.v),
            ("observations", &self.obs),
        ];
        let mut vectors: Vec<_> =
            vectors.map(|(name, values)| (name.to_owned(), values.clone())).into();
        vectors.push(("log_alpha".to_owned(), self.log_alpha.to_vec()));
        AgentState { small: serde_json::to_value(small).unwrap_or_default(), vectors }
    }

    fn restore(&mut self, state: AgentState) -> Result<(), Error> {
        let saved: Saved = serde_json::from_value(state.small.clone()).map_err(|_| bad_state())?;
        (self.steps, self.taken, self.updates) = (saved.steps, saved.taken, saved.updates);
        [self.adam.steps, self.critics.adam.steps, self.alpha_adam.steps] = saved.adam_steps;
        if !self.moments.restore(&saved.moments) {
            return Err(bad_state());
        }
        state.put("actor", &mut self.params)?;
        state.put("actor.exp_avg", &mut self.adam.m)?;
        state.put("actor.exp_avg_sq", &mut self.adam.v)?;
        state.put("critics", &mut self.critics.params)?;
        state.put("critics.target", &mut self.critics.target)?;
        state.put("critics.exp_avg", &mut self.critics.adam.m)?;
        state.put("critics.exp_avg_sq", &mut self.critics.adam.v)?;
        state.put("log_alpha.exp_avg", &mut self.alpha_adam.m)?;
        state.put("log_alpha.exp_avg_sq", &mut self.alpha_adam.v)?;
        state.put("log_alpha", &mut self.log_alpha)?;
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
    adam_steps: [u64; 3],
    moments: Bits,
}

#[cfg(test)]
mod tests;
