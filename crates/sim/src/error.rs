//! What can go wrong in a simulation, each with what to do next.

use std::path::{Path, PathBuf};

use embody_core::{Hint, nearest_key};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// No task has this id.
    #[error("unknown task `{id}`")]
    UnknownTask {
        /// What was asked for.
        id: String,
        /// All ids there are.
        known: Vec<&'static str>,
    },
    /// A scene that goes by time is one of position servos.
    #[error("the actuators of task `{task}` are no position servos of a joint each")]
    NotServos {
        /// Its id.
        task: String,
    },
    /// Physics of a scene that goes by time went wrong.
    #[error("physics of task `{task}` diverged")]
    LiveDiverged {
        /// Its id.
        task: String,
    },
    /// No scripted policy solves the task.
    #[error("task `{task}` has no expert")]
    NoExpert {
        /// The task.
        task: String,
    },
    /// MuJoCo's own renderer can't draw.
    #[cfg(feature = "egl")]
    #[error("MuJoCo's renderer can't draw: {why}")]
    Egl {
        /// What it says.
        why: String,
    },
    /// A batch can't be put back to a saved state.
    #[error("the saved state of the simulation can't be gone on from: {why}")]
    Snapshot {
        /// Why.
        why: String,
    },
    /// No camera of the task has this name.
    #[error("task `{task}` has no camera `{camera}`")]
    UnknownCamera {
        /// The task.
        task: String,
        /// What was asked for.
        camera: String,
        /// All cameras there are.
        known: Vec<String>,
    },
    /// A robot model is not where it should be.
    #[error("robot model {} is not there", path.display())]
    MissingAssets {
        /// The absent file.
        path: PathBuf,
    },
    /// MuJoCo refused a model.
    #[error("could not load {} for task `{task}`", file.display())]
    LoadModel {
        /// The task.
        task: String,
        /// The robot's model, or the task's scene where it has none.
        file: PathBuf,
        /// What MuJoCo says.
        source: mujoco_rs::error::MjModelError,
    },
    /// MuJoCo refused a scene that was put together from a robot's model.
    #[error("could not build the scene of task `{task}` with {}", file.display())]
    BuildModel {
        /// The task.
        task: String,
        /// The robot's model.
        file: PathBuf,
        /// What MuJoCo says.
        source: mujoco_rs::error::MjEditError,
    },
    /// A robot model's files can't be read.
    #[error("could not read the robot model {}: {why}", path.display())]
    ReadModel {
        /// Its folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A recorded episode does not fit the task.
    #[error("episode {episode} can't be run again: {why}")]
    Replay {
        /// Index in its dataset.
        episode: usize,
        /// Why.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// MuJoCo could not make room for an environment.
    #[error("could not allocate environment {env}")]
    AllocateEnv {
        /// Index of the environment.
        env: usize,
        /// What MuJoCo says.
        source: mujoco_rs::error::MjDataError,
    },
    /// The model lacks something that the task names.
    #[error("the scene of task `{task}` has no {kind} `{name}`")]
    MissingElement {
        /// The task.
        task: String,
        /// Kind of element.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An option is out of range.
    #[error("{option} is {value}, outside of {range}")]
    BadOption {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
    /// A slice of the wrong length was handed over.
    #[error("{what} has {got} elements, expected {expected}")]
    WrongLength {
        /// Which one.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The right length.
        expected: usize,
    },
    /// An action holds NaN or infinity.
    #[error("action of environment {env} is {value} in dimension {dim} ({name})")]
    ActionNotFinite {
        /// Environment index.
        env: usize,
        /// Action dimension.
        dim: usize,
        /// Name of the dimension.
        name: String,
        /// The value.
        value: f32,
    },
    /// An expert was not given what it reads.
    #[error("the expert of `{task}` needs observation `{key}` of {numel} values per environment")]
    MissingObservation {
        /// The task.
        task: String,
        /// Feature key.
        key: &'static str,
        /// Elements per environment.
        numel: usize,
    },
}

/// The robot that a file in the folder of robot models belongs to.
fn robot_of(path: &Path) -> Option<String> {
    let robot = path.parent()?.file_name()?;
    Some(robot.to_string_lossy().into_owned())
}

fn anew(robot: String) -> String {
    format!("run `embody assets get {robot} --force` to put the model in place anew")
}

impl Hint for SimError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownTask { id, known } => Some(match nearest_key(id, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? `embody sim list` shows all tasks"),
                None => format!("known tasks: {}", known.join(", ")),
            }),
            Self::LiveDiverged { .. } => Some("lay the scene out anew".to_owned()),
            Self::NotServos { .. } => {
                Some("tasks of SO-101 and ALOHA have them: `so101-pick-lift`".to_owned())
            }
            Self::UnknownCamera { known, .. } => {
                Some(format!("cameras of this task: {}", known.join(", ")))
            }
            Self::MissingAssets { path } => robot_of(path).map(|robot| {
                format!(
                    "run `embody assets get {robot}`, or `cargo xtask setup --robots` in the source \
                     tree"
                )
            }),
            Self::Replay { hint, .. } => Some((*hint).to_owned()),
            Self::LoadModel { file, .. } | Self::BuildModel { file, .. } => {
                robot_of(file).map(anew)
            }
            Self::ReadModel { path, .. } => robot_of(&path.join("any file")).map(anew),
            Self::AllocateEnv { .. } => Some("use fewer environments".to_owned()),
            Self::ActionNotFinite { .. } => Some(
                "the policy's output is broken: look at its loss and its normalisation statistics"
                    .to_owned(),
            ),
            Self::MissingObservation { .. } => {
                Some("make the environment with privileged observations".to_owned())
            }
            #[cfg(feature = "egl")]
            Self::Egl { .. } => Some(
                "it needs libEGL and an OpenGL driver (Debian: libegl1, libgl1-mesa-dri); the \
                 renderer of our own needs neither"
                    .to_owned(),
            ),
            Self::Snapshot { .. } => Some("start the run anew".to_owned()),
            Self::NoExpert { .. } => {
                Some("train a policy, or run one that chooses at random".to_owned())
            }
            Self::MissingElement { .. } | Self::BadOption { .. } | Self::WrongLength { .. } => None,
        }
    }
}
