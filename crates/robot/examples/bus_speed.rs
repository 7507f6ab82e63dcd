//! How fast the bus is: a turn of six servos over the emulated port, and frames parsed per second.
//!
//! `cargo run --release -p embody_robot --example bus_speed`
#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use embody_core::Result;
use embody_robot::Reading;
use embody_robot::bus::Protocol;
use embody_robot::bus::wire::Parsed;
use embody_robot::emulator::{Clock, Emulator, EmulatorConfig, FirstOrder};
use embody_robot::machines::{RobotConfig, SoArm};

fn main() -> Result<()> {
    turn("as fast as both ends can", false, Clock::PerRead(Duration::from_millis(5)))?;
    turn("at the pace of a wire at 1 Mbaud", true, Clock::Real)?;
    for protocol in [Protocol::Sts, Protocol::Dynamixel] {
        parse(protocol);
    }
    Ok(())
}

/// Sync read of position, speed and load, then sync write of goals.
fn turn(what: &str, is_paced: bool, clock: Clock) -> Result<()> {
    const TURNS: usize = 3000;
    let mut config = EmulatorConfig::so101();
    config.clock = clock;
    config.is_paced = is_paced;
    let emulator = Emulator::start(config, Box::new(FirstOrder::so101()))?;
    let mut arm = RobotConfig::So101Follower(SoArm::at(emulator.path())).open()?;
    let mut reading = Reading::new(6);
    arm.torque(true)?;
    let mut times = Vec::with_capacity(TURNS);
    for i in 0..TURNS {
        let begun = Instant::now();
        arm.read(&mut reading)?;
        arm.command(&[(i as f32 * 0.01).sin() * 10.0 + 20.0; 6])?;
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |part: f64| times[((TURNS - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    println!(
        "read and write of 6 servos, {what}: median {:.0} us, p99 {:.0} us, p99.9 {:.0} us, \
         most {:.0} us; {} bus errors",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        reading.bus_errors
    );
    Ok(())
}

/// Answers of six bytes, one behind the other.
fn parse(protocol: Protocol) {
    let mut frame = Vec::new();
    protocol.begin(&mut frame, 3, if protocol == Protocol::Dynamixel { 0x55 } else { 0 });
    frame.extend([0, 8, 0, 0, 0x10, 0]);
    assert!(protocol.finish(&mut frame));
    let one = frame.clone();
    while frame.len() < 1 << 16 {
        frame.extend_from_slice(&one);
    }
    let begun = Instant::now();
    let mut frames = 0_u64;
    while begun.elapsed() < Duration::from_secs(1) {
        let mut rest = &mut frame[..];
        while let Parsed::Frame(found) = protocol.parse(rest) {
            black_box(&found);
            frames += 1;
            rest = &mut rest[found.used..];
        }
    }
    let rate = frames as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{protocol:?}: {rate:.1} million frames parsed per second on one core");
}
