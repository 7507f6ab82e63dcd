//! Normalisation beside a policy: `policy_preprocessor.json`, `policy_postprocessor.json` and their
//! safetensors; in checkpoints of before September 2025, tensors beside the weights.

use std::fs;
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};
use indexmap::IndexMap;
use safetensors::tensor::SafeTensors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::tensors::{Stored, f32_tensors, parse, write_tensors};
use super::{ACTION, CONFIG, ConfigFile, PolicyFeature, damaged, read_json, write_json};
use crate::error::{Error, check};
use crate::imitation::{ActionRepresentation, PolicyConfig};
use crate::processor::{CameraInput, NormMode, Normalizer, Processor, VectorInput};

/// Statistics of last action minus state.
const LAG: &str = "observation.last_action_minus_state";
const PREPROCESSOR: &str = "policy_preprocessor";
const POSTPROCESSOR: &str = "policy_postprocessor";
/// Pixels a side of a camera's picture, and dimensions of state or action: more is not believed.
const MAX_SIDE: usize = 16_384;
const MAX_DIM: usize = 65_536;

/// How each kind of feature is normalised.
pub(crate) type NormMap = IndexMap<String, NormMode>;

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

/// How `p` normalises each kind of feature.
pub(crate) fn norm_map(p: &Processor) -> NormMap {
    let vector = |input: &Option<VectorInput>| input.as_ref().map(|v| v.normalizer.mode);
    let visual = p.cameras.first().map(|c| c.normalizer.mode);
    [("VISUAL", visual), ("STATE", vector(&p.state)), ("ENV", vector(&p.env))]
        .into_iter()
        .chain([("ACTION", Some(p.action.mode))])
        .map(|(kind, mode)| (kind.to_owned(), mode.unwrap_or(p.action.mode)))
        .collect()
}

/// Writes both files and their statistics into `dir`.
pub(crate) fn write_processors(
    dir: &Path,
    p: &Processor,
    features: &IndexMap<String, PolicyFeature>,
) -> Result<()> {
    let stats = statistics(p);
    let normalise = json!({ "eps": 1e-8, "features": features, "norm_map": norm_map(p) });
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
    write_processor(dir, PREPROCESSOR, before.into(), &stats)?;
    let after = [step("unnormalizer_processor", normalise), step("device_processor", device)];
    write_processor(dir, POSTPROCESSOR, after.into(), &stats)
}

/// Statistics by `<feature>.<statistic>`.
fn statistics(p: &Processor) -> Vec<Stored> {
    let vectors = p.state.iter().chain(&p.env).map(|v| (v.key.as_str(), &v.normalizer));
    let vectors = vectors.chain([(ACTION, &p.action)]).chain(p.lag.iter().map(|lag| (LAG, lag)));
    let vectors = vectors.map(|(key, n)| (key, n, vec![n.dim()]));
    let cameras = p.cameras.iter().map(|c| (c.key.as_str(), &c.normalizer, vec![3, 1, 1]));
    let mut stats = Vec::new();
    for (key, n, shape) in vectors.chain(cameras) {
        let Some([first, second]) = n.mode.statistics() else { continue };
        stats.push(Stored::floats(format!("{key}.{first}"), shape.clone(), n.first.clone()));
        stats.push(Stored::floats(format!("{key}.{second}"), shape, n.second.clone()));
    }
    stats
}

