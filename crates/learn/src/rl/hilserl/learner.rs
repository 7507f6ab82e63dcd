//! The learner: SAC with prior data (RLPD, arXiv:2302.02948) as HIL-SERL runs it
//! (arXiv:2410.21845), top to bottom: a round, the critics' update, the actor's, the temperature's.
//!
//! Half of a batch comes from demonstrations and interventions. Critics, the gripper's critic and the
//! trunk below them learn together; the actor takes the trunk's vectors as given. A batch is cut
//! into shards by its size alone and gradients are summed in shard order: the number of threads
//! changes no bit. What an update draws depends on the seed and its number alone.

use std::ops::Range;
use std::sync::Mutex;

use embody_core::{Result, Team};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::actor::{ActorNet, Scaling};
use super::batch::{Batch, Rows};
use super::config::{CriticLoss, HilSerlConfig, TemperatureForm};
use super::gripper::{GripperCritic, GripperWork};
use super::trunk::{Trunk, TrunkTape};
use crate::error::Error;
use crate::noise::{normals, stream};
use crate::rl::agent::{AgentState, Scalars, bad_state, lock};
use crate::rl::critics::{CriticWork, Critics, join, pieces, smallest};
use crate::rl::gaussian::Sample;
use crate::rl::mlp::{Init, Mlp, PIECE, Tape};
use crate::rl::optimizer::{self, Adam};

/// A batch is cut into at most this many shards, of at least this many rows.
const MAX_SHARDS: usize = 16;
const MIN_SHARD_ROWS: usize = 128;

/// Sizes that come from the task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sizes {
    pub state_dim: usize,
    /// Height, width and channels of each camera's map.
    pub maps: Vec<[usize; 3]>,
    /// Bounds of the action in the task's units, the gripper's included.
    pub low: Vec<f32>,
    pub high: Vec<f32>,
}

/// The learner.
pub(crate) struct Learner {
    pub cfg: HilSerlConfig,
    seed: u64,
    /// Updates of the critics, and rounds, so far.
    pub updates: u64,
    pub rounds: u64,
    pub trunk: Trunk,
    pub trunk_params: Vec<f32>,
    trunk_target: Vec<f32>,
    trunk_adam: Adam,
    trunk_grads: Vec<f32>,
    pub critics: Critics,
    pub gripper: Option<GripperCritic>,
    pub actor: Mlp,
    pub actor_params: Vec<f32>,
    actor_adam: Adam,
    actor_grads: Vec<f32>,
    /// What the temperature is made of.
    pub raw_alpha: [f32; 1],
    alpha_adam: Adam,
    pub scaling: Scaling,
    work: Vec<Mutex<Work>>,
}

/// Standard normal draws of an update, `[batch_size, actions]` each.
#[derive(Clone, Default)]
pub(crate) struct Noise {
    /// For the next actions in the critics' targets.
    pub next: Vec<f32>,
    /// For the actions that the actor climbs with.
    pub now: Vec<f32>,
}

/// Room of one shard, and its part of the batch.
struct Work {
    batch: Batch,
    trunk: TrunkTape,
    z: Vec<f32>,
    next_z: Vec<f32>,
    target_z: Vec<f32>,
    tape: Tape,
    sample: Sample,
    critic: CriticWork,
    gripper: Option<GripperWork>,
    wanted: Vec<f32>,
    d_inputs: Vec<f32>,
    d_out: Vec<f32>,
    trunk_grads: Vec<f32>,
    actor_grads: Vec<f32>,
    sums: Sums,
    failed: Option<std::io::Error>,
}

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub critic_loss: f64,
    pub values: f64,
    pub gripper_loss: f64,
    pub actor_loss: f64,
    pub log_prob: f64,
}

