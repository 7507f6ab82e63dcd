//! The few calls of the kernel's video interface that a camera needs.
//!
//! Structures are those of linux/videodev2.h for 64-bit machines, with the fields that are used by
//! name and the rest as filling; tests compare their sizes and the calls' numbers with the header.
#![allow(unsafe_code)] // ioctl with structures of the kernel's, and its buffers in our memory

use std::os::fd::BorrowedFd;

use memmap2::{Mmap, MmapOptions};
use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
pub const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;
/// `V4L2_BUF_FLAG_ERROR`: the frame may be damaged.
pub const FLAG_ERROR: u32 = 0x40;
/// Which clock a time stamp is of, and the monotonic one.
pub const CLOCK_MASK: u32 = 0xe000;
pub const CLOCK_MONOTONIC: u32 = 0x2000;
pub const CAN_CAPTURE: u32 = 0x1;
pub const CAN_STREAM: u32 = 0x0400_0000;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Capability {
    pub names: [u8; 80],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FormatDescription {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    pub pixel_format: u32,
    mbus_code: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameSize {
    index: u32,
    pixel_format: u32,
    /// 1 where the sizes are single ones, else ranges.
    pub kind: u32,
    /// Width and height; of a range least, most and step of either.
    pub sizes: [u32; 6],
    reserved: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameInterval {
    index: u32,
    pixel_format: u32,
    width: u32,
    height: u32,
    pub kind: u32,
    /// Numerator and denominator of seconds per frame; of a range least, most and step.
    pub intervals: [u32; 6],
    reserved: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Format {
    kind: u32,
    padding: u32,
    pub width: u32,
    pub height: u32,
    pub pixel_format: u32,
    pub field: u32,
    pub bytes_per_line: u32,
    pub size_image: u32,
    rest: [u32; 44],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamParameters {
    kind: u32,
    capability: u32,
    mode: u32,
    pub numerator: u32,
    pub denominator: u32,
    rest: [u32; 46],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer {
    pub index: u32,
    kind: u32,
    pub bytes_used: u32,
    pub flags: u32,
    field: u32,
    padding: u32,
    pub seconds: i64,
    pub microseconds: i64,
    timecode: [u32; 4],
    pub sequence: u32,
    memory: u32,
    offset: u64,
    length: u32,
    reserved: [u32; 3],
}

pub const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
pub const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
pub const S_FMT: Opcode = opcode::read_write::<Format>(b'V', 5);
pub const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
pub const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
pub const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
pub const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
pub const STREAMON: Opcode = opcode::write::<u32>(b'V', 18);
pub const STREAMOFF: Opcode = opcode::write::<u32>(b'V', 19);
pub const S_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 22);
pub const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrameSize>(b'V', 74);
pub const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<FrameInterval>(b'V', 75);

/// What the device is and can do.
pub fn capability(fd: BorrowedFd<'_>) -> Result<Capability> {
    let mut it = Capability {
        names: [0; 80],
        version: 0,
        capabilities: 0,
        device_caps: 0,
        reserved: [0; 3],
    };
    // SAFETY: QUERYCAP fills a `v4l2_capability`, whose layout `Capability` has.
    unsafe { ioctl(fd, Updater::<QUERYCAP, Capability>::new(&mut it)) }?;
    Ok(it)
}

/// Pixel format number `index`; an error behind the last.
pub fn format_description(fd: BorrowedFd<'_>, index: u32) -> Result<FormatDescription> {
    let mut it = FormatDescription {
        index,
        kind: CAPTURE,
        flags: 0,
        description: [0; 32],
        pixel_format: 0,
        mbus_code: 0,
        reserved: [0; 3],
    };
    // SAFETY: ENUM_FMT reads and fills a `v4l2_fmtdesc`, whose layout this is.
    unsafe { ioctl(fd, Updater::<ENUM_FMT, FormatDescription>::new(&mut it)) }?;
    Ok(it)
}

/// Size number `index` of a pixel format; an error behind the last.
pub fn frame_size(fd: BorrowedFd<'_>, pixel_format: u32, index: u32) -> Result<FrameSize> {
    let mut it = FrameSize { index, pixel_format, kind: 0, sizes: [0; 6], reserved: [0; 2] };
    // SAFETY: ENUM_FRAMESIZES reads and fills a `v4l2_frmsizeenum`, whose layout this is.
    unsafe { ioctl(fd, Updater::<ENUM_FRAMESIZES, FrameSize>::new(&mut it)) }?;
    Ok(it)
}

/// Interval number `index` of a format and size; an error behind the last.
pub fn frame_interval(
    fd: BorrowedFd<'_>,
    pixel_format: u32,
    (width, height): (u32, u32),
    index: u32,
) -> Result<FrameInterval> {
    let mut it = FrameInterval {
        index,
        pixel_format,
        width,
        height,
        kind: 0,
        intervals: [0; 6],
        reserved: [0; 2],
    };
    // SAFETY: ENUM_FRAMEINTERVALS reads and fills a `v4l2_frmivalenum`, whose layout this is.
    unsafe { ioctl(fd, Updater::<ENUM_FRAMEINTERVALS, FrameInterval>::new(&mut it)) }?;
    Ok(it)
}

/// Sets format and size; what the device made of it.
pub fn set_format(
    fd: BorrowedFd<'_>,
    pixel_format: u32,
    (width, height): (u32, u32),
) -> Result<Format> {
    let mut it = Format {
        kind: CAPTURE,
        padding: 0,
        width,
        height,
        pixel_format,
        field: 0,
        bytes_per_line: 0,
        size_image: 0,
        rest: [0; 44],
    };
    // SAFETY: S_FMT reads and fills a `v4l2_format`, whose layout `Format` has.
    unsafe { ioctl(fd, Updater::<S_FMT, Format>::new(&mut it)) }?;
    Ok(it)
}

/// Sets seconds per frame; what the device made of it.
pub fn set_interval(
    fd: BorrowedFd<'_>,
    (numerator, denominator): (u32, u32),
) -> Result<StreamParameters> {
    let mut it = StreamParameters {
        kind: CAPTURE,
        capability: 0,
        mode: 0,
        numerator,
        denominator,
        rest: [0; 46],
    };
    // SAFETY: S_PARM reads and fills a `v4l2_streamparm`, whose layout this is.
    unsafe { ioctl(fd, Updater::<S_PARM, StreamParameters>::new(&mut it)) }?;
    Ok(it)
}

/// The kernel's buffers, in our memory.
pub fn map_buffers(fd: BorrowedFd<'_>, count: u32) -> Result<Vec<Mmap>> {
    let mut request =
        RequestBuffers { count, kind: CAPTURE, memory: MMAP, capabilities: 0, flags: 0 };
    // SAFETY: REQBUFS reads and fills a `v4l2_requestbuffers`, whose layout this is.
    unsafe { ioctl(fd, Updater::<REQBUFS, RequestBuffers>::new(&mut request)) }?;
    let mut maps = Vec::new();
    for index in 0..request.count {
        let mut it = buffer(index);
        // SAFETY: QUERYBUF reads and fills a `v4l2_buffer`, whose layout `Buffer` has.
        unsafe { ioctl(fd, Updater::<QUERYBUF, Buffer>::new(&mut it)) }?;
        // For mapped buffers the union holds a 32-bit offset.
        let offset = it.offset & u64::from(u32::MAX);
        let options = MmapOptions::new().offset(offset).len(it.length as usize).to_owned();
        // SAFETY: the kernel keeps the buffer as long as it is mapped, and writes it only while it
        // is queued; it is read only between `dequeue` and `queue`.
        let map = unsafe { options.map(&fd) }
            .map_err(|e| rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))?;
        maps.push(map);
    }
    Ok(maps)
}

/// Hands a buffer to the device to be filled.
pub fn queue(fd: BorrowedFd<'_>, index: u32) -> Result<()> {
    let mut it = buffer(index);
    // SAFETY: QBUF reads and fills a `v4l2_buffer`.
    unsafe { ioctl(fd, Updater::<QBUF, Buffer>::new(&mut it)) }
}

/// Takes a buffer that was filled; `WOULDBLOCK` where none is.
pub fn dequeue(fd: BorrowedFd<'_>) -> Result<Buffer> {
    let mut it = buffer(0);
    // SAFETY: DQBUF reads and fills a `v4l2_buffer`.
    unsafe { ioctl(fd, Updater::<DQBUF, Buffer>::new(&mut it)) }?;
    Ok(it)
}

/// Starts the stream.
pub fn start(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: STREAMON reads one int, the kind of stream.
    unsafe { ioctl(fd, Setter::<STREAMON, u32>::new(CAPTURE)) }
}

/// Stops the stream; no buffer is written from then on.
pub fn stop(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: STREAMOFF reads one int, the kind of stream.
    unsafe { ioctl(fd, Setter::<STREAMOFF, u32>::new(CAPTURE)) }
}

fn buffer(index: u32) -> Buffer {
    Buffer {
        index,
        kind: CAPTURE,
        bytes_used: 0,
        flags: 0,
        field: 0,
        padding: 0,
        seconds: 0,
        microseconds: 0,
        timecode: [0; 4],
        sequence: 0,
        memory: MMAP,
        offset: 0,
        length: 0,
        reserved: [0; 3],
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Numbers and places from linux/videodev2.h on a 64-bit machine, printed by a C program.
    #[test]
    fn calls_and_structures_are_those_of_the_kernels_header() {
        let numbers = [
            (QUERYCAP, 0x8068_5600),
            (ENUM_FMT, 0xc040_5602),
            (S_FMT, 0xc0d0_5605),
            (REQBUFS, 0xc014_5608),
            (QUERYBUF, 0xc058_5609),
            (QBUF, 0xc058_560f),
            (DQBUF, 0xc058_5611),
            (STREAMON, 0x4004_5612),
            (STREAMOFF, 0x4004_5613),
            (S_PARM, 0xc0cc_5616),
            (ENUM_FRAMESIZES, 0xc02c_564a),
            (ENUM_FRAMEINTERVALS, 0xc034_564b),
        ];
        for (ours, header) in numbers {
            assert_eq!(ours, header, "{ours:x} is not {header:x}");
        }
        assert_eq!(size_of::<Buffer>(), 88);
        assert_eq!(offset_of!(Buffer, seconds), 24);
        assert_eq!(offset_of!(Buffer, sequence), 56);
        assert_eq!(offset_of!(Buffer, offset), 64);
        assert_eq!(offset_of!(Buffer, length), 72);
        assert_eq!(offset_of!(Capability, device_caps), 88);
        assert_eq!(offset_of!(Format, width), 8);
        assert_eq!(offset_of!(Format, bytes_per_line), 24);
        assert_eq!(offset_of!(FormatDescription, pixel_format), 44);
        assert_eq!(offset_of!(FrameSize, sizes), 12);
        assert_eq!(offset_of!(FrameInterval, intervals), 20);
        assert_eq!(offset_of!(StreamParameters, numerator), 12);
    }
}
