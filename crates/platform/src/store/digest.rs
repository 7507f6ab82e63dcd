//! The hashes by which stores name content: SHA-256 (Git LFS), SHA-1 of a Git blob (small files on
//! the Hub), BLAKE3 (our own manifests).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use embody_core::{CancelToken, IoContext, Result};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

const CHUNK: usize = 1 << 18;

/// What a file's content must hash to, in lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(String),
    /// Of `blob SIZE\0` and the content.
    GitSha1(String),
    Blake3(String),
}

impl Checksum {
    /// The digits.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(d) | Self::GitSha1(d) | Self::Blake3(d) => d,
        }
    }

    /// Begins a hash of this kind over `bytes` bytes.
    pub(super) fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::sha256(),
            Self::GitSha1(_) => Hasher::git_sha1(bytes),
            Self::Blake3(_) => Hasher::blake3(),
        }
    }

    /// Whether `content` hashes to this.
    pub(super) fn fits(&self, content: &[u8]) -> bool {
        let mut hasher = self.hasher(content.len() as u64);
        hasher.update(content);
        hasher.finish() == self.digits()
    }

    /// Whether the file at `path`, of `bytes` bytes, hashes to this.
    pub(super) fn fits_file(&self, path: &Path, bytes: u64, cancel: &CancelToken) -> Result<bool> {
        let mut hasher = self.hasher(bytes);
        hasher.update_file(path, bytes, cancel)?;
        Ok(hasher.finish() == self.digits())
    }
}

/// A hash under way.
pub(super) enum Hasher {
    Ring(Box<Context>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    pub(super) fn sha256() -> Self {
        Self::Ring(Box::new(Context::new(&SHA256)))
    }

    pub(super) fn git_sha1(bytes: u64) -> Self {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(format!("blob {bytes}\0").as_bytes());
        Self::Ring(Box::new(context))
    }

    pub(super) fn blake3() -> Self {
        Self::Blake3(Box::default())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Ring(context) => context.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// Adds the first `bytes` bytes of a file.
    pub(super) fn update_file(
        &mut self,
        path: &Path,
        bytes: u64,
        cancel: &CancelToken,
    ) -> Result<()> {
        let mut file = File::open(path).at("read", path)?.take(bytes);
        let mut buffer = vec![0; CHUNK];
        loop {
            cancel.check()?;
            let n = file.read(&mut buffer).at("read", path)?;
            if n == 0 {
                return Ok(());
            }
            self.update(&buffer[..n]);
        }
    }

    /// The digits.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Ring(context) => hex(context.finish().as_ref()),
            Self::Blake3(hasher) => hasher.finalize().to_string(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `printf hello | sha256sum` and `printf hello | git hash-object --stdin`.
    #[test]
    fn hashes_are_those_of_the_usual_tools() {
        let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert!(Checksum::Sha256(sha.to_owned()).fits(b"hello"));
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert!(Checksum::GitSha1(git.to_owned()).fits(b"hello"));
        assert!(!Checksum::GitSha1(git.to_owned()).fits(b"hellO"));
        let blake = embody_core::hash_bytes(b"hello");
        assert!(Checksum::Blake3(blake.to_string()).fits(b"hello"));
    }
}
