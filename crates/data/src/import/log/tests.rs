use super::align::{align, frames_between, slerp, tick};
use crate::mapping::Method;

const TIMES: [i64; 4] = [0, 100, 200, 500];

fn picks(method: Method, max_age: Option<i64>, ticks: &[i64]) -> Vec<(usize, usize, f64, bool)> {
    let picks = align(&TIMES, ticks.iter().copied(), method, max_age);
    picks.into_iter().map(|p| (p.a, p.b, p.t, p.stale)).collect()
}

#[test]
fn the_latest_message_holds() {
    let found = picks(Method::Latest, Some(120), &[0, 99, 100, 350, 499, 500, 900]);
    let at: Vec<_> = found.iter().map(|p| (p.0, p.3)).collect();
    let expected =
        [(0, false), (0, false), (1, false), (2, true), (2, true), (3, false), (3, true)];
    assert_eq!(at, expected);
}

#[test]
fn the_nearest_message_may_be_later() {
    let found = picks(Method::Nearest, None, &[49, 50, 51, 340, 360]);
    assert_eq!(found.iter().map(|p| p.0).collect::<Vec<_>>(), [0, 0, 1, 2, 3]);
}

#[test]
fn nothing_is_interpolated_across_a_gap() {
    let found = picks(Method::Linear, Some(150), &[25, 100, 300, 400]);
    assert_eq!(found[0], (0, 1, 0.25, false));
    assert_eq!(found[1], (1, 1, 0.0, false));
    // 200 away from the message after: the nearer one holds, within its age.
    assert_eq!(found[2], (2, 2, 0.0, false));
    assert_eq!(found[3], (3, 3, 0.0, false));
    assert_eq!(picks(Method::Linear, None, &[300])[0].2, 1.0 / 3.0);
}

#[test]
fn frames_are_counted_exactly() {
    for fps in [1.0, 7.0, 29.97, 30.0, 50.0, 1000.0] {
        for frames in [1usize, 2, 3, 10, 997, 12_345] {
            let start = 1_700_000_000_123_456_789;
            let end = tick(start, fps, frames - 1);
            assert_eq!(frames_between(start, end, fps), frames, "{fps} fps");
            assert_eq!(frames_between(start, end - 1, fps), frames - 1, "{fps} fps");
        }
    }
    assert_eq!(frames_between(5, 4, 30.0), 0);
}

#[test]
fn slerp_takes_the_shorter_way() {
    let half = std::f64::consts::FRAC_1_SQRT_2;
    let (none, quarter) = ([0.0, 0.0, 0.0, 1.0], [0.0, 0.0, half, half]);
    let eighth = slerp(none, quarter, 0.5);
    let angle = std::f64::consts::PI / 8.0;
    assert!((eighth[2] - angle.sin()).abs() < 1e-12 && (eighth[3] - angle.cos()).abs() < 1e-12);
    let other = slerp(none, quarter.map(|v| -v), 0.5);
    assert!(eighth.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-12));
    assert_eq!(slerp(none, none, 0.3), none);
}
