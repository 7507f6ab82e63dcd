//! LeRobot's files byte for byte, its arithmetic, and calibrating the emulated arm by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::procedure::half_turn_offset;
use super::*;
use crate::emulator::{Clock, Emulator, EmulatorConfig, FirstOrder};
use crate::machines::{ArmPlan, SoArm};

/// As LeRobot 0.6.1 writes it: `draccus.dump(calibration, file, indent=4)` in JSON.
const FILE: &str = r#"{
    "shoulder_pan": {
        "id": 1,
        "drive_mode": 0,
        "homing_offset": -1037,
        "range_min": 809,
        "range_max": 3323
    },
    "gripper": {
        "id": 6,
        "drive_mode": 1,
        "homing_offset": 12,
        "range_min": 0,
        "range_max": 4095
    }
}"#;

fn motor(name: &str, id: u8, model: &str, unit: JointUnit) -> Motor {
    Motor { name: name.to_owned(), id, model: Model::named(model).unwrap(), unit }
}

fn scale(model: &str, unit: JointUnit, drive_mode: u8, min: i32, max: i32) -> Scale {
    let calibration =
        MotorCalibration { id: 1, drive_mode, homing_offset: 0, range_min: min, range_max: max };
    Scale::new(&motor("joint", 1, model, unit), &calibration).unwrap()
}

#[test]
fn files_are_lerobots_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arm.json");
    fs::write(&path, FILE).unwrap();
    let calibration = Calibration::load(&path).unwrap();
    assert_eq!(calibration.motors["shoulder_pan"].homing_offset, -1037);
    calibration.save(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
}

