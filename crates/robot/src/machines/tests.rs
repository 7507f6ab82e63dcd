//! Arms over the emulated bus: set-up, the loop's calls, what is refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::bus::Protocol;
use crate::calibration::Calibration;
use crate::emulator::{Clock, Emulator, EmulatorConfig, Fault, FirstOrder, ServoConfig};
use crate::robot::Reading;

const MS: Duration = Duration::from_millis(1);

/// An arm whose answers are waited for as long as a busy machine needs.
fn arm_at(port: &Path) -> SoArm {
    let mut arm = SoArm::at(port);
    arm.bus.timeout_ms = 500;
    arm
}

/// An SO-101 that is calibrated as one from a bench: offsets of its own, ranges around the middle.
fn so101(clock: Clock) -> Emulator {
    let mut config = EmulatorConfig::so101();
    config.clock = clock;
    for servo in &mut config.servos {
        let id = i32::from(servo.id);
        servo.registers = vec![
            ("Homing_Offset".into(), 10 * id),
            ("Min_Position_Limit".into(), 1000 - 10 * id),
            ("Max_Position_Limit".into(), 3095 - 10 * id),
            ("Phase".into(), 0x1c),
        ];
    }
    Emulator::start(config, Box::new(FirstOrder::so101())).unwrap()
}

fn follower(emulator: &Emulator) -> Box<dyn Robot> {
    RobotConfig::So101Follower(arm_at(emulator.path())).open().unwrap()
}

