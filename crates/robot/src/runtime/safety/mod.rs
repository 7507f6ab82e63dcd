//! The safety layer: the only owner of the machine, and the only one who commands it.
//!
//! A [`Guard`] takes the [`Robot`] and never gives it back, so no caller can go around the limits.
//! Each turn it looks at, in this order: emergency stop, request to stop, bus failures, age of the
//! goals; then per joint non-finite numbers, range, step, load, speed, acceleration; then box and
//! collisions for all joints together. Whatever is asked of it, what it sends lies within the
//! limits. Every goal that it changes goes to a ring that another thread empties ([`Clip`]).

mod clip;
mod limits;
mod shape;
mod space;
mod stop;
#[cfg(test)]
mod tests;

use std::time::Duration;

use embody_core::Result;

use super::error::RuntimeError;
use super::exchange::{Consumer, Producer, ring};
use crate::robot::{Reading, Robot, RobotSpec};

pub use clip::{Cause, Causes, Clip};
pub use limits::{JointLimits, Limits, Watchdog};
pub use space::{BodyModel, Pose, Workspace};
pub use stop::{EmergencyStop, Phase, StopCause};

use limits::secs;
use shape::{Moved, shape};
use space::keep_in;

/// Clips that wait to be logged: some seconds of all joints.
const CLIPS: usize = 4096;
/// Turns in which switching off is tried again where a motor does not acknowledge it.
const OFF_TURNS: u32 = 20;
/// The torque shrinks in so many steps; each is an acknowledged write to every motor.
const RAMP_STEPS: f64 = 10.0;

/// What a turn asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ask<'a> {
    /// Go there: a goal per joint, in its unit.
    Go(&'a [f32]),
    /// Stay where it is; somebody is there who means it.
    Stay,
    /// Nothing came: the watchdog counts.
    Nothing,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// What the layer does now.
    pub phase: Phase,
    /// Limits that changed a goal in this turn.
    pub causes: Causes,
    /// Whether goals were sent.
    pub sent: bool,
}

/// Counts since the guard was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Reads that failed, or gave a position that is no number.
    pub reads: u64,
    /// Commands that failed.
    pub commands: u64,
    /// Clips that the ring had no place for; they are counted, not logged.
    pub clips_dropped: u64,
}

/// A machine behind its limits.
pub struct Guard {
    robot: Box<dyn Robot>,
    limits: Limits,
    model: Option<Box<dyn BodyModel>>,
    stop: EmergencyStop,
    hz: f64,
    period: f64,
    phase: Phase,
    /// Why it was let go last.
    let_go: Option<StopCause>,
    asked: bool,
    joints: Vec<Moved>,
    before: Vec<f32>,
    goals: Vec<f32>,
    tried: Vec<f32>,
    /// What was wanted of each joint, and what stood in the way.
    wanted: Vec<f32>,
    causes: Vec<Causes>,
    /// Positions and loads of the last whole reading, and whether it is of this turn.
    positions: Vec<f32>,
    loads: Vec<f32>,
    seen: bool,
    failed_reads: u32,
    failed_commands: u32,
    fresh_at: Duration,
    torque: f32,
    /// Whether no motor can be on.
    released: bool,
    off_tries: u32,
    faults: Faults,
    clips: Producer<Clip>,
    clip_log: Option<Consumer<Clip>>,
}

impl Guard {
    /// Takes `robot` behind `limits`, for a loop of `hz` turns per second. Motors stay as they are.
    ///
    /// # Errors
    /// When limits or rate make no sense, or do not fit the machine.
    pub fn new(robot: Box<dyn Robot>, limits: Limits, hz: f64) -> Result<Self> {
        limits.check(robot.spec())?;
        if !(1.0..=10_000.0).contains(&hz) {
            let (value, rule) = (hz.to_string(), "turns per second from 1 to 10000");
            return Err(RuntimeError::Setting { key: "hz", value, rule }.into());
        }
        let count = robot.spec().joints.len();
        let (clips, clip_log) = ring(CLIPS, Clip::default);
        let zeros = vec![0.0; count];
        Ok(Self {
            robot,
            limits,
            model: None,
            stop: EmergencyStop::default(),
            hz,
            period: 1.0 / hz,
            phase: Phase::Off,
            let_go: None,
            asked: false,
            joints: vec![Moved { goal: 0.0, speed: 0.0 }; count],
            before: zeros.clone(),
            goals: zeros.clone(),
            tried: zeros.clone(),
            wanted: zeros.clone(),
            causes: vec![Causes::default(); count],
            positions: zeros.clone(),
            loads: zeros,
            seen: false,
            failed_reads: 0,
            failed_commands: 0,
            fresh_at: Duration::ZERO,
            torque: 0.0,
            released: true,
            off_tries: 0,
            faults: Faults::default(),
            clips,
            clip_log: Some(clip_log),
        })
    }

    /// Checks box and collisions by `model`; without one they are not checked.
    #[must_use]
    pub fn with_model(mut self, model: Box<dyn BodyModel>) -> Self {
        self.model = Some(model);
        self
    }

