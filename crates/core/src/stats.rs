//! Statistics of a feature over a set of frames, in the terms of LeRobot's `stats.json`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Statistics by feature key.
pub type StatsMap = IndexMap<String, FeatureStats>;

/// Per-dimension statistics of one feature. Vectors have one entry per element of the feature's
/// value (row-major); images have one per channel, in the range 0-1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeatureStats {
    /// Smallest value.
    pub min: Vec<f64>,
    /// Largest value.
    pub max: Vec<f64>,
    /// Mean.
    pub mean: Vec<f64>,
    /// Standard deviation (population).
    pub std: Vec<f64>,
    /// Frames counted.
    pub count: u64,
    /// 1 % quantile.
    #[serde(default)]
    pub q01: Vec<f64>,
    /// 10 % quantile.
    #[serde(default)]
    pub q10: Vec<f64>,
    /// Median.
    #[serde(default)]
    pub q50: Vec<f64>,
    /// 90 % quantile.
    #[serde(default)]
    pub q90: Vec<f64>,
    /// 99 % quantile.
    #[serde(default)]
    pub q99: Vec<f64>,
}
