//! Random numbers of a run. Streams are named by what they are for and counted, not carried on: what
//! a step draws depends on the seed and the step alone, so a resumed run needs no generator's state.

use embody_core::derive_seed;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator of stream `label`, number `index`.
pub(crate) fn stream(seed: u64, label: &str, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(derive_seed(seed, label, index))
}

/// A draw from the standard normal distribution, by Marsaglia's polar method.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    loop {
        let (u, v) = (rng.random_range(-1.0f32..1.0), rng.random_range(-1.0f32..1.0));
        let s = u * u + v * v;
        if s < 1.0 && s > 0.0 {
            return u * (-2.0 * s.ln() / s).sqrt();
        }
    }
}

/// Fills `out` with draws from the standard normal distribution.
pub(crate) fn normals(rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let mut pairs = out.chunks_exact_mut(2);
    for pair in &mut pairs {
        let (a, b) = loop {
            let (u, v) = (rng.random_range(-1.0f32..1.0), rng.random_range(-1.0f32..1.0));
            let s = u * u + v * v;
            if s < 1.0 && s > 0.0 {
                let scale = (-2.0 * s.ln() / s).sqrt();
                break (u * scale, v * scale);
            }
        };
        pair.copy_from_slice(&[a, b]);
    }
    if let [last] = pairs.into_remainder() {
        *last = normal(rng);
    }
}

/// A random order of `0..order.len()` (Fisher and Yates).
pub(crate) fn shuffle(rng: &mut ChaCha8Rng, order: &mut [u32]) {
    for (i, slot) in order.iter_mut().enumerate() {
        *slot = i as u32;
    }
    for i in (1..order.len()).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
}
