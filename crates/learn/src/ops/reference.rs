//! The fused operations composed of burn's own: the way on back ends without kernels of ours, and
//! what the tests compare the kernels with.

use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};

use super::kernels::{Activation, ConvGeometry, Dropped, KeyMask};

fn activate<const D: usize>(x: Tensor<D>, act: Activation) -> Tensor<D> {
    match act {
        Activation::None => x,
        Activation::Relu => relu(x),
    }
}

/// See [`super::linear`].
pub(crate) fn linear<const D: usize>(
    x: Tensor<D>,
    w: &Tensor<2>,
    b: &Tensor<1>,
    act: Activation,
) -> Tensor<D> {
    let mut shape = x.dims();
    let (k, n) = (w.dims()[0], w.dims()[1]);
    let rows = shape.iter().product::<usize>() / k;
    let y = x.reshape([rows, k]).matmul(w.clone()) + b.clone().unsqueeze::<2>();
    shape[D - 1] = n;
    activate(y.reshape(shape), act)
}

/// See [`super::conv`].
pub(crate) fn conv(
    x: Tensor<4>,
    w: &Tensor<2>,
    b: &Tensor<1>,
    g: ConvGeometry,
    act: Activation,
) -> Tensor<4> {
    let w = w.clone().reshape([g.kernel, g.kernel, g.channels, g.out_channels]);
    let options = ConvOptions::new([g.stride, g.stride], [g.padding, g.padding], [1, 1], 1);
    let x = x.permute([0, 3, 1, 2]);
    let y = conv2d(x, w.permute([3, 2, 0, 1]), Some(b.clone()), options);
    activate(y.permute([0, 2, 3, 1]), act)
}

/// See [`super::layer_norm`].
pub(crate) fn layer_norm(x: Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    centred / (variance + 1e-5).sqrt() * gamma.clone().unsqueeze::<3>()
        + beta.clone().unsqueeze::<3>()
}

/// See [`super::attention`].
pub(crate) fn attention(
    q: Tensor<3>,
    kv: Tensor<3>,
    heads: usize,
    mask: &KeyMask,
    dropped: Dropped,
) -> Tensor<3> {
    let [batch, queries, dim] = q.dims();
    let keys = kv.dims()[1];
    let head = dim / heads;
    let split = |t: Tensor<3>, n: usize| t.reshape([batch, n, heads, head]).permute([0, 2, 1, 3]);
    let k = split(kv.clone().slice([0..batch, 0..keys, 0..dim]), keys);
    let v = split(kv.slice([0..batch, 0..keys, dim..2 * dim]), keys);
    let mut scores = split(q, queries).matmul(k.transpose()) / (head as f64).sqrt();
    let out_of_sight = |seen: bool| if seen { 0.0f32 } else { -1e30 };
    let of = |kept: &[bool]| kept.iter().map(|kept| out_of_sight(*kept)).collect();
    let hidden: Option<(Vec<f32>, _)> = match mask {
        KeyMask::All => None,
        KeyMask::Only(kept) => Some((of(kept), [batch, 1, 1, keys])),
        KeyMask::Pairs(kept) => Some((of(kept), [1, 1, queries, keys])),
        KeyMask::Causal => {
            let seen = |i| out_of_sight(i % keys <= i / keys);
            Some(((0..queries * keys).map(seen).collect(), [1, 1, queries, keys]))
        }
    };
    if let Some((hidden, shape)) = hidden {
        let hidden = Tensor::<4>::from_data(TensorData::new(hidden, shape), &scores.device());
        scores = scores + hidden;
    }
    let mut weights = softmax(scores, 3);
    if let Some(factors) = dropped {
        let factors = TensorData::new(factors.to_vec(), weights.dims());
        weights = weights.clone() * Tensor::<4>::from_data(factors, &weights.device());
    }
    weights.matmul(v).permute([0, 2, 1, 3]).reshape([batch, queries, dim])
}

/// See [`super::spatial_softmax`].
pub(crate) fn spatial_softmax(map: Tensor<4>) -> Tensor<2> {
    let [batch, h, w, c] = map.dims();
    let device = map.device();
    let weights = softmax(map.reshape([batch, h * w, c]), 1);
    let centre = |at: usize, n: usize| (2 * at + 1) as f32 / n as f32 - 1.0;
    let along = |f: &dyn Fn(usize) -> f32| {
        let values: Vec<f32> = (0..h * w).map(f).collect();
        Tensor::<3>::from_data(TensorData::new(values, [1, h * w, 1]), &device)
    };
    let x = (weights.clone() * along(&|i| centre(i % w, w))).sum_dim(1).reshape([batch, c]);
    let y = (weights * along(&|i| centre(i / w, h))).sum_dim(1).reshape([batch, c]);
    Tensor::cat(vec![x, y], 1)
}
