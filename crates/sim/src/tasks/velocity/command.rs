//! What the robot is told: planar velocity and turning rate of its base, drawn anew every few
//! seconds, now and then to stand still.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Slower than this is standing, m/s or rad/s.
const STILL: f64 = 0.1;

/// Ranges of commands.
#[derive(Debug)]
pub(super) struct Commands {
    /// Forward, m/s.
    pub ahead: [f64; 2],
    /// To the left, m/s.
    pub aside: [f64; 2],
    /// To the left, rad/s.
    pub turn: [f64; 2],
    /// Share of commands to stand still.
    pub standing: f64,
    /// How long a command holds, seconds.
    pub hold_s: [f64; 2],
}

impl Commands {
    /// A command `[ahead, aside, turn]` and how long it holds, seconds.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> ([f64; 3], f64) {
        let mut uniform = |[low, high]: [f64; 2]| rng.random_range(low..=high);
        let mut command = [uniform(self.ahead), uniform(self.aside), uniform(self.turn)];
        let hold_s = uniform(self.hold_s);
        let stands = rng.random_bool(self.standing);
        if stands || !moves(&command) {
            command = [0.0; 3];
        }
        (command, hold_s)
    }

    /// The ranges in words.
    pub fn text(&self) -> String {
        let Self { ahead, aside, turn, standing, hold_s } = self;
        format!(
            "ahead {}..{} m/s, aside {}..{} m/s, turn {}..{} rad/s, uniform; {} % stand still; each \
             holds {}..{} s",
            ahead[0],
            ahead[1],
            aside[0],
            aside[1],
            turn[0],
            turn[1],
            100.0 * standing,
            hold_s[0],
            hold_s[1]
        )
    }
}

/// Whether a command is not to stand still.
pub(super) fn moves(command: &[f64]) -> bool {
    command.iter().any(|c| c.abs() > STILL)
}
