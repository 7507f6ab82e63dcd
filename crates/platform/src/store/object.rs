//! Object stores, reading side: S3 and folders through `object_store`.
//!
//! A prefix that we pushed to has manifests, and every file's hash stands in them. Any other prefix is
//! read as the files that lie under it; their sizes are all that can be checked then, and the report
//! says so.

use std::path::Path as FsPath;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use embody_core::{IoContext, Result, Task};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};

use super::access::StoreAccess;
use super::digest::Checksum;
use super::error::StoreError;
use super::http::{Failure, Patience, causes, install_crypto, shorten};
use super::manifest::{LATEST, Latest, MAX_MANIFEST, Manifest, object_key, version_key};
use super::part::{Opened, RemoteFile};
use super::url::{ObjectUrl, Place, StoreUrl};

/// Passing failures that `object_store` settles itself before we hear of them.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// A prefix of an object store.
pub(super) struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    prefix: Path,
    at: ObjectUrl,
}

impl Objects {
    /// Opens a prefix that should be there.
    ///
    /// # Errors
    /// A folder that does not exist, settings that make no sense.
    pub(super) fn open_existing(at: &ObjectUrl, access: &StoreAccess) -> Result<Self> {
        if let Place::Folder(folder) = &at.place
            && !folder.is_dir()
        {
            return Err(StoreError::Local {
                path: folder.clone(),
                why: "no such folder".to_owned(),
                hint: "check the path",
            }
            .into());
        }
        Self::open_for(at, access)
    }

    /// Opens a prefix; makes the folder where it is one.
    ///
    /// # Errors
    /// As [`Objects::open_existing`].
    pub(super) fn open_for(at: &ObjectUrl, access: &StoreAccess) -> Result<Self> {
        let (store, prefix): (Arc<dyn ObjectStore>, _) = match &at.place {
            Place::Folder(folder) => (Arc::new(local(folder)?), Path::default()),
            Place::S3 { bucket, prefix } => {
                let prefix = Path::parse(prefix)
                    .map_err(|e| StoreError::BadUrl { text: prefix.clone(), why: e.to_string() })?;
                (Arc::new(s3(bucket, access)?), prefix)
            }
        };
        Ok(Self { store, prefix, at: at.clone() })
    }

    /// Address of a key, for messages.
    pub(super) fn address(&self, key: &str) -> String {
        format!("{}/{key}", self.url())
    }

    /// The prefix's own address.
    pub(super) fn url(&self) -> String {
        StoreUrl::Object(ObjectUrl { version: None, ..self.at.clone() }).to_string()
    }

    /// Where a key of ours lies.
    pub(super) fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// The version and the files of this address.
    ///
    /// # Errors
    /// When they can't be had, or a manifest is damaged.
    pub(super) async fn list(&self, task: Task<'_>) -> Result<(Option<String>, Vec<RemoteFile>)> {
        let manifest = match &self.at.version {
            Some(version) => Some(self.find_version(version, task).await?),
            None => match self.latest(task).await? {
                Some((latest, _)) => {
                    Some(self.manifest(&version_key(&latest.version), task).await?)
                }
                None => None,
            },
        };
        let Some(manifest) = manifest else { return Ok((None, self.list_plain(task).await?)) };
        let file = |f: &super::manifest::Stored| RemoteFile {
            name: f.path.clone(),
            key: object_key(&f.hash),
            bytes: f.bytes,
            checksum: Some(Checksum::Blake3(f.hash.to_string())),
            etag: None,
        };
        let files = manifest.files.iter().map(file).collect();
        Ok((Some(manifest.version.to_string()), files))
    }

