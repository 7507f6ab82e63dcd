//! The Hugging Face Hub's reading side: what a revision is, which files it has, their bytes.
//!
//! Routes, as the Hub and its Python client use them:
//! ```text
//! GET /api/datasets/R/revision/REV          {"sha": COMMIT}
//! GET /api/datasets/R/tree/COMMIT[/PATH]    files with size, Git blob id, LFS SHA-256; pages by Link
//! GET /datasets/R/resolve/COMMIT/PATH       bytes, with Range; may redirect to another host
//! ```
//! Everything after the first call names the commit, so that a push in between changes nothing.

use embody_core::{Result, Task};
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};
use reqwest::header::{IF_RANGE, LINK, RANGE};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::access::StoreAccess;
use super::digest::Checksum;
use super::error::StoreError;
use super::http::{Failure, Http, Refusal, bounded, causes, json, shown};
use super::part::{Opened, RemoteFile};
use super::url::HubUrl;

/// Files and folders of a listing that are read at most.
const MAX_ENTRIES: usize = 2_000_000;

/// A repository on a Hub.
pub(super) struct Hub {
    pub(super) http: Http,
    endpoint: Url,
    token: Option<super::access::Secret>,
    /// Which, and where in it.
    pub(super) at: HubUrl,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "sha256")]
    oid: String,
    size: u64,
}

impl Hub {
    /// Prepares to talk; nothing is sent.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub(super) fn new(at: HubUrl, access: &StoreAccess) -> Result<Self> {
        let bad = |why: &str| StoreError::Refused {
            url: access.hub_endpoint.clone(),
            why: format!("not a Hub's address: {why}"),
            hint: "set HF_ENDPOINT to an address such as https://huggingface.co",
        };
        let endpoint = Url::parse(access.hub_endpoint.trim_end_matches('/'))
            .map_err(|e| bad(&e.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
            return Err(bad("it begins with neither https:// nor http://").into());
        }
        let token = access.hub_token.clone();
        Ok(Self { http: Http::new()?, endpoint, token, at })
    }

    /// The endpoint as people write it.
    pub(super) fn endpoint(&self) -> String {
        shown(&self.endpoint).trim_end_matches('/').to_owned()
    }

