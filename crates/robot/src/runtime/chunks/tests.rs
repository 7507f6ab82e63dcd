use std::time::Duration;

use super::*;
use crate::robot::{Joint, JointUnit, Reading, RobotSpec};
use crate::runtime::testing::Line;

const FPS: f64 = 50.0;

/// 100 turns a second with a policy of 50 actions a second whose inference takes `delay` turns;
/// `predict` gives the chunk of inference number `n` for an observation at `secs`. What each turn
/// was given.
fn run(
    how: Execution,
    (len, turns, delay): (usize, u64, u64),
    mut predict: impl FnMut(u64, f64) -> Vec<f32>,
) -> (Vec<Option<f32>>, ChunkFigures) {
    let (mut chunks, mut requests, mut answers) = sides(how, (1, len), FPS).unwrap();
    let reading = Reading::new(1);
    let mut out = Vec::new();
    let mut at_work: Option<(u64, Duration)> = None;
    let mut count = 0;
    for turn in 0..turns {
        let now = Duration::from_millis(10 * turn);
        if let Some((_, at)) = at_work.filter(|(ready, _)| *ready <= turn) {
            let actions = predict(count, at.as_secs_f64());
            count += 1;
            answers.write(|chunk| *chunk = Chunk { round: 0, at, actions });
            at_work = None;
        }
        let mut goals = [f32::NAN];
        let given = chunks.next(&Seen { turn, now, reading: &reading }, &mut goals).unwrap();
        out.push((given == Given::Goals).then_some(goals[0]));
        if at_work.is_none()
            && let Some(request) = requests.take()
            && request.wanted
        {
            at_work = Some((turn + delay.max(1), request.at));
        }
    }
    (out, chunks.figures())
}

/// What the chunks say is where time is: 10 units a second.
fn line(len: usize) -> impl Fn(u64, f64) -> Vec<f32> {
    move |_, secs| (0..len).map(|i| (10.0 * (secs + i as f64 / FPS)) as f32).collect()
}

const ALL: [Execution; 3] = [
    Execution::Sequence { steps: 12 },
    Execution::Ensemble { coefficient: 0.01 },
    Execution::RealTime { horizon: 6 },
];

#[test]
fn actions_belong_to_their_time_whatever_inference_takes() {
    for how in ALL {
        for delay in [1, 3, 9] {
            let (goals, figures) = run(how, (20, 400, delay), line(20));
            for (turn, goal) in goals.iter().enumerate().skip(delay as usize) {
                let goal = goal.unwrap_or_else(|| panic!("{how:?} {delay}: none in turn {turn}"));
                assert!((goal - 0.1 * turn as f32).abs() < 1e-3, "{how:?} {delay}: {turn} {goal}");
            }
            assert_eq!(figures.late_turns, 0, "{how:?} {delay}");
            assert!(figures.inferences > 5 && (figures.delay_secs - 0.01 * delay as f64) < 1e-9);
        }
    }
}

#[test]
fn an_inference_that_comes_too_late_is_counted_and_nothing_is_made_up() {
    // A chunk lasts 0.4 s, inference takes 0.6 s.
    for how in ALL {
        let (goals, figures) = run(how, (20, 600, 60), line(20));
        let none = goals.iter().filter(|g| g.is_none()).count() as u64;
        assert!(figures.late_turns > 100, "{how:?} {figures:?}");
        // Before the first chunk nothing was late.
        assert_eq!(figures.late_turns + 60, none, "{how:?}");
    }
}

#[test]
fn the_weights_are_those_of_the_paper() {
    // H = 10, d = 3, s = 2: eight actions overlap.
    let weights: Vec<f64> = (0..10).map(|i| weight(i, 3, 8)).collect();
    assert_eq!(weights[..3], [1.0; 3]);
    assert_eq!(weights[8..], [0.0; 2]);
    let e = std::f64::consts::E;
    for (i, weight) in weights.iter().enumerate().take(8).skip(3) {
        let c = (8 - i) as f64 / 6.0;
        assert!((weight - c * (c.exp() - 1.0) / (e - 1.0)).abs() < 1e-12);
    }
    assert!(weights.windows(2).all(|w| w[1] <= w[0]));
    // Everything passed: nothing is left to go over.
    assert_eq!(weight(9, 10, 8), 1.0);
}

