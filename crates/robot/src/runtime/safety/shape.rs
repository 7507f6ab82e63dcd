//! One joint's next goal within its own limits.
//!
//! A pure function. Its invariant, from which the property tests start: the result lies in the
//! range, at most `speed · dt` from the goal before, and no farther from the present position than
//! `step` or the goal before was. To stop is always allowed, so such a goal always exists.

use super::clip::{Cause, Causes};
use super::limits::JointLimits;

/// Where a joint was sent last, and how fast its goal moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moved {
    /// Units.
    pub goal: f32,
    /// Units per second.
    pub speed: f64,
}

/// The goal nearest to `wanted` that may follow after `before`, `dt` seconds later; `causes` takes
/// what stood in its way.
pub(super) fn shape(
    limits: &JointLimits,
    dt: f64,
    before: Moved,
    (present, load): (f32, f32),
    wanted: f32,
    causes: &mut Causes,
) -> f32 {
    let goal = f64::from(before.goal);
    let (low, high) = (f64::from(limits.low), f64::from(limits.high));
    let mut target = f64::from(wanted);
    if !target.is_finite() {
        causes.add(Cause::NotFinite);
        target = goal;
    }
    hold_in(&mut target, low, high, Cause::Range, causes);
    // The part of the range that is near enough; its nearest end where the joint is outside.
    let (present, step) = (f64::from(present), f64::from(limits.step));
    let near = ((present - step).clamp(low, high), (present + step).clamp(low, high));
    hold_in(&mut target, near.0, near.1, Cause::Step, causes);
    if limits.load < 1.0 && load.abs() > limits.load {
        let (from, to) = if load > 0.0 { (low, goal) } else { (goal, high) };
        hold_in(&mut target, from, to, Cause::Load, causes);
    }
    let mut speed = (target - goal) / dt;
    let most = f64::from(limits.speed);
    hold_in(&mut speed, -most, most, Cause::Speed, causes);
    // Up to zero is slowing down, which needs no leave.
    let gain = f64::from(limits.acceleration) * dt;
    let (slowest, fastest) = ((before.speed - gain).min(0.0), (before.speed + gain).max(0.0));
    hold_in(&mut speed, slowest, fastest, Cause::Acceleration, causes);
    let (down, up) = (braking(goal - low, gain, dt), braking(high - goal, gain, dt));
    hold_in(&mut speed, -down, up, Cause::Range, causes);
    ((goal + speed * dt) as f32).clamp(limits.low, limits.high)
}

/// Clamps, and notes the cause where that changed something beyond rounding.
fn hold_in(value: &mut f64, low: f64, high: f64, cause: Cause, causes: &mut Causes) {
    let held = value.clamp(low, high);
    if (held - *value).abs() > 1e-6 * (1.0 + value.abs()) {
        causes.add(cause);
    }
    *value = held;
}

/// The greatest speed from which a joint that loses `gain` per turn stops within `distance`, the
/// coming turn's way included: the way is `dt · Σ (speed − k · gain)` over the turns until it
/// rests.
fn braking(distance: f64, gain: f64, dt: f64) -> f64 {
    let turns = distance.max(0.0) / (dt * gain);
    let whole = (((1.0 + 8.0 * turns).sqrt() - 1.0) / 2.0).floor();
    gain * (turns / (whole + 1.0) + whole / 2.0)
}

#[cfg(test)]
mod tests;
