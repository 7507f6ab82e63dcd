//! A dataset drawn on the spot: a red square on a noisy ground; the actions lead the "arm" to it.

use std::collections::BTreeMap;

use embody_core::{
    Array, ArrayData, Batch, BatchSource, DType, FeatureSpec, FeatureStats, Features, FrameRef,
    Result, StatsMap, derive_seed,
};
use embody_learn::{
    ActConfig, DiffusionConfig, FlowConfig, PolicyConfig, StemLayer, TrainConfig, VqBetConfig,
    required_windows,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const SIDE: usize = 32;
pub const LENGTH: usize = 12;
pub const CAMERA: &str = "observation.images.front";
pub const STATE: &str = "observation.state";

pub struct Drawn {
    episodes: usize,
    seed: u64,
    windows: BTreeMap<String, Vec<i64>>,
    features: Features,
    stats: StatsMap,
    /// Frame whose action is not a number.
    pub broken: Option<FrameRef>,
    /// Whether vectors have their dimensions the other way round.
    turned: bool,
}

impl Drawn {
    pub fn new(seed: u64, episodes: usize, cfg: &TrainConfig) -> Self {
        let vector = || FeatureSpec::new(DType::Float32, &[2], &[]);
        let stats = FeatureStats {
            mean: vec![0.0; 2],
            std: vec![0.4; 2],
            min: vec![-1.0; 2],
            max: vec![1.0; 2],
            count: 1,
            ..Default::default()
        };
        Self {
            episodes,
            seed,
            // Of settings that make no network, training has to tell.
            windows: required_windows(cfg, [STATE, CAMERA]).map_or_else(
                |_| [("action".to_owned(), vec![-1, 0])].into(),
                |windows| windows.into_iter().collect(),
            ),
            features: Features::from([
                (STATE.to_owned(), vector()),
                (CAMERA.to_owned(), FeatureSpec::new(DType::Video, &[SIDE, SIDE, 3], &[])),
                ("action".to_owned(), vector()),
            ]),
            stats: StatsMap::from([
                (STATE.to_owned(), stats.clone()),
                ("action".to_owned(), stats),
            ]),
            broken: None,
            turned: false,
        }
    }

    /// Calls the dimensions of its vectors `across` and `down`, or `down` and `depth`: the second robot
    /// moves in depth as the first does across.
    pub fn robot(mut self, second: bool) -> Self {
        let names = if second { ["down", "depth"] } else { ["across", "down"] };
        for key in [STATE, "action"] {
            self.features[key] = FeatureSpec::new(DType::Float32, &[2], &names);
        }
        Self { turned: second, ..self }
    }

    pub fn goal(&self, episode: usize) -> [f32; 2] {
        let seed = derive_seed(self.seed, "goal", episode as u64);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        [rng.random_range(-0.8..0.8), rng.random_range(-0.8..0.8)]
    }

    fn action(&self, episode: usize, frame: i64) -> [f32; 2] {
        let done = frame.clamp(0, LENGTH as i64 - 1) as f32 / (LENGTH - 1) as f32;
        if self.broken == Some(FrameRef { dataset: 0, episode, frame: frame.max(0) as usize }) {
            return [f32::NAN; 2];
        }
        let [across, down] = self.goal(episode).map(|g| g * done);
        if self.turned { [down, across] } else { [across, down] }
    }
}

/// A picture of a square 6 pixels wide at `at` (-1 to 1).
pub fn draw(at: [f32; 2], out: &mut Vec<u8>) {
    let centre = at.map(|v| (v * 0.5 + 0.5) * SIDE as f32);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let cover = |c: f32, p: usize| (3.5 - (p as f32 + 0.5 - c).abs()).clamp(0.0, 1.0);
            let w = cover(centre[0], x) * cover(centre[1], y);
            let ground = 90.0 + ((x * 7 + y * 13) % 17) as f32;
            out.extend([220.0, 40.0, 30.0].map(|c: f32| (ground * (1.0 - w) + c * w) as u8));
        }
    }
}

impl BatchSource for Drawn {
    fn features(&self) -> &Features {
        &self.features
    }

    fn stats(&self) -> &StatsMap {
        &self.stats
    }

    fn len(&self) -> usize {
        self.episodes * LENGTH
    }

