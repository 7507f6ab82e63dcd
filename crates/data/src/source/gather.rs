//! Gathering pictures into a batch, reusing its memory.

use rayon::prelude::*;

use super::pixels::Room;

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
