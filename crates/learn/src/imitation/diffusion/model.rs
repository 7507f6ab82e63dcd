//! Diffusion Policy's network: the last observations side by side condition a U-Net that takes noise
//! out of a trajectory. Training asks it for the noise at a random level; acting starts from noise.
//!
//! Names and shapes of the parameters are LeRobot's (`diffusion.unet.…`, `diffusion.rgb_encoder.0.…`).
//! A backbone's batch normalisation keeps the statistics it was given, in training too: LeRobot's
//! follows the batch there, which neither shards nor small batches of one robot do well.

use burn::tensor::{Tensor, TensorData};

use super::config::DiffusionConfig;
use super::schedule::{PredictionType, Schedule};
use super::unet::{Unet, UnetSizes};
use crate::error::{Error, check};
use crate::imitation::vision::{BackboneNorm, KeypointEncoder, Stem};
use crate::imitation::{Demonstration, Inputs, Pass, Shape};
use crate::nn::ParamTable;

/// What makes features of pictures.
#[derive(Debug, Clone)]
enum Vision {
    /// One network for all cameras, however many.
    Shared(Box<KeypointEncoder>),
    /// One for each.
    Separate(Vec<KeypointEncoder>),
    /// A small one for each.
    Stems(Vec<Stem>),
}

/// The network with its noise schedule; its weights lie as in [`DiffusionNet::table`].
#[derive(Debug, Clone)]
pub(crate) struct DiffusionNet {
    pub table: ParamTable,
    cfg: DiffusionConfig,
    vision: Vision,
    unet: Unet,
    schedule: Schedule,
    action_dim: usize,
}

/// Where a shard's trajectories are looked at.
pub(crate) struct Draws {
    /// Standard normal, as many as action values.
    pub noise: Vec<f32>,
    /// The noise level of each sample.
    pub levels: Vec<usize>,
}

