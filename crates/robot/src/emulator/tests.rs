//! Servos as their manuals tell: memory, torque, profiles, alarms, time.

use std::time::Duration;

use super::*;
use crate::bus::{Bus, BusConfig, Group, dxl, sts};

const MS: Duration = Duration::from_millis(1);

fn start(protocol: Protocol, model: &str, clock: Clock) -> (Emulator, Bus) {
    let servos = (1..=2).map(|id| ServoConfig::new(id, model)).collect();
    let mut config = EmulatorConfig::new(protocol, servos);
    config.clock = clock;
    let joints = FirstOrder::new(vec![(-3.0, 3.0); 2]);
    let emulator = Emulator::start(config, Box::new(joints)).unwrap();
    let settings = BusConfig { timeout_ms: 500, ..BusConfig::default() };
    let bus = Bus::open(emulator.path(), protocol, settings).unwrap();
    (emulator, bus)
}

#[test]
fn eeprom_is_kept_only_when_unlocked_and_ram_never() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Stepped);
    bus.write(1, &sts::P_COEFFICIENT, 16).unwrap();
    bus.write(1, &sts::LOCK, 0).unwrap();
    bus.write(1, &sts::D_COEFFICIENT, 5).unwrap();
    bus.write(1, &sts::GOAL_VELOCITY, 100).unwrap();
    assert_eq!(bus.read(1, &sts::P_COEFFICIENT).unwrap(), 16);
    emulator.power_cycle();
    assert_eq!(bus.read(1, &sts::P_COEFFICIENT).unwrap(), 32, "it was locked");
    assert_eq!(bus.read(1, &sts::D_COEFFICIENT).unwrap(), 5);
    assert_eq!(bus.read(1, &sts::GOAL_VELOCITY).unwrap(), 0);
    assert_eq!(bus.read(1, &sts::LOCK).unwrap(), 1);
}

#[test]
fn a_servo_moves_only_with_torque_and_no_faster_than_its_profile() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Stepped);
    bus.write(1, &sts::GOAL_POSITION, 3000).unwrap();
    emulator.advance(100 * MS);
    assert_eq!(bus.read(1, &sts::PRESENT_POSITION).unwrap(), 2048);
    bus.write(1, &sts::TORQUE_ENABLE, 1).unwrap();
    emulator.advance(100 * MS);
    let held = bus.read(1, &sts::PRESENT_POSITION).unwrap();
    assert_eq!(held, 2048, "it holds where it was switched on");

    bus.write(1, &sts::GOAL_VELOCITY, 500).unwrap();
    bus.write(1, &sts::GOAL_POSITION, 3000).unwrap();
    emulator.advance(1000 * MS);
    let way = bus.read(1, &sts::PRESENT_POSITION).unwrap() - 2048;
    assert!((400..=500).contains(&way), "{way} steps in a second at 500 a second");
    let speed = bus.read(1, &sts::PRESENT_VELOCITY).unwrap();
    assert!((speed - 500).abs() <= 5, "{speed}");
    assert_eq!(bus.read(1, &sts::MOVING).unwrap(), 1);
    emulator.advance(3000 * MS);
    assert_eq!(bus.read(1, &sts::PRESENT_POSITION).unwrap(), 3000);
    assert_eq!(bus.read(1, &sts::MOVING).unwrap(), 0);
}

#[test]
fn the_torque_limit_bounds_load_and_stops_at_zero() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Stepped);
    bus.write(1, &sts::TORQUE_ENABLE, 1).unwrap();
    bus.write(1, &sts::TORQUE_LIMIT, 200).unwrap();
    bus.write(1, &sts::GOAL_POSITION, 3500).unwrap();
    emulator.advance(300 * MS);
    let load = bus.read(1, &sts::PRESENT_LOAD).unwrap();
    assert_eq!(load, 200, "a fifth of its torque");
    bus.write(1, &sts::TORQUE_LIMIT, 0).unwrap();
    emulator.advance(5 * MS);
    let at = bus.read(1, &sts::PRESENT_POSITION).unwrap();
    emulator.advance(200 * MS);
    assert_eq!(bus.read(1, &sts::PRESENT_POSITION).unwrap(), at);
}

#[test]
fn offsets_move_what_is_shown_and_limits_bound_the_goal() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Stepped);
    bus.write(1, &sts::HOMING_OFFSET, 500).unwrap();
    assert_eq!(bus.read(1, &sts::PRESENT_POSITION).unwrap(), 1548);
    bus.write(1, &sts::HOMING_OFFSET, -2047).unwrap();
    assert_eq!(bus.read(1, &sts::PRESENT_POSITION).unwrap(), 4095);
    bus.write(1, &sts::HOMING_OFFSET, 500).unwrap();
    bus.write(1, &sts::MAX_POSITION_LIMIT, 1700).unwrap();
    bus.write(1, &sts::TORQUE_ENABLE, 1).unwrap();
    bus.write(1, &sts::GOAL_POSITION, 2500).unwrap();
    emulator.advance(3000 * MS);
    assert_eq!(bus.read(1, &sts::PRESENT_POSITION).unwrap(), 1700);
    let angle = emulator.motion(1).unwrap().position;
    assert!((angle - 152.0 / 4096.0 * std::f64::consts::TAU).abs() < 1e-3, "{angle}");
}

