//! Gathering rows into a batch, reusing its memory.

use embody_core::ArrayData;
use rayon::prelude::*;

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

/// Pictures of `frame` bytes each; large batches are copied on all threads.
pub(super) fn gather_pictures(
    pool: &rayon::ThreadPool,
    from: &[u8],
    frame: usize,
    rows: &[usize],
    to: &mut ArrayData,
) {
    if !matches!(to, ArrayData::U8(_)) {
        *to = ArrayData::U8(Vec::new());
    }
    let ArrayData::U8(to) = to else { return };
    to.resize(rows.len() * frame, 0);
    let copy = |(to, &row): (&mut [u8], &usize)| {
        to.copy_from_slice(&from[row * frame..(row + 1) * frame]);
    };
    if frame == 0 {
        return;
    }
    if to.len() < 4 << 20 {
        to.chunks_exact_mut(frame).zip(rows).for_each(copy);
    } else {
        pool.install(|| to.par_chunks_exact_mut(frame).zip(rows).for_each(copy));
    }
}
