//! Decoding by ffmpeg: one process per stream and thread, kept and fed with one group of pictures after
//! the other.
//!
//! A request becomes runs of packets, each from a key frame to the last packet needed. Every packet is
//! numbered in the order of presentation, frames come back with the number of their packet, and a
//! number that is passed over is a frame that can't be decoded. A decoder that reorders frames holds
//! some back: the key frame at the file's beginning, fed once more behind the last run, pushes them
//! out; so the process need not end to give its last frame.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use embody_core::Result;

use super::codec::{Codec, Entry, annex_b_configuration, as_broken_link, with_lengths};
use super::process::Process;
use super::{Ffmpeg, ffmpeg, mkv, nut};
use crate::error::DataError;
use crate::video::decode::{DAMAGED, VideoFile};
use crate::video::yuv::{Colour, RawPicture};

/// Processes that a thread keeps: one per camera, usually.
const KEPT: usize = 6;
/// Packets on their way to a frame, before more are sent.
const WINDOW: u64 = 32;
/// Times the key frame is fed to push frames out: beyond what any decoder holds back (16).
const MOST_PUSHES: usize = 20;
/// How long a frame is waited for before it is pushed.
const PATIENCE: Duration = Duration::from_millis(250);

/// Decodes frames of `file` and hands each to `take` as `(position in indices, RGB)`; see
/// [`crate::video::decode_frames`].
pub(in crate::video) fn decode_frames(
    file: &VideoFile,
    indices: &[usize],
    name: &dyn Fn(usize) -> (usize, usize),
    take: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut rgb = Vec::new();
    decode_planes(file, indices, name, &mut |position, picture| {
        rgb.resize(picture.width * picture.height * 3, 0);
        picture
            .rgb(&mut rgb)
            .map_err(|why| file.frame_error(name(position), why, super::UNREADABLE))?;
        take(position, &rgb)
    })
}

