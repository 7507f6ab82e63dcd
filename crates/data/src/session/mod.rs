//! Recording a machine's session: every stream at its own rate and with its own clock, into a log
//! that survives the end of the process at any instant.
//!
//! A session is a folder of MCAP files, one per episode, with the mapping that makes a dataset of
//! them. So a session is a message log like any other: `embody data import`, `inspect` and `view`
//! take it, a file that was cut off gives what is whole, and resampling with its report of drops
//! and drift is that of logs. `validate` and `repair` know such a folder too.

mod mend;
mod messages;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use embody_core::{IoContext, Result, StreamRecorder, TurnRecord, write_atomic};

use crate::error::DataError;
use crate::log::logs_at;

pub(crate) use mend::{check, complete, dropped};
use messages::{Place, channels, joints, joints_of, note, picture, turn_note};
use write::McapLog;

/// The mapping in a session's folder.
pub(crate) const SESSION_MAPPING: &str = "mapping.toml";

/// How pictures are kept in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureCoding {
    /// JPEG of this quality, 1 to 100; at 95, with full colour, it can't be told from the original
    /// by eye.
    Jpeg(u8),
    /// PNG: bit for bit, and some five times as large.
    Png,
}

impl Default for PictureCoding {
    fn default() -> Self {
        Self::Jpeg(95)
    }
}

/// A camera of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionCamera {
    /// Its name; the dataset has it as `observation.images.NAME`.
    pub name: String,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Frames per second.
    pub fps: f64,
}

/// What a session records.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSpec {
    /// What was recorded, such as `so101_follower`.
    pub robot_type: String,
    /// Names of the joints.
    pub joints: Vec<String>,
    /// Turns of the control loop per second.
    pub control_hz: f64,
    /// Cameras, in the order in which frames name them.
    pub cameras: Vec<SessionCamera>,
    /// Frames per second of the dataset to come.
    pub fps: f64,
    /// How pictures are kept.
    pub pictures: PictureCoding,
}

/// Writes a session.
#[derive(Debug)]
pub struct SessionRecorder {
    folder: PathBuf,
    spec: SessionSpec,
    /// Nanoseconds since 1970 at the beginning of the session's clock.
    epoch: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<McapLog>,
    /// Number of the episode to come.
    next: usize,
    machine: DeviceClock,
    cameras: Vec<DeviceClock>,
}

/// Most by which clocks drift against each other: 200 parts per million.
const DRIFT: f64 = 200e-6;

/// Carries a device's own clock over to the host's: what the device says plus the smallest delay
/// seen, which may grow by what clocks drift. So a late wake-up of the host does not move a
/// picture.
#[derive(Debug, Clone, Copy, Default)]
struct DeviceClock {
    /// Smallest received time less device time, nanoseconds, and when that was.
    offset: Option<(f64, u64)>,
}

impl DeviceClock {
    /// When something was measured, by the host's clock, nanoseconds.
    fn measured(&mut self, received: u64, device: Option<Duration>) -> u64 {
        let Some(device) = device else { return received };
        let device = device.as_nanos() as f64;
        let seen = received as f64 - device;
        let offset = match self.offset {
            Some((offset, at)) => seen.min(offset + received.saturating_sub(at) as f64 * DRIFT),
            None => seen,
        };
        self.offset = Some((offset, received));
        (device + offset).max(0.0) as u64
    }
}

impl SessionRecorder {
    /// Records into `folder`, which is made where it is missing; a session that stands there is
    /// gone on with. `began` is when the session's clock showed zero.
    ///
    /// # Errors
    /// When a name or number makes no sense, the folder belongs to another kind of session, or it
    /// can't be written.
    pub fn create(folder: &Path, spec: SessionSpec, began: SystemTime) -> Result<Self> {
        spec.check()?;
        fs::create_dir_all(folder).at("create folder", folder)?;
        let path = folder.join(SESSION_MAPPING);
        let text = messages::mapping(&spec);
        match fs::read_to_string(&path) {
            Ok(there) if there != text => {
                return Err(DataError::Request {
                    why: format!("{} holds a session of another kind", folder.display()),
                    hint: "record into another folder".to_owned(),
                }
                .into());
            }
            Ok(_) => {}
            Err(_) => write_atomic(&path, text.as_bytes())?,
        }
        let next = logs_at(folder)?.iter().filter_map(|p| number(p)).max().map_or(0, |n| n + 1);
        let cameras = vec![DeviceClock::default(); spec.cameras.len()];
        let machine = DeviceClock::default();
        let epoch = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let state = Mutex::new(State { open: None, next, machine, cameras });
        Ok(Self { folder: folder.to_owned(), spec, epoch, state })
    }

    /// Where the session is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, at: Duration) -> u64 {
        self.epoch + at.as_nanos() as u64
    }
}

