//! A server that speaks the Hub's protocol as far as `embody` and `huggingface_hub` use it, holds
//! everything in memory, and misbehaves on request.
//!
//! Whether it speaks it right is for `huggingface_hub` itself to say: see `peers.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt;
use ring::digest;
use serde_json::{Value, json};

/// The only token that opens private repositories and writes.
pub const TOKEN: &str = "hf_test_token";
/// Bytes of a chunk of a body.
const CHUNK: usize = 16 << 10;
/// Files of a page of a listing.
const PAGE: usize = 3;
/// Larger files go by LFS, and so do tables and videos.
const INLINE: u64 = 10_000;
/// LFS files above this come in parts of this.
pub const PART: u64 = 50_000;

/// What goes wrong, once.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The body ends well after so many bytes, of an unstated length.
    Short(usize),
    /// One byte of the body is another.
    Spoilt,
    /// A status, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// The range asked for is ignored.
    Whole,
    /// The length is one byte longer than listed.
    Long,
    /// The answer leads to the same path at this address.
    Redirect(String),
    /// The next page of the listing is said to be here.
    NextPage(String),
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub host: String,
    pub method: String,
    pub path: String,
    pub token: bool,
    pub range: Option<String>,
}

#[derive(Clone)]
struct Entry {
    content: Arc<Vec<u8>>,
    lfs: bool,
}

type Tree = BTreeMap<String, Entry>;

#[derive(Default)]
struct Repo {
    private: bool,
    commits: BTreeMap<String, Tree>,
    /// Branches and tags.
    refs: BTreeMap<String, String>,
    tags: Vec<String>,
}

#[derive(Default)]
pub struct Hub {
    repos: BTreeMap<String, Repo>,
    lfs: BTreeMap<String, Arc<Vec<u8>>>,
    parts: BTreeMap<(String, u64), Vec<u8>>,
    faults: Vec<(String, Fault)>,
    pub seen: Vec<Seen>,
    commits: usize,
    /// Another host that LFS contents come from.
    cdn: Option<String>,
}

/// A server that runs until the test ends.
#[derive(Clone)]
pub struct Server {
    hub: Arc<Mutex<Hub>>,
    pub address: SocketAddr,
    /// The same server under another host's name.
    pub other: SocketAddr,
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn git_id(bytes: &[u8]) -> String {
    let mut all = format!("blob {}\0", bytes.len()).into_bytes();
    all.extend_from_slice(bytes);
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &all).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Server {
    pub fn start() -> Self {
        let hub = Arc::new(Mutex::new(Hub::default()));
        let (tell, told) = std::sync::mpsc::channel();
        let state = Arc::clone(&hub);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let there = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
                tell.send((here.local_addr().unwrap(), there.local_addr().unwrap())).unwrap();
                let app = axum::Router::new()
                    .fallback(handle)
                    .layer(DefaultBodyLimit::disable())
                    .with_state(state);
                let (a, b) =
                    tokio::join!(axum::serve(here, app.clone()), axum::serve(there, app.clone()));
                a.and(b).unwrap();
            });
        });
        let (address, other) = told.recv().unwrap();
        Self { hub, address, other }
    }

    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a public repository with one commit; gives its name.
    pub fn repo(&self, repo: &str, files: &[(&str, Vec<u8>)]) -> String {
        let mut hub = self.hub();
        hub.repos.insert(repo.to_owned(), Repo::default());
        let tree = files.iter().map(|(name, content)| {
            let lfs = is_lfs(name, content.len() as u64);
            ((*name).to_owned(), Entry { content: Arc::new(content.clone()), lfs })
        });
        let tree = tree.collect();
        hub.commit(repo, "main", tree)
    }

    /// The next answer whose path holds `part` goes wrong.
    pub fn fault(&self, part: &str, fault: Fault) {
        self.hub().faults.push((part.to_owned(), fault));
    }

    /// LFS contents come from the other host.
    pub fn serve_lfs_elsewhere(&self) {
        self.hub().cdn = Some(format!("http://{}", self.other));
    }

    pub fn make_private(&self, repo: &str) {
        self.hub().repos.get_mut(repo).unwrap().private = true;
    }

    /// What a branch or tag holds.
    pub fn files(&self, repo: &str, revision: &str) -> BTreeMap<String, Vec<u8>> {
        let hub = self.hub();
        let repo = &hub.repos[repo];
        let tree = &repo.commits[&repo.refs[revision]];
        tree.iter().map(|(name, e)| (name.clone(), e.content.to_vec())).collect()
    }

    pub fn is_private(&self, repo: &str) -> bool {
        self.hub().repos[repo].private
    }

    pub fn commit_count(&self) -> usize {
        self.hub().commits
    }
}