/// Decodes frames and hands each to `take` as its planes.
pub(in crate::video) fn decode_planes(
    file: &VideoFile,
    indices: &[usize],
    name: &dyn Fn(usize) -> (usize, usize),
    take: &mut dyn FnMut(usize, &RawPicture<'_>) -> Result<()>,
) -> Result<()> {
    if indices.is_empty() {
        return Ok(());
    }
    let config = &file.track().config;
    let label = config.codec();
    let codec = Codec::of(&label).ok_or_else(|| {
        file.frame_error(name(0), format!("codec {label} is not read"), super::UNREADABLE)
    })?;
    let tool = ffmpeg().map_err(|why| DataError::NoFfmpeg {
        path: file.path().to_owned(),
        codec: label.clone(),
        why,
    })?;
    let configuration =
        codec.configuration(config).map_err(|why| file.frame_error(name(0), why, DAMAGED))?;
    let what = What {
        tool,
        codec,
        configuration,
        entry: config.without_bit_rate().sample_entry,
        size: (config.width.into(), config.height.into()),
    };
    let runs = runs(file, indices).map_err(|(position, why)| {
        embody_core::Error::from(file.frame_error(name(position), why, DAMAGED))
    })?;
    let first = indices.first().and_then(|&i| file.sample_of(i)).unwrap_or(0);
    let mut request = Request { file, runs, first, next: 0, ready: Vec::new() };
    let mut position = 0;
    while position < indices.len() {
        // Packets that only a fresh decoder can begin with get one.
        let fresh = request.entry(&what) == Entry::Fresh;
        let fail = |why: String| file.frame_error(name(position), why, DAMAGED);
        let kept = if fresh { None } else { take_kept(&what) };
        let mut stream = match kept {
            Some(stream) => stream,
            None => Stream::start(&what, request.first_packet()).map_err(fail)?,
        };
        request.begin(&mut stream, &what);
        while let Some(number) = request.number(indices.get(position)) {
            let frame = stream.reach(number, &mut request, &what);
            let frame = frame.map_err(|why| file.frame_error(name(position), why, DAMAGED))?;
            take(position, &frame)?;
            position += 1;
        }
        stream.rest(&request);
        if !fresh && !stream.ended {
            keep(stream);
        }
    }
    Ok(())
}

/// What has to be the same for a process to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
struct What {
    tool: Ffmpeg,
    codec: Codec,
    configuration: Vec<u8>,
    /// The sample entry: it tells streams apart whose codec has no configuration.
    entry: Vec<u8>,
    size: (usize, usize),
}

/// Packets from a key frame on, consecutive in decoding order, and each one's place in presentation.
struct Run {
    samples: Range<usize>,
    ranks: Vec<u64>,
}

/// The runs that frames `indices` (ascending in presentation) need; else the position at which a frame
/// can't be had, and why.
fn runs(file: &VideoFile, indices: &[usize]) -> std::result::Result<Vec<Run>, (usize, String)> {
    let samples = &file.track().samples;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (position, &index) in indices.iter().enumerate() {
        let fail = |why: String| (position, why);
        let target = file
            .sample_of(index)
            .ok_or_else(|| fail(format!("the file has only {} frames", file.len())))?;
        if let Some(last) = ranges.last_mut()
            && last.contains(&target)
        {
            continue;
        }
        let key = |before: usize| (0..before).rev().find(|&i| samples[i].sync);
        let mut from = key(target + 1);
        // A picture shown before its key frame leans on the group before.
        if let Some(sync) = from
            && samples[target].pts < samples[sync].pts
        {
            from = key(sync).or(from);
        }
        let from = from.ok_or_else(|| fail("no key frame before this frame".to_owned()))?;
        match ranges.last_mut() {
            Some(last) if from <= last.end && target >= last.start => {
                last.end = last.end.max(target + 1);
            }
            _ => ranges.push(from..target + 1),
        }
    }
    for range in &ranges {
        if let Some(cut) = range.clone().find(|&i| file.sample(i).is_none_or(<[u8]>::is_empty)) {
            let position = indices.iter().position(|&i| file.sample_of(i) >= Some(cut));
            let why = match file.sample(cut) {
                None => "the file ends before this frame",
                Some(_) => "empty packet",
            };
            return Err((position.unwrap_or(0), why.to_owned()));
        }
    }
    Ok(ranges
        .into_iter()
        .map(|range| {
            let mut order: Vec<usize> = range.clone().collect();
            order.sort_by_key(|&i| (samples[i].pts, i));
            let mut ranks = vec![0; order.len()];
            for (rank, &sample) in order.iter().enumerate() {
                ranks[sample - range.start] = rank as u64;
            }
            Run { samples: range, ranks }
        })
        .collect())
}

/// Packets that are held back by a decoder of this file at most: those that overtake one.
fn reordered(file: &VideoFile, runs: &[Run]) -> usize {
    let samples = &file.track().samples;
    let mut most = 0;
    for run in runs {
        let recent = run.samples.end.saturating_sub(300).max(run.samples.start)..run.samples.end;
        for at in recent {
            let before = at.saturating_sub(16).max(run.samples.start)..at;
            most = most.max(before.filter(|&i| samples[i].pts > samples[at].pts).count());
        }
    }
    most
}

/// What a call asks for, and how much of it is sent.
struct Request<'a> {
    file: &'a VideoFile,
    runs: Vec<Run>,
    /// The sample of the first frame asked for.
    first: usize,
    /// First run that is not begun in a process.
    next: usize,
    /// Runs begun: the run, the number of its first frame, packets sent.
    ready: Vec<(usize, u64, usize)>,
}

