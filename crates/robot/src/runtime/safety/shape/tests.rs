use proptest::prelude::*;

use super::*;

/// The way until rest, added up turn by turn.
fn way(mut speed: f64, gain: f64, dt: f64) -> f64 {
    let mut sum = 0.0;
    while speed > 0.0 {
        sum += speed * dt;
        speed -= gain;
    }
    sum
}

proptest! {
    #[test]
    fn braking_uses_the_distance_and_no_more(
        distance in 0.0..300.0f64, acceleration in 1.0..5000.0f64, hz in 20.0..500.0f64,
    ) {
        let dt = 1.0 / hz;
        let speed = braking(distance, acceleration * dt, dt);
        let used = way(speed, acceleration * dt, dt);
        prop_assert!((used - distance).abs() < 1e-6 * (1.0 + distance), "{used} of {distance}");
    }
}

const LIMITS: JointLimits = JointLimits {
    low: -90.0,
    high: 60.0,
    speed: 100.0,
    acceleration: 500.0,
    step: 10.0,
    load: 0.5,
};
const DT: f64 = 0.01;

fn shaped(before: Moved, present: f32, load: f32, wanted: f32) -> (f32, Vec<Cause>) {
    let mut causes = Causes::default();
    let goal = shape(&LIMITS, DT, before, (present, load), wanted, &mut causes);
    (goal, causes.iter().collect())
}

const REST: Moved = Moved { goal: 0.0, speed: 0.0 };

#[test]
fn each_limit_says_that_it_was_the_one() {
    assert_eq!(shaped(REST, 0.0, 0.0, 0.04), (0.04, vec![]));
    assert_eq!(shaped(REST, 0.0, 0.0, f32::NAN), (0.0, vec![Cause::NotFinite]));
    assert_eq!(shaped(REST, 0.0, 0.0, f32::NEG_INFINITY).1[0], Cause::NotFinite);
    // From rest, one turn at 500/s² gives 5/s, or 0.05 in 10 ms.
    assert_eq!(shaped(REST, 0.0, 0.0, 0.5), (0.05, vec![Cause::Acceleration]));
    let fast = Moved { goal: 0.0, speed: 100.0 };
    assert_eq!(shaped(fast, 0.0, 0.0, 5.0), (1.0, vec![Cause::Speed]));
    assert_eq!(shaped(fast, -9.5, 0.0, 0.9), (0.5, vec![Cause::Step]));
    assert_eq!(shaped(fast, 0.0, 0.6, 0.9), (0.0, vec![Cause::Load]));
    assert_eq!(shaped(fast, 0.0, -0.6, 0.9), (0.9, vec![]));
    assert_eq!(shaped(fast, 0.0, 0.0, 0.0), (0.0, vec![]));
}

#[test]
fn a_joint_slows_down_before_the_end_of_its_range() {
    let mut moved = Moved { goal: 0.0, speed: 0.0 };
    let mut braked = false;
    for _ in 0..400 {
        let (goal, causes) = shaped(moved, moved.goal, 0.0, 1000.0);
        let speed = f64::from(goal - moved.goal) / DT;
        assert!(speed >= moved.speed - 5.0 - 0.01, "{speed} after {}", moved.speed);
        braked |= speed < moved.speed - 1.0 && causes.contains(&Cause::Range);
        moved = Moved { goal, speed };
    }
    assert!(braked);
    assert!((moved.goal - 60.0).abs() < 1e-3, "{moved:?}");
}

#[test]
fn a_joint_that_was_pushed_away_is_followed_not_fought() {
    let mut moved = Moved { goal: 40.0, speed: 0.0 };
    for _ in 0..200 {
        let (goal, causes) = shaped(moved, 0.0, 0.0, 40.0);
        assert!(goal <= moved.goal && causes.contains(&Cause::Step));
        moved = Moved { goal, speed: f64::from(goal - moved.goal) / DT };
    }
    assert_eq!(moved.goal, 10.0);
}
