use proptest::prelude::*;

use super::*;

#[test]
fn buckets_hold_what_falls_into_them() {
    let mut before = None;
    for shift in 0..36 {
        for low in [0u64, 1, 3, 63, 64, 65, 100] {
            let nanos = (1u64 << shift) + low;
            let bucket = bucket(nanos);
            assert!(nanos <= end(bucket), "{nanos}");
            assert!(end(bucket) as f64 <= nanos as f64 * (1.0 + 1.0 / 64.0) + 1.0, "{nanos}");
            assert!(bucket == 0 || end(bucket - 1) < nanos, "{nanos}");
            before = before.max(Some(bucket));
        }
    }
    assert!(before < Some(BUCKETS));
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

proptest! {
    /// Against sorting: the quantile is the same element, up to the width of a bucket.
    #[test]
    fn quantiles_are_those_of_the_sorted_list(
        mut list in proptest::collection::vec(0u64..5_000_000_000, 1..300),
        part in 0.01..1.0f64,
    ) {
        let mut histogram = Histogram::default();
        list.iter().for_each(|&n| histogram.add(Duration::from_nanos(n)));
        list.sort_unstable();
        let exact = list[((part * list.len() as f64).ceil() as usize).max(1) - 1];
        let found = histogram.quantile(part);
        prop_assert!(found >= exact && found as f64 <= exact as f64 * 1.016 + 1.0);
        prop_assert_eq!(histogram.max, list[list.len() - 1]);
    }
}

/// Its time moves by what the test says, as work and as waiting that ends late.
struct Scripted(AtomicU64, u64);

impl Clock for Scripted {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
    fn at(&self, _instant: Instant) -> Duration {
        self.now()
    }
    fn wait_until(&self, at: Duration) {
        let late = at.as_nanos() as u64 + self.1;
        self.0.fetch_max(late, Ordering::Relaxed);
    }
}

#[test]
fn lateness_does_not_add_up_and_missed_deadlines_are_counted() {
    let clock = Scripted(AtomicU64::new(0), 70_000);
    let mut ticker = Ticker::new(Duration::ZERO, 1000.0);
    for number in 0..100 {
        let tick = ticker.wait(&clock);
        assert_eq!(tick.number, number);
        assert_eq!(tick.due, Duration::from_millis(number));
        assert_eq!(tick.late, Duration::from_micros(70));
        clock.0.fetch_add(300_000, Ordering::Relaxed);
    }
    assert_eq!(ticker.figures().missed, 0);
    // The turn works on for 2.5 periods: its own deadline and the next two have passed.
    clock.0.fetch_add(3_000_000, Ordering::Relaxed);
    let tick = ticker.wait(&clock);
    assert_eq!((tick.number, ticker.figures().missed), (102, 3));
    assert_eq!(tick.late, Duration::from_micros(370));
    assert_eq!(ticker.wait(&clock).number, 103);
    let figures = ticker.figures();
    assert_eq!(figures.turns, 102);
    assert!((figures.late.p50_us - 70.0).abs() < 2.0, "{figures:?}");
    assert_eq!(figures.late.max_us, 370.0);
}

#[test]
fn a_stepped_clock_goes_where_it_is_waited_for() {
    let clock = SteppedClock::default();
    let mut ticker = Ticker::new(Duration::ZERO, 60.0);
    for _ in 0..601 {
        ticker.wait(&clock);
    }
    assert_eq!(clock.now(), Duration::from_secs(10));
    let figures = ticker.figures();
    assert_eq!((figures.missed, figures.late.max_us), (0, 0.0));
}

#[test]
fn the_host_clock_waits_for_the_instant() {
    let clock = HostClock::start();
    let until = clock.now() + Duration::from_millis(5);
    clock.wait_until(until);
    assert!(clock.now() >= until);
    let before = clock.now();
    clock.wait_until(Duration::ZERO);
    assert!(clock.at(Instant::now()) >= before);
}
