//! The runtime: one control loop around a machine, with its clock, its safety, its recording.
//!
//! The loop ([`Control`]) runs at a fixed rate and allocates nothing; inference, cameras and the
//! recording run beside it in threads of their own and meet it through lock-free exchanges. The
//! machine belongs to the safety layer ([`Guard`]), which nobody can go around. A [`Session`] ties
//! all of it together, episode after episode.

mod bench;
mod cameras;
mod chunks;
mod clock;
mod control;
#[cfg(test)]
mod counting;
mod error;
mod exchange;
#[cfg(test)]
mod plant;
mod realtime;
mod record;
mod safety;
mod session;
mod source;
#[cfg(test)]
mod testing;

pub use bench::{LoopTrial, measure_loop};
pub use cameras::{CameraFigures, Picture};
pub use chunks::{CameraInput, ChunkFigures, Chunks, Execution, Planner};
pub use clock::{Clock, HostClock, LoopFigures, Quantiles, SteppedClock, Tick, Ticker};
pub use control::{Control, ControlReport, Signals};
pub use error::RuntimeError;
pub use exchange::{Consumer, Producer, Reader, Writer, latest, ring};
pub use realtime::Realtime;
pub use record::Turn;
pub use safety::{
    Ask, BodyModel, Cause, Causes, Clip, EmergencyStop, Faults, Guard, JointLimits, Limits, Phase,
    Pose, StopCause, Verdict, Watchdog, Workspace,
};
pub use session::{
    EpisodeReport, Event, Session, SessionPlan, SessionReport, Watched, newest_picture,
};
pub use source::{Given, Replay, Seen, Source, SourceKind, Still, Teleoperation};
