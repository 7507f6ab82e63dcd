//! A policy's folder in LeRobot's layout: `config.json`, `model.safetensors`, and the normalisation
//! in `policy_preprocessor.json` / `policy_postprocessor.json` with their safetensors.
//!
//! LeRobot loads with `strict=False`; we refuse a missing, unexpected or misshapen tensor by name.

use std::fs;
use std::path::Path;

use embody_core::{IoContext, Result};
use indexmap::IndexMap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::act::{ActConfig, ActNet, ActShape, ActionRepresentation};
use crate::error::Error;
use crate::processor::{CameraInput, IMAGE_MEAN, IMAGE_STD, Normalizer, Processor};

/// The one kind of policy that this version writes and reads.
pub(crate) const ACT_SMALL: &str = "act-small";
pub(crate) const ACTION: &str = "action";
/// Statistics of last action minus state.
const LAG: &str = "observation.last_action_minus_state";
const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.json";
/// Pixels a side of a camera's picture, and dimensions of state or action: more is not believed.
const MAX_SIDE: usize = 16_384;
const MAX_DIM: usize = 65_536;

/// A policy in memory: structure, processor, weights.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub net: ActNet,
    pub processor: Processor,
    pub weights: Vec<f32>,
    /// Frames per second of the recording it learned from.
    pub fps: f64,
    /// Names of the action's dimensions.
    pub action_names: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PolicyFeature {
    r#type: String,
    shape: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConfigFile {
    r#type: String,
    n_obs_steps: usize,
    input_features: IndexMap<String, PolicyFeature>,
    output_features: IndexMap<String, PolicyFeature>,
    normalization_mapping: IndexMap<String, String>,
    fps: f64,
    action_names: Vec<String>,
    #[serde(flatten)]
    policy: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProcessorFile {
    name: String,
    steps: Vec<ProcessorStep>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProcessorStep {
    registry_name: String,
    config: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_file: Option<String>,
}

/// Writes `model` into the existing folder `dir` (which the caller puts in place atomically).
pub(crate) fn write_model(dir: &Path, model: &Model) -> Result<()> {
    let processor = &model.processor;
    let features = policy_features(model);
    let mapping: IndexMap<String, String> = ["VISUAL", "STATE", "ACTION"]
        .map(|kind| (kind.to_owned(), "MEAN_STD".to_owned()))
        .into_iter()
        .collect();
    let policy = serde_json::to_value(model.net.config());
    let config = ConfigFile {
        r#type: ACT_SMALL.to_owned(),
        n_obs_steps: 1,
        input_features: features.iter().filter(|(k, _)| *k != ACTION).map(owned).collect(),
        output_features: features.iter().filter(|(k, _)| *k == ACTION).map(owned).collect(),
        normalization_mapping: mapping.clone(),
        fps: model.fps,
        action_names: model.action_names.clone(),
        policy: policy.ok().and_then(|v| v.as_object().cloned()).unwrap_or_default(),
    };
    write_json(&dir.join(CONFIG), &config)?;

    let mut tensors = Vec::new();
    for spec in &model.net.table.specs {
        let values = spec.to_stored(&model.weights[spec.range()]);
        tensors.push((spec.name.clone(), spec.stored_shape(), values));
    }
    write_tensors(&dir.join(MODEL), &tensors)?;

    let mut stats = Vec::new();
    for (key, n) in [(processor.state_key.as_str(), &processor.state), (ACTION, &processor.action)]
    {
        stats.push((format!("{key}.mean"), vec![n.mean.len()], n.mean.clone()));
        stats.push((format!("{key}.std"), vec![n.std.len()], n.std.clone()));
    }
    if let Some(lag) = &processor.lag {
        stats.push((format!("{LAG}.mean"), vec![lag.mean.len()], lag.mean.clone()));
        stats.push((format!("{LAG}.std"), vec![lag.std.len()], lag.std.clone()));
    }
    for camera in &processor.cameras {
        stats.push((format!("{}.mean", camera.key), vec![3, 1, 1], IMAGE_MEAN.to_vec()));
        stats.push((format!("{}.std", camera.key), vec![3, 1, 1], IMAGE_STD.to_vec()));
    }
    let normalise = json!({ "eps": 1e-8, "features": features, "norm_map": mapping });
    let step = |name: &str, config: serde_json::Value| ProcessorStep {
        registry_name: name.to_owned(),
        config,
        state_file: None,
    };
    let device = json!({ "device": "cpu", "float_dtype": null });
    let before = [
        step("rename_observations_processor", json!({ "rename_map": {} })),
        step("to_batch_processor", json!({})),
        step("device_processor", device.clone()),
        step("normalizer_processor", normalise.clone()),
    ];
    write_processor(dir, "policy_preprocessor", before.into(), &stats)?;
    let after = [step("unnormalizer_processor", normalise), step("device_processor", device)];
    write_processor(dir, "policy_postprocessor", after.into(), &stats)
}

fn owned((key, feature): (&String, &PolicyFeature)) -> (String, PolicyFeature) {
    (key.clone(), feature.clone())
}

fn policy_features(model: &Model) -> IndexMap<String, PolicyFeature> {
    let feature = |kind: &str, shape| PolicyFeature { r#type: kind.to_owned(), shape };
    let p = &model.processor;
    let mut features = IndexMap::new();
    features.insert(p.state_key.clone(), feature("STATE", vec![p.state.mean.len()]));
    for camera in &p.cameras {
        features
            .insert(camera.key.clone(), feature("VISUAL", vec![3, camera.height, camera.width]));
    }
    features.insert(ACTION.to_owned(), feature("ACTION", vec![p.action.mean.len()]));
    features
}

fn write_processor(
    dir: &Path,
    name: &str,
    mut steps: Vec<ProcessorStep>,
    stats: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<()> {
    for (i, step) in steps.iter_mut().enumerate() {
        if step.registry_name.ends_with("normalizer_processor") {
            let file = format!("{name}_step_{i}_{}.safetensors", step.registry_name);
            write_tensors(&dir.join(&file), stats)?;
            step.state_file = Some(file);
        }
    }
    write_json(&dir.join(format!("{name}.json")), &ProcessorFile { name: name.to_owned(), steps })
}

/// The kind of policy in a folder.
pub(crate) fn policy_type(dir: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Head {
        r#type: String,
    }
    Ok(read_json::<Head>(&dir.join(CONFIG))?.r#type)
}

/// Reads a policy's folder.
pub(crate) fn read_model(dir: &Path) -> Result<Model> {
    let path = dir.join(CONFIG);
    let config: ConfigFile = read_json(&path)?;
    if config.r#type != ACT_SMALL {
        return Err(Error::PolicyType { path, found: config.r#type }.into());
    }
    let act: ActConfig = serde_json::from_value(serde_json::Value::Object(config.policy))
        .map_err(|source| Error::Json { path: path.clone(), source })?;
    let bad = |what: &str| Error::Invalid {
        what: format!("{}: {what}", path.display()),
        hint: "copy the policy's folder again".into(),
    };
    let mut cameras = Vec::new();
    let mut state_key = None;
    for (key, feature) in &config.input_features {
        match (feature.r#type.as_str(), feature.shape.as_slice()) {
            ("VISUAL", [3, height @ 1..=MAX_SIDE, width @ 1..=MAX_SIDE]) => {
                cameras.push(CameraInput { key: key.clone(), height: *height, width: *width });
            }
            ("STATE", [dim @ 1..=MAX_DIM]) => state_key = Some((key.clone(), *dim)),
            _ => return Err(bad(&format!("input feature `{key}` is of an unknown kind")).into()),
        }
    }
    let (state_key, state_dim) = state_key.ok_or_else(|| bad("no input of type STATE"))?;
    let action_dim = match config.output_features.get(ACTION).map(|f| f.shape.as_slice()) {
        Some([dim @ 1..=MAX_DIM]) => *dim,
        _ => return Err(bad("no output feature `action` of one axis (65536 at most)").into()),
    };
    check_representation(&act, state_dim, action_dim)?;
    let before = read_stats(dir, "policy_preprocessor", "normalizer_processor")?;
    let after = read_stats(dir, "policy_postprocessor", "unnormalizer_processor")?;
    let processor = Processor {
        state: before.normalizer(&state_key, state_dim)?,
        action: after.normalizer(ACTION, action_dim)?,
        lag: if act.observe_last_action { Some(before.normalizer(LAG, action_dim)?) } else { None },
        cameras,
        state_key,
        representation: act.action_representation,
    };
    let net = ActNet::new(&act, &net_shape(&processor))?;
    let weights = read_weights(&dir.join(MODEL), &net)?;
    let (fps, action_names) = (config.fps, config.action_names);
    Ok(Model { net, processor, weights, fps, action_names })
}

/// The network's sizes for these inputs; a camera's name is the last part of its key.
pub(crate) fn net_shape(p: &Processor) -> ActShape {
    let name = |key: &str| key.strip_prefix("observation.images.").unwrap_or(key).replace('.', "_");
    let cameras = p.cameras.iter().map(|c| (name(&c.key), c.height, c.width)).collect();
    ActShape { cameras, state_dim: p.vector_dim(), action_dim: p.action.mean.len() }
}

/// What sets state and action off against each other wants equal dimensions.
pub(crate) fn check_representation(
    act: &ActConfig,
    state_dim: usize,
    action_dim: usize,
) -> Result<(), Error> {
    let rule = format!("the state has {state_dim} dimensions, the action {action_dim}");
    let equal = state_dim == action_dim;
    let absolute = act.action_representation == ActionRepresentation::Absolute;
    let value = format!("{:?}", act.action_representation);
    crate::act::check("action_representation", value, equal || absolute, &rule)?;
    let last = act.observe_last_action;
    crate::act::check("observe_last_action", last, equal || !last, &rule)
}

struct Stats {
    path: std::path::PathBuf,
    values: IndexMap<String, Vec<f32>>,
}

impl Stats {
    fn normalizer(&self, key: &str, dim: usize) -> Result<Normalizer, Error> {
        let take = |stat: &str| {
            let name = format!("{key}.{stat}");
            let missing = || Error::TensorMissing { path: self.path.clone(), name: name.clone() };
            let values = self.values.get(&name).ok_or_else(missing)?.clone();
            if values.len() == dim { Ok(values) } else { Err(Error::Stats { key: name }) }
        };
        Ok(Normalizer { mean: take("mean")?, std: take("std")? })
    }
}

fn read_stats(dir: &Path, name: &str, registry: &str) -> Result<Stats> {
    let path = dir.join(format!("{name}.json"));
    let file: ProcessorFile = read_json(&path)?;
    let step = file.steps.iter().find(|s| s.registry_name == registry);
    let state = step.and_then(|s| s.state_file.as_deref()).filter(|f| !f.contains(['/', '\\']));
    let state = state.ok_or_else(|| Error::Invalid {
        what: format!("{} has no step `{registry}` with a state file", path.display()),
        hint: "copy the policy's folder again".into(),
    })?;
    let path = dir.join(state);
    let bytes = fs::read(&path).at("read", &path)?;
    let tensors = parse(&path, &bytes)?;
    let mut values = IndexMap::new();
    for (name, view) in tensors.tensors() {
        let shape = view.shape().to_vec();
        values.insert(name.clone(), f32_values(&path, &name, &view, &shape)?);
    }
    Ok(Stats { path, values })
}

fn read_weights(path: &Path, net: &ActNet) -> Result<Vec<f32>> {
    let bytes = fs::read(path).at("read", path)?;
    let tensors = parse(path, &bytes)?;
    // The configuration is held against the file before it decides how much memory is taken.
    if net.table.len() > bytes.len() / size_of::<f32>() {
        let needs = net.table.len();
        return Err(Error::Invalid {
            what: format!(
                "{} has {} bytes, too few for the {needs} weights that {CONFIG} asks for",
                path.display(),
                bytes.len()
            ),
            hint: "copy the policy's folder again".into(),
        }
        .into());
    }
    let mut weights = vec![0.0; net.table.len()];
    for spec in &net.table.specs {
        let missing = || Error::TensorMissing { path: path.to_owned(), name: spec.name.clone() };
        let view = tensors.tensor(&spec.name).map_err(|_| missing())?;
        let stored = f32_values(path, &spec.name, &view, &spec.stored_shape())?;
        spec.read_stored(&stored, &mut weights[spec.range()]);
    }
    for name in tensors.names() {
        if !net.table.specs.iter().any(|s| s.name == *name) {
            let name = name.to_string();
            return Err(Error::TensorUnexpected { path: path.to_owned(), name }.into());
        }
    }
    Ok(weights)
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, Error> {
    SafeTensors::deserialize(bytes)
        .map_err(|source| Error::Safetensors { path: path.to_owned(), source })
}

fn f32_values(
    path: &Path,
    name: &str,
    view: &TensorView<'_>,
    expected: &[usize],
) -> Result<Vec<f32>, Error> {
    if view.dtype() != Dtype::F32 || view.shape() != expected {
        return Err(Error::TensorShape {
            path: path.to_owned(),
            name: name.to_owned(),
            found: view.shape().to_vec(),
            dtype: format!("{:?}", view.dtype()),
            expected: expected.to_vec(),
        });
    }
    let (words, _) = view.data().as_chunks::<4>();
    Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
}

/// Writes named f32 tensors.
pub(crate) fn write_tensors(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Result<()> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let wrap = |source| Error::Safetensors { path: path.to_owned(), source };
    let mut views = Vec::new();
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(wrap)?;
        views.push((name.as_str(), view));
    }
    let file = safetensors::serialize(views, None).map_err(wrap)?;
    fs::write(path, file).at("write", path)
}

/// Reads exactly the named f32 tensors of a file, in this order: one that is missing, misshapen or
/// not wanted is an error.
pub(crate) fn read_tensors(path: &Path, wanted: &[(String, Vec<usize>)]) -> Result<Vec<Vec<f32>>> {
    let bytes = fs::read(path).at("read", path)?;
    let tensors = parse(path, &bytes)?;
    let mut out = Vec::with_capacity(wanted.len());
    for (name, shape) in wanted {
        let missing = |_| Error::TensorMissing { path: path.to_owned(), name: name.clone() };
        out.push(f32_values(path, name, &tensors.tensor(name).map_err(missing)?, shape)?);
    }
    for name in tensors.names() {
        if !wanted.iter().any(|(n, _)| n == name) {
            let name = name.to_string();
            return Err(Error::TensorUnexpected { path: path.to_owned(), name }.into());
        }
    }
    Ok(out)
}

/// All f32 vectors of a file by name.
pub(crate) fn read_all_vectors(path: &Path) -> Result<Vec<(String, Vec<f32>)>> {
    let bytes = fs::read(path).at("read", path)?;
    let tensors = parse(path, &bytes)?;
    let mut out = Vec::new();
    for (name, view) in tensors.tensors() {
        let shape = view.shape().to_vec();
        let values = f32_values(path, &name, &view, &shape)?;
        out.push((name, values));
    }
    Ok(out)
}

/// Reads the named f32 vectors of a file, each `len` long.
pub(crate) fn read_vectors<const N: usize>(
    path: &Path,
    names: [&str; N],
    len: usize,
) -> Result<[Vec<f32>; N]> {
    let bytes = fs::read(path).at("read", path)?;
    let tensors = parse(path, &bytes)?;
    let mut out = [const { Vec::new() }; N];
    for (slot, name) in out.iter_mut().zip(names) {
        let missing = |_| Error::TensorMissing { path: path.to_owned(), name: name.to_owned() };
        let view = tensors.tensor(name).map_err(missing)?;
        *slot = f32_values(path, name, &view, &[len])?;
    }
    Ok(out)
}

/// Reads JSON, naming the file in the error.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).at("read", path)?;
    let parsed = serde_json::from_slice(&text);
    Ok(parsed.map_err(|source| Error::Json { path: path.to_owned(), source })?)
}

/// Writes indented JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    fs::write(path, text).at("write", path)
}
