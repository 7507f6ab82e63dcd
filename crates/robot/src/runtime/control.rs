//! The control loop: read, ask the source, send within the limits, tell what happened.
//!
//! One turn is [`Control::turn`]; it allocates nothing, takes no lock and waits for nothing but the
//! machine's bus (and that of a person's device). Everything else that a session does happens in
//! other threads, which see the loop through queues and flags.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::chunks::ChunkFigures;
use super::clock::{Clock, LoopFigures, Ticker};
use super::exchange::Producer;
use super::record::Turn;
use super::safety::{Ask, Faults, Guard, Phase, StopCause};
use super::source::{Given, Seen, Source, SourceKind};
use crate::robot::{Reading, Teleoperator};

/// What other threads say to the loop, and see of it.
#[derive(Debug, Default)]
pub struct Signals {
    act: AtomicBool,
    stop: AtomicBool,
    ended: AtomicBool,
    person: AtomicBool,
}

impl Signals {
    /// Whether the source acts; where not, the machine stays, unless a person moves it.
    pub fn act(&self, act: bool) {
        if act {
            self.ended.store(false, Ordering::Release);
        }
        self.act.store(act, Ordering::Release);
    }

    /// Asks the loop to let the machine go and to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the source has come to its end since it was told to act.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether a person's device moves the machine now.
    pub fn is_person(&self) -> bool {
        self.person.load(Ordering::Acquire)
    }
}

/// What a loop came to.
#[derive(Debug, Clone, Serialize)]
pub struct ControlReport {
    /// Deadlines and how they were kept.
    pub figures: LoopFigures,
    /// Why the machine was let go.
    pub let_go: Option<StopCause>,
    /// Whether every motor acknowledged that it is off.
    pub released: bool,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Commands that failed.
    pub failed_commands: u64,
    /// Times that a source or a person's device did not answer.
    pub failed_sources: u64,
    /// Damaged, late or missing answers on the bus.
    pub bus_errors: u64,
    /// Turns that the recording had no place for.
    pub dropped_turns: u64,
    /// Clips that the log had no place for.
    pub dropped_clips: u64,
    /// Times that a person took over.
    pub interventions: u64,
    /// For policies: what chunked execution came to.
    pub chunks: Option<ChunkFigures>,
}

/// The loop and all that it touches.
pub struct Control {
    guard: Guard,
    clock: Arc<dyn Clock>,
    ticker: Ticker,
    source: Box<dyn Source>,
    person: Option<Box<dyn Teleoperator>>,
    turns: Option<Producer<Turn>>,
    signals: Arc<Signals>,
    reading: Reading,
    wanted: Vec<f32>,
    theirs: Vec<f32>,
    given: Vec<f32>,
    acting: bool,
    taken: bool,
    failed_sources: u64,
    interventions: u64,
}

impl Control {
    /// A loop around `guard` by `clock`, at the guard's rate. `person` may take over from `source`
    /// at any turn. Each turn goes to `turns`, where there is a place.
    pub fn new(
        guard: Guard,
        clock: Arc<dyn Clock>,
        source: Box<dyn Source>,
        person: Option<Box<dyn Teleoperator>>,
        turns: Option<Producer<Turn>>,
        signals: Arc<Signals>,
    ) -> Self {
        let joints = guard.spec().joints.len();
        let ticker = Ticker::new(clock.now(), guard.hz());
        let none = vec![f32::NAN; joints];
        Self {
            guard,
            clock,
            ticker,
            source,
            person,
            turns,
            signals,
            reading: Reading::new(joints),
            wanted: none.clone(),
            theirs: none.clone(),
            given: none,
            acting: false,
            taken: false,
            failed_sources: 0,
            interventions: 0,
        }
    }

