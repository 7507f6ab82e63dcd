//! Cameras: a thread each, the newest picture for the policy, every picture for the recording.
//!
//! A camera waits in its own thread, so its rate and its clock are its own. Pictures for the
//! recording go through a queue of fixed length to a thread that encodes them; what does not fit is
//! dropped and counted, and the camera never waits for it.

use std::time::Duration;

use embody_core::{CancelToken, Result};
use serde::Serialize;

use super::clock::Clock;
use super::exchange::{Producer, Writer};
use crate::robot::Camera;

/// Frames in a row that may fail to come before a camera counts as gone.
const FAILURES: u32 = 10;

/// A picture on its way.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Counts from 1; 0 before the first.
    pub number: u64,
    /// When the host had it, by the loop's clock.
    pub at: Duration,
    /// The camera's own clock, where it tells.
    pub device: Option<Duration>,
    /// RGB `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Room for a picture of this size.
    pub(super) fn sized(height: usize, width: usize) -> Self {
        Self { pixels: vec![0; height * width * 3], ..Self::default() }
    }

    fn set(&mut self, from: &Self) {
        (self.number, self.at, self.device) = (from.number, from.at, from.device);
        self.pixels.copy_from_slice(&from.pixels);
    }
}

/// What became of a camera.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CameraFigures {
    /// Its name.
    pub name: String,
    /// Pictures that came.
    pub frames: u64,
    /// Pictures that the recording had no place for.
    pub dropped: u64,
    /// Times that none came.
    pub failures: u64,
}

/// Films until `cancel`: every picture to `latest` and, where there is one, to `queue`.
///
/// # Errors
/// When no picture comes ten times in a row.
pub(super) fn film(
    camera: &mut dyn Camera,
    clock: &dyn Clock,
    mut latest: Option<Writer<Picture>>,
    mut queue: Option<Producer<Picture>>,
    cancel: &CancelToken,
) -> Result<CameraFigures> {
    let spec = camera.spec().clone();
    let mut picture = Picture::sized(spec.height, spec.width);
    let mut figures = CameraFigures { name: spec.name, ..CameraFigures::default() };
    let mut failed = 0;
    while !cancel.is_cancelled() {
        match camera.next_frame(&mut picture.pixels) {
            Ok(stamp) => {
                failed = 0;
                figures.frames += 1;
                picture.number = figures.frames;
                (picture.at, picture.device) = (clock.at(stamp.received), stamp.device);
                if let Some(latest) = &mut latest {
                    latest.write(|place| place.set(&picture));
                }
                if let Some(queue) = &mut queue {
                    queue.push(|place| place.set(&picture));
                    figures.dropped = queue.dropped();
                }
            }
            Err(error) => {
                figures.failures += 1;
                failed += 1;
                if failed >= FAILURES {
                    return Err(error.context(format!("camera {:?} is gone", figures.name)));
                }
            }
        }
    }
    Ok(figures)
}
