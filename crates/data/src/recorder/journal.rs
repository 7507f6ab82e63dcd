//! The journal of a recording: what makes a crash cost at most one frame.
//!
//! It stands beside the target as `.NAME.journal` and never looks like a dataset. Per episode a file
//! of rows, one checked record per frame; per camera and segment the pictures as they came, replaced
//! by the encoder's packets once those are on disk. A frame is in the journal before `add_frame`
//! returns, so a killed process loses at most the frame it was adding; rows are flushed to the disk
//! when an episode is saved, packets when they are written, so a power cut loses at most the episode
//! being recorded and the last pictures still being encoded. Removed when the dataset is in place.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use embody_core::{
    ContentHash, EpisodeOutcome, Features, IoContext, Result, hash_bytes, write_atomic,
};
use serde::{Deserialize, Serialize};

use crate::format::read_json;
use crate::video::{I420, Segment, VideoSettings};

/// Version of the files; a journal of another one is refused, not guessed at.
const VERSION: u32 = 1;
const HEADER: &str = "recording.json";
const SEALED: &str = "sealed.json";
/// Digits of a record's checksum.
const CHECK: usize = 16;

/// Where the journal of a recording of `target` stands.
pub(super) fn journal_folder(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.journal"))
}

/// What is being recorded, as much of it as a recovery needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub version: u32,
    pub fps: f64,
    pub robot_type: Option<String>,
    pub features: Features,
    pub video: VideoSettings,
    #[serde(default)]
    pub parameters: serde_json::Value,
}

/// The dataset that this journal has become; written before that is put in place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub path: PathBuf,
    pub version: ContentHash,
}

/// A journal being written.
pub(super) struct Journal {
    folder: PathBuf,
    /// Held while recording: a journal in use is not recovered.
    _lock: File,
    open: Option<OpenLog>,
    frames: usize,
}

struct OpenLog {
    number: usize,
    rows: File,
    /// End of the last whole record: a torn one is written over.
    end: u64,
    /// Raw pictures of the segment begun, by camera.
    raw: Vec<Option<(usize, File)>>,
}

/// Where a segment's packets go once they are encoded, and the pictures that they replace.
#[derive(Debug, Clone)]
pub(super) struct SegmentFiles {
    packets: PathBuf,
    raw: PathBuf,
}

impl Journal {
    /// Starts an empty journal in `folder`.
    pub fn create(folder: &Path, header: &Header) -> Result<Self> {
        fs::create_dir_all(folder).at("create folder", folder)?;
        let text = serde_json::to_vec_pretty(&Header { version: VERSION, ..header.clone() })
            .map_err(|e| embody_core::Error::new(format!("could not describe recording: {e}")))?;
        write_atomic(&folder.join(HEADER), &text)?;
        Ok(Self { folder: folder.to_owned(), _lock: lock(folder)?, open: None, frames: 0 })
    }

    /// Starts episode `number`.
    pub fn begin(&mut self, number: usize, task: &str, cameras: usize) -> Result<()> {
        let path = rows_path(&self.folder, number);
        let rows = File::create(&path).at("create", &path)?;
        let raw = (0..cameras).map(|_| None).collect();
        self.open = Some(OpenLog { number, rows, end: 0, raw });
        self.record(&Record::Begin(task.to_owned()))
    }

    /// Keeps picture `place` of segment `segment` of a camera.
    pub fn picture(
        &mut self,
        camera: usize,
        segment: usize,
        place: usize,
        image: &I420,
    ) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let path = self.folder.join(segment_name(open.number, camera, segment, "raw"));
        let slot = &mut open.raw[camera];
        let file = match slot {
            Some((number, file)) if *number == segment => file,
            _ => &mut slot.insert((segment, File::create(&path).at("create", &path)?)).1,
        };
        let bytes = [image.y.as_slice(), &image.u, &image.v].concat();
        // At its place: what a failed write left is written over.
        file.seek(SeekFrom::Start((place * bytes.len()) as u64)).at("write", &path)?;
        file.write_all(&bytes).at("write", &path)
    }

    /// Keeps the row of a frame whose pictures are kept.
    pub fn frame(&mut self, row: Vec<u8>) -> Result<()> {
        self.record(&Record::Frame(row))?;
        self.frames += 1;
        Ok(())
    }

    /// Notes that the episode is over and to be kept, and has the disk confirm it.
    pub fn save(&mut self, outcome: &EpisodeOutcome) -> Result<()> {
        self.record(&Record::Save(Box::new(outcome.clone())))?;
        if let Some(open) = self.open.take() {
            open.rows.sync_all().at("flush", &rows_path(&self.folder, open.number))?;
        }
        Ok(())
    }

    /// Forgets the open episode.
    pub fn discard(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let path = rows_path(&self.folder, open.number);
        // Pictures without rows mean nothing; they go with the journal.
        fs::remove_file(&path).at("remove", &path)
    }

    /// Files of a segment of the open episode.
    pub fn segment(&self, camera: usize, segment: usize) -> Option<SegmentFiles> {
        let number = self.open.as_ref()?.number;
        Some(segment_files(&self.folder, number, camera, segment))
    }

    /// Notes which dataset this has become.
    pub fn seal(&self, path: &Path, version: &ContentHash) -> Result<()> {
        seal(&self.folder, path, version)
    }

    /// Removes it all.
    pub fn remove(mut self) -> Result<()> {
        self.open = None;
        self.frames = 0;
        fs::remove_dir_all(&self.folder).at("remove", &self.folder)
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let bytes = record.bytes();
        let path = rows_path(&self.folder, open.number);
        open.rows.seek(SeekFrom::Start(open.end)).at("write", &path)?;
        open.rows.write_all(&bytes).at("write", &path)?;
        open.end += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.frames == 0 {
            // Nothing to recover. Best effort: an empty journal is cleared by the next recording.
            fs::remove_dir_all(&self.folder).ok();
        }
    }
}

