//! Proximal policy optimisation: Schulman et al. 2017, <https://arxiv.org/abs/1707.06347>, with
//! generalised advantages, <https://arxiv.org/abs/1506.02438>.
//!
//! The algorithm, top to bottom: a rollout, the advantages, some epochs of minibatches, a minibatch;
//! settings and presets are in [`config`]. The switches are those in which CleanRL's
//! `ppo_continuous_action`, Stable-Baselines3 and rsl_rl differ; the details are listed in
//! <https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/>.
//!
//! A minibatch is cut into shards by its size alone, actor and critic of a shard are tasks of their
//! own, and gradients are summed in shard order: the number of threads changes no bit.

use std::sync::Mutex;

use embody_core::{Result, Team};
use serde::{Deserialize, Serialize};

use super::agent::{Agent, AgentState, Scalars, bad_state, lock};
use super::envs::Envs;
use super::mlp::{Init, Mlp, PIECE, Tape};
use super::normalize::{Bits, Normalization, RewardScale, RunningMoments};
use super::optimizer::{self, Adam};
use super::policy::{ActorModel, Deviation, Squash};
use crate::error::Error;
use crate::noise::{normals, shuffle, stream};

mod config;

pub use config::{AdvantageNorm, LrSchedule, PpoConfig, Truncation};

const LOG_SQRT_TAU: f32 = 0.918_938_5;

/// The learner: networks, optimiser, normalisers, and the rollout in hand.
pub(crate) struct Ppo {
    cfg: PpoConfig,
    seed: u64,
    /// Updates in the whole run, for the linear schedule.
    updates: u64,
    update: u64,
    actor: Mlp,
    critic: Mlp,
    /// Actor, log-deviations, critic.
    params: Vec<f32>,
    grads: Vec<f32>,
    adam: Adam,
    lr: f64,
    observation_moments: RunningMoments,
    reward_scale: RewardScale,
    /// Normalised current observations, `[num_envs, obs_dim]`.
    obs: Vec<f32>,
    actor_work: Vec<Mutex<ActorWork>>,
    critic_work: Vec<Mutex<CriticWork>>,
    rollout: Rollout,
    order: Vec<u32>,
}

/// Steps of all environments: row `t · num_envs + i` is environment `i` at step `t`.
#[derive(Default)]
pub(crate) struct Rollout {
    pub obs: Vec<f32>,
    pub actions: Vec<f32>,
    pub log_probs: Vec<f32>,
    pub rewards: Vec<f32>,
    pub done: Vec<bool>,
    pub values: Vec<f32>,
    pub advantages: Vec<f32>,
    pub returns: Vec<f32>,
    /// Means and log-deviations of the policy that acted.
    means: Vec<f32>,
    log_std: Vec<f32>,
    /// Rows that a time limit cut short, and their last observations.
    cut_rows: Vec<usize>,
    cut_obs: Vec<f32>,
}

struct ActorWork {
    tape: Tape,
    obs: Vec<f32>,
    d_mean: Vec<f32>,
    grads: Vec<f32>,
    losses: ActorLosses,
}

#[derive(Clone, Copy, Default)]
struct ActorLosses {
    policy: f64,
    /// (r − 1) − ln r, Schulman's estimate of the divergence.
    approx_kl: f64,
    /// The divergence itself, of Gaussians.
    kl: f64,
    clipped: f64,
}

struct CriticWork {
    tape: Tape,
    obs: Vec<f32>,
    d_value: Vec<f32>,
    grads: Vec<f32>,
    loss: f64,
}

/// What the minibatches of an update gave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Losses {
    pub policy: f64,
    pub value: f64,
    pub entropy: f64,
    pub approx_kl: f64,
    pub kl: f64,
    pub clip_fraction: f64,
    pub grad_norm: f64,
}

/// At most this many shards of a minibatch, and at least this many rows in each.
const MAX_SHARDS: usize = 8;
const MIN_SHARD_ROWS: usize = 64;

impl Ppo {
    /// A fresh learner for `steps` environment steps in all.
    pub fn new(cfg: &PpoConfig, envs: &Envs<'_>, seed: u64, steps: u64) -> Result<Self, Error> {
        cfg.validate(envs.num)?;
        let rows = cfg.rollout_steps * envs.num;
        let mut ppo = Self::sized(cfg, envs.obs_dim, envs.action_dim, envs.num, seed);
        ppo.updates = (steps / rows as u64).max(1);
        ppo.observe(envs);
        Ok(ppo)
    }

