use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::*;

/// A tool at (x, y, 0) that is turned about z by the third number, with a wall at x = 0.2.
struct Table;

impl BodyModel for Table {
    fn tool(&mut self, p: &[f32]) -> Pose {
        let half = f64::from(p[2]) / 2.0;
        Pose {
            position: [f64::from(p[0]), f64::from(p[1]), 0.0],
            rotation: [0.0, 0.0, half.sin(), half.cos()],
        }
    }
    fn clearance(&mut self, p: &[f32]) -> f64 {
        0.2 - f64::from(p[0])
    }
}

const BOX: Workspace = Workspace {
    low: [-0.5, -0.1, -0.1],
    high: [0.5, 0.1, 0.1],
    rotation: [0.0, 0.0, 0.0, 1.0],
    turn: [PI, PI, 0.5],
};

fn kept(before: [f32; 3], mut goals: [f32; 3]) -> ([f32; 3], Vec<Cause>) {
    let causes = keep_in(&mut Table, (Some(&BOX), 0.05), &before, &mut goals, &mut [0.0; 3]);
    (goals, causes.iter().collect())
}

#[test]
fn the_tool_goes_as_far_as_the_box_allows() {
    assert_eq!(kept([0.0; 3], [0.1, 0.05, 0.4]), ([0.1, 0.05, 0.4], vec![]));
    let (goals, causes) = kept([0.0; 3], [0.0, 0.15, 0.0]);
    assert!(goals[1] > 0.09 && goals[1] <= 0.1, "{goals:?}");
    assert_eq!(causes, [Cause::Workspace]);
    let (goals, causes) = kept([0.0; 3], [0.0, 0.0, 1.0]);
    assert!(goals[2] > 0.45 && goals[2] <= 0.5, "{goals:?}");
    assert_eq!(causes, [Cause::Workspace]);
    let (goals, causes) = kept([0.0; 3], [0.3, 0.0, 0.0]);
    assert!(goals[0] > 0.13 && goals[0] <= 0.15, "{goals:?}");
    assert_eq!(causes, [Cause::Collision]);
}

#[test]
fn from_outside_only_ways_that_lead_no_farther_out_are_open() {
    assert_eq!(kept([0.0, 0.3, 0.0], [0.0, 0.25, 0.0]).0, [0.0, 0.25, 0.0]);
    assert_eq!(kept([0.0, 0.3, 0.0], [0.0, 0.31, 0.0]).0, [0.0, 0.3, 0.0]);
    assert_eq!(kept([0.19, 0.0, 0.0], [0.16, 0.0, 0.0]).0, [0.16, 0.0, 0.0]);
}

#[test]
fn a_model_that_gives_no_number_stops_everything() {
    assert_eq!(kept([0.0; 3], [f32::NAN, 0.0, 0.0]).0, [0.0; 3]);
}

#[test]
fn turns_are_counted_in_the_base_frame() {
    let half = |angle: f64, axis: usize| {
        let mut q = [0.0, 0.0, 0.0, (angle / 2.0).cos()];
        q[axis] = (angle / 2.0).sin();
        q
    };
    for axis in 0..3 {
        for angle in [-2.0, -0.3, 1e-9, 0.7, 3.0] {
            let mut wanted = [0.0; 3];
            wanted[axis] = angle;
            let found = rotation_vector([0.0, 0.0, 0.0, 1.0], half(angle, axis));
            assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
            // q and -q are the same turn.
            let found = rotation_vector([0.0, 0.0, 0.0, 1.0], half(angle, axis).map(|v| -v));
            assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        }
    }
    // A quarter turn about x, then another of 0.4 about the base's z.
    let start = [FRAC_1_SQRT_2, 0.0, 0.0, FRAC_1_SQRT_2];
    let (s, c) = (0.2f64.sin(), 0.2f64.cos());
    let turned = [c * FRAC_1_SQRT_2, s * FRAC_1_SQRT_2, s * FRAC_1_SQRT_2, c * FRAC_1_SQRT_2];
    let found = rotation_vector(start, turned);
    assert!((found[2] - 0.4).abs() < 1e-9 && found[0].abs() + found[1].abs() < 1e-9, "{found:?}");
}
