//! LeRobot's own bus drivers on our emulated servos, and ours beside them: the oracle of the wire.
//!
//! `EMBODY_LEROBOT_PYTHON` names a Python with lerobot 0.6.1, feetech-servo-sdk 1.0 and
//! dynamixel-sdk 3.8.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use embody_robot::bus::{Bus, BusConfig, Group, MODELS, Model, Protocol, dxl, sts};
use embody_robot::calibration::{Calibration, Motor, MotorCalibration, Scale};
use embody_robot::emulator::{Emulator, EmulatorConfig, FirstOrder, ServoConfig};
use embody_robot::machines::{ArmPlan, RobotConfig, SoArm};
use embody_robot::{JointUnit, Reading};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
/// Waits for answers as long as a busy machine needs.
const PATIENT: BusConfig = BusConfig { baud: 1_000_000, retries: 2, timeout_ms: 500 };

fn python() -> Option<PathBuf> {
    let Some(python) = std::env::var_os("EMBODY_LEROBOT_PYTHON").map(PathBuf::from) else {
        println!("skipped: EMBODY_LEROBOT_PYTHON is not set");
        return None;
    };
    let mut ask = Command::new(&python);
    ask.args(["-c", "import lerobot, scservo_sdk, dynamixel_sdk"]).stderr(Stdio::null());
    if !ask.status().unwrap().success() {
        println!("skipped: EMBODY_LEROBOT_PYTHON lacks `lerobot[feetech,dynamixel]`");
        return None;
    }
    Some(python)
}

/// LeRobot at work.
struct Peer {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &Path, what: &str, port: &Path, file: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/lerobot_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(what)
            .args([port, file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, lines }
    }

    /// The next line that begins as asked; others are LeRobot's own.
    fn wait(&mut self, begin: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if line.starts_with(begin) {
                return line;
            }
            line.clear();
        }
        panic!("LeRobot ended before {begin:?}");
    }

    fn go_on(&mut self) {
        writeln!(self.input).unwrap();
        self.input.flush().unwrap();
    }

    fn result(mut self) -> Value {
        let line = self.wait("{");
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&line).unwrap()
    }
}

/// Lets hands move the joints while somebody records where they are: each place is held until the
/// recorder has asked a few times.
fn move_by_hand(emulator: &Emulator, places: &[Vec<f64>]) {
    for place in places {
        for (id, angle) in (1..).zip(place) {
            emulator.hand(id, Some(*angle));
        }
        let now = emulator.frames();
        assert!(emulator.wait_frames(now + 5, PATIENCE), "nobody records");
    }
}

/// Lets all hands go, and waits until the joints of `ids` stand still.
fn wait_at_rest(emulator: &Emulator, ids: &[u8]) {
    for id in ids {
        emulator.hand(*id, None);
    }
    let begun = Instant::now();
    let mut frames = emulator.frames();
    let is_moving = |id: &u8| {
        let motion = emulator.motion(*id).unwrap();
        motion.velocity.abs() > 1e-6 || motion.load.abs() > 0.01
    };
    while ids.iter().any(is_moving) {
        assert!(begun.elapsed() < PATIENCE, "they never come to rest");
        frames += 1;
        emulator.wait_frames(frames, Duration::from_millis(20));
    }
}

fn numbers(value: &Value) -> BTreeMap<String, f64> {
    let map = value.as_object().unwrap();
    map.iter().map(|(k, v)| (k.clone(), v.as_f64().unwrap())).collect()
}

