//! A bus of servos that exists in software: on a pseudo-terminal, byte for byte as on the wire.
//!
//! It is a peer, not a mock: any program that drives Feetech or Dynamixel servos can open its port,
//! and it knows nothing about who does. Servos keep EEPROM and RAM, torque, limits and profiles;
//! what turns under them is a [`Mechanism`]; what goes wrong is said by rates or on order. Time is
//! real, or stepped by the caller, or goes on with every read.

mod faults;
mod mechanism;
mod pty;
mod servo;
#[cfg(test)]
mod tests;
mod world;

use std::io::{PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use faults::{Fault, FaultRates};
pub use mechanism::{Drive, FirstOrder, Mechanism, Motion};

use crate::bus::Protocol;
use crate::error::RobotError;
use pty::{Line, Server};
use world::World;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use world::feed;

/// One servo on the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServoConfig {
    /// Its id.
    pub id: u8,
    /// Its model, such as `sts3215`.
    pub model: String,
    /// At how many bits per second it listens.
    #[serde(default = "one_mbaud")]
    pub baud: u32,
    /// Where its joint is at the beginning, radians.
    #[serde(default)]
    pub position: f64,
    /// Whether its encoder counts against the joint's angle.
    #[serde(default)]
    pub is_reversed: bool,
    /// What its registers hold other than a new servo's: name and value.
    #[serde(default)]
    pub registers: Vec<(String, i32)>,
}

fn one_mbaud() -> u32 {
    1_000_000
}

impl ServoConfig {
    /// A new servo, its joint in the middle.
    pub fn new(id: u8, model: &str) -> Self {
        Self {
            id,
            model: model.to_owned(),
            baud: one_mbaud(),
            position: 0.0,
            is_reversed: false,
            registers: Vec::new(),
        }
    }
}

/// By what an emulated bus's time goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The world's.
    Real,
    /// [`Emulator::advance`] alone.
    Stepped,
    /// Every read instruction lets that much pass before it is answered: a control loop's turn as
    /// fast as both ends can, and the same in every run.
    PerRead(Duration),
}

/// What is emulated.
#[derive(Debug, Clone, PartialEq)]
pub struct EmulatorConfig {
    /// What the servos speak.
    pub protocol: Protocol,
    /// The servos, in the order of the mechanism's joints.
    pub servos: Vec<ServoConfig>,
    /// By what time goes on.
    pub clock: Clock,
    /// Whether answers take the time that their bytes need on a wire, and return delays; only with
    /// the real clock.
    pub is_paced: bool,
    /// Whether servos hear only what comes at their baud rate.
    pub minds_baud: bool,
    /// From which the chances of faults are drawn.
    pub seed: u64,
    /// A link that always leads to the port, also after the cable was pulled and put back.
    pub link: Option<PathBuf>,
}

impl EmulatorConfig {
    /// A bus of these servos, in real time and at a wire's pace.
    pub fn new(protocol: Protocol, servos: Vec<ServoConfig>) -> Self {
        Self {
            protocol,
            servos,
            clock: Clock::Real,
            is_paced: true,
            minds_baud: true,
            seed: 0,
            link: None,
        }
    }

    /// The six STS3215 of an SO-100 or SO-101, ids 1 to 6, as they leave the factory.
    pub fn so101() -> Self {
        Self::new(Protocol::Sts, (1..=6).map(|id| ServoConfig::new(id, "sts3215")).collect())
    }
}

impl FirstOrder {
    /// Joints that end where those of the SO-101 do: pan, lift, elbow, wrist, roll, gripper.
    pub fn so101() -> Self {
        Self::new(vec![
            (-1.92, 1.92),
            (-1.75, 1.75),
            (-1.69, 1.69),
            (-1.66, 1.66),
            (-2.74, 2.84),
            (-0.17, 1.75),
        ])
    }
}

/// What the thread that serves and the handle share.
struct Shared {
    world: Mutex<World>,
    /// Told after every piece of work of the thread.
    changed: Condvar,
    control: Mutex<Control>,
}

