//! Several servos that are read or written at once, with the room for their bytes.
//!
//! A group is made once and used in every turn of a loop; nothing is allocated then.

use super::Protocol;
use super::registers::Register;
use crate::error::RobotError;

/// One servo's part of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The servo.
    pub id: u8,
    /// Where its bytes begin in the servo.
    pub address: u16,
    /// How many there are.
    pub len: u16,
    /// Where they begin in the group's data.
    at: usize,
}

/// Servos, a run of registers in each, and what was read from them or is to be written.
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) protocol: Protocol,
    pub(super) members: Vec<Member>,
    pub(super) data: Vec<u8>,
    /// Whether each answered in the read that goes on.
    pub(super) fresh: Vec<bool>,
    /// What each complained of in its last answer: alarm bits.
    pub(super) alarms: Vec<u8>,
}

impl Group {
    /// The registers from `first` to `last` of every servo in `ids`.
    ///
    /// # Errors
    /// When an id comes twice, or there is none, or `last` lies before `first`.
    pub fn sync(
        protocol: Protocol,
        ids: &[u8],
        first: &Register,
        last: &Register,
    ) -> Result<Self, RobotError> {
        let items: Vec<_> = ids.iter().map(|id| (*id, first, last)).collect();
        Self::bulk(protocol, &items)
    }

    /// For each servo its own run of registers, `(id, first, last)`.
    ///
    /// # Errors
    /// As [`Group::sync`].
    pub fn bulk(
        protocol: Protocol,
        items: &[(u8, &Register, &Register)],
    ) -> Result<Self, RobotError> {
        let wrong = |why: String| RobotError::Config { place: "group of motors".into(), why };
        let mut members: Vec<Member> = Vec::with_capacity(items.len());
        let mut at = 0;
        for (id, first, last) in items {
            if members.iter().any(|m| m.id == *id) {
                return Err(wrong(format!("id {id} comes twice")));
            }
            let end = last.address + u16::from(last.bytes);
            let len = end.checked_sub(first.address).filter(|n| *n > 0 && *n <= 128);
            let len = len.ok_or_else(|| {
                wrong(format!("{} to {} is no run of registers", first.name, last.name))
            })?;
            members.push(Member { id: *id, address: first.address, len, at });
            at += usize::from(len);
        }
        if members.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        let n = members.len();
        Ok(Self { protocol, members, data: vec![0; at], fresh: vec![false; n], alarms: vec![0; n] })
    }

    /// How many servos there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The servos' ids.
    pub fn ids(&self) -> impl Iterator<Item = u8> + '_ {
        self.members.iter().map(|m| m.id)
    }

    /// What `register` of servo number `i` holds, as last read or set.
    ///
    /// # Panics
    /// When the register is not in the group's run.
    pub fn get(&self, i: usize, register: &Register) -> i32 {
        let at = self.place(i, register);
        register.decode(register.get(self.protocol, &self.data[at..]))
    }

    /// Sets what is to be written into `register` of servo number `i`.
    ///
    /// # Errors
    /// When the value does not fit.
    ///
    /// # Panics
    /// When the register is not in the group's run.
    pub fn set(&mut self, i: usize, register: &Register, value: i32) -> Result<(), RobotError> {
        let at = self.place(i, register);
        let bits = register.encode(value)?;
        register.put(self.protocol, bits, &mut self.data[at..]);
        Ok(())
    }

    /// What servo number `i` complained of when it last answered: alarm bits, 0 for nothing.
    pub fn alarm(&self, i: usize) -> u8 {
        self.alarms[i]
    }

    pub(super) fn bytes(&self, i: usize) -> &[u8] {
        let m = self.members[i];
        &self.data[m.at..m.at + usize::from(m.len)]
    }

    pub(super) fn bytes_mut(&mut self, i: usize) -> &mut [u8] {
        let m = self.members[i];
        &mut self.data[m.at..m.at + usize::from(m.len)]
    }

    /// Whether all members have the same run.
    pub(super) fn is_uniform(&self) -> bool {
        let first = self.members[0];
        self.members.iter().all(|m| (m.address, m.len) == (first.address, first.len))
    }

    fn place(&self, i: usize, register: &Register) -> usize {
        let m = self.members[i];
        let offset = register.address.wrapping_sub(m.address);
        let inside = usize::from(offset) + usize::from(register.bytes) <= usize::from(m.len);
        assert!(inside, "{} is not in the group's run", register.name);
        m.at + usize::from(offset)
    }
}