    fn sized(cfg: &PpoConfig, obs_dim: usize, actions: usize, num_envs: usize, seed: u64) -> Self {
        let sizes = |hidden: &[usize], out| [&[obs_dim], hidden, &[out]].concat();
        let actor = Mlp::new(&sizes(&cfg.actor_hidden, actions), cfg.activation, false);
        let critic = Mlp::new(&sizes(&cfg.critic_hidden, 1), cfg.activation, false);
        let split = actor.len() + actions;
        let mut params = vec![0.0; split + critic.len()];
        let mut rng = stream(seed, "ppo/weights", 0);
        let init = |last_gain| match cfg.orthogonal {
            true => Init::Orthogonal { last_gain },
            false => Init::Uniform,
        };
        actor.init(&mut params[..actor.len()], init(0.01), &mut rng);
        params[actor.len()..split].fill(cfg.log_std as f32);
        critic.init(&mut params[split..], init(1.0), &mut rng);
        let rows = cfg.rollout_steps * num_envs;
        let actor_work = || ActorWork {
            tape: actor.tape(),
            obs: vec![0.0; PIECE * obs_dim],
            d_mean: vec![0.0; PIECE * actions],
            grads: vec![0.0; split],
            losses: ActorLosses::default(),
        };
        let critic_work = || CriticWork {
            tape: critic.tape(),
            obs: vec![0.0; PIECE * obs_dim],
            d_value: vec![0.0; PIECE],
            grads: vec![0.0; critic.len()],
            loss: 0.0,
        };
        Self {
            seed,
            updates: 1,
            update: 0,
            grads: vec![0.0; params.len()],
            adam: Adam::new(params.len(), cfg.adam_eps),
            lr: cfg.lr,
            observation_moments: RunningMoments::new(obs_dim),
            reward_scale: RewardScale::new(cfg.normalize_rewards, cfg.gamma, num_envs),
            obs: vec![0.0; num_envs * obs_dim],
            actor_work: (0..MAX_SHARDS).map(|_| Mutex::new(actor_work())).collect(),
            critic_work: (0..MAX_SHARDS).map(|_| Mutex::new(critic_work())).collect(),
            rollout: Rollout {
                obs: vec![0.0; rows * obs_dim],
                actions: vec![0.0; rows * actions],
                log_probs: vec![0.0; rows],
                rewards: vec![0.0; rows],
                done: vec![false; rows],
                values: vec![0.0; rows],
                advantages: vec![0.0; rows],
                returns: vec![0.0; rows],
                means: vec![0.0; rows * actions],
                log_std: vec![0.0; actions],
                ..Rollout::default()
            },
            order: vec![0; rows],
            cfg: cfg.clone(),
            actor,
            critic,
            params,
        }
    }

    /// Where the critic's parameters begin.
    fn split(&self) -> usize {
        self.actor.len() + self.actor.outputs()
    }

