//! A learned policy by itself: one network from observations to the mean of a Gaussian over actions,
//! with its normalisation inside; its folder; and how it acts.
//!
//! ```text
//! config.json         type mlp-gaussian, inputs, sizes, bounds
//! model.safetensors   actor.0.weight [out, in], actor.0.bias, …, log_std, observation.mean, observation.var
//! ```
//! It acts without noise. Every environment is inferred as a row by itself, so that what happens in
//! one does not depend on which others stand beside it.

use std::path::Path;

use embody_core::{
    DType, DataView, FeatureSpec, Features, Observations, Policy, PolicySpec, Result,
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::kernels::{self, Nonlinearity};
use super::mlp::{Mlp, Tape};
use super::normalize::RunningMoments;
use crate::checkpoint::{self, ACTION, Stored};
use crate::error::{Error, check};

/// The type that config.json names.
pub(crate) const MLP_GAUSSIAN: &str = "mlp-gaussian";
const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
/// More is not believed of a file.
const MAX_WIDTH: usize = 16_384;

/// How the network's output becomes an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Squash {
    /// Cut off at the bounds.
    Clip,
    /// By tanh, onto the range between the bounds.
    Tanh,
}

/// Where the actions' deviation comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deviation {
    /// Its logarithm is learned beside the network, the same for every observation.
    Learned(Vec<f32>),
    /// The network's outputs are means, then log-deviations.
    OfState,
    /// There is none.
    None,
}

/// [`Deviation`] in config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DeviationKind {
    Learned,
    OfState,
    None,
}

/// A policy in memory.
#[derive(Debug, Clone)]
pub(crate) struct ActorModel {
    /// Observation keys with their dimensions, joined in this order.
    pub inputs: Vec<(String, usize)>,
    pub net: Mlp,
    pub params: Vec<f32>,
    pub deviation: Deviation,
    /// Moments of observations, and the bound of what they normalise to.
    pub moments: Option<(RunningMoments, f32)>,
    pub squash: Squash,
    pub low: Vec<f32>,
    pub high: Vec<f32>,
    pub fps: f64,
    pub action_names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    r#type: String,
    input_features: IndexMap<String, FileFeature>,
    output_features: IndexMap<String, FileFeature>,
    hidden: Vec<usize>,
    activation: Nonlinearity,
    layer_norm: bool,
    squash: Squash,
    /// `of-state`: the network's outputs are means, then log-deviations.
    deviation: DeviationKind,
    /// Bound of normalised observations; absent where they are not normalised.
    clip_observations: Option<f32>,
    action_low: Vec<f32>,
    action_high: Vec<f32>,
    action_names: Vec<String>,
    fps: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileFeature {
    r#type: String,
    shape: Vec<usize>,
}

impl ActorModel {
    fn actions(&self) -> usize {
        self.low.len()
    }

    /// Writes the policy into the existing folder `dir`, which the caller puts in place atomically.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let feature = |kind: &str, dim| FileFeature { r#type: kind.to_owned(), shape: vec![dim] };
        let (hidden, activation, layer_norm) = self.net.shape();
        let config = ConfigFile {
            r#type: MLP_GAUSSIAN.to_owned(),
            input_features: self
                .inputs
                .iter()
                .map(|(key, dim)| (key.clone(), feature("STATE", *dim)))
                .collect(),
            output_features: [(ACTION.to_owned(), feature("ACTION", self.actions()))].into(),
            hidden,
            activation,
            layer_norm,
            squash: self.squash,
            deviation: match self.deviation {
                Deviation::Learned(_) => DeviationKind::Learned,
                Deviation::OfState => DeviationKind::OfState,
                Deviation::None => DeviationKind::None,
            },
            clip_observations: self.moments.as_ref().map(|(_, clip)| *clip),
            action_low: self.low.clone(),
            action_high: self.high.clone(),
            action_names: self.action_names.clone(),
            fps: self.fps,
        };
        checkpoint::write_json(&dir.join(CONFIG), &config)?;
        let mut tensors = Vec::new();
        for spec in self.net.specs("actor") {
            let values = spec.turn(&self.params[spec.at..spec.at + spec.len()], false);
            tensors.push(Stored::floats(spec.name, spec.shape, values));
        }
        let mut vector = |name: &str, values: Vec<f32>| {
            tensors.push(Stored::floats(name, vec![values.len()], values));
        };
        if let Deviation::Learned(log_std) = &self.deviation {
            vector("log_std", log_std.clone());
        }
        if let Some((moments, _)) = &self.moments {
            vector("observation.mean", moments.mean.iter().map(|v| *v as f32).collect());
            vector("observation.var", moments.var.iter().map(|v| *v as f32).collect());
        }
        checkpoint::write_tensors(&dir.join(MODEL), &tensors)
    }

