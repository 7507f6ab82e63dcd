//! How chunks are compressed. Each step knows how many bytes have to come out, and stops there.

use std::io::Read;

use serde_json::Value;

use super::blosc;
use crate::picture;

/// One step from a stored chunk to its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Blosc,
    Zlib,
    Gzip,
    Zstd,
    /// numcodecs' LZ4: the size in four bytes, then a block.
    Lz4,
    /// Four bytes of checksum at the end.
    Crc32c,
    /// One RGB picture to a chunk.
    JpegXl,
}

impl Codec {
    /// The codec of that name, in Zarr v2's (numcodecs) or v3's words.
    pub fn named(name: &str) -> Result<Self, String> {
        Ok(match name.strip_prefix("numcodecs.").unwrap_or(name) {
            "blosc" => Self::Blosc,
            "zlib" => Self::Zlib,
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            "lz4" => Self::Lz4,
            "crc32c" => Self::Crc32c,
            "imagecodecs_jpegxl" => Self::JpegXl,
            other => {
                return Err(format!(
                    "its codec {other:?} is not read (blosc, zlib, gzip, zstd, lz4, crc32c and \
                     imagecodecs_jpegxl are)"
                ));
            }
        })
    }

    /// The codec that a description names under `key`.
    pub fn of(description: &Value, key: &str) -> Result<Self, String> {
        let name = description.get(key).and_then(Value::as_str);
        Self::named(name.ok_or("a codec has no name")?)
    }

    /// Undoes the step; `expected` bytes come out of the last one, `chunk` is the chunk's shape.
    pub fn decode(self, bytes: &[u8], expected: usize, chunk: &[usize]) -> Result<Vec<u8>, String> {
        match self {
            Self::Blosc => blosc::decode(bytes, expected),
            Self::Zlib => all(flate2::read::ZlibDecoder::new(bytes), expected, "zlib"),
            Self::Gzip => all(flate2::read::MultiGzDecoder::new(bytes), expected, "gzip"),
            Self::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
                all(decoder.map_err(|e| format!("damaged zstd: {e}"))?, expected, "zstd")
            }
            Self::Lz4 => {
                let (size, block) =
                    bytes.split_first_chunk::<4>().ok_or("damaged lz4: it is cut")?;
                if u32::from_le_bytes(*size) as usize != expected {
                    return Err(format!("damaged lz4: a chunk has {expected} bytes"));
                }
                lz4_flex::block::decompress(block, expected)
                    .map_err(|e| format!("damaged lz4: {e}"))
            }
            Self::Crc32c => {
                let (bytes, sum) = bytes.split_last_chunk::<4>().ok_or("the checksum is cut")?;
                match crc32c::crc32c(bytes).to_le_bytes() == *sum || cfg!(feature = "fuzz") {
                    true => Ok(bytes.to_vec()),
                    false => Err("the checksum is wrong: bytes were changed".to_owned()),
                }
            }
            Self::JpegXl => match *chunk {
                [1, height, width, 3] | [height, width, 3] => picture::decode(bytes, height, width),
                _ => Err(format!("chunks of shape {chunk:?} are no single pictures")),
            },
        }
    }
}

/// Everything that comes out of `reader`, which has to be `expected` bytes.
fn all(reader: impl Read, expected: usize, name: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = reader.take(expected as u64 + 1).read_to_end(&mut out);
    read.map_err(|e| format!("damaged {name}: {e}"))?;
    match out.len() {
        n if n == expected => Ok(out),
        n if n > expected => Err(format!("it holds more than the {expected} bytes of a chunk")),
        n => Err(format!("it holds {n} bytes, a chunk has {expected}")),
    }
}