    /// Acts for `rollout_steps` in every environment, writing down what happens.
    fn collect(&mut self, envs: &mut Envs<'_>, team: &Team) -> Result<()> {
        let (num, dim, actions) = (envs.num, envs.obs_dim, envs.action_dim);
        let mut rng = stream(self.seed, "ppo/actions", self.update);
        let from = self.actor.len();
        self.rollout.log_std.copy_from_slice(&self.params[from..from + actions]);
        self.rollout.cut_rows.clear();
        self.rollout.cut_obs.clear();
        let mut noise = vec![0.0; num * actions];
        for t in 0..self.cfg.rollout_steps {
            let rows = t * num..(t + 1) * num;
            let wide = rows.start * actions..rows.end * actions;
            self.rollout.obs[rows.start * dim..rows.end * dim].copy_from_slice(&self.obs);
            let means = &mut self.rollout.means[wide.clone()];
            let work = &self.actor_work;
            outputs(team, &self.actor, &self.params[..from], &self.obs, means, &|i, run| {
                run(&mut lock(&work[i]).tape);
            });
            normals(&mut rng, &mut noise);
            let r = &mut self.rollout;
            let taken = &mut r.actions[wide.clone()];
            for (i, row) in rows.clone().enumerate() {
                let mut log_prob = 0.0;
                for j in 0..actions {
                    let (at, e) = (i * actions + j, noise[i * actions + j]);
                    taken[at] = r.means[wide.start + at] + r.log_std[j].exp() * e;
                    log_prob -= 0.5 * e * e + r.log_std[j] + LOG_SQRT_TAU;
                }
                r.log_probs[row] = log_prob;
            }
            envs.step(taken)?;
            self.observe(envs);
            let clip = self.cfg.clip_rewards;
            let rewards = &mut self.rollout.rewards[rows.clone()];
            let (terminated, truncated) = (&envs.terminated, &envs.truncated);
            self.reward_scale.scale(&envs.rewards, terminated, truncated, clip, rewards);
            self.rollout.done[rows.clone()].copy_from_slice(&envs.done);
            if self.cfg.truncation == Truncation::Done {
                continue;
            }
            for i in (0..num).filter(|i| truncated[*i] && !terminated[*i]) {
                let r = &mut self.rollout;
                let end = r.cut_obs.len();
                r.cut_rows.push(rows.start + i);
                r.cut_obs.resize(end + dim, 0.0);
                let last = &envs.last_obs[i * dim..(i + 1) * dim];
                let clip = self.cfg.clip_observations as f32;
                match (self.cfg.truncation, self.cfg.normalize_observations) {
                    (Truncation::BootstrapCurrent, _) => {
                        let row = rows.start + i;
                        r.cut_obs[end..].copy_from_slice(&r.obs[row * dim..(row + 1) * dim]);
                    }
                    (_, Normalization::Off) => {
                        r.cut_obs[end..].iter_mut().zip(last).for_each(|(o, l)| *o = *l as f32);
                    }
                    _ => self.observation_moments.normalize(last, clip, &mut r.cut_obs[end..]),
                }
            }
        }
        Ok(())
    }

    /// Takes the environments' observations into the moments and normalises them.
    fn observe(&mut self, envs: &Envs<'_>) {
        let dim = envs.obs_dim;
        match self.cfg.normalize_observations {
            Normalization::Off => {
                self.obs.iter_mut().zip(&envs.obs).for_each(|(o, e)| *o = *e as f32);
                return;
            }
            Normalization::VecNormalize => self.observation_moments.update(&envs.obs),
            Normalization::Gymnasium => {
                // The step's observations, then the first ones of the episodes that it began.
                self.observation_moments.update(&envs.last_obs);
                for i in (0..envs.num).filter(|i| envs.done[*i]) {
                    self.observation_moments.update(&envs.obs[i * dim..(i + 1) * dim]);
                }
            }
        }
        let clip = self.cfg.clip_observations as f32;
        self.observation_moments.normalize(&envs.obs, clip, &mut self.obs);
    }

    /// The critic's values of `obs [rows, obs_dim]`.
    fn values(&self, team: &Team, obs: &[f32], out: &mut [f32]) {
        let work = &self.critic_work;
        outputs(team, &self.critic, &self.params[self.split()..], obs, out, &|i, run| {
            run(&mut lock(&work[i]).tape);
        });
    }

    /// Values, advantages and returns of the rollout. The values wait until here, where they are one
    /// large product: nothing that was done depended on them.
    fn judge(&mut self, num: usize, team: &Team) {
        let mut r = std::mem::take(&mut self.rollout);
        self.values(team, &r.obs, &mut r.values);
        let mut next_values = vec![0.0; num];
        self.values(team, &self.obs, &mut next_values);
        let mut after = vec![0.0; r.cut_rows.len()];
        self.values(team, &r.cut_obs, &mut after);
        let gamma = self.cfg.gamma as f32;
        for (row, value) in r.cut_rows.iter().zip(&after) {
            r.rewards[*row] += gamma * value;
        }
        advantages(&mut r, &next_values, gamma, self.cfg.gae_lambda as f32);
        if self.cfg.advantage_norm == AdvantageNorm::Rollout {
            let (mean, scale) = mean_and_scale(r.advantages.iter().copied());
            r.advantages.iter_mut().for_each(|a| *a = (*a - mean) * scale);
        }
        self.rollout = r;
    }

