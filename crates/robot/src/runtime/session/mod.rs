//! A session: the loop, the cameras, the policy and the recording around one machine, episode after
//! episode.
//!
//! Every part runs in its own thread; this one keeps the order ([`SessionPlan`]), listens to keys
//! and to Ctrl-C, and ends everything in the same way whatever the reason: the open episode is
//! closed, the machine holds, its torque shrinks to nothing, motors are off, threads are gone. What
//! fails on the way (a full disk, a camera that is gone, a policy's error) is the session's error
//! afterwards.

mod director;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use embody_core::{CancelToken, Error, Result, StreamRecorder};
use serde::Serialize;

use super::cameras::{CameraFigures, Picture, film};
use super::chunks::Planner;
use super::clock::Clock;
use super::control::{Control, ControlReport, Signals};
use super::error::RuntimeError;
use super::exchange::{Consumer, Reader, Writer, latest, ring};
use super::realtime::Realtime;
use super::record::Turn;
use super::safety::{Clip, Guard};
use super::source::Source;
use crate::robot::{Camera, CameraSpec, Teleoperator};

use director::{Director, Order};
pub use director::{Event, SessionPlan};

/// Turns that wait for the recording: some seconds.
const TURNS: usize = 1024;
/// Pictures of a camera that wait to be encoded.
const PICTURES: usize = 8;
/// How often the session looks around.
const GLANCE: Duration = Duration::from_millis(5);

/// An exchange for a camera's newest picture: the writing side goes to the camera, the reading side
/// to a policy.
pub fn newest_picture(spec: &CameraSpec) -> (Writer<Picture>, Reader<Picture>) {
    let (height, width) = (spec.height, spec.width);
    latest(|| Picture::sized(height, width))
}

/// A camera, and who sees its newest picture.
pub type Watched = (Box<dyn Camera>, Option<Writer<Picture>>);

/// What a session runs on.
pub struct Session<'a> {
    /// The machine behind its limits; motors may be off.
    pub guard: Guard,
    /// The clock of all its streams.
    pub clock: Arc<dyn Clock>,
    /// Where goals come from.
    pub source: Box<dyn Source>,
    /// Who may take over.
    pub person: Option<Box<dyn Teleoperator>>,
    /// Cameras, each with who sees its newest picture.
    pub cameras: Vec<Watched>,
    /// The policy's side, where the source executes its chunks.
    pub planner: Option<Planner>,
    /// Who keeps the streams.
    pub recorder: Option<&'a dyn StreamRecorder>,
    /// What to ask the operating system for, for the loop's thread.
    pub realtime: Realtime,
}

/// One episode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpisodeReport {
    /// Whether it was kept.
    pub kept: bool,
    /// A person's judgement.
    pub success: Option<bool>,
    /// How long it was, seconds.
    pub secs: f64,
}

/// What a session came to.
#[derive(Debug, Clone, Serialize)]
pub struct SessionReport {
    /// Episodes, discarded ones included.
    pub episodes: Vec<EpisodeReport>,
    /// The loop.
    pub control: ControlReport,
    /// The cameras.
    pub cameras: Vec<CameraFigures>,
    /// Goals that were changed, by joint and cause.
    pub clips: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// What the operating system refused.
    pub refused: Vec<String>,
    /// Whether Ctrl-C ended it.
    pub cancelled: bool,
}

/// The first thing that failed in any thread.
#[derive(Default)]
struct Fault(Mutex<Option<Error>>);

