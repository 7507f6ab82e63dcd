//! One update against finite differences and against PyTorch; threads and breaks change nothing.

use std::io;

use super::super::actor::Scaling;
use super::*;
use crate::rl::tests::{ask, near, random, sizes as sizes_of};

/// A batch made up.
pub(crate) struct Made {
    batch: Batch,
}

fn sizes(maps: &[[usize; 3]]) -> Sizes {
    Sizes { state_dim: 3, maps: maps.to_vec(), low: vec![-1.0; 3], high: vec![1.0; 3] }
}

impl Made {
    fn new(rows: usize, maps: &[[usize; 3]], label: u64) -> Self {
        let map_lens: Vec<usize> = maps.iter().map(|m| m.iter().product()).collect();
        let all = |from: u64| -> Vec<Vec<f32>> {
            let one = |(i, len): (usize, &usize)| random(from + i as u64, rows * len, 1.0);
            map_lens.iter().enumerate().map(one).collect()
        };
        let gripper = maps.len() * 2;
        let batch = Batch {
            state_dim: 3,
            states: random(label, rows * 3, 1.0),
            next_states: random(label + 1, rows * 3, 1.0),
            maps: all(label + 10),
            next_maps: all(label + 20),
            actions: random(label + 2, rows * 2, 0.4).iter().map(|a| a.clamp(-1.0, 1.0)).collect(),
            gripper: (0..rows).map(|i| ((i * 7 + gripper) % 3) as u8).collect(),
            rewards: random(label + 3, rows, 1.0),
            penalties: (0..rows).map(|i| if i % 4 == 0 { -0.02 } else { 0.0 }).collect(),
            ends: (0..rows).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect(),
            map_lens,
        };
        Self { batch }
    }
}

impl Rows for Made {
    fn gather(&self, range: Range<usize>, to: &mut Batch) -> io::Result<()> {
        let b = &self.batch;
        let cut = |v: &[f32], dim: usize| v[range.start * dim..range.end * dim].to_vec();
        let maps = |maps: &[Vec<f32>]| {
            maps.iter().zip(&b.map_lens).map(|(m, len)| cut(m, *len)).collect::<Vec<_>>()
        };
        *to = Batch {
            state_dim: 3,
            map_lens: b.map_lens.clone(),
            states: cut(&b.states, 3),
            next_states: cut(&b.next_states, 3),
            maps: maps(&b.maps),
            next_maps: maps(&b.next_maps),
            actions: cut(&b.actions, 2),
            gripper: b.gripper[range.clone()].to_vec(),
            rewards: cut(&b.rewards, 1),
            penalties: cut(&b.penalties, 1),
            ends: cut(&b.ends, 1),
        };
        Ok(())
    }
}

fn small(base: HilSerlConfig, batch_size: usize) -> HilSerlConfig {
    HilSerlConfig {
        batch_size,
        actor_hidden: vec![16, 12],
        critic_hidden: vec![16, 12],
        image_latent: 6,
        state_latent: if base.state_latent > 0 { 5 } else { 0 },
        embeddings: 2,
        critics: 3,
        critics_in_target: 2,
        gripper: Some(2),
        ..base
    }
}

fn learner(cfg: &HilSerlConfig, maps: &[[usize; 3]]) -> Learner {
    let sizes = sizes(maps);
    let scaling = Scaling::new(cfg, &sizes, None);
    Learner::new(cfg, &sizes, scaling, 3)
}

const MAPS: [[usize; 3]; 1] = [[2, 2, 3]];

/// The critics' whole loss of a batch, as the update takes it: by an update with a learning rate of
/// next to nothing.
fn critic_loss(l: &mut Learner, team: &Team, rows: &Made, noise: &Noise) -> f64 {
    let sums = l.learn_critics(team, rows, &[0, 2], noise).unwrap();
    let n = l.cfg.batch_size as f64;
    let critics = match l.cfg.critic_loss {
        CriticLoss::Mean => sums.critic_loss / n / l.critics.count as f64,
        CriticLoss::Sum => sums.critic_loss / n,
    };
    critics + sums.gripper_loss / n
}

