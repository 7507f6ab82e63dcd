//! Blosc 1 frames: what numcodecs writes by default.
//!
//! Sixteen bytes of header, the start of each block, blocks of one or (split) `typesize` streams,
//! then the shuffle of bytes or bits is undone (c-blosc README_CHUNK_FORMAT.rst). Written here over
//! codec crates because the bindings want cmake and the ports of c-blosc2 are young; reading needs
//! no more than this. Every length is held against the frame before it is believed.

use std::io::Read;

/// Bytes of the header.
const HEADER: usize = 16;

/// What a frame says of itself.
struct Header {
    flags: u8,
    typesize: usize,
    nbytes: usize,
    blocksize: usize,
}

/// Decodes a frame that has to hold `expected` bytes.
pub(super) fn decode(frame: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let header = header(frame, expected)?;
    let mut out = vec![0; header.nbytes];
    if header.flags & 0x02 != 0 {
        let plain = frame.get(HEADER..HEADER + header.nbytes).ok_or("the blosc frame is cut")?;
        out.copy_from_slice(plain);
        return Ok(out);
    }
    let mut scratch = vec![0; header.blocksize];
    for (index, block) in out.chunks_mut(header.blocksize).enumerate() {
        let at = HEADER + index * 4;
        let start = int(frame, at)? as usize;
        let whole = block.len() == header.blocksize;
        let plain = &mut scratch[..block.len()];
        read_block(&header, frame, start, whole, plain)?;
        match header.flags {
            flags if flags & 0x04 != 0 => unshuffle_bits(plain, header.typesize, block),
            flags if flags & 0x01 != 0 && header.typesize > 1 => {
                unshuffle_bytes(plain, header.typesize, block);
            }
            _ => block.copy_from_slice(plain),
        }
    }
    Ok(out)
}

fn header(frame: &[u8], expected: usize) -> Result<Header, String> {
    let Some(fixed) = frame.get(..HEADER) else {
        return Err("the blosc frame is cut".to_owned());
    };
    let nbytes = int(frame, 4)? as usize;
    let blocksize = int(frame, 8)? as usize;
    let cbytes = int(frame, 12)? as usize;
    if nbytes != expected {
        return Err(format!("the blosc frame holds {nbytes} bytes, a chunk has {expected}"));
    }
    if cbytes > frame.len() {
        return Err(format!("the blosc frame has {} bytes, it says {cbytes}", frame.len()));
    }
    let typesize = usize::from(fixed[3]);
    if typesize == 0 || (blocksize == 0 && nbytes > 0) {
        return Err("the blosc frame has blocks of no size".to_owned());
    }
    let blocksize = blocksize.clamp(1, nbytes.max(1));
    Ok(Header { flags: fixed[2], typesize, nbytes, blocksize })
}

fn int(frame: &[u8], at: usize) -> Result<u32, String> {
    let bytes = frame.get(at..).and_then(|b| b.first_chunk::<4>());
    bytes.map(|b| u32::from_le_bytes(*b)).ok_or_else(|| "the blosc frame is cut".to_owned())
}

/// The streams of a block, one after the other.
fn read_block(
    header: &Header,
    frame: &[u8],
    start: usize,
    whole: bool,
    out: &mut [u8],
) -> Result<(), String> {
    // The flag came with 1.14; before it, frames of large elements or small blocks were not split.
    let small = header.typesize > 16 || out.len() / header.typesize < 128;
    let split = header.flags & 0x10 == 0 && whole && !small;
    let split = split && out.len().is_multiple_of(header.typesize);
    let streams = if split { header.typesize } else { 1 };
    let size = out.len() / streams;
    let mut at = start;
    for part in out.chunks_mut(size.max(1)) {
        let length = int(frame, at)? as usize;
        let end = at.checked_add(4).and_then(|a| a.checked_add(length));
        let bytes = end.and_then(|end| frame.get(at + 4..end)).ok_or("a blosc stream is cut")?;
        if length == part.len() {
            part.copy_from_slice(bytes);
        } else {
            read_stream(header.flags >> 5, bytes, part)?;
        }
        at += 4 + length;
    }
    Ok(())
}

