//! Frames of Feetech's protocol: `FF FF ID LEN CODE PARAMS SUM`.
//!
//! STS and SMS servos send words low byte first, SCS servos high byte first and know no sync read;
//! the frames are the same. Source: Feetech's communication protocol manual.

use super::wire::{BROADCAST, Frame, Parsed};

/// Asks whether a servo is there.
pub const PING: u8 = 0x01;
/// Reads bytes from an address.
pub const READ: u8 = 0x02;
/// Writes bytes from an address on.
pub const WRITE: u8 = 0x03;
/// As write, but acted upon only at [`ACTION`].
pub const REG_WRITE: u8 = 0x04;
/// Acts upon what was written by [`REG_WRITE`].
pub const ACTION: u8 = 0x05;
/// Reads the same bytes from several servos, which answer one after the other.
pub const SYNC_READ: u8 = 0x82;
/// Writes the same addresses of several servos; none answers.
pub const SYNC_WRITE: u8 = 0x83;

/// Bytes of a frame besides its parameters.
pub const OVERHEAD: usize = 6;

/// Starts a frame in `out`, which is emptied; parameters follow, then [`finish`].
pub fn begin(out: &mut Vec<u8>, id: u8, code: u8) {
    out.clear();
    out.extend_from_slice(&[0xff, 0xff, id, 0, code]);
}

/// Puts length and checksum in; whether the parameters fit a frame.
#[must_use]
pub fn finish(out: &mut Vec<u8>) -> bool {
    // The length counts code, parameters and sum.
    let Ok(length) = u8::try_from(out.len() - 3) else { return false };
    out[3] = length;
    let sum = checksum(&out[2..]);
    out.push(sum);
    length < 0xff
}

/// The complement of the sum of `bytes`, from id to the last parameter.
fn checksum(bytes: &[u8]) -> u8 {
    !bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b))
}

/// Looks for a frame at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let noise = |bytes, damaged| Parsed::Noise { bytes, damaged };
    match bytes {
        [] | [0xff] => return Parsed::Incomplete,
        [0xff, 0xff, ..] => {}
        _ => {
            let header = bytes.windows(2).position(|w| w == [0xff, 0xff]);
            // A last FF may begin a header.
            let all = bytes.len() - usize::from(bytes.ends_with(&[0xff]));
            return noise(header.unwrap_or(all).max(1), false);
        }
    }
    let &[_, _, id, length, ..] = bytes else {
        // `FF FF FF`: the header begins one byte later.
        return if bytes.get(2) == Some(&0xff) { noise(1, false) } else { Parsed::Incomplete };
    };
    if id > BROADCAST || !(2..0xff).contains(&length) {
        return noise(1, false);
    }
    let used = usize::from(length) + 4;
    let Some(frame) = bytes.get(..used) else { return Parsed::Incomplete };
    if checksum(&frame[2..used - 1]) != frame[used - 1] {
        return noise(1, true);
    }
    Parsed::Frame(Frame { id, code: frame[4], params: 5..used - 1, used })
}

/// What the alarm bits of an answer mean, the first that is set.
pub fn alarm(bits: u8) -> Option<&'static str> {
    const MEANING: [(u8, &str); 6] = [
        (0x20, "overload"),
        (0x04, "overheating"),
        (0x08, "overcurrent"),
        (0x01, "a voltage out of bounds"),
        (0x02, "a fault of its angle sensor"),
        (0xff, "an unknown fault"),
    ];
    MEANING.iter().find(|(bit, _)| bits & bit != 0).map(|(_, meaning)| *meaning)
}
