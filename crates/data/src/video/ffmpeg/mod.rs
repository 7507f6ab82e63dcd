//! Codecs other than AV1, through an `ffmpeg` process: H.264, HEVC, MPEG-4 part 2, VP9 in; H.264 out.
//!
//! Why a process: the decoders' patents and licences (GPL) stay outside of this program, which links
//! and ships none of it. The process sees nothing but pipes: packets go in as Matroska written here,
//! raw planes come back as NUT with the number of each packet, so a frame is known by its number and
//! never by counting. Invariants: every argument is a constant or a number, no file name and no word
//! of foreign data reaches the command line; a child never outlives its handle; what it says on
//! stderr is bounded and quoted; a child that gives nothing for the time limit is killed.

mod codec;
mod decode;
mod encode;
mod mkv;
mod nut;
mod process;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(super) use decode::{PacketDecoder, decode_frames, decode_planes};
pub(super) use encode::encode_h264;

pub(super) use codec::{Codec, starts_annex_b, to_annex_b};

/// How long a child may give nothing before it is killed.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// An `ffmpeg` executable, checked to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ffmpeg {
    path: PathBuf,
    version: String,
    /// Before version 5.1 the option `-fps_mode` was called `-vsync`.
    old_options: bool,
    time_limit: Duration,
}

impl Ffmpeg {
    /// The executable at `path`; runs it once to learn its version.
    ///
    /// # Errors
    /// When it can't be run, or is something else.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let output = Command::new(&path)
            .arg("-version")
            .env_remove("FFREPORT")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{} can't be run: {e}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.strip_prefix("ffmpeg version ").and_then(|t| t.split(' ').next());
        let Some(version) = version.filter(|_| output.status.success()) else {
            return Err(format!("{} is no ffmpeg: it does not tell its version", path.display()));
        };
        let major: Option<u32> =
            version.trim_start_matches('n').split('.').next().and_then(|n| n.parse().ok());
        let version = version.to_owned();
        let old_options = major.is_some_and(|m| m <= 5);
        Ok(Self { path, version, old_options, time_limit: TIME_LIMIT })
    }

    /// The same with another time limit for a child that gives nothing; 30 s otherwise.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of its version, such as `7.1.1`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

type Find = Box<dyn Fn() -> Option<PathBuf> + Send + Sync>;

enum Tool {
    Unset,
    Finder(Find),
    Ready(Result<Ffmpeg, String>),
}

static TOOL: Mutex<Tool> = Mutex::new(Tool::Unset);

/// Says how this process finds `ffmpeg`: `find` is asked once, when a video first needs it. Without
/// this call, or where it gives `None`, only AV1 can be decoded and encoded.
pub fn find_ffmpeg_by(find: impl Fn() -> Option<PathBuf> + Send + Sync + 'static) {
    *TOOL.lock().unwrap_or_else(PoisonError::into_inner) = Tool::Finder(Box::new(find));
}

/// Uses `ffmpeg` from now on in this process.
pub fn use_ffmpeg(ffmpeg: Ffmpeg) {
    *TOOL.lock().unwrap_or_else(PoisonError::into_inner) = Tool::Ready(Ok(ffmpeg));
}

/// The ffmpeg of this process, if there is one.
///
/// # Errors
/// Says why there is none.
pub fn ffmpeg() -> Result<Ffmpeg, String> {
    let mut tool = TOOL.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match &*tool {
        Tool::Ready(ready) => return ready.clone(),
        Tool::Unset => None,
        Tool::Finder(find) => find(),
    };
    let ready = match found {
        Some(path) => Ffmpeg::new(path),
        None => Err("there is no ffmpeg".to_owned()),
    };
    *tool = Tool::Ready(ready.clone());
    ready
}

/// Whether frames of `codec` (as [`crate::mp4::TrackConfig::codec`] names it) can be decoded now.
pub(crate) fn can_decode(codec: &str) -> bool {
    codec == "av1" || (Codec::of(codec).is_some() && ffmpeg().is_ok())
}

/// What to do where ffmpeg is needed and missing.
pub(crate) const NO_FFMPEG_HINT: &str = "install ffmpeg (the system's package, or `pip install \
    imageio-ffmpeg`), or set EMBODY_FFMPEG to the path of its executable";

/// What to do about a video whose frames can't be turned into pictures.
const UNREADABLE: &str =
    "AV1, H.264, HEVC, MPEG-4 part 2, VP8 and VP9 in 8 to 12 bits of YUV or grey are read";
