//! Doors by which fuzzing feeds every parser of foreign bytes.
//!
//! A [`Target`] takes any bytes and must return: no panic, no hang, no memory that the bytes do not
//! justify. Only compiled for tests and with the feature `fuzz`.

use std::path::Path;

use crate::bus::wire::{BROADCAST, Inbox, Parsed};
use crate::bus::{Protocol, dynamixel, feetech};
use crate::calibration::{Calibration, MotorCalibration};
use crate::camera::{PixelFormat, decode};
use crate::emulator::feed;

/// A parser, or several that read the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Feeds it; the folder is only there so that all crates' targets are called alike.
    pub run: fn(&[u8], &Path),
    /// Longest input worth trying, bytes.
    pub max_len: usize,
}

const fn target(name: &'static str, run: fn(&[u8], &Path), max_len: usize) -> Target {
    Target { name, run, max_len }
}

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    target("feetech", |bytes, _| frames(Protocol::Sts, bytes), 4_096),
    target("dynamixel", |bytes, _| frames(Protocol::Dynamixel, bytes), 4_096),
    target("servo_bus", |bytes, _| feed(bytes), 4_096),
    target("calibration", |bytes, _| calibration(bytes), 8_192),
    target("camera_frame", |bytes, _| camera_frame(bytes), 16_384),
];

/// Whole inputs of a target, from which fuzzing begins.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let protocols: &[Protocol] = match name {
        "feetech" => &[Protocol::Sts],
        "dynamixel" => &[Protocol::Dynamixel],
        "servo_bus" => &[Protocol::Sts, Protocol::Dynamixel],
        "calibration" => {
            let motor = MotorCalibration {
                id: 1,
                drive_mode: 0,
                homing_offset: -1037,
                range_min: 809,
                range_max: 3323,
            };
            let motors = [("shoulder_pan".to_owned(), motor)].into_iter().collect();
            return vec![Calibration { motors }.to_json().into_bytes()];
        }
        "camera_frame" => return vec![include_bytes!("../tests/data/motion.jpg").to_vec()],
        _ => return Vec::new(),
    };
    // Ping, a read of two bytes, a write, sync read and sync write of two servos.
    let small: &[(u8, &[u8])] = &[
        (1, &[]),
        (2, &[56, 2]),
        (3, &[42, 0, 8]),
        (0x82, &[56, 6, 1, 2]),
        (0x83, &[42, 2, 1, 0, 8, 2, 0, 9]),
    ];
    let wide: &[(u8, &[u8])] = &[
        (1, &[]),
        (2, &[132, 0, 4, 0]),
        (3, &[116, 0, 0xff, 0xff, 0xfd, 0]),
        (0x8a, &[126, 0, 10, 0, 1, 2]),
        (0x92, &[1, 144, 0, 2, 0, 2, 146, 0, 1, 0]),
        (0x93, &[1, 65, 0, 1, 0, 1, 2, 84, 0, 2, 0, 0x20, 3]),
    ];
    let mut all = Vec::new();
    for protocol in protocols {
        let many = if *protocol == Protocol::Dynamixel { wide } else { small };
        for (code, params) in many {
            let id = if *code < 0x80 { 1 } else { BROADCAST };
            let mut frame = Vec::new();
            protocol.begin(&mut frame, id, *code);
            frame.extend_from_slice(params);
            let is_whole = protocol.finish(&mut frame);
            assert!(is_whole, "the frames above are short");
            all.push(frame);
        }
    }
    all
}

/// Parses a stream as the driver does; every byte is used up, and frames are told again alike.
fn frames(protocol: Protocol, mut bytes: &[u8]) {
    let mut inbox = Inbox::default();
    let mut again = Vec::new();
    while !bytes.is_empty() || !inbox.is_empty() {
        bytes = &bytes[inbox.put(bytes)..];
        match protocol.parse(inbox.waiting()) {
            Parsed::Incomplete if bytes.is_empty() => inbox.consume(1),
            Parsed::Incomplete => {
                assert!(inbox.waiting().len() < 4 * crate::bus::wire::MAX_FRAME, "it never ends");
            }
            Parsed::Noise { bytes, .. } => {
                assert!(bytes > 0, "noise is passed over");
                inbox.consume(bytes);
            }
            Parsed::Frame(frame) => {
                let params = &inbox.waiting()[frame.params.clone()];
                protocol.begin(&mut again, frame.id, frame.code);
                again.extend_from_slice(params);
                if protocol.finish(&mut again) {
                    assert!(matches!(protocol.parse(&mut again), Parsed::Frame(_)));
                }
                inbox.consume(frame.used);
            }
        }
    }
    // What alarm bits mean is told for any of them.
    for bits in again.iter().copied() {
        let _ = (feetech::alarm(bits), dynamixel::alarm(bits), dynamixel::refusal(bits));
    }
}

fn calibration(bytes: &[u8]) {
    if let Ok(parsed) = Calibration::parse(bytes) {
        let text = parsed.to_json();
        let again = Calibration::parse(text.as_bytes());
        assert_eq!(again.as_ref(), Ok(&parsed), "what is written is read again");
    }
}

fn camera_frame(bytes: &[u8]) {
    let mut rgb = vec![0; 16 * 16 * 3];
    for format in [PixelFormat::Mjpeg, PixelFormat::Yuyv] {
        // Damage is said in words; how, is nobody's business here.
        let _ = decode(format, bytes, (16, 16), 32, &mut rgb);
    }
}