    /// Some epochs of minibatches over the rollout.
    fn learn(&mut self, team: &Team) -> Result<Losses> {
        if self.cfg.lr_schedule == LrSchedule::Linear {
            let left = 1.0 - self.update as f64 / self.updates as f64;
            self.lr = left.max(0.0) * self.cfg.lr;
        }
        let rows = self.order.len();
        let mut order = std::mem::take(&mut self.order);
        let mut sums = Losses::default();
        let mut count = 0.0;
        for epoch in 0..self.cfg.epochs {
            if epoch == 0 || self.cfg.reshuffle {
                let number = self.update * self.cfg.epochs as u64 + epoch as u64;
                shuffle(&mut stream(self.seed, "ppo/order", number), &mut order);
            }
            let parts = self.cfg.minibatches;
            for part in 0..parts {
                let losses =
                    self.minibatch(&order[part * rows / parts..(part + 1) * rows / parts], team)?;
                sums.add(&losses);
                count += 1.0;
            }
        }
        self.order = order;
        Ok(sums.over(count))
    }

    /// One step of the optimiser on the rollout's rows `rows`.
    pub(crate) fn minibatch(&mut self, rows: &[u32], team: &Team) -> Result<Losses> {
        let (cfg, r) = (&self.cfg, &self.rollout);
        let split = self.actor.len() + self.actor.outputs();
        let (of_actor, of_critic) = self.params.split_at(split);
        let shards = (rows.len() / MIN_SHARD_ROWS).clamp(1, MAX_SHARDS);
        let shard = |s: usize| &rows[s * rows.len() / shards..(s + 1) * rows.len() / shards];
        let advantages = rows.iter().map(|i| r.advantages[*i as usize]);
        let norm = match cfg.advantage_norm {
            AdvantageNorm::Minibatch => mean_and_scale(advantages),
            _ => (0.0, 1.0),
        };
        let n = rows.len() as f32;
        team.run(2 * shards, &|task| {
            let s = task / 2;
            match task % 2 {
                0 => {
                    let work = &mut lock(&self.actor_work[s]);
                    actor_shard(cfg, &self.actor, of_actor, r, shard(s), norm, n, work);
                }
                _ => {
                    let work = &mut lock(&self.critic_work[s]);
                    critic_shard(cfg, &self.critic, of_critic, r, shard(s), n, work);
                }
            }
        });

        let actors: Vec<_> = self.actor_work[..shards].iter().map(lock).collect();
        let critics: Vec<_> = self.critic_work[..shards].iter().map(lock).collect();
        let mut losses = Losses::default();
        let n = f64::from(n);
        for (a, c) in actors.iter().zip(&critics) {
            losses.policy += a.losses.policy / n;
            losses.approx_kl += a.losses.approx_kl / n;
            losses.kl += a.losses.kl / n;
            losses.clip_fraction += a.losses.clipped / n;
            losses.value += c.loss / n;
        }
        let log_std = &of_actor[self.actor.len()..];
        losses.entropy = log_std.iter().map(|s| f64::from(*s + 0.5 + LOG_SQRT_TAU)).sum();
        let (d_actor, d_critic) = self.grads.split_at_mut(split);
        let parts: Vec<&[f32]> = actors.iter().map(|a| a.grads.as_slice()).collect();
        let mut actor_norm = optimizer::sum(team, &parts, d_actor);
        let parts: Vec<&[f32]> = critics.iter().map(|c| c.grads.as_slice()).collect();
        let critic_norm = optimizer::sum(team, &parts, d_critic);
        if cfg.entropy_coef > 0.0 {
            // The entropy's own gradient: 1 for every log-deviation.
            d_actor[self.actor.len()..].iter_mut().for_each(|g| *g -= cfg.entropy_coef as f32);
            actor_norm = super::kernels::sum_of_squares(d_actor).sqrt();
        }
        drop((actors, critics));
        losses.grad_norm = actor_norm.hypot(critic_norm);
        if !losses.grad_norm.is_finite() || !losses.policy.is_finite() {
            let (what, value) = match losses.policy.is_finite() {
                true => ("gradient norm", losses.grad_norm),
                false => ("policy loss", losses.policy),
            };
            return Err(Error::LearningDiverged { what, value, step: self.adam.steps }.into());
        }
        if cfg.lr_schedule == LrSchedule::AdaptiveKl {
            if losses.kl > 2.0 * cfg.target_kl {
                self.lr = (self.lr / 1.5).max(1e-5);
            } else if losses.kl < 0.5 * cfg.target_kl && losses.kl > 0.0 {
                self.lr = (self.lr * 1.5).min(1e-2);
            }
        }
        let scale = match cfg.clip_separately {
            true => {
                let scale = optimizer::clip(actor_norm, cfg.max_grad_norm);
                d_actor.iter_mut().for_each(|g| *g *= scale);
                let scale = optimizer::clip(critic_norm, cfg.max_grad_norm);
                d_critic.iter_mut().for_each(|g| *g *= scale);
                1.0
            }
            false => optimizer::clip(losses.grad_norm, cfg.max_grad_norm),
        };
        self.adam.step(team, &mut self.params, &self.grads, self.lr, scale);
        Ok(losses)
    }
}

