//! Real machines: what reads their joints and cameras, and moves them.
//!
//! [`Robot`] is a machine with joints as the control loop sees it; what it is made of (a bus of
//! servos, a simulated arm behind an emulated bus) stays behind it. No command reaches a motor but
//! through the loop and its limits.

pub mod bus;
pub mod calibration;
pub mod camera;
pub mod emulator;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod machines;
mod robot;
mod runtime;

pub use error::RobotError;
pub use robot::{
    Camera, CameraSpec, Joint, JointUnit, Reading, Robot, RobotSpec, Stamp, Teleoperator,
};
pub use runtime::{
    Ask, BodyModel, CameraFigures, CameraInput, Cause, Causes, ChunkFigures, Chunks, Clip, Clock,
    Consumer, Control, ControlReport, EmergencyStop, EpisodeReport, Event, Execution, Faults,
    Given, Guard, HostClock, JointLimits, Limits, LoopFigures, LoopTrial, Phase, Picture, Planner,
    Pose, Producer, Quantiles, Reader, Realtime, Replay, RuntimeError, Seen, Session, SessionPlan,
    SessionReport, Signals, Source, SourceKind, SteppedClock, Still, StopCause, Teleoperation,
    Tick, Ticker, Turn, Verdict, Watchdog, Watched, Workspace, Writer, latest, measure_loop,
    newest_picture, ring,
};