    /// Reads a policy's folder.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        let c: ConfigFile = checkpoint::read_json(&path)?;
        let bad = |what: String| Error::Invalid {
            what: format!("{}: {what}", path.display()),
            hint: "copy the policy's folder again".into(),
        };
        if c.r#type != MLP_GAUSSIAN {
            return Err(Error::PolicyType { path, found: c.r#type }.into());
        }
        let dim = |feature: &FileFeature| match feature.shape.as_slice() {
            [dim @ 1..=MAX_WIDTH] => Some(*dim),
            _ => None,
        };
        let mut inputs = Vec::new();
        for (key, feature) in &c.input_features {
            let wrong = || bad(format!("input feature `{key}` has shape {:?}", feature.shape));
            inputs.push((key.clone(), dim(feature).ok_or_else(wrong)?));
        }
        let obs_dim: usize = inputs.iter().map(|(_, dim)| dim).sum();
        let action = c.output_features.get(ACTION).and_then(dim);
        let actions = action.ok_or_else(|| bad("no output feature `action` of one axis".into()))?;
        if c.action_low.len() != actions || c.action_high.len() != actions {
            return Err(bad(format!("the action has {actions} dimensions, its bounds not")).into());
        }
        let sane = c.hidden.len() <= 64 && c.hidden.iter().all(|n| (1..=MAX_WIDTH).contains(n));
        if !sane || obs_dim == 0 {
            return Err(bad(format!("hidden layers of {:?} on {obs_dim}", c.hidden)).into());
        }
        let outputs = actions * if c.deviation == DeviationKind::OfState { 2 } else { 1 };
        let sizes = [&[obs_dim], c.hidden.as_slice(), &[outputs]].concat();
        let net = Mlp::new(&sizes, c.activation, c.layer_norm);
        let path = dir.join(MODEL);
        let specs = net.specs("actor");
        let mut wanted: Vec<_> = specs.iter().map(|s| (s.name.clone(), s.shape.clone())).collect();
        if c.deviation == DeviationKind::Learned {
            wanted.push(("log_std".into(), vec![actions]));
        }
        if c.clip_observations.is_some() {
            wanted.push(("observation.mean".into(), vec![obs_dim]));
            wanted.push(("observation.var".into(), vec![obs_dim]));
        }
        // The file decides how much memory is taken, not the sizes that it claims.
        let values = checkpoint::read_tensors(&path, &wanted)?;
        let mut params = vec![0.0; net.len()];
        for (spec, values) in specs.iter().zip(&values) {
            params[spec.at..spec.at + spec.len()].copy_from_slice(&spec.turn(values, true));
        }
        let mut rest = values.into_iter().skip(specs.len());
        let deviation = match c.deviation {
            DeviationKind::Learned => Deviation::Learned(rest.next().unwrap_or_default()),
            DeviationKind::OfState => Deviation::OfState,
            DeviationKind::None => Deviation::None,
        };
        let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<_>>();
        let moments = match (c.clip_observations, rest.next(), rest.next()) {
            (Some(clip), Some(mean), Some(var)) => {
                Some((RunningMoments { mean: wide(mean), var: wide(var), count: 1.0 }, clip))
            }
            _ => None,
        };
        Ok(Self {
            inputs,
            net,
            params,
            deviation,
            moments,
            squash: c.squash,
            low: c.action_low,
            high: c.action_high,
            fps: c.fps,
            action_names: c.action_names,
        })
    }