fn write_processor(
    dir: &Path,
    name: &str,
    mut steps: Vec<ProcessorStep>,
    stats: &[Stored],
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

/// The inputs by `config.json`, their statistics by the processor files or, in older checkpoints, by
/// tensors beside the weights.
pub(crate) fn read_processor(
    dir: &Path,
    config: &ConfigFile,
    policy: &PolicyConfig,
    weights: (&Path, &SafeTensors<'_>),
) -> Result<Processor> {
    let path = dir.join(CONFIG);
    let (before, after) = if dir.join(format!("{PREPROCESSOR}.json")).is_file() {
        (
            read_stats(dir, PREPROCESSOR, "normalizer_processor", policy)?,
            read_stats(dir, POSTPROCESSOR, "unnormalizer_processor", policy)?,
        )
    } else {
        embedded_stats(config, weights)?
    };
    let mut cameras: Vec<CameraInput> = Vec::new();
    let (mut state, mut env) = (None, None);
    let inputs = config.input_features.iter().filter(|(key, _)| !policy.lacks(key));
    for (key, feature) in inputs {
        let kind = feature.r#type.as_str();
        let vector = |dim| -> Result<_, Error> {
            Ok(Some(VectorInput {
                key: key.clone(),
                normalizer: before.normalizer(kind, key, dim)?,
            }))
        };
        match (kind, feature.shape.as_slice()) {
            ("VISUAL", [3, height @ 1..=MAX_SIDE, width @ 1..=MAX_SIDE]) => {
                let normalizer = before.normalizer(kind, key, 3)?;
                let (key, height, width) = (key.clone(), *height, *width);
                let crop = policy.crop().map(|(size, _)| size);
                let letterbox = policy.letterbox();
                let camera = CameraInput { key, height, width, crop, normalizer, letterbox };
                check_crop(&camera)?;
                cameras.push(camera);
            }
            ("STATE", [dim @ 1..=MAX_DIM]) if state.is_none() => state = vector(*dim)?,
            ("ENV", [dim @ 1..=MAX_DIM]) if env.is_none() => env = vector(*dim)?,
            _ => {
                let what = format!("input feature `{key}` is of an unknown kind, or one too many");
                return Err(damaged(&path, &what).into());
            }
        }
    }
    let action_dim = match config.output_features.get(ACTION).map(|f| f.shape.as_slice()) {
        Some([dim @ 1..=MAX_DIM]) => *dim,
        _ => {
            let what = "no output feature `action` of one axis (65536 at most)";
            return Err(damaged(&path, what).into());
        }
    };
    let (representation, observes_last) = policy.representation();
    let lag = observes_last.then(|| before.normalizer("STATE", LAG, action_dim));
    let processor = Processor {
        state,
        env,
        cameras,
        action: after.normalizer("ACTION", ACTION, action_dim)?,
        lag: lag.transpose()?,
        representation,
    };
    check_representation(policy, processor.state_dim(), action_dim)?;
    Ok(processor)
}

/// What sets state and action off against each other wants equal dimensions.
pub(crate) fn check_representation(
    policy: &PolicyConfig,
    state_dim: usize,
    action_dim: usize,
) -> Result<(), Error> {
    let rule = format!("the state has {state_dim} dimensions, the action {action_dim}");
    let equal = state_dim == action_dim;
    let (representation, observes_last) = policy.representation();
    let absolute = representation == ActionRepresentation::Absolute;
    let value = format!("{representation:?}");
    check("action_representation", value, equal || absolute, &rule)?;
    check("observe_last_action", observes_last, equal || !observes_last, &rule)
}

/// A part can't be larger than the picture.
pub(crate) fn check_crop(camera: &CameraInput) -> Result<(), Error> {
    let (height, width) = camera.seen();
    let whole = camera.letterbox.is_some();
    let fits = whole || height <= camera.height && width <= camera.width;
    let rule = format!("`{}` has pictures of {} × {}", camera.key, camera.height, camera.width);
    check("crop_shape", format!("[{height}, {width}]"), fits, &rule)
}

/// Statistics by `<feature>.<statistic>`, and how each kind of feature is normalised.
struct Stats {
    path: PathBuf,
    values: IndexMap<String, Vec<f32>>,
    modes: NormMap,
}

impl Stats {
    fn normalizer(&self, kind: &str, key: &str, dim: usize) -> Result<Normalizer, Error> {
        let mode = self.modes.get(kind).copied().unwrap_or(NormMode::Identity);
        let Some(statistics) = mode.statistics() else { return Ok(Normalizer::identity(dim)) };
        let take = |stat: &str| {
            let name = format!("{key}.{stat}");
            let missing = || Error::TensorMissing { path: self.path.clone(), name: name.clone() };
            let values = self.values.get(&name).ok_or_else(missing)?.clone();
            if values.len() == dim { Ok(values) } else { Err(Error::Stats { key: name }) }
        };
        let [first, second] = statistics.map(take);
        Ok(Normalizer { mode, first: first?, second: second? })
    }
}

/// Steps that this version carries out, or that change nothing here.
const STEPS: &[&str] = &[
    "rename_observations_processor",
    "to_batch_processor",
    "device_processor",
    "normalizer_processor",
    "unnormalizer_processor",
];

/// Steps of policies that follow instructions.
const LANGUAGE_STEPS: &[&str] =
    &["smolvla_new_line_processor", "pi0_new_line_processor", "tokenizer_processor"];
/// Steps that do nothing where they are switched off.
const SWITCHED_OFF: &[&str] = &["relative_actions_processor", "absolute_actions_processor"];

/// Where the steps before the network stand.
pub(super) fn preprocessor_path(dir: &Path) -> PathBuf {
    dir.join(format!("{PREPROCESSOR}.json"))
}

/// The settings of the preprocessor's step `registry`; `None` where there is no such step or file.
pub(super) fn step_config<T: DeserializeOwned>(dir: &Path, registry: &str) -> Result<Option<T>> {
    let path = preprocessor_path(dir);
    if !path.is_file() {
        return Ok(None);
    }
    let file: ProcessorFile = read_json(&path)?;
    let Some(step) = file.steps.into_iter().find(|s| s.registry_name == registry) else {
        return Ok(None);
    };
    let wrap = |source| Error::Json { path, source };
    Ok(Some(serde_json::from_value(step.config).map_err(wrap)?))
}

fn read_stats(dir: &Path, name: &str, registry: &str, policy: &PolicyConfig) -> Result<Stats> {
    let path = dir.join(format!("{name}.json"));
    let file: ProcessorFile = read_json(&path)?;
    for step in &file.steps {
        let renames = step.config.get("rename_map").and_then(|m| m.as_object());
        let registry = step.registry_name.as_str();
        let off =
            step.config.get("enabled") == Some(&false.into()) && SWITCHED_OFF.contains(&registry);
        let speaks = policy.language().is_some() && LANGUAGE_STEPS.contains(&registry);
        if !(off || speaks || STEPS.contains(&registry)) || renames.is_some_and(|m| !m.is_empty()) {
            let what = format!("{} has the step `{}`", path.display(), step.registry_name);
            let hint = "this version only normalises; export the policy without that step".into();
            return Err(Error::Invalid { what, hint }.into());
        }
    }
    let step = file.steps.iter().find(|s| s.registry_name == registry);
    let found = step.and_then(|s| Some((s, s.state_file.as_deref()?)));
    let Some((step, state)) = found.filter(|(_, f)| !f.contains(['/', '\\'])) else {
        return Err(damaged(&path, &format!("no step `{registry}` with a state file")).into());
    };
    let wrap = |source| Error::Json { path: path.clone(), source };
    let modes = step.config.get("norm_map").cloned().unwrap_or_default();
    let modes = serde_json::from_value(modes).map_err(wrap)?;
    let eps = step.config.get("eps").and_then(serde_json::Value::as_f64);
    if eps.is_some_and(|eps| eps != 1e-8) {
        return Err(damaged(&path, "`eps` is not 1e-8").into());
    }
    let path = dir.join(state);
    let bytes = fs::read(&path).at("read", &path)?;
    let tensors = parse(&path, &bytes)?;
    Ok(Stats { values: f32_tensors(&path, &tensors, |name| Some(name.to_owned()))?, path, modes })
}

/// Where checkpoints of before September 2025 keep statistics, for inputs and for actions.
pub(crate) const EMBEDDED: [&str; 3] =
    ["normalize_inputs.buffer_", "unnormalize_outputs.buffer_", "normalize_targets.buffer_"];

/// Statistics among the weights: `normalize_inputs.buffer_observation_state.mean` and the like.
fn embedded_stats(
    config: &ConfigFile,
    (path, tensors): (&Path, &SafeTensors<'_>),
) -> Result<(Stats, Stats)> {
    let features = config.input_features.keys().chain(config.output_features.keys());
    let names: IndexMap<String, &String> = features.map(|k| (k.replace('.', "_"), k)).collect();
    let read = |prefix: &str| -> Result<Stats> {
        let rename = |name: &str| {
            let (feature, stat) = name.strip_prefix(prefix)?.rsplit_once('.')?;
            Some(format!("{}.{stat}", names.get(feature)?))
        };
        let values = f32_tensors(path, tensors, rename)?;
        let modes = config.normalization_mapping.clone();
        Ok(Stats { path: path.to_owned(), values, modes })
    };
    Ok((read(EMBEDDED[0])?, read(EMBEDDED[1])?))
}
