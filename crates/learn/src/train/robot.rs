//! What a training knows of each robot whose policy it makes: its inputs with their normalisation,
//! its network, and where that network's weights stand among those that are trained.
//!
//! One robot has them all. Several that differ share one vector of weights: each sees the part of it
//! that its own network consists of ([`crate::imitation::part`]), so that padding never enters a
//! computation, and each gets a policy of its own in the end.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use embody_core::{
    Batch, BatchSource, Embodiment, FeatureSpec, Features, Result, Sampler, StatsMap,
};

use super::batch::{Targets, targets};
use super::config::TrainConfig;
use super::start::Start;
use super::{POLICIES_DIR, POLICY_DIR};
use crate::checkpoint::{self, ACTION, ENVIRONMENT};
use crate::error::{Error, check};
use crate::imitation::part::{Places, spots};
use crate::imitation::{ActionRepresentation, Net};
use crate::processor::{
    CameraInput, IMAGE_MEAN, IMAGE_STD, NormMode, Normalizer, PixelTable, Processor, VectorInput,
};

/// A robot that gets a policy.
pub(super) struct Robot {
    /// What results call it; none where it is the only one.
    pub name: Option<String>,
    pub net: Net,
    pub processor: Processor,
    pub pixels: Vec<PixelTable>,
    pub action_names: Vec<String>,
    /// Where each of its weights stands among all; none where they are all.
    spots: Option<Vec<u32>>,
}

/// A robot's frames of a batch.
pub(super) struct Part<'a> {
    pub robot: &'a Robot,
    pub batch: Cow<'a, Batch>,
    pub targets: Targets,
    /// Frames of the robots before it.
    pub before: usize,
}

/// The network for all robots of `source`, and each of them.
pub(super) fn robots(
    source: &dyn BatchSource,
    cfg: &TrainConfig,
    start: Option<&Start>,
) -> Result<(Net, Vec<Robot>)> {
    let mut whole = Robot::new(None, source.features(), source.stats(), cfg, start)?;
    if source.embodiments().is_empty() {
        whole.measure(source, cfg)?;
        if let Some(start) = start {
            start.lend_statistics(&mut whole.processor);
        }
        return Ok((whole.net.clone(), vec![whole]));
    }
    let rule = "a policy for several robots begins with weights of its own";
    check("start", "a policy", start.is_none(), rule)?;
    let rule =
        "its codes stand for the actions of one robot: `act`, `diffusion` and `flow` take several";
    check("policy", cfg.policy.kind(), cfg.policy.first_phase().is_none(), rule)?;
    let mut robots = Vec::new();
    for body in source.embodiments() {
        let name = Some(body.name.clone());
        let mut robot = Robot::new(name, &body.features, &body.stats, cfg, None)
            .map_err(|e| e.context(body.name.clone()))?;
        robot.measure(source, cfg)?;
        let places = whole.places(&robot, body);
        let from = (&whole.net, checkpoint::net_shape(&whole.processor));
        let to = (&robot.net, checkpoint::net_shape(&robot.processor));
        robot.spots = Some(spots(&cfg.policy, from, to, &places)?);
        robots.push(robot);
    }
    Ok((whole.net, robots))
}

