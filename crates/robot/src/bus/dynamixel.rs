//! Frames of the Dynamixel protocol 2.0: `FF FF FD 00 ID LEN LEN CODE PARAMS CRC CRC`.
//!
//! Words come low byte first. So that no header appears inside a frame, every `FF FF FD` in code
//! and parameters is followed by one more `FD`; the CRC counts it. Source: ROBOTIS e-manual,
//! "Protocol 2.0".

use super::wire::{BROADCAST, Frame, MAX_FRAME, Parsed};

/// Asks whether a servo is there; it answers with model number and firmware.
pub const PING: u8 = 0x01;
/// Reads bytes from an address.
pub const READ: u8 = 0x02;
/// Writes bytes from an address on.
pub const WRITE: u8 = 0x03;
/// As write, but acted upon only at [`ACTION`].
pub const REG_WRITE: u8 = 0x04;
/// Acts upon what was written by [`REG_WRITE`].
pub const ACTION: u8 = 0x05;
/// Starts the servo anew, which also ends an alarm.
pub const REBOOT: u8 = 0x08;
/// The code of answers.
pub const STATUS: u8 = 0x55;
/// Reads the same bytes from several servos, which answer one after the other.
pub const SYNC_READ: u8 = 0x82;
/// Writes the same addresses of several servos; none answers.
pub const SYNC_WRITE: u8 = 0x83;
/// As sync read, but all answer within one frame.
pub const FAST_SYNC_READ: u8 = 0x8a;
/// Reads other bytes from each of several servos.
pub const BULK_READ: u8 = 0x92;
/// Writes other addresses of each of several servos; none answers.
pub const BULK_WRITE: u8 = 0x93;

/// Bytes of an instruction besides its parameters; an answer has one more, the error.
pub const OVERHEAD: usize = 10;
const HEADER: [u8; 4] = [0xff, 0xff, 0xfd, 0x00];
/// Where code and parameters begin.
const CODE: usize = 7;

/// Starts a frame in `out`, which is emptied; parameters follow, then [`finish`].
pub fn begin(out: &mut Vec<u8>, id: u8, code: u8) {
    out.clear();
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&[id, 0, 0, code]);
}

/// Puts stuffing, length and CRC in; whether the frame is one that is believed.
#[must_use]
pub fn finish(out: &mut Vec<u8>) -> bool {
    let mut at = CODE + 3;
    while at <= out.len() {
        if out[at - 3..at] == HEADER[..3] {
            out.insert(at, 0xfd);
        }
        at += 1;
    }
    finish_bare(out)
}

/// As [`finish`], for answers to a fast sync read: they are not stuffed.
#[must_use]
pub fn finish_bare(out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(out.len() - CODE + 2) else { return false };
    out[5..7].copy_from_slice(&length.to_le_bytes());
    let sum = crc(out);
    out.extend_from_slice(&sum.to_le_bytes());
    out.len() <= MAX_FRAME
}

/// Looks for a frame at the beginning of `bytes`, and undoes the stuffing of one that is found.
pub fn parse(bytes: &mut [u8]) -> Parsed {
    let noise = |bytes, damaged| Parsed::Noise { bytes, damaged };
    let agree = bytes.iter().zip(HEADER).take_while(|(a, b)| *a == b).count();
    if agree < HEADER.len() {
        if agree == bytes.len() {
            return Parsed::Incomplete;
        }
        // The next place where a header may begin.
        let next = bytes.iter().skip(1).position(|b| *b == 0xff);
        return noise(next.map_or(bytes.len(), |n| n + 1), false);
    }
    let &[_, _, _, _, id, low, high, ..] = &*bytes else { return Parsed::Incomplete };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let used = length + CODE;
    if id > BROADCAST || length < 3 || used > MAX_FRAME {
        return noise(1, false);
    }
    let Some(frame) = bytes.get_mut(..used) else { return Parsed::Incomplete };
    let (body, sum) = frame.split_at_mut(used - 2);
    if crc(body).to_le_bytes() != *sum {
        return noise(1, true);
    }
    let code = body[CODE];
    let is_fast = id == BROADCAST && code == STATUS;
    let end = if is_fast { body.len() } else { unstuff(body) };
    Parsed::Frame(Frame { id, code, params: CODE + 1..end.max(CODE + 1), used })
}

/// Takes the stuffed `FD`s out of a frame without its CRC; returns where it ends now.
fn unstuff(body: &mut [u8]) -> usize {
    let mut to = CODE;
    let mut last = [0; 3];
    for from in CODE..body.len() {
        let byte = body[from];
        if last != HEADER[..3] || byte != 0xfd {
            body[to] = byte;
            to += 1;
        }
        last = [last[1], last[2], byte];
    }
    to
}

/// CRC-16 with polynomial 0x8005 from 0, not reflected ("CRC-16/UMTS").
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x8005 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Why an answer is a refusal; the highest bit, an alarm, is no refusal.
pub fn refusal(error: u8) -> Option<&'static str> {
    match error & 0x7f {
        0 => None,
        1 => Some("the instruction failed"),
        2 => Some("the instruction is not known to it"),
        3 => Some("the frame came damaged"),
        4 => Some("the value is out of the register's range"),
        5 => Some("the data is shorter than the register"),
        6 => Some("the value is out of the limits that are set"),
        7 => Some("the register can't be written, or only with torque off"),
        _ => Some("for an unknown reason"),
    }
}

/// What the bits of the register Hardware_Error_Status mean, the first that is set.
pub fn alarm(bits: u8) -> Option<&'static str> {
    const MEANING: [(u8, &str); 6] = [
        (0x20, "overload"),
        (0x04, "overheating"),
        (0x10, "an electric shock or too little power"),
        (0x01, "a voltage out of bounds"),
        (0x08, "a fault of its encoder"),
        (0xff, "an unknown fault"),
    ];
    MEANING.iter().find(|(bit, _)| bits & bit != 0).map(|(_, meaning)| *meaning)
}
