use std::sync::Mutex;
use std::time::Duration;

use embody_core::{Error, Result};

use super::*;
use crate::runtime::chunks::{Execution, Planner};
use crate::runtime::clock::SteppedClock;
use crate::runtime::counting::taken;
use crate::runtime::exchange::{Consumer, ring};
use crate::runtime::plant::{Faulty, Plant};
use crate::runtime::safety::Limits;
use crate::runtime::source::{Replay, Still, Teleoperation};
use crate::runtime::testing::Line;

const HZ: f64 = 100.0;

/// A device that somebody holds, lets go of, or unplugs.
#[derive(Default)]
struct Hand {
    held: bool,
    gone: bool,
    goals: Vec<f32>,
}

struct Leader(Arc<Mutex<Hand>>);

impl Teleoperator for Leader {
    fn goals(&mut self, _now: &Reading, goals: &mut [f32]) -> Result<bool> {
        let hand = self.0.lock().unwrap();
        if hand.gone {
            return Err(Error::new("unplugged"));
        }
        if hand.held {
            goals.copy_from_slice(&hand.goals);
        }
        Ok(hand.held)
    }
}

struct Bench {
    control: Control,
    turns: Consumer<Turn>,
    faults: Faulty,
    signals: Arc<Signals>,
    hand: Arc<Mutex<Hand>>,
}

fn bench(source: Box<dyn Source>, person: bool) -> Bench {
    let (robot, faults) = Plant::new(3, HZ);
    let limits = Limits::for_robot(crate::robot::Robot::spec(&robot));
    faults.expect(&limits, None);
    let mut guard = Guard::new(Box::new(robot), limits, HZ).unwrap();
    guard.arm(Duration::ZERO).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SteppedClock::default());
    let (turns_in, turns) = ring(4096, || Turn::new(3));
    let signals = Arc::new(Signals::default());
    let hand = Arc::new(Mutex::new(Hand { goals: vec![0.0; 3], ..Hand::default() }));
    let person: Option<Box<dyn Teleoperator>> =
        person.then(|| Box::new(Leader(Arc::clone(&hand))) as _);
    let control = Control::new(guard, clock, source, person, Some(turns_in), Arc::clone(&signals));
    Bench { control, turns, faults, signals, hand }
}

impl Bench {
    fn turns(&mut self, count: usize) -> Vec<Turn> {
        let mut out = Vec::new();
        for _ in 0..count {
            self.control.turn();
            out.extend(self.turns.pop(|turn| turn.clone()));
        }
        out
    }
}

fn kinds(turns: &[Turn]) -> Vec<SourceKind> {
    turns.iter().map(|t| t.source).collect()
}

#[test]
fn a_person_takes_over_within_one_turn_and_hands_back() {
    let replay = Replay::new(vec![10.0; 3 * 1000], 3, HZ).unwrap();
    let mut bench = bench(Box::new(replay), true);
    bench.signals.act(true);
    assert!(kinds(&bench.turns(30)).iter().all(|k| *k == SourceKind::Replay));
    {
        let mut hand = bench.hand.lock().unwrap();
        (hand.held, hand.goals) = (true, vec![-20.0; 3]);
    }
    let taken = bench.turns(1).remove(0);
    assert_eq!((taken.source, &taken.wanted[..]), (SourceKind::Intervention, &[-20.0f32; 3][..]));
    assert!(bench.signals.is_person());
    let turns = bench.turns(60);
    assert!(turns[59].given[0] < turns[0].given[0] - 10.0);
    bench.hand.lock().unwrap().held = false;
    assert_eq!(kinds(&bench.turns(1)), [SourceKind::Replay]);
    assert_eq!(bench.control.report().interventions, 1);
    assert_eq!(bench.faults.broken(), Vec::<String>::new());
}

#[test]
fn a_device_that_is_unplugged_while_held_does_not_wake_the_policy() {
    let replay = Replay::new(vec![10.0; 3 * 1000], 3, HZ).unwrap();
    let mut bench = bench(Box::new(replay), true);
    bench.signals.act(true);
    bench.hand.lock().unwrap().held = true;
    bench.turns(10);
    bench.hand.lock().unwrap().gone = true;
    let turns = bench.turns(100);
    assert!(turns.iter().all(|t| t.source == SourceKind::Intervention));
    let last = &turns[99];
    assert_eq!(last.phase.as_str(), "holding");
    assert!(last.wanted.iter().all(|w| w.is_nan()) && last.given == turns[30].given);
    assert_eq!(bench.control.report().failed_sources, 100);
}

#[test]
fn a_replayed_episode_ends_and_the_machine_stays() {
    let actions: Vec<f32> = (0..50).flat_map(|i| [i as f32 * 0.1; 3]).collect();
    let mut bench = bench(Box::new(Replay::new(actions, 3, 50.0).unwrap()), false);
    assert!(kinds(&bench.turns(5)).iter().all(|k| *k == SourceKind::Nobody));
    bench.signals.act(true);
    let turns = bench.turns(150);
    // Between two frames of 50 Hz lies a turn of 100 Hz.
    assert!((turns[21].wanted[0] - 1.05).abs() < 1e-3, "{}", turns[21].wanted[0]);
    assert!(bench.signals.has_ended());
    assert!((turns[149].positions[0] - 4.9).abs() < 0.05);
    assert_eq!(turns[149].phase, Phase::Active);
    bench.signals.stop();
    let mut turned = 0;
    while bench.control.turn() {
        turned += 1;
    }
    assert!((200..230).contains(&turned), "{turned} turns to be let go");
    let report = bench.control.report();
    assert!(report.released && !bench.faults.is_on());
    assert_eq!(report.let_go, Some(StopCause::Asked));
}

/// 1,000 turns of each kind of source, with clips, a person who comes and goes, faults of the bus,
/// and records that are taken.
#[test]
fn a_thousand_turns_allocate_nothing() {
    let (robot, _) = Plant::new(3, HZ);
    let spec = crate::robot::Robot::spec(&robot).clone();
    let how = Execution::RealTime { horizon: 5 };
    let (mut planner, chunks) =
        Planner::new(Box::new(Line::new(3, 16, 25.0)), &spec, Vec::new(), how, 25.0).unwrap();
    let sources: [Box<dyn Source>; 4] = [
        Box::new(chunks),
        Box::new(Replay::new(vec![90.0; 3 * 2000], 3, HZ).unwrap()),
        Box::new(Still),
        Box::new(Teleoperation(Box::new(Leader(Arc::default())))),
    ];
    for source in sources {
        let kind = source.kind();
        let mut bench = bench(source, true);
        bench.signals.act(true);
        bench.turns(5);
        let mut moved = 0;
        for turn in 0..1000 {
            {
                let mut hand = bench.hand.lock().unwrap();
                (hand.held, hand.goals[0]) = (turn % 100 > 80, 5.0);
            }
            let before = taken();
            bench.control.turn();
            let allocated = taken() - before;
            assert_eq!(allocated, 0, "turn {turn} of {kind:?}");
            moved += u32::from(bench.turns.pop(|turn| turn.given[0] != 0.0).unwrap());
            if kind == SourceKind::Policy {
                planner.poll().unwrap();
            }
        }
        assert!(moved > 100, "{kind:?} moved in {moved} turns");
    }
}
