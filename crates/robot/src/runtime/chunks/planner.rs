//! The other side of chunked execution: a policy that predicts when the loop asks for it.

use std::time::Duration;

use embody_core::{ArrayView, CancelToken, DataView, Observations, Policy, Result};

use super::{Chunk, Chunks, Execution, Request, sides};
use crate::robot::RobotSpec;
use crate::runtime::cameras::Picture;
use crate::runtime::error::RuntimeError;
use crate::runtime::exchange::{Reader, Writer};

/// How often a waiting planner looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// Vectors that the machine itself can give.
const STATE: &str = "observation.state";

/// A camera as a policy sees it.
pub struct CameraInput {
    /// Feature that the policy knows it by, such as `observation.images.wrist`.
    pub key: String,
    /// Height and width.
    pub size: (usize, usize),
    /// Its newest picture.
    pub latest: Reader<Picture>,
}

/// Runs a policy for a [`Chunks`], in a thread of its own.
pub struct Planner {
    policy: Box<dyn Policy>,
    requests: Reader<Request>,
    cameras: Vec<CameraInput>,
    chunks: Writer<Chunk>,
    round: Option<u64>,
    /// Chunks handed over.
    given: u64,
    actions: Vec<f32>,
}

impl Planner {
    /// A planner and the source that it feeds. Joints are given as `observation.state`, cameras by
    /// their keys; `fps` is the rate of the recordings that the policy learned from.
    ///
    /// # Errors
    /// When the policy has another number of joints or wants something that is not there, or a
    /// setting makes no sense.
    pub fn new(
        policy: Box<dyn Policy>,
        spec: &RobotSpec,
        cameras: Vec<CameraInput>,
        how: Execution,
        fps: f64,
    ) -> Result<(Self, Chunks)> {
        let wanted = policy.spec();
        let (joints, dim) = (spec.joints.len(), wanted.action_dim);
        let refuse = |why: String| RuntimeError::Policy { why };
        if dim != joints {
            let machine = &spec.robot_type;
            let why = format!("its actions have {dim} numbers, {machine} has {joints} joints");
            return Err(refuse(why).into());
        }
        for (key, feature) in &wanted.inputs {
            let known = match feature.dtype.is_visual() {
                true => cameras.iter().any(|c| &c.key == key),
                false => key == STATE && feature.numel() == joints,
            };
            if !known {
                let mut there: Vec<&str> = cameras.iter().map(|c| c.key.as_str()).collect();
                there.push(STATE);
                let shape = &feature.shape;
                let there = there.join(", ");
                let why = format!("it looks at {key:?} {shape:?}; there are {there} [{joints}]");
                return Err(refuse(why).into());
            }
        }
        let (source, requests, chunks) = sides(how, (dim, wanted.chunk_size.max(1)), fps)?;
        let actions = Vec::with_capacity(wanted.chunk_size * dim);
        Ok((Self { policy, requests, cameras, chunks, round: None, given: 0, actions }, source))
    }

    /// Predicts once, if the loop asks for it; whether it did.
    ///
    /// # Errors
    /// Those of the policy.
    pub fn poll(&mut self) -> Result<bool> {
        let Self { policy, requests, cameras, chunks, round, given, actions } = self;
        let Some(request) = requests.take() else { return Ok(false) };
        if !request.wanted || request.taken < *given {
            return Ok(false);
        }
        if *round != Some(request.round) {
            policy.reset(0);
            *round = Some(request.round);
        }
        let mut shapes = Vec::with_capacity(cameras.len());
        for camera in cameras.iter_mut() {
            // Waits for the first picture only; later ones are the newest that there is.
            camera.latest.take();
            if camera.latest.get().number == 0 {
                return Ok(false);
            }
            shapes.push([1, camera.size.0, camera.size.1, 3]);
        }
        let state = [1, request.positions.len()];
        let mut seen = Observations::default();
        let view = |shape, data| ArrayView { shape, data };
        seen.arrays.insert(STATE, view(&state[..], DataView::F32(&request.positions)));
        for (camera, shape) in cameras.iter_mut().zip(&shapes) {
            let picture = camera.latest.get();
            seen.arrays.insert(&camera.key, view(&shape[..], DataView::U8(&picture.pixels)));
        }
        policy.predict(&seen, &request.last, actions)?;
        chunks.write(|chunk| {
            (chunk.round, chunk.at) = (request.round, request.at);
            chunk.actions.clear();
            chunk.actions.extend_from_slice(actions);
        });
        *given += 1;
        Ok(true)
    }

    /// Predicts until the loop is gone or `cancel` says so.
    ///
    /// # Errors
    /// Those of the policy; the loop then holds, and its watchdog lets the machine go.
    pub fn run(mut self, cancel: &CancelToken) -> Result<()> {
        while !cancel.is_cancelled() && !self.requests.is_closed() {
            self.requests.wait(PATIENCE);
            self.poll()?;
        }
        Ok(())
    }
}
