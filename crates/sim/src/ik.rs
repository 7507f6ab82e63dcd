//! Inverse kinematics by damped least squares on a MuJoCo model.
//!
//! Position first: five joints cannot reach every pose, so orientation only steers what position
//! leaves free, with a weight that shrinks until position is exact (Wampler 1986; Buss 2004).

use mujoco_rs::prelude::MjModel;

use crate::mj::Data;

/// The part of a pose that matters to a two-finger gripper.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Where the point between the jaws goes, world, metres.
    pub position: [f64; 3],
    /// Where the fingers point, world, unit.
    pub forward: [f64; 3],
    /// Along which the jaws close, world, unit.
    pub closing: [f64; 3],
}

/// The kinematic chain to be moved.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// `qpos` addresses of the joints.
    pub joints: Vec<usize>,
    /// Their degrees of freedom.
    pub dofs: Vec<usize>,
    /// Limits, radians.
    pub limits: Vec<[f64; 2]>,
    /// The gripper's body.
    pub body: usize,
    /// The point between the jaws, in the body's frame.
    pub point: [f64; 3],
    /// Finger and closing directions in the body's frame.
    pub forward: [f64; 3],
    pub closing: [f64; 3],
}

/// Moves the chain's joints in `data.qpos` until `target` is met as well as it can be; returns the
/// remaining distance in metres.
pub(crate) fn solve(model: &MjModel, data: &mut Data, chain: &Chain, target: &Target) -> f64 {
    let dofs = chain.dofs.len();
    let mut distance = f64::INFINITY;
    // Metres per radian: how much position the orientation may cost at this stage.
    for (weight, iterations) in [(0.05, 60), (0.01, 30), (0.001, 30)] {
        for _ in 0..iterations {
            data.kinematics();
            data.com_pos();
            let mat = data.xmat()[chain.body];
            let origin = data.xpos()[chain.body];
            let rotate = |v: [f64; 3]| -> [f64; 3] {
                std::array::from_fn(|r| (0..3).map(|c| mat[3 * r + c] * v[c]).sum())
            };
            let offset = rotate(chain.point);
            let point: [f64; 3] = std::array::from_fn(|i| origin[i] + offset[i]);
            let miss: [f64; 3] = std::array::from_fn(|i| target.position[i] - point[i]);
            let forward = rotate(chain.forward);
            let pitch = cross(forward, target.forward);
            let roll = dot(cross(rotate(chain.closing), target.closing), forward);
            let turn: [f64; 3] = std::array::from_fn(|i| weight * (pitch[i] + roll * forward[i]));
            distance = dot(miss, miss).sqrt();
            let (jacp, jacr) = data.jac(true, true, &point, chain.body);
            let nv = model.nv() as usize;
            // Rows: three of position, three of weighted orientation.
            let row = |r: usize, d: usize| {
                let column = chain.dofs[d];
                if r < 3 { jacp[r * nv + column] } else { weight * jacr[(r - 3) * nv + column] }
            };
            let error = [miss[0], miss[1], miss[2], turn[0], turn[1], turn[2]];
            let mut normal = vec![vec![0.0; dofs + 1]; dofs];
            for (i, line) in normal.iter_mut().enumerate() {
                for (j, value) in line.iter_mut().take(dofs).enumerate() {
                    *value = (0..6).map(|r| row(r, i) * row(r, j)).sum();
                }
                line[i] += 1e-8 + 1e-3 * weight * weight;
                line[dofs] = (0..6).map(|r| row(r, i) * error[r]).sum();
            }
            let step = gauss(normal);
            let mut largest = 0f64;
            for ((address, limit), step) in chain.joints.iter().zip(&chain.limits).zip(step) {
                let step = step.clamp(-0.2, 0.2);
                largest = largest.max(step.abs());
                let angle = &mut data.qpos_mut()[*address];
                *angle = (*angle + step).clamp(limit[0], limit[1]);
            }
            if largest < 1e-7 {
                break;
            }
        }
    }
    distance
}

/// Solves the square system whose last column is the right-hand side.
fn gauss(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let n = rows.len();
    for pivot in 0..n {
        let best = (pivot..n)
            .max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()))
            .unwrap_or(pivot);
        rows.swap(pivot, best);
        let line = rows[pivot].clone();
        for row in rows.iter_mut().skip(pivot + 1) {
            let factor = row[pivot] / line[pivot];
            for (value, above) in row.iter_mut().zip(&line).skip(pivot) {
                *value -= factor * above;
            }
        }
    }
    let mut solution = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| rows[i][j] * solution[j]).sum();
        solution[i] = (rows[i][n] - known) / rows[i][i];
    }
    solution
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauss_solves() {
        let rows =
            vec![vec![0.0, 2.0, 1.0, 7.0], vec![1.0, 1.0, 0.0, 3.0], vec![3.0, 0.0, 1.0, 6.0]];
        let x = gauss(rows);
        for (got, expected) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - expected).abs() < 1e-12, "{x:?}");
        }
    }
}
