//! Updates against PyTorch's, with the same batch and noise.

use super::super::tests::{ask, near, random, sizes};
use super::*;

/// Six updates of the critics, three of the actor: losses within 1e-4, weights within 5e-4 of their
/// largest entries.
#[test]
fn updates_agree_with_torch() {
    let cfg = Td3Config::cleanrl();
    let (dim, n, rows, updates) = (17, 6, cfg.batch_size, 6);
    let (low, high) = (vec![-0.4; n], vec![0.8; n]);
    let mut td3 = Td3::sized(&cfg, dim, &low, &high, 1, 3);
    let r = &mut td3.replay;
    r.obs = random(0, rows * dim, 1.0);
    r.next_obs = random(1, rows * dim, 1.0);
    r.actions = random(2, rows * n, 0.2);
    r.rewards = random(3, rows, 1.0);
    r.ends = (0..rows).map(|i| if i % 7 == 0 { 1.0 } else { 0.0 }).collect();
    let vector = |name: &str, values: &[f32]| (name.to_owned(), values.to_vec());
    let (scale, shift): (Vec<f32>, Vec<f32>) = td3.seen.iter().copied().unzip();
    let mut vectors = vec![
        vector("obs", &r.obs),
        vector("next_obs", &r.next_obs),
        vector("actions", &r.actions),
        vector("rewards", &r.rewards),
        vector("ends", &r.ends),
        vector("actor", &td3.params),
        vector("critics", &td3.critics.params),
        vector("target", &td3.critics.target),
        vector("scale", &scale),
        vector("shift", &shift),
    ];
    let team = Team::new(2);
    let drawn: Vec<u32> = (0..rows as u32).collect();
    let mut losses = Vec::new();
    for k in 0..updates {
        let noise = random(100 + k, rows * n, 1.0);
        let follow = k % 2 == 1;
        losses.push(td3.learn_critics(&team, &drawn, &noise, follow).expect("finite").0 as f32);
        if follow {
            losses.push(td3.learn_actor(&team).expect("finite") as f32);
        }
        vectors.push((format!("next.{k}"), noise));
    }
    let case = serde_json::json!({
        "what": "td3", "updates": updates, "critics": cfg.critics,
        "actor": sizes(dim, &cfg.actor_hidden, n),
        "critic": sizes(dim + n, &cfg.critic_hidden, 1),
        "activation": cfg.activation, "critic_norm": cfg.critic_layer_norm,
        "actor_lr": cfg.actor_lr, "critic_lr": cfg.critic_lr, "gamma": cfg.gamma, "tau": cfg.tau,
        "target_noise": cfg.target_noise, "target_noise_clip": cfg.target_noise_clip,
    });
    let Some(theirs) = ask(&case, &vectors) else { return };
    near(&theirs, "losses", &losses, 1e-4);
    near(&theirs, "critics", &td3.critics.params, 5e-4);
    near(&theirs, "target", &td3.critics.target, 5e-4);
    near(&theirs, "actor", &td3.params, 5e-4);
    near(&theirs, "actor_target", &td3.target, 5e-4);
}
