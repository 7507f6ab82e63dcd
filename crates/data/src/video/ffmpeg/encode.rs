//! Encoding H.264 with libx264 in an ffmpeg process: planes in, packets and `avcC` out.
//!
//! A segment is a process of its own on one thread, without reordered frames and with key frames where
//! they are due, so that the bytes depend on the frames alone and segments run in parallel.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use super::process::Process;
use super::{ffmpeg, mkv};
use crate::video::encode::{Segment, SegmentEncoder};
use crate::video::yuv::I420;

/// Encodes consecutive frames, the first being a key frame.
pub(in crate::video) fn encode_h264(
    encoder: &SegmentEncoder,
    frames: &[I420],
) -> Result<Segment, String> {
    let tool = ffmpeg()?;
    let settings = &encoder.settings;
    let size = format!("{}x{}", encoder.width, encoder.height);
    let (rate, gop) = (format!("{:.6}", encoder.fps), settings.gop.to_string());
    let quality = settings.crf.to_string();
    let arguments = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-video_size",
        &size,
        "-framerate",
        &rate,
        "-color_range",
        "tv",
        "-colorspace",
        "smpte170m",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "iec61966-2-1",
        "-i",
        "pipe:0",
        "-map",
        "0:v:0",
        "-c:v",
        "libx264",
        "-preset",
        settings.preset.name(),
        "-crf",
        &quality,
        "-g",
        &gop,
        "-keyint_min",
        &gop,
        "-sc_threshold",
        "0",
        "-bf",
        "0",
        "-threads",
        "1",
        "-pix_fmt",
        "yuv420p",
        "-color_range",
        "tv",
        "-colorspace",
        "smpte170m",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "iec61966-2-1",
        "-f",
        "matroska",
        "pipe:1",
    ];
    let (mut process, output) = Process::start(&tool, &arguments)?;
    let (sender, answer) = sync_channel(1);
    process.also(std::thread::spawn(move || {
        let mut segment = Segment { packets: Vec::new(), configuration: Vec::new() };
        let read = mkv::read(output, |track, packet| {
            segment.configuration.clone_from(&track.configuration);
            segment.packets.extend(packet);
            true
        });
        sender.send(read.map(|()| segment)).ok();
    }));
    for frame in frames {
        process.send([frame.y.as_slice(), &frame.u, &frame.v].concat());
    }
    process.close_input();
    let said = |process: &Process, why: String| match process.complaint() {
        Some(said) => format!("{why} (ffmpeg says: {said})"),
        None => why,
    };
    let segment = match answer.recv_timeout(tool.time_limit.saturating_mul(4)) {
        Ok(Ok(segment)) => segment,
        Ok(Err(e)) => return Err(said(&process, e.to_string())),
        Err(RecvTimeoutError::Timeout) => {
            return Err(said(&process, "ffmpeg does not come to an end".to_owned()));
        }
        Err(RecvTimeoutError::Disconnected) => {
            return Err(said(&process, "ffmpeg ended early".to_owned()));
        }
    };
    if !process.wait(tool.time_limit)? {
        return Err(said(&process, "ffmpeg failed".to_owned()));
    }
    let keys = segment.packets.iter().enumerate();
    let wanted = |i: usize| i.is_multiple_of((settings.gop as usize).max(1));
    if let Some((bad, _)) = keys.clone().find(|(i, (_, key))| wanted(*i) && !key) {
        return Err(format!("frame {bad} should be a key frame and is none"));
    }
    if segment.packets.len() != frames.len() {
        let (went, came) = (frames.len(), segment.packets.len());
        return Err(said(&process, format!("{went} frames went in, {came} packets came out")));
    }
    Ok(segment)
}