#[test]
fn lerobots_feetech_driver_calibrates_and_drives_our_servos() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("so101.json");
    let mut config = EmulatorConfig::so101();
    for (servo, angle) in config.servos.iter_mut().zip([0.9, -1.2, 0.4, 0.1, -0.3, 0.5]) {
        servo.position = angle;
        servo.registers = vec![("Phase".into(), 0x1c)];
    }
    let emulator = Emulator::start(config, Box::new(FirstOrder::so101())).unwrap();

    let mut peer = Peer::start(&python, "feetech", emulator.path(), &file);
    peer.wait("ready record");
    move_by_hand(
        &emulator,
        &[
            vec![-1.8, -1.7, -1.6, -1.6, -2.0, -0.1],
            vec![1.8, 1.7, 1.6, 1.6, 2.0, 1.7],
            vec![0.3, 0.2, 0.1, 0.0, 0.5, 0.6],
        ],
    );
    peer.go_on();
    peer.wait("ready move");
    // The goals came before this word; what was sent earlier is heard earlier.
    wait_at_rest(&emulator, &[1, 2, 3, 4, 5, 6]);
    peer.go_on();
    let seen = peer.result();
    for (id, number) in seen["found"].as_object().unwrap() {
        assert_eq!(number, 777, "servo {id}");
    }
    assert_eq!(seen["found"].as_object().unwrap().len(), 6);
    assert!(numbers(&seen["middle"]).values().all(|p| *p == 2047.0), "{seen}");
    assert_eq!(seen["is_calibrated"], true);
    assert_eq!(emulator.register(1, "Phase").unwrap(), 0x0c);
    assert_eq!(emulator.register(1, "Acceleration").unwrap(), 254);

    // Ours reads the same, raw and normalised, with the file that LeRobot wrote.
    let calibration = Calibration::load(&file).unwrap();
    assert_eq!(calibration.to_json(), std::fs::read_to_string(&file).unwrap());
    let mut bus = Bus::open(emulator.path(), Protocol::Sts, PATIENT).unwrap();
    let position = &sts::PRESENT_POSITION;
    let mut group = Group::sync(Protocol::Sts, &[1, 2, 3, 4, 5, 6], position, position).unwrap();
    bus.sync_read(&mut group).unwrap();
    let raw = numbers(&seen["raw"]);
    for (i, (name, motor)) in calibration.motors.iter().enumerate() {
        assert_eq!(motor.id, i as u8 + 1);
        assert_eq!(f64::from(group.get(i, position)), raw[name], "{name}");
    }
    drop(bus);
    let mut arm = SoArm { bus: PATIENT, ..SoArm::at(emulator.path()) };
    arm.calibration = Some(file.clone());
    let mut robot = RobotConfig::So101Follower(arm.clone()).open().unwrap();
    let mut reading = Reading::new(6);
    robot.read(&mut reading).unwrap();
    let normalized = numbers(&seen["normalized"]);
    for (joint, at) in robot.spec().joints.iter().zip(&reading.positions) {
        assert_eq!(*at, normalized[&joint.name] as f32, "{}", joint.name);
    }
    assert!((normalized["shoulder_pan"] - 20.0).abs() < 0.2, "{normalized:?}");
    assert!((normalized["elbow_flex"] + 30.0).abs() < 0.2, "{normalized:?}");
    assert!((normalized["gripper"] - 75.0).abs() < 0.2, "{normalized:?}");
    assert_eq!(reading.bus_errors, 0);
    drop(robot);

    // And the other way: LeRobot takes the arm for calibrated by a file of ours.
    let plan = ArmPlan::so_follower("so101_follower", &arm).unwrap();
    let mut ours = calibration.clone();
    ours.motors["gripper"].range_min += 11;
    let mut bus = plan.open_bus().unwrap();
    ours.write_to(&mut bus, &plan.motors).unwrap();
    drop(bus);
    ours.save(&file).unwrap();
    let seen = Peer::start(&python, "check", emulator.path(), &file).result();
    assert_eq!(seen["is_calibrated"], true, "{seen}");
}

#[test]
fn lerobot_gives_a_new_servo_its_id_and_baud_rate() {
    let Some(python) = python() else { return };
    let mut servo = ServoConfig::new(1, "sts3215");
    servo.baud = 115_200;
    let config = EmulatorConfig::new(Protocol::Sts, vec![servo]);
    let joints = FirstOrder::new(vec![(-1.0, 1.0)]);
    let emulator = Emulator::start(config, Box::new(joints)).unwrap();
    Peer::start(&python, "setup", emulator.path(), Path::new("")).result();
    let mut bus = Bus::open(emulator.path(), Protocol::Sts, PATIENT).unwrap();
    assert_eq!(bus.ping(6).unwrap(), 777);
}

