//! Gathering pictures into a batch, reusing its memory.

use embody_core::ArrayData;
use rayon::prelude::*;

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