#[test]
fn settings_are_a_few_lines_of_toml() {
    let robot: RobotConfig = toml::from_str(
        r#"
        type = "so101_follower"
        port = "/dev/ttyACM0"
        calibration = "follower.json"
        use_degrees = false
        "#,
    )
    .unwrap();
    let RobotConfig::So101Follower(arm) = &robot else { panic!("{robot:?}") };
    assert_eq!((arm.gains, arm.use_degrees, arm.bus.baud), ([16, 0, 32], false, 1_000_000));
    let text = toml::to_string(&robot).unwrap();
    assert_eq!(toml::from_str::<RobotConfig>(&text).unwrap(), robot);

    let robot: RobotConfig = toml::from_str(
        r#"
        type = "servo_arm"
        robot_type = "koch_follower"
        port = "/dev/ttyUSB0"
        bus = { baud = 2_000_000 }
        [[motors]]
        name = "shoulder_pan"
        id = 1
        model = "xl430-w250"
        registers = { Position_P_Gain = 640 }
        "#,
    )
    .unwrap();
    let plan = &robot.arms().unwrap()[0];
    assert_eq!((plan.protocol, plan.bus.baud), (Protocol::Dynamixel, 2_000_000));
    for wrong in [
        "type = \"so101_follower\"\nport = \"x\"\ncalibratoin = \"y\"",
        "type = \"so102_follower\"\nport = \"x\"",
    ] {
        assert!(toml::from_str::<RobotConfig>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_so101_is_set_up_as_lerobot_does() {
    let emulator = so101(Clock::Stepped);
    let robot = follower(&emulator);
    assert_eq!(robot.spec().robot_type, "so101_follower");
    let names: Vec<_> = robot.spec().joints.iter().map(|j| j.name.as_str()).collect();
    assert_eq!(names[0], "shoulder_pan");
    assert_eq!(names[5], "gripper");
    let holds = |id, name: &str, value| {
        assert_eq!(emulator.register(id, name).unwrap(), value, "{name} of {id}");
    };
    for id in 1..=6 {
        for (name, value) in [
            ("Return_Delay_Time", 0),
            ("Maximum_Acceleration", 254),
            ("Acceleration", 254),
            ("Phase", 0x0c),
            ("P_Coefficient", 16),
            ("I_Coefficient", 0),
            ("D_Coefficient", 32),
            ("Torque_Enable", 0),
            ("Lock", 1),
        ] {
            holds(id, name, value);
        }
    }
    for (name, value) in [
        ("Max_Torque_Limit", 500),
        ("Torque_Limit", 500),
        ("Protection_Current", 250),
        ("Overload_Torque", 25),
    ] {
        holds(6, name, value);
    }
    holds(5, "Max_Torque_Limit", 1000);
    let before = emulator.frames();
    drop(robot);
    drop(follower(&emulator));
    emulator.power_cycle();
    holds(3, "P_Coefficient", 16);
    assert!(emulator.frames() - before < 200, "what is set already is not written again");
}

#[test]
fn goals_are_reached_and_read_in_the_joints_units() {
    let emulator = so101(Clock::Stepped);
    let mut robot = follower(&emulator);
    let mut reading = Reading::new(6);
    robot.read(&mut reading).unwrap();
    robot.torque(true).unwrap();
    let low = robot.spec().joints[0].low;
    assert!((low + (3085.0 - 990.0) / 2.0 * 360.0 / 4095.0).abs() < 1e-4, "{low}");
    let goals = [20.0, -30.0, 10.0, 5.0, -40.0, 80.0];
    robot.command(&goals).unwrap();
    robot.read(&mut reading).unwrap();
    emulator.advance(100 * MS);
    robot.read(&mut reading).unwrap();
    assert!(reading.velocities[0] > 10.0 && reading.velocities[1] < -10.0, "{reading:?}");
    assert!(reading.loads[0] > 0.05 && reading.loads[4] < -0.05, "{reading:?}");
    emulator.advance(3000 * MS);
    robot.read(&mut reading).unwrap();
    for (at, goal) in reading.positions.iter().zip(goals) {
        assert!((at - goal).abs() < 0.1, "{:?}", reading.positions);
    }
    assert_eq!(reading.bus_errors, 0);
    assert!(robot.alarm().is_none());
}

#[test]
fn a_goal_that_is_no_number_moves_nothing() {
    let emulator = so101(Clock::Stepped);
    let mut robot = follower(&emulator);
    robot.torque(true).unwrap();
    let before = emulator.frames();
    let refused = robot.command(&[1.0, 2.0, f32::NAN, 0.0, 0.0, 0.0]).unwrap_err().to_string();
    assert_eq!(refused, "the goal of elbow_flex is NaN");
    assert!(robot.command(&[0.0; 5]).is_err());
    assert!(robot.limit_torque(f32::NAN).is_err());
    assert_eq!(emulator.frames(), before);
}

#[test]
fn torque_is_ramped_by_its_limit_and_kept_below_the_motors_own() {
    let emulator = so101(Clock::Stepped);
    let mut robot = follower(&emulator);
    robot.torque(true).unwrap();
    for (part, arm, gripper) in [(0.5, 500, 250), (0.0, 0, 0), (1.0, 1000, 500)] {
        robot.limit_torque(part).unwrap();
        assert_eq!(emulator.register(2, "Torque_Limit").unwrap(), arm);
        assert_eq!(emulator.register(6, "Torque_Limit").unwrap(), gripper);
    }
    // The frame to all is lost: the motors that did not hear are told one by one.
    emulator.order(Fault::LoseInstruction);
    robot.limit_torque(0.25).unwrap();
    assert_eq!(emulator.register(2, "Torque_Limit").unwrap(), 250);

    robot.limit_torque(0.0).unwrap();
    drop(robot);
    drop(follower(&emulator));
    assert_eq!(emulator.register(2, "Torque_Limit").unwrap(), 1000, "opening gives it back");
}

#[test]
fn all_motors_are_switched_even_if_one_is_gone() {
    let emulator = so101(Clock::Stepped);
    let mut robot = follower(&emulator);
    robot.torque(true).unwrap();
    emulator.vanish(3, true);
    assert!(robot.torque(false).is_err());
    let on = |id| emulator.register(id, "Torque_Enable").unwrap();
    assert_eq!((1..=6).map(on).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0]);
}

#[test]
fn an_arm_that_is_not_as_expected_is_refused() {
    let emulator = so101(Clock::Stepped);
    let mut arm = arm_at(emulator.path());
    emulator.vanish(2, true);
    emulator.vanish(5, true);
    let open = |arm: &SoArm| RobotConfig::So101Follower(arm.clone()).open().map(|_| ());
    let missing = open(&arm).unwrap_err();
    assert!(missing.to_string().contains("motor 2 and 5"), "{missing}");
    emulator.vanish(2, false);
    emulator.vanish(5, false);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("follower.json");
    let plan = ArmPlan::so_follower("so101_follower", &arm).unwrap();
    let mut calibration =
        Calibration::of_servos(&mut plan.open_bus().unwrap(), &plan.motors).unwrap();
    calibration.save(&path).unwrap();
    arm.calibration = Some(path.clone());
    open(&arm).unwrap();
    calibration.motors["gripper"].homing_offset += 3;
    calibration.save(&path).unwrap();
    let refused = open(&arm).unwrap_err();
    assert!(refused.to_string().contains("homing offset of gripper is 63, not 60"), "{refused}");
    assert!(refused.hint().unwrap().contains("write the file's calibration"));
    calibration.write_to(&mut plan.open_bus().unwrap(), &plan.motors).unwrap();
    open(&arm).unwrap();
    fs::write(&path, "{}").unwrap();
    assert!(open(&arm).unwrap_err().to_string().contains("shoulder_pan: there is none"));
}

#[test]
fn an_alarm_names_the_joint() {
    let emulator = so101(Clock::Stepped);
    let mut robot = follower(&emulator);
    robot.torque(true).unwrap();
    emulator.overload(3);
    robot.read(&mut Reading::new(6)).unwrap();
    let alarm = robot.alarm().unwrap().to_string();
    assert_eq!(alarm, "motor 3 (elbow_flex) reports overload");
}

#[test]
fn two_arms_are_one_machine() {
    let (a, b) = (so101(Clock::Stepped), so101(Clock::Stepped));
    let pair = SoPair { left: arm_at(a.path()), right: arm_at(b.path()) };
    let mut robot = RobotConfig::BiSoFollower(pair).open().unwrap();
    assert_eq!(robot.spec().joints.len(), 12);
    assert_eq!(robot.spec().joints[6].name, "right_shoulder_pan");
    robot.torque(true).unwrap();
    let mut goals = [0.0; 12];
    (goals[0], goals[6]) = (10.0, -15.0);
    (goals[5], goals[11]) = (50.0, 50.0);
    robot.command(&goals).unwrap();
    let mut reading = Reading::new(12);
    robot.read(&mut reading).unwrap();
    a.advance(2000 * MS);
    b.advance(2000 * MS);
    robot.read(&mut reading).unwrap();
    assert!((reading.positions[0] - 10.0).abs() < 0.1, "{reading:?}");
    assert!((reading.positions[6] + 15.0).abs() < 0.1, "{reading:?}");
    goals[11] = f32::INFINITY;
    let before = (a.frames(), b.frames());
    assert!(robot.command(&goals).is_err());
    assert_eq!((a.frames(), b.frames()), before, "neither side moves");
}

#[test]
fn a_leader_tells_where_the_hand_holds_it() {
    let emulator = so101(Clock::Stepped);
    let mut arm = arm_at(emulator.path());
    arm.engage = Some(Engage { threshold: 1.0, release_ms: 60_000 });
    let mut leader = TeleoperatorConfig::So101Leader(arm).open().unwrap();
    let mut goals = [0.0; 6];
    let now = Reading::new(6);
    assert!(!leader.goals(&now, &mut goals).unwrap(), "nobody moves it");
    let before = goals[0];
    emulator.hand(1, Some(0.3));
    emulator.advance(2 * MS);
    assert!(leader.goals(&now, &mut goals).unwrap());
    assert!((goals[0] - before - 0.3f32.to_degrees()).abs() < 0.2, "{goals:?}");
    assert!(leader.goals(&now, &mut goals).unwrap(), "it is held a while longer");
    assert!(leader.goals(&now, &mut [0.0; 5]).is_err());
}

#[test]
fn an_arm_of_dynamixels_is_driven_alike() {
    let servos = vec![ServoConfig::new(1, "xl430-w250"), ServoConfig::new(2, "xl330-m288")];
    let mut config = EmulatorConfig::new(Protocol::Dynamixel, servos);
    config.clock = Clock::Stepped;
    let joints = FirstOrder::new(vec![(-3.0, 3.0); 2]);
    let emulator = Emulator::start(config, Box::new(joints)).unwrap();
    let text = format!(
        r#"
        type = "servo_arm"
        robot_type = "two_joints"
        port = {:?}
        bus = {{ timeout_ms = 500 }}
        [[motors]]
        name = "pan"
        id = 1
        model = "xl430-w250"
        registers = {{ Position_P_Gain = 640, Profile_Velocity = 200 }}
        [[motors]]
        name = "grip"
        id = 2
        model = "xl330-m288"
        unit = "percent"
        "#,
        emulator.path().to_str().unwrap()
    );
    let mut robot = toml::from_str::<RobotConfig>(&text).unwrap().open().unwrap();
    assert_eq!(emulator.register(1, "Position_P_Gain").unwrap(), 640);
    robot.torque(true).unwrap();
    robot.command(&[45.0, 75.0]).unwrap();
    let mut reading = Reading::new(2);
    robot.read(&mut reading).unwrap();
    emulator.advance(200 * MS);
    robot.read(&mut reading).unwrap();
    assert!(reading.velocities[0] > 20.0 && reading.loads[0] > 0.05, "{reading:?}");
    emulator.advance(3000 * MS);
    robot.read(&mut reading).unwrap();
    assert!((reading.positions[0] - 45.0).abs() < 0.1, "{reading:?}");
    assert!((reading.positions[1] - 75.0).abs() < 0.1, "{reading:?}");
    robot.limit_torque(0.5).unwrap();
    assert_eq!(emulator.register(1, "Goal_PWM").unwrap(), 443);
    robot.torque(false).unwrap();
}
