//! Gathering rows into a batch, reusing its memory.

use embody_core::ArrayData;
use rayon::prelude::*;

use super::pixels::Room;

/// Rows of `width` values each.
pub(super) fn gather(from: &ArrayData, width: usize, rows: &[usize], to: &mut ArrayData) {
    macro_rules! copy {
        ($variant:ident, $from:expr) => {{
            if !matches!(to, ArrayData::$variant(_)) {
                *to = ArrayData::$variant(Vec::new());
            }
            if let ArrayData::$variant(to) = to {
                to.clear();
                to.reserve(rows.len() * width);
                for &row in rows {
                    to.extend_from_slice(&$from[row * width..(row + 1) * width]);
                }
            }
        }};
    }
    match from {
        ArrayData::U8(v) => copy!(U8, v),
        ArrayData::F32(v) => copy!(F32, v),
        ArrayData::F64(v) => copy!(F64, v),
        ArrayData::I64(v) => copy!(I64, v),
        ArrayData::Bool(v) => copy!(Bool, v),
    }
}

/// Decoded pictures of `frame` bytes each, by row; large batches are copied on all threads.
pub(super) fn gather_pictures(
    pool: &rayon::ThreadPool,
    from: &[u8],
    frame: usize,
    rows: &[usize],
    rooms: &mut [Room<'_>],
) {
    let put = |(room, &row): (&mut Room<'_>, &usize)| {
        room.put(&from[row * frame..(row + 1) * frame]);
    };
    if frame * rows.len() < 4 << 20 {
        rooms.iter_mut().zip(rows).for_each(put);
    } else {
        pool.install(|| rooms.par_iter_mut().zip(rows).for_each(put));
    }
}
