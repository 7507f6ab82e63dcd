//! Sums as NumPy takes them: eight running sums for eight values and more (`pairwise_sum`), so that
//! rewards round alike. Gymnasium's costs of a float32 action are float32 from end to end.

use std::ops::Add;

/// Sum of squares of up to 128 values.
pub(super) fn sum_of_squares(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    sum(values.map(|x| x * x), 0.0)
}

/// `weight` times the sum of squares of an action, in float32.
pub(super) fn action_cost(weight: f64, action: &[f32]) -> f64 {
    f64::from(weight as f32 * sum(action.iter().map(|x| x * x), 0.0))
}

fn sum<T: Copy + Add<Output = T>>(values: impl ExactSizeIterator<Item = T>, zero: T) -> T {
    debug_assert!(values.len() <= 128, "longer sums are split in two there");
    let whole = values.len() / 8 * 8;
    let mut running = [zero; 8];
    let mut rest = zero;
    for (i, value) in values.enumerate() {
        match i {
            0..8 if whole > 0 => running[i] = value,
            _ if i < whole => running[i % 8] = running[i % 8] + value,
            _ if i == whole => {
                rest = if whole > 0 { tree(&running) + value } else { value };
            }
            _ => rest = rest + value,
        }
        if i + 1 == whole {
            rest = tree(&running);
        }
    }
    rest
}

fn tree<T: Copy + Add<Output = T>>(r: &[T; 8]) -> T {
    ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_numpys() {
        // np.sum(np.square(np.arange(n, dtype=np.float32) * np.float32(0.1))) in NumPy 2.
        let some = |n: usize| (0..n).map(|i| i as f32 * 0.1).collect::<Vec<f32>>();
        for (n, bits) in EXPECTED {
            assert_eq!((action_cost(1.0, &some(n)) as f32).to_bits(), bits, "{n} values");
        }
    }

    const EXPECTED: [(usize, u32); 6] = [
        (1, 0),
        (6, 0x3f0c_cccd),
        (7, 0x3f68_f5c3),
        (8, 0x3fb3_3333),
        (17, 0x416f_5c2a),
        (84, 0x44f2_9148),
    ];
}
