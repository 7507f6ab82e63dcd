//! Bars of real machines: the wire, the control loop's deadlines, recordings that survive.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use super::data::{last_json, number, tests};
use super::{Bench, Group};
use crate::sh::{self, Context, Fail, Result};
use crate::{demo, peers};

pub const GROUPS: &[Group] = &[
    Group { name: "wire", measure: wire },
    Group { name: "bus-driver", measure: bus_driver },
    Group { name: "control-loop", measure: control_loop },
    Group { name: "faults", measure: faults },
    Group { name: "kills", measure: kills },
];

/// Turns per second at which the loop is tried, and for how long.
const RATES: [u32; 2] = [60, 200];
const SECONDS: u32 = 30;
/// Most deadlines missed, as a share.
const MISSED: f64 = 0.001;

/// Frames of the facts, and bytes of any kind.
fn wire(bench: &mut Bench<'_>) -> Result<()> {
    let filter = "package(embody_robot) & test(/^bus::/)";
    let (measured, holds) = tests(bench, filter, &[])?;
    let required = "golden frames to the byte; any bytes: no panic, and the next frame is found";
    bench.row("Feetech and Dynamixel 2.0 on the wire", measured, required, holds);
    Ok(())
}

/// LeRobot's own drivers on our emulated bus, and ours.
fn bus_driver(bench: &mut Bench<'_>) -> Result<()> {
    let python = peers::lerobot_motors()?;
    let python = python.to_str().ok_or_else(|| Fail::new("the Python's path is not UTF-8"))?;
    let ask = "import importlib.metadata as m; print('lerobot', m.version('lerobot'))";
    let version = sh::capture(Command::new(python).args(["-c", ask]))?;
    let filter = "package(embody_robot) & test(lerobot)";
    let (measured, holds) = tests(bench, filter, &[("EMBODY_LEROBOT_PYTHON", python)])?;
    let required = "pings, calibrates and reads our servos; both drivers see the same positions";
    let row = bench.row("LeRobot's bus drivers on the emulator", measured, required, holds);
    row.peer = Some(version.trim().to_owned());
    Ok(())
}

/// Six servos on a pseudo-terminal, the other core at work.
fn control_loop(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let folder = bench.folder("control-loop")?;
    let mut arm = Emulated::start(bench)?;
    let machine = folder.join("arm.toml");
    let text = format!("[robot]\ntype = \"so101_follower\"\nport = {:?}\n", arm.port);
    std::fs::write(&machine, text).during("write", &machine)?;
    for hz in RATES {
        let load = Load::start();
        let mut command = Command::new(bench.workspace.binary());
        command.args(["--json", "robot", "loop"]).arg(&machine);
        command.args(["--hz", &hz.to_string(), "--seconds", &SECONDS.to_string()]);
        let said = sh::capture(&mut command)?;
        drop(load);
        let trial = last_json(&said, "embody robot loop")?;
        let figures = &trial["report"]["figures"];
        let (turns, missed) = (number(figures, "turns")?, number(figures, "missed")?);
        let late = number(&figures["late"], "p999_us")?;
        let share = missed / (turns + missed).max(1.0);
        let measured = format!(
            "{missed} of {} missed ({:.3} %), p99.9 of lateness {late:.0} µs",
            turns + missed,
            100.0 * share
        );
        let required = format!("≤ {} %", 100.0 * MISSED);
        let name = format!("control loop, 6 servos, {hz} Hz, the other core loaded");
        bench.row(name, measured, required, share <= MISSED && turns > 0.0);
    }
    arm.stop();
    Ok(())
}

/// Whatever is asked of the machine and whatever breaks.
fn faults(bench: &mut Bench<'_>) -> Result<()> {
    let filter = "package(embody_robot) & test(/^runtime::(safety|control|session)/)";
    let (measured, holds) = tests(bench, filter, &[])?;
    let required = "no sequence of goals, faults of the bus, shoves and stops leaves the limits";
    bench.row("the safety layer", measured, required, holds);
    Ok(())
}

/// Recordings cut off.
fn kills(bench: &mut Bench<'_>) -> Result<()> {
    let filter = "package(embody_data) & test(session)";
    let (measured, holds) = tests(bench, filter, &[])?;
    let required = "200 kills and cuts at any byte: at most the last frame is lost";
    bench.row("recordings that were cut off", measured, required, holds);
    Ok(())
}

/// An emulated arm in a process of its own.
struct Emulated {
    process: Child,
    port: String,
}

impl Emulated {
    fn start(bench: &Bench<'_>) -> Result<Self> {
        let mut command = Command::new(bench.workspace.binary());
        command.args(["--json", "robot", "emulate", "so101"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().during("start", "embody robot emulate")?;
        let stdout = process.stdout.take().ok_or_else(|| Fail::new("no stdout"))?;
        let mut line = String::new();
        let mut stdout: BufReader<Box<dyn Read>> = BufReader::new(Box::new(stdout));
        stdout.read_line(&mut line).during("read", "embody robot emulate")?;
        let said: Value = serde_json::from_str(&line).during("read", "embody robot emulate")?;
        let port = said["port"].as_str().ok_or_else(|| Fail::new("it names no port"))?.to_owned();
        Ok(Self { process, port })
    }

    fn stop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Keeps one core busy.
struct Load {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Load {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut x = 1u64;
            while !watched.load(Ordering::Relaxed) {
                for _ in 0..100_000 {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                }
            }
            x
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
