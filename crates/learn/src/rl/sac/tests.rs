//! Updates against PyTorch's, with the same batch and noise.

use super::super::tests::{ask, near, random, sizes};
use super::*;

/// Five updates in PyTorch: losses within 1e-4, weights within 5e-4 of their largest entries.
fn agrees_with_torch(cfg: &SacConfig, which: &[usize]) {
    let (dim, n, rows, updates) = (17, 6, cfg.batch_size, 5);
    let (low, high) = (vec![-0.4; n], vec![0.4; n]);
    let mut sac = Sac::sized(cfg, dim, &low, &high, 1, 3);
    let r = &mut sac.replay;
    r.obs = random(0, rows * dim, 1.0);
    r.next_obs = random(1, rows * dim, 1.0);
    r.actions = random(2, rows * n, 0.2);
    r.rewards = random(3, rows, 1.0);
    r.ends = (0..rows).map(|i| if i % 7 == 0 { 1.0 } else { 0.0 }).collect();
    let vector = |name: &str, values: &[f32]| (name.to_owned(), values.to_vec());
    let (scale, shift): (Vec<f32>, Vec<f32>) = sac.seen.iter().copied().unzip();
    let mut vectors = vec![
        vector("obs", &r.obs),
        vector("next_obs", &r.next_obs),
        vector("actions", &r.actions),
        vector("rewards", &r.rewards),
        vector("ends", &r.ends),
        vector("actor", &sac.params),
        vector("critics", &sac.critics.params),
        vector("target", &sac.critics.target),
        vector("log_alpha", &sac.log_alpha),
        vector("scale", &scale),
        vector("shift", &shift),
    ];
    let team = Team::new(2);
    let drawn: Vec<u32> = (0..rows as u32).collect();
    let mut losses = Vec::new();
    for k in 0..updates {
        let draw = |i: u64| random(100 + 3 * k + i, rows * n, 1.0);
        let noise = Noise { next: draw(0), now: draw(1), fresh: draw(2) };
        for (name, values) in [("next", &noise.next), ("now", &noise.now), ("fresh", &noise.fresh)]
        {
            vectors.push((format!("{name}.{k}"), values.clone()));
        }
        let sums = sac.learn_critics(&team, &drawn, which, &noise).expect("finite");
        losses.push((sums.critic_loss / (rows * cfg.critics) as f64) as f32);
        let sums = sac.learn_actor(&team, &noise).expect("finite");
        losses.push((sums.actor_loss / rows as f64) as f32);
    }
    let case = serde_json::json!({
        "what": "sac", "updates": updates, "which": which, "critics": cfg.critics,
        "actor": sizes(dim, &cfg.actor_hidden, 2 * n),
        "critic": sizes(dim + n, &cfg.critic_hidden, 1),
        "activation": cfg.activation, "actor_norm": cfg.actor_layer_norm,
        "critic_norm": cfg.critic_layer_norm, "actor_lr": cfg.actor_lr,
        "critic_lr": cfg.critic_lr, "temperature_lr": cfg.temperature_lr,
        "critic_coef": cfg.critic_coef, "gamma": cfg.gamma, "tau": cfg.tau,
        "log_std_min": cfg.log_std_min, "log_std_max": cfg.log_std_max,
        "std_range": cfg.std_range, "temperature": cfg.temperature,
        "target_entropy": cfg.target_entropy, "climbs_mean": cfg.actor_climbs_mean,
    });
    let Some(theirs) = ask(&case, &vectors) else { return };
    near(&theirs, "losses", &losses, 1e-4);
    near(&theirs, "critics", &sac.critics.params, 5e-4);
    near(&theirs, "target", &sac.critics.target, 5e-4);
    near(&theirs, "actor", &sac.params, 5e-4);
    near(&theirs, "log_alpha", &sac.log_alpha, 1e-4);
}

#[test]
fn updates_agree_with_torch_as_cleanrl() {
    agrees_with_torch(&SacConfig { batch_size: 256, ..SacConfig::cleanrl() }, &[0, 1]);
}

#[test]
fn updates_agree_with_torch_as_sb3() {
    agrees_with_torch(&SacConfig { batch_size: 100, ..SacConfig::sb3() }, &[0, 1]);
}

#[test]
fn updates_agree_with_torch_with_an_ensemble() {
    let hidden = || vec![64, 48];
    let cfg = SacConfig {
        batch_size: 200,
        critics: 5,
        critics_in_target: 2,
        normalize_observations: false,
        actor_hidden: hidden(),
        critic_hidden: hidden(),
        ..SacConfig::fast()
    };
    agrees_with_torch(&cfg, &[1, 4]);
}