fn is_lfs(name: &str, bytes: u64) -> bool {
    bytes > INLINE || [".parquet", ".mp4"].iter().any(|e| name.ends_with(e))
}

impl Hub {
    fn commit(&mut self, repo: &str, branch: &str, tree: Tree) -> String {
        self.commits += 1;
        let oid = git_id(format!("{repo} {}", self.commits).as_bytes());
        let repo = self.repos.get_mut(repo).unwrap();
        repo.commits.insert(oid.clone(), tree);
        repo.refs.insert(branch.to_owned(), oid.clone());
        oid
    }
}

fn answer(status: u16, value: &Value) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
}

fn refusal(status: u16, code: &str, message: &str) -> Response {
    let mut response = answer(status, &json!({ "error": message }));
    response.headers_mut().insert("x-error-code", code.parse().unwrap());
    response.headers_mut().insert("x-error-message", message.parse().unwrap());
    response
}

async fn handle(
    State(hub): State<Arc<Mutex<Hub>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: header::HeaderName| {
        headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let authorization = text(header::AUTHORIZATION);
    let mut hub = hub.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    hub.seen.push(Seen {
        host: text(header::HOST).unwrap_or_default(),
        method: method.to_string(),
        path: uri.path().to_owned(),
        token: authorization.is_some(),
        range: text(header::RANGE),
    });
    let at = hub.faults.iter().position(|(part, _)| uri.path().contains(part.as_str()));
    // Peeking is no answer that could go wrong.
    let fault = at.filter(|_| method != Method::HEAD).map(|at| hub.faults.remove(at).1);
    match &fault {
        Some(Fault::Status(status, after)) => {
            let mut response = answer(*status, &json!({ "error": "as the test wants" }));
            if let Some(after) = after {
                response.headers_mut().insert(header::RETRY_AFTER, (*after).into());
            }
            return response;
        }
        Some(Fault::Redirect(to)) => {
            let to = format!("{to}{uri}");
            let redirect = Response::builder().status(302).header(header::LOCATION, to);
            return redirect.body(Body::empty()).unwrap();
        }
        _ => {}
    }
    let known = authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
    let path: Vec<String> = uri.path().split('/').skip(1).map(decode).collect();
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let request = Request { method, uri, headers, body, known, fault };
    match parts[..] {
        ["api", "repos", "create"] => create(&mut hub, &request),
        ["api", "validate-yaml"] => answer(200, &json!({ "errors": [], "warnings": [] })),
        ["api", "whoami-v2"] => answer(200, &json!({ "name": "lab", "type": "user" })),
        ["api", "datasets", org, name, ref rest @ ..] => {
            api(&mut hub, &format!("{org}/{name}"), rest, &request)
        }
        ["datasets", org, name, "resolve", revision, ref file @ ..] => {
            resolve(&hub, &format!("{org}/{name}"), revision, &file.join("/"), &request)
        }
        ["datasets", _, _, "info", "lfs", "objects", "batch"] => batch(&hub, &request),
        ["cdn", oid] => match hub.content_of(oid) {
            Some(content) => send(&content, &format!("\"{oid}\""), &request, Vec::new()),
            None => refusal(404, "EntryNotFound", "no such content"),
        },
        ["lfs", oid, ref rest @ ..] => lfs(&mut hub, oid, rest, &request),
        _ => refusal(404, "NotFound", "no such route"),
    }
}

struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    known: bool,
    fault: Option<Fault>,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    fn query(&self, key: &str) -> Option<&str> {
        let pairs = self.uri.query()?.split('&').filter_map(|p| p.split_once('='));
        pairs.into_iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    fn base(&self) -> String {
        format!("http://{}", self.header(header::HOST).unwrap())
    }
}

fn decode(part: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = part.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let text = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(text, 16).unwrap());
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap()
}

impl Hub {
    fn content_of(&self, oid: &str) -> Option<Arc<Vec<u8>>> {
        let mut all = self.repos.values().flat_map(|r| r.commits.values()).flat_map(Tree::values);
        let found = all.find(|e| e.lfs && sha256(&e.content) == oid);
        found.map(|e| Arc::clone(&e.content)).or_else(|| self.lfs.get(oid).cloned())
    }
}

