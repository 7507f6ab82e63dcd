//! A bus of servos on a serial port: Feetech's STS and SCS, Dynamixel's protocol 2.0.
//!
//! One master asks, servos answer. What is asked again after silence or damage is counted, never
//! hidden; a read that fails leaves what was read before. [`Bus::sync_read`] and
//! [`Bus::sync_write`] neither allocate nor wait beyond the time the settings give them.

pub mod dynamixel;
mod exchange;
pub mod feetech;
mod group;
mod latency;
mod port;
mod registers;
mod service;
#[cfg(test)]
mod tests;
pub mod wire;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use group::{Group, Member};
pub use port::Port;
pub(crate) use port::raw;
pub use registers::{Area, MODELS, Model, Register, Sign, dxl, scs, sts};
pub use service::Found;

use crate::error::RobotError;
use exchange::Ask;
use wire::{BROADCAST, Inbox, Parsed};

/// What servos speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Feetech STS and SMS: low byte first.
    Sts,
    /// Feetech SCS: high byte first, without sync read.
    Scs,
    /// Dynamixel protocol 2.0.
    Dynamixel,
}

impl Protocol {
    /// Whether words come high byte first.
    pub fn is_big_endian(self) -> bool {
        self == Self::Scs
    }

    /// Starts a frame in `out`, which is emptied.
    pub fn begin(self, out: &mut Vec<u8>, id: u8, code: u8) {
        match self {
            Self::Sts | Self::Scs => feetech::begin(out, id, code),
            Self::Dynamixel => dynamixel::begin(out, id, code),
        }
    }

    /// Ends a frame; false where the parameters are too many for one.
    #[must_use]
    pub fn finish(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Sts | Self::Scs => feetech::finish(out),
            Self::Dynamixel => dynamixel::finish(out),
        }
    }

    /// Looks for a frame at the beginning of `bytes`.
    pub fn parse(self, bytes: &mut [u8]) -> Parsed {
        match self {
            Self::Sts | Self::Scs => feetech::parse(bytes),
            Self::Dynamixel => dynamixel::parse(bytes),
        }
    }

    /// Bytes of an answer that carries `len` bytes.
    fn answer_len(self, len: usize) -> usize {
        match self {
            Self::Sts | Self::Scs => feetech::OVERHEAD + len,
            Self::Dynamixel => dynamixel::OVERHEAD + 1 + len,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Scs => "scs",
            Self::Dynamixel => "dynamixel",
        }
    }
}

/// How a bus is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// Bits per second.
    pub baud: u32,
    /// How often a question without an answer is asked again.
    pub retries: u32,
    /// How long an answer may take beyond its time on the wire, milliseconds.
    pub timeout_ms: u64,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { baud: 1_000_000, retries: 2, timeout_ms: 20 }
    }
}

/// What went wrong on a bus since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusErrors {
    /// Frames whose checksum was wrong, or that broke off.
    pub damaged: u64,
    /// Answers that did not come in time.
    pub missing: u64,
    /// Answers that came late, or that nobody asked for.
    pub unexpected: u64,
    /// Questions asked again.
    pub retries: u64,
}

impl BusErrors {
    /// Answers that came damaged, late or not at all.
    pub fn total(&self) -> u64 {
        self.damaged + self.missing + self.unexpected
    }
}

/// An open bus.
#[derive(Debug)]
pub struct Bus {
    port: Port,
    protocol: Protocol,
    config: BusConfig,
    errors: BusErrors,
    /// The frame that is sent.
    out: Vec<u8>,
    inbox: Inbox,
    /// The data of the last answer.
    answer: Vec<u8>,
}