/// Forward pass, clipped surrogate objective and backward pass of the actor over some rows.
#[allow(clippy::too_many_arguments, reason = "what a shard looks at")]
fn actor_shard(
    cfg: &PpoConfig,
    actor: &Mlp,
    params: &[f32],
    r: &Rollout,
    rows: &[u32],
    (mean, scale): (f32, f32),
    n: f32,
    work: &mut ActorWork,
) {
    let (dim, actions) = (actor.inputs(), actor.outputs());
    let (weights, log_std) = params.split_at(actor.len());
    work.losses = ActorLosses::default();
    let (d_weights, d_log_std) = work.grads.split_at_mut(actor.len());
    d_log_std.fill(0.0);
    let inverse_var: Vec<f32> = log_std.iter().map(|s| (-2.0 * s).exp()).collect();
    // Parts of the divergence that depend on no observation.
    let spread = |j: usize| (log_std[j] - r.log_std[j], (2.0 * r.log_std[j]).exp());
    let spread: Vec<(f32, f32)> = (0..actions).map(spread).collect();
    let clip = cfg.clip as f32;
    for (p, piece) in rows.chunks(PIECE).enumerate() {
        gather(&r.obs, dim, piece, &mut work.obs);
        let obs = &work.obs[..piece.len() * dim];
        let means = actor.forward(weights, obs, &mut work.tape);
        let d_mean = &mut work.d_mean[..piece.len() * actions];
        for (i, row) in piece.iter().enumerate() {
            let row = *row as usize;
            let mu = &means[i * actions..(i + 1) * actions];
            let old = &r.means[row * actions..(row + 1) * actions];
            let taken = &r.actions[row * actions..(row + 1) * actions];
            let d_mu = &mut d_mean[i * actions..(i + 1) * actions];
            let (mut log_prob, mut kl) = (0.0f32, 0.0f32);
            for j in 0..actions {
                let off = taken[j] - mu[j];
                d_mu[j] = off * inverse_var[j];
                log_prob -= 0.5 * off * d_mu[j] + log_std[j] + LOG_SQRT_TAU;
                let (wider, old_var) = spread[j];
                let moved = old[j] - mu[j];
                kl += wider + 0.5 * (old_var + moved * moved) * inverse_var[j] - 0.5;
            }
            let log_ratio = log_prob - r.log_probs[row];
            let ratio = log_ratio.exp();
            let advantage = (r.advantages[row] - mean) * scale;
            let plain = -advantage * ratio;
            let limited = -advantage * ratio.clamp(1.0 - clip, 1.0 + clip);
            let inside = (ratio - 1.0).abs() <= clip;
            // d loss / d log-probability: nothing flows where the clipped branch is the larger.
            let d = if inside || plain > limited { plain / n } else { 0.0 };
            for j in 0..actions {
                let normed = d_mu[j] * (taken[j] - mu[j]);
                d_log_std[j] += d * (normed - 1.0);
                d_mu[j] *= d;
            }
            let losses = &mut work.losses;
            losses.policy += f64::from(plain.max(limited));
            losses.approx_kl += f64::from(ratio - 1.0 - log_ratio);
            losses.kl += f64::from(kl);
            losses.clipped += if inside { 0.0 } else { 1.0 };
        }
        actor.backward(weights, obs, d_mean, &mut work.tape, d_weights, p == 0, None);
    }
}

