//! Batched MuJoCo environments, tasks, scripted experts and a CPU rasteriser.
//!
//! [`make`] gives N environments of a task behind `embody_core::VecEnv`; [`expert`] a policy that
//! solves it, for demonstrations; [`show`] says what a task is without starting a simulation.
//! Physics is MuJoCo's C library; images come from a rasteriser of our own, so neither GPU nor
//! display is needed. Results depend on task, options, seeds and actions, never on threads.

mod appearance;
mod batch;
#[cfg(feature = "egl")]
mod egl;
mod error;
mod experts;
mod ik;
mod mj;
mod options;
mod planar;
mod raster;
mod registry;
mod replay;
mod robots;
mod tasks;
mod variation;

pub use appearance::{
    Appearance, AppearanceRange, CameraPose, Pattern, PatternKind, SeenShape, SeenThing,
};
pub use batch::{DepthImage, EpisodeStart, LiveScene, RgbImage, SimEnv};
#[cfg(feature = "egl")]
pub use egl::{EglQuality, EglRenderer};
pub use error::SimError;
pub use options::{EnvOptions, ExpertOptions};
pub use registry::{expert, make, make_sim, render, show, tasks};
pub use replay::{Demonstration, Replayed, replay};
pub use robots::RobotModel;
pub use tasks::{ArmModel, Dimension, TaskDescription, Term};
pub use variation::{
    Placement, SourceChoice, VariationOptions, VariationReport, VariedEpisode,
    plan as plan_variation, vary,
};