impl Request<'_> {
    fn packet(&self, sample: usize) -> &[u8] {
        // `runs` has checked that it is there.
        self.file.sample(sample).unwrap_or(&[])
    }

    fn first_packet(&self) -> &[u8] {
        self.runs.get(self.next).map_or(&[], |r| self.packet(r.samples.start))
    }

    fn entry(&self, what: &What) -> Entry {
        what.codec.entry(&what.configuration, self.first_packet())
    }

    /// Gives numbers to the runs that one process can take.
    fn begin(&mut self, stream: &mut Stream, what: &What) {
        self.ready.clear();
        stream.sent = false;
        loop {
            if let (true, Some((path, sample))) = (self.ready.is_empty(), stream.at.take())
                && let Some(run) = self.runs.get_mut(self.next)
                && path == *self.file.path()
                && run.samples.contains(&sample)
                && self.first >= sample
                && run.ranks.is_sorted()
            {
                // The decoder stands inside this run already.
                run.samples.start = sample;
                run.ranks = (0..run.samples.len() as u64).collect();
                stream.continues = true;
            }
            let Some(run) = self.runs.get(self.next) else { return };
            self.ready.push((self.next, stream.numbers, 0));
            stream.numbers += run.samples.len() as u64;
            self.next += 1;
            if self.next < self.runs.len() && self.entry(what) == Entry::Fresh {
                return;
            }
        }
    }

    /// The number of the frame of presentation index `index`, if one of the runs begun has it.
    fn number(&self, index: Option<&usize>) -> Option<u64> {
        let sample = self.file.sample_of(*index?)?;
        self.ready.iter().find_map(|&(run, base, _)| {
            let run = &self.runs[run];
            let at = sample.checked_sub(run.samples.start)?;
            run.ranks.get(at).map(|rank| base + rank)
        })
    }

    /// Sends packets until `until` numbers are sent; whether all are.
    fn feed(&mut self, stream: &mut Stream, what: &What, until: u64) -> bool {
        for place in 0..self.ready.len() {
            let (number, base, mut sent) = self.ready[place];
            let run = &self.runs[number];
            while sent < run.samples.len() {
                if base + sent as u64 >= until {
                    self.ready[place].2 = sent;
                    return false;
                }
                let sample = run.samples.start + sent;
                let key = self.file.track().samples[sample].sync;
                let data = self.packet(sample);
                let enters = sent == 0 && !(place == 0 && stream.continues);
                let number = base + run.ranks[sent];
                let linked =
                    enters && what.codec.entry(&what.configuration, data) == Entry::BrokenLink;
                let packet = if linked {
                    mkv::packet(number, key, &as_broken_link(&what.configuration, data))
                } else {
                    mkv::packet(number, key, data)
                };
                stream.process.send(packet);
                sent += 1;
            }
            self.ready[place].2 = sent;
        }
        true
    }
}

/// A running decoder.
struct Stream {
    what: What,
    // Dropped before the process, whose drop waits for the thread that sends here.
    frames: Receiver<std::io::Result<(nut::Stream, nut::Frame)>>,
    process: Process,
    colour: Colour,
    /// Numbers given to packets.
    numbers: u64,
    /// Numbers up to which frames have come or are lost.
    done: u64,
    last: Option<(nut::Stream, nut::Frame)>,
    /// Whether all packets of this request are sent, pushes of it, and how many are made at once.
    sent: bool,
    pushes: usize,
    push_at_once: usize,
    ended: bool,
    /// Where decoding can go on: the file, and the sample after the one decoded last.
    at: Option<(PathBuf, usize)>,
    continues: bool,
}

impl Stream {
    /// Starts a process; `first` is a key frame of the stream, from which its colours are learnt.
    fn start(what: &What, first: &[u8]) -> std::result::Result<Self, String> {
        let colour = colour_of(what, first)?;
        let (mut process, output) = Process::start(&what.tool, &arguments(&what.tool))?;
        let (sender, frames) = sync_channel(4);
        process.also(std::thread::spawn(move || {
            let read = || -> std::io::Result<()> {
                let mut reader = nut::Reader::new(output)?;
                while let Some(frame) = reader.frame()? {
                    if sender.send(Ok((reader.stream(), frame))).is_err() {
                        return Ok(());
                    }
                }
                Ok(())
            };
            if let Err(error) = read() {
                // Nobody may be left to hear it.
                sender.send(Err(error)).ok();
            }
        }));
        let (width, height) = what.size;
        process.send(mkv::head(what.codec, &what.configuration, width, height));
        Ok(Self {
            what: what.clone(),
            process,
            frames,
            colour,
            numbers: 0,
            done: 0,
            last: None,
            sent: false,
            pushes: 0,
            push_at_once: 0,
            ended: false,
            at: None,
            continues: false,
        })
    }

