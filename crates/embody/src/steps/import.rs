//! `kind = "import"`: a recording from outside, in the native layout.

use std::path::{Path, PathBuf};

use embody_core::{ContentHash, Result};
use embody_data::{Dataset, ImportOptions, ImportReport};
use embody_platform::store::StoreUrl;
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::process::DATASET;
use super::{output, resolved};
use crate::commands::stores;
use crate::settings::Config;

/// Imports a recording.
pub struct Import {
    /// Where to fetch it from, when it is on a store.
    pub config: Config,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    path: PathBuf,
    /// Frames per second, of recordings that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fps: Option<f64>,
    /// Instruction of episodes that carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// What was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    robot: Option<String>,
    /// Columns and the features that they become, as in `embody data import --rename`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rename: Vec<(String, String)>,
    /// For message logs: the mapping from topics to features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    map: Option<PathBuf>,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Layout of the source.
    pub format: String,
    /// Episodes.
    pub episodes: usize,
    /// Frames.
    pub frames: usize,
    /// Frames per second.
    pub fps: f64,
    /// What was recorded.
    pub robot_type: Option<String>,
    /// Instructions.
    pub tasks: Vec<String>,
    /// Cameras, with height and width.
    pub cameras: Vec<(String, Vec<usize>)>,
    /// Dimensions of the action.
    pub action_dim: usize,
    /// Version of the imported dataset.
    pub version: ContentHash,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let robot = self.robot_type.as_deref().unwrap_or("unnamed robot");
        format!(
            "{} episodes, {} frames of {robot} at {} fps ({})",
            self.episodes, self.frames, self.fps, self.format
        )
    }
}

impl StepKind for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn about(&self) -> &'static str {
        "import a recording (LeRobot, RLDS, HDF5, Zarr; message logs with map): path (or an address of a \
         store), fps, task, robot, rename, map"
    }

    fn version(&self) -> u32 {
        3
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        let params = params(step)?;
        let path = params.path.clone();
        resolved(&params).map(|mut value| {
            // Where it lies does not matter; its content is part of the key. An address names its
            // content.
            if let Some(map) = value.as_object_mut() {
                if store_of(&path).is_none() {
                    map.remove("path");
                }
                map.remove("map");
            }
            value
        })
    }

    fn external_inputs(&self, step: &Step) -> Result<Vec<PathBuf>> {
        let Params { path, map, .. } = params(step)?;
        let local = if store_of(&path).is_some() { None } else { Some(path) };
        Ok(local.into_iter().chain(map).collect())
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let Params { path, fps, task, robot, rename, map } = params(ctx.step)?;
        let target = ctx.dir.join(DATASET);
        let options = ImportOptions {
            fps,
            task,
            robot_type: robot,
            rename,
            map,
            threads: ctx.threads,
            ..ImportOptions::default()
        };
        let (path, options) = stores::fetched(&self.config, &path, options, ctx.task)?;
        let report = embody_data::import(&path, &target, options, ctx.task)?;
        for note in &report.notes {
            ctx.task.note(&note.to_string());
        }
        output(&describe(&target, report)?, &json!({}))
    }
}

fn describe(path: &Path, report: ImportReport) -> Result<Outcome> {
    let dataset = Dataset::open(path)?;
    let info = dataset.info();
    let cameras = info.features.iter().filter(|(_, f)| f.dtype.is_visual());
    Ok(Outcome {
        format: report.source_format,
        episodes: info.total_episodes,
        frames: info.total_frames,
        fps: info.fps,
        robot_type: info.robot_type.clone(),
        tasks: dataset.tasks().to_vec(),
        cameras: cameras.map(|(key, f)| (key.clone(), f.shape.clone())).collect(),
        action_dim: info.features.get("action").map_or(0, embody_core::FeatureSpec::numel),
        version: report.version,
    })
}

/// The path, if it is an address of a store.
fn store_of(path: &Path) -> Option<&str> {
    path.to_str().filter(|p| StoreUrl::is_url(p))
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    if params.path.as_os_str().is_empty() {
        return Err(step
            .bad_value("path", "no recording is named")
            .with_hint(format!("name one: --set {}.path=FOLDER", step.name)));
    }
    if let Some(address) = store_of(&params.path) {
        stores::pinned(address).map_err(|e| {
            let bad = step.bad_value("path", e.to_string());
            e.hint().map(str::to_owned).into_iter().fold(bad, embody_core::Error::with_hint)
        })?;
    }
    Ok(params)
}