    /// The safety layer.
    pub fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// Waits for the next deadline and takes a turn; false once the motors are off.
    pub fn turn(&mut self) -> bool {
        let tick = self.ticker.wait(&*self.clock);
        let fresh = self.guard.read(&mut self.reading);
        let at = if fresh { self.clock.at(self.reading.stamp.received) } else { tick.due };
        if self.signals.stop.load(Ordering::Acquire) {
            self.guard.ask_stop();
        }
        let now = self.clock.now();
        let (source, ask) = self.ask(tick.number, now);
        let ask = match ask {
            Given::Goals => Ask::Go(&self.wanted),
            Given::Stay => Ask::Stay,
            Given::Nothing | Given::End => Ask::Nothing,
        };
        let goals = matches!(ask, Ask::Go(_));
        let verdict = self.guard.turn(tick.number, now, ask, &mut self.given);
        if let Some(turns) = &mut self.turns {
            let (reading, wanted, given) = (&self.reading, &self.wanted, &self.given);
            let acting = self.acting;
            turns.push(|turn| {
                (turn.number, turn.began, turn.late) =
                    (tick.number, tick.due + tick.late, tick.late);
                (turn.at, turn.device, turn.fresh) = (at, reading.stamp.device, fresh);
                turn.positions.copy_from_slice(&reading.positions);
                turn.velocities.copy_from_slice(&reading.velocities);
                turn.loads.copy_from_slice(&reading.loads);
                match goals {
                    true => turn.wanted.copy_from_slice(wanted),
                    false => turn.wanted.fill(f32::NAN),
                }
                turn.given.copy_from_slice(given);
                turn.acting = acting;
                (turn.source, turn.causes, turn.phase) = (source, verdict.causes, verdict.phase);
                turn.bus_errors = reading.bus_errors;
            });
        }
        verdict.phase != Phase::Off
    }

    /// Asks the person, then the source, for the goals of this turn.
    fn ask(&mut self, turn: u64, now: std::time::Duration) -> (SourceKind, Given) {
        let act = self.signals.act.load(Ordering::Acquire) && !self.signals.has_ended();
        if act && !self.acting {
            self.source.begin();
        }
        self.acting = act;
        if let Some(person) = &mut self.person {
            let taken = match person.goals(&self.reading, &mut self.theirs) {
                Ok(taken) => taken,
                Err(_) => {
                    self.failed_sources += 1;
                    if self.taken {
                        // Somebody meant to hold the machine: it is not given to the source.
                        return (SourceKind::Intervention, Given::Nothing);
                    }
                    false
                }
            };
            if taken != self.taken {
                self.taken = taken;
                self.signals.person.store(taken, Ordering::Release);
                self.interventions += u64::from(taken);
                if !taken {
                    self.source.begin();
                }
            }
            if taken {
                self.wanted.copy_from_slice(&self.theirs);
                return (SourceKind::Intervention, Given::Goals);
            }
        }
        if !self.acting {
            return (SourceKind::Nobody, Given::Stay);
        }
        let seen = Seen { turn, now, reading: &self.reading };
        let given = self.source.next(&seen, &mut self.wanted).unwrap_or_else(|_| {
            self.failed_sources += 1;
            Given::Nothing
        });
        if given == Given::End {
            self.signals.ended.store(true, Ordering::Release);
            return (self.source.kind(), Given::Stay);
        }
        (self.source.kind(), given)
    }

    /// Takes turns until the motors are off.
    pub fn run(mut self) -> ControlReport {
        while self.turn() {}
        self.report()
    }

    /// What it came to so far.
    pub fn report(&self) -> ControlReport {
        let Faults { reads, commands, clips_dropped } = self.guard.faults();
        ControlReport {
            figures: self.ticker.figures(),
            let_go: self.guard.let_go(),
            released: self.guard.is_released(),
            failed_reads: reads,
            failed_commands: commands,
            failed_sources: self.failed_sources,
            bus_errors: self.reading.bus_errors,
            dropped_turns: self.turns.as_ref().map_or(0, Producer::dropped),
            dropped_clips: clips_dropped,
            interventions: self.interventions,
            chunks: self.source.chunk_figures(),
        }
    }
}

#[cfg(test)]
mod tests;
