//! Advantages against their definition, and one update against PyTorch's.

use super::super::tests::{ask, near, random, sizes};
use super::*;

#[test]
fn advantages_follow_their_definition() {
    let (gamma, lambda) = (0.9f32, 0.8f32);
    let mut r = Rollout {
        rewards: vec![1.0, 2.0, 3.0, -1.0],
        values: vec![0.5, 0.1, -0.3, 0.7],
        done: vec![false, true, false, false],
        advantages: vec![0.0; 4],
        returns: vec![0.0; 4],
        ..Rollout::default()
    };
    advantages(&mut r, &[2.0], gamma, lambda);
    let d3 = -1.0 + 0.9 * 2.0 - 0.7;
    let d2 = 3.0 + 0.9 * 0.7 + 0.3;
    let d1 = 2.0 - 0.1;
    let d0 = 1.0 + 0.9 * 0.1 - 0.5;
    let wanted = [d0 + 0.72 * d1, d1, d2 + 0.72 * d3, d3];
    for (a, b) in r.advantages.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-6, "{:?} {wanted:?}", r.advantages);
    }
    assert!((r.returns[0] - (wanted[0] + 0.5)).abs() < 1e-6);
}

/// Six minibatches in PyTorch: losses within 2e-5 and weights within 2e-4 of their largest entries
/// (Adam's first steps are the sign of the gradient, which amplifies rounding).
fn agrees_with_torch(cfg: &PpoConfig, rows: usize, per_update: usize) {
    let (dim, actions, updates) = (17, 6, 6);
    let cfg = PpoConfig { rollout_steps: rows, ..cfg.clone() };
    let mut ppo = Ppo::sized(&cfg, dim, actions, 1, 5);
    let split = ppo.split();
    ppo.rollout.obs = random(0, rows * dim, 1.0);
    ppo.rollout.actions = random(1, rows * actions, 1.0);
    ppo.rollout.means = random(2, rows * actions, 0.1);
    ppo.rollout.log_std = random(9, actions, 0.05);
    // Probabilities under a policy near to the one that learns, so that some ratios are clipped.
    let noise = random(3, rows, 0.2);
    for (row, noise) in noise.iter().enumerate() {
        let log_prob = |a: &f32| -0.5 * a * a - LOG_SQRT_TAU;
        let taken = &ppo.rollout.actions[row * actions..(row + 1) * actions];
        ppo.rollout.log_probs[row] = taken.iter().map(log_prob).sum::<f32>() + noise;
    }
    ppo.rollout.values = random(4, rows, 0.3);
    ppo.rollout.returns = random(5, rows, 1.0);
    ppo.rollout.advantages = random(6, rows, 1.0);
    let mut order = vec![0; rows];
    let mut orders = Vec::new();
    let mut losses = Vec::new();
    for update in 0..updates {
        shuffle(&mut stream(5, "test", update), &mut order);
        orders.extend_from_slice(&order[..per_update]);
    }
    let before = ppo.params.clone();
    let team = Team::new(2);
    for rows in orders.chunks_exact(per_update) {
        let l = ppo.minibatch(rows, &team).expect("finite");
        losses.extend([l.policy, l.value, l.approx_kl, l.kl, l.entropy].map(|v| v as f32));
    }
    let case = serde_json::json!({
        "what": "ppo",
        "actor": sizes(dim, &cfg.actor_hidden, actions),
        "critic": sizes(dim, &cfg.critic_hidden, 1),
        "activation": cfg.activation, "updates": updates, "lr": cfg.lr, "adam_eps": cfg.adam_eps,
        "clip": cfg.clip, "clip_value": cfg.clip_value, "advantage_norm": cfg.advantage_norm,
        "entropy_coef": cfg.entropy_coef, "value_coef": cfg.value_coef,
        "max_grad_norm": cfg.max_grad_norm, "separately": cfg.clip_separately,
        "adaptive": cfg.lr_schedule == LrSchedule::AdaptiveKl, "target_kl": cfg.target_kl,
    });
    let r = &ppo.rollout;
    let vectors = [
        ("actor", before[..ppo.actor.len()].to_vec()),
        ("log_std", before[ppo.actor.len()..split].to_vec()),
        ("critic", before[split..].to_vec()),
        ("obs", r.obs.clone()),
        ("actions", r.actions.clone()),
        ("means", r.means.clone()),
        ("old_log_std", r.log_std.clone()),
        ("log_probs", r.log_probs.clone()),
        ("values", r.values.clone()),
        ("returns", r.returns.clone()),
        ("advantages", r.advantages.clone()),
        ("orders", orders.iter().map(|o| *o as f32).collect()),
    ]
    .map(|(name, values)| (name.to_owned(), values));
    let Some(theirs) = ask(&case, &vectors) else { return };
    near(&theirs, "losses", &losses, 2e-5);
    near(&theirs, "params", &ppo.params, 2e-4);
}

#[test]
fn updates_agree_with_torch_as_cleanrl() {
    agrees_with_torch(&PpoConfig::cleanrl(), 2048, 64);
}

#[test]
fn updates_agree_with_torch_as_sb3() {
    agrees_with_torch(&PpoConfig { entropy_coef: 0.02, ..PpoConfig::sb3() }, 512, 300);
}

#[test]
fn updates_agree_with_torch_as_rsl_rl() {
    let cfg = PpoConfig { actor_hidden: vec![128, 64, 32], ..PpoConfig::rsl_rl() };
    agrees_with_torch(&cfg, 6144, 3000);
}
