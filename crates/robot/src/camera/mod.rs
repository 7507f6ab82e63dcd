//! Cameras: those of the kernel (V4L2), and frames that come from somewhere else.
//!
//! [`V4l2Camera`] reads a USB camera; [`PlayedCamera`] plays what a [`FrameSource`] gives, a video
//! file or a simulated scene, at a camera's pace or as fast as it is asked. Pixels are RGB.

mod pixels;
#[cfg(test)]
mod tests;
mod v4l2;

use std::time::{Duration, Instant};

use embody_core::Result;

pub(crate) use pixels::decode;
pub use v4l2::{Mode, PixelFormat, V4l2Camera, V4l2Config, choose};

use crate::error::RobotError;
use crate::robot::{Camera, CameraSpec, Stamp};

/// Where frames come from that no camera took just now.
pub trait FrameSource: Send {
    /// Writes the next frame into `pixels`, RGB, `[height, width, 3]`; returns when it was taken on
    /// the source's own clock, and `None` at its end.
    ///
    /// # Errors
    /// When it can't be had.
    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Option<Duration>>;
}

impl<F> FrameSource for F
where
    F: FnMut(&mut [u8]) -> Result<Option<Duration>> + Send,
{
    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Option<Duration>> {
        self(pixels)
    }
}

/// A camera whose frames come from a source.
pub struct PlayedCamera {
    spec: CameraSpec,
    source: Box<dyn FrameSource>,
    /// When the next frame is due; `None` where it is due whenever it is asked for.
    due: Option<Instant>,
}

impl PlayedCamera {
    /// Plays `source`: at `spec.fps` where `is_paced`, else as fast as frames are asked for.
    ///
    /// # Errors
    /// When the rate is no positive number.
    pub fn new(
        spec: CameraSpec,
        source: Box<dyn FrameSource>,
        is_paced: bool,
    ) -> Result<Self, RobotError> {
        if !(spec.fps.is_finite() && spec.fps > 0.0) {
            let why = format!("{} frames per second can't be played", spec.fps);
            return Err(RobotError::Camera { name: spec.name, why });
        }
        Ok(Self { spec, source, due: is_paced.then(Instant::now) })
    }
}

impl Camera for PlayedCamera {
    fn spec(&self) -> &CameraSpec {
        &self.spec
    }

    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Stamp> {
        check_room(&self.spec, pixels)?;
        if let Some(due) = &mut self.due {
            let now = Instant::now();
            std::thread::sleep(due.saturating_duration_since(now));
            // From one due time to the next, so that sleeping a little long does not add up; after
            // a pause the frames that were missed are not played in a hurry.
            let period = Duration::from_secs_f64(1.0 / self.spec.fps);
            *due = (*due + period).max(now);
        }
        let device = self.source.next_frame(pixels)?;
        let device = device.ok_or_else(|| RobotError::Camera {
            name: self.spec.name.clone(),
            why: "it has no more frames".into(),
        })?;
        Ok(Stamp { received: Instant::now(), device: Some(device) })
    }
}

/// Whether `pixels` has room for a frame.
fn check_room(spec: &CameraSpec, pixels: &[u8]) -> Result<(), RobotError> {
    let CameraSpec { name, height, width, .. } = spec;
    if pixels.len() == height * width * 3 {
        return Ok(());
    }
    let why = format!("{} bytes of room for a frame of {width}x{height} RGB", pixels.len());
    Err(RobotError::Camera { name: name.clone(), why })
}
