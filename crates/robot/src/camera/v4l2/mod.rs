//! USB cameras by the kernel's video interface, without a library in between.
//!
//! A camera offers modes (pixel format, size, rate); [`choose`] takes the one that fits what is
//! asked, and refuses what would have to be scaled. Frames come with the time at which the device
//! began to send them, and of several that wait only the newest is decoded.

mod sys;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use embody_core::Result;
use memmap2::Mmap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{check_room, decode};
use crate::error::RobotError;
use crate::robot::{Camera, CameraSpec, Stamp};

/// Buffers that the kernel fills in turn.
const BUFFERS: u32 = 4;

/// How a camera sends pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelFormat {
    /// A JPEG per frame: most rates and sizes, a little blurred.
    Mjpeg,
    /// Uncompressed, two bytes a pixel.
    Yuyv,
}

impl PixelFormat {
    fn code(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Mjpeg => *b"MJPG",
            Self::Yuyv => *b"YUYV",
        })
    }

    fn of(code: u32) -> Option<Self> {
        // Some drivers call the same thing JPEG.
        let jpeg = u32::from_le_bytes(*b"JPEG");
        let format = [Self::Yuyv, Self::Mjpeg].into_iter().find(|f| f.code() == code);
        format.or((code == jpeg).then_some(Self::Mjpeg))
    }
}

/// What a camera offers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mode {
    /// How pixels come.
    pub format: PixelFormat,
    /// The driver's code of it.
    pub code: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Seconds per frame as a fraction.
    pub interval: (u32, u32),
}

impl Mode {
    /// Frames per second.
    pub fn fps(&self) -> f64 {
        f64::from(self.interval.1) / f64::from(self.interval.0.max(1))
    }
}

/// Which camera, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V4l2Config {
    /// Its name in datasets.
    pub name: String,
    /// Its device, such as `/dev/video0`, or a link below `/dev/v4l/by-id` that stays the same.
    pub path: PathBuf,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: f64,
    /// How pixels are to come; where nothing is said, uncompressed if the rate can be had so.
    #[serde(default)]
    pub format: Option<PixelFormat>,
}

/// The mode that gives what `config` asks for: its size exactly, its rate within 1 %, uncompressed
/// rather than not.
///
/// # Errors
/// When no mode does; the message lists what there is.
pub fn choose(modes: &[Mode], config: &V4l2Config) -> Result<Mode, RobotError> {
    let mut fitting: Vec<_> = modes
        .iter()
        .filter(|m| (m.width, m.height) == (config.width, config.height))
        .filter(|m| (m.fps() - config.fps).abs() <= config.fps * 0.01)
        .filter(|m| config.format.is_none_or(|f| f == m.format))
        .collect();
    fitting.sort_by_key(|m| m.format != PixelFormat::Yuyv);
    if let Some(mode) = fitting.first() {
        return Ok(**mode);
    }
    let mut offers: Vec<_> = modes
        .iter()
        .map(|m| format!("{}x{} at {:.3} ({:?})", m.width, m.height, m.fps(), m.format))
        .collect();
    offers.dedup();
    let offers = if offers.is_empty() { "nothing that is known".into() } else { offers.join(", ") };
    let V4l2Config { name, width, height, fps, .. } = config;
    let why = format!("it can't give {width}x{height} at {fps} frames per second; it has {offers}");
    Err(RobotError::Camera { name: name.clone(), why })
}

/// An open camera that streams.
pub struct V4l2Camera {
    spec: CameraSpec,
    config: V4l2Config,
    mode: Mode,
    stride: usize,
    file: File,
    buffers: Vec<Mmap>,
}

impl V4l2Camera {
    /// Opens a camera and starts its stream.
    ///
    /// # Errors
    /// When it is not there, is in use, or has no fitting mode.
    pub fn open(config: V4l2Config) -> Result<Self, RobotError> {
        let path = config.path.clone();
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Permissions::empty())
            .map_err(|e| RobotError::Open { path: path.clone(), source: e.into() })?;
        let file = File::from(fd);
        let failed = |action| {
            let path = path.clone();
            move |e: Errno| RobotError::Device { path, action, source: e.into() }
        };
        let can = sys::capability(file.as_fd()).map_err(failed("ask"))?;
        // Drivers with several devices say here what this one of them can.
        let can = if can.device_caps == 0 { can.capabilities } else { can.device_caps };
        if can & sys::CAN_CAPTURE == 0 || can & sys::CAN_STREAM == 0 {
            let why = format!("{} captures no video", path.display());
            return Err(RobotError::Camera { name: config.name, why });
        }
        let mode = choose(&modes(&file), &config)?;
        let format = sys::set_format(file.as_fd(), mode.code, (mode.width, mode.height))
            .map_err(failed("set the format of"))?;
        if (format.width, format.height, format.pixel_format)
            != (mode.width, mode.height, mode.code)
        {
            let why = format!("it offers {mode:?} and then does not take it");
            return Err(RobotError::Camera { name: config.name, why });
        }
        let got =
            sys::set_interval(file.as_fd(), mode.interval).map_err(failed("set the rate of"))?;
        let fps = f64::from(got.denominator) / f64::from(got.numerator.max(1));
        if (fps - config.fps).abs() > config.fps * 0.01 {
            let why = format!("it gives {fps} frames per second instead of {}", config.fps);
            return Err(RobotError::Camera { name: config.name, why });
        }
        let buffers = sys::map_buffers(file.as_fd(), BUFFERS).map_err(failed("map"))?;
        for index in 0..buffers.len() as u32 {
            sys::queue(file.as_fd(), index).map_err(failed("start"))?;
        }
        sys::start(file.as_fd()).map_err(failed("start"))?;
        let spec = CameraSpec {
            name: config.name.clone(),
            height: config.height as usize,
            width: config.width as usize,
            fps,
        };
        let stride = (format.bytes_per_line as usize).max(spec.width * 2);
        Ok(Self { spec, config, mode, stride, file, buffers })
    }

    fn failed(&self, action: &'static str, e: Errno) -> RobotError {
        RobotError::Device { path: self.config.path.clone(), action, source: e.into() }
    }

    /// Waits for a filled buffer and takes the newest; older ones are given back unread.
    fn newest(&mut self, until: Instant) -> Result<sys::Buffer, RobotError> {
        let mut newest = None;
        loop {
            match sys::dequeue(self.file.as_fd()) {
                Ok(buffer) => {
                    if let Some(old) = newest.replace(buffer) {
                        self.give_back(&old)?;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match newest {
                    Some(buffer) => return Ok(buffer),
                    None => self.wait(until)?,
                },
                Err(e) => return Err(self.failed("read from", e)),
            }
        }
    }

    fn give_back(&self, buffer: &sys::Buffer) -> Result<(), RobotError> {
        sys::queue(self.file.as_fd(), buffer.index).map_err(|e| self.failed("read from", e))
    }

    fn wait(&self, until: Instant) -> Result<(), RobotError> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = "no frame came in three frame times".into();
            return Err(RobotError::Camera { name: self.spec.name.clone(), why });
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(self.failed("wait for", e)),
        }
    }
}

