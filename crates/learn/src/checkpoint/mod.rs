//! A policy's folder in LeRobot's layout: `config.json`, `model.safetensors`, and the normalisation
//! in `policy_preprocessor.json` / `policy_postprocessor.json` with their safetensors.
//!
//! LeRobot loads with `strict=False`; we refuse a missing, unexpected or misshapen tensor by name.
//! Types `act`, `diffusion` and `vqbet` are LeRobot's to the letter and load there; `act-small`,
//! `diffusion-small`, `vqbet-small` and `flow` are our own. What LeRobot has no place for, the
//! recording's rate and the joints' names, stands in `embody.json`.

mod language;
mod processors;
mod settings;
mod tensors;

use std::fs;
use std::path::Path;

use embody_core::{ContentHash, IoContext, Result};
use indexmap::IndexMap;
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::imitation::{Instruction, Net, PolicyConfig, Shape};
use crate::nn::{Layout, ParamSpec};
use crate::processor::Processor;
pub(crate) use language::{Language, instruct};
use processors::{EMBEDDED, NormMap, norm_map, read_processor, write_processors};
pub(crate) use processors::{check_crop, check_representation};
use settings::Settings;
pub(crate) use settings::complete;
use tensors::{FLOATS, Numbers, check_tensor, count, f32_values, flag, indices, parse};
pub(crate) use tensors::{
    Stored, read_all_vectors, read_tensors, read_vectors, tensor_bytes, tensors_in, write_tensors,
};

pub(crate) const ACTION: &str = "action";
/// A vector that describes the robot's surroundings.
pub(crate) const ENVIRONMENT: &str = "observation.environment_state";
const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.json";
/// What LeRobot's configuration has no place for.
const NOTES: &str = "embody.json";

