//! From a state and cached feature maps to the vector that actor and critics take.
//!
//! Per camera: learned weights over the map's places (or its key points), a linear layer, layer
//! normalisation, tanh. The state likewise, or as it is. Only critics train it; the actor takes what
//! comes out without a gradient on the way back (SERL, arXiv:2401.16013). Nothing below the maps is
//! learned, so gradients end there.

use rand_chacha::ChaCha8Rng;

use super::config::{HilSerlConfig, Pooling};
use crate::noise::normals;
use crate::rl::kernels::{self, Nonlinearity};
use crate::rl::mlp::{Init, Mlp, PIECE, ParamSpec, Tape};

/// One camera's part.
#[derive(Debug, Clone, PartialEq)]
struct Eye {
    map: [usize; 3],
    /// Numbers in a map.
    len: usize,
    pooling: Pooling,
    /// Where the weights over places lie, `[places, features, channels]`.
    places: usize,
    places_len: usize,
    /// Of what comes out of the pooling.
    pooled: usize,
    head: Mlp,
    head_at: usize,
}

/// The shape of it; parameters are one flat vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trunk {
    eyes: Vec<Eye>,
    state_dim: usize,
    state: Option<(Mlp, usize)>,
    outputs: usize,
    len: usize,
}

/// What a forward pass leaves for the backward pass.
pub(crate) struct TrunkTape {
    eyes: Vec<(Vec<f32>, Tape)>,
    state: Option<Tape>,
    d: Vec<f32>,
    d_pooled: Vec<f32>,
}

impl Trunk {
    /// For states of `state_dim` and a camera per entry of `maps` (height, width, channels).
    pub fn new(cfg: &HilSerlConfig, state_dim: usize, maps: &[[usize; 3]]) -> Self {
        let mut len = 0;
        let mut take = |n: usize| {
            len += n;
            len - n
        };
        let mut eyes = Vec::new();
        for map in maps {
            let [height, width, channels] = *map;
            let (pooled, places_len) = match cfg.pooling {
                Pooling::Embeddings => {
                    (cfg.embeddings * channels, height * width * cfg.embeddings * channels)
                }
                Pooling::KeyPoints => (2 * channels, 0),
            };
            let head = Mlp::headless(&[pooled, cfg.image_latent], Nonlinearity::Tanh, true);
            eyes.push(Eye {
                map: *map,
                len: height * width * channels,
                pooling: cfg.pooling,
                places: take(places_len),
                places_len,
                pooled,
                head_at: take(head.len()),
                head,
            });
        }
        let state = (cfg.state_latent > 0 && state_dim > 0).then(|| {
            let net = Mlp::headless(&[state_dim, cfg.state_latent], Nonlinearity::Tanh, true);
            let at = take(net.len());
            (net, at)
        });
        let of_state = state.as_ref().map_or(state_dim, |(net, _)| net.outputs());
        let outputs = eyes.iter().map(|e| e.head.outputs()).sum::<usize>() + of_state;
        Self { eyes, state_dim, state, outputs, len }
    }

    /// Number of parameters; 0 where the state goes through as it is.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Length of the vector that comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Length of each camera's map.
    pub fn map_lens(&self) -> Vec<usize> {
        self.eyes.iter().map(|e| e.len).collect()
    }

    /// Fresh parameters: weights over places of variance 1 / inputs, the rest as PyTorch's layers.
    pub fn init(&self, params: &mut [f32], rng: &mut ChaCha8Rng) {
        for eye in &self.eyes {
            let places = &mut params[eye.places..eye.places + eye.places_len];
            normals(rng, places);
            let scale = 1.0 / ((eye.map[0] * eye.map[1] * eye.map[2]) as f32).sqrt();
            places.iter_mut().for_each(|p| *p *= scale);
            let head = &mut params[eye.head_at..eye.head_at + eye.head.len()];
            eye.head.init(head, Init::Uniform, rng);
        }
        if let Some((net, at)) = &self.state {
            net.init(&mut params[*at..*at + net.len()], Init::Uniform, rng);
        }
    }

    /// The parameter tensors by name.
    pub fn specs(&self) -> Vec<ParamSpec> {
        let mut specs = Vec::new();
        let mut add = |net: &Mlp, at: usize, prefix: &str| {
            specs.extend(net.specs(prefix).into_iter().map(|s| ParamSpec { at: s.at + at, ..s }));
        };
        for (i, eye) in self.eyes.iter().enumerate() {
            add(&eye.head, eye.head_at, &format!("trunk.camera{i}"));
        }
        if let Some((net, at)) = &self.state {
            add(net, *at, "trunk.state");
        }
        for (i, eye) in self.eyes.iter().enumerate().filter(|(_, e)| e.places_len > 0) {
            let [height, width, channels] = eye.map;
            let shape = vec![height, width, eye.pooled / channels, channels];
            specs.push(ParamSpec {
                name: format!("trunk.camera{i}.places"),
                shape,
                at: eye.places,
            });
        }
        specs
    }

