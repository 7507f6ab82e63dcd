//! The fused operations under burn: a back-end extension with backward passes of its own.
//!
//! Why: burn-flex runs convolutions at a third of PyTorch's speed and every element-wise step as a
//! pass of its own. These five operations carry nearly all of a policy's arithmetic. Other back ends
//! take the composition in [`super::reference`], which is also what the tests compare with.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorData, TensorMetadata, backend_extension};

use super::kernels::{self, Activation, AttentionGeometry, ConvGeometry, Dropped, KeyMask};

/// Operations with fused kernels, routed by burn to the tensor's back end.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// `act(x · w + b)` with `x [m, k]`.
    fn fused_linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        act: Activation,
    ) -> FloatTensor<Self>;
    /// Convolution over NHWC with activation.
    fn fused_conv(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        geometry: ConvGeometry,
        act: Activation,
    ) -> FloatTensor<Self>;
    /// Layer normalisation over the last axis.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Multi-head attention.
    fn fused_attention(
        q: FloatTensor<Self>,
        kv: FloatTensor<Self>,
        heads: usize,
        mask: KeyMask,
        dropped: Dropped,
    ) -> FloatTensor<Self>;
    /// Key points of a map `[batch, h, w, c]`: `[batch, 2c]`.
    fn fused_spatial_softmax(map: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The kernels with their backward passes, for back ends whose tensors are host slices.
pub trait HostKernels: Backend {
    /// The elements in row-major order.
    fn read(tensor: &Self::FloatTensorPrimitive) -> Host;
    /// A tensor from elements in row-major order.
    fn make(data: Vec<f32>, shape: &[usize]) -> Self::FloatTensorPrimitive;
}

/// A contiguous host tensor.
#[derive(Debug, Clone)]
pub struct Host(FlexTensor);

impl std::ops::Deref for Host {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let start = self.0.layout().start_offset();
        &self.0.storage::<f32>()[start..start + self.0.layout().num_elements()]
    }
}

impl HostKernels for Flex {
    fn read(tensor: &FlexTensor) -> Host {
        Host(if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() })
    }

    fn make(data: Vec<f32>, shape: &[usize]) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(data, shape.to_vec()))
    }
}

fn dims<B: Backend>(tensor: &B::FloatTensorPrimitive) -> Vec<usize> {
    tensor.shape().to_vec()
}

fn attention_geometry(q: &[usize], kv: &[usize], heads: usize) -> AttentionGeometry {
    AttentionGeometry { batch: q[0], queries: q[1], keys: kv[1], dim: q[2], heads }
}

fn with_last(mut shape: Vec<usize>, last: usize) -> Vec<usize> {
    if let Some(end) = shape.last_mut() {
        *end = last;
    }
    shape
}

fn conv_shape(x: &[usize], g: &ConvGeometry) -> [usize; 4] {
    let (oh, ow) = g.output();
    [x[0], oh, ow, g.out_channels]
}

impl FusedOps for Flex {
    fn fused_linear(x: FlexTensor, w: FlexTensor, b: FlexTensor, act: Activation) -> FlexTensor {
        let shape = with_last(dims::<Self>(&x), dims::<Self>(&b)[0]);
        let y = kernels::linear(&Self::read(&x), &Self::read(&w), &Self::read(&b), act);
        Self::make(y, &shape)
    }

    fn fused_conv(
        x: FlexTensor,
        w: FlexTensor,
        b: FlexTensor,
        g: ConvGeometry,
        act: Activation,
    ) -> FlexTensor {
        let shape = conv_shape(&dims::<Self>(&x), &g);
        let y = kernels::conv(&Self::read(&x), &Self::read(&w), &Self::read(&b), &g, act);
        Self::make(y, &shape)
    }

    fn fused_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor) -> FlexTensor {
        let y = kernels::layer_norm(&Self::read(&x), &Self::read(&gamma), &Self::read(&beta));
        Self::make(y, &dims::<Self>(&x))
    }

    fn fused_attention(
        q: FlexTensor,
        kv: FlexTensor,
        heads: usize,
        mask: KeyMask,
        dropped: Dropped,
    ) -> FlexTensor {
        let shape = dims::<Self>(&q);
        let g = attention_geometry(&shape, &dims::<Self>(&kv), heads);
        let (q, kv) = (Self::read(&q), Self::read(&kv));
        Self::make(kernels::attention(&q, &kv, &mask, &dropped, &g).0, &shape)
    }

    fn fused_spatial_softmax(map: FlexTensor) -> FlexTensor {
        let s = dims::<Self>(&map);
        let (points, _) = kernels::spatial_softmax(&Self::read(&map), s[1], s[2], s[3]);
        Self::make(points, &[s[0], 2 * s[3]])
    }
}

#[derive(Debug)]
struct LinearBackward;

/// What a linear map or convolution needs to go back: input, weight, output, then how.
type AffineState<H> = (Host, Host, Host, H);

impl<B: HostKernels> Backward<B, 3> for LinearBackward {
    type State = AffineState<Activation>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, w, y, act) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let shape = dims::<B>(&grad);
        let n = shape[shape.len() - 1];
        let k = w.len() / n;
        let [px, pw, pb] = ops.parents;
        let dy = B::read(&grad).to_vec();
        let g = kernels::linear_backward(&x, &w, &y, dy, n, act, px.is_some());
        if let (Some(node), Some(dx)) = (px, g.x) {
            grads.register::<B>(node.id, B::make(dx, &with_last(shape, k)));
        }
        if let Some(node) = pw {
            grads.register::<B>(node.id, B::make(g.w, &[k, n]));
        }
        if let Some(node) = pb {
            grads.register::<B>(node.id, B::make(g.b, &[n]));
        }
    }
}

#[derive(Debug)]
struct ConvBackward;