impl SegmentFiles {
    /// Puts packets in the place of pictures. Where that fails the pictures stay, and nothing is lost.
    pub fn keep(&self, segment: &Segment) {
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&self.packets)?;
            file.write_all(&packed(segment))?;
            file.sync_all()?;
            fs::remove_file(&self.raw)
        };
        write().ok();
    }
}

/// Claims the journal in `folder` for as long as the file is held; the system frees it when the
/// process dies.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(HEADER);
    let file = File::open(&path).at("open", &path)?;
    match file.try_lock() {
        // A file system without locks: better a journal than none.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(embody_core::Error::new(format!(
            "{} is being recorded right now",
            folder.display()
        ))
        .with_hint("wait until that recording ends, or record under another name")),
    }
}

/// Notes in the journal at `folder` that it has become the dataset `version` at `path`.
pub(super) fn seal(folder: &Path, path: &Path, version: &ContentHash) -> Result<()> {
    let path = std::path::absolute(path).at("name", path)?;
    let sealed = Sealed { path, version: version.clone() };
    let text = serde_json::to_vec_pretty(&sealed)
        .map_err(|e| embody_core::Error::new(format!("could not seal the recording: {e}")))?;
    write_atomic(&folder.join(SEALED), &text)
}

/// An episode as a journal has it.
pub(super) struct LoggedEpisode {
    pub number: usize,
    pub task: String,
    pub rows: Vec<Vec<u8>>,
    /// `None` where the recording ended in it.
    pub outcome: Option<EpisodeOutcome>,
}

/// A journal that a recording left behind.
pub(super) struct Leftover {
    folder: PathBuf,
    _lock: File,
    pub header: Header,
    pub sealed: Option<Sealed>,
}

impl Leftover {
    /// Opens the journal in `folder`; `None` where there is none, or nothing was begun in it.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let header = folder.join(HEADER);
        if !header.is_file() {
            return Ok(None);
        }
        let held = lock(folder)?;
        let header: Header = read_json(&header)?;
        if header.version != VERSION {
            return Err(embody_core::Error::new(format!(
                "{}: a journal of version {}, this program writes {VERSION}",
                folder.display(),
                header.version
            ))
            .with_hint("recover it with the version of embody that recorded it"));
        }
        let path = folder.join(SEALED);
        let sealed = if path.is_file() { Some(read_json(&path)?) } else { None };
        Ok(Some(Self { folder: folder.to_owned(), _lock: held, header, sealed }))
    }

    /// Numbers of the episodes that it holds, ascending.
    pub fn episodes(&self) -> Result<Vec<usize>> {
        let mut out = Vec::new();
        for entry in fs::read_dir(&self.folder).at("read folder", &self.folder)? {
            let name = entry.at("read folder", &self.folder)?.file_name();
            let name = name.to_string_lossy();
            out.extend(name.strip_suffix(".rows").and_then(|n| n.parse::<usize>().ok()));
        }
        out.sort_unstable();
        Ok(out)
    }

    /// Reads the whole records of an episode; `None` where not even its beginning is whole.
    pub fn read(&self, number: usize) -> Result<Option<LoggedEpisode>> {
        let path = rows_path(&self.folder, number);
        let bytes = fs::read(&path).at("read", &path)?;
        let mut rest = bytes.as_slice();
        let Some(Record::Begin(task)) = Record::take(&mut rest) else { return Ok(None) };
        let mut out = LoggedEpisode { number, task, rows: Vec::new(), outcome: None };
        loop {
            match Record::take(&mut rest) {
                Some(Record::Frame(row)) => out.rows.push(row),
                Some(Record::Save(outcome)) => {
                    out.outcome = Some(*outcome);
                    return Ok(Some(out));
                }
                _ => return Ok(Some(out)),
            }
        }
    }

    /// What there is of a segment: packets, else whole pictures of `width` × `height`.
    pub fn segment(
        &self,
        number: usize,
        camera: usize,
        segment: usize,
        (width, height): (usize, usize),
    ) -> Footage {
        let files = segment_files(&self.folder, number, camera, segment);
        let packets = fs::read(&files.packets).ok();
        if let Some(segment) = packets.and_then(|b| unpacked(&b)) {
            return Footage::Packets(segment);
        }
        let raw = fs::read(&files.raw).unwrap_or_default();
        let (luma, chroma) = (width * height, width.div_ceil(2) * height.div_ceil(2));
        let pictures = raw
            .chunks_exact((luma + 2 * chroma).max(1))
            .map(|p| I420 {
                width,
                height,
                y: p[..luma].to_vec(),
                u: p[luma..luma + chroma].to_vec(),
                v: p[luma + chroma..].to_vec(),
            })
            .collect();
        Footage::Pictures(pictures)
    }

    /// Notes which dataset this has become.
    pub fn seal(&self, path: &Path, version: &ContentHash) -> Result<()> {
        seal(&self.folder, path, version)
    }

    /// Removes it all.
    pub fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.folder).at("remove", &self.folder)
    }
}