impl Fault {
    fn set(&self, error: Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

type Counts = BTreeMap<String, BTreeMap<&'static str, u64>>;

impl Session<'_> {
    /// Switches the machine on and goes through `plan`; `events` brings what a person says,
    /// `on_clip` is told of every goal that the limits changed (from a thread of its own).
    ///
    /// # Errors
    /// When the machine can't be switched on, a thread not be started, or a part fails on the way;
    /// the machine is let go first, and what was recorded is kept.
    pub fn run(
        mut self,
        plan: SessionPlan,
        events: &Receiver<Event>,
        on_clip: &mut (dyn FnMut(&Clip) + Send),
        cancel: &CancelToken,
    ) -> Result<SessionReport> {
        let joints: Vec<String> = self.guard.spec().joints.iter().map(|j| j.name.clone()).collect();
        let stop = self.guard.emergency_stop();
        let clips = self.guard.take_clips();
        let recorder = self.recorder;
        let (turns_in, turns) = ring(TURNS, || Turn::new(joints.len()));
        self.guard.arm(self.clock.now())?;
        let (fault, halt, signals) =
            (Fault::default(), CancelToken::default(), Arc::new(Signals::default()));
        let clock = Arc::clone(&self.clock);
        let control = Control::new(
            self.guard,
            Arc::clone(&clock),
            self.source,
            self.person,
            recorder.is_some().then_some(turns_in),
            Arc::clone(&signals),
        );
        let realtime = self.realtime;
        let (fault, halt, clock) = (&fault, &halt, &clock);
        let (episodes, control, cameras, clips, refused) = std::thread::scope(|scope| {
            // Whatever cannot be started leaves the guard to its last resort: motors off.
            let logger = spawn(scope, "log", move || {
                keep(turns, clips, recorder, &joints, on_clip, (&**clock, fault))
            })?;
            let mut filming = Vec::new();
            for (number, (camera, latest)) in self.cameras.into_iter().enumerate() {
                let watched = (number, recorder, &**clock, fault, halt);
                let filmed = watch(scope, camera, latest, watched);
                filming.push(filmed.inspect_err(|_| halt.cancel())?);
            }
            let planning = self
                .planner
                .map(|planner| {
                    spawn(scope, "policy", move || {
                        planner.run(halt).unwrap_or_else(|error| fault.set(error));
                    })
                })
                .transpose();
            let looping = planning.and_then(|planning| {
                let looping = spawn(scope, "control", move || {
                    let refused = realtime.ask();
                    (control.run(), refused)
                });
                looping.map(|looping| (looping, planning))
            });
            let (looping, planning) = looping.inspect_err(|_| halt.cancel())?;
            let ended = || looping.is_finished();
            let episodes =
                direct(plan, events, (recorder, &signals, &**clock), (fault, cancel), &stop, ended);
            signals.act(false);
            signals.stop();
            let looped = looping.join().map_err(|_| panicked("control"));
            halt.cancel();
            let (control, refused) = looped?;
            if let Some(planning) = planning {
                planning.join().map_err(|_| panicked("policy"))?;
            }
            let mut cameras = Vec::new();
            for filmed in filming {
                cameras.extend(filmed.join().map_err(|_| panicked("camera"))?);
            }
            let clips = logger.join().map_err(|_| panicked("log"))?;
            Ok::<_, Error>((episodes, control, cameras, clips, refused))
        })?;
        match fault.take() {
            Some(error) => Err(error),
            None => {
                let cancelled = cancel.is_cancelled();
                Ok(SessionReport { episodes, control, cameras, clips, refused, cancelled })
            }
        }
    }
}

fn panicked(name: &str) -> Error {
    RuntimeError::Thread { name: name.to_owned(), what: "ended by a panic" }.into()
}

fn spawn<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 's,
) -> Result<ScopedJoinHandle<'s, T>> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work);
    started.map_err(|_| {
        RuntimeError::Thread { name: name.to_owned(), what: "could not be started" }.into()
    })
}

/// Goes through the plan until it is over, somebody stops it, or a part is gone.
fn direct(
    plan: SessionPlan,
    events: &Receiver<Event>,
    (recorder, signals, clock): (Option<&dyn StreamRecorder>, &Signals, &dyn Clock),
    (fault, cancel): (&Fault, &CancelToken),
    stop: &super::safety::EmergencyStop,
    ended: impl Fn() -> bool,
) -> Vec<EpisodeReport> {
    let mut episodes = Vec::new();
    let task = plan.task.clone();
    let mut director = Director::new(plan);
    loop {
        let mut event = match events.recv_timeout(GLANCE) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::park_timeout(GLANCE);
                None
            }
        };
        if event == Some(Event::Emergency) {
            stop.press();
        }
        if stop.is_pressed() {
            event = Some(Event::Emergency);
        }
        if cancel.is_cancelled() || fault.is_set() || ended() {
            event = Some(Event::Quit);
        }
        let now = clock.now();
        let since = director.episode_since();
        let order = director.step(now, event, signals.has_ended());
        if order == Order::Nothing {
            continue;
        }
        if order == Order::Finish {
            return episodes;
        }
        if order != Order::Begin {
            signals.act(false);
        }
        let written = match (recorder, order) {
            (Some(recorder), Order::Begin) => recorder.begin_episode(&task, now),
            (Some(recorder), Order::Keep(success)) => recorder.end_episode(success, now),
            (Some(recorder), Order::Discard) => recorder.discard_episode(),
            _ => Ok(()),
        };
        written.unwrap_or_else(|error| fault.set(error));
        // Only now: the first turn of an episode finds it open.
        if order == Order::Begin {
            signals.act(true);
        }
        if let Some(since) = since {
            let (kept, success) = match order {
                Order::Keep(success) => (true, success),
                _ => (false, None),
            };
            let secs = now.saturating_sub(since).as_secs_f64();
            episodes.push(EpisodeReport { kept, success, secs });
        }
    }
}