#[test]
fn files_that_make_no_sense_are_refused_with_the_motor() {
    for (from, to, word) in [
        ("\"range_min\": 809", "\"range_min\": 3323", "not below"),
        ("\"drive_mode\": 1", "\"drive_mode\": 2", "drive_mode is 2"),
        ("-1037", "-99999999", "number of steps"),
        ("\"id\": 6,", "", "missing field `id`"),
    ] {
        let why = Calibration::parse(FILE.replace(from, to).as_bytes()).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
}

/// Numbers from LeRobot's formulas, computed in Python.
#[test]
fn every_unit_is_told_as_lerobot_tells_it() {
    let body = scale("sts3215", JointUnit::Symmetric100, 0, 809, 3323);
    assert_eq!(body.normalise(2048), (2048.0 - 809.0) / 2514.0 * 200.0 - 100.0);
    assert_eq!((body.normalise(0), body.normalise(4095)), (-100.0, 100.0), "reading clamps");
    assert_eq!((body.unnormalise(-250.0), body.unnormalise(100.5)), (809, 3323));
    assert_eq!(body.unnormalise(0.03), 2066, "2066.377 is cut off");

    let turned = scale("sts3215", JointUnit::Symmetric100, 1, 809, 3323);
    assert_eq!(turned.normalise(809), 100.0);
    assert_eq!(turned.unnormalise(100.0), 809);
    let dynamixel = scale("xl330-m288", JointUnit::Symmetric100, 1, 809, 3323);
    assert_eq!(dynamixel.normalise(809), -100.0, "a Dynamixel turns around by itself");

    let gripper = scale("sts3215", JointUnit::Percent, 1, 2000, 3000);
    assert_eq!((gripper.normalise(2250), gripper.unnormalise(75.0)), (75.0, 2250));

    let degrees = scale("sts3215", JointUnit::Degrees, 1, 809, 3324);
    assert_eq!(degrees.normalise(4095), (4095.0 - 2066.5) * 360.0 / 4095.0, "not clamped");
    assert_eq!(degrees.unnormalise(-0.1), 2065, "2066.5 - 1.1375, whatever the drive mode");
    assert_eq!(degrees.unnormalise(-200.0), -208, "-208.5 is cut off toward zero");
}

#[test]
fn the_middle_of_a_turn_is_found_as_each_maker_counts() {
    let feetech = motor("a", 1, "sts3215", JointUnit::Degrees);
    let dynamixel = motor("a", 1, "xl330-m288", JointUnit::Degrees);
    assert_eq!(half_turn_offset(&feetech, 3000), 953);
    assert_eq!(half_turn_offset(&dynamixel, 3000), -953);
}

proptest! {
    #[test]
    fn what_is_told_comes_back_within_a_step(
        min in 0i32..2000,
        range in 10i32..2000,
        at in 0.0..1.0f64,
        unit in 0..4usize,
        drive_mode in 0u8..2,
    ) {
        let unit = [
            JointUnit::Degrees, JointUnit::Symmetric100, JointUnit::Percent, JointUnit::Radians,
        ][unit];
        let scale = scale("sts3215", unit, drive_mode, min, min + range);
        let steps = min + (f64::from(range) * at) as i32;
        let back = scale.unnormalise(scale.normalise(steps));
        prop_assert!((back - steps).abs() <= 1, "{steps} came back as {back}");
        let ahead = scale.normalise(steps + 1) - scale.normalise(steps);
        let expected = scale.per_step();
        prop_assert!((ahead - expected).abs() < 1e-9, "a step is {ahead}, not {expected}");
    }
}

/// An arm whose answers are waited for as long as a busy machine needs.
fn arm_at(port: &Path) -> SoArm {
    let mut arm = SoArm::at(port);
    arm.bus.timeout_ms = 500;
    arm
}

/// Holds every joint of an emulated SO-101 and moves it, as a person does.
#[test]
fn an_arm_is_calibrated_by_hand_and_kept_without_power() {
    let mut config = EmulatorConfig::so101();
    config.clock = Clock::Stepped;
    for (servo, angle) in config.servos.iter_mut().zip([0.9, -1.2, 0.4, 0.1, 0.0, 0.5]) {
        servo.position = angle;
    }
    let emulator = Emulator::start(config, Box::new(FirstOrder::so101())).unwrap();
    let plan = ArmPlan::so_follower("so101_follower", &arm_at(emulator.path())).unwrap();
    let mut bus = plan.open_bus().unwrap();
    let hands = |angles: [f64; 6]| {
        for (id, angle) in (1..).zip(angles) {
            emulator.hand(id, Some(angle));
        }
        emulator.advance(Duration::from_millis(5));
    };

    let mut calibrator = Calibrator::home(&mut bus, &plan.motors).unwrap();
    let seen = calibrator.observe().unwrap();
    assert!(seen.iter().all(|s| s.now == 2047), "the middle is where it stands: {seen:?}");
    hands([-1.8, -1.7, -1.6, -1.6, -2.0, -0.1]);
    calibrator.observe().unwrap();
    hands([1.8, 1.7, 1.6, 1.6, 2.0, 1.7]);
    calibrator.observe().unwrap();
    let calibration = calibrator.finish(&["wrist_roll"]).unwrap();

    let steps = |angle: f64| (angle / std::f64::consts::TAU * 4096.0).round() as i32;
    let pan = calibration.motors["shoulder_pan"];
    assert_eq!(pan.homing_offset, 2048 + steps(0.9) - 2047);
    assert_eq!(pan.range_min, 2048 + steps(-1.8) - pan.homing_offset);
    assert_eq!(pan.range_max, 2048 + steps(1.8) - pan.homing_offset);
    let roll = calibration.motors["wrist_roll"];
    assert_eq!((roll.range_min, roll.range_max), (0, 4095));

    emulator.power_cycle();
    calibration.check_servos(&mut bus, &plan.motors).unwrap();
    let mut other = calibration.clone();
    other.motors["elbow_flex"].range_max += 7;
    let refused = other.check_servos(&mut bus, &plan.motors).unwrap_err().to_string();
    assert!(refused.contains("highest position of elbow_flex"), "{refused}");
    other.write_to(&mut bus, &plan.motors).unwrap();
    other.check_servos(&mut bus, &plan.motors).unwrap();
}

#[test]
fn a_joint_that_was_not_moved_is_told() {
    let mut config = EmulatorConfig::so101();
    config.clock = Clock::Stepped;
    let emulator = Emulator::start(config, Box::new(FirstOrder::so101())).unwrap();
    let plan = ArmPlan::so_follower("so101_follower", &arm_at(emulator.path())).unwrap();
    let mut bus = plan.open_bus().unwrap();
    let calibrator = Calibrator::home(&mut bus, &plan.motors).unwrap();
    let refused = calibrator.finish(&["wrist_roll"]).unwrap_err().to_string();
    assert_eq!(refused, "calibration of shoulder_pan: it was not moved from 2047");
}

#[test]
fn a_joint_at_the_encoders_seam_is_told_to_turn() {
    let mut config = EmulatorConfig::so101();
    config.clock = Clock::Stepped;
    // One step before the encoder's end.
    config.servos[4].position = 2047.0 / 4096.0 * std::f64::consts::TAU;
    let joints = FirstOrder::new(vec![(-3.2, 3.2); 6]);
    let emulator = Emulator::start(config, Box::new(joints)).unwrap();
    let plan = ArmPlan::so_follower("so101_follower", &arm_at(emulator.path())).unwrap();
    let mut bus = plan.open_bus().unwrap();
    let refused = Calibrator::home(&mut bus, &plan.motors).unwrap_err().to_string();
    assert!(refused.contains("wrist_roll: it stands where its encoder begins anew"), "{refused}");
}
