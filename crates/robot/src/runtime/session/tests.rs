use std::sync::mpsc::channel;

use embody_core::TurnRecord;

use super::*;
use crate::robot::Stamp;
use crate::runtime::chunks::{CameraInput, Execution, Planner};
use crate::runtime::clock::HostClock;
use crate::runtime::plant::{Faulty, Plant};
use crate::runtime::safety::{Limits, StopCause};
use crate::runtime::source::Replay;
use crate::runtime::testing::Line;

const HZ: f64 = 200.0;

/// Keeps a session in memory.
#[derive(Default)]
struct Memory(Mutex<Kept>);

#[derive(Default, Clone)]
struct Kept {
    open: Option<Vec<u64>>,
    pictures: Vec<(usize, Duration, u8)>,
    episodes: Vec<(Vec<u64>, Option<bool>)>,
    discarded: usize,
    dropped: u64,
    sources: Vec<String>,
    full_after: Option<usize>,
}

impl Memory {
    fn get<R>(&self, look: impl FnOnce(&mut Kept) -> R) -> R {
        look(&mut self.0.lock().unwrap())
    }
}

impl StreamRecorder for Memory {
    fn begin_episode(&self, _task: &str, _at: Duration) -> Result<()> {
        self.get(|k| k.open = Some(Vec::new()));
        Ok(())
    }
    fn turn(&self, turn: &TurnRecord<'_>) -> Result<()> {
        self.get(|k| {
            if let Some(open) = &mut k.open {
                open.push(turn.number);
                k.sources.push(turn.source.to_owned());
                if k.full_after.is_some_and(|n| open.len() > n) {
                    return Err(Error::new("the disk is full"));
                }
            }
            Ok(())
        })
    }
    fn frame(&self, camera: usize, at: Duration, _: Option<Duration>, rgb: &[u8]) -> Result<()> {
        self.get(|k| k.pictures.push((camera, at, rgb[0])));
        Ok(())
    }
    fn dropped(&self, _stream: &str, count: u64, _at: Duration) -> Result<()> {
        self.get(|k| k.dropped += count);
        Ok(())
    }
    fn end_episode(&self, success: Option<bool>, _at: Duration) -> Result<()> {
        self.get(|k| {
            let turns = k.open.take().unwrap();
            k.episodes.push((turns, success));
        });
        Ok(())
    }
    fn discard_episode(&self) -> Result<()> {
        self.get(|k| (k.open, k.discarded) = (None, k.discarded + 1));
        Ok(())
    }
}

/// Shows its frames' numbers, 50 a second by the session's clock.
struct Counter {
    spec: CameraSpec,
    clock: Arc<dyn Clock>,
    frames: u64,
}

impl Camera for Counter {
    fn spec(&self) -> &CameraSpec {
        &self.spec
    }
    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Stamp> {
        self.frames += 1;
        self.clock.wait_until(Duration::from_millis(20 * self.frames));
        pixels.fill(self.frames as u8);
        Ok(Stamp { received: std::time::Instant::now(), device: None })
    }
}

fn machine() -> (Guard, Faulty) {
    let (robot, faults) = Plant::new(2, HZ);
    let mut limits = Limits::for_robot(crate::robot::Robot::spec(&robot));
    limits.watchdog.ramp_secs = 0.1;
    faults.expect(&limits, None);
    (Guard::new(Box::new(robot), limits, HZ).unwrap(), faults)
}

fn session(guard: Guard, recorder: &Memory) -> Session<'_> {
    let goals: Vec<f32> = (0..4000).map(|i| (i as f32 * 0.01).sin() * 20.0).collect();
    Session {
        guard,
        clock: Arc::new(HostClock::start()),
        source: Box::new(Replay::new(goals, 2, HZ).unwrap()),
        person: None,
        cameras: Vec::new(),
        planner: None,
        recorder: Some(recorder),
        realtime: Realtime::default(),
    }
}

/// Waits until the recorder's state is as wanted.
fn wait(memory: &Memory, is: impl Fn(&Kept) -> bool) {
    let start = std::time::Instant::now();
    while !memory.get(|k| is(k)) {
        assert!(start.elapsed() < Duration::from_secs(30), "it never came");
        std::thread::yield_now();
    }
}

fn open(kept: &Kept) -> usize {
    kept.open.as_ref().map_or(0, Vec::len)
}

#[test]
fn keys_make_episodes_and_every_turn_of_them_is_kept() {
    let memory = Memory::default();
    let (guard, faults) = machine();
    let (keys, events) = channel();
    let session = session(guard, &memory);
    let plan = SessionPlan { episodes: 2, ..SessionPlan::default() };
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            for (n, key) in [Event::Discard, Event::Success, Event::Failure].iter().enumerate() {
                wait(&memory, |k| k.open.is_none() && k.discarded + k.episodes.len() == n);
                keys.send(Event::Next).unwrap();
                wait(&memory, |k| open(k) > 20);
                keys.send(*key).unwrap();
            }
        });
        session.run(plan, &events, &mut |_| {}, &CancelToken::default()).unwrap()
    });
    let kept = memory.get(|k| k.clone());
    assert_eq!((kept.discarded, kept.episodes.len()), (1, 2));
    assert_eq!((kept.episodes[0].1, kept.episodes[1].1), (Some(true), Some(false)));
    for (turns, _) in &kept.episodes {
        let missed = turns[turns.len() - 1] - turns[0] + 1 - turns.len() as u64;
        assert!(missed <= report.control.figures.missed, "{turns:?}");
    }
    let judged: Vec<_> = report.episodes.iter().map(|e| (e.kept, e.success)).collect();
    assert_eq!(judged, [(false, None), (true, Some(true)), (true, Some(false))]);
    assert_eq!(report.control.let_go, Some(StopCause::Asked));
    assert!(report.control.released && !faults.is_on());
    assert_eq!(report.control.dropped_turns, 0);
    assert_eq!(faults.broken(), Vec::<String>::new());
}