fn create(hub: &mut Hub, request: &Request) -> Response {
    if !request.known {
        return refusal(401, "", "Invalid username or password.");
    }
    let asked = request.json();
    let name = asked["name"].as_str().unwrap();
    let repo = match asked["organization"].as_str() {
        Some(org) => format!("{org}/{name}"),
        None => format!("lab/{name}"),
    };
    if hub.repos.contains_key(&repo) {
        return refusal(409, "", "You already created this dataset repo");
    }
    let private = asked["visibility"] == "private" || asked["private"] == true;
    hub.repos.insert(repo.clone(), Repo { private, ..Repo::default() });
    let attributes = Entry { content: Arc::new(b"*.parquet filter=lfs\n".to_vec()), lfs: false };
    hub.commit(&repo, "main", Tree::from([(".gitattributes".to_owned(), attributes)]));
    let url = format!("{}/datasets/{repo}", request.base());
    answer(200, &json!({ "url": url, "name": repo, "id": "1" }))
}

fn api(hub: &mut Hub, name: &str, rest: &[&str], request: &Request) -> Response {
    let hidden = hub.repos.get(name).is_none_or(|r| r.private) && !request.known;
    if hidden {
        return refusal(401, "RepoNotFound", "Invalid credentials in Authorization header");
    }
    let Some(repo) = hub.repos.get_mut(name) else {
        return refusal(404, "RepoNotFound", "Repository not found");
    };
    let oid_of = |repo: &Repo, revision: &str| match repo.commits.contains_key(revision) {
        true => Some(revision.to_owned()),
        false => repo.refs.get(revision).cloned(),
    };
    let no_revision = || refusal(404, "RevisionNotFound", "Invalid rev id");
    let writes = request.method != Method::GET && request.method != Method::HEAD;
    if writes && !request.known {
        return refusal(403, "", "This token has no write access");
    }
    match rest {
        [] | ["revision", _] => {
            let revision = rest.get(1).copied().unwrap_or("main");
            let Some(oid) = oid_of(repo, revision) else { return no_revision() };
            let names = repo.commits[&oid].keys();
            let siblings: Vec<Value> = names.map(|n| json!({ "rfilename": n })).collect();
            answer(
                200,
                &json!({ "id": name, "sha": oid, "private": repo.private, "siblings": siblings,
                         "tags": [], "downloads": 0, "likes": 0, "gated": false,
                         "disabled": false }),
            )
        }
        ["refs"] => {
            let of = |tag: bool| -> Vec<Value> {
                let all = repo.refs.iter().filter(|(n, _)| repo.tags.contains(n) == tag);
                all.map(|(n, oid)| {
                    let kind = if tag { "tags" } else { "heads" };
                    json!({ "name": n, "ref": format!("refs/{kind}/{n}"), "targetCommit": oid })
                })
                .collect()
            };
            answer(200, &json!({ "branches": of(false), "tags": of(true), "converts": [] }))
        }
        ["tree", revision, below @ ..] => {
            let Some(oid) = oid_of(repo, revision) else { return no_revision() };
            tree(&repo.commits[&oid], &below.join("/"), request)
        }
        ["preupload", _] => {
            let asked = request.json();
            let files = asked["files"].as_array().unwrap().iter().map(|f| {
                let path = f["path"].as_str().unwrap();
                let mode =
                    if is_lfs(path, f["size"].as_u64().unwrap()) { "lfs" } else { "regular" };
                json!({ "path": path, "uploadMode": mode, "shouldIgnore": false, "oid": null })
            });
            answer(200, &json!({ "files": files.collect::<Vec<_>>() }))
        }
        ["commit", branch] => commit(hub, name, branch, request),
        ["tag", tag] if request.method == Method::DELETE => {
            repo.refs.remove(*tag);
            repo.tags.retain(|t| t != tag);
            answer(200, &json!({}))
        }
        ["tag", revision] => {
            let Some(oid) = oid_of(repo, revision) else { return no_revision() };
            let tag = request.json()["tag"].as_str().unwrap().to_owned();
            if repo.tags.contains(&tag) {
                return refusal(409, "", "Tag reference exists already");
            }
            repo.refs.insert(tag.clone(), oid);
            repo.tags.push(tag);
            answer(200, &json!({}))
        }
        _ => refusal(404, "NotFound", "no such route"),
    }
}

