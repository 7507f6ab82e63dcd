//! A serial port, or a pseudo-terminal: raw bytes, any baud rate, waits that end.
//!
//! The port is taken for this process alone, since two masters on one bus garble each other.
//! Nothing here allocates after opening.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, ioctl_tiocexcl,
    ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr,
};

use super::latency;
use crate::error::RobotError;

/// An open port.
#[derive(Debug)]
pub struct Port {
    file: File,
    path: PathBuf,
    baud: u32,
}

impl Port {
    /// Opens the port at `path` for this process alone, at `baud` bits per second, and asks the
    /// adapter to hand bytes on at once.
    ///
    /// # Errors
    /// When it is not there, is held by another program, or can't run at that rate.
    pub fn open(path: &Path, baud: u32) -> Result<Self, RobotError> {
        let failed = |source: io::Error| RobotError::Open { path: path.to_owned(), source };
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        ioctl_tiocexcl(&fd).map_err(|e| failed(e.into()))?;
        let mut port = Self { file: File::from(fd), path: path.to_owned(), baud };
        port.set_baud(baud)?;
        // Better, but not needed: pseudo-terminals and many adapters have no such setting.
        latency::lower(port.file.as_fd(), path);
        Ok(port)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bits per second.
    pub fn baud(&self) -> u32 {
        self.baud
    }

    /// Changes the rate; bytes on their way are lost.
    ///
    /// # Errors
    /// When the port can't run at that rate.
    pub fn set_baud(&mut self, baud: u32) -> Result<(), RobotError> {
        let set = || {
            let mut settings = tcgetattr(&self.file)?;
            raw(&mut settings, baud)?;
            tcsetattr(&self.file, OptionalActions::Flush, &settings)?;
            let got = tcgetattr(&self.file)?.output_speed();
            // What a clock divider makes of it may be off by 3 % before frames are lost.
            if got.abs_diff(baud) > baud / 33 {
                return Err(io::Error::other(format!("it runs at {got} baud, not {baud}")));
            }
            Ok(())
        };
        set().map_err(|source| RobotError::Device {
            path: self.path.clone(),
            action: "set the baud rate of",
            source,
        })?;
        self.baud = baud;
        Ok(())
    }

    /// Time that `bytes` take on the wire: a start bit, eight bits, a stop bit each.
    pub fn wire_time(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 10_000_000_000 / u64::from(self.baud.max(1)))
    }

    /// Throws away what was received and not read, and says how many bytes that were.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn discard(&mut self) -> Result<u64, RobotError> {
        let mut scratch = [0; 256];
        let mut thrown = 0;
        loop {
            match self.read_now(&mut scratch)? {
                0 => return Ok(thrown),
                n => thrown += n as u64,
            }
        }
    }

    /// Forgets what was not sent yet, and what was received.
    pub fn flush(&mut self) {
        // Best effort after a failure that is reported already.
        let _ = tcflush(&self.file, QueueSelector::IOFlush);
    }

    /// Sends all of `bytes`; waits no longer than `patience` for room in the kernel's buffer.
    ///
    /// # Errors
    /// When the port is gone, or takes nothing for so long.
    pub fn send(&mut self, mut bytes: &[u8], patience: Duration) -> Result<(), RobotError> {
        let until = Instant::now() + patience;
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::OUT, until, "write to")? {
                        let source = io::Error::from(io::ErrorKind::TimedOut);
                        return Err(self.broken("write to", source));
                    }
                }
                Err(e) => return Err(self.broken("write to", e)),
            }
        }
        Ok(())
    }

    /// Reads what comes before `until` into `to`; 0 where nothing came.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn receive(&mut self, to: &mut [u8], until: Instant) -> Result<usize, RobotError> {
        loop {
            match self.read_now(to)? {
                0 if !self.wait(PollFlags::IN, until, "read from")? => return Ok(0),
                0 => {}
                n => return Ok(n),
            }
        }
    }

    /// Reads what is there; 0 where nothing is.
    fn read_now(&mut self, to: &mut [u8]) -> Result<usize, RobotError> {
        loop {
            match self.file.read(to) {
                // The end of a terminal is the end of its cable.
                Ok(0) => {
                    return Err(self.broken("read from", io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(e) => return Err(self.broken("read from", e)),
            }
        }
    }

    /// Waits until the port is ready, at most until `until`; whether it is.
    fn wait(
        &self,
        flags: PollFlags,
        until: Instant,
        action: &'static str,
    ) -> Result<bool, RobotError> {
        let mut fds = [PollFd::new(&self.file, flags)];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut fds, Some(&timeout)) {
                Ok(n) => return Ok(n > 0),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.broken(action, e.into())),
            }
        }
    }

    fn broken(&self, action: &'static str, source: io::Error) -> RobotError {
        RobotError::Device { path: self.path.clone(), action, source }
    }

    /// Lets others open it. A pseudo-terminal lives on with its other end, and would stay closed to
    /// the next program; a port that is gone needs nothing.
    pub fn release(&self) {
        let _ = ioctl_tiocnxcl(&self.file);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.release();
    }
}

/// Eight bits, no parity, one stop bit, no flow control, nothing translated.
pub(crate) fn raw(settings: &mut Termios, baud: u32) -> io::Result<()> {
    settings.make_raw();
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.control_modes &= !(ControlModes::CSTOPB | ControlModes::CRTSCTS);
    // So that nothing received is told apart from a port that is gone, which reads as empty.
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    settings.set_speed(baud)?;
    Ok(())
}
