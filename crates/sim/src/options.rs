//! How to make environments and experts.

use std::path::PathBuf;

use embody_core::Autoreset;

/// How to make a batch of environments.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvOptions {
    /// Folder of the robot models, holding `so101/so101.xml`.
    pub asset_dir: PathBuf,
    /// Environments side by side, at least 1.
    pub num_envs: usize,
    /// Threads; 0 takes one per core. Never changes a result.
    pub threads: usize,
    /// Height and width of each camera's image in pixels (8-2048); `None` renders no images.
    pub camera_size: Option<(usize, usize)>,
    /// Which of the task's cameras to observe, by name; `None` takes all policy cameras.
    pub cameras: Option<Vec<String>>,
    /// Adds `observation.environment_state`, which only the simulator can know.
    pub privileged: bool,
    /// Varies colours and light per episode.
    pub randomize_look: bool,
    /// Four samples per pixel instead of one.
    pub smooth_edges: bool,
    /// Draws shadows.
    pub shadows: bool,
    /// What happens to an environment whose episode has ended.
    pub autoreset: Autoreset,
    /// Hashes every episode's trajectory, for `SimulationRecord::trajectory`; costs about 1 %.
    pub trace: bool,
}

impl EnvOptions {
    /// One environment with all policy cameras at 96×96, robot models in `asset_dir`.
    pub fn new(asset_dir: impl Into<PathBuf>) -> Self {
        Self {
            asset_dir: asset_dir.into(),
            num_envs: 1,
            threads: 0,
            camera_size: Some((96, 96)),
            cameras: None,
            privileged: false,
            randomize_look: true,
            smooth_edges: true,
            shadows: true,
            autoreset: Autoreset::Disabled,
            trace: true,
        }
    }
}

/// How a scripted expert behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertOptions {
    /// Folder of the robot models: the expert has a model of its own for inverse kinematics.
    pub asset_dir: PathBuf,
    /// Scale of the seeded variation in speed and approach; 0 always moves the same way, 1 is meant
    /// for demonstrations.
    pub variation: f64,
    /// Constant error of the believed object position, metres (x, y): to measure how precise a
    /// policy has to be.
    pub belief_error_m: [f64; 2],
}

impl ExpertOptions {
    /// An expert for demonstrations.
    pub fn new(asset_dir: impl Into<PathBuf>) -> Self {
        Self { asset_dir: asset_dir.into(), variation: 1.0, belief_error_m: [0.0; 2] }
    }
}