/// Every second chunk says 1, the others 0: two ways around an obstacle.
fn undecided(n: u64, _: f64) -> Vec<f32> {
    vec![(n % 2) as f32; 20]
}

#[test]
fn real_time_chunking_goes_over_where_a_plain_switch_jumps() {
    let jump = |how| {
        let (goals, _) = run(how, (20, 300, 4), undecided);
        let goals: Vec<f32> = goals.into_iter().flatten().collect();
        goals.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    };
    assert_eq!(jump(Execution::Sequence { steps: 6 }), 1.0);
    let soft = jump(Execution::RealTime { horizon: 6 });
    assert!(soft < 0.2, "{soft}");
}

#[test]
fn the_ensemble_is_acts() {
    // Inference takes a turn and begins every other turn, when an action is over.
    let (goals, _) = run(Execution::Ensemble { coefficient: 0.1 }, (5, 40, 1), |n, _| {
        (0..5).map(|i| (n * 7 % 11) as f32 + i as f32 * 0.3).collect()
    });
    let say = |n: u64, turn: u64| {
        let place = (turn - 2 * n) as f64 / 2.0;
        (place <= 4.0).then_some((n * 7 % 11) as f64 + place * 0.3)
    };
    for turn in 1..40u64 {
        let chunks: Vec<f64> = (0..turn.div_ceil(2)).filter_map(|n| say(n, turn)).collect();
        let weight = |r: usize| (-0.1 * r as f64).exp();
        let total: f64 = (0..chunks.len()).map(weight).sum();
        let mean = chunks.iter().enumerate().map(|(r, c)| weight(r) * c).sum::<f64>() / total;
        let goal = f64::from(goals[turn as usize].unwrap());
        assert!((goal - mean).abs() < 1e-4, "turn {turn}: {goal}, {mean}");
    }
}

fn spec(joints: usize) -> RobotSpec {
    let joint = |i| Joint {
        name: format!("joint_{i}"),
        unit: JointUnit::Degrees,
        low: -180.0,
        high: 180.0,
    };
    RobotSpec { robot_type: "line".into(), joints: (0..joints).map(joint).collect() }
}

#[test]
fn a_beginning_makes_earlier_chunks_void() {
    let how = Execution::Sequence { steps: 5 };
    let (mut planner, mut chunks) =
        Planner::new(Box::new(Line::new(1, 10, FPS)), &spec(1), Vec::new(), how, FPS).unwrap();
    let mut reading = Reading::new(1);
    let mut next = |chunks: &mut Chunks, turn: u64, position: f32| {
        reading.positions[0] = position;
        let now = Duration::from_millis(10 * turn);
        let mut goals = [f32::NAN];
        let given = chunks.next(&Seen { turn, now, reading: &reading }, &mut goals).unwrap();
        (given == Given::Goals).then_some(goals[0])
    };
    assert_eq!(next(&mut chunks, 0, 1.0), None);
    assert!(planner.poll().unwrap());
    assert!(!planner.poll().unwrap());
    assert_eq!(next(&mut chunks, 1, 1.0), Some(1.1));
    // A person took over and gave the machine back elsewhere.
    chunks.begin();
    assert_eq!(next(&mut chunks, 2, 50.0), None);
    assert!(planner.poll().unwrap());
    assert_eq!(next(&mut chunks, 3, 50.0), Some(50.1));
}

#[test]
fn a_policy_for_another_machine_is_refused_by_name() {
    let how = Execution::Sequence { steps: 5 };
    let refused = |dim, joints, how| {
        let line = Box::new(Line::new(dim, 10, FPS));
        Planner::new(line, &spec(joints), Vec::new(), how, FPS).err().unwrap().to_string()
    };
    assert!(refused(2, 3, how).contains("3 joints"));
    assert!(refused(2, 2, Execution::Sequence { steps: 11 }).contains("steps"));
    assert!(refused(2, 2, Execution::RealTime { horizon: 0 }).contains("horizon"));
}