    /// `ENDPOINT/a/b/c`; each part is escaped, a `/` in it too.
    pub(super) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// `ENDPOINT/api/datasets/ORG/NAME/a/b`.
    pub(super) fn api<'a>(&'a self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let repo = self.at.repo.split('/');
        self.url(["api", "datasets"].into_iter().chain(repo).chain(parts))
    }

    /// A request that carries our token, if it goes to the endpoint and to no other host.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.client().request(method, url.clone());
        self.signed(request, &url)
    }

    /// As [`Hub::request`], for one that carries `bytes` bytes.
    pub(super) fn sending(&self, method: Method, url: Url, bytes: u64) -> RequestBuilder {
        let request = self.http.sending(method, url.clone(), bytes);
        self.signed(request, &url)
    }

    fn signed(&self, request: RequestBuilder, url: &Url) -> RequestBuilder {
        let ours = url.origin() == self.endpoint.origin();
        match &self.token {
            Some(token) if ours => {
                request.header(AUTHORIZATION, format!("Bearer {}", token.expose()))
            }
            _ => request,
        }
    }

    /// The commit that `revision` is now.
    ///
    /// # Errors
    /// When there is no such repository or revision, or we may not see it.
    pub(super) async fn commit(&self, revision: &str, task: Task<'_>) -> Result<String> {
        self.find_commit(revision, task).await?.map_err(|(_, error)| error)
    }

    /// As [`Hub::commit`], where a no is an answer as well.
    ///
    /// # Errors
    /// What kept us from an answer.
    pub(super) async fn find_commit(
        &self,
        revision: &str,
        task: Task<'_>,
    ) -> Result<Result<String, Refusal>> {
        let url = self.api(["revision", revision]);
        let asked = self.http.ask(task, || self.request(Method::GET, url.clone())).await?;
        let response = match asked {
            Ok(response) => response,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Revision { sha } = json(response).await?;
        if sha.len() != 40 || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            let why = format!("{sha:?} is no commit");
            return Err(StoreError::Protocol { url: shown(&url), why }.into());
        }
        Ok(Ok(sha))
    }

    /// The files at `path` of a commit; names count from there.
    ///
    /// # Errors
    /// When the listing can't be had, or has no end.
    pub(super) async fn tree(
        &self,
        commit: &str,
        path: &str,
        task: Task<'_>,
    ) -> Result<Vec<RemoteFile>> {
        let below = path.split('/').filter(|p| !p.is_empty());
        let mut url = self.api(["tree", commit].into_iter().chain(below));
        url.set_query(Some("recursive=true&expand=false"));
        let mut files = Vec::new();
        let mut seen = 0;
        while seen < MAX_ENTRIES {
            let (entries, next) = self.page(&url, task).await?;
            if entries.is_empty() && next.is_some() {
                break;
            }
            seen += entries.len();
            files.extend(entries.into_iter().filter(|e| e.kind == "file").map(|e| file(e, path)));
            let Some(next) = next else { return Ok(files) };
            // A mirror hands on the addresses of the original; our token stays with the endpoint.
            url.set_path(next.path());
            url.set_query(next.query());
        }
        let why = format!("a listing that does not end, or has more than {MAX_ENTRIES} entries");
        Err(StoreError::Protocol { url: shown(&url), why }.into())
    }

    /// One page of a listing and the address of the next.
    async fn page(&self, url: &Url, task: Task<'_>) -> Result<(Vec<Entry>, Option<Url>)> {
        let response = self.http.send(task, || self.request(Method::GET, url.clone())).await?;
        let next = next_page(response.headers());
        let next = next.and_then(|link| url.join(link).ok());
        Ok((json(response).await?, next))
    }

    /// Opens a file from byte `from` on.
    ///
    /// # Errors
    /// Passing or final.
    pub(super) async fn open(
        &self,
        commit: &str,
        file: &RemoteFile,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Opened, Failure> {
        let url = self.resolve(commit, &file.key);
        let mut request = self.request(Method::GET, url.clone());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            // Weak ones may not stand there; the hash says in the end whether the halves belong together.
            if let Some(etag) = etag.filter(|e| e.starts_with('"')) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let response = self.http.once(request).await?;
        let corrupt = |why: String| StoreError::Corrupt { url: shown(&url), why };
        let text = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let start = if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = text(CONTENT_RANGE).and_then(content_range);
            let (start, total) =
                range.ok_or_else(|| corrupt("a part without a readable Content-Range".into()))?;
            if total.is_some_and(|t| t != file.bytes) || start != from {
                let why = format!("asked from byte {from} of {}, got {start}", file.bytes);
                return Err(corrupt(why).into());
            }
            start
        } else {
            let length = text(CONTENT_LENGTH).and_then(|l| l.parse::<u64>().ok());
            if let Some(length) = length.filter(|l| *l != file.bytes) {
                return Err(corrupt(format!("{length} bytes, listed with {}", file.bytes)).into());
            }
            0
        };
        let etag = text(ETAG).map(str::to_owned);
        let body = response.bytes_stream().map(|chunk| chunk.map_err(|e| causes(&e))).boxed();
        Ok(Opened { start, etag, body })
    }

    /// A small file's content; `None` where the commit has none of that name.
    ///
    /// # Errors
    /// When it can't be had or has more than `limit` bytes.
    pub(super) async fn small(
        &self,
        commit: &str,
        path: &str,
        limit: usize,
        task: Task<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let url = self.resolve(commit, path);
        match self.http.ask(task, || self.request(Method::GET, url.clone())).await? {
            Ok(response) => bounded(response, limit).await.map(Some),
            Err((404, _)) => Ok(None),
            Err((_, error)) => Err(error),
        }
    }

    /// Address of a file's bytes.
    pub(super) fn resolve(&self, commit: &str, path: &str) -> Url {
        let repo = self.at.repo.split('/');
        let before = ["datasets"].into_iter().chain(repo).chain(["resolve", commit]);
        self.url(before.chain(path.split('/')))
    }
}

fn file(entry: Entry, below: &str) -> RemoteFile {
    let inside = entry.path.strip_prefix(below).and_then(|p| p.strip_prefix('/'));
    let name = if below.is_empty() { None } else { inside };
    let (bytes, checksum) = match entry.lfs {
        Some(lfs) => (lfs.size, Checksum::Sha256(lfs.oid.to_ascii_lowercase())),
        None => (entry.size, Checksum::GitSha1(entry.oid.to_ascii_lowercase())),
    };
    let name = name.unwrap_or(&entry.path).to_owned();
    RemoteFile { name, key: entry.path, bytes, checksum: Some(checksum), etag: None }
}

/// `bytes A-B/TOTAL`: A, and TOTAL where it is known.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The address that a `Link` header calls next.
fn next_page(headers: &HeaderMap) -> Option<&str> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (address, _) = link.split(',').find_map(|one| {
        let (address, parameters) = one.split_once(';')?;
        parameters.contains("rel=\"next\"").then_some((address, ()))
    })?;
    address.trim().strip_prefix('<')?.strip_suffix('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        let mut headers = HeaderMap::new();
        headers.insert(LINK, "<http://h/a?cursor=1,2>; rel=\"prev\"".parse().expect("header"));
        assert_eq!(next_page(&headers), None);
        headers.insert(LINK, "<http://h/a?cursor=1>; rel=\"next\"".parse().expect("header"));
        assert_eq!(next_page(&headers), Some("http://h/a?cursor=1"));
    }

    #[test]
    fn a_branch_with_a_slash_is_one_part_of_the_address() {
        let at = HubUrl { repo: "a/b".into(), revision: None, path: String::new() };
        let access = StoreAccess { hub_endpoint: "http://h/sub/".into(), ..Default::default() };
        let hub = Hub::new(at, &access).expect("hub");
        let url = hub.api(["revision", "refs/pr/1"]);
        assert_eq!(url.as_str(), "http://h/sub/api/datasets/a/b/revision/refs%2Fpr%2F1");
    }
}
