//! The SO-101 arm as LeRobot's `so101_follower` presents it: names and units of its joints.
//!
//! Five joints in degrees about the calibrated middle, the gripper in percent of its opening
//! (0 closed, 100 open), as LeRobot records with `use_degrees=true`. MuJoCo uses radians.

/// Joints in order: name in MJCF, dimension name in datasets, unit, lower and upper bound in units.
pub(crate) const JOINTS: [(&str, &str, &str, f64, f64); 6] = [
    ("shoulder_pan", "shoulder_pan.pos", "degree", -110.0, 110.0),
    ("shoulder_lift", "shoulder_lift.pos", "degree", -100.0, 100.0),
    ("elbow_flex", "elbow_flex.pos", "degree", -96.8, 96.8),
    ("wrist_flex", "wrist_flex.pos", "degree", -95.0, 95.0),
    ("wrist_roll", "wrist_roll.pos", "degree", -157.2, 157.2),
    ("gripper", "gripper.pos", "percent", 0.0, 100.0),
];

/// Gripper joint at 0 and 100 percent, radians: the MJCF's joint range.
const GRIPPER_RAD: [f64; 2] = [-0.174533, 1.7453292];
const GRIPPER: usize = 5;

/// Joint positions in radians for values in units, clamped to [`JOINTS`]' bounds.
pub(crate) fn to_joint_positions(units: &[f32], radians: &mut [f64]) {
    for (joint, (unit, radian)) in units.iter().zip(radians).enumerate() {
        let (.., low, high) = JOINTS[joint];
        let unit = f64::from(*unit).clamp(low, high);
        *radian = if joint == GRIPPER {
            GRIPPER_RAD[0] + unit / 100.0 * (GRIPPER_RAD[1] - GRIPPER_RAD[0])
        } else {
            unit.to_radians()
        };
    }
}

/// Values in units for joint positions in radians.
pub(crate) fn to_units(radians: &[f64], units: &mut [f32]) {
    for (joint, (radian, unit)) in radians.iter().zip(units).enumerate() {
        *unit = if joint == GRIPPER {
            (100.0 * (radian - GRIPPER_RAD[0]) / (GRIPPER_RAD[1] - GRIPPER_RAD[0])) as f32
        } else {
            radian.to_degrees() as f32
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_round_trip_and_clamp() {
        let units = [12.5, -80.0, 90.0, 3.0, -150.0, 37.0];
        let (mut radians, mut back) = ([0.0; 6], [0.0; 6]);
        to_joint_positions(&units, &mut radians);
        to_units(&radians, &mut back);
        for (a, b) in units.iter().zip(back) {
            assert!((a - b).abs() < 1e-4, "{a} became {b}");
        }
        to_joint_positions(&[500.0, 0.0, 0.0, 0.0, 0.0, -3.0], &mut radians);
        assert_eq!(radians[0], 110f64.to_radians());
        assert_eq!(radians[5], GRIPPER_RAD[0]);
    }
}
