//! What a step of training and an inference take, on frames that are made up.

use std::time::Instant;

use embody_core::{
    Array, ArrayData, Batch, BatchSource, DType, FeatureSpec, FeatureStats, Features, FrameRef,
    Result, StatsMap,
};
use indexmap::IndexMap;
use rand::RngCore;

use super::{Run, TrainConfig, required_windows};
use crate::checkpoint::{ACTION, ENVIRONMENT};
use crate::noise::{normals, stream};
use crate::optim::OptimState;
use crate::policy::{Inference, Observation, Seen};

/// Sizes of the made-up data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchShape {
    /// Height and width of each camera's pictures.
    pub cameras: Vec<[usize; 2]>,
    /// Dimensions of the robot's state.
    pub state: usize,
    /// Of its surroundings'; 0 for none.
    pub env: usize,
    /// Of its actions.
    pub action: usize,
}

/// A source that gives the same noise for every frame.
struct MadeUp {
    features: Features,
    stats: StatsMap,
    windows: IndexMap<String, Vec<i64>>,
}

impl MadeUp {
    fn new(cfg: &TrainConfig, shape: &BenchShape) -> Result<Self> {
        let mut features = Features::new();
        for (i, [h, w]) in shape.cameras.iter().enumerate() {
            let spec = FeatureSpec::new(DType::Video, &[*h, *w, 3], &[]);
            features.insert(format!("observation.images.cam{i}"), spec);
        }
        let vectors =
            [("observation.state", shape.state), (ENVIRONMENT, shape.env), (ACTION, shape.action)];
        let mut stats = StatsMap::new();
        for (key, dim) in vectors.into_iter().filter(|(_, dim)| *dim > 0) {
            features.insert(key.to_owned(), FeatureSpec::new(DType::Float32, &[dim], &[]));
            let of = FeatureStats {
                mean: vec![0.0; dim],
                std: vec![1.0; dim],
                min: vec![-3.0; dim],
                max: vec![3.0; dim],
                ..FeatureStats::default()
            };
            stats.insert(key.to_owned(), of);
        }
        let windows = required_windows(cfg, features.keys().map(String::as_str))?;
        Ok(Self { features, stats, windows })
    }
}

impl BatchSource for MadeUp {
    fn features(&self) -> &Features {
        &self.features
    }

    fn stats(&self) -> &StatsMap {
        &self.stats
    }

    fn len(&self) -> usize {
        1000
    }

    fn fps(&self) -> f64 {
        50.0
    }

    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()> {
        let mut rng = stream(0, "bench/frames", 0);
        let frame = |i: &usize| FrameRef { dataset: 0, episode: 0, frame: *i };
        out.frames = indices.iter().map(frame).collect();
        for (key, spec) in &self.features {
            let window = self.windows.get(key).map(Vec::len);
            let shape: Vec<usize> =
                [indices.len()].into_iter().chain(window).chain(spec.shape.clone()).collect();
            let count = shape.iter().product();
            let data = if spec.dtype.is_visual() {
                let mut bytes = vec![0; count];
                rng.fill_bytes(&mut bytes);
                ArrayData::U8(bytes)
            } else {
                let mut values = vec![0.0; count];
                normals(&mut rng, &mut values);
                ArrayData::F32(values)
            };
            out.arrays.insert(key.clone(), Array { shape, data });
            if let Some(steps) = window {
                let pad = ArrayData::Bool(vec![false; indices.len() * steps]);
                let shape = vec![indices.len(), steps];
                out.arrays.insert(format!("{key}_is_pad"), Array { shape, data: pad });
            }
        }
        Ok(())
    }
}

/// Trains and infers on made-up frames, to be timed.
pub struct Bench {
    cfg: TrainConfig,
    source: MadeUp,
    optim: Option<OptimState>,
    steps: usize,
}

impl Bench {
    /// Lays out the policy of `cfg` for data of `shape`.
    ///
    /// # Errors
    /// Settings that make no network.
    pub fn new(cfg: &TrainConfig, shape: &BenchShape) -> Result<Self> {
        cfg.check()?;
        Ok(Self { cfg: cfg.clone(), source: MadeUp::new(cfg, shape)?, optim: None, steps: 0 })
    }

    /// Seconds of each of `count` optimiser steps, from a batch in memory to new weights. The first
    /// of all is not counted.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn steps(&mut self, count: usize) -> Result<Vec<f64>> {
        let run = Run::new(&self.source, &self.cfg, None)?;
        let mut batch = Batch::default();
        let rows: Vec<usize> = (0..self.cfg.batch_size).collect();
        self.source.batch(&rows, &mut batch)?;
        let optim = self
            .optim
            .get_or_insert_with(|| OptimState::new(run.net.table().initial(self.cfg.seed)));
        let mut seconds = Vec::with_capacity(count);
        while seconds.len() < count {
            let start = Instant::now();
            run.step(self.steps, &batch, optim, &std::env::temp_dir())?;
            if self.steps > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
            self.steps += 1;
        }
        Ok(seconds)
    }

    /// Seconds of each of `count` predictions for one observation on one thread, from pixels to
    /// actions. The first is not counted.
    ///
    /// # Errors
    /// Settings that make no network.
    pub fn predictions(&self, count: usize) -> Result<Vec<f64>> {
        let run = Run::new(&self.source, &self.cfg, None)?;
        let model = run.model(&run.robots[0], &run.net.table().initial(self.cfg.seed));
        let inference = Inference::new(model, self.cfg.backend, 1);
        let p = &inference.model.processor;
        let pixels: Vec<Vec<u8>> =
            p.cameras.iter().map(|c| vec![127; c.height * c.width * 3]).collect();
        let (state, env) = (vec![0.5; p.state_dim()], vec![0.5; p.env_dim()]);
        let last = vec![0.0; p.action.dim()];
        let mut seconds = Vec::with_capacity(count);
        for i in 0..=count {
            let start = Instant::now();
            let pictures = p.cameras.iter().zip(&pixels);
            let seen = inference.see(&Observation {
                pictures: pictures.map(|(c, p)| (p.as_slice(), c.height, c.width)).collect(),
                state: &state,
                env: &env,
            });
            let all: Vec<&Seen> = vec![&seen; inference.model.config.steps().observed];
            std::hint::black_box(inference.chunk(&all, &last));
            if i > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }
}
