//! Handing values from thread to thread without locks: the latest one, or all of them in order.
//!
//! [`latest`] is a triple buffer: the writer always has a place to write, the reader always has a
//! whole value, and neither waits for the other; values that nobody took in time are overwritten.
//! [`ring`] is a queue of fixed length for one writer and one reader; what does not fit is dropped
//! and counted. Places are made once and written again and again, so nothing is allocated. A reader
//! that has nothing to do may sleep; waking it never makes the writer wait.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Wakes the one thread that waits.
#[derive(Debug, Default)]
struct Wake {
    sleeper: OnceLock<Thread>,
    closed: AtomicBool,
}

impl Wake {
    fn wake(&self) {
        if let Some(thread) = self.sleeper.get() {
            thread.unpark();
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Sleeps until `ready`, the other side is gone, or `timeout` is over; whether it is ready.
    fn wait(&self, timeout: Duration, ready: impl Fn() -> bool) -> bool {
        let _ = self.sleeper.set(std::thread::current());
        let until = Instant::now() + timeout;
        loop {
            // In this order: what was written before the end is still there.
            let closed = self.is_closed();
            if ready() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if closed || left.is_zero() {
                return false;
            }
            std::thread::park_timeout(left);
        }
    }
}

/// The place that is with neither side, in the lowest two bits.
const PLACE: u8 = 3;
/// Whether it holds a value that was not taken yet.
const FRESH: u8 = 4;

struct Triple<T> {
    places: [UnsafeCell<T>; 3],
    middle: AtomicU8,
    wake: Wake,
}

// SAFETY: a place is reached only through the number that one side holds; numbers change hands by
// an atomic swap, so never two sides hold the same. `T: Send` lets the value be used elsewhere.
unsafe impl<T: Send> Sync for Triple<T> {}

/// The writing side of [`latest`].
pub struct Writer<T> {
    shared: Arc<Triple<T>>,
    place: u8,
}

/// The reading side of [`latest`].
pub struct Reader<T> {
    shared: Arc<Triple<T>>,
    place: u8,
}

/// An exchange of which the reader sees the newest value; `make` makes its three places. The reader
/// has what `make` made until something is written.
pub fn latest<T: Send>(mut make: impl FnMut() -> T) -> (Writer<T>, Reader<T>) {
    let places = std::array::from_fn(|_| UnsafeCell::new(make()));
    let shared = Arc::new(Triple { places, middle: AtomicU8::new(1), wake: Wake::default() });
    (Writer { shared: Arc::clone(&shared), place: 0 }, Reader { shared, place: 2 })
}

impl<T: Send> Writer<T> {
    /// Lets `fill` write a value, which has to set all of it (it finds an older one), and hands it
    /// over.
    pub fn write(&mut self, fill: impl FnOnce(&mut T)) {
        // SAFETY: this place's number is held by the writer alone, see `Triple`.
        fill(unsafe { &mut *self.shared.places[usize::from(self.place)].get() });
        let before = self.shared.middle.swap(self.place | FRESH, Ordering::AcqRel);
        self.place = before & PLACE;
        self.shared.wake.wake();
    }

    /// Whether the reader is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.wake.is_closed()
    }
}

impl<T: Send> Reader<T> {
    /// The newest value, where one was written since the last call.
    pub fn take(&mut self) -> Option<&mut T> {
        if self.shared.middle.load(Ordering::Relaxed) & FRESH == 0 {
            return None;
        }
        let before = self.shared.middle.swap(self.place, Ordering::AcqRel);
        self.place = before & PLACE;
        Some(self.get())
    }

    /// The value taken last.
    pub fn get(&mut self) -> &mut T {
        // SAFETY: this place's number is held by the reader alone, see `Triple`.
        unsafe { &mut *self.shared.places[usize::from(self.place)].get() }
    }

    /// Sleeps until a value is there, the writer is gone, or `timeout` is over; whether one is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let fresh = || self.shared.middle.load(Ordering::Relaxed) & FRESH != 0;
        self.shared.wake.wait(timeout, fresh)
    }

    /// Whether the writer is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.wake.is_closed()
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.shared.wake.close();
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.shared.wake.close();
    }
}

struct Queue<T> {
    places: Box<[UnsafeCell<T>]>,
    /// Values taken so far.
    taken: AtomicUsize,
    /// Values put so far; never more than the places before `taken`.
    put: AtomicUsize,
    dropped: AtomicU64,
    wake: Wake,
}

// SAFETY: the producer reaches only places that are free (`put - taken < len`), the consumer only
// those that are filled; each counter is moved by one side, after it is done with the place.
unsafe impl<T: Send> Sync for Queue<T> {}

/// The filling side of [`ring`].
pub struct Producer<T>(Arc<Queue<T>>);

/// The emptying side of [`ring`].
pub struct Consumer<T>(Arc<Queue<T>>);

/// A queue of `len` places (at least one), each made by `make`.
pub fn ring<T: Send>(len: usize, mut make: impl FnMut() -> T) -> (Producer<T>, Consumer<T>) {
    let places = (0..len.max(1)).map(|_| UnsafeCell::new(make())).collect();
    let (taken, put) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let queue = Queue { places, taken, put, dropped: AtomicU64::new(0), wake: Wake::default() };
    let queue = Arc::new(queue);
    (Producer(Arc::clone(&queue)), Consumer(queue))
}

impl<T> Queue<T> {
    fn place(&self, number: usize) -> *mut T {
        self.places[number % self.places.len()].get()
    }
}

impl<T: Send> Producer<T> {
    /// Lets `fill` write the next value, which has to set all of it (it finds an older one). Where
    /// the queue is full nothing is called, the drop is counted, and this is false.
    pub fn push(&mut self, fill: impl FnOnce(&mut T)) -> bool {
        let queue = &*self.0;
        let put = queue.put.load(Ordering::Relaxed);
        if put.wrapping_sub(queue.taken.load(Ordering::Acquire)) >= queue.places.len() {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // SAFETY: the place is free, so the consumer does not reach it, see `Queue`.
        fill(unsafe { &mut *queue.place(put) });
        queue.put.store(put.wrapping_add(1), Ordering::Release);
        queue.wake.wake();
        true
    }

    /// Values that did not fit so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl<T: Send> Consumer<T> {
    /// Gives the oldest value to `with`, where there is one; its place is free afterwards.
    pub fn pop<R>(&mut self, with: impl FnOnce(&mut T) -> R) -> Option<R> {
        let queue = &*self.0;
        let taken = queue.taken.load(Ordering::Relaxed);
        if taken == queue.put.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the place is filled, so the producer does not reach it, see `Queue`.
        let result = with(unsafe { &mut *queue.place(taken) });
        queue.taken.store(taken.wrapping_add(1), Ordering::Release);
        Some(result)
    }

    /// Sleeps until there is a value, the producer is gone, or `timeout` is over; whether there is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let queue = &*self.0;
        queue.wake.wait(timeout, || {
            queue.taken.load(Ordering::Relaxed) != queue.put.load(Ordering::Acquire)
        })
    }

    /// Whether the producer is gone; values may still be there.
    pub fn is_closed(&self) -> bool {
        self.0.wake.is_closed()
    }

    /// Values that did not fit so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.0.wake.close();
    }
}

#[cfg(test)]
mod tests;