fn tree(tree: &Tree, below: &str, request: &Request) -> Response {
    let inside = |name: &str| below.is_empty() || name.starts_with(&format!("{below}/"));
    let all: Vec<(&String, &Entry)> = tree.iter().filter(|(n, _)| inside(n)).collect();
    if all.is_empty() && !below.is_empty() {
        return refusal(404, "EntryNotFound", "Entry not found");
    }
    let from: usize = request.query("cursor").map_or(0, |c| c.parse().unwrap());
    let entries = all.iter().skip(from).take(PAGE).map(|(name, entry)| {
        let bytes = entry.content.len();
        let mut value = json!({ "type": "file", "path": name, "size": bytes,
                                "oid": git_id(&entry.content) });
        if entry.lfs {
            value["lfs"] =
                json!({ "oid": sha256(&entry.content), "size": bytes, "pointerSize": 130 });
        }
        value
    });
    let mut response = answer(200, &Value::Array(entries.collect()));
    let mut next = (from + PAGE < all.len()).then(|| {
        format!("{}{}?recursive=true&cursor={}", request.base(), request.uri.path(), from + PAGE)
    });
    if let Some(Fault::NextPage(to)) = &request.fault {
        next = Some(to.clone());
    }
    if let Some(next) = next {
        let link = format!("<{next}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, link.parse().unwrap());
    }
    response
}

fn commit(hub: &mut Hub, name: &str, branch: &str, request: &Request) -> Response {
    let text = std::str::from_utf8(&request.body).unwrap();
    let lines: Vec<Value> =
        text.lines().filter(|l| !l.is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect();
    let head = hub.repos[name].refs[branch].clone();
    let mut next = hub.repos[name].commits[&head].clone();
    for line in &lines {
        let value = &line["value"];
        let path = || value["path"].as_str().unwrap().to_owned();
        match line["key"].as_str().unwrap() {
            "header" => {
                let parent = value["parentCommit"].as_str();
                if parent.is_some_and(|p| p != head) {
                    return refusal(412, "", "A commit has happened since. Please refresh.");
                }
            }
            "file" => {
                let content = BASE64.decode(value["content"].as_str().unwrap()).unwrap();
                next.insert(path(), Entry { content: Arc::new(content), lfs: false });
            }
            "lfsFile" => {
                let oid = value["oid"].as_str().unwrap();
                let Some(content) = hub.content_of(oid) else {
                    return refusal(400, "", "LFS content was not uploaded");
                };
                next.insert(path(), Entry { content, lfs: true });
            }
            "deletedFile" => {
                next.remove(&path());
            }
            other => return refusal(400, "", &format!("no operation {other}")),
        }
    }
    let oid = hub.commit(name, branch, next);
    let url = format!("{}/datasets/{name}/commit/{oid}", request.base());
    answer(200, &json!({ "success": true, "commitOid": oid, "commitUrl": url }))
}

fn batch(hub: &Hub, request: &Request) -> Response {
    if !request.known {
        return refusal(401, "", "no write access");
    }
    let base = request.base();
    let asked = request.json();
    let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
        let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap());
        if hub.content_of(oid).is_some() {
            return json!({ "oid": oid, "size": size });
        }
        let verify = json!({ "href": format!("{base}/lfs/{oid}/verify") });
        let upload = if size > PART {
            let mut header = json!({ "chunk_size": PART.to_string() });
            for part in 1..=size.div_ceil(PART) {
                header[format!("{part:05}")] = json!(format!("{base}/lfs/{oid}/part/{part}?sig=x"));
            }
            json!({ "href": format!("{base}/lfs/{oid}/complete"), "header": header })
        } else {
            json!({ "href": format!("{base}/lfs/{oid}?sig=x") })
        };
        json!({ "oid": oid, "size": size, "actions": { "upload": upload, "verify": verify } })
    });
    answer(200, &json!({ "transfer": "basic", "objects": objects.collect::<Vec<_>>() }))
}

