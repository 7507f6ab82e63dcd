//! The order in which training sees frames: a function of the seed and the position alone, so that
//! resuming needs no state and the number of threads changes nothing.
//!
//! An epoch has as many positions as there are frames. A frame of weight `w` takes `len · w / Σw` of
//! them: the whole part always, the rest by systematic sampling with one random offset per epoch
//! (Kitagawa, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models", 1996),
//! so shares hold exactly in expectation and to within one position per stretch in every epoch. With
//! equal weights every frame comes exactly once. The positions are then shuffled: frame by frame, or,
//! with a window, run by run (a run is what hangs on one key frame of a video) and then frame by frame
//! within windows of that many positions.

use std::ops::Range;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{BatchSource, Error, Result, derive_seed};

/// Draws frames epoch after epoch, each shuffled by its own seed.
#[derive(Debug)]
pub struct Sampler {
    seed: u64,
    len: usize,
    /// `None`: all alike.
    weights: Option<Vec<(Range<usize>, f64)>>,
    /// Starts of runs; empty: every frame is its own.
    runs: Vec<u32>,
    /// Positions that are shuffled among each other; 1 where the epoch is shuffled frame by frame.
    window: usize,
    epoch: Option<(usize, Vec<u32>)>,
}

impl Sampler {
    /// Over the frames of `source`. `window` positions are shuffled among each other after the runs
    /// were; 0 shuffles the whole epoch frame by frame.
    ///
    /// # Errors
    /// When there is no frame, weights are negative or not finite or all 0, or the runs can't be read.
    pub fn new(source: &dyn BatchSource, seed: u64, window: usize) -> Result<Self> {
        let len = source.len();
        if len == 0 {
            return Err(Error::new("there is no frame to draw from")
                .with_hint("check the filters and the split: no episode is left"));
        }
        if u32::try_from(len).is_err() {
            return Err(Error::new(format!("{len} frames are more than a sampler can number"))
                .with_hint("split the dataset: at most 2^32 - 1 frames"));
        }
        let weights = checked(source.weights(), len)?;
        let mut runs = Vec::new();
        if window > 1 {
            runs = source.runs()?.unwrap_or_default().iter().map(|r| r.start as u32).collect();
        }
        let weights = (!alike(&weights)).then_some(weights);
        Ok(Self { seed, len, weights, runs, window: window.max(1), epoch: None })
    }

    /// The frames at `positions`, which count over all epochs from 0. With a window, `positions` must
    /// be one: start and length multiples of it.
    pub fn draw(&mut self, positions: Range<usize>) -> Vec<usize> {
        let start = positions.start;
        let mut out: Vec<usize> = positions.map(|p| self.at(p)).collect();
        if self.window > 1 {
            let seed = derive_seed(self.seed, "train/window", (start / self.window) as u64);
            out.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        }
        out
    }

    /// About `count` frames spread over the source by weight, in order: the same at every call.
    ///
    /// # Errors
    /// As [`Sampler::new`], except that no frame gives none.
    pub fn spread(source: &dyn BatchSource, count: usize) -> Result<Vec<usize>> {
        let len = source.len();
        let count = count.min(len);
        if len == 0 {
            return Ok(Vec::new());
        }
        let weights = checked(source.weights(), len)?;
        if alike(&weights) {
            return Ok((0..count).map(|i| i * len / count).collect());
        }
        let mut out: Vec<usize> = Vec::with_capacity(count);
        systematic(&weights, count, 0.5, |frame, _| out.push(frame));
        Ok(out)
    }

    fn at(&mut self, position: usize) -> usize {
        let (epoch, place) = (position / self.len, position % self.len);
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let order = self.order(epoch as u64);
            self.epoch = Some((epoch, order));
        }
        self.epoch.as_ref().map_or(0, |(_, order)| order[place] as usize)
    }

    /// The frames of an epoch in their order.
    fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = match &self.weights {
            None => (0..self.len as u32).collect(),
            Some(weights) => {
                let seed = derive_seed(self.seed, "train/weights", epoch);
                let offset = ChaCha8Rng::seed_from_u64(seed).random_range(0.0..1.0);
                let mut order = Vec::with_capacity(self.len);
                systematic(weights, self.len, offset, |frame, times| {
                    order.extend(std::iter::repeat_n(frame as u32, times));
                });
                order
            }
        };
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, "train/order", epoch));
        if self.runs.is_empty() {
            order.shuffle(&mut rng);
            return order;
        }
        let run = |frame: u32| self.runs.partition_point(|&start| start <= frame);
        let mut groups: Vec<&[u32]> = order.chunk_by(|a, b| run(*a) == run(*b)).collect();
        groups.shuffle(&mut rng);
        groups.concat()
    }
}

/// Weights as given, refused where they make no sense.
fn checked(weights: Vec<(Range<usize>, f64)>, len: usize) -> Result<Vec<(Range<usize>, f64)>> {
    let mut end = 0;
    for (frames, weight) in &weights {
        if !weight.is_finite() || *weight < 0.0 {
            return Err(Error::new(format!(
                "frames {} to {} have the sampling weight {weight}",
                frames.start, frames.end
            ))
            .with_hint("weights are 0 or more: embody data annotate --weight"));
        }
        if frames.start != end {
            return Err(Error::new(format!(
                "sampling weights jump from frame {end} to {}",
                frames.start
            )));
        }
        end = frames.end;
    }
    if end != len {
        return Err(Error::new(format!("sampling weights cover {end} of {len} frames")));
    }
    if !weights.iter().any(|(frames, weight)| *weight > 0.0 && !frames.is_empty()) {
        return Err(Error::new("every frame has the sampling weight 0")
            .with_hint("give at least one episode a weight: embody data annotate --weight"));
    }
    Ok(weights)
}

fn alike(weights: &[(Range<usize>, f64)]) -> bool {
    let mut there = weights.iter().filter(|(frames, _)| !frames.is_empty()).map(|w| w.1);
    let first = there.next();
    there.all(|w| Some(w) == first)
}

/// Shares `count` places out by weight: `give(frame, times)` for every frame that gets any, in order.
fn systematic(
    weights: &[(Range<usize>, f64)],
    count: usize,
    offset: f64,
    mut give: impl FnMut(usize, usize),
) {
    let total: f64 = weights.iter().map(|(frames, w)| frames.len() as f64 * w).sum();
    let scale = count as f64 / total;
    let (mut before, mut given) = (0.0, 0);
    let mut last = 0;
    for (frames, weight) in weights {
        for (i, frame) in frames.clone().enumerate() {
            // Ends are counted from the stretch's start: one rounding, not a sum of them.
            let end = before + (i + 1) as f64 * weight * scale;
            let until = ((end + offset) as usize).min(count);
            if until > given {
                give(frame, until - given);
                given = until;
            }
            if *weight > 0.0 {
                last = frame;
            }
        }
        before += frames.len() as f64 * weight * scale;
    }
    if given < count {
        give(last, count - given);
    }
}

#[cfg(test)]
mod tests;
