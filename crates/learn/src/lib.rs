//! Learning: networks, imitation policies, trainer, checkpoints, evaluation and its statistics.
//!
//! The way through: [`train`] takes batches from any [`embody_core::BatchSource`] and leaves a folder
//! in LeRobot's checkpoint layout; [`load_policy`] makes an [`embody_core::Policy`] of it;
//! [`evaluate`] runs that in any [`embody_core::VecEnv`] over a list of seeds, [`open_loop`] on
//! recorded frames. Tensors (burn's) stay in here. On the CPU every result is the same to the bit
//! whatever the number of threads, and a run resumed equals a run not interrupted.

mod backend;
mod baseline;
mod checkpoint;
mod error;
mod evaluate;
mod events;
mod imitation;
mod letterbox;
mod nn;
mod noise;
mod onnx;
mod open_loop;
mod ops;
mod optim;
mod policy;
mod processor;
mod report;
mod rl;
mod serve;
mod statistics;
mod train;
mod workers;

pub use backend::Backend;
pub use baseline::{hold, replay_mean};
pub use evaluate::{
    Answer, EpisodeRollout, EpisodeRow, EvalOptions, EvalResult, PairedComparison, Question,
    compare, evaluate,
};
pub use events::EVENTS_DIR;
pub use imitation::act::ActConfig;
pub use imitation::diffusion::{BetaSchedule, DiffusionConfig, NoiseScheduler, PredictionType};
pub use imitation::flow::FlowConfig;
pub use imitation::transformer::FeedForwardActivation;
pub use imitation::vision::StemLayer;
pub use imitation::vla::pi0::{GemmaVariant, Pi0Config};
pub use imitation::vla::smolvla::{AttentionMode, SmolVlaConfig};
pub use imitation::vqbet::VqBetConfig;
pub use imitation::{ActionRepresentation, PolicyConfig};
pub use onnx::{OnnxSummary, export_onnx};
pub use open_loop::{
    JointError, MeanInterval, OpenLoopOptions, OpenLoopResult, PredictedChunk, Trajectory,
    open_loop, open_loop_windows,
};
pub use policy::{PolicyOptions, Steerable, load_policy, load_steerable};
pub use processor::resize_area;
pub use report::{Latency, PolicySummary, blank_latency, describe, latency};
pub use rl::{
    ActorOutcome, ActorPace, AdvantageNorm, AlgorithmConfig, Beside, CriticLoss, DetectorConfig,
    DetectorReport, EpisodeDone, Evaluation, ExperienceSpec, HilSerlBench, HilSerlConfig,
    HilSerlOutcome, HilSerlRun, ImageEncoder, Intervener, LabelledMoment, LearnerIntake,
    LearnerSide, LrSchedule, Memory, Nonlinearity, Normalization, Pace, Pooling, PpoConfig,
    RemoteActor, ResNetEncoder, ResidualConfig, ResidualEnv, RlConfig, RlOutcome, RlPreset,
    SacConfig, StdRange, SteeredConfig, SteeredEnv, SuccessDetector, Td3Config, TemperatureForm,
    TemperatureUpdate, Truncation, hilserl_updates_per_second, read_rl_metrics, rl_preset,
    rl_presets, run_actor, sac_flop_per_update, sac_updates_per_second, sgemm_flop_per_second,
    train_hilserl, train_rl,
};
pub use serve::serve;
pub use statistics::{Z95, anytime_interval, mcnemar_exact, wilson};
pub use train::{
    AugmentConfig, Bench, BenchShape, METRICS_FILE, MetricsRow, POLICIES_DIR, POLICY_DIR, Preset,
    Start, StartStatistics, TrainConfig, TrainOutcome, preset, presets, read_metrics,
    required_windows, train,
};