#[test]
fn a_dynamixel_guards_its_settings_and_goals() {
    let (emulator, mut bus) = start(Protocol::Dynamixel, "xl330-m288", Clock::Stepped);
    bus.write(1, &dxl::HOMING_OFFSET, -100).unwrap();
    assert_eq!(bus.read(1, &dxl::PRESENT_POSITION).unwrap(), 1948);
    bus.write(1, &dxl::TORQUE_ENABLE, 1).unwrap();
    for (register, value) in
        [(&dxl::HOMING_OFFSET, 0), (&dxl::GOAL_POSITION, 5000), (&dxl::PRESENT_POSITION, 0)]
    {
        let refused = bus.write(1, register, value).unwrap_err();
        assert!(matches!(refused, RobotError::Refused { .. }), "{refused}");
    }
    bus.write(1, &dxl::GOAL_POSITION, 1500).unwrap();
    emulator.advance(3000 * MS);
    assert_eq!(bus.read(1, &dxl::PRESENT_POSITION).unwrap(), 1500);
    bus.write(1, &dxl::GOAL_PWM, 0).unwrap();
    bus.write(1, &dxl::GOAL_POSITION, 2500).unwrap();
    emulator.advance(1000 * MS);
    assert_eq!(bus.read(1, &dxl::PRESENT_POSITION).unwrap(), 1500);
}

#[test]
fn an_overload_shows_and_ends_as_each_maker_has_it() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Stepped);
    bus.write(1, &sts::TORQUE_ENABLE, 1).unwrap();
    emulator.overload(1);
    let mut group =
        Group::sync(Protocol::Sts, &[1, 2], &sts::PRESENT_POSITION, &sts::PRESENT_POSITION)
            .unwrap();
    bus.sync_read(&mut group).unwrap();
    assert_eq!((group.alarm(0), group.alarm(1)), (0x20, 0));
    assert_eq!(bus.read(1, &sts::TORQUE_ENABLE).unwrap(), 0);
    bus.write(1, &sts::TORQUE_ENABLE, 0).unwrap();
    bus.sync_read(&mut group).unwrap();
    assert_eq!(group.alarm(0), 0);

    let (emulator, mut bus) = start(Protocol::Dynamixel, "xl330-m288", Clock::Stepped);
    emulator.overload(2);
    assert_eq!(bus.read(2, &dxl::HARDWARE_ERROR_STATUS).unwrap(), 0x20);
    bus.reboot(2).unwrap();
    assert_eq!(bus.read(2, &dxl::HARDWARE_ERROR_STATUS).unwrap(), 0);
}

#[test]
fn time_that_goes_by_reads_is_the_same_in_every_run() {
    let run = || {
        let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::PerRead(10 * MS));
        let position = &sts::PRESENT_POSITION;
        let mut group = Group::sync(Protocol::Sts, &[1, 2], position, position).unwrap();
        let mut goals =
            Group::sync(Protocol::Sts, &[1, 2], &sts::GOAL_POSITION, &sts::GOAL_POSITION).unwrap();
        bus.write(1, &sts::TORQUE_ENABLE, 1).unwrap();
        let mut seen = Vec::new();
        for i in 0..50 {
            goals.set(0, &sts::GOAL_POSITION, 2048 + 10 * i).unwrap();
            bus.sync_write(&goals).unwrap();
            bus.sync_read(&mut group).unwrap();
            seen.push(group.get(0, position));
        }
        (seen, emulator.time())
    };
    let (seen, time) = run();
    assert_eq!(time, 500 * MS);
    assert!(seen[49] > 2400, "{seen:?}");
    assert_eq!(run().0, seen);
}

#[test]
fn real_time_goes_on_by_itself() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Real);
    bus.write(1, &sts::TORQUE_ENABLE, 1).unwrap();
    bus.write(1, &sts::GOAL_POSITION, 2200).unwrap();
    let begun = Instant::now();
    while bus.read(1, &sts::PRESENT_POSITION).unwrap() < 2199 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never comes there");
    }
    assert!(emulator.time() > 20 * MS);
}

#[test]
fn an_instruction_that_nobody_answers_can_be_waited_for() {
    let (emulator, mut bus) = start(Protocol::Sts, "sts3215", Clock::Stepped);
    let goal = &sts::GOAL_POSITION;
    let mut goals = Group::sync(Protocol::Sts, &[2], goal, goal).unwrap();
    goals.set(0, goal, 1234).unwrap();
    let before = emulator.frames();
    bus.sync_write(&goals).unwrap();
    assert!(emulator.wait_frames(before + 1, Duration::from_secs(20)));
    assert_eq!(emulator.register(2, "Goal_Position").unwrap(), 1234);
    assert!(!emulator.wait_frames(before + 2, MS));
}

#[test]
fn chances_of_faults_come_from_the_seed() {
    let draw = |seed| {
        let mut faults = faults::Faults::new(seed);
        faults.set_rates(FaultRates { drop_answer: 0.3, ..FaultRates::default() });
        (0..100).map(|_| faults.on_answer().is_some()).collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    let dropped = draw(3).iter().filter(|d| **d).count();
    assert!((15..=45).contains(&dropped), "{dropped} of 100 at 0.3");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let start = |config, joints| {
        Emulator::start(config, Box::new(FirstOrder::new(vec![(-1.0, 1.0); joints])))
    };
    assert!(start(EmulatorConfig::so101(), 5).is_err(), "six servos on five joints");
    let mut config = EmulatorConfig::so101();
    config.servos[0].model = "xl330-m288".into();
    assert!(start(config, 6).is_err(), "another protocol");
    let mut config = EmulatorConfig::so101();
    config.servos[0].registers.push(("Homing_Offset".into(), 5000));
    assert!(start(config, 6).is_err(), "a value that does not fit");
}
