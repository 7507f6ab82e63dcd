//! Robots of the velocity task as configuration: joints, motors, feet, commands, gait, rewards.
//!
//! Kinematics and inertias come from the MJCF files of the package `mjlab` (Unitree's, BSD-3), which
//! have no actuators; motors, contacts and what is welded are declared here and put into the scene
//! before it is compiled. Only feet and trunk touch the ground and nothing touches the robot itself:
//! contacts are what a step of physics costs (see `mod.rs`).

use std::path::Path;
use std::sync::Arc;

use mujoco_rs::prelude::{MjModel, MjSpec, MjtGeomBase, MjtJoint, MjtTrn, SpecElement, SpecItem};
use mujoco_rs::wrappers::mj_editing::{MjtLimited, PositionConfig};

use super::command::Commands;
use super::randomize::{Draw, Noise, Pushes};
use super::rewards::Reward;
use crate::SimError;
use crate::mj;

/// A position-controlled motor with its gearbox, as seen at the joint.
#[derive(Debug)]
pub(super) struct Motor {
    /// Position gain, Nm/rad.
    pub gain: f64,
    /// Velocity gain, Nms/rad.
    pub damping: f64,
    /// Inertia of the rotor, kg·m².
    pub armature: f64,
    /// Largest torque, Nm.
    pub torque: f64,
    /// Joint offset of an action of 1, radians.
    pub action_rad: f64,
}

/// A driven joint.
#[derive(Debug)]
pub(super) struct Joint {
    pub name: &'static str,
    pub motor: &'static Motor,
    /// In the default pose, radians.
    pub home: f64,
    /// Whether the policy sets it; others hold the default pose.
    pub acted: bool,
    /// Weight of its distance from the default pose in the reward `pose`.
    pub stiffness: f64,
}

/// What of a foot touches the ground.
#[derive(Debug)]
pub(super) enum Sole {
    /// A sphere of the robot's model, by name.
    Named(&'static str),
    /// Spheres at the foot's corners, in its body's frame, metres: four contacts in place of the
    /// two per capsule that many parallel capsules make.
    Corners { radius: f64, at: [[f64; 3]; 4] },
}

#[derive(Debug)]
pub(super) struct Foot {
    pub name: &'static str,
    pub body: &'static str,
    pub sole: Sole,
    /// Where in the gait's period its stance begins, 0..1.
    pub offset: f64,
}

/// When feet are to be on the ground.
#[derive(Debug)]
pub(super) struct Gait {
    pub period_s: f64,
    /// Share of the period on the ground.
    pub stance: f64,
    /// Of the foot at the middle of its swing, metres.
    pub swing_height_m: f64,
}

/// A robot that can be told to move.
#[derive(Debug)]
pub(super) struct Robot {
    /// As datasets name it; also its folder and file.
    pub name: &'static str,
    /// As people call it.
    pub title: &'static str,
    pub base: &'static str,
    /// Of the base in the default pose, metres.
    pub height_m: f64,
    /// In the model's order.
    pub joints: &'static [Joint],
    /// Joints that are held stiff, at zero, and so cost nothing.
    pub welded: &'static [&'static str],
    pub feet: &'static [Foot],
    /// Shapes other than feet that touch the ground.
    pub touching: &'static [&'static str],
    /// Base lower than this over the ground: fallen, metres.
    pub fallen_below_m: f64,
    pub gait: Gait,
    pub commands: Commands,
    pub rewards: &'static [Reward],
    pub randomization: &'static [Draw],
    pub pushes: Pushes,
    pub noise: Noise,
    /// Heights and steps of terrain, in those of the quadruped.
    pub terrain_scale: f64,
    /// Camera that follows the robot.
    pub camera: &'static str,
}

/// The scene in both its forms.
pub(super) struct Built {
    /// What physics needs.
    pub physics: Arc<MjModel>,
    /// What is drawn.
    pub drawn: Arc<MjModel>,
}

const SCENE: &str = include_str!("scene.xml");

/// Shapes that don't move touch those that do, and nothing else touches anything.
pub(super) const GROUND: &str = r#"contype="1" conaffinity="0""#;

