//! The policy that a step names: by `@STEP` of a training, by `@STEP/ROBOT` of one for several robots, or
//! by a checkpoint's folder.

use std::path::{Path, PathBuf};

use embody_core::{IoContext, Policy, Result};
use embody_learn::{Backend, POLICIES_DIR, POLICY_DIR, PolicyOptions};
use embody_platform::{Step, StepContext};

/// The folder, where `place` names one.
pub fn folder(place: &str) -> Option<&Path> {
    (!place.starts_with('@')).then(|| Path::new(place))
}

/// What stands for `place` among a step's parameters: where a folder lies does not matter, its content
/// is part of the step's key.
pub fn recorded(place: &str) -> String {
    if folder(place).is_some() { "folder".to_owned() } else { place.to_owned() }
}

/// Refuses a folder that holds no policy.
///
/// # Errors
/// Names the step and its `key`.
pub fn check(step: &Step, key: &str, place: &str) -> Result<()> {
    match folder(place).filter(|dir| !dir.join("config.json").is_file()) {
        None => Ok(()),
        Some(dir) => {
            let what = format!("there is no policy in `{}`", dir.display());
            Err(step.bad_value(key, what).with_hint(
                "name a training step as `@NAME`, or a folder with config.json and \
                 model.safetensors",
            ))
        }
    }
}

/// Where its files lie.
///
/// # Errors
/// When it names no step of the recipe, or not which robot's policy of several.
pub fn dir(ctx: &StepContext<'_>, key: &str, place: &str) -> Result<PathBuf> {
    let Some((step, robot)) = embody_platform::reference(place) else {
        return Ok(PathBuf::from(place));
    };
    let output = &ctx.input(key, place)?.dir;
    let several = output.join(POLICIES_DIR);
    if !several.is_dir() {
        return match robot {
            None => Ok(output.join(POLICY_DIR)),
            Some(_) => Err(ctx
                .step
                .bad_value(key, format!("`{step}` trained one policy"))
                .with_hint(format!("name it as `@{step}`"))),
        };
    }
    let dir = several.join(robot.unwrap_or_default());
    if robot.is_some() && dir.is_dir() {
        return Ok(dir);
    }
    let entries = std::fs::read_dir(&several).at("read folder", &several)?;
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort_unstable();
    let names: Vec<String> = names.iter().map(|name| format!("`@{step}/{name}`")).collect();
    Err(ctx
        .step
        .bad_value(key, format!("`{step}` trained a policy for each of several robots"))
        .with_hint(format!("name one: {}", names.join(", "))))
}

/// Makes it ready to act.
///
/// # Errors
/// When the checkpoint can't be read.
pub fn load(
    dir: &Path,
    n_action_steps: Option<usize>,
    instruction: Option<&str>,
    threads: usize,
    backend: Backend,
) -> Result<Box<dyn Policy>> {
    let options = PolicyOptions {
        threads,
        backend,
        n_action_steps,
        instruction: instruction.map(str::to_owned),
        ..Default::default()
    };
    embody_learn::load_policy(dir, options)
}

/// Height and width of the pictures that it was trained on.
pub fn camera_size(policy: &dyn Policy) -> Option<[usize; 2]> {
    let camera = policy.spec().inputs.values().find(|f| f.shape.len() == 3)?;
    Some([camera.shape[0], camera.shape[1]])
}