fn lfs(hub: &mut Hub, oid: &str, rest: &[&str], request: &Request) -> Response {
    let bad = |why: &str| refusal(422, "", why);
    match rest {
        [] => {
            if sha256(&request.body) != oid {
                return bad("content does not match its oid");
            }
            hub.lfs.insert(oid.to_owned(), Arc::new(request.body.to_vec()));
        }
        ["part", number] => {
            let number = number.parse().unwrap();
            hub.parts.insert((oid.to_owned(), number), request.body.to_vec());
            let tag = format!("\"part-{number}\"");
            let done = Response::builder().header(header::ETAG, tag);
            return done.body(Body::empty()).unwrap();
        }
        ["complete"] => {
            let asked = request.json();
            let mut content = Vec::new();
            for part in asked["parts"].as_array().unwrap() {
                let number = part["partNumber"].as_u64().unwrap();
                assert_eq!(part["etag"], format!("\"part-{number}\""));
                content.extend(hub.parts[&(oid.to_owned(), number)].clone());
            }
            if sha256(&content) != oid {
                return bad("the parts do not match the oid");
            }
            hub.lfs.insert(oid.to_owned(), Arc::new(content));
        }
        ["verify"] => {
            let size = request.json()["size"].as_u64();
            if hub.lfs.get(oid).map(|c| c.len() as u64) != size {
                return bad("no such content");
            }
        }
        _ => return bad("no such route"),
    }
    answer(200, &json!({}))
}

fn resolve(hub: &Hub, name: &str, revision: &str, file: &str, request: &Request) -> Response {
    let repo = match hub.repos.get(name) {
        Some(repo) if !repo.private || request.known => repo,
        _ => return refusal(401, "RepoNotFound", "Repository not found"),
    };
    let oid = repo.refs.get(revision).map_or(revision, String::as_str);
    let Some(entry) = repo.commits.get(oid).and_then(|t| t.get(file)) else {
        return refusal(404, "EntryNotFound", "Entry not found");
    };
    let id = if entry.lfs { sha256(&entry.content) } else { git_id(&entry.content) };
    let mut extra = vec![("x-repo-commit", oid.to_owned())];
    if entry.lfs {
        extra.push(("x-linked-etag", format!("\"{id}\"")));
        extra.push(("x-linked-size", entry.content.len().to_string()));
        if let Some(cdn) = &hub.cdn {
            let mut redirect = Response::builder()
                .status(302)
                .header(header::LOCATION, format!("{cdn}/cdn/{id}?Signature=secret"));
            for (name, value) in extra {
                redirect = redirect.header(name, value);
            }
            return redirect.body(Body::empty()).unwrap();
        }
    }
    send(&entry.content, &format!("\"{id}\""), request, extra)
}

/// Sends bytes, or the range asked for, or what the fault makes of them.
fn send(
    content: &[u8],
    etag: &str,
    request: &Request,
    extra: Vec<(&'static str, String)>,
) -> Response {
    let asked = request.header(header::RANGE).and_then(|r| r.strip_prefix("bytes="));
    let same = request.header(header::IF_RANGE).is_none_or(|e| e == etag);
    let ignore = matches!(request.fault, Some(Fault::Whole));
    let start = asked.filter(|_| same && !ignore).map(|r| {
        let start = r.split_once('-').unwrap().0;
        start.parse::<usize>().unwrap()
    });
    let total = content.len();
    if start.is_some_and(|s| s >= total) {
        return Response::builder().status(416).body(Body::empty()).unwrap();
    }
    let mut bytes = content[start.unwrap_or(0)..].to_vec();
    let mut response = Response::builder()
        .status(if start.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
        .header(header::ETAG, etag)
        .header(header::ACCEPT_RANGES, "bytes");
    for (name, value) in extra {
        response = response.header(name, value);
    }
    if let Some(start) = start {
        let range = format!("bytes {start}-{}/{total}", total - 1);
        response = response.header(header::CONTENT_RANGE, range);
    }
    if request.method == Method::HEAD {
        return response.header(header::CONTENT_LENGTH, total).body(Body::empty()).unwrap();
    }
    let mut breaks = false;
    match request.fault {
        Some(Fault::Cut(at)) => {
            response = response.header(header::CONTENT_LENGTH, bytes.len());
            bytes.truncate(at);
            breaks = true;
        }
        Some(Fault::Short(at)) => bytes.truncate(at),
        Some(Fault::Spoilt) => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Some(Fault::Long) => bytes.push(0),
        _ => response = response.header(header::CONTENT_LENGTH, bytes.len()),
    }
    let mut chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        bytes.chunks(CHUNK).map(|c| Ok(c.to_vec())).collect();
    if breaks {
        chunks.push(Err(std::io::Error::other("the connection breaks, as the test wants")));
    }
    // What was sent before a break has time to arrive.
    let stream = futures_util::stream::iter(chunks).then(|chunk| async {
        if chunk.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        chunk
    });
    response.body(Body::from_stream(stream)).unwrap()
}

impl Hub {
    /// Nothing goes wrong any more.
    pub fn faults_clear(&mut self) {
        self.faults.clear();
    }
}