impl<B: HostKernels> Backward<B, 3> for ConvBackward {
    type State = AffineState<(ConvGeometry, Activation)>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, w, y, (geometry, act)) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let batch = dims::<B>(&grad)[0];
        let [px, pw, pb] = ops.parents;
        let dy = B::read(&grad).to_vec();
        let g = kernels::conv_backward(&x, &w, &y, dy, &geometry, act, px.is_some());
        if let (Some(node), Some(dx)) = (px, g.x) {
            let shape = [batch, geometry.height, geometry.width, geometry.channels];
            grads.register::<B>(node.id, B::make(dx, &shape));
        }
        if let Some(node) = pw {
            let shape = [geometry.window(), geometry.out_channels];
            grads.register::<B>(node.id, B::make(g.w, &shape));
        }
        if let Some(node) = pb {
            grads.register::<B>(node.id, B::make(g.b, &[geometry.out_channels]));
        }
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl<B: HostKernels> Backward<B, 3> for LayerNormBackward {
    type State = (Host, Host);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, gamma) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let shape = dims::<B>(&grad);
        let (dx, dgamma, dbeta) = kernels::layer_norm_backward(&x, &gamma, &B::read(&grad));
        let n = dgamma.len();
        let [px, pg, pb] = ops.parents;
        if let Some(node) = px {
            grads.register::<B>(node.id, B::make(dx, &shape));
        }
        if let Some(node) = pg {
            grads.register::<B>(node.id, B::make(dgamma, &[n]));
        }
        if let Some(node) = pb {
            grads.register::<B>(node.id, B::make(dbeta, &[n]));
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl<B: HostKernels> Backward<B, 2> for AttentionBackward {
    type State = (Host, Host, Host, Dropped, AttentionGeometry);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (q, kv, weights, dropped, g) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let d = B::read(&grad);
        let (dq, dkv) = kernels::attention_backward(&q, &kv, &weights, &dropped, &d, &g);
        let [pq, pkv] = ops.parents;
        if let Some(node) = pq {
            grads.register::<B>(node.id, B::make(dq, &[g.batch, g.queries, g.dim]));
        }
        if let Some(node) = pkv {
            grads.register::<B>(node.id, B::make(dkv, &[g.batch, g.keys, 2 * g.dim]));
        }
    }
}

#[derive(Debug)]
struct SpatialSoftmaxBackward;

impl<B: HostKernels> Backward<B, 1> for SpatialSoftmaxBackward {
    type State = (Host, Host, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (weights, points, s) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let d = B::read(&grad);
            let dmap = kernels::spatial_softmax_backward(&weights, &points, &d, s[1], s[2], s[3]);
            grads.register::<B>(node.id, B::make(dmap, &s));
        }
    }
}

impl<B: HostKernels + FusedOps, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        act: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), w.node(), b.node()];
        match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (hx, hw) = (B::read(x.primitive()), B::read(w.primitive()));
                let y = B::fused_linear(
                    x.into_primitive(),
                    w.into_primitive(),
                    b.into_primitive(),
                    act,
                );
                prep.finish((hx, hw, B::read(&y), act), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_linear(
                x.into_primitive(),
                w.into_primitive(),
                b.into_primitive(),
                act,
            )),
        }
    }

    fn fused_conv(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        g: ConvGeometry,
        act: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), w.node(), b.node()];
        match ConvBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (hx, hw) = (B::read(x.primitive()), B::read(w.primitive()));
                let y = B::fused_conv(
                    x.into_primitive(),
                    w.into_primitive(),
                    b.into_primitive(),
                    g,
                    act,
                );
                prep.finish((hx, hw, B::read(&y), (g, act)), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_conv(
                x.into_primitive(),
                w.into_primitive(),
                b.into_primitive(),
                g,
                act,
            )),
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        match LayerNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (B::read(x.primitive()), B::read(gamma.primitive()));
                let y = B::fused_layer_norm(
                    x.into_primitive(),
                    gamma.into_primitive(),
                    beta.into_primitive(),
                );
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_layer_norm(
                x.into_primitive(),
                gamma.into_primitive(),
                beta.into_primitive(),
            )),
        }
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        kv: FloatTensor<Self>,
        heads: usize,
        mask: KeyMask,
        dropped: Dropped,
    ) -> FloatTensor<Self> {
        match AttentionBackward.prepare::<C>([q.node(), kv.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let shape = dims::<B>(q.primitive());
                let g = attention_geometry(&shape, &dims::<B>(kv.primitive()), heads);
                let (hq, hkv) = (B::read(q.primitive()), B::read(kv.primitive()));
                let (y, weights) = kernels::attention(&hq, &hkv, &mask, &dropped, &g);
                let weights = B::make(weights, &[g.batch, g.heads, g.queries, g.keys]);
                prep.finish((hq, hkv, B::read(&weights), dropped, g), B::make(y, &shape))
            }
            OpsKind::UnTracked(prep) => {
                let (q, kv) = (q.into_primitive(), kv.into_primitive());
                prep.finish(B::fused_attention(q, kv, heads, mask, dropped))
            }
        }
    }

    fn fused_spatial_softmax(map: FloatTensor<Self>) -> FloatTensor<Self> {
        match SpatialSoftmaxBackward.prepare::<C>([map.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let s = dims::<B>(map.primitive());
                let s = [s[0], s[1], s[2], s[3]];
                let host = B::read(map.primitive());
                let (points, weights) = kernels::spatial_softmax(&host, s[1], s[2], s[3]);
                let points = B::make(points, &[s[0], 2 * s[3]]);
                let weights = B::make(weights, &s);
                prep.finish((B::read(&weights), B::read(&points), s), points)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_spatial_softmax(map.into_primitive())),
        }
    }
}
