//! What a trainer asks of a dataset: random access to frames with windows over time.

use std::ops::Range;

use indexmap::IndexMap;

use crate::{Array, ContentHash, Embodiment, Features, Result, StatsMap};

/// Where a frame stands in its dataset; carried along so that an error can name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FrameRef {
    /// Which dataset of a [`crate::Mixture`]; 0 otherwise.
    #[serde(default)]
    pub dataset: usize,
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

impl Batch {
    /// The rows `rows` of every array, into `out`, whose memory is used again.
    pub fn copy_rows(&self, rows: Range<usize>, out: &mut Self) {
        out.frames.clear();
        out.frames.extend_from_slice(&self.frames[rows.clone()]);
        out.arrays.retain(|key, _| self.arrays.contains_key(key));
        for (key, array) in &self.arrays {
            let width: usize = array.shape.iter().skip(1).product();
            let to = out.arrays.entry(key.clone()).or_insert_with(Array::empty);
            to.shape.clone_from(&array.shape);
            if let Some(first) = to.shape.first_mut() {
                *first = rows.len();
            }
            let picked: Vec<usize> = rows.clone().collect();
            array.data.gather(width, &picked, &mut to.data);
        }
    }
}

/// Random access to the frames of one split of a dataset. The order is the trainer's business, so
/// that resuming needs no state in here.
pub trait BatchSource: Send + Sync {
    /// The features as they come out in batches (image shapes after resizing).
    fn features(&self) -> &Features;
    /// Statistics of the training split, for normalisation.
    fn stats(&self) -> &StatsMap;
    /// The robots in it, by [`FrameRef::dataset`], where their vectors are padded and some lack a camera
    /// (what then stands in its place means nothing); none where every frame has all features.
    fn embodiments(&self) -> &[Embodiment] {
        &[]
    }
    /// Number of frames in this split.
    fn len(&self) -> usize;
    /// Whether there is no frame.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Frames per second of the recording.
    fn fps(&self) -> f64;
    /// How often frames are drawn: stretches that cover `0..len()` in order, each with the weight of
    /// one of its frames (0 or more, finite). One stretch says that all are drawn alike.
    fn weights(&self) -> Vec<(Range<usize>, f64)> {
        vec![(0..self.len(), 1.0)]
    }
    /// Stretches that cover `0..len()` in order and cost little more to read whole than in part: the
    /// frames of a video that hang on one key frame. `None` where every frame costs the same.
    ///
    /// # Errors
    /// When the video's index can't be read.
    fn runs(&self) -> Result<Option<Vec<Range<usize>>>> {
        Ok(None)
    }
    /// Content hashes of the datasets that it reads, where they have such; a trained policy bears them.
    ///
    /// # Errors
    /// When a file can't be read.
    fn versions(&self) -> Result<Vec<ContentHash>> {
        Ok(Vec::new())
    }
    /// Collects the frames at `indices` (each `< len()`), in that order, reusing `out`'s memory.
    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()>;
}