impl Camera for V4l2Camera {
    fn spec(&self) -> &CameraSpec {
        &self.spec
    }

    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Stamp> {
        check_room(&self.spec, pixels)?;
        let until = Instant::now() + Duration::from_secs_f64(3.0 / self.spec.fps);
        loop {
            let buffer = self.newest(until)?;
            let received = Instant::now();
            if buffer.flags & sys::FLAG_ERROR != 0 {
                // The driver says that it is damaged; the next one will come.
                self.give_back(&buffer)?;
                continue;
            }
            let bytes = &self.buffers[buffer.index as usize];
            let bytes = &bytes[..(buffer.bytes_used as usize).min(bytes.len())];
            let size = (self.spec.width, self.spec.height);
            let decoded = decode(self.mode.format, bytes, size, self.stride, pixels);
            self.give_back(&buffer)?;
            let name = || self.spec.name.clone();
            decoded.map_err(|why| RobotError::Frame { name: name(), why })?;
            let is_monotonic = buffer.flags & sys::CLOCK_MASK == sys::CLOCK_MONOTONIC;
            let device = is_monotonic.then(|| {
                let micros = buffer.seconds * 1_000_000 + buffer.microseconds;
                Duration::from_micros(micros.unsigned_abs())
            });
            return Ok(Stamp { received, device });
        }
    }
}

impl Drop for V4l2Camera {
    fn drop(&mut self) {
        // Closing the device ends the stream too; this ends it before the buffers go.
        let _ = sys::stop(self.file.as_fd());
    }
}

/// Every single mode that a camera offers in formats that can be decoded; where it offers ranges of
/// sizes or rates, usual ones within them.
fn modes(file: &File) -> Vec<Mode> {
    let fd = file.as_fd();
    let mut modes = Vec::new();
    for description in (0..64).map_while(|i| sys::format_description(fd, i).ok()) {
        let code = description.pixel_format;
        let Some(format) = PixelFormat::of(code) else { continue };
        for size in (0..256).map_while(|i| sys::frame_size(fd, code, i).ok()) {
            for (width, height) in sizes(size.kind, size.sizes) {
                let all =
                    (0..256).map_while(|i| sys::frame_interval(fd, code, (width, height), i).ok());
                for interval in all.flat_map(|i| intervals(i.kind, i.intervals)) {
                    modes.push(Mode { format, code, width, height, interval });
                }
            }
        }
    }
    modes
}

/// Sizes that an entry of the driver's list stands for.
fn sizes(kind: u32, [a, b, c, d, e, f]: [u32; 6]) -> Vec<(u32, u32)> {
    const USUAL: [(u32, u32); 8] = [
        (160, 120),
        (320, 240),
        (640, 360),
        (640, 480),
        (800, 600),
        (1280, 720),
        (1920, 1080),
        (3840, 2160),
    ];
    if kind == 1 {
        return vec![(a, b)];
    }
    // Least, most and step of width, then of height.
    let fits = |v: u32, low: u32, high: u32, step: u32| {
        (low..=high).contains(&v) && (v - low).is_multiple_of(step.max(1))
    };
    USUAL.into_iter().filter(|(w, h)| fits(*w, a, b, c) && fits(*h, d, e, f)).collect()
}

/// Seconds per frame that an entry of the driver's list stands for.
fn intervals(kind: u32, [a, b, c, d, _, _]: [u32; 6]) -> Vec<(u32, u32)> {
    const USUAL: [u32; 6] = [15, 24, 25, 30, 60, 120];
    if kind == 1 {
        return vec![(a, b)];
    }
    // Least and most seconds per frame.
    let (low, high) = (f64::from(a) / f64::from(b.max(1)), f64::from(c) / f64::from(d.max(1)));
    let fits = |fps: &u32| (low..=high).contains(&(1.0 / f64::from(*fps)));
    USUAL.into_iter().filter(fits).map(|fps| (1, fps)).collect()
}

#[cfg(test)]
mod tests;
