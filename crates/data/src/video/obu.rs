//! Open bitstream units of AV1 (AV1 specification, section 5.3): as much as moving packets between
//! containers needs.

/// Type of a sequence header OBU.
const SEQUENCE_HEADER: u8 = 1;

/// Types of the units in a temporal unit of the low-overhead format; `None` where it is malformed.
pub(crate) fn obu_types(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut types = Vec::new();
    while let Some((&header, rest)) = data.split_first() {
        if header & 0x80 != 0 {
            return None;
        }
        types.push(header >> 3 & 0x0f);
        let rest = if header & 0x04 != 0 { rest.get(1..)? } else { rest };
        if header & 0x02 == 0 {
            // Without a size it reaches to the end.
            break;
        }
        let (size, used) = leb128(rest)?;
        data = rest.get(used..)?.get(size..)?;
    }
    Some(types)
}

/// A little-endian base-128 number and the bytes that it takes (section 4.10.5).
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (i, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, i + 1));
        }
    }
    None
}

/// A key frame's packet such that decoding can begin with it alone: MP4 files may keep the sequence
/// header only in `av1C` (whose units begin at byte 4, AV1-ISOBMFF section 2.3).
pub(crate) fn with_sequence_header(packet: &[u8], av1c: &[u8]) -> Vec<u8> {
    let there = obu_types(packet).is_some_and(|types| types.contains(&SEQUENCE_HEADER));
    let head = if there { &[][..] } else { av1c.get(4..).unwrap_or(&[]) };
    [head, packet].concat()
}
