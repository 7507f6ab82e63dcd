//! A policy's own part of `config.json`: LeRobot's settings, read to the letter, and ours.

use std::path::Path;

use embody_core::IoContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::damaged;
use crate::error::Error;
use crate::imitation::PolicyConfig;
use crate::imitation::act::ActConfig;
use crate::imitation::diffusion::DiffusionConfig;
use crate::imitation::vla::pi0::Pi0Config;
use crate::imitation::vla::smolvla::{SmolVlaConfig, SmolVlmSizes};
use crate::imitation::vqbet::VqBetConfig;

pub(crate) type Settings = serde_json::Map<String, Value>;

/// What stands in LeRobot's configuration of a type beyond the settings that make the network.
struct Dialect {
    /// Settings of ours that it must not hold.
    own: &'static [&'static str],
    /// Its settings that change nothing about the network: carried along as they are.
    carried: &'static [&'static str],
    /// Its settings of which this version knows one value, and why. Absent, they have it.
    fixed: &'static [(&'static str, Value, &'static str)],
}

/// What every type carries.
const CARRIED: &[&str] = &[
    "device",
    "use_amp",
    "use_peft",
    "push_to_hub",
    "repo_id",
    "private",
    "tags",
    "license",
    "pretrained_path",
    "pretrained_revision",
    "pretrained_backbone_weights",
    "optimizer_lr",
    "optimizer_weight_decay",
];

const ACT: Dialect = Dialect {
    own: &[
        "stem",
        "keypoints",
        "keypoint_layer",
        "map_tokens",
        "placed_tokens",
        "action_representation",
        "observe_last_action",
        "linear_path",
    ],
    carried: &["optimizer_lr_backbone"],
    fixed: &[(
        "replace_final_stride_with_dilation",
        Value::Bool(false),
        "ResNet-18 and -34 can't replace strides with dilation",
    )],
};

const DIFFUSION: Dialect = Dialect {
    own: &[
        "stem",
        "keypoints",
        "keypoint_layer",
        "action_representation",
        "observe_last_action",
        "temporal_ensemble_coeff",
    ],
    carried: &[
        "drop_n_last_frames",
        "gradient_checkpointing",
        "compile_model",
        "compile_mode",
        "crop_ratio",
        "optimizer_betas",
        "optimizer_eps",
        "scheduler_name",
        "scheduler_warmup_steps",
    ],
    fixed: &[(
        "resize_shape",
        Value::Null,
        "this version resizes no pictures inside the policy; resize the data",
    )],
};

const SMOLVLA: Dialect = Dialect {
    own: &[],
    carried: &[
        "compile_mode",
        "compile_model",
        "freeze_vision_encoder",
        "load_vlm_weights",
        "optimizer_betas",
        "optimizer_eps",
        "optimizer_grad_clip_norm",
        // What is filled up with is masked: acting is the same at any length.
        "pad_language_to",
        "prefix_length",
        "scheduler_decay_lr",
        "scheduler_decay_steps",
        "scheduler_warmup_steps",
        "train_expert_only",
        "train_state_proj",
    ],
    fixed: &[
        ("use_cache", Value::Bool(true), "LeRobot can't act without its cache"),
        ("adapt_to_pi_aloha", Value::Bool(false), "this version converts no joints of ALOHA"),
        ("use_delta_joint_actions_aloha", Value::Bool(false), "LeRobot has it not either"),
        ("rtc_config", Value::Null, "this version has no real-time chunking"),
    ],
};