/// Empties the loop's queues until the loop is gone; gives the clips counted.
fn keep(
    mut turns: Consumer<Turn>,
    mut clips: Option<Consumer<Clip>>,
    recorder: Option<&dyn StreamRecorder>,
    joints: &[String],
    on_clip: &mut (dyn FnMut(&Clip) + Send),
    (clock, fault): (&dyn Clock, &Fault),
) -> Counts {
    let mut counts = Counts::new();
    let (mut dropped, mut causes) = (0, Vec::new());
    loop {
        // In this order: what came before the end is still taken.
        let over = turns.is_closed() && clips.as_ref().is_none_or(Consumer::is_closed);
        while let Some(kept) = turns.pop(|turn| match recorder {
            Some(recorder) if turn.acting => recorder.turn(&turn.record(&mut causes)),
            _ => Ok(()),
        }) {
            kept.unwrap_or_else(|error| fault.set(error));
        }
        if let (Some(recorder), lost) = (recorder, turns.dropped())
            && lost > dropped
        {
            let told = recorder.dropped("turns", lost - dropped, clock.now());
            told.unwrap_or_else(|error| fault.set(error));
            dropped = lost;
        }
        while let Some(clip) = clips.as_mut().and_then(|clips| clips.pop(|clip| *clip)) {
            on_clip(&clip);
            // A hold is the whole machine's.
            let held = clip.causes.has(super::safety::Cause::Hold);
            let name = match joints.get(clip.joint) {
                Some(name) if !held => name.clone(),
                _ => "machine".to_owned(),
            };
            let by_cause = counts.entry(name).or_default();
            clip.causes.iter().for_each(|c| *by_cause.entry(c.as_str()).or_default() += 1);
        }
        if over {
            return counts;
        }
        match recorder {
            Some(_) => turns.wait(GLANCE),
            None => clips.as_ref().is_some_and(|clips| clips.wait(GLANCE)),
        };
    }
}

/// Starts a camera's thread, and the one that encodes its pictures.
fn watch<'s>(
    scope: &'s Scope<'s, '_>,
    mut camera: Box<dyn Camera>,
    latest: Option<Writer<Picture>>,
    (number, recorder, clock, fault, halt): (
        usize,
        Option<&'s dyn StreamRecorder>,
        &'s dyn Clock,
        &'s Fault,
        &'s CancelToken,
    ),
) -> Result<ScopedJoinHandle<'s, Option<CameraFigures>>> {
    let spec = camera.spec().clone();
    let queue = match recorder {
        Some(recorder) => {
            let (queue, pictures) = ring(PICTURES, || Picture::sized(spec.height, spec.width));
            let name = spec.name.clone();
            spawn(scope, "encode", move || {
                encode(pictures, recorder, (number, &name), (clock, fault));
            })?;
            Some(queue)
        }
        None => None,
    };
    spawn(scope, "camera", move || {
        let filmed = film(&mut *camera, clock, latest, queue, halt);
        filmed.map_err(|error| fault.set(error)).ok()
    })
}

fn encode(
    mut pictures: Consumer<Picture>,
    recorder: &dyn StreamRecorder,
    (number, name): (usize, &str),
    (clock, fault): (&dyn Clock, &Fault),
) {
    let mut dropped = 0;
    loop {
        let over = pictures.is_closed();
        while let Some(kept) = pictures.pop(|p| recorder.frame(number, p.at, p.device, &p.pixels)) {
            kept.unwrap_or_else(|error| fault.set(error));
        }
        let lost = pictures.dropped();
        if lost > dropped {
            let told = recorder.dropped(name, lost - dropped, clock.now());
            told.unwrap_or_else(|error| fault.set(error));
            dropped = lost;
        }
        if over {
            return;
        }
        pictures.wait(Duration::from_millis(100));
    }
}