impl Robot {
    /// Lays out the network for a robot with these features.
    fn new(
        name: Option<String>,
        features: &Features,
        stats: &StatsMap,
        cfg: &TrainConfig,
        start: Option<&Start>,
    ) -> Result<Self> {
        let feature = |key: &str| -> Result<&FeatureSpec, Error> {
            features.get(key).ok_or_else(|| Error::MissingFeature {
                key: key.to_owned(),
                known: features.keys().cloned().collect::<Vec<_>>().join(", "),
            })
        };
        let normalizer = |key: &str, dim| {
            let of_start = start.and_then(|start| start.normalizer(key));
            let mode = of_start.map_or(cfg.policy.norm_mode(), |of_start| of_start.mode);
            Normalizer::from_stats(mode, key, stats.get(key), dim)
        };
        let vector = |key: String, dim: usize| -> Result<VectorInput> {
            Ok(VectorInput { normalizer: normalizer(&key, dim)?, key })
        };
        let mut cameras = Vec::new();
        let (mut state, mut env) = (None, None);
        for key in chosen_inputs(cfg, features, name.is_some()) {
            let spec = feature(&key)?;
            let numeric = spec.dtype.is_numeric();
            match spec.shape.as_slice() {
                [height, width, 3] if spec.dtype.is_visual() => {
                    let (height, width) = (*height, *width);
                    let crop = cfg.policy.crop().map(|(size, _)| size);
                    let normalizer =
                        Normalizer::guarded(NormMode::MeanStd, &IMAGE_MEAN, &IMAGE_STD);
                    let camera =
                        CameraInput { key, height, width, crop, normalizer, letterbox: None };
                    checkpoint::check_crop(&camera)?;
                    cameras.push(camera);
                }
                [n] if numeric && key == ENVIRONMENT => env = Some(vector(key, *n)?),
                [n] if numeric && state.is_none() => state = Some(vector(key, *n)?),
                shape => {
                    let found = format!("{:?} {shape:?}", spec.dtype);
                    let expected = "RGB pictures [h, w, 3], or one vector".to_owned();
                    return Err(Error::FeatureShape { key, found, expected }.into());
                }
            }
        }
        let action_names = feature(ACTION)?.dim_names();
        let dim = action_names.len();
        let (representation, observes_last) = cfg.policy.representation();
        let action = normalizer(ACTION, dim)?;
        // Measured later, on this robot's frames.
        let lag = observes_last.then(|| Normalizer::identity(dim));
        let processor = Processor { state, env, action, lag, cameras, representation };
        checkpoint::check_representation(&cfg.policy, processor.state_dim(), dim)?;
        let net = Net::new(&cfg.policy, &checkpoint::net_shape(&processor))?;
        let pixels = processor.cameras.iter().map(CameraInput::pixel_table).collect();
        Ok(Self { name, net, processor, pixels, action_names, spots: None })
    }

    /// Where what `robot` has stands in this one, which has all of it.
    fn places(&self, robot: &Self, body: &Embodiment) -> Places {
        let of = |key: &str| body.places.get(key).cloned().unwrap_or_default();
        let at = |input: &Option<VectorInput>| input.as_ref().map(|i| of(&i.key));
        let mut vector = at(&robot.processor.state).unwrap_or_default();
        if robot.processor.lag.is_some() {
            vector.extend(of(ACTION).iter().map(|place| self.processor.state_dim() + place));
        }
        let all = &self.processor.cameras;
        let camera = |own: &CameraInput| all.iter().position(|camera| camera.key == own.key);
        Places {
            vector,
            env: at(&robot.processor.env).unwrap_or_default(),
            action: of(ACTION),
            cameras: robot.processor.cameras.iter().filter_map(camera).collect(),
        }
    }

    /// Its policy's folder in a run's folder.
    pub fn folder(&self, out: &Path) -> PathBuf {
        match &self.name {
            Some(name) => out.join(POLICIES_DIR).join(name),
            None => out.join(POLICY_DIR),
        }
    }