    /// The machine's description.
    pub fn spec(&self) -> &RobotSpec {
        self.robot.spec()
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Turns per second.
    pub fn hz(&self) -> f64 {
        self.hz
    }

    /// What the layer does now.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why the machine was let go last.
    pub fn let_go(&self) -> Option<StopCause> {
        self.let_go
    }

    /// Failures so far.
    pub fn faults(&self) -> Faults {
        Faults { clips_dropped: self.clips.dropped(), ..self.faults }
    }

    /// The emergency stop, for whoever may need it.
    pub fn emergency_stop(&self) -> EmergencyStop {
        self.stop.clone()
    }

    /// Where clips come out; given once.
    pub fn take_clips(&mut self) -> Option<Consumer<Clip>> {
        self.clip_log.take()
    }

    /// Switches the motors on, to hold where the machine is (within its range); `now` by the loop's
    /// clock.
    ///
    /// # Errors
    /// While the emergency stop is pressed, or when the machine does not answer; motors are off
    /// then.
    pub fn arm(&mut self, now: Duration) -> Result<()> {
        if self.stop.is_pressed() {
            let why = "the emergency stop is pressed".to_owned();
            let hint = "find out why, release it, then switch on again";
            return Err(RuntimeError::Arm { why, hint }.into());
        }
        let mut reading = Reading::new(self.positions.len());
        self.robot.read(&mut reading)?;
        if !self.take_reading(&reading) {
            let why = format!("its positions are {:?}", reading.positions);
            let hint = "check cables and calibration";
            return Err(RuntimeError::Arm { why, hint }.into());
        }
        for (i, limits) in self.limits.joints.iter().enumerate() {
            let goal = self.positions[i].clamp(limits.low, limits.high);
            self.joints[i] = Moved { goal, speed: 0.0 };
            self.goals[i] = goal;
        }
        self.released = false;
        let on = self
            .robot
            .limit_torque(self.limits.torque)
            // The goal first: motors that are switched on go to the one that they have.
            .and_then(|()| self.robot.command(&self.goals))
            .and_then(|()| self.robot.torque(true));
        if let Err(error) = on {
            // Some motors may be on.
            self.released = self.robot.torque(false).is_ok();
            return Err(error);
        }
        self.phase = Phase::Active;
        (self.asked, self.let_go, self.off_tries) = (false, None, 0);
        (self.failed_reads, self.failed_commands, self.seen) = (0, 0, false);
        (self.torque, self.fresh_at) = (self.limits.torque, now);
        Ok(())
    }

    /// Asks for the end: the machine holds, then is let go, over the turns to come.
    pub fn ask_stop(&mut self) {
        self.asked = true;
    }

    /// Reads the machine; whether that gave a position for every joint. `into` keeps what it held
    /// otherwise, and the coming turn holds.
    pub fn read(&mut self, into: &mut Reading) -> bool {
        self.seen = self.robot.read(into).is_ok() && self.take_reading(into);
        if self.seen {
            self.failed_reads = 0;
        } else {
            self.failed_reads += 1;
            self.faults.reads += 1;
        }
        self.seen
    }

    fn take_reading(&mut self, reading: &Reading) -> bool {
        let whole = reading.positions.len() == self.positions.len()
            && reading.positions.iter().all(|p| p.is_finite());
        if whole {
            self.positions.copy_from_slice(&reading.positions);
            for (load, read) in self.loads.iter_mut().zip(&reading.loads) {
                *load = if read.is_finite() { *read } else { 0.0 };
            }
        }
        whole
    }

    /// Sends the goals of turn `number`, or what the limits leave of them; `given` takes what was
    /// sent (NaN where nothing was). Does not allocate, unless the machine's errors do.
    pub fn turn(&mut self, number: u64, now: Duration, ask: Ask<'_>, given: &mut [f32]) -> Verdict {
        given.fill(f32::NAN);
        self.change_phase(now, ask);
        if self.phase == Phase::Off {
            self.seen = false;
            return Verdict { phase: self.phase, causes: Causes::default(), sent: false };
        }
        let follow = self.phase == Phase::Active && self.seen;
        self.seen = false;
        let goals = match ask {
            Ask::Go(goals) if follow && goals.len() == self.goals.len() => Some(goals),
            _ => None,
        };
        let causes = self.shape_all(goals);
        let held = goals.is_none() && !matches!(ask, Ask::Stay);
        let causes = self.log(number, now, causes, held);
        let sent = self.robot.command(&self.goals).is_ok();
        if sent {
            self.failed_commands = 0;
            given.copy_from_slice(&self.goals);
        } else {
            self.failed_commands += 1;
            self.faults.commands += 1;
        }
        for (joint, goal) in self.joints.iter_mut().zip(&self.goals) {
            joint.speed = f64::from(goal - joint.goal) / self.period;
            joint.goal = *goal;
        }
        self.shrink_torque(now);
        Verdict { phase: self.phase, causes, sent }
    }

    /// Decides what to do in this turn.
    fn change_phase(&mut self, now: Duration, ask: Ask<'_>) {
        let watchdog = self.limits.watchdog;
        let fresh = !matches!(ask, Ask::Nothing);
        if fresh {
            self.fresh_at = now;
        }
        let bus = self.failed_reads.max(self.failed_commands) > watchdog.bus_failures;
        let hold = |cause| Phase::Holding { cause, until: now + secs(watchdog.hold_secs) };
        let go = |cause| Phase::LettingGo { cause, since: now };
        self.phase = match self.phase {
            Phase::Off => Phase::Off,
            Phase::LettingGo { cause, .. }
                if cause != StopCause::Emergency && self.stop.is_pressed() =>
            {
                go(StopCause::Emergency)
            }
            Phase::LettingGo { .. } => self.phase,
            _ if self.stop.is_pressed() => go(StopCause::Emergency),
            // A bus that does not answer can't be seen to hold.
            _ if bus => go(StopCause::Bus),
            Phase::Active if self.asked => go(StopCause::Asked),
            Phase::Active if now.saturating_sub(self.fresh_at) > secs(watchdog.stale_secs) => {
                hold(StopCause::Stale)
            }
            Phase::Active => Phase::Active,
            Phase::Holding { .. } if self.asked => go(StopCause::Asked),
            Phase::Holding { cause: StopCause::Stale, .. } if fresh => Phase::Active,
            Phase::Holding { cause, until } if now >= until => go(cause),
            Phase::Holding { .. } => self.phase,
        };
        if let Phase::LettingGo { cause, .. } = self.phase {
            self.let_go = Some(cause);
        }
    }

    /// Computes the next goals; `None` holds.
    fn shape_all(&mut self, goals: Option<&[f32]>) -> Causes {
        let mut all = Causes::default();
        for (i, joint) in self.joints.iter().enumerate() {
            self.before[i] = joint.goal;
            self.causes[i] = Causes::default();
            let Some(goals) = goals else {
                (self.wanted[i], self.goals[i]) = (f32::NAN, joint.goal);
                continue;
            };
            self.wanted[i] = goals[i];
            let state = (self.positions[i], self.loads[i]);
            let (limits, causes) = (&self.limits.joints[i], &mut self.causes[i]);
            self.goals[i] = shape(limits, self.period, *joint, state, goals[i], causes);
            all.add_all(self.causes[i]);
        }
        if let Some(model) = &mut self.model {
            let space = (self.limits.workspace.as_ref(), f64::from(self.limits.clearance));
            let (before, tried) = (&self.before, &mut self.tried);
            let causes = keep_in(&mut **model, space, before, &mut self.goals, tried);
            if !causes.is_empty() {
                // All joints were shortened together.
                self.causes.iter_mut().for_each(|c| c.add_all(causes));
                all.add_all(causes);
            }
        }
        all
    }

    /// Puts what was changed into the ring.
    fn log(&mut self, turn: u64, at: Duration, mut all: Causes, held: bool) -> Causes {
        if held {
            all.add(Cause::Hold);
            let (causes, given) = (all, self.goals.first().copied().unwrap_or(f32::NAN));
            self.clips.push(|clip| {
                *clip = Clip { turn, at, joint: 0, causes, wanted: f32::NAN, given };
            });
            return all;
        }
        for (joint, causes) in self.causes.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
            let (causes, wanted, given) = (*causes, self.wanted[joint], self.goals[joint]);
            self.clips.push(|clip| *clip = Clip { turn, at, joint, causes, wanted, given });
        }
        all
    }