#[test]
fn lerobots_dynamixel_driver_calibrates_and_drives_our_servos() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arm.json");
    let mut servos = vec![ServoConfig::new(1, "xl430-w250"), ServoConfig::new(2, "xl330-m288")];
    servos[0].position = 0.7;
    servos[1].position = -0.4;
    let config = EmulatorConfig::new(Protocol::Dynamixel, servos);
    let joints = FirstOrder::new(vec![(-2.0, 2.0); 2]);
    let emulator = Emulator::start(config, Box::new(joints)).unwrap();

    let mut peer = Peer::start(&python, "dynamixel", emulator.path(), &file);
    peer.wait("ready record");
    move_by_hand(&emulator, &[vec![-1.2, -1.1], vec![1.4, 0.9], vec![0.2, 0.1]]);
    peer.go_on();
    peer.wait("ready move");
    wait_at_rest(&emulator, &[1, 2]);
    peer.go_on();
    let seen = peer.result();
    assert_eq!(seen["found"]["1"], 1060);
    assert_eq!(seen["found"]["2"], 1200);
    assert!(numbers(&seen["middle"]).values().all(|p| *p == 2047.0), "{seen}");
    assert_eq!(seen["is_calibrated"], true);

    let calibration = Calibration::load(&file).unwrap();
    let mut bus = Bus::open(emulator.path(), Protocol::Dynamixel, PATIENT).unwrap();
    let position = &dxl::PRESENT_POSITION;
    let mut group = Group::sync(Protocol::Dynamixel, &[1, 2], position, position).unwrap();
    bus.sync_read(&mut group).unwrap();
    let (raw, normalized) = (numbers(&seen["raw"]), numbers(&seen["normalized"]));
    for (i, (name, unit)) in
        [("pan", JointUnit::Symmetric100), ("tilt", JointUnit::Degrees)].into_iter().enumerate()
    {
        let at = group.get(i, position);
        assert_eq!(f64::from(at), raw[name], "{name}");
        let model = Model::named("xl330-m288").unwrap();
        let motor = Motor { name: name.into(), id: i as u8 + 1, model, unit };
        let scale = Scale::new(&motor, calibration.of(&motor).unwrap()).unwrap();
        assert_eq!(scale.normalise(at), normalized[name], "{name}");
    }
    assert!((normalized["pan"] - 40.0).abs() < 0.3, "{normalized:?}");
    assert!((normalized["tilt"] + 25.0).abs() < 0.3, "{normalized:?}");
}

#[test]
fn normalisation_is_lerobots_to_the_last_bit() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.json");
    Peer::start(&python, "arithmetic", Path::new(""), &file).result();
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(cases.len(), 3000);
    for case in cases {
        let int = |key: &str| i32::try_from(case[key].as_i64().unwrap()).unwrap();
        let model = if case["is_feetech"] == true { "sts3215" } else { "xl330-m288" };
        let unit = match case["mode"].as_str().unwrap() {
            "range_0_100" => JointUnit::Percent,
            "range_m100_100" => JointUnit::Symmetric100,
            _ => JointUnit::Degrees,
        };
        let model = MODELS.iter().find(|m| m.name == model).unwrap();
        let motor = Motor { name: "m".into(), id: 1, model, unit };
        let calibration = MotorCalibration {
            id: 1,
            drive_mode: int("drive_mode") as u8,
            homing_offset: 0,
            range_min: int("low"),
            range_max: int("high"),
        };
        let scale = Scale::new(&motor, &calibration).unwrap();
        let ours = scale.normalise(int("steps"));
        assert_eq!(ours, case["normalized"].as_f64().unwrap(), "{case}");
        let ours = scale.unnormalise(case["value"].as_f64().unwrap());
        assert_eq!(ours, int("unnormalized"), "{case}");
    }
}