impl Bus {
    /// Opens the bus on the port at `path`; asks nothing of it.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn open(path: &Path, protocol: Protocol, config: BusConfig) -> Result<Self, RobotError> {
        Ok(Self {
            port: Port::open(path, config.baud)?,
            protocol,
            config,
            errors: BusErrors::default(),
            out: Vec::with_capacity(2 * wire::MAX_FRAME),
            inbox: Inbox::default(),
            answer: Vec::with_capacity(wire::MAX_FRAME),
        })
    }

    /// Opens the port again after its cable was pulled; counts go on.
    ///
    /// # Errors
    /// When it is still gone.
    pub fn reopen(&mut self) -> Result<(), RobotError> {
        self.port.release();
        self.port = Port::open(self.port.path(), self.port.baud())?;
        self.inbox.clear();
        Ok(())
    }

    /// What its servos speak.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.port.path()
    }

    /// What went wrong so far.
    pub fn errors(&self) -> BusErrors {
        self.errors
    }

    /// Asks whether a servo is there, and of what model number.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ping(&mut self, id: u8) -> Result<u16, RobotError> {
        self.protocol.begin(&mut self.out, id, feetech::PING);
        let is_dynamixel = self.protocol == Protocol::Dynamixel;
        self.exchange(id, if is_dynamixel { 3 } else { 0 }, "a ping")?;
        if is_dynamixel {
            return Ok(u16::from_le_bytes([self.answer[0], self.answer[1]]));
        }
        // The models of both families have it at the same place.
        Ok(self.read(id, &sts::MODEL_NUMBER)? as u16)
    }

    /// Reads a register.
    ///
    /// # Errors
    /// When the servo does not answer, or refuses.
    pub fn read(&mut self, id: u8, register: &Register) -> Result<i32, RobotError> {
        self.ask_read(id, register.address, u16::from(register.bytes));
        let error = self.exchange(id, usize::from(register.bytes), register.name)?;
        self.refused(id, error, || format!("read {}", register.name))?;
        Ok(register.decode(register.get(self.protocol, &self.answer)))
    }

    /// Writes a register and waits for the servo's word that it has it.
    ///
    /// # Errors
    /// When the value does not fit, or the servo does not answer, or refuses.
    pub fn write(&mut self, id: u8, register: &Register, value: i32) -> Result<(), RobotError> {
        self.write_by(feetech::WRITE, id, register, value)
    }

    /// As [`Bus::write`], but the servo acts upon it only at [`Bus::action`].
    ///
    /// # Errors
    /// As [`Bus::write`].
    pub fn reg_write(&mut self, id: u8, register: &Register, value: i32) -> Result<(), RobotError> {
        self.write_by(feetech::REG_WRITE, id, register, value)
    }

    /// Lets every servo act at once upon what was written by [`Bus::reg_write`].
    ///
    /// # Errors
    /// When it can't be sent; no servo answers.
    pub fn action(&mut self) -> Result<(), RobotError> {
        self.protocol.begin(&mut self.out, BROADCAST, feetech::ACTION);
        self.seal()?;
        self.start()
    }

    /// Writes a register and reads it back.
    ///
    /// # Errors
    /// As [`Bus::write`], and when the servo kept another value.
    pub fn write_checked(
        &mut self,
        id: u8,
        register: &'static Register,
        value: i32,
    ) -> Result<(), RobotError> {
        self.write(id, register, value)?;
        let found = self.read(id, register)?;
        if found == value {
            return Ok(());
        }
        Err(RobotError::NotKept { id, register: register.name, written: value, found })
    }

    /// Reads a group whose members have the same registers, in one question; SCS servos are asked
    /// one by one. A retry asks only those that did not answer.
    ///
    /// # Errors
    /// When servos do not answer within the retries; what the others said is in the group.
    pub fn sync_read(&mut self, group: &mut Group) -> Result<(), RobotError> {
        let ask = if self.protocol == Protocol::Scs { Ask::Each } else { Ask::Sync };
        self.gather(group, if group.is_uniform() { ask } else { Ask::Each })
    }

    /// As [`Bus::sync_read`], with all answers in one frame: only for Dynamixel servos, and where
    /// all of them know it.
    ///
    /// # Errors
    /// As [`Bus::sync_read`]; and on buses of Feetech servos.
    pub fn fast_sync_read(&mut self, group: &mut Group) -> Result<(), RobotError> {
        self.only_dynamixel("fast sync read")?;
        self.gather(group, Ask::Fast)
    }

    /// Reads a group whose members have different registers, in one question.
    ///
    /// # Errors
    /// As [`Bus::sync_read`]; and on buses of Feetech servos.
    pub fn bulk_read(&mut self, group: &mut Group) -> Result<(), RobotError> {
        self.only_dynamixel("bulk read")?;
        self.gather(group, Ask::Bulk)
    }

    /// Writes a group whose members have the same registers, in one frame that no servo answers.
    ///
    /// # Errors
    /// When it can't be sent, or is too long for a frame.
    pub fn sync_write(&mut self, group: &Group) -> Result<(), RobotError> {
        let Member { address, len, .. } = group.members[0];
        if !group.is_uniform() {
            return Err(RobotError::Config {
                place: "group of motors".into(),
                why: "a sync write needs the same registers in all".into(),
            });
        }
        self.protocol.begin(&mut self.out, BROADCAST, feetech::SYNC_WRITE);
        self.push_word(address);
        self.push_word(len);
        for (i, member) in group.members.iter().enumerate() {
            self.out.push(member.id);
            self.out.extend_from_slice(group.bytes(i));
        }
        self.seal()?;
        self.start()
    }

    /// Writes a group whose members have different registers, in one frame that no servo answers.
    ///
    /// # Errors
    /// As [`Bus::sync_write`]; and on buses of Feetech servos.
    pub fn bulk_write(&mut self, group: &Group) -> Result<(), RobotError> {
        self.only_dynamixel("bulk write")?;
        self.protocol.begin(&mut self.out, BROADCAST, dynamixel::BULK_WRITE);
        for (i, member) in group.members.iter().enumerate() {
            self.out.push(member.id);
            self.out.extend_from_slice(&member.address.to_le_bytes());
            self.out.extend_from_slice(&member.len.to_le_bytes());
            self.out.extend_from_slice(group.bytes(i));
        }
        self.seal()?;
        self.start()
    }

    /// Starts a Dynamixel servo anew, which ends an alarm and switches its torque off.
    ///
    /// # Errors
    /// When it does not answer; and on buses of Feetech servos.
    pub fn reboot(&mut self, id: u8) -> Result<(), RobotError> {
        self.only_dynamixel("reboot")?;
        self.protocol.begin(&mut self.out, id, dynamixel::REBOOT);
        let error = self.exchange(id, 0, "a reboot")?;
        self.refused(id, error, || "start anew".into())
    }
}