impl Learner {
    /// A fresh learner.
    pub fn new(cfg: &HilSerlConfig, sizes: &Sizes, scaling: Scaling, seed: u64) -> Self {
        let trunk = Trunk::new(cfg, sizes.state_dim, &sizes.maps);
        let mut trunk_params = vec![0.0; trunk.len()];
        trunk.init(&mut trunk_params, &mut stream(seed, "trunk/weights", 0));
        let (z, n) = (trunk.outputs(), sizes.low.len() - usize::from(cfg.gripper.is_some()));
        let act = cfg.activation;
        let actor_sizes = [&[z], cfg.actor_hidden.as_slice(), &[2 * n]].concat();
        let actor = Mlp::new(&actor_sizes, act, cfg.actor_layer_norm);
        let mut actor_params = vec![0.0; actor.len()];
        actor.init(&mut actor_params, Init::Uniform, &mut stream(seed, "actor/weights", 0));
        let (hidden, norm) = (cfg.critic_hidden.as_slice(), cfg.critic_layer_norm);
        let critics = Critics::new((z + n, hidden), cfg.critics, act, norm, seed);
        let gripper = cfg.gripper.map(|_| GripperCritic::new(z, hidden, act, norm, seed));
        let shards = (cfg.batch_size / MIN_SHARD_ROWS).clamp(1, MAX_SHARDS);
        let work = || Work {
            batch: Batch::default(),
            trunk: trunk.tape(),
            z: vec![0.0; PIECE * z],
            next_z: vec![0.0; PIECE * z],
            target_z: vec![0.0; PIECE * z],
            tape: actor.tape(),
            sample: Sample::new(&vec![(1.0, 0.0); n]),
            critic: critics.work(),
            gripper: gripper.as_ref().map(GripperCritic::work),
            wanted: vec![0.0; PIECE],
            d_inputs: vec![0.0; PIECE * (z + n)],
            d_out: vec![0.0; PIECE * 2 * n],
            trunk_grads: vec![0.0; trunk.len()],
            actor_grads: vec![0.0; actor.len()],
            sums: Sums::default(),
            failed: None,
        };
        let initial = cfg.initial_temperature;
        let raw = match cfg.temperature_form {
            TemperatureForm::Exp => initial.ln(),
            TemperatureForm::Softplus => initial.exp_m1().ln(),
        };
        Self {
            seed,
            updates: 0,
            rounds: 0,
            trunk_target: trunk_params.clone(),
            trunk_adam: Adam::new(trunk.len(), 1e-8),
            trunk_grads: vec![0.0; trunk.len()],
            actor_adam: Adam::new(actor.len(), 1e-8),
            actor_grads: vec![0.0; actor.len()],
            raw_alpha: [raw as f32],
            alpha_adam: Adam::new(1, 1e-8),
            scaling,
            work: (0..shards).map(|_| Mutex::new(work())).collect(),
            cfg: cfg.clone(),
            trunk,
            trunk_params,
            critics,
            gripper,
            actor,
            actor_params,
        }
    }

    /// The temperature, and its slope over what it is made of.
    fn alpha(&self) -> (f32, f32) {
        let raw = f64::from(self.raw_alpha[0]);
        let (alpha, slope) = match self.cfg.temperature_form {
            TemperatureForm::Exp => (raw.exp(), raw.exp()),
            // ln(1 + e^x) without overflow.
            TemperatureForm::Softplus => {
                (raw.max(0.0) + (-raw.abs()).exp().ln_1p(), 1.0 / (1.0 + (-raw).exp()))
            }
        };
        (alpha as f32, slope as f32)
    }

    /// Dimensions of the continuous action.
    fn actions(&self) -> usize {
        self.actor.outputs() / 2
    }