const PI0: Dialect = Dialect {
    own: &[],
    carried: &[
        "action_feature_names",
        "compile_mode",
        "compile_model",
        // Weights may be stored in fewer digits; they are computed with in f32.
        "dtype",
        "freeze_vision_encoder",
        "gradient_checkpointing",
        "optimizer_betas",
        "optimizer_eps",
        "optimizer_grad_clip_norm",
        "relative_exclude_joints",
        "scheduler_decay_lr",
        "scheduler_decay_steps",
        "scheduler_warmup_steps",
        "time_sampling_beta_alpha",
        "time_sampling_beta_beta",
        "time_sampling_offset",
        "time_sampling_scale",
        "train_expert_only",
    ],
    fixed: &[
        ("use_relative_actions", Value::Bool(false), "this version has absolute actions here"),
        ("rtc_config", Value::Null, "this version has no real-time chunking"),
    ],
};

/// Sizes of a vision-language model that is not known by name.
const VLM: &str = "vlm_config.json";

/// Reads what `config.json` only names: sizes of the vision-language model.
pub(crate) fn complete(dir: &Path, policy: &mut PolicyConfig) -> Result<(), embody_core::Error> {
    let PolicyConfig::SmolVla(cfg) = policy else { return Ok(()) };
    let path = dir.join(VLM);
    if path.is_file() {
        let text = std::fs::read(&path).at("read", &path)?;
        let wrap = |source| Error::Json { path: path.clone(), source };
        cfg.vlm = SmolVlmSizes::read(&text).map_err(wrap)??;
    } else if cfg.vlm_model_name != SmolVlmSizes::KNOWN {
        let name = &cfg.vlm_model_name;
        let what = format!("the sizes of `{name}`, which the policy begins with, are not known");
        let hint = format!("put its `config.json` into the policy's folder as `{VLM}`");
        return Err(Error::Invalid { what, hint }.into());
    }
    Ok(())
}

const VQBET: Dialect = Dialect {
    own: &[
        "stem",
        "keypoints",
        "keypoint_layer",
        "action_representation",
        "observe_last_action",
        "temporal_ensemble_coeff",
    ],
    carried: &["optimizer_betas", "optimizer_eps", "scheduler_warmup_steps"],
    fixed: &[],
};

/// The settings of `policy` as `config.json` has them; `carried` were read with it.
pub(crate) fn written(policy: &PolicyConfig, carried: &Settings) -> Result<Settings, Error> {
    match policy {
        PolicyConfig::ActSmall(c) => Ok(one_step(object(c)?)),
        PolicyConfig::Flow(c) => Ok(one_step(object(c)?)),
        PolicyConfig::DiffusionSmall(c) => object(c),
        PolicyConfig::Act(c) => {
            let mut settings = one_step(in_dialect(&ACT, object(c)?, carried));
            if c.temporal_ensemble_coeff.is_some() {
                // LeRobot refuses ensembling together with more than one action a prediction.
                settings.insert("n_action_steps".into(), 1.into());
            }
            settings.entry("temporal_ensemble_coeff").or_insert(Value::Null);
            Ok(settings)
        }
        PolicyConfig::Diffusion(c) => Ok(in_dialect(&DIFFUSION, object(c)?, carried)),
        PolicyConfig::SmolVla(c) => Ok(one_step(in_dialect(&SMOLVLA, object(c)?, carried))),
        PolicyConfig::Pi0(c) => Ok(one_step(in_dialect(&PI0, object(c)?, carried))),
        PolicyConfig::VqBetSmall(c) => object(c),
        PolicyConfig::VqBet(c) => Ok(in_dialect(&VQBET, object(c)?, carried)),
    }
}