/// Forward pass, squared error and backward pass of the critic over some rows.
fn critic_shard(
    cfg: &PpoConfig,
    critic: &Mlp,
    params: &[f32],
    r: &Rollout,
    rows: &[u32],
    n: f32,
    work: &mut CriticWork,
) {
    let dim = critic.inputs();
    work.loss = 0.0;
    let (clip, weight) = (cfg.clip as f32, cfg.value_coef as f32 / n);
    for (p, piece) in rows.chunks(PIECE).enumerate() {
        gather(&r.obs, dim, piece, &mut work.obs);
        let obs = &work.obs[..piece.len() * dim];
        let values = critic.forward(params, obs, &mut work.tape);
        let d_value = &mut work.d_value[..piece.len()];
        for ((d, value), row) in d_value.iter_mut().zip(values).zip(piece) {
            let row = *row as usize;
            let (wanted, old) = (r.returns[row], r.values[row]);
            let plain = (value - wanted) * (value - wanted);
            let moved = (value - old).clamp(-clip, clip);
            let limited = (old + moved - wanted) * (old + moved - wanted);
            let limits = cfg.clip_value && limited > plain && (value - old).abs() > clip;
            *d = if limits { 0.0 } else { weight * (value - wanted) };
            let error = if cfg.clip_value { plain.max(limited) } else { plain };
            work.loss += 0.5 * f64::from(error);
        }
        critic.backward(params, obs, d_value, &mut work.tape, &mut work.grads, p == 0, None);
    }
}

/// Generalised advantages, backwards in time; returns are advantages plus values.
fn advantages(r: &mut Rollout, next_values: &[f32], gamma: f32, lambda: f32) {
    let num = next_values.len();
    let mut carried = vec![0.0f32; num];
    let mut after = next_values.to_vec();
    for first in (0..r.rewards.len()).step_by(num).rev() {
        for i in 0..num {
            let row = first + i;
            let goes_on = if r.done[row] { 0.0 } else { 1.0 };
            let delta = r.rewards[row] + gamma * after[i] * goes_on - r.values[row];
            carried[i] = delta + gamma * lambda * goes_on * carried[i];
            after[i] = r.values[row];
            r.advantages[row] = carried[i];
            r.returns[row] = carried[i] + r.values[row];
        }
    }
}

/// Mean, and 1 / (unbiased deviation + 1e-8).
fn mean_and_scale(values: impl ExactSizeIterator<Item = f32> + Clone) -> (f32, f32) {
    let n = values.len() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let squares: f64 = values.map(|v| (f64::from(v) - mean) * (f64::from(v) - mean)).sum();
    let deviation = (squares / (n - 1.0).max(1.0)).sqrt();
    (mean as f32, (1.0 / (deviation + 1e-8)) as f32)
}

fn gather(from: &[f32], dim: usize, rows: &[u32], to: &mut [f32]) {
    for (row, to) in rows.iter().zip(to.chunks_exact_mut(dim)) {
        let at = *row as usize * dim;
        to.copy_from_slice(&from[at..at + dim]);
    }
}

/// Lends a task's tape.
type Lend<'a> = dyn Fn(usize, &mut dyn FnMut(&mut Tape)) + Sync + 'a;

/// A network's outputs of many rows, in pieces spread over the team. `with` lends task `i`'s tape.
fn outputs(team: &Team, net: &Mlp, params: &[f32], x: &[f32], out: &mut [f32], with: &Lend<'_>) {
    let (k, n) = (net.inputs(), net.outputs());
    let rows = x.len() / k;
    if rows < 8 {
        with(0, &mut |tape| {
            for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
                out.copy_from_slice(net.row(params, x, tape));
            }
        });
        return;
    }
    let size = if rows > 8 * PIECE { PIECE } else { 32 };
    let pieces: Vec<_> = x.chunks(size * k).zip(out.chunks_mut(size * n)).map(Mutex::new).collect();
    team.run(MAX_SHARDS.min(pieces.len()), &|task| {
        with(task, &mut |tape| {
            for piece in pieces.iter().skip(task).step_by(MAX_SHARDS) {
                let (x, out) = &mut *lock(piece);
                out.copy_from_slice(net.forward(params, x, tape));
            }
        });
    });
}

