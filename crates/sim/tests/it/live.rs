//! What an emulated robot stands on: scenes that go by time, and the arm as geometry.

use embody_sim::{ArmModel, EnvOptions, LiveScene};

use crate::{TASK, assets};

fn scene() -> Option<LiveScene> {
    Some(LiveScene::new(TASK, EnvOptions::new(assets()?)).expect("a scene"))
}

fn positions(scene: &LiveScene) -> [f64; 6] {
    let (mut at, mut velocity, mut load) = ([0.0; 6], [0.0; 6], [0.0; 6]);
    scene.joints_into(&mut at, &mut velocity, &mut load);
    assert!(load.iter().all(|l| l.abs() <= 1.0 + 1e-9), "{load:?}");
    at
}

#[test]
fn servos_hold_and_limp_ones_sink() {
    let Some(mut scene) = scene() else { return };
    let home = positions(&scene);
    scene.advance(1.0, &home, &[1.0; 6]).expect("a second");
    for (now, then) in positions(&scene).iter().zip(home) {
        assert!((now - then).abs() < 0.02, "held within a degree: {now} and {then}");
    }
    scene.reset(0).expect("laid out anew");
    assert_eq!(positions(&scene), home);
    scene.advance(2.0, &home, &[0.0; 6]).expect("two seconds");
    let sunk = positions(&scene);
    assert!(sunk[2] - home[2] > 0.15, "the elbow sinks: {sunk:?}, from {home:?}");
}

#[test]
fn time_in_pieces_is_the_same_time() {
    let (Some(mut whole), Some(mut pieces)) = (scene(), scene()) else { return };
    let mut goals = positions(&whole);
    goals[0] += 0.4;
    whole.advance(0.6, &goals, &[1.0; 6]).expect("whole");
    for _ in 0..500 {
        pieces.advance(0.0012, &goals, &[1.0; 6]).expect("a piece");
    }
    assert_eq!(positions(&whole), positions(&pieces));
    assert!((positions(&whole)[0] - goals[0]).abs() < 0.02, "and it gets there");
}

#[test]
fn rules_of_the_task_hold() {
    let Some(mut scene) = scene() else { return };
    let home = positions(&scene);
    scene.advance(0.5, &home, &[1.0; 6]).expect("half a second");
    let (reward, success) = scene.outcome();
    assert!(reward > 0.0 && !success, "near the cube, and no more: {reward}");
    let observations = scene.observations();
    let state = observations.arrays["observation.state"].as_f32().expect("state");
    assert!((f64::from(state[0]) - home[0].to_degrees()).abs() < 1.0);
    let picture = scene.picture("wrist", (48, 64)).expect("a picture");
    assert_eq!(picture.data.len(), 48 * 64 * 3);
}

#[test]
fn what_has_no_servos_is_refused() {
    let Some(assets) = assets() else { return };
    let error = LiveScene::new("pusht", EnvOptions::new(assets)).err().expect("refused");
    assert!(error.to_string().contains("servos"), "{error}");
}

const HOME: [f32; 6] = [0.0, -62.0, 52.0, 78.0, 90.0, 8.0];

#[test]
fn the_tool_goes_where_it_is_sent() {
    let Some(assets) = assets() else { return };
    let mut arm = ArmModel::so101(&assets).expect("the arm");
    let (point, forward, closing) = arm.grip(&HOME);
    let wanted = [point[0] + 0.02, point[1] - 0.03, point[2] + 0.01];
    let (units, left) = arm.reach(&HOME, wanted, forward, closing);
    assert!(left < 1e-4, "{left} m away");
    let (reached, ..) = arm.grip(&units);
    for (a, b) in reached.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-4, "{reached:?}, {wanted:?}");
    }
    let norm: f64 = arm.tool(&units).1.iter().map(|q| q * q).sum();
    assert!((norm - 1.0).abs() < 1e-9);
}

#[test]
fn clearance_shrinks_towards_the_table_and_the_arm_itself() {
    let Some(assets) = assets() else { return };
    let mut arm = ArmModel::so101(&assets).expect("the arm");
    let home = arm.clearance(&HOME);
    assert!(home > 0.01, "at home nothing is close: {home}");
    let mut least = home;
    let (point, forward, closing) = arm.grip(&HOME);
    for height in [0.03, 0.01, -0.01, -0.03] {
        let (units, _) = arm.reach(&HOME, [point[0], point[1], height], forward, closing);
        let clearance = arm.clearance(&units);
        assert!(clearance < least + 1e-9, "{clearance} at {height}, {least} above");
        least = clearance;
    }
    assert!(least < 0.0, "the fingers are in the table: {least}");
    assert!(arm.clearance(&[0.0, -100.0, 96.8, 95.0, 0.0, 8.0]) < home, "folded on itself");
}
