//! What this machine reaches: updates of SAC per second, and the matrix products that bound them.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use embody_core::{Result, Team};

use super::agent::{Scalars, lock};
use super::sac::{Sac, SacConfig};
use crate::noise::{normals, stream};
use crate::ops::gemm::{Mat, matmul};

/// Rows, inner and outer size of the products by which the ceiling is measured: large enough that
/// neither packing nor memory counts.
const PRODUCT: usize = 768;

/// Multiplications and additions of the matrix products of one update of critics, actor and targets, in
/// floating-point operations; nothing that a leaner implementation could leave out.
pub fn sac_flop_per_update(cfg: &SacConfig, obs_dim: usize, action_dim: usize) -> f64 {
    let layers = |sizes: &[usize]| -> (f64, f64) {
        let products: Vec<f64> = sizes.windows(2).map(|p| (p[0] * p[1]) as f64).collect();
        (products.iter().sum(), products[0])
    };
    let (actor, actor_first) =
        layers(&[&[obs_dim], &cfg.actor_hidden[..], &[2 * action_dim]].concat());
    let inputs = obs_dim + action_dim;
    let (critic, critic_first) = layers(&[&[inputs], &cfg.critic_hidden[..], &[1]].concat());
    let (count, targets) = (cfg.critics as f64, cfg.critics_in_target as f64);
    // Forward; backward once for the weights, and once for what lies below, but below the first layer.
    let critics = actor + targets * critic + count * (3.0 * critic - critic_first);
    let actors = 3.0 * actor - actor_first + 2.0 * count * critic;
    let per_update = cfg.policy_updates as f64 / cfg.policy_delay as f64;
    2.0 * cfg.batch_size as f64 * (critics + per_update * actors)
}

/// Updates of SAC per second on made-up transitions: one rate for each of `samples` stretches of
/// `time`.
///
/// # Errors
/// Settings out of range.
pub fn sac_updates_per_second(
    cfg: &SacConfig,
    (obs_dim, action_dim): (usize, usize),
    threads: usize,
    samples: usize,
    time: Duration,
) -> Result<Vec<f64>> {
    cfg.validate()?;
    let team = Team::new(threads);
    let (low, high) = (vec![-1.0; action_dim], vec![1.0; action_dim]);
    let mut sac = Sac::sized(cfg, obs_dim, &low, &high, 1, 0);
    sac.fill_with_noise(20_000.min(cfg.buffer_size));
    let mut scalars = Scalars::default();
    for _ in 0..20 {
        sac.update(&team, &mut scalars)?;
    }
    let mut rates = Vec::new();
    for _ in 0..samples {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time {
            sac.update(&team, &mut scalars)?;
            done += 1;
        }
        rates.push(f64::from(done) / start.elapsed().as_secs_f64());
    }
    Ok(rates)
}

/// Floating-point operations per second of large f32 matrix products, one on each of `threads`.
pub fn sgemm_flop_per_second(threads: usize, samples: usize, time: Duration) -> Vec<f64> {
    let team = Team::new(threads);
    let mut operands = vec![0.0; 2 * PRODUCT * PRODUCT];
    normals(&mut stream(0, "bench/products", 0), &mut operands);
    let (a, b) = operands.split_at(PRODUCT * PRODUCT);
    let room: Vec<_> = (0..threads).map(|_| Mutex::new(vec![0.0f32; PRODUCT * PRODUCT])).collect();
    let n = PRODUCT;
    let product = || {
        team.run(threads, &|i| {
            let c = &mut *lock(&room[i]);
            matmul((n, n, n), c, 0, n, Mat::new(a, n), Mat::new(b, n), 1.0, 0.0);
            black_box(c);
        });
    };
    product();
    let mut rates = Vec::new();
    for _ in 0..samples {
        let (start, mut done) = (Instant::now(), 0.0);
        while start.elapsed() < time {
            product();
            done += 2.0 * (n * n * n * threads) as f64;
        }
        rates.push(done / start.elapsed().as_secs_f64());
    }
    rates
}
