//! Which robot models there are, and in which Python wheel each lies.
//!
//! Tasks find a robot in a folder of its name. The table, `robots.json`, is also read by the source
//! tree's set-up, so that both pin the same files by SHA-256. Nothing is fetched here.

use serde::{Deserialize, Serialize};

/// A robot model, and the wheel that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobotModel {
    /// Name, and that of its folder.
    pub name: String,
    /// What it is.
    pub what: String,
    /// Licence of package and model.
    pub licence: String,
    /// The package, in the Python package index.
    pub package: String,
    /// Its version.
    pub version: String,
    /// A Python version that it supports.
    pub python: String,
    /// SHA-256 of the wheel, in hexadecimal.
    pub sha256: String,
    /// Its main MJCF file, in its folder.
    pub model: String,
    /// What to unpack: a prefix in the wheel, and where in the folder what is under it goes.
    pub parts: Vec<(String, String)>,
}

impl RobotModel {
    /// File in the robot's folder that holds the SHA-256 of the wheel it came from.
    pub const STAMP: &str = ".wheel.sha256";

    /// All robots whose wheels are known.
    pub fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("robots.json")).expect("a test reads the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for robot in RobotModel::all() {
            assert_eq!(robot.sha256.len(), 64, "{}", robot.name);
            assert!(robot.sha256.bytes().all(|b| b.is_ascii_hexdigit()), "{}", robot.name);
            assert!(!robot.parts.is_empty(), "{}", robot.name);
            let safe = |path: &str| !path.starts_with('/') && !path.contains("..");
            assert!(safe(&robot.name) && safe(&robot.model), "{}", robot.name);
            assert!(robot.parts.iter().all(|(_, to)| safe(to)), "{}", robot.name);
        }
    }
}