    /// The pointer to the newest version and its entity tag; `None` where nothing was pushed.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) async fn latest(&self, task: Task<'_>) -> Result<Option<(Latest, Option<String>)>> {
        let Some((bytes, etag)) = self.get(LATEST, 1 << 16, task).await? else { return Ok(None) };
        match Latest::read(&bytes) {
            Ok(latest) => Ok(Some((latest, etag))),
            Err(why) => Err(StoreError::Corrupt { url: self.address(LATEST), why }.into()),
        }
    }

    /// A version by its key.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub(super) async fn manifest(&self, key: &str, task: Task<'_>) -> Result<Manifest> {
        let corrupt = |why: String| StoreError::Corrupt { url: self.address(key), why };
        let found = self.get(key, MAX_MANIFEST, task).await?;
        let (bytes, _) = found.ok_or_else(|| corrupt("it is missing".to_owned()))?;
        Manifest::read(&bytes).map_err(|why| corrupt(why).into())
    }

    async fn find_version(&self, version: &str, task: Task<'_>) -> Result<Manifest> {
        let mut known = Vec::new();
        for (key, _, _) in self.keys("versions", task).await? {
            let name = key.rsplit('/').next().and_then(|n| n.strip_suffix(".json"));
            known.extend(name.map(str::to_owned));
        }
        let wanted = version.to_ascii_lowercase();
        let fits: Vec<&String> = known.iter().filter(|k| k.starts_with(&wanted)).collect();
        match fits[..] {
            [one] => self.manifest(&format!("versions/{one}.json"), task).await,
            _ => {
                let known = known.iter().map(|k| k.chars().take(12).collect()).collect();
                let url = self.url();
                Err(StoreError::NoVersion { url, version: version.to_owned(), known }.into())
            }
        }
    }

    async fn list_plain(&self, task: Task<'_>) -> Result<Vec<RemoteFile>> {
        let keys = self.keys("", task).await?;
        let file = |(key, bytes, etag): (String, u64, Option<String>)| RemoteFile {
            name: key.clone(),
            key,
            bytes,
            checksum: None,
            etag,
        };
        Ok(keys.into_iter().map(file).collect())
    }

    /// Keys below `folder` (relative to the prefix), with size and entity tag.
    ///
    /// # Errors
    /// When they can't be listed.
    pub(super) async fn keys(
        &self,
        folder: &str,
        task: Task<'_>,
    ) -> Result<Vec<(String, u64, Option<String>)>> {
        let below = if folder.is_empty() { self.prefix.clone() } else { self.path(folder) };
        let mut patience = Patience::default();
        let found: Vec<_> = loop {
            match self.store.list(Some(&below)).try_collect().await {
                Ok(found) => break found,
                Err(e) => patience.after(self.failed(folder, e), task).await?,
            }
        };
        let mut keys = Vec::with_capacity(found.len());
        for meta in found {
            let full = meta.location.as_ref();
            let key = match self.prefix.as_ref() {
                "" => Some(full),
                prefix => full.strip_prefix(prefix).and_then(|k| k.strip_prefix('/')),
            };
            // A folder marker is an empty object of the prefix's own name.
            if let Some(key) = key.filter(|k| !k.is_empty()) {
                keys.push((key.to_owned(), meta.size, meta.e_tag));
            }
        }
        Ok(keys)
    }

    /// A small object's content and entity tag; `None` where there is none of that key.
    ///
    /// # Errors
    /// When it can't be had, or has more than `limit` bytes.
    pub(super) async fn get(
        &self,
        key: &str,
        limit: u64,
        task: Task<'_>,
    ) -> Result<Option<(Vec<u8>, Option<String>)>> {
        let mut patience = Patience::default();
        loop {
            let failure = match self.store.get(&self.path(key)).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(e) => self.failed(key, e),
                Ok(found) if found.meta.size > limit => {
                    let why = format!("{} bytes, at most {limit} are read", found.meta.size);
                    return Err(StoreError::Protocol { url: self.address(key), why }.into());
                }
                Ok(found) => {
                    let etag = found.meta.e_tag.clone();
                    match found.bytes().await {
                        Ok(bytes) => return Ok(Some((bytes.to_vec(), etag))),
                        Err(e) => self.failed(key, e),
                    }
                }
            };
            patience.after(failure, task).await?;
        }
    }

    /// Opens an object from byte `from` on.
    ///
    /// # Errors
    /// Passing or final.
    pub(super) async fn open(&self, file: &RemoteFile, from: u64) -> Result<Opened, Failure> {
        let options = GetOptions {
            range: (from > 0).then_some(GetRange::Offset(from)),
            if_match: file.etag.clone(),
            ..GetOptions::default()
        };
        // Keys of a plain listing are as the store wrote them; ours need no escapes.
        let path = match &file.checksum {
            Some(_) => self.path(&file.key),
            None => Path::parse(self.raw(&file.key)).map_err(|e| StoreError::Protocol {
                url: self.address(&file.key),
                why: e.to_string(),
            })?,
        };
        let found = self.store.get_opts(&path, options).await;
        let found = found.map_err(|e| self.failed(&file.key, e))?;
        if found.meta.size != file.bytes {
            let why = format!("{} bytes, listed with {}", found.meta.size, file.bytes);
            return Err(StoreError::Corrupt { url: self.address(&file.key), why }.into());
        }
        let (start, etag) = (found.range.start, found.meta.e_tag.clone());
        let body = found.into_stream().map(|chunk| chunk.map_err(|e| causes(&e))).boxed();
        Ok(Opened { start, etag, body })
    }

    fn raw(&self, key: &str) -> String {
        match self.prefix.as_ref() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// What an error of the store means for us.
    pub(super) fn failed(&self, key: &str, error: object_store::Error) -> Failure {
        use object_store::Error as E;
        let url = self.address(key);
        let refused = |status| {
            let message = shorten(&causes(&error));
            let (url, code) = (url.clone(), String::new());
            Failure::Refused(status, StoreError::Status { url, status, code, message }.into())
        };
        match &error {
            E::NotFound { .. } => refused(404),
            E::Unauthenticated { .. } => refused(401),
            E::PermissionDenied { .. } => refused(403),
            E::Precondition { .. } | E::AlreadyExists { .. } => refused(412),
            E::Generic { .. } => match http_status(&error) {
                Some(status @ 400..500) if !matches!(status, 408 | 429) => refused(status),
                _ => {
                    let why = shorten(&causes(&error));
                    Failure::Again(StoreError::Unreachable { url, why }, None)
                }
            },
            _ => Failure::Fatal(StoreError::Protocol { url, why: error.to_string() }.into()),
        }
    }
}

