//! Encoding: RGB frames to AV1 packets with rav1e, or to H.264 with ffmpeg's libx264, in segments that
//! depend on nothing outside.
//!
//! A segment is a whole number of groups of pictures, encoded alone on one thread at a constant
//! quantiser; so segments run in parallel, and their number and order, not the threads, decide the
//! bytes.

use std::io::Cursor;

use embody_core::{Result, VideoInfo};
use rav1e::prelude::*;
use serde::{Deserialize, Serialize};

use super::ffmpeg::{encode_h264, ffmpeg};
use super::yuv::I420;
use crate::error::DataError;
use crate::mp4::{Mp4Writer, Packet, TrackConfig, sample_entry};

/// Ticks that a frame lasts in files written here; the timescale is this times the frame rate.
pub(crate) const TICKS_PER_FRAME: u32 = 512;

/// How video is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VideoSettings {
    /// Frames from key frame to key frame: 2 for fast random access, 30 for small files.
    pub gop: u32,
    /// AV1 in this process, or H.264 by ffmpeg.
    pub codec: VideoCodec,
    /// AV1 base quantiser, 1 (best) to 255.
    pub quantiser: u8,
    /// rav1e's speed preset, 0 (slow, small) to 10.
    pub speed: u8,
    /// H.264's constant rate factor, 0 (lossless) to 51.
    pub crf: u8,
    /// H.264's speed preset.
    pub preset: H264Preset,
}

impl VideoSettings {
    /// Writes codec and group length into what a feature says of its video.
    pub(crate) fn describe(&self, info: &mut VideoInfo) {
        info.codec = Some(self.codec.name().to_owned());
        info.pix_fmt = Some("yuv420p".to_owned());
        // What another encoder was told holds no longer.
        for gone in ["video.crf", "video.preset", "video.fast_decode", "video.extra_options"] {
            info.extra.shift_remove(gone);
        }
        info.extra.insert("video.g".to_owned(), self.gop.into());
        if self.codec == VideoCodec::H264 {
            info.extra.insert("video.crf".to_owned(), self.crf.into());
            info.extra.insert("video.preset".to_owned(), self.preset.name().into());
        }
    }
}

/// A codec to encode with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// AV1 by rav1e, in this process.
    #[default]
    Av1,
    /// H.264 by libx264, in an ffmpeg process: faster than AV1, and about half again as large.
    H264,
}

impl VideoCodec {
    /// The name that LeRobot writes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Av1 => "av1",
            Self::H264 => "h264",
        }
    }
}

/// A speed preset of libx264, from fast and large to slow and small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum H264Preset {
    /// Fastest, largest.
    Ultrafast,
    /// Very fast, large.
    Superfast,
    /// Fast enough to record several cameras.
    #[default]
    Veryfast,
    /// Between.
    Faster,
    /// Between.
    Fast,
    /// libx264's own default.
    Medium,
    /// Slow, small.
    Slow,
}

impl H264Preset {
    /// The name that libx264 knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
        }
    }
}

impl Default for VideoSettings {
    fn default() -> Self {
        Self {
            gop: 2,
            codec: VideoCodec::Av1,
            quantiser: 60,
            speed: 10,
            crf: 23,
            preset: H264Preset::Veryfast,
        }
    }
}

/// Packets of one camera of one episode.
#[derive(Debug, Clone)]
pub(crate) struct EncodedVideo {
    pub config: TrackConfig,
    /// Data and whether it is a key frame, one per frame.
    pub packets: Vec<(Vec<u8>, bool)>,
}

/// Packets of some consecutive frames.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub packets: Vec<(Vec<u8>, bool)>,
    /// The decoder's configuration: content of `av1C` or `avcC`.
    pub configuration: Vec<u8>,
}

/// Encodes segments of one size of frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentEncoder {
    pub width: usize,
    pub height: usize,
    pub fps: f64,
    pub settings: VideoSettings,
}

impl SegmentEncoder {
    /// Checks sizes and settings.
    pub fn new(width: usize, height: usize, fps: f64, settings: VideoSettings) -> Result<Self> {
        let h264 = settings.codec == VideoCodec::H264;
        let why = if !(16..=16384).contains(&width) || !(16..=16384).contains(&height) {
            Some(format!("frames of {width}x{height} pixels; 16 to 16384 are taken"))
        } else if h264 && (!width.is_multiple_of(2) || !height.is_multiple_of(2)) {
            Some(format!("frames of {width}x{height} pixels; H.264 takes even numbers: use AV1"))
        } else if h264 && settings.crf > 51 {
            Some(format!("a constant rate factor of {}; H.264 takes 0 to 51", settings.crf))
        } else if settings.gop == 0 {
            Some("a group of pictures of 0 frames".to_owned())
        } else if !(fps.is_finite() && fps > 0.0) {
            Some(format!("{fps} frames per second"))
        } else {
            None
        };
        match why {
            Some(why) => Err(DataError::Encode { why }.into()),
            // Missing tools are told before the first frame, not after the first segment.
            None if h264 && let Err(why) = ffmpeg() => Err(DataError::EncodeTool { why }.into()),
            None => Ok(Self { width, height, fps, settings }),
        }
    }

    /// Frames per segment: whole groups of pictures, about 32 frames; 96 of H.264, where each segment
    /// costs the start of a process.
    pub fn segment_frames(&self) -> usize {
        let gop = self.settings.gop as usize;
        let about: usize = if self.settings.codec == VideoCodec::H264 { 96 } else { 32 };
        gop * about.div_ceil(gop)
    }

