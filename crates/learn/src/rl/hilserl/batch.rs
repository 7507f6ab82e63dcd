//! Rows of a batch side by side, as an update takes them: states scaled, actions in [-1, 1], the
//! gripper's as a choice, feature maps read from where they lie.

use std::io;
use std::ops::Range;

use super::actor::Scaling;
use super::buffer::Buffer;
use super::gripper;
use super::memory::Drawn;
use crate::rl::critics::rows_of;

/// A shard's part of a batch.
#[derive(Debug, Default, Clone)]
pub(crate) struct Batch {
    pub state_dim: usize,
    /// Length of each camera's map.
    pub map_lens: Vec<usize>,
    /// `[rows, state_dim]`.
    pub states: Vec<f32>,
    pub next_states: Vec<f32>,
    /// `[rows, len]` per camera.
    pub maps: Vec<Vec<f32>>,
    pub next_maps: Vec<Vec<f32>>,
    /// Continuous actions in [-1, 1], `[rows, actions]`.
    pub actions: Vec<f32>,
    /// The gripper's choice; empty without one.
    pub gripper: Vec<u8>,
    pub rewards: Vec<f32>,
    pub penalties: Vec<f32>,
    /// 1 where the task's rule ended the episode.
    pub ends: Vec<f32>,
}

/// Where the rows of a batch come from.
pub(crate) trait Rows: Sync {
    /// Writes rows `range` of the batch over `to`.
    fn gather(&self, range: Range<usize>, to: &mut Batch) -> io::Result<()>;
}

impl Batch {
    fn side<'a>(
        &self,
        states: &'a [f32],
        maps: &'a [Vec<f32>],
        rows: &Range<usize>,
    ) -> (&'a [f32], Vec<&'a [f32]>) {
        let maps = maps.iter().zip(&self.map_lens).map(|(m, len)| rows_of(m, *len, rows));
        (rows_of(states, self.state_dim, rows), maps.collect())
    }

    /// States and maps of `rows`.
    pub fn now(&self, rows: &Range<usize>) -> (&[f32], Vec<&[f32]>) {
        self.side(&self.states, &self.maps, rows)
    }

    /// Of the observations after the step.
    pub fn next(&self, rows: &Range<usize>) -> (&[f32], Vec<&[f32]>) {
        self.side(&self.next_states, &self.next_maps, rows)
    }
}

/// Rows drawn from memory.
pub(crate) struct FromMemory<'a> {
    pub online: &'a Buffer,
    pub demos: &'a Buffer,
    pub map_lens: Vec<usize>,
    pub drawn: Vec<Drawn>,
    pub scaling: &'a Scaling,
}

impl Rows for FromMemory<'_> {
    fn gather(&self, range: Range<usize>, to: &mut Batch) -> io::Result<()> {
        let scaling = self.scaling;
        let rows = range.len();
        to.state_dim = self.online.layout.state_dim;
        to.map_lens.clone_from(&self.map_lens);
        for side in [&mut to.states, &mut to.next_states, &mut to.actions] {
            side.clear();
        }
        for side in [&mut to.rewards, &mut to.penalties, &mut to.ends] {
            side.clear();
        }
        to.gripper.clear();
        for maps in [&mut to.maps, &mut to.next_maps] {
            maps.resize(to.map_lens.len(), Vec::new());
            for (map, len) in maps.iter_mut().zip(&to.map_lens) {
                map.resize(rows * len, 0.0);
            }
        }
        let mut bytes = Vec::new();
        for (i, drawn) in self.drawn[range].iter().enumerate() {
            let buffer = if drawn.demo { self.demos } else { self.online };
            let (from, place) = (drawn.place.from, drawn.place.to);
            scaling.state(buffer.state(from), &mut to.states);
            scaling.state(buffer.state(place), &mut to.next_states);
            let (action, happened) = buffer.step(place);
            for (j, value) in action.iter().enumerate() {
                let value = scaling.action(j, *value);
                match scaling.gripper == Some(j) {
                    true => to.gripper.push(gripper::choice(value) as u8),
                    false => to.actions.push(value),
                }
            }
            to.rewards.push(happened.reward);
            to.penalties.push(happened.penalty);
            to.ends.push(if happened.terminated { 1.0 } else { 0.0 });
            for (camera, len) in to.map_lens.iter().enumerate() {
                let row = i * len..(i + 1) * len;
                let (now, next) = drawn.variants;
                let out = &mut to.maps[camera][row.clone()];
                buffer.map(from, now, camera, &mut bytes, out)?;
                let out = &mut to.next_maps[camera][row];
                buffer.map(place, next, camera, &mut bytes, out)?;
            }
        }
        Ok(())
    }
}
