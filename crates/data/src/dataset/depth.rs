//! Depth maps kept as video: the distance behind each 12-bit code, as LeRobot 0.6 quantises it.
//!
//! Codes 0 to 4095 are spread over `min` to `max` metres, evenly in the logarithm of the distance plus
//! `shift`, or evenly in the distance.

use embody_core::Result;

use super::Dataset;
use crate::error::DataError;
use crate::video::decode_luma;

/// Bits of a code.
const BITS: usize = 12;

/// What the codes of a depth video mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DepthScale {
    /// Metres at code 0.
    pub min: f64,
    /// Metres at code 4095.
    pub max: f64,
    /// Metres added before the logarithm.
    pub shift: f64,
    /// Whether codes are even in the logarithm.
    pub log: bool,
}

impl DepthScale {
    /// Metres of every code.
    fn metres(&self) -> Vec<f32> {
        let last = ((1 << BITS) - 1) as f64;
        let (low, high) = (self.min + self.shift, self.max + self.shift);
        (0..1 << BITS)
            .map(|code| {
                let part = f64::from(code) / last;
                let metres = if self.log {
                    (low.ln() + (high.ln() - low.ln()) * part).exp() - self.shift
                } else {
                    self.min + (self.max - self.min) * part
                };
                metres.clamp(self.min, self.max) as f32
            })
            .collect()
    }
}

impl Dataset {
    /// What the codes of video feature `key` mean, where it is depth; `None` where it is colour.
    pub fn depth_scale(&self, key: &str) -> Option<DepthScale> {
        let info = self.info.features.get(key)?.info.as_ref()?;
        let says = |name: &str| info.extra.get(name);
        let depth = info.is_depth_map == Some(true)
            || says("is_depth_map").and_then(serde_json::Value::as_bool) == Some(true);
        let number = |name: &str, default: f64| {
            says(name).and_then(serde_json::Value::as_f64).unwrap_or(default)
        };
        // LeRobot's own defaults where a file says nothing.
        depth.then(|| DepthScale {
            min: number("video.depth_min", 0.01),
            max: number("video.depth_max", 10.0),
            shift: number("video.shift", 3.5),
            log: says("video.use_log").and_then(serde_json::Value::as_bool).unwrap_or(true),
        })
    }

    /// Decodes frames of a depth feature: metres `[height, width]` each, in the order asked.
    ///
    /// # Errors
    /// When the feature is no depth, its scale makes no sense, a frame is missing, the stream is
    /// damaged, or there is no ffmpeg; each names the file, episode and frame.
    pub fn decode_depth(
        &self,
        episode: usize,
        key: &str,
        frames: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let refuse = |why: String| -> embody_core::Error {
            let hint = "its `info` in meta/info.json says what it is".to_owned();
            DataError::Request { why: format!("{}: {key}: {why}", self.root.display()), hint }
                .into()
        };
        let scale = self.depth_scale(key).ok_or_else(|| refuse("it is no depth".to_owned()))?;
        let sound = scale.min.is_finite() && scale.max > scale.min && scale.shift.is_finite();
        if !sound || (scale.log && scale.min + scale.shift <= 0.0) {
            return Err(refuse(format!("a depth scale of {scale:?} makes no sense")));
        }
        let metres = scale.metres();
        let (video, indices) = self.locate(episode, key, frames)?;
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_by_key(|&i| indices[i]);
        let sorted: Vec<usize> = order.iter().map(|&i| indices[i]).collect();
        let name = |position: usize| (episode, frames[order[position]]);
        let mut out = vec![Vec::new(); frames.len()];
        decode_luma(&video, &sorted, &name, &mut |position, _, codes, depth| {
            if depth != BITS {
                let why = format!("depth of {depth} bits; {BITS} are read");
                let hint = "write it with LeRobot 0.6 or newer, as gray12le";
                return Err(video.frame_error(name(position), why, hint).into());
            }
            let all = codes.iter().map(|&code| metres[usize::from(code).min(metres.len() - 1)]);
            out[order[position]] = all.collect();
            Ok(())
        })?;
        Ok(out)
    }
}
