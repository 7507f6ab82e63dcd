//! TFRecord: length, checksum of the length, bytes, checksum of the bytes; one after the other.
//!
//! Checksums are CRC-32C, masked (tensorflow/core/lib/io/record_writer.h). The index is made from
//! the headers alone; a length is believed only where its checksum and the file's size agree.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use embody_core::{IoContext, Result};

use crate::import::arrays::wrong;

/// Where a record's bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub offset: u64,
    pub length: u64,
}

/// CRC-32C, rotated and moved so that checksums of checksums stay good ones.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Every record of the file at `path`; a file that ends inside one is an error.
pub(super) fn index(path: &Path) -> Result<Vec<Record>> {
    let file = File::open(path).at("open", path)?;
    let size = file.metadata().at("read", path)?.len();
    let mut reader = BufReader::with_capacity(64, file);
    let mut records = Vec::new();
    let mut at = 0u64;
    while at < size {
        let place = format!("record {}", records.len());
        let mut header = [0; 12];
        if size - at < 12 {
            return Err(wrong(path, &place, "the file ends inside its header").into());
        }
        reader.read_exact(&mut header).at("read", path)?;
        if at == 0 && header[..2] == [0x1f, 0x8b] {
            return Err(wrong(path, "", "it is compressed; unpack it with gunzip first").into());
        }
        let [length, crc] = [&header[..8], &header[8..]];
        if masked(length).to_le_bytes() != crc && !cfg!(feature = "fuzz") {
            return Err(wrong(path, &place, "the checksum of its length is wrong").into());
        }
        let length = length.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let left = size - at - 12;
        if length.checked_add(4).is_none_or(|need| need > left) {
            let why = format!("it has {length} bytes, the file only {left} more");
            return Err(wrong(path, &place, why).into());
        }
        records.push(Record { offset: at + 12, length });
        at += 12 + length + 4;
        reader.seek(SeekFrom::Start(at)).at("read", path)?;
    }
    Ok(records)
}

/// The bytes of a record, checked.
pub(super) fn read(path: &Path, number: usize, record: Record) -> Result<Vec<u8>> {
    let mut file = File::open(path).at("open", path)?;
    file.seek(SeekFrom::Start(record.offset)).at("read", path)?;
    // The index has compared the length with the file's size.
    let mut bytes = vec![0; record.length as usize + 4];
    file.read_exact(&mut bytes).at("read", path)?;
    let crc = bytes.split_off(record.length as usize);
    if masked(&bytes).to_le_bytes() != crc[..] && !cfg!(feature = "fuzz") {
        let place = format!("record {number}");
        return Err(wrong(path, &place, "its checksum is wrong: bytes were changed").into());
    }
    Ok(bytes)
}
