//! One emulated servo: its memory, what a write does to it, and what its sensors show.
//!
//! EEPROM survives a loss of power and RAM does not. A locked Feetech servo takes EEPROM writes but
//! forgets them without power; a Dynamixel refuses them while its torque is on. The position that
//! it shows is the encoder's, moved by the homing offset.

use std::f64::consts::TAU;

use super::ServoConfig;
use super::mechanism::{Drive, Motion};
use crate::bus::{Area, Model, Protocol, Register};
use crate::error::RobotError;

/// Bytes of a servo's memory.
const MEMORY: usize = 256;
/// Steps per second² in one unit of a Feetech servo's acceleration.
const STS_ACCELERATION: f64 = 100.0;
/// The same of a Dynamixel: 214.577 turns per minute².
const X_ACCELERATION: f64 = 214.577 / 3600.0 * 4096.0;
/// Steps per second of an STS3215 without load.
const TOP_SPEED: f64 = 3400.0;

/// A servo.
#[derive(Debug)]
pub(super) struct Servo {
    pub model: &'static Model,
    /// What it holds now.
    memory: [u8; MEMORY],
    /// What it holds after a loss of power.
    kept: [u8; MEMORY],
    /// A write that waits for the action instruction.
    registered: Option<(u16, Vec<u8>)>,
    /// Alarm bits as answers show them.
    pub alarm: u8,
    /// Where the profile is, encoder steps, and its speed.
    setpoint: f64,
    speed: f64,
    is_reversed: bool,
    temperature: f64,
    /// A person's hand on the joint, radians.
    pub hand: Option<f64>,
    pub motion: Motion,
}

impl Servo {
    pub fn new(config: &ServoConfig) -> Result<Self, RobotError> {
        let model = Model::named(&config.model)?;
        let mut servo = Self {
            model,
            memory: [0; MEMORY],
            kept: [0; MEMORY],
            registered: None,
            alarm: 0,
            setpoint: 0.0,
            speed: 0.0,
            is_reversed: config.is_reversed,
            temperature: 30.0,
            hand: None,
            motion: Motion { position: config.position, ..Motion::default() },
        };
        for register in model.registers {
            servo.put(register, register.default);
        }
        servo.put(model.register("Model_Number")?, i32::from(model.number));
        servo.put(model.register("ID")?, i32::from(config.id));
        let code = model.bauds.iter().find(|(baud, _)| *baud == config.baud);
        let (_, code) = code.ok_or_else(|| RobotError::Unsupported {
            model: model.name,
            what: format!("baud rate {}", config.baud),
        })?;
        servo.put(model.register("Baud_Rate")?, i32::from(*code));
        for (name, value) in &config.registers {
            let register = model.register(name)?;
            register.encode(*value)?;
            servo.put(register, *value);
        }
        servo.kept = servo.memory;
        servo.power_cycle();
        Ok(servo)
    }

    /// Loses power and gets it back: RAM as new, EEPROM as kept.
    pub fn power_cycle(&mut self) {
        self.memory = self.kept;
        for register in self.model.registers {
            if register.area == Area::Ram {
                self.put(register, register.default);
            }
        }
        self.copy("Max_Torque_Limit", "Torque_Limit");
        self.copy("PWM_Limit", "Goal_PWM");
        self.copy("Current_Limit", "Goal_Current");
        self.registered = None;
        self.alarm = 0;
        self.rest();
    }

    pub fn id(&self) -> u8 {
        self.get_by("ID") as u8
    }

    pub fn baud(&self) -> u32 {
        let code = self.get_by("Baud_Rate");
        let found = self.model.bauds.iter().find(|(_, c)| i32::from(*c) == code);
        found.map_or(0, |(baud, _)| *baud)
    }

    /// Microseconds until it answers.
    pub fn return_delay_us(&self) -> u64 {
        // Both families count in 2 µs.
        u64::from(self.get_by("Return_Delay_Time").unsigned_abs()) * 2
    }

    /// Whether it answers to more than pings and reads.
    pub fn acknowledges(&self) -> bool {
        match self.model.protocol {
            Protocol::Dynamixel => self.get_by("Status_Return_Level") == 2,
            _ => self.get_by("Response_Status_Level") != 0,
        }
    }

