//! NUT, the container in which raw frames come back from ffmpeg: it is written frame by frame without
//! delay and keeps each frame's time, unlike bare planes.
//!
//! Read after the NUT Open Container Format specification (version 3), one video stream of raw frames.

use std::io::{self, Read};

/// What a stream header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stream {
    /// Pixel format, as ffmpeg tags it.
    pub tag: [u8; 4],
    pub width: usize,
    pub height: usize,
}

/// One frame: the number of its packet and its planes, one after the other without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub number: u64,
    pub data: Vec<u8>,
}

const ID: &[u8; 25] = b"nut/multimedia container\0";
const MAIN: u64 = 0x4e4d_7a56_1f5f_04ad;
const STREAM: u64 = 0x4e53_1140_5bf2_f9db;
const SYNCPOINT: u64 = 0x4e4b_e4ad_eeca_4569;
/// Largest frame and header that are believed: 2^27 pixels of 16 bits, three planes.
const LARGEST: u64 = 3 << 28;
const LARGEST_HEADER: u64 = 1 << 20;

const CODED_PTS: u64 = 8;
const STREAM_ID: u64 = 16;
const SIZE_MSB: u64 = 32;
const CHECKSUM: u64 = 64;
const RESERVED: u64 = 128;
const SM_DATA: u64 = 256;
const HEADER_IDX: u64 = 1024;
const MATCH_TIME: u64 = 2048;
const CODED: u64 = 4096;
const INVALID: u64 = 8192;

/// A row of the main header's table: what a frame code stands for.
#[derive(Debug, Clone, Copy)]
struct Code {
    flags: u64,
    pts_delta: i64,
    mul: u64,
    lsb: u64,
    reserved: u64,
    header: usize,
}

const NO_CODE: Code = Code { flags: INVALID, pts_delta: 0, mul: 1, lsb: 0, reserved: 0, header: 0 };

/// Reads frames from a pipe.
pub(super) struct Reader<R> {
    input: R,
    codes: Vec<Code>,
    /// Bytes that headers elide, by index.
    elided: Vec<Vec<u8>>,
    /// Numerator and denominator of each time base, seconds.
    bases: Vec<(u64, u64)>,
    base: usize,
    shift: u32,
    last: i64,
    stream: Stream,
}

