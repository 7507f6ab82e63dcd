use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::runtime::plant::{Faulty, Plant};

const HZ: f64 = 100.0;

/// What happens in a turn.
#[derive(Debug, Clone)]
enum Step {
    Go(Vec<f32>),
    Stay,
    Nothing,
    /// The bus fails so often in a row: reads, commands, switching.
    FailReads(u8),
    FailCommands(u8),
    FailSwitching(u8),
    /// Somebody moves a joint, or loads it.
    Push(usize, f32),
    Load(usize, f32),
    NotANumber(usize),
    Emergency,
    ReleaseAndArm,
    AskStop,
    /// The loop forgets to read.
    Blind,
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -120.0..120.0f32,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(f32::NEG_INFINITY),
        1 => any::<f32>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let goals = |len| proptest::collection::vec(number(), len).prop_map(Step::Go);
    prop_oneof![
        20 => goals(3..4usize),
        1 => goals(0..5usize),
        4 => Just(Step::Stay),
        4 => Just(Step::Nothing),
        1 => (1..9u8).prop_map(Step::FailReads),
        1 => (1..9u8).prop_map(Step::FailCommands),
        1 => (1..9u8).prop_map(Step::FailSwitching),
        2 => (0..3usize, -60.0..60.0f32).prop_map(|(j, by)| Step::Push(j, by)),
        2 => (0..3usize, -1.0..1.0f32).prop_map(|(j, to)| Step::Load(j, to)),
        1 => (0..3usize).prop_map(Step::NotANumber),
        1 => Just(Step::Emergency),
        3 => Just(Step::ReleaseAndArm),
        1 => Just(Step::AskStop),
        1 => Just(Step::Blind),
    ]
}

fn limits(spec: &RobotSpec) -> Limits {
    let mut limits = Limits::for_robot(spec);
    limits.torque = 0.8;
    limits.workspace = Some(Workspace {
        low: [-0.6, -0.6, -0.5],
        high: [0.6, 0.6, 0.5],
        rotation: [0.0, 0.0, 0.0, 1.0],
        turn: [3.0, 3.0, 1.0],
    });
    limits.clearance = 0.02;
    let watchdog = &mut limits.watchdog;
    (watchdog.stale_secs, watchdog.hold_secs) = (0.05, 0.1);
    (watchdog.ramp_secs, watchdog.emergency_ramp_secs) = (0.2, 0.05);
    limits
}

/// The first three numbers are a place and a turn, in hundredths.
struct Hand;

impl BodyModel for Hand {
    fn tool(&mut self, p: &[f32]) -> Pose {
        let half = f64::from(p[2]) / 200.0;
        let position = [f64::from(p[0]) / 100.0, f64::from(p[1]) / 100.0, 0.0];
        Pose { position, rotation: [0.0, 0.0, half.sin(), half.cos()] }
    }
    fn clearance(&mut self, p: &[f32]) -> f64 {
        // A post at (0.3, 0.3).
        let (x, y) = (f64::from(p[0]) / 100.0 - 0.3, f64::from(p[1]) / 100.0 - 0.3);
        x.hypot(y) - 0.05
    }
}

