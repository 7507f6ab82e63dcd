//! Fused kernels against burn's own operations: values and gradients, max error relative to the
//! largest entry. `EMBODY_BACKEND` names another back end than the portable one.

use burn::tensor::{Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::kernels::{self, Activation, ConvGeometry};
use super::*;
use crate::backend::tested;

fn random<const D: usize>(rng: &mut ChaCha8Rng, shape: [usize; D]) -> Tensor<D> {
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &tested().device(1).autodiff()).require_grad()
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_to_vec::<f32>().expect("f32 tensor")
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let scale = theirs.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst / scale < 2e-5, "{what}: relative error {}", worst / scale);
}

/// Reads one leaf's gradient.
type Leaf<'a> = &'a dyn Fn(&burn::tensor::Gradients) -> Vec<f32>;

/// Compares `f` and `g` of the same leaves: their value and each leaf's gradient of a weighted sum.
fn compare<const D: usize>(
    what: &str,
    rng: &mut ChaCha8Rng,
    ours: Tensor<D>,
    theirs: Tensor<D>,
    leaves: &[Leaf<'_>],
) {
    assert_close(what, &values(&ours), &values(&theirs));
    let weights = random(rng, ours.dims());
    let ours = (ours * weights.clone()).sum().backward();
    let theirs = (theirs * weights).sum().backward();
    for (i, leaf) in leaves.iter().enumerate() {
        assert_close(&format!("{what}, gradient {i}"), &leaf(&ours), &leaf(&theirs));
    }
}

macro_rules! leaf {
    ($t:expr) => {
        &|g: &burn::tensor::Gradients| values(&$t.grad(g).expect("tracked leaf"))
    };
}

#[test]
fn linear_matches_burn() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    for act in [Activation::None, Activation::Relu] {
        let (x, w, b) = (random(rng, [2, 7, 13]), random(rng, [13, 9]), random(rng, [9]));
        let ours = linear(x.clone(), &w, &b, act);
        let theirs = reference::linear(x.clone(), &w, &b, act);
        compare("linear", rng, ours, theirs, &[leaf!(x), leaf!(w), leaf!(b)]);
    }
}

#[test]
fn convolution_matches_burn() {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    for (kernel, stride, padding, height, width) in
        [(5, 2, 2, 12, 10), (3, 1, 1, 7, 9), (3, 2, 1, 9, 8), (4, 4, 0, 12, 8), (1, 1, 0, 3, 3)]
    {
        let g =
            ConvGeometry { height, width, channels: 3, kernel, stride, padding, out_channels: 6 };
        let x = random(rng, [2, height, width, 3]);
        let (w, b) = (random(rng, [g.window(), 6]), random(rng, [6]));
        let ours = conv(x.clone(), &w, &b, g, Activation::Relu);
        let theirs = reference::conv(x.clone(), &w, &b, g, Activation::Relu);
        compare("convolution", rng, ours, theirs, &[leaf!(x), leaf!(w), leaf!(b)]);
    }
}

#[test]
fn layer_norm_matches_burn() {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let (x, g, b) = (random(rng, [3, 5, 20]), random(rng, [20]), random(rng, [20]));
    let ours = layer_norm(x.clone(), &g, &b);
    let theirs = reference::layer_norm(x.clone(), &g, &b);
    compare("layer norm", rng, ours, theirs, &[leaf!(x), leaf!(g), leaf!(b)]);
}

#[test]
fn attention_matches_burn() {
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let (q, kv) = (random(rng, [2, 5, 12]), random(rng, [2, 7, 24]));
    let kept =
        [true, false, true, true, false, true, true, true, true, true, true, false, false, false];
    let dropped: Vec<f32> =
        (0..2 * 3 * 5 * 7).map(|i| if i % 3 == 0 { 0.0 } else { 1.5 }).collect();
    let pairs: Vec<bool> = (0..5 * 7).map(|i| i % 7 <= i / 7 + 1).collect();
    for mask in [KeyMask::All, KeyMask::Only(kept.into()), KeyMask::Pairs(pairs.into())] {
        for dropped in [None, Some(dropped.clone().into())] {
            let ours = attention(q.clone(), kv.clone(), 3, &mask, dropped.clone());
            let theirs = reference::attention(q.clone(), kv.clone(), 3, &mask, dropped);
            compare("attention", rng, ours, theirs, &[leaf!(q), leaf!(kv)]);
        }
    }
}

#[test]
fn causal_attention_matches_burn() {
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    let (q, kv) = (random(rng, [2, 6, 12]), random(rng, [2, 6, 24]));
    let ours = attention(q.clone(), kv.clone(), 3, &KeyMask::Causal, None);
    let theirs = reference::attention(q.clone(), kv.clone(), 3, &KeyMask::Causal, None);
    compare("causal attention", rng, ours, theirs, &[leaf!(q), leaf!(kv)]);
}

#[test]
fn spatial_softmax_matches_burn() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let map = random(rng, [3, 6, 5, 4]);
    let ours = spatial_softmax(map.clone() * 4.0);
    let theirs = reference::spatial_softmax(map.clone() * 4.0);
    compare("spatial softmax", rng, ours, theirs, &[leaf!(map)]);
}

#[test]
fn exp_is_within_three_ulp_of_libm() {
    let mut worst = 0.0f64;
    for i in -8_700..=8_700 {
        let x = i as f32 * 0.01;
        let exact = f64::from(x).exp();
        worst = worst.max((f64::from(kernels::exp(x)) - exact).abs() / exact);
    }
    assert!(worst < 3.0 * f64::from(f32::EPSILON), "relative error {worst}");
}
