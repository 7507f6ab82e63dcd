//! What a machine's loop reaches: jitter and missed deadlines at a rate, the machine staying where
//! it is.

use std::sync::Arc;

use embody_core::{CancelToken, Result};
use serde::Serialize;

use super::clock::{Clock, HostClock};
use super::control::{Control, ControlReport, Signals};
use super::realtime::Realtime;
use super::safety::{Guard, Limits};
use super::source::Still;
use crate::robot::Robot;

/// Figures of a trial, and what the operating system refused.
#[derive(Debug, Clone, Serialize)]
pub struct LoopTrial {
    /// What the loop came to.
    pub report: ControlReport,
    /// What the operating system refused.
    pub refused: Vec<String>,
}

/// Runs the control loop on `robot` for `secs` at `hz`, each turn with a read and a command, and
/// lets the machine go; the trial ends early with `cancel`. It holds where it is: nothing moves.
///
/// # Errors
/// When the machine can't be switched on, or the rate makes no sense.
pub fn measure_loop(
    robot: Box<dyn Robot>,
    hz: f64,
    secs: f64,
    realtime: Realtime,
    cancel: &CancelToken,
) -> Result<LoopTrial> {
    let mut limits = Limits::for_robot(robot.spec());
    // The trial is of the loop; its end need not take long.
    limits.watchdog.ramp_secs = 0.2;
    let mut guard = Guard::new(robot, limits, hz)?;
    let clock: Arc<dyn Clock> = Arc::new(HostClock::start());
    let signals = Arc::new(Signals::default());
    signals.act(true);
    guard.arm(clock.now())?;
    let refused = realtime.ask();
    let until = clock.now() + std::time::Duration::from_secs_f64(secs.clamp(0.0, 86_400.0));
    let still = Box::new(Still);
    let mut control =
        Control::new(guard, Arc::clone(&clock), still, None, None, Arc::clone(&signals));
    while clock.now() < until && !cancel.is_cancelled() && control.turn() {}
    // Letting go writes to the motors and waits for them: not what is measured.
    let figures = control.report().figures;
    signals.stop();
    while control.turn() {}
    let mut report = control.report();
    report.figures = figures;
    Ok(LoopTrial { report, refused })
}
