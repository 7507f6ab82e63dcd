//! The vocabulary of embody, and nothing else: features, episodes, environments, policies, batches,
//! statistics, errors with hints, progress events, durable writes, seeds.
//!
//! Every other crate may import this one; this one imports none of them. It holds no tokio, no Arrow
//! and no tensors: boundaries pass plain slices, specs and `dyn` traits.

mod array;
mod batch;
mod config;
mod durable;
mod env;
mod error;
mod experience;
mod feature;
mod hash;
mod loader;
mod mixture;
mod policy;
mod progress;
mod record;
mod sampler;
mod seed;
mod stats;
mod team;
#[cfg(test)]
mod testing;

pub use array::{Array, ArrayData, ArrayView, DataView};
pub use batch::{Batch, BatchSource, FrameRef};
pub use config::{Origin, Setting, Settings, nearest_key};
pub use durable::{AtomicDir, write_atomic};
pub use env::{Autoreset, EnvSpec, Observations, VecEnv};
pub use error::{Error, Hint, IoContext, Result};
pub use experience::{Intake, Moment, StepTaken, TransitionSink, WeightSource};
pub use feature::{DType, FeatureSpec, Features, VideoInfo};
pub use hash::{ContentHash, HashStream, hash_bytes, hash_file, hash_listed, hash_tree};
pub use loader::{Loader, LoaderOptions};
pub use mixture::{Embodiment, Embodiments, Mixture, MixtureStats, Portion};
pub use policy::{Policy, PolicySpec};
pub use progress::{CancelToken, NoProgress, Progress, ProgressEvent, Task};
pub use record::{
    EpisodeOutcome, Recorder, SimulationRecord, StreamRecorder, TurnRecord, VariationRecord,
};
pub use sampler::Sampler;
pub use seed::derive_seed;
pub use stats::{FeatureStats, StatsMap};
pub use team::Team;
