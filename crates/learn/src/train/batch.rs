//! From a dataset's batch to the numbers of one shard: normalised inputs, targets, mask.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use embody_core::{Batch, DataView};
use rand::Rng;

use super::config::AugmentConfig;
use crate::checkpoint::ACTION;
use crate::error::Error;
use crate::imitation::{Demonstration, Inputs, Instruction, LossShare, Steps};
use crate::noise;
use crate::processor::{
    CameraInput, PixelTable, Processor, VectorInput, Window, floats, picture_to_f32, pixels,
};

/// Vectors of a whole batch.
pub(crate) struct Targets {
    pub steps: Steps,
    /// Encoded actions `[batch, predicted, action_dim]`, from the first observation on.
    pub actions: Vec<f32>,
    /// Where an action lies inside its episode, `[batch, predicted]`.
    pub kept: Vec<bool>,
    /// Raw states of the robot `[batch, observed, state_dim]`; empty without one.
    pub states: Vec<f32>,
    /// Raw states of the surroundings `[batch, observed, env_dim]`; empty without one.
    pub envs: Vec<f32>,
    /// Raw last commands `[batch, action_dim]`; before the first, the state stands for it where it has
    /// the same dimensions.
    pub last: Vec<f32>,
    /// Recorded actions as they are from the one before the present on: `[batch, 1 + chunk,
    /// action_dim]`.
    pub recorded: Vec<f32>,
    /// As recorded, `[batch, 1 + chunk]`.
    pub is_pad: Vec<bool>,
}

/// Takes states and actions out of a batch.
pub(crate) fn targets(batch: &Batch, p: &Processor, steps: Steps) -> Result<Targets, Error> {
    let rows = batch.frames.len();
    let (state_dim, action_dim) = (p.state_dim(), p.action.dim());
    let view = |key: &str| batch.arrays.get(key).map(|a| a.view());
    let vectors = |input: &Option<VectorInput>| match input {
        Some(v) => {
            let dim = steps.observed * v.normalizer.dim();
            Ok(floats(&v.key, view(&v.key).as_ref(), rows, dim)?.into_owned())
        }
        None => Ok::<_, Error>(Vec::new()),
    };
    let (states, envs) = (vectors(&p.state)?, vectors(&p.env)?);
    // The window begins at the first observation or at the last command, whichever is earlier.
    let before = (steps.observed - 1).max(1);
    let (first, total) = (before + 1 - steps.observed, before + steps.chunk());
    let all = floats(ACTION, view(ACTION).as_ref(), rows, total * action_dim)?;
    let pad_key = format!("{ACTION}_is_pad");
    let pad = match view(&pad_key).map(|v| v.data) {
        Some(DataView::Bool(pad)) if pad.len() == rows * total => pad,
        _ => {
            let expected = format!("bool [{rows}, {total}]");
            let found = "another type or length, or is absent".to_owned();
            return Err(Error::FeatureShape { key: pad_key, found, expected });
        }
    };
    let mut t = Targets {
        steps,
        actions: Vec::with_capacity(rows * steps.predicted * action_dim),
        kept: Vec::with_capacity(rows * steps.predicted),
        last: Vec::with_capacity(rows * action_dim),
        recorded: Vec::with_capacity(rows * (1 + steps.chunk()) * action_dim),
        is_pad: Vec::with_capacity(rows * (1 + steps.chunk())),
        states,
        envs,
    };
    let windows = all.chunks_exact(total * action_dim).zip(pad.chunks_exact(total));
    for (i, (row, pad)) in windows.enumerate() {
        let present = (i + 1) * steps.observed * state_dim;
        let state = &t.states[present.saturating_sub(state_dim)..present];
        let beginning = pad[before - 1] && state_dim == action_dim;
        let recorded = &row[(before - 1) * action_dim..];
        let command = if beginning { state } else { &recorded[..action_dim] };
        let from = t.actions.len();
        t.actions.extend_from_slice(&row[first * action_dim..]);
        p.encode_actions(&mut t.actions[from..], state, command);
        t.kept.extend(pad[first..].iter().map(|pad| !pad));
        t.last.extend_from_slice(command);
        t.recorded.extend_from_slice(recorded);
        t.is_pad.extend_from_slice(&pad[before - 1..]);
    }
    Ok(t)
}

