//! Which register lies where in a servo, and how its number is coded.
//!
//! Names are those of the makers' manuals as LeRobot writes them. Feetech servos code a sign as a
//! bit beside the magnitude, at another place per register; Dynamixel as two's complement.

mod tables;

use crate::error::RobotError;

pub use tables::{dxl, scs, sts};

use super::Protocol;

/// How a negative number is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Not at all.
    Unsigned,
    /// By this bit, beside the magnitude.
    Bit(u8),
    /// By two's complement.
    Complement,
}

/// Where a register lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Kept without power.
    Eeprom,
    /// Lost without power.
    Ram,
    /// Written by the servo alone.
    ReadOnly,
}

/// A register of a servo.
#[derive(Debug, PartialEq, Eq)]
pub struct Register {
    /// Its name, such as `Present_Position`.
    pub name: &'static str,
    /// Where it begins.
    pub address: u16,
    /// How long it is: 1, 2 or 4.
    pub bytes: u8,
    /// How its sign is coded.
    pub sign: Sign,
    /// Where it lies.
    pub area: Area,
    /// What it holds when the servo leaves the factory.
    pub default: i32,
}

/// A model of servo.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// Name as LeRobot has it, such as `sts3215`.
    pub name: &'static str,
    /// What it says when asked.
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Steps per turn.
    pub resolution: u16,
    /// Its registers.
    pub registers: &'static [&'static Register],
    /// Bits per second with the value of the baud register.
    pub bauds: &'static [(u32, u8)],
    /// Steps per second in one unit of Present_Velocity.
    pub velocity_unit: f64,
}

/// Every model that is known.
pub const MODELS: &[Model] = tables::MODELS;

impl Model {
    /// The model of that name.
    ///
    /// # Errors
    /// When there is none; the message lists those that are known.
    pub fn named(name: &str) -> Result<&'static Self, RobotError> {
        MODELS.iter().find(|m| m.name == name).ok_or_else(|| RobotError::Config {
            place: format!("model {name:?}"),
            why: format!(
                "is not known; there are {}",
                MODELS.iter().map(|m| m.name).collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// The model that says `number` in that protocol.
    pub fn numbered(protocol: Protocol, number: u16) -> Option<&'static Self> {
        MODELS.iter().find(|m| m.protocol == protocol && m.number == number)
    }

    /// The register of that name.
    ///
    /// # Errors
    /// When this model has none of that name.
    pub fn register(&self, name: &str) -> Result<&'static Register, RobotError> {
        let found = self.registers.iter().find(|r| r.name == name).copied();
        found.ok_or_else(|| RobotError::Unsupported {
            model: self.name,
            what: format!("register {name:?}"),
        })
    }
}

impl Register {
    /// Lowest and highest value that it can hold.
    pub fn range(&self) -> (i64, i64) {
        let bits = u32::from(self.bytes) * 8;
        match self.sign {
            Sign::Unsigned => (0, (1 << bits) - 1),
            Sign::Bit(bit) => (1 - (1 << bit), (1 << bit) - 1),
            Sign::Complement => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        }
    }

    /// The bits that say `value`.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn encode(&self, value: i32) -> Result<u32, RobotError> {
        let (low, high) = self.range();
        if !(low..=high).contains(&i64::from(value)) {
            let value = i64::from(value);
            return Err(RobotError::Range { register: self.name, value, low, high });
        }
        Ok(match self.sign {
            Sign::Bit(bit) => value.unsigned_abs() | u32::from(value < 0) << bit,
            // Two's complement, cut to the register's bytes.
            Sign::Unsigned | Sign::Complement => value as u32 & self.mask(),
        })
    }

    /// What `bits` say.
    pub fn decode(&self, bits: u32) -> i32 {
        let bits = bits & self.mask();
        match self.sign {
            // No unsigned register of four bytes uses its highest bit.
            Sign::Unsigned => bits as i32,
            Sign::Bit(bit) => {
                let magnitude = (bits & ((1 << bit) - 1)) as i32;
                if bits >> bit & 1 == 1 { -magnitude } else { magnitude }
            }
            Sign::Complement => {
                let unused = 32 - u32::from(self.bytes) * 8;
                (bits << unused) as i32 >> unused
            }
        }
    }

    fn mask(&self) -> u32 {
        u32::MAX >> (32 - u32::from(self.bytes) * 8)
    }

    /// Writes `bits` as the protocol orders bytes; `to` is as long as the register.
    pub fn put(&self, protocol: Protocol, bits: u32, to: &mut [u8]) {
        let n = usize::from(self.bytes);
        if protocol.is_big_endian() {
            to[..n].copy_from_slice(&bits.to_be_bytes()[4 - n..]);
        } else {
            to[..n].copy_from_slice(&bits.to_le_bytes()[..n]);
        }
    }

    /// Reads what [`Register::put`] wrote.
    pub fn get(&self, protocol: Protocol, from: &[u8]) -> u32 {
        let n = usize::from(self.bytes);
        let mut word = [0; 4];
        if protocol.is_big_endian() {
            word[4 - n..].copy_from_slice(&from[..n]);
            u32::from_be_bytes(word)
        } else {
            word[..n].copy_from_slice(&from[..n]);
            u32::from_le_bytes(word)
        }
    }
}
