//! A machine for the tests of this module: joints that follow their goals with a lag, a bus that
//! fails when told to, and an inspector that looks at every command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use embody_core::{Error, Result};

use super::safety::{BodyModel, Limits};
use crate::robot::{Joint, JointUnit, Reading, Robot, RobotSpec, Stamp};

/// Seconds in which a joint makes 63 % of its way.
const LAG: f32 = 0.05;

/// State of the machine, faults to come included.
pub(super) struct State {
    pub positions: Vec<f32>,
    pub loads: Vec<f32>,
    /// Calls of each kind that will fail.
    pub reads: u32,
    pub commands: u32,
    pub switching: u32,
    /// A joint that reads as no number, once.
    pub not_a_number: Option<usize>,
    goals: Option<Vec<f32>>,
    speeds: Vec<f32>,
    /// Positions as they were read last.
    shown: Vec<f32>,
    on: bool,
    torques: Vec<f32>,
    limits: Option<Limits>,
    model: Option<Box<dyn BodyModel>>,
    broken: Vec<String>,
}

/// The machine.
pub(super) struct Plant {
    spec: RobotSpec,
    period: f32,
    state: Arc<Mutex<State>>,
}

/// A hand on the machine from outside.
#[derive(Clone)]
pub(super) struct Faulty(Arc<Mutex<State>>);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plant {
    pub fn new(joints: usize, hz: f64) -> (Self, Faulty) {
        let joint = |i| Joint {
            name: format!("joint_{i}"),
            unit: JointUnit::Degrees,
            low: -100.0,
            high: 100.0,
        };
        let spec =
            RobotSpec { robot_type: "plant".to_owned(), joints: (0..joints).map(joint).collect() };
        let state = State {
            positions: vec![0.0; joints],
            loads: vec![0.0; joints],
            reads: 0,
            commands: 0,
            switching: 0,
            not_a_number: None,
            goals: None,
            speeds: vec![0.0; joints],
            shown: vec![0.0; joints],
            on: false,
            torques: Vec::with_capacity(64),
            limits: None,
            model: None,
            broken: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        (Self { spec, period: (1.0 / hz) as f32, state: Arc::clone(&state) }, Faulty(state))
    }
}

impl Faulty {
    pub fn set<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut lock(&self.0))
    }

    pub fn get<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.0))
    }

    /// Inspects every command by these limits from now on.
    pub fn expect(&self, limits: &Limits, model: Option<Box<dyn BodyModel>>) {
        self.set(|s| (s.limits, s.model) = (Some(limits.clone()), model));
    }

    /// The next command begins anew: the machine is being switched on.
    pub fn begin_again(&self) {
        self.set(|s| s.goals = None);
    }

    pub fn broken(&self) -> Vec<String> {
        self.get(|s| s.broken.clone())
    }

    pub fn is_on(&self) -> bool {
        self.get(|s| s.on)
    }

    pub fn torques(&self) -> Vec<f32> {
        self.get(|s| s.torques.clone())
    }
}

impl State {
    fn fails(count: &mut u32) -> bool {
        let fails = *count > 0;
        *count = count.saturating_sub(1);
        fails
    }

    /// Looks at a command before it is obeyed.
    fn inspect(&mut self, goals: &[f32], dt: f32) {
        let Some(limits) = &self.limits else { return };
        let mut broken = Vec::new();
        if goals.len() != self.positions.len() || !goals.iter().all(|g| g.is_finite()) {
            broken.push(format!("goals {goals:?}"));
        }
        for (i, (joint, &goal)) in limits.joints.iter().zip(goals).enumerate() {
            if !(joint.low..=joint.high).contains(&goal) {
                broken.push(format!("joint {i}: {goal} is out of range"));
            }
            let Some(before) = self.goals.as_ref().map(|g| g[i]) else { continue };
            let (speed, old) = ((goal - before) / dt, self.speeds[i]);
            // Single precision over a hundredth of a second.
            let slack = 0.01;
            if speed.abs() > joint.speed + slack {
                broken.push(format!("joint {i}: speed {speed}"));
            }
            let gain = joint.acceleration * dt + slack;
            let base = if speed * old > 0.0 { old.abs() } else { 0.0 };
            if speed.abs() > base + gain {
                broken.push(format!("joint {i}: speed {old} to {speed}"));
            }
            let far = |goal: f32| (goal - self.shown[i]).abs();
            if far(goal) > joint.step.max(far(before)) + 1e-3 {
                broken.push(format!("joint {i}: {} from where it is", far(goal)));
            }
            if self.loads[i] > joint.load && goal > before
                || self.loads[i] < -joint.load && goal < before
            {
                broken.push(format!("joint {i}: goes on against a load of {}", self.loads[i]));
            }
        }
        if let (Some(model), Some(before)) = (&mut self.model, &self.goals)
            && broken.is_empty()
        {
            let mut measure = |p: &[f32]| {
                let pose = model.tool(p);
                let outside = limits.workspace.map_or(0.0, |w| w.outside(&pose));
                (outside, f64::from(limits.clearance) - model.clearance(p))
            };
            let (old, new) = (measure(before), measure(goals));
            if new.0 > old.0.max(0.0) + 1e-9 || new.1 > old.1.max(0.0) + 1e-9 {
                broken.push(format!("box and clearance {old:?} to {new:?}"));
            }
        }
        self.broken.append(&mut broken);
    }
}

impl Robot for Plant {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, into: &mut Reading) -> Result<()> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if State::fails(&mut state.reads) {
            into.bus_errors += 1;
            return Err(Error::new("the cable is out"));
        }
        into.positions.copy_from_slice(&state.positions);
        into.loads.copy_from_slice(&state.loads);
        if let Some(joint) = state.not_a_number.take() {
            into.positions[joint] = f32::NAN;
        } else {
            state.shown.copy_from_slice(&state.positions);
        }
        into.stamp = Stamp { received: Instant::now(), device: None };
        Ok(())
    }

    fn command(&mut self, goals: &[f32]) -> Result<()> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.inspect(goals, self.period);
        match &mut state.goals {
            Some(before) => {
                for (i, goal) in goals.iter().enumerate() {
                    state.speeds[i] = (goal - before[i]) / self.period;
                    before[i] = *goal;
                }
            }
            None => {
                state.goals = Some(goals.to_vec());
                state.speeds.fill(0.0);
            }
        }
        if State::fails(&mut state.commands) {
            return Err(Error::new("the cable is out"));
        }
        if state.on {
            for (position, goal) in state.positions.iter_mut().zip(goals) {
                *position += (goal - *position) * (self.period / LAG).min(1.0);
            }
        }
        Ok(())
    }

    fn limit_torque(&mut self, part: f32) -> Result<()> {
        let mut state = lock(&self.state);
        if State::fails(&mut state.switching) {
            return Err(Error::new("a motor does not answer"));
        }
        if state.limits.as_ref().is_some_and(|l| !(0.0..=l.torque).contains(&part)) {
            state.broken.push(format!("torque {part}"));
        }
        state.torques.push(part);
        Ok(())
    }

    fn torque(&mut self, on: bool) -> Result<()> {
        let mut state = lock(&self.state);
        if State::fails(&mut state.switching) {
            return Err(Error::new("a motor does not answer"));
        }
        state.on = on;
        Ok(())
    }
}