    /// Timing and codec description of what [`Self::encode`] makes.
    pub fn config(&self, configuration: &[u8]) -> TrackConfig {
        let (width, height) = (self.width as u16, self.height as u16);
        let kinds = match self.settings.codec {
            VideoCodec::Av1 => (b"av01", b"av1C"),
            VideoCodec::H264 => (b"avc1", b"avcC"),
        };
        TrackConfig {
            timescale: (self.fps * f64::from(TICKS_PER_FRAME)).round() as u32,
            sample_entry: sample_entry(kinds, width, height, configuration),
            width,
            height,
            media_time: 0,
        }
    }

    /// Encodes consecutive frames, the first being a key frame.
    pub fn encode(&self, frames: &[I420]) -> Result<Segment> {
        let fail = |why: String| DataError::Encode { why };
        if self.settings.codec == VideoCodec::H264 {
            return encode_h264(self, frames).map_err(|why| fail(why).into());
        }
        let config = Config::new().with_encoder_config(self.encoder_config()).with_threads(1);
        let mut context: Context<u8> =
            config.new_context().map_err(|e| fail(format!("settings refused: {e}")))?;
        let mut packets = Vec::with_capacity(frames.len());
        for image in frames {
            let mut frame = context.new_frame();
            let half = self.width.div_ceil(2);
            frame.planes[0].copy_from_raw_u8(&image.y, self.width, 1);
            frame.planes[1].copy_from_raw_u8(&image.u, half, 1);
            frame.planes[2].copy_from_raw_u8(&image.v, half, 1);
            context.send_frame(frame).map_err(|e| fail(format!("frame refused: {e}")))?;
            drain(&mut context, &mut packets)?;
        }
        context.flush();
        drain(&mut context, &mut packets)?;
        if packets.len() != frames.len() {
            let why =
                format!("{} frames went in, {} packets came out", frames.len(), packets.len());
            return Err(fail(why).into());
        }
        Ok(Segment { packets, configuration: context.container_sequence_header() })
    }

    fn encoder_config(&self) -> EncoderConfig {
        let settings = self.settings;
        let mut config = EncoderConfig::with_speed_preset(settings.speed.min(10));
        config.width = self.width;
        config.height = self.height;
        config.time_base = Rational { num: 1000, den: (self.fps * 1000.0).round() as u64 };
        config.bit_depth = 8;
        config.chroma_sampling = ChromaSampling::Cs420;
        config.pixel_range = PixelRange::Limited;
        config.color_description = Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::SRGB,
            matrix_coefficients: MatrixCoefficients::BT601,
        });
        config.low_latency = true;
        config.set_key_frame_interval(settings.gop.into(), settings.gop.into());
        config.quantizer = settings.quantiser.max(1).into();
        config.speed_settings.rdo_lookahead_frames = 1;
        config.speed_settings.scene_detection_mode = SceneDetectionSpeed::None;
        config
    }
}

fn drain(context: &mut Context<u8>, packets: &mut Vec<(Vec<u8>, bool)>) -> Result<()> {
    loop {
        match context.receive_packet() {
            Ok(packet) => {
                let key = packet.frame_type == FrameType::KEY;
                packets.push((without_delimiter(packet.data), key));
            }
            Err(EncoderStatus::Encoded) => {}
            Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(()),
            Err(e) => return Err(DataError::Encode { why: e.to_string() }.into()),
        }
    }
}

/// Drops the temporal delimiter, which MP4 forbids (AV1-ISOBMFF §2.4).
fn without_delimiter(mut data: Vec<u8>) -> Vec<u8> {
    if data.starts_with(&[0x12, 0x00]) {
        data.drain(..2);
    }
    data
}

/// Encodes RGB frames (each `[height, width, 3]`) as a standalone MP4.
///
/// # Errors
/// When there is no frame, a frame has another size, or the size can't be encoded.
pub fn encode_mp4<F: AsRef<[u8]> + Sync>(
    frames: &[F],
    width: usize,
    height: usize,
    fps: f64,
    settings: VideoSettings,
) -> Result<Vec<u8>> {
    use rayon::prelude::*;
    let encoder = SegmentEncoder::new(width, height, fps, settings)?;
    if frames.is_empty() {
        return Err(DataError::Encode { why: "no frames".to_owned() }.into());
    }
    if let Some(bad) = frames.iter().position(|f| f.as_ref().len() != width * height * 3) {
        let why = format!("frame {bad} is not {width}x{height} RGB");
        return Err(DataError::Encode { why }.into());
    }
    let segments: Result<Vec<Segment>> = frames
        .par_chunks(encoder.segment_frames())
        .map(|chunk| {
            let planar: Vec<I420> =
                chunk.iter().map(|f| I420::from_rgb(f.as_ref(), width, height)).collect();
            encoder.encode(&planar)
        })
        .collect();
    let segments = segments?;
    let config = encoder.config(&segments[0].configuration);
    if let Some(odd) = segments.iter().find(|s| s.configuration != segments[0].configuration) {
        let why =
            format!("segments of different configuration ({} bytes)", odd.configuration.len());
        return Err(DataError::Encode { why }.into());
    }
    let write = || -> std::io::Result<Vec<u8>> {
        let mut writer = Mp4Writer::new(Cursor::new(Vec::new()), config)?;
        for (data, sync) in segments.iter().flat_map(|s| &s.packets) {
            writer.write(Packet { data, duration: TICKS_PER_FRAME, cts: 0, sync: *sync })?;
        }
        Ok(writer.finish()?.into_inner())
    };
    write().map_err(|e| DataError::Encode { why: e.to_string() }.into())
}
