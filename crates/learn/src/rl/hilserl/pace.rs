//! Updates per environment step, kept by counting.
//!
//! The learner never runs ahead: a round is due once `rounds · rounds_per_step` steps are there, so
//! that data are never used more often than the recipe says. Where it runs behind, the actor waits
//! ([`ActorPace::Wait`]) or goes on ([`ActorPace::GoOn`]); then [`Pace::achieved`] tells what a
//! step really had. Counts alone decide, no clock.

use super::config::{ActorPace, HilSerlConfig};

/// How many rounds the steps so far deserve.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    learning_starts: u64,
    rounds_per_step: f64,
    critic_updates: u64,
    pace: ActorPace,
    max_lag_steps: u64,
}

impl Pace {
    /// The pace of these settings.
    pub fn new(cfg: &HilSerlConfig) -> Self {
        Self {
            learning_starts: cfg.learning_starts,
            rounds_per_step: cfg.rounds_per_step,
            critic_updates: cfg.critic_updates as u64,
            pace: cfg.actor_pace,
            max_lag_steps: cfg.max_lag_steps,
        }
    }

    /// Rounds that `steps` online transitions deserve in all.
    pub fn deserved(&self, steps: u64) -> u64 {
        ((steps.saturating_sub(self.learning_starts)) as f64 * self.rounds_per_step) as u64
    }

    /// Rounds to be done now, after `rounds`.
    pub fn due(&self, steps: u64, rounds: u64) -> u64 {
        self.deserved(steps).saturating_sub(rounds)
    }

    /// Whether an actor must wait before its next step.
    pub fn must_wait(&self, steps: u64, rounds: u64) -> bool {
        let lag = self.due(steps, rounds) as f64 / self.rounds_per_step;
        self.pace == ActorPace::Wait && lag > self.max_lag_steps as f64
    }

    /// Updates of the critics per step that learning has had so far; `None` before it began.
    pub fn achieved(&self, steps: u64, rounds: u64) -> Option<f64> {
        let steps = steps.saturating_sub(self.learning_starts);
        (steps > 0).then(|| (rounds * self.critic_updates) as f64 / steps as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_per_step_are_what_the_settings_say() {
        for rounds_per_step in [0.25, 1.0, 3.0] {
            let cfg = HilSerlConfig {
                rounds_per_step,
                learning_starts: 10,
                critic_updates: 2,
                ..HilSerlConfig::default()
            };
            let pace = Pace::new(&cfg);
            let mut rounds = 0;
            for steps in 1..=1000 {
                let due = pace.due(steps, rounds);
                assert!(steps > 10 || due == 0, "learning began at {steps}");
                rounds += due;
                // Never ahead of the data.
                assert!(rounds as f64 <= (steps.saturating_sub(10)) as f64 * rounds_per_step);
            }
            assert_eq!(rounds, (990.0 * rounds_per_step) as u64);
            let achieved = pace.achieved(1000, rounds).unwrap();
            assert!((achieved - 2.0 * rounds_per_step).abs() < 0.01, "{achieved}");
        }
    }

    #[test]
    fn an_actor_waits_only_where_it_was_told_to() {
        let cfg = HilSerlConfig {
            actor_pace: ActorPace::Wait,
            max_lag_steps: 5,
            learning_starts: 1,
            ..HilSerlConfig::default()
        };
        let pace = Pace::new(&cfg);
        assert!(!pace.must_wait(6, 0) && pace.must_wait(7, 0) && !pace.must_wait(7, 1));
        let free = HilSerlConfig { actor_pace: ActorPace::GoOn, ..cfg };
        assert!(!Pace::new(&free).must_wait(1_000_000, 0));
    }
}