/// The HTTP status in an error's causes. `object_store` tells it in words alone where it lists.
fn http_status(error: &dyn std::error::Error) -> Option<u16> {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let status =
            text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        if status.is_some() {
            return status;
        }
        next = error.source();
    }
    None
}

fn local(folder: &FsPath) -> Result<LocalFileSystem> {
    std::fs::create_dir_all(folder).at("create folder", folder)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|e| StoreError::Local {
        path: folder.to_owned(),
        why: causes(&e),
        hint: "name a folder",
    })?;
    Ok(store.with_fsync(true))
}

fn s3(bucket: &str, access: &StoreAccess) -> Result<impl ObjectStore + use<>> {
    install_crypto();
    let refused = |why: String| StoreError::Refused {
        url: format!("s3://{bucket}"),
        why,
        hint: "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_ENDPOINT_URL for a \
               server that is not Amazon's",
    };
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(retry);
    for (name, value) in &access.aws {
        if let Ok(key) = AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
            // A person who gives an address without encryption means it: a test, a closed network.
            let plain = key == AmazonS3ConfigKey::Endpoint && value.expose().starts_with("http://");
            builder = builder.with_config(key, value.expose());
            if plain {
                builder = builder.with_allow_http(true);
            }
        }
    }
    builder.build().map_err(|e| refused(causes(&e)).into())
}
