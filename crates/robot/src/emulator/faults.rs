//! What goes wrong on an emulated bus, by chance or on order.
//!
//! Chances are drawn from a seed, so a run with faults can be repeated. Orders are carried out one
//! after the other, each at the next frame that it fits.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use embody_core::derive_seed;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No servo hears the next instruction.
    LoseInstruction,
    /// The next answer is not sent.
    DropAnswer,
    /// One bit of the next answer is turned over.
    CorruptAnswer,
    /// The next answer comes that much later.
    DelayAnswer(Duration),
    /// The cable is pulled while the next answer is under way.
    CutCable,
}

/// How often things go wrong, 0 to 1 per frame.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FaultRates {
    /// No servo hears an instruction.
    pub lose_instruction: f64,
    /// An answer is not sent.
    pub drop_answer: f64,
    /// One bit of an answer is turned over.
    pub corrupt_answer: f64,
    /// An answer comes later.
    pub delay_answer: f64,
    /// By how much.
    pub delay: Duration,
}

/// The script of faults.
#[derive(Debug)]
pub(super) struct Faults {
    rates: FaultRates,
    orders: VecDeque<Fault>,
    pub vanished: BTreeSet<u8>,
    rng: ChaCha8Rng,
    /// How many were carried out.
    pub done: u64,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self {
            rates: FaultRates::default(),
            orders: VecDeque::new(),
            vanished: BTreeSet::new(),
            rng: ChaCha8Rng::seed_from_u64(derive_seed(seed, "bus faults", 0)),
            done: 0,
        }
    }

    pub fn set_rates(&mut self, rates: FaultRates) {
        self.rates = rates;
    }

    pub fn order(&mut self, fault: Fault) {
        self.orders.push_back(fault);
    }

    /// Whether the instruction that comes in now is lost.
    pub fn loses_instruction(&mut self) -> bool {
        let ordered = self.orders.front() == Some(&Fault::LoseInstruction);
        if ordered {
            self.orders.pop_front();
        }
        let lost = ordered || self.happens(self.rates.lose_instruction);
        self.done += u64::from(lost);
        lost
    }

    /// What happens to the answer that goes out now.
    pub fn on_answer(&mut self) -> Option<Fault> {
        let ordered = match self.orders.front() {
            Some(Fault::LoseInstruction) | None => None,
            Some(_) => self.orders.pop_front(),
        };
        let fault = ordered.or_else(|| {
            let FaultRates { drop_answer, corrupt_answer, delay_answer, delay, .. } = self.rates;
            if self.happens(drop_answer) {
                Some(Fault::DropAnswer)
            } else if self.happens(corrupt_answer) {
                Some(Fault::CorruptAnswer)
            } else if self.happens(delay_answer) {
                Some(Fault::DelayAnswer(delay))
            } else {
                None
            }
        });
        self.done += u64::from(fault.is_some());
        fault
    }

    /// Turns one bit over.
    pub fn corrupt(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.rng.random_range(0..8);
        }
    }

    fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.rng.random_bool(rate.clamp(0.0, 1.0))
    }
}
