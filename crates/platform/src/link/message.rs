//! What goes over the wire, as protocol buffers written out by hand: no compiler for them is needed.

use embody_core::{Moment, StepTaken};

/// Path of the calls.
pub(super) const SERVICE: &str = "embody.Experience";
pub(super) const LIVE: &str = "/embody.Experience/Live";
pub(super) const PULL: &str = "/embody.Experience/Pull";

/// From an actor: first a greeting, then moments.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Up {
    #[prost(oneof = "up::Kind", tags = "1, 2")]
    pub kind: Option<up::Kind>,
}

pub(super) mod up {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super) enum Kind {
        #[prost(message, tag = "1")]
        Hello(super::Hello),
        #[prost(message, tag = "2")]
        Moment(super::WireMoment),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hello {
    /// Name of this life.
    #[prost(fixed64, tag = "1")]
    pub actor: u64,
    /// What moments are made of, by whose word both sides agree.
    #[prost(string, tag = "2")]
    pub agreement: String,
}

/// A moment.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireMoment {
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    #[prost(message, optional, tag = "2")]
    pub step: Option<WireStep>,
    #[prost(float, repeated, tag = "3")]
    pub state: Vec<f32>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub pictures: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireStep {
    #[prost(float, repeated, tag = "1")]
    pub action: Vec<f32>,
    #[prost(float, tag = "2")]
    pub reward: f32,
    #[prost(float, tag = "3")]
    pub penalty: f32,
    #[prost(bool, tag = "4")]
    pub terminated: bool,
    #[prost(bool, tag = "5")]
    pub truncated: bool,
    #[prost(bool, tag = "6")]
    pub intervened: bool,
    #[prost(uint64, tag = "7")]
    pub weights: u64,
}

/// From the learner.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Down {
    /// Every number up to this one is safe on the learner's disk.
    #[prost(uint64, tag = "1")]
    pub safe: u64,
    /// Version of the newest weights; 0 for none yet.
    #[prost(uint64, tag = "2")]
    pub weights: u64,
    /// Whether actors shall wait before their next step.
    #[prost(bool, tag = "3")]
    pub wait: bool,
}

/// The newest weights, please.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Want {
    #[prost(uint64, tag = "1")]
    pub than: u64,
}

/// A part of a file of weights.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Part {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Bytes of the whole file, and their CRC-32C.
    #[prost(uint64, tag = "2")]
    pub len: u64,
    #[prost(fixed32, tag = "3")]
    pub checksum: u32,
    #[prost(bytes = "vec", tag = "4")]
    pub bytes: Vec<u8>,
}

impl From<&Moment> for WireMoment {
    fn from(m: &Moment) -> Self {
        let step = m.step.as_ref().map(|s| WireStep {
            action: s.action.clone(),
            reward: s.reward,
            penalty: s.penalty,
            terminated: s.terminated,
            truncated: s.truncated,
            intervened: s.intervened,
            weights: s.weights,
        });
        Self { seq: m.seq, step, state: m.state.clone(), pictures: m.pictures.clone() }
    }
}

impl From<WireMoment> for Moment {
    fn from(m: WireMoment) -> Self {
        let step = m.step.map(|s| StepTaken {
            action: s.action,
            reward: s.reward,
            penalty: s.penalty,
            terminated: s.terminated,
            truncated: s.truncated,
            intervened: s.intervened,
            weights: s.weights,
        });
        Self { seq: m.seq, step, state: m.state, pictures: m.pictures }
    }
}
