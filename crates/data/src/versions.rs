//! The store of versions: what stands beside datasets as `.embody-versions`.
//!
//! ```text
//! .embody-versions/objects/ab/cdef…     contents of files, named by their hash
//! .embody-versions/versions/HASH.json   a version: its lineage, and path and hash of each file
//! ```
//! A version is kept by linking its files into `objects`; files below a mebibyte are copied, since
//! people edit descriptions in place. Equal files of all versions are one object, so keeping a
//! version that shares its videos costs next to nothing. Nothing is believed on the way out: every
//! object is hashed again, and one that was changed in place is an error, not a checkout.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use embody_core::{
    AtomicDir, ContentHash, Error, IoContext, Result, Task, hash_file, hash_listed, write_atomic,
};
use serde::{Deserialize, Serialize};

use crate::dataset::detect_format;
use crate::error::DataError;
use crate::files::{link_or_copy, list_files};
use crate::format::read_json;
use crate::lineage::{LINEAGE_FILE, Lineage, lineage};

const FOLDER: &str = ".embody-versions";
/// Files below this many bytes are copied into the store and out of it.
const SMALL: u64 = 1 << 20;

/// One version in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name: the hash of its content.
    pub version: ContentHash,
    /// Name of the folder from which it was kept.
    pub name: String,
    /// How it came to be.
    #[serde(default)]
    pub lineage: Option<Lineage>,
    /// Its files in order of their paths.
    pub files: Vec<StoredFile>,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Path in the dataset.
    pub path: String,
    /// Hash of its content.
    pub hash: ContentHash,
    /// Size.
    pub bytes: u64,
}

impl Manifest {
    /// Size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    fn content_hash(&self) -> ContentHash {
        let files = self.files.iter().filter(|f| f.path != LINEAGE_FILE);
        hash_listed(files.map(|f| (f.path.as_str(), &f.hash)))
    }
}

/// The store of a folder of datasets.
#[derive(Debug, Clone)]
pub struct Versions {
    folder: PathBuf,
}

