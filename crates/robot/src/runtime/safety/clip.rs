//! Why a goal was changed: one cause per limit, told per turn and per clip.

use std::time::Duration;

use serde::Serialize;

/// A limit that changed a goal, in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The goal was infinite or no number.
    NotFinite,
    /// It lay outside the joint's range, or went too fast towards an end of it.
    Range,
    /// It lay too far from the present position.
    Step,
    /// The motor was loaded beyond its limit in that direction.
    Load,
    /// It was too far for one turn.
    Speed,
    /// The speed grew too quickly.
    Acceleration,
    /// The tool would have left its box.
    Workspace,
    /// Parts would have come too near to each other.
    Collision,
    /// There was no fresh goal, no present position, or the machine is being let go.
    Hold,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::NotFinite,
        Self::Range,
        Self::Step,
        Self::Load,
        Self::Speed,
        Self::Acceleration,
        Self::Workspace,
        Self::Collision,
        Self::Hold,
    ];

    /// As logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFinite => "not-finite",
            Self::Range => "range",
            Self::Step => "step",
            Self::Load => "load",
            Self::Speed => "speed",
            Self::Acceleration => "acceleration",
            Self::Workspace => "workspace",
            Self::Collision => "collision",
            Self::Hold => "hold",
        }
    }
}

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes(u16);

impl Causes {
    /// Adds one.
    pub fn add(&mut self, cause: Cause) {
        self.0 |= 1 << cause as u16;
    }

    /// Adds those of `other`.
    pub fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether `cause` is one of them.
    pub fn has(self, cause: Cause) -> bool {
        self.0 >> cause as u16 & 1 == 1
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that there are, in order.
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |cause| self.has(*cause))
    }
}

/// One goal that was changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The loop's turn.
    pub turn: u64,
    /// When, by the loop's clock.
    pub at: Duration,
    /// Index of the joint.
    pub joint: usize,
    /// Why.
    pub causes: Causes,
    /// The goal that was asked for; NaN where there was none.
    pub wanted: f32,
    /// The goal that was sent.
    pub given: f32,
}

impl Default for Clip {
    fn default() -> Self {
        let (wanted, given) = (f32::NAN, f32::NAN);
        Self { turn: 0, at: Duration::ZERO, joint: 0, causes: Causes::default(), wanted, given }
    }
}
