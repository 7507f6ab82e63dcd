//! Two machines as one: a bimanual robot, or two leaders in a person's hands.
//!
//! Joints of the left come first; names get `left_` and `right_` in front, as LeRobot has them.

use embody_core::{Error, Result};

use crate::robot::{Reading, Robot, RobotSpec, Teleoperator};

/// Two robots.
pub struct Pair {
    spec: RobotSpec,
    left: Box<dyn Robot>,
    right: Box<dyn Robot>,
    /// Room for what each reads.
    readings: (Reading, Reading),
}

impl Pair {
    /// A robot of both, called `robot_type`.
    pub fn new(robot_type: &str, left: Box<dyn Robot>, right: Box<dyn Robot>) -> Self {
        let mut joints = Vec::new();
        for (side, robot) in [("left", &left), ("right", &right)] {
            for joint in &robot.spec().joints {
                let mut joint = joint.clone();
                joint.name = format!("{side}_{}", joint.name);
                joints.push(joint);
            }
        }
        let room = |robot: &dyn Robot| Reading::new(robot.spec().joints.len());
        let readings = (room(&*left), room(&*right));
        let spec = RobotSpec { robot_type: robot_type.to_owned(), joints };
        Self { spec, left, right, readings }
    }
}

impl Robot for Pair {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, into: &mut Reading) -> Result<()> {
        let (a, b) = &mut self.readings;
        self.left.read(a).map_err(|e| e.context("left arm"))?;
        self.right.read(b).map_err(|e| e.context("right arm"))?;
        let n = a.positions.len();
        for (to, a, b) in [
            (&mut into.positions, &a.positions, &b.positions),
            (&mut into.velocities, &a.velocities, &b.velocities),
            (&mut into.loads, &a.loads, &b.loads),
        ] {
            to[..n].copy_from_slice(a);
            to[n..].copy_from_slice(b);
        }
        into.stamp = b.stamp;
        into.bus_errors = a.bus_errors + b.bus_errors;
        Ok(())
    }

    fn command(&mut self, goals: &[f32]) -> Result<()> {
        let n = self.left.spec().joints.len();
        if goals.len() != self.spec.joints.len() {
            let joints = self.spec.joints.len();
            return Err(Error::new(format!("{} goals for {joints} joints", goals.len())));
        }
        // A number that is none on either side must not move the other.
        if let Some(i) = goals.iter().position(|g| !g.is_finite()) {
            let joint = &self.spec.joints[i].name;
            return Err(Error::new(format!("the goal of {joint} is {}", goals[i])));
        }
        self.left.command(&goals[..n]).map_err(|e| e.context("left arm"))?;
        self.right.command(&goals[n..]).map_err(|e| e.context("right arm"))
    }

    fn limit_torque(&mut self, part: f32) -> Result<()> {
        let left = self.left.limit_torque(part).map_err(|e| e.context("left arm"));
        let right = self.right.limit_torque(part).map_err(|e| e.context("right arm"));
        left.and(right)
    }

    fn torque(&mut self, on: bool) -> Result<()> {
        let left = self.left.torque(on).map_err(|e| e.context("left arm"));
        let right = self.right.torque(on).map_err(|e| e.context("right arm"));
        left.and(right)
    }

    fn alarm(&mut self) -> Option<Error> {
        let left = self.left.alarm().map(|e| e.context("left arm"));
        left.or_else(|| self.right.alarm().map(|e| e.context("right arm")))
    }
}

/// Two leaders for a pair; the person holds the machine while either is held.
pub struct PairLeader {
    left: Box<dyn Teleoperator>,
    right: Box<dyn Teleoperator>,
    left_joints: usize,
    readings: (Reading, Reading),
}

impl PairLeader {
    /// Leaders of machines with so many joints on the left and on the right.
    pub fn new(
        left: Box<dyn Teleoperator>,
        right: Box<dyn Teleoperator>,
        joints: (usize, usize),
    ) -> Self {
        let readings = (Reading::new(joints.0), Reading::new(joints.1));
        Self { left, right, left_joints: joints.0, readings }
    }
}

impl Teleoperator for PairLeader {
    fn goals(&mut self, now: &Reading, goals: &mut [f32]) -> Result<bool> {
        let n = self.left_joints;
        let (a, b) = &mut self.readings;
        split(now, n, a, b);
        let (left, right) = goals.split_at_mut(n);
        let left = self.left.goals(a, left).map_err(|e| e.context("left leader"))?;
        let right = self.right.goals(b, right).map_err(|e| e.context("right leader"))?;
        Ok(left || right)
    }
}

/// Parts what a pair read into its two halves.
fn split(now: &Reading, n: usize, left: &mut Reading, right: &mut Reading) {
    for (from, a, b) in [
        (&now.positions, &mut left.positions, &mut right.positions),
        (&now.velocities, &mut left.velocities, &mut right.velocities),
        (&now.loads, &mut left.loads, &mut right.loads),
    ] {
        a.copy_from_slice(&from[..n]);
        b.copy_from_slice(&from[n..]);
    }
    (left.stamp, right.stamp) = (now.stamp, now.stamp);
    (left.bus_errors, right.bus_errors) = (now.bus_errors, now.bus_errors);
}
