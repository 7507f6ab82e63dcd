//! The few steps between MuJoCo's C library and the rest of this crate.
//!
//! MuJoCo's own handler prints warnings and appends them to a file in the working folder; here they
//! become `tracing` events. A warning is also counted in `mjData`, which is what decides.

use std::path::Path;
use std::sync::{Arc, Once};

use mujoco_rs::error::MjEditError;
use mujoco_rs::prelude::{
    MjData, MjLogMessage, MjModel, MjSpec, MjtLogLevel, MjtObjBase, SpecObject,
};

use crate::SimError;

/// State of one environment.
pub(crate) type Data = MjData<Arc<MjModel>>;

/// Compiles `scene`, MJCF text in which `{robot}` and `{meshes}` stand for the robot's MJCF file and
/// its mesh folder.
///
/// # Errors
/// When the robot's file is absent or MuJoCo refuses the model.
pub(crate) fn load(
    task: &str,
    scene: &str,
    robot: &Path,
    meshes: &Path,
) -> Result<MjModel, SimError> {
    let text = fill(scene, robot, meshes)?;
    compile(task, &text, robot)
}

/// Parses a scene as [`load`] does, for changes before it is compiled.
///
/// # Errors
/// When the robot's file is absent or MuJoCo refuses the text.
pub(crate) fn parse(
    task: &str,
    scene: &str,
    robot: &Path,
    meshes: &Path,
) -> Result<MjSpec, SimError> {
    route_messages();
    let text = fill(scene, robot, meshes)?;
    MjSpec::from_xml_string(&text).map_err(|source| failed(task, robot, source))
}

/// Puts the robot's places into a scene's text.
fn fill(scene: &str, robot: &Path, meshes: &Path) -> Result<String, SimError> {
    for path in [robot, meshes] {
        if !path.exists() {
            return Err(SimError::MissingAssets { path: path.to_owned() });
        }
    }
    // MuJoCo resolves relative paths against the model file's folder, and text has none.
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        escape(&path.to_string_lossy())
    };
    Ok(scene.replace("{robot}", &absolute(robot)).replace("{meshes}", &absolute(meshes)))
}

/// Compiles MJCF text; `file` is named where it does not work out.
///
/// # Errors
/// When MuJoCo refuses it.
pub(crate) fn compile(task: &str, text: &str, file: &Path) -> Result<MjModel, SimError> {
    route_messages();
    MjModel::from_xml_string(text).map_err(|source| SimError::LoadModel {
        task: task.to_owned(),
        file: file.to_owned(),
        source,
    })
}

/// Compiles an MJCF file with what it includes.
///
/// # Errors
/// When the file is absent or MuJoCo refuses it.
pub(crate) fn load_file(task: &str, path: &Path) -> Result<MjModel, SimError> {
    route_messages();
    if !path.exists() {
        return Err(SimError::MissingAssets { path: path.to_owned() });
    }
    MjModel::from_xml(path).map_err(|source| SimError::LoadModel {
        task: task.to_owned(),
        file: path.to_owned(),
        source,
    })
}

/// Takes a joint out, so that its body stays as it is at zero.
///
/// # Errors
/// When there is none of that name.
#[allow(unsafe_code)]
pub(crate) fn weld(
    task: &str,
    robot: &Path,
    spec: &mut MjSpec,
    joint: &str,
) -> Result<(), SimError> {
    let found = spec.joint_mut(joint).ok_or_else(|| missing(task, "joint", joint))?;
    // SAFETY: the joint was found alive in its specification a line above, is deleted once, and no
    // other handle of the specification exists while this one borrows it.
    unsafe { found.delete() }.map_err(|source| failed(task, robot, source))
}

/// That MuJoCo refused to build a scene with the model `robot`.
pub(crate) fn failed(task: &str, robot: &Path, source: MjEditError) -> SimError {
    SimError::BuildModel { task: task.to_owned(), file: robot.to_owned(), source }
}

