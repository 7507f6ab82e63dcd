//! The order of a session: pauses and episodes, by keys and by the clock. No threads, no machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a person says, by a key or through a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Go on: begins an episode in a pause, ends one unjudged.
    Next,
    /// Ends the episode: it succeeded.
    Success,
    /// Ends the episode: it failed.
    Failure,
    /// Forgets the episode; it is done again.
    Discard,
    /// Ends the session; an open episode is kept unjudged.
    Quit,
    /// The emergency stop.
    Emergency,
}

/// How a session goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionPlan {
    /// Instruction of the episodes.
    pub task: String,
    /// Episodes to keep; until [`Event::Quit`] where 0.
    pub episodes: usize,
    /// Longest episode, seconds; any length where `None`.
    pub episode_secs: Option<f64>,
    /// Pause between episodes, seconds; until [`Event::Next`] where `None`, before the first
    /// episode too.
    pub pause_secs: Option<f64>,
}

impl Default for SessionPlan {
    fn default() -> Self {
        let (episodes, episode_secs, pause_secs) = (1, Some(60.0), None);
        Self { task: String::new(), episodes, episode_secs, pause_secs }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Nothing,
    Begin,
    Keep(Option<bool>),
    Discard,
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Pause(Option<Duration>),
    Episode(Duration),
    Done,
}

/// Goes through a plan.
#[derive(Debug)]
pub(super) struct Director {
    plan: SessionPlan,
    stage: Stage,
    kept: usize,
}

impl Director {
    pub fn new(plan: SessionPlan) -> Self {
        Self { plan, stage: Stage::Pause(None), kept: 0 }
    }

    /// When the open episode began.
    pub fn episode_since(&self) -> Option<Duration> {
        if let Stage::Episode(since) = self.stage { Some(since) } else { None }
    }

    /// What follows from an event, from the source having come to its end, or from the clock.
    /// [`Order::Keep`] is followed by [`Order::Finish`] at the next call, where it was the last.
    pub fn step(&mut self, now: Duration, event: Option<Event>, ended: bool) -> Order {
        match self.stage {
            Stage::Done => Order::Finish,
            Stage::Pause(since) => {
                let over = match (self.plan.pause_secs, since) {
                    (Some(secs), Some(since)) => now.saturating_sub(since).as_secs_f64() >= secs,
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                let enough = self.plan.episodes > 0 && self.kept >= self.plan.episodes;
                if enough || matches!(event, Some(Event::Quit | Event::Emergency)) {
                    self.stage = Stage::Done;
                    return Order::Finish;
                }
                if over || event == Some(Event::Next) {
                    self.stage = Stage::Episode(now);
                    return Order::Begin;
                }
                Order::Nothing
            }
            Stage::Episode(since) => {
                let secs = now.saturating_sub(since).as_secs_f64();
                let over = ended || self.plan.episode_secs.is_some_and(|most| secs >= most);
                let order = match event {
                    Some(Event::Success) => Order::Keep(Some(true)),
                    Some(Event::Failure) => Order::Keep(Some(false)),
                    Some(Event::Discard) => Order::Discard,
                    Some(Event::Next | Event::Quit | Event::Emergency) => Order::Keep(None),
                    None if over => Order::Keep(None),
                    None => return Order::Nothing,
                };
                self.kept += usize::from(matches!(order, Order::Keep(_)));
                self.stage = match event {
                    Some(Event::Quit | Event::Emergency) => Stage::Done,
                    _ => Stage::Pause(Some(now)),
                };
                order
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn keys_begin_judge_and_forget_episodes() {
        let plan = SessionPlan { episodes: 2, episode_secs: None, ..SessionPlan::default() };
        let mut director = Director::new(plan);
        let mut step = |now, event| director.step(secs(now), event, false);
        assert_eq!(step(0, None), Order::Nothing);
        assert_eq!(step(1, Some(Event::Success)), Order::Nothing);
        assert_eq!(step(2, Some(Event::Next)), Order::Begin);
        assert_eq!(step(100, None), Order::Nothing);
        assert_eq!(step(101, Some(Event::Discard)), Order::Discard);
        assert_eq!(step(102, Some(Event::Next)), Order::Begin);
        assert_eq!(step(103, Some(Event::Success)), Order::Keep(Some(true)));
        assert_eq!(step(104, Some(Event::Next)), Order::Begin);
        assert_eq!(step(105, Some(Event::Failure)), Order::Keep(Some(false)));
        assert_eq!(step(106, None), Order::Finish);
    }

    #[test]
    fn the_clock_ends_episodes_and_pauses() {
        let (episode_secs, pause_secs) = (Some(5.0), Some(2.0));
        let plan = SessionPlan { episodes: 0, episode_secs, pause_secs, ..SessionPlan::default() };
        let mut director = Director::new(plan);
        let mut step = |now, event, ended| director.step(secs(now), event, ended);
        assert_eq!(step(0, None, false), Order::Begin);
        assert_eq!(step(4, None, false), Order::Nothing);
        assert_eq!(step(5, None, false), Order::Keep(None));
        assert_eq!(step(6, None, false), Order::Nothing);
        assert_eq!(step(7, None, false), Order::Begin);
        // The replayed episode is over.
        assert_eq!(step(8, None, true), Order::Keep(None));
        assert_eq!(step(10, None, false), Order::Begin);
        assert_eq!(step(11, Some(Event::Quit), false), Order::Keep(None));
        assert_eq!(step(11, None, false), Order::Finish);
    }
}
