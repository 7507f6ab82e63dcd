//! A machine's file: what moves, what a person moves it with, its cameras, its limits.

use std::path::{Path, PathBuf};

use embody_core::{Error, IoContext, Result, nearest_key};
use embody_robot::camera::{PixelFormat, V4l2Camera, V4l2Config};
use embody_robot::machines::{RobotConfig, TeleoperatorConfig};
use embody_robot::{
    BodyModel, Camera, Guard, Limits, Pose, Realtime, RobotSpec, Watchdog, Workspace,
};
use embody_sim::ArmModel;
use indexmap::IndexMap;
use serde::Deserialize;

use super::scene::SocketCamera;

/// What stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What moves.
    pub robot: RobotConfig,
    /// What a person moves it with.
    #[serde(default)]
    pub leader: Option<TeleoperatorConfig>,
    /// Cameras by name.
    #[serde(default)]
    pub cameras: IndexMap<String, CameraFile>,
    /// What is narrower or wider than usual.
    #[serde(default)]
    pub limits: LimitsFile,
    /// Turns of the control loop per second.
    #[serde(default = "sixty")]
    pub hz: f64,
    /// What to ask the operating system for.
    #[serde(default)]
    pub realtime: Realtime,
}

fn sixty() -> f64 {
    60.0
}

/// One camera.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CameraFile {
    /// One of the kernel's, such as a USB camera.
    V4l2 {
        /// Its device, or a link below `/dev/v4l/by-id` that stays the same.
        device: PathBuf,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Frames per second.
        fps: f64,
        /// How pixels are to come.
        #[serde(default)]
        format: Option<PixelFormat>,
    },
    /// One of `embody robot emulate … --cameras`.
    Emulated {
        /// Its socket.
        path: PathBuf,
        /// Its rate.
        #[serde(default = "thirty")]
        fps: f64,
    },
}

fn thirty() -> f64 {
    30.0
}

impl CameraFile {
    /// Opens it under `name`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(&self, name: &str) -> Result<Box<dyn Camera>> {
        match self {
            Self::V4l2 { device, width, height, fps, format } => {
                let (name, path) = (name.to_owned(), device.clone());
                let (width, height, fps, format) = (*width, *height, *fps, *format);
                let config = V4l2Config { name, path, width, height, fps, format };
                Ok(Box::new(V4l2Camera::open(config)?))
            }
            Self::Emulated { path, fps } => Ok(Box::new(SocketCamera::open(name, path, *fps)?)),
        }
    }
}

/// Changes to the limits that the machine has by itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsFile {
    torque: Option<f32>,
    workspace: Option<Workspace>,
    clearance: Option<f32>,
    watchdog: Option<Watchdog>,
    joints: IndexMap<String, JointFile>,
}

/// Changes to those of a joint.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JointFile {
    low: Option<f32>,
    high: Option<f32>,
    speed: Option<f32>,
    acceleration: Option<f32>,
    step: Option<f32>,
    load: Option<f32>,
}

impl LimitsFile {
    /// The limits of a machine.
    ///
    /// # Errors
    /// When a joint is named that it does not have.
    fn of(&self, spec: &RobotSpec) -> Result<Limits> {
        let mut limits = Limits::for_robot(spec);
        limits.torque = self.torque.unwrap_or(limits.torque);
        limits.workspace = self.workspace.or(limits.workspace);
        limits.clearance = self.clearance.unwrap_or(limits.clearance);
        limits.watchdog = self.watchdog.unwrap_or(limits.watchdog);
        for (name, change) in &self.joints {
            let names = spec.joints.iter().map(|joint| joint.name.as_str());
            let Some(at) = names.clone().position(|joint| joint == name) else {
                let hint = match nearest_key(name, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`embody robot status` names its joints".to_owned(),
                };
                let what = format!("limits.joints: {} has no joint `{name}`", spec.robot_type);
                return Err(Error::new(what).with_hint(hint));
            };
            let joint = &mut limits.joints[at];
            for (to, from) in [
                (&mut joint.low, change.low),
                (&mut joint.high, change.high),
                (&mut joint.speed, change.speed),
                (&mut joint.acceleration, change.acceleration),
                (&mut joint.step, change.step),
                (&mut joint.load, change.load),
            ] {
                *to = from.unwrap_or(*to);
            }
        }
        Ok(limits)
    }
}

impl Machine {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there, or something in it is not known; with line and column.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at("read", path)?;
        toml::from_str(&text).map_err(|e| {
            Error::new(format!("{}: {}", path.display(), e.to_string().trim_end()))
                .with_hint("docs/guides/robots.md says what may stand in it")
        })
    }

    /// Opens the machine behind its limits; its motors are off. Collisions and the tool's box are
    /// checked for an SO-101 whose model is in `assets`.
    ///
    /// # Errors
    /// When a port, a motor, the calibration or a limit is not as it should be; when a box is asked
    /// for and there is no model to check it by.
    pub fn open(&self, assets: &Path) -> Result<Guard> {
        let robot = self.robot.open()?;
        let limits = self.limits.of(robot.spec())?;
        let needs_model = limits.workspace.is_some();
        let guard = Guard::new(robot, limits, self.hz)?;
        let RobotConfig::So101Follower(arm) = &self.robot else {
            return match needs_model {
                true => Err(Error::new("limits.workspace: there is no model of this machine")
                    .with_hint("it can be given for an SO-101")),
                false => Ok(guard),
            };
        };
        if !arm.use_degrees || !assets.join("so101").exists() {
            return match needs_model {
                true => Err(Error::new("limits.workspace: the SO-101's model is not at hand")
                    .with_hint("`embody assets get so101`, and `use_degrees = true`")),
                false => Ok(guard),
            };
        }
        Ok(guard.with_model(Box::new(So101Shape(ArmModel::so101(assets)?))))
    }
}

/// The SO-101's model as the safety layer asks it.
struct So101Shape(ArmModel);

impl BodyModel for So101Shape {
    fn tool(&mut self, positions: &[f32]) -> Pose {
        let (position, rotation) = self.0.tool(positions);
        Pose { position, rotation }
    }

    fn clearance(&mut self, positions: &[f32]) -> f64 {
        self.0.clearance(positions)
    }
}