/// Frames of a segment.
pub(super) enum Footage {
    Packets(Segment),
    Pictures(Vec<I420>),
}

impl Footage {
    pub fn len(&self) -> usize {
        match self {
            Self::Packets(segment) => segment.packets.len(),
            Self::Pictures(pictures) => pictures.len(),
        }
    }
}

fn rows_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:06}.rows"))
}

fn segment_name(number: usize, camera: usize, segment: usize, kind: &str) -> String {
    format!("{number:06}.{camera:03}.{segment:06}.{kind}")
}

fn segment_files(folder: &Path, number: usize, camera: usize, segment: usize) -> SegmentFiles {
    SegmentFiles {
        packets: folder.join(segment_name(number, camera, segment, "packets")),
        raw: folder.join(segment_name(number, camera, segment, "raw")),
    }
}

/// One entry of a rows file: kind, length, content, checksum.
enum Record {
    Begin(String),
    Frame(Vec<u8>),
    Save(Box<EpisodeOutcome>),
}

impl Record {
    fn bytes(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Begin(task) => (1, task.as_bytes().to_vec()),
            Self::Frame(row) => (2, row.clone()),
            Self::Save(outcome) => (3, serde_json::to_vec(outcome).unwrap_or_default()),
        };
        let mut out = vec![kind];
        out.extend((content.len() as u64).to_le_bytes());
        out.extend(content);
        out.extend(check(&out));
        out
    }

    /// The first record of `bytes`, if it is whole.
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let length = u64::from_le_bytes(bytes.get(1..9)?.try_into().ok()?);
        let end = usize::try_from(length).ok()?.checked_add(9)?;
        let (whole, sum) = (bytes.get(..end)?, bytes.get(end..end.checked_add(CHECK)?)?);
        if sum != check(whole) && !cfg!(feature = "fuzz") {
            return None;
        }
        let content = &whole[9..];
        let record = match whole[0] {
            1 => Self::Begin(String::from_utf8(content.to_vec()).ok()?),
            2 => Self::Frame(content.to_vec()),
            3 => Self::Save(serde_json::from_slice(content).ok()?),
            _ => return None,
        };
        *bytes = &bytes[end + CHECK..];
        Some(record)
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let mut out = [0; CHECK];
    out.copy_from_slice(&hash_bytes(bytes).as_str().as_bytes()[..CHECK]);
    out
}

/// A segment as bytes: decoder configuration, packets, checksum.
fn packed(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::new();
    let mut part = |flag: u8, data: &[u8]| {
        out.push(flag);
        out.extend((data.len() as u64).to_le_bytes());
        out.extend(data);
    };
    part(2, &segment.configuration);
    for (data, sync) in &segment.packets {
        part(u8::from(*sync), data);
    }
    let sum = check(&out);
    out.extend(sum);
    out
}

fn unpacked(bytes: &[u8]) -> Option<Segment> {
    let (mut rest, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECK)?)?;
    if sum != check(rest) && !cfg!(feature = "fuzz") {
        return None;
    }
    let mut segment = Segment { packets: Vec::new(), configuration: Vec::new() };
    while !rest.is_empty() {
        let length = usize::try_from(u64::from_le_bytes(rest.get(1..9)?.try_into().ok()?)).ok()?;
        let data = rest.get(9..9usize.checked_add(length)?)?.to_vec();
        match rest[0] {
            2 => segment.configuration = data,
            flag => segment.packets.push((data, flag == 1)),
        }
        rest = &rest[9 + length..];
    }
    Some(segment)
}
