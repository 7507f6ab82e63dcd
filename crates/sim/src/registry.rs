//! From a task's id to environments, experts, descriptions and pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use embody_core::{Policy, Result, VecEnv};

use crate::batch::{RgbImage, SimEnv};
use crate::tasks::{Definition, Loaded, TaskDescription, definitions};
use crate::{EnvOptions, ExpertOptions, SimError, experts};

/// Ids of all tasks.
pub fn tasks() -> Vec<&'static str> {
    definitions().map(|task| task.describe().id).collect()
}

/// What a task is.
///
/// # Errors
/// When there is no task of this id; the hint names the nearest.
pub fn show(task_id: &str) -> Result<TaskDescription> {
    Ok(find(task_id)?.describe())
}

/// N environments of a task, each freshly reset with seed 0.
///
/// # Errors
/// When the task or a camera is unknown, the robot's model is absent (hint: `cargo xtask setup`), or
/// an option is out of range.
pub fn make(task_id: &str, options: EnvOptions) -> Result<Box<dyn VecEnv>> {
    Ok(Box::new(make_sim(task_id, options)?))
}

/// As [`make`], with what only simulators can do, such as drawing from any camera.
///
/// # Errors
/// As [`make`].
pub fn make_sim(task_id: &str, options: EnvOptions) -> Result<SimEnv> {
    let definition = find(task_id)?;
    let loaded = load(definition, &options.asset_dir)?;
    SimEnv::new(definition.describe(), loaded, options)
}

/// A scripted policy that solves the task from privileged observations.
///
/// It needs environments made with [`EnvOptions::privileged`]. What it does in an episode depends on
/// `seed` and on that episode's first observation only.
///
/// # Errors
/// When the task is unknown or the robot's model is absent.
pub fn expert(
    task_id: &str,
    num_envs: usize,
    seed: u64,
    options: ExpertOptions,
) -> Result<Box<dyn Policy>> {
    let definition = find(task_id)?;
    let loaded = load(definition, &options.asset_dir)?;
    experts::make(&definition.describe(), loaded, num_envs, seed, &options)
}

/// The first picture of an episode: task, its seed, camera and `(height, width)`.
///
/// # Errors
/// As [`make`], or when there is no such camera.
pub fn render(
    task_id: &str,
    asset_dir: &Path,
    seed: u64,
    camera: &str,
    size: (usize, usize),
) -> Result<RgbImage> {
    let options = EnvOptions { camera_size: None, threads: 1, ..EnvOptions::new(asset_dir) };
    let mut env = make_sim(task_id, options)?;
    env.reset(&[Some(seed)])?;
    env.render(0, camera, size)
}

pub(crate) fn find(task_id: &str) -> Result<&'static dyn Definition, SimError> {
    definitions()
        .find(|task| task.describe().id == task_id)
        .ok_or_else(|| SimError::UnknownTask { id: task_id.to_owned(), known: tasks() })
}

/// Loads a task, or finds it still in use: compiling a robot's meshes takes a second.
fn load(definition: &'static dyn Definition, asset_dir: &Path) -> Result<Arc<Loaded>, SimError> {
    type Cache = HashMap<(&'static str, PathBuf), Weak<Loaded>>;
    static CACHE: OnceLock<Mutex<Cache>> = OnceLock::new();
    let mut cache =
        CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (definition.describe().id, asset_dir.to_owned());
    if let Some(loaded) = cache.get(&key).and_then(Weak::upgrade) {
        return Ok(loaded);
    }
    let task = definition.load(asset_dir)?;
    let loaded = Arc::new(Loaded::new(task));
    cache.insert(key, Arc::downgrade(&loaded));
    Ok(loaded)
}
