//! What the policy sees of a robot that can measure itself, and what only a simulator knows.
//!
//! Errors of the sensors are drawn once per step into the environment's memory (`Layout::noise`), so
//! that an observation is a function of the state like any other.

use embody_core::{DType, FeatureSpec};
use rand::Rng;

use super::command::moves;
use super::robot::Robot;
use super::state::Base;
use super::{SharedVelocity, Velocity};
use crate::tasks::{Memory, Moment, ObservationTerm, Observe, Term};

/// Height scan: samples ahead and aside of the base, metres.
const SCAN_X_M: [f64; 9] = [-0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45, 0.6, 0.75];
const SCAN_Y_M: [f64; 7] = [-0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45];
pub(super) const SCAN: usize = SCAN_X_M.len() * SCAN_Y_M.len();

/// Numbers that sensors err by: gyro, gravity, joint positions and velocities, base velocity, scan.
pub(super) fn noise_len(robot: &Robot, rough: bool) -> usize {
    9 + 2 * robot.acted().count() + if rough { SCAN } else { 0 }
}

/// Draws the errors of the next observation.
pub(super) fn draw_noise(task: &Velocity, memory: &mut Memory) {
    let (noise, acted) = (&task.robot.noise, task.acted.len());
    let sizes = [
        (noise.gyro, 3),
        (noise.gravity, 3),
        (noise.joint_pos, acted),
        (noise.joint_vel, acted),
        (noise.base_velocity, 3),
        (noise.height_scan, SCAN),
    ];
    let Memory { values, rng, .. } = memory;
    let sizes = sizes.into_iter().flat_map(|(size, count)| std::iter::repeat_n(size, count));
    for (value, size) in values[task.layout.noise.clone()].iter_mut().zip(sizes) {
        *value = size * rng.random_range(-1.0..=1.0);
    }
}

/// The observations in words.
pub(super) fn describe(robot: &Robot, rough: bool) -> Vec<(&'static str, String)> {
    let (acted, feet) = (robot.acted().count(), robot.feet.len());
    let mut all = vec![
        (
            "observation.state",
            format!(
                "f32 [{}], with sensor noise: gyro 3 (rad/s), gravity's direction 3, joint \
                 positions {acted} (rad, from the default pose), joint velocities {acted} (rad/s), \
                 last action {acted}, command 3 (m/s, m/s, rad/s), sine and cosine of the gait's \
                 phase 2 (zeros when to stand still)",
                state_names(robot).len()
            ),
        ),
        (
            "observation.base_velocity",
            "f32 [3], with noise: m/s, ahead, to the left and up, as a state estimator gives it"
                .to_owned(),
        ),
    ];
    if rough {
        all.push((
            "observation.height_scan",
            format!(
                "f32 [{SCAN}], with noise: height of the ground under the default pose's feet, m, on \
                 a grid of {} × {} places 0.15 m apart that turns with the robot",
                SCAN_X_M.len(),
                SCAN_Y_M.len()
            ),
        ));
    }
    all.push((
        "observation.privileged",
        format!(
            "f32 [{}], privileged, without noise: base velocity 3, turning rates 3, gravity 3, height \
             over the ground 1, joint positions and velocities {}, of the {feet} feet contact, force \
             (in robot weights) and height, the randomised parameters {}{}",
            privileged_names(robot, rough).len(),
            2 * acted,
            robot.randomization.len(),
            if rough { ", the height scan" } else { "" },
        ),
    ));
    all
}

/// The same, with how they are computed.
pub(super) fn terms(task: &SharedVelocity, words: &[Term]) -> Vec<ObservationTerm> {
    let (robot, rough) = (task.robot, task.terrain.is_some());
    let make = |key: &'static str| {
        let shared = SharedVelocity::clone(task);
        let (names, privileged, observe): (Vec<String>, bool, Observer) = match key {
            "observation.state" => (state_names(robot), false, state),
            "observation.base_velocity" => {
                (["ahead", "aside", "up"].map(str::to_owned).to_vec(), false, base_velocity)
            }
            "observation.height_scan" => (scan_names(), false, height_scan),
            _ => (privileged_names(robot, rough), true, privileged_state),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        ObservationTerm {
            key,
            spec: FeatureSpec::new(DType::Float32, &[names.len()], &names),
            privileged,
            observe: Observe::F32(Box::new(move |now, out| {
                let mut out = Writer { out, at: 0 };
                observe(&shared, now, &mut out);
            })),
        }
    };
    words.iter().map(|term| make(term.name)).collect()
}

type Observer = fn(&Velocity, &Moment<'_>, &mut Writer<'_>);

/// Fills an observation from its beginning.
struct Writer<'a> {
    out: &'a mut [f32],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, value: f64) {
        self.out[self.at] = value as f32;
        self.at += 1;
    }

    fn all(&mut self, values: impl IntoIterator<Item = f64>) {
        values.into_iter().for_each(|value| self.put(value));
    }
}