    /// A round: updates of the critics, the last of them with actor and temperature. `rows` gives the
    /// batch of an update by its number.
    pub fn round<R: Rows>(
        &mut self,
        team: &Team,
        mut rows: impl FnMut(u64) -> R,
        scalars: &mut Scalars,
    ) -> Result<()> {
        let size = self.cfg.batch_size as f64;
        for i in 0..self.cfg.critic_updates {
            let mut rng = stream(self.seed, "hilserl/update", self.updates);
            let mut draw = |wanted: bool| {
                let len = if wanted { self.cfg.batch_size * self.actions() } else { 0 };
                let mut values = vec![0.0; len];
                normals(&mut rng, &mut values);
                values
            };
            let last = i + 1 == self.cfg.critic_updates;
            let noise = Noise { next: draw(true), now: draw(last) };
            let mut which: Vec<usize> = (0..self.critics.count).collect();
            for i in (self.cfg.critics_in_target..which.len()).rev() {
                which.swap_remove(rng.random_range(0..=i));
            }
            let sums = self.learn_critics(team, &rows(self.updates), &which, &noise)?;
            let n = size * self.critics.count as f64;
            scalars.add("critic_loss", sums.critic_loss / n);
            scalars.add("value", sums.values / n);
            if self.gripper.is_some() {
                scalars.add("gripper_loss", sums.gripper_loss / size);
            }
            if last {
                let sums = self.learn_actor(team, &noise)?;
                scalars.add("actor_loss", sums.actor_loss / size);
                scalars.add("entropy", -sums.log_prob / size);
            }
            self.updates += 1;
        }
        scalars.add("temperature", f64::from(self.alpha().0));
        self.rounds += 1;
        Ok(())
    }

    /// Row range of shard `s`.
    fn shard(&self, s: usize) -> Range<usize> {
        let (rows, shards) = (self.cfg.batch_size, self.work.len());
        s * rows / shards..(s + 1) * rows / shards
    }