fn now(turn: u64) -> Duration {
    Duration::from_secs_f64(turn as f64 / HZ)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The machine itself looks at every command that reaches it, and refuses none.
    #[test]
    fn no_sequence_of_goals_faults_and_disconnects_leaves_the_limits(
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        let (robot, faults) = Plant::new(3, HZ);
        let limits = limits(robot.spec());
        faults.expect(&limits, Some(Box::new(Hand)));
        let mut guard = Guard::new(Box::new(robot), limits, HZ).unwrap().with_model(Box::new(Hand));
        let stop = guard.emergency_stop();
        let clips = guard.take_clips().unwrap();
        guard.arm(Duration::ZERO).unwrap();
        let mut reading = Reading::new(3);
        let mut given = [0.0f32; 3];
        let mut pressed_at = None;
        for (turn, step) in steps.iter().enumerate() {
            let last = now(turn as u64 + 1);
            let mut ask = Ask::Nothing;
            let mut blind = false;
            match step {
                Step::Go(goals) => ask = Ask::Go(goals),
                Step::Stay => ask = Ask::Stay,
                Step::Nothing => {}
                Step::FailReads(n) => faults.set(|f| f.reads = u32::from(*n)),
                Step::FailCommands(n) => faults.set(|f| f.commands = u32::from(*n)),
                Step::FailSwitching(n) => faults.set(|f| f.switching = u32::from(*n)),
                Step::Push(joint, by) => faults.set(|f| f.positions[*joint] += by),
                Step::Load(joint, to) => faults.set(|f| f.loads[*joint] = *to),
                Step::NotANumber(joint) => faults.set(|f| f.not_a_number = Some(*joint)),
                Step::Emergency => {
                    stop.press();
                    pressed_at = pressed_at.or(Some(last));
                }
                Step::ReleaseAndArm => {
                    stop.release();
                    pressed_at = None;
                    if guard.phase() == Phase::Off {
                        faults.begin_again();
                        let _ = guard.arm(last);
                    }
                }
                Step::AskStop => guard.ask_stop(),
                Step::Blind => blind = true,
            }
            if !blind {
                guard.read(&mut reading);
            }
            let verdict = guard.turn(turn as u64, last, ask, &mut given);
            prop_assert!(faults.broken().is_empty(), "turn {turn} {step:?}: {:?}", faults.broken());
            // The ramp, and the turns in which switching off may fail.
            let time = Duration::from_secs_f64(0.05 + f64::from(OFF_TURNS + 2) / HZ);
            if pressed_at.is_some_and(|at| last > at + time) {
                prop_assert_eq!(verdict.phase, Phase::Off);
            }
            prop_assert!(verdict.sent || given.iter().all(|g| g.is_nan()));
        }
        faults.set(|f| f.switching = 0);
        drop(guard);
        prop_assert!(!faults.is_on());
        prop_assert_eq!(clips.dropped(), 0);
    }
}

fn armed(change: impl FnOnce(&mut Limits)) -> (Guard, Faulty) {
    let (robot, faults) = Plant::new(3, HZ);
    let mut limits = Limits::for_robot(robot.spec());
    change(&mut limits);
    faults.expect(&limits, None);
    let mut guard = Guard::new(Box::new(robot), limits, HZ).unwrap();
    guard.arm(Duration::ZERO).unwrap();
    (guard, faults)
}

