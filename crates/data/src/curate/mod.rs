//! Curation: what every episode is like, which to keep, and why.
//!
//! [`survey()`] measures (`measure/` has a room per measure), [`quality`](Quality) scores,
//! [`remarks()`] says it in words, [`plan()`] applies filters and expressions and decides. Carrying a
//! plan out is [`crate::process()`]'s business. Every number has its unit and definition in the room
//! that computes it; nothing here writes.

mod facts;
mod filter;
mod judge;
mod measure;
mod plan;
mod quality;
mod remarks;
mod segment;
mod series;
mod survey;

pub use facts::{FACTS, Fact, FactName};
pub use judge::{CrossCheck, JudgedEpisode, Judgement, judge};
pub(crate) use plan::make as make_plan;
pub use plan::{Plan, PlannedEpisode, plan};
pub use quality::Quality;
pub use remarks::{Remark, findings, remarks};
pub use segment::{Phase, Segment};
pub(crate) use survey::non_finite;
pub use survey::{
    CameraMeasures, DriftMeasures, DriftOf, EpisodeMeasures, GripperMeasures, LagMeasures, Look,
    NearestMeasures, NonFinite, Spike, Survey, SurveyOptions, survey,
};