/// A policy in memory: structure, processor, weights.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub config: PolicyConfig,
    pub net: Net,
    pub processor: Processor,
    pub weights: Vec<f32>,
    /// Frames per second of the recording it learned from.
    pub fps: f64,
    /// Names of the action's dimensions.
    pub action_names: Vec<String>,
    /// Content hashes of the datasets that it learned from.
    pub trained_on: Vec<ContentHash>,
    /// LeRobot's settings that don't concern the network, as read.
    pub carried: Settings,
    /// What to do, where the policy follows an instruction; see [`read_instructed`].
    pub instruction: Instruction,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct NotesFile {
    /// Frames per second of the recording it learned from; 0 where that is not known.
    fps: f64,
    action_names: Vec<String>,
    /// Content hashes of the datasets that it learned from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trained_on: Vec<ContentHash>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PolicyFeature {
    r#type: String,
    shape: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConfigFile {
    r#type: String,
    input_features: IndexMap<String, PolicyFeature>,
    output_features: IndexMap<String, PolicyFeature>,
    normalization_mapping: NormMap,
    #[serde(flatten)]
    policy: Settings,
}

/// Writes `model` into the existing folder `dir` (which the caller puts in place atomically).
pub(crate) fn write_model(dir: &Path, model: &Model) -> Result<()> {
    let features = policy_features(model);
    let config = ConfigFile {
        r#type: model.config.kind().to_owned(),
        input_features: features.iter().filter(|(k, _)| *k != ACTION).map(owned).collect(),
        output_features: features.iter().filter(|(k, _)| *k == ACTION).map(owned).collect(),
        normalization_mapping: norm_map(&model.processor),
        policy: settings::written(&model.config, &model.carried)?,
    };
    write_json(&dir.join(CONFIG), &config)?;
    let notes = NotesFile {
        fps: model.fps,
        action_names: model.action_names.clone(),
        trained_on: model.trained_on.clone(),
    };
    write_json(&dir.join(NOTES), &notes)?;
    let stored = |spec: &ParamSpec| Stored {
        name: spec.name.clone(),
        shape: spec.stored_shape(),
        values: spec.to_stored(&model.weights[spec.range()]),
        numbers: match spec.layout {
            Layout::Count | Layout::Indices => Numbers::I64,
            Layout::Flag => Numbers::Bool,
            _ => Numbers::F32,
        },
    };
    let tensors: Vec<_> = model.net.table().specs.iter().map(stored).collect();
    write_tensors(&dir.join(MODEL), &tensors)?;
    write_processors(dir, &model.processor, &features)
}

fn owned((key, feature): (&String, &PolicyFeature)) -> (String, PolicyFeature) {
    (key.clone(), feature.clone())
}

fn policy_features(model: &Model) -> IndexMap<String, PolicyFeature> {
    let feature = |kind: &str, shape| PolicyFeature { r#type: kind.to_owned(), shape };
    let p = &model.processor;
    let mut features = IndexMap::new();
    for (kind, input) in [("STATE", &p.state), ("ENV", &p.env)] {
        let input = input.iter().map(|v| (v.key.clone(), feature(kind, vec![v.normalizer.dim()])));
        features.extend(input);
    }
    for camera in &p.cameras {
        features
            .insert(camera.key.clone(), feature("VISUAL", vec![3, camera.height, camera.width]));
    }
    features.insert(ACTION.to_owned(), feature("ACTION", vec![p.action.dim()]));
    features
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
    read_completed(dir, complete)
}

/// The same, where `complete` adds to the settings what `config.json` only names.
pub(crate) fn read_completed(
    dir: &Path,
    complete: impl FnOnce(&Path, &mut PolicyConfig) -> Result<()>,
) -> Result<Model> {
    let path = dir.join(CONFIG);
    let mut config: ConfigFile = read_json(&path)?;
    let given = std::mem::take(&mut config.policy);
    let unknown = || Error::PolicyType { path: path.clone(), found: config.r#type.clone() };
    let (mut policy, carried) =
        settings::read(&path, &config.r#type, given)?.ok_or_else(unknown)?;
    complete(dir, &mut policy)?;
    policy.validate()?;
    let file = dir.join(MODEL);
    let bytes = fs::read(&file).at("read", &file)?;
    let tensors = parse(&file, &bytes)?;
    let processor = read_processor(dir, &config, &policy, (&file, &tensors))?;
    let net = Net::new(&policy, &net_shape(&processor))?;
    let weights = read_weights(&file, bytes.len(), &tensors, (&policy, &net))?;
    let notes = dir.join(NOTES);
    let notes: NotesFile = if notes.is_file() { read_json(&notes)? } else { NotesFile::default() };
    let NotesFile { fps, action_names, trained_on } = notes;
    Ok(Model {
        config: policy,
        net,
        processor,
        weights,
        fps,
        action_names,
        trained_on,
        carried,
        instruction: Instruction::default(),
    })
}

/// Reads a policy's folder to act: one that follows instructions needs one.
pub(crate) fn read_instructed(dir: &Path, instruction: Option<&str>) -> Result<Model> {
    let mut model = read_model(dir)?;
    instruct(dir, &mut model, instruction)?;
    Ok(model)
}

fn damaged(path: &Path, what: &str) -> Error {
    let what = format!("{}: {what}", path.display());
    Error::Invalid { what, hint: "copy the policy's folder again".into() }
}

/// The network's sizes for these inputs; a camera's name is the last part of its key.
pub(crate) fn net_shape(p: &Processor) -> Shape {
    let name = |key: &str| key.strip_prefix("observation.images.").unwrap_or(key).replace('.', "_");
    Shape {
        cameras: p.cameras.iter().map(|c| (name(&c.key), c.seen().0, c.seen().1)).collect(),
        state_dim: p.state.as_ref().map(|_| p.vector_dim()),
        env_dim: p.env.as_ref().map(|e| e.normalizer.dim()),
        action_dim: p.action.dim(),
    }
}

fn read_weights(
    path: &Path,
    bytes: usize,
    tensors: &SafeTensors<'_>,
    (config, net): (&PolicyConfig, &Net),
) -> Result<Vec<f32>> {
    // The configuration is held against the file before it decides how much memory is taken.
    if net.table().len() > bytes / size_of::<u16>() {
        let needs = net.table().len();
        let what =
            format!("{bytes} bytes are too few for the {needs} weights that {CONFIG} asks for");
        return Err(damaged(path, &what).into());
    }
    let mut stored = IndexMap::new();
    for name in tensors.names() {
        if stored.insert(config.parameter(name), name).is_some() {
            let name = name.to_string();
            return Err(Error::TensorUnexpected { path: path.to_owned(), name }.into());
        }
    }
    let view = |name: &str| {
        let missing = || Error::TensorMissing { path: path.to_owned(), name: name.to_owned() };
        let stored = stored.get(name).ok_or_else(missing)?;
        tensors.tensor(stored).map_err(|_| missing())
    };
    let mut weights = vec![0.0; net.table().len()];
    for (i, spec) in net.table().specs.iter().enumerate() {
        let twin = net.table().beside.iter().find(|b| b.twin == Some(i));
        let name = match twin.filter(|_| !stored.contains_key(&spec.name)) {
            Some(twin) => &twin.name,
            None => &spec.name,
        };
        let values = match spec.layout {
            Layout::Count => vec![count(path, name, &view(name)?)?],
            Layout::Flag => vec![flag(path, name, &view(name)?)?],
            Layout::Indices => {
                indices(path, name, &view(name)?, &spec.stored_shape(), &spec.windows())?
            }
            _ => f32_values(path, name, &view(name)?, &spec.stored_shape())?,
        };
        spec.read_stored(&values, &mut weights[spec.range()]);
    }
    for beside in &net.table().beside {
        if beside.twin.is_none() || stored.contains_key(&beside.name) {
            check_tensor(path, &beside.name, &view(&beside.name)?, &beside.shape, &FLOATS)?;
        }
    }
    for name in stored.keys() {
        let beside = net.table().beside.iter().any(|b| b.name == *name);
        let statistic = EMBEDDED.iter().any(|prefix| name.starts_with(prefix));
        if !beside && !statistic && !net.table().specs.iter().any(|s| s.name == *name) {
            let name = name.clone();
            return Err(Error::TensorUnexpected { path: path.to_owned(), name }.into());
        }
    }
    Ok(weights)
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
