//! Levels of an episode's pictures until its length is known, which says which of them are sampled:
//! kept in a file without a name, 3 KB a frame, so that memory does not grow with the episode.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result};

use crate::stats::{PictureStats, sampled_frames};

/// The levels of one camera's frames.
pub(super) struct Levels {
    folder: PathBuf,
    file: Option<BufWriter<File>>,
    frames: usize,
}

impl Levels {
    /// None so far; the file will lie in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, frames: 0 }
    }

    /// Adds a frame.
    pub fn push(&mut self, picture: &PictureStats) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file =
                    tempfile::tempfile_in(&self.folder).at("create file in", &self.folder)?;
                self.file.insert(BufWriter::with_capacity(64 << 10, file))
            }
        };
        let mut bytes = Vec::with_capacity(PictureStats::BYTES);
        picture.to_bytes(&mut bytes);
        self.frames += 1;
        file.write_all(&bytes).at("write levels in", &self.folder)
    }

    /// The statistics of the sampled frames of all that were added.
    pub fn finish(self) -> Result<PictureStats> {
        let mut sum = PictureStats::default();
        let Some(file) = self.file else { return Ok(sum) };
        let folder = &self.folder;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let mut file = file.at("write levels in", folder)?;
        let mut bytes = vec![0; PictureStats::BYTES];
        for frame in sampled_frames(self.frames) {
            let place = SeekFrom::Start((frame * PictureStats::BYTES) as u64);
            file.seek(place).at("read levels in", folder)?;
            file.read_exact(&mut bytes).at("read levels in", folder)?;
            if let Some(picture) = PictureStats::from_bytes(&bytes) {
                sum.merge(&picture);
            }
        }
        Ok(sum)
    }
}
