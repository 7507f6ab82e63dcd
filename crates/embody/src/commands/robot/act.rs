//! `embody robot teleop | record | replay | run`: sessions on a machine.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::SystemTime;

use embody_core::{DataView, Error, Result, StreamRecorder};
use embody_data::{Dataset, PictureCoding, SessionCamera, SessionRecorder, SessionSpec};
use embody_robot::{
    Camera, CameraInput, Clip, Clock, Event, Execution, Guard, HostClock, LoopFigures, Planner,
    Replay, Session, SessionPlan, SessionReport, Source, Still, Teleoperation, Teleoperator,
    Watched, measure_loop, newest_picture,
};
use serde_json::json;

use super::machine::Machine;
use crate::App;
use crate::cli::{RecordFlags, ReplayFlags, RunPolicyFlags, SessionFlags};
use crate::steps::policy::load;
use crate::ui::{print_data, say};

const KEYS: &str = "Enter or space: next · s: succeeded · f: failed · d: do again · q: end · \
                    Esc or !: EMERGENCY STOP";

/// What is the same in all sessions.
struct Opened {
    machine: Machine,
    guard: Guard,
}

fn open(app: &App<'_>, flags: &SessionFlags) -> Result<Opened> {
    let mut machine = Machine::read(&flags.machine)?;
    if let Some(hz) = flags.hz {
        machine.hz = hz;
    }
    let guard = machine.open(&app.config.assets)?;
    Ok(Opened { machine, guard })
}

fn person(machine: &Machine) -> Result<Box<dyn Teleoperator>> {
    let leader = machine.leader.as_ref().ok_or_else(|| {
        Error::new("the machine's file has no [leader]").with_hint(
            "say what moves it, such as: [leader] type = \"so101_leader\", port = \"/dev/ttyACM1\"",
        )
    })?;
    leader.open()
}

/// Moves the machine by hand.
///
/// # Errors
/// As a session's.
pub fn teleop(app: &App<'_>, flags: &SessionFlags) -> Result<()> {
    let Opened { machine, guard } = open(app, flags)?;
    let source = Box::new(Teleoperation(person(&machine)?));
    let plan = SessionPlan {
        episodes: 1,
        episode_secs: flags.seconds,
        pause_secs: Some(0.0),
        ..SessionPlan::default()
    };
    go(app, Parts { source, ..Parts::of(machine, guard) }, plan)
}

/// Records demonstrations.
///
/// # Errors
/// As a session's, or when the recording can't be written.
pub fn record(app: &App<'_>, flags: &RecordFlags) -> Result<()> {
    let session = &flags.session;
    let Opened { machine, guard } = open(app, session)?;
    let source: Box<dyn Source> = Box::new(Teleoperation(person(&machine)?));
    let plan = SessionPlan {
        task: flags.task.clone(),
        episodes: flags.episodes,
        episode_secs: session.seconds,
        pause_secs: flags.pause,
    };
    let parts = Parts { source, out: Some((&flags.out, flags.fps)), ..Parts::of(machine, guard) };
    go(app, parts, plan)
}

/// Moves the machine as it was moved in a recorded episode.
///
/// # Errors
/// As a session's, or when there is no such episode or it is another machine's.
pub fn replay(app: &App<'_>, flags: &ReplayFlags) -> Result<()> {
    let Opened { machine, guard } = open(app, &flags.session)?;
    let dataset = Dataset::open_any(&flags.dataset)?;
    let table = dataset.episode_table(flags.episode)?;
    let joints = guard.spec().joints.len();
    let actions = match table.get("action").map(|a| a.view().data) {
        Some(DataView::F32(values)) => values.to_vec(),
        _ => {
            let what = format!("{} has no `action` of float32", flags.dataset.display());
            return Err(Error::new(what).with_hint("`embody data inspect` says what it has"));
        }
    };
    let source = Box::new(Replay::new(actions, joints, dataset.fps())?);
    let plan = SessionPlan {
        episodes: 1,
        episode_secs: flags.session.seconds,
        pause_secs: Some(0.0),
        ..SessionPlan::default()
    };
    go(app, Parts { source, ..Parts::of(machine, guard) }, plan)
}