    /// The actor, ready to act without noise.
    pub fn into_policy(self) -> MlpPolicy {
        let inputs: Features = self
            .inputs
            .iter()
            .map(|(key, dim)| (key.clone(), FeatureSpec::new(DType::Float32, &[*dim], &[])))
            .collect();
        let spec = PolicySpec {
            kind: MLP_GAUSSIAN.to_owned(),
            inputs,
            action_dim: self.actions(),
            chunk_size: 1,
            n_action_steps: 1,
        };
        let dim = self.net.inputs();
        let tape = self.net.tape();
        MlpPolicy { spec, tape, raw: vec![0.0; dim], obs: vec![0.0; dim], model: self }
    }
}

/// A Gaussian policy acting by its mean.
pub(crate) struct MlpPolicy {
    model: ActorModel,
    spec: PolicySpec,
    tape: Tape,
    raw: Vec<f64>,
    obs: Vec<f32>,
}

impl Policy for MlpPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, _env: usize) {}

    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let m = &self.model;
        crate::policy::check_lengths(active, actions, m.actions())?;
        let known = || observations.arrays.keys().copied().collect::<Vec<_>>().join(", ");
        let mut views = Vec::with_capacity(m.inputs.len());
        for (key, dim) in &m.inputs {
            let missing = || Error::MissingFeature { key: key.clone(), known: known() };
            let view = observations.arrays.get(key.as_str()).ok_or_else(missing)?;
            let vector = matches!(view.data, DataView::F32(_) | DataView::F64(_));
            if !vector || view.shape != [active.len(), *dim] {
                return Err(Error::FeatureShape {
                    key: key.clone(),
                    found: format!("{:?}", view.shape),
                    expected: format!("f32 or f64 [{}, {dim}]", active.len()),
                }
                .into());
            }
            views.push((view.data, *dim));
        }
        let rows = actions.chunks_exact_mut(m.actions()).enumerate();
        for (env, action) in rows.filter(|(env, _)| active[*env]) {
            let mut at = 0;
            for (data, dim) in &views {
                let (range, to) = (env * dim..(env + 1) * dim, &mut self.raw[at..at + dim]);
                match data {
                    DataView::F64(values) => to.copy_from_slice(&values[range]),
                    DataView::F32(values) => {
                        to.iter_mut().zip(&values[range]).for_each(|(t, v)| *t = f64::from(*v));
                    }
                    _ => {}
                }
                at += dim;
            }
            match &m.moments {
                Some((moments, clip)) => moments.normalize(&self.raw, *clip, &mut self.obs),
                None => self.obs.iter_mut().zip(&self.raw).for_each(|(o, r)| *o = *r as f32),
            }
            let out = m.net.row(&m.params, &self.obs, &mut self.tape);
            for (j, action) in action.iter_mut().enumerate() {
                let (low, high) = (m.low[j], m.high[j]);
                *action = match m.squash {
                    Squash::Clip => out[j].max(low).min(high),
                    Squash::Tanh => 0.5 * (high + low) + 0.5 * (high - low) * kernels::tanh(out[j]),
                };
                if !out[j].is_finite() {
                    return Err(Error::NotFinite { env }.into());
                }
            }
        }
        Ok(())
    }
}

/// Bounds that tanh can be laid onto.
pub(crate) fn check_bounds(low: &[f32], high: &[f32]) -> Result<(), Error> {
    for (low, high) in low.iter().zip(high) {
        let fits = low.is_finite() && high.is_finite() && low < high;
        check("action", format!("{low} to {high}"), fits, "this algorithm needs finite bounds")?;
    }
    Ok(())
}