impl Robot {
    /// The acted joints, in the action's order.
    pub fn acted(&self) -> impl Iterator<Item = &'static Joint> {
        self.joints.iter().filter(|joint| joint.acted)
    }

    /// MJCF text of the scene, for the hash of what was compiled.
    pub fn scene(&self, assets: &str, ground: &str) -> String {
        SCENE.replace("{assets}", assets).replace("{ground}", ground)
    }

    /// Compiles `scene` with this robot's motors and contacts.
    ///
    /// # Errors
    /// When the robot's files are absent, or lack something that is named here.
    pub fn build(&self, task: &str, scene: &str, folder: &Path) -> Result<Built, SimError> {
        let file = folder.join(format!("{}.xml", self.name));
        let mut spec = mj::parse(task, scene, &file, &folder.join("assets"))?;
        for joint in self.welded {
            mj::weld(task, &file, &mut spec, joint)?;
        }
        for joint in self.joints {
            drive(task, &file, &mut spec, joint)?;
        }
        self.shape(task, &mut spec)?;
        for light in spec.light_iter_mut() {
            // The robot's own lights would burn out the scene's.
            let ours = light.name() == "sun";
            light.set_active(ours);
        }
        let failed = |source| mj::failed(task, &file, source);
        let drawn = Arc::new(spec.compile().map_err(failed)?);
        spec.discard_visual().map_err(failed)?;
        let physics = Arc::new(spec.compile().map_err(failed)?);
        Ok(Built { physics, drawn })
    }

    /// Decides which shapes touch the ground.
    fn shape(&self, task: &str, spec: &mut MjSpec) -> Result<(), SimError> {
        for base in spec.world_body_mut().body_iter_mut() {
            for geom in base.geom_iter_mut(true) {
                geom.set_contype(0);
                geom.set_conaffinity(0);
            }
        }
        for name in self.touching {
            let geom = spec.geom_mut(name).ok_or_else(|| mj::missing(task, "geom", name))?;
            geom.set_conaffinity(1);
            geom.set_condim(1);
        }
        for foot in self.feet {
            match &foot.sole {
                Sole::Named(name) => {
                    let geom =
                        spec.geom_mut(name).ok_or_else(|| mj::missing(task, "geom", name))?;
                    geom.set_conaffinity(1);
                    geom.set_condim(3);
                    geom.set_priority(1);
                }
                Sole::Corners { radius, at } => {
                    let body = spec
                        .body_mut(foot.body)
                        .ok_or_else(|| mj::missing(task, "body", foot.body))?;
                    for (corner, at) in at.iter().enumerate() {
                        let geom = body.add_geom();
                        geom.with_name(&corner_name(foot, corner))
                            .with_size([*radius, 0.0, 0.0])
                            .with_pos(*at);
                        geom.set_type(MjtGeomBase::mjGEOM_SPHERE);
                        geom.set_group(3);
                        geom.set_mass(0.0);
                        geom.set_contype(0);
                        geom.set_conaffinity(1);
                        geom.set_condim(3);
                        geom.set_priority(1);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Names of the shapes that a foot touches the ground with.
pub(super) fn sole_names(foot: &Foot) -> Vec<String> {
    match &foot.sole {
        Sole::Named(name) => vec![(*name).to_owned()],
        Sole::Corners { at, .. } => (0..at.len()).map(|i| corner_name(foot, i)).collect(),
    }
}

fn corner_name(foot: &Foot, corner: usize) -> String {
    format!("{}_corner{corner}", foot.name)
}

/// Gives a joint its motor.
fn drive(task: &str, robot: &Path, spec: &mut MjSpec, joint: &Joint) -> Result<(), SimError> {
    let Joint { name, motor, .. } = joint;
    let found = spec.joint_mut(name).ok_or_else(|| mj::missing(task, "joint", name))?;
    if found.type_() != MjtJoint::mjJNT_HINGE {
        return Err(mj::missing(task, "hinge", name));
    }
    found.set_armature(motor.armature);
    let actuator = spec.add_actuator();
    actuator.with_name(name).with_target(name).with_forcerange([-motor.torque, motor.torque]);
    actuator.set_trntype(MjtTrn::mjTRN_JOINT);
    actuator.set_forcelimited(MjtLimited::mjLIMITED_TRUE);
    actuator
        .set_to_position(PositionConfig {
            kp: motor.gain,
            kv: Some(motor.damping),
            ..PositionConfig::default()
        })
        .map_err(|source| mj::failed(task, robot, source))
}