    /// Its weights.
    pub fn weights<'a>(&self, all: &'a [f32]) -> Cow<'a, [f32]> {
        match &self.spots {
            Some(spots) => spots.iter().map(|spot| all[*spot as usize]).collect(),
            None => Cow::Borrowed(all),
        }
    }

    /// Adds gradients of its weights to those of all, of which there are `len`; empty ones are zeros.
    pub fn add(&self, own: Vec<f32>, all: &mut Vec<f32>, len: usize) {
        match &self.spots {
            None if all.is_empty() => *all = own,
            None => all.iter_mut().zip(&own).for_each(|(a, o)| *a += o),
            Some(spots) => {
                all.resize(len, 0.0);
                spots.iter().zip(&own).for_each(|(spot, o)| all[*spot as usize] += o);
            }
        }
    }

    /// Its frames of a batch of `source`'s; `None` where there is none.
    fn own<'b>(&self, batch: &'b Batch, source: &dyn BatchSource) -> Option<Cow<'b, Batch>> {
        let Some(name) = &self.name else { return Some(Cow::Borrowed(batch)) };
        let bodies = source.embodiments();
        let number = bodies.iter().position(|body| body.name == *name)?;
        let rows = 0..batch.frames.len();
        let rows: Vec<usize> = rows.filter(|row| batch.frames[*row].dataset == number).collect();
        let mut out = Batch::default();
        batch.unpadded(&rows, &bodies[number], &mut out);
        (!rows.is_empty()).then_some(Cow::Owned(out))
    }

    /// Normalisation of encoded actions over a chunk and of last action minus state, where the policy
    /// wants them, from at most 512 frames, spread by weight.
    fn measure(&mut self, source: &dyn BatchSource, cfg: &TrainConfig) -> Result<()> {
        let (representation, observes_last) = cfg.policy.representation();
        let delta = representation != ActionRepresentation::Absolute;
        if !delta && !observes_last {
            return Ok(());
        }
        let (steps, dim) = (cfg.policy.steps(), self.processor.action.dim());
        let raw = Processor { action: Normalizer::identity(dim), ..self.processor.clone() };
        let indices = Sampler::spread(source, 512)?;
        let (mut actions, mut lags) = (Moments::new(dim), Moments::new(dim));
        let mut batch = Batch::default();
        for part in indices.chunks(64) {
            source.batch(part, &mut batch)?;
            let Some(own) = self.own(&batch, source) else { continue };
            let t = targets(&own, &raw, steps)?;
            for (action, _) in t.actions.chunks_exact(dim).zip(&t.kept).filter(|(_, kept)| **kept) {
                actions.add(action.iter().copied());
            }
            if t.states.len() == t.last.len() {
                for (last, state) in t.last.chunks_exact(dim).zip(t.states.chunks_exact(dim)) {
                    lags.add(last.iter().zip(state).map(|(l, s)| l - s));
                }
            }
        }
        if delta {
            self.processor.action = actions.normalizer(self.processor.action.mode);
        }
        self.processor.lag = observes_last.then(|| lags.normalizer(NormMode::MeanStd));
        Ok(())
    }
}

/// Each robot's frames of `batch`, a batch of `source`'s.
pub(super) fn parts<'a>(
    robots: &'a [Robot],
    batch: &'a Batch,
    source: &dyn BatchSource,
    cfg: &TrainConfig,
) -> Result<Vec<Part<'a>>, Error> {
    let mut parts = Vec::new();
    let mut before = 0;
    for robot in robots {
        let Some(batch) = robot.own(batch, source) else { continue };
        let targets = targets(&batch, &robot.processor, cfg.policy.steps())?;
        let rows = batch.frames.len();
        parts.push(Part { robot, batch, targets, before });
        before += rows;
    }
    Ok(parts)
}

/// `cfg.inputs` (of several robots, each takes what it has of them), or the robot's state and every
/// camera; what only a simulator knows of the surroundings has to be named.
fn chosen_inputs(cfg: &TrainConfig, features: &Features, one_of_several: bool) -> Vec<String> {
    if !cfg.inputs.is_empty() {
        let has = |key: &&String| !one_of_several || features.contains_key(*key);
        return cfg.inputs.iter().filter(has).cloned().collect();
    }
    let wanted = |(key, spec): &(&String, &FeatureSpec)| {
        *key == "observation.state" || (key.starts_with("observation.") && spec.dtype.is_visual())
    };
    features.iter().filter(wanted).map(|(key, _)| key.clone()).collect()
}

/// Sums for mean and deviation of each dimension, and its range.
struct Moments {
    sum: Vec<f64>,
    squares: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
    count: f64,
}

impl Moments {
    fn new(dim: usize) -> Self {
        Self {
            sum: vec![0.0; dim],
            squares: vec![0.0; dim],
            min: vec![f64::INFINITY; dim],
            max: vec![f64::NEG_INFINITY; dim],
            count: 0.0,
        }
    }

    fn add(&mut self, row: impl Iterator<Item = f32>) {
        self.count += 1.0;
        for (i, v) in row.map(f64::from).enumerate() {
            self.sum[i] += v;
            self.squares[i] += v * v;
            self.min[i] = self.min[i].min(v);
            self.max[i] = self.max[i].max(v);
        }
    }

    fn normalizer(&self, mode: NormMode) -> Normalizer {
        if mode == NormMode::MinMax {
            return Normalizer::guarded(mode, &self.min, &self.max);
        }
        let n = self.count.max(1.0);
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let variance = |(s, m): (&f64, &f64)| (s / n - m * m).max(0.0).sqrt();
        let std: Vec<f64> = self.squares.iter().zip(&mean).map(variance).collect();
        Normalizer::guarded(NormMode::MeanStd, &mean, &std)
    }
}
