//! Batches in memory that another process maps: a ring of slots in a file without a name.
//!
//! Every slot has the same layout, which [`Layout`] describes as JSON: a sequence number (u64, little
//! endian) at offset 0, then each array, row-major, little endian, aligned to 64 bytes. The writer
//! fills a slot, then writes its sequence number (from 1); who may write or read which slot is agreed
//! over pipes (`embody data serve`), which also order the memory: a slot is announced after it is
//! full and given back before it is filled again. The file has mode 0600 and, on Linux, never a name:
//! it is gone with the last process that has it open, however that one dies. All of it is reserved
//! before it is mapped, so that a full file system is an error and no bus error. What a reader writes
//! into it is never read here.

use std::fs::File;
use std::path::{Path, PathBuf};

use embody_core::{Array, ArrayData, Batch, IoContext, Result};
use memmap2::MmapMut;
use serde::Serialize;

use crate::error::DataError;

/// Version of the layout and of the messages about it.
pub const RING_PROTOCOL: &str = "embody-batches/1";

/// Where arrays begin inside a slot, in multiples of this.
const ALIGN: usize = 64;
/// Largest ring: a typing error must not eat the machine.
const MAX_BYTES: usize = 64 << 30;

/// An array inside a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotArray {
    /// Feature key, `{key}_is_pad`, `episode_index`, `frame_index` or `dataset_index`.
    pub name: String,
    /// NumPy's name: `uint8`, `float32`, `float64`, `int64`, `bool`.
    pub dtype: &'static str,
    /// Extents, the batch first.
    pub shape: Vec<usize>,
    /// Bytes from the slot's start.
    pub offset: usize,
}

/// What a reader must know to find arrays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// [`RING_PROTOCOL`].
    pub protocol: &'static str,
    /// File to map, as another process of the same user opens it.
    pub file: PathBuf,
    /// Number of slots; slot `i` begins at byte `i · slot_bytes`.
    pub slots: usize,
    /// Bytes per slot, a multiple of 4096.
    pub slot_bytes: usize,
    /// Arrays of a slot.
    pub arrays: Vec<SlotArray>,
}

/// A ring of batches that this process fills.
pub struct BatchRing {
    layout: Layout,
    map: MmapMut,
    /// Keeps the file open for those who come by its path.
    _file: File,
    /// Removes the file where it has a name.
    _name: Option<tempfile::TempPath>,
}

