//! The cable of an emulated bus: a pseudo-terminal, and the thread that answers on it.
//!
//! The emulator holds the servos' end and, so that a client may come and go, also keeps the other
//! end open. Pulling the cable closes both; putting it back makes a new terminal.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::faults::Fault;
use super::world::Reply;
use super::{Clock, EmulatorConfig, Shared};
use crate::error::RobotError;

/// How often time goes on while nobody asks.
const TICK: Duration = Duration::from_millis(2);
/// How much time is made up for at once; what a slow mechanism can't follow is given up.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Silence after which the rest of a frame is not waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// A pseudo-terminal.
pub(super) struct Line {
    servos: File,
    /// Kept open; tells what baud rate the client has set.
    client: File,
    path: PathBuf,
}

impl Line {
    /// Makes a terminal, and lets `link` lead to it.
    pub fn open(link: Option<&Path>) -> Result<Self, RobotError> {
        let line = Self::make()
            .map_err(|source| RobotError::Emulator { action: "open a pseudo-terminal", source })?;
        if let Some(link) = link {
            relink(&line.path, link).map_err(|source| RobotError::Emulator {
                action: "make the link to the pseudo-terminal",
                source,
            })?;
        }
        Ok(line)
    }

    fn make() -> io::Result<Self> {
        let servos = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&servos)?;
        unlockpt(&servos)?;
        let name = ptsname(&servos, Vec::new())?.into_bytes();
        let path = PathBuf::from(std::ffi::OsString::from_vec(name));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let client = rustix::fs::open(&path, flags, Mode::empty())?;
        let mut settings = tcgetattr(&client)?;
        crate::bus::raw(&mut settings, 1_000_000)?;
        tcsetattr(&client, OptionalActions::Now, &settings)?;
        fcntl_setfl(&servos, OFlags::NONBLOCK)?;
        Ok(Self { servos: File::from(servos), client: File::from(client), path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The baud rate that the client has set.
    fn baud(&self) -> Option<u32> {
        tcgetattr(&self.client).ok().map(|settings| settings.output_speed())
    }
}

/// Lets `link` lead to `path`, whether it was there before or not.
fn relink(path: &Path, link: &Path) -> io::Result<()> {
    let aside = link.with_extension(format!("new{}", std::process::id()));
    symlink(path, &aside)?;
    std::fs::rename(&aside, link).inspect_err(|_| {
        let _ = std::fs::remove_file(&aside);
    })
}

/// The thread that answers.
pub(super) struct Server {
    config: EmulatorConfig,
    shared: Arc<Shared>,
    line: Option<Line>,
    ear: PipeReader,
    replies: Vec<Reply>,
    /// Until when real time was followed.
    followed: Instant,
    /// When bytes came last.
    heard: Instant,
}

impl Server {
    pub fn new(config: EmulatorConfig, shared: Arc<Shared>, line: Line, ear: PipeReader) -> Self {
        let now = Instant::now();
        let replies = Vec::new();
        Self { config, shared, line: Some(line), ear, replies, followed: now, heard: now }
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) {
        let mut bytes = [0; 4096];
        loop {
            let (woken, has_bytes) = self.wait();
            if woken {
                // One byte per wake-up; more than fit are as good as one.
                let _ = self.ear.read(&mut bytes[..64]);
                if self.obey() {
                    return;
                }
            }
            let read = match (&mut self.line, has_bytes) {
                (Some(line), true) => line.servos.read(&mut bytes).unwrap_or(0),
                _ => 0,
            };
            let asked = Instant::now();
            self.work(&bytes[..read], asked);
            if !self.answer(asked) {
                self.pull();
            }
            self.shared.changed.notify_all();
        }
    }

    /// Waits for a command or for bytes, or for time to go on; which of them came.
    fn wait(&self) -> (bool, bool) {
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        // Also without a clock of its own, a frame that broke off is given up after a while.
        let timeout =
            (self.config.clock == Clock::Real || self.heard.elapsed() < 2 * PAUSE).then_some(&tick);
        let ear = PollFd::new(&self.ear, PollFlags::IN);
        let ready = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
        if let Some(line) = &self.line {
            let mut fds = [ear, PollFd::new(&line.servos, PollFlags::IN)];
            // An interrupted wait is a short one.
            let _ = poll(&mut fds, timeout);
            (ready(&fds[0]), ready(&fds[1]))
        } else {
            let mut fds = [ear];
            let _ = poll(&mut fds, timeout);
            (ready(&fds[0]), false)
        }
    }

    /// Does what the handle asked for; whether that is to stop.
    fn obey(&mut self) -> bool {
        let mut control = self.shared.control();
        if control.stop {
            return true;
        }
        if std::mem::take(&mut control.unplug) {
            self.line = None;
            control.port = None;
        }
        if std::mem::take(&mut control.plug) && self.line.is_none() {
            match Line::open(self.config.link.as_deref()) {
                Ok(line) => {
                    control.port = Some(line.path().to_owned());
                    self.line = Some(line);
                }
                Err(e) => control.failure = Some(e),
            }
        }
        false
    }

    fn pull(&mut self) {
        self.line = None;
        self.shared.control().port = None;
    }

    /// Lets time go on, then lets the servos hear `bytes`.
    fn work(&mut self, bytes: &[u8], now: Instant) {
        let shared = Arc::clone(&self.shared);
        let mut world = shared.world();
        if self.config.clock == Clock::Real {
            let gone = now.saturating_duration_since(self.followed);
            self.followed = now;
            world.advance(gone.min(CATCH_UP));
        }
        if bytes.is_empty() {
            if self.heard.elapsed() > PAUSE {
                world.pause(&mut self.replies);
            }
            return;
        }
        self.heard = now;
        world.baud = match (&self.line, self.config.minds_baud) {
            (Some(line), true) => line.baud(),
            _ => None,
        };
        world.receive(bytes, &mut self.replies);
    }

    /// Sends the answers, with the faults that are due; false where the cable is to be pulled.
    fn answer(&mut self, asked: Instant) -> bool {
        let mut due = asked;
        for mut reply in std::mem::take(&mut self.replies) {
            let fault = {
                let mut world = self.shared.world();
                let fault = world.faults.on_answer();
                if fault == Some(Fault::CorruptAnswer) {
                    world.faults.corrupt(&mut reply.bytes);
                }
                fault
            };
            due += reply.delay + self.wire_time(reply.bytes.len());
            if self.config.is_paced && self.config.clock == Clock::Real {
                sleep_until(due);
            }
            let Some(line) = &mut self.line else { return true };
            match fault {
                Some(Fault::DropAnswer) => continue,
                Some(Fault::DelayAnswer(delay)) => {
                    std::thread::sleep(delay);
                    due += delay;
                }
                Some(Fault::CutCable) => {
                    let half = reply.bytes.len() / 2;
                    let _ = line.servos.write(&reply.bytes[..half]);
                    return false;
                }
                _ => {}
            }
            // A client that does not read loses bytes, as on a wire.
            let _ = line.servos.write(&reply.bytes);
        }
        true
    }

    fn wire_time(&self, bytes: usize) -> Duration {
        let baud = self.line.as_ref().and_then(Line::baud).unwrap_or(1_000_000).max(1);
        Duration::from_nanos(bytes as u64 * 10_000_000_000 / u64::from(baud))
    }
}

fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}
