//! Recording: frame by frame, as simulators and imports do, or stream by stream, as robots do.
//!
//! A [`Recorder`] is given whole frames at a fixed rate. A [`StreamRecorder`] is given what each
//! sensor says when it says it; frames are made of it afterwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ArrayView, ContentHash, Result};

/// What is known of an episode when it ends.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpisodeOutcome {
    /// Whether the task was achieved; `None` where nobody judged.
    pub success: Option<bool>,
    /// The seed it was started from, for simulated episodes.
    pub seed: Option<u64>,
    /// Sum of rewards, where there are any.
    pub total_reward: Option<f64>,
    /// How a simulated episode began, so that it can be run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<SimulationRecord>,
}

/// How a simulated episode began and what its physics went through: with the recorded actions,
/// enough to run it again and to tell whether every bit is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimulationRecord {
    /// Task id, such as `so101-pick-lift`.
    pub task: String,
    /// Version of the task's behaviour.
    pub task_version: u32,
    /// Hash of the scene and the robot's model files.
    pub model: ContentHash,
    /// Physics engine and its version, such as `mujoco 3.17.0`.
    pub engine: String,
    /// Generalised positions at the first frame, `[nq]`, in the engine's order and units (m, rad,
    /// quaternions). Empty where the beginning was cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qpos: Vec<f64>,
    /// Generalised velocities at the first frame, `[nv]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qvel: Vec<f64>,
    /// Actuator set-points at the first frame, `[nu]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ctrl: Vec<f64>,
    /// Colours, light, textures and cameras, as the simulator writes them.
    pub appearance: serde_json::Value,
    /// Hash of positions and velocities after every control step.
    pub trajectory: ContentHash,
    /// What a synthetic episode was made from; `None` for one that was acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<VariationRecord>,
}

/// From which episode a synthetic one was made, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariationRecord {
    /// `appearance` (the same motion, seen differently) or `placement` (the motion carried over to
    /// another place of the object).
    pub kind: String,
    /// Content hash of the source dataset's version.
    pub source: ContentHash,
    /// Index of the episode in that version.
    pub source_episode: usize,
    /// Seed of the trial that gave it.
    pub seed: u64,
    /// Trials before this one that failed.
    pub failed_trials: usize,
    /// The transform: parameters and what came of them.
    pub parameters: serde_json::Value,
}

/// Writes episodes frame by frame. Nothing of an episode is visible in the dataset before
/// `save_episode` returns.
pub trait Recorder {
    /// Starts an episode with the instruction `task`.
    ///
    /// # Errors
    /// When one is open already.
    fn begin_episode(&mut self, task: &str) -> Result<()>;
    /// Adds one frame: a value for every declared feature, in any order. The timestamp is
    /// `frame_index / fps`.
    ///
    /// # Errors
    /// When a feature is missing, unknown, of the wrong shape or not finite; names the feature,
    /// episode and frame.
    fn add_frame(&mut self, values: &[(&str, ArrayView<'_>)]) -> Result<()>;
    /// Ends the episode and keeps it.
    ///
    /// # Errors
    /// When it is empty or can't be written.
    fn save_episode(&mut self, outcome: EpisodeOutcome) -> Result<()>;
    /// Ends the episode and forgets it.
    fn discard_episode(&mut self);
}

/// One turn of a machine's control loop. Slices have a number per joint, in the joints' units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TurnRecord<'a> {
    /// Its number since the loop began; turns that were skipped have numbers too.
    pub number: u64,
    /// How much later it began than it was due.
    pub late: Duration,
    /// When the machine was read, by the session's clock.
    pub at: Duration,
    /// The machine's own clock, where it tells.
    pub device: Option<Duration>,
    /// Whether the reading is of this turn; it is an older one where the bus failed.
    pub fresh: bool,
    /// Positions.
    pub positions: &'a [f32],
    /// Units per second; NaN where the machine does not tell.
    pub velocities: &'a [f32],
    /// Parts of the greatest torque, -1 to 1; NaN where the machine does not tell.
    pub loads: &'a [f32],
    /// Goals that were asked for, where there were any.
    pub wanted: Option<&'a [f32]>,
    /// Goals that were sent, where any were.
    pub given: Option<&'a [f32]>,
    /// Where they came from, such as `policy`.
    pub source: &'a str,
    /// Whether a person had taken over.
    pub intervention: bool,
    /// Limits that changed goals, such as `speed`.
    pub clips: &'a [&'static str],
    /// What the safety layer did, such as `active`.
    pub phase: &'a str,
    /// Answers that came damaged, late or not at all since the machine was opened.
    pub bus_errors: u64,
}

/// Keeps a machine's streams, each at its own rate and with its own clock. Times are those of the
/// session's clock, which begins at zero. What comes while no episode is open is not kept.
pub trait StreamRecorder: Send + Sync {
    /// Opens an episode with the instruction `task`.
    ///
    /// # Errors
    /// When one is open already, or it can't be written.
    fn begin_episode(&self, task: &str, at: Duration) -> Result<()>;
    /// Keeps a turn of the control loop.
    ///
    /// # Errors
    /// When it can't be written.
    fn turn(&self, turn: &TurnRecord<'_>) -> Result<()>;
    /// Keeps a picture of camera number `camera`, RGB u8 `[height, width, 3]`: when the host had
    /// it, and the camera's own time where it tells.
    ///
    /// # Errors
    /// When it can't be encoded or written.
    fn frame(
        &self,
        camera: usize,
        at: Duration,
        device: Option<Duration>,
        pixels: &[u8],
    ) -> Result<()>;
    /// Notes that `count` messages of `stream` were dropped because the recorder was behind.
    ///
    /// # Errors
    /// When it can't be written.
    fn dropped(&self, stream: &str, count: u64, at: Duration) -> Result<()>;
    /// Closes the open episode and keeps it, with a person's judgement where there was one.
    ///
    /// # Errors
    /// When none is open, or it can't be written.
    fn end_episode(&self, success: Option<bool>, at: Duration) -> Result<()>;
    /// Closes the open episode and forgets it.
    ///
    /// # Errors
    /// When it can't be removed.
    fn discard_episode(&self) -> Result<()>;
}
