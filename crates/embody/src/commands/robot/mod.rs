//! `embody robot`: ports, servos, calibration, and an arm that exists in software.

mod act;
mod emulate;
mod machine;
mod scene;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use embody_core::{Error, IoContext, Result};
use embody_robot::Reading;
use embody_robot::bus::{Bus, BusConfig, Model, Protocol};
use embody_robot::calibration::{Calibrator, Seen};
use embody_robot::machines::ArmPlan;
use serde_json::json;

use crate::App;
use crate::cli::{RobotCommand, Speech};
use crate::ui::{print_data, say};
use machine::Machine;

/// How often a calibration looks at the joints.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the verb.
///
/// # Errors
/// When a port, a servo or a file is not as it should be.
pub fn run(app: &App<'_>, command: &RobotCommand) -> Result<()> {
    match command {
        RobotCommand::Emulate(flags) => emulate::run(app, flags),
        RobotCommand::Ports => ports(app),
        RobotCommand::Find { port, protocol } => find(app, port, *protocol),
        RobotCommand::SetId { port, model, from, to } => {
            let model = Model::named(model)?;
            let mut bus = Bus::open(port, model.protocol, BusConfig::default())?;
            bus.change_id(model, *from, *to)?;
            say(&format!("the {} with id {from} has id {to} now", model.name));
            Ok(())
        }
        RobotCommand::Calibrate(flags) => {
            let file = Machine::read(&flags.machine)?;
            let mut arms = file.robot.arms()?;
            if let Some(leader) = &file.leader {
                arms.extend(leader.arms()?);
            }
            arms.iter().try_for_each(|arm| calibrate(app, arm))
        }
        RobotCommand::Status(flags) => status(app, &Machine::read(&flags.machine)?),
        RobotCommand::Teleop(flags) => act::teleop(app, flags),
        RobotCommand::Record(flags) => act::record(app, flags),
        RobotCommand::Replay(flags) => act::replay(app, flags),
        RobotCommand::Run(flags) => act::run(app, flags),
        RobotCommand::Loop(flags) => act::measure(app, flags),
    }
}

/// Serial ports that adapters of servo buses appear as.
fn ports(app: &App<'_>) -> Result<()> {
    let folder = Path::new("/dev");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).at("list", folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["ttyUSB", "ttyACM", "ttyAMA", "cu.usb"].iter().any(|kind| name.starts_with(kind)) {
            found.push(entry.path());
        }
    }
    found.sort();
    if found.is_empty() && !app.json {
        say("no serial port; plug the adapter in, or start one with `embody robot emulate`");
    }
    for port in found {
        match app.json {
            true => print_data(&json!({ "port": port }).to_string()),
            false => print_data(&port.display().to_string()),
        }
    }
    Ok(())
}

fn find(app: &App<'_>, port: &Path, protocol: Speech) -> Result<()> {
    let (protocol, model) = match protocol {
        Speech::Feetech => (Protocol::Sts, "sts3215"),
        Speech::Scs => (Protocol::Scs, "scs0009"),
        Speech::Dynamixel => (Protocol::Dynamixel, "xl330-m288"),
    };
    let mut bus = Bus::open(port, protocol, BusConfig::default())?;
    let mut any = false;
    for (baud, servos) in bus.scan_bauds(Model::named(model)?)? {
        for servo in servos {
            any = true;
            let name = servo.model.map_or("unknown", |m| m.name);
            match app.json {
                true => print_data(
                    &json!({ "baud": baud, "id": servo.id, "model": name, "number": servo.number })
                        .to_string(),
                ),
                false => print_data(&format!(
                    "id {:<3} {name:<12} (model number {}) at {baud} baud",
                    servo.id, servo.number
                )),
            }
        }
    }
    if any {
        return Ok(());
    }
    Err(Error::new(format!("no servo answers on {}", port.display()))
        .with_hint("look at power and plugs, and at `--protocol`"))
}

/// Holds, then moves: an arm after the other.
fn calibrate(app: &App<'_>, arm: &ArmPlan) -> Result<()> {
    let Some(path) = &arm.calibration else {
        let what = format!("{} at {} has no calibration file", arm.robot_type, arm.port.display());
        return Err(Error::new(what).with_hint("name one: calibration = \"arm.json\""));
    };
    let mut bus = arm.open_bus()?;
    arm.check_motors(&mut bus)?;
    say(&format!("{} at {}: its motors are limp now", arm.robot_type, arm.port.display()));
    say("hold every joint in the middle of its range, then press Enter");
    wait_for_enter(app)?;
    let mut calibrator = Calibrator::home(&mut bus, &arm.motors)?;
    say("now move every joint to both its ends, then press Enter");
    let enter = thread::spawn(|| read_line().is_some());
    let mut ranges: Vec<Seen> = Vec::new();
    while !enter.is_finished() {
        app.task.cancel.check()?;
        ranges = calibrator.observe()?.to_vec();
        thread::sleep(LOOK);
    }
    for (motor, seen) in arm.motors.iter().zip(&ranges) {
        let endless = if arm.endless.contains(&motor.name) { " (turns without end)" } else { "" };
        say(&format!("  {:<14} {:>5} to {:>5}{endless}", motor.name, seen.low, seen.high));
    }
    let endless: Vec<&str> = arm.endless.iter().map(String::as_str).collect();
    calibrator.finish(&endless)?.save(path)?;
    say(&format!("calibration {}", path.display()));
    Ok(())
}

fn wait_for_enter(app: &App<'_>) -> Result<()> {
    if read_line().is_some() {
        return app.task.cancel.check();
    }
    let hint = match std::io::stdin().is_terminal() {
        true => "begin again",
        false => "run it in a terminal, or give it a line per Enter on stdin",
    };
    Err(Error::new("nobody pressed Enter").with_hint(hint))
}

fn read_line() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).ok()?;
    (read > 0).then_some(line)
}

fn status(app: &App<'_>, file: &Machine) -> Result<()> {
    let mut robot = file.robot.open()?;
    let mut reading = Reading::new(robot.spec().joints.len());
    robot.read(&mut reading)?;
    let alarm = robot.alarm().map(|alarm| alarm.to_string());
    let joints = &robot.spec().joints;
    if app.json {
        let joint = |(i, joint): (usize, &embody_robot::Joint)| {
            json!({ "joint": joint.name, "unit": joint.unit, "position": reading.positions[i],
                    "low": joint.low, "high": joint.high, "load": finite(reading.loads[i]) })
        };
        let joints: Vec<_> = joints.iter().enumerate().map(joint).collect();
        let errors = reading.bus_errors;
        print_data(
            &json!({ "robot": robot.spec().robot_type, "joints": joints, "alarm": alarm,
                     "bus_errors": errors })
            .to_string(),
        );
        return Ok(());
    }
    for (i, joint) in joints.iter().enumerate() {
        print_data(&format!(
            "{:<16} {:>8.2} {}  ({:.1} to {:.1})",
            joint.name,
            reading.positions[i],
            joint.unit.symbol(),
            joint.low,
            joint.high
        ));
    }
    if let Some(alarm) = alarm {
        say(&format!("alarm: {alarm}"));
    }
    say(&format!("{} damaged or missing answers", reading.bus_errors));
    Ok(())
}

fn finite(value: f32) -> Option<f32> {
    value.is_finite().then_some(value)
}
