//! Durable writes: aside, fsync, rename. A crash at any instant leaves the old version whole.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{IoContext, Result};

const TORN_PREFIX: &str = ".tmp-";

/// Writes `bytes` to `path` such that a reader sees the old content or the new, never a mixture.
///
/// # Errors
/// Any I/O error, naming `path`; the temporary file is removed then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = folder_of(path);
    fs::create_dir_all(parent).at("create folder", parent)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TORN_PREFIX);
    // As readable as any new file: temporary files are private by default, this one will not stay so.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(parent).at("create temporary file in", parent)?;
    file.write_all(bytes).at("write", path)?;
    file.as_file().sync_all().at("flush", path)?;
    file.persist(path).map_err(|e| e.error).at("put in place", path)?;
    sync_dir(parent)
}

/// A folder that is built aside and appears under its name only when complete.
///
/// Dropped without [`AtomicDir::commit`], it is removed: nothing half-written stays in place.
#[derive(Debug)]
pub struct AtomicDir {
    staging: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicDir {
    /// Starts building `target` in a sibling folder `.NAME.partial`. A leftover from a killed run is
    /// cleared; with `keep_partial` it is kept for the caller to continue.
    ///
    /// # Errors
    /// When the sibling folder can't be made.
    pub fn begin(target: &Path, keep_partial: bool) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let staging = target.with_file_name(format!(".{name}.partial"));
        if staging.exists() && !keep_partial {
            fs::remove_dir_all(&staging).at("clear leftover", &staging)?;
        }
        fs::create_dir_all(&staging).at("create folder", &staging)?;
        remove_torn_files(&staging)?;
        Ok(Self { staging, target: target.to_owned(), committed: false })
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Where the folder will stand.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Flushes every file and moves the folder into place, replacing an older one.
    ///
    /// # Errors
    /// Any I/O error, naming the file; the old folder is then still there.
    pub fn commit(mut self) -> Result<PathBuf> {
        sync_tree(&self.staging)?;
        if self.target.exists() {
            let old = self.staging.with_extension("old");
            if old.exists() {
                fs::remove_dir_all(&old).at("clear leftover", &old)?;
            }
            fs::rename(&self.target, &old).at("set aside", &self.target)?;
            fs::rename(&self.staging, &self.target).at("put in place", &self.target)?;
            fs::remove_dir_all(&old).at("remove old version", &old)?;
        } else {
            fs::rename(&self.staging, &self.target).at("put in place", &self.target)?;
        }
        self.committed = true;
        sync_dir(folder_of(&self.target))?;
        Ok(self.target.clone())
    }

    /// Leaves the partial folder on disk, for a later run to continue from.
    pub fn keep(mut self) {
        self.committed = true;
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.committed {
            // Best effort: the folder is ours alone and `begin` clears it as well.
            fs::remove_dir_all(&self.staging).ok();
        }
    }
}

/// Removes what a killed [`write_atomic`] left, so that a resumed folder equals an uninterrupted one.
fn remove_torn_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at("read folder", dir)? {
        let entry = entry.at("read folder", dir)?;
        let path = entry.path();
        if path.is_dir() {
            remove_torn_files(&path)?;
        } else if entry.file_name().to_string_lossy().starts_with(TORN_PREFIX) {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

fn sync_tree(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at("read folder", dir)? {
        let path = entry.at("read folder", dir)?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            fs::File::open(&path).and_then(|f| f.sync_all()).at("flush", &path)?;
        }
    }
    sync_dir(dir)
}

/// The folder that holds `path`; the working folder for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_dir(dir: &Path) -> Result<()> {
    // Only Unix can flush a folder's entries; elsewhere the rename itself has to do.
    #[cfg(unix)]
    fs::File::open(dir).and_then(|f| f.sync_all()).at("flush folder", dir)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommitted_folder_leaves_the_old_one() {
        let home = tempfile::tempdir().expect("temporary folder");
        let target = home.path().join("version");
        let first = AtomicDir::begin(&target, false).expect("begin");
        fs::write(first.path().join("a"), "1").expect("write");
        first.commit().expect("commit");
        let second = AtomicDir::begin(&target, false).expect("begin");
        fs::write(second.path().join("a"), "2").expect("write");
        drop(second);
        assert_eq!(fs::read_to_string(target.join("a")).expect("read"), "1");
        assert_eq!(fs::read_dir(home.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_resumed_folder_keeps_files_but_not_torn_ones() {
        let home = tempfile::tempdir().expect("temporary folder");
        let target = home.path().join("version");
        let first = AtomicDir::begin(&target, true).expect("begin");
        write_atomic(&first.path().join("in/whole"), b"1").expect("write");
        fs::write(first.path().join("in/.tmp-torn"), "2").expect("write");
        first.keep();
        let second = AtomicDir::begin(&target, true).expect("begin");
        assert!(second.path().join("in/whole").exists());
        assert!(!second.path().join("in/.tmp-torn").exists());
    }

    #[test]
    fn a_bare_name_lies_in_the_working_folder() {
        assert_eq!(folder_of(Path::new("version")), Path::new("."));
        assert_eq!(folder_of(Path::new("runs/version")), Path::new("runs"));
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let home = tempfile::tempdir().expect("temporary folder");
        let path = home.path().join("deep/er/file");
        write_atomic(&path, b"one").expect("write");
        write_atomic(&path, b"two").expect("write");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("list").count(), 1);
    }
}
