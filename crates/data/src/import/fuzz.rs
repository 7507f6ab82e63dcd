//! Array formats as an import reads them, without the recording of a dataset: for fuzzing.

use std::path::Path;

use super::arrays::Recording;
use super::{hdf5, rlds, zarr};

/// A format of arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ArrayFormat {
    Hdf5,
    Rlds,
    Zarr,
}

/// Opens the recording at `path` and reads the first rows of every column of its first episodes.
pub(crate) fn read_all(format: ArrayFormat, path: &Path) {
    let is = match format {
        ArrayFormat::Hdf5 => hdf5::is_hdf5(path),
        ArrayFormat::Rlds => rlds::is_rlds(path),
        ArrayFormat::Zarr => zarr::is_zarr(path),
    };
    if !is {
        return;
    }
    let opened = match format {
        ArrayFormat::Hdf5 => hdf5::open(path),
        ArrayFormat::Rlds => rlds::open(path),
        ArrayFormat::Zarr => zarr::open(path),
    };
    let Ok(Recording { mut episodes, .. }) = opened else { return };
    let widths: Vec<(usize, usize)> = episodes
        .columns()
        .iter()
        .map(|c| c.shape.iter().fold(1usize, |n, d| n.saturating_mul(*d)))
        .enumerate()
        .collect();
    for episode in 0..episodes.len().min(3) {
        for &(column, width) in widths.iter().take(32) {
            // One column at a time, so that a broken one does not hide the others.
            let Ok(head) = episodes.open(episode, &[column]) else { continue };
            // As many rows as an import takes at a time.
            let rows = ((32usize << 20) / width.saturating_mul(8).max(1)).clamp(1, 64);
            let _ = episodes.read(column, 0..head.length.min(rows));
            if head.length > rows {
                let _ = episodes.read(column, head.length - 1..head.length);
            }
        }
    }
    let _ = episodes.notes();
}

/// Parses a record of RLDS.
pub(crate) fn read_example(bytes: &[u8]) {
    let _ = rlds::read_example(bytes);
}