/// Runs turns until `ask` gives nothing more or the motors are off; the phases in between.
fn run(guard: &mut Guard, from: u64, turns: u64, ask: Ask<'_>) -> Vec<&'static str> {
    let mut phases: Vec<&'static str> = Vec::new();
    let mut reading = Reading::new(3);
    for turn in from..from + turns {
        guard.read(&mut reading);
        let verdict = guard.turn(turn, now(turn), ask, &mut [0.0; 3]);
        if phases.last() != Some(&verdict.phase.as_str()) {
            phases.push(verdict.phase.as_str());
        }
    }
    phases
}

#[test]
fn without_goals_the_machine_holds_then_is_let_go_then_is_off() {
    let (mut guard, faults) = armed(|_| {});
    assert_eq!(run(&mut guard, 1, 20, Ask::Go(&[5.0, 5.0, 5.0])), ["active"]);
    // 0.25 s, then 10 s, then 2 s.
    assert_eq!(run(&mut guard, 21, 1030, Ask::Nothing), ["active", "holding", "letting-go"]);
    assert_eq!(run(&mut guard, 1051, 220, Ask::Nothing), ["letting-go", "off"]);
    assert_eq!(guard.let_go(), Some(StopCause::Stale));
    assert!(guard.is_released() && !faults.is_on());
    let torques = faults.torques();
    assert!(torques.windows(2).all(|w| w[1] < w[0]) && torques.len() >= 9, "{torques:?}");
    // Nothing moves it but being switched on again.
    assert_eq!(run(&mut guard, 1300, 5, Ask::Go(&[0.0; 3])), ["off"]);
    guard.arm(now(1305)).unwrap();
    assert_eq!(run(&mut guard, 1306, 5, Ask::Go(&[0.0; 3])), ["active"]);
}

#[test]
fn fresh_goals_end_a_hold_and_staying_is_no_silence() {
    let (mut guard, _) = armed(|_| {});
    assert_eq!(run(&mut guard, 1, 100, Ask::Nothing), ["active", "holding"]);
    assert_eq!(run(&mut guard, 101, 5, Ask::Go(&[1.0; 3])), ["active"]);
    assert_eq!(run(&mut guard, 106, 2000, Ask::Stay), ["active"]);
}

#[test]
fn the_emergency_stop_latches() {
    let (mut guard, faults) = armed(|_| {});
    run(&mut guard, 1, 10, Ask::Go(&[5.0; 3]));
    let stop = guard.emergency_stop();
    std::thread::spawn(move || stop.press()).join().unwrap();
    assert_eq!(run(&mut guard, 11, 40, Ask::Go(&[5.0; 3])), ["letting-go", "off"]);
    assert_eq!(guard.let_go(), Some(StopCause::Emergency));
    assert!(!faults.is_on());
    assert!(guard.arm(now(60)).unwrap_err().to_string().contains("pressed"));
    guard.emergency_stop().release();
    assert_eq!(run(&mut guard, 61, 5, Ask::Go(&[5.0; 3])), ["off"]);
    guard.arm(now(66)).unwrap();
}

#[test]
fn a_dead_bus_is_let_go_and_a_hiccup_is_not() {
    let (mut guard, faults) = armed(|_| {});
    run(&mut guard, 1, 5, Ask::Go(&[5.0; 3]));
    faults.set(|f| f.reads = 4);
    assert_eq!(run(&mut guard, 6, 20, Ask::Go(&[5.0; 3])), ["active"]);
    faults.set(|f| (f.reads, f.commands, f.switching) = (1000, 1000, 8));
    assert_eq!(run(&mut guard, 26, 300, Ask::Go(&[5.0; 3])), ["active", "letting-go", "off"]);
    assert_eq!(guard.let_go(), Some(StopCause::Bus));
    assert!(guard.is_released() && !faults.is_on());
    assert!(guard.faults().reads > 200 && guard.faults().commands > 200);
}

#[test]
fn every_clip_is_told_with_its_cause() {
    let (mut guard, _) = armed(|l| l.joints[1].high = 10.0);
    let mut clips = guard.take_clips().unwrap();
    run(&mut guard, 1, 200, Ask::Go(&[0.0, 50.0, f32::NAN]));
    let mut seen = Causes::default();
    while let Some(clip) = clips.pop(|clip| *clip) {
        match clip.joint {
            1 => assert_eq!(clip.wanted, 50.0),
            2 => assert!(clip.wanted.is_nan() && clip.causes.has(Cause::NotFinite)),
            joint => panic!("joint {joint} was clipped: {clip:?}"),
        }
        seen.add_all(clip.causes);
    }
    let seen: Vec<_> = seen.iter().map(Cause::as_str).collect();
    assert_eq!(seen, ["not-finite", "range", "speed", "acceleration"]);
    assert_eq!(guard.faults().clips_dropped, 0);
}

#[test]
fn a_dropped_guard_leaves_no_motor_on() {
    let (guard, faults) = armed(|_| {});
    assert!(faults.is_on());
    drop(guard);
    assert!(!faults.is_on());
}

#[test]
fn limits_that_make_no_sense_are_refused_by_name() {
    let refused = |change: fn(&mut Limits)| {
        let (robot, _) = Plant::new(3, HZ);
        let mut limits = Limits::for_robot(robot.spec());
        change(&mut limits);
        Guard::new(Box::new(robot), limits, HZ).err().unwrap().to_string()
    };
    assert!(refused(|l| l.joints[1].high = 500.0).contains("joint_1.low"));
    assert!(refused(|l| l.joints[0].speed = f32::NAN).contains("joint_0.speed"));
    assert!(refused(|l| l.joints.truncate(2)).contains("3 joints"));
    assert!(refused(|l| l.torque = 0.0).contains("torque"));
    assert!(refused(|l| l.watchdog.hold_secs = f64::INFINITY).contains("hold_secs"));
}
