use proptest::prelude::*;

use super::*;

/// Every order in which the two sides can take twelve steps. A hand-over is one atomic swap, so
/// these are all the ways in which threads can meet.
#[test]
fn in_every_order_of_steps_the_reader_sees_the_newest_whole_value() {
    for order in 0u32..1 << 12 {
        let (mut writer, mut reader) = latest(|| 0u32);
        let (mut written, mut seen) = (0, 0);
        for step in 0..12 {
            if order >> step & 1 == 1 {
                written += 1;
                writer.write(|value| *value = written);
            } else {
                assert_eq!(reader.take().is_some(), written > seen, "{order:b}");
                seen = written;
                assert_eq!(*reader.get(), seen, "{order:b}");
            }
            let middle = reader.shared.middle.load(Ordering::Relaxed) & PLACE;
            let mut places = [writer.place, reader.place, middle];
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2], "{order:b}");
        }
    }
}

#[test]
fn values_are_whole_and_never_go_back_between_threads() {
    const LAST: u64 = 100_000;
    let (mut writer, mut reader) = latest(|| [0u64; 32]);
    let thread = std::thread::spawn(move || {
        for number in 1..=LAST {
            writer.write(|value| value.fill(number));
        }
    });
    let mut before = 0;
    while before < LAST {
        reader.wait(Duration::from_secs(10));
        if let Some(value) = reader.take() {
            assert!(value.iter().all(|v| *v == value[0]), "{value:?}");
            assert!(value[0] > before);
            before = value[0];
        }
    }
    thread.join().unwrap();
    assert!(reader.is_closed() && reader.take().is_none());
}

proptest! {
    /// Against a queue of the standard library.
    #[test]
    fn a_ring_is_a_queue_that_drops_what_does_not_fit(
        len in 1usize..6, steps in proptest::collection::vec(any::<bool>(), 0..80),
    ) {
        let (mut producer, mut consumer) = ring(len, || 0);
        let (mut model, mut dropped) = (std::collections::VecDeque::new(), 0);
        for (number, put) in steps.into_iter().enumerate() {
            if put {
                let fits = model.len() < len;
                prop_assert_eq!(producer.push(|place| *place = number), fits);
                if fits { model.push_back(number) } else { dropped += 1 }
            } else {
                prop_assert_eq!(consumer.pop(|place| *place), model.pop_front());
            }
        }
        prop_assert_eq!(consumer.dropped(), dropped);
    }
}

#[test]
fn a_ring_keeps_order_between_threads_and_ends() {
    let (mut producer, mut consumer) = ring(8, || [0u64; 16]);
    let thread = std::thread::spawn(move || {
        let mut put = Vec::new();
        for number in 0..50_000u64 {
            if producer.push(|place| place.fill(number)) {
                put.push(number);
            }
        }
        (put, producer.dropped())
    });
    let mut got = Vec::new();
    while consumer.wait(Duration::from_secs(10)) {
        let value = consumer.pop(|place| *place).unwrap();
        assert!(value.iter().all(|v| *v == value[0]));
        got.push(value[0]);
    }
    let (put, dropped) = thread.join().unwrap();
    assert_eq!(got, put);
    assert_eq!(put.len() as u64 + dropped, 50_000);
    assert!(consumer.is_closed());
}