    /// While the machine is let go: less torque each turn, then none.
    fn shrink_torque(&mut self, now: Duration) {
        let Phase::LettingGo { cause, since } = self.phase else { return };
        let watchdog = self.limits.watchdog;
        let ramp = match cause {
            StopCause::Emergency => watchdog.emergency_ramp_secs,
            _ => watchdog.ramp_secs,
        };
        let over = now.saturating_sub(since).as_secs_f64();
        if over < ramp {
            let left = 1.0 - (over / ramp * RAMP_STEPS).floor() / RAMP_STEPS;
            let torque = (f64::from(self.limits.torque) * left) as f32;
            if torque < self.torque && self.robot.limit_torque(torque).is_ok() {
                self.torque = torque;
            }
            return;
        }
        self.off_tries += 1;
        if self.robot.torque(false).is_ok() {
            self.released = true;
            self.phase = Phase::Off;
        } else if self.off_tries >= OFF_TURNS {
            self.phase = Phase::Off;
        }
    }

    /// Whether the motors acknowledged that they are off, or were never switched on.
    pub fn is_released(&self) -> bool {
        self.released
    }
}

impl Drop for Guard {
    /// Motors do not stay on without a loop: the last resort, after a panic say. An orderly end
    /// lets the machine go before.
    fn drop(&mut self) {
        if !self.is_released() {
            let _ = self.robot.torque(false);
        }
    }
}
