//! Batches read ahead: worker threads ask a source for them, the consumer gets them in order.
//!
//! A batch is a function of (seed, number) alone, so neither the number of workers nor the depth of
//! prefetch changes a result, and a loader that starts at batch `n` continues exactly one that ended
//! there. Workers stop ahead of the consumer by a bounded number of batches, whose memory goes around;
//! an error comes in the place of its batch, after all batches before it. Dropping the loader ends
//! the workers after the batch they are at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::{Batch, BatchSource, Error, Result, Sampler};

/// What to load, and how far ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Frames per batch.
    pub batch_size: usize,
    /// Root of the order.
    pub seed: u64,
    /// Frames among which a batch is shuffled after runs of frames were (see [`Sampler`]), rounded up
    /// to whole batches; such a window is read at once, so frames that hang on one key frame are
    /// decoded once. 0: plain shuffling over the epoch. Up to `prefetch` + 2 windows are in memory.
    pub window: usize,
    /// Number of the first batch.
    pub first: usize,
    /// Number of the batch after the last; `None` goes on for ever.
    pub end: Option<usize>,
    /// Threads that read; at least 1. A source with threads of its own needs one or two.
    pub workers: usize,
    /// Batches (windows, with one) read ahead of the one that the consumer waits for; at least 1.
    pub prefetch: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { batch_size: 32, seed: 0, window: 0, first: 0, end: None, workers: 2, prefetch: 4 }
    }
}

/// Shuffled batches of a source, in order.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    /// Batches of the window that is being handed out.
    current: VecDeque<Batch>,
    /// Batches of the first window that lie before the first batch asked for.
    skip: usize,
    /// Number of the next batch.
    next: usize,
    end: Option<usize>,
    waited: Duration,
}

impl Loader {
    /// Starts reading on threads of `scope`.
    ///
    /// # Errors
    /// When the batch size is 0 or the source can't be drawn from ([`Sampler::new`]).
    pub fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: &'env dyn BatchSource,
        options: &LoaderOptions,
    ) -> Result<Self> {
        if options.batch_size == 0 {
            return Err(Error::new("a batch of 0 frames").with_hint("set batch_size to 1 or more"));
        }
        // Batches per job.
        let per_job = options.window.div_ceil(options.batch_size).max(1);
        let window = if options.window > 1 { per_job * options.batch_size } else { 0 };
        let sampler = Sampler::new(source, options.seed, window)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                sampler,
                next_job: options.first / per_job,
                next_out: options.first / per_job,
                done: BTreeMap::new(),
                spare: Vec::new(),
                closed: false,
            }),
            changed: Condvar::new(),
            batch_size: options.batch_size,
            per_job,
            ahead: options.prefetch.max(1),
            end: options.end.map(|end| end.div_ceil(per_job)),
        });
        for _ in 0..options.workers.max(1) {
            let shared = Arc::clone(&shared);
            scope.spawn(move || shared.work(source));
        }
        Ok(Self {
            shared,
            current: VecDeque::new(),
            skip: options.first % per_job,
            next: options.first,
            end: options.end,
            waited: Duration::ZERO,
        })
    }

    /// The next batch; `None` after the last and after an error.
    ///
    /// # Errors
    /// What the source said, with the batch's number.
    #[allow(clippy::should_implement_trait, reason = "an iterator could not take batches back")]
    pub fn next(&mut self) -> Option<Result<Batch>> {
        if self.end.is_some_and(|end| self.next >= end) {
            return None;
        }
        while self.current.is_empty() {
            let begun = Instant::now();
            let batches = self.shared.take();
            self.waited += begun.elapsed();
            match batches {
                Ok(batches) => self.current.extend(batches),
                Err(error) => {
                    // Nothing comes after it: numbers would no longer fit.
                    self.end = Some(self.next);
                    return Some(Err(error.context(format!("batch {}", self.next))));
                }
            }
            for batch in self.current.drain(..self.skip.min(self.current.len())) {
                self.shared.give_back(batch);
            }
            self.skip = 0;
        }
        self.next += 1;
        self.current.pop_front().map(Ok)
    }

    /// Takes a batch back, so that its memory is used again.
    pub fn give_back(&self, batch: Batch) {
        self.shared.give_back(batch);
    }

    /// How long [`Loader::next`] has waited for data in all.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something in `state` changed.
    changed: Condvar,
    batch_size: usize,
    per_job: usize,
    ahead: usize,
    /// Number of the job after the last.
    end: Option<usize>,
}

#[derive(Debug)]
struct State {
    sampler: Sampler,
    /// Job that the next idle worker takes.
    next_job: usize,
    /// Job that the consumer waits for.
    next_out: usize,
    /// Jobs done and not yet taken.
    done: BTreeMap<usize, Result<Vec<Batch>>>,
    spare: Vec<Batch>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it but the sampler, whose state is rebuilt from the seed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self, source: &dyn BatchSource) {
        let mut whole = Batch::default();
        loop {
            let mut state = self.lock();
            while !state.closed && state.next_job > state.next_out + self.ahead {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let job = state.next_job;
            if state.closed || self.end.is_some_and(|end| job >= end) {
                return;
            }
            state.next_job += 1;
            let size = self.batch_size * self.per_job;
            let indices = state.sampler.draw(job * size..(job + 1) * size);
            let kept = state.spare.len().saturating_sub(self.per_job);
            let mut out = state.spare.split_off(kept);
            drop(state);
            out.resize_with(self.per_job, Batch::default);
            // Says so if the source panics: the consumer must not wait for ever.
            let mut delivery = Delivery { shared: self, job, result: None };
            delivery.result = Some(self.read(source, &indices, &mut whole, out));
        }
    }

    fn read(
        &self,
        source: &dyn BatchSource,
        indices: &[usize],
        whole: &mut Batch,
        mut out: Vec<Batch>,
    ) -> Result<Vec<Batch>> {
        if let [batch] = &mut out[..] {
            source.batch(indices, batch)?;
            return Ok(out);
        }
        source.batch(indices, whole)?;
        for (i, batch) in out.iter_mut().enumerate() {
            whole.copy_rows(i * self.batch_size..(i + 1) * self.batch_size, batch);
        }
        Ok(out)
    }

    /// Waits for the next job's batches.
    fn take(&self) -> Result<Vec<Batch>> {
        let mut state = self.lock();
        loop {
            let wanted = state.next_out;
            if let Some(result) = state.done.remove(&wanted) {
                state.next_out += 1;
                self.changed.notify_all();
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, batch: Batch) {
        let mut state = self.lock();
        if state.spare.len() < (self.ahead + 1) * self.per_job {
            state.spare.push(batch);
        }
    }
}

/// Puts a job's result in its place when it goes out of scope, whichever way.
struct Delivery<'a> {
    shared: &'a Shared,
    job: usize,
    result: Option<Result<Vec<Batch>>>,
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        let died = || Err(Error::new("the thread that reads batches died"));
        let result = self.result.take().unwrap_or_else(died);
        self.shared.lock().done.insert(self.job, result);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