impl Versions {
    /// The store beside the dataset at `path`; it need not exist yet.
    ///
    /// # Errors
    /// When `path` has no folder around it.
    pub fn beside(path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path).at("name", path)?;
        let parent = absolute.parent().ok_or_else(|| {
            Error::new(format!("{} is in no folder", path.display())).with_hint("name a dataset")
        })?;
        Ok(Self { folder: parent.join(FOLDER) })
    }

    /// Keeps the dataset at `root` as it is now.
    ///
    /// # Errors
    /// When there is no dataset, or a file can't be read or linked.
    pub fn keep(&self, root: &Path, task: Task<'_>) -> Result<Manifest> {
        detect_format(root)?;
        let paths = list_files(root)?;
        task.begin("keep", Some(paths.len() as u64), "files");
        let mut files = Vec::new();
        for (done, path) in paths.into_iter().enumerate() {
            let file = root.join(&path);
            let bytes = fs::metadata(&file).at("read", &file)?.len();
            let hash = hash_file(&file)?;
            self.add(&file, &hash, bytes)?;
            files.push(StoredFile { path, hash, bytes });
            task.advance("keep", done as u64 + 1, "")?;
        }
        task.end("keep");
        let absolute = std::path::absolute(root).at("name", root)?;
        let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = hash_listed(std::iter::empty());
        let mut manifest = Manifest { version, name, lineage: lineage(root)?, files };
        manifest.version = manifest.content_hash();
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| Error::new(format!("could not describe the version: {e}")))?;
        write_atomic(&self.manifest_path(&manifest.version), &text)?;
        Ok(manifest)
    }

    /// All versions in the store, by name of the dataset and then by version.
    ///
    /// # Errors
    /// When a manifest can't be read.
    pub fn list(&self) -> Result<Vec<Manifest>> {
        let folder = self.folder.join("versions");
        let mut out: Vec<Manifest> = Vec::new();
        if folder.is_dir() {
            for file in list_files(&folder)?.iter().filter(|f| f.ends_with(".json")) {
                out.push(read_json(&folder.join(file))?);
            }
        }
        out.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(out)
    }

    /// The version whose name begins with `prefix`.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn find(&self, prefix: &str) -> Result<Manifest> {
        let all = self.list()?;
        let fits: Vec<&Manifest> =
            all.iter().filter(|m| m.version.as_str().starts_with(prefix)).collect();
        match fits[..] {
            [one] if prefix.len() >= 4 => Ok(one.clone()),
            [] => Err(DataError::Request {
                why: format!("no version {prefix:?} is kept in {}", self.folder.display()),
                hint: "embody data versions PATH lists those that are".to_owned(),
            }
            .into()),
            _ => Err(DataError::Request {
                why: format!("{prefix:?} could be any of {} versions", fits.len()),
                hint: "give at least four digits, and more of them".to_owned(),
            }
            .into()),
        }
    }

    /// Puts a version back as the dataset `target`.
    ///
    /// # Errors
    /// When the target exists, or an object is missing or no longer what its name says; nothing is
    /// left behind.
    pub fn checkout(&self, prefix: &str, target: &Path, task: Task<'_>) -> Result<Manifest> {
        let manifest = self.find(prefix)?;
        if target.exists() {
            return Err(DataError::Request {
                why: format!("{} exists already", target.display()),
                hint: "name another folder, or remove that one first".to_owned(),
            }
            .into());
        }
        let staging = AtomicDir::begin(target, false)?;
        task.begin("checkout", Some(manifest.files.len() as u64), "files");
        for (done, file) in manifest.files.iter().enumerate() {
            let object = self.object(&file.hash);
            let is = hash_file(&object)?;
            if is != file.hash {
                return Err(DataError::Inconsistent {
                    path: object,
                    why: format!(
                        "it was {} of version {}, and was changed in place since",
                        file.path,
                        manifest.version.short()
                    ),
                    hint: "that version is lost; keep the dataset anew in its present state",
                }
                .into());
            }
            place(&object, &staging.path().join(&file.path), file.bytes)?;
            task.advance("checkout", done as u64 + 1, "")?;
        }
        task.end("checkout");
        staging.commit()?;
        Ok(manifest)
    }

    /// Removes a version from the store, and the objects that no other version has. Gives their size.
    ///
    /// # Errors
    /// When there is no such version or a file can't be removed.
    pub fn forget(&self, prefix: &str) -> Result<(Manifest, u64)> {
        let gone = self.find(prefix)?;
        let path = self.manifest_path(&gone.version);
        fs::remove_file(&path).at("remove", &path)?;
        let used: HashSet<ContentHash> =
            self.list()?.into_iter().flat_map(|m| m.files).map(|f| f.hash).collect();
        let mut freed = 0;
        for file in &gone.files {
            let object = self.object(&file.hash);
            if !used.contains(&file.hash) && object.is_file() {
                fs::remove_file(&object).at("remove", &object)?;
                freed += file.bytes;
            }
        }
        Ok((gone, freed))
    }

    /// Lineage of the dataset at `root` and of the versions before it, as far as they are kept: the
    /// newest first.
    ///
    /// # Errors
    /// When a record can't be read.
    pub fn history(&self, root: &Path) -> Result<Vec<Lineage>> {
        let mut out = Vec::new();
        let mut next = lineage(root)?;
        while let Some(record) = next {
            let parent = record.parent.clone();
            let seen = out.iter().any(|l: &Lineage| Some(&l.version) == parent.as_ref());
            out.push(record);
            let path = parent.filter(|_| !seen).map(|p| self.manifest_path(&p));
            next = match path.filter(|p| p.is_file()) {
                Some(path) => read_json::<Manifest>(&path)?.lineage,
                None => None,
            };
        }
        Ok(out)
    }

    fn manifest_path(&self, version: &ContentHash) -> PathBuf {
        self.folder.join("versions").join(format!("{version}.json"))
    }

    fn object(&self, hash: &ContentHash) -> PathBuf {
        let (first, rest) = hash.as_str().split_at(2.min(hash.as_str().len()));
        self.folder.join("objects").join(first).join(rest)
    }

    fn add(&self, file: &Path, hash: &ContentHash, bytes: u64) -> Result<()> {
        let object = self.object(hash);
        if object.is_file() {
            return Ok(());
        }
        // Complete under another name first: a name in the store always has its content.
        let part = object.with_extension("part");
        if part.exists() {
            fs::remove_file(&part).at("remove", &part)?;
        }
        place(file, &part, bytes)?;
        fs::rename(&part, &object).at("put in place", &object)
    }
}

fn place(from: &Path, to: &Path, bytes: u64) -> Result<()> {
    if bytes >= SMALL {
        return link_or_copy(from, to);
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).at("create folder", parent)?;
    }
    fs::copy(from, to).map(|_| ()).at("copy", from)
}
