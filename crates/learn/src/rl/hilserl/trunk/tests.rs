//! Gradients against finite differences.

use super::*;
use crate::noise::stream;

/// `Σ d · z` over rows, in f64.
fn value(trunk: &Trunk, params: &[f32], state: &[f32], maps: &[&[f32]], d: &[f32]) -> f64 {
    let rows = d.len() / trunk.outputs();
    let mut z = vec![0.0; d.len()];
    trunk.forward(params, state, maps, rows, &mut trunk.tape(), &mut z);
    z.iter().zip(d).map(|(z, d)| f64::from(*z) * f64::from(*d)).sum()
}

fn gradients_hold(pooling: Pooling) {
    let cfg = HilSerlConfig {
        pooling,
        embeddings: 3,
        image_latent: 5,
        state_latent: 4,
        ..HilSerlConfig::hil_serl()
    };
    let trunk = Trunk::new(&cfg, 2, &[[2, 3, 4], [1, 2, 3]]);
    let mut rng = stream(5, "test", 0);
    let mut random = |n: usize| {
        let mut values = vec![0.0; n];
        normals(&mut rng, &mut values);
        values
    };
    let rows = 3;
    let (state, first, second) = (random(rows * 2), random(rows * 24), random(rows * 6));
    let d = random(rows * trunk.outputs());
    let mut params = random(trunk.len());
    let maps: Vec<&[f32]> = vec![&first, &second];
    let mut tape = trunk.tape();
    let mut z = vec![0.0; d.len()];
    trunk.forward(&params, &state, &maps, rows, &mut tape, &mut z);
    let mut grads = vec![7.0; trunk.len()];
    let dz = (d.as_slice(), trunk.outputs());
    trunk.backward(&params, &state, &maps, dz, &mut tape, &mut grads, true);
    let mut twice = grads.clone();
    trunk.backward(&params, &state, &maps, dz, &mut tape, &mut twice, false);
    let largest = grads.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    for i in 0..params.len() {
        let (kept, step) = (params[i], 3e-3);
        params[i] = kept + step;
        let up = value(&trunk, &params, &state, &maps, &d);
        params[i] = kept - step;
        let down = value(&trunk, &params, &state, &maps, &d);
        params[i] = kept;
        let wanted = (up - down) / (2.0 * f64::from(step));
        let off = (f64::from(grads[i]) - wanted).abs();
        assert!(off < 4e-3 * f64::from(largest), "{i}: {} and {wanted}", grads[i]);
        assert!((twice[i] - 2.0 * grads[i]).abs() <= 1e-5 * largest);
    }
    // A row by itself.
    let mut alone = vec![0.0; trunk.outputs()];
    let maps: Vec<&[f32]> = vec![&first[24..48], &second[6..12]];
    trunk.row(&params, &state[2..4], &maps, &mut tape, &mut alone);
    for (a, z) in alone.iter().zip(&z[trunk.outputs()..]) {
        assert!((a - z).abs() < 1e-5, "{a} {z}");
    }
}

#[test]
fn gradients_are_what_finite_differences_say() {
    gradients_hold(Pooling::Embeddings);
    gradients_hold(Pooling::KeyPoints);
}

#[test]
fn without_cameras_and_width_a_state_goes_through_as_it_is() {
    let cfg = HilSerlConfig { state_latent: 0, ..HilSerlConfig::rlpd() };
    let trunk = Trunk::new(&cfg, 3, &[]);
    assert_eq!((trunk.len(), trunk.outputs()), (0, 3));
    let mut z = [0.0; 6];
    trunk.forward(&[], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[], 2, &mut trunk.tape(), &mut z);
    assert_eq!(z, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}