impl<R: Read> Reader<R> {
    /// Reads the file's mark.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut id = [0; ID.len()];
        input.read_exact(&mut id)?;
        if &id != ID {
            return Err(bad("no mark at its beginning"));
        }
        Ok(Self {
            input,
            codes: vec![NO_CODE; 256],
            elided: vec![Vec::new()],
            bases: Vec::new(),
            base: 0,
            shift: 0,
            last: 0,
            stream: Stream::default(),
        })
    }

    /// The stream of the frame read last.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// The next frame; `None` at the end.
    pub fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let mut byte = [0];
            if self.input.read(&mut byte)? == 0 {
                return Ok(None);
            }
            if byte[0] == b'N' {
                self.packet()?;
            } else {
                return self.coded(byte[0]).map(Some);
            }
        }
    }

    /// A packet behind a start code, whose first byte is read already.
    fn packet(&mut self) -> io::Result<()> {
        let mut rest = [0; 7];
        self.input.read_exact(&mut rest)?;
        let code = rest.iter().fold(u64::from(b'N'), |sum, &b| sum << 8 | u64::from(b));
        let size = vb(&mut self.input)?;
        if size > 4096 {
            self.input.read_exact(&mut [0; 4])?;
        }
        if !(4..=LARGEST_HEADER).contains(&size) {
            return Err(bad("a header of impossible size"));
        }
        let mut body = vec![0; size as usize];
        self.input.read_exact(&mut body)?;
        // The last four bytes are a checksum; a pipe damages nothing.
        let body = &mut &body[..body.len() - 4];
        match code {
            MAIN => self.main(body),
            STREAM => self.stream_header(body),
            SYNCPOINT => self.syncpoint(body),
            _ => Ok(()),
        }
    }

    fn main(&mut self, body: &mut &[u8]) -> io::Result<()> {
        let version = vb(body)?;
        if version > 3 {
            vb(body)?;
        }
        if vb(body)? != 1 {
            return Err(bad("not one stream"));
        }
        vb(body)?;
        let count = vb(body)?.min(256);
        self.bases = (0..count).map(|_| Ok((vb(body)?, vb(body)?))).collect::<io::Result<_>>()?;
        let mut row = Code { flags: 0, ..NO_CODE };
        let mut at = 0;
        while at < 256 {
            row.flags = vb(body)?;
            let fields = vb(body)?;
            let mut count = None;
            (row.lsb, row.reserved) = (0, 0);
            for field in 0..fields {
                match field {
                    0 => row.pts_delta = signed(body)?,
                    1 => row.mul = vb(body)?,
                    3 => row.lsb = vb(body)?,
                    4 => row.reserved = vb(body)?,
                    5 => count = Some(vb(body)?),
                    6 => drop(signed(body)?),
                    7 => row.header = vb(body)? as usize,
                    _ => drop(vb(body)?),
                }
            }
            let lsb = row.lsb;
            let mut left = count.unwrap_or_else(|| row.mul.saturating_sub(lsb));
            if left == 0 {
                return Err(bad("a table of frame codes with an empty row"));
            }
            let mut step = 0;
            while left > 0 && at < 256 {
                if at != usize::from(b'N') {
                    self.codes[at] = Code { lsb: lsb + step, ..row };
                    step += 1;
                    left -= 1;
                }
                at += 1;
            }
        }
        if body.len() > 1 {
            for _ in 0..vb(body)?.min(128) {
                let size = vb(body)? as usize;
                let (head, rest) =
                    body.split_at_checked(size).ok_or_else(|| bad("a header is cut off"))?;
                self.elided.push(head.to_vec());
                *body = rest;
            }
        }
        Ok(())
    }

    fn stream_header(&mut self, body: &mut &[u8]) -> io::Result<()> {
        vb(body)?;
        vb(body)?;
        let tag = bytes(body)?;
        self.stream.tag = tag.try_into().map_err(|_| bad("a pixel format of unusual length"))?;
        self.base = vb(body)? as usize;
        self.shift = u32::try_from(vb(body)?.min(32)).unwrap_or(32);
        vb(body)?;
        vb(body)?;
        vb(body)?;
        bytes(body)?;
        self.stream.width = vb(body)? as usize;
        self.stream.height = vb(body)? as usize;
        Ok(())
    }

    fn syncpoint(&mut self, body: &mut &[u8]) -> io::Result<()> {
        let coded = vb(body)?;
        let count = self.bases.len().max(1) as u64;
        let (time, from) = (coded / count, self.bases.get((coded % count) as usize));
        if let (Some(from), Some(to)) = (from, self.bases.get(self.base)) {
            let up = u128::from(time) * u128::from(from.0) * u128::from(to.1);
            self.last = (up / (u128::from(from.1) * u128::from(to.0)).max(1)) as i64;
        }
        Ok(())
    }

    fn coded(&mut self, code: u8) -> io::Result<Frame> {
        let row = self.codes[usize::from(code)];
        let mut flags = row.flags;
        if flags & INVALID != 0 {
            return Err(bad("an unknown frame code"));
        }
        let input = &mut self.input;
        if flags & CODED != 0 {
            flags ^= vb(input)?;
        }
        if flags & STREAM_ID != 0 {
            vb(input)?;
        }
        let time = if flags & CODED_PTS != 0 {
            let coded = vb(input)? as i64;
            let span = 1i64 << self.shift;
            if coded < span {
                let from = self.last - (span - 1) / 2;
                ((coded - from) & (span - 1)) + from
            } else {
                coded - span
            }
        } else {
            self.last + row.pts_delta
        };
        let mut size = row.lsb;
        if flags & SIZE_MSB != 0 {
            let high = vb(input)?.checked_mul(row.mul);
            size = high.and_then(|h| h.checked_add(size)).ok_or_else(|| bad("an endless frame"))?;
        }
        if flags & MATCH_TIME != 0 {
            signed(input)?;
        }
        let header = if flags & HEADER_IDX != 0 { vb(input)? as usize } else { row.header };
        let reserved = if flags & RESERVED != 0 { vb(input)? } else { row.reserved };
        for _ in 0..reserved.min(256) {
            vb(input)?;
        }
        let header = if size > 4096 { 0 } else { header };
        let mut data = self.elided.get(header).cloned().unwrap_or_default();
        if flags & CHECKSUM != 0 {
            input.read_exact(&mut [0; 4])?;
        }
        if flags & SM_DATA != 0 || size > LARGEST || (data.len() as u64) > size {
            return Err(bad("a frame of a kind that is not read"));
        }
        let have = data.len();
        data.resize(size as usize, 0);
        input.read_exact(&mut data[have..])?;
        self.last = time;
        let (num, den) = self.bases.get(self.base).copied().unwrap_or((1, 1000));
        let number = u64::try_from(time).map_err(|_| bad("a time before the first"))?;
        let number = (u128::from(number) * u128::from(num) * 1000 / u128::from(den.max(1))) as u64;
        Ok(Frame { number, data })
    }
}

/// A number of variable length, seven bits a byte, the highest first.
fn vb(input: &mut impl Read) -> io::Result<u64> {
    let mut value = 0u64;
    for _ in 0..10 {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        value = value << 7 | u64::from(byte[0] & 0x7f);
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(bad("an endless number"))
}

fn signed(input: &mut impl Read) -> io::Result<i64> {
    let value = vb(input)?.wrapping_add(1);
    let half = (value >> 1) as i64;
    Ok(if value & 1 != 0 { -half } else { half })
}

fn bytes<'a>(body: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let size = vb(body)? as usize;
    let (head, rest) = body.split_at_checked(size).ok_or_else(|| bad("a header is cut off"))?;
    *body = rest;
    Ok(head)
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("NUT from ffmpeg: {why}"))
}
