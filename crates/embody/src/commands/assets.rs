//! `embody assets`: robot models for those who have no source tree to set up.
//!
//! A model lies in a Python wheel, pinned by SHA-256; pip fetches exactly that wheel, or it is given
//! by hand. Nothing of it is run. What is unpacked appears under the robot's name only when
//! complete.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use embody_core::{AtomicDir, Error, IoContext, Result, nearest_key};
use embody_sim::RobotModel;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::App;
use crate::cli::AssetsCommand;
use crate::ui::{print_data, say};

/// A wheel larger than this is none of ours.
const MAX_WHEEL: u64 = 256 << 20;
/// A file in it larger than this is none of ours.
const MAX_FILE: u64 = 64 << 20;

/// Runs the verb.
///
/// # Errors
/// An unknown name; no Python with pip; a wheel that is not the pinned one.
pub fn run(app: &App<'_>, command: &AssetsCommand) -> Result<()> {
    match command {
        AssetsCommand::List => {
            for robot in RobotModel::all() {
                let present = is_present(&app.config.assets, &robot);
                if app.json {
                    let mut line = json!(robot);
                    line["present"] = present.into();
                    print_data(&line.to_string());
                    continue;
                }
                let state = if present { "present" } else { "absent" };
                let RobotModel { name, what, licence, package, version, .. } = &robot;
                let line = format!("{name:<10} {state:<8} {what} ({package} {version}, {licence})");
                print_data(&line);
            }
            Ok(())
        }
        AssetsCommand::Path { name } => {
            let assets = &app.config.assets;
            let path = match name {
                Some(name) => present(assets, &find(name)?)?,
                None => assets.clone(),
            };
            print_data(&path.display().to_string());
            Ok(())
        }
        AssetsCommand::Get { names, wheel, force } => {
            let robots: Vec<_> = names.iter().map(|n| find(n)).collect::<Result<_>>()?;
            for robot in &robots {
                app.task.cancel.check()?;
                get(app, robot, wheel.as_deref(), *force)?;
            }
            Ok(())
        }
    }
}

fn find(name: &str) -> Result<RobotModel> {
    let all = RobotModel::all();
    let known: Vec<_> = all.iter().map(|robot| robot.name.clone()).collect();
    all.into_iter().find(|robot| robot.name == name).ok_or_else(|| {
        let hint = match nearest_key(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? `embody assets list` shows all"),
            None => format!("the robot models are {}", known.join(", ")),
        };
        Error::new(format!("no robot model is called `{name}`")).with_hint(hint)
    })
}

fn is_present(assets: &Path, robot: &RobotModel) -> bool {
    let folder = assets.join(&robot.name);
    let stamp = std::fs::read_to_string(folder.join(RobotModel::STAMP));
    stamp.is_ok_and(|found| found.trim() == robot.sha256) && folder.join(&robot.model).exists()
}

/// The folder of a model that is present.
fn present(assets: &Path, robot: &RobotModel) -> Result<PathBuf> {
    let folder = assets.join(&robot.name);
    if is_present(assets, robot) {
        return Ok(folder);
    }
    let error = Error::new(format!("robot model {} is not in {}", robot.name, assets.display()));
    Err(error.with_hint(format!("run `embody assets get {}`", robot.name)))
}

/// Puts a model in place, unless it is there.
fn get(app: &App<'_>, robot: &RobotModel, wheel: Option<&Path>, force: bool) -> Result<()> {
    let folder = app.config.assets.join(&robot.name);
    if force || !is_present(&app.config.assets, robot) {
        let wheel = match wheel {
            Some(given) => given.to_owned(),
            None => download(&app.config.cache, robot)?,
        };
        unpack(&wheel, robot, &folder)?;
    }
    if app.json {
        print_data(&json!({ "name": robot.name, "path": folder }).to_string());
    } else {
        print_data(&format!("{:<10} {}", robot.name, folder.display()));
    }
    Ok(())
}

