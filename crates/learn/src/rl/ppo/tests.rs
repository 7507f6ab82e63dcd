//! Advantages against their definition, and one update against PyTorch's.

use super::*;

#[test]
fn advantages_follow_their_definition() {
    let (gamma, lambda) = (0.9f32, 0.8f32);
    let mut r = Rollout {
        rewards: vec![1.0, 2.0, 3.0, -1.0],
        values: vec![0.5, 0.1, -0.3, 0.7],
        done: vec![false, true, false, false],
        advantages: vec![0.0; 4],
        returns: vec![0.0; 4],
        ..Rollout::default()
    };
    advantages(&mut r, &[2.0], gamma, lambda);
    let d3 = -1.0 + 0.9 * 2.0 - 0.7;
    let d2 = 3.0 + 0.9 * 0.7 + 0.3;
    let d1 = 2.0 - 0.1;
    let d0 = 1.0 + 0.9 * 0.1 - 0.5;
    let wanted = [d0 + 0.72 * d1, d1, d2 + 0.72 * d3, d3];
    for (a, b) in r.advantages.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-6, "{:?} {wanted:?}", r.advantages);
    }
    assert!((r.returns[0] - (wanted[0] + 0.5)).abs() < 1e-6);
}