impl SessionSpec {
    fn check(&self) -> Result<()> {
        let refuse = |why: String| -> Result<()> {
            Err(DataError::Record { episode: 0, frame: 0, why }.into())
        };
        if self.joints.is_empty() {
            return refuse("the machine has no joints".to_owned());
        }
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        };
        let names = self.joints.iter().chain(self.cameras.iter().map(|c| &c.name));
        if let Some(name) = names.into_iter().find(|n| !plain(n)) {
            return refuse(format!("name {name:?} is not of letters, digits, _ and -"));
        }
        let rates = self.cameras.iter().map(|c| c.fps).chain([self.fps, self.control_hz]);
        if let Some(rate) = rates.into_iter().find(|r| !(r.is_finite() && *r > 0.0)) {
            return refuse(format!("a rate is {rate} per second"));
        }
        if let PictureCoding::Jpeg(quality) = self.pictures
            && !(1..=100).contains(&quality)
        {
            return refuse(format!("JPEG quality is {quality}, not 1 to 100"));
        }
        Ok(())
    }
}

/// The file of an episode.
fn episode_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("episode-{number:06}.mcap"))
}

/// The number of an episode's file.
fn number(path: &Path) -> Option<usize> {
    path.file_stem()?.to_str()?.strip_prefix("episode-")?.parse().ok()
}

/// Whether a session stands at `path`.
pub(crate) fn is_session(path: &Path) -> bool {
    path.join(SESSION_MAPPING).is_file()
        && !path.join("meta/info.json").exists()
        && logs_at(path).is_ok_and(|logs| logs.iter().any(|log| number(log).is_some()))
}

impl StreamRecorder for SessionRecorder {
    fn begin_episode(&self, task: &str, at: Duration) -> Result<()> {
        let mut state = self.state();
        if state.open.is_some() {
            let why = "an episode is open already".to_owned();
            return Err(DataError::Record { episode: state.next, frame: 0, why }.into());
        }
        let path = episode_path(&self.folder, state.next);
        let mut log = McapLog::create(&path, channels(&self.spec))?;
        let at = self.nanos(at);
        log.message(Place::Episode.channel(), at, at, &note(&serde_json::json!({"task": task})))?;
        state.open = Some(log);
        state.next += 1;
        Ok(())
    }

    fn turn(&self, turn: &TurnRecord<'_>) -> Result<()> {
        let mut state = self.state();
        let received = self.nanos(turn.at);
        let state = &mut *state;
        let Some(log) = &mut state.open else { return Ok(()) };
        let measured = state.machine.measured(received, turn.device);
        let stamp = turn.device.map_or(received as i64, |d| d.as_nanos() as i64);
        let mut put =
            |place: Place, data: &[u8]| log.message(place.channel(), received, measured, data);
        if turn.fresh {
            put(Place::Joints, &joints(&self.spec.joints, stamp, turn))?;
        }
        let goals = [(Place::Requests, turn.wanted), (Place::Commands, turn.given)];
        for (place, goals) in goals {
            if let Some(goals) = goals {
                put(place, &joints_of(&self.spec.joints, stamp, goals))?;
            }
        }
        put(Place::Control, &turn_note(turn))
    }

    fn frame(
        &self,
        camera: usize,
        at: Duration,
        device: Option<Duration>,
        pixels: &[u8],
    ) -> Result<()> {
        if self.state().open.is_none() {
            return Ok(());
        }
        let received = self.nanos(at);
        let stamp = device.map_or(received as i64, |d| d.as_nanos() as i64);
        let wrong = |why: String| DataError::Record { episode: 0, frame: 0, why };
        let spec = self.spec.cameras.get(camera);
        let spec = spec.ok_or_else(|| wrong(format!("there is no camera {camera}")))?;
        // Encoded before the lock is taken: the joints' stream does not wait for it.
        let data = picture(spec, self.spec.pictures, stamp, pixels).map_err(wrong)?;
        let mut state = self.state();
        let state = &mut *state;
        let Some(log) = &mut state.open else { return Ok(()) };
        let measured = state.cameras[camera].measured(received, device);
        log.message(Place::Camera(camera).channel(), received, measured, &data)
    }

    fn dropped(&self, stream: &str, count: u64, at: Duration) -> Result<()> {
        let at = self.nanos(at);
        let mut state = self.state();
        let Some(log) = &mut state.open else { return Ok(()) };
        let data = note(&serde_json::json!({"stream": stream, "count": count}));
        log.message(Place::Dropped.channel(), at, at, &data)
    }

    fn end_episode(&self, success: Option<bool>, at: Duration) -> Result<()> {
        let mut state = self.state();
        let Some(mut log) = state.open.take() else {
            let why = "no episode is open".to_owned();
            return Err(DataError::Record { episode: state.next, frame: 0, why }.into());
        };
        if let Some(success) = success {
            let at = self.nanos(at);
            let data = note(&serde_json::json!({"success": success}));
            log.message(Place::Outcome.channel(), at, at, &data)?;
        }
        log.finish()
    }

    fn discard_episode(&self) -> Result<()> {
        let mut state = self.state();
        if let Some(log) = state.open.take() {
            fs::remove_file(log.path()).at("remove", log.path())?;
            state.next -= 1;
        }
        Ok(())
    }
}
