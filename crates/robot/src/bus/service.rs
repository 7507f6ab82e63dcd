//! Putting a bus together: who is there, other ids, other baud rates.
//!
//! Rare and slow, and done with one arm on the table; nothing here is for a loop.

use std::time::{Duration, Instant};

use super::registers::{Model, Register, dxl, sts};
use super::wire::BROADCAST;
use super::{Bus, Protocol, feetech};
use crate::error::RobotError;

/// How long a scan goes on after the last answer.
const QUIET: Duration = Duration::from_millis(250);
/// The highest id that a servo can have.
const MAX_ID: u8 = 252;

/// A servo that a scan found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Its id.
    pub id: u8,
    /// Its model number.
    pub number: u16,
    /// The model of that number, if known.
    pub model: Option<&'static Model>,
}

impl Bus {
    /// Every servo that answers at this baud rate, in order of id.
    ///
    /// SCS servos know no broadcast ping; each of the 253 ids is asked, which takes seconds.
    ///
    /// # Errors
    /// When the port fails; an empty bus is none.
    pub fn scan(&mut self) -> Result<Vec<Found>, RobotError> {
        let mut ids = Vec::new();
        if self.protocol == Protocol::Scs {
            for id in 0..=MAX_ID {
                if self.is_there(id)? {
                    ids.push(id);
                }
            }
        } else {
            self.protocol.begin(&mut self.out, BROADCAST, feetech::PING);
            self.seal()?;
            self.start()?;
            while let Some(answer) = self.next_answer(Instant::now() + QUIET)? {
                ids.push(answer.id);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let number = self.ping(id)?;
            found.push(Found { id, number, model: Model::numbered(self.protocol, number) });
        }
        Ok(found)
    }

    /// Scans at each of the baud rates that `model` can have; the bus is back at its own after.
    ///
    /// # Errors
    /// When the port fails. Rates that the port can't run at are passed over.
    pub fn scan_bauds(&mut self, model: &Model) -> Result<Vec<(u32, Vec<Found>)>, RobotError> {
        let own = self.port.baud();
        let mut all = Vec::new();
        for (baud, _) in model.bauds {
            if self.port.set_baud(*baud).is_err() {
                continue;
            }
            let found = self.scan();
            if found.is_err() {
                self.port.set_baud(own)?;
            }
            let found = found?;
            if !found.is_empty() {
                all.push((*baud, found));
            }
        }
        self.port.set_baud(own)?;
        Ok(all)
    }

    /// Gives a servo another id; its torque is off then.
    ///
    /// # Errors
    /// When the new id is taken or out of 0 to 252, or the servo does not answer by it afterwards.
    pub fn change_id(&mut self, model: &Model, id: u8, new: u8) -> Result<(), RobotError> {
        if new > MAX_ID {
            let place = format!("id {new}");
            return Err(RobotError::Config { place, why: format!("ids go to {MAX_ID}") });
        }
        if id == new {
            return Ok(());
        }
        if self.is_there(new)? {
            return Err(RobotError::IdTaken { id: new });
        }
        self.open_settings(id)?;
        // Firmwares differ in whether they acknowledge by the old id or by the new one.
        let written = self.write(id, model.register("ID")?, i32::from(new));
        match (self.ping(new), written) {
            (Ok(_), _) => self.close_settings(new),
            (Err(_), Err(e)) | (Err(e), Ok(())) => Err(e),
        }
    }

    /// Gives a servo another baud rate and follows it there; its torque is off then.
    ///
    /// # Errors
    /// When its model can't have that rate, or it does not answer at it afterwards.
    pub fn change_baud(&mut self, model: &Model, id: u8, baud: u32) -> Result<(), RobotError> {
        let code = model.bauds.iter().find(|(rate, _)| *rate == baud).map(|(_, code)| *code);
        let code = code.ok_or_else(|| RobotError::Unsupported {
            model: model.name,
            what: format!("baud rate {baud}"),
        })?;
        self.open_settings(id)?;
        // The answer may come at the new rate already; the ping says what is true.
        let written = self.write(id, model.register("Baud_Rate")?, i32::from(code));
        self.port.set_baud(baud)?;
        match (self.ping(id), written) {
            (Ok(_), _) => self.close_settings(id),
            (Err(_), Err(e)) | (Err(e), Ok(())) => Err(e),
        }
    }

    /// Switches the torque off and unlocks the settings of a servo.
    ///
    /// # Errors
    /// When it does not acknowledge.
    pub fn open_settings(&mut self, id: u8) -> Result<(), RobotError> {
        self.write(id, self.torque_register(), 0)?;
        self.lock(id, 0)
    }

    /// Locks the settings of a servo; Dynamixel servos lock by their torque.
    ///
    /// # Errors
    /// When it does not acknowledge.
    pub fn close_settings(&mut self, id: u8) -> Result<(), RobotError> {
        self.lock(id, 1)
    }

    fn lock(&mut self, id: u8, value: i32) -> Result<(), RobotError> {
        match self.protocol {
            Protocol::Sts => self.write(id, &sts::LOCK, value),
            Protocol::Scs => self.write(id, &super::scs::LOCK, value),
            Protocol::Dynamixel => Ok(()),
        }
    }

    fn torque_register(&self) -> &'static Register {
        match self.protocol {
            // SCS servos have it at the same place.
            Protocol::Sts | Protocol::Scs => &sts::TORQUE_ENABLE,
            Protocol::Dynamixel => &dxl::TORQUE_ENABLE,
        }
    }

    /// Asks once whether a servo is there; silence is no error, and not counted.
    fn is_there(&mut self, id: u8) -> Result<bool, RobotError> {
        let (config, errors) = (self.config, self.errors);
        self.config.retries = 0;
        let answer = self.ping(id);
        self.config = config;
        match answer {
            Ok(_) => Ok(true),
            Err(RobotError::NoAnswer { .. }) => {
                self.errors = errors;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}