    /// What the error byte of its answers is besides refusals.
    pub fn alarm_byte(&self) -> u8 {
        match self.model.protocol {
            Protocol::Dynamixel => u8::from(self.alarm != 0) << 7,
            _ => self.alarm,
        }
    }

    /// Its memory from `address` on; zeros beyond the end.
    pub fn read(&self, address: u16, len: u16) -> impl Iterator<Item = u8> + '_ {
        (usize::from(address)..usize::from(address) + usize::from(len))
            .map(|at| self.memory.get(at).copied().unwrap_or(0))
    }

    /// Keeps a write until [`Servo::action`].
    pub fn register(&mut self, address: u16, bytes: &[u8]) {
        self.registered = Some((address, bytes.to_vec()));
    }

    pub fn action(&mut self) {
        if let Some((address, bytes)) = self.registered.take() {
            // What is refused now was acknowledged before; servos stay silent here too.
            let _ = self.write(address, &bytes);
        }
    }

    /// Writes memory as an instruction of the bus does.
    ///
    /// # Errors
    /// A Dynamixel's error number where it refuses; Feetech servos pass over what they do not take.
    pub fn write(&mut self, address: u16, bytes: &[u8]) -> Result<(), u8> {
        let is_dynamixel = self.model.protocol == Protocol::Dynamixel;
        let was_on = self.is_on();
        for register in self.model.registers {
            let (at, n) = (usize::from(register.address), usize::from(register.bytes));
            let Some(offset) = at.checked_sub(usize::from(address)) else { continue };
            let Some(new) = bytes.get(offset..offset + n) else { continue };
            let word = register.decode(register.get(self.model.protocol, new));
            if is_dynamixel {
                self.refuse(register, word)?;
            }
            if register.area == Area::ReadOnly {
                continue;
            }
            if register.name == "Torque_Enable" && word == 128 && !is_dynamixel {
                self.set_middle();
                continue;
            }
            self.memory[at..at + n].copy_from_slice(new);
            let keeps = is_dynamixel || self.get_by("Lock") == 0;
            if register.area == Area::Eeprom && keeps {
                self.kept[at..at + n].copy_from_slice(new);
            }
            if register.name == "Torque_Enable" && word == 0 && !is_dynamixel {
                // Feetech servos end an overload when their torque is switched off.
                self.alarm = 0;
            }
            if register.name == "Max_Torque_Limit" {
                self.copy("Max_Torque_Limit", "Torque_Limit");
            }
        }
        if self.is_on() && !was_on {
            // It holds where it is until it is told otherwise in the same write or a later one.
            let goal = self.shown_position();
            let has_goal = self.covers("Goal_Position", address, bytes.len());
            if !has_goal {
                self.put_by("Goal_Position", goal);
            }
            self.rest();
        }
        Ok(())
    }

    fn refuse(&self, register: &Register, word: i32) -> Result<(), u8> {
        const RANGE: u8 = 4;
        const LIMIT: u8 = 6;
        const ACCESS: u8 = 7;
        match register.area {
            Area::ReadOnly => return Err(ACCESS),
            Area::Eeprom if self.is_on() => return Err(ACCESS),
            _ => {}
        }
        match register.name {
            "ID" if !(0..=252).contains(&word) => Err(RANGE),
            "Goal_Position" => {
                let has_limits = matches!(self.get_by("Operating_Mode"), 3);
                let limits = self.get_by("Min_Position_Limit")..=self.get_by("Max_Position_Limit");
                if has_limits && !limits.contains(&word) { Err(LIMIT) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// A Feetech servo's shortcut: where it is becomes the middle.
    fn set_middle(&mut self) {
        let half = i32::from(self.model.resolution) / 2;
        let offset = self.encoder().rem_euclid(i32::from(self.model.resolution)) - half;
        self.put_by("Homing_Offset", offset.clamp(-2047, 2047));
        self.kept = self.memory;
    }

    /// Switches the motor off by an alarm, as an overload does.
    pub fn trip(&mut self, bits: u8) {
        self.alarm = bits;
        self.put_by("Torque_Enable", i32::from(bits == 0 && self.is_on()));
        self.put_by("Hardware_Error_Status", i32::from(bits));
    }

    /// What it asks of its joint after its profile went on by `dt` seconds.
    pub fn drive(&mut self, dt: f64) -> Drive {
        if self.is_on() {
            self.follow(dt);
        } else {
            self.rest();
        }
        Drive {
            is_on: self.is_on(),
            setpoint: self.to_radians(self.setpoint),
            torque_limit: self.torque_limit(),
            hand: self.hand,
        }
    }

    /// Takes where the joint went.
    pub fn moved(&mut self, motion: Motion, dt: f64) {
        self.motion = motion;
        // Warms up by 30 °C in minutes at full load.
        let target = 30.0 + 30.0 * motion.load * motion.load;
        self.temperature += (target - self.temperature) * (dt / 120.0).min(1.0);
    }

    /// Where the goal lies in encoder steps, within the limits that are set.
    fn goal(&self) -> f64 {
        let mut goal = self.get_by("Goal_Position");
        let (low, high) = (self.get_by("Min_Position_Limit"), self.get_by("Max_Position_Limit"));
        if low < high {
            goal = goal.clamp(low, high);
        }
        let turn = i32::from(self.model.resolution);
        let encoder = goal + self.offset();
        // The position that is shown wraps around; the joint does not. Take the goal's turn that
        // the servo itself would: the one its own count is in.
        let shown = self.encoder() - self.offset();
        f64::from(encoder + (shown - self.shown_position()) / turn * turn)
    }

    /// Lets the profile go on toward the goal, within speed and acceleration.
    fn follow(&mut self, dt: f64) {
        let goal = self.goal();
        let (top, acceleration) = self.profile();
        let left = goal - self.setpoint;
        // The speed from which it can still stop at the goal.
        let brake = (2.0 * acceleration * left.abs()).sqrt().min(top) * left.signum();
        let step = acceleration * dt;
        self.speed += (brake - self.speed).clamp(-step, step);
        let way = self.speed * dt;
        if way.abs() >= left.abs() && way.signum() == left.signum() || left == 0.0 {
            (self.setpoint, self.speed) = (goal, 0.0);
        } else {
            self.setpoint += way;
        }
    }

    /// Steps per second and steps per second² of the profile.
    fn profile(&self) -> (f64, f64) {
        let positive = |value: i32, unit: f64, otherwise: f64| {
            if value == 0 { otherwise } else { f64::from(value.abs()) * unit }
        };
        match self.model.protocol {
            Protocol::Dynamixel => {
                let unit = self.model.velocity_unit;
                let top = positive(self.get_by("Profile_Velocity"), unit, TOP_SPEED);
                let steep = self.get_by("Profile_Acceleration");
                (top.min(TOP_SPEED), positive(steep, X_ACCELERATION, 1e9))
            }
            _ => {
                let top = positive(self.get_by("Goal_Velocity"), 1.0, TOP_SPEED);
                let steep = self.get_by("Acceleration");
                (top.min(TOP_SPEED), positive(steep, STS_ACCELERATION, 1e9))
            }
        }
    }

    fn torque_limit(&self) -> f64 {
        let part = match self.model.protocol {
            Protocol::Dynamixel => f64::from(self.get_by("Goal_PWM").abs()) / 885.0,
            Protocol::Sts => f64::from(self.get_by("Torque_Limit")) / 1000.0,
            Protocol::Scs => f64::from(self.get_by("Max_Torque_Limit")) / 1000.0,
        };
        part.clamp(0.0, 1.0)
    }

    /// Lets the profile begin where the joint is.
    fn rest(&mut self) {
        self.setpoint = f64::from(self.encoder());
        self.speed = 0.0;
    }

    /// Writes what the sensors see into the memory; before every read.
    pub fn show(&mut self) {
        let Motion { velocity, load, .. } = self.motion;
        let sign = self.direction();
        let steps = velocity * sign / TAU * f64::from(self.model.resolution);
        let position = self.shown_position();
        self.put_by("Present_Position", position);
        self.put_by("Present_Velocity", (steps / self.model.velocity_unit).round() as i32);
        self.put_by("Present_Load", (load * sign * 1000.0).round() as i32);
        // At standstill 2.7 A; one unit is 6.5 mA with Feetech, 2.69 mA with Dynamixel.
        let is_dynamixel = self.model.protocol == Protocol::Dynamixel;
        let unit = if is_dynamixel { 0.002_69 } else { 0.006_5 };
        self.put_by("Present_Current", (load * sign * 2.7 / unit).round() as i32);
        let volts = 12.0 - 0.4 * load.abs();
        self.put_by("Present_Voltage", (volts * 10.0).round() as i32);
        self.put_by("Present_Input_Voltage", (volts * 10.0).round() as i32);
        self.put_by("Present_Temperature", self.temperature.round() as i32);
        self.put_by("Moving", i32::from(steps.abs() > 1.0));
        self.put_by("Status", i32::from(self.alarm));
    }

    /// Encoder steps, counted on over whole turns.
    fn encoder(&self) -> i32 {
        let turn = f64::from(self.model.resolution);
        (self.motion.position * self.direction() / TAU * turn + turn / 2.0).round() as i32
    }

    fn to_radians(&self, steps: f64) -> f64 {
        let turn = f64::from(self.model.resolution);
        (steps - turn / 2.0) / turn * TAU * self.direction()
    }

    fn direction(&self) -> f64 {
        let drive_mode =
            self.model.protocol == Protocol::Dynamixel && self.get_by("Drive_Mode") & 1 == 1;
        if self.is_reversed == drive_mode { 1.0 } else { -1.0 }
    }

    /// Steps by which the encoder is ahead of the position that is shown.
    fn offset(&self) -> i32 {
        match self.model.protocol {
            Protocol::Dynamixel => -self.get_by("Homing_Offset"),
            _ => self.get_by("Homing_Offset"),
        }
    }

    /// The position as registers show it.
    fn shown_position(&self) -> i32 {
        let position = self.encoder() - self.offset();
        let counts_turns = match self.model.protocol {
            // Feedback mode of the STS3215: with this bit it counts turns.
            Protocol::Sts => self.get_by("Phase") & 0x10 != 0,
            Protocol::Scs => false,
            Protocol::Dynamixel => self.get_by("Operating_Mode") != 3,
        };
        let turn = i32::from(self.model.resolution);
        match self.model.protocol {
            _ if counts_turns => position,
            // Its encoder wraps around, and the offset comes on top.
            Protocol::Dynamixel => self.encoder().rem_euclid(turn) - self.offset(),
            _ => position.rem_euclid(turn),
        }
    }

    pub fn is_on(&self) -> bool {
        self.get_by("Torque_Enable") == 1
    }

    fn covers(&self, name: &str, address: u16, len: usize) -> bool {
        self.model.register(name).is_ok_and(|r| {
            r.address >= address && usize::from(r.address - address) + usize::from(r.bytes) <= len
        })
    }

    fn copy(&mut self, from: &str, to: &str) {
        if self.model.register(from).is_ok() {
            let value = self.get_by(from);
            self.put_by(to, value);
        }
    }

    /// What a register holds.
    pub fn get(&self, register: &Register) -> i32 {
        let bytes = &self.memory[usize::from(register.address)..];
        register.decode(register.get(self.model.protocol, bytes))
    }

    /// Sets a register from inside, to the nearest value that it can hold.
    pub fn put(&mut self, register: &Register, value: i32) {
        let (low, high) = register.range();
        let value = i64::from(value).clamp(low, high) as i32;
        let bits = register.encode(value).expect("a value in the register's range");
        let to = &mut self.memory[usize::from(register.address)..];
        register.put(self.model.protocol, bits, to);
    }

    fn get_by(&self, name: &str) -> i32 {
        self.model.register(name).map_or(0, |r| self.get(r))
    }

    /// Sets a register that this model may not have.
    fn put_by(&mut self, name: &str, value: i32) {
        if let Ok(register) = self.model.register(name) {
            self.put(register, value);
        }
    }
}
