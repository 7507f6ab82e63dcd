use embody_core::{Array, ArrayData};
use proptest::prelude::*;

use super::{array_stats, merge, sampled_frames};

fn column(values: &[f64]) -> Array {
    Array { shape: vec![values.len(), 1], data: ArrayData::F64(values.to_vec()) }
}

proptest! {
    #[test]
    fn merging_equals_counting_at_once(values in proptest::collection::vec(-1e3f64..1e3, 2..200),
                                       cut in any::<proptest::sample::Index>()) {
        let cut = 1 + cut.index(values.len() - 1);
        let whole = array_stats(&column(&values)).expect("numbers");
        let parts = [&values[..cut], &values[cut..]]
            .map(|v| array_stats(&column(v)).expect("numbers"));
        let merged = merge(&[&parts[0], &parts[1]]).expect("fit");
        prop_assert_eq!(merged.count, whole.count);
        prop_assert_eq!(&merged.min, &whole.min);
        prop_assert_eq!(&merged.max, &whole.max);
        prop_assert!((merged.mean[0] - whole.mean[0]).abs() < 1e-9);
        prop_assert!((merged.std[0] - whole.std[0]).abs() < 1e-9 * (1.0 + whole.std[0]) + 1e-7);
    }
}

#[test]
fn known_values() {
    let stats = array_stats(&column(&[1.0, 2.0, 3.0, 4.0])).expect("numbers");
    assert_eq!((stats.mean[0], stats.q50[0], stats.count), (2.5, 2.5, 4));
    assert!((stats.std[0] - 1.25f64.sqrt()).abs() < 1e-12);
}

#[test]
fn sampling_follows_lerobot() {
    // estimate_num_samples of LeRobot 0.6.1: 100 up to about 500 frames, 177 at 1000, 594 at 5000.
    for (length, count) in [(7, 7), (100, 100), (464, 100), (1000, 177), (5000, 594)] {
        let frames = sampled_frames(length);
        assert_eq!(frames.len(), count);
        assert_eq!((frames[0], frames[count - 1]), (0, length - 1));
    }
}