/// Lets a policy act, episode after episode.
///
/// # Errors
/// As a session's, or when the policy can't be loaded or wants something that is not there.
pub fn run(app: &App<'_>, flags: &RunPolicyFlags) -> Result<()> {
    let session = &flags.session;
    let Opened { machine, guard } = open(app, session)?;
    let about = embody_learn::describe(&flags.policy)?;
    let policy = load(
        &flags.policy,
        None,
        flags.instruction.as_deref(),
        app.config.threads,
        app.config.backend,
    )?;
    let how = match (flags.ensemble, flags.real_time) {
        (Some(coefficient), _) => Execution::Ensemble { coefficient },
        (None, Some(horizon)) => Execution::RealTime { horizon },
        (None, None) => Execution::Sequence { steps: policy.spec().n_action_steps },
    };
    let mut parts = Parts::of(machine, guard);
    let mut inputs = Vec::new();
    for (name, file) in &parts.machine.cameras {
        let camera = file.open(name)?;
        let (writer, latest) = newest_picture(camera.spec());
        let size = (camera.spec().height, camera.spec().width);
        inputs.push(CameraInput { key: format!("observation.images.{name}"), size, latest });
        parts.cameras.push((camera, Some(writer)));
    }
    let (planner, chunks) = Planner::new(policy, parts.guard.spec(), inputs, how, about.fps)?;
    if parts.machine.leader.is_some() {
        parts.person = Some(person(&parts.machine)?);
    }
    parts.source = Box::new(chunks);
    parts.planner = Some(planner);
    parts.out = flags.out.as_deref().map(|out| (out, about.fps));
    let plan = SessionPlan {
        task: flags.task.clone().unwrap_or_default(),
        episodes: flags.episodes,
        episode_secs: session.seconds,
        pause_secs: flags.pause,
    };
    go(app, parts, plan)
}

/// What a session is put together from.
struct Parts<'a> {
    machine: Machine,
    guard: Guard,
    source: Box<dyn Source>,
    person: Option<Box<dyn Teleoperator>>,
    cameras: Vec<Watched>,
    planner: Option<Planner>,
    /// Where it is recorded, and frames per second of the dataset to come.
    out: Option<(&'a Path, f64)>,
}

impl Parts<'_> {
    fn of(machine: Machine, guard: Guard) -> Self {
        Self {
            machine,
            guard,
            source: Box::new(Still),
            person: None,
            cameras: Vec::new(),
            planner: None,
            out: None,
        }
    }
}

fn go(app: &App<'_>, parts: Parts<'_>, plan: SessionPlan) -> Result<()> {
    let Parts { machine, guard, source, person, mut cameras, planner, out } = parts;
    if out.is_some() && cameras.is_empty() {
        for (name, file) in &machine.cameras {
            cameras.push((file.open(name)?, None));
        }
    }
    let clock: Arc<dyn Clock> = Arc::new(HostClock::start());
    let recorder = match out {
        None => None,
        Some((folder, fps)) => {
            let spec = guard.spec();
            let camera = |(camera, _): &(Box<dyn Camera>, _)| {
                let spec = camera.spec();
                let (height, width) = (spec.height, spec.width);
                SessionCamera { name: spec.name.clone(), height, width, fps: spec.fps }
            };
            let spec = SessionSpec {
                robot_type: spec.robot_type.clone(),
                joints: spec.joints.iter().map(|joint| joint.name.clone()).collect(),
                control_hz: machine.hz,
                cameras: cameras.iter().map(camera).collect(),
                fps,
                pictures: PictureCoding::default(),
            };
            Some(SessionRecorder::create(folder, spec, SystemTime::now())?)
        }
    };
    let recorder_ref = recorder.as_ref().map(|recorder| recorder as &dyn StreamRecorder);
    let session = Session {
        guard,
        clock,
        source,
        person,
        cameras,
        planner,
        recorder: recorder_ref,
        realtime: machine.realtime,
    };
    let events = events();
    say(KEYS);
    let mut on_clip = |clip: &Clip| {
        let causes: Vec<_> = clip.causes.iter().map(|cause| cause.as_str()).collect();
        let Clip { turn, joint, wanted, given, .. } = clip;
        tracing::info!(turn, joint, ?causes, wanted, given, "goal changed");
    };
    let report = session.run(plan, &events, &mut on_clip, app.task.cancel)?;
    show(app, &report, recorder.as_ref().map(SessionRecorder::folder));
    if report.cancelled { Err(Error::cancelled()) } else { Ok(()) }
}