#[test]
fn ctrl_c_keeps_the_open_episode_and_lets_the_machine_go() {
    let memory = Memory::default();
    let (guard, faults) = machine();
    let (_keys, events) = channel();
    let cancel = CancelToken::default();
    let session = session(guard, &memory);
    let plan = SessionPlan { pause_secs: Some(0.0), ..SessionPlan::default() };
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait(&memory, |k| open(k) > 50);
            cancel.cancel();
        });
        session.run(plan, &events, &mut |_| {}, &cancel).unwrap()
    });
    assert!(report.cancelled && report.control.released && !faults.is_on());
    let episodes = memory.get(|k| k.episodes.clone());
    assert_eq!((episodes.len(), episodes[0].1), (1, None));
    let torques = faults.torques();
    assert!(torques.len() > 5 && torques.windows(2).all(|w| w[1] < w[0]), "{torques:?}");
}

#[test]
fn a_full_disk_ends_the_session_and_is_its_error() {
    let memory = Memory::default();
    memory.get(|k| k.full_after = Some(30));
    let (guard, faults) = machine();
    let (_keys, events) = channel();
    let plan = SessionPlan { pause_secs: Some(0.0), ..SessionPlan::default() };
    let error = session(guard, &memory)
        .run(plan, &events, &mut |_| {}, &CancelToken::default())
        .unwrap_err();
    assert!(error.to_string().contains("disk is full"));
    assert!(!faults.is_on());
}

#[test]
fn a_bus_that_dies_ends_the_session() {
    let memory = Memory::default();
    let (guard, faults) = machine();
    let (_keys, events) = channel();
    let plan = SessionPlan { pause_secs: Some(0.0), ..SessionPlan::default() };
    let session = session(guard, &memory);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait(&memory, |k| open(k) > 20);
            faults.set(|f| (f.reads, f.commands) = (u32::MAX, u32::MAX));
        });
        session.run(plan, &events, &mut |_| {}, &CancelToken::default()).unwrap()
    });
    assert_eq!(report.control.let_go, Some(StopCause::Bus));
    assert!(report.clips["machine"]["hold"] > 0);
    assert_eq!(memory.get(|k| k.episodes.len()), 1);
}

#[test]
fn a_policy_acts_on_pictures_while_they_are_recorded() {
    let memory = Memory::default();
    let (guard, _) = machine();
    let spec = guard.spec().clone();
    let camera = CameraSpec { name: "front".into(), height: 4, width: 6, fps: 50.0 };
    let (newest, seen) = newest_picture(&camera);
    let mut policy = Line::new(2, 20, 50.0);
    policy.see("observation.images.front", [4, 6, 3]);
    let input = CameraInput { key: "observation.images.front".into(), size: (4, 6), latest: seen };
    let how = Execution::RealTime { horizon: 5 };
    let (planner, chunks) = Planner::new(Box::new(policy), &spec, vec![input], how, 50.0).unwrap();
    let mut session = session(guard, &memory);
    let counter = Counter { spec: camera, clock: Arc::clone(&session.clock), frames: 0 };
    session.source = Box::new(chunks);
    session.planner = Some(planner);
    session.cameras = vec![(Box::new(counter), Some(newest))];
    let plan =
        SessionPlan { pause_secs: Some(0.0), episode_secs: Some(0.6), ..SessionPlan::default() };
    let (_keys, events) = channel();
    let report = session.run(plan, &events, &mut |_| {}, &CancelToken::default()).unwrap();
    let chunks = report.control.chunks.unwrap();
    assert!(chunks.inferences > 1, "{chunks:?}");
    let kept = memory.get(|k| k.clone());
    assert!(kept.sources.iter().all(|s| s == "policy"));
    // On a machine that is busy elsewhere some may be dropped, and every one of them is counted.
    let (came, camera) = (kept.pictures.len() as u64, &report.cameras[0]);
    assert_eq!(came + camera.dropped, camera.frames);
    assert_eq!(kept.dropped, camera.dropped);
    assert!(came > 10 && kept.pictures.windows(2).all(|w| w[1].1 > w[0].1), "{came}");
}

/// `EMBODY_LOOP_SECS=30` makes the long one; `--nocapture` shows the figures.
#[test]
fn the_trial_of_a_loop_tells_its_figures() {
    let secs = std::env::var("EMBODY_LOOP_SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.5);
    for hz in [60.0, 200.0] {
        let (robot, faults) = Plant::new(6, hz);
        let realtime = Realtime { priority: Some(50), lock_memory: false };
        let cancel = CancelToken::default();
        let trial =
            crate::runtime::measure_loop(Box::new(robot), hz, secs, realtime, &cancel).unwrap();
        let figures = trial.report.figures;
        println!("{hz} Hz: {figures:?}, refused: {:?}", trial.refused);
        let all = (figures.turns + figures.missed) as f64;
        assert!((all - hz * secs).abs() <= 0.05 * hz * secs + 2.0, "{figures:?}");
        assert!(figures.late.p50_us <= figures.late.p999_us);
        assert!(figures.late.p999_us <= figures.late.max_us);
        assert!(trial.refused.len() <= 1);
        assert!(trial.report.released && !faults.is_on());
        assert_eq!(faults.get(|f| f.positions.clone()), [0.0; 6]);
    }
}