    /// Room for passes of up to [`PIECE`] rows.
    pub fn tape(&self) -> TrunkTape {
        let widest = self.eyes.iter().map(|e| e.head.outputs());
        let widest = widest.chain(self.state.iter().map(|(n, _)| n.outputs())).max().unwrap_or(0);
        let pooled = self.eyes.iter().map(|e| e.pooled).max().unwrap_or(0);
        TrunkTape {
            eyes: self.eyes.iter().map(|e| (vec![0.0; PIECE * e.pooled], e.head.tape())).collect(),
            state: self.state.as_ref().map(|(net, _)| net.tape()),
            d: vec![0.0; PIECE * widest],
            d_pooled: vec![0.0; PIECE * pooled],
        }
    }

    /// Writes the vectors of some rows, `z [rows, outputs]`, given states `[rows, state_dim]` and maps
    /// `[rows, len]` per camera; at most [`PIECE`] rows.
    pub fn forward(
        &self,
        params: &[f32],
        state: &[f32],
        maps: &[&[f32]],
        rows: usize,
        tape: &mut TrunkTape,
        z: &mut [f32],
    ) {
        self.pass(params, state, maps, rows, tape, z, false);
    }

    /// The same of one row by itself: no other row can change its rounding.
    pub fn row(
        &self,
        params: &[f32],
        state: &[f32],
        maps: &[&[f32]],
        tape: &mut TrunkTape,
        z: &mut [f32],
    ) {
        self.pass(params, state, maps, 1, tape, z, true);
    }

    #[allow(clippy::too_many_arguments, reason = "what both passes share")]
    fn pass(
        &self,
        params: &[f32],
        state: &[f32],
        maps: &[&[f32]],
        rows: usize,
        tape: &mut TrunkTape,
        z: &mut [f32],
        alone: bool,
    ) {
        let mut at = 0;
        let mut put = |out: &[f32], width: usize| {
            for (z, out) in z.chunks_exact_mut(self.outputs).zip(out.chunks_exact(width)) {
                z[at..at + width].copy_from_slice(out);
            }
            at += width;
        };
        for ((eye, map), (pooled, tape)) in self.eyes.iter().zip(maps).zip(&mut tape.eyes) {
            let pooled = &mut pooled[..rows * eye.pooled];
            for (map, out) in map.chunks_exact(eye.len).zip(pooled.chunks_exact_mut(eye.pooled)) {
                let [_, width, channels] = eye.map;
                match eye.pooling {
                    Pooling::Embeddings => {
                        let w = &params[eye.places..eye.places + eye.places_len];
                        kernels::embed_places(map, w, channels, out);
                    }
                    Pooling::KeyPoints => kernels::key_points(map, width, channels, out),
                }
            }
            let head = &params[eye.head_at..eye.head_at + eye.head.len()];
            let out = match alone {
                true => eye.head.row(head, pooled, tape),
                false => eye.head.forward(head, pooled, tape),
            };
            put(out, eye.head.outputs());
        }
        match (&self.state, &mut tape.state) {
            (Some((net, from)), Some(tape)) => {
                let params = &params[*from..*from + net.len()];
                let out = match alone {
                    true => net.row(params, state, tape),
                    false => net.forward(params, state, tape),
                };
                put(out, net.outputs());
            }
            _ if self.state_dim > 0 => put(state, self.state_dim),
            _ => {}
        }
    }

    /// The gradient of the parameters, given that of `z` of the last [`Trunk::forward`], of whose rows
    /// `dz` has those columns that it wants, `stride` apart: added to `grads`, or with `fresh`
    /// written over them.
    #[allow(clippy::too_many_arguments, reason = "what a backward pass looks at")]
    pub fn backward(
        &self,
        params: &[f32],
        state: &[f32],
        maps: &[&[f32]],
        (dz, stride): (&[f32], usize),
        tape: &mut TrunkTape,
        grads: &mut [f32],
        fresh: bool,
    ) {
        let rows = dz.len() / stride;
        let TrunkTape { eyes, state: state_tape, d, d_pooled } = tape;
        let mut at = 0;
        let mut take = |d: &mut [f32], width: usize| {
            for (d, dz) in d.chunks_exact_mut(width).zip(dz.chunks_exact(stride)) {
                d.copy_from_slice(&dz[at..at + width]);
            }
            at += width;
        };
        for ((eye, map), (pooled, tape)) in self.eyes.iter().zip(maps).zip(eyes) {
            let d = &mut d[..rows * eye.head.outputs()];
            take(d, eye.head.outputs());
            let range = eye.head_at..eye.head_at + eye.head.len();
            let pooled = &pooled[..rows * eye.pooled];
            let below = &mut d_pooled[..rows * eye.pooled];
            let wanted = eye.places_len > 0;
            eye.head.backward(
                &params[range.clone()],
                pooled,
                d,
                tape,
                &mut grads[range],
                fresh,
                wanted.then_some(&mut *below),
            );
            if !wanted {
                continue;
            }
            let dw = &mut grads[eye.places..eye.places + eye.places_len];
            if fresh {
                dw.fill(0.0);
            }
            for (map, d) in map.chunks_exact(eye.len).zip(below.chunks_exact(eye.pooled)) {
                kernels::embed_places_backward(map, d, eye.map[2], dw);
            }
        }
        if let (Some((net, from)), Some(tape)) = (&self.state, state_tape) {
            let d = &mut d[..rows * net.outputs()];
            take(d, net.outputs());
            let range = *from..*from + net.len();
            net.backward(&params[range.clone()], state, d, tape, &mut grads[range], fresh, None);
        }
    }
}

#[cfg(test)]
mod tests;