    /// Gathers the batch and moves every critic, and the trunk below, towards
    /// `r + γ (1 − end) (min Q' − α log π)`, then the targets after them.
    pub fn learn_critics<R: Rows>(
        &mut self,
        team: &Team,
        rows: &R,
        which: &[usize],
        noise: &Noise,
    ) -> Result<Sums> {
        let cfg = &self.cfg;
        let (alpha, n) = (if cfg.entropy_in_target { self.alpha().0 } else { 0.0 }, self.actions());
        let (gamma, z_dim) = (cfg.gamma as f32, self.trunk.outputs());
        let per_row = 1.0 / cfg.batch_size as f32;
        let weight = match cfg.critic_loss {
            CriticLoss::Mean => per_row / self.critics.count as f32,
            CriticLoss::Sum => per_row,
        };
        let every: Vec<usize> = (0..self.critics.count).collect();
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            w.sums = Sums::default();
            w.failed = rows.gather(range.clone(), &mut w.batch).err();
            if w.failed.is_some() {
                return;
            }
            for piece in pieces(range.len()) {
                let (from, rows, fresh) = (piece.start, piece.len(), piece.start == 0);
                let b = &w.batch;
                let (state, maps) = b.now(&piece);
                let (next_state, next_maps) = b.next(&piece);
                let (z, next_z) = (&mut w.z[..rows * z_dim], &mut w.next_z[..rows * z_dim]);
                let target_z = &mut w.target_z[..rows * z_dim];
                let (params, target) = (&self.trunk_params, &self.trunk_target);
                self.trunk.forward(params, next_state, &next_maps, rows, &mut w.trunk, next_z);
                self.trunk.forward(target, next_state, &next_maps, rows, &mut w.trunk, target_z);
                self.trunk.forward(params, state, &maps, rows, &mut w.trunk, z);
                // What the next step is worth: the actor sees it by the trunk in hand, the targets by
                // their own.
                let noise_of = (range.start + from) * n..(range.start + from + rows) * n;
                let out = self.actor.forward(&self.actor_params, next_z, &mut w.tape);
                w.sample.draw(cfg.spread(), out, &noise.next[noise_of], n);
                join(target_z, &w.sample.y, n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.target, rows, which, &mut w.critic);
                for i in 0..rows {
                    let next = smallest(&w.critic.q, which, i).1 - alpha * w.sample.log_prob[i];
                    let goes_on = 1.0 - b.ends[from + i];
                    w.wanted[i] = b.rewards[from + i] + gamma * goes_on * next;
                }
                join(z, &b.actions[from * n..], n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.params, rows, &every, &mut w.critic);
                let d_inputs = &mut w.d_inputs[..rows * (z_dim + n)];
                d_inputs.fill(0.0);
                let below = (self.trunk.len() > 0).then_some(&mut *d_inputs);
                let wanted = &w.wanted[..rows];
                let (loss, values) =
                    self.critics.learn(wanted, weight, fresh, &mut w.critic, below);
                w.sums.critic_loss += loss;
                w.sums.values += values;
                if let (Some(gripper), Some(work)) = (&self.gripper, &mut w.gripper) {
                    let reward = |i: usize| b.rewards[from + i] + b.penalties[from + i];
                    let discount = |i: usize| gamma * (1.0 - b.ends[from + i]);
                    gripper.look_ahead((&*next_z, &*target_z), reward, discount, work);
                    let chosen = &b.gripper[from..from + rows];
                    w.sums.gripper_loss += gripper.learn(z, chosen, per_row, fresh, work);
                    let wide = d_inputs.chunks_exact_mut(z_dim + n);
                    for (d, dx) in wide.zip(work.dx.chunks_exact(z_dim)) {
                        d.iter_mut().zip(dx).for_each(|(d, dx)| *d += dx);
                    }
                }
                if self.trunk.len() > 0 {
                    let dz = (&*d_inputs, z_dim + n);
                    let grads = &mut w.trunk_grads;
                    self.trunk.backward(params, state, &maps, dz, &mut w.trunk, grads, fresh);
                }
            }
        });
        let mut shards: Vec<_> = self.work.iter().map(lock).collect();
        if let Some(error) = shards.iter_mut().find_map(|w| w.failed.take()) {
            return Err(Error::Invalid {
                what: format!("a transition could not be read: {error}"),
                hint: "look at the disk that holds the experience".into(),
            }
            .into());
        }
        let mut sums = Sums::default();
        for w in &shards {
            sums.critic_loss += w.sums.critic_loss;
            sums.values += w.sums.values;
            sums.gripper_loss += w.sums.gripper_loss;
        }
        let parts: Vec<&[f32]> = shards.iter().map(|w| w.critic.grads.as_slice()).collect();
        let mut square = optimizer::sum(team, &parts, &mut self.critics.grads).powi(2);
        let parts: Vec<&[f32]> = shards.iter().map(|w| w.trunk_grads.as_slice()).collect();
        square += optimizer::sum(team, &parts, &mut self.trunk_grads).powi(2);
        if let Some(gripper) = &mut self.gripper {
            let parts: Vec<&[f32]> =
                shards.iter().filter_map(|w| Some(w.gripper.as_ref()?.grads.as_slice())).collect();
            square += optimizer::sum(team, &parts, &mut gripper.grads).powi(2);
        }
        drop(shards);
        let scale = self.clip("critics' gradient norm", square.sqrt())?;
        let (lr, tau) = (self.cfg.critic_lr, self.cfg.tau as f32);
        let Critics { params, target, adam, grads, .. } = &mut self.critics;
        adam.step_with(team, params, grads, lr, scale, Some((target.as_mut_slice(), tau)));
        let follow = Some((self.trunk_target.as_mut_slice(), tau));
        let (params, grads) = (&mut self.trunk_params, &self.trunk_grads);
        self.trunk_adam.step_with(team, params, grads, lr, scale, follow);
        if let Some(GripperCritic { params, target, adam, grads, .. }) = &mut self.gripper {
            adam.step_with(team, params, grads, lr, scale, Some((target.as_mut_slice(), tau)));
        }
        Ok(sums)
    }

    /// What gradients of this length are multiplied by.
    fn clip(&self, what: &'static str, norm: f64) -> Result<f32, Error> {
        if !norm.is_finite() {
            return Err(Error::LearningDiverged { what, value: norm, step: self.updates });
        }
        let most = self.cfg.max_grad_norm;
        Ok(if most > 0.0 { optimizer::clip(norm, most) } else { 1.0 })
    }

    /// Moves the actor up `Q − α log π` on the batch in hand, with the trunk's vectors as given; then
    /// the temperature.
    pub fn learn_actor(&mut self, team: &Team, noise: &Noise) -> Result<Sums> {
        let cfg = &self.cfg;
        let ((alpha, slope), n) = (self.alpha(), self.actions());
        let (z_dim, count) = (self.trunk.outputs(), self.critics.count);
        let share = 1.0 / cfg.batch_size as f32;
        let every: Vec<usize> = (0..count).collect();
        team.run(self.work.len(), &|s| {
            let range = self.shard(s);
            let w = &mut *lock(&self.work[s]);
            w.sums = Sums::default();
            for piece in pieces(range.len()) {
                let (from, rows) = (piece.start, piece.len());
                let (state, maps) = w.batch.now(&piece);
                let z = &mut w.z[..rows * z_dim];
                self.trunk.forward(&self.trunk_params, state, &maps, rows, &mut w.trunk, z);
                let noise_of = (range.start + from) * n..(range.start + from + rows) * n;
                let noise = &noise.now[noise_of];
                let out = self.actor.forward(&self.actor_params, z, &mut w.tape);
                w.sample.draw(cfg.spread(), out, noise, n);
                join(z, &w.sample.y, n, rows, &mut w.critic.x);
                self.critics.values(&self.critics.params, rows, &every, &mut w.critic);
                let wide = z_dim + n;
                w.d_inputs[..rows * wide].fill(0.0);
                let climb = |q: &[f32], c: usize, row: usize| match cfg.actor_climbs_mean {
                    true => -share / count as f32,
                    false if smallest(q, &every, row).0 == c => -share,
                    false => 0.0,
                };
                self.critics.input_gradient(rows, climb, &mut w.critic, &mut w.d_inputs);
                for i in 0..rows {
                    let q = match cfg.actor_climbs_mean {
                        true => {
                            let all = every.iter().map(|c| w.critic.q[c * PIECE + i]);
                            all.sum::<f32>() / count as f32
                        }
                        false => smallest(&w.critic.q, &every, i).1,
                    };
                    w.sums.actor_loss += f64::from(alpha * w.sample.log_prob[i] - q);
                    w.sums.log_prob += f64::from(w.sample.log_prob[i]);
                }
                let d_action = |i: usize, j: usize| w.d_inputs[i * wide + z_dim + j];
                w.sample.backward(alpha * share, noise, d_action, &mut w.d_out);
                self.actor.backward(
                    &self.actor_params,
                    z,
                    &w.d_out[..rows * 2 * n],
                    &mut w.tape,
                    &mut w.actor_grads,
                    piece.start == 0,
                    None,
                );
            }
        });
        let shards: Vec<_> = self.work.iter().map(lock).collect();
        let parts: Vec<&[f32]> = shards.iter().map(|w| w.actor_grads.as_slice()).collect();
        let norm = optimizer::sum(team, &parts, &mut self.actor_grads);
        let mut sums = Sums::default();
        for w in &shards {
            sums.actor_loss += w.sums.actor_loss;
            sums.log_prob += w.sums.log_prob;
        }
        drop(shards);
        let scale = self.clip("actor's gradient norm", norm)?;
        let (lr, params) = (self.cfg.actor_lr, &mut self.actor_params);
        self.actor_adam.step(team, params, &self.actor_grads, lr, scale);
        // The temperature falls where actions are more random than aimed at. Its loss is
        // α · (entropy − aim), the entropy that of the actions the actor has just climbed with.
        let dims = n + usize::from(self.gripper.is_some());
        let aim = -self.cfg.target_entropy * dims as f64;
        let entropy = -sums.log_prob / self.cfg.batch_size as f64;
        let gradient = [slope * (entropy - aim) as f32];
        self.alpha_adam.step(team, &mut self.raw_alpha, &gradient, self.cfg.temperature_lr, 1.0);
        Ok(sums)
    }

    /// The acting part as it is now.
    pub fn acting(&self) -> ActorNet {
        ActorNet::new(
            &self.cfg,
            (&self.trunk, &self.trunk_params),
            (&self.actor, &self.actor_params),
            self.gripper.as_ref().map(|g| (&g.net, g.params.as_slice())),
            &self.scaling,
        )
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        let gripper = self.gripper.as_ref().map_or(0, |g| g.params.len());
        self.trunk.len() + self.actor.len() + self.critics.params.len() + gripper
    }

    fn vectors(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        let mut all = vec![
            ("trunk", &mut self.trunk_params),
            ("trunk.target", &mut self.trunk_target),
            ("trunk.exp_avg", &mut self.trunk_adam.m),
            ("trunk.exp_avg_sq", &mut self.trunk_adam.v),
            ("critics", &mut self.critics.params),
            ("critics.target", &mut self.critics.target),
            ("critics.exp_avg", &mut self.critics.adam.m),
            ("critics.exp_avg_sq", &mut self.critics.adam.v),
            ("actor", &mut self.actor_params),
            ("actor.exp_avg", &mut self.actor_adam.m),
            ("actor.exp_avg_sq", &mut self.actor_adam.v),
            ("temperature.exp_avg", &mut self.alpha_adam.m),
            ("temperature.exp_avg_sq", &mut self.alpha_adam.v),
            ("state.shift", &mut self.scaling.shift),
            ("state.scale", &mut self.scaling.scale),
        ];
        if let Some(gripper) = &mut self.gripper {
            all.push(("gripper", &mut gripper.params));
            all.push(("gripper.target", &mut gripper.target));
            all.push(("gripper.exp_avg", &mut gripper.adam.m));
            all.push(("gripper.exp_avg_sq", &mut gripper.adam.v));
        }
        all
    }

    /// Everything that it needs to go on exactly.
    pub fn save(&mut self) -> AgentState {
        let small = Saved {
            updates: self.updates,
            rounds: self.rounds,
            adam_steps: [
                self.trunk_adam.steps,
                self.critics.adam.steps,
                self.actor_adam.steps,
                self.alpha_adam.steps,
                self.gripper.as_ref().map_or(0, |g| g.adam.steps),
            ],
            raw_alpha_bits: self.raw_alpha[0].to_bits(),
        };
        let copy = |(name, v): (&str, &mut Vec<f32>)| (name.to_owned(), v.clone());
        let vectors = self.vectors().into_iter().map(copy).collect();
        AgentState { small: serde_json::to_value(small).unwrap_or_default(), vectors }
    }

    /// Goes on from [`Learner::save`].
    pub fn restore(&mut self, state: &AgentState) -> Result<(), Error> {
        let saved: Saved = serde_json::from_value(state.small.clone()).map_err(|_| bad_state())?;
        for (name, vector) in self.vectors() {
            state.put(name, vector)?;
        }
        (self.updates, self.rounds) = (saved.updates, saved.rounds);
        let [trunk, critics, actor, alpha, gripper] = saved.adam_steps;
        (self.trunk_adam.steps, self.critics.adam.steps) = (trunk, critics);
        (self.actor_adam.steps, self.alpha_adam.steps) = (actor, alpha);
        if let Some(own) = &mut self.gripper {
            own.adam.steps = gripper;
        }
        self.raw_alpha = [f32::from_bits(saved.raw_alpha_bits)];
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    updates: u64,
    rounds: u64,
    adam_steps: [u64; 5],
    raw_alpha_bits: u32,
}

#[cfg(test)]
mod tests;