/// Measures how the loop keeps its deadlines on a machine that holds where it is.
///
/// # Errors
/// When the machine can't be opened or switched on.
pub fn measure(app: &App<'_>, flags: &SessionFlags) -> Result<()> {
    let machine = Machine::read(&flags.machine)?;
    let hz = flags.hz.unwrap_or(machine.hz);
    let (secs, realtime) = (flags.seconds.unwrap_or(10.0), machine.realtime);
    let trial = measure_loop(machine.robot.open()?, hz, secs, realtime, app.task.cancel)?;
    if app.json {
        print_data(&json!(trial).to_string());
        return Ok(());
    }
    print_data(&figures(&trial.report.figures));
    say(&format!("{} damaged or missing answers", trial.report.bus_errors));
    trial.refused.iter().for_each(|refused| say(refused));
    Ok(())
}

/// How deadlines were kept, in a line.
fn figures(of: &LoopFigures) -> String {
    let LoopFigures { hz, turns, missed, late, work, .. } = of;
    let share = 100.0 * of.missed_part();
    format!(
        "{hz} Hz: {turns} turns, {missed} deadlines missed ({share:.3} %); late p50 {:.0}, p99 {:.0}, \
         p99.9 {:.0}, at most {:.0} µs; work p50 {:.0}, p99.9 {:.0} µs",
        late.p50_us, late.p99_us, late.p999_us, late.max_us, work.p50_us, work.p999_us
    )
}

/// What a person says: keys on a terminal, words in lines elsewhere.
fn events() -> Receiver<Event> {
    let (tell, events) = mpsc::channel();
    thread::spawn(move || match std::io::stdin().is_terminal() {
        true => by_key(&tell),
        false => by_word(&tell),
    });
    events
}

fn by_key(tell: &Sender<Event>) {
    use console::Key;
    let terminal = console::Term::stderr();
    while let Ok(key) = terminal.read_key() {
        let event = match key {
            Key::Enter | Key::Char(' ') => Event::Next,
            Key::Char('s') => Event::Success,
            Key::Char('f') => Event::Failure,
            Key::Char('d') => Event::Discard,
            Key::Char('q') => Event::Quit,
            Key::Escape | Key::Char('!') => Event::Emergency,
            _ => continue,
        };
        if tell.send(event).is_err() {
            return;
        }
    }
}

fn by_word(tell: &Sender<Event>) {
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let event = match line.trim() {
            "next" | "" => Event::Next,
            "success" => Event::Success,
            "failure" => Event::Failure,
            "discard" => Event::Discard,
            "quit" => Event::Quit,
            "stop" => Event::Emergency,
            other => {
                say(&format!("`{other}`: next, success, failure, discard, quit or stop"));
                continue;
            }
        };
        if tell.send(event).is_err() {
            return;
        }
    }
}

fn show(app: &App<'_>, report: &SessionReport, folder: Option<&Path>) {
    if app.json {
        print_data(&json!({ "report": report, "recording": folder }).to_string());
        return;
    }
    for (number, episode) in report.episodes.iter().enumerate() {
        let judged = match (episode.kept, episode.success) {
            (false, _) => "forgotten",
            (true, Some(true)) => "succeeded",
            (true, Some(false)) => "failed",
            (true, None) => "kept",
        };
        print_data(&format!("episode {number:<4} {:>6.1} s  {judged}", episode.secs));
    }
    print_data(&figures(&report.control.figures));
    for (joint, causes) in &report.clips {
        let causes: Vec<String> = causes.iter().map(|(c, n)| format!("{c} {n}")).collect();
        say(&format!("goals changed of {joint}: {}", causes.join(", ")));
    }
    for refused in &report.refused {
        say(refused);
    }
    if let Some(folder) = folder {
        say(&format!("recording  {}", folder.display()));
        say(&format!("a dataset  embody data import {} DATASET", folder.display()));
    }
}