    /// Goes on to frame `number`; frames before it are passed over.
    fn reach(
        &mut self,
        number: u64,
        request: &mut Request<'_>,
        what: &What,
    ) -> std::result::Result<RawPicture<'_>, String> {
        let mut window = WINDOW;
        let mut since = Instant::now();
        let fresh = what.codec.entry(&what.configuration, request.packet(0)) == Entry::Fresh;
        while self.last.as_ref().is_none_or(|(_, frame)| frame.number < number) {
            let until = self.done + window;
            if !self.sent && request.feed(self, what, until) {
                self.sent = true;
                if fresh {
                    self.process.close_input();
                    self.ended = true;
                } else {
                    let held = reordered(request.file, &request.runs).max(self.push_at_once);
                    (0..held).for_each(|_| self.push(request, what));
                }
            }
            match self.frames.recv_timeout(PATIENCE) {
                Ok(Ok((stream, frame))) => {
                    self.done = self.done.max(frame.number + 1);
                    self.last = Some((stream, frame));
                    since = Instant::now();
                    window = WINDOW;
                }
                Ok(Err(e)) => return Err(self.quote(&e.to_string())),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.quote("ffmpeg ended without a picture for this packet"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    window += WINDOW;
                    let waited = since.elapsed();
                    if waited > what.tool.time_limit {
                        let secs = what.tool.time_limit.as_secs_f64();
                        return Err(self.quote(&format!("ffmpeg gave nothing for {secs} s")));
                    }
                    if self.sent && !self.ended && self.pushes < MOST_PUSHES {
                        self.push(request, what);
                        self.push_at_once = self.push_at_once.max(self.pushes);
                    } else if self.process.complained() && waited > PATIENCE * 2 {
                        return Err(self.quote("no picture for this packet"));
                    }
                }
            }
        }
        match &self.last {
            Some((stream, frame)) if frame.number == number => {
                picture(*stream, &frame.data, self.colour)
            }
            _ => Err(self.quote("no picture for this packet")),
        }
    }

    /// Feeds the file's first packet, behind whose frame every earlier one comes.
    fn push(&mut self, request: &Request<'_>, what: &What) {
        let data = request.packet(0);
        let number = self.numbers;
        self.numbers += 1;
        self.pushes += 1;
        let packet = match what.codec.entry(&what.configuration, data) {
            Entry::BrokenLink => {
                mkv::packet(number, true, &as_broken_link(&what.configuration, data))
            }
            _ => mkv::packet(number, true, data),
        };
        self.process.send(packet);
    }

    /// Ends a request: where nothing was pushed, the next one can go on from here.
    fn rest(&mut self, request: &Request<'_>) {
        let whole = request.ready.last().filter(|_| self.pushes == 0 && !self.ended);
        self.at = whole.and_then(|&(run, _, sent)| {
            let run = &request.runs[run];
            (sent == run.samples.len()).then(|| (request.file.path().to_owned(), run.samples.end))
        });
        self.sent = false;
        self.pushes = 0;
        self.continues = false;
        // What is still on its way belongs to nobody.
        self.last = None;
        self.done = self.done.max(self.numbers.saturating_sub(1));
    }

    fn quote(&self, why: &str) -> String {
        match self.process.complaint() {
            Some(said) => format!("{why} (ffmpeg says: {said})"),
            None => why.to_owned(),
        }
    }
}

/// Arguments that turn Matroska on stdin into raw frames in NUT on stdout.
fn arguments(tool: &Ffmpeg) -> Vec<&'static str> {
    let mut out = vec![
        // Begin with the first packet; keep times as they are.
        "-probesize",
        "32",
        "-analyzeduration",
        "0",
        "-copyts",
        // One thread holds no frame back. A damaged picture is an error, not a guess.
        "-threads",
        "1",
        "-err_detect",
        "explode",
        "-f",
        "matroska",
        "-i",
        "pipe:0",
        "-map",
        "0:v:0",
    ];
    out.extend(if tool.old_options { ["-vsync", "0"] } else { ["-fps_mode", "passthrough"] });
    // A frame of another size is an error, not to be scaled.
    out.extend(["-noautoscale", "-enc_time_base", "1:1000", "-c:v", "rawvideo", "-threads", "1"]);
    out.extend(["-flush_packets", "1", "-f", "nut", "pipe:1"]);
    out
}

/// What a stream's first picture says of its colours, which NUT does not carry: asked of a process that
/// writes Matroska, once per kind of stream.
fn colour_of(what: &What, first: &[u8]) -> std::result::Result<Colour, String> {
    /// By codec and sample entry.
    type Known = HashMap<(Codec, Vec<u8>), Colour>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (what.codec, what.entry.clone());
    let by_entry = !what.entry.is_empty();
    if by_entry && let Some(colour) = known().as_ref().and_then(|k| k.get(&key).copied()) {
        return Ok(colour);
    }
    let arguments = [
        "-probesize",
        "32",
        "-analyzeduration",
        "0",
        "-threads",
        "1",
        "-f",
        "matroska",
        "-i",
        "pipe:0",
        "-map",
        "0:v:0",
        "-frames:v",
        "1",
        "-c:v",
        "rawvideo",
        "-allow_raw_vfw",
        "1",
        "-f",
        "matroska",
        "pipe:1",
    ];
    let (mut process, output) = Process::start(&what.tool, &arguments)?;
    let (width, height) = what.size;
    process.send(mkv::head(what.codec, &what.configuration, width, height));
    process.send(mkv::packet(0, true, first));
    process.close_input();
    let (sender, answer) = sync_channel(1);
    process.also(std::thread::spawn(move || {
        let mut colour = None;
        // A stream that can't be understood has no colour; its frames will tell why.
        mkv::read(output, |track, _| {
            colour = Some(track.colour);
            false
        })
        .ok();
        sender.send(colour).ok();
    }));
    let colour = match answer.recv_timeout(what.tool.time_limit) {
        Ok(Some(colour)) => colour,
        // The frame is damaged, or all of it: decoding names the place.
        Ok(None) | Err(RecvTimeoutError::Disconnected) => return Ok(Colour::default()),
        Err(RecvTimeoutError::Timeout) => {
            let secs = what.tool.time_limit.as_secs_f64();
            return Err(format!("ffmpeg gave nothing for {secs} s"));
        }
    };
    if by_entry {
        let mut known = known();
        let known = known.get_or_insert_default();
        if known.len() > 1000 {
            known.clear();
        }
        known.insert(key, colour);
    }
    Ok(colour)
}

