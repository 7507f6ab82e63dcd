//! A team of threads for work of tens of microseconds: one minibatch of a small network, one step of
//! a batch of environments.
//!
//! Starting an operating-system thread, or waking one that sleeps, costs as much as the work itself;
//! so idle members spin for a moment before they sleep. Which member does a task is left to chance:
//! tasks write to places of their own, so the number of threads changes no result.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Turns of the waiting loop before a member sleeps: some 50 µs.
const SPINS: usize = 4_000;

type Job = &'static (dyn Fn(usize) + Sync);

#[derive(Default)]
struct Shared {
    /// Counts rounds; a change is the call to work.
    round: AtomicUsize,
    stop: AtomicBool,
    /// The round's work while it is open to be joined.
    job: Mutex<Option<(Job, usize)>>,
    /// The next task to take.
    next: AtomicUsize,
    /// Members that joined this round and have not left it.
    working: AtomicUsize,
    panicked: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// Threads that wait for work; the caller's own is one of them.
pub struct Team {
    shared: Arc<Shared>,
    members: Vec<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("threads", &self.threads()).finish()
    }
}

impl Team {
    /// A team of `threads`, the caller's included; 0 for one per core.
    pub fn new(threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let shared = Arc::new(Shared::default());
        // A member that can't be started is missed by nobody: the others do its tasks.
        let members = (1..threads)
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                let name = format!("embody-{i}");
                std::thread::Builder::new().name(name).spawn(move || shared.serve()).ok()
            })
            .collect();
        Self { shared, members }
    }

    /// How many threads there are, the caller's included.
    pub fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Calls `task` with every item and its index, each once, and returns when all are done.
    ///
    /// # Panics
    /// When a task does.
    pub fn each<T: Send>(&self, items: &mut [T], task: impl Fn(usize, &mut T) + Sync) {
        struct Items<T>(*mut T);
        // SAFETY: members get the pointer only to reach items that no other one reaches; `T: Send`
        // lets an item be used by another thread.
        unsafe impl<T: Send> Sync for Items<T> {}
        impl<T> Items<T> {
            fn at(&self, i: usize) -> *mut T {
                self.0.wrapping_add(i)
            }
        }
        let count = items.len();
        let items = Items(items.as_mut_ptr());
        self.run(count, &|i| {
            // SAFETY: `run` gives every number below `count` to one member only and returns when
            // all are done, so this is the only reference to the item, inside the slice's borrow.
            task(i, unsafe { &mut *items.at(i) });
        });
    }

    /// Calls `task` with every number below `count`, each once, and returns when all are done.
    ///
    /// # Panics
    /// When a task does.
    pub fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.members.is_empty() || count <= 1 {
            (0..count).for_each(task);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: the borrow is handed to members only while the round is open, and this function
        // leaves, also by unwinding, only after it closed the round and every member that had
        // joined has left it.
        let job = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(task) };
        shared.next.store(0, Ordering::Relaxed);
        *lock(&shared.job) = Some((job, count));
        shared.round.fetch_add(1, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.sleep));
            shared.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.work(job, count)));
        *lock(&shared.job) = None;
        let mut turns = 0;
        while shared.working.load(Ordering::Acquire) > 0 {
            pause(&mut turns);
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a task of the team panicked");
    }
}

fn pause(turns: &mut usize) {
    *turns += 1;
    // On a machine with more to do than cores, whoever is waited for may need this one.
    if turns.is_multiple_of(256) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

impl Shared {
    fn work(&self, job: Job, count: usize) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            job(i);
        }
    }

    fn serve(&self) {
        let mut seen = 0;
        while let Some(round) = self.await_round(seen) {
            seen = round;
            let joined = {
                let job = lock(&self.job);
                if job.is_some() {
                    self.working.fetch_add(1, Ordering::Relaxed);
                }
                *job
            };
            let Some((job, count)) = joined else { continue };
            if catch_unwind(AssertUnwindSafe(|| self.work(job, count))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.working.fetch_sub(1, Ordering::Release);
        }
    }

    /// The number of the next round; `None` when the team is dismissed.
    fn await_round(&self, seen: usize) -> Option<usize> {
        let called = || {
            let round = self.round.load(Ordering::SeqCst);
            (round != seen).then_some(round)
        };
        let mut turns = 0;
        while turns < SPINS {
            if let Some(round) = called() {
                return (!self.stop.load(Ordering::SeqCst)).then_some(round);
            }
            pause(&mut turns);
        }
        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let round = loop {
            if let Some(round) = called() {
                break round;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        (!self.stop.load(Ordering::SeqCst)).then_some(round)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        drop(lock(&self.shared.sleep));
        self.shared.wake.notify_all();
        for member in self.members.drain(..) {
            // A member's panic has been reported by the round it happened in.
            member.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads);
            for count in [0, 1, 2, 7, 64] {
                for _ in 0..200 {
                    let hits: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    team.run(count, &|i| {
                        hits[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn every_item_is_met_once() {
        for threads in [1, 3] {
            let mut items: Vec<usize> = vec![0; 100];
            Team::new(threads).each(&mut items, |i, item| *item += i + 1);
            assert!(items.iter().enumerate().all(|(i, item)| *item == i + 1));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(3);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            team.run(16, &|i| assert!(i != 9, "told to panic"));
        }));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        team.run(16, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 120);
    }
}