#[test]
fn gradients_reach_the_trunk_from_every_critic_and_from_no_actor() {
    for base in [HilSerlConfig::hil_serl(), HilSerlConfig::lerobot()] {
        // Targets that do not move, and steps too small to see: the loss is looked at again and again.
        let cfg = HilSerlConfig {
            critic_lr: 1e-30,
            tau: 0.0,
            max_grad_norm: 0.0,
            gamma: 0.9,
            ..small(base, 24)
        };
        let team = Team::new(1);
        let mut l = learner(&cfg, &MAPS);
        // The actor's outputs for the next step hang on the trunk too, but targets pass no gradient:
        // without a next step's value the loss hangs on the trunk by the present step alone.
        let mut rows = Made::new(24, &MAPS, 40);
        rows.batch.ends.fill(1.0);
        let noise = Noise { next: random(90, 24 * 2, 1.0), now: random(91, 24 * 2, 1.0) };
        critic_loss(&mut l, &team, &rows, &noise);
        let grads = l.trunk_grads.clone();
        let largest = grads.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        assert!(largest > 1e-3);
        for i in (0..grads.len()).step_by(3) {
            let (kept, step) = (l.trunk_params[i], 2e-3);
            l.trunk_params[i] = kept + step;
            let up = critic_loss(&mut l, &team, &rows, &noise);
            l.trunk_params[i] = kept - step;
            let down = critic_loss(&mut l, &team, &rows, &noise);
            l.trunk_params[i] = kept;
            let wanted = (up - down) / (2.0 * f64::from(step));
            let off = (f64::from(grads[i]) - wanted).abs();
            assert!(off < 1e-2 * f64::from(largest), "{i}: {} and {wanted}", grads[i]);
        }
        let before = l.trunk_params.clone();
        l.learn_actor(&team, &noise).unwrap();
        assert_eq!(l.trunk_params, before, "the actor changed the trunk");
    }
}

#[test]
fn the_actors_gradient_is_what_finite_differences_say() {
    for climbs in [true, false] {
        let cfg = HilSerlConfig {
            critic_lr: 1e-30,
            actor_lr: 1e-30,
            temperature_lr: 1e-30,
            initial_temperature: 0.3,
            actor_climbs_mean: climbs,
            ..small(HilSerlConfig::hil_serl(), 24)
        };
        let team = Team::new(1);
        let mut l = learner(&cfg, &MAPS);
        let rows = Made::new(24, &MAPS, 40);
        let noise = Noise { next: random(90, 24 * 2, 1.0), now: random(91, 24 * 2, 1.0) };
        l.learn_critics(&team, &rows, &[0, 2], &noise).unwrap();
        l.learn_actor(&team, &noise).unwrap();
        let grads = l.actor_grads.clone();
        let largest = grads.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        let loss = |l: &mut Learner| l.learn_actor(&team, &noise).unwrap().actor_loss / 24.0;
        for i in (0..grads.len()).step_by(5) {
            let (kept, step) = (l.actor_params[i], 2e-3);
            l.actor_params[i] = kept + step;
            let up = loss(&mut l);
            l.actor_params[i] = kept - step;
            let down = loss(&mut l);
            l.actor_params[i] = kept;
            let wanted = (up - down) / (2.0 * f64::from(step));
            let off = (f64::from(grads[i]) - wanted).abs();
            assert!(off < 1e-2 * f64::from(largest), "{i}: {} and {wanted}", grads[i]);
        }
    }
}

/// A few rounds on made-up batches.
fn rounds(l: &mut Learner, team: &Team, count: u64) {
    let rows = l.cfg.batch_size;
    for _ in 0..count {
        let made = |update: u64| Made::new(rows, &MAPS, 100 + 40 * update);
        l.round(team, made, &mut Scalars::default()).unwrap();
    }
}