/// The pinned wheel in the user's cache, fetched by pip when it is not yet there.
fn download(cache: &Path, robot: &RobotModel) -> Result<PathBuf> {
    let RobotModel { package, version, python, sha256: pinned, .. } = robot;
    let folder = cache.join("wheels").join(pinned);
    if let Some(wheel) = wheel_in(&folder) {
        if sha256(&wheel)? == *pinned {
            return Ok(wheel);
        }
        // Cut by a kill: it would stay in the way for ever.
        std::fs::remove_file(&wheel).at("remove", &wheel)?;
    }
    std::fs::create_dir_all(&folder).at("create folder", &folder)?;
    let name = format!("{package}=={version}");
    say(&format!("fetching {name} with pip"));
    let mut pip = Command::new(if cfg!(windows) { "python" } else { "python3" });
    pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--progress-bar=off"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--no-input", "--platform", "any"]);
    pip.args(["--implementation", "cp", "--python-version", python, "--dest"]);
    pip.arg(&folder).arg(&name).stdin(Stdio::null());
    let by_hand = format!("fetch the wheel of {name} elsewhere, then give it with `--wheel FILE`");
    let output = pip.output().map_err(|e| {
        Error::new(format!("could not start python3 to fetch {name}: {e}"))
            .with_hint(format!("install python3 with pip, or {by_hand}"))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().map(str::trim).rfind(|l| !l.is_empty());
        let why = last.unwrap_or("it says nothing");
        let error = Error::new(format!("pip could not fetch {name}: {why}"));
        return Err(
            error.with_hint(format!("see that python3 has pip and a network, or {by_hand}"))
        );
    }
    wheel_in(&folder)
        .ok_or_else(|| Error::new(format!("pip left no wheel in {}", folder.display())))
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|e| e == "whl"))
}

/// Checks the wheel and unpacks the robot's parts of it into `folder`.
fn unpack(wheel: &Path, robot: &RobotModel, folder: &Path) -> Result<()> {
    let found = sha256(wheel)?;
    if found != robot.sha256 {
        let RobotModel { package, version, sha256, .. } = robot;
        let error = Error::new(format!(
            "{} has SHA-256 {found}, the wheel of {package}=={version} has {sha256}",
            wheel.display()
        ));
        return Err(error.with_hint("give the wheel of that version, or none to have pip fetch it"));
    }
    let file = File::open(wheel).at("open", wheel)?;
    let damaged = |e: zip::result::ZipError| {
        Error::new(format!("{} is no readable wheel: {e}", wheel.display()))
    };
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(damaged)?;
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).at("create folder", parent)?;
    }
    let staging = AtomicDir::begin(folder, false)?;
    let mut taken = 0;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        let part = robot.parts.iter().find(|(prefix, _)| name.starts_with(prefix.as_str()));
        let Some((prefix, to)) = part.filter(|_| member.is_file()) else { continue };
        let inside = PathBuf::from(format!("{to}{}", &name[prefix.len()..]));
        if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
            let text = format!("{}: {name} leads out of the folder", wheel.display());
            return Err(Error::new(text));
        }
        let target = staging.path().join(inside);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).at("create folder", parent)?;
        }
        let mut bytes = Vec::new();
        member.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).at("read", wheel)?;
        if bytes.len() as u64 > MAX_FILE {
            let text = format!("{}: {name} has more than {MAX_FILE} bytes", wheel.display());
            return Err(Error::new(text));
        }
        std::fs::write(&target, bytes).at("write", &target)?;
        taken += 1;
    }
    if taken == 0 {
        return Err(Error::new(format!("{} holds no {}", wheel.display(), robot.name)));
    }
    let stamp = staging.path().join(RobotModel::STAMP);
    std::fs::write(&stamp, &robot.sha256).at("write", &stamp)?;
    staging.commit().map(|_| ())
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("open", path)?;
    let mut hash = Sha256::new();
    let mut left = MAX_WHEEL;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).at("read", path)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        left = left.checked_sub(read as u64).ok_or_else(|| {
            Error::new(format!("{} has more than {MAX_WHEEL} bytes", path.display()))
        })?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
