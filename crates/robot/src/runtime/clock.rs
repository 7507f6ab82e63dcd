//! Time as the control loop knows it: deadlines that do not drift, and how well they are kept.
//!
//! A turn's deadline is computed from its number, never from the turn before, so lateness does not
//! add up. The same loop runs on the host's clock or on one that stands still until it is waited
//! for, by which a simulated machine goes faster than real time. Nothing here allocates after it is
//! made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A clock that begins at zero.
pub trait Clock: Send + Sync {
    /// Time since the clock began.
    fn now(&self) -> Duration;
    /// What the clock showed at an instant of the host.
    fn at(&self, instant: Instant) -> Duration;
    /// Waits until the clock shows `at`; returns at once where it is past.
    fn wait_until(&self, at: Duration);
}

/// The host's monotonic clock.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
    #[cfg(target_os = "linux")]
    start_nanos: u64,
}

impl HostClock {
    /// Begins now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            #[cfg(target_os = "linux")]
            start_nanos: super::realtime::monotonic_nanos(),
        }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.start)
    }

    fn wait_until(&self, at: Duration) {
        #[cfg(target_os = "linux")]
        super::realtime::sleep_until(self.start_nanos + at.as_nanos() as u64);
        #[cfg(not(target_os = "linux"))]
        std::thread::sleep(at.saturating_sub(self.now()));
    }
}

/// A clock that moves only when somebody waits for it: simulated time, as fast as the machine can.
#[derive(Debug, Default)]
pub struct SteppedClock(AtomicU64);

impl Clock for SteppedClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }

    fn at(&self, _instant: Instant) -> Duration {
        self.now()
    }

    fn wait_until(&self, at: Duration) {
        self.0.fetch_max(at.as_nanos() as u64, Ordering::AcqRel);
    }
}

/// One turn of a loop, at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Number of the turn since the loop began; turns that were skipped have numbers too.
    pub number: u64,
    /// When it was to begin.
    pub due: Duration,
    /// How much later it did.
    pub late: Duration,
}

/// Deadlines at a fixed rate, and how well they are kept.
#[derive(Debug)]
pub struct Ticker {
    start: Duration,
    hz: f64,
    next: u64,
    began: Duration,
    lateness: Histogram,
    work: Histogram,
    turns: u64,
    missed: u64,
}

impl Ticker {
    /// `hz` turns per second, the first at `start`, or when it is asked for where that is later.
    pub fn new(start: Duration, hz: f64) -> Self {
        Self {
            start,
            hz,
            next: 0,
            began: start,
            lateness: Histogram::default(),
            work: Histogram::default(),
            turns: 0,
            missed: 0,
        }
    }

    /// When turn `number` is due.
    fn due(&self, number: u64) -> Duration {
        self.start + Duration::from_nanos((number as f64 * 1e9 / self.hz).round() as u64)
    }

    /// Ends the turn before and waits for the next. A turn that is still at work when the next one
    /// is due has missed its deadline; turns that are over before they begin are skipped and
    /// missed.
    pub fn wait(&mut self, clock: &dyn Clock) -> Tick {
        let now = clock.now();
        if self.turns == 0 {
            // What was set up before the first turn makes nothing late.
            self.start = self.start.max(now);
        } else {
            self.work.add(now.saturating_sub(self.began));
            if now > self.due(self.next) {
                let over = (now - self.due(self.next)).as_secs_f64() * self.hz;
                let skipped = over.floor() as u64;
                self.missed += 1 + skipped;
                self.next += skipped;
            }
        }
        let (number, due) = (self.next, self.due(self.next));
        clock.wait_until(due);
        self.began = clock.now();
        let late = self.began.saturating_sub(due);
        self.lateness.add(late);
        self.turns += 1;
        self.next += 1;
        Tick { number, due, late }
    }

    /// Figures so far.
    pub fn figures(&self) -> LoopFigures {
        let secs = (self.began - self.start.min(self.began)).as_secs_f64();
        LoopFigures {
            hz: self.hz,
            secs,
            turns: self.turns,
            missed: self.missed,
            late: self.lateness.quantiles(),
            work: self.work.quantiles(),
        }
    }
}

/// How well a loop kept its deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoopFigures {
    /// Turns per second that were asked for.
    pub hz: f64,
    /// How long it ran, seconds.
    pub secs: f64,
    /// Turns that it took.
    pub turns: u64,
    /// Deadlines missed: turns that were at work when the next was due, and those skipped for it.
    pub missed: u64,
    /// How late turns began.
    pub late: Quantiles,
    /// How long their work took, bus included.
    pub work: Quantiles,
}

impl LoopFigures {
    /// Missed deadlines as a part of all, 0 to 1.
    pub fn missed_part(&self) -> f64 {
        self.missed as f64 / (self.turns + self.missed).max(1) as f64
    }
}

/// Quantiles of durations, microseconds; upper bounds, at most 1.6 % above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// Bits of a duration that tell buckets of an octave apart: 64 buckets, 1.6 % wide.
const FINE: u32 = 6;
/// Octaves: up to 2^36 ns, about 69 s; what is longer falls into the last bucket.
const OCTAVES: usize = 31;
const BUCKETS: usize = OCTAVES << FINE;

/// Durations counted in buckets of equal relative width, in memory that is taken once.
#[derive(Debug)]
pub(super) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, max: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, duration: Duration) {
        let nanos = duration.as_nanos().min(u128::from(u64::MAX)) as u64;
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// The smallest bucket end that `part` of all durations do not pass, nanoseconds.
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = (part * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return end(i).min(self.max);
            }
        }
        self.max
    }

    pub fn quantiles(&self) -> Quantiles {
        let us = |nanos: u64| nanos as f64 / 1e3;
        Quantiles {
            p50_us: us(self.quantile(0.5)),
            p99_us: us(self.quantile(0.99)),
            p999_us: us(self.quantile(0.999)),
            max_us: us(self.max),
        }
    }
}

/// The bucket of a duration: its own below 64 ns, then 64 to each doubling.
fn bucket(nanos: u64) -> usize {
    let top = 63 - (nanos | 1).leading_zeros();
    if top < FINE {
        return nanos as usize;
    }
    let octave = top - FINE + 1;
    let place = (nanos >> (top - FINE)) as usize - (1 << FINE);
    (((octave as usize) << FINE) + place).min(BUCKETS - 1)
}

/// The longest duration of a bucket, nanoseconds.
fn end(bucket: usize) -> u64 {
    let (octave, place) = (bucket >> FINE, (bucket & ((1 << FINE) - 1)) as u64);
    match octave {
        0 => place,
        octave => (((1 << FINE) + place + 1) << (octave - 1)) - 1,
    }
}

#[cfg(test)]
mod tests;