fn read_stream(codec: u8, bytes: &[u8], out: &mut [u8]) -> Result<(), String> {
    let size = out.len();
    let written = match codec {
        0 => blosclz(bytes, out)?,
        1 => {
            lz4_flex::block::decompress_into(bytes, out).map_err(|e| format!("damaged LZ4: {e}"))?
        }
        2 => return Err("blosc with snappy is not read".to_owned()),
        3 => {
            let mut decoder = flate2::read::ZlibDecoder::new(bytes);
            decoder.read_exact(out).map_err(|e| format!("damaged zlib: {e}"))?;
            size
        }
        4 => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
            let mut decoder = decoder.map_err(|e| format!("damaged zstd: {e}"))?;
            decoder.read_exact(out).map_err(|e| format!("damaged zstd: {e}"))?;
            size
        }
        other => return Err(format!("blosc with codec {other} is not read")),
    };
    if written == size {
        Ok(())
    } else {
        Err(format!("a blosc stream holds {written} of {size} bytes"))
    }
}

/// BloscLZ, a member of the FastLZ family: literals and matches, far matches in two more bytes.
fn blosclz(bytes: &[u8], out: &mut [u8]) -> Result<usize, String> {
    /// The largest distance that fits the short form.
    const NEAR: usize = 8191;
    let cut = || "damaged blosclz: it is cut".to_owned();
    let mut input = bytes.iter().map(|&b| usize::from(b));
    let mut next = || input.next().ok_or_else(cut);
    let mut at = 0;
    let mut control = match bytes {
        [] => return Ok(0),
        _ => next()? & 31,
    };
    loop {
        if control >= 32 {
            let mut length = (control >> 5) - 1;
            let far = (control & 31) << 8;
            if length == 6 {
                loop {
                    let more = next()?;
                    length += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let near = next()?;
            let distance = match near == 255 && far == 31 << 8 {
                true => NEAR + (next()? << 8) + next()?,
                false => far + near,
            } + 1;
            let length = length + 3;
            if distance > at || length > out.len() - at {
                return Err("damaged blosclz: a match lies outside".to_owned());
            }
            for _ in 0..length {
                out[at] = out[at - distance];
                at += 1;
            }
        } else {
            for _ in 0..=control {
                *out.get_mut(at).ok_or_else(cut)? = next()? as u8;
                at += 1;
            }
        }
        match next() {
            Ok(byte) => control = byte,
            Err(_) => return Ok(at),
        }
    }
}

/// Puts byte `k` of every element, which stand together, back into the elements.
fn unshuffle_bytes(from: &[u8], typesize: usize, to: &mut [u8]) {
    let count = from.len() / typesize;
    for (k, plane) in from.chunks_exact(count.max(1)).take(typesize).enumerate() {
        for (element, &byte) in to.chunks_exact_mut(typesize).zip(plane) {
            element[k] = byte;
        }
    }
    let whole = count * typesize;
    to[whole..].copy_from_slice(&from[whole..]);
}

/// Puts bit `k` of every element, which stand together, back into the elements. A block whose
/// elements do not come in eights was never shuffled.
fn unshuffle_bits(from: &[u8], typesize: usize, to: &mut [u8]) {
    let count = from.len() / typesize;
    if !count.is_multiple_of(8) {
        to.copy_from_slice(from);
        return;
    }
    let whole = count * typesize;
    let row = count / 8;
    to[..whole].fill(0);
    for (bit, plane) in from[..whole].chunks_exact(row.max(1)).enumerate() {
        let (byte, shift) = (bit / 8, bit % 8);
        for (group, &packed) in plane.iter().enumerate() {
            for k in 0..8 {
                to[(group * 8 + k) * typesize + byte] |= (packed >> k & 1) << shift;
            }
        }
    }
    to[whole..].copy_from_slice(&from[whole..]);
}