/// What the thread is told to do.
#[derive(Default)]
struct Control {
    stop: bool,
    unplug: bool,
    plug: bool,
    /// Whether the cable is in, and where the port is.
    port: Option<PathBuf>,
    /// Why it could not be put in again.
    failure: Option<RobotError>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A mechanism that panicked ends its thread; the world behind is still whole.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An emulated bus that runs; dropping it ends it.
pub struct Emulator {
    shared: Arc<Shared>,
    path: PathBuf,
    link: Option<PathBuf>,
    wake: PipeWriter,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts a bus whose servos turn `mechanism`.
    ///
    /// # Errors
    /// When no pseudo-terminal can be had, or the settings do not fit together.
    pub fn start(
        config: EmulatorConfig,
        mechanism: Box<dyn Mechanism>,
    ) -> Result<Self, RobotError> {
        let failed = |action| move |source| RobotError::Emulator { action, source };
        let world = World::new(&config, mechanism)?;
        let line = Line::open(config.link.as_deref())?;
        let path = line.path().to_owned();
        let (ear, wake) = std::io::pipe().map_err(failed("open a pipe"))?;
        let control = Control { port: Some(path.clone()), ..Control::default() };
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            changed: Condvar::new(),
            control: Mutex::new(control),
        });
        let link = config.link.clone();
        let server = Server::new(config, Arc::clone(&shared), line, ear);
        let thread = std::thread::Builder::new()
            .name("servo bus".into())
            .spawn(move || server.run())
            .map_err(failed("start a thread"))?;
        Ok(Self { shared, path, link, wake, thread: Some(thread) })
    }

    /// Where the port is: the link where one was asked for.
    pub fn path(&self) -> &Path {
        self.link.as_deref().unwrap_or(&self.path)
    }

    /// Lets time go on by `dt`; with the real clock it goes on by itself too.
    pub fn advance(&self, dt: Duration) {
        self.shared.world().advance(dt);
    }

    /// Time that has gone by on the bus.
    pub fn time(&self) -> Duration {
        self.shared.world().time
    }

    /// Instructions that came whole.
    pub fn frames(&self) -> u64 {
        self.shared.world().frames
    }

    /// Waits until `frames` instructions came since the start; whether they did in time. An
    /// instruction that nobody answers is carried out a moment after it was sent.
    pub fn wait_frames(&self, frames: u64, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut world = self.shared.world();
        while world.frames < frames {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.shared.changed.wait_timeout(world, left);
            world = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Where the joint of servo `id` is.
    pub fn motion(&self, id: u8) -> Option<Motion> {
        self.shared.world().servo(id).map(|s| s.motion)
    }

    /// Lets a hand hold the joint of servo `id` at an angle in radians, or lets it go. A motor that
    /// is on is stronger than the hand.
    pub fn hand(&self, id: u8, angle: Option<f64>) {
        if let Some(servo) = self.shared.world().servo(id) {
            servo.hand = angle;
        }
    }

    /// What a register of servo `id` holds.
    ///
    /// # Errors
    /// When there is no such servo or register.
    pub fn register(&self, id: u8, name: &str) -> Result<i32, RobotError> {
        let mut world = self.shared.world();
        let servo = world.servo(id).ok_or_else(|| no_servo(id))?;
        let register = servo.model.register(name)?;
        servo.show();
        Ok(servo.get(register))
    }

    /// Sets a register of servo `id`, past the bus: what a sensor shows is overwritten soon.
    ///
    /// # Errors
    /// When there is no such servo or register, or the value does not fit.
    pub fn set_register(&self, id: u8, name: &str, value: i32) -> Result<(), RobotError> {
        let mut world = self.shared.world();
        let servo = world.servo(id).ok_or_else(|| no_servo(id))?;
        let register = servo.model.register(name)?;
        register.encode(value)?;
        servo.put(register, value);
        Ok(())
    }

    /// How often what goes wrong from now on.
    pub fn set_faults(&self, rates: FaultRates) {
        self.shared.world().faults.set_rates(rates);
    }

    /// Orders one fault, after those that were ordered before.
    pub fn order(&self, fault: Fault) {
        self.shared.world().faults.order(fault);
    }

    /// Faults that were carried out.
    pub fn faults_done(&self) -> u64 {
        self.shared.world().faults.done
    }

    /// Lets servo `id` fall silent, as if its plug came loose, or lets it come back.
    pub fn vanish(&self, id: u8, is_gone: bool) {
        let mut world = self.shared.world();
        let vanished = &mut world.faults.vanished;
        if is_gone {
            vanished.insert(id);
        } else {
            vanished.remove(&id);
        }
    }

    /// Lets servo `id` report an overload and switch its torque off. A Feetech servo forgets it
    /// when it is told to switch off, a Dynamixel at a reboot.
    pub fn overload(&self, id: u8) {
        const OVERLOAD: u8 = 0x20;
        if let Some(servo) = self.shared.world().servo(id) {
            servo.trip(OVERLOAD);
        }
    }

    /// Takes the power from all servos and gives it back.
    pub fn power_cycle(&self) {
        for servo in &mut self.shared.world().servos {
            servo.power_cycle();
        }
    }

    /// Pulls the cable: whoever has the port open finds it gone.
    pub fn unplug(&self) {
        self.shared.control().unplug = true;
        self.wake();
        self.wait_port(|control| control.port.is_none());
    }

    /// Whether the cable is in.
    pub fn is_plugged(&self) -> bool {
        self.shared.control().port.is_some()
    }

    /// Puts the cable back; the port's path is another one where no link was asked for.
    ///
    /// # Errors
    /// When no pseudo-terminal can be had.
    pub fn plug_in(&mut self) -> Result<PathBuf, RobotError> {
        self.shared.control().plug = true;
        self.wake();
        self.wait_port(|control| control.port.is_some() || control.failure.is_some());
        let mut control = self.shared.control();
        if let Some(failure) = control.failure.take() {
            return Err(failure);
        }
        if let Some(port) = control.port.clone() {
            self.path = port;
        }
        drop(control);
        Ok(self.path().to_owned())
    }

    fn wait_port(&self, is_done: impl Fn(&Control) -> bool) {
        let mut world = self.shared.world();
        while !is_done(&self.shared.control())
            && self.thread.as_ref().is_some_and(|t| !t.is_finished())
        {
            let woken = self.shared.changed.wait_timeout(world, Duration::from_millis(20));
            world = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        // The pipe is full only when the thread is about to wake anyway.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.control().stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the mechanism was printed when it happened.
            let _ = thread.join();
        }
        if let Some(link) = &self.link {
            let _ = std::fs::remove_file(link);
        }
    }
}

fn no_servo(id: u8) -> RobotError {
    RobotError::Config { place: "emulator".into(), why: format!("there is no servo {id}") }
}