fn state(task: &Velocity, now: &Moment<'_>, out: &mut Writer<'_>) {
    let (layout, values) = (&task.layout, &now.memory.values);
    let base = Base::of(now.data);
    let noise = &values[layout.noise.clone()];
    let (gyro, rest) = noise.split_at(3);
    let (gravity, rest) = rest.split_at(3);
    let (positions, rest) = rest.split_at(task.acted.len());
    out.all(base.turn.iter().zip(gyro).map(|(x, e)| x + e));
    out.all(base.gravity.iter().zip(gravity).map(|(x, e)| x + e));
    let errors = positions.iter().zip(&values[layout.bias.clone()]);
    out.all(task.off_home(now).zip(errors).map(|(x, (e, bias))| x + e + bias));
    out.all(task.rates(now).zip(rest).map(|(x, e)| x + e));
    out.all(now.memory.action.iter().map(|a| f64::from(*a)));
    let command = &values[layout.command.clone()];
    out.all(command.iter().copied());
    let (sin, cos) = (std::f64::consts::TAU * values[layout.phase]).sin_cos();
    let shown = f64::from(u8::from(moves(command)));
    out.all([shown * sin, shown * cos]);
}

fn base_velocity(task: &Velocity, now: &Moment<'_>, out: &mut Writer<'_>) {
    let first = task.layout.noise.start + 6 + 2 * task.acted.len();
    let noise = &now.memory.values[first..first + 3];
    out.all(Base::of(now.data).velocity.iter().zip(noise).map(|(x, e)| x + e));
}

fn height_scan(task: &Velocity, now: &Moment<'_>, out: &mut Writer<'_>) {
    let first = task.layout.noise.end - SCAN;
    let noise = &now.memory.values[first..];
    out.all(scan(task, now).zip(noise).map(|(x, e)| x + e));
}

fn privileged_state(task: &Velocity, now: &Moment<'_>, out: &mut Writer<'_>) {
    let (layout, values) = (&task.layout, &now.memory.values);
    let base = Base::of(now.data);
    out.all(base.velocity);
    out.all(base.turn);
    out.all(base.gravity);
    out.put(task.height(&base));
    out.all(task.off_home(now));
    out.all(task.rates(now));
    out.all(values[layout.contact.clone()].iter().copied());
    out.all(values[layout.force.clone()].iter().map(|f| f / task.weight));
    out.all(values[layout.height.clone()].iter().copied());
    out.all(values[layout.parameters.clone()].iter().copied());
    if task.terrain.is_some() {
        out.all(scan(task, now));
    }
}

/// Ground under the height at which the feet would stand in the default pose, metres, at most ±1.
fn scan<'a>(task: &'a Velocity, now: &Moment<'_>) -> impl Iterator<Item = f64> + use<'a> {
    let base = Base::of(now.data);
    let (sin, cos) = base.heading.sin_cos();
    let [x, y, z] = base.position;
    let feet = z - task.robot.height_m;
    let places = SCAN_X_M.iter().flat_map(|dx| SCAN_Y_M.iter().map(move |dy| (*dx, *dy)));
    places.map(move |(dx, dy)| {
        let ground = task.ground(x + cos * dx - sin * dy, y + sin * dx + cos * dy);
        (ground - feet).clamp(-1.0, 1.0)
    })
}

fn axes(prefix: &str) -> impl Iterator<Item = String> {
    ["x", "y", "z"].map(|axis| format!("{prefix}.{axis}")).into_iter()
}

fn joints(robot: &Robot, suffix: &str) -> Vec<String> {
    robot.acted().map(|joint| format!("{}.{suffix}", joint.name)).collect()
}

fn state_names(robot: &Robot) -> Vec<String> {
    let mut names: Vec<String> = axes("gyro").chain(axes("gravity")).collect();
    for suffix in ["pos", "vel", "action"] {
        names.extend(joints(robot, suffix));
    }
    let rest = ["command.ahead", "command.aside", "command.turn", "phase.sin", "phase.cos"];
    names.extend(rest.map(str::to_owned));
    names
}

fn scan_names() -> Vec<String> {
    (0..SCAN).map(|i| format!("ground.{}.{}", i / SCAN_Y_M.len(), i % SCAN_Y_M.len())).collect()
}

fn privileged_names(robot: &Robot, rough: bool) -> Vec<String> {
    let mut names: Vec<String> =
        axes("velocity").chain(axes("turn")).chain(axes("gravity")).collect();
    names.push("height".to_owned());
    names.extend(joints(robot, "pos"));
    names.extend(joints(robot, "vel"));
    for what in ["contact", "force", "height"] {
        names.extend(robot.feet.iter().map(|foot| format!("{}.{what}", foot.name)));
    }
    names.extend(robot.randomization.iter().map(|draw| draw.what.name().to_owned()));
    if rough {
        names.extend(scan_names());
    }
    names
}
