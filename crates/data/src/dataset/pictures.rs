//! Image features: an encoded picture per row of the table, as Hugging Face's `Image` stores them (a
//! struct of bytes and path).

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use embody_core::{DType, Result};

use super::Dataset;
use crate::error::DataError;
use crate::picture;

const HINT: &str = "the table contradicts meta/info.json: run embody data validate";

/// Pictures in memory at a time, rows.
const BLOCK: usize = 64;

impl Dataset {
    /// Whether pictures of `key` stand in the table.
    pub(crate) fn has_pictures(&self, key: &str) -> bool {
        self.info.features.get(key).is_some_and(|f| f.dtype == DType::Image)
    }

    /// Encoded pictures (PNG, JPEG) of some frames of an image feature, as they lie in the table.
    ///
    /// # Errors
    /// When there is no such feature, or a row holds no picture; names file, episode and frame.
    pub fn encoded_pictures(
        &self,
        episode: usize,
        key: &str,
        frames: Range<usize>,
    ) -> Result<Vec<Vec<u8>>> {
        let place = self.episode(episode)?.rows.clone();
        if frames.end > place.rows.len() || frames.is_empty() {
            let why = format!("episode {episode} has no frames {frames:?}");
            let hint = format!("it has {} frames", place.rows.len());
            return Err(DataError::Request { why, hint }.into());
        }
        let from = place.rows.start + frames.start;
        let batch = self.table(&place.file)?.read(from, frames.len(), Some(&[key]))?;
        let bad = |frame: usize, why: &str| DataError::Frame {
            path: place.file.clone(),
            episode,
            frame,
            why: format!("{key}: {why}"),
            hint: HINT,
        };
        let column = batch.column_by_name(key).and_then(bytes_of);
        let column = column.ok_or_else(|| bad(frames.start, "the column holds no pictures"))?;
        let one = |(row, bytes): (usize, Option<&[u8]>)| {
            let bytes = bytes.map(<[u8]>::to_vec);
            bytes.ok_or_else(|| bad(frames.start + row, "the row holds no picture").into())
        };
        column.iter().copied().enumerate().map(one).collect()
    }

    /// Decodes pictures of an image feature and hands each to `take` with its position in `frames`.
    pub(super) fn visit_pictures(
        &self,
        episode: usize,
        key: &str,
        frames: &[usize],
        take: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let path = self.episode(episode)?.rows.file.clone();
        let bad = |frame: usize, why: String| DataError::Frame {
            path: path.clone(),
            episode,
            frame,
            why: format!("{key}: {why}"),
            hint: HINT,
        };
        let spec = &self.info.features[key];
        let [height, width, 3] = spec.shape[..] else {
            return Err(
                bad(0, format!("pictures of shape {:?} are not decoded", spec.shape)).into()
            );
        };
        let mut at = 0;
        while at < frames.len() {
            // Frames that follow each other are read at once.
            let first = frames[at];
            let run = (0..BLOCK.min(frames.len() - at)).take_while(|i| frames[at + i] == first + i);
            let run = run.count().max(1);
            for (i, bytes) in
                self.encoded_pictures(episode, key, first..first + run)?.iter().enumerate()
            {
                let rgb = picture::decode(bytes, height, width);
                take(at + i, &rgb.map_err(|why| bad(first + i, why))?)?;
            }
            at += run;
        }
        Ok(())
    }
}

/// The bytes of each row, where the column is one of pictures.
fn bytes_of(column: &ArrayRef) -> Option<Vec<Option<&[u8]>>> {
    let rows = column.as_struct_opt()?;
    let bytes = rows.column_by_name("bytes")?;
    let there = |row: usize| rows.is_valid(row) && bytes.is_valid(row);
    let pick = |row: usize| match bytes.data_type() {
        DataType::Binary => Some(bytes.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(bytes.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(bytes.as_binary_view().value(row)),
        _ => None,
    };
    Some((0..column.len()).map(|row| there(row).then(|| pick(row)).flatten()).collect())
}
