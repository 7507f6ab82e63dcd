//! Threads with fixed work: item `i` always goes to worker `i % workers`, and each worker is a pool of
//! one thread, so that nothing inside (burn's own rayon calls) can split differently.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::Error;

/// As many threads, or for 0 one per core.
pub(crate) fn or_cores(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// A fixed set of single-threaded workers.
pub(crate) struct Workers(Vec<ThreadPool>);

impl Workers {
    /// `threads` workers; 0 for one per core.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let threads = or_cores(threads);
        let start = |_| {
            let pool = ThreadPoolBuilder::new().num_threads(1).build();
            pool.map_err(|source| Error::Threads { threads, source })
        };
        Ok(Self((0..threads).map(start).collect::<Result<_, _>>()?))
    }

    /// Number of workers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `f` of every item, results in the items' order.
    pub fn map<T: Sync, R: Send>(&self, items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let workers = self.0.len().min(items.len());
        let run = |worker: usize| -> Vec<R> {
            self.0[worker].install(|| items.iter().skip(worker).step_by(workers).map(&f).collect())
        };
        if workers <= 1 {
            return if workers == 0 { Vec::new() } else { run(0) };
        }
        let mut parts: Vec<_> = std::thread::scope(|scope| {
            let run = &run;
            let handles: Vec<_> = (0..workers).map(|w| scope.spawn(move || run(w))).collect();
            handles.into_iter().map(|h| h.join()).collect()
        });
        let mut parts: Vec<_> = parts
            .drain(..)
            .map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).into_iter())
            .collect();
        (0..items.len())
            .map(|i| parts[i % workers].next().expect("each worker returns one result per item"))
            .collect()
    }
}