    fn fps(&self) -> f64 {
        10.0
    }

    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()> {
        let (mut state, mut action, mut pad, mut pixels) = (vec![], vec![], vec![], vec![]);
        out.frames.clear();
        let seen = self.windows.get(STATE).cloned();
        for index in indices {
            let (episode, frame) = (index / LENGTH, index % LENGTH);
            out.frames.push(FrameRef { dataset: 0, episode, frame });
            for offset in seen.as_deref().unwrap_or(&[0]) {
                // Before the first frame there is the first.
                let at = (frame as i64 + offset).max(0);
                let before = self.action(episode, at - 1);
                state.extend(before.map(|v| if v.is_nan() { 0.0 } else { v }));
                draw(self.goal(episode), &mut pixels);
            }
            for offset in &self.windows["action"] {
                let at = frame as i64 + offset;
                action.extend(self.action(episode, at));
                pad.push(!(0..LENGTH as i64).contains(&at));
            }
        }
        let (n, k) = (indices.len(), self.windows["action"].len());
        let window = seen.map(|w| w.len());
        let mut put = |key: &str, shape: &[usize], data| {
            out.arrays.insert(key.to_owned(), Array { shape: shape.to_vec(), data });
        };
        let windowed = |rest: &[usize]| {
            [n].into_iter().chain(window).chain(rest.iter().copied()).collect::<Vec<_>>()
        };
        put(STATE, &windowed(&[2]), ArrayData::F32(state));
        put("action", &[n, k, 2], ArrayData::F32(action));
        put("action_is_pad", &[n, k], ArrayData::Bool(pad));
        put(CAMERA, &windowed(&[SIDE, SIDE, 3]), ArrayData::U8(pixels));
        Ok(())
    }
}

fn stem() -> Vec<StemLayer> {
    [(8, 5), (16, 3)].map(|(channels, kernel)| StemLayer { channels, kernel, stride: 2 }).to_vec()
}

/// [`small`] with a Diffusion Policy that looks at two steps.
pub fn small_diffusion(steps: usize) -> TrainConfig {
    let policy = PolicyConfig::DiffusionSmall(DiffusionConfig {
        n_obs_steps: 2,
        horizon: 8,
        n_action_steps: 3,
        down_dims: vec![16, 32],
        diffusion_step_embed_dim: 16,
        num_inference_steps: Some(5),
        stem: stem(),
        keypoints: 8,
        keypoint_layer: 2,
        ..DiffusionConfig::default()
    });
    TrainConfig { policy, ..small(steps) }
}

/// [`small`] with flow matching.
pub fn small_flow(steps: usize) -> TrainConfig {
    let policy = PolicyConfig::Flow(FlowConfig {
        chunk_size: 6,
        n_action_steps: 3,
        dim_model: 32,
        n_heads: 2,
        dim_feedforward: 32,
        n_encoder_layers: 1,
        n_decoder_layers: 1,
        num_inference_steps: 5,
        stem: stem(),
        keypoints: 8,
        ..FlowConfig::default()
    });
    TrainConfig { policy, ..small(steps) }
}

/// [`small`] with a VQ-BeT that looks at two steps, whose codes learn for `first` of the steps.
pub fn small_vqbet(first: usize, steps: usize) -> TrainConfig {
    let policy = PolicyConfig::VqBetSmall(VqBetConfig {
        n_obs_steps: 2,
        n_action_pred_token: 2,
        action_chunk_size: 4,
        n_vqvae_training_steps: first,
        vqvae_embedding_dim: 16,
        vqvae_enc_hidden_dim: 32,
        gpt_block_size: 16,
        gpt_input_dim: 32,
        gpt_output_dim: 32,
        gpt_n_layer: 2,
        gpt_n_head: 2,
        gpt_hidden_dim: 32,
        dropout: 0.1,
        stem: stem(),
        keypoints: 8,
        keypoint_layer: 2,
        ..VqBetConfig::default()
    });
    TrainConfig { policy, ..small(steps) }
}

pub fn small(steps: usize) -> TrainConfig {
    let act = ActConfig {
        chunk_size: 6,
        n_action_steps: 3,
        dim: 32,
        heads: 2,
        ff_dim: 32,
        encoder_layers: 1,
        stem: stem(),
        keypoints: 8,
        ..ActConfig::default()
    };
    TrainConfig {
        policy: PolicyConfig::ActSmall(act),
        steps,
        batch_size: 16,
        shards: 3,
        lr: 2e-3,
        warmup: 10,
        log_every: 4,
        eval_every: 8,
        eval_frames: 24,
        checkpoint_every: 10,
        ..TrainConfig::default()
    }
}
