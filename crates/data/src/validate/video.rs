//! Checks of video: files, times, codecs, and pictures that show nothing.

use std::collections::HashSet;

use super::{DecodeCheck, Part};
use crate::dataset::Dataset;
use crate::finding::Finding;
use crate::stats::PictureStats;
use crate::video::VideoFile;

/// Frames decoded of an episode in a sampled check.
const SAMPLES: usize = 8;
/// Mean level (0-255) below which a picture counts as black.
const BLACK_LEVEL: f64 = 3.0;
/// Mean difference of levels between pictures below which they count as the same: above codec noise
/// of a still scene's repeated frame, below any real motion.
const FROZEN_DIFFERENCE: f64 = 0.05;

/// Checks one camera of one episode.
pub(super) fn check(
    dataset: &Dataset,
    episode: usize,
    key: &str,
    decode: DecodeCheck,
    moves: bool,
    part: &mut Part,
) {
    let row = &dataset.episodes()[episode];
    let Some(span) = row.videos.get(key) else { return };
    if !span.file.is_file() {
        return;
    }
    let file = dataset.relative(&span.file);
    let at = |f: Finding| f.file(file.clone()).episode(episode);
    let video = match dataset.video(&span.file) {
        Ok(video) => video,
        Err(e) => {
            let code = if cut_off(&span.file) { "video-truncated" } else { "video-unreadable" };
            part.findings.push(at(Finding::error(code, e.to_string())));
            return;
        }
    };
    part.checked.videos += 1;
    let before = part.findings.len();
    labels(dataset, key, &video, &mut part.findings, &at);
    spans(dataset, episode, key, &video, &mut part.findings, &at);
    let sound = !part.findings[before..].iter().any(|f| f.code != "video-codec-label");
    if decode == DecodeCheck::None || !sound {
        return;
    }
    let codec = video.track().config.codec();
    if !crate::video::can_decode(&codec) {
        let text = format!("{key}: pictures not checked, {codec} can't be decoded without ffmpeg");
        part.findings.push(at(Finding::note("video-not-decoded", text)));
        return;
    }
    pictures(dataset, episode, key, decode, moves, part, &at);
}

/// Codec and size as info.json has them against the file.
fn labels(
    dataset: &Dataset,
    key: &str,
    video: &VideoFile,
    findings: &mut Vec<Finding>,
    at: &dyn Fn(Finding) -> Finding,
) {
    let Some(feature) = dataset.info().features.get(key) else { return };
    let config = &video.track().config;
    let codec = config.codec();
    if let Some(says) = feature.info.as_ref().and_then(|i| i.codec.as_deref()) {
        let same = says == codec || crate::video::same_codec(says, &codec);
        if !same {
            let text = format!("{key}: info.json says {says}, the file is {codec}");
            findings.push(at(Finding::warning("video-codec-label", text)));
        }
    }
    let (height, width) = (usize::from(config.height), usize::from(config.width));
    // Older datasets have the channels first.
    let shape = &feature.shape;
    let fits = match shape[..] {
        [a, b, c] => [a, b] == [height, width] || [b, c] == [height, width],
        _ => false,
    };
    if !fits {
        let text = format!("{key}: the video is {width}x{height}, info.json says {shape:?}");
        findings.push(at(Finding::error("video-size", text)));
    }
}