/// A frame's planes, after its pixel format.
fn picture(
    stream: nut::Stream,
    data: &[u8],
    colour: Colour,
) -> std::result::Result<RawPicture<'_>, String> {
    RawPicture::new(stream.tag, stream.width, stream.height, colour, data)
}

thread_local! {
    static STREAMS: RefCell<Vec<Stream>> = const { RefCell::new(Vec::new()) };
}

/// The process of this thread that decodes such streams, if it keeps one.
fn take_kept(what: &What) -> Option<Stream> {
    STREAMS.with_borrow_mut(|kept| {
        let at = kept.iter().position(|s| s.what == *what)?;
        Some(kept.remove(at))
    })
}

fn keep(stream: Stream) {
    let old = STREAMS.with_borrow_mut(|kept| {
        kept.push(stream);
        (kept.len() > KEPT).then(|| kept.remove(0))
    });
    drop(old);
}

/// Decodes packets that come one by one, outside any file: H.264 and HEVC as messages carry them, with
/// start codes (Annex B), parameter sets before each key frame, and no reordered frames.
pub(in crate::video) struct PacketDecoder {
    codec: Codec,
    stream: Option<Stream>,
}

impl PacketDecoder {
    /// A decoder that waits for a key frame.
    pub fn new(codec: Codec) -> Self {
        Self { codec, stream: None }
    }

    /// Decodes a packet; width, height and RGB of what it shows. `None` before the first key frame.
    pub fn packet(
        &mut self,
        data: &[u8],
    ) -> std::result::Result<Option<(usize, usize, Vec<u8>)>, String> {
        let configuration = annex_b_configuration(self.codec, data);
        let key = configuration.is_some();
        let data = &with_lengths(data);
        let stream = match (&mut self.stream, configuration) {
            (Some(stream), _) => stream,
            (None, None) => return Ok(None),
            (none, Some(configuration)) => {
                let tool = ffmpeg().map_err(|why| {
                    let name = self.codec.name();
                    format!("{name} is decoded by ffmpeg, and {why}; {}", super::NO_FFMPEG_HINT)
                })?;
                let what = What {
                    tool,
                    codec: self.codec,
                    configuration,
                    entry: Vec::new(),
                    // The stream says it.
                    size: (0, 0),
                };
                none.insert(Stream::start(&what, data)?)
            }
        };
        let number = stream.numbers;
        stream.numbers += 1;
        stream.process.send(mkv::packet(number, key, data));
        let limit = stream.what.tool.time_limit;
        let start = Instant::now();
        loop {
            match stream.frames.recv_timeout(PATIENCE) {
                Ok(Ok((format, frame))) if frame.number == number => {
                    let picture = picture(format, &frame.data, stream.colour)?;
                    let mut rgb = vec![0; picture.width * picture.height * 3];
                    picture.rgb(&mut rgb)?;
                    return Ok(Some((picture.width, picture.height, rgb)));
                }
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(stream.quote(&e.to_string())),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(stream.quote("ffmpeg ended without a picture for this packet"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let waited = start.elapsed();
                    if waited > limit || (stream.process.complained() && waited > PATIENCE * 2) {
                        return Err(stream.quote("no picture for this packet"));
                    }
                    if waited > PATIENCE * 12 {
                        let why = "no picture for this packet: video whose frames are reordered \
                                   can't be read from messages";
                        return Err(stream.quote(why));
                    }
                }
            }
        }
    }
}
