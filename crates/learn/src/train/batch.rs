//! From a dataset's batch to the numbers of one shard: normalised inputs, targets, mask.

use burn::tensor::{Device, Tensor, TensorData};
use embody_core::{Batch, DataView, derive_seed};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::AugmentConfig;
use crate::act::ActInputs;
use crate::checkpoint::ACTION;
use crate::error::Error;
use crate::processor::{Processor, floats, picture_to_f32, pixels};

/// Targets of a whole batch.
pub(crate) struct Targets {
    /// Encoded actions `[batch, chunk, action_dim]`.
    pub actions: Vec<f32>,
    /// 1 where an action lies inside its episode, `[batch, chunk]`.
    pub mask: Vec<f32>,
    /// Raw states `[batch, state_dim]`.
    pub states: Vec<f32>,
    /// Raw last commands `[batch, action_dim]`; before the first, the state stands for it where it has
    /// the same dimensions.
    pub last: Vec<f32>,
    /// Recorded actions as they are, with the previous one first: `[batch, 1 + chunk, action_dim]`.
    pub recorded: Vec<f32>,
    /// As recorded, `[batch, 1 + chunk]`.
    pub is_pad: Vec<bool>,
}

/// Takes states and actions out of a batch.
pub(crate) fn targets(batch: &Batch, p: &Processor, chunk: usize) -> Result<Targets, Error> {
    let rows = batch.frames.len();
    let (state_dim, action_dim) = (p.state.mean.len(), p.action.mean.len());
    let view = |key: &str| batch.arrays.get(key).map(|a| a.view());
    let states = floats(&p.state_key, view(&p.state_key).as_ref(), rows, state_dim)?.into_owned();
    let width = (chunk + 1) * action_dim;
    let recorded = floats(ACTION, view(ACTION).as_ref(), rows, width)?.into_owned();
    let pad_key = format!("{ACTION}_is_pad");
    let is_pad = match view(&pad_key).map(|v| v.data) {
        Some(DataView::Bool(pad)) if pad.len() == rows * (chunk + 1) => pad.to_vec(),
        _ => {
            let expected = format!("bool [{rows}, {}]", chunk + 1);
            let found = "another type or length, or is absent".to_owned();
            return Err(Error::FeatureShape { key: pad_key, found, expected });
        }
    };
    let mut actions = Vec::with_capacity(rows * chunk * action_dim);
    let mut last = Vec::with_capacity(rows * action_dim);
    for (i, row) in recorded.chunks_exact(width).enumerate() {
        let state = &states[i * state_dim..(i + 1) * state_dim];
        let first = is_pad[i * (chunk + 1)] && state_dim == action_dim;
        let command = if first { state } else { &row[..action_dim] };
        let from = actions.len();
        actions.extend_from_slice(&row[action_dim..]);
        p.encode_actions(&mut actions[from..], state, command);
        last.extend_from_slice(command);
    }
    let kept = is_pad.chunks_exact(chunk + 1).flat_map(|row| &row[1..]);
    let mask = kept.map(|pad| if *pad { 0.0 } else { 1.0 }).collect();
    Ok(Targets { actions, mask, states, last, recorded, is_pad })
}

/// How the pictures of one step change.
#[derive(Clone, Copy)]
pub(crate) struct Augment {
    pub config: AugmentConfig,
    pub seed: u64,
    pub step: usize,
    pub batch_size: usize,
}

/// Network inputs of rows `range` of a batch.
pub(crate) fn inputs(
    batch: &Batch,
    targets: &Targets,
    range: std::ops::Range<usize>,
    p: &Processor,
    table: &[[f32; 256]; 3],
    augment: Option<Augment>,
    device: &Device,
) -> Result<ActInputs, Error> {
    let rows = range.len();
    let (dim, actions) = (p.state.mean.len(), p.action.mean.len());
    let mut vector = Vec::with_capacity(rows * p.vector_dim());
    for i in range.clone() {
        let state = &targets.states[i * dim..(i + 1) * dim];
        p.encode_vector(state, &targets.last[i * actions..(i + 1) * actions], &mut vector);
    }
    let mut images = Vec::new();
    for (c, camera) in p.cameras.iter().enumerate() {
        let view = batch.arrays.get(&camera.key).map(|a| a.view());
        let (data, h, w) = pixels(&camera.key, view.as_ref(), batch.frames.len())?;
        if (h, w) != (camera.height, camera.width) {
            return Err(Error::FeatureShape {
                key: camera.key.clone(),
                found: format!("pictures of {h} × {w}"),
                expected: format!("{} × {}", camera.height, camera.width),
            });
        }
        let size = h * w * 3;
        let mut out = Vec::with_capacity(rows * size);
        for i in range.clone() {
            let from = out.len();
            let (shift, gain) = augment.map_or(((0, 0), 1.0), |a| a.draw(i, c));
            picture_to_f32(&data[i * size..(i + 1) * size], (h, w), shift, table, &mut out);
            if gain != 1.0 {
                brighten(&mut out[from..], gain, table);
            }
        }
        images.push(Tensor::from_data(TensorData::new(out, [rows, h, w, 3]), device));
    }
    let vector = TensorData::new(vector, [rows, p.vector_dim()]);
    Ok(ActInputs { images, state: Tensor::from_data(vector, device) })
}

/// Multiplies the pixel values (not their normalised form) by `gain`: y = gain · x + (gain − 1) · mean/std.
fn brighten(values: &mut [f32], gain: f32, table: &[[f32; 256]; 3]) {
    for pixel in values.chunks_exact_mut(3) {
        for (v, channel) in pixel.iter_mut().zip(table) {
            // `channel[0]` is the normalised black, −mean / std.
            *v = gain * (*v - channel[0]) + channel[0];
        }
    }
}

impl Augment {
    /// Shift and gain of camera `camera` in row `row`: a stream per sample, whatever the shard.
    fn draw(&self, row: usize, camera: usize) -> ((isize, isize), f32) {
        let sample = (self.step * self.batch_size + row) as u64;
        let seed = derive_seed(self.seed, &format!("train/augment/{camera}"), sample);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let reach = self.config.shift_px as i64;
        let mut pixels = || rng.random_range(-reach..=reach) as isize;
        let shift = (pixels(), pixels());
        let change = self.config.brightness;
        let gain = if change > 0.0 { rng.random_range(1.0 - change..1.0 + change) } else { 1.0 };
        (shift, gain)
    }
}
