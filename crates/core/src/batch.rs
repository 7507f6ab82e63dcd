//! What a trainer asks of a dataset: random access to frames with windows over time.

use indexmap::IndexMap;

use crate::{Array, Features, Result, StatsMap};

/// Where a frame stands in its dataset; carried along so that an error can name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FrameRef {
    /// Episode index in the dataset.
    pub episode: usize,
    /// Frame index inside the episode.
    pub frame: usize,
}

/// A batch of frames; each array's first axis is the batch.
///
/// For a key with a window of `k` offsets the array is `[batch, k, …]` and a companion
/// `{key}_is_pad` of bools `[batch, k]` says which entries lay outside the episode (their value is
/// clamped to the episode's edge, as LeRobot does). Keys without a window are `[batch, …]`.
/// Images are u8 `[batch, height, width, 3]`.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Arrays by feature key.
    pub arrays: IndexMap<String, Array>,
    /// Which frames these are, in batch order.
    pub frames: Vec<FrameRef>,
}

/// Random access to the frames of one split of a dataset. The order is the trainer's business, so
/// that resuming needs no state in here.
pub trait BatchSource: Send + Sync {
    /// The features as they come out in batches (image shapes after resizing).
    fn features(&self) -> &Features;
    /// Statistics of the training split, for normalisation.
    fn stats(&self) -> &StatsMap;
    /// Number of frames in this split.
    fn len(&self) -> usize;
    /// Whether there is no frame.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Frames per second of the recording.
    fn fps(&self) -> f64;
    /// Collects the frames at `indices` (each `< len()`), in that order, reusing `out`'s memory.
    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()>;
}
