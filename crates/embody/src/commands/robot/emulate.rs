//! `embody robot emulate`: an arm that exists in software, and the orders that it takes.

use std::io::BufRead as _;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use embody_core::{CancelToken, Error, IoContext, Result};
use embody_robot::emulator::{Emulator, EmulatorConfig, Fault, FaultRates, FirstOrder, Mechanism};
use embody_sim::{EnvOptions, LiveScene, show};
use serde_json::json;

use super::scene::{SceneArm, SharedScene, serve_camera};
use crate::App;
use crate::cli::EmulateFlags;
use crate::ui::{print_data, say};

/// How often it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// Steps of an STS3215 in a turn.
const STEPS: f64 = 4096.0;
/// Pieces of a hand's way, and how long each takes.
const SWEEP: u32 = 50;
const GLIDE: Duration = Duration::from_millis(10);

/// Serves the arm until Ctrl-C, `quit` or a stdin that says no more while nobody is at a terminal.
///
/// # Errors
/// When the task is unknown or no pseudo-terminal can be had.
pub fn run(app: &App<'_>, flags: &EmulateFlags) -> Result<()> {
    for (name, share) in [("drop", flags.drop), ("corrupt", flags.corrupt)] {
        if !(0.0..=1.0).contains(&share) {
            let hint = format!("write a share from 0 to 1, such as `--{name} 0.01`");
            return Err(Error::new(format!("`--{name}` is {share}")).with_hint(hint));
        }
    }
    let options = || EnvOptions::new(&app.config.assets);
    let mut config = EmulatorConfig { link: flags.port.clone(), ..EmulatorConfig::so101() };
    let mut scene = None;
    let arm = FirstOrder::so101();
    let mut ranges: Vec<[f64; 2]> = arm.stops.iter().map(|(low, high)| [*low, *high]).collect();
    let mechanism: Box<dyn Mechanism> = match &flags.task {
        None => Box::new(arm),
        Some(task) => {
            let shared = SharedScene::new(task, options(), flags.seed)?;
            let arm = SceneArm::new(shared.clone());
            if arm.positions().len() != config.servos.len() {
                let joints = arm.positions().len();
                let what = format!("task `{task}` has {joints} joints, the arm six servos");
                return Err(Error::new(what).with_hint("take one of the so101 tasks"));
            }
            ranges = shared.lock().ranges();
            for ((servo, position), range) in
                config.servos.iter_mut().zip(arm.positions()).zip(&ranges)
            {
                servo.position = *position;
                servo.registers = calibrated(servo.id, *range);
            }
            scene = Some((task, shared));
            Box::new(arm)
        }
    };
    let mut emulator = Emulator::start(config, mechanism)?;
    emulator.set_faults(FaultRates {
        drop_answer: flags.drop,
        corrupt_answer: flags.corrupt,
        ..FaultRates::default()
    });
    let port = emulator.path().display().to_string();
    let mut cameras: Vec<JoinHandle<Result<()>>> = Vec::new();
    let over = CancelToken::default();
    let mut sockets = Vec::new();
    if let (Some(folder), Some((task, shared))) = (&flags.cameras, &scene) {
        std::fs::create_dir_all(folder).at("make", folder)?;
        for camera in show(task)?.cameras.iter().filter(|c| c.name != "overview") {
            let path = folder.join(format!("{}.sock", camera.name));
            sockets.push(path.display().to_string());
            let (shared, over, name) = (shared.clone(), over.clone(), camera.name);
            let own = LiveScene::new(task, options())?;
            let (size, fps) = ((flags.size[0], flags.size[1]), flags.fps);
            cameras.push(thread::spawn(move || {
                serve_camera(&path, (&shared, own), (name, size, fps), &over)
            }));
        }
    }
    if app.json {
        print_data(&json!({ "port": port, "cameras": sockets }).to_string());
    } else {
        print_data(&port);
        say("six STS3215 at 1,000,000 baud, ids 1 to 6; Ctrl-C ends it");
        sockets.iter().for_each(|socket| say(&format!("camera {socket}")));
    }
    let orders = orders();
    while !app.task.cancel.is_cancelled() && !cameras.iter().any(JoinHandle::is_finished) {
        match orders.recv_timeout(PATIENCE) {
            Ok(line) => {
                match order(&line, &mut emulator, (scene.as_ref().map(|s| &s.1), &ranges)) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => crate::ui::print_error(&error),
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // Nobody gives orders any more: only a signal ends it.
            Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(PATIENCE),
        }
    }
    over.cancel();
    for camera in cameras {
        camera.join().unwrap_or_else(|_| Err(Error::new("a camera's thread panicked")))?;
    }
    Ok(())
}

/// A calibrated servo's limits: its joint's range, and the whole turn for the wrist's roll, as LeRobot
/// has it.
fn calibrated(id: u8, range: [f64; 2]) -> Vec<(String, i32)> {
    const ROLL: u8 = 5;
    let steps = |radians: f64| (STEPS / 2.0 + radians / std::f64::consts::TAU * STEPS).round();
    let [low, high] = if id == ROLL { [0.0, STEPS - 1.0] } else { range.map(steps) };
    [("Min_Position_Limit", low), ("Max_Position_Limit", high)]
        .map(|(name, value)| (name.to_owned(), value as i32))
        .into()
}

/// A hand moves each joint to both its ends and back to the middle, the motors being limp.
fn sweep(emulator: &Emulator, ranges: &[[f64; 2]]) {
    for (id, [low, high]) in (1..).zip(ranges) {
        let middle = (low + high) / 2.0;
        for (from, to) in [(middle, *low), (*low, *high), (*high, middle)] {
            for step in 0..=SWEEP {
                let share = f64::from(step) / f64::from(SWEEP);
                emulator.hand(id, Some(from + (to - from) * share));
                thread::sleep(GLIDE);
            }
        }
        emulator.hand(id, None);
    }
}

/// Lines of stdin, from a thread that ends with the program.
fn orders() -> mpsc::Receiver<String> {
    let (tell, orders) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// Carries out one order; false where it was the last.
fn order(
    line: &str,
    emulator: &mut Emulator,
    (scene, ranges): (Option<&SharedScene>, &[[f64; 2]]),
) -> Result<bool> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let refuse = || {
        Error::new(format!("`{line}` is no order")).with_hint(
            "reset [SEED], sweep, drop, corrupt, lose, vanish ID, back ID, overload ID, unplug, plug, \
             quit",
        )
    };
    let id = || words.get(1).and_then(|id| id.parse::<u8>().ok()).ok_or_else(refuse);
    match words.first().copied() {
        None => {}
        Some("quit") => return Ok(false),
        Some("reset") => {
            let scene = scene.ok_or_else(|| {
                Error::new("there is no scene to lay out").with_hint("start it with `--task`")
            })?;
            let mut scene = scene.lock();
            let next = scene.state().0.wrapping_add(1);
            let seed = match words.get(1) {
                Some(seed) => seed.parse().map_err(|_| refuse())?,
                None => next,
            };
            scene.reset(seed)?;
            say(&format!("laid out for episode {seed}"));
        }
        Some("sweep") => sweep(emulator, ranges),
        Some("drop") => emulator.order(Fault::DropAnswer),
        Some("corrupt") => emulator.order(Fault::CorruptAnswer),
        Some("lose") => emulator.order(Fault::LoseInstruction),
        Some("vanish") => emulator.vanish(id()?, true),
        Some("back") => emulator.vanish(id()?, false),
        Some("overload") => emulator.overload(id()?),
        Some("unplug") => emulator.unplug(),
        Some("plug") => say(&emulator.plug_in()?.display().to_string()),
        Some(_) => return Err(refuse()),
    }
    Ok(true)
}