impl Losses {
    fn each(&mut self) -> [&mut f64; 7] {
        [
            &mut self.policy,
            &mut self.value,
            &mut self.entropy,
            &mut self.approx_kl,
            &mut self.kl,
            &mut self.clip_fraction,
            &mut self.grad_norm,
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = *other;
        self.each().into_iter().zip(other.each()).for_each(|(a, b)| *a += *b);
    }

    fn over(mut self, count: f64) -> Self {
        self.each().into_iter().for_each(|a| *a /= count);
        self
    }
}

impl Agent for Ppo {
    fn advance(&mut self, envs: &mut Envs<'_>, team: &Team, scalars: &mut Scalars) -> Result<u64> {
        self.collect(envs, team)?;
        self.judge(envs.num, team);
        let losses = self.learn(team)?;
        self.update += 1;
        scalars.add("policy_loss", losses.policy);
        scalars.add("value_loss", losses.value);
        scalars.add("entropy", losses.entropy);
        scalars.add("approx_kl", losses.approx_kl);
        scalars.add("clip_fraction", losses.clip_fraction);
        scalars.add("grad_norm", losses.grad_norm);
        scalars.add("learning_rate", self.lr);
        scalars.add("explained_variance", explained_variance(&self.rollout));
        Ok(self.order.len() as u64)
    }

    fn actor(&self, envs: &Envs<'_>) -> ActorModel {
        let split = self.split();
        ActorModel {
            inputs: envs.inputs.clone(),
            net: self.actor.clone(),
            params: self.params[..self.actor.len()].to_vec(),
            deviation: Deviation::Learned(self.params[self.actor.len()..split].to_vec()),
            moments: match self.cfg.normalize_observations {
                Normalization::Off => None,
                _ => Some((self.observation_moments.clone(), self.cfg.clip_observations as f32)),
            },
            squash: Squash::Clip,
            low: envs.low.clone(),
            high: envs.high.clone(),
            fps: envs.control_hz(),
            action_names: envs.action_names(),
        }
    }

    fn parameters(&self) -> usize {
        self.params.len()
    }

    fn save(&self) -> AgentState {
        let small = Saved {
            update: self.update,
            adam_steps: self.adam.steps,
            lr: Bits::of(&[self.lr]),
            observations: self.observation_moments.bits(),
            rewards: self.reward_scale.bits(),
        };
        let vector = |name: &str, v: &[f32]| (name.to_owned(), v.to_vec());
        let vectors = vec![
            vector("weights", &self.params),
            vector("exp_avg", &self.adam.m),
            vector("exp_avg_sq", &self.adam.v),
            vector("observations", &self.obs),
        ];
        AgentState { small: serde_json::to_value(small).unwrap_or_default(), vectors }
    }

    fn restore(&mut self, state: AgentState) -> Result<(), Error> {
        let saved: Saved = serde_json::from_value(state.small.clone()).map_err(|_| bad_state())?;
        self.update = saved.update;
        self.adam.steps = saved.adam_steps;
        self.lr = saved.lr.values().first().copied().ok_or_else(bad_state)?;
        let fits = self.observation_moments.restore(&saved.observations)
            && self.reward_scale.restore(&saved.rewards);
        if !fits {
            return Err(bad_state());
        }
        state.put("weights", &mut self.params)?;
        state.put("exp_avg", &mut self.adam.m)?;
        state.put("exp_avg_sq", &mut self.adam.v)?;
        state.put("observations", &mut self.obs)
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    update: u64,
    adam_steps: u64,
    lr: Bits,
    observations: Bits,
    rewards: (Bits, Bits),
}

/// 1 − variance of the error of the values over that of the returns.
fn explained_variance(r: &Rollout) -> f64 {
    let n = r.returns.len() as f64;
    let variance = |f: &dyn Fn(usize) -> f64| {
        let mean = (0..r.returns.len()).map(f).sum::<f64>() / n;
        (0..r.returns.len()).map(|i| (f(i) - mean).powi(2)).sum::<f64>() / n
    };
    let of_returns = variance(&|i| f64::from(r.returns[i]));
    let of_errors = variance(&|i| f64::from(r.returns[i] - r.values[i]));
    if of_returns > 0.0 { 1.0 - of_errors / of_returns } else { 0.0 }
}

#[cfg(test)]
mod tests;