/// Number and times of frames against the table.
fn spans(
    dataset: &Dataset,
    episode: usize,
    key: &str,
    video: &VideoFile,
    findings: &mut Vec<Finding>,
    at: &dyn Fn(Finding) -> Finding,
) {
    let fps = dataset.fps();
    let row = &dataset.episodes()[episode];
    let span = &row.videos[key];
    let range = video.span(span.from_timestamp, span.to_timestamp, fps);
    let alone = dataset.format() != crate::FormatVersion::V30;
    let frames = if alone { video.len() } else { range.len() };
    let slack = 1e-4 + 0.5 / f64::from(video.track().config.timescale);
    if !alone {
        let seam = seam(dataset, episode, key, slack);
        if let Some((shift, text)) = &seam
            && (shift.abs() - 1.0 / fps).abs() <= slack.max(1e-3)
        {
            let text =
                format!("{key}: {text}: a frame {}", if *shift > 0.0 { "late" } else { "early" });
            findings.push(at(Finding::error("video-off-by-one", text)));
            return;
        }
        let duration = span.to_timestamp - span.from_timestamp;
        if (duration - row.length as f64 / fps).abs() > 0.5 / fps {
            let text = format!(
                "{key}: from_timestamp and to_timestamp span {duration:.4} s, {} frames last {:.4} s",
                row.length,
                row.length as f64 / fps
            );
            findings.push(at(Finding::error("video-span", text)));
            return;
        }
        if let Some((_, text)) = seam {
            findings.push(at(Finding::error("video-span", format!("{key}: {text}"))));
            return;
        }
    }
    if frames < row.length {
        findings.push(
            at(Finding::error(
                "video-short",
                format!("{key}: the video has {frames} frames, the table {} rows", row.length),
            )
            .frame(frames))
            .hint("record or copy the video again, or leave the episode out"),
        );
        return;
    }
    if frames > row.length {
        let text = format!("{key}: the video has {frames} frames, the table {} rows", row.length);
        findings.push(at(Finding::warning("video-long", text)));
    }
    let first = range.start;
    let scale = f64::from(video.track().config.timescale);
    for frame in 0..row.length {
        let Some(pts) = video.pts(first + frame) else { break };
        let (is, wanted) = (pts as f64 / scale, span.from_timestamp + frame as f64 / fps);
        if (is - wanted).abs() > slack {
            let text =
                format!("{key}: the frame is shown at {is:.5} s, its row is at {wanted:.5} s");
            let hint = "pictures and rows are out of step; LeRobot refuses such a frame";
            findings.push(at(Finding::error("video-timestamp", text).frame(frame)).hint(hint));
            break;
        }
    }
    let samples: Vec<usize> =
        (first..first + row.length).filter_map(|i| video.sample_of(i)).collect();
    if let Some(frame) = samples.iter().position(|&s| video.sample(s).is_none()) {
        let text = format!("{key}: the file ends before this frame");
        findings.push(at(Finding::error("video-truncated", text).frame(frame)));
    } else if samples.first().is_some_and(|&s| !video.track().samples[s].sync) {
        let text = format!("{key}: the episode does not start on a key frame");
        let hint = "it can be read, but not cut out without encoding again";
        findings.push(at(Finding::warning("video-no-key-frame", text)).hint(hint));
    }
}

/// By how much the episode begins elsewhere than where the one before it in the same file ends.
fn seam(dataset: &Dataset, episode: usize, key: &str, slack: f64) -> Option<(f64, String)> {
    let span = &dataset.episodes()[episode].videos[key];
    let before = dataset.episodes()[..episode]
        .iter()
        .rev()
        .filter_map(|e| e.videos.get(key))
        .find(|v| v.file == span.file);
    let expected = before.map_or(0.0, |v| v.to_timestamp);
    let shift = span.from_timestamp - expected;
    (shift.abs() > slack.max(1e-3)).then(|| {
        let from = span.from_timestamp;
        let text =
            format!("from_timestamp is {from:.5} s, the episode before ends at {expected:.5} s");
        (shift, text)
    })
}

