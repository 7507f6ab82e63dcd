//! Addresses of stores.
//!
//! ```text
//! hf://datasets/ORG/NAME[@REVISION][/PATH]   a dataset on the Hub; REVISION is a branch, tag or commit
//! s3://BUCKET/PREFIX[@VERSION]               objects
//! file:///FOLDER[@VERSION]                   the same layout in a folder
//! ```
//! A `/` inside REVISION is written `%2F`. VERSION is a content hash, at least eight digits of it.

use std::fmt;
use std::path::PathBuf;

use super::error::StoreError;
use super::name::check_name;

const SCHEMES: [&str; 3] = ["hf://", "s3://", "file://"];
/// Digits of a version that an address must give at least.
const VERSION_DIGITS: std::ops::RangeInclusive<usize> = 8..=64;

/// Where a dataset stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// On the Hugging Face Hub, or a server that speaks its protocol.
    Hub(HubUrl),
    /// In an object store, or a folder of the same layout.
    Object(ObjectUrl),
}

/// A dataset repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubUrl {
    /// `ORG/NAME`.
    pub repo: String,
    /// Branch, tag or commit; `main` where `None`.
    pub revision: Option<String>,
    /// Folder inside; empty for all of it.
    pub path: String,
}

/// A prefix of an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUrl {
    /// Where.
    pub place: Place,
    /// Content hash, or the beginning of one; the latest where `None`.
    pub version: Option<String>,
}

/// Kinds of object stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A bucket and what its keys begin with.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Without slashes at the ends.
        prefix: String,
    },
    /// A folder.
    Folder(PathBuf),
}

impl StoreUrl {
    /// Whether `text` begins as an address of a store does, rather than as a path.
    pub fn is_url(text: &str) -> bool {
        SCHEMES.iter().any(|s| text.starts_with(s))
    }

    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let bad = |why: &str| StoreError::BadUrl { text: text.to_owned(), why: why.to_owned() };
        if let Some(rest) = text.strip_prefix("hf://") {
            return hub(rest, &bad).map(Self::Hub);
        }
        let (rest, version) = split_version(text);
        let version = version.map(str::to_owned);
        if let Some(rest) = rest.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            if bucket.is_empty() || prefix.is_empty() {
                return Err(bad("name a bucket and a prefix"));
            }
            check_name(prefix).map_err(bad)?;
            let place = Place::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
            return Ok(Self::Object(ObjectUrl { place, version }));
        }
        if let Some(path) = rest.strip_prefix("file://") {
            if !path.starts_with('/') || path.trim_matches('/').is_empty() {
                return Err(bad(
                    "a folder is written with three slashes, such as file:///data/set",
                ));
            }
            let place = Place::Folder(PathBuf::from(path.trim_end_matches('/')));
            return Ok(Self::Object(ObjectUrl { place, version }));
        }
        Err(bad("it begins with none of hf://, s3://, file://"))
    }

    /// The same without a revision or version.
    #[must_use]
    pub fn unpinned(&self) -> Self {
        match self {
            Self::Hub(hub) => Self::Hub(HubUrl { revision: None, ..hub.clone() }),
            Self::Object(object) => Self::Object(ObjectUrl { version: None, ..object.clone() }),
        }
    }

    /// The same at exactly this commit or version.
    #[must_use]
    pub fn pinned(&self, version: &str) -> Self {
        let version = Some(version.to_owned());
        match self {
            Self::Hub(hub) => Self::Hub(HubUrl { revision: version, ..hub.clone() }),
            Self::Object(object) => Self::Object(ObjectUrl { version, ..object.clone() }),
        }
    }

    /// Whether it always means the same content: a whole commit or a version is named, no branch.
    pub fn is_pinned(&self) -> bool {
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        match self {
            Self::Hub(hub) => hub.revision.as_deref().is_some_and(|r| r.len() == 40 && hex(r)),
            Self::Object(object) => object.version.is_some(),
        }
    }
}

fn hub(rest: &str, bad: &dyn Fn(&str) -> StoreError) -> Result<HubUrl, StoreError> {
    let rest = rest
        .strip_prefix("datasets/")
        .ok_or_else(|| bad("only datasets are read: hf://datasets/…"))?;
    let mut parts = rest.splitn(3, '/');
    let org = parts.next().filter(|p| !p.is_empty());
    let name = parts.next().filter(|p| !p.is_empty());
    let (Some(org), Some(name)) = (org, name) else {
        return Err(bad("a repository is ORG/NAME"));
    };
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision.replace("%2F", "/").replace("%2f", "/"))),
        None => (name, None),
    };
    let plain = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.chars().all(known) && !part.starts_with('.')
    };
    if !plain(org) || !plain(name) {
        return Err(bad("ORG and NAME hold letters, digits and -_. only"));
    }
    if let Some(revision) = &revision {
        check_name(revision).map_err(|_| bad("a branch, tag or commit goes behind @"))?;
    }
    let path = parts.next().unwrap_or_default().trim_matches('/').to_owned();
    if !path.is_empty() {
        check_name(&path).map_err(bad)?;
    }
    Ok(HubUrl { repo: format!("{org}/{name}"), revision, path })
}

/// `…@VERSION`; an `@` that is not followed by a hash belongs to the name.
fn split_version(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('@') {
        Some((rest, version))
            if VERSION_DIGITS.contains(&version.len())
                && version.bytes().all(|b| b.is_ascii_hexdigit()) =>
        {
            (rest, Some(version))
        }
        _ => (text, None),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self {
            Self::Hub(HubUrl { repo, revision, path }) => {
                write!(f, "hf://datasets/{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{}", revision.replace('/', "%2F"))?;
                }
                return if path.is_empty() { Ok(()) } else { write!(f, "/{path}") };
            }
            Self::Object(ObjectUrl { place: Place::S3 { bucket, prefix }, version }) => {
                write!(f, "s3://{bucket}/{prefix}")?;
                version
            }
            Self::Object(ObjectUrl { place: Place::Folder(path), version }) => {
                write!(f, "file://{}", path.display())?;
                version
            }
        };
        version.as_ref().map_or(Ok(()), |v| write!(f, "@{v}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for text in [
            "hf://datasets/lab/set",
            "hf://datasets/lab/set@v3.0",
            "hf://datasets/lab/set@refs%2Fpr%2F1/data/chunk-000",
            "s3://bucket/a/b",
            "s3://bucket/a/b@0123abcd",
            "file:///data/set@0123456789abcdef",
            "file:///data/me@lab",
        ] {
            assert_eq!(StoreUrl::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "hf://lab/set",
            "hf://datasets/set",
            "hf://datasets/lab/../up",
            "hf://datasets/lab/set@../../x",
            "hf://datasets/la b/set",
            "hf://datasets/../set",
            "s3://bucket",
            "s3:///prefix",
            "s3://bucket/../other",
            "file://relative",
            "file:///",
            "gs://bucket/x",
            "/data/set",
        ] {
            assert!(StoreUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_branch_pins_nothing() {
        let pinned = |text: &str| StoreUrl::parse(text).expect(text).is_pinned();
        assert!(!pinned("hf://datasets/lab/set@v3.0"));
        assert!(pinned("hf://datasets/lab/set@0123456789012345678901234567890123456789"));
        assert!(pinned("s3://b/p@01234567"));
        assert!(!pinned("file:///data/set"));
    }
}