fn everything(l: &mut Learner) -> (serde_json::Value, Vec<(String, Vec<f32>)>) {
    let state = l.save();
    (state.small, state.vectors)
}

#[test]
fn threads_and_breaks_change_no_bit() {
    for base in [HilSerlConfig::hil_serl(), HilSerlConfig::lerobot(), HilSerlConfig::rlpd()] {
        let cfg = HilSerlConfig { critic_updates: 2, ..small(base, 400) };
        let run = |threads: usize| {
            let mut l = learner(&cfg, &MAPS);
            rounds(&mut l, &Team::new(threads), 3);
            everything(&mut l)
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "threads changed a result");
        let mut first = learner(&cfg, &MAPS);
        rounds(&mut first, &Team::new(2), 1);
        let saved = first.save();
        let mut second = learner(&cfg, &MAPS);
        second.restore(&saved).unwrap();
        rounds(&mut second, &Team::new(2), 2);
        assert!(everything(&mut second) == one, "a break changed a result");
    }
}

/// The penalty of a command counts in every update, a single one per step as well.
#[test]
fn the_grippers_penalty_counts_at_one_update_per_step() {
    let cfg = HilSerlConfig { critic_updates: 1, ..small(HilSerlConfig::hil_serl(), 24) };
    let run = |penalty: f32| {
        let mut l = learner(&cfg, &MAPS);
        let made = |_| {
            let mut made = Made::new(24, &MAPS, 40);
            made.batch.penalties.fill(penalty);
            made
        };
        l.round(&Team::new(1), made, &mut Scalars::default()).unwrap();
        l.gripper.unwrap().params
    };
    assert_ne!(run(0.0), run(-0.5));
}

#[test]
fn weights_travel_as_a_file_of_named_tensors() {
    let cfg = small(HilSerlConfig::hil_serl(), 24);
    let mut l = learner(&cfg, &MAPS);
    rounds(&mut l, &Team::new(1), 2);
    let bytes = l.acting().write().unwrap();
    let mut other = Learner::new(&cfg, &sizes(&MAPS), l.scaling.clone(), 9).acting();
    let (state, map, noise) = ([0.1, -0.2, 0.3], random(1, 12, 1.0), [0.4, -0.9]);
    let act = |net: &mut ActorNet, noise: Option<&[f32]>| {
        let mut out = [0.0; 3];
        net.act(&state, &[&map], noise, &mut out);
        out
    };
    assert_ne!(act(&mut other, Some(&noise)), act(&mut l.acting(), Some(&noise)));
    other.load(std::path::Path::new("weights"), &bytes).unwrap();
    for noise in [None, Some(&noise[..])] {
        let action = act(&mut other, noise);
        assert_eq!(action, act(&mut l.acting(), noise));
        assert!([-1.0, 0.0, 1.0].contains(&action[2]), "the gripper's command {}", action[2]);
    }
    let wide = HilSerlConfig { actor_hidden: vec![16, 13], ..cfg };
    let mut wrong = Learner::new(&wide, &sizes(&MAPS), l.scaling.clone(), 9).acting();
    let said = wrong.load(std::path::Path::new("weights"), &bytes).unwrap_err().to_string();
    assert!(said.contains("tensor `actor.1.weight` has shape [12, 16]"), "{said}");
}

