//! Tensor operations that carry nearly all of a policy's arithmetic, fused on the CPU.
//!
//! burn's tensors choose the way at run time: on burn-flex the kernels of [`kernels`] with backward
//! passes of their own, elsewhere the same mathematics composed of burn's operations
//! ([`reference`]). Both are tested against each other. Nothing in here starts a thread.

mod fused;
pub(crate) mod gemm;
pub(crate) mod kernels;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};

use fused::FusedOps;
pub(crate) use kernels::{Activation, ConvGeometry, Dropped, KeyMask};

fn on_flex<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().inner() == Device::flex()
}

/// `act(x · w + b)`: `x [.., k]`, `w [k, n]`, `b [n]`.
pub(crate) fn linear<const D: usize>(
    x: Tensor<D>,
    w: &Tensor<2>,
    b: &Tensor<1>,
    act: Activation,
) -> Tensor<D> {
    if !on_flex(&x) {
        return reference::linear(x, w, b, act);
    }
    let (w, b) = (w.clone().into_dispatch(), b.clone().into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_linear(x.into_dispatch(), w, b, act))
}

/// Convolution with activation: `x [batch, h, w, c]`, `w [kernel · kernel · c, out]`, `b [out]`.
pub(crate) fn conv(
    x: Tensor<4>,
    w: &Tensor<2>,
    b: &Tensor<1>,
    geometry: ConvGeometry,
    act: Activation,
) -> Tensor<4> {
    if !on_flex(&x) {
        return reference::conv(x, w, b, geometry, act);
    }
    let (w, b) = (w.clone().into_dispatch(), b.clone().into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_conv(
        x.into_dispatch(),
        w,
        b,
        geometry,
        act,
    ))
}

/// Layer normalisation over the last axis.
pub(crate) fn layer_norm(x: Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>) -> Tensor<3> {
    if !on_flex(&x) {
        return reference::layer_norm(x, gamma, beta);
    }
    let (gamma, beta) = (gamma.clone().into_dispatch(), beta.clone().into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(x.into_dispatch(), gamma, beta))
}

/// Multi-head attention of `q [batch, queries, dim]` to `kv [batch, keys, 2 · dim]` (keys, then
/// values), as far as `mask` lets it and nothing is `dropped`; `heads` divides `dim`.
pub(crate) fn attention(
    q: Tensor<3>,
    kv: Tensor<3>,
    heads: usize,
    mask: &KeyMask,
    dropped: Dropped,
) -> Tensor<3> {
    if !on_flex(&q) {
        return reference::attention(q, kv, heads, mask, dropped);
    }
    let (q, kv) = (q.into_dispatch(), kv.into_dispatch());
    let mask = mask.clone();
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(q, kv, heads, mask, dropped))
}

/// Key points of a map `[batch, h, w, c]`: `[batch, 2c]`, all x then all y, in [-1, 1].
pub(crate) fn spatial_softmax(map: Tensor<4>) -> Tensor<2> {
    if !on_flex(&map) {
        return reference::spatial_softmax(map);
    }
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_spatial_softmax(map.into_dispatch()))
}
