//! A few threads that encode segments. Bounded: submitting waits where the queue is full.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use embody_core::Result;

use super::journal::SegmentFiles;
use crate::error::DataError;
use crate::video::{I420, Segment, SegmentEncoder};

/// A segment to encode.
pub(super) struct Job {
    pub encoder: SegmentEncoder,
    pub frames: Vec<I420>,
    /// Where the journal wants the packets.
    pub keep: Option<SegmentFiles>,
}

type Slot = Arc<(Mutex<Option<Result<Segment>>>, Condvar)>;

/// A segment being encoded.
pub(super) struct Ticket(Slot);

impl Ticket {
    /// For a segment that is encoded already.
    pub fn done(segment: Segment) -> Self {
        let slot: Slot = Arc::default();
        fill(&slot, Ok(segment));
        Self(slot)
    }

    /// Whether [`Ticket::wait`] would return at once.
    pub fn ready(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The encoded segment.
    pub fn wait(self) -> Result<Segment> {
        let (slot, done) = &*self.0;
        let mut guard = slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = guard.take() {
                return result;
            }
            guard = done.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The threads.
pub(super) struct Pool {
    queue: Option<SyncSender<(Job, Slot)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub fn new(threads: usize) -> Self {
        // Two segments a thread wait at most, so memory stays bounded.
        let (queue, jobs) = sync_channel::<(Job, Slot)>(threads * 2);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = (0..threads)
            .map(|_| {
                let jobs = Arc::clone(&jobs);
                std::thread::spawn(move || work(&jobs))
            })
            .collect();
        Self { queue: Some(queue), threads }
    }

    /// Queues a segment; waits while the queue is full.
    pub fn submit(&self, job: Job) -> Ticket {
        let slot: Slot = Arc::default();
        if let Some(queue) = &self.queue
            && let Err(back) = queue.send((job, Arc::clone(&slot)))
        {
            fill(&back.0.1, Err(stopped()));
        }
        Ticket(slot)
    }
}

fn stopped() -> embody_core::Error {
    DataError::Encode { why: "the encoder's threads stopped".to_owned() }.into()
}

fn fill(slot: &Slot, result: Result<Segment>) {
    *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    slot.1.notify_all();
}

fn work(jobs: &Mutex<Receiver<(Job, Slot)>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((job, slot)) = next else { return };
        // A panic in the encoder must not leave the recorder waiting for ever.
        let result = std::panic::catch_unwind(|| job.encoder.encode(&job.frames));
        if let (Ok(Ok(segment)), Some(files)) = (&result, &job.keep) {
            files.keep(segment);
        }
        fill(&slot, result.unwrap_or_else(|_| Err(stopped())));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // Its panics were turned into errors where they belong.
            thread.join().ok();
        }
    }
}