impl DiffusionNet {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &DiffusionConfig, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        let seeing = !shape.cameras.is_empty() || shape.env_dim.is_some();
        let rule = "it wants a camera or a state of the surroundings; with a stem, a state will do";
        let enough = seeing || !cfg.stem.is_empty() && shape.state_dim.is_some();
        check("inputs", "empty", enough, rule)?;
        let mut table = ParamTable::default();
        let (vision, seen) = vision(&mut table, cfg, shape)?;
        let vectors = shape.state_dim.unwrap_or(0) + shape.env_dim.unwrap_or(0);
        let sizes = UnetSizes {
            channels: shape.action_dim,
            condition: cfg.n_obs_steps * (vectors + seen),
            down_dims: cfg.down_dims.clone(),
            kernel: cfg.kernel_size,
            groups: cfg.n_groups,
            step_dim: cfg.diffusion_step_embed_dim,
            scale: cfg.use_film_scale_modulation,
        };
        let unet = Unet::new(&mut table, "diffusion.unet", &sizes);
        if cfg.is_lerobots() {
            table.begin_like_pytorch(&[]);
        }
        let schedule = Schedule::new(
            cfg.noise_scheduler_type,
            cfg.prediction_type,
            (cfg.beta_schedule, cfg.beta_start, cfg.beta_end),
            (cfg.num_train_timesteps, cfg.inference_steps()),
            cfg.clip_sample.then_some(cfg.clip_sample_range as f32),
        );
        Ok(Self { table, cfg: cfg.clone(), vision, unet, schedule, action_dim: shape.action_dim })
    }

    /// The settings it was laid out for.
    pub fn config(&self) -> &DiffusionConfig {
        &self.cfg
    }

    /// Features of the observations, what the U-Net is conditioned on: step by step the state, each
    /// camera's features, the surroundings.
    fn observe(&self, pass: Pass<'_>, inputs: &Inputs) -> Tensor<2> {
        let steps = self.cfg.n_obs_steps;
        let rows = inputs.rows(steps);
        let by_step = |x: Tensor<2>| {
            let n = x.dims()[0] * x.dims()[1] / (rows * steps);
            x.reshape([rows, steps, n])
        };
        let see = |(i, image): (usize, &Tensor<4>)| match &self.vision {
            Vision::Shared(net) => Some(net.forward(pass, image.clone())),
            Vision::Separate(nets) => Some(nets[i].forward(pass, image.clone())),
            Vision::Stems(stems) => stems[i].forward(pass, image.clone()).0,
        };
        let seen = inputs.images.iter().enumerate().filter_map(see);
        let parts = inputs.state.iter().cloned().chain(seen).chain(inputs.env.iter().cloned());
        let all = Tensor::cat(parts.map(by_step).collect(), 2);
        let n = all.dims()[2];
        all.reshape([rows, steps * n])
    }

    /// The shard's part of the batch's loss, `[1]`: mean squared error of what the network says at the
    /// levels drawn.
    pub fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        draws: &Draws,
    ) -> Tensor<1> {
        let width = self.cfg.horizon * self.action_dim;
        let shape = [wanted.rows, self.cfg.horizon, self.action_dim];
        let parts = wanted.actions.chunks_exact(width).zip(draws.noise.chunks_exact(width));
        let noisy: Vec<f32> = parts
            .zip(&draws.levels)
            .flat_map(|((clean, noise), level)| self.schedule.add_noise(clean, noise, *level))
            .collect();
        let tensor =
            |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, shape), pass.device);
        let observations = self.observe(pass, inputs);
        let said = self.unet.forward(pass, tensor(noisy), &draws.levels, observations);
        let target = match self.cfg.prediction_type {
            PredictionType::Epsilon => tensor(draws.noise.clone()),
            PredictionType::Sample => wanted.tensor(pass.device),
        };
        let masked = self.cfg.do_mask_loss_for_padding;
        let share = wanted.share;
        let weight = if masked { share.per_value } else { share.per_row / width as f32 };
        let off = said - target;
        (off.clone() * off * wanted.weights(weight, !masked, pass.device)).sum()
    }

    /// A trajectory `[horizon, action_dim]` for one observation; `draw` fills a slice with standard
    /// normal numbers.
    pub fn predict(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        mut draw: impl FnMut(&mut [f32]),
    ) -> Vec<f32> {
        let mut start = vec![0.0; self.cfg.horizon * self.action_dim];
        draw(&mut start);
        self.denoise(pass, &self.observe(pass, inputs), start, draw)
    }

    /// Takes the noise out of `x [horizon, action_dim]` for one observation; `draw` fills a slice with
    /// standard normal numbers.
    fn denoise(
        &self,
        pass: Pass<'_>,
        observation: &Tensor<2>,
        mut x: Vec<f32>,
        mut draw: impl FnMut(&mut [f32]),
    ) -> Vec<f32> {
        let shape = [1, self.cfg.horizon, self.action_dim];
        let mut noise = vec![0.0; x.len()];
        for level in self.schedule.levels(self.cfg.inference_steps()) {
            let data = TensorData::new(x.clone(), shape);
            let at = Tensor::<3>::from_data(data, pass.device);
            let said = self.unet.forward(pass, at, &[level], observation.clone()).into_data();
            let said = said.as_slice::<f32>().expect("trajectories are f32");
            let fresh = self.schedule.wants_noise(level);
            if fresh {
                draw(&mut noise);
            }
            self.schedule.step(&mut x, said, level, fresh.then_some(noise.as_slice()));
        }
        x
    }
}

/// Lays out what sees, with the number of features of all cameras at one step.
fn vision(
    t: &mut ParamTable,
    cfg: &DiffusionConfig,
    shape: &Shape,
) -> Result<(Vision, usize), Error> {
    let name = "diffusion.rgb_encoder";
    if !cfg.stem.is_empty() || shape.cameras.is_empty() {
        let sizes = cfg.stem_sizes();
        let mut stems = Vec::new();
        for (camera, height, width) in &shape.cameras {
            stems.push(Stem::new(t, &sizes, &format!("{name}.{camera}"), (*height, *width))?);
        }
        return Ok((Vision::Stems(stems), shape.cameras.len() * sizes.dim));
    }
    let norm = if cfg.use_group_norm { BackboneNorm::Group } else { BackboneNorm::Batch };
    let kind = (cfg.vision_backbone.as_str(), norm);
    let keypoints = cfg.spatial_softmax_num_keypoints;
    let (_, height, width) = shape.cameras[0];
    for (camera, h, w) in &shape.cameras {
        let rule = format!("`{camera}` sees {h} × {w}, the first camera {height} × {width}");
        check("inputs", "cameras", (*h, *w) == (height, width), &rule)?;
    }
    let mut encoder = |name: &str| KeypointEncoder::new(t, name, kind, (height, width), keypoints);
    let cameras = shape.cameras.len();
    let vision = if cfg.use_separate_rgb_encoder_per_camera {
        let each = |i| encoder(&format!("{name}.{i}"));
        Vision::Separate((0..cameras).map(each).collect::<Result<_, _>>()?)
    } else {
        Vision::Shared(Box::new(encoder(name)?))
    };
    Ok((vision, cameras * 2 * keypoints))
}