impl Targets {
    /// What rows `range` should lead to.
    pub fn wanted(&self, range: Range<usize>, share: LossShare) -> Demonstration {
        let rows = range.len();
        let width = self.steps.predicted;
        let dim = self.actions.len() / self.kept.len().max(1);
        Demonstration {
            actions: self.actions[range.start * width * dim..range.end * width * dim].to_vec(),
            kept: self.kept[range.start * width..range.end * width].to_vec(),
            rows,
            share,
        }
    }
}

impl LossShare {
    /// Of the shards of a batch whose robots should lead to `all`.
    pub fn over<'a>(all: impl Iterator<Item = &'a Targets>) -> Self {
        let (mut values, mut rows) = (0, 0);
        for t in all {
            let dim = t.actions.len() / t.kept.len().max(1);
            values += t.kept.iter().filter(|kept| **kept).count().max(1) * dim;
            rows += t.kept.len() / t.steps.predicted;
        }
        Self { per_value: 1.0 / values as f32, per_row: 1.0 / rows as f32 }
    }
}

/// How the pictures of one step change.
#[derive(Clone, Copy)]
pub(crate) struct Augment {
    pub config: AugmentConfig,
    pub seed: u64,
    /// Number of the batch's first row among all that were ever drawn.
    pub first: usize,
    /// Whether the part that is seen lies anywhere in the picture.
    pub crop_is_random: bool,
}

impl Augment {
    /// Whether pictures stay as they are.
    pub fn is_none(&self) -> bool {
        self.config == AugmentConfig::NONE && !self.crop_is_random
    }
}

/// Pixels of a camera in a whole batch, of the size that the policy wants.
fn pictures<'a>(
    batch: &'a Batch,
    camera: &CameraInput,
    observed: usize,
) -> Result<&'a [u8], Error> {
    let view = batch.arrays.get(&camera.key).map(|a| a.view());
    let (data, h, w) = pixels(&camera.key, view.as_ref(), batch.frames.len() * observed)?;
    if (h, w) == (camera.height, camera.width) {
        return Ok(data);
    }
    Err(Error::FeatureShape {
        key: camera.key.clone(),
        found: format!("pictures of {h} × {w}"),
        expected: format!("{} × {}", camera.height, camera.width),
    })
}

/// Network inputs of rows `range` of a batch.
pub(crate) fn inputs(
    batch: &Batch,
    targets: &Targets,
    range: Range<usize>,
    p: &Processor,
    tables: &[PixelTable],
    augment: Option<Augment>,
    device: &Device,
) -> Result<Inputs, Error> {
    let (rows, observed) = (range.len(), targets.steps.observed);
    let (dim, actions) = (p.state_dim(), p.action.dim());
    let mut vector = Vec::with_capacity(rows * observed * p.vector_dim());
    for i in range.clone() {
        let states = &targets.states[i * observed * dim..(i + 1) * observed * dim];
        p.encode_vector(states, &targets.last[i * actions..(i + 1) * actions], &mut vector);
    }
    let mut images = Vec::new();
    for (c, (camera, table)) in p.cameras.iter().zip(tables).enumerate() {
        let data = pictures(batch, camera, observed)?;
        let size = (camera.height, camera.width);
        let bytes = size.0 * size.1 * 3;
        let (h, w) = camera.seen();
        let mut out = Vec::with_capacity(rows * observed * h * w * 3);
        for i in range.clone() {
            let (window, jitter) =
                augment.map_or_else(|| (camera.centre(), None), |a| a.draw(i, c, camera));
            for step in i * observed..(i + 1) * observed {
                let from = out.len();
                let picture = &data[step * bytes..(step + 1) * bytes];
                picture_to_f32(picture, size, window, table, &mut out);
                if let Some(jitter) = jitter {
                    jitter.apply(&mut out[from..], table);
                }
            }
        }
        let data = TensorData::new(out, [rows * observed, h, w, 3]);
        images.push(Tensor::from_data(data, device));
    }
    let tensor = |values: Vec<f32>| {
        let width = values.len() / rows.max(1);
        Tensor::from_data(TensorData::new(values, [rows, width]), device)
    };
    let state = p.state.as_ref().map(|_| tensor(vector));
    let width = observed * p.env_dim();
    let raw = &targets.envs[range.start * width..range.end * width];
    let env = p.env.as_ref().map(|input| tensor(input.encode(raw)));
    Ok(Inputs { images, state, env, instruction: Instruction::default() })
}

