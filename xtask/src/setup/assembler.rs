//! nasm, which assembles the fast paths of the AV1 codec on x86-64.
//!
//! Taken from `PATH`, or on Debian and its kin out of the distribution's package, unpacked into
//! `.embody/tools` without root and without touching the system. Nothing else fails without it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Outcome;
use crate::sh::{self, Context, Fail, Result};
use crate::workspace::{self, Workspace};

const BY_HAND: &str =
    "builds go on without it and decode video some 25 times slower; install the package `nasm`";

pub fn nasm(workspace: &Workspace) -> Result<Outcome> {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(Outcome::Present("not needed on this processor".into()));
    }
    if let Some(found) = workspace.find("nasm").filter(|_| works(workspace)) {
        return Ok(Outcome::Present(found.display().to_string()));
    }
    if workspace.find("apt-get").is_none() || workspace.find("dpkg-deb").is_none() {
        return Err(Fail::new("nasm is not on PATH, and there is no apt-get here").hint(BY_HAND));
    }
    from_debian(workspace).map_err(|fail| fail.hint(BY_HAND))?;
    if !works(workspace) {
        return Err(Fail::new("the nasm out of Debian's package does not start").hint(BY_HAND));
    }
    Ok(Outcome::Installed(".embody/tools/bin/nasm, out of Debian's package".into()))
}

/// Whether builds will find an assembler that starts.
pub fn works(workspace: &Workspace) -> bool {
    workspace.find("nasm").is_some_and(|nasm| {
        sh::output(Command::new(nasm).arg("-v")).is_ok_and(|o| o.status.success())
    })
}

fn from_debian(workspace: &Workspace) -> Result<()> {
    let downloads = workspace::cache()?.join("debian");
    fs::create_dir_all(&downloads).during("create folder", &downloads)?;
    if package_in(&downloads)?.is_none() {
        let download =
            || sh::capture(apt(workspace).arg("download").arg("nasm").current_dir(&downloads));
        if download().is_err() {
            // A fresh container has no package lists; only root may fetch them.
            let lists = sh::capture(apt(workspace).args(["-q", "update"]));
            download().map_err(|fail| match lists {
                Ok(_) => fail,
                Err(lists) => Fail::new(format!("{}; {}", fail.what, lists.what)),
            })?;
        }
    }
    let package = package_in(&downloads)?
        .ok_or_else(|| Fail::new("apt-get download left no package in the cache"))?;
    let staging = workspace.embody().join("tools/.nasm");
    fs::create_dir_all(&staging).during("create folder", &staging)?;
    let unpacked = sh::capture(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&staging));
    if let Err(fail) = unpacked {
        // A cut download would otherwise stay in the way for ever.
        fs::remove_file(&package).during("remove", &package)?;
        return Err(fail);
    }
    fs::create_dir_all(workspace.tools()).during("create folder", workspace.tools())?;
    let program = staging.join("usr/bin/nasm");
    fs::rename(&program, workspace.tools().join("nasm")).during("put in place", &program)?;
    fs::remove_dir_all(&staging).during("remove", &staging)
}

fn apt(workspace: &Workspace) -> Command {
    let mut command = Command::new("apt-get");
    command.env("PATH", workspace.path()).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn package_in(dir: &Path) -> Result<Option<std::path::PathBuf>> {
    let entries = fs::read_dir(dir).during("read folder", dir)?;
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb")))
}