/// The policy of type `kind` that the settings in `path` describe, and settings to carry along;
/// `None` for a type that this version does not know.
pub(crate) fn read(
    path: &Path,
    kind: &str,
    mut given: Settings,
) -> Result<Option<(PolicyConfig, Settings)>, Error> {
    if !["diffusion", "diffusion-small", "vqbet", "vqbet-small"].contains(&kind) {
        let steps = given.shift_remove("n_obs_steps");
        if steps != Some(1.into()) {
            return Err(damaged(path, &format!("a policy of type `{kind}` has n_obs_steps 1")));
        }
    }
    let own = |policy| Ok(Some((policy, Settings::new())));
    match kind {
        "act-small" => own(PolicyConfig::ActSmall(parse(path, given)?)),
        "diffusion-small" => own(PolicyConfig::DiffusionSmall(parse(path, given)?)),
        "flow" => own(PolicyConfig::Flow(parse(path, given)?)),
        "act" => {
            let (all, carried) = lerobots(path, &ACT, &ActConfig::lerobot(), given)?;
            Ok(Some((PolicyConfig::Act(parse(path, all)?), carried)))
        }
        "diffusion" => {
            let (all, carried) = lerobots(path, &DIFFUSION, &DiffusionConfig::lerobot(), given)?;
            Ok(Some((PolicyConfig::Diffusion(parse(path, all)?), carried)))
        }
        "smolvla" => {
            let (all, carried) = lerobots(path, &SMOLVLA, &SmolVlaConfig::default(), given)?;
            Ok(Some((PolicyConfig::SmolVla(parse(path, all)?), carried)))
        }
        "pi0" => {
            let (all, carried) = lerobots(path, &PI0, &Pi0Config::default(), given)?;
            Ok(Some((PolicyConfig::Pi0(parse(path, all)?), carried)))
        }
        "vqbet-small" => own(PolicyConfig::VqBetSmall(parse(path, given)?)),
        "vqbet" => {
            let (all, carried) = lerobots(path, &VQBET, &VqBetConfig::lerobot(), given)?;
            Ok(Some((PolicyConfig::VqBet(parse(path, all)?), carried)))
        }
        _ => Ok(None),
    }
}

fn object(config: &impl Serialize) -> Result<Settings, Error> {
    let wrap = |source| Error::Json { path: super::CONFIG.into(), source };
    Ok(serde_json::to_value(config).map_err(wrap)?.as_object().cloned().unwrap_or_default())
}

fn parse<T: DeserializeOwned>(path: &Path, settings: Settings) -> Result<T, Error> {
    serde_json::from_value(settings.into())
        .map_err(|source| Error::Json { path: path.to_owned(), source })
}

fn one_step(mut settings: Settings) -> Settings {
    settings.insert("n_obs_steps".into(), 1.into());
    settings
}

fn in_dialect(dialect: &Dialect, mut settings: Settings, carried: &Settings) -> Settings {
    for key in dialect.own {
        settings.shift_remove(*key);
    }
    for (key, value, _) in dialect.fixed {
        settings.insert((*key).into(), value.clone());
    }
    // All weights are in the file; nothing is to be fetched for the backbone.
    settings.insert("pretrained_backbone_weights".into(), Value::Null);
    settings.extend(carried.clone());
    settings
}

/// LeRobot's settings, with ours at their resting place, and those to carry along. Each of the former
/// has to be there: defaults differ between versions.
fn lerobots(
    path: &Path,
    dialect: &Dialect,
    defaults: &impl Serialize,
    mut given: Settings,
) -> Result<(Settings, Settings), Error> {
    let mut carried = Settings::new();
    for key in CARRIED.iter().chain(dialect.carried) {
        carried.extend(given.shift_remove_entry(*key));
    }
    for (key, value, why) in dialect.fixed {
        let found = given.shift_remove(*key).unwrap_or(value.clone());
        // LeRobot writes this flag as a number.
        if found != *value && !(found == json!(0) && *value == json!(false)) {
            return Err(damaged(path, &format!("`{key}` is {found}: {why}")));
        }
    }
    let mut all = object(defaults)?;
    for key in all.keys().filter(|key| !dialect.own.contains(&key.as_str())) {
        if !given.contains_key(key) && key != "temporal_ensemble_coeff" {
            return Err(damaged(path, &format!("setting `{key}` is missing")));
        }
    }
    if let Some(key) = dialect.own.iter().find(|key| given.contains_key(**key)) {
        return Err(damaged(path, &format!("setting `{key}` is no part of LeRobot's type")));
    }
    all.extend(given);
    Ok((all, carried))
}
