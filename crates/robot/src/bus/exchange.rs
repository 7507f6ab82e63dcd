//! How a question is asked and its answers are taken, with whatever the line does to them.
//!
//! Every wait ends. Silence and damage are counted and asked again, of those alone that did not
//! answer; what comes late to an earlier question is thrown away before the next one.

use std::time::{Duration, Instant};

use super::wire::{BROADCAST, Parsed};
use super::{Bus, Group, Member, Protocol, Register, dynamixel, feetech};
use crate::error::RobotError;

/// Who answered, and with what error byte; the data is in [`Bus`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub id: u8,
    pub error: u8,
}

/// How a group is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Sync,
    Fast,
    Bulk,
    Each,
}

impl Bus {
    pub(super) fn write_by(
        &mut self,
        code: u8,
        id: u8,
        register: &Register,
        value: i32,
    ) -> Result<(), RobotError> {
        let bits = register.encode(value)?;
        self.protocol.begin(&mut self.out, id, code);
        self.push_word(register.address);
        let mut word = [0; 4];
        register.put(self.protocol, bits, &mut word);
        self.out.extend_from_slice(&word[..usize::from(register.bytes)]);
        let error = self.exchange(id, 0, register.name)?;
        self.refused(id, error, || format!("set {} to {value}", register.name))
    }

    pub(super) fn ask_read(&mut self, id: u8, address: u16, len: u16) {
        self.protocol.begin(&mut self.out, id, feetech::READ);
        self.push_word(address);
        self.push_word(len);
    }

    /// Builds the question for those of the group that did not answer yet; returns how many bytes
    /// their answers have.
    pub(super) fn ask_group(&mut self, group: &Group, ask: Ask) -> usize {
        let code = match ask {
            Ask::Sync => feetech::SYNC_READ,
            Ask::Fast => dynamixel::FAST_SYNC_READ,
            Ask::Bulk | Ask::Each => dynamixel::BULK_READ,
        };
        self.protocol.begin(&mut self.out, BROADCAST, code);
        if ask != Ask::Bulk {
            self.push_word(group.members[0].address);
            self.push_word(group.members[0].len);
        }
        let mut bytes = 0;
        for (member, _) in group.members.iter().zip(&group.fresh).filter(|(_, fresh)| !**fresh) {
            self.out.push(member.id);
            if ask == Ask::Bulk {
                self.out.extend_from_slice(&member.address.to_le_bytes());
                self.out.extend_from_slice(&member.len.to_le_bytes());
            }
            bytes += self.protocol.answer_len(usize::from(member.len));
        }
        bytes
    }

    pub(super) fn gather(&mut self, group: &mut Group, ask: Ask) -> Result<(), RobotError> {
        assert_eq!(group.protocol, self.protocol, "a group is made for its bus");
        group.fresh.fill(false);
        if ask == Ask::Each {
            return self.gather_each(group);
        }
        for attempt in 0..=self.config.retries {
            self.errors.retries += u64::from(attempt > 0);
            let expected = self.ask_group(group, ask);
            self.seal()?;
            let until = self.start_until(expected)?;
            while group.fresh.iter().any(|fresh| !fresh) {
                let Some(answer) = self.next_answer(until)? else {
                    let silent = group.fresh.iter().filter(|fresh| !**fresh).count();
                    self.errors.missing += silent as u64;
                    break;
                };
                if ask == Ask::Fast && answer.id == BROADCAST {
                    self.take_fast(group)?;
                } else {
                    self.take(group, answer)?;
                }
            }
            if group.fresh.iter().all(|fresh| *fresh) {
                return Ok(());
            }
        }
        let silent = group.members.iter().zip(&group.fresh).filter(|(_, fresh)| !**fresh);
        Err(self.no_answer(silent.map(|(m, _)| m.id).collect(), "a sync read"))
    }

    pub(super) fn gather_each(&mut self, group: &mut Group) -> Result<(), RobotError> {
        for i in 0..group.len() {
            let Member { id, address, len, .. } = group.members[i];
            self.ask_read(id, address, len);
            let error = self.exchange(id, usize::from(len), "a read")?;
            self.take(group, Answer { id, error })?;
        }
        Ok(())
    }

    /// Takes an answer into the group; one that is not asked for is counted.
    pub(super) fn take(&mut self, group: &mut Group, answer: Answer) -> Result<(), RobotError> {
        let found = group.members.iter().position(|m| m.id == answer.id);
        let Some(i) = found.filter(|i| !group.fresh[*i]) else {
            self.errors.unexpected += 1;
            return Ok(());
        };
        self.refused(answer.id, answer.error, || "be read".into())?;
        let to = group.bytes_mut(i);
        if to.len() != self.answer.len() {
            self.errors.unexpected += 1;
            return Ok(());
        }
        to.copy_from_slice(&self.answer);
        group.fresh[i] = true;
        group.alarms[i] = self.alarm_bits(answer.error);
        Ok(())
    }

    /// Takes the frame in which all answer to a fast sync read: its error is that of the first
    /// servo; then id, data and CRC; and error, id, data and CRC of each further one.
    pub(super) fn take_fast(&mut self, group: &mut Group) -> Result<(), RobotError> {
        let mut at = 0;
        while at < self.answer.len() {
            let (error, id) = (self.answer[at], self.answer.get(at + 1).copied());
            let found = group.members.iter().position(|m| Some(m.id) == id);
            let Some(i) = found.filter(|i| !group.fresh[*i]) else {
                self.errors.unexpected += 1;
                return Ok(());
            };
            let len = usize::from(group.members[i].len);
            let Some(data) = self.answer.get(at + 2..at + 2 + len) else {
                self.errors.damaged += 1;
                return Ok(());
            };
            group.bytes_mut(i).copy_from_slice(data);
            group.fresh[i] = true;
            group.alarms[i] = self.alarm_bits(error);
            at += len + 4;
        }
        Ok(())
    }