/// Gives `data` a model of its own: `nominal`, as `edit` changes it. Copies the model at the first
/// call only, so `edit` has to write everything that any earlier edit may have changed.
pub(crate) fn edit_model(data: &mut Data, nominal: &Arc<MjModel>, edit: impl FnOnce(&mut MjModel)) {
    let mut own = data.swap_model(Arc::clone(nominal));
    match Arc::get_mut(&mut own) {
        Some(model) => edit(model),
        None => {
            let mut model = MjModel::clone(nominal);
            edit(&mut model);
            own = Arc::new(model);
        }
    }
    data.swap_model(own);
}

/// Sets position gain (Nm/rad) and damping (Nms/rad) of a position actuator.
#[allow(unsafe_code)]
pub(crate) fn set_gains(model: &mut MjModel, actuator: usize, gain: f64, damping: f64) {
    // SAFETY: the parameters of a position actuator are its gain and nothing that indexes memory.
    let gains = unsafe { model.actuator_gainprm_mut() };
    gains[actuator][0] = gain;
    let bias = &mut model.actuator_biasprm_mut()[actuator];
    (bias[1], bias[2]) = (-gain, -damping);
}

/// That something a task names is not in its scene.
pub(crate) fn missing(task: &str, kind: &'static str, name: &str) -> SimError {
    SimError::MissingElement { task: task.to_owned(), kind, name: name.to_owned() }
}

/// The id of a named element.
///
/// # Errors
/// When there is none of that name.
pub(crate) fn id(
    task: &str,
    model: &MjModel,
    kind: MjtObjBase,
    name: &str,
) -> Result<usize, SimError> {
    model.name_to_id(kind, name).ok_or_else(|| SimError::MissingElement {
        task: task.to_owned(),
        kind: match kind {
            MjtObjBase::mjOBJ_BODY => "body",
            MjtObjBase::mjOBJ_JOINT => "joint",
            MjtObjBase::mjOBJ_GEOM => "geom",
            MjtObjBase::mjOBJ_SITE => "site",
            MjtObjBase::mjOBJ_CAMERA => "camera",
            MjtObjBase::mjOBJ_ACTUATOR => "actuator",
            _ => "element",
        },
        name: name.to_owned(),
    })
}

/// Whether physics went wrong since the last reset: MuJoCo counted a warning (bad position,
/// velocity, acceleration or control, contacts or constraints that did not fit, singular inertia).
pub(crate) fn has_diverged(data: &Data) -> bool {
    data.warning().iter().any(|warning| warning.number > 0)
}

/// One control step of servos whose set-points move linearly from where they are to `target`; poses
/// are as of the new positions then, for observation and rendering.
pub(crate) fn glide(data: &mut Data, now: &mut [f64], target: &[f64], substeps: usize) {
    for substep in 1..=substeps {
        let share = substep as f64 / substeps as f64;
        for (ctrl, (from, to)) in data.ctrl_mut().iter_mut().zip(now.iter().zip(target)) {
            *ctrl = from + (to - from) * share;
        }
        data.step();
        if has_diverged(data) {
            return;
        }
    }
    data.kinematics();
    data.com_pos();
    data.camlight();
    now.copy_from_slice(target);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[allow(unsafe_code)]
fn route_messages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        fn handler(message: &MjLogMessage) {
            let text = message.subject();
            match message.level() {
                MjtLogLevel::mjLOG_ERROR => tracing::error!(target: "mujoco", "{text}"),
                MjtLogLevel::mjLOG_WARNING => tracing::debug!(target: "mujoco", "{text}"),
                _ => tracing::trace!(target: "mujoco", "{text}"),
            }
        }
        // SAFETY: every use of MuJoCo in this crate begins with `parse`, `compile` or `load_file`, whose
        // first act this is; `Once` makes other threads wait until the handler stands.
        unsafe { mujoco_rs::prelude::set_log_handler(handler) };
    });
}
