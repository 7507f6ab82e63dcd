//! Pictures decoded when a batch asks for them, for recordings larger than memory and disk allow.
//!
//! The frames of a batch are grouped by the key frame that they hang on, so that no packet is decoded
//! twice, and the groups are shared out over the threads; each thread keeps its decoder. Which thread
//! decodes a frame changes no pixel.

use std::sync::Arc;

use embody_core::Result;
use rayon::prelude::*;

use super::Resizer;
use super::pixels::Room;
use crate::dataset::Dataset;

/// One camera of a dataset.
pub(super) struct Live {
    pub dataset: Arc<Dataset>,
    pub key: String,
    /// Height and width that come out.
    pub size: (usize, usize),
}

/// A frame wanted by a batch and where its pixels go.
struct Wanted<'a> {
    episode: usize,
    frame: usize,
    /// Sample of the key frame before it.
    key_frame: usize,
    room: Room<'a>,
}

impl Live {
    /// Decodes `(episode, frame)`s into a room each.
    pub fn gather(
        &self,
        pool: &rayon::ThreadPool,
        frames: &[(usize, usize)],
        rooms: Vec<Room<'_>>,
    ) -> Result<()> {
        let mut wanted = Vec::with_capacity(frames.len());
        for (&(episode, frame), room) in frames.iter().zip(rooms) {
            let key_frame = self.dataset.key_sample(episode, &self.key, frame)?;
            wanted.push(Wanted { episode, frame, key_frame, room });
        }
        wanted.sort_by_key(|w| (w.episode, w.frame));
        let mut groups: Vec<&mut [Wanted<'_>]> = wanted
            .chunk_by_mut(|a, b| (a.episode, a.key_frame) == (b.episode, b.key_frame))
            .collect();
        // One group needs no other thread: callers that read frame by frame keep their own decoder.
        if let [group] = groups.as_mut_slice() {
            return self.decode(group);
        }
        pool.install(|| groups.into_par_iter().try_for_each(|group| self.decode(group)))
    }

    /// Decodes one group; a frame that is wanted several times is decoded once.
    fn decode(&self, group: &mut [Wanted<'_>]) -> Result<()> {
        let shape = &self.dataset.info().features[&self.key].shape;
        let recorded = (shape[0], shape[1]);
        let mut resizing = (recorded != self.size)
            .then(|| (Resizer::new(recorded, self.size), vec![0; self.size.0 * self.size.1 * 3]));
        let Some(episode) = group.first().map(|w| w.episode) else { return Ok(()) };
        let mut distinct: Vec<&mut [Wanted<'_>]> =
            group.chunk_by_mut(|a, b| a.frame == b.frame).collect();
        let frames: Vec<usize> = distinct.iter().map(|same| same[0].frame).collect();
        self.dataset.visit_frames(episode, &self.key, &frames, &mut |position, rgb| {
            let Some((first, others)) = distinct[position].split_first_mut() else {
                return Ok(());
            };
            match &mut resizing {
                None => first.room.put(rgb),
                Some((resizer, small)) => {
                    resizer.resize(rgb, small);
                    first.room.put(small);
                }
            }
            others.iter_mut().for_each(|other| other.room.copy(&first.room));
            Ok(())
        })
    }
}
