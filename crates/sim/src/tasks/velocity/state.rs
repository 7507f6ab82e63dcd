//! What an environment of the velocity task remembers, and how its base moves.

use std::ops::Range;

use crate::mj::Data;

/// Where in [`Memory::values`](crate::tasks::Memory) things are.
#[derive(Debug)]
pub(super) struct Layout {
    /// 1 once an episode has been drawn from a seed; 0 where it began in a given state.
    pub drawn: usize,
    /// Ahead and aside in m/s, turn in rad/s.
    pub command: Range<usize>,
    /// Control steps until the next command and the next push.
    pub command_left: usize,
    pub push_left: usize,
    /// Of the gait, 0..1.
    pub phase: usize,
    /// Per foot: on the ground (0 or 1), force along the contacts' normals in N, height over the
    /// ground in m, control steps since it last stood.
    pub contact: Range<usize>,
    pub force: Range<usize>,
    pub height: Range<usize>,
    pub air: Range<usize>,
    /// Values of the robot's randomisation, in its order.
    pub parameters: Range<usize>,
    /// Error of each acted joint's encoder, rad.
    pub bias: Range<usize>,
    /// Errors of this step's observations, in the order in which they are observed.
    pub noise: Range<usize>,
    /// Sums over the episode of the errors of planar velocity (m/s) and turn (rad/s).
    pub error: Range<usize>,
    /// Where the episode began, and how far it was told to go, m.
    pub start: Range<usize>,
    pub path: usize,
    /// Of the terrain.
    pub level: usize,
    pub len: usize,
}

impl Layout {
    pub fn new(feet: usize, acted: usize, parameters: usize, noise: usize) -> Self {
        let mut len = 0;
        let mut next = |n: usize| {
            len += n;
            len - n..len
        };
        Self {
            drawn: next(1).start,
            command: next(3),
            command_left: next(1).start,
            push_left: next(1).start,
            phase: next(1).start,
            contact: next(feet),
            force: next(feet),
            height: next(feet),
            air: next(feet),
            parameters: next(parameters),
            bias: next(acted),
            noise: next(noise),
            error: next(2),
            start: next(2),
            path: next(1).start,
            level: next(1).start,
            len,
        }
    }
}

/// How the base stands and moves; its free joint is the model's first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    /// World, m.
    pub position: [f64; 3],
    /// Turn about the vertical, rad.
    pub heading: f64,
    /// m/s: ahead, to the left, up, in a frame that turns with the heading alone.
    pub velocity: [f64; 3],
    /// rad/s, in the base's frame, as a gyroscope has it.
    pub turn: [f64; 3],
    /// Unit vector along gravity in the base's frame.
    pub gravity: [f64; 3],
}

impl Base {
    pub fn of(data: &Data) -> Self {
        let (q, v) = (data.qpos(), data.qvel());
        let [w, x, y, z] = [q[3], q[4], q[5], q[6]];
        let heading = (2.0 * (w * z + x * y)).atan2(1.0 - 2.0 * (y * y + z * z));
        let (sin, cos) = heading.sin_cos();
        Self {
            position: [q[0], q[1], q[2]],
            heading,
            velocity: [cos * v[0] + sin * v[1], cos * v[1] - sin * v[0], v[2]],
            turn: [v[3], v[4], v[5]],
            gravity: [-2.0 * (x * z - w * y), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0],
        }
    }
}