impl BatchRing {
    /// A ring of `slots` slots for batches shaped like `like`, in `folder`.
    ///
    /// # Errors
    /// When it would be larger than 64 GiB or `folder` has no room for it.
    pub fn create(like: &Batch, slots: usize, folder: &Path) -> Result<Self> {
        let rows = like.frames.len();
        let mut arrays = Vec::new();
        let mut end = 8usize;
        let bookkeeping = ["dataset_index", "episode_index", "frame_index"];
        let each = like.arrays.iter().map(|(key, a)| (key.clone(), dtype(a), a.shape.clone()));
        let own = bookkeeping.map(|key| (key.to_owned(), ("int64", 8), vec![rows]));
        for (name, (dtype, size), shape) in each.chain(own) {
            let offset = end.next_multiple_of(ALIGN);
            end = offset + shape.iter().product::<usize>() * size;
            arrays.push(SlotArray { name, dtype, shape, offset });
        }
        let slot_bytes = end.next_multiple_of(4096);
        let bytes = slot_bytes.saturating_mul(slots);
        if slots == 0 || bytes > MAX_BYTES {
            return Err(DataError::Request {
                why: format!("a ring of {slots} slots of {slot_bytes} bytes"),
                hint: "from 1 slot up to 64 GiB in all: lower batch size, image size or slots"
                    .to_owned(),
            }
            .into());
        }
        let (path, file, name) = unnamed(folder)?;
        reserve(&file, bytes).map_err(|e| {
            embody_core::Error::new(format!(
                "could not reserve {:.0} MiB in {}: {e}",
                bytes as f64 / f64::from(1 << 20),
                folder.display()
            ))
            .with_hint(
                "take another folder (--ring-dir) or fewer slots; containers give /dev/shm only \
                 64 MiB unless told otherwise (--shm-size)",
            )
        })?;
        let map = map(&file).at("map", &path)?;
        let layout = Layout { protocol: RING_PROTOCOL, file: path, slots, slot_bytes, arrays };
        Ok(Self { layout, map, _file: file, _name: name })
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Fills the slot of `sequence` (from 1) and gives its number.
    ///
    /// # Errors
    /// When the batch is of another shape than the ring.
    pub fn write(&mut self, sequence: u64, batch: &Batch) -> Result<usize> {
        let slot = (sequence.saturating_sub(1) % self.layout.slots as u64) as usize;
        let start = slot * self.layout.slot_bytes;
        let bytes = &mut self.map[start..start + self.layout.slot_bytes];
        bytes[..8].fill(0);
        for place in &self.layout.arrays {
            let made;
            let array = match (place.name.as_str(), batch.arrays.get(&place.name)) {
                (_, Some(array)) => array,
                (name, None) => {
                    made = own(name, batch);
                    &made
                }
            };
            if dtype(array).0 != place.dtype || array.shape != place.shape {
                return Err(DataError::Request {
                    why: format!(
                        "{} is {} {:?}, the ring holds {} {:?}",
                        place.name,
                        dtype(array).0,
                        array.shape,
                        place.dtype,
                        place.shape
                    ),
                    hint: "all batches of a ring have one size".to_owned(),
                }
                .into());
            }
            put(&array.data, &mut bytes[place.offset..]);
        }
        bytes[..8].copy_from_slice(&sequence.to_le_bytes());
        Ok(slot)
    }
}

/// NumPy's name of an array's type, and bytes per element.
fn dtype(array: &Array) -> (&'static str, usize) {
    match array.data {
        ArrayData::U8(_) => ("uint8", 1),
        ArrayData::F32(_) => ("float32", 4),
        ArrayData::F64(_) => ("float64", 8),
        ArrayData::I64(_) => ("int64", 8),
        ArrayData::Bool(_) => ("bool", 1),
    }
}

/// Where a batch's frames are from.
fn own(name: &str, batch: &Batch) -> Array {
    let value = |f: &embody_core::FrameRef| match name {
        "dataset_index" => f.dataset as i64,
        "episode_index" => f.episode as i64,
        _ => f.frame as i64,
    };
    let data = ArrayData::I64(batch.frames.iter().map(value).collect());
    Array { shape: vec![batch.frames.len()], data }
}

fn put(data: &ArrayData, to: &mut [u8]) {
    macro_rules! put {
        ($values:expr, $size:literal) => {
            for (to, v) in to.chunks_exact_mut($size).zip($values) {
                to.copy_from_slice(&v.to_le_bytes());
            }
        };
    }
    match data {
        ArrayData::U8(v) => to[..v.len()].copy_from_slice(v),
        ArrayData::F32(v) => put!(v, 4),
        ArrayData::F64(v) => put!(v, 8),
        ArrayData::I64(v) => put!(v, 8),
        ArrayData::Bool(v) => to.iter_mut().zip(v).for_each(|(to, v)| *to = u8::from(*v)),
    }
}

/// A file in `folder` that only this user opens: its path for other processes, the file, and what
/// removes it where it has a name.
fn unnamed(folder: &Path) -> Result<(PathBuf, File, Option<tempfile::TempPath>)> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::tempfile_in(folder).at("create a file in", folder)?;
        // Made by the umask, unlike one with a name.
        let private = std::fs::Permissions::from_mode(0o600);
        file.set_permissions(private).at("restrict a file in", folder)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok((path.into(), file, None))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let named = tempfile::Builder::new().prefix("embody-batches-").tempfile_in(folder);
        let (file, path) = named.at("create a file in", folder)?.into_parts();
        Ok((path.to_path_buf(), file, Some(path)))
    }
}

/// Writes zeros, so that the space is there: what is only promised can be missing when it is touched.
fn reserve(mut file: &File, bytes: usize) -> std::io::Result<()> {
    use std::io::Write;
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(zeros.len());
        file.write_all(&zeros[..part])?;
        left -= part;
    }
    file.flush()
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<MmapMut> {
    // SAFETY: the file is ours alone until its path is told, all of it is reserved, and nobody is
    // told to shorten it. Readers map it too; this process only writes to the map, never reads it.
    unsafe { MmapMut::map_mut(file) }
}

#[cfg(test)]
mod tests;
