//! Peers out of the package index: a Python environment per peer, outside the tree, made on first use.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::sh::{self, Context, Fail, Result};
use crate::workspace;

/// A Python of at least 3.`minor` with those packages, in the user's cache.
pub fn python_with(packages: &[&str], minor: u32) -> Result<PathBuf> {
    let package = packages.join(" ");
    let folder = package.replace("==", "-").replace(' ', "_").replace(['*', '[', ']'], "x");
    let home = workspace::cache()?.join("python").join(folder);
    let python = home.join("bin/python");
    let complete = home.join(".complete");
    if complete.is_file() {
        return Ok(python);
    }
    let base = interpreter(minor)?;
    eprintln!("installing {package} into {}", home.display());
    sh::capture(Command::new(base).args(["-m", "venv", "--clear"]).arg(&home))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut install = Command::new(&python);
    install.args(pip).args(packages);
    sh::attempt(&format!("pip install {package}"), &mut install).map_err(|fail| {
        Fail::new(fail.what).hint(format!("install {package} into {} by hand", home.display()))
    })?;
    fs::write(&complete, &package).during("write", &complete)?;
    Ok(python)
}

/// The peers of the dataset engine, LeRobot and rosbags; `EMBODY_LEROBOT_PYTHON` names a ready
/// environment.
pub fn lerobot() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_LEROBOT_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["lerobot==0.6.1", "rosbags==0.11.*"], 12),
    }
}

/// The oracle and peer of the imitation policies, LeRobot with diffusers; `EMBODY_LEROBOT_PYTHON` names a
/// ready environment.
pub fn lerobot_policies() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_LEROBOT_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["lerobot==0.6.1", "diffusers==0.39.*"], 12),
    }
}

/// LeRobot with its motor drivers; `EMBODY_LEROBOT_PYTHON` names a ready environment.
pub fn lerobot_motors() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_LEROBOT_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["lerobot[feetech,dynamixel]==0.6.1"], 12),
    }
}

/// The oracle of policies that follow instructions; `EMBODY_VLA_PYTHON` names a ready environment.
pub fn lerobot_vlas() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_VLA_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["lerobot==0.6.1", "transformers==5.5.*"], 12),
    }
}

/// What runs policies as ONNX graphs; `EMBODY_ONNX_PYTHON` names a ready environment.
pub fn onnx() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_ONNX_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["onnxruntime==1.*", "numpy"], 11),
    }
}

/// PyTorch of the version that the `libtorch` back end is built for; `EMBODY_TORCH_PYTHON` names a ready
/// environment.
pub fn torch() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_TORCH_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["torch==2.9.0", "setuptools", "numpy"], 10),
    }
}

/// The oracle of the MuJoCo tasks, Gymnasium; `EMBODY_SIM_PYTHON` names a ready environment.
pub fn gymnasium() -> Result<PathBuf> {
    match std::env::var_os("EMBODY_SIM_PYTHON") {
        Some(python) => Ok(python.into()),
        None => python_with(&["gymnasium[mujoco]==1.4.*", "mujoco==3.17.*"], 10),
    }
}

/// The oracles of manipulation, gym-pusht and gym-aloha; `EMBODY_SIM_PYTHON` names a ready
/// environment.
pub fn manipulation() -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("EMBODY_SIM_PYTHON") {
        return Ok(python.into());
    }
    let packages = ["gym-pusht==0.1.8", "pymunk==6.*", "mujoco==3.17.*", "dm_control==1.0.50"];
    let python = python_with(&packages, 10)?;
    // It asks for an older MuJoCo than it needs.
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let mut install = Command::new(&python);
    sh::attempt("pip install gym-aloha", install.args(pip).arg("gym-aloha==0.1.5"))?;
    Ok(python)
}

/// The oldest Python that is new enough, on the path or among pyenv's.
fn interpreter(minor: u32) -> Result<PathBuf> {
    let pyenv = sh::capture(Command::new("pyenv").arg("root")).unwrap_or_default();
    let versions = PathBuf::from(pyenv.trim()).join("versions");
    let mut found: Vec<PathBuf> = ["python3".to_owned()]
        .into_iter()
        .chain((minor..minor + 4).map(|m| format!("python3.{m}")))
        .map(PathBuf::from)
        .collect();
    for entry in fs::read_dir(versions).into_iter().flatten().flatten() {
        found.push(entry.path().join("bin/python3"));
    }
    let version = |python: &PathBuf| {
        let ask = "import sys; print(sys.version_info[0] * 1000 + sys.version_info[1])";
        let said = sh::capture(Command::new(python).args(["-c", ask])).ok()?;
        said.trim().parse::<u32>().ok()
    };
    let usable = found.into_iter().filter_map(|p| Some((version(&p)?, p)));
    usable
        .filter(|(v, _)| (3000 + minor..4000).contains(v))
        .min_by_key(|(v, _)| *v)
        .map(|(_, python)| python)
        .ok_or_else(|| {
            Fail::new(format!("no Python of at least 3.{minor} was found"))
                .hint("install one, or put it on the PATH as python3")
        })
}
