//! What both wire protocols share: how a frame is told from noise, and where bytes wait.
//!
//! Framing does no I/O: functions build a frame in a buffer of the caller's, or look for one at
//! the beginning of received bytes. No input makes them panic, and after garbage they find the
//! next sound frame. Driver and emulator use the same functions, from either end.

use std::ops::Range;

/// Longest frame believed, bytes; a header that promises more is noise.
pub const MAX_FRAME: usize = 1024;
/// The id that every servo listens to.
pub const BROADCAST: u8 = 0xfe;

/// What lies at the beginning of received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole frame with the right checksum.
    Frame(Frame),
    /// The beginning of a frame, or nothing: wait for more.
    Incomplete,
    /// Bytes that begin no frame.
    Noise {
        /// How many to pass over, at least one.
        bytes: usize,
        /// Whether they looked like a frame, with a wrong checksum.
        damaged: bool,
    },
}

/// Where the parts of a frame lie in the buffer that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The servo it is for, or from.
    pub id: u8,
    /// The instruction; in answers of Feetech servos the alarm bits, 0x55 in those of Dynamixel.
    pub code: u8,
    /// The parameters, with byte stuffing undone.
    pub params: Range<usize>,
    /// Bytes of the whole frame.
    pub used: usize,
}

/// Received bytes that wait to be parsed, in a buffer that never grows.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: vec![0; 4 * MAX_FRAME].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Inbox {
    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What waits.
    pub fn waiting(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Passes over the first `bytes`.
    pub fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Room behind what waits, never empty; say with [`Inbox::filled`] how much of it was used.
    ///
    /// What waits moves to the front where room is short, and its oldest half is given up where
    /// it fills the buffer, which only noise can do.
    pub fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < MAX_FRAME {
            if self.end - self.start > self.bytes.len() - MAX_FRAME {
                self.start = self.end - self.bytes.len() / 2;
            }
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// Takes the first `bytes` of the room as received.
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    /// Adds as many of `bytes` as there is room for, and says how many.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.filled(n);
        n
    }
}
