//! What can go wrong with a machine, each with the port and the motor.

use std::io;
use std::path::PathBuf;

use embody_core::Hint;

/// Errors of this crate; they become [`embody_core::Error`] at its boundary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RobotError {
    /// A port, or a camera, that can't be opened.
    #[error("could not open {}", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device that was open and fails now.
    #[error("could not {action} {}", path.display())]
    Device {
        /// The device.
        path: PathBuf,
        /// What was tried, such as `write to`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Motors that do not answer.
    #[error("no answer from motor {} on {} to {what} ({tries} tries)", list(ids), port.display())]
    NoAnswer {
        /// The port.
        port: PathBuf,
        /// The motors asked that did not answer.
        ids: Vec<u8>,
        /// What was asked of them.
        what: &'static str,
        /// How often.
        tries: u32,
    },
    /// A motor that answers with a refusal.
    #[error("motor {id} refuses to {what}: {why}")]
    Refused {
        /// The motor.
        id: u8,
        /// What was asked of it.
        what: String,
        /// Its reason.
        why: &'static str,
    },
    /// A motor that is not the expected one.
    #[error("motor {id} on {} has model number {found}, not {expected} ({model})", port.display())]
    WrongModel {
        /// The port.
        port: PathBuf,
        /// The motor.
        id: u8,
        /// What it says.
        found: u16,
        /// What was expected.
        expected: u16,
        /// Name of that model.
        model: &'static str,
    },
    /// A motor that complains of its own state.
    #[error("motor {id} ({joint}) reports {what}")]
    Alarm {
        /// The motor.
        id: u8,
        /// Its joint.
        joint: String,
        /// Of what.
        what: String,
    },
    /// A value that a register can't hold.
    #[error("{value} does not fit {register}, which holds {low} to {high}")]
    Range {
        /// The register.
        register: &'static str,
        /// The value.
        value: i64,
        /// The lowest it holds.
        low: i64,
        /// The highest.
        high: i64,
    },
    /// A register that kept another value than the one written.
    #[error("motor {id} keeps {register} at {found} though {written} was written")]
    NotKept {
        /// The motor.
        id: u8,
        /// The register.
        register: &'static str,
        /// What was written.
        written: i32,
        /// What it reads.
        found: i32,
    },
    /// An instruction, or a register, that these motors do not have.
    #[error("{model} motors have no {what}")]
    Unsupported {
        /// The protocol or model.
        model: &'static str,
        /// What is missing.
        what: String,
    },
    /// An id that another motor has already.
    #[error("motor {id} is there already")]
    IdTaken {
        /// The id.
        id: u8,
    },
    /// A goal that is no number.
    #[error("the goal of {joint} is {goal}")]
    Goal {
        /// The joint.
        joint: String,
        /// What it is.
        goal: f32,
    },
    /// A machine's settings that make no sense.
    #[error("{place}: {why}")]
    Config {
        /// Which setting.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// A calibration file that can't be understood.
    #[error("{}: {why}", path.display())]
    CalibrationFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the motor.
        why: String,
    },
    /// A calibration that can't be used.
    #[error("calibration of {motor}: {why}")]
    Calibration {
        /// The motor.
        motor: String,
        /// What is wrong.
        why: String,
    },
    /// Servos that hold another calibration than the file says.
    #[error("the servos hold another calibration than the file: {differences}")]
    Uncalibrated {
        /// Motor, value in the file and in the servo.
        differences: String,
    },
    /// A camera that can't do what is asked of it.
    #[error("camera {name}: {why}")]
    Camera {
        /// The camera.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A frame that can't be decoded.
    #[error("a frame of camera {name} can't be decoded: {why}")]
    Frame {
        /// The camera.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A pseudo-terminal that can't be had.
    #[error("could not {action} for the emulated bus")]
    Emulator {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Hint for RobotError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the cable and the device's name",
                io::ErrorKind::PermissionDenied => {
                    "add yourself to the device's group: `dialout` \
                    for serial ports, `video` for cameras"
                }
                io::ErrorKind::ResourceBusy => "another program holds it: end that one first",
                _ => return None,
            },
            Self::Device { .. } => "check the cable, then start again",
            Self::NoAnswer { .. } => {
                "check power, the cable before the first of these motors, their ids and the baud \
                 rate"
            }
            Self::Refused { .. } => "a Dynamixel takes settings only with its torque off",
            Self::WrongModel { .. } => "check the port: is this the other arm?",
            Self::Alarm { .. } => {
                "take the load off, let it cool, then switch its torque off and on"
            }
            Self::NotKept { .. } => "switch the motor's torque off and unlock it before settings",
            Self::IdTaken { .. } => "connect only the motor whose id is to be changed",
            Self::Uncalibrated { .. } => {
                "write the file's calibration to the servos if it belongs to this arm, else \
                 calibrate the arm again"
            }
            Self::Calibration { .. } | Self::CalibrationFile { .. } => "calibrate the arm again",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// `1, 3 and 6`.
fn list(ids: &[u8]) -> String {
    let words: Vec<_> = ids.iter().map(u8::to_string).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "none".to_owned(),
    }
}