    /// Sends the question in `out` and waits for that servo's answer of `len` bytes, again and
    /// again within the retries; returns its error byte.
    pub(super) fn exchange(
        &mut self,
        id: u8,
        len: usize,
        what: &'static str,
    ) -> Result<u8, RobotError> {
        self.seal()?;
        for attempt in 0..=self.config.retries {
            self.errors.retries += u64::from(attempt > 0);
            let until = self.start_until(self.protocol.answer_len(len))?;
            while let Some(answer) = self.next_answer(until)? {
                let refuses = self.protocol == Protocol::Dynamixel && answer.error & 0x7f != 0;
                if answer.id == id && (self.answer.len() == len || refuses) {
                    return Ok(answer.error);
                }
                self.errors.unexpected += 1;
            }
            self.errors.missing += 1;
        }
        Err(self.no_answer(vec![id], what))
    }

    /// The next answer that comes before `until`; its data is put into `self.answer`.
    pub(super) fn next_answer(&mut self, until: Instant) -> Result<Option<Answer>, RobotError> {
        loop {
            match self.protocol.parse(self.inbox.waiting()) {
                Parsed::Frame(frame) => {
                    let data = &self.inbox.waiting()[frame.params];
                    let (error, data) = match (self.protocol, frame.code, data) {
                        (Protocol::Sts | Protocol::Scs, error, data) => (error, data),
                        // That frame has several errors inside, and begins with one.
                        (_, dynamixel::STATUS, all) if frame.id == BROADCAST => (0, all),
                        (_, dynamixel::STATUS, [error, data @ ..]) => (*error, data),
                        // Not an answer: another master, or an adapter that echoes.
                        _ => {
                            self.inbox.consume(frame.used);
                            self.errors.unexpected += 1;
                            continue;
                        }
                    };
                    self.answer.clear();
                    self.answer.extend_from_slice(data);
                    self.inbox.consume(frame.used);
                    return Ok(Some(Answer { id: frame.id, error }));
                }
                Parsed::Noise { bytes, damaged } => {
                    self.errors.damaged += u64::from(damaged);
                    self.inbox.consume(bytes);
                }
                Parsed::Incomplete => {
                    let n = self.port.receive(self.inbox.room(), until)?;
                    self.inbox.filled(n);
                    if n > 0 {
                        continue;
                    }
                    if self.inbox.is_empty() {
                        return Ok(None);
                    }
                    // What has begun is not finished in time. A damaged length makes a frame wait
                    // for its followers, so they are looked for behind its first byte.
                    self.errors.damaged += u64::from(self.inbox.waiting().starts_with(&[0xff; 2]));
                    self.inbox.consume(1);
                }
            }
        }
    }

    /// Closes the frame in `out`.
    pub(super) fn seal(&mut self) -> Result<(), RobotError> {
        if self.protocol.finish(&mut self.out) {
            return Ok(());
        }
        Err(RobotError::Unsupported {
            model: self.protocol.name(),
            what: format!("frames of {} bytes", self.out.len()),
        })
    }

    /// Sends the frame in `out`, after what came late to an earlier question was thrown away.
    pub(super) fn start(&mut self) -> Result<(), RobotError> {
        self.inbox.clear();
        self.errors.unexpected += u64::from(self.port.discard()? > 0);
        let patience = self.port.wire_time(self.out.len()) + self.timeout();
        self.port.send(&self.out, patience)
    }

    /// As [`Bus::start`]; returns until when answers of `expected` bytes are waited for.
    pub(super) fn start_until(&mut self, expected: usize) -> Result<Instant, RobotError> {
        self.start()?;
        Ok(Instant::now() + self.port.wire_time(self.out.len() + expected) + self.timeout())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    /// Addresses and lengths: a byte for Feetech, a word for Dynamixel.
    pub(super) fn push_word(&mut self, word: u16) {
        match self.protocol {
            Protocol::Dynamixel => self.out.extend_from_slice(&word.to_le_bytes()),
            // No address or length of a Feetech servo passes 255.
            Protocol::Sts | Protocol::Scs => self.out.push(word as u8),
        }
    }

    /// Alarm bits of an error byte: with Feetech all of it, with Dynamixel the highest bit.
    pub(super) fn alarm_bits(&self, error: u8) -> u8 {
        if self.protocol == Protocol::Dynamixel { error & 0x80 } else { error }
    }

    pub(super) fn refused(
        &self,
        id: u8,
        error: u8,
        what: impl FnOnce() -> String,
    ) -> Result<(), RobotError> {
        match self.protocol {
            // Feetech's bits are alarms; such a servo still does what it is told.
            Protocol::Sts | Protocol::Scs => Ok(()),
            Protocol::Dynamixel => match dynamixel::refusal(error) {
                Some(why) => Err(RobotError::Refused { id, what: what(), why }),
                None => Ok(()),
            },
        }
    }

    pub(super) fn only_dynamixel(&self, what: &str) -> Result<(), RobotError> {
        if self.protocol == Protocol::Dynamixel {
            return Ok(());
        }
        Err(RobotError::Unsupported { model: self.protocol.name(), what: what.into() })
    }

    pub(super) fn no_answer(&mut self, ids: Vec<u8>, what: &'static str) -> RobotError {
        let port = self.port.path().to_owned();
        RobotError::NoAnswer { port, ids, what, tries: self.config.retries + 1 }
    }
}