/// Decodes frames and looks for pictures that show nothing.
fn pictures(
    dataset: &Dataset,
    episode: usize,
    key: &str,
    decode: DecodeCheck,
    moves: bool,
    part: &mut Part,
    at: &dyn Fn(Finding) -> Finding,
) {
    let length = dataset.episodes()[episode].length;
    let sync = key_frames(dataset, episode, key);
    let frames: Vec<usize> = match decode {
        DecodeCheck::All => (0..length).collect(),
        _ => sampled(length, &sync),
    };
    let width = dataset.info().features.get(key).and_then(|f| f.shape.get(1)).copied().unwrap_or(1);
    // Key frames of the same picture are the same to the bit; between others lies the codec's noise.
    let only_keys = frames.iter().filter(|&&f| sync.get(f) == Some(&true)).count() > 2;
    let mut brightest: f64 = 0.0;
    let mut largest: f64 = 0.0;
    let mut previous: Vec<u8> = Vec::new();
    let mut decoded = 0;
    let result = dataset.visit_frames(episode, key, &frames, &mut |position, rgb| {
        decoded += 1;
        let mut stats = PictureStats::default();
        stats.add(rgb, width);
        brightest = brightest.max(stats.mean_level());
        if only_keys && sync.get(frames[position]) != Some(&true) {
            return Ok(());
        }
        if previous.len() == rgb.len() {
            let sum: u64 = previous.iter().zip(rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            largest = largest.max(sum as f64 / rgb.len() as f64);
        }
        previous.clear();
        previous.extend_from_slice(rgb);
        Ok(())
    });
    part.checked.decoded_frames += decoded;
    if let Err(e) = result {
        let hint = e.hint().unwrap_or("copy or record the video again").to_owned();
        part.findings.push(at(Finding::error("video-damaged", e.to_string())).hint(hint));
        return;
    }
    if brightest < BLACK_LEVEL {
        let text = format!("{key}: every picture looked at is black");
        let hint = "the camera was covered or gave nothing; leave the episode out";
        part.findings.push(at(Finding::warning("video-black", text)).hint(hint));
    } else if frames.len() > 2 && moves && largest < FROZEN_DIFFERENCE {
        let text = format!("{key}: the picture never changes while the robot moves");
        let hint = "the camera hung; leave the episode out";
        part.findings.push(at(Finding::warning("video-frozen", text)).hint(hint));
    }
}

/// Of each frame of an episode: whether it is a key frame.
fn key_frames(dataset: &Dataset, episode: usize, key: &str) -> Vec<bool> {
    let frames: Vec<usize> = (0..dataset.episodes()[episode].length).collect();
    let Ok((video, indices)) = dataset.locate(episode, key, &frames) else { return Vec::new() };
    let sync = |i: usize| video.sample_of(i).and_then(|s| video.track().samples.get(s));
    indices.into_iter().map(|i| sync(i).is_some_and(|s| s.sync)).collect()
}

/// A few frames spread over an episode: key frames where there are enough.
fn sampled(length: usize, sync: &[bool]) -> Vec<usize> {
    let count = SAMPLES.min(length);
    let even: Vec<usize> = (0..count).map(|i| i * (length - 1) / (count - 1).max(1)).collect();
    let back = |f: &usize| (0..=*f).rev().find(|&f| sync.get(f) == Some(&true));
    let mut keys: Vec<usize> = even.iter().filter_map(back).collect();
    keys.dedup();
    if keys.len() > 2 { keys } else { even }
}

/// Whether a box of an MP4 file, as its header has it, goes beyond the file's end.
pub(crate) fn cut_off(path: &std::path::Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut at = 0;
        while at < length {
            let mut head = [0; 16];
            let rest = usize::try_from(length - at).unwrap_or(usize::MAX).min(16);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut head[..rest])?;
            let size = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
                0 => return Ok(false),
                1 => u64::from_be_bytes([
                    head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
                ]),
                n => n.into(),
            };
            if rest < 8 || size > length - at {
                return Ok(true);
            }
            at += size.max(8);
        }
        Ok(false)
    };
    read().unwrap_or(false)
}

/// Checks over all files: cameras with fewer videos than episodes, videos that no episode names.
pub(super) fn check_whole(dataset: &Dataset, findings: &mut Vec<Finding>) {
    let total = dataset.episodes().len();
    for key in dataset.info().video_keys() {
        let has = |e: &&crate::Episode| {
            e.videos.get(key).is_some_and(|v| {
                v.file.is_file()
                    && dataset.video(&v.file).is_ok_and(|video| {
                        !video.span(v.from_timestamp, v.to_timestamp, dataset.fps()).is_empty()
                    })
            })
        };
        let count = dataset.episodes().iter().filter(has).count();
        if count < total {
            let text = format!("{key}: there is video for {count} of {total} episodes");
            findings.push(Finding::error("videos-fewer", text));
        }
    }
    let named: HashSet<String> = dataset
        .episodes()
        .iter()
        .flat_map(|e| e.videos.values())
        .map(|v| dataset.relative(&v.file))
        .collect();
    let mut stray = Vec::new();
    walk(&dataset.root().join("videos"), &mut stray);
    stray.sort();
    for path in stray {
        let file = dataset.relative(&path);
        if path.extension().is_some_and(|e| e == "mp4") && !named.contains(&file) {
            let text = "no episode uses this video";
            findings.push(Finding::note("file-unreferenced", text).file(file));
        }
    }
}

fn walk(folder: &std::path::Path, out: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() { walk(&path, out) } else { out.push(path) }
    }
}