/// Three rounds in PyTorch from the same weights, batches and noise.
fn agrees_with_torch(base: HilSerlConfig) {
    let cfg = small(base, 160);
    let mut l = learner(&cfg, &MAPS);
    let team = Team::new(2);
    let which = [0, 2];
    let updates = 3u64;
    let mut vectors = vec![
        ("trunk".to_owned(), l.trunk_params.clone()),
        ("critics".to_owned(), l.critics.params.clone()),
        ("actor".to_owned(), l.actor_params.clone()),
        ("gripper".to_owned(), l.gripper.as_ref().unwrap().params.clone()),
        ("raw_alpha".to_owned(), l.raw_alpha.to_vec()),
    ];
    let mut losses = Vec::new();
    for k in 0..updates {
        let made = Made::new(160, &MAPS, 100 + 40 * k);
        let noise = Noise { next: random(500 + k, 320, 1.0), now: random(600 + k, 320, 1.0) };
        let b = &made.batch;
        let choice: Vec<f32> = b.gripper.iter().map(|c| f32::from(*c)).collect();
        for (name, values) in [
            ("state", &b.states),
            ("next_state", &b.next_states),
            ("map", &b.maps[0]),
            ("next_map", &b.next_maps[0]),
            ("action", &b.actions),
            ("choice", &choice),
            ("reward", &b.rewards),
            ("penalty", &b.penalties),
            ("end", &b.ends),
            ("next", &noise.next),
            ("now", &noise.now),
        ] {
            vectors.push((format!("{name}.{k}"), values.clone()));
        }
        let sums = l.learn_critics(&team, &made, &which, &noise).unwrap();
        losses.push((sums.critic_loss / 160.0 / 3.0) as f32);
        losses.push((sums.gripper_loss / 160.0) as f32);
        let sums = l.learn_actor(&team, &noise).unwrap();
        losses.push((sums.actor_loss / 160.0) as f32);
    }
    let (z, n) = (l.trunk.outputs(), 2);
    let case = serde_json::json!({
        "what": "hilserl", "updates": updates, "which": which, "critics": cfg.critics,
        "map": MAPS[0], "embeddings": cfg.embeddings, "image_latent": cfg.image_latent,
        "state_latent": cfg.state_latent, "state_dim": 3,
        "actor": sizes_of(z, &cfg.actor_hidden, 2 * n),
        "critic": sizes_of(z + n, &cfg.critic_hidden, 1),
        "gripper": sizes_of(z, &cfg.critic_hidden, 3),
        "activation": cfg.activation, "actor_norm": cfg.actor_layer_norm,
        "critic_norm": cfg.critic_layer_norm, "actor_lr": cfg.actor_lr,
        "critic_lr": cfg.critic_lr, "temperature_lr": cfg.temperature_lr,
        "critic_loss": cfg.critic_loss, "gamma": cfg.gamma, "tau": cfg.tau,
        "log_std_min": cfg.std_min.ln(), "log_std_max": cfg.std_max.ln(),
        "temperature_form": cfg.temperature_form, "target_entropy": cfg.target_entropy,
        "climbs_mean": cfg.actor_climbs_mean, "entropy_in_target": cfg.entropy_in_target,
        "max_grad_norm": cfg.max_grad_norm,
    });
    let Some(theirs) = ask(&case, &vectors) else { return };
    near(&theirs, "losses", &losses, 1e-4);
    near(&theirs, "trunk", &l.trunk_params, 5e-4);
    near(&theirs, "critics", &l.critics.params, 5e-4);
    near(&theirs, "critics_target", &l.critics.target, 5e-4);
    near(&theirs, "gripper", &l.gripper.as_ref().unwrap().params, 5e-4);
    near(&theirs, "actor", &l.actor_params, 5e-4);
    near(&theirs, "raw_alpha", &l.raw_alpha, 1e-4);
}

#[test]
fn updates_agree_with_torch_as_hil_serl() {
    agrees_with_torch(HilSerlConfig::hil_serl());
}

#[test]
fn updates_agree_with_torch_as_lerobot() {
    agrees_with_torch(HilSerlConfig { max_grad_norm: 0.05, ..HilSerlConfig::lerobot() });
}

#[test]
fn updates_agree_with_torch_as_rlpd() {
    agrees_with_torch(HilSerlConfig { state_latent: 0, ..HilSerlConfig::rlpd() });
}