/// Factors by which a picture's colours change.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Jitter {
    brightness: f32,
    contrast: f32,
    saturation: f32,
}

impl Jitter {
    const NONE: Self = Self { brightness: 1.0, contrast: 1.0, saturation: 1.0 };

    /// Changes normalised pixels: brightness, then contrast about the mean grey, then saturation
    /// about each pixel's own, as torchvision's `ColorJitter` defines them, without cutting off.
    fn apply(self, values: &mut [f32], table: &PixelTable) {
        // What black is, and one unit of brightness.
        let channels = [0, 1, 2].map(|c| (table[c][0], table[c][255] - table[c][0]));
        let grey = |rgb: [f32; 3]| 0.2989 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
        let (pixels, _) = values.as_chunks_mut::<3>();
        let bright = |pixel: &[f32; 3]| -> [f32; 3] {
            let value = |c: usize| (pixel[c] - channels[c].0) / channels[c].1 * self.brightness;
            std::array::from_fn(value)
        };
        let sum: f64 = pixels.iter().map(|p| f64::from(grey(bright(p)))).sum();
        let mean = (sum / pixels.len().max(1) as f64) as f32;
        for pixel in pixels {
            let rgb = bright(pixel).map(|v| mean + self.contrast * (v - mean));
            let own = grey(rgb);
            for (c, v) in rgb.into_iter().enumerate() {
                let v = own + self.saturation * (v - own);
                pixel[c] = channels[c].0 + v * channels[c].1;
            }
        }
    }
}

impl Augment {
    /// Window and colours of camera `number` in row `row`: a stream per sample, whatever the shard.
    fn draw(&self, row: usize, number: usize, camera: &CameraInput) -> (Window, Option<Jitter>) {
        let sample = (self.first + row) as u64;
        let mut rng = noise::stream(self.seed, &format!("train/augment/{number}"), sample);
        let mut window = camera.centre();
        if self.crop_is_random {
            let mut anywhere = |all: usize, part: usize| rng.random_range(0..=all - part) as isize;
            window.top = anywhere(camera.height, window.height);
            window.left = anywhere(camera.width, window.width);
        }
        let reach = self.config.shift_px as i64;
        let mut pixels = || rng.random_range(-reach..=reach) as isize;
        let (right, down) = (pixels(), pixels());
        window.top -= down;
        window.left -= right;
        let mut factor = |change: f32| match change > 0.0 {
            true => rng.random_range(1.0 - change..1.0 + change),
            false => 1.0,
        };
        let jitter = Jitter {
            brightness: factor(self.config.brightness),
            contrast: factor(self.config.contrast),
            saturation: factor(self.config.saturation),
        };
        (window, Some(jitter).filter(|j| *j != Jitter::NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Black at -1 and white at 1 in every channel.
    fn table() -> PixelTable {
        std::array::from_fn(|_| std::array::from_fn(|v| v as f32 / 127.5 - 1.0))
    }

    fn jittered(jitter: Jitter, pixels: &[[f32; 3]]) -> Vec<[f32; 3]> {
        let mut values: Vec<f32> = pixels.iter().flatten().map(|v| 2.0 * v - 1.0).collect();
        jitter.apply(&mut values, &table());
        let (pixels, _) = values.as_chunks::<3>();
        pixels.iter().map(|p| p.map(|v| (v + 1.0) / 2.0)).collect()
    }

    fn near(a: &[[f32; 3]], b: &[[f32; 3]]) {
        assert!(a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn colours_change_as_they_say() {
        let pixels = [[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]];
        near(&jittered(Jitter { brightness: 0.5, ..Jitter::NONE }, &pixels), &[[0.1; 3], [0.3; 3]]);
        let flat = jittered(Jitter { contrast: 0.5, ..Jitter::NONE }, &pixels);
        near(&flat, &[[0.3; 3], [0.5; 3]]);
        let coloured = [[0.5, 0.2, 0.2], [0.1, 0.4, 0.7]];
        let greys = coloured.map(|p: [f32; 3]| [0.2989 * p[0] + 0.587 * p[1] + 0.114 * p[2]; 3]);
        near(&jittered(Jitter { saturation: 0.0, ..Jitter::NONE }, &coloured), &greys);
        near(&jittered(Jitter::NONE, &coloured), &coloured);
    }
}
